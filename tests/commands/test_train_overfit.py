"""One chain is learned by heart: what the flow, the network and the sampler can do together."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from model.flow import TASKS, Clean, Flow, Held, clean_from_batch, draw_noise, draw_times
from model.flow.generate import generate, global_atoms
from model.flow.product import self_conditioning
from model.flow.tasks import held_for
from model.losses import FlowLoss
from model.metrics import Structure, ca_rmsd, chi_angles, side_chain_rmsd
from model.network import FlowNetwork, NetworkConfig
from model.train.optimizer import OptimizerConfig, build_optimizer
from pipeline.batching import collate
from pipeline.dataset import ShardDataset
from pipeline.residues.side_chains import place_side_chains

NETWORK = NetworkConfig(n_blocks=3, c_s=96, c_z=16, c_hidden=12, n_points=6)
CHAIN = "5pti_1_A"
"""58 residues."""
COPIES, SAMPLES = 8, 4

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def item(examples_dataset: Path) -> dict[str, Any]:
    dataset = ShardDataset(str(examples_dataset), where="length between 50 and 60", cache="memory")
    return dataset[list(dataset.chain_uids).index(CHAIN)]


def held(task: str, clean: Clean, step: int) -> Held:
    """Of packing, frames and sequence; of folding, the sequence."""
    count, length = clean.mask.shape
    noise = draw_noise([str(k) for k in range(count)], [length] * count, length, 0, step)
    name = "unconditional" if task == "folding" else task
    found = held_for(torch.full((count,), TASKS.index(name)), clean, noise)
    return replace(found, sequence=clean.mask) if task == "folding" else found


def learn(task: str, clean: Clean, steps: int, lr: float) -> FlowNetwork:
    """The averaged weights after `steps`, within twice the three minutes that it should take."""
    began = time.monotonic()
    torch.manual_seed(0)
    flow, loss, network = Flow(), FlowLoss(), FlowNetwork(NETWORK)
    config = OptimizerConfig(lr=lr, warmup_steps=50, weight_decay=0.0, final_lr=0.02)
    optimizer, schedule = build_optimizer(network, config, steps)
    average = {name: weight.clone() for name, weight in network.state_dict().items()}
    count, length = clean.mask.shape
    uids, lengths = [str(k) for k in range(count)], [length] * count
    for step in range(1, steps + 1):
        noise = draw_noise(uids, lengths, length, 0, step)
        noisy, target = flow.corrupt(clean, draw_times(held(task, clean, step), noise), noise)
        if step % 2:
            with torch.no_grad():
                earlier = self_conditioning(noisy, network(noisy))
            noisy = replace(noisy, self_conditioning=earlier)
        total, _ = loss(noisy, network(noisy), target)
        optimizer.zero_grad()
        total.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            for name, weight in network.state_dict().items():
                average[name].lerp_(weight, 1 - min(0.99, step / (step + 10)))
    assert time.monotonic() - began < 360
    network.load_state_dict(average)
    return network.eval()


def sampled(
    task: str, network: FlowNetwork, item: dict[str, Any], steps: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """atom14 positions and masks of samples from noise that was never trained on."""
    clean = clean_from_batch(collate([item] * SAMPLES))
    uids = [f"sample {k}" for k in range(SAMPLES)]
    made = generate(network, clean, held(task, clean, 0), uids, steps=steps, seed=1)
    positions, present = global_atoms(made.state, made.atoms_mask, made.mask)
    return [(p.double().numpy(), m.numpy()) for p, m in zip(positions, present, strict=True)]


def test_side_chains_of_one_chain_are_learned_as_well_as_ideal_bonds_have_them(
    item: dict[str, Any],
) -> None:
    clean = clean_from_batch(collate([item] * COPIES))
    network = learn("packing", clean, 600, 3e-3)
    true = Structure.from_item(item)
    known = (true.positions, true.mask, true.aatype)
    # The chain's bonds and angles are not ideal: built from its own torsions it is so far off.
    rebuilt = side_chain_rmsd(*place_side_chains(np.radians(chi_angles(*known)), *known), *known)
    errors = [side_chain_rmsd(p, m, *known).all for p, m in sampled("packing", network, item, 50)]
    assert np.mean(errors) < rebuilt.all + 0.02, errors


def test_the_fold_of_one_chain_is_learned_to_an_angstrom(item: dict[str, Any]) -> None:
    clean = clean_from_batch(collate([item] * COPIES))
    network = learn("folding", clean, 600, 3e-3)
    true = Structure.from_item(item)
    errors = [
        ca_rmsd(p[:, 1], true.positions[:, 1]) for p, _ in sampled("folding", network, item, 50)
    ]
    assert np.mean(errors) < 1.0, errors
