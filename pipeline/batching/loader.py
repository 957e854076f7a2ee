"""`ResumableLoader`: a `DataLoader` that knows how many of its batches were consumed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from torch.utils.data import DataLoader, Dataset

from pipeline.batching.collate import collate
from pipeline.batching.sampler import LengthBatchSampler


class ResumableLoader:
    """Batches of a dataset, from where training stands.

    A batch counts as consumed when it is handed out, whatever the workers have read ahead, so that
    a state taken between two batches continues with the next one, at any number of workers. After
    the last batch of an epoch the loader is at the beginning of the next.

    Parameters
    ----------
    dataset : torch.utils.data.Dataset
        Map-style. If it has ``set_epoch``, it is told the epoch before its first item.
    batch_sampler : LengthBatchSampler
        Its ``lengths`` are those of the dataset.
    collate_fn : callable
        List of items → batch.
    **options
        Of `torch.utils.data.DataLoader`: ``num_workers``, ``pin_memory``, ``persistent_workers`` …

    Attributes
    ----------
    batch_sampler : LengthBatchSampler

    Examples
    --------
    ::

        loader = ResumableLoader(dataset, LengthBatchSampler(dataset.lengths, budget=500_000))
        if checkpoint:
            loader.load_state_dict(checkpoint["loader"])
        while loader.epoch < n_epochs:
            for batch in loader:
                train(batch)
                save({"loader": loader.state_dict()})
    """

    def __init__(
        self,
        dataset: Dataset[Any],
        batch_sampler: LengthBatchSampler,
        *,
        collate_fn: Callable[[list[Any]], Any] = collate,
        **options: Any,
    ):
        n = len(dataset)  # type: ignore[arg-type]
        if n != len(batch_sampler.lengths):
            raise ValueError(f"a sampler of {len(batch_sampler.lengths)} items for {n}")
        self.batch_sampler = batch_sampler
        self._dataset = dataset
        self._loader = DataLoader(
            dataset, batch_sampler=batch_sampler, collate_fn=collate_fn, **options
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._dataset!r}, {self.batch_sampler!r})"

    @property
    def epoch(self) -> int:
        return self.batch_sampler.epoch

    def __len__(self) -> int:
        """Batches of this epoch on this rank, consumed ones included."""
        return len(self.batch_sampler)

    def __iter__(self) -> Iterator[Any]:
        """The batches of this epoch that are not consumed yet.

        Workers start with the first batch that is asked for. An iteration that was broken off is
        continued by the next one.

        Raises
        ------
        RuntimeError
            The loader has meanwhile been set to another place.
        """
        sampler = self.batch_sampler
        if hasattr(self._dataset, "set_epoch"):
            self._dataset.set_epoch(sampler.epoch)
        place = sampler.epoch, sampler.position
        for batch in self._loader:
            if place != (sampler.epoch, sampler.position):
                raise RuntimeError(
                    "the loader was moved while it was iterated (by set_epoch, load_state_dict or "
                    "a second iteration); begin a new iteration after that"
                )
            sampler.advance()
            place = sampler.epoch, sampler.position
            yield batch
        if place == (sampler.epoch, sampler.position):
            sampler.set_epoch(sampler.epoch + 1)

    @property
    def sampler(self) -> LengthBatchSampler | None:
        """Where Lightning looks for ``set_epoch``."""
        return self.batch_sampler

    @property
    def _iterator(self) -> Any:
        """Persistent workers. Lightning looks for this name to end them; left to the garbage
        collector, which may close their queues first, each of them is waited for in vain."""
        return self._loader._iterator

    @_iterator.setter
    def _iterator(self, iterator: Any) -> None:
        self._loader._iterator = iterator

    def set_epoch(self, epoch: int) -> None:
        """Go to the beginning of an epoch, unless it is the present one."""
        self.batch_sampler.set_epoch(epoch)

    def state_dict(self) -> dict[str, Any]:
        """See `LengthBatchSampler.state_dict`."""
        return self.batch_sampler.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See `LengthBatchSampler.load_state_dict`."""
        self.batch_sampler.load_state_dict(state)
