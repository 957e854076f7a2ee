"""Frames with ellipsoids: they are built from atoms, move, and change as the design says."""

from __future__ import annotations

import math
from dataclasses import fields, replace

import pytest
import roma
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.gaussian_rigid import MISSING_THICKNESS, GaussianRigid
from pipeline.geometry.gaussians import BASE_THICKNESS, from_all_atoms
from tests.support.attention_inputs import (
    from_atoms,
    largest,
    moved,
    random_rigid,
    random_rotations,
)

SEEDS = st.integers(0, 2**32 - 1)


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _residues(*shape: int, seed: int = 0):
    """N, CA, C, O and ten side-chain atoms of random residues, with the mask of the latter."""
    g = _generator(seed)
    ca = 10 * torch.randn(*shape, 3, generator=g, dtype=torch.float64)
    n, c, o = (ca + torch.randn(*shape, 3, generator=g, dtype=torch.float64) for _ in range(3))
    side = ca[..., None, :] + 2 * torch.randn(*shape, 10, 3, generator=g, dtype=torch.float64)
    return n, ca, c, o, side, torch.rand(*shape, 10, generator=g) > 0.5


def _equal(a: GaussianRigid, b: GaussianRigid, tolerance: float = 1e-12) -> bool:
    return all(
        largest(getattr(a, f.name) - getattr(b, f.name)) < tolerance for f in fields(GaussianRigid)
    )


# ---- from frames ------------------------------------------------------------------------------


def test_from_frames_is_from_all_atoms_of_the_pipeline_in_the_frames_of_the_backbone() -> None:
    n, ca, c, o, side, mask = _residues(4, 6)
    expected = from_all_atoms(n, ca, c, o, side, mask)
    rigid = from_atoms(torch.cat([torch.stack([n, ca, c, o], dim=-2), side], dim=-2), mask)
    assert torch.equal(rigid.translations, ca)
    assert largest(rigid.rotations - expected.rotations) < 1e-12
    assert largest(rigid.centroid - expected.centroid) < 1e-12
    assert largest(rigid.covariance - expected.covariance) < 1e-12
    assert largest(rigid.covariance6 - expected.covariance6) < 1e-12
    assert largest(rigid.log_scale - expected.log_scale) < 1e-12


def test_from_frames_keeps_the_given_frame_whatever_the_atoms_are() -> None:
    g = _generator()
    rotations = random_rotations(5, generator=g)
    backbone = torch.randn(5, 4, 3, generator=g, dtype=torch.float64)
    atoms = torch.randn(5, 10, 3, generator=g, dtype=torch.float64)
    mask = torch.zeros(5, 10, dtype=torch.bool)
    rigid = GaussianRigid.from_frames(rotations, backbone[:, 1], backbone, atoms, mask)
    assert torch.equal(rigid.rotations, rotations)
    assert largest(rigid.local_mean - backbone.mean(dim=1)) < 1e-12
    std = backbone.std(dim=1, correction=0)
    assert largest(rigid.scale - std - BASE_THICKNESS) < 1e-12


def test_residues_without_a_frame_are_wide_and_hide_their_atoms_even_from_gradients() -> None:
    n, ca, c, o, side, mask = _residues(3)
    framed = torch.tensor([True, False, True])
    side[1], side[0][~mask[0]] = math.nan, math.nan
    backbone = torch.stack([n, ca, c, o], dim=-2)
    backbone[1] = math.nan
    leaves = [backbone.requires_grad_(), side.requires_grad_()]
    rotations = torch.eye(3, dtype=torch.float64).expand(3, 3, 3)
    rigid = GaussianRigid.from_frames(
        rotations, torch.zeros(3, 3, dtype=torch.float64), *leaves, mask, framed
    )
    assert largest(rigid.scale[1] - MISSING_THICKNESS) < 1e-12
    assert largest(rigid.local_mean[1]) == 0
    total = rigid.log_scale.sum() + rigid.local_mean.square().sum()
    for gradient in torch.autograd.grad(total, leaves, allow_unused=True, materialize_grads=True):
        assert gradient.isfinite().all()


def test_collapsed_atoms_have_the_base_thickness_and_finite_gradients() -> None:
    backbone = torch.zeros(1, 4, 3, dtype=torch.float64, requires_grad=True)
    rigid = GaussianRigid.from_frames(
        torch.eye(3, dtype=torch.float64)[None],
        torch.zeros(1, 3, dtype=torch.float64),
        backbone,
        torch.zeros(1, 10, 3, dtype=torch.float64),
        torch.ones(1, 10, dtype=torch.bool),
    )
    assert largest(rigid.scale - BASE_THICKNESS) < 1e-12
    (gradient,) = torch.autograd.grad(rigid.log_scale.sum(), backbone)
    assert gradient.isfinite().all()


# ---- frames -----------------------------------------------------------------------------------


