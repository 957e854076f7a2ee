"""Gaussian attention written out plainly: what every other implementation is held to.

All of the formulas of the design, section 7, on dense arrays; autograd keeps some thirty arrays of
size N² · heads · Gaussians for its backward pass. In float64 it is the reference.
"""

from __future__ import annotations

import torch
from torch import Tensor

from model.attention.gaussians import HeadGaussians

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


def content_logits(q: Tensor, k: Tensor, pair: Tensor | None, pair_weight: Tensor | None) -> Tensor:
    """q_i·k_j/√c + pair_ij, (B, H, N, N); see `attend`."""
    logits = torch.einsum("bhic,bhjc->bhij", q, k) * q.shape[-1] ** -0.5
    if pair is not None and pair_weight is not None:
        logits = logits + torch.einsum("bijc,hc->bhij", pair.to(q.dtype), pair_weight)
    return logits


def masked_softmax(logits: Tensor, mask: Tensor) -> Tensor:
    """Weights over the valid keys (B, N) of a row; a row without any is all zeros."""
    keys = mask[:, None, None, :]
    lowest = torch.finfo(logits.dtype).min
    return torch.where(keys, logits.masked_fill(~keys, lowest).softmax(dim=-1), 0.0)


def attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    query: HeadGaussians,
    key: HeadGaussians,
    strength: Tensor,
    mask: Tensor,
    pair: Tensor | None = None,
    pair_weight: Tensor | None = None,
    normalise: bool = True,
) -> tuple[Tensor, Tensor | None]:
    """Weighted values of each head.

    Parameters
    ----------
    q, k : (B, H, N, c) float
    v : (B, H, N, C) float
        Whatever is to be averaged: scalars and global points.
    query, key : HeadGaussians
    strength : (H,) float
        γ, or a where `normalise` is False.
    mask : (B, N) bool
    pair : (B, N, N, c_z) float, optional
    pair_weight : (H, c_z) float, optional
        Projects the pair representation onto a bias of each head.
    normalise : bool
        z-score of g along rows; without it g is divided by the number of Gaussians.

    Returns
    -------
    values : (B, H, N, C) float
        Σ_j a_ij v_j.
    pair_values : (B, H, N, c_z) float or None
        Σ_j a_ij pair_ij.
    """
    logits = content_logits(q, k, pair, pair_weight)
    logits = logits + geometric_bias(query, key, strength, mask, normalise)
    weights = masked_softmax(logits, mask)
    values = torch.einsum("bhij,bhjc->bhic", weights, v)
    if pair is None:
        return values, None
    return values, torch.einsum("bhij,bijc->bhic", weights, pair.to(weights.dtype))
