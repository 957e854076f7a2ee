"""Derived columns equal plain NumPy oracles, and do not depend on what else is in the batch."""

from __future__ import annotations

from dataclasses import fields
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.chain import Chain
from pipeline.features import (
    ChainFeatures,
    atom14_positions,
    compute_features,
    unpack_mask,
)
from pipeline.geometry.gaussians import residue_gaussians
from pipeline.residues import MAX_PEPTIDE_BOND, UNKNOWN
from tests.support.random_chains import random_chain, with_fields

CHAINS = st.builds(
    random_chain,
    st.integers(0, 10_000),
    st.integers(1, 60),
    holes=st.sampled_from([0.0, 0.2, 0.9]),
)


def atoms(chain: Chain) -> list[dict[int, np.ndarray]]:
    """Slot → position in Å for every residue, one atom after the other."""
    rest = iter(chain.coords)
    return [
        {slot: next(rest) / 1000 for slot in range(14) if int(mask) >> slot & 1}
        for mask in chain.atom14_mask
    ]


def identical(a: ChainFeatures, b: ChainFeatures) -> bool:
    """Equal in every bit."""
    pairs = [(getattr(a, f.name), getattr(b, f.name)) for f in fields(ChainFeatures)]
    return all(np.asarray(x).tobytes() == np.asarray(y).tobytes() for x, y in pairs)


def line_of(*places: float, present: tuple[bool, ...] | None = None) -> Chain:
    """Residues of N, CA and C whose N stand at these x; C is 2.5 Å beyond N."""
    rows = [((0, 0, 0), (1.2, 0.9, 0), (2.5, 0, 0)) for _ in places]
    keep = present or (True,) * len(places)
    points = [
        [x + place, y, z]
        for place, row, there in zip(places, rows, keep, strict=True)
        for x, y, z in (row if there else ())
    ]
    n = len(places)
    return with_fields(
        random_chain(0, n, holes=0),
        atom14_mask=np.where(keep, 0b111, 0).astype(np.uint16),
        coords=np.rint(np.array(points) * 1000).astype(np.int32),
        resolved=np.array(keep),
        residue_index=np.arange(1, n + 1, dtype=np.int32),
    )


# ---- atom14 -------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 2**14 - 1), max_size=40))
def test_bit_k_of_a_mask_is_slot_k(masks):
    found = unpack_mask(np.array(masks, np.uint16))
    assert found.shape == (len(masks), 14)
    assert found.tolist() == [[bool(m >> k & 1) for k in range(14)] for m in masks]


@given(CHAINS)
def test_coordinates_go_to_their_slots_and_absent_atoms_are_zeros(chain):
    mask = unpack_mask(chain.atom14_mask)
    positions = atom14_positions(mask, chain.coords)
    for row, by_slot in enumerate(atoms(chain)):
        for slot in range(14):
            expected = by_slot.get(slot, np.zeros(3))
            np.testing.assert_allclose(positions[row, slot], expected, rtol=0, atol=1e-12)


def test_masks_of_another_byte_order_and_of_a_slice_mean_the_same():
    masks = np.arange(0, 2**14, 97, dtype=np.uint16)
    expected = unpack_mask(masks)
    assert (unpack_mask(masks.astype(">u2")) == expected).all()
    assert (unpack_mask(np.repeat(masks, 2)[::2]) == expected).all()


# ---- scalars ------------------------------------------------------------------------------------


@given(CHAINS)
def test_scalars_equal_a_loop_over_residues(chain):
    (found,) = compute_features([chain])
    by_residue = atoms(chain)
    resolved = [row for row in range(len(chain)) if chain.resolved[row]]
    points = np.array([by_residue[row][1] for row in resolved])
    centre = points.mean(axis=0)
    expected = np.sqrt(np.mean([np.sum((p - centre) ** 2) for p in points]))
    assert found.radius_of_gyration == pytest.approx(expected, rel=1e-9, abs=1e-12)
    n_breaks = 0
    for a, b in pairwise(resolved):
        distance = np.linalg.norm(by_residue[b][0] - by_residue[a][2])
        n_breaks += b - a > 1 or distance > MAX_PEPTIDE_BOND
    assert found.n_breaks == n_breaks
    assert found.n_resolved == len(resolved)
    assert found.fraction_x == np.mean(chain.aatype == UNKNOWN)
    with_ca = [row for row, by_slot in enumerate(by_residue) if 1 in by_slot]
    assert found.mean_b_factor == pytest.approx(chain.b_factor[with_ca].mean(), rel=1e-6)
    for value, name in ((1, "helix"), (2, "strand"), (0, "coil")):
        share = np.mean(found.sse[with_ca] == value)
        assert getattr(found, f"{name}_fraction") == pytest.approx(share, abs=1e-12)
    assert (np.delete(found.sse, with_ca) == 0).all()


