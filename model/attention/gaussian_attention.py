"""Invariant Gaussian Attention: residues attend by how much their ellipsoids overlap."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.attention import operator, oracle, tiled
from model.attention.frame_attention import FrameAttention
from model.attention.gaussians import HeadGaussians, LearnedGaussians, in_typical_scale
from model.attention.heads import Heads
from model.gaussian_rigid import GaussianRigid

Gamma = Literal["softplus", "bounded"]
GeometryNorm = Literal["zscore", "affine"]
Implementation = Literal["auto", "tiled", "triton", "oracle"]

IMPLEMENTATIONS: dict[str, tuple[Callable[..., Any], Callable[..., Tensor]]] = {
    "auto": (operator.attend, tiled.overlap),
    **{
        name: (partial(operator.attend, implementation=name), tiled.overlap)
        for name in operator.MODULES
    },
    "oracle": (oracle.attend, oracle.overlap),
}

GAMMA_INIT = 8.0
BOUNDED_MAX = 0.3
BOUNDED_INITIAL_LOGIT = -4.0
AFFINE_SPREAD = 45.0
"""Standard deviation of a row of g/P in a real chain of 175 residues (20 at 65, 95 at 275)."""


class GaussianAttention(FrameAttention):
    """Attention with logits q_i·k_j/√c + pair_ij + γ_h z_ij; z_ij the normalised log overlap.

    Per head, P query Gaussians and P key Gaussians per residue, from separate projections
    (`LearnedGaussians`); g_ij = Σ_p log ∫ N_ip N_jp (`oracle.overlap`), and z its z-score along the
    row. z does not depend on the unit of length, nor do rotations and translations of the whole
    change it; a reflection does, since frames are right-handed.

    Parameters
    ----------
    c_s, c_z, n_heads, c_hidden, n_points
        As in `FrameAttention`.
    n_gaussians : int
        P.
    gamma : {"softplus", "bounded"}
        γ_h = √(1/3) softplus(w_h), unbounded above; or, as an ablation, 0.3 sigmoid(w_h), which
        starts at sigmoid(−4) and leaves the geometry weak.
    gamma_init : float
        γ before training (not w). Of no effect on ``gamma="bounded"``.
    geometry_norm : {"zscore", "affine"}
        "affine" is an ablation: the geometry adds a_h g_ij / P, a_h = softplus(w_h), which keeps
        the absolute distance that a z-score erases. So that both start alike, a_h begins at
        `gamma_init` over the usual spread of g/P in a chain (45).
    implementation : {"auto", "tiled", "triton", "oracle"}
        The same numbers. "auto" is "triton" for tensors on a GPU that Triton knows, and otherwise
        "tiled", which takes C on a CPU; "oracle" keeps everything in dense arrays.
    """

    def __init__(
        self,
        *,
        c_s: int,
        c_z: int,
        n_heads: int,
        c_hidden: int,
        n_gaussians: int,
        n_points: int,
        gamma: Gamma = "softplus",
        gamma_init: float = GAMMA_INIT,
        geometry_norm: GeometryNorm = "zscore",
        implementation: Implementation = "auto",
    ):
        super().__init__(c_s=c_s, c_z=c_z, n_heads=n_heads, c_hidden=c_hidden, n_points=n_points)
        _check("gamma", gamma, ("softplus", "bounded"))
        _check("geometry_norm", geometry_norm, ("zscore", "affine"))
        _check("implementation", implementation, tuple(IMPLEMENTATIONS))
        if geometry_norm == "affine" and gamma == "bounded":
            raise ValueError('geometry_norm="affine" has a weight of its own: gamma="softplus"')
        if not gamma_init > 0:
            raise ValueError(f"gamma_init is a positive weight, not {gamma_init}")
        self.gamma, self.geometry_norm = gamma, geometry_norm
        self._attend, self._overlap = IMPLEMENTATIONS[implementation]
        self.query_gaussians = LearnedGaussians(c_s, n_heads, n_gaussians)
        self.key_gaussians = LearnedGaussians(c_s, n_heads, n_gaussians)
        if gamma == "bounded":
            initial = BOUNDED_INITIAL_LOGIT
        elif geometry_norm == "affine":
            initial = _inverse_softplus(gamma_init / AFFINE_SPREAD)
        else:
            initial = _inverse_softplus(math.sqrt(3) * gamma_init)
        self.gamma_weight = nn.Parameter(torch.full((n_heads,), initial))

    def geometry_weight(self) -> Tensor:
        """γ_h (a_h for the affine ablation), (H,)."""
        if self.gamma == "bounded":
            return BOUNDED_MAX * torch.sigmoid(self.gamma_weight)
        if self.geometry_norm == "affine":
            return functional.softplus(self.gamma_weight)
        return math.sqrt(1 / 3) * functional.softplus(self.gamma_weight)

    def attend(self, heads: Heads, s: Tensor, rigid: GaussianRigid) -> tuple[Tensor, Tensor | None]:
        query, key = self._gaussians(s, rigid, heads.mask)
        strength = self.geometry_weight().to(heads.v.dtype)
        return self._attend(heads, query, key, strength, self.geometry_norm == "zscore")

    def logits(self, heads: Heads, s: Tensor, rigid: GaussianRigid) -> tuple[Tensor, Tensor]:
        query, key = self._gaussians(s, rigid, heads.mask)
        g = self._overlap(query, key)
        if self.geometry_norm == "zscore":
            g = oracle.row_zscore(g, heads.mask)
        else:
            # Weights do not see what is the same for all keys of a row, and people need not.
            g = oracle.row_deviation(g, heads.mask) / query.mean.shape[3]
        strength = self.geometry_weight().to(heads.v.dtype)[:, None, None]
        return oracle.content_logits(heads), strength * g

    def _gaussians(
        self, s: Tensor, rigid: GaussianRigid, mask: Tensor
    ) -> tuple[HeadGaussians, HeadGaussians]:
        rigid = in_typical_scale(rigid, mask)
        return self.query_gaussians(s, rigid), self.key_gaussians(s, rigid)


def _inverse_softplus(value: float) -> float:
    """w with log(1 + e^w) = value."""
    return value + math.log(-math.expm1(-value))


def _check(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ValueError(f"{name} is one of {', '.join(known)}; found {value!r}")
