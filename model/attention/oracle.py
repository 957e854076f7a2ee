"""Gaussian attention written out plainly: what every other implementation is held to.

All of the formulas of the design, section 7, on dense arrays; autograd keeps some thirty arrays of
size N² · heads · Gaussians for its backward pass. In float64 it is the reference.
"""

from __future__ import annotations

import torch
from torch import Tensor

from model.attention.gaussians import HeadGaussians
from model.attention.heads import Heads

VARIANCE_EPS = 1e-5


def overlap(query: HeadGaussians, key: HeadGaussians) -> Tensor:
    """Log overlap g_ij of all pairs, summed over the Gaussians of a head, (B, H, N, N).

    g_ij = Σ_p [ −½ dᵀ S⁻¹ d − ½ log det S ],   d = μ_i − μ_j,   S = Σ_i + Σ_j

    which is, up to a constant, the log of ∫ N(x; μ_i, Σ_i) N(x; μ_j, Σ_j) dx.
    """
    x, y, z = query.mean[..., :, None] - key.mean[..., None, :]
    xx, xy, xz, yy, yz, zz = query.covariance[..., :, None] + key.covariance[..., None, :]
    # x is eliminated first, then the 2×2 Schur complement inverted: its error grows with the
    # condition number of S, that of cofactors with the square of it.
    ly, lz = xy / xx, xz / xx
    d1, t, e1 = yy - ly * xy, yz - ly * xz, zz - lz * xz
    det = d1 * e1 - t * t
    w, v = y - ly * x, z - lz * x
    mahalanobis = x * x / xx + (w * (e1 * w - t * v) + v * (d1 * v - t * w)) / det
    log_det = (xx * det).log()
    return (-0.5 * mahalanobis - 0.5 * log_det).sum(dim=2)


def row_deviation(g: Tensor, mask: Tensor) -> Tensor:
    """g − mean of each row over the valid keys; 0 at the others.

    Parameters
    ----------
    g : (B, H, N, N) float
    mask : (B, N) bool
    """
    keys = mask[:, None, None, :]
    mean = torch.where(keys, g, 0.0).sum(dim=-1, keepdim=True) / _count(mask)
    return torch.where(keys, g - mean, 0.0)


def row_zscore(g: Tensor, mask: Tensor) -> Tensor:
    """(g − mean) / √(var + 1e-5) of each row over the valid keys; 0 at the others.

    Parameters
    ----------
    g : (B, H, N, N) float
    mask : (B, N) bool
    """
    deviation = row_deviation(g, mask)
    variance = (deviation**2).sum(dim=-1, keepdim=True) / _count(mask)
    return deviation / torch.sqrt(variance + VARIANCE_EPS)


def _count(mask: Tensor) -> Tensor:
    return mask[:, None, None, :].sum(dim=-1, keepdim=True).clamp(min=1)


def geometric_bias(
    query: HeadGaussians, key: HeadGaussians, strength: Tensor, mask: Tensor, normalise: bool
) -> Tensor:
    """γ_h z_ij, or a_h g_ij / P without normalisation, (B, H, N, N).

    Parameters
    ----------
    query, key : HeadGaussians
    strength : (H,) float
    mask : (B, N) bool
    normalise : bool
    """
    g = overlap(query, key)
    bias = row_zscore(g, mask) if normalise else g / query.mean.shape[3]
    return strength[:, None, None] * bias


def content_logits(heads: Heads) -> Tensor:
    """q_i·k_j/√c + pair_ij, (B, H, N, N)."""
    q, k = heads.q.to(heads.v.dtype), heads.k.to(heads.v.dtype)
    logits = torch.einsum("bhic,bhjc->bhij", q, k) * heads.q.shape[-1] ** -0.5
    if heads.pair is not None and heads.pair_weight is not None:
        pair = heads.pair.to(logits.dtype)
        logits = logits + torch.einsum("bijc,hc->bhij", pair, heads.pair_weight)
    return logits


def masked_softmax(logits: Tensor, mask: Tensor) -> Tensor:
    """Weights over the valid keys (B, N) of a row; a row without any is all zeros."""
    keys = mask[:, None, None, :]
    lowest = torch.finfo(logits.dtype).min
    return torch.where(keys, logits.masked_fill(~keys, lowest).softmax(dim=-1), 0.0)


def weighted_values(logits: Tensor, heads: Heads) -> tuple[Tensor, Tensor | None]:
    """Values and pairs averaged by the softmax of logits (B, H, N, N); see `attend`."""
    weights = masked_softmax(logits, heads.mask)
    values = torch.einsum("bhij,bhjc->bhic", weights, heads.v)
    if heads.pair is None:
        return values, None
    return values, torch.einsum("bhij,bijc->bhic", weights, heads.pair.to(weights.dtype))


def attend(
    heads: Heads,
    query: HeadGaussians,
    key: HeadGaussians,
    strength: Tensor,
    normalise: bool = True,
) -> tuple[Tensor, Tensor | None]:
    """Weighted values of each head.

    Parameters
    ----------
    heads : Heads
    query, key : HeadGaussians
    strength : (H,) float
        γ, or a where `normalise` is False.
    normalise : bool
        z-score of g along rows; without it g is divided by the number of Gaussians.

    Returns
    -------
    values : (B, H, N, C) float
        Σ_j a_ij v_j.
    pair_values : (B, H, N, c_z) float or None
        Σ_j a_ij pair_ij.
    """
    bias = geometric_bias(query, key, strength, heads.mask, normalise)
    return weighted_values(content_logits(heads) + bias, heads)
