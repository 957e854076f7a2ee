"""Rows of the sources → rows of the subset: chosen, each chain once, entries together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.shards import INDEX_COLUMNS, with_later_columns
from pipeline.subset.chain_list import ChainList
from pipeline.subset.sources import Source, SubsetError
from pipeline.where import parse_where

PLACE = ("shard", "row_group", "row")
"""Columns of an index that say where a chain is."""

NAMED = 5
"""So many names in a message."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What the subset is made of.

    Attributes
    ----------
    rows : pyarrow.Table
        Rows of the sources' indices in the order in which they are written, with a column
        ``dataset``: the number of the source.
    duplicates : int
        Chains that another source has as well.
    not_found : list of str
        Names of the list that no source has.
    """

    rows: pa.Table
    duplicates: int
    not_found: list[str]


def choose(
    sources: Sequence[Source], where: str | None = None, chain_list: ChainList | None = None
) -> Choice:
    """Choose chains of the sources, and order them.

    They stand in the order of the sources and their indices. An entry that several sources have
    stands where its first chain is.

    Raises
    ------
    WhereError
    SubsetError
        Nothing is left, or one name stands for different chains.
    """
    found: set[str] = set()
    tables = []
    for number, source in enumerate(sources):
        index = source.index
        if chain_list is not None:
            mask, names = chain_list.chosen(index)
            found |= names
            index = index.filter(pa.array(mask))
        if where is not None:
            index = index.filter(parse_where(where, source.index.schema))
        # What is written is read from the shards, which are completed: these nulls only let the
        # indices of older and newer builds stand in one table.
        index = with_later_columns(index, [*INDEX_COLUMNS, *PLACE])
        index = index.set_column(
            index.schema.get_field_index("shard"), "shard", index["shard"].cast(pa.string())
        )
        column = pa.array(np.full(index.num_rows, number, np.int32))
        tables.append(index.append_column("dataset", column))
    rows = pa.concat_tables(tables)
    not_found = chain_list.not_found(found) if chain_list is not None else []
    if not rows.num_rows:
        reasons = [f"fulfils {where}"] if where is not None else []
        if chain_list is not None:
            told = f", which has {listed_in_vain(chain_list, not_found)}" if not_found else ""
            reasons.append(f"is in the list{told}")
        raise SubsetError(
            f"no chain {' and '.join(reasons)}" if reasons else "the datasets hold no chains"
        )
    kept = _each_once(rows, sources)
    return Choice(_entries_together(rows.take(kept)), rows.num_rows - len(kept), not_found)


def listed_in_vain(chain_list: ChainList, not_found: Sequence[str]) -> str:
    """The first names that were not found, and what may be wrong with them."""
    more = ", …" if len(not_found) > NAMED else ""
    return f"{', '.join(not_found[:NAMED])}{more}{chain_list.remark(not_found)}"


def _each_once(rows: pa.Table, sources: Sequence[Source]) -> pa.Array:
    """The first row of each chain.

    Raises
    ------
    SubsetError
        Rows of one ``chain_uid`` differ.
    """
    uids = rows["chain_uid"].to_pylist()
    digests = rows["row_sha256"].to_pylist()
    first: dict[str, int] = {}
    differing: list[tuple[str, int, int]] = []
    for k, uid in enumerate(uids):
        other = first.setdefault(uid, k)
        if digests[other] != digests[k]:
            differing.append((uid, other, k))
    if differing:
        numbers = rows["dataset"].to_numpy()
        uid, a, b = differing[0]
        names = ", ".join(uid for uid, *_ in differing[:NAMED])
        more = f" and {len(differing) - NAMED:,} more" if len(differing) > NAMED else ""
        if numbers[a] == numbers[b]:
            raise SubsetError(
                f"{sources[numbers[a]]} has different chains under one name: {names}{more}; rename "
                "one of the files that they are from, and build it again"
            )
        raise SubsetError(
            f"{sources[numbers[a]]} and {sources[numbers[b]]} have different chains under one "
            f"name: {names}{more}; leave them out of one of the datasets first, with a subset of it"
        )
    return pa.array(list(first.values()), pa.int64())


def _entries_together(rows: pa.Table) -> pa.Table:
    codes = pc.dictionary_encode(rows["entry_id"]).combine_chunks()
    number = codes.indices.to_numpy()
    # Numbers are given in the order of first appearance.
    return rows.take(pa.array(np.argsort(number, kind="stable")))
