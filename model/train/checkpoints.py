"""Checkpoints: the last, the best, and how they are written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins import TorchCheckpointIO
from pytorch_lightning.callbacks import ModelCheckpoint

from model.checkpoint import LAST
from pipeline.files.atomic import appears_whole

FOLDER = str(LAST.parent)


class WholeFiles(TorchCheckpointIO):
    """Writes beside the final name and renames; reads no code.

    Lightning writes to the system's folder for temporary files and moves from there, which copies
    when that is another file system: a kill may leave half a checkpoint.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        if "://" in str(path):
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        with appears_whole(path, path.parent) as temporary:
            torch.save(checkpoint, temporary)

    def load_checkpoint(self, path: str | Path, *arguments: Any, **options: Any) -> dict[str, Any]:
        """Whatever Lightning would allow: until version 2.6 it unpickled what it was given."""
        if "://" in str(path):
            options["weights_only"] = True
            return super().load_checkpoint(path, *arguments, **options)
        return torch.load(path, map_location="cpu", weights_only=True)


class LastCheckpoint(ModelCheckpoint):
    """``checkpoints/last.ckpt`` in the run folder: what to resume from.

    Parameters
    ----------
    every_n_steps : int
        Steps of the optimizer between two. It is written at the end, too.
    """

    def __init__(self, every_n_steps: int = 500):
        super().__init__(
            filename="last",
            every_n_train_steps=every_n_steps,
            save_top_k=1,
            enable_version_counter=False,
        )

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self.dirpath = str(Path(trainer.default_root_dir) / FOLDER)
        super().setup(trainer, pl_module, stage)

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        # Later, Lightning takes the epoch for finished, and a resumed run would leave out its rest.
        if trainer.should_stop or 0 < trainer.max_steps <= trainer.global_step:
            self.save(trainer)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.save(trainer)

    def save(self, trainer: pl.Trainer) -> None:
        """Write it, if there is none of this step."""
        if not self._should_skip_saving_checkpoint(trainer):
            self._save_topk_checkpoint(trainer, self._monitor_candidates(trainer))


class BestCheckpoints(ModelCheckpoint):
    """``checkpoints/best-STEP.ckpt``: those with the least loss in validation, if there is any.

    Parameters
    ----------
    keep : int
        How many.
    monitor : str
        Metric that is to be small.
    """

    def __init__(self, keep: int = 3, monitor: str = "val/loss"):
        super().__init__(
            filename="best-{step}",
            auto_insert_metric_name=False,
            monitor=monitor,
            mode="min",
            save_top_k=keep,
            enable_version_counter=False,
            save_on_train_epoch_end=False,
        )

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self.dirpath = str(Path(trainer.default_root_dir) / FOLDER)
        super().setup(trainer, pl_module, stage)
