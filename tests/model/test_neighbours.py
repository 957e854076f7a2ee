"""Pair features of neighbours: whom they are about, and what they do not tell."""

from __future__ import annotations

from dataclasses import replace

import torch

from model.flow import Flow, Held, NoisyProtein, clean_from_batch, draw_noise
from model.flow.product import self_conditioning
from model.network import FlowNetwork, NetworkConfig
from model.network.neighbours import NeighbourEdges
from pipeline.residues import AATYPE_OF_LETTER
from tests.support.flow_batches import UIDS, batch_of, three_proteins

K, C_Z = 4, 6


def protein(given: int = 0) -> NoisyProtein:
    """Packing; side chains of the first residues are given."""
    clean = clean_from_batch(batch_of(*three_proteins()))
    first = torch.arange(clean.mask.shape[1]) < given
    held = Held(clean.mask, clean.mask & first, clean.mask)
    noise = draw_noise(UIDS, clean.mask.sum(1), clean.mask.shape[1], 0, 0)
    return Flow().corrupt(clean, held.times(0.0, 0.0), noise)[0]


def features(noisy: NoisyProtein) -> torch.Tensor:
    torch.manual_seed(0)
    edges = NeighbourEdges(C_Z, K)
    n = noisy.mask.shape[1]
    return edges(torch.zeros(len(noisy.mask), n, n, C_Z), noisy).detach()


def test_edges_go_to_the_nearest_and_to_none_that_is_not_there() -> None:
    noisy = protein()
    touched = (features(noisy) != 0).any(-1)
    lengths = noisy.mask.sum(1)
    for b, n in enumerate(lengths.tolist()):
        assert (touched[b, :n].sum(-1) == min(K, n)).all()
        assert not touched[b, :, n:].any()
        assert not touched[b, n:].any()
        assert touched[b, :n, :n].diagonal().all()
        # CB lies within 1.6 Å of CA: a residue whose CA is this much further is not among them.
        x = noisy.state.translations[b, :n]
        distance = torch.cdist(x, x)
        furthest = torch.where(touched[b, :n, :n], distance, 0.0).amax(-1, keepdim=True)
        assert (
            distance[~touched[b, :n, :n]] > (furthest - 6.4).expand(n, n)[~touched[b, :n, :n]]
        ).all()


def test_backbones_tell_nothing_of_types_not_even_of_glycine() -> None:
    noisy = protein()
    all_glycine = torch.full_like(noisy.state.sequence, AATYPE_OF_LETTER["G"])
    other = replace(noisy, state=replace(noisy.state, sequence=all_glycine))
    assert torch.equal(features(noisy), features(other))


def test_given_side_chains_are_seen_where_they_are_and_hidden_ones_not_at_all() -> None:
    noisy, hidden = protein(given=3), protein()
    assert not torch.equal(features(noisy), features(hidden))
    moved = replace(noisy, state=replace(noisy.state, atoms=noisy.state.atoms + 0.5))
    changed = (features(noisy) != features(moved)).any(-1)
    given = (noisy.times.atoms == 1) & noisy.mask
    assert given.any()
    assert not changed.transpose(1, 2)[~given].any()
    assert changed.transpose(1, 2)[given].any()


def test_an_earlier_prediction_is_seen() -> None:
    torch.manual_seed(1)
    network = FlowNetwork(NetworkConfig(n_blocks=1, c_s=16, c_z=8, n_heads=2)).eval()
    noisy = protein()
    with torch.no_grad():
        again = replace(noisy, self_conditioning=self_conditioning(noisy, network(noisy)))
    assert not torch.equal(features(noisy), features(again))
    nothing = again.self_conditioning
    assert nothing is not None
    none = replace(nothing.rotamers, weight=torch.zeros_like(nothing.rotamers.weight))
    empty = replace(again, self_conditioning=replace(nothing, rotamers=none))
    assert torch.equal(features(noisy), features(empty))
