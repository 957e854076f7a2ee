"""The packing baseline: modes of a training split, and side chains built from torsions."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from metric_structures import example, moved, spread_out

from model.metrics import (
    Structure,
    build_side_chains,
    chi_accuracy,
    chi_angles,
    chi_errors,
    fit_modal_rotamers,
    packing_metrics,
    place_side_chains,
    side_chain_rmsd,
)
from model.metrics import generate_ideal_table as generated
from model.metrics.ideal_residues import IDEAL_LOCAL, N_BONDS
from model.metrics.ideal_table import IDEAL_TABLE
from pipeline.parsing import read_chains
from pipeline.residues import ATOM14_EXISTS, CHI_MASK, RESTYPES, SLOT_OF_NAME

CATH = Path(__file__).resolve().parents[2] / "shared" / "structures" / "cath"
PRO, LYS, SER, PHE, ALA = (RESTYPES.index(n) for n in ("PRO", "LYS", "SER", "PHE", "ALA"))
TYPES = range(20)


def angles(structure: Structure) -> np.ndarray:
    return chi_angles(structure.positions, structure.mask, structure.aatype)


def bonded_distances(positions: np.ndarray, kind: int) -> np.ndarray:
    a, b = np.nonzero(np.triu(N_BONDS[kind] == 1) & ATOM14_EXISTS[kind])
    return np.linalg.norm(positions[a] - positions[b], axis=1)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([k for k in TYPES if k != PRO]), st.integers(0, 10_000))
def test_built_side_chains_have_the_torsions_asked_for_and_ideal_lengths(kind, seed):
    chi = np.random.default_rng(seed).uniform(-180, 180, (1, 4))
    chi[~CHI_MASK[[kind]]] = np.nan
    built = spread_out([kind]).with_atoms(build_side_chains(chi, [kind]))
    has = CHI_MASK[kind]
    found = angles(built)[0, has]
    np.testing.assert_allclose(np.cos(np.radians(found - chi[0, has])), 1, atol=1e-9)
    np.testing.assert_allclose(
        bonded_distances(built.positions[0], kind),
        bonded_distances(IDEAL_LOCAL[kind], kind),
        atol=1e-9,
    )


def test_ideal_residues_have_bonds_of_the_lengths_of_bonds():
    for kind in TYPES:
        lengths = bonded_distances(IDEAL_LOCAL[kind], kind)
        assert (lengths > 1.15).all()
        assert (lengths < 1.9).all()
        assert len(lengths) >= ATOM14_EXISTS[kind].sum() - 1


def test_ideal_residues_are_l_amino_acids_in_the_frame_of_the_pipeline():
    np.testing.assert_allclose(IDEAL_LOCAL[:, 1], 0, atol=1e-9)
    np.testing.assert_allclose(IDEAL_LOCAL[:, 2, 1:], 0, atol=1e-9)
    with_cb = [k for k in range(21) if ATOM14_EXISTS[k, 4]]
    # N in +y, C in +x: CB of an L residue points to −z.
    assert (IDEAL_LOCAL[with_cb, 4, 2] < -1).all()


@pytest.mark.slow
def test_the_table_is_what_its_generator_gives():
    assert generated.ideal_table() == IDEAL_TABLE


def test_placing_the_native_torsions_gives_almost_the_native_side_chains():
    chain = example("1ubi.pdb.zst")
    positions, mask = place_side_chains(angles(chain), chain.positions, chain.mask, chain.aatype)
    placed = chain.with_atoms(positions, mask)
    np.testing.assert_array_equal(mask, ATOM14_EXISTS[chain.aatype])
    np.testing.assert_array_equal(positions[:, :4], chain.positions[:, :4])
    found = packing_metrics("", placed, chain)
    assert found.side_chain_rmsd < 0.25
    # χ1 starts at the native N, not at the ideal one.
    assert found.chi1_mae < 3
    assert found.rotamer_recovery > 0.99


def test_prolines_ring_stays_almost_closed_at_the_modes():
    chain = example()
    modes = fit_modal_rotamers(angles(chain), chain.aatype)
    local = build_side_chains(modes.chi1_first[[PRO]], [PRO])[0]
    assert np.linalg.norm(local[SLOT_OF_NAME[PRO]["CD"]] - local[0]) == pytest.approx(1.47, abs=0.3)


def test_placing_moves_with_the_backbone_and_needs_no_side_chain():
    chain = example()
    modes = fit_modal_rotamers(angles(chain), chain.aatype).joint[chain.aatype]
    positions, mask = place_side_chains(modes, chain.positions, chain.mask, chain.aatype)
    far = moved(chain, 5)
    backbone_only = far.mask & (np.arange(14) < 4)
    garbage = np.where(backbone_only[..., None], far.positions, np.nan)
    elsewhere, same_mask = place_side_chains(modes, garbage, backbone_only, chain.aatype)
    np.testing.assert_array_equal(same_mask, mask)
    here = moved(chain.with_atoms(positions, mask), 5).positions
    np.testing.assert_allclose(elsewhere[mask], here[mask], atol=1e-6)
    np.testing.assert_array_equal(elsewhere[~mask], 0)


def test_a_residue_without_a_frame_gets_no_side_chain():
    chain = example()
    mask, positions = chain.mask.copy(), chain.positions.copy()
    mask[3, 2] = False
    positions[5, 2] = positions[5, 1] + 2 * (positions[5, 1] - positions[5, 0])
    _, found = place_side_chains(np.full((len(chain), 4), np.nan), positions, mask, chain.aatype)
    assert not found[[3, 5], 4:].any()
    assert found[3, [0, 1, 3]].all()


def test_x_and_hidden_residues_get_a_cb():
    structure = spread_out([ALA, ALA])
    _, mask = place_side_chains(
        np.full((2, 4), np.nan), structure.positions, structure.mask, np.array([20, 21])
    )
    np.testing.assert_array_equal(mask, [np.arange(14) < 5] * 2)


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
        placed = place_side_chains(
            modes.chi1_first[chain.aatype], chain.positions, chain.mask, chain.aatype
        )
        rmsd.append(side_chain_rmsd(*placed, chain.positions, chain.mask, chain.aatype).all)
    assert 1.5 < np.mean(rmsd) < 1.8
