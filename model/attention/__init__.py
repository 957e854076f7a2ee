"""Attention between residues: by overlap of Gaussians (IGA), or by distances of points (IPA)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from model.attention.frame_attention import FrameAttention
from model.attention.gaussian_attention import (
    GAMMA_INIT,
    Gamma,
    GaussianAttention,
    GeometryNorm,
    Implementation,
)
from model.attention.invariant_point_attention import InvariantPointAttention
from model.attention.maps import AttentionMaps
from model.attention.operator import describe

Kind = Literal["iga", "ipa"]

__all__ = [
    "ATTENTIONS",
    "AttentionMaps",
    "FrameAttention",
    "GaussianAttention",
    "InvariantPointAttention",
    "Kind",
    "build_attention",
    "describe",
]


def _points_for_gaussians(
    *, c_s: int, c_z: int, n_heads: int, c_hidden: int, n_gaussians: int, n_points: int, **_: object
) -> InvariantPointAttention:
    return InvariantPointAttention(
        c_s=c_s,
        c_z=c_z,
        n_heads=n_heads,
        c_hidden=c_hidden,
        n_query_points=2 * n_gaussians,
        n_points=n_points,
    )


ATTENTIONS: dict[Kind, Callable[..., FrameAttention]] = {
    "iga": GaussianAttention,
    "ipa": _points_for_gaussians,
}
"""What builds each kind from the arguments of `build_attention`. An entry here and its name in
`Kind` are all that a new one needs: the configuration takes it, and the tests try it."""


def build_attention(
    kind: Kind,
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
) -> FrameAttention:
    """An attention layer: ``layer(s, z, rigid, mask) -> (B, N, c_s)``.

    "ipa" takes the place of "iga" with the same inputs, outputs and number of parameters: it has
    two query and two key points for each Gaussian (which has three numbers of position and three of
    shape). The last four arguments say nothing to it.
    """
    if kind not in ATTENTIONS:
        raise ValueError(f"attention is one of {', '.join(ATTENTIONS)}, not {kind!r}")
    return ATTENTIONS[kind](
        c_s=c_s,
        c_z=c_z,
        n_heads=n_heads,
        c_hidden=c_hidden,
        n_gaussians=n_gaussians,
        n_points=n_points,
        gamma=gamma,
        gamma_init=gamma_init,
        geometry_norm=geometry_norm,
        implementation=implementation,
    )
