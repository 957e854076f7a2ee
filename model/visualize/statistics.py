"""Numbers of what a layer looks at, and the line that says them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from model.attention import AttentionMaps

NEAR = 8.0
"""Å between CA, up to which a pair of residues is local."""


@dataclass(frozen=True)
class AttentionStatistics:
    """Of one head, or means over heads. NaN where there is no such pair.

    Attributes
    ----------
    gamma : float
        Weight of the geometry.
    geo_bias : float
        Mean of what the geometry adds to the logits (γz) over pairs i ≠ j within 8 Å.
    local_attn, global_attn : float
        Mean weight of a pair i ≠ j within 8 Å, and beyond.
    """

    gamma: float
    geo_bias: float
    local_attn: float
    global_attn: float

    def as_metrics(self, prefix: str) -> dict[str, float]:
        """Names for a logger → values; without those that are not defined."""
        named = {f"{prefix}/{field.name}": getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in named.items() if math.isfinite(value)}


def statistics_of(maps: AttentionMaps, near: float = NEAR) -> list[AttentionStatistics]:
    """Statistics of each head.

    Parameters
    ----------
    maps : AttentionMaps
        Distances in Å. What its mask hides does not count, neither as query nor as key.
    near : float
        Å.
    """
    valid = maps.mask[:, None] & maps.mask[None, :]
    valid = valid & ~torch.eye(len(maps.mask), dtype=torch.bool, device=valid.device)
    local = valid & (maps.distances <= near)
    beyond = valid & (maps.distances > near)
    bias = _means(maps.geometric_bias, local)
    inside, outside = _means(maps.attention, local), _means(maps.attention, beyond)
    return [
        AttentionStatistics(*numbers)
        for numbers in zip(maps.gamma.tolist(), bias, inside, outside, strict=True)
    ]


def mean_of(
    heads: Sequence[AttentionStatistics], gamma: float | None = None
) -> AttentionStatistics:
    """Mean over heads.

    Parameters
    ----------
    heads : sequence of AttentionStatistics
        At least one.
    gamma : float, optional
        Mean γ of all heads of the layer, where only some of them were looked at.
    """
    mean = AttentionStatistics(
        *(
            math.fsum(getattr(head, field.name) for head in heads) / len(heads)
            for field in fields(AttentionStatistics)
        )
    )
    if gamma is None:
        return mean
    return AttentionStatistics(gamma, mean.geo_bias, mean.local_attn, mean.global_attn)


def console_line(layer: int, step: int, statistics: AttentionStatistics, kind: str = "IGA") -> str:
    """``[IGA Vis Layer 0] Step 100: γ=0.4021, geo_bias=0.512, local_attn=0.0134, …``.

    Parameters
    ----------
    layer : int
        From 0.
    step : int
    statistics : AttentionStatistics
        Means over heads.
    kind : str
        The attention's name in `ATTENTIONS`, in capitals.
    """
    # Four significant digits, final zeros too: 4.000.
    gamma = f"{statistics.gamma:#.4g}".removesuffix(".")
    return (
        f"[{kind} Vis Layer {layer}] Step {step}: γ={gamma}, geo_bias={statistics.geo_bias:.3f}, "
        f"local_attn={statistics.local_attn:.4f}, global_attn={statistics.global_attn:.4f}"
    )


def _means(values: Tensor, where: Tensor) -> list[float]:
    """Mean of each head's (H, N, N) values over the same pairs."""
    # In float64, on whichever device has it: N² small numbers are added.
    chosen = values[:, where]
    if chosen.shape[1] == 0:
        return [math.nan] * len(values)
    return [float(head.double().mean()) for head in chosen.cpu()]