@given(CHAINS, st.sampled_from([0.0, 0.5, 1.25]), st.sampled_from(["axis_aligned", "full"]))
def test_gaussians_are_those_of_the_geometry_as_float32(chain, thickness, shape):
    (found,) = compute_features([chain], base_thickness=thickness, shape=shape)
    mask = unpack_mask(chain.atom14_mask)
    mu, sigma, is_frame = residue_gaussians(
        atom14_positions(mask, chain.coords), mask, thickness, shape
    )
    assert (found.centroid == mu.astype(np.float32)).all()
    assert (found.covariance == sigma.astype(np.float32)).all()
    assert (is_frame == chain.resolved).all()
    assert not found.centroid[~chain.resolved].any()
    assert not found.covariance[~chain.resolved].any()
    for row, by_slot in enumerate(atoms(chain)):
        if chain.resolved[row]:
            mean = np.mean(list(by_slot.values()), axis=0)
            np.testing.assert_allclose(found.centroid[row], mean, rtol=1e-6, atol=1e-4)


def test_a_break_is_a_gap_of_residues_or_a_long_bond():
    """N of the next residue stands 1.3 Å beyond C, at 2.5 Å, and just over."""
    joined, at_limit, over = 3.8, 5.0, 5.001
    assert n_breaks(line_of(0, joined, 2 * joined)) == 0
    assert n_breaks(line_of(0, at_limit)) == 0
    assert n_breaks(line_of(0, over)) == 1
    assert n_breaks(line_of(0, over, 2 * over)) == 2
    # C and the next N are near, but a residue between them is unresolved.
    assert n_breaks(line_of(0, joined, joined, present=(True, False, True))) == 1
    assert n_breaks(line_of(0, joined, joined, present=(True, True, False))) == 0


def n_breaks(chain: Chain) -> int:
    (found,) = compute_features([chain])
    return found.n_breaks


def test_the_last_residue_of_a_chain_and_the_first_of_the_next_are_no_break():
    chains = [line_of(0), line_of(100), line_of(0, 50)]
    assert [f.n_breaks for f in compute_features(chains)] == [0, 0, 1]


def test_one_residue_has_no_extent():
    (found,) = compute_features([line_of(0)])
    assert found.radius_of_gyration == 0
    assert (found.helix_fraction, found.strand_fraction, found.coil_fraction) == (0, 0, 1)


def test_a_chain_without_any_ca_has_no_mean_b_factor_and_no_fractions():
    chain = line_of(0, 3.8)
    bare = with_fields(
        chain,
        atom14_mask=np.array([1, 1], np.uint16),
        coords=chain.coords[[0, 3]],
        resolved=np.array([False, False]),
    )
    (found,) = compute_features([bare])
    assert found.mean_b_factor is None
    assert (found.helix_fraction, found.strand_fraction, found.coil_fraction) == (0, 0, 0)
    assert found.radius_of_gyration == 0


# ---- batches ------------------------------------------------------------------------------------


def test_no_chains_have_no_features():
    assert compute_features([]) == []


@settings(max_examples=60, deadline=None)
@given(st.lists(CHAINS, min_size=1, max_size=8), st.sampled_from(["axis_aligned", "full"]))
def test_features_do_not_depend_on_the_batch(chains, shape):
    together = compute_features(chains, shape=shape)
    for chain, found in zip(chains, together, strict=True):
        (alone,) = compute_features([chain], shape=shape)
        assert identical(alone, found)


@pytest.mark.parametrize("shape", ["axis_aligned", "full"])
def test_features_do_not_depend_on_where_a_chain_lies_in_a_large_batch(shape):
    """Blocks of 1,024 residues, one residue left over, and vector registers partly filled."""
    lengths = [1, 1022, 1, 1, 7, 1016, 1, 1023, 1, 3]
    chains = [random_chain(k, n) for k, n in enumerate(lengths)]
    alone = [compute_features([c], shape=shape)[0] for c in chains]
    for order in (range(len(chains)), reversed(range(len(chains))), [9, 0, 8, 1, 7, 2, 6, 3, 5, 4]):
        order = list(order)
        found = compute_features([chains[k] for k in order], shape=shape)
        assert all(identical(alone[k], f) for k, f in zip(order, found, strict=True))


@given(CHAINS)
def test_the_input_is_not_changed(chain):
    def content() -> list[bytes]:
        return [np.array(getattr(chain, f.name)).tobytes() for f in fields(Chain)[:-1]]

    before = content()
    compute_features([chain])
    assert content() == before
