"""How likely a sequence is on a backbone: each type given those that were decoded before it.

The chain rule in a random order, log p(s) = Σ log p(s_σ(t) | s_σ(<t), backbone), with the true
types revealed: what ProteinMPNN calls its likelihood (J. Dauparas et al., 2022), and what a masking
flow learns (E. Hoogeboom et al., "Autoregressive diffusion models", 2022). Side chains stay hidden.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from model.flow.clean import Clean
from model.flow.generate import PASSES, hidden_removed
from model.flow.noise import draw_noise, generator
from model.flow.product import Flow, self_conditioning
from model.flow.state import Held, Network, NoisyProtein
from pipeline.residues import MASK, N_TYPES

ORDERS = 8
"""That a likelihood is the mean of."""

MAX_PAIRS = 1_000_000
"""Residues² of the contexts that go through the network together."""

_ORDER, _TURN = -3, -4
"""Steps of the numbers that orders, and turns of an estimate, are drawn with; see
`model.flow.noise.generator`."""


def backbone_alone(clean: Clean) -> NoisyProtein:
    """One protein as a network is given it before any type is known.

    Parameters
    ----------
    clean : Clean
        Of a batch of one. Types and side chains are not read.
    """
    every, none = clean.mask, torch.zeros_like(clean.mask)
    held = Held(frames=every, atoms=none, sequence=none)
    n = clean.mask.shape[1]
    # Nothing of it is used: frames are held, and at time 0 all types are hidden.
    noise = draw_noise([""], [n], n, 0, 0).to(clean.mask.device)
    times = held.times(0.0, 0.0)
    return Flow().corrupt(hidden_removed(clean, held), times, noise)[0]


def decoding_order(uid: str, length: int, seed: int, number: int) -> Tensor:
    """(length,) int64, a random order of what is decoded: a function of its arguments alone."""
    g = generator(seed, _ORDER, f"{uid} order {number}")
    return torch.randperm(length, generator=g)


@torch.no_grad()
def type_log_probabilities(
    network: Network,
    backbone: NoisyProtein,
    types: Tensor,
    revealed: Tensor,
    *,
    passes: int = PASSES,
    batch_size: int = 8,
) -> Tensor:
    """log p of the twenty types at each residue, given the types that are revealed.

    Parameters
    ----------
    network : callable
        In evaluation mode.
    backbone : NoisyProtein
        Of `backbone_alone`.
    types : (N,) int64
        What is revealed; read nowhere else.
    revealed : (C, N) bool
        Of each of C contexts.
    passes : int
        Evaluations of the network for a context, each of which sees the one before. Two find nature
        likelier than one (docs/results.md).
    batch_size : int
        Contexts that go through the network together at most.

    Returns
    -------
    (C, N, 20) float32
    """
    there = backbone.mask
    n = there.shape[1]
    size = max(1, min(batch_size, MAX_PAIRS // n**2))
    found = []
    for begin in range(0, len(revealed), size):
        shown = revealed[begin : begin + size].to(there.device) & there
        noisy = _repeated(backbone, len(shown))
        sequence = torch.where(shown, types.to(there.device), noisy.state.sequence)
        # In training a residue is revealed with a probability that is the time.
        share = shown.sum(1, keepdim=True) / there.sum(1, keepdim=True).clamp(min=1)
        time = share.to(noisy.times.sequence.dtype).expand(shown.shape)
        noisy = replace(
            noisy,
            state=replace(noisy.state, sequence=sequence),
            times=replace(noisy.times, sequence=time).within(there.expand(shown.shape)),
        )
        prediction = network(noisy)
        for _ in range(passes - 1):
            conditioned = self_conditioning(noisy, prediction)
            prediction = network(replace(noisy, self_conditioning=conditioned))
        found.append(prediction.logits.float().log_softmax(-1).cpu())
    return torch.cat(found) if found else torch.zeros(0, n, N_TYPES)


def chain_rule(
    network: Network,
    backbone: NoisyProtein,
    types: Tensor,
    uid: str,
    *,
    orders: int = ORDERS,
    seed: int = 0,
    passes: int = PASSES,
    batch_size: int = 8,
) -> Tensor:
    """log p of the type of each residue when its turn comes, in each order.

    The sum over residues is the log-likelihood of the sequence in this order. One evaluation of the
    network for each residue, order and pass.

    Parameters
    ----------
    network, backbone, passes, batch_size
        As `type_log_probabilities`.
    types : (N,) int64
        Residues whose type is not one of the twenty stay hidden and have no likelihood.
    uid : str
        What orders are drawn for, with the seed: the same for other sequences on this backbone.
    orders : int
    seed : int

    Returns
    -------
    (orders, N) float32
        NaN where there is no residue, or none of the twenty types.
    """
    rows = _counted(backbone, types)
    n = len(rows)
    found = torch.full((orders, len(types)), torch.nan)
    for number in range(orders):
        order = rows[decoding_order(uid, n, seed, number)]
        log_p = type_log_probabilities(
            network,
            backbone,
            types,
            _before(order, torch.arange(n), len(types)),
            passes=passes,
            batch_size=batch_size,
        )
        found[number, order] = log_p[torch.arange(n), order, types[order]]
    return found


def estimated(
    network: Network,
    backbone: NoisyProtein,
    types: Tensor,
    uid: str,
    *,
    steps: int,
    orders: int = ORDERS,
    seed: int = 0,
    passes: int = PASSES,
    batch_size: int = 8,
) -> tuple[Tensor, Tensor]:
    """What `chain_rule` is on average over orders, from a few evaluations of the network.

    Of each order so many turns are drawn, one of each of `steps` equal stretches. At each, the
    prediction of all residues that are still hidden counts, not only of the next one: their mean is
    what the next one has on average over orders (E. Hoogeboom et al., 2022, equation 6). A residue
    that is hidden at turn t of n is so with probability (n − t)/n, whose inverse is its weight.
    Sums are much more certain than single residues.

    Parameters
    ----------
    As `chain_rule`. With as many steps as residues or more, that is the result.

    Returns
    -------
    log_p : (orders, N) float32
        Sums over residues estimate the log-likelihood. Zero where a residue never was hidden.
    weight : (orders, N) float32
        What the predictions of a residue weigh together, one on average. Their mean, which is the
        estimate for a residue by itself, is the sum of log_p through that of the weights.
    """
    rows = _counted(backbone, types)
    n = len(rows)
    options = {"orders": orders, "seed": seed, "passes": passes, "batch_size": batch_size}
    if steps >= n:
        exact = chain_rule(network, backbone, types, uid, **options)
        return exact, torch.where(exact.isnan(), torch.nan, 1.0)
    found, weights = torch.full((2, orders, len(types)), torch.nan)
    for number in range(orders):
        order = rows[decoding_order(uid, n, seed, number)]
        g = generator(seed, _TURN, f"{uid} order {number}")
        turns = ((torch.arange(steps) + torch.rand(steps, generator=g)) * (n / steps)).long()
        turns = turns.clamp(max=n - 1)
        revealed = _before(order, turns, len(types))
        log_p = type_log_probabilities(
            network, backbone, types, revealed, passes=passes, batch_size=batch_size
        )
        of_type = log_p[:, rows, types[rows]]
        weight = (n / (n - turns))[:, None] * ~revealed[:, rows]
        found[number, rows] = (weight * of_type).mean(0)
        weights[number, rows] = weight.mean(0)
    return found, weights


def conditionals(
    network: Network,
    backbone: NoisyProtein,
    types: Tensor,
    *,
    passes: int = PASSES,
    batch_size: int = 8,
) -> Tensor:
    """log p of the twenty types at each residue, given the types of all others.

    Parameters
    ----------
    As `chain_rule`. One evaluation of the network for each residue.

    Returns
    -------
    (N, 20) float32
        NaN where `chain_rule` has it.
    """
    rows = _counted(backbone, types)
    revealed = torch.zeros(len(rows), len(types), dtype=torch.bool)
    revealed[:, rows] = True
    revealed[torch.arange(len(rows)), rows] = False
    log_p = type_log_probabilities(
        network, backbone, types, revealed, passes=passes, batch_size=batch_size
    )
    found = torch.full((len(types), N_TYPES), torch.nan)
    found[rows] = log_p[torch.arange(len(rows)), rows]
    return found


def _repeated(backbone: NoisyProtein, times: int) -> NoisyProtein:
    return backbone.map(lambda value: value.expand(times, *value.shape[1:]))


def _counted(backbone: NoisyProtein, types: Tensor) -> Tensor:
    """Residues that are there and whose type is one of the twenty."""
    if len(backbone.mask) != 1 or backbone.mask.shape[1] != len(types):
        raise ValueError(f"types are {len(types)}, and the backbone {tuple(backbone.mask.shape)}")
    if bool((backbone.state.sequence[0] != MASK)[backbone.mask[0]].any()):
        raise ValueError("the backbone has types already; take backbone_alone")
    return torch.nonzero(backbone.mask[0].cpu() & (types < N_TYPES))[:, 0]


def _before(order: Tensor, turns: Tensor, size: int) -> Tensor:
    """(C, N) bool: residues that are decoded before each turn (C,) of an order (n,)."""
    rank = torch.full((size,), len(order))
    rank[order] = torch.arange(len(order))
    return rank[None] < turns[:, None]
