"""Ellipsoids of side chains that are a distribution over rotamers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.geometry.gaussians import BASE_THICKNESS, from_all_atoms, rotamer_moments
from pipeline.residues import ATOM14_EXISTS, CHI_MASK, MASK, RESTYPES, UNKNOWN
from pipeline.residues.geometry import IDEAL_BACKBONE
from pipeline.residues.side_chains import build_side_chains

KINDS = np.array([*range(len(RESTYPES)), UNKNOWN, MASK])
SEEDS = st.integers(0, 10_000)


def rotamers(n_rotamers: int, seed: int = 0):
    """Of each type: backbone (22, 4, 3), side chains (22, R, 10, 3), mask (22, 10), weights."""
    rng = np.random.default_rng(seed)
    chi = rng.uniform(-np.pi, np.pi, (len(KINDS), n_rotamers, 4))
    backbone = IDEAL_BACKBONE[np.minimum(KINDS, UNKNOWN)]
    sidechains, exists = build_side_chains(chi, KINDS[:, None], backbone[:, None, 0])
    weights = rng.dirichlet(np.ones(n_rotamers), len(KINDS))
    return backbone, sidechains, exists[:, 0], weights


def plain(backbone, sidechains, mask, weights, o_mask) -> tuple[np.ndarray, np.ndarray]:
    """Residue by residue, atom by atom, by the words of the docstring."""
    means, stds = [], []
    for row in range(len(backbone)):
        atoms = [(1.0, x) for slot, x in enumerate(backbone[row]) if slot < 3 or o_mask[row]]
        for weight, rotamer in zip(weights[row], sidechains[row], strict=True):
            atoms += [(weight, x) for x, there in zip(rotamer, mask[row], strict=True) if there]
        each, points = np.array([w for w, _ in atoms]), np.array([x for _, x in atoms])
        mean = np.average(points, axis=0, weights=each)
        means.append(mean)
        stds.append(np.sqrt(np.average((points - mean) ** 2, axis=0, weights=each)))
    return np.array(means), np.array(stds)


@settings(max_examples=20, deadline=None)
@given(SEEDS, st.integers(1, 6))
def test_moments_are_those_of_a_mixture_of_atoms(seed, n_rotamers):
    arrays = rotamers(n_rotamers, seed)
    o_mask = np.random.default_rng(seed).random(len(KINDS)) < 0.7
    expected = plain(*arrays, o_mask)
    for found, known in zip(rotamer_moments(*arrays, o_mask=o_mask), expected, strict=True):
        np.testing.assert_allclose(found, known, atol=1e-12)


def test_one_rotamer_has_the_ellipsoid_of_its_atoms():
    backbone, sidechains, mask, weights = rotamers(1)
    mean, std = rotamer_moments(backbone, sidechains, mask, weights)
    atoms = (backbone[:, slot] for slot in range(4))
    expected = from_all_atoms(*atoms, sidechains[:, 0], mask)
    np.testing.assert_allclose(mean, expected.local_mean, atol=1e-12)
    np.testing.assert_allclose(std + BASE_THICKNESS, expected.scale, atol=1e-12)


def test_the_spread_of_rotamers_widens_the_ellipsoid_and_copies_of_one_do_not():
    backbone, sidechains, mask, weights = rotamers(4)
    _, narrow = rotamer_moments(backbone, sidechains[:, :1], mask, weights[:, :1])
    copies = np.repeat(sidechains[:, :1], 4, axis=1)
    _, same = rotamer_moments(backbone, copies, mask, weights)
    np.testing.assert_allclose(same, narrow, atol=1e-12)
    # Variance of a mixture: the mean of the variances, and what the means vary besides.
    _, wide = rotamer_moments(backbone, sidechains, mask, weights)
    each = [
        rotamer_moments(backbone, sidechains[:, r : r + 1], mask, weights[:, :1]) for r in range(4)
    ]
    within = sum(weights[:, r, None] * each[r][1] ** 2 for r in range(4))
    long = ATOM14_EXISTS[np.minimum(KINDS, UNKNOWN)].sum(axis=1) > 6
    assert (wide**2 >= within - 1e-12).all()
    assert (wide**2 > within + 1e-3)[long & CHI_MASK[np.minimum(KINDS, UNKNOWN), 0]].any(1).all()


def test_a_residue_without_torsions_does_not_depend_on_weights():
    backbone, sidechains, mask, weights = rotamers(3)
    found = rotamer_moments(backbone, sidechains, mask, weights)
    other = rotamer_moments(backbone, sidechains, mask, weights[::-1])
    rigid = ~CHI_MASK[np.minimum(KINDS, UNKNOWN), 0]
    for a, b in zip(found, other, strict=True):
        np.testing.assert_allclose(a[rigid], b[rigid], atol=1e-12)


def test_neither_the_order_of_rotamers_nor_the_sum_of_weights_matters():
    backbone, sidechains, mask, weights = rotamers(4)
    expected = rotamer_moments(backbone, sidechains, mask, weights)
    turned = rotamer_moments(backbone, sidechains[:, ::-1], mask, 0.3 * weights[:, ::-1])
    nothing = rotamer_moments(backbone, sidechains, mask, 0 * weights)
    alike = rotamer_moments(backbone, sidechains, mask, np.ones_like(weights))
    for pair in (expected, turned), (nothing, alike):
        for a, b in zip(*pair, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-12)


def test_absent_atoms_may_hold_anything_and_rows_do_not_see_each_other():
    backbone, sidechains, mask, weights = rotamers(3)
    o_mask = np.arange(len(KINDS)) % 3 > 0
    expected = rotamer_moments(backbone, sidechains, mask, weights, o_mask=o_mask)
    garbage = np.where(mask[:, None, :, None], sidechains, np.nan)
    holed = backbone.copy()
    holed[~o_mask, 3] = np.nan
    found = rotamer_moments(holed, garbage, mask, weights, o_mask=o_mask)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b)
    for row in range(len(KINDS)):
        alone = rotamer_moments(
            *(x[row] for x in (backbone, sidechains, mask, weights)), o_mask=o_mask[row]
        )
        np.testing.assert_array_equal(alone[0], expected[0][row])
        np.testing.assert_array_equal(alone[1], expected[1][row])


def test_torch_gives_what_numpy_gives_and_gradients_reach_torsions_and_weights():
    arrays = rotamers(3)
    expected = rotamer_moments(*arrays)
    tensors = [torch.tensor(np.array(x)) for x in arrays]
    for a, b in zip(rotamer_moments(*tensors), expected, strict=True):
        np.testing.assert_allclose(a.numpy(), b, atol=1e-12)

    backbone, _, mask, weights = tensors
    kinds = torch.tensor(KINDS)[:, None]
    chi = 0.7 * torch.rand(len(KINDS), 3, 4, generator=torch.Generator().manual_seed(0)).double()

    def moments(chi, weights):
        sidechains, _ = build_side_chains(chi, kinds, backbone[:, None, 0])
        return rotamer_moments(backbone, sidechains, mask, weights)

    leaves = chi.requires_grad_(), weights.requires_grad_()
    assert torch.autograd.gradcheck(moments, leaves, fast_mode=True)


def test_absent_atoms_and_points_without_extent_send_no_nan_backwards():
    backbone, sidechains, mask, weights = (torch.tensor(np.array(x)) for x in rotamers(2))
    sidechains = torch.where(mask[:, None, :, None], sidechains, torch.nan)
    leaves = [torch.zeros_like(backbone), sidechains, weights * 0]
    mask[0] = False
    for leaf in leaves:
        leaf.requires_grad_()
    mean, std = rotamer_moments(leaves[0], leaves[1], mask, leaves[2])
    (mean.sum() + std.sum()).backward()
    assert all(leaf.grad.isfinite().all() for leaf in leaves)


def test_shapes_that_do_not_fit_are_refused():
    backbone, sidechains, mask, weights = rotamers(3)
    with pytest.raises(ValueError, match="3 rotamers of 10 atoms"):
        rotamer_moments(backbone, sidechains, mask, weights[:, :2])
    with pytest.raises(ValueError, match="3 rotamers of 10 atoms"):
        rotamer_moments(backbone, sidechains, mask[:, :4], weights)
