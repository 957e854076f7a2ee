"""Regression tests of the size of residue Gaussians, with Gly and Ala in mind.

A side-chain-only ellipsoid of Gly or Ala collapses to its base thickness and overlaps nothing; a
long side chain draws its centroid away from CA. These tests keep the cure in place, on the residues
of the examples and on ideal residues of the chemical component dictionary.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch

from pipeline.geometry.gaussians import BASE_THICKNESS
from pipeline.residues.atom14 import ATOM14_NAMES
from pipeline.residues.types import RESTYPES, UNKNOWN
from tests.pipeline.geometry.test_frames import random_rotations
from tests.support.regenerate_gaussian_sizes import (
    COLUMNS,
    CONSTRUCTORS,
    SOURCES,
    complete_residues,
    construct,
    mask_of,
    measure_all,
    stored,
)

# Sizes are medians of float64 numbers from three-decimal coordinates, stored with four decimals:
# the same atoms give the same digits. 0.5 % leaves room for a reader that resolves an alternate
# location differently, and is far below the smallest slip that matters (dividing by n − 1 instead
# of n changes a standard deviation by 3.6 % for 14 atoms, 15 % for 4).
RELATIVE = 5e-3
LONG_SIDE_CHAINS = [t for t in RESTYPES if t not in ("GLY", "ALA")]


@cache
def residues(source: str) -> dict[str, np.ndarray]:
    found = complete_residues(source)
    assert found, "no example structures in data_manifest/examples"
    return found


def of_type(source: str, restype: str) -> tuple[np.ndarray, np.ndarray]:
    positions = residues(source)[restype]
    return positions, mask_of(restype, len(positions))


@pytest.mark.parametrize("source", SOURCES)
def test_sizes_are_the_stored_ones(source):
    residues(source)
    expected = {key: row for key, row in stored().items() if key[2] == source}
    found = {(r["restype"], r["constructor"], source): r for r in measure_all(source)}
    advice = "; if that is intended, run python -m tests.support.regenerate_gaussian_sizes"
    assert found.keys() == expected.keys(), f"other residue types than stored{advice}"
    for key, row in found.items():
        assert row["n"] == pytest.approx(expected[key]["n"], rel=0.01), f"{key}{advice}"
        for column in COLUMNS[4:]:
            # Half a unit of the last stored digit, and the tolerance (a volume has three axes).
            rel = 3 * RELATIVE if column == "volume" else RELATIVE
            assert row[column] == pytest.approx(expected[key][column], rel=rel, abs=5.1e-5), (
                f"{column} of {key}{advice}"
            )


def test_every_residue_type_is_stored_for_every_constructor():
    assert {key[:2] for key in stored() if key[2] == "ideal"} == {
        (restype, constructor) for restype in RESTYPES for constructor in CONSTRUCTORS
    }


@pytest.mark.parametrize("restype", range(UNKNOWN + 1))
def test_slot_3_is_o_and_slot_4_is_cb(restype):
    names = ATOM14_NAMES[restype]
    assert names[:4] == ("N", "CA", "C", "O")
    assert names[4] == ("" if restype == RESTYPES.index("GLY") else "CB")


@pytest.mark.parametrize("source", SOURCES)
def test_complete_alanine_is_larger_than_its_side_chain_on_every_axis(source):
    positions, mask = of_type(source, "ALA")
    whole = construct("from_all_atoms", positions, mask).scale
    sidechain = construct("from_rigid_and_sidechain", positions, mask).scale
    np.testing.assert_array_equal(sidechain, BASE_THICKNESS)
    assert (whole > sidechain + 0.3).all()


@pytest.mark.parametrize("source", SOURCES)
def test_complete_glycine_has_a_body_in_its_plane_and_is_never_thinner_than_the_base(source):
    positions, mask = of_type(source, "GLY")
    whole = construct("from_all_atoms", positions, mask).scale
    sidechain = construct("from_rigid_and_sidechain", positions, mask)
    np.testing.assert_array_equal(sidechain.scale, BASE_THICKNESS)
    np.testing.assert_array_equal(sidechain.local_mean, 0)
    assert (whole[:, 0] > BASE_THICKNESS + 0.9).all()
    assert (whole[:, 1] > BASE_THICKNESS + 0.4).all()
    assert (whole[:, 2] >= BASE_THICKNESS).all()


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("restype", LONG_SIDE_CHAINS)
def test_the_centroid_of_all_atoms_is_nearer_ca_than_that_of_the_side_chain(restype, source):
    positions, mask = of_type(source, restype)
    ca = positions[:, 1]
    whole = construct("from_all_atoms", positions, mask).centroid
    sidechain = construct("from_rigid_and_sidechain", positions, mask).centroid
    nearer = np.linalg.norm(whole - ca, axis=1) < np.linalg.norm(sidechain - ca, axis=1)
    assert nearer.all()


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("constructor", CONSTRUCTORS)
def test_both_shapes_have_one_diagonal_in_the_frame_without_thickness(constructor, source):
    for restype in residues(source):
        positions, mask = of_type(source, restype)
        aligned = construct(constructor, positions, mask, base_thickness=0.0)
        full = construct(constructor, positions, mask, base_thickness=0.0, shape="full")
        diagonal = np.diagonal(full.local_covariance, axis1=-2, axis2=-1)
        np.testing.assert_allclose(diagonal, aligned.scale**2, rtol=1e-12, atol=1e-14)
        np.testing.assert_array_equal(full.centroid, aligned.centroid)


@pytest.mark.parametrize("shape", ["axis_aligned", "full"])
@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("constructor", CONSTRUCTORS)
def test_covariances_are_positive_definite_with_the_base_thickness_or_more(
    constructor, source, shape
):
    for restype in residues(source):
        g = construct(constructor, *of_type(source, restype), shape=shape)
        np.testing.assert_array_equal(g.covariance, np.swapaxes(g.covariance, -1, -2))
        eigenvalues = np.linalg.eigvalsh(g.covariance)
        assert (eigenvalues >= BASE_THICKNESS**2 * (1 - 1e-9)).all()
        expected = np.sort(g.scale, axis=-1) ** 2
        np.testing.assert_allclose(eigenvalues, expected, rtol=1e-9)


@pytest.mark.parametrize("shape", ["axis_aligned", "full"])
@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("constructor", CONSTRUCTORS)
def test_gaussians_turn_and_move_with_the_structure(constructor, source, shape):
    turn = random_rotations(np.random.default_rng(3), 1)[0]
    shift = np.array([-31.0, 4.0, 87.0])
    # The smallest eigenvalue of flat or linear groups is rounding, about 1e-15, and its square root
    # is what the full shape adds to.
    atol = 1e-7 if shape == "full" else 1e-10
    for restype in residues(source):
        positions, mask = of_type(source, restype)
        g = construct(constructor, positions, mask, shape=shape)
        moved = construct(constructor, positions @ turn.T + shift, mask, shape=shape)
        np.testing.assert_allclose(moved.centroid, g.centroid @ turn.T + shift, atol=1e-10)
        np.testing.assert_allclose(moved.covariance, turn @ g.covariance @ turn.T, atol=atol)
        np.testing.assert_allclose(moved.local_mean, g.local_mean, atol=1e-10)
        np.testing.assert_allclose(moved.scale, g.scale, atol=atol)


@pytest.mark.parametrize("shape", ["axis_aligned", "full"])
@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("constructor", CONSTRUCTORS)
def test_torch_gives_the_numbers_of_numpy_on_real_residues(constructor, source, shape):
    for restype in residues(source):
        positions, mask = of_type(source, restype)
        a = construct(constructor, positions, mask, shape=shape)
        atoms = torch.tensor(positions)
        b = construct_torch(constructor, atoms, torch.tensor(mask), shape=shape)
        np.testing.assert_allclose(b.centroid.numpy(), a.centroid, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(b.covariance.numpy(), a.covariance, rtol=1e-6, atol=1e-7)
        np.testing.assert_allclose(b.log_scale.numpy(), a.log_scale, rtol=1e-6, atol=1e-7)


def construct_torch(constructor: str, positions: torch.Tensor, mask: torch.Tensor, **options):
    from pipeline.geometry import gaussians

    n, ca, c, o = positions[:, :4].unbind(1)
    if constructor == "from_all_atoms":
        atoms = (n, ca, c, o, positions[:, 4:], mask[:, 4:])
    elif constructor == "from_rigid_and_sidechain":
        atoms = (n, ca, c, positions[:, 4:], mask[:, 4:])
    else:
        atoms = (n, ca, c, o)
    return getattr(gaussians, constructor)(*atoms, **options)
