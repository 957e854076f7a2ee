"""Side-chain RMSD: what is compared, how it is averaged, and what changes nothing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.metrics import (
    Structure,
    atom_errors,
    core_residues,
    nearest_naming,
    on_reference_frames,
    side_chain_rmsd,
)
from pipeline.residues import (
    ATOM14_NAMES,
    CHI_MASK,
    RESTYPES,
    SLOT_OF_NAME,
    SYMMETRIC_ATOMS,
    SYMMETRIC_SLOTS,
)
from tests.support.metric_structures import example, moved, noisy, spread_out, with_garbage

SYMMETRIC = sorted(SYMMETRIC_ATOMS)


def compare(predicted: Structure, reference: Structure):
    return side_chain_rmsd(
        predicted.positions, predicted.mask, reference.positions, reference.mask, reference.aatype
    )


def renamed(structure: Structure, rows: np.ndarray) -> Structure:
    """Symmetric atoms of these residues under each other's names."""
    slots = SYMMETRIC_SLOTS[structure.aatype].astype(int)
    slots[~rows] = np.arange(14)
    there = np.arange(len(structure))[:, None]
    return structure.with_atoms(structure.positions[there, slots], structure.mask[there, slots])


def plain_rmsd(predicted: Structure, reference: Structure) -> tuple[float, float]:
    """Residue by residue and name by name: mean of residues, and over all atoms."""
    of_residues, all_squared = [], []
    for row, kind in enumerate(reference.aatype):
        if not CHI_MASK[kind, 0]:
            continue
        best = None
        for swap in (False, True):
            names = dict(SLOT_OF_NAME[kind])
            if swap:
                for a, b in SYMMETRIC_ATOMS.get(int(kind), ()):
                    names[a], names[b] = names[b], names[a]
            squared = [
                (
                    (predicted.positions[row, slot] - reference.positions[row, names[name]]) ** 2
                ).sum()
                for name, slot in SLOT_OF_NAME[kind].items()
                if slot >= 4 and predicted.mask[row, slot] and reference.mask[row, names[name]]
            ]
            if best is None or sum(squared) < sum(best):
                best = squared
        if best:
            of_residues.append(np.sqrt(np.mean(best)))
            all_squared += best
    return float(np.mean(of_residues)), float(np.sqrt(np.mean(all_squared)))


@pytest.mark.parametrize("scale", [0.3, 1.5, 5.0])
def test_both_averages_are_those_of_a_plain_loop(scale):
    reference = example()
    predicted = renamed(noisy(reference, scale), np.arange(len(reference)) % 3 == 0)
    found = compare(predicted, reference)
    by_residue, by_atom = plain_rmsd(predicted, reference)
    assert found.all == pytest.approx(by_residue)
    assert found.all_atoms == pytest.approx(by_atom)
    assert found.all_atoms >= found.all


def test_a_structure_against_itself_has_no_error():
    reference = example()
    found = compare(reference, reference)
    assert (found.all, found.core, found.all_atoms, found.core_atoms) == (0, 0, 0, 0)
    assert found.n_residues == int(CHI_MASK[reference.aatype, 0].sum())
    assert 0 < found.n_core < found.n_residues


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.lists(st.booleans(), min_size=436, max_size=436))
def test_swapping_symmetric_names_in_either_structure_changes_nothing(seed, swap):
    reference = example()
    predicted = noisy(reference, 1.0, seed)
    expected = compare(predicted, reference)
    rows = np.array(swap)
    for found in (
        compare(renamed(predicted, rows), reference),
        compare(predicted, renamed(reference, rows)),
    ):
        assert found.all == pytest.approx(expected.all)
        assert found.core == pytest.approx(expected.core)


@pytest.mark.parametrize("kind", SYMMETRIC)
def test_the_two_pairs_of_a_ring_trade_names_together_or_not_at_all(kind):
    reference = spread_out([kind], seed=1)
    whole = renamed(reference, np.array([True]))
    assert compare(whole, reference).all == pytest.approx(0)
    pairs = SYMMETRIC_ATOMS[kind]
    if len(pairs) == 2:
        a, b = (SLOT_OF_NAME[kind][name] for name in pairs[0])
        half = reference.positions.copy()
        half[0, [a, b]] = half[0, [b, a]]
        assert compare(reference.with_atoms(half), reference).all > 0.5


@pytest.mark.parametrize("kind", [k for k in range(20) if CHI_MASK[k, 0] and k not in SYMMETRIC])
def test_other_residues_keep_their_names(kind):
    reference = spread_out([kind], seed=2)
    positions = reference.positions.copy()
    slots = [s for s in range(5, 14) if reference.mask[0, s]][-2:]
    if len(slots) == 2:
        positions[0, slots] = positions[0, slots[::-1]]
        assert compare(reference.with_atoms(positions), reference).all > 0.5


def test_a_pair_of_which_one_atom_is_absent_is_compared_under_the_name_that_is_nearer():
    kind = RESTYPES.index("ASP")
    reference = spread_out([kind], seed=3)
    od1, od2 = SLOT_OF_NAME[kind]["OD1"], SLOT_OF_NAME[kind]["OD2"]
    mask = reference.mask.copy()
    mask[0, od2] = False
    lacking = reference.with_atoms(renamed(reference, np.array([True])).positions, mask)
    positions, named_mask = nearest_naming(
        reference.positions, reference.mask, lacking.positions, lacking.mask, reference.aatype
    )
    assert not named_mask[0, od1]
    assert named_mask[0, od2]
    np.testing.assert_allclose(positions[0, od2], reference.positions[0, od2])
    # If the prediction lacks that very atom, there is more to compare under the other name.
    predicted_mask = reference.mask.copy()
    predicted_mask[0, od2] = False
    _, named_mask = nearest_naming(
        reference.positions, predicted_mask, lacking.positions, lacking.mask, reference.aatype
    )
    assert named_mask[0, od1]


