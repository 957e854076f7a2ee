"""The run folder: everything that a run leaves, and what made it."""

from __future__ import annotations

import json
import platform
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.cli import SaveConfigCallback

from model.attention import describe
from model.checkpoint import INFO
from pipeline.commands.software import versions_of

SOFTWARE = ("ellipsoid-flow", "torch", "pytorch-lightning", "numpy", "roma", "pyarrow", "biotite")


class RunFolder(pl.Callback):
    """``run.json`` in the run folder; its content is in every checkpoint as well.

    Parameters
    ----------
    dir : str, optional
        The run folder. By default ``runs/`` and the time at which the run began.
    notes : str
        Why the run is made, for those who find it.
    """

    def __init__(self, dir: str | None = None, notes: str = ""):
        self.dir, self.notes = dir, notes
        self._digest: str | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        items = data.state_dict().get("items", {}) if data is not None else {}
        self._digest = items.get("dataset")
        if not trainer.is_global_zero:
            return
        path = Path(trainer.default_root_dir) / "run.json"
        before = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        session = {
            "began": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "step": trainer.global_step,
            "resumed_from": str(trainer.ckpt_path) if trainer.ckpt_path else None,
            "processes": trainer.world_size,
            "device": trainer.strategy.root_device.type,
            "attention": describe(trainer.strategy.root_device),
            "precision": str(trainer.precision),
        }
        content = {
            "notes": self.notes or before.get("notes", ""),
            "dataset": {"path": getattr(data, "path", None), **items},
            "parameters": sum(p.numel() for p in pl_module.parameters()),
            "versions": versions(),
            "sessions": [*before.get("sessions", []), session],
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        checkpoint.setdefault(INFO, {}).update(
            {"notes": self.notes, "dataset_digest": self._digest, "versions": versions()}
        )


class SavedConfig(SaveConfigCallback):
    """``config.yaml`` in the run folder, all defaults resolved; a resumed run adds its own."""

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if self.already_saved or not trainer.is_global_zero or stage != "fit":
            return
        self.already_saved = True
        folder = Path(trainer.default_root_dir)
        folder.mkdir(parents=True, exist_ok=True)
        path, k = folder / "config.yaml", 1
        while path.exists():
            k += 1
            path = folder / f"config-{k}.yaml"
        # A null that is left out would be the default again: the splits, for one.
        self.parser.save(self.config, str(path), skip_none=False, multifile=False)


def versions() -> dict[str, str]:
    """Software → its version."""
    return {"python": platform.python_version(), **versions_of(SOFTWARE)}
