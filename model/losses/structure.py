"""Losses on the structure as a whole: distances between residues, and ellipsoids.

All of them compare predicted atoms with the true residue's atoms in their slots, whatever type the
network believes: a loss may use the answer.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from model.flow.frames import FrameValue
from model.flow.target import Target
from model.gaussian_rigid import GaussianRigid
from pipeline.geometry.frames import to_global, to_local

CUTOFF = 15.0
"""Å: true distances that count."""

MAX_D2 = 25.0
"""Squared Mahalanobis distance beyond which an atom is simply outside."""


def true_ellipsoids(target: Target) -> GaussianRigid:
    """Ellipsoids of the answer."""
    return GaussianRigid.from_frames(
        target.rotations,
        target.translations,
        target.backbone,
        target.atoms,
        target.atoms_mask,
        target.frame_mask,
    )


def predicted_ellipsoids(frames: FrameValue, atoms: Tensor, target: Target) -> GaussianRigid:
    """Ellipsoids of the predicted atoms that truly exist, in predicted frames."""
    rotations, translations, backbone = frames
    return GaussianRigid.from_frames(
        rotations, translations, backbone, atoms, target.atoms_mask, target.frame_mask
    )


def gaussian_parameters(predicted: GaussianRigid, true: GaussianRigid) -> Tensor:
    """Huber loss of local mean (Å) and log scale, summed over axes, (B, N)."""
    mean = functional.huber_loss(predicted.local_mean, true.local_mean, reduction="none")
    scale = functional.huber_loss(predicted.log_scale, true.log_scale, reduction="none")
    return (mean + scale).sum(-1)


def gaussian_nll(predicted: GaussianRigid, target: Target) -> Tensor:
    """Negative log-likelihood of the true atoms under the predicted ellipsoids, nats, (B, N).

    Mean over a residue's atoms of ½ min(d², 25) + Σ_a log scale_a. The determinant is left out of
    the gradient for residues of which all atoms are clamped: there, a larger ellipsoid explains
    nothing, and shrinking it would be the only thing to learn.
    """
    backbone = to_global(target.rotations, target.translations, target.backbone)
    side_chain = to_global(target.rotations, target.translations, target.atoms)
    atoms = torch.cat([backbone, side_chain], -2)
    # O is not asked for: where the file lacks it, it is at its ideal place.
    mask = torch.cat(
        [target.frame_mask[..., None].expand(*target.frame_mask.shape, 4), target.atoms_mask], -1
    )
    local = to_local(predicted.rotations, predicted.translations, atoms)
    scale = predicted.scale[..., None, :]
    d2 = ((local - predicted.local_mean[..., None, :]) / scale).square().sum(-1)
    inside = (d2 < MAX_D2) & mask
    volume = predicted.log_scale.sum(-1)
    volume = torch.where(inside.any(-1), volume, volume.detach())
    count = mask.sum(-1).clamp(min=1)
    return 0.5 * torch.where(mask, d2.clamp(max=MAX_D2), 0.0).sum(-1) / count + volume


def pair_distances(
    predicted: GaussianRigid,
    predicted_tip: Tensor,
    true: GaussianRigid,
    true_tip: Tensor,
    target: Target,
    counts: Tensor,
) -> Tensor:
    """Huber loss (Å) of distances between residues, mean over near pairs of each residue, (B, N).

    A residue is three points: CA, the centroid of its ellipsoid and its remotest atom. Pairs whose
    true distance is below 15 Å count, if one of the two residues is hidden.

    Parameters
    ----------
    predicted, true : GaussianRigid
    predicted_tip, true_tip : (B, N, 3) float
        Remotest atoms, global.
    target : Target
    counts : (B, N) bool
        Hidden residues.
    """
    b, n = counts.shape
    points = torch.stack([predicted.translations, predicted.centroid, predicted_tip], 2)
    truth = torch.stack([true.translations, true.centroid, true_tip], 2)
    known = target.frame_mask
    different = ~torch.eye(n, dtype=torch.bool, device=counts.device)
    pairs = known[:, :, None] & known[:, None, :] & different
    pairs = pairs & (counts[:, :, None] | counts[:, None, :])
    distance = _distances(points.flatten(1, 2)).view(b, n, 3, n, 3)
    with torch.no_grad():
        wanted = _distances(truth.flatten(1, 2)).view(b, n, 3, n, 3)
        near = (wanted < CUTOFF) & pairs[:, :, None, :, None]
    error = functional.huber_loss(distance, wanted, reduction="none")
    error = torch.where(near, error, 0.0)
    return error.sum((2, 3, 4)) / near.sum((2, 3, 4)).clamp(min=1)


def tips(target: Target) -> Tensor:
    """(B, N) int64: the side-chain slot of the true residue's remotest atom."""
    squared = torch.where(target.atoms_mask, target.atoms.square().sum(-1), -1.0)
    return squared.argmax(-1)


def at_slot(atoms: Tensor, slot: Tensor) -> Tensor:
    """(B, N, 3) of (B, N, 10, 3)."""
    return torch.gather(atoms, 2, slot[..., None, None].expand(*slot.shape, 1, 3))[:, :, 0]


def _distances(points: Tensor) -> Tensor:
    """(B, M, M), with a gradient where two points coincide."""
    squared = sum((points[:, :, None, k] - points[:, None, :, k]).square() for k in range(3))
    assert isinstance(squared, Tensor)
    return torch.sqrt(squared + 1e-4)
