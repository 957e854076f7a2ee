"""The index of a dataset whose shards have got columns: it repeats those of chains."""

from __future__ import annotations

import pyarrow as pa

from pipeline.built.built_dataset import BuiltDataset
from pipeline.built.layout import Layout
from pipeline.built.tables import write_table
from pipeline.files.atomic import appears_whole
from pipeline.shards import INDEX_COLUMNS, LATER_COLUMNS, DamagedShard, open_shard, shard_schema


def complete_index(dataset: BuiltDataset, layout: Layout) -> bool:
    """Write the index anew if it does not say what the shards do; whether it was written.

    Parameters
    ----------
    dataset : BuiltDataset
        Its shards have all columns.
    layout : Layout

    Raises
    ------
    DamagedShard
        A shard does not hold the chains of the index.
    """
    index = dataset.index()
    later = [name for name in INDEX_COLUMNS if name in LATER_COLUMNS]
    schema = pa.schema([shard_schema().field(name) for name in ("chain_uid", *later)])
    tables = [schema.empty_table()]
    for listed in dataset.build.shards:
        path = layout.root / layout.shards / listed.name
        with open_shard(path) as shard:
            tables.append(shard.read(columns=schema.names).replace_schema_metadata(None))
    said = pa.concat_tables(tables)
    if not said["chain_uid"].equals(index["chain_uid"].cast(pa.string())):
        raise DamagedShard(
            f"{layout.root}: its shards do not hold the chains of index.parquet, in its order; "
            f"`python -m pipeline.verify {layout.root}` says more"
        )
    if all(n in index.column_names and index[n].equals(said[n]) for n in later):
        return False
    places = [name for name in index.column_names if name not in INDEX_COLUMNS]
    columns = [said[n] if n in later else index[n] for n in INDEX_COLUMNS]
    fields = [shard_schema().field(n) for n in INDEX_COLUMNS]
    whole = pa.table(columns, schema=pa.schema(fields))
    for name in places:
        whole = whole.append_column(index.schema.field(name), index[name])
    with appears_whole(layout.root / layout.index, layout.scratch) as path:
        write_table(whole, path)
    return True
