"""Ctrl-C in training: the step is finished, a checkpoint is written, and how to go on is said."""

from __future__ import annotations

import signal
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from model.checkpoint import LAST
from model.train.checkpoints import LastCheckpoint
from pipeline.commands.command_line import as_started
from pipeline.commands.termination import INTERRUPTED, say

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interruption(pl.Callback):
    """Ends training behind the step in which it was asked to, with a checkpoint.

    It is asked by Ctrl-C or SIGTERM; by a second one training ends at once, with the checkpoint of
    before. A resumed run is then the run that was never interrupted. Several processes agree to
    stop when they write to their logs, where they wait for each other anyway.

    It stands behind the callbacks that have something in the checkpoint.
    """

    def __init__(self) -> None:
        self._asked = False
        self._before: dict[signal.Signals, Any] = {}
        self._step = 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        def ask(*_: object) -> None:
            if self._asked:
                raise KeyboardInterrupt(how_to_resume(Path(trainer.default_root_dir)))
            self._asked = True
            if trainer.is_global_zero:
                say("\nthe step is finished and a checkpoint written; once more ends it at once")

        self._asked = False
        for number in SIGNALS:
            with suppress(ValueError):  # not the main thread: somebody's notebook
                self._before[number] = signal.signal(number, ask)

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self._step = trainer.global_step

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        # Gradients that accumulate are in no checkpoint.
        if trainer.global_step == self._step or not self._is_agreed(trainer):
            return
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, LastCheckpoint):
                callback.save(trainer)
        if not trainer.is_global_zero:
            raise SystemExit(INTERRUPTED)  # one process says it for all
        raise KeyboardInterrupt(how_to_resume(Path(trainer.default_root_dir), trainer.global_step))

    def _is_agreed(self, trainer: pl.Trainer) -> bool:
        if trainer.world_size == 1:
            return self._asked
        every = max(1, getattr(trainer, "log_every_n_steps", 1))
        if trainer.global_step % every:
            return False
        return bool(trainer.strategy.reduce_boolean_decision(self._asked, all=False))

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._restore()

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        # After a Ctrl-C, Lightning lets no other one disturb what it puts away, and restores them.
        if not isinstance(exception, KeyboardInterrupt):
            self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}


def how_to_resume(folder: Path, step: int | None = None) -> str:
    """What is there of a run that ends early, and the command that goes on with it.

    Parameters
    ----------
    folder : Path
        The run folder.
    step : int, optional
        Of the last checkpoint, where it is known.
    """
    if not (folder / LAST).is_file():
        return "no checkpoint was written yet"
    what = "a checkpoint" if step is None else f"the checkpoint of step {step:,}"
    return f"{what} is in {folder / LAST}; go on with\n{resuming(folder)}"


def resuming(folder: Path) -> str:
    """The command that goes on with a run."""
    command = as_started("python -m model.train fit")
    return f"{command} --config {folder / 'config.yaml'} --ckpt_path {folder / LAST}"
