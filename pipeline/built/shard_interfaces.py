"""Pairs of chains in contact, of a part that was built before there was a table of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pyarrow as pa

from pipeline.built.errors import UnfinishedBuild
from pipeline.built.layout import Layout
from pipeline.built.records import PartRecord, write_record
from pipeline.chain import Chain
from pipeline.interfaces import find_interfaces, joined
from pipeline.shards import CHAIN_COLUMNS, DamagedShard, chains_of, open_shard, read_rows

BATCH_RESIDUES = 16_384


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
    crowded: set[str] = set()
    try:
        for chains in _batches(layout, record.number):
            table, left_out = find_interfaces(chains, None)
            tables.append(table)
            crowded |= left_out
    except DamagedShard as error:
        layout.folder.delete(layout.record(record.number))
        name = layout.describe(layout.shard(record.number))
        raise UnfinishedBuild(
            f"{name} is damaged; run the same build, or its --part, again to make it anew"
        ) from error
    inputs = [
        replace(r, flags=[*r.flags, "interfaces_left_out"])
        if r.status == "ok" and r.entry_id in crowded
        else r
        for r in record.inputs
    ]
    whole = replace(record, inputs=inputs, interfaces=joined(tables))
    write_record(layout, whole)
    return whole


def _batches(layout: Layout, number: int) -> Iterator[list[Chain]]:
    """The chains of a shard, so many entries together."""
    path = layout.folder.join(layout.shards, layout.shard_name(number))
    chains: list[Chain] = []
    with open_shard(path, layout.folder.filesystem) as shard:
        for group in range(shard.num_row_groups):
            for chain in chains_of(read_rows(shard, path, [group], CHAIN_COLUMNS)):
                is_new = bool(chains) and chain.entry_id != chains[-1].entry_id
                if is_new and sum(map(len, chains)) >= BATCH_RESIDUES:
                    yield chains
                    chains = []
                chains.append(chain)
    if chains:
        yield chains
