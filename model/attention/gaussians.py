"""The Gaussians that attend: several per residue and head, placed and shaped by its features."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from model.attention.precision import linear_in_full
from model.gaussian_rigid import GaussianRigid
from model.tensor_record import TensorRecord
from pipeline.geometry.gaussians import limit_anisotropy, upper_from_root

MAX_OFFSET = 3.0
"""u_max: farthest offset of a Gaussian from its residue's centroid, in its own scales, per axis."""

MAX_LOG_SCALE_CHANGE = 2.0
"""δ_max: a Gaussian is at most e² larger or smaller than its residue's ellipsoid, per axis."""

RELATIVE_SCALE_RANGE = (1e-4, 1e6)
"""Scales over the item's typical one are kept between these, so that determinants and squared
distances stay within float32. Ellipsoids of residues are within a factor of ten of each other."""

TYPICAL_LOG_SCALE_RANGE = (-7.0, 12.0)
"""Which log scales count for the typical one: 0.001 to 160,000, whatever the unit of length."""


@dataclass(frozen=True)
class HeadGaussians(TensorRecord):
    """P Gaussians per head and residue, in global axes; components first, residues contiguous.

    Attributes
    ----------
    mean : (3, B, H, P, N) float
        μ.
    covariance : (6, B, H, P, N) float
        Σ, upper triangle xx xy xz yy yz zz.
    """

    mean: Tensor
    covariance: Tensor


class LearnedGaussians(nn.Module):
    """Offsets and log-scale changes from features: residue ellipsoid → P Gaussians per head.

    u = u_max tanh(W s) in units of the new scale and δ = δ_max tanh(W s);

        scale' = scale exp(δ), each axis raised to at least (largest axis)/90
        μ = R (local_mean + u ⊙ scale') + t
        Σ = R diag(scale'²) Rᵀ

    The last 1/90 bounds the condition number of any sum of two covariances below 1e4, up to which
    float32 solves to about 1e-4.
    """

    def __init__(self, c_s: int, n_heads: int, n_gaussians: int):
        super().__init__()
        self.n_heads, self.n_gaussians = n_heads, n_gaussians
        self.projection = nn.Linear(c_s, n_heads * n_gaussians * 6)
        # Small, so that attention starts from the ellipsoids that the residues have; not zero, or
        # the Gaussians of a head would have equal gradients for ever.
        nn.init.normal_(self.projection.weight, std=0.2 * c_s**-0.5)
        nn.init.zeros_(self.projection.bias)

    def forward(self, s: Tensor, rigid: GaussianRigid) -> HeadGaussians:
        """Gaussians of features (B, N, c_s) and rigids (B, N); see `typical_scale` for units."""
        raw = linear_in_full(self.projection, s, rigid.translations.dtype)
        raw = raw.unflatten(-1, (self.n_heads, self.n_gaussians, 6))
        # From here on components come first and residues last: (3, B, H, P, N).
        raw = raw.permute(4, 0, 2, 3, 1).contiguous().tanh()
        u, delta = MAX_OFFSET * raw[:3], MAX_LOG_SCALE_CHANGE * raw[3:]
        rotations = _components_first(rigid.rotations)
        scale = _components_first(rigid.scale) * delta.exp()
        scale = limit_anisotropy(scale.movedim(0, -1)).movedim(-1, 0)
        scale = scale.clamp(*RELATIVE_SCALE_RANGE)
        local = _components_first(rigid.local_mean) + u * scale
        mean = (rotations * local).sum(dim=1) + _components_first(rigid.translations)
        root = rotations * scale  # global component, frame axis
        return HeadGaussians(mean, torch.stack(upper_from_root(root.unbind(0), 0)))


def _components_first(x: Tensor) -> Tensor:
    """(B, N, *C) to (*C, B, 1, 1, N), which broadcasts over heads and Gaussians."""
    return x.movedim((0, 1), (-2, -1))[..., :, None, None, :]


def centred(rigid: GaussianRigid, mask: Tensor) -> GaussianRigid:
    """Rigids of a batch (B, N) with the mean valid translation of each item at the origin.

    Whatever stands under a False mask becomes the identity with scale 1, NaN included. Differences
    between centred coordinates keep float32's precision wherever the protein is.
    """
    dtype = torch.promote_types(rigid.translations.dtype, torch.float32)
    kept = mask[..., None]
    t = torch.where(kept, rigid.translations.to(dtype), 0.0)
    centre = t.sum(dim=1, keepdim=True) / kept.sum(dim=1, keepdim=True).clamp(min=1)
    identity = torch.eye(3, dtype=dtype, device=t.device)
    return GaussianRigid(
        rotations=torch.where(kept[..., None], rigid.rotations.to(dtype), identity),
        translations=torch.where(kept, t - centre, 0.0),
        local_mean=torch.where(kept, rigid.local_mean.to(dtype), 0.0),
        log_scale=torch.where(kept, rigid.log_scale.to(dtype), 0.0),
    )


def in_typical_scale(rigid: GaussianRigid, mask: Tensor) -> GaussianRigid:
    """Rigids of a batch (B, N) in a unit of length of each item's own: its typical scale.

    Another unit adds the same number to every g_ij, which no row of attention weights sees, and
    keeps determinants near 1. A power of two, so that no digit changes.
    """
    log_scale = rigid.log_scale.detach().clamp(*TYPICAL_LOG_SCALE_RANGE)
    log_scale = torch.where(mask[..., None], log_scale, 0.0)
    count = 3 * mask.sum(dim=1).clamp(min=1)
    power = torch.round(log_scale.sum(dim=(1, 2)) / count / math.log(2))
    unit = torch.exp2(power)[:, None, None]
    return GaussianRigid(
        rigid.rotations,
        rigid.translations / unit,
        rigid.local_mean / unit,
        rigid.log_scale - power[:, None, None] * math.log(2),
    )
