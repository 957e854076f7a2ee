"""Side chains as distributions: angles, bins, wells, rotamers, draws, and what is learned."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from model.flow import clean_from_batch
from model.flow.clean import MAX_B_FACTOR, MIN_PLDDT
from model.flow.slots import existing_slots
from model.gaussian_rigid import GaussianRigid
from model.metrics import chi_angles as measured_chi
from model.torsions import (
    N_BINS,
    ChiDistribution,
    ChiHead,
    build,
    chi_angles,
    free_chi,
    library_rotamers,
    periodic_chi,
    smoothed,
)
from model.torsions.angles import wrapped
from model.torsions.bins import wells
from pipeline.geometry.gaussians import rotamer_moments
from pipeline.residues import AATYPE_OF_LETTER, ATOM14_EXISTS, MASK, UNKNOWN
from pipeline.residues.geometry import IDEAL_BACKBONE
from pipeline.residues.rotamers import ROTAMER_CHI, ROTAMER_SHARE
from tests.support.flow_batches import batch_of, certain, random_item, without_atoms

ALL = torch.arange(MASK + 1)[None]
SEEDS = st.integers(0, 1000)


def letters(text: str) -> Tensor:
    return torch.tensor([[AATYPE_OF_LETTER[letter] for letter in text]])


def backbones(sequence: Tensor) -> Tensor:
    return torch.tensor(IDEAL_BACKBONE).float()[sequence.clamp(max=UNKNOWN)]


def some_chi(sequence: Tensor, seed: int = 0) -> Tensor:
    chi = 2 * math.pi * torch.rand(*sequence.shape, 4, generator=torch.manual_seed(seed)) - math.pi
    # No ring of proline closes beyond 45°.
    proline = (sequence == AATYPE_OF_LETTER["P"])[..., None]
    return torch.where(proline, chi / 5, chi)


# ---- angles -------------------------------------------------------------------------------------


@given(SEEDS)
def test_torsions_that_were_built_are_measured(seed: int) -> None:
    chi = some_chi(ALL, seed)
    atoms = build(chi, ALL, backbones(ALL), torch.ones_like(ALL, dtype=torch.bool))
    found, known = chi_angles(backbones(ALL), atoms, existing_slots(ALL), ALL)
    assert torch.equal(known, free_chi(ALL))
    assert wrapped(found - chi)[known].abs().max() < 1e-3


def test_torsions_are_those_of_the_metrics() -> None:
    clean = clean_from_batch(batch_of(random_item("a", 60, 3)))
    found, known = chi_angles(clean.backbone, clean.atoms, clean.atoms_mask, clean.sequence)
    positions = torch.cat([clean.backbone, clean.atoms], -2)[0].double().numpy()
    expected = measured_chi(positions, ATOM14_EXISTS[clean.sequence[0]], clean.sequence[0])
    assert known.sum() > 60
    difference = np.radians(expected) - found[0].numpy()
    assert wrapped(torch.tensor(difference))[known[0]].abs().max() < 1e-3
    # Proline's χ2 follows from its χ1.
    assert (~np.isnan(expected) & ~known[0].numpy()).sum() == (
        clean.sequence == AATYPE_OF_LETTER["P"]
    ).sum()


def test_a_missing_tip_costs_only_the_torsions_that_it_is_part_of() -> None:
    item = random_item("a", 40, 3)
    item["aatype"][5] = AATYPE_OF_LETTER["K"]
    item["atom14_mask"][5] = torch.tensor(ATOM14_EXISTS)[item["aatype"][5]]
    clean = clean_from_batch(batch_of(without_atoms(item, 5, 8)))
    _, known = chi_angles(clean.backbone, clean.atoms, clean.atoms_mask, clean.sequence)
    assert known[0, 5].tolist() == [True, True, True, False]


# ---- bins ---------------------------------------------------------------------------------------


@given(SEEDS)
def test_what_is_learned_of_a_torsion_lies_about_it(seed: int) -> None:
    chi, periodic = some_chi(ALL, seed), periodic_chi(ALL)
    target, away = smoothed(chi, periodic)
    assert torch.allclose(target.sum(-1), torch.tensor(1.0))
    assert away.gather(-1, target.argmax(-1, keepdim=True)).abs().max() <= 0.5001
    assert (target.topk(3).values.sum(-1) > 0.85).all()


def test_half_a_turn_of_a_periodic_torsion_is_the_same_and_half_of_the_bins_are_used() -> None:
    sequence = letters("DFYE")
    chi, periodic = some_chi(sequence), periodic_chi(sequence)
    one, _ = smoothed(chi, periodic)
    other, _ = smoothed(chi + math.pi, periodic)
    assert periodic.sum() == 4
    assert torch.allclose(one[periodic], other[periodic], atol=1e-5)
    assert (one[periodic][:, N_BINS // 2 :] == 0).all()
    assert not torch.allclose(one[~periodic], other[~periodic], atol=0.1)


@given(SEEDS, st.booleans())
def test_wells_share_all_probability_and_the_first_is_the_mean_about_the_peak(
    seed: int, periodic: bool
) -> None:
    g = torch.manual_seed(seed)
    logits = 2 * torch.randn(7, N_BINS, generator=g)
    if periodic:
        logits[:, N_BINS // 2 :] = -torch.inf
    p = logits.softmax(-1)
    offsets = torch.rand(7, N_BINS, generator=g) - 0.5
    angles, mass = wells(p, offsets, torch.full((7,), periodic))
    assert torch.allclose(mass.sum(-1), torch.tensor(1.0))
    turn = 180.0 if periodic else 360.0
    for row in range(7):
        each = [10.0 * (bin + 0.5 + float(offsets[row, bin])) - 180.0 for bin in range(N_BINS)]
        peak = each[int(p[row].argmax())]
        away = [(angle - peak + turn / 2) % turn - turn / 2 for angle in each]
        near = [(d, float(w)) for d, w in zip(away, p[row], strict=True) if abs(d) < 35.0]
        expected = peak + sum(d * w for d, w in near) / sum(w for _, w in near)
        assert math.degrees(float(angles[row, 0])) == pytest.approx(expected, abs=1e-3)


def test_a_peak_between_two_bins_is_their_mean() -> None:
    p = torch.zeros(1, N_BINS)
    p[0, 10], p[0, 11] = 0.5, 0.5
    angles, _ = wells(p, torch.zeros(1, N_BINS), torch.tensor([False]))
    assert math.degrees(float(angles[0, 0])) == pytest.approx(-70.0, abs=1e-3)


@pytest.mark.parametrize("degrees", [0.0, 60.0, 120.0, 179.0, -179.0])
def test_a_peak_is_one_well_wherever_it_is(degrees: float) -> None:
    for periodic in (False, True):
        chi = torch.tensor([math.radians(degrees)])
        target, away = smoothed(chi, torch.tensor([periodic]))
        angles, mass = wells(target, away, torch.tensor([periodic]))
        assert mass[0, 0] > 0.99
        period = math.pi if periodic else 2 * math.pi
        # The tails of a peak are not cut alike on both sides.
        assert wrapped(angles[0, 0] - chi[0], period).abs() < math.radians(0.1)


# ---- rotamers -----------------------------------------------------------------------------------


def two_wells(sequence: Tensor) -> ChiDistribution:
    """χ1 is −65° or 175° with 0.7 and 0.3; χ2 repeats χ1, but for a share of 0.2."""

    def conditional(features: Tensor, k: int, before: Tensor) -> tuple[Tensor, Tensor]:
        low, high = torch.zeros(2, *before.shape[:-1], N_BINS)
        low[..., 11], high[..., 35] = 1.0, 1.0
        share = torch.tensor(0.7).expand(before.shape[:-1])[..., None]
        if k:
            share = torch.where(before[..., -1:] > 0, 0.2, 0.8)
        return torch.log(share * low + (1 - share) * high + 1e-9), torch.zeros_like(low)

    return ChiDistribution(torch.zeros(*sequence.shape, 1), sequence, conditional)


def test_rotamers_have_the_joint_probability_of_their_torsions() -> None:
    rotamers = two_wells(letters("LSK")).rotamers()
    expected = {
        "L": {(-65, -65): 0.56, (-65, 175): 0.14, (175, -65): 0.06, (175, 175): 0.24},
        "S": {(-65,): 0.7, (175,): 0.3},
    }
    for row, (letter, known) in enumerate(expected.items()):
        n_chi = len(next(iter(known)))
        degrees = torch.rad2deg(rotamers.chi[0, row, :, :n_chi]).round().int().tolist()
        found = {
            tuple(chi): float(w)
            for chi, w in zip(degrees, rotamers.weight[0, row], strict=True)
            if w > 1e-3
        }
        assert found == pytest.approx(known, abs=1e-3), letter
    assert torch.allclose(rotamers.weight.sum(-1), torch.tensor(1.0))
    assert torch.rad2deg(rotamers.likeliest()).round()[0, 2].tolist() == [-65] * 4
    # The marginal of χ2 is the sum over χ1.
    assert rotamers.marginal[0, 0, 1, 11] == pytest.approx(0.62, abs=1e-3)
    assert (rotamers.marginal[0, 1, 1:] == 0).all()


def test_what_has_no_torsion_has_one_rotamer_and_a_hidden_type_none() -> None:
    sequence = torch.tensor([[AATYPE_OF_LETTER["G"], AATYPE_OF_LETTER["A"], UNKNOWN, MASK]])
    rotamers = two_wells(sequence).rotamers()
    assert rotamers.weight[0, :, 0].tolist() == [1.0, 1.0, 0.0, 0.0]
    assert (rotamers.weight[..., 1:] == 0).all()
    library = library_rotamers(sequence)
    filled = rotamers.or_else(library)
    assert torch.equal(filled.weight[0, :2], rotamers.weight[0, :2])
    assert torch.equal(filled.weight[0, 2:], library.weight[0, 2:])


def test_the_mode_of_a_sharp_distribution_is_what_it_is_about() -> None:
    chi, free = some_chi(ALL), free_chi(ALL)
    found = certain(chi, ALL).rotamers().likeliest()
    period = torch.where(periodic_chi(ALL), math.pi, 2 * math.pi)
    assert wrapped(found - chi, period)[free].abs().max() < 1e-3


def test_a_draw_follows_the_torsions_that_were_drawn_before() -> None:
    uniform = torch.rand(1, 1, 4000, 4, generator=torch.manual_seed(1))
    drawn = torch.rad2deg(two_wells(letters("L")).draw(uniform, 1.0)).round()[0, 0]
    first = drawn[:, 0] < 0
    assert float(first.float().mean()) == pytest.approx(0.7, abs=0.03)
    same = (drawn[:, 0] == drawn[:, 1]).float()
    assert float(same.mean()) == pytest.approx(0.8, abs=0.03)
    cold = torch.rad2deg(two_wells(letters("L")).draw(uniform, 0.01)).round()[0, 0]
    assert (cold[:, :2] == -65).all()


def test_the_library_begins_with_the_commonest_rotamer() -> None:
    assert ROTAMER_SHARE[:UNKNOWN].sum(1) == pytest.approx(1.0)
    assert (np.diff(ROTAMER_SHARE, axis=1) <= 1e-9).all()
    valine = np.degrees(ROTAMER_CHI[AATYPE_OF_LETTER["V"], :3, 0])
    assert valine == pytest.approx([175, -60, 63], abs=8)
    proline = ROTAMER_CHI[AATYPE_OF_LETTER["P"], :, 0]
    assert np.abs(np.degrees(proline)).max() < 45


def test_one_rotamer_has_the_ellipsoid_of_its_atoms() -> None:
    chi, body = some_chi(ALL), existing_slots(ALL)
    mask = torch.ones_like(ALL, dtype=torch.bool)
    atoms = build(chi, ALL, backbones(ALL), mask)
    several = build(chi[..., None, :], ALL, backbones(ALL), mask)
    assert torch.equal(several[..., 0, :, :], atoms)
    rotations = torch.eye(3).expand(*ALL.shape, 3, 3)
    origin = torch.zeros(*ALL.shape, 3)
    whole = GaussianRigid.from_frames(rotations, origin, backbones(ALL), atoms, body, mask)
    moments = rotamer_moments(backbones(ALL), several, body, torch.ones(*ALL.shape, 1))
    expected = GaussianRigid.from_moments(rotations, origin, *moments, mask)
    assert torch.allclose(whole.local_mean, expected.local_mean, atol=1e-5)
    assert torch.allclose(whole.log_scale, expected.log_scale, atol=1e-5)


# ---- what is learned ----------------------------------------------------------------------------


def test_each_torsion_is_learned_given_those_before_it_and_none_after() -> None:
    torch.manual_seed(0)
    head = ChiHead(6, 8)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.normal_(std=0.3)
    sequence = letters("KRM")
    distribution = ChiDistribution(torch.randn(1, 3, 6), sequence, head)
    chi = some_chi(sequence)
    before, _ = distribution.given(chi)
    for k in range(4):
        changed = chi.clone()
        changed[..., k] += 0.7
        after, _ = distribution.given(changed)
        same = [torch.equal(before[..., j, :], after[..., j, :]) for j in range(4)]
        assert same == [j <= k for j in range(4)]


def with_b_factors(values: list[float], kind: str | None = None) -> Tensor:
    item = random_item("a", len(values), 0)
    item["b_factor"], item["confidence_kind"] = torch.tensor(values), kind
    return clean_from_batch(batch_of(item)).placed[0]


def test_what_a_file_hardly_saw_is_not_learned() -> None:
    values = [20.0 + k for k in range(20)]
    assert with_b_factors(values).tolist() == [True] * 18 + [False] * 2, "the worst tenth"
    assert with_b_factors([10.0, MAX_B_FACTOR + 1, *[15.0] * 18]).tolist().count(False) == 1
    assert with_b_factors([0.0] * 12).all(), "all alike: nothing is said"
    assert "b_factor" not in random_item("a", 3, 0)
    assert clean_from_batch(batch_of(random_item("a", 3, 0))).placed.all()


def test_a_high_confidence_is_no_high_b_factor() -> None:
    found = with_b_factors([95.0, 90.0, MIN_PLDDT - 1, 98.0], "plddt")
    assert found.tolist() == [True, True, False, True]
