"""Rows of a shard that was built before some columns were there → rows that have all of them."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from pipeline.features import compute_features
from pipeline.shards.chains import chains_of
from pipeline.shards.reader import rows_of
from pipeline.shards.schema import LATER_COLUMNS, shard_schema, with_later_columns
from pipeline.shards.writer import record_batch


def lacking(found: pa.Schema) -> list[str]:
    """`LATER_COLUMNS` that a shard lacks, in the order of the schema."""
    return [n for n in shard_schema().names if n in LATER_COLUMNS and n not in found.names]


def complete_rows(rows: pa.Table, path: str | Path) -> pa.Table:
    """Add the columns that rows lack, computed from their coordinates as a build does.

    Parameters
    ----------
    rows : pyarrow.Table
        All that a shard has; `LATER_COLUMNS` may be missing.
    path : str or Path
        Of the shard, for errors.

    Returns
    -------
    pyarrow.Table
        Of `shard_schema`; what was there is as it was.

    Raises
    ------
    DamagedShard
    """
    schema = shard_schema()
    missing = lacking(rows.schema)
    if missing:
        chains = chains_of(rows_of(with_later_columns(rows, schema.names), path))
        # Thickness and shape decide Gaussians alone, and these are there.
        computed = record_batch(chains, compute_features(chains), schema)
        for name in missing:
            rows = rows.append_column(schema.field(name), computed.column(name))
    return rows.select(schema.names).replace_schema_metadata(None).cast(schema)
