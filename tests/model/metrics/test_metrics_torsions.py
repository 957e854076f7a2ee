"""χ angles are those of biotite and gemmi; recovery has the tolerances and symmetries it says."""

from __future__ import annotations

import biotite.structure as struc
import gemmi
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.metrics import chi_accuracy, chi_angles, chi_errors
from pipeline.residues import CHI_ATOMS, CHI_MASK, CHI_PI_PERIODIC, RESTYPES, SLOT_OF_NAME
from tests.support.metric_structures import example, ideal_residues, moved, spread_out, with_garbage

WITH_CHI = [int(kind) for kind in np.flatnonzero(CHI_MASK[:, 0])]


def angles(structure):
    return chi_angles(structure.positions, structure.mask, structure.aatype)


@pytest.mark.parametrize("name", ["3enl.pdb.gz", "1bd2.cif.gz"])
def test_chi_angles_are_those_of_biotite_and_gemmi(name):
    chain = example(name)
    found = angles(chain)
    seen = 0
    for row, kind in enumerate(chain.aatype):
        for k, names in enumerate(CHI_ATOMS[kind]):
            slots = [SLOT_OF_NAME[kind][atom] for atom in names]
            if not chain.mask[row, slots].all():
                assert np.isnan(found[row, k])
                continue
            points = chain.positions[row, slots]
            expected = np.degrees(struc.dihedral(*points))
            of_gemmi = np.degrees(gemmi.calculate_dihedral(*(gemmi.Position(*p) for p in points)))
            assert found[row, k] == pytest.approx(expected, abs=1e-3)
            assert found[row, k] == pytest.approx(of_gemmi, abs=1e-6)
            seen += 1
        assert np.isnan(found[row, len(CHI_ATOMS[kind]) :]).all()
    assert seen > 100


def test_rotating_and_translating_changes_no_torsion():
    chain = example()
    np.testing.assert_allclose(angles(moved(chain, 4)), angles(chain), atol=1e-6)


def test_absent_slots_and_hidden_types_have_no_torsion_whatever_they_hold():
    chain = example("3hsy.pdb.gz")
    np.testing.assert_array_equal(angles(with_garbage(chain)), angles(chain))
    hidden = chi_angles(chain.positions, chain.mask, np.full(len(chain), 21))
    assert np.isnan(hidden).all()


def test_a_structure_against_itself_recovers_everything():
    chain = example()
    found = chi_accuracy(chi_errors(angles(chain), angles(chain), chain.aatype), chain.aatype)
    np.testing.assert_array_equal(found.mae, 0)
    np.testing.assert_array_equal(found.recovery, 1)
    assert found.rotamer_recovery == 1
    assert found.n_rotamers == CHI_MASK[chain.aatype, 0].sum()
    np.testing.assert_array_equal(found.count, CHI_MASK[chain.aatype].sum(axis=0))


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(WITH_CHI),
    st.floats(-180, 180),
    st.floats(-180, 180),
)
def test_the_error_of_a_torsion_is_the_shorter_way_round(kind, a, b):
    chi_a, chi_b = np.full((1, 4), np.nan), np.full((1, 4), np.nan)
    chi_a[0, 0], chi_b[0, 0] = a, b
    error = chi_errors(chi_a, chi_b, [kind])[0, 0]
    cosine = np.cos(np.radians(a - b))
    assert np.cos(np.radians(error)) == pytest.approx(cosine, abs=1e-9)
    assert 0 <= error <= 180
    assert error == chi_errors(chi_b, chi_a, [kind])[0, 0]


@pytest.mark.parametrize("kind", WITH_CHI)
def test_half_a_turn_is_an_error_unless_it_only_trades_names(kind):
    for k in range(int(CHI_MASK[kind].sum())):
        a = np.where(CHI_MASK[kind], 40.0, np.nan)[None]
        b = a.copy()
        b[0, k] -= 180
        expected = 0 if (RESTYPES[kind], k + 1) in PERIODIC else 180
        assert chi_errors(a, b, [kind])[0, k] == pytest.approx(expected)
        assert CHI_PI_PERIODIC[kind, k] == (expected == 0)


PERIODIC = {("PHE", 2), ("TYR", 2), ("ASP", 2), ("GLU", 3)}


@pytest.mark.parametrize("kind", [k for k in WITH_CHI if RESTYPES[k] != "PRO"])
def test_a_torsion_off_by_30_degrees_is_not_recovered_and_one_off_by_19_is(kind):
    """On atoms, not on numbers: side chains are built with the torsions. Proline has one only."""
    start = np.where(CHI_MASK[kind], 55.0, np.nan)[None]
    reference = spread_out([kind]).with_atoms(ideal_residues(start, [kind]))
    for off, recovered in ((30.0, False), (-30.0, False), (19.9, True), (-19.9, True)):
        for k in range(int(CHI_MASK[kind].sum())):
            chi = start.copy()
            chi[0, k] += off
            predicted = reference.with_atoms(ideal_residues(chi, [kind]))
            errors = chi_errors(angles(predicted), angles(reference), [kind])
            assert errors[0, k] == pytest.approx(abs(off), abs=1e-6)
            found = chi_accuracy(errors, [kind])
            assert found.recovery[k] == recovered
            assert found.rotamer_recovery == recovered


def test_a_rotamer_counts_only_if_all_its_torsions_are_known():
    kinds = [RESTYPES.index(name) for name in ("LYS", "LYS", "SER", "GLY", "ALA")]
    errors = np.array(
        [[1, 1, 1, np.nan], [1, 1, 1, 90], [1] + [np.nan] * 3, [np.nan] * 4, [np.nan] * 4],
        float,
    )
    found = chi_accuracy(errors, kinds)
    assert found.n_rotamers == 2
    assert found.rotamer_recovery == 0.5
    np.testing.assert_array_equal(found.count, [3, 2, 2, 1])
    assert found.mae[3] == 90


def test_nothing_to_compare_is_nan_and_no_warning():
    found = chi_accuracy(np.full((2, 4), np.nan), [7, 0])
    assert np.isnan(found.mae).all()
    assert np.isnan(found.recovery).all()
    assert np.isnan(found.rotamer_recovery)
    assert (found.count.sum(), found.n_rotamers) == (0, 0)
