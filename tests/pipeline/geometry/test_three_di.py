"""Letters of 3Di: those of biotite, whatever the gaps, and of no other chain's influence."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from biotite.structure.alphabet.encoder import Encoder
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.chain import Chain
from pipeline.features import atom14_positions, compute_features, unpack_mask
from pipeline.geometry import three_di as module
from pipeline.geometry.generate_three_di import network_of_biotite
from pipeline.geometry.three_di import ALPHABET, CODES, three_di
from pipeline.geometry.three_di_network import CENTROIDS, LAYERS
from pipeline.parsing import read_chains
from pipeline.sources import decompress
from tests.support.places import EXAMPLES
from tests.support.random_chains import random_chain, with_fields

CHAINS = st.builds(
    random_chain,
    st.integers(0, 10_000),
    st.integers(1, 60),
    holes=st.sampled_from([0.0, 0.05, 0.3, 0.9]),
)


def letters(chains: Sequence[Chain]) -> list[str]:
    return [f.three_di.tobytes().decode() for f in compute_features(chains)]


def biotites(chain: Chain) -> np.ndarray:
    """(L,) letters by biotite of the residues that have atoms; X for the others."""
    mask = unpack_mask(chain.atom14_mask)
    positions = atom14_positions(mask, chain.coords).astype(np.float32)
    positions[~mask] = np.nan
    there = mask.any(axis=1)
    n, ca, c, cb = (positions[there, slot] for slot in (0, 1, 2, 4))
    found = np.full(len(chain), "X")
    found[there] = np.array(list(ALPHABET))[Encoder().encode(ca, cb, n, c).filled()]
    return found


def has_neighbours(chain: Chain) -> np.ndarray:
    """(L,) True where a residue and both its neighbours are resolved."""
    padded = np.concatenate(([False], chain.resolved, [False]))
    return padded[:-2] & padded[1:-1] & padded[2:]


def examples() -> list[Chain]:
    found = []
    for name in ("1ubi.pdb.zst", "1a8o.cif.gz", "1bd2.cif.gz", "1as5.cif.gz"):
        path = EXAMPLES / name
        if path.exists():
            data = decompress(path.read_bytes(), 1 << 28, name=name)
            found += read_chains(data, name.partition(".")[0]).chains
    return found


# ---- biotite ------------------------------------------------------------------------------------


def test_the_network_is_the_one_that_biotite_carries():
    layers, centroids = network_of_biotite()
    for (weights, biases), (theirs, their_biases) in zip(LAYERS, layers, strict=True):
        assert np.array_equal(weights, theirs)
        assert np.array_equal(biases, their_biases)
    assert np.array_equal(CENTROIDS, centroids)


def test_letters_of_real_chains_are_biotites():
    chains = examples()
    assert len(chains) > 5
    for chain, found in zip(chains, letters(chains), strict=True):
        where = has_neighbours(chain)
        assert "".join(np.array(list(found))[where]) == "".join(biotites(chain)[where])
        assert set(np.array(list(found))[~where]) <= {"X"}


@pytest.mark.parametrize("length", range(3, 8))
def test_letters_of_the_shortest_chains_are_biotites(length):
    for seed in range(20):
        chain = random_chain(seed, length, holes=0.1)
        where = has_neighbours(chain)
        found = np.array(list(letters([chain])[0]))
        assert found[where].tolist() == biotites(chain)[where].tolist()


@given(CHAINS)
@settings(max_examples=60, deadline=None)
def test_letters_of_chains_with_gaps_are_biotites(chain):
    found, where = np.array(list(letters([chain])[0])), has_neighbours(chain)
    assert len(found) == len(chain)
    assert found[where].tolist() == biotites(chain)[where].tolist()
    assert (found[~where] == "X").all()


# ---- what letters do not depend on --------------------------------------------------------------


@given(st.lists(CHAINS, min_size=1, max_size=5))
@settings(max_examples=20, deadline=None)
def test_letters_do_not_depend_on_the_other_chains_of_a_batch(chains):
    assert letters(chains) == [letters([chain])[0] for chain in chains]


def test_letters_do_not_depend_on_how_many_go_through_at_a_time(monkeypatch):
    chains = [random_chain(seed, 90, holes=0.1) for seed in range(4)]
    before = letters(chains)
    monkeypatch.setattr(module, "_PAIRS", 128)
    monkeypatch.setattr(module, "_RESIDUES", 7)
    assert letters(chains) == before


@pytest.mark.parametrize("far", [0, 3_000])
def test_where_float32_cannot_tell_which_is_nearest_float64_does(far):
    rng = np.random.default_rng(0)
    points = rng.normal(0, 8, (3, 60)) + far
    points[:, 1] = points[:, 0] + [2, 0, 0]
    points[:, 2] = points[:, 0] - [2 - 1e-8, 0, 0]
    away = points[:, :, None] - points[:, None]
    squares = (away**2).sum(axis=0) + np.diag(np.full(60, np.inf))
    found = module._partners(points, np.arange(60), np.array([0, 60]))
    assert found[0] == 2
    assert np.array_equal(found, squares.argmin(axis=1))


def test_atoms_that_are_not_of_the_backbone_do_not_matter():
    chain = random_chain(3, 50, holes=0)
    moved = chain.coords.copy()
    slots = np.concatenate([np.flatnonzero(row) for row in unpack_mask(chain.atom14_mask)])
    moved[(slots == 3) | (slots > 4)] += 5000
    assert letters([with_fields(chain, coords=moved)]) == letters([chain])
    moved[slots == 1] += 900
    assert letters([with_fields(chain, coords=moved)]) != letters([chain])


# ---- the ends -----------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [1, 2])
def test_a_chain_without_inner_residues_has_no_letters(length):
    assert letters([random_chain(0, length, holes=0)]) == ["X" * length]


def test_no_chains_have_no_letters():
    empty = np.zeros((0, 14, 3)), np.zeros((0, 14), bool), np.zeros(0, bool), np.array([0])
    assert three_di(*empty).tolist() == []


def test_codes_are_in_the_order_of_the_alphabet_and_all_else_is_20():
    codes = CODES[np.frombuffer(b"ACYXa", np.uint8)]
    assert codes.tolist() == [0, 1, 19, 20, 20]
