"""P-SEA labels: equal to biotite's ``annotate_sse``, chain by chain, however chains are batched."""

from __future__ import annotations

import gzip
import io
import warnings
from functools import cache

import biotite.structure as struc
import biotite.structure.io.pdb as pdb
import biotite.structure.io.pdbx as pdbx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.geometry import secondary_structure as sse
from pipeline.geometry.secondary_structure import COIL, HELIX, STRAND, secondary_structure
from tests.support.places import EXAMPLES, STRUCTURES

FOLDERS = {
    "examples": EXAMPLES,
    "structures": STRUCTURES / "main",
}
N_STRUCTURES = 40


def biotite_labels(ca: np.ndarray, residue_index: np.ndarray) -> np.ndarray:
    """``annotate_sse`` on one chain, as 0, 1, 2."""
    atoms = struc.AtomArray(len(ca))
    atoms.coord = ca
    atoms.res_id = residue_index
    atoms.res_name[:] = "ALA"
    atoms.atom_name[:] = "CA"
    atoms.element[:] = "C"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        labels = struc.annotate_sse(atoms) if len(ca) else np.array([], dtype="U1")
    return np.select([labels == "a", labels == "b"], [1, 2], 0).astype(np.int8)


def expected_labels(chains) -> np.ndarray:
    """biotite on each chain's residues that have a CA; 0 at the others."""
    out = []
    for ca, present, residue_index in chains:
        labels = np.zeros(len(ca), dtype=np.int8)
        labels[present] = biotite_labels(ca[present], residue_index[present])
        out.append(labels)
    return np.concatenate(out)


def found_labels(chains) -> np.ndarray:
    start = np.cumsum([0] + [len(ca) for ca, _, _ in chains])
    return secondary_structure(
        *(np.concatenate([chain[i] for chain in chains]) for i in range(3)), start
    )


def assert_equal_to_biotite(chains):
    np.testing.assert_array_equal(found_labels(chains), expected_labels(chains))


def helix(length: int) -> np.ndarray:
    """Ideal α-helix: 100° and 1.5 Å per residue, radius 2.3 Å."""
    turn = np.deg2rad(100) * np.arange(length)
    return np.stack([2.3 * np.cos(turn), 2.3 * np.sin(turn), 1.5 * np.arange(length)], axis=1)


def strand(length: int) -> np.ndarray:
    """Flat zigzag with 3.3 Å per residue."""
    i = np.arange(length)
    return np.stack([0.9 * (-1.0) ** i, np.zeros(length), 3.3 * i], axis=1)


def walk(rng: np.random.Generator, length: int) -> np.ndarray:
    """A chain of pieces: noisy helices, strands that fold back on each other, and random coil."""
    pieces = []
    while sum(map(len, pieces)) < length:
        n = int(rng.integers(2, 14))
        kind = rng.integers(3)
        if kind == 0:
            piece = helix(n) + rng.normal(scale=0.15, size=(n, 3))
        elif kind == 1:
            piece = strand(n) * rng.choice([-1, 1]) + rng.normal(scale=0.3, size=(n, 3))
        else:
            step = rng.normal(size=(n, 3))
            piece = np.cumsum(3.8 * step / np.linalg.norm(step, axis=1, keepdims=True), axis=0)
        last = pieces[-1][-1] if pieces else np.zeros(3)
        step = rng.normal(size=3)
        pieces.append(piece - piece[0] + last + 3.8 * step / np.linalg.norm(step))
    return np.concatenate([*pieces, np.zeros((0, 3))])[:length].astype(np.float32)


def random_chain(seed: int, length: int, gap: float = 0.05, absent: float = 0.05):
    rng = np.random.default_rng(seed)
    ca = walk(rng, length)
    residue_index = np.cumsum(np.where(rng.random(length) < gap, rng.integers(2, 9, length), 1))
    present = rng.random(length) >= absent
    ca[~present] = np.nan
    return ca, present, residue_index


@cache
def real_chains(folder: str):
    """CA of every chain of the folder's first structures, read with biotite."""
    if not FOLDERS[folder].is_dir():
        pytest.skip(f"{folder} is not here")
    paths = [
        path
        for path in sorted(FOLDERS[folder].iterdir())
        if path.name.removesuffix(".gz").endswith((".bcif", ".pdb", ".ent"))
    ]
    # BinaryCIF first: it is quick to read.
    paths.sort(key=lambda path: ".bcif" not in path.name)
    chains = []
    for path in paths[:N_STRUCTURES]:
        raw = path.read_bytes()
        raw = gzip.decompress(raw) if path.suffix == ".gz" else raw
        try:
            if ".bcif" in path.name:
                file = pdbx.BinaryCIFFile.read(io.BytesIO(raw))
                atoms = pdbx.get_structure(file, model=1)
            else:
                atoms = pdb.PDBFile.read(io.StringIO(raw.decode())).get_structure(model=1)
        except Exception:
            continue  # the folder holds broken files on purpose
        atoms = atoms[struc.filter_amino_acids(atoms) & (atoms.atom_name == "CA")]
        for chain_id in np.unique(atoms.chain_id):
            chain = atoms[atoms.chain_id == chain_id]
            _, first = np.unique(chain.res_id, return_index=True)
            chain = chain[first]
            chains.append((chain.coord, np.ones(len(chain), bool), chain.res_id))
    if not chains:
        pytest.skip(f"{folder} holds no structures yet")
    return chains


