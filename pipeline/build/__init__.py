"""``python -m pipeline.build``: structure files → Parquet shards, by plan → map → finalise."""
