"""The loss on the structure as a whole: distances between residues, and along the chain."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from model.flow.frames import FrameValue, amplify
from model.flow.state import NoisyProtein
from model.flow.target import Target
from pipeline.geometry.frames import to_global
from pipeline.residues import MAX_PEPTIDE_BOND

CUTOFF = 15.0
"""Å: true distances that count."""

LINKS = ((2, 0), (1, 1), (1, 0), (2, 1), (3, 0))
"""Atoms of a residue and of the next one, by slot: C–N, CA–CA, CA–N, C–CA and O–N are all but rigid
in a peptide."""

LINEAR_FROM = 0.05
"""Å. Errors above cost as much as they are large: a bond that is 0.2 Å off is no bond."""

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
    if counts.device.type == "cpu" and not bool(counts.any()):
        # Of packing and design nothing is hidden. A GPU would have to be waited for to know.
        return frames[1].new_zeros(b, n)
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


def chain_links(
    frames: FrameValue, noisy: NoisyProtein, target: Target, time: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Errors of the distances across each peptide, times 1 / (1 − min(t, 0.9)).

    Late in the path all other errors of places are small, and a chain is one only if neighbours are
    where a peptide has them to a tenth of an Å. Early, what is predicted is a mean of many
    structures, and means have no peptides.

    Parameters
    ----------
    frames : rotations, translations and backbones
        As predicted.
    noisy : NoisyProtein
        Which residues follow each other.
    target : Target
    time : (B, N) float
        Of the frames.

    Returns
    -------
    error : (B, N) float
        Å; mean of `LINKS` between a residue and the next one.
    counts : (B, N) bool
        The next row is the next residue, they are bonded, and one of the two is hidden.
    time : (B, N) float
        Of the one that is.
    """
    index, chain, known = noisy.residue_index, noisy.chain_index, target.frame_mask
    hidden = target.frames_count
    points = to_global(*frames)
    truth = to_global(target.rotations, target.translations, target.backbone)
    follows = (index[:, 1:] == index[:, :-1] + 1) & (chain[:, 1:] == chain[:, :-1])
    follows = follows & known[:, 1:] & known[:, :-1] & (hidden[:, 1:] | hidden[:, :-1])
    follows = follows & (_across(truth, 2, 0) < MAX_PEPTIDE_BOND)
    total, n = torch.zeros_like(time[:, 1:]), torch.zeros_like(time[:, 1:])
    for here, there in LINKS:
        error = functional.smooth_l1_loss(
            _across(points, here, there),
            _across(truth, here, there),
            reduction="none",
            beta=LINEAR_FROM,
        )
        # An O that the file lacks is placed where a helix has it.
        counts = follows & target.oxygen_mask[:, :-1] if here == 3 else follows
        total = total + torch.where(counts, error, 0.0)
        n = n + counts
    earlier = torch.minimum(time[:, 1:], time[:, :-1])
    error = torch.sqrt(amplify(earlier)) * total / n.clamp(min=1)
    # The last row has none behind it.
    return _padded(error), _padded(follows), _padded(earlier)


def _padded(values: Tensor) -> Tensor:
    return functional.pad(values, (0, 1))


def _across(points: Tensor, here: int, there: int) -> Tensor:
    """(B, N - 1) distances from an atom of each residue to one of the next row."""
    squared = (points[:, :-1, here] - points[:, 1:, there]).square().sum(-1)
    return torch.sqrt(squared + 1e-4)


def _without_ca(backbone: Tensor) -> Tensor:
    # A list of numbers would go to the device in each step.
    return torch.cat([backbone[:, :, :_CA], backbone[:, :, _CA + 1 :]], 2)


def _distances(points: Tensor) -> Tensor:
    """(B, M, M) distances; 1e-4 Å² is added before the root, whose gradient is infinite at zero."""
    squared = sum((points[:, :, None, k] - points[:, None, :, k]).square() for k in range(3))
    assert isinstance(squared, Tensor)
    return torch.sqrt(squared + 1e-4)
