"""The optimizer: who learns by what, how fast, and what is stored of it."""

from __future__ import annotations

import copy
from typing import Any, Literal

import pytest
import torch

from model.network import FlowNetwork, NetworkConfig
from model.train import OptimizerConfig
from model.train.optimizer import build_optimizer, factor, parameter_groups
from pipeline.errors import UsageError

TINY = NetworkConfig(n_blocks=2, c_s=16, c_z=4, n_heads=2, c_hidden=4, n_gaussians=2, n_points=2)


def test_gamma_learns_ten_times_as_fast_and_only_matrices_decay() -> None:
    config = OptimizerConfig(lr=1e-3, weight_decay=0.1)
    network = FlowNetwork(TINY)
    groups = {group["name"]: group for group in parameter_groups(network, config)}
    assert groups["gamma"]["lr"] == pytest.approx(1e-2)
    assert len(groups["gamma"]["params"]) == TINY.n_blocks
    assert [groups[name]["weight_decay"] for name in ("matrices", "vectors", "gamma")] == [
        0.1,
        0.0,
        0.0,
    ]
    assert sum(len(group["params"]) for group in groups.values()) == len(list(network.parameters()))
    optimizer, _ = build_optimizer(network, config, 1000)
    rates = {group["name"]: group["lr"] for group in optimizer.param_groups}
    assert rates["gamma"] == pytest.approx(10 * rates["matrices"])


def test_muon_is_given_the_matrices_between_features_alone() -> None:
    network = FlowNetwork(TINY)
    groups = parameter_groups(network, OptimizerConfig(matrices="muon"))
    names = {id(p): name for name, p in network.named_parameters()}
    inside = {names[id(p)] for g in groups if g["name"] == "inside" for p in g["params"]}
    assert {"blocks.0.transition.out.weight", "nodes.mix.3.weight"} <= inside
    outputs = {"types.weight", "chi.out.0.weight", "blocks.0.torsions.weight", "torsion.weight"}
    assert outputs <= set(names.values())
    assert not outputs & inside
    embeddings = {"nodes.residue_type.weight", "pairs.relative.weight"}
    assert embeddings <= set(names.values())
    assert not embeddings & inside
    assert sum(len(group["params"]) for group in groups) == len(names)


def test_muon_turns_a_matrix_by_as_much_in_all_directions() -> None:
    network = FlowNetwork(TINY)
    config = OptimizerConfig(matrices="muon", warmup_steps=0, schedule="constant", weight_decay=0)
    optimizer, _ = build_optimizer(network, config, 10)
    weight = network.blocks[0].transition.out.weight
    before = weight.detach().clone()
    weight.grad = torch.randn(weight.shape, generator=torch.Generator().manual_seed(0))
    optimizer.step()
    turned = torch.linalg.svdvals(weight.detach() - before)
    # Five steps of Newton and Schulz bring singular values between 0.7 and 1.2.
    assert float(turned.max() / turned.min()) < 2
    assert (
        float(torch.linalg.svdvals(weight.grad).max() / torch.linalg.svdvals(weight.grad).min()) > 3
    )


@pytest.mark.parametrize("matrices", ["adamw", "muon"])
def test_an_optimizer_goes_on_from_what_it_stored(matrices: Literal["adamw", "muon"]) -> None:
    network = FlowNetwork(TINY)
    config = OptimizerConfig(matrices=matrices, warmup_steps=5)

    def gradients(step: int) -> None:
        drawn = torch.Generator().manual_seed(step)
        for parameter in network.parameters():
            parameter.grad = torch.randn(parameter.shape, generator=drawn)

    def steps(numbers: range, stored: tuple[Any, Any, Any] | None = None) -> tuple[Any, Any, Any]:
        optimizer, schedule = build_optimizer(network, config, 100)
        if stored is not None:
            # What is loaded is not copied.
            weights, states, rates = copy.deepcopy(stored)
            network.load_state_dict(weights)
            optimizer.load_state_dict(states)
            schedule.load_state_dict(rates)
        for number in numbers:
            gradients(number)
            optimizer.step()
            schedule.step()
        return copy.deepcopy((network.state_dict(), optimizer.state_dict(), schedule.state_dict()))

    first = steps(range(3))
    whole = steps(range(3, 6), first)
    again = steps(range(3, 6), first)
    assert all(torch.equal(whole[0][name], value) for name, value in again[0].items())
    assert len(first[1]["state"]) == len(list(network.parameters()))
    assert not torch.equal(first[0]["types.weight"], whole[0]["types.weight"])


def test_without_muon_in_torch_an_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.optim, "Muon", raising=False)
    with pytest.raises(UsageError, match=r"torch 2\.9.*adamw"):
        build_optimizer(FlowNetwork(TINY), OptimizerConfig(matrices="muon"), 10)


def test_the_learning_rate_rises_then_falls_along_a_cosine_and_stays() -> None:
    config = OptimizerConfig(warmup_steps=9, schedule="cosine", final_lr=0.1)
    values = [factor(step, config=config, end=109) for step in range(150)]
    assert values[:3] == pytest.approx([0.1, 0.2, 0.3])
    assert values[9] == pytest.approx(1.0)
    assert values[59] == pytest.approx(0.55)
    assert values[109:] == pytest.approx([0.1] * 41)
    config = OptimizerConfig(warmup_steps=9, stable_steps=40, schedule="cosine", final_lr=0.0)
    values = [factor(step, config=config, end=149) for step in range(150)]
    assert values[9:50] == pytest.approx([1.0] * 41)
    assert values[99] == pytest.approx(0.5)
    assert values[149] == pytest.approx(0.0)
    with pytest.raises(ValueError, match=r"max_steps"):
        build_optimizer(FlowNetwork(TINY), config, -1)
