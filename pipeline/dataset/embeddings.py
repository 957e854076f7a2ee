"""Embeddings of `pipeline.embed` as part of items: read from the parts, or from flat arrays."""

from __future__ import annotations

import json
import os
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.built.stored_embeddings import Group, StoredEmbeddings
from pipeline.dataset import cache
from pipeline.selection.selection import INDEX, Selection
from pipeline.shards import DamagedShard

KEY = "embedding"
"""Of items."""

KEPT_GROUPS = 4
KEPT_PARTS = 16


def open_embeddings(
    selection: Selection, name: str, kind: str | None = None, cache_dir: str | None = None
) -> EmbeddingStore:
    """Open embeddings of chosen chains.

    Parameters
    ----------
    selection : Selection
    name : str
        Below ``embeddings/`` in the dataset's folder.
    kind : {None, "mmap", "memory"}
        As the `cache` of `ShardDataset`.
    cache_dir : str, optional

    Raises
    ------
    UnreadableDataset
        There are none of this name, or they were made for other data.
    ValueError
        A chosen chain has none.
    DamagedShard, CacheError
    """
    stored = StoredEmbeddings.open(selection.dataset, name)
    stored_order = _StoredOrder(selection, stored)
    stored_order.check_all_are_there()
    if kind is None:
        return GroupEmbeddings(selection, stored)
    return FlatEmbeddings(selection, stored, stored_order, kind, cache_dir)


class EmbeddingStore(ABC):
    """Embeddings of chains, by their number in a selection."""

    stored: StoredEmbeddings

    @abstractmethod
    def find(self, chain: int) -> NDArray[Any]:
        """(L, E) of a chain, not to be written to."""

    def of(self, chains: Sequence[int]) -> Tensor:
        """(L, E) of chains one behind the other, in the type in which they are stored."""
        if len(chains) == 1:
            return torch.from_numpy(self.find(chains[0]).copy())
        return torch.from_numpy(np.concatenate([self.find(chain) for chain in chains]))


class GroupEmbeddings(EmbeddingStore):
    """Row groups decoded when a chain of theirs is asked for; the last few are kept."""

    def __init__(self, selection: Selection, stored: StoredEmbeddings):
        self._selection, self.stored = selection, stored
        self._forget()

    def _forget(self) -> None:
        self._groups: OrderedDict[tuple[int, int], Group] = OrderedDict()
        self._parts: OrderedDict[int, pq.ParquetFile] = OrderedDict()
        self._pid = os.getpid()

    def __getstate__(self) -> dict[str, object]:
        return {"_selection": self._selection, "stored": self.stored}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state)
        self._forget()

    def find(self, chain: int) -> NDArray[Any]:
        if self._pid != os.getpid():
            self._forget()  # a forked worker must not share file positions with its parent
        selection = self._selection
        shard, number = int(selection.shard[chain]), int(selection.row_group[chain])
        group, row = self._read_group(shard, number), int(selection.row[chain])
        if row >= len(group.uids) or group.uids[row] != selection.uids[chain].as_py():
            raise other_chains(self.stored, selection.shard_names[shard])
        begin, end = group.offsets[row : row + 2]
        if end - begin != selection.lengths[chain]:
            raise other_chains(self.stored, selection.shard_names[shard])
        return group.values[begin:end]

    def _read_group(self, shard: int, number: int) -> Group:
        key = (shard, number)
        if key in self._groups:
            self._groups.move_to_end(key)
            return self._groups[key]
        name = self._selection.shard_names[shard]
        if shard in self._parts:
            self._parts.move_to_end(shard)
        else:
            self._parts[shard] = self.stored.open_part(name)
            if len(self._parts) > KEPT_PARTS:
                self._parts.popitem(last=False)[1].close()
        self._groups[key] = group = self.stored.read_group(self._parts[shard], name, number)
        if len(self._groups) > KEPT_GROUPS:
            self._groups.popitem(last=False)
        return group


