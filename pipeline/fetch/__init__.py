"""``python -m pipeline.fetch``: download the entries that a manifest names."""
