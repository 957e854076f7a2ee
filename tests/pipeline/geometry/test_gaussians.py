"""Gaussians: the formula, its numerics, masks that leak nothing, and the path of the builder."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.geometry.frames import backbone_frames, is_frame
from pipeline.geometry.gaussians import (
    BASE_THICKNESS,
    MAX_ANISOTROPY,
    from_all_atoms,
    from_backbone_atoms,
    from_rigid_and_sidechain,
    limit_anisotropy,
    local_mean_and_scale,
    matrix_from_upper,
    residue_gaussians,
)
from tests.pipeline.geometry.test_frames import random_backbones

SHAPES = ["axis_aligned", "full"]


def random_residues(count: int, seed: int = 0, spread: float = 20.0):
    """atom14 positions (count, 14, 3) and mask (count, 14); N, CA, C present, O mostly."""
    rng = np.random.default_rng(seed)
    backbone = random_backbones(count, seed, spread)
    rest = backbone[:, 1:2] + rng.normal(scale=2.0, size=(count, 11, 3))
    positions = np.concatenate([backbone, rest], axis=1)
    mask = np.arange(14) < rng.integers(4, 15, size=count)[:, None]
    mask &= rng.random((count, 14)) < 0.95
    mask[:, :3] = True
    return positions, mask


def all_atoms(positions, mask, **options):
    return from_all_atoms(
        *(positions[..., slot, :] for slot in range(4)),
        positions[..., 4:, :],
        mask[..., 4:],
        o_mask=mask[..., 3],
        **options,
    )


def test_the_formula_is_the_one_of_the_design():
    positions, mask = random_residues(20)
    g = all_atoms(positions, mask)
    for i in range(20):
        rotation, t = backbone_frames(*positions[i, :3])
        y = (positions[i, mask[i]] - t) @ rotation
        scale = y.std(axis=0) + 0.5
        np.testing.assert_allclose(g.local_mean[i], y.mean(axis=0), atol=1e-12)
        np.testing.assert_allclose(g.centroid[i], positions[i, mask[i]].mean(axis=0), atol=1e-12)
        np.testing.assert_allclose(g.scale[i], scale, atol=1e-12)
        np.testing.assert_allclose(
            g.covariance[i], rotation @ np.diag(scale**2) @ rotation.T, atol=1e-12
        )
        np.testing.assert_allclose(np.exp(g.log_scale[i]), scale)


def test_the_full_shape_is_the_second_moment_thickened_along_its_principal_axes():
    positions, mask = random_residues(20)
    mask[:, :9] = True
    g = all_atoms(positions, mask, shape="full", base_thickness=0.7)
    for i in range(20):
        eigenvalues, axes = np.linalg.eigh(np.cov(positions[i, mask[i]].T, bias=True))
        scale = np.sqrt(eigenvalues) + 0.7
        np.testing.assert_allclose(g.scale[i], scale, atol=1e-10)
        np.testing.assert_allclose(g.covariance[i], (axes * scale**2) @ axes.T, atol=1e-10)


def test_each_constructor_takes_its_own_atoms():
    positions, mask = random_residues(30)
    n, ca, c, o = np.moveaxis(positions[:, :4], 1, 0)
    sidechain, sidechain_mask = positions[:, 4:], mask[:, 4:]

    backbone = from_backbone_atoms(n, ca, c, o)
    np.testing.assert_allclose(backbone.centroid, positions[:, :4].mean(axis=1), atol=1e-12)
    without_o = from_backbone_atoms(n, ca, c, o, o_mask=np.zeros(30, bool))
    np.testing.assert_allclose(without_o.centroid, positions[:, :3].mean(axis=1), atol=1e-12)

    only = from_rigid_and_sidechain(n, ca, c, sidechain, sidechain_mask)
    empty = ~sidechain_mask.any(axis=1)
    assert empty.any()
    assert not empty.all()
    for i in np.flatnonzero(~empty):
        expected = sidechain[i, sidechain_mask[i]].mean(axis=0)
        np.testing.assert_allclose(only.centroid[i], expected, atol=1e-12)
    np.testing.assert_array_equal(only.centroid[empty], ca[empty])
    np.testing.assert_array_equal(only.scale[empty], BASE_THICKNESS)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("garbage", [np.nan, np.inf, -1e300, 1e25])
@pytest.mark.filterwarnings("error")
def test_what_masked_atoms_hold_does_not_matter(garbage, shape):
    positions, mask = random_residues(40)
    mask[5, 0] = mask[6, 1] = mask[7, 2] = False
    dirty = np.where(mask[..., None], positions, garbage)
    frame_mask = mask[:, :3].all(axis=1)

    clean = all_atoms(positions, mask, frame_mask=frame_mask, shape=shape)
    found = all_atoms(dirty, mask, frame_mask=frame_mask, shape=shape)
    np.testing.assert_array_equal(found.centroid, clean.centroid)
    np.testing.assert_array_equal(found.covariance, clean.covariance)
    np.testing.assert_array_equal(found.log_scale, clean.log_scale)
    for a, b in zip(
        residue_gaussians(positions, mask, shape=shape),
        residue_gaussians(dirty, mask, shape=shape),
        strict=True,
    ):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("garbage", [float("nan"), float("inf"), 1e300])
def test_masked_atoms_leak_nothing_into_gradients(garbage, shape):
    positions, mask = random_residues(12)
    mask[:, :8] = True
    mask[3, 0] = False
    dirty = np.where(mask[..., None], positions, garbage)
    gradients = []
    for atoms in (positions, dirty):
        x = torch.tensor(atoms, requires_grad=True)
        m = torch.tensor(mask)
        g = all_atoms(x, m, frame_mask=m[:, :3].all(-1), shape=shape)
        (g.centroid.sum() + (g.covariance**2).sum() + g.log_scale.sum()).backward()
        gradients.append(x.grad.numpy())
    clean, found = gradients
    assert np.isfinite(found).all()
    np.testing.assert_array_equal(found, clean)
    np.testing.assert_array_equal(found[~mask], 0)
    np.testing.assert_array_equal(found[3], 0)
    assert (found[mask].any(axis=-1).sum()) > 80


def test_residues_of_one_or_no_atom_have_gradients_without_nan():
    positions, mask = random_residues(3)
    mask[0, 4:] = False
    mask[1, 4:] = False
    mask[1, 4] = True
    for shape in SHAPES:
        x = torch.tensor(positions, requires_grad=True)
        g = from_rigid_and_sidechain(
            *x[:, :3].unbind(1), x[:, 4:], torch.tensor(mask[:, 4:]), shape=shape
        )
        (g.centroid.sum() + (g.covariance[:2] ** 2).sum() + g.log_scale[:2].sum()).backward()
        assert torch.isfinite(x.grad).all()


def test_rows_without_a_frame_are_empty_gaussians():
    positions, mask = random_residues(4)
    positions[1, 0] = positions[1, 1]
    positions[2, 2] = np.nan
    np.testing.assert_array_equal(
        is_frame(*np.moveaxis(positions[:, :3], 1, 0)), [True, False, False, True]
    )
    g = all_atoms(positions, mask)
    np.testing.assert_array_equal(g.local_mean[1:3], 0)
    np.testing.assert_array_equal(g.scale[1:3], BASE_THICKNESS)
    np.testing.assert_array_equal(g.centroid[1:3], [positions[1, 1], np.zeros(3)])
    centroid, covariance6, ok = residue_gaussians(positions, mask)
    np.testing.assert_array_equal(ok, [True, False, False, True])
    np.testing.assert_array_equal(centroid[1:3], 0)
    np.testing.assert_array_equal(covariance6[1:3], 0)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_builder_gets_the_bits_of_from_all_atoms(shape):
    positions, mask = random_residues(2500)
    centroid, covariance6, ok = residue_gaussians(positions, mask, 0.4, shape)
    g = all_atoms(positions, mask, base_thickness=0.4, shape=shape)
    assert ok.all()
    np.testing.assert_array_equal(centroid, g.centroid)
    np.testing.assert_array_equal(covariance6, g.covariance6)
    np.testing.assert_array_equal(matrix_from_upper(covariance6), g.covariance)


@pytest.mark.parametrize("shape", SHAPES)
@given(data=st.data())
def test_a_residue_has_the_same_bits_in_any_batch(shape, data):
    positions, mask = random_residues(1100)
    positions[77, 0] = positions[77, 1]
    whole = residue_gaussians(positions, mask, shape=shape)
    rows = data.draw(st.lists(st.integers(0, 1099), min_size=1, max_size=30))
    if data.draw(st.booleans()):
        rows = rows[:1]
    for a, b in zip(
        whole, residue_gaussians(positions[rows], mask[rows], shape=shape), strict=True
    ):
        np.testing.assert_array_equal(a[rows], b)
    g = all_atoms(positions[rows], mask[rows], shape=shape)
    ok = whole[2][rows]
    np.testing.assert_array_equal(g.centroid[ok], whole[0][rows][ok])
    np.testing.assert_array_equal(g.covariance6[ok], whole[1][rows][ok])


def test_memory_layout_does_not_change_a_bit():
    positions, mask = random_residues(300)
    expected = residue_gaussians(positions, mask)
    for order in (np.asfortranarray, lambda a: np.repeat(a, 2, axis=0)[::2]):
        for a, b in zip(expected, residue_gaussians(order(positions), order(mask)), strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_float32_agrees_with_float64_at_20_nm_from_the_origin(library):
    positions, mask = random_residues(500, spread=1.0)
    positions = (positions + np.array([200.0, 0.0, 0.0])).astype(np.float32)
    exact = all_atoms(positions.astype(np.float64), mask)
    if library == "torch":
        g = all_atoms(torch.tensor(positions), torch.tensor(mask))
    else:
        g = all_atoms(positions, mask)
    for name in ("centroid", "scale", "covariance", "local_mean"):
        value = np.asarray(getattr(g, name))
        oracle = getattr(exact, name)
        assert value.dtype == np.float32
        # Relative to the size of the whole vector or matrix: single entries may be zero.
        axes = tuple(range(1, oracle.ndim))
        error = np.sqrt(((value - oracle) ** 2).sum(axis=axes) / (oracle**2).sum(axis=axes))
        assert error.max() < 1e-4, name


def test_stored_float32_columns_give_back_the_local_parameters():
    positions, mask = random_residues(500, spread=60.0)
    g = all_atoms(positions, mask)
    centroid, covariance6, ok = residue_gaussians(positions, mask)
    assert ok.all()
    frame = backbone_frames(*np.moveaxis(positions[:, :3].astype(np.float32), 1, 0))
    mean, log_scale = local_mean_and_scale(
        *frame, centroid.astype(np.float32), covariance6.astype(np.float32)
    )
    assert mean.dtype == log_scale.dtype == np.float32
    np.testing.assert_allclose(mean, g.local_mean, atol=5e-5)
    np.testing.assert_allclose(log_scale, g.log_scale, atol=5e-5)


def test_unresolved_rows_of_a_shard_read_as_zeros():
    frame = backbone_frames(*(np.zeros((2, 3)) for _ in range(3)))
    mean, log_scale = local_mean_and_scale(*frame, np.zeros((2, 3)), np.zeros((2, 6)))
    np.testing.assert_array_equal(mean, 0)
    np.testing.assert_array_equal(log_scale, 0)


@given(st.lists(st.floats(1e-6, 1e3), min_size=3, max_size=3))
def test_limited_axes_keep_the_condition_number_below_ten_thousand(scale):
    scale = np.array(scale)
    limited = limit_anisotropy(scale)
    assert (limited >= scale).all()
    assert limited.max() == scale.max()
    assert (limited.max() / limited.min()) ** 2 <= MAX_ANISOTROPY**2 * (1 + 1e-12) < 1e4
    wide = scale >= scale.max() / MAX_ANISOTROPY
    np.testing.assert_array_equal(limited[wide], scale[wide])


@pytest.mark.parametrize("shape", SHAPES)
def test_gradients_match_finite_differences(shape):
    positions, mask = random_residues(2, spread=2.0)
    mask[:, :9] = True
    m = torch.tensor(mask)

    def parameters(x):
        g = all_atoms(x, m, shape=shape)
        return g.centroid, g.covariance6, g.local_mean, g.log_scale

    assert torch.autograd.gradcheck(parameters, torch.tensor(positions, requires_grad=True))


def test_recomputed_parameters_have_gradients_that_match_finite_differences():
    positions, mask = random_residues(2, spread=2.0)
    g = all_atoms(torch.tensor(positions), torch.tensor(mask))
    inputs = [
        x.detach().clone().requires_grad_()
        for x in (g.rotations, g.translations, g.centroid, g.covariance6)
    ]
    assert torch.autograd.gradcheck(local_mean_and_scale, inputs)


def test_numpy_and_torch_agree():
    positions, mask = random_residues(60)
    positions[4, 0] = positions[4, 1]
    for shape in SHAPES:
        a = all_atoms(positions, mask, shape=shape)
        b = all_atoms(torch.tensor(positions), torch.tensor(mask), shape=shape)
        for name in ("rotations", "translations", "local_mean", "centroid", "covariance6"):
            np.testing.assert_allclose(
                getattr(b, name).numpy(), getattr(a, name), rtol=1e-9, atol=1e-9, err_msg=name
            )
    for x, y in zip(
        local_mean_and_scale(a.rotations, a.translations, a.centroid, a.covariance6),
        local_mean_and_scale(b.rotations, b.translations, b.centroid, b.covariance6),
        strict=True,
    ):
        np.testing.assert_allclose(y.numpy(), x, atol=1e-9)


def test_any_number_of_leading_axes_is_one_batch():
    positions, mask = random_residues(12)
    flat = all_atoms(positions, mask)
    folded = all_atoms(positions.reshape(2, 3, 2, 14, 3), mask.reshape(2, 3, 2, 14))
    np.testing.assert_array_equal(folded.covariance, flat.covariance.reshape(2, 3, 2, 3, 3))
    single = all_atoms(positions[0], mask[0])
    np.testing.assert_array_equal(single.centroid, flat.centroid[0])


def test_inputs_are_not_written_to():
    positions, mask = random_residues(12)
    positions[~mask] = np.nan
    before = positions.copy(), mask.copy()
    all_atoms(positions, mask)
    residue_gaussians(positions, mask)
    np.testing.assert_array_equal(positions, before[0])
    np.testing.assert_array_equal(mask, before[1])


def test_an_empty_batch_is_empty():
    centroid, covariance6, ok = residue_gaussians(np.zeros((0, 14, 3)), np.zeros((0, 14), bool))
    assert centroid.shape == (0, 3)
    assert covariance6.shape == (0, 6)
    assert ok.shape == (0,)


def test_wrong_shapes_and_names_are_refused():
    positions, mask = random_residues(4)
    with pytest.raises(ValueError, match=r"\(L, 14, 3\)"):
        residue_gaussians(positions[:, :5], mask)
    with pytest.raises(ValueError, match="mask"):
        from_all_atoms(*np.moveaxis(positions[:, :4], 1, 0), positions[:, 4:], mask[:, 5:])
    with pytest.raises(ValueError, match="round"):
        all_atoms(positions, mask, shape="round")
