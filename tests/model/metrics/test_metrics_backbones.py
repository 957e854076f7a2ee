"""Generated backbones and sets of them."""

from __future__ import annotations

import sys
from dataclasses import fields

import biotite.structure as struc
import numpy as np
import pytest

from model.metrics import (
    aligned_tm_scores,
    backbone_geometry,
    diversity,
    expected_radius_of_gyration,
    nearest_structure,
    pairwise_tm,
)
from pipeline.geometry.secondary_structure import HELIX, STRAND, secondary_structure
from tests.support.metric_structures import example, first_residues, random_rotation


def geometry(ca, **changes):
    n = len(ca)
    arguments = {
        "mask": np.ones(n, bool),
        "residue_index": np.arange(n),
        "chain_index": np.zeros(n, int),
        **changes,
    }
    return backbone_geometry(ca, **arguments)


def line(n: int, step: float = 3.8) -> np.ndarray:
    return step * np.arange(n)[:, None] * np.array([1.0, 0, 0])


def test_a_real_chain_has_steps_of_3_8_no_bumps_and_the_size_of_its_length():
    chain = example()
    found = geometry(chain.ca)
    assert found.n_steps == 435
    assert found.step_mean == pytest.approx(3.8, abs=0.03)
    assert found.step_valid > 0.95
    assert (found.n_bumps, found.n_clashes) == (0, 0)
    assert found.relative_radius == pytest.approx(1, abs=0.12)
    assert found.radius_of_gyration == pytest.approx(
        float(struc.gyration_radius(carbons(chain.ca))), rel=1e-4
    )


def carbons(ca: np.ndarray) -> struc.AtomArray:
    atoms = struc.AtomArray(len(ca))
    atoms.coord = ca
    atoms.element[:] = "C"
    return atoms


def test_secondary_structure_shares_are_those_of_the_pipeline():
    chain = example()
    found = geometry(chain.ca)
    labels = secondary_structure(
        chain.ca.astype(np.float32), chain.has_ca, np.arange(436), np.array([0, 436])
    )
    assert found.helix == (labels == HELIX).mean() > 0.2
    assert found.strand == (labels == STRAND).mean() > 0.05
    assert found.helix + found.strand + found.coil == pytest.approx(1)


def test_steps_are_taken_within_a_chain_between_consecutive_residues_that_are_there():
    ca = line(6)
    assert geometry(ca).n_steps == 5
    assert geometry(ca, chain_index=np.array([0, 0, 0, 1, 1, 1])).n_steps == 4
    assert geometry(ca, residue_index=np.array([1, 2, 3, 5, 6, 7])).n_steps == 4
    mask = np.array([1, 1, 0, 1, 1, 1], bool)
    holed = np.where(mask[:, None], ca, np.nan)
    assert geometry(holed, mask=mask).n_steps == 3


@pytest.mark.parametrize(("step", "valid"), [(3.71, 1), (3.89, 1), (3.69, 0), (3.91, 0)])
def test_a_step_is_valid_within_a_tenth_of_an_angstrom(step, valid):
    found = geometry(line(5, step))
    assert found.step_valid == valid
    assert found.step_deviation == pytest.approx(abs(step - 3.8))


def test_residues_that_follow_each_other_do_not_bump_and_others_do():
    ca = line(4)
    assert (geometry(ca).n_bumps, geometry(line(4, 2.9)).n_bumps) == (0, 0)
    ca[3] = ca[0] + [0, 3.5, 0]
    assert (geometry(ca).n_bumps, geometry(ca).n_clashes) == (1, 0)
    ca[3] = ca[0] + [0, 1.0, 0]
    assert (geometry(ca).n_bumps, geometry(ca).n_clashes) == (1, 1)
    # Neighbours in the array, of two chains.
    close = line(2, 1.0)
    assert geometry(close).n_clashes == 0
    assert geometry(close, chain_index=np.array([0, 1])).n_clashes == 1


def test_moving_a_backbone_changes_nothing():
    chain = example()
    a = geometry(chain.ca)
    b = geometry(chain.ca @ random_rotation(1).T + 100)
    for field in fields(a):
        if field.name not in ("helix", "strand", "coil"):
            assert getattr(a, field.name) == pytest.approx(getattr(b, field.name))


@pytest.mark.parametrize("n", [0, 1])
def test_no_and_one_residue_have_no_steps_but_a_record(n):
    found = geometry(line(n))
    assert np.isnan(found.step_valid)
    assert found.n_steps == found.n_bumps == 0


def test_the_expected_radius_grows_with_the_length():
    assert expected_radius_of_gyration(100) == pytest.approx(12.66, abs=0.01)


# ---- sets ------------------------------------------------------------------------------------


def pieces() -> list[np.ndarray]:
    """Two folds, each twice: as it is, and moved with some noise."""
    rng = np.random.default_rng(0)
    folds = [example().ca[:70], example("1ubi.pdb.zst").ca]
    return folds + [
        (fold + rng.normal(0, 0.3, fold.shape)) @ random_rotation(3).T + 40 for fold in folds
    ]


def test_two_folds_that_occur_twice_are_two_clusters():
    scores = pairwise_tm(pieces())
    np.testing.assert_array_equal(scores, scores.T)
    np.testing.assert_array_equal(np.diag(scores), 1)
    found = diversity(scores)
    np.testing.assert_array_equal(found.labels, [0, 1, 0, 1])
    assert (found.n, found.n_clusters, found.cluster_share) == (4, 2, 0.5)
    assert found.mean_tm == pytest.approx(scores[np.triu_indices(4, 1)].mean())


def test_clusters_join_at_the_threshold_and_by_their_mean():
    scores = np.array([[1, 0.5, 0.9], [0.5, 1, 0.1], [0.9, 0.1, 1]])
    # 0 and 2 first; 1 is then at (0.5 + 0.1) / 2.
    np.testing.assert_array_equal(diversity(scores).labels, [0, 1, 0])
    assert diversity(scores, 0.3).n_clusters == 1
    assert diversity(np.array([[1, 0.5], [0.5, 1]])).n_clusters == 1
    assert diversity(np.array([[1, 0.49], [0.49, 1]])).n_clusters == 2


@pytest.mark.parametrize("n", [0, 1])
def test_the_diversity_of_less_than_two_structures_is_not_a_number(n):
    found = diversity(np.eye(n))
    assert np.isnan(found.mean_tm)
    assert found.n_clusters == n


def test_the_nearest_structure_is_that_of_the_highest_tm_score():
    a, b, a_moved, b_moved = pieces()
    others = [b, a[:40], b_moved, a]
    found = nearest_structure(a_moved, others)
    scores = [aligned_tm_scores(a_moved, other)[0] for other in others]
    assert found.index == int(np.argmax(scores)) == 3
    assert found.tm == max(scores)


def test_structures_too_short_to_win_are_not_aligned(monkeypatch):
    aligned = []
    real = aligned_tm_scores

    def counting(a, b):
        aligned.append(len(b))
        return real(a, b)

    # The package has a function of the module's name.
    monkeypatch.setattr(sys.modules["model.metrics.diversity"], "aligned_tm_scores", counting)
    a, b, a_moved, _ = pieces()
    found = nearest_structure(a_moved, [a[:10], b[:30], a])
    assert found.index == 2
    assert aligned == [70]


def test_nothing_is_nearest_in_an_empty_set():
    found = nearest_structure(first_residues(example(), 30).ca, [])
    assert found.index == -1
    assert np.isnan(found.tm)
