"""Pairs of chains in contact, from shards that were built before there was a table of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet
from dataclasses import replace
from itertools import groupby
from operator import attrgetter

import pyarrow as pa

from pipeline.built.errors import UnfinishedBuild
from pipeline.built.layout import Layout
from pipeline.built.records import InputRecord, PartRecord, write_record
from pipeline.chain import Chain
from pipeline.interfaces import find_interfaces, joined
from pipeline.shards import CHAIN_COLUMNS, DamagedShard, chains_of, open_shard, read_rows

BATCH_RESIDUES = 16_384

FLAG = "interfaces_left_out"
"""Of a file whose entry has too many atoms in one place."""


def with_interfaces(layout: Layout, record: PartRecord) -> PartRecord:
    """The record with the interfaces of its shard's chains, and so written.

    A shard holds no ligands and no nucleic acids: the columns about these are null.

    Raises
    ------
    UnfinishedBuild
        The shard is damaged.
    StorageError, OSError
    """
    tables: list[pa.Table] = []
    left_out: set[str] = set()
    entries = groupby(_chains(layout, record.number), attrgetter("entry_id"))
    try:
        for chains in batches_of(entry for _, entry in entries):
            table, crowded = find_interfaces(chains, None)
            tables.append(table)
            left_out |= crowded
    except DamagedShard as error:
        layout.folder.delete(layout.record(record.number))
        name = layout.describe(layout.shard(record.number))
        raise UnfinishedBuild(
            f"{name} is damaged; run the same build, or its --part, again to make it anew"
        ) from error
    inputs = flagged(record.inputs, left_out)
    whole = replace(record, inputs=inputs, interfaces=joined(tables))
    write_record(layout, whole)
    return whole


def batches_of(entries: Iterable[Iterable[Chain]]) -> Iterator[list[Chain]]:
    """The chains of whole entries, so many entries together."""
    chains: list[Chain] = []
    n_residues = 0
    for entry in entries:
        for chain in entry:
            chains.append(chain)
            n_residues += len(chain)
        if n_residues >= BATCH_RESIDUES:
            yield chains
            chains, n_residues = [], 0
    if chains:
        yield chains


def flagged(inputs: Iterable[InputRecord], left_out: AbstractSet[str]) -> list[InputRecord]:
    """The records, with a flag on those of the entries that have no interfaces."""
    return [
        replace(r, flags=[*r.flags, FLAG])
        if r.status == "ok" and r.entry_id in left_out and FLAG not in r.flags
        else r
        for r in inputs
    ]


def _chains(layout: Layout, number: int) -> Iterator[Chain]:
    path = layout.folder.join(layout.shards, layout.shard_name(number))
    with open_shard(path, layout.folder.filesystem) as shard:
        for group in range(shard.num_row_groups):
            yield from chains_of(read_rows(shard, path, [group], CHAIN_COLUMNS))
