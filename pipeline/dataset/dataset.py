"""`ShardDataset`: the chains or entries of a built dataset, by number."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from pipeline.built.stored_embeddings import StoredEmbeddings
from pipeline.commands.words import several, told
from pipeline.dataset.crops import Crop
from pipeline.dataset.draw import repeat_of
from pipeline.dataset.embeddings import KEY, open_embeddings
from pipeline.dataset.entities import NO_ENTITY
from pipeline.dataset.items import Item, ItemMaker, Transform
from pipeline.dataset.labels import Labels, LabelSource, as_value
from pipeline.dataset.store import FlatStore, ShardStore, Store
from pipeline.files.storage import Location
from pipeline.selection.fields import DEFAULT_FIELDS, FIELDS, OF_CHAINS
from pipeline.selection.selection import (
    INDEX,
    Selection,
    Where,
    index_table,
    select,
    sequences_of,
)
from pipeline.shards import INDEX_COLUMNS


class ShardDataset(Dataset[Item]):
    """Map-style dataset over what `pipeline.build` leaves.

    Parameters
    ----------
    path : str, Path or Place
        The build's output folder, or its URI (``s3://…``, ``gs://…``).
    columns : sequence of str, optional
        What items hold besides their names: per-residue fields (`fields.FIELDS` and
        `fields.OF_CHAINS`) and columns of the index (``resolution``, ``method``, …; one value per
        item, that of its first chain). Without it `fields.DEFAULT_FIELDS`, and of entries all of
        `fields.OF_CHAINS`. What is not asked for is not read.
    where : str or pyarrow.compute.Expression, optional
        Which chains: SQL text (`pipeline.where`) or an expression over the columns of the index
        and of ``splits.parquet``. What is unknown does not pass.
    entry_where : str or pyarrow.compute.Expression, optional
        Which entries: those all of whose chains fulfil it, those that `where` leaves out included.
    split : str, optional
        Chains of this split of ``splits.parquet``.
    unit : {"chain", "entry"}
        What an item is: a chain, or all chosen chains of one entry, model and assembly, one behind
        the other, told apart by ``chain_index``.
    cache : {None, "mmap", "memory"}
        None: shards are decoded as they are needed; good for reading in the order of the shards,
        slow for random access. ``"mmap"``: the whole dataset is decoded once into flat files
        (their place and size are logged before), and random access costs microseconds; any number
        of processes share them. ``"memory"``: the same, in the memory of this process and its
        workers.
    cache_dir : str, optional
        For ``"mmap"``. By default ``.cache`` in the dataset's folder, or the user's cache folder if
        that cannot be written.
    crop : Crop, optional
        `ContiguousCrop`, `SpatialCrop`, `InterfaceCrop` or `MixedCrop`.
    transform : callable, optional
        item → item, applied last. Must be picklable for spawned workers.
    labels : pyarrow.Table, mapping or path, optional
        See `Labels`.
    missing_labels : {"error", "drop"}
        What becomes of chosen items without a label; `n_unlabelled` counts those that were dropped.
    embedding : str, optional
        Name of embeddings that `pipeline.embed` made of the dataset: items have them as
        ``embedding``, (L, E) in the type in which they are stored. `cache` holds for them as well.
    seed : int
        Of the crops, which are a pure function of (seed, epoch, name of the item, how often the
        item was drawn in the epoch before).

    Attributes
    ----------
    lengths : (n,) int64
        Residues of each item, after cropping.
    chain_uids : list of str
        Of the first chain of each item.
    index : pyarrow.Table
        All columns of the index and of the splits, one row per item.
    digest : str
        Of the whole dataset.
    embeddings : StoredEmbeddings or None
        What is known of them, such as their `dimension`.

    Raises
    ------
    UnreadableDataset
        No finished dataset there, or of another schema version, or no fitting splits.
    DamagedShard
        A file is missing or damaged; also when an item is read.
    ValueError
        Wrong names or conditions, or nothing fulfils them.
    CacheError
        No room for the cache.
    """

    def __init__(
        self,
        path: Location,
        *,
        columns: Sequence[str] | None = None,
        where: Where = None,
        entry_where: Where = None,
        split: str | None = None,
        unit: Literal["chain", "entry"] = "chain",
        cache: Literal["mmap", "memory"] | None = None,
        cache_dir: str | None = None,
        crop: Crop | None = None,
        transform: Transform | None = None,
        labels: LabelSource | None = None,
        missing_labels: Literal["error", "drop"] = "error",
        embedding: str | None = None,
        seed: int = 0,
    ):
        if cache not in (None, "mmap", "memory"):
            raise ValueError(f'cache is None, "mmap" or "memory", not {cache!r}')
        fields, scalars = sort_columns(columns)
        if columns is None and unit == "entry":
            fields += [name for name in OF_CHAINS if name not in fields]
        selection = select(path, where=where, entry_where=entry_where, split=split, unit=unit)
        self.unit, self.split, self.cache = unit, split, cache
        self.labels = Labels(labels) if labels is not None else None
        self.n_unlabelled = 0
        if self.labels is not None:
            selection = self._labelled(selection, self.labels, missing_labels)
        self._selection = selection
        self._maker = ItemMaker(fields, crop, transform, seed)
        self._scalars = self._read_scalars(scalars)
        self._entities = entity_codes(selection) if self._maker.tells_entities else None
        self._epoch = torch.zeros(1, dtype=torch.int64).share_memory_()
        self._store: Store
        if cache is None:
            self._store = ShardStore(selection, self._maker.read)
        else:
            self._store = FlatStore(selection, self._maker.read, cache, cache_dir)
        self._embeddings = None
        if embedding is not None:
            self._embeddings = open_embeddings(selection, embedding, cache, cache_dir)

    def __len__(self) -> int:
        return len(self._selection)

    def __repr__(self) -> str:
        split = "" if self.split is None else f", split {self.split}"
        return (
            f"{type(self).__name__}({self._selection.dataset.folder}: "
            f"{several(len(self), self.unit, 'entries' if self.unit == 'entry' else None)}, "
            f"{several(int(self.lengths.sum()), 'residue')}{split}, cache {told(self.cache)})"
        )

    def __getitem__(self, number: int) -> Item:
        return self.item(number)

    def item(self, number: int, focus: Sequence[int] = ()) -> Item:
        """An item, a crop of which is to be of some of its chains.

        Parameters
        ----------
        number : int
            A `Draw` that comes again in an epoch is cropped anew.
        focus : sequence of int, optional
            Places of one or two chains in the item. They name it: ``chain_uid`` is that of the
            first, and ``focus`` has those of all.
        """
        n = len(self)
        if not -n <= number < n:
            raise IndexError(f"item {number} of {n}")
        repeat, number = repeat_of(number), int(number) % n
        selection = self._selection
        chains = selection.chains_of(number)
        parts = [self._store.find(chain) for chain in chains]
        extras = item_names(selection, chains, self.unit)
        if focus:
            extras["focus"] = [extras["chain_uids"][place] for place in focus]
            extras["chain_uid"] = extras["focus"][0]
        for name, values in self._scalars.items():
            extras[name] = scalar_value(values, number)
        if self.labels is not None:
            extras.update(labels_of(self.labels, extras, self.unit))
        more = None if self._embeddings is None else {KEY: self._embeddings.of(chains)}
        name = "+".join(extras["focus"]) if focus else extras["chain_uid"]
        return self._maker.make(
            f"{name} {repeat}" if repeat else name,
            parts,
            extras,
            int(self._epoch),
            more,
            entities=None if self._entities is None else self._entities[chains].tolist(),
            focus=focus,
        )

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch it is, for the crops; running workers are told too.

        To be called between epochs, before the loader is iterated.
        """
        self._epoch.fill_(epoch)

    @cached_property
    def lengths(self) -> NDArray[np.int64]:
        lengths = self._selection.item_lengths
        crop = self._maker.crop
        return lengths if crop is None else np.minimum(lengths, crop.size)

    @cached_property
    def chain_uids(self) -> list[str]:
        return self._selection.uids.take(pa.array(self._selection.first_members)).to_pylist()

    @cached_property
    def index(self) -> pa.Table:
        return index_table(self._selection)

    @property
    def selection(self) -> Selection:
        """Which chains of the dataset make the items."""
        return self._selection

    @property
    def columns(self) -> tuple[str, ...]:
        """What items hold besides names, labels and embeddings."""
        return (*self._maker.fields, *self._scalars)

    @property
    def digest(self) -> str:
        return self._selection.dataset.build.digest

    @property
    def n_chains(self) -> int:
        """Of all items."""
        return len(self._selection.uids)

    def sequences(self) -> list[str]:
        """One-letter sequence of each chosen chain, in the order of the index; shards are read.

        Raises
        ------
        DamagedShard
        """
        return sequences_of(self._selection)

    @property
    def embeddings(self) -> StoredEmbeddings | None:
        return None if self._embeddings is None else self._embeddings.stored

    @property
    def blocks(self) -> list[NDArray[np.int64]]:
        """Items by row group, in the order of the shards.

        Without a cache, an order that shuffles the blocks, and the items within a few of them,
        decodes every row group once.
        """
        selection = self._selection
        first = selection.first_members
        keys = np.stack([selection.shard[first], selection.row_group[first]])
        order: NDArray[np.int64] = np.lexsort((selection.row[first], keys[1], keys[0]))
        changes = np.flatnonzero((np.diff(keys[:, order]) != 0).any(axis=0)) + 1
        return np.split(order, changes)

    def _labelled(self, selection: Selection, labels: Labels, missing: str) -> Selection:
        known = np.array([uid in labels for uid in selection.uids.to_pylist()])
        whole = np.logical_and.reduceat(known[selection.members], selection.item_offsets[:-1])
        self.n_unlabelled = int(np.count_nonzero(~whole))
        if not self.n_unlabelled:
            return selection
        lacking = selection.uids[int(selection.first_members[np.argmin(whole)])].as_py()
        if missing == "error":
            raise ValueError(
                f"{self.n_unlabelled} of {len(whole)} items have no label, such as {lacking}; "
                'choose with where=, or give missing_labels="drop"'
            )
        if not whole.any():
            raise ValueError(f"no item has a label: none of the names fits, such as {lacking}")
        return selection.only(np.flatnonzero(whole))

    def _read_scalars(self, names: Sequence[str]) -> dict[str, pa.ChunkedArray]:
        if not names:
            return {}
        table = index_table(self._selection)
        return {name: table[name].combine_chunks() for name in names}


