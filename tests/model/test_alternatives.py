"""Side chains that are drawn: in rounds, seen by those that follow, and out of each other's way."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from model.flow import Held, NoisyProtein, Prediction, clean_from_batch
from model.flow.alternatives import ROUNDS
from model.flow.clean import Clean
from model.flow.generate import generate
from model.torsions import ChiDistribution, free_chi
from model.torsions.avoid import avoid
from model.torsions.distribution import independent
from tests.model.test_settle import residues
from tests.support.flow_batches import batch_of, random_item


class Vague:
    """A network that is more certain of some residues than of others, whatever it is given."""

    def __init__(self) -> None:
        self.seen: list[NoisyProtein] = []

    def __call__(self, noisy: NoisyProtein) -> Prediction:
        self.seen.append(noisy)
        b, n = noisy.mask.shape
        logits = torch.zeros(b, n, 4, 36)
        logits[..., 11] = 2 + 0.4 * torch.arange(n)[:, None]
        logits[..., 35] = 1.9
        return Prediction(
            rotations=noisy.state.rotations,
            translations=noisy.state.translations,
            torsion=torch.zeros(b, n, 2),
            chi=ChiDistribution(logits, noisy.state.sequence, independent),
            chi_of_blocks=torch.zeros(b, n, 0, 4, 36),
            logits=torch.zeros(b, n, 20),
            confidence=torch.zeros(b, n),
        )


def packing(clean: Clean) -> Held:
    return Held(clean.mask, torch.zeros_like(clean.mask), clean.mask)


@pytest.fixture(scope="module")
def clean() -> Clean:
    return clean_from_batch(batch_of(random_item("a", 30, 1), random_item("b", 17, 2)))


def drawn(clean: Clean, uids: list[str], **options: object) -> tuple[Tensor, Vague]:
    network = Vague()
    made = generate(
        network,
        clean,
        packing(clean),
        uids,
        passes=2,
        chi_temperature=1.0,
        **options,  # type: ignore[arg-type]
    )
    return made.state.atoms, network


def test_the_most_certain_are_drawn_first_and_seen_by_those_that_follow(clean: Clean) -> None:
    atoms, network = drawn(clean, ["a", "b"], relax=False)
    assert len(network.seen) == 2 + ROUNDS - 1
    free = free_chi(clean.sequence)[..., 0] & clean.mask
    told = network.seen[1].self_conditioning
    assert told is not None
    certainty = told.rotamers.weight.amax(-1)
    before = torch.zeros_like(free)
    for noisy in network.seen[2:]:
        given = (noisy.times.atoms == 1) & clean.mask
        assert given[before].all()
        assert (given & free)[0].sum() > (before & free)[0].sum()
        assert torch.equal(noisy.state.atoms[given], atoms[given])
        for row in range(2):
            now, left = (given & free & ~before)[row], (free & ~given)[row]
            assert certainty[row][left].max() <= certainty[row][now].min()
        before = given
    assert (free & ~before).any(), "the last round has something to draw"
    assert all((noisy.times.atoms[clean.mask] == 0).all() for noisy in network.seen[:2])


def test_draws_are_of_name_and_seed_whatever_else_is_drawn(clean: Clean) -> None:
    both, _ = drawn(clean, ["a", "b"])
    again, _ = drawn(clean, ["a", "b"])
    assert torch.equal(both, again)
    alone = clean[1:].map(lambda x: x[:, :17])
    assert torch.equal(drawn(alone, ["b"])[0][0], both[1, :17])
    assert not torch.equal(drawn(alone, ["c"])[0], drawn(alone, ["b"])[0])
    assert not torch.equal(drawn(alone, ["b"], seed=1)[0], drawn(alone, ["b"])[0])


def test_what_is_given_stays_and_is_seen_in_every_round(clean: Clean) -> None:
    network, kept = Vague(), clean.complete & (torch.arange(30) < 9)
    held = replace(packing(clean), atoms=kept)
    made = generate(network, clean, held, ["a", "b"], passes=1, chi_temperature=0.5)
    assert kept.any()
    assert torch.equal(made.state.atoms[kept], clean.atoms[kept])
    for noisy in network.seen:
        assert torch.equal(noisy.state.atoms[kept], clean.atoms[kept])


# ---- avoid --------------------------------------------------------------------------------------


def test_the_first_draw_that_does_not_overlap_is_taken() -> None:
    side_chains, backbone, sequence, mask = residues("SS", [(0.0, 0.0), (1.0, 1.0)])
    more = side_chains[:, :, :1].repeat(1, 1, 4, 1, 1)
    more[0, 0, :, 1, 0] = torch.tensor([0.0, 0.5, 30.0, 40.0])
    chosen = torch.zeros_like(sequence)
    given = (more, backbone, sequence, mask)
    order = torch.tensor([[0]])
    assert avoid(chosen, *given, mask, order).tolist() == [[2, 0]]
    # Nobody is asked, nothing stands there yet, or there is no residue: the first draw it is.
    assert avoid(chosen, *given, mask, torch.tensor([[-1]])).tolist() == [[0, 0]]
    placed = torch.tensor([[True, False]])
    assert avoid(chosen, *given, placed, order).tolist() == [[0, 0]]


def test_where_every_draw_overlaps_the_least_is_taken() -> None:
    side_chains, backbone, sequence, mask = residues("SS", [(0.0, -0.9), (1.0, 1.0)])
    chosen = torch.zeros_like(sequence)
    found = avoid(chosen, side_chains, backbone, sequence, mask, mask, torch.tensor([[0, 1]]))
    assert found.tolist() == [[1, 0]]


@pytest.mark.parametrize(("letters", "chosen"), [("CC", 0), ("SS", 1)])
def test_a_draw_that_bonds_two_cysteines_stays(letters: str, chosen: int) -> None:
    side_chains, backbone, sequence, mask = residues(letters, [(0.0, 20.0), (2.05, 2.05)])
    start = torch.zeros_like(sequence)
    found = avoid(start, side_chains, backbone, sequence, mask, mask, torch.tensor([[0]]))
    assert found[0, 0] == chosen
