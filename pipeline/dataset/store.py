"""Where the fields of chosen chains come from: shards, a mapped cache, or memory."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.dataset import cache
from pipeline.selection.fields import columns_of, decode
from pipeline.selection.selection import INDEX, Selection
from pipeline.shards import DamagedShard, open_shard, read_rows

Block = dict[str, NDArray[Any]]
"""Fields of chains laid end to end, each ``(R, *shape)``. Items copy from it."""

KEPT_GROUPS = 8
KEPT_SHARDS = 16
"""Open shards; each takes a megabyte."""
READ_CHAINS = 96
"""Chains to be read at once: of small row groups several, where their order is known."""

_Group = tuple[int, int]
"""Number of a shard, and of a row group in it."""


class Store(ABC):
    """Fields of chains, by their number in a selection."""

    @abstractmethod
    def find(self, chain: int) -> tuple[Block, int, int]:
        """(block, first residue, end) of a chain."""


class ShardStore(Store):
    """Row groups decoded when a chain of theirs is asked for; the last few are kept.

    Reading chains in the order of the shards, or shuffled a few row groups at a time, decodes each
    group once; reading them in any other order decodes a group for nearly every chain.

    Parameters
    ----------
    selection : Selection
    fields : sequence of str
    order : sequence of (shard, row group), optional
        In which chains will be asked for. Small groups that follow one another are then read
        together, and what lies behind is not kept.
    """

    def __init__(self, selection: Selection, fields: Sequence[str], order: Sequence[_Group] = ()):
        self._selection, self._fields = selection, tuple(fields)
        self._next = dict(pairwise(order))
        self._columns = ["chain_uid", *columns_of(self._fields)]
        self._forget()

    def _forget(self) -> None:
        self._groups: OrderedDict[_Group, tuple[Block, list[int], list[str]]] = OrderedDict()
        self._shards: OrderedDict[int, pq.ParquetFile] = OrderedDict()
        self._pid = os.getpid()

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_groups": None, "_shards": None}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state)
        self._forget()

    def find(self, chain: int) -> tuple[Block, int, int]:
        if self._pid != os.getpid():
            self._forget()  # a forked worker must not share file positions with its parent
        selection = self._selection
        shard, group = int(selection.shard[chain]), int(selection.row_group[chain])
        block, offsets, uids = self._read_group(shard, group)
        row = int(selection.row[chain])
        if row >= len(uids) or uids[row] != selection.uids[chain].as_py():
            raise self._disagrees(shard)
        return block, offsets[row], offsets[row + 1]

    def _disagrees(self, shard: int) -> DamagedShard:
        folder, name = self._selection.folder, self._selection.shard_names[shard]
        return DamagedShard(
            f"{folder.join('shards', name)}: its chains are not those of the index; "
            f"`python -m pipeline.verify {folder} --repair` makes them agree"
        )

    def _read_group(self, shard: int, group: int) -> tuple[Block, list[int], list[str]]:
        """(block, offsets of its chains, their names) of a row group."""
        key = (shard, group)
        if key in self._groups:
            self._groups.move_to_end(key)
            return self._groups[key]
        if self._next:
            self._groups.clear()
        path = self._selection.folder.join("shards", self._selection.shard_names[shard])
        file = self._open(shard, path)
        if group >= file.metadata.num_row_groups:
            raise self._disagrees(shard)
        together = self._read_with(file, key)
        rows = read_rows(file, path, [k for _, k in together], self._columns)
        block, offsets = decode(rows, self._fields), rows.residues.tolist()
        names = rows.scalars["chain_uid"].to_pylist()
        begin = 0
        for one in together:
            end = begin + file.metadata.row_group(one[1]).num_rows
            self._groups[one] = block, offsets[begin : end + 1], names[begin:end]
            begin = end
        while len(self._groups) > max(KEPT_GROUPS, len(together)):
            self._groups.popitem(last=False)
        return self._groups[key]

    def _read_with(self, file: pq.ParquetFile, key: _Group) -> list[_Group]:
        """A row group and those of its shard that follow it in the order, while they are small."""
        together, n_chains = [key], file.metadata.row_group(key[1]).num_rows
        while (following := self._next.get(together[-1])) is not None and following[0] == key[0]:
            if following[1] >= file.metadata.num_row_groups:
                break
            n_chains += file.metadata.row_group(following[1]).num_rows
            if n_chains > READ_CHAINS:
                break
            together.append(following)
        return together

    def _open(self, shard: int, path: str) -> pq.ParquetFile:
        if shard in self._shards:
            self._shards.move_to_end(shard)
        else:
            self._shards[shard] = open_shard(path, self._selection.folder.filesystem)
            if len(self._shards) > (1 if self._next else KEPT_SHARDS):
                self._shards.popitem(last=False)[1].close()
        return self._shards[shard]


class FlatStore(Store):
    """All chains of the dataset in flat arrays: a mapped cache, or memory."""

    def __init__(
        self, selection: Selection, fields: Sequence[str], kind: str, cache_dir: str | None
    ):
        self._fields = tuple(fields)
        order = _StoredOrder(selection)
        self._begin = order.begin
        self._lengths = selection.lengths
        self._n_residues = int(order.lengths.sum())
        self._place: Path | None = None
        self._shared: dict[str, Tensor] = {}
        self._block: Block | None = None
        arguments = (selection.folder, order.shards, self._fields, order.lengths, order.uids)
        if kind == "memory":
            self._shared = {
                # Spawned workers get a handle, not a copy; forked ones share the pages anyway.
                name: torch.from_numpy(array).share_memory_()
                for name, array in cache.in_memory(*arguments).items()
            }
        else:
            self._place = cache.place_of(selection.dataset, self._fields, cache_dir)
            cache.ensure(self._place, *arguments)

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_block": None}

    def find(self, chain: int) -> tuple[Block, int, int]:
        if self._block is None:
            if self._place is None:
                self._block = {name: tensor.numpy() for name, tensor in self._shared.items()}
            else:
                self._block = cache.mapped(self._place, self._fields, self._n_residues)
        begin = int(self._begin[chain])
        return self._block, begin, begin + int(self._lengths[chain])


class _StoredOrder:
    """All chains of the dataset in the order of its shards.

    Attributes
    ----------
    shards : list of str
    lengths : (N,) int64
        Of all chains, in the order of the shards.
    uids : pyarrow.ChunkedArray
        ``chain_uid`` of all chains in that order.
    begin : (n,) int64
        First residue of each chosen chain in that order.
    """

    def __init__(self, selection: Selection):
        columns = ["chain_uid", "shard", "row_group", "row", "length"]
        table = selection.dataset.table(INDEX, columns)
        shard = table["shard"].combine_chunks()
        shard = shard.chunk(0) if isinstance(shard, pa.ChunkedArray) else shard
        code = shard.indices.to_numpy()
        order = np.lexsort((table["row"].to_numpy(), table["row_group"].to_numpy(), code))
        lengths = table["length"].to_numpy().astype(np.int64)
        begin = np.empty(len(lengths), np.int64)
        begin[order] = np.cumsum(lengths[order]) - lengths[order]
        self.shards: list[str] = shard.dictionary.to_pylist()
        self.lengths = lengths[order]
        self.uids = table["chain_uid"].take(pa.array(order))
        self.begin = begin[selection.position]
