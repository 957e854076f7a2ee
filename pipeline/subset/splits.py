"""``splits.parquet`` of a subset: that of its sources, where all of them have the same."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import pyarrow as pa

from pipeline.built.built_dataset import UnreadableDataset
from pipeline.split.table import FILE_NAME, SCHEMA, SCHEMA_WITH_NEAREST
from pipeline.subset.sources import Source

ORIGIN = b"split_digest"
"""Key of the metadata: the digest of the dataset that was split, where that is another one."""


class SplitsLeftOut(Exception):
    """The sources have splits that cannot be the subset's; the sentence says why."""


def carried_splits(
    sources: Sequence[Source], uids: Collection[str], digest: str
) -> pa.Table | None:
    """The sources' splits of the chains that were kept; None if no source has any.

    Splits of several sources are joined if they come from one run of pipeline.split, through any
    number of subsets. Splits of different runs do not know of each other: one may train with a
    sequence that another tests with.

    Parameters
    ----------
    sources : sequence of Source
        Those that chains were taken from.
    uids : collection of str
        The chains that were kept.
    digest : str
        Of the subset.

    Raises
    ------
    SplitsLeftOut
    StorageError
    """
    there = [source.dataset.folder.exists(FILE_NAME) for source in sources]
    if not any(there):
        return None
    if not all(there):
        raise SplitsLeftOut(f"{sources[there.index(False)]} has none")
    tables = [_read(source) for source in sources]
    first = _run(tables[0])
    for source, table in zip(sources, tables, strict=True):
        if _run(table) != first:
            raise SplitsLeftOut(
                f"{sources[0]} and {source} were split apart, so that the one may train with "
                "sequences that the other tests with"
            )
    rows: dict[str, dict[str, Any]] = {}
    wanted = set(uids)
    for source, table in zip(sources, tables, strict=True):
        for row in table.to_pylist():
            uid = row["chain_uid"]
            if uid in wanted and rows.setdefault(uid, row) != row:
                raise SplitsLeftOut(f"{source} has {uid} in another split or cluster than another")
    if missing := wanted - rows.keys():
        raise SplitsLeftOut(f"{min(missing)} is in none of them")
    metadata = {**first, b"digest": digest.encode()}
    ordered = [rows[uid] for uid in sorted(rows)]
    # One run of pipeline.split wrote them all, and so they have the same columns.
    return pa.Table.from_pylist(ordered, tables[0].schema.with_metadata(metadata))


def _read(source: Source) -> pa.Table:
    try:
        table = source.dataset.table(FILE_NAME)
    except UnreadableDataset as error:
        raise SplitsLeftOut(str(error).partition(";")[0]) from None
    metadata = table.schema.metadata or {}
    known = table.schema.remove_metadata() in (SCHEMA, SCHEMA_WITH_NEAREST)
    if not known or metadata.get(b"digest") is None:
        raise SplitsLeftOut(f"those of {source} are not what pipeline.split writes")
    if metadata[b"digest"].decode() != source.dataset.build.digest:
        raise SplitsLeftOut(f"those of {source} were made for another state of it")
    return table


def _run(table: pa.Table) -> dict[bytes, bytes]:
    """What says which run of pipeline.split a table is of."""
    metadata = dict(table.schema.metadata)
    here = metadata.pop(b"digest")
    return {**metadata, ORIGIN: metadata.get(ORIGIN, here)}
