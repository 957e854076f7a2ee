"""``python -m pipeline.subset``: a smaller dataset out of one, or one out of several."""
