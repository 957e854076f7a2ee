"""Protein structure files → Gaussian-ellipsoid Parquet shards; importing this needs no torch."""
