"""Cα RMSD is biotite's, TM-score is tmtools' and biotite's, for residues that correspond."""

from __future__ import annotations

import time

import biotite.structure as struc
import gemmi
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tmtools import tm_align

from model.metrics import aligned_tm_scores, ca_rmsd, motif_rmsd, rmsd, superpose, tm_score
from tests.support.metric_structures import example, random_rotation

SEEDS = st.integers(0, 10_000)


def trace(seed: int, length: int) -> np.ndarray:
    """A chain of 3.8 Å steps."""
    step = np.random.default_rng(seed).normal(size=(length, 3))
    return np.cumsum(3.8 * step / np.linalg.norm(step, axis=1, keepdims=True), axis=0)


def carbons(ca: np.ndarray) -> struc.AtomArray:
    """As biotite wants them."""
    atoms = struc.AtomArray(len(ca))
    atoms.coord, atoms.res_id = ca, np.arange(len(ca))
    atoms.res_name[:], atoms.atom_name[:], atoms.element[:] = "ALA", "CA", "C"
    return atoms


def displaced(points: np.ndarray, seed: int, noise: float) -> np.ndarray:
    """Noisy, rotated, far away."""
    rng = np.random.default_rng(seed + 1)
    return (points + rng.normal(0, noise, points.shape)) @ random_rotation(seed).T + 200.0


@settings(max_examples=30, deadline=None)
@given(SEEDS, st.integers(3, 60), st.sampled_from([0.1, 2.0, 30.0]))
def test_ca_rmsd_is_that_of_biotite_and_of_gemmi(seed, length, noise):
    reference = trace(seed, length)
    predicted = displaced(reference, seed, noise)
    fitted, _ = struc.superimpose(reference, predicted - 200.0)
    found = ca_rmsd(predicted, reference)
    assert found == pytest.approx(struc.rmsd(reference, fitted), rel=1e-4, abs=1e-4)
    of_gemmi = gemmi.superpose_positions(
        [gemmi.Position(*p) for p in reference], [gemmi.Position(*p) for p in predicted]
    ).rmsd
    assert found == pytest.approx(of_gemmi, rel=1e-4, abs=1e-4)


@settings(max_examples=30, deadline=None)
@given(SEEDS, st.integers(3, 40))
def test_superposition_undoes_a_rotation_and_a_translation(seed, length):
    fixed = trace(seed, length)
    moving = displaced(fixed, seed, 0.0)
    rotation, translation = superpose(moving, fixed)
    np.testing.assert_allclose(moving @ rotation.T + translation, fixed, atol=1e-3)
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(rotation) == pytest.approx(1.0)


def test_a_mirror_image_is_not_superposed():
    chain = example().ca
    assert ca_rmsd(chain * [1, 1, -1], chain) > 10
    assert tm_score(chain * [1, 1, -1], chain) < 0.5


def test_a_structure_against_itself_is_0_and_1():
    chain = example().ca
    assert ca_rmsd(chain, chain) == pytest.approx(0, abs=1e-4)
    assert tm_score(chain, chain) == pytest.approx(1)
    assert aligned_tm_scores(chain, chain) == pytest.approx((1, 1))


@pytest.mark.parametrize("noise", [0.3, 0.6, 1.0])
@pytest.mark.parametrize("name", ["1ubi.pdb.zst", "5pti.cif.gz", "1k6p.cif.gz"])
def test_tm_score_is_that_of_tm_align_where_its_alignment_is_the_identity(name, noise):
    reference = example(name).ca
    predicted = displaced(reference, 4, noise)
    letters = "A" * len(reference)
    free = tm_align(predicted, reference, letters, letters)
    assert free.seqxA == free.seqyA == letters
    assert tm_score(predicted, reference) == pytest.approx(free.tm_norm_chain2, abs=1e-4)


@settings(max_examples=20, deadline=None)
@given(SEEDS, st.integers(22, 60), st.sampled_from([0.3, 1.5, 4.0]))
def test_tm_score_is_that_of_biotite_after_tm_aligns_superposition(seed, length, noise):
    reference = trace(seed, length)
    predicted = displaced(reference, seed, noise)
    letters = "A" * length
    result = tm_align(predicted, reference, letters, letters, [letters, letters])
    fitted = predicted @ np.array(result.u).T + np.array(result.t)
    rows = np.arange(length)
    of_biotite = struc.tm_score(carbons(reference), carbons(fitted), rows, rows)
    assert tm_score(predicted, reference) == pytest.approx(of_biotite, abs=1e-3)
    # No superposition of least RMSD scores more than the one that was searched.
    rotation, translation = superpose(predicted, reference)
    by_rmsd = struc.tm_score(
        carbons(reference), carbons(predicted @ rotation.T + translation), rows, rows
    )
    assert tm_score(predicted, reference) >= by_rmsd - 1e-6


def test_residues_under_a_false_mask_are_neither_compared_nor_counted():
    chain = example().ca[:80]
    predicted = displaced(chain, 3, 1.0)
    keep = np.random.default_rng(0).random(80) > 0.3
    holed = np.where(keep[:, None], predicted, np.nan)
    assert ca_rmsd(holed, chain, keep) == pytest.approx(ca_rmsd(predicted[keep], chain[keep]))
    assert tm_score(holed, chain, keep) == pytest.approx(tm_score(predicted[keep], chain[keep]))
    assert rmsd(holed, chain, keep) == pytest.approx(rmsd(predicted[keep], chain[keep]))


@pytest.mark.parametrize("length", [0, 1, 2])
def test_fewer_than_three_residues_have_no_rmsd_and_no_tm_score(length):
    points = trace(0, length)
    assert np.isnan(ca_rmsd(points, points))
    assert np.isnan(tm_score(points, points))
    with pytest.raises(ValueError, match="three points"):
        superpose(points, points)


def test_traces_of_different_lengths_are_refused():
    with pytest.raises(ValueError, match=r"\(5, 3\) and \(4, 3\)"):
        ca_rmsd(trace(0, 5), trace(0, 4))


def test_motif_rmsd_sees_the_motif_only():
    chain = example()
    motif = np.zeros(len(chain), bool)
    motif[20:35] = True
    rng = np.random.default_rng(0)
    positions = chain.positions @ random_rotation(5).T + 50
    positions[~motif] += rng.normal(0, 20, positions[~motif].shape)
    positions[~motif, 0] = np.nan
    mask = chain.mask.copy()
    mask[~motif, 0] = False
    found = motif_rmsd(positions, mask, chain.positions, chain.mask, motif)
    assert found == pytest.approx(0, abs=1e-4)
    positions[20, 1] += 3.0
    shifted = motif_rmsd(positions, mask, chain.positions, chain.mask, motif)
    assert 0.3 < shifted < 3 * np.sqrt(3 / 45) + 1e-3
    ca_only = motif_rmsd(positions, mask, chain.positions, chain.mask, motif, slots=(1,))
    assert ca_only == pytest.approx(ca_rmsd(positions[motif, 1], chain.ca[motif]))
    nothing = motif_rmsd(positions, mask, chain.positions, chain.mask, np.zeros(len(chain), bool))
    assert np.isnan(nothing)


def test_a_tm_score_of_a_few_hundred_residues_takes_well_under_a_second():
    chain = example().ca
    start = time.process_time()
    tm_score(displaced(chain, 0, 1.0), chain)
    assert time.process_time() - start < 1
