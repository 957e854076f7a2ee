"""Invariant point attention (AlphaFold 2 supplement, algorithm 22): the baseline."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.attention import oracle
from model.attention.frame_attention import POINT_UNIT, FrameAttention
from model.attention.heads import Heads
from model.attention.precision import linear_in_full
from model.gaussian_rigid import GaussianRigid


class InvariantPointAttention(FrameAttention):
    """Attention by squared distances between points that residues carry in their frames.

        logits = w_L ( q_i·k_j/√c + pair_ij − γ_h w_C/2 Σ_p ‖T_i q_ip − T_j k_jp‖² )

    with w_L = √(1/3), w_C = √(2/(9 P)), γ_h = softplus(w_h), and lengths in units of 10 Å. It has
    the inputs, values and output of `GaussianAttention`, and sees the frames, not the ellipsoids.

    Parameters
    ----------
    c_s, c_z, n_heads, c_hidden, n_points
        As in `FrameAttention`.
    n_query_points : int
        P, query and key points per head. Two have the parameters of one Gaussian.
    """

    def __init__(
        self,
        *,
        c_s: int,
        c_z: int,
        n_heads: int,
        c_hidden: int,
        n_query_points: int,
        n_points: int,
    ):
        super().__init__(c_s=c_s, c_z=c_z, n_heads=n_heads, c_hidden=c_hidden, n_points=n_points)
        self.n_query_points = n_query_points
        self.to_query_point = nn.Linear(c_s, n_heads * n_query_points * 3)
        self.to_key_point = nn.Linear(c_s, n_heads * n_query_points * 3)
        # softplus of this is 1.
        self.head_weight = nn.Parameter(torch.full((n_heads,), math.log(math.e - 1)))

    def geometry_weight(self) -> Tensor:
        """γ_h, (H,)."""
        return functional.softplus(self.head_weight)

    def attend(self, heads: Heads, s: Tensor, rigid: GaussianRigid) -> tuple[Tensor, Tensor | None]:
        before, geometry = self.logits(heads, s, rigid)
        return oracle.weighted_values(before + geometry, heads)

    def logits(self, heads: Heads, s: Tensor, rigid: GaussianRigid) -> tuple[Tensor, Tensor]:
        w_l, w_c = math.sqrt(1 / 3), math.sqrt(2 / (9 * self.n_query_points))
        query, key = (
            self._points(self.to_query_point, s, rigid),
            self._points(self.to_key_point, s, rigid),
        )
        # ‖q − k‖² = ‖q‖² + ‖k‖² − 2 q·k, one matrix product instead of N² · H · P differences.
        # The points are centred and of size 1 to 10, so float32 loses nothing that matters.
        squared = (
            (query**2).sum(dim=-1)[..., :, None]
            + (key**2).sum(dim=-1)[..., None, :]
            - 2 * torch.einsum("bhic,bhjc->bhij", query, key)
        )
        weight = self.geometry_weight().to(heads.v.dtype)[:, None, None]
        before = w_l * oracle.content_logits(heads)
        return before, (-0.5 * w_l * w_c) * weight * squared

    def _points(self, layer: nn.Linear, s: Tensor, rigid: GaussianRigid) -> Tensor:
        """Points in global axes, Å / 10, (B, H, N, 3·P)."""
        local = linear_in_full(layer, s, rigid.translations.dtype)
        local = local.unflatten(-1, (self.n_heads * self.n_query_points, 3))
        points = rigid.apply(POINT_UNIT * local) / POINT_UNIT
        return self._per_head(points.flatten(2))