def scalar_value(values: pa.ChunkedArray, row: int) -> Any:
    """One value of a column of the index; an unknown real number is NaN."""
    value = values[row].as_py()
    if value is None and pa.types.is_floating(values.type):
        value = float("nan")
    return as_value(value)


def sort_columns(columns: Sequence[str] | None) -> tuple[list[str], list[str]]:
    """(per-residue fields, columns of the index) of what was asked for."""
    if columns is None:
        return list(DEFAULT_FIELDS), []
    if isinstance(columns, str):
        raise ValueError(f"columns is a list of names, not {columns!r}")
    names = list(dict.fromkeys(columns))
    scalars = [n for n in names if n in INDEX_COLUMNS and n not in ("chain_uid", "entry_id")]
    fields = [n for n in names if n not in INDEX_COLUMNS]
    unknown = [n for n in fields if n not in FIELDS and n not in OF_CHAINS]
    if unknown:
        raise ValueError(
            f"no column {unknown[0]!r}; per residue there are "
            f"{', '.join([*FIELDS, *OF_CHAINS])}; per item {', '.join(INDEX_COLUMNS)}"
        )
    if not set(fields) - {*OF_CHAINS}:
        raise ValueError("ask for at least one per-residue column")
    return fields, scalars


def entity_codes(selection: Selection) -> NDArray[np.int64]:
    """Of each chosen chain, (n,): a number for the ``entity_id`` of its file, or `NO_ENTITY`."""
    table = selection.dataset.table(INDEX, ["entity_id"])
    column = pc.dictionary_encode(table["entity_id"].combine_chunks().cast(pa.string()))
    codes = pc.fill_null(column.indices, NO_ENTITY).to_numpy(zero_copy_only=False)
    return codes.astype(np.int64)[selection.position]


def item_names(selection: Selection, chains: Sequence[int], unit: str) -> dict[str, Any]:
    """``chain_uid`` of an item; of an entry the first one, and all as ``chain_uids``."""
    uids = [selection.uids[chain].as_py() for chain in chains]
    return {"chain_uid": uids[0], "chain_uids": uids} if unit == "entry" else {"chain_uid": uids[0]}


def labels_of(labels: Labels, names: dict[str, Any], unit: str) -> dict[str, Any]:
    """Labels of one item; of an entry lists over its chains."""
    if unit == "chain":
        return labels.of(names["chain_uid"])
    found = [labels.of(uid) for uid in names["chain_uids"]]
    return {name: [values[name] for values in found] for name in labels.names}
