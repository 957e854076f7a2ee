"""How much atoms overlap, and which residues are near enough for it."""

from __future__ import annotations

import torch
from torch import Tensor

from model.on_device import Constant
from model.torsions.angles import by_type
from pipeline.residues import ATOM14_ELEMENT, VAN_DER_WAALS_RADII

NEARNESS = 0.85
"""Of the sum of two radii: nearer atoms overlap."""

N_NEIGHBOURS = 20

_RADII = [[VAN_DER_WAALS_RADII.get(str(e).upper(), 0.0) for e in row] for row in ATOM14_ELEMENT]
SIZES = Constant(by_type(torch.tensor(_RADII)))
"""Radii of the atoms of each type, Å; 0 where it has none."""


def overlap(a: Tensor, size_a: Tensor, b: Tensor, size_b: Tensor) -> Tensor:
    """Squared overlap of atoms, Å²; those without a size are not there."""
    both = (size_a > 0) & (size_b > 0)
    reach = torch.where(both, NEARNESS * (size_a + size_b), 0.0)
    return (reach - squared(a, b).sqrt_()).clamp_(min=0.0).square_()


def squared(a: Tensor, b: Tensor) -> Tensor:
    """Squared distances of points (..., 3)."""
    x, y, z = ((a[..., k] - b[..., k]).square_() for k in range(3))
    return x.add_(y).add_(z)


def neighbours(cb: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """(B, N, K) numbers of the residues whose CB are nearest, and whether there are so many."""
    n = cb.shape[1]
    both = mask[:, :, None] & mask[:, None, :] & ~torch.eye(n, dtype=torch.bool, device=cb.device)
    distance = squared(cb[:, :, None], cb[:, None]).masked_fill(~both, torch.inf)
    nearest, which = distance.topk(min(N_NEIGHBOURS, n), largest=False)
    return which, torch.isfinite(nearest)
