"""The packing baseline: modes of a training split."""

from __future__ import annotations

import gzip

import numpy as np
import pytest

from model.metrics import (
    Structure,
    chi_accuracy,
    chi_angles,
    chi_errors,
    fit_modal_rotamers,
    side_chain_rmsd,
)
from pipeline.parsing import read_chains
from pipeline.residues import CHI_MASK, RESTYPES
from tests.support.metric_structures import example, repacked
from tests.support.places import STRUCTURES

CATH = STRUCTURES / "cath"
LYS, SER, PHE = (RESTYPES.index(n) for n in ("LYS", "SER", "PHE"))


def angles(structure: Structure) -> np.ndarray:
    return chi_angles(structure.positions, structure.mask, structure.aatype)


def chis(*rows: tuple[float, ...]) -> np.ndarray:
    out = np.full((len(rows), 4), np.nan)
    for k, row in enumerate(rows):
        out[k, : len(row)] = row
    return out


def test_the_mode_is_where_most_residues_are_also_across_180_degrees():
    chi = chis((-175,), (178,), (170,), (-60,), (-60.5,), (60,))
    modes = fit_modal_rotamers(chi, [SER] * 6)
    assert np.cos(np.radians(modes.chi1_first[SER, 0] - 177.7)) == pytest.approx(1, abs=1e-3)
    assert modes.chi1_share[SER] == 0.5
    assert modes.count[SER] == 6


def test_chi1_first_and_joint_modes_may_differ():
    # χ1 is mostly about −60, but no two of those agree in χ2; the two at 60 agree in all.
    scattered = [(-60 + k, 40.0 * k, 60.0, 60.0) for k in range(5)]
    chi = chis(*scattered, (60, 180, 180, 180), (60, 180, 180, 180))
    modes = fit_modal_rotamers(chi, [LYS] * 7)
    assert modes.chi1_first[LYS, 0] == pytest.approx(-58)
    np.testing.assert_allclose(modes.joint[LYS], [60, -180, -180, -180])
    assert modes.chi1_share[LYS] == pytest.approx(5 / 7)
    assert modes.joint_share[LYS] == pytest.approx(2 / 7)


def test_modes_of_symmetric_torsions_count_half_turns_as_the_same():
    chi = chis((-60, 90), (-60, -90), (-60, 88), (-60, 20), (-60, 30))
    modes = fit_modal_rotamers(chi, [PHE] * 5)
    assert modes.joint_share[PHE] == pytest.approx(3 / 5)
    assert modes.joint[PHE, 1] % 180 == pytest.approx(89.3, abs=0.1)


def test_types_that_were_not_seen_keep_their_ideal_torsions():
    modes = fit_modal_rotamers(np.full((0, 4), np.nan), np.zeros(0, int))
    for table in (modes.chi1_first, modes.joint):
        np.testing.assert_array_equal(np.isnan(table), ~CHI_MASK)
    assert np.isnan(modes.chi1_share).all()
    assert modes.count.sum() == 0


def test_no_angle_recovers_more_of_the_training_residues_than_the_mode():
    chain = example()
    chi = angles(chain)
    modes = fit_modal_rotamers(chi, chain.aatype)
    for kind in np.flatnonzero(CHI_MASK[:, 0]):
        values = chi[chain.aatype == kind, 0]
        turn = (values - np.arange(-180, 180, 0.5)[:, None] + 180) % 360 - 180
        best = (np.abs(turn) <= 20).mean(axis=1).max() if len(values) else np.nan
        assert modes.chi1_share[kind] == pytest.approx(best, abs=1.5 / len(values))


def cath_chains(step: int) -> list[Structure]:
    if not CATH.is_dir():
        pytest.skip("structures/cath is not here")
    return [
        Structure.from_chain(chain)
        for path in sorted(CATH.iterdir())[::step]
        for chain in read_chains(gzip.decompress(path.read_bytes()), path.name).chains
    ]


@pytest.mark.slow
def test_modal_chi1_recovers_half_of_the_held_out_domains():
    """The bar for packing models; 0.52 on random fifths of all 1,938 domains."""
    chains = cath_chains(4)
    held_out = np.random.default_rng(0).random(len(chains)) < 0.2
    chi = [angles(chain) for chain in chains]

    def residues(keep: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        rows = np.flatnonzero(keep)
        return (
            np.concatenate([chi[r] for r in rows]),
            np.concatenate([chains[r].aatype for r in rows]),
        )

    modes = fit_modal_rotamers(*residues(~held_out))
    reference, aatype = residues(held_out)
    found = chi_accuracy(chi_errors(modes.chi1_first[aatype], reference, aatype), aatype)
    assert 0.49 < found.recovery[0] < 0.56
    assert 0.28 < found.rotamer_recovery < 0.40
    rmsd = []
    for row in np.flatnonzero(held_out):
        chain = chains[row]
        placed = repacked(modes.chi1_first[chain.aatype], chain)
        found = side_chain_rmsd(
            placed.positions, placed.mask, chain.positions, chain.mask, chain.aatype
        )
        rmsd.append(found.all)
    assert 1.5 < np.mean(rmsd) < 1.8