@given(SEEDS)
@settings(max_examples=20, deadline=None)
def test_local_coordinates_of_what_a_frame_applies_to_are_what_they_were(seed: int) -> None:
    g = _generator(seed)
    a = random_rigid(3, 4, generator=g)
    x = torch.randn(3, 4, 5, 3, generator=g, dtype=torch.float64)
    assert largest(a.to_local(a.apply(x)) - x) < 1e-10


@given(SEEDS)
@settings(max_examples=20, deadline=None)
def test_ellipsoids_move_with_their_frames(seed: int) -> None:
    g = _generator(seed)
    rigid = random_rigid(5, generator=g)
    rotation = random_rotations(generator=g)
    shift = 200 * torch.randn(3, generator=g, dtype=torch.float64)
    after = moved(rigid, rotation, shift)
    assert largest(after.centroid - (rigid.centroid @ rotation.T + shift)) < 1e-9
    assert largest(after.covariance - rotation @ rigid.covariance @ rotation.T) < 1e-9


def test_covariance_is_rotated_squared_scales() -> None:
    rigid = random_rigid(6, generator=_generator())
    r, scale = rigid.rotations, rigid.scale
    assert largest(rigid.covariance - r @ torch.diag_embed(scale**2) @ r.mT) < 1e-12
    assert torch.equal(rigid.covariance, rigid.covariance.mT)


# ---- changes ----------------------------------------------------------------------------------


def test_an_update_turns_and_shifts_in_the_frame() -> None:
    g = _generator()
    rigid = random_rigid(4, generator=g)
    vector = torch.randn(4, 6, generator=g, dtype=torch.float64)
    after = rigid.update_frame(vector)
    turn = roma.rotvec_to_rotmat(vector[:, :3])
    assert largest(after.rotations - rigid.rotations @ turn) < 1e-12
    assert largest(rigid.to_local(after.translations) - vector[:, 3:]) < 1e-10
    assert torch.equal(after.local_mean, rigid.local_mean)
    assert torch.equal(after.log_scale, rigid.log_scale)


def test_a_zero_update_changes_nothing_and_has_a_gradient() -> None:
    rigid = random_rigid(3, generator=_generator())
    vector = torch.zeros(3, 6, dtype=torch.float64, requires_grad=True)
    after = rigid.update_frame(vector)
    assert _equal(after, rigid)
    (gradient,) = torch.autograd.grad(after.centroid.sum() + after.covariance.sum(), vector)
    assert gradient.isfinite().all()
    assert (gradient.abs().sum(dim=0) > 0).all()


@given(SEEDS)
@settings(max_examples=20, deadline=None)
def test_updates_turn_with_the_whole(seed: int) -> None:
    g = _generator(seed)
    rigid, vector = random_rigid(5, generator=g), torch.randn(5, 6, generator=g).double()
    motion = random_rotations(generator=g), 200 * torch.randn(3, generator=g).double()
    after = moved(rigid.update_frame(vector), *motion)
    assert _equal(after, moved(rigid, *motion).update_frame(vector), 1e-9)


def test_updates_of_another_length_are_refused() -> None:
    rigid = random_rigid(2, generator=_generator())
    with pytest.raises(ValueError, match="6 components"):
        rigid.update_frame(torch.zeros(2, 12))


# ---- precision --------------------------------------------------------------------------------


def test_everything_is_differentiable_in_double_precision() -> None:
    g = _generator()
    rigid = random_rigid(2, generator=g)
    vector = 0.3 * torch.randn(2, 6, generator=g, dtype=torch.float64)

    def function(vector, *parts):
        changed = GaussianRigid(*parts).update_frame(vector)
        return changed.centroid, changed.covariance6, changed.translations

    leaves = [vector, *(getattr(rigid, f.name) for f in fields(rigid))]
    assert torch.autograd.gradcheck(function, [x.requires_grad_() for x in leaves])


def test_autocast_does_not_touch_it() -> None:
    rigid = random_rigid(4, generator=_generator(), dtype=torch.float32)
    vector = torch.randn(4, 6, generator=_generator())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = rigid.update_frame(vector)
        covariance = inside.covariance
    assert _equal(inside, rigid.update_frame(vector), 1e-20)
    assert covariance.dtype == torch.float32
    half = rigid.update_frame(vector.bfloat16())
    assert {getattr(half, f.name).dtype for f in fields(half)} == {torch.float32}


def test_items_of_a_batch_and_detached_copies_are_records_too() -> None:
    rigid = random_rigid(3, 5, generator=_generator())
    assert rigid[1].translations.shape == (5, 3)
    assert rigid[:, None].rotations.shape == (3, 1, 5, 3, 3)
    tracked = replace(rigid, local_mean=rigid.local_mean.clone().requires_grad_())
    assert not tracked.detach().local_mean.requires_grad
