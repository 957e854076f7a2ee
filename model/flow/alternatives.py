"""`drawn_in_rounds`: side chains that are drawn, not all at once.

Draws of one pass know nothing of each other. So the most certain ones are drawn first, and the
network is asked again about the others with these before it, as it is about side chains that are
given; and so on. A draw that overlaps with what is there is drawn again (`model.torsions.avoid`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from model.flow.atoms import Atoms
from model.flow.product import self_conditioning
from model.flow.slots import existing_slots
from model.flow.state import Network, NoisyProtein, Prediction
from model.torsions import build, free_chi
from model.torsions.angles import N_CHI
from model.torsions.avoid import avoid
from model.torsions.obstacles import Obstacles
from pipeline.geometry.frames import to_global

ROUNDS = 6
"""Evaluations of the network while side chains are drawn, the last pass among them."""

N_DRAWS = 16
"""Of each side chain."""

_SWEEPS = 2
"""At the end: each overlap that is left has another chance."""


@torch.no_grad()
def drawn_in_rounds(
    network: Network,
    noisy: NoisyProtein,
    prediction: Prediction,
    uniform: Tensor,
    temperature: float,
    *,
    relax: bool = True,
    obstacles: Obstacles | None = None,
    show: Callable[[NoisyProtein], None] | None = None,
) -> Tensor:
    """Side chains in their frames, hidden ones drawn, χ_k given χ_<k.

    Parameters
    ----------
    network : callable
    noisy : NoisyProtein
        What the last pass was given, with its prediction as `self_conditioning`.
    prediction : Prediction
        Of that pass.
    uniform : (B, N, `N_DRAWS`, 4) float
        In [0, 1).
    temperature : float
        Above 0.
    relax : bool
        Draw again what overlaps.
    obstacles : Obstacles, optional
        In the coordinates of `noisy`.
    show : callable, optional
        Told what the network is given after each round but the last.

    Returns
    -------
    (B, N, 10, 3) float
    """
    mask, sequence = noisy.mask, noisy.state.sequence
    hidden = (noisy.times.atoms < 1) & mask
    free = free_chi(sequence)[..., 0] & hidden
    placed = mask & ~free
    # A side chain without freedom has one place. That of the others is not read before their round.
    local = Atoms().placed(noisy, uniform.new_zeros(*sequence.shape, N_CHI))
    local = local[:, :, None].repeat(1, 1, uniform.shape[2], 1, 1)
    chosen = torch.zeros_like(sequence)
    certainty = torch.zeros_like(local[..., 0, 0, 0])
    for k in range(ROUNDS):
        if k:
            if show is not None:
                show(noisy)
            prediction = network(noisy)
            noisy = replace(noisy, self_conditioning=self_conditioning(noisy, prediction))
        assert noisy.self_conditioning is not None
        left = free & ~placed
        certainty = torch.where(left, noisy.self_conditioning.rotamers.weight.amax(-1), certainty)
        order = _most_certain(certainty, left, ROUNDS - k)
        now = _marked(order, mask.shape[1])
        chi = prediction.chi.draw(uniform, temperature)
        drawn = build(chi, sequence, noisy.state.backbone, mask)
        # The builder takes what is no number for an ideal torsion.
        drawn = torch.where(torch.isfinite(chi).all(-1)[..., None, None], drawn, torch.nan)
        local = torch.where(now[:, :, None, None, None], drawn, local)
        placed = placed | now
        if relax:
            chosen = _without_overlaps(chosen, local, noisy, placed, order, obstacles)
        noisy = _with_given(noisy, local, chosen, placed)
    # Those that were least certain have most other places to go.
    order = _most_certain(-certainty, free, 1)
    for _ in range(_SWEEPS if relax else 0):
        chosen = _without_overlaps(chosen, local, noisy, placed, order, obstacles)
    return _with_given(noisy, local, chosen, placed).state.atoms


def _most_certain(certainty: Tensor, among: Tensor, rounds: int) -> Tensor:
    """(B, V) numbers of the residues of a round, the most certain first; −1 where there are fewer.

    In the last of `rounds`, all that are left.
    """
    ranked = certainty.masked_fill(~among, -torch.inf)
    ranked = ranked.sort(dim=1, descending=True, stable=True).indices
    count = (among.sum(1, keepdim=True) + rounds - 1) // rounds
    order = torch.where(torch.arange(among.shape[1], device=among.device) < count, ranked, -1)
    return order[:, : int(count.max())]


def _marked(order: Tensor, length: int) -> Tensor:
    """(B, N) whether a residue is among the numbers."""
    marked = torch.zeros(len(order), length + 1, dtype=torch.bool, device=order.device)
    # What is −1 marks a place behind the last.
    return marked.scatter(1, torch.where(order < 0, length, order), True)[:, :length]


def _without_overlaps(
    chosen: Tensor,
    local: Tensor,
    noisy: NoisyProtein,
    placed: Tensor,
    order: Tensor,
    obstacles: Obstacles | None,
) -> Tensor:
    state = noisy.state
    return avoid(
        chosen,
        to_global(state.rotations, state.translations, local),
        to_global(state.rotations, state.translations, state.backbone),
        state.sequence,
        noisy.mask,
        placed,
        order,
        obstacles=obstacles,
    )


def _with_given(noisy: NoisyProtein, local: Tensor, chosen: Tensor, placed: Tensor) -> NoisyProtein:
    """Side chains that are placed are given to the network."""
    one = chosen[..., None, None, None].expand(*chosen.shape, 1, *local.shape[-2:])
    shown = (existing_slots(noisy.state.sequence) & placed[..., None])[..., None]
    atoms = torch.where(shown, local.gather(2, one)[:, :, 0], 0.0)
    times = replace(noisy.times, atoms=torch.where(placed, 1.0, noisy.times.atoms))
    return replace(noisy, state=replace(noisy.state, atoms=atoms), times=times)
