"""What attention between residues with frames has in common, whatever its geometry."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from model.attention.gaussians import centred
from model.attention.heads import Heads
from model.attention.maps import AttentionMaps
from model.attention.oracle import masked_softmax
from model.attention.precision import linear_in_full, without_autocast
from model.gaussian_rigid import GaussianRigid

POINT_UNIT = 10.0
"""Å: point values and their norms enter the output layer in this unit, near 1."""


class FrameAttention(nn.Module, ABC):
    """Queries, keys and values of residues; values are scalars, points in frames, and pairs.

    Subclasses say how frames enter the logits. In `forward` and all it calls, B is the batch, N
    residues, H heads.

    Parameters
    ----------
    c_s : int
        Channels of the single representation; the caller normalises it.
    c_z : int
        Channels of the pair representation; 0 for none.
    n_heads : int
    c_hidden : int
        Channels of scalar queries, keys and values per head.
    n_points : int
        Point values per head.
    """

    def __init__(self, *, c_s: int, c_z: int, n_heads: int, c_hidden: int, n_points: int):
        super().__init__()
        self.c_z, self.n_heads, self.c_hidden, self.n_points = c_z, n_heads, c_hidden, n_points
        self.to_query = nn.Linear(c_s, n_heads * c_hidden, bias=False)
        self.to_key = nn.Linear(c_s, n_heads * c_hidden, bias=False)
        self.to_value = nn.Linear(c_s, n_heads * c_hidden, bias=False)
        self.to_point_value = nn.Linear(c_s, n_heads * n_points * 3)
        # A bias that is the same for all keys would have no effect.
        self.to_pair_bias = nn.Linear(c_z, n_heads, bias=False) if c_z else None
        # The weights sum to 1 over pairs, so the projection may follow the sum over pairs: N times
        # less work, and no second array of N² channels.
        self.to_pair_value = nn.Linear(c_z, max(c_z // 4, 1)) if c_z else None
        c_pair = self.to_pair_value.out_features if self.to_pair_value is not None else 0
        self.to_output = nn.Linear(n_heads * (c_hidden + 4 * n_points + c_pair), c_s)
        # A new layer changes nothing until it has learned something (AlphaFold 2, 1.11.4).
        nn.init.zeros_(self.to_output.weight)
        nn.init.zeros_(self.to_output.bias)

    @abstractmethod
    def attend(self, heads: Heads, s: Tensor, rigid: GaussianRigid) -> tuple[Tensor, Tensor | None]:
        """Weighted values (B, H, N, C) and pairs (B, H, N, c_z) of `rigid`, centred."""

    @abstractmethod
    def logits(self, heads: Heads, s: Tensor, rigid: GaussianRigid) -> tuple[Tensor, Tensor]:
        """Logits of content and pair, and what the geometry adds; (B, H, N, N) each."""

    @abstractmethod
    def geometry_weight(self) -> Tensor:
        """Weight of the geometry in each head, (H,)."""

    def forward(self, s: Tensor, z: Tensor | None, rigid: GaussianRigid, mask: Tensor) -> Tensor:
        """Update of the single representation.

        Parameters
        ----------
        s : (B, N, c_s) float
        z : (B, N, N, c_z) float or None
            Must be finite everywhere, padding included.
        rigid : GaussianRigid of (B, N), in Å
        mask : (B, N) bool
            False at padding and at residues without a frame. They are no keys, and their own
            rows are zeros.

        Returns
        -------
        (B, N, c_s) float
        """
        heads, s, rigid = self._prepare(s, z, rigid, mask)
        with without_autocast(s):
            values, pair_values = self.attend(heads, s, rigid)
            features = [values[..., : self.c_hidden], *self._in_frames(values, rigid)]
            merged = torch.cat([f.transpose(1, 2).flatten(2) for f in features], dim=-1)
        if self.to_pair_value is not None:
            if pair_values is None:
                of_pairs = merged.new_zeros(
                    (*mask.shape, self.n_heads * self.to_pair_value.out_features)
                )
            else:
                of_pairs = self.to_pair_value(pair_values).transpose(1, 2).flatten(2)
            merged = torch.cat([merged, of_pairs.to(merged.dtype)], dim=-1)
        out = self.to_output(merged)
        return torch.where(mask[..., None], out, 0.0)

    @torch.no_grad()
    def inspect(
        self,
        s: Tensor,
        z: Tensor | None,
        rigid: GaussianRigid,
        mask: Tensor,
        item: int = 0,
        heads: Sequence[int] | None = None,
    ) -> AttentionMaps:
        """Dense matrices of one item and some heads (all by default), on the inputs of `forward`.

        Holds N² · heads numbers, and no gradients.
        """
        one = slice(item, item + 1)
        s, z, rigid, mask = s[one], None if z is None else z[one], rigid[one], mask[one]
        chosen = list(range(self.n_heads) if heads is None else heads)
        ca = rigid.translations[0]
        prepared = self._prepare(s, z, rigid, mask)
        with without_autocast(s):
            before, geometry = (x[:, chosen] for x in self.logits(*prepared))
            after = before + geometry
            attention = torch.where(mask[:, None, :, None], masked_softmax(after, mask), 0.0)
        return AttentionMaps(
            logits_before=before[0],
            geometric_bias=geometry[0],
            logits_after=after[0],
            attention=attention[0],
            distances=torch.linalg.vector_norm(ca[:, None] - ca[None, :], dim=-1),
            gamma=self.geometry_weight()[chosen],
            mask=mask[0],
        )

    def _prepare(
        self, s: Tensor, z: Tensor | None, rigid: GaussianRigid, mask: Tensor
    ) -> tuple[Heads, Tensor, GaussianRigid]:
        """(queries, keys and values, s without padding, centred rigids)."""
        if self.to_pair_bias is None and z is not None:
            raise ValueError("this attention was built with c_z=0 and takes no pair representation")
        rigid = centred(rigid, mask)
        s = torch.where(mask[..., None], s, 0.0)
        dtype = rigid.translations.dtype
        q, k, v = (
            self._per_head(layer(s)) for layer in (self.to_query, self.to_key, self.to_value)
        )
        with without_autocast(s):
            v = torch.cat([v.to(dtype), self._point_values(s, rigid)], dim=-1)
        pair_weight = None
        if z is not None and self.to_pair_bias is not None:
            pair_weight = self.to_pair_bias.weight.to(dtype)
        return Heads(q, k, v, mask, z, pair_weight), s, rigid

    def _per_head(self, x: Tensor) -> Tensor:
        """(B, N, H·C) to (B, H, N, C)."""
        return x.unflatten(-1, (self.n_heads, -1)).transpose(1, 2)

    def _point_values(self, s: Tensor, rigid: GaussianRigid) -> Tensor:
        """Points of each residue and head in global axes, Å / 10, (B, H, N, 3·points)."""
        local = linear_in_full(self.to_point_value, s, rigid.translations.dtype)
        local = local.unflatten(-1, (self.n_heads * self.n_points, 3))
        points = rigid.apply(POINT_UNIT * local) / POINT_UNIT
        return self._per_head(points.flatten(2))

    def _in_frames(self, values: Tensor, rigid: GaussianRigid) -> tuple[Tensor, Tensor]:
        """Averaged points in the frame of their query, (B, H, N, 3·points), and their norms."""
        points = values[..., self.c_hidden :].unflatten(-1, (self.n_points, 3)) * POINT_UNIT
        each = rigid[:, None]  # broadcasts over heads
        local = each.to_local(points) / POINT_UNIT
        # The norm has no gradient at 0.
        norms = ((local**2).sum(dim=-1) + 1e-8).sqrt()
        return local.flatten(-2), norms
