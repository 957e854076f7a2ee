"""`look`: run a network on one protein, and see what each layer attends to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.attention import AttentionMaps
from model.flow import NoisyProtein
from model.network import BlockInput, FlowNetwork
from model.visualize.head_view import HeadView
from model.visualize.statistics import AttentionStatistics, mean_of, statistics_of
from pipeline.errors import UsageError


@dataclass(frozen=True)
class LayerView:
    """What some heads of a layer look at in one protein of N residues.

    Attributes
    ----------
    layer, item : int
    kind : str
        The attention's name in `ATTENTIONS`, in capitals.
    heads : tuple of int
        Numbers of the heads of `maps`.
    maps : AttentionMaps
        On the CPU; padding and residues without a frame are cut away.
    gamma : float
        Mean over all heads of the layer.
    residue_index, chain_index : (N,) int64
    """

    layer: int
    item: int
    kind: str
    heads: tuple[int, ...]
    maps: AttentionMaps
    gamma: float
    residue_index: NDArray[np.int64]
    chain_index: NDArray[np.int64]

    @property
    def of_heads(self) -> list[AttentionStatistics]:
        return statistics_of(self.maps)

    @property
    def statistics(self) -> AttentionStatistics:
        """γ: mean over all heads; the others: over those that were looked at."""
        return mean_of(self.of_heads, self.gamma)

    def of_head(self, number: int, about: str = "") -> HeadView:
        """One of `heads`, by its number in the layer."""
        k = self.heads.index(number)
        maps = self.maps
        title = f"{self.kind} layer {self.layer}, head {number}"
        return HeadView(
            title=f"{title}  ·  {about}" if about else title,
            logits_before=maps.logits_before[k].numpy(),
            geometric_bias=maps.geometric_bias[k].numpy(),
            logits_after=maps.logits_after[k].numpy(),
            attention=maps.attention[k].numpy(),
            distances=maps.distances.numpy(),
            gamma=float(maps.gamma[k]),
            residue_index=self.residue_index,
            chain_index=self.chain_index,
        )


def check_choice(network: FlowNetwork, layers: Sequence[int] | None, heads: Sequence[int]) -> None:
    """See that the network has these layers and heads.

    Raises
    ------
    UsageError
    """
    for name, chosen, n in (
        ("layer", layers, network.config.n_blocks),
        ("head", heads, network.config.n_heads),
    ):
        for number in chosen or ():
            if not 0 <= number < n:
                raise UsageError(f"there is no {name} {number}: the network has 0 to {n - 1}")


@torch.no_grad()
def look(
    network: FlowNetwork,
    noisy: NoisyProtein,
    *,
    item: int = 0,
    heads: Sequence[int] = (0,),
    layers: Sequence[int] | None = None,
) -> Iterator[LayerView]:
    """One forward pass for one item, and the matrices of each chosen layer, one after the other.

    Parameters
    ----------
    network : FlowNetwork
        Its weights and its mode are left as they are.
    noisy : NoisyProtein
    item : int
        Which protein of the batch.
    heads : sequence of int
    layers : sequence of int, optional
        All without it.

    Yields
    ------
    LayerView
        Nothing if the item has no residue with a frame.

    Raises
    ------
    ValueError
        There is no such layer or head.
    """
    check_choice(network, layers, heads)
    one = _without_padding(noisy, item)
    if not bool(one.mask.any()):
        return
    capture: list[BlockInput] = []
    with _without_dropout(network):
        # Not by calling it: a compiled network would be compiled again for this one pass.
        network.forward(one, capture)
    rows = one.mask[0]
    index, chain = (
        values[0][rows].cpu().numpy() for values in (one.residue_index, one.chain_index)
    )
    for number, given in enumerate(capture):
        if layers is not None and number not in layers:
            continue
        block: Any = network.blocks[number]
        maps = block.attention.inspect(given.s, given.z, given.rigid, given.mask, 0, heads)
        yield LayerView(
            layer=number,
            item=item,
            kind=network.config.attention.upper(),
            heads=tuple(heads),
            maps=_of_rows(maps, rows),
            gamma=float(block.attention.geometry_weight().mean()),
            residue_index=index,
            chain_index=chain,
        )


@contextmanager
def _without_dropout(network: FlowNetwork) -> Iterator[None]:
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def _without_padding(noisy: NoisyProtein, item: int) -> NoisyProtein:
    one = noisy[item : item + 1]
    there = torch.nonzero(one.mask[0]).flatten()
    size = int(there[-1]) + 1 if len(there) else 0
    return one.map(lambda values: values[:, :size] if values.ndim > 1 else values)


def _of_rows(maps: AttentionMaps, rows: Tensor) -> AttentionMaps:
    """The matrices of some residues, in float32 on the CPU."""

    def cut(matrix: Tensor) -> Tensor:
        return matrix[..., rows, :][..., rows].float().cpu()

    return replace(
        maps,
        logits_before=cut(maps.logits_before),
        geometric_bias=cut(maps.geometric_bias),
        logits_after=cut(maps.logits_after),
        attention=cut(maps.attention),
        distances=cut(maps.distances),
        gamma=maps.gamma.float().cpu(),
        mask=rows[rows].cpu(),
    )