@pytest.mark.parametrize("folder", FOLDERS)
def test_labels_of_real_chains_are_those_of_biotite(folder):
    chains = real_chains(folder)
    found, expected = found_labels(chains), expected_labels(chains)
    assert (np.bincount(expected, minlength=3) > 50).all(), "a test needs all three labels"
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("folder", FOLDERS)
def test_labels_of_real_chains_with_missing_residues_are_those_of_biotite(folder):
    rng = np.random.default_rng(0)
    chains = []
    for ca, _, residue_index in real_chains(folder):
        present = rng.random(len(ca)) > 0.08
        chains.append((np.where(present[:, None], ca, np.nan), present, residue_index))
    assert_equal_to_biotite(chains)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 2**31),
            st.integers(0, 70),
            st.sampled_from([0.0, 0.05, 0.4]),
            st.sampled_from([0.0, 0.05, 0.4]),
        ),
        min_size=1,
        max_size=6,
    )
)
def test_labels_of_random_chains_with_gaps_are_those_of_biotite(specifications):
    assert_equal_to_biotite([random_chain(*specification) for specification in specifications])


def test_random_chains_reach_every_branch():
    """The differential tests above mean something only if short strands with contacts occur."""
    chains = [random_chain(seed, 60) for seed in range(200)]
    labels = found_labels(chains)
    assert (np.bincount(labels, minlength=3) > 500).all()
    without = sse.MIN_CONTACTS
    try:
        sse.MIN_CONTACTS = 10**9
        assert (found_labels(chains) != labels).sum() > 50
    finally:
        sse.MIN_CONTACTS = without
    assert_equal_to_biotite(chains)


def test_an_ideal_helix_and_an_ideal_strand_are_recognised():
    for coordinates, label in ((helix(12), HELIX), (strand(12), STRAND)):
        labels = secondary_structure(
            coordinates.astype(np.float32), np.ones(12, bool), np.arange(12), np.array([0, 12])
        )
        assert (labels[2:-2] == label).all()
        assert labels.dtype == np.int8


def test_regions_do_not_run_from_one_chain_into_the_next():
    ca = helix(24).astype(np.float32)
    whole = secondary_structure(ca, np.ones(24, bool), np.arange(24), np.array([0, 24]))
    assert (whole[10:14] == HELIX).all()
    cut = secondary_structure(ca, np.ones(24, bool), np.arange(24), np.array([0, 4, 20, 24]))
    assert (cut[:4] == COIL).all()
    assert (cut[20:] == COIL).all()


def test_contacts_are_counted_within_the_chain_only():
    chains = [random_chain(seed, 60, gap=0.0, absent=0.0) for seed in range(40)]
    alone = np.concatenate([found_labels([chain]) for chain in chains])
    # All chains lie on top of each other around the origin.
    np.testing.assert_array_equal(found_labels(chains), alone)
    np.testing.assert_array_equal(found_labels(chains[::-1])[-60:], alone[:60])


@pytest.mark.parametrize("length", range(8))
def test_chains_of_up_to_five_residues_are_coil(length):
    for coordinates in (helix(length), strand(length)):
        chain = (coordinates.astype(np.float32), np.ones(length, bool), np.arange(length))
        labels = found_labels([chain])
        if length <= 5:
            assert (labels == COIL).all()
        np.testing.assert_array_equal(labels, expected_labels([chain]))


def test_far_flung_chains_and_crowded_ones_are_counted_exactly(monkeypatch):
    ca, present, residue_index = random_chain(7, 300, gap=0.0, absent=0.0)
    far = ca.copy()
    # Along one axis only: biotite's own cell grid would not fit into memory otherwise.
    far[150:, 0] += np.float32(30000.0)
    crowded = (ca * np.float32(0.9)).astype(np.float32)
    chains = [(far, present, residue_index), (crowded, present, residue_index)]
    assert_equal_to_biotite(chains)
    monkeypatch.setattr(sse, "_MAX_PAIRS", 7)
    assert_equal_to_biotite(chains)


@pytest.mark.filterwarnings("error")
def test_absent_and_repeated_positions_are_harmless():
    ca, present, residue_index = random_chain(3, 80)
    expected = found_labels([(ca, present, residue_index)])
    for garbage in (0.0, np.inf, 3e38):
        dirty = np.where(present[:, None], ca, np.float32(garbage))
        np.testing.assert_array_equal(found_labels([(dirty, present, residue_index)]), expected)
    same_place = np.zeros((80, 3), dtype=np.float32)
    assert (found_labels([(same_place, present, residue_index)]) == COIL).all()
    # A position that is not finite is no position.
    np.testing.assert_array_equal(found_labels([(ca, present | True, residue_index)]), expected)


def test_nothing_in_gives_nothing_out():
    empty = np.zeros((0, 3), np.float32), np.zeros(0, bool), np.zeros(0, int)
    assert secondary_structure(*empty, np.array([0])).shape == (0,)
    assert secondary_structure(*empty, np.array([0, 0, 0])).shape == (0,)


def test_lengths_that_do_not_fit_are_refused():
    ca, present, residue_index = random_chain(0, 10)
    with pytest.raises(ValueError, match="chain_start"):
        secondary_structure(ca, present, residue_index, np.array([0, 9]))
    with pytest.raises(ValueError, match="chain_start"):
        secondary_structure(ca, present, residue_index, np.array([0, 8, 4, 10]))
    with pytest.raises(ValueError, match="present"):
        secondary_structure(ca, present[:4], residue_index, np.array([0, 10]))
