"""Likelihoods: the chain rule, against a slow reference, and what it may depend on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from model.flow import (
    TASKS,
    Clean,
    Flow,
    Held,
    NoisyProtein,
    clean_from_batch,
    draw_noise,
    draw_times,
)
from model.flow.generate import generate
from model.flow.likelihood import (
    backbone_alone,
    chain_rule,
    conditionals,
    decoding_order,
    estimated,
    type_log_probabilities,
)
from model.flow.product import self_conditioning
from model.flow.tasks import held_for
from model.losses import FlowLoss
from model.network import FlowNetwork
from model.train.optimizer import OptimizerConfig, build_optimizer
from pipeline.residues import MASK
from tests.model.test_leaks import assert_same_bits
from tests.support.flow_batches import batch_of, random_item, unresolved
from tests.support.sample_network import CONFIG, small_network

N = 9
UID = "protein"


@pytest.fixture(scope="module")
def network() -> FlowNetwork:
    torch.set_num_threads(1)
    network = small_network()
    with torch.no_grad():
        # So that types depend on each other by more than rounding.
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return network


def clean_protein(seed: int = 0) -> Clean:
    """With a residue that is not there, and one of unknown type."""
    item = unresolved(random_item(UID, N, seed), 2)
    item["aatype"][5] = 20
    return clean_from_batch(batch_of(item))


def toy(n: int) -> Callable[[NoisyProtein], Any]:
    """A network of no cost, in which each type depends on all that are revealed."""
    g = torch.Generator().manual_seed(1)
    own, pairs = torch.randn(n, 20, generator=g), torch.randn(n, n, 22, 20, generator=g)

    def predict(noisy: NoisyProtein) -> Any:
        told = torch.nn.functional.one_hot(noisy.state.sequence, 22).float()
        return SimpleNamespace(logits=own + torch.einsum("bjt,ijta->bia", told, pairs) / n)

    return predict


def slowly(network: FlowNetwork, clean: Clean, types: Tensor, order: list[int]) -> Tensor:
    """One residue after the other, each protein made from the start, one at a time."""
    found = torch.full((N,), torch.nan)
    noise = draw_noise(["x"], [N], N, 5, 0)
    for turn, row in enumerate(order):
        known = torch.zeros(1, N, dtype=torch.bool)
        known[0, order[:turn]] = True
        # All side chains are hidden, of residues that are revealed, too.
        held = Held(clean.mask, torch.zeros_like(clean.mask), known)
        there = clean.mask & clean.frame_mask
        share = turn / int(there.sum())
        told = replace(clean, sequence=torch.where(known, types, clean.sequence))
        noisy, _ = Flow().corrupt(told, held.times(0.0, 0.0), noise)
        # In training revealed residues have the time of the others.
        time = torch.full((1, N), share)
        noisy = replace(noisy, times=replace(noisy.times, sequence=time).within(noisy.mask))
        with torch.no_grad():
            earlier = self_conditioning(noisy, network(noisy))
            logits = network(replace(noisy, self_conditioning=earlier)).logits[0, row].double()
        found[row] = (logits - torch.logsumexp(logits, 0))[types[row]].float()
    return found


def test_the_likelihood_is_that_of_a_slow_loop_over_residues(network: FlowNetwork) -> None:
    clean = clean_protein()
    types = clean.sequence[0]
    log_p = chain_rule(network, backbone_alone(clean), types, UID, orders=3, seed=4, batch_size=4)
    rows = [k for k in range(N) if k not in (2, 5)]
    for number in range(3):
        order = [rows[k] for k in decoding_order(UID, len(rows), 4, number).tolist()]
        assert sorted(order) == rows
        expected = slowly(network, clean, types, order)
        torch.testing.assert_close(log_p[number], expected, atol=1e-5, rtol=0, equal_nan=True)
        assert float(log_p[number].nansum()) == pytest.approx(float(expected.nansum()), abs=1e-4)
    # What is decoded before does matter.
    assert (log_p[0, rows] - log_p[1, rows]).abs().max() > 1e-3


def test_two_residues_have_probabilities_that_sum_to_one_over_all_sequences() -> None:
    backbone = backbone_alone(clean_from_batch(batch_of(random_item(UID, 2, 1))))
    total = 0.0
    for a in range(20):
        for b in range(20):
            types = torch.tensor([a, b])
            total += float(
                chain_rule(toy(2), backbone, types, UID, orders=1, passes=1)[0].sum().exp()
            )
    assert total == pytest.approx(1, abs=1e-4)


def test_the_backbone_alone_tells_nothing_of_types_and_side_chains() -> None:
    clean = clean_protein()
    other = replace(
        clean,
        sequence=(clean.sequence + 3) % 20,
        atoms=clean.atoms + 1,
        atoms_mask=~clean.atoms_mask,
    )
    alone = backbone_alone(clean)
    assert_same_bits(alone, backbone_alone(other))
    assert (alone.state.sequence[alone.mask] == MASK).all()
    assert (alone.state.atoms == 0).all()


def test_the_first_step_is_the_same_in_every_order(network: FlowNetwork) -> None:
    clean = clean_protein()
    backbone = backbone_alone(clean)
    types = clean.sequence[0]
    rows = torch.tensor([k for k in range(N) if k not in (2, 5)])
    nothing = torch.zeros(1, N, dtype=torch.bool)
    first = type_log_probabilities(network, backbone, types, nothing)[0]
    log_p = chain_rule(network, backbone, types, UID, orders=6)
    for number in range(6):
        row = rows[decoding_order(UID, len(rows), 0, number)[0]]
        assert float(log_p[number, row]) == pytest.approx(float(first[row, types[row]]), abs=1e-6)


def test_a_type_depends_on_those_before_it_alone(network: FlowNetwork) -> None:
    clean = clean_protein()
    backbone = backbone_alone(clean)
    types = clean.sequence[0]
    rows = torch.tensor([k for k in range(N) if k not in (2, 5)])
    order = rows[decoding_order(UID, len(rows), 0, 0)]
    changed = types.clone()
    changed[order[3]] = (types[order[3]] + 1) % 20
    a, b = (
        chain_rule(network, backbone, given, UID, orders=1)[0, order] for given in (types, changed)
    )
    assert torch.equal(a[:3], b[:3])
    assert ((a[4:] - b[4:]).abs() > 1e-6).all()


def test_orders_are_functions_of_seed_and_name_and_all_differ() -> None:
    one = decoding_order("a", 30, 0, 0)
    assert torch.equal(one, decoding_order("a", 30, 0, 0))
    assert torch.equal(one.sort().values, torch.arange(30))
    others = [("b", 30, 0, 0), ("a", 30, 1, 0), ("a", 30, 0, 1)]
    assert not any(torch.equal(one, decoding_order(*other)) for other in others)


def test_batches_and_passes(network: FlowNetwork) -> None:
    clean = clean_protein()
    backbone, types = backbone_alone(clean), clean.sequence[0]
    alone = chain_rule(network, backbone, types, UID, orders=2, batch_size=1)
    together = chain_rule(network, backbone, types, UID, orders=2, batch_size=16)
    torch.testing.assert_close(alone, together, atol=1e-5, rtol=0, equal_nan=True)
    once = chain_rule(network, backbone, types, UID, orders=2, passes=1)
    assert (once - alone).abs().nan_to_num().max() > 1e-5


def test_an_estimate_is_right_on_average_and_exact_with_all_steps() -> None:
    clean, network = clean_protein(), toy(N)
    backbone, types = backbone_alone(clean), clean.sequence[0]
    exact = chain_rule(network, backbone, types, UID, orders=2, passes=1)
    all_steps, weight = estimated(network, backbone, types, UID, steps=7, orders=2, passes=1)
    torch.testing.assert_close(exact, all_steps, equal_nan=True, atol=0, rtol=0)
    many = chain_rule(network, backbone, types, UID, orders=150, passes=1, batch_size=64)
    assert torch.equal(weight.nan_to_num(7), torch.where(exact.isnan(), 7.0, 1.0))
    few, weight = estimated(
        network, backbone, types, UID, steps=2, orders=500, passes=1, batch_size=64
    )
    sums = few.nansum(1)
    error = float(sums.std() / len(sums) ** 0.5) + float(many.nansum(1).std() / 150**0.5)
    assert abs(float(sums.mean() - many.nansum(1).mean())) < 4 * error
    assert abs(error / float(sums.mean())) < 0.02
    # Of single residues, too; they vary more.
    known = ~many[0].isnan()
    spread = few[:, known].std(0) / len(few) ** 0.5 + many[:, known].std(0) / 150**0.5
    assert ((few[:, known].mean(0) - many[:, known].mean(0)).abs() < 5 * spread + 1e-6).all()
    assert (weight[:, known].mean(0) - 1).abs().max() < 0.2
    # Weighed by themselves, they are certain sooner; and what was never hidden is not a zero.
    weighed = few[:, known].sum(0) / weight[:, known].sum(0)
    assert ((weighed - many[:, known].mean(0)).abs() < 5 * spread + 1e-6).all()
    once, weight = estimated(network, backbone, types, UID, steps=1, orders=9, passes=1)
    never = weight[:, known] == 0
    assert never.any()
    assert (once[:, known][never] == 0).all()
    assert (once[:, known][~never] < 0).all()


def test_conditionals_are_the_last_turn_of_an_order(network: FlowNetwork) -> None:
    clean = clean_protein()
    backbone, types = backbone_alone(clean), clean.sequence[0]
    log_p = conditionals(network, backbone, types)
    rows = torch.tensor([k for k in range(N) if k not in (2, 5)])
    assert log_p[[2, 5]].isnan().all()
    torch.testing.assert_close(log_p[rows].exp().sum(-1), torch.ones(7))
    for number in range(4):
        turns = chain_rule(network, backbone, types, UID, orders=number + 1)[number]
        last = rows[decoding_order(UID, len(rows), 0, number)[-1]]
        assert float(turns[last]) == pytest.approx(float(log_p[last, types[last]]), abs=1e-5)
    # A residue's own type does not matter: it is hidden.
    other = types.clone()
    other[0] = (types[0] + 7) % 20
    again = conditionals(network, backbone, other)
    assert torch.equal(again[0], log_p[0])
    assert not torch.equal(again[1], log_p[1])


def test_what_does_not_fit_is_refused(network: FlowNetwork) -> None:
    clean = clean_protein()
    backbone = backbone_alone(clean)
    with pytest.raises(ValueError, match="types are 3"):
        chain_rule(network, backbone, torch.zeros(3, dtype=torch.int64), UID)
    typed = replace(backbone, state=replace(backbone.state, sequence=clean.sequence))
    with pytest.raises(ValueError, match="has types already"):
        conditionals(network, typed, clean.sequence[0])


def test_a_network_that_knows_nothing_has_a_perplexity_of_twenty() -> None:
    clean = clean_protein()

    def knows_nothing(noisy: NoisyProtein):
        prediction = small_network()(noisy)
        return replace(prediction, logits=torch.zeros_like(prediction.logits))

    log_p = chain_rule(knows_nothing, backbone_alone(clean), clean.sequence[0], UID, orders=2)
    assert np.exp(-float(log_p.nanmean())) == pytest.approx(20, rel=1e-5)


@pytest.mark.slow
def test_a_chain_that_was_learned_by_heart_is_likely_and_designed_again() -> None:
    """From noised backbones, as a design network is trained; asked of the backbone as it is."""
    torch.manual_seed(0)
    n, count = 12, 4
    item = random_item(UID, n, 3, scale=4.0)
    clean = clean_from_batch(batch_of(*[item] * count))
    config = replace(CONFIG, c_s=32)
    flow, loss, network = Flow(), FlowLoss(), FlowNetwork(config)
    optimizer, schedule = build_optimizer(
        network, OptimizerConfig(lr=0.006, warmup_steps=20, weight_decay=0.0), 160
    )
    uids, tasks = [str(k) for k in range(count)], torch.full((count,), TASKS.index("design"))
    for step in range(160):
        noise = draw_noise(uids, [n] * count, n, 0, step)
        times = draw_times(held_for(tasks, clean, noise), noise)
        sd = torch.full((count,), 0.1)
        noisy, target = flow.corrupt(clean, times, noise, backbone_sd=sd)
        total, _ = loss(noisy, network(noisy), target)
        optimizer.zero_grad()
        total.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    network.eval()
    one, types = clean[:1], clean.sequence[0]
    backbone = backbone_alone(one)
    own = float(chain_rule(network, backbone, types, UID, orders=2).mean().neg().exp())
    turned = types.roll(1)
    others = float(chain_rule(network, backbone, turned, UID, orders=2).mean().neg().exp())
    assert own < 2 < others
    nothing = torch.zeros_like(one.mask)
    held = Held(one.mask, nothing, nothing)
    made = generate(network, one, held, [UID], steps=8, temperature=0.0)
    assert (made.state.sequence[0] == types).float().mean() > 0.8
