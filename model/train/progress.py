"""The progress of training: a bar in a terminal, lines where the output is a file or a pipe."""

from __future__ import annotations

import os
import sys
import time
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import TQDMProgressBar

from model.train.training_log import TrainingLog


class Progress(TQDMProgressBar):
    """One bar over the whole run, with the loss and residues per second.

    Its numbers change when they are written to the logs, every `log_every_n_steps` steps. Without
    a terminal each of these times is a line.
    """

    def __init__(self) -> None:
        super().__init__(leave=False)
        self._is_terminal = _is_terminal()
        self._shown = -1
        self._began = 0.0

    @property
    def is_enabled(self) -> bool:
        return self._is_terminal and super().is_enabled

    def on_train_start(self, trainer: pl.Trainer, *_: Any) -> None:
        self._began = time.monotonic()
        self._shown = trainer.global_step
        self.train_progress_bar = self.init_train_tqdm()
        self.train_progress_bar.reset(_total(trainer))
        self.train_progress_bar.initial = trainer.global_step
        self.train_progress_bar.set_description("step")

    def on_train_epoch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        """The bar is one of steps, not of epochs."""

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        bar = self.train_progress_bar
        bar.n = trainer.global_step
        latest = _latest(trainer)
        if latest and trainer.global_step != self._shown and self._is_time(trainer):
            self._shown = trainer.global_step
            bar.set_postfix_str(
                f"loss {latest['train/loss']:.3f}, {latest['residues_per_second']:,.0f} residues/s",
                refresh=False,
            )
            if trainer.is_global_zero and not self._is_terminal and super().is_enabled:
                print(self._line(trainer, latest), flush=True)
        if self.is_enabled and bar.n % max(1, self.refresh_rate) == 0:
            bar.refresh()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """The bar stays."""

    def on_exception(self, *_: Any) -> None:
        """What is said next begins a line of its own."""
        if self._train_progress_bar is not None:
            self._train_progress_bar.close()

    def _is_time(self, trainer: pl.Trainer) -> bool:
        every = getattr(trainer, "log_every_n_steps", 0)
        return bool(every) and trainer.global_step % every == 0

    def _line(self, trainer: pl.Trainer, latest: dict[str, float]) -> str:
        total = _total(trainer)
        of = f"/{total:,}" if total else ""
        terms = "  ".join(
            f"{name} {latest[f'train/{name}']:.3f}"
            for name in ("translation", "rotation", "chi", "sequence")
            if f"train/{name}" in latest
        )
        return (
            f"step {trainer.global_step:,}{of}  loss {latest['train/loss']:.3f}  {terms}  "
            f"{latest['residues_per_second']:,.0f} residues/s  "
            f"{time.monotonic() - self._began:.0f} s"
        )


def _is_terminal() -> bool:
    """Whether standard output is a terminal with a width; without one no bar is drawn."""
    try:
        return sys.stdout.isatty() and os.get_terminal_size(sys.stdout.fileno()).columns > 0
    except (OSError, ValueError):
        return False


def _total(trainer: pl.Trainer) -> int | None:
    if trainer.max_steps and trainer.max_steps > 0:
        return trainer.max_steps
    return None


def _latest(trainer: pl.Trainer) -> dict[str, float]:
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, TrainingLog):
            return callback.latest
    return {}
