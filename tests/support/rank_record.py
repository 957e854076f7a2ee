"""A callback by which each process of a distributed run leaves what it trained on and became."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytorch_lightning as pl


class RankRecord(pl.Callback):
    """``rank0.json``, ``rank1.json`` …: chains of every batch, and the weights' digest at the end.

    Parameters
    ----------
    folder : str
    """

    def __init__(self, folder: str):
        self.folder, self._batches = Path(folder), []

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._batches.append(list(batch["chain_uid"]))

    def on_train_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        weights = hashlib.sha256()
        for weight in pl_module.network.state_dict().values():
            weights.update(weight.cpu().numpy().tobytes())
        found = {"batches": self._batches, "weights": weights.hexdigest()}
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / f"rank{trainer.global_rank}.json").write_text(json.dumps(found))
