"""``python -m pipeline.upgrade``: add the columns that came after a dataset was built."""
