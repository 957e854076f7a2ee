"""Rotamers that do not clash: whom they give way to, and what they do not touch."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from model.flow import Flow, Held, NoisyProtein, clean_from_batch, draw_noise
from model.flow.atoms import settled
from model.flow.backbone import ideal_backbone
from model.torsions import Rotamers, library_rotamers
from model.torsions.obstacles import Obstacles
from model.torsions.overlap import N_NEIGHBOURS
from model.torsions.settle import BOND, settle
from pipeline.residues import AATYPE_OF_LETTER
from tests.support.flow_batches import UIDS, batch_of, random_item

APART = 1.8
"""Å along x, between the tips of rotamers."""


def residues(letters: str, at: list[tuple[float, float]]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Residues with two rotamers each: one atom beyond CB, at one of two x; y = 0.

    Their backbones lie 20 Å away. Returns what `settle` takes, but for weights.
    """
    n = len(letters)
    sequence = torch.tensor([[AATYPE_OF_LETTER[letter] for letter in letters]])
    side_chains = torch.full((1, n, 2, 10, 3), 500.0)
    side_chains[0, :, :, 0] = torch.tensor([0.0, 20.0, 0.0])
    side_chains[0, :, :, 0, 2] = torch.arange(n)[:, None] * 4.0
    for k, places in enumerate(at):
        for r, x in enumerate(places):
            side_chains[0, k, r, 1] = torch.tensor([x, 0.0, 0.0])
    backbone = torch.full((1, n, 4, 3), -90.0) + torch.arange(n)[:, None, None] * 10.0
    return side_chains, backbone, sequence, torch.ones(1, n, dtype=torch.bool)


def test_without_a_clash_each_takes_its_likeliest() -> None:
    given = residues("SS", [(0.0, 20.0), (10.0, 30.0)])
    weight = torch.tensor([[[0.6, 0.4], [0.3, 0.7]]])
    assert settle(weight, *given).tolist() == [[0, 1]]


def test_of_two_that_want_one_place_the_less_certain_gives_way() -> None:
    given = residues("SS", [(0.0, 20.0), (APART, 30.0)])
    for weight, expected in (
        ([[0.9, 0.1], [0.6, 0.4]], [0, 1]),
        ([[0.6, 0.4], [0.9, 0.1]], [1, 0]),
    ):
        assert settle(torch.tensor([weight]), *given).tolist() == [expected]


def test_a_clash_that_cannot_be_avoided_is_left_to_the_likelier() -> None:
    side_chains, backbone, sequence, mask = residues("SS", [(0.0, 0.3), (APART, APART + 0.3)])
    weight = torch.tensor([[[1.0, 0.0], [1.0, 0.0]]])
    assert settle(weight, side_chains, backbone, sequence, mask).tolist() == [[0, 0]]


def test_backbones_are_obstacles() -> None:
    side_chains, backbone, sequence, mask = residues("SG", [(0.0, 20.0), (0.0, 0.0)])
    weight = torch.tensor([[[0.9, 0.1], [1.0, 0.0]]])
    assert settle(weight, side_chains, backbone, sequence, mask)[0, 0] == 0
    backbone[0, 1, 2] = torch.tensor([1.0, 0.0, 0.0])
    assert settle(weight, side_chains, backbone, sequence, mask)[0, 0] == 1


@pytest.mark.parametrize(("letters", "chosen"), [("CC", 0), ("SS", 1), ("CS", 1)])
def test_sulphurs_that_can_bond_are_no_clash(letters: str, chosen: int) -> None:
    given = residues(letters, [(0.0, 20.0), (2.05, 2.05)])
    assert BOND > 2.05
    found = settle(torch.tensor([[[0.6, 0.4], [1.0, 0.0]]]), *given)
    assert found[0, 0] == chosen


def test_what_is_not_there_is_no_obstacle() -> None:
    side_chains, backbone, sequence, mask = residues("SS", [(0.0, 20.0), (APART, 30.0)])
    weight = torch.tensor([[[0.6, 0.4], [0.9, 0.1]]])
    mask[0, 1] = False
    assert settle(weight, side_chains, backbone, sequence, mask)[0, 0] == 0


