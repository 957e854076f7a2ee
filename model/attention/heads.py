"""What the heads of a layer attend with, whatever the geometry that joins the logits."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from model.tensor_record import TensorRecord


@dataclass(frozen=True)
class Heads(TensorRecord):
    """Queries, keys and values of B items, H heads and N residues, and the pair representation.

    Attributes
    ----------
    q, k : (B, H, N, c) float
        In the precision of the layer's products, of 16 bits under autocast.
    v : (B, H, N, C) float
        Whatever is to be averaged: scalars and global points.
    mask : (B, N) bool
        False at residues that are no keys.
    pair : (B, N, N, c_z) float or None
    pair_weight : (H, c_z) float or None
        Projects the pair representation onto a bias of each head.
    """

    q: Tensor
    k: Tensor
    v: Tensor
    mask: Tensor
    pair: Tensor | None = None
    pair_weight: Tensor | None = None
