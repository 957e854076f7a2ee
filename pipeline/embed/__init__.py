"""Embeddings of a frozen protein language model for every residue, beside the dataset."""
