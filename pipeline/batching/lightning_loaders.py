"""Loaders that Lightning takes as they are."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import Any

from pytorch_lightning import Trainer
from torch.utils.data import DataLoader

from pipeline.batching.loader import ResumableLoader


class TrainLoader(ResumableLoader):
    """Counts a batch as consumed when Lightning has trained on it.

    Not a `DataLoader`, whose sampler Lightning would replace on several devices.
    """

    def __init__(self, trainer: Trainer | None, *args: Any, **options: Any):
        super().__init__(*args, **options)
        self._trainer: Any = trainer

    @property
    def sampler(self) -> None:
        """Keeps Lightning from saying the epoch: it does so after it has asked for the number of
        batches, and when it resumes from the end of an epoch it may be one ahead."""

    def state_dict(self) -> dict[str, Any]:
        state = super().state_dict()
        if self._trainer is not None:
            # After an exception in a training step, Lightning does that step again.
            progress = self._trainer.fit_loop.epoch_loop.batch_progress.current
            state["position"] = min(state["position"], progress.processed)
        return state


class FixedLoader:
    """A `DataLoader` that Lightning takes as it is: its batches are dealt to the ranks already."""

    def __init__(self, loader: DataLoader[Any]):
        self._loader = loader

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Iterator[Any]:
        yield from self._loader

    @property
    def _iterator(self) -> Any:
        """As in `ResumableLoader`."""
        return self._loader._iterator

    @_iterator.setter
    def _iterator(self, iterator: Any) -> None:
        self._loader._iterator = iterator


def leave_interrupts(worker: int) -> None:
    """Ctrl-C goes to all processes of a terminal; the main one finishes its step with batches of
    its workers, and ends them."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