def test_rotating_and_translating_both_changes_nothing():
    reference = example()
    predicted = noisy(reference, 1.0)
    found = compare(moved(predicted, 7), moved(reference, 7))
    expected = compare(predicted, reference)
    for name in ("all", "core", "all_atoms", "core_atoms"):
        assert getattr(found, name) == pytest.approx(getattr(expected, name), abs=1e-9)
    assert found.n_core == expected.n_core


@pytest.mark.parametrize("name", ["3enl.pdb.gz", "1bd2.cif.gz", "3hsy.pdb.gz"])
def test_what_absent_slots_hold_does_not_matter(name):
    reference = example(name)
    predicted = noisy(reference, 1.0)
    expected = compare(predicted, reference)
    assert compare(with_garbage(predicted), with_garbage(reference)) == expected
    assert expected.all > 0.5


def test_glycine_alanine_and_backbones_are_no_side_chains():
    reference = spread_out([RESTYPES.index("GLY"), RESTYPES.index("ALA"), RESTYPES.index("SER")])
    positions = reference.positions.copy()
    positions[:, :4] += 5.0
    positions[:2] += 9.0
    found = compare(reference.with_atoms(positions), reference)
    assert (found.all, found.n_residues) == (0, 1)


def test_a_protein_without_side_chains_has_no_rmsd_but_a_record():
    reference = spread_out([RESTYPES.index("GLY")] * 3)
    found = compare(reference, reference)
    assert np.isnan([found.all, found.core, found.all_atoms, found.core_atoms]).all()
    assert (found.n_residues, found.n_core) == (0, 0)


def test_core_residues_have_twenty_cb_nearer_than_10_with_ca_for_glycine():
    chain = example()
    points = np.where(chain.aatype[:, None] == 7, chain.positions[:, 1], chain.positions[:, 4])
    distance = np.linalg.norm(points[:, None] - points, axis=-1)
    expected = (distance < 10).sum(axis=1) - 1 >= 20
    found = core_residues(chain.positions, chain.mask)
    np.testing.assert_array_equal(found, expected)
    assert 0.1 < found.mean() < 0.7


def test_exactly_twenty_neighbours_make_a_core_residue():
    def centre_is_core(n: int) -> bool:
        directions = np.random.default_rng(0).normal(size=(n, 3))
        points = 9.99 * directions / np.linalg.norm(directions, axis=1, keepdims=True)
        positions = np.zeros((n + 1, 14, 3))
        positions[1:, 1] = positions[1:, 4] = points
        mask = np.zeros((n + 1, 14), bool)
        mask[:, [1, 4]] = True
        mask[0, 4] = False
        return bool(core_residues(positions, mask)[0])

    assert centre_is_core(20)
    assert not centre_is_core(19)


def test_on_reference_frames_leaves_the_error_inside_residues():
    reference = example()
    placed, mask = on_reference_frames(
        moved(reference, 11).positions, reference.mask, reference.positions, reference.mask
    )
    np.testing.assert_allclose(placed[mask], reference.positions[mask], atol=1e-6)
    np.testing.assert_array_equal(mask, reference.mask)


def test_residues_without_a_frame_in_either_structure_drop_out_of_on_reference_frames():
    reference = example()
    mask = reference.mask.copy()
    mask[3, 0] = False
    positions = reference.positions.copy()
    positions[5, 2] = positions[5, 1] + 2 * (positions[5, 1] - positions[5, 0])
    _, found = on_reference_frames(positions, mask, reference.positions, reference.mask)
    assert not found[[3, 5]].any()
    assert found[[2, 4, 6]].any(axis=1).all()


def test_atom_errors_are_named_and_add_up():
    reference = example()
    predicted = noisy(reference, 1.0)
    arguments = (predicted.positions, predicted.mask, reference.positions, reference.mask)
    whole = atom_errors(*arguments, reference.aatype)
    halves = [
        atom_errors(*(x[part] for x in arguments), reference.aatype[part])
        for part in (slice(0, 200), slice(200, None))
    ]
    summed = halves[0] + halves[1]
    np.testing.assert_array_equal(summed.count, whole.count)
    np.testing.assert_allclose(summed.squared, whole.squared)
    assert whole.count.sum() == reference.mask.sum()

    kind, slot = RESTYPES.index("LYS"), SLOT_OF_NAME[RESTYPES.index("LYS")]["NZ"]
    rows = reference.aatype == kind
    distance = np.linalg.norm((predicted.positions - reference.positions)[rows, slot], axis=1)
    assert whole.mean()[kind, slot] == pytest.approx(distance.mean())
    assert whole.rmsd()[kind, slot] == pytest.approx(np.sqrt((distance**2).mean()))
    (row,) = [r for r in whole.rows() if (r["residue"], r["atom"]) == ("LYS", "NZ")]
    assert row["count"] == rows.sum()
    assert row["slot"] == slot
    # Backbones were not displaced.
    assert whole.mean()[kind, 1] == 0


def test_atom_errors_of_x_know_its_cb_and_nothing_else():
    reference = spread_out([20])
    found = atom_errors(*[reference.positions, reference.mask] * 2, reference.aatype)
    assert [r["atom"] for r in found.rows()] == list(ATOM14_NAMES[20][:5])
    assert {r["residue"] for r in found.rows()} == {"X"}
