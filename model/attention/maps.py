"""What one layer looked at, for plots."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from model.tensor_record import TensorRecord


@dataclass(frozen=True)
class AttentionMaps(TensorRecord):
    """Matrices of some heads for one item of a batch; rows are queries.

    Attributes
    ----------
    logits_before : (H, N, N) float
        Of content and pair, before the geometry.
    geometric_bias : (H, N, N) float
        What the geometry adds: γz; with the affine geometry a g/P, less its mean over the row.
    logits_after : (H, N, N) float
        The sum of both.
    attention : (H, N, N) float
        Weights: rows sum to 1; zeros in the columns of padding, and its rows.
    distances : (N, N) float
        Between the origins of the frames (CA), in the unit of the rigids.
    gamma : (H,) float
        Weight of the geometry.
    mask : (N,) bool
        False at padding, where the matrices mean nothing.
    """

    logits_before: Tensor
    geometric_bias: Tensor
    logits_after: Tensor
    attention: Tensor
    distances: Tensor
    gamma: Tensor
    mask: Tensor