class FlatEmbeddings(EmbeddingStore):
    """All embeddings in one flat array: a mapped file, decoded once, or memory."""

    def __init__(
        self,
        selection: Selection,
        stored: StoredEmbeddings,
        order: _StoredOrder,
        kind: str,
        cache_dir: str | None,
    ):
        self.stored = stored
        self._begin, self._lengths = order.begin, selection.lengths
        self._shape = (order.n_residues, stored.dimension)
        self._place: Path | None = None
        self._shared: Tensor | None = None
        self._array: NDArray[Any] | None = None
        if kind == "memory":
            array = np.empty(self._shape, stored.dtype)
            order.fill(array)
            # Spawned workers get a handle, not a copy; forked ones share the pages anyway.
            self._shared = torch.from_numpy(array).share_memory_()
        else:
            parts = [part["sha256"] for part in stored.summary["parts"]]
            self._place = cache.place_of(selection.dataset, [KEY, *parts], cache_dir)
            size = order.n_residues * stored.dimension * stored.dtype.itemsize
            what = f"decoding the embeddings {stored.name} of {order.n_residues} residues"
            cache.make_once(self._place, size, what, lambda scratch: self._write(scratch, order))

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_array": None}

    def _write(self, scratch: Path, order: _StoredOrder) -> None:
        n_bytes = int(np.prod(self._shape)) * self.stored.dtype.itemsize
        with open(scratch / _FILE, "wb") as file:
            # Blocks now, not a bus error when a page of a full disk is touched.
            os.posix_fallocate(file.fileno(), 0, n_bytes)
        array = np.memmap(scratch / _FILE, self.stored.dtype, "r+", shape=self._shape)
        order.fill(array)
        array.flush()
        (scratch / cache.DONE).write_text(json.dumps({"embeddings": self.stored.name}))

    def find(self, chain: int) -> NDArray[Any]:
        if self._array is None:
            if self._shared is not None:
                self._array = self._shared.numpy()
            else:
                assert self._place is not None
                path = self._place / _FILE
                self._array = cache.map_file(path, self.stored.dtype, self._shape)
        begin = int(self._begin[chain])
        return self._array[begin : begin + int(self._lengths[chain])]


_FILE = "embedding.bin"


class _StoredOrder:
    """Embedded chains of the dataset in the order of its parts.

    Attributes
    ----------
    n_residues : int
        Of all chains that are embedded.
    begin : (n,) int64
        First residue of each chosen chain among these.
    """

    def __init__(self, selection: Selection, stored: StoredEmbeddings):
        self._selection, self._stored = selection, stored
        columns = ["chain_uid", "shard", "row_group", "row", "length"]
        table = selection.dataset.table(INDEX, columns)
        shard = table["shard"].combine_chunks()
        shard = shard.chunk(0) if isinstance(shard, pa.ChunkedArray) else shard
        place = {part["name"]: k for k, part in enumerate(stored.summary["parts"])}
        number = np.array([place[name] for name in shard.dictionary.to_pylist()])
        keys = table["row"].to_numpy(), table["row_group"].to_numpy()
        order = np.lexsort((*keys, number[shard.indices.to_numpy()]))
        lengths = table["length"].to_numpy().astype(np.int64)[order]
        self._is_there = np.ones(len(order), bool)
        if not stored.is_complete:
            embedded = stored.lengths()
            if len(embedded) != len(lengths) or (lengths != embedded)[embedded >= 0].any():
                raise other_chains(stored)
            self._is_there = embedded >= 0
        self._lengths = np.where(self._is_there, lengths, 0)
        self._uids = table["chain_uid"].take(pa.array(order))
        rank = np.empty(len(order), np.int64)
        rank[order] = np.arange(len(order))
        self._rank = rank[selection.position]
        self.n_residues = int(self._lengths.sum())
        self.begin = (np.cumsum(self._lengths) - self._lengths)[self._rank]

    def check_all_are_there(self) -> None:
        """See that every chosen chain is embedded."""
        there = self._is_there[self._rank]
        if there.all():
            return
        lacking = self._selection.uids[int(np.argmin(there))].as_py()
        stored = self._stored
        raise ValueError(
            f"{np.count_nonzero(~there)} of {len(there)} chains have no embedding in "
            f"{stored.name!r}, such as {lacking}: they were made where {stored.summary['where']}; "
            "choose with the same where=, or embed the others too"
        )

    def fill(self, array: NDArray[Any]) -> None:
        """Decode all parts into an ``(n_residues, E)`` array."""
        chain = begin = 0
        for part in self._stored.summary["parts"]:
            name = part["name"]
            with self._stored.open_part(name) as file:
                for number in range(file.metadata.num_row_groups):
                    group = self._stored.read_group(file, name, number)
                    n, end = len(group.uids), begin + len(group.values)
                    if (
                        group.uids != self._uids.slice(chain, n).to_pylist()
                        or (np.diff(group.offsets) != self._lengths[chain : chain + n]).any()
                    ):
                        raise other_chains(self._stored, name)
                    array[begin:end] = group.values
                    chain, begin = chain + n, end
        if chain != len(self._lengths):
            raise other_chains(self._stored)


def other_chains(stored: StoredEmbeddings, part: str = "") -> DamagedShard:
    """The error for a part that does not fit the dataset."""
    path = stored.folder.describe(stored.path(part)).rstrip("/")
    return DamagedShard(
        f"{path}: its chains are not those of the index; delete it, and run "
        f"`python -m pipeline.embed {stored.folder} --name {stored.name}` again with its --model"
    )
