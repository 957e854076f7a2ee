"""Backbone frames: algorithm 21, what is no frame, and the same numbers from NumPy and torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pipeline.geometry.frames import MIN_SINE, backbone_frames, is_frame, to_global, to_local

# Engh & Huber ideal geometry, rounded: N at 111° from C, bonds 1.46 and 1.53 Å.
IDEAL = np.array([[-0.525, 1.363, 0.0], [0.0, 0.0, 0.0], [1.526, 0.0, 0.0]])


def random_rotations(rng: np.random.Generator, count: int) -> np.ndarray:
    q = rng.normal(size=(count, 4))
    w, x, y, z = (q / np.linalg.norm(q, axis=1, keepdims=True)).T
    return np.stack(
        [
            np.stack([1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)], -1),
            np.stack([2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)], -1),
            np.stack([2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)], -1),
        ],
        axis=-2,
    )


def random_backbones(count: int, seed: int = 0, spread: float = 20.0) -> np.ndarray:
    """(count, 3, 3): slightly distorted N, CA, C anywhere in space."""
    rng = np.random.default_rng(seed)
    distorted = IDEAL + rng.normal(scale=0.05, size=(count, 3, 3))
    rotated = np.einsum("bij,baj->bai", random_rotations(rng, count), distorted)
    return rotated + rng.normal(scale=spread, size=(count, 1, 3))


def test_the_ideal_residue_has_the_identity_as_its_frame():
    rotation, translation = backbone_frames(*IDEAL)
    np.testing.assert_allclose(rotation, np.eye(3), atol=1e-15)
    np.testing.assert_array_equal(translation, np.zeros(3))


@given(
    arrays(np.float64, (4, 3, 3), elements=st.floats(-50, 50, width=32)),
)
def test_axes_are_a_right_handed_basis_with_c_on_x_and_n_in_the_upper_xy_plane(atoms):
    n, ca, c = atoms[:, 0], atoms[:, 1], atoms[:, 2]
    ok = is_frame(n, ca, c)
    rotation, translation = backbone_frames(n, ca, c)
    np.testing.assert_allclose(
        np.einsum("bij,bik->bjk", rotation, rotation), np.tile(np.eye(3), (4, 1, 1)), atol=1e-12
    )
    np.testing.assert_allclose(np.linalg.det(rotation), 1.0, atol=1e-12)
    np.testing.assert_array_equal(translation, ca)

    local = to_local(rotation, translation, atoms)[ok]
    size = np.abs(local).max(initial=1.0)
    np.testing.assert_allclose(local[:, 2, 1:], 0, atol=1e-11 * size)
    np.testing.assert_allclose(local[:, 0, 2], 0, atol=1e-11 * size)
    assert (local[:, 2, 0] > 0).all()
    assert (local[:, 0, 1] > 0).all()


def test_frames_turn_and_move_with_the_structure():
    atoms = random_backbones(50)
    turn = random_rotations(np.random.default_rng(1), 1)[0]
    shift = np.array([3.0, -40.0, 11.0])
    rotation, translation = backbone_frames(*np.moveaxis(atoms, 1, 0))
    moved = atoms @ turn.T + shift
    rotation2, translation2 = backbone_frames(*np.moveaxis(moved, 1, 0))
    np.testing.assert_allclose(rotation2, turn @ rotation, atol=1e-12)
    np.testing.assert_allclose(translation2, translation @ turn.T + shift, atol=1e-12)


@pytest.mark.parametrize("degrees", [0.0, 1.0, 2.8, 177.2, 180.0])
def test_atoms_nearly_on_a_line_are_no_frame(degrees):
    angle = np.deg2rad(degrees)
    n = np.array([np.cos(angle), np.sin(angle), 0.0]) * 1.46
    assert np.sin(angle) < MIN_SINE
    assert not is_frame(n, np.zeros(3), IDEAL[2])
    rotation, translation = backbone_frames(n + 5, np.full(3, 5.0), IDEAL[2] + 5)
    np.testing.assert_array_equal(rotation, np.eye(3))
    np.testing.assert_array_equal(translation, np.full(3, 5.0))


@pytest.mark.parametrize("degrees", [3.0, 60.0, 111.0, 177.0])
def test_atoms_off_a_line_are_a_frame(degrees):
    angle = np.deg2rad(degrees)
    n = np.array([np.cos(angle), np.sin(angle), 0.0]) * 1.46
    assert is_frame(n, np.zeros(3), IDEAL[2])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e30])
@pytest.mark.parametrize("atom", [0, 1, 2])
@pytest.mark.filterwarnings("error")
def test_an_atom_that_is_not_a_position_leaves_the_identity_at_the_origin(atom, bad, dtype):
    atoms = random_backbones(3).astype(dtype)
    atoms[1, atom, 2] = bad
    rotation, translation = backbone_frames(*np.moveaxis(atoms, 1, 0))
    np.testing.assert_array_equal(is_frame(*np.moveaxis(atoms, 1, 0)), [True, False, True])
    np.testing.assert_array_equal(rotation[1], np.eye(3))
    np.testing.assert_array_equal(translation[1], np.zeros(3))
    assert rotation.dtype == translation.dtype == dtype


def test_coincident_atoms_are_no_frame():
    assert not is_frame(IDEAL[1], IDEAL[1], IDEAL[2])
    assert not is_frame(IDEAL[0], IDEAL[1], IDEAL[1])


def test_the_mask_decides_over_any_position():
    atoms = random_backbones(3)
    mask = np.array([True, False, True])
    np.testing.assert_array_equal(is_frame(*np.moveaxis(atoms, 1, 0), mask), mask)
    rotation, translation = backbone_frames(*np.moveaxis(atoms, 1, 0), mask)
    np.testing.assert_array_equal(rotation[1], np.eye(3))
    np.testing.assert_array_equal(translation[1], np.zeros(3))


@pytest.mark.parametrize("points_shape", [(5, 3), (5, 7, 3), (5, 2, 4, 3)])
def test_local_and_global_are_inverse_over_any_point_axes(points_shape):
    frames = backbone_frames(*np.moveaxis(random_backbones(5), 1, 0))
    points = np.random.default_rng(2).normal(size=points_shape) * 10
    local = to_local(*frames, points)
    assert local.shape == points_shape
    np.testing.assert_allclose(to_global(*frames, local), points, atol=1e-12)
    flat = points.reshape(5, -1, 3)
    expected = np.einsum("bij,bki->bkj", frames[0], flat - frames[1][:, None])
    np.testing.assert_allclose(local.reshape(flat.shape), expected, atol=1e-12)


def test_positions_with_another_last_axis_are_refused():
    with pytest.raises(ValueError, match="last axis of length 3"):
        backbone_frames(np.zeros((3, 4)), np.zeros((3, 4)), np.zeros((3, 4)))


def test_a_residue_has_the_same_bits_in_any_batch():
    atoms = random_backbones(100)
    whole = backbone_frames(*np.moveaxis(atoms, 1, 0))
    for part in (slice(17, 18), slice(0, 2), slice(31, 94), slice(None, None, -3)):
        for a, b in zip(whole, backbone_frames(*np.moveaxis(atoms[part], 1, 0)), strict=True):
            np.testing.assert_array_equal(a[part], b)


def test_torch_gives_the_numbers_of_numpy():
    atoms = random_backbones(40)
    atoms[3] = np.nan
    atoms[5, 0] = atoms[5, 1]
    expected = backbone_frames(*np.moveaxis(atoms, 1, 0))
    found = backbone_frames(*torch.tensor(atoms).unbind(1))
    for a, b in zip(expected, found, strict=True):
        np.testing.assert_allclose(b.numpy(), a, rtol=1e-14, atol=1e-15)
    np.testing.assert_array_equal(
        is_frame(*torch.tensor(atoms).unbind(1)).numpy(), is_frame(*np.moveaxis(atoms, 1, 0))
    )


def test_gradients_match_finite_differences():
    atoms = torch.tensor(random_backbones(3, spread=2.0), requires_grad=True)
    points = torch.tensor(np.random.default_rng(0).normal(size=(3, 2, 3)), requires_grad=True)

    def local_and_back(atoms, points):
        rotation, translation = backbone_frames(*atoms.unbind(1))
        return to_local(rotation, translation, points), to_global(rotation, translation, points)

    assert torch.autograd.gradcheck(local_and_back, (atoms, points))


def test_rows_without_a_frame_have_zero_gradient_not_nan():
    atoms = random_backbones(4)
    atoms[1, 0] = np.nan
    atoms[2, 0] = atoms[2, 1]
    atoms = torch.tensor(atoms, requires_grad=True)
    rotation, translation = backbone_frames(*atoms.unbind(1))
    ((rotation**3).sum() + 2 * translation.sum()).backward()
    gradient = atoms.grad.numpy()
    assert np.isfinite(gradient).all()
    np.testing.assert_array_equal(gradient[1], 0)
    np.testing.assert_array_equal(gradient[2], [[0, 0, 0], [2, 2, 2], [0, 0, 0]])
    assert (np.abs(gradient[[0, 3]]).sum((1, 2)) > 0).all()


def test_inputs_are_not_written_to():
    atoms = random_backbones(4)
    atoms[1, 0] = np.nan
    before = atoms.copy()
    backbone_frames(*np.moveaxis(atoms, 1, 0), np.array([True, True, False, True]))
    np.testing.assert_array_equal(atoms, before)
