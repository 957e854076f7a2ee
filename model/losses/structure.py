"""The loss on the structure as a whole: distances between residues."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from model.flow.frames import FrameValue
from model.flow.target import Target
from pipeline.geometry.frames import to_global

CUTOFF = 15.0
"""Å: true distances that count."""

_CA = 1
"""Slot of CA: where it is and how the residue is turned is told by N, C and O."""


def pair_distances(frames: FrameValue, target: Target, counts: Tensor) -> Tensor:
    """Huber loss (Å) of distances between residues, mean over near pairs of each residue, (B, N).

    A residue is three points: N, C and O. Pairs whose true distance is below 15 Å count, if one of
    the two residues is hidden.

    Parameters
    ----------
    frames : rotations, translations and backbones
        As predicted.
    target : Target
    counts : (B, N) bool
        Hidden residues.
    """
    b, n = counts.shape
    points = to_global(frames[0], frames[1], _without_ca(frames[2]))
    truth = to_global(target.rotations, target.translations, _without_ca(target.backbone))
    known = target.frame_mask
    of_point = torch.stack([known, known, target.oxygen_mask], -1)
    different = ~torch.eye(n, dtype=torch.bool, device=counts.device)
    pairs = different & (counts[:, :, None] | counts[:, None, :])
    both = of_point[:, :, :, None, None] & of_point[:, None, None]
    distance = _distances(points.flatten(1, 2)).view(b, n, 3, n, 3)
    with torch.no_grad():
        wanted = _distances(truth.flatten(1, 2)).view(b, n, 3, n, 3)
        near = (wanted < CUTOFF) & pairs[:, :, None, :, None] & both
    error = functional.huber_loss(distance, wanted, reduction="none")
    error = torch.where(near, error, 0.0)
    return error.sum((2, 3, 4)) / near.sum((2, 3, 4)).clamp(min=1)


def _without_ca(backbone: Tensor) -> Tensor:
    # A list of numbers would go to the device in each step.
    return torch.cat([backbone[:, :, :_CA], backbone[:, :, _CA + 1 :]], 2)


def _distances(points: Tensor) -> Tensor:
    """(B, M, M) distances; 1e-4 Å² is added before the root, whose gradient is infinite at zero."""
    squared = sum((points[:, :, None, k] - points[:, None, :, k]).square() for k in range(3))
    assert isinstance(squared, Tensor)
    return torch.sqrt(squared + 1e-4)
