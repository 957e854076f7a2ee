"""`ShardStream`: the items of a dataset in a shuffled order, row group by row group."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import IterableDataset, get_worker_info

from pipeline.commands.words import several
from pipeline.dataset.crops import Crop
from pipeline.dataset.dataset import item_names, labels_of, scalar_value, sort_columns
from pipeline.dataset.embeddings import KEY, open_embeddings
from pipeline.dataset.items import Item, ItemMaker, Transform
from pipeline.dataset.labels import Labels, LabelSource
from pipeline.dataset.store import ShardStore
from pipeline.seeded import seeded
from pipeline.selection.selection import Selection, Where, index_table, select

FIRST_ITEMS = 64
"""Items among which the first one of an epoch is drawn, if the buffer is larger."""


@dataclass(frozen=True, slots=True)
class _Group:
    """A row group and the chosen chains in it."""

    shard: int
    group: int
    chains: NDArray[np.int64]


class ShardStream(IterableDataset[Item]):
    """Iterable twin of `ShardDataset` for data larger than the disk or the memory.

    Shards come in a shuffled order, their row groups too, and items leave through a shuffle buffer;
    every row group is read once an epoch, by one worker of one rank. Items are those of
    `ShardDataset`, chain by chain.

    Parameters
    ----------
    path, columns, where, entry_where, split, crop, transform, labels, embedding, seed
        As for `ShardDataset`. Chains without a label raise an error.
    shuffle : bool
        False: in the order of the shards.
    buffer : int
        Items from which the next one is drawn. It holds them whole: some 300 bytes for each of
        their residues.
    rank, world_size : int, optional
        By default those of ``torch.distributed`` if it runs, else 0 of 1.
    even : bool
        Every rank gives the same number of items: those with more leave out their last ones, of
        which `n_left_out` tells the number. Without it ranks may differ by some row groups, over
        which distributed training hangs. No item is ever given twice.

    Attributes
    ----------
    n_left_out : int
        Items that `even` leaves out in an epoch, of all ranks together.

    Notes
    -----
    The order is a pure function of (seed, epoch, rank, world size, number of workers, buffer).
    """

    def __init__(
        self,
        path: str | Path,
        *,
        columns: Sequence[str] | None = None,
        where: Where = None,
        entry_where: Where = None,
        split: str | None = None,
        crop: Crop | None = None,
        transform: Transform | None = None,
        labels: LabelSource | None = None,
        embedding: str | None = None,
        seed: int = 0,
        shuffle: bool = True,
        buffer: int = 1024,
        rank: int | None = None,
        world_size: int | None = None,
        even: bool = True,
    ):
        if buffer < 1:
            raise ValueError(f"a shuffle buffer holds at least one chain, not {buffer}")
        fields, scalars = sort_columns(columns)
        self._selection = select(path, where=where, entry_where=entry_where, split=split)
        self._maker = ItemMaker(fields, crop, transform, seed)
        self._scalars = {}
        if scalars:
            table = index_table(self._selection)
            self._scalars = {name: table[name].combine_chunks() for name in scalars}
        self.labels = Labels(labels) if labels is not None else None
        if self.labels is not None:
            for uid in self._selection.uids.to_pylist():
                if uid not in self.labels:
                    raise ValueError(f"{uid} has no label; choose with where=")
        self._embeddings = None
        if embedding is not None:
            self._embeddings = open_embeddings(self._selection, embedding)
        self.split = split
        self.seed, self.shuffle, self.buffer, self.even = seed, shuffle, buffer, even
        self.rank, self.world_size = _place(rank, world_size)
        self._groups = _groups(self._selection)
        self._epoch = torch.zeros(1, dtype=torch.int64).share_memory_()

    def __repr__(self) -> str:
        split = "" if self.split is None else f", split {self.split}"
        order = f"buffer {self.buffer:,}" if self.shuffle else "in order"
        return (
            f"{type(self).__name__}({self._selection.dataset.folder}: "
            f"{several(len(self._selection), 'chain')}, "
            f"{several(int(self._selection.item_lengths.sum()), 'residue')}{split}, {order}, "
            f"rank {self.rank} of {self.world_size})"
        )

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch it is; to be called before the loader is iterated."""
        self._epoch.fill_(epoch)

    def __len__(self) -> int:
        """Items of this rank in the current epoch."""
        counts = self._counts()
        return int(min(counts)) if self.even else int(counts[self.rank])

    @property
    def n_left_out(self) -> int:
        counts = self._counts()
        return int(sum(counts) - self.world_size * min(counts)) if self.even else 0

    def __iter__(self) -> Iterator[Item]:
        worker = get_worker_info()
        number, of = (worker.id, worker.num_workers) if worker is not None else (0, 1)
        epoch = int(self._epoch)
        random = seeded(self.seed, epoch, f"stream {self.rank} {self.world_size} {number} {of}")
        items = self._items(self._of_worker(epoch, number, of), epoch)
        yield from _shuffled(items, self.buffer, random) if self.shuffle else items

    def _order(self, epoch: int) -> list[_Group]:
        """All row groups: shards shuffled, and the groups within each."""
        if not self.shuffle:
            return self._groups
        random = seeded(self.seed, epoch, "order of shards")
        of_shard: dict[int, list[_Group]] = {}
        for group in self._groups:
            of_shard.setdefault(group.shard, []).append(group)
        shards = list(of_shard.values())
        return [
            shards[k][j]
            for k in random.permutation(len(shards)).tolist()
            for j in random.permutation(len(shards[k])).tolist()
        ]

    def _of_ranks(self, epoch: int) -> list[list[_Group]]:
        """The row groups of each rank: in turn, so that ranks differ by few chains."""
        order = self._order(epoch)
        return [order[rank :: self.world_size] for rank in range(self.world_size)]

    def _counts(self) -> list[int]:
        return [sum(len(g.chains) for g in groups) for groups in self._of_ranks(int(self._epoch))]

    def _of_worker(self, epoch: int, worker: int, n_workers: int) -> list[_Group]:
        ranks = self._of_ranks(epoch)
        mine = ranks[self.rank]
        if self.even:
            spare = sum(len(g.chains) for g in mine) - min(
                sum(len(g.chains) for g in groups) for groups in ranks
            )
            mine = _without_last(mine, spare)
        return mine[worker::n_workers]

    def _items(self, groups: Sequence[_Group], epoch: int) -> Iterator[Item]:
        order = [(group.shard, group.group) for group in groups]
        store = ShardStore(self._selection, self._maker.read, order)
        for chain in (chain for group in groups for chain in group.chains.tolist()):
            extras = item_names(self._selection, [chain], "chain")
            for name, values in self._scalars.items():
                extras[name] = scalar_value(values, chain)
            if self.labels is not None:
                extras.update(labels_of(self.labels, extras, "chain"))
            more = None if self._embeddings is None else {KEY: self._embeddings.of([chain])}
            yield self._maker.make(extras["chain_uid"], [store.find(chain)], extras, epoch, more)


