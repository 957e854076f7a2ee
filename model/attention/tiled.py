"""Gaussian attention in tiles."""

from model.attention.oracle import attend, overlap

__all__ = ["attend", "overlap"]
