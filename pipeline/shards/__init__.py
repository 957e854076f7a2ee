"""The file format: schema, writer, reader, digests. Nothing else knows it."""

from pipeline.shards.digest import dataset_digest, row_digest
from pipeline.shards.reader import DamagedShard, Rows, open_shard, read_rows
from pipeline.shards.schema import INDEX_COLUMNS, SCHEMA_VERSION, UNITS, shard_schema
from pipeline.shards.writer import ShardWriter, record_batch

__all__ = [
    "INDEX_COLUMNS",
    "SCHEMA_VERSION",
    "UNITS",
    "DamagedShard",
    "Rows",
    "ShardWriter",
    "dataset_digest",
    "open_shard",
    "read_rows",
    "record_batch",
    "row_digest",
    "shard_schema",
]
