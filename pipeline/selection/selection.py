"""The index of a dataset → the chains or entries that somebody asked for, and where they are."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.built.built_dataset import BuiltDataset, UnreadableDataset
from pipeline.files.storage import Folder, Location
from pipeline.shards import DamagedShard, open_shard, read_rows
from pipeline.where import parse_where

INDEX, SPLITS = "index.parquet", "splits.parquet"
_UNIT = ("entry_id", "model", "assembly")
_PLACE = ("shard", "row_group", "row")
_BASE = ("chain_uid", *_UNIT, "length", *_PLACE)
_WORD = re.compile(r"\w+")

Where: TypeAlias = "str | pc.Expression | None"


@dataclass(frozen=True)
class Selection:
    """Chains of a dataset, in the order of its index, and the items they make.

    Attributes
    ----------
    dataset : BuiltDataset
    shard_names : list of str
    shard_sizes : list of int
        Chains of each.
    shard : (n,) int32
        Of each chosen chain: index into `shard_names`.
    row_group, row : (n,) int32
        Of each chosen chain.
    position : (n,) int64
        Its row in the index.
    lengths : (n,) int64
        Residues.
    uids : pyarrow.StringArray
        ``chain_uid``.
    item_offsets : (m + 1,) int64
        Item i is made of the chains ``members[item_offsets[i]:item_offsets[i + 1]]``.
    members : (n,) int64
        Numbers of chosen chains.
    """

    dataset: BuiltDataset
    shard_names: list[str]
    shard: NDArray[np.int32]
    row_group: NDArray[np.int32]
    row: NDArray[np.int32]
    position: NDArray[np.int64]
    lengths: NDArray[np.int64]
    uids: pa.StringArray
    item_offsets: NDArray[np.int64]
    members: NDArray[np.int64]

    @property
    def folder(self) -> Folder:
        return self.dataset.folder

    def __len__(self) -> int:
        return len(self.item_offsets) - 1

    @cached_property
    def item_lengths(self) -> NDArray[np.int64]:
        """(m,) residues of each item."""
        return np.add.reduceat(self.lengths[self.members], self.item_offsets[:-1])

    @cached_property
    def first_members(self) -> NDArray[np.int64]:
        """(m,) the first chain of each item."""
        return self.members[self.item_offsets[:-1]]

    def chains_of(self, item: int) -> list[int]:
        """Numbers of the chosen chains that an item is made of."""
        return self.members[self.item_offsets[item] : self.item_offsets[item + 1]].tolist()

    def only(self, items: NDArray[np.int64]) -> Selection:
        """The same, of some of the items."""
        counts = np.diff(self.item_offsets)[items]
        begin = self.item_offsets[items]
        ends = np.cumsum(counts)
        within = np.arange(int(counts.sum())) - np.repeat(ends - counts, counts)
        chosen = self.members[np.repeat(begin, counts) + within]
        return Selection(
            dataset=self.dataset,
            shard_names=self.shard_names,
            shard=self.shard[chosen],
            row_group=self.row_group[chosen],
            row=self.row[chosen],
            position=self.position[chosen],
            lengths=self.lengths[chosen],
            uids=self.uids.take(pa.array(chosen)),
            item_offsets=np.concatenate((np.zeros(1, np.int64), ends)),
            members=np.arange(len(chosen)),
        )


def select(
    path: Location,
    *,
    where: Where = None,
    entry_where: Where = None,
    split: str | None = None,
    unit: str = "chain",
) -> Selection:
    """Open a dataset and choose from it; see `ShardDataset` for the parameters.

    Raises
    ------
    UnreadableDataset
        The folder is no finished dataset, or of another schema version; or a split is asked for
        and there are no splits, or they were made for other data.
    ValueError
        A condition or a name that is wrong, or that no chain fulfils.
    """
    if unit not in ("chain", "entry"):
        raise ValueError(f'unit is "chain" or "entry", not {unit!r}')
    dataset = BuiltDataset.open(path)
    folder = dataset.folder
    joined = split is not None or where is not None or entry_where is not None
    splits = _splits(dataset, required=split is not None) if joined else None
    schema = dataset.schema(INDEX).remove_metadata()
    if splits is not None:
        schema = pa.schema([*schema, *(f for f in splits.schema if f.name not in schema.names)])
    conditions = {}
    for name, condition in (("where", where), ("entry_where", entry_where)):
        if isinstance(condition, str):
            conditions[name] = parse_where(condition, schema)
        elif condition is not None:
            conditions[name] = condition
    mentioned = {w for c in conditions.values() for w in _WORD.findall(str(c))}
    in_index = [n for n in dataset.schema(INDEX).names if n in mentioned and n not in _BASE]
    table = dataset.table(INDEX, [*_BASE, *in_index]).replace_schema_metadata(None)
    if splits is not None:
        table = _with_splits(table, splits, mentioned | {"split"})
    keep = np.ones(table.num_rows, bool)
    if split is not None:
        known = pc.unique(table["split"]).to_pylist()
        if split not in known:
            names = ", ".join(sorted(str(k) for k in known if k is not None))
            raise ValueError(f"{folder}: no split {split!r} in {SPLITS} (it has: {names})")
        keep &= _true(pc.equal(table["split"], split))
    units = None
    if unit == "entry" or "entry_where" in conditions:
        units = _units(table)
    if "entry_where" in conditions:
        assert units is not None
        passes = _matching(table, conditions["entry_where"])
        n_units = int(units.max(initial=-1)) + 1
        failing = np.bincount(units[~passes], minlength=n_units) > 0
        keep &= ~failing[units]
    if "where" in conditions:
        keep &= _matching(table, conditions["where"])
    position = np.flatnonzero(keep)
    if not len(position):
        raise ValueError(f"{folder}: no chain of {table.num_rows} fulfils what is asked for")
    if len(position) < table.num_rows:
        table = table.take(pa.array(position))
    if unit == "entry":
        assert units is not None
        _, first, number = np.unique(units[position], return_index=True, return_inverse=True)
        rank = np.empty(len(first), np.int64)
        rank[np.argsort(first, kind="stable")] = np.arange(len(first))
        members = np.argsort(rank[number], kind="stable")
        counts = np.bincount(rank[number])
    else:
        members = np.arange(len(position))
        counts = np.ones(len(position), np.int64)
    shards = _one_array(table["shard"])
    return Selection(
        dataset=dataset,
        shard_names=shards.dictionary.to_pylist(),
        shard=shards.indices.to_numpy().astype(np.int32),
        row_group=table["row_group"].to_numpy(),
        row=table["row"].to_numpy(),
        position=position,
        lengths=table["length"].to_numpy().astype(np.int64),
        uids=_one_array(table["chain_uid"]),
        item_offsets=np.concatenate((np.zeros(1, np.int64), np.cumsum(counts))),
        members=members,
    )


def index_table(selection: Selection) -> pa.Table:
    """All columns of the index, and of the splits if there are any, one row per item: that of its
    first chain."""
    return _index_rows(selection, selection.position[selection.first_members])


def index_of_chains(selection: Selection) -> pa.Table:
    """The same, one row per chosen chain."""
    return _index_rows(selection, selection.position)


def _index_rows(selection: Selection, rows: NDArray[np.int64]) -> pa.Table:
    table = selection.dataset.index()
    splits = _splits(selection.dataset, required=False)
    if splits is not None:
        table = _with_splits(table, splits, set(splits.column_names))
    return table.take(pa.array(rows))


def sequences_of(selection: Selection) -> list[str]:
    """One-letter sequence of each chosen chain, (n,).

    Raises
    ------
    DamagedShard
        A shard cannot be read, or its chains are not those of the index.
    """
    found = [""] * len(selection.uids)
    for number in np.unique(selection.shard):
        path = selection.folder.join("shards", selection.shard_names[number])
        of_shard = np.flatnonzero(selection.shard == number)
        with open_shard(path, selection.folder.filesystem) as file:
            for group in np.unique(selection.row_group[of_shard]):
                rows = read_rows(file, path, [int(group)], ("chain_uid", "sequence")).scalars
                uids, sequences = rows["chain_uid"].to_pylist(), rows["sequence"].to_pylist()
                for chain in of_shard[selection.row_group[of_shard] == group]:
                    row = int(selection.row[chain])
                    if row >= len(uids) or uids[row] != selection.uids[int(chain)].as_py():
                        raise DamagedShard(
                            f"{path}: its chains are not those of the index; `python -m "
                            f"pipeline.verify {selection.folder} --repair` makes them agree"
                        )
                    found[chain] = sequences[row]
    return found


def _splits(dataset: BuiltDataset, required: bool) -> pa.Table | None:
    if not dataset.folder.exists(SPLITS):
        if required:
            raise UnreadableDataset(
                f"{dataset.folder}: no {SPLITS}; `python -m pipeline.split {dataset.folder}` makes "
                "it"
            )
        return None
    table = dataset.table(SPLITS)
    made_for = (table.schema.metadata or {}).get(b"digest", b"").decode()
    digest = dataset.build.digest
    if made_for != digest:
        if required:
            raise UnreadableDataset(
                f"{dataset.folder}: {SPLITS} was made for other data (digest {made_for[:12]}…, the "
                f"dataset has {digest[:12]}…); run `python -m pipeline.split {dataset.folder} "
                "--overwrite`"
            )
        return None
    return table.replace_schema_metadata(None)


def _with_splits(table: pa.Table, splits: pa.Table, names: set[str]) -> pa.Table:
    """The index with columns of the splits, by ``chain_uid``."""
    uids = splits["chain_uid"].combine_chunks()
    place = pc.index_in(table["chain_uid"], value_set=uids)
    for name in splits.column_names:
        if name in names and name not in table.column_names:
            table = table.append_column(name, splits[name].combine_chunks().take(place))
    return table


def _units(table: pa.Table) -> NDArray[np.int64]:
    """Number of the entry, model and assembly of each chain."""
    number = np.zeros(table.num_rows, np.int64)
    for name in _UNIT:
        column = _one_array(pc.dictionary_encode(table[name], null_encoding="encode"))
        codes = column.indices.to_numpy().astype(np.int64)
        _, number = np.unique(number * (int(codes.max(initial=0)) + 1) + codes, return_inverse=True)
    return number


def _matching(table: pa.Table, condition: pc.Expression) -> NDArray[np.bool_]:
    """Which rows fulfil a condition; what is unknown does not."""
    numbered = table.append_column("__position", pa.array(np.arange(table.num_rows)))
    try:
        chosen = numbered.filter(condition)["__position"].to_numpy()
    except pa.ArrowException as error:
        raise ValueError(f"the condition {condition} cannot be applied: {error}") from None
    passes = np.zeros(table.num_rows, bool)
    passes[chosen] = True
    return passes


def _one_array(column: pa.ChunkedArray) -> pa.Array:
    if column.num_chunks == 0:
        return pa.array([], column.type)
    found = column.combine_chunks()
    return found.chunk(0) if isinstance(found, pa.ChunkedArray) else found


def _true(mask: pa.ChunkedArray) -> NDArray[np.bool_]:
    return pc.fill_null(mask, False).to_numpy()
