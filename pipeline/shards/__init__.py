"""The file format: schema, writer, reader, chains of rows, digests. Nothing else knows it."""

from pipeline.shards.chains import CHAIN_COLUMNS, chains_of, insertion_codes
from pipeline.shards.complete import complete_rows, lacking
from pipeline.shards.digest import dataset_digest, row_digest
from pipeline.shards.reader import ColumnToAdd, DamagedShard, Rows, open_shard, read_rows
from pipeline.shards.schema import (
    FILES_ALONE_TELL,
    INDEX_COLUMNS,
    LATER_COLUMNS,
    NULL_WHERE_LACKING,
    SCHEMA_VERSION,
    UNITS,
    shard_schema,
    with_later_columns,
)
from pipeline.shards.writer import ShardWriter, record_batch

__all__ = [
    "CHAIN_COLUMNS",
    "FILES_ALONE_TELL",
    "INDEX_COLUMNS",
    "LATER_COLUMNS",
    "NULL_WHERE_LACKING",
    "SCHEMA_VERSION",
    "UNITS",
    "ColumnToAdd",
    "DamagedShard",
    "Rows",
    "ShardWriter",
    "chains_of",
    "complete_rows",
    "dataset_digest",
    "insertion_codes",
    "lacking",
    "open_shard",
    "read_rows",
    "record_batch",
    "row_digest",
    "shard_schema",
    "with_later_columns",
]
