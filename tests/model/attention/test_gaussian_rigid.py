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
from pipeline.geometry.frames import backbone_frames
from pipeline.geometry.gaussians import BASE_THICKNESS, from_all_atoms
from tests.support.attention_inputs import largest, moved, random_rigid, random_rotations

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


# ---- from atoms -------------------------------------------------------------------------------


def test_from_atoms_is_from_all_atoms_of_the_pipeline() -> None:
    atoms = _residues(4, 6)
    rigid, expected = GaussianRigid.from_atoms(*atoms), from_all_atoms(*atoms)
    assert torch.equal(rigid.translations, atoms[1])
    assert largest(rigid.centroid - expected.centroid) < 1e-12
    assert largest(rigid.covariance - expected.covariance) < 1e-12
    assert largest(rigid.covariance6 - expected.covariance6) < 1e-12
    assert torch.equal(rigid.log_scale, expected.log_scale)


def test_from_frames_agrees_with_from_atoms_in_the_frames_of_the_backbone() -> None:
    n, ca, c, o, side, mask = _residues(4, 6)
    rotations, translations = backbone_frames(n, ca, c)
    frame = GaussianRigid(rotations, translations, torch.zeros_like(ca), torch.zeros_like(ca))
    backbone = frame.to_local(torch.stack([n, ca, c, o], dim=-2))
    rigid = GaussianRigid.from_frames(rotations, translations, backbone, frame.to_local(side), mask)
    assert _equal(rigid, GaussianRigid.from_atoms(n, ca, c, o, side, mask))


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


@pytest.mark.parametrize("way", ["from_atoms", "from_frames"])
def test_residues_without_a_frame_are_wide_and_hide_their_atoms_even_from_gradients(
    way: str,
) -> None:
    n, ca, c, o, side, mask = _residues(3)
    framed = torch.tensor([True, False, True])
    side[1], side[0][~mask[0]] = math.nan, math.nan
    if way == "from_atoms":
        n[1] = math.nan
        leaves = [x.requires_grad_() for x in (n, ca, c, o, side)]
        rigid = GaussianRigid.from_atoms(*leaves, mask, frame_mask=framed)
    else:
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
def test_composition_applies_the_inner_frame_first(seed: int) -> None:
    g = _generator(seed)
    a, b = random_rigid(3, 4, generator=g), random_rigid(3, 4, generator=g)
    x = torch.randn(3, 4, 5, 3, generator=g, dtype=torch.float64)
    assert largest(a.compose(b).apply(x) - a.apply(b.apply(x))) < 1e-10
    assert largest(a.to_local(a.apply(x)) - x) < 1e-10
    assert largest(a.invert().apply(a.apply(x)) - x) < 1e-10
    assert _equal(a.invert().invert(), a, 1e-10)
    assert _equal(a.invert().compose(a.compose(b)), b, 1e-10)


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


def test_an_update_turns_shifts_and_deforms_in_the_frame() -> None:
    g = _generator()
    rigid = random_rigid(4, generator=g)
    vector = torch.randn(4, 12, generator=g, dtype=torch.float64)
    after = rigid.update(vector)
    turn = roma.rotvec_to_rotmat(vector[:, :3])
    assert largest(after.rotations - rigid.rotations @ turn) < 1e-12
    assert largest(rigid.to_local(after.translations) - vector[:, 3:6]) < 1e-10
    assert largest((after.local_mean - rigid.local_mean) / rigid.scale - vector[:, 6:9]) < 1e-10
    assert largest(after.log_scale - rigid.log_scale - vector[:, 9:]) < 1e-12
    frame = rigid.update_frame(vector[:, :6])
    assert torch.equal(frame.rotations, after.rotations)
    assert torch.equal(frame.local_mean, rigid.local_mean)


def test_a_zero_update_changes_nothing_and_has_a_gradient() -> None:
    rigid = random_rigid(3, generator=_generator())
    vector = torch.zeros(3, 12, dtype=torch.float64, requires_grad=True)
    after = rigid.update(vector)
    assert _equal(after, rigid)
    (gradient,) = torch.autograd.grad(after.centroid.sum() + after.covariance.sum(), vector)
    assert gradient.isfinite().all()
    assert (gradient.abs().sum(dim=0) > 0)[:9].all()


@given(SEEDS)
@settings(max_examples=20, deadline=None)
def test_updates_turn_with_the_whole(seed: int) -> None:
    g = _generator(seed)
    rigid, vector = random_rigid(5, generator=g), torch.randn(5, 12, generator=g).double()
    motion = random_rotations(generator=g), 200 * torch.randn(3, generator=g).double()
    assert _equal(moved(rigid.update(vector), *motion), moved(rigid, *motion).update(vector), 1e-9)


def test_updates_of_another_length_are_refused() -> None:
    rigid = random_rigid(2, generator=_generator())
    with pytest.raises(ValueError, match="12 components"):
        rigid.update(torch.zeros(2, 7))
    with pytest.raises(ValueError, match="6 components"):
        rigid.update_frame(torch.zeros(2, 12))


def test_another_unit_scales_lengths_and_covariances() -> None:
    rigid = random_rigid(4, generator=_generator())
    nm = rigid.scaled(0.1)
    assert largest(nm.centroid - 0.1 * rigid.centroid) < 1e-12
    assert largest(nm.covariance - 0.01 * rigid.covariance) < 1e-12
    assert _equal(nm.scaled(10.0), rigid, 1e-12)


# ---- precision --------------------------------------------------------------------------------


def test_everything_is_differentiable_in_double_precision() -> None:
    g = _generator()
    rigid, outer = random_rigid(2, generator=g), random_rigid(2, generator=g)
    vector = 0.3 * torch.randn(2, 12, generator=g, dtype=torch.float64)

    def function(vector, *parts):
        changed = outer.compose(GaussianRigid(*parts).update(vector)).scaled(0.1)
        return changed.centroid, changed.covariance6, changed.invert().translations

    leaves = [vector, *(getattr(rigid, f.name) for f in fields(rigid))]
    assert torch.autograd.gradcheck(function, [x.requires_grad_() for x in leaves])


def test_autocast_does_not_touch_it() -> None:
    rigid = random_rigid(4, generator=_generator(), dtype=torch.float32)
    vector = torch.randn(4, 12, generator=_generator())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = rigid.compose(rigid.update(vector))
        covariance = inside.covariance
    assert _equal(inside, rigid.compose(rigid.update(vector)), 1e-20)
    assert covariance.dtype == torch.float32
    half = rigid.update(vector.bfloat16())
    assert {getattr(half, f.name).dtype for f in fields(half)} == {torch.float32}


def test_items_of_a_batch_and_detached_copies_are_records_too() -> None:
    rigid = random_rigid(3, 5, generator=_generator())
    assert rigid[1].translations.shape == (5, 3)
    assert rigid[:, None].rotations.shape == (3, 1, 5, 3, 3)
    tracked = replace(rigid, local_mean=rigid.local_mean.clone().requires_grad_())
    assert not tracked.detach().local_mean.requires_grad