def packing(length: int, given: int = 0) -> tuple[NoisyProtein, Rotamers]:
    """Residues 3 Å apart, whose rotamers are those of the library; the first are given."""
    item = random_item("a", length, 1, scale=1.5 * length ** (1 / 3))
    clean = clean_from_batch(batch_of(item))
    angle = torch.full_like(clean.mask, 0.5, dtype=torch.float32)
    clean = replace(clean, backbone=ideal_backbone(torch.sin(angle), torch.cos(angle)))
    held = Held(clean.mask, clean.mask & (torch.arange(length) < given), clean.mask)
    noise = draw_noise(UIDS[:1], [length], length, 0, 0)
    noisy, _ = Flow().corrupt(clean, held.times(0.0, 0.0), noise)
    rotamers = library_rotamers(clean.sequence)
    open_ = (noisy.times.atoms < 1)[..., None]
    return noisy, replace(rotamers, weight=torch.where(open_, rotamers.weight, 0.0))


def overlaps(noisy: NoisyProtein, chi: Tensor) -> float:
    """Pairs of atoms of different residues nearer than 2.5 Å, beyond CB on one side at least."""
    state = noisy.state
    atoms = Flow().atoms.placed(noisy, chi)
    there = (atoms.abs().sum(-1) > 0)[0]
    x = (state.rotations[0][:, None] @ atoms[0][..., None])[..., 0] + state.translations[0][:, None]
    owner = torch.arange(len(x))[:, None].expand_as(there)[there]
    distance = torch.cdist(x[there], x[there])
    return float(((distance < 2.5) & (owner[:, None] != owner)).sum()) / 2


def test_a_crowded_protein_has_fewer_overlaps_and_given_side_chains_stay() -> None:
    noisy, rotamers = packing(40, given=8)
    chi = settled(noisy, rotamers)
    assert overlaps(noisy, chi) < 0.6 * overlaps(noisy, rotamers.likeliest())
    given = noisy.times.atoms == 1
    atoms = Flow().atoms.placed(noisy, chi)
    assert given.sum() >= 6
    assert torch.equal(atoms[given], noisy.state.atoms[given])


def test_a_residue_settles_alike_under_any_padding_and_in_any_batch() -> None:
    noisy, rotamers = packing(N_NEIGHBOURS + 10)
    alone = settled(noisy, rotamers)
    n = noisy.mask.shape[1]

    def padded(x: Tensor) -> Tensor:
        if x.ndim < 2:
            return x.repeat(2)
        more = x.new_zeros(1, 5, *x.shape[2:])
        return torch.cat([x, more], 1).repeat(2, *[1] * (x.ndim - 1))

    both = settled(noisy.map(padded), rotamers.map(padded))
    for row in both:
        assert torch.equal(row[:n], alone[0])


# ---- obstacles ----------------------------------------------------------------------------------


def beside(at: tuple[float, float, float], element: str) -> Obstacles:
    found = Obstacles.of([(torch.tensor([at]), [element])])
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("letter", "x", "element", "chosen"),
    [
        ("S", 1.0, "C", 1),
        ("S", 9.0, "C", 0),
        # Bonded: N, O or S and carbon.
        ("S", 1.45, "C", 0),
        ("S", 1.45, "O", 1),
        ("V", 1.45, "C", 1),
        # A metal that is bound, and one that is too near.
        ("S", 2.05, "ZN", 0),
        ("S", 1.0, "ZN", 1),
        ("S", 2.05, "CL", 1),
        # No metals, though a table of few elements may lack them.
        ("S", 2.1, "B", 1),
        ("S", 1.45, "B", 0),
        ("S", 2.3, "SI", 1),
    ],
)
def test_side_chains_go_round_obstacles_but_may_be_bonded_to_them(
    letter: str, x: float, element: str, chosen: int
) -> None:
    side_chains, backbone, sequence, mask = residues(letter, [(0.0, 20.0)])
    side_chains[0, 0, :, 0] = torch.tensor([0.0, 5.0, 0.0])
    weight = torch.tensor([[[0.6, 0.4]]])
    given = (side_chains, backbone, sequence, mask, beside((x, 0.0, 0.0), element))
    assert settle(weight, *given).tolist() == [[chosen]]


def test_obstacles_of_one_protein_are_none_of_its_neighbours_in_the_batch() -> None:
    side_chains, backbone, sequence, mask = (
        x.repeat(2, *[1] * (x.ndim - 1)) for x in residues("S", [(0.0, 20.0)])
    )
    side_chains[:, 0, :, 0] = torch.tensor([0.0, 5.0, 0.0])
    obstacles = Obstacles.of([(torch.zeros(0, 3), []), (torch.tensor([[1.0, 0.0, 0.0]]), ["C"])])
    weight = torch.tensor([[[0.6, 0.4]]]).repeat(2, 1, 1)
    found = settle(weight, side_chains, backbone, sequence, mask, obstacles)
    assert found.tolist() == [[0], [1]]
    assert Obstacles.of([(torch.zeros(0, 3), [])]) is None
