"""The run folder: everything that a run leaves, and what made it."""

from __future__ import annotations

import json
import platform
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.cli import SaveConfigCallback

from model.attention import describe
from model.checkpoint import INFO
from model.trained_on import MAX_SEQUENCES, NOTHING, TrainedOn, hashes_of
from pipeline.batching import ProteinDataModule
from pipeline.commands.software import versions_of
from pipeline.errors import UsageError

RECORD = "run.json"
"""In a run folder, from its first step on."""

SOFTWARE = ("ellipsoid-flow", "torch", "pytorch-lightning", "numpy", "roma", "pyarrow", "biotite")


class RunFolder(pl.Callback):
    """``run.json`` in the run folder; its content is in every checkpoint as well.

    Parameters
    ----------
    dir : str, optional
        The run folder. By default ``runs/`` and the time at which the run began.
    notes : str
        Why the run is made, for those who find it.
    threads : int, optional
        That a process computes with on the CPU. By default as many as cores are idle when the run
        begins; a resumed run has what it had before.
    """

    def __init__(self, dir: str | None = None, notes: str = "", threads: int | None = None):
        if threads is not None and threads < 1:
            raise UsageError(f"threads is at least 1, found {threads}")
        self.dir, self.notes, self.threads = dir, notes, threads
        self._digest: str | None = None
        self._trained_on: TrainedOn | None = None
        self._threads_before = torch.get_num_threads()

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self._threads_before = torch.get_num_threads()
        if self.threads is not None:
            torch.set_num_threads(self.threads)

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        torch.set_num_threads(self._threads_before)

    def on_exception(self, *_: Any) -> None:
        torch.set_num_threads(self._threads_before)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        items = data.state_dict().get("items", {}) if data is not None else {}
        self._digest = items.get("dataset")
        if not trainer.is_global_zero:
            return
        self._trained_on = self._seen(data, pl_module)
        path = Path(trainer.default_root_dir) / RECORD
        before = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        session = {
            "began": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "step": trainer.global_step,
            "resumed_from": str(trainer.ckpt_path) if trainer.ckpt_path else None,
            "processes": trainer.world_size,
            "device": trainer.strategy.root_device.type,
            "attention": describe(trainer.strategy.root_device),
            "precision": str(trainer.precision),
            "threads": torch.get_num_threads(),
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

    def _seen(self, data: Any, module: Any) -> TrainedOn:
        """The chains of the datasets, and those that the weights have seen before."""
        before = NOTHING if self._trained_on is None else self._trained_on
        if (initial := getattr(module, "initial", None)) is not None:
            before |= TrainedOn.from_plain(initial.trained_on)
        if not isinstance(data, ProteinDataModule):
            return before | TrainedOn((), None)
        for dataset in data.train_datasets:
            sequences = None
            if dataset.n_chains <= MAX_SEQUENCES:
                sequences = np.unique(hashes_of(dataset.sequences()))
            before |= TrainedOn(((dataset.digest, dataset.split),), sequences)
        return before

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        self._trained_on = TrainedOn.from_plain(checkpoint[INFO].get("trained_on", {}))

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        checkpoint.setdefault(INFO, {}).update(
            {
                "notes": self.notes,
                "dataset_digest": self._digest,
                "versions": versions(),
                "trained_on": {} if self._trained_on is None else self._trained_on.to_plain(),
                "threads": torch.get_num_threads(),
            }
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


@contextmanager
def removed_unless_begun(folder: Path, is_mine: bool) -> Iterator[None]:
    """A run that ends before its first step leaves no folder where there was none.

    Parameters
    ----------
    folder : Path
    is_mine : bool
        Of the processes of a run, one removes it.
    """
    new = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        yield
    except BaseException:
        if is_mine and new and not (folder / RECORD).exists():
            shutil.rmtree(folder, ignore_errors=True)
            with suppress(OSError):  # no longer there, or no longer empty
                for parent in new[1:]:
                    parent.rmdir()
        raise


def versions() -> dict[str, str]:
    """Software → its version."""
    return {"python": platform.python_version(), **versions_of(SOFTWARE)}