def _groups(selection: Selection) -> list[_Group]:
    order = np.lexsort((selection.row, selection.row_group, selection.shard))
    keys = np.stack([selection.shard[order], selection.row_group[order]])
    changes = np.flatnonzero((np.diff(keys) != 0).any(axis=0)) + 1
    return [
        _Group(int(selection.shard[c[0]]), int(selection.row_group[c[0]]), c)
        for c in np.split(order, changes)
    ]


def _without_last(groups: list[_Group], n: int) -> list[_Group]:
    """The groups without their last n chains."""
    kept = list(groups)
    while n:
        last = kept.pop()
        if len(last.chains) > n:
            kept.append(_Group(last.shard, last.group, last.chains[: len(last.chains) - n]))
        n = max(0, n - len(last.chains))
    return kept


def _shuffled(items: Iterator[Item], size: int, random: np.random.Generator) -> Iterator[Item]:
    """Every item once; each is drawn from the `size` that were read and have not left yet.

    The first leave when a few are there, and the buffer fills up meanwhile, two coming in for one
    that goes: training need not wait until it is full.
    """
    waiting: list[Item] = []
    for number, item in enumerate(items):
        n = len(waiting)
        if n < min(size, FIRST_ITEMS) or (n < size and number % 2):
            waiting.append(item)
            continue
        k = int(random.integers(n))
        yield waiting[k]
        waiting[k] = item
    for k in random.permutation(len(waiting)).tolist():
        yield waiting[k]


def _place(rank: int | None, world_size: int | None) -> tuple[int, int]:
    if rank is None and world_size is None:
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            return torch.distributed.get_rank(), torch.distributed.get_world_size()
        return int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    if rank is None or world_size is None or not 0 <= rank < world_size:
        raise ValueError(f"rank {rank} of {world_size} ranks: give both, from 0")
    return rank, world_size
