"""What the network knows of the chains of a complex."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from model.flow import TASKS, Flow, NoisyProtein, clean_from_batch, draw_noise, draw_times
from model.flow.tasks import held_for
from model.network import BlockInput
from model.network.embed import MAX_CHAINS
from tests.model.test_network import small
from tests.support.flow_batches import batch_of, random_item

N_CHAINS, LENGTH = MAX_CHAINS + 3, 3
"""More chains than the nodes have names for."""


def complex_for(task: str) -> NoisyProtein:
    n = N_CHAINS * LENGTH
    item = random_item("a_1_A", n, 1, scale=6.0)
    item["chain_index"] = torch.arange(N_CHAINS).repeat_interleave(LENGTH)
    item["residue_index"] = torch.arange(1, LENGTH + 1).repeat(N_CHAINS)
    clean = clean_from_batch(batch_of(item))
    noise = draw_noise(["a_1_A"], [n], n, 0, 0)
    held = held_for(torch.tensor([TASKS.index(task)]), clean, noise)  # type: ignore[arg-type]
    return Flow().corrupt(clean, draw_times(held, noise), noise)[0]


@pytest.mark.parametrize("task", ["packing", "unconditional"])
@torch.no_grad()
def test_no_residue_has_a_place_along_another_chain(task: str) -> None:
    """Numbers of a chain say nothing to another: no residue follows another chain's last one."""
    network, noisy = small(), complex_for(task)
    blocks: list[BlockInput] = []
    network(noisy, blocks)
    rigid = blocks[0].rigid
    nodes, pairs = network.nodes(noisy, rigid), network.pairs(noisy)
    for shift in (LENGTH, 40, 1000):
        index = noisy.residue_index + shift * (noisy.chain_index % 3)
        moved = replace(noisy, residue_index=index)
        torch.testing.assert_close(network.nodes(moved, rigid), nodes)
        torch.testing.assert_close(network.pairs(moved), pairs)


@torch.no_grad()
def test_chains_that_the_nodes_have_no_name_for_are_not_joined() -> None:
    """Behind the eighth chain all have one name there; pairs still tell them apart."""
    network, noisy = small(), complex_for("packing")
    last, before = noisy.chain_index == N_CHAINS - 1, noisy.chain_index == N_CHAINS - 2
    index = torch.where(last, noisy.residue_index + LENGTH, noisy.residue_index)
    apart = replace(noisy, residue_index=index)
    joined = replace(apart, chain_index=torch.where(last, N_CHAINS - 2, noisy.chain_index))
    change = (network.pairs(apart) - network.pairs(joined)).abs().amax(-1)[0]
    assert (change[last[0]][:, before[0]] > 1e-4).all()
    others = ~(last | before)[0]
    assert float(change[others].max()) < 1e-6
