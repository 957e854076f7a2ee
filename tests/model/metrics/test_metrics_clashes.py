"""Clashes: what counts as bonded, what counts once, and what a search over all pairs finds."""

from __future__ import annotations

import time
from collections import deque

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.metrics import Clashes, Structure, clashes, packing_metrics
from pipeline.residues import (
    ATOM14_EXISTS,
    ATOM14_NAMES,
    RESTYPES,
    SLOT_OF_NAME,
    VAN_DER_WAALS_RADII,
)
from pipeline.residues.geometry import N_BONDS
from tests.support.metric_structures import (
    as_one_chain,
    example,
    first_residues,
    moved,
    noisy,
    repacked,
    spread_out,
    with_garbage,
)

SER, CYS, VAL, ASP, ALA, PRO, LYS = (
    RESTYPES.index(name) for name in ("SER", "CYS", "VAL", "ASP", "ALA", "PRO", "LYS")
)
DONORS = set("N NE NH1 NH2 ND1 ND2 NE1 NE2 NZ OG OG1 OH".split())  # noqa: SIM905
ACCEPTORS = set("O OD1 OD2 OE1 OE2 ND1 NE2 OG OG1 OH".split())  # noqa: SIM905


def find(structure: Structure, **options) -> Clashes:
    return clashes(
        structure.positions,
        structure.mask,
        structure.aatype,
        structure.chain_index,
        **options,
    )


def pairs_of(found: Clashes) -> set[tuple[int, int, int, int]]:
    return {
        (int(i), int(s), int(j), int(t))
        for (i, j), (s, t) in zip(found.residues, found.slots, strict=True)
    }


def bond_graph(structure: Structure) -> dict[tuple[int, int], set[tuple[int, int]]]:
    """Bonds of the whole structure, atom by atom."""
    graph: dict = {(r, s): set() for r, s in zip(*np.nonzero(structure.mask), strict=True)}

    def bond(a, b):
        if a in graph and b in graph:
            graph[a].add(b)
            graph[b].add(a)

    kinds = structure.aatype
    for r, kind in enumerate(kinds):
        for s, t in zip(*np.nonzero(N_BONDS[kind] == 1), strict=True):
            bond((r, s), (r, t))
    x = structure.positions
    for r in range(len(kinds) - 1):
        same = structure.chain_index[r] == structure.chain_index[r + 1]
        if same and np.linalg.norm(x[r, 2] - x[r + 1, 0]) <= 2.5:
            bond((r, 2), (r + 1, 0))
    sulfurs = [r for r in np.flatnonzero(kinds == CYS) if structure.mask[r, 5]]
    for a in sulfurs:
        for b in sulfurs:
            if a < b and np.linalg.norm(x[a, 5] - x[b, 5]) <= 2.5:
                bond((a, 5), (b, 5))
    return graph


def within_three_bonds(graph, atom) -> set:
    seen, queue = {atom: 0}, deque([atom])
    while queue:
        here = queue.popleft()
        if seen[here] == 3:
            continue
        for there in graph[here]:
            if there not in seen:
                seen[there] = seen[here] + 1
                queue.append(there)
    return set(seen)


def plain_search(structure: Structure, fraction: float, backbone: bool) -> set:
    """Every pair of atoms, by the words of the docstring."""
    graph = bond_graph(structure)
    kinds, x = structure.aatype, structure.positions
    atoms = sorted(graph)
    points = np.array([x[a] for a in atoms])
    names = [ATOM14_NAMES[kinds[r]][s] for r, s in atoms]
    found = set()
    for p, (r, s) in enumerate(atoms):
        near = np.flatnonzero(np.linalg.norm(points[p + 1 :] - points[p], axis=1) < 3.7) + p + 1
        bonded = within_three_bonds(graph, (r, s))
        for q in near:
            q_atom = (r2, s2) = atoms[q]
            pair = (names[p], names[q])
            if r == r2 or q_atom in bonded or pair == ("SG", "SG"):
                continue
            joined = r2 == r + 1 and (r2, 0) in graph.get((r, 2), ())
            if s <= 4 and s2 <= 4 and (joined or not backbone):
                continue
            proline = (kinds[r] == PRO and pair[0] == "CD" and s2 < 4) or (
                kinds[r2] == PRO and pair[1] == "CD" and s < 4
            )
            if joined and proline:
                continue
            limit = fraction * (sum(VAN_DER_WAALS_RADII[name[0]] for name in pair) - 0.05)
            donor = [
                name in DONORS and not (name == "N" and kinds[res] == PRO)
                for name, res in zip(pair, (r, r2), strict=True)
            ]
            acceptor = [
                name in ACCEPTORS and not (name == "NE2" and RESTYPES[kinds[res]] == "GLN")
                for name, res in zip(pair, (r, r2), strict=True)
            ]
            if (donor[0] and acceptor[1]) or (donor[1] and acceptor[0]):
                limit -= 0.6
            if np.linalg.norm(points[p] - points[q]) < limit:
                found.add((int(r), int(s), int(r2), int(s2)))
    return found


@pytest.mark.parametrize("name", ["1gbt.bcif.gz", "5pti.cif.gz", "1bd2.cif.gz", "1k6p.cif.gz"])
@pytest.mark.parametrize("backbone", [False, True])
@pytest.mark.parametrize("scale", [0.0, 0.7])
def test_a_plain_search_over_all_pairs_finds_the_same(name, backbone, scale):
    structure = noisy(example(name), scale)
    for fraction in (1.0, 0.9):
        expected = plain_search(structure, fraction, backbone)
        assert pairs_of(find(structure, fraction=fraction, backbone=backbone)) == expected
        of_whole = find(structure, backbone=backbone).below(fraction)
        assert pairs_of(of_whole) == expected
    assert scale == 0 or len(expected) > 10


def two_residues(a: int, b: int, name_a: str, name_b: str, distance: float) -> Structure:
    """Two residues of which only CA and one atom each are there; these at a distance, CA far."""
    structure = spread_out([a, b])
    slots = SLOT_OF_NAME[a][name_a], SLOT_OF_NAME[b][name_b]
    positions = np.zeros((2, 14, 3))
    positions[0, 1], positions[1, 1] = [0, -20, 0], [0, 20, 0]
    positions[0, slots[0]] = 0
    positions[1, slots[1]] = [distance, 0, 0]
    mask = np.zeros((2, 14), bool)
    mask[:, 1] = True
    mask[0, slots[0]] = mask[1, slots[1]] = True
    return structure.with_atoms(positions, mask)


def test_a_clash_made_by_hand_is_counted_once():
    # CG1 and CG2: 1.70 + 1.70 − 0.05 = 3.35 Å.
    found = find(two_residues(VAL, VAL, "CG1", "CG2", 3.3))
    assert pairs_of(found) == {(0, 5, 1, 6)}
    assert found.distance[0] == pytest.approx(3.3)
    assert found.limit(1.0)[0] == pytest.approx(3.35)
    assert len(find(two_residues(VAL, VAL, "CG1", "CG2", 3.36))) == 0
    assert len(find(two_residues(VAL, VAL, "CG1", "CG2", 3.3), fraction=0.9)) == 0
    assert len(find(two_residues(VAL, VAL, "CG1", "CG2", 3.0), fraction=0.9)) == 1


def test_donor_and_acceptor_may_come_nearer():
    # 1.52 + 1.52 − 0.05 − 0.6 = 2.39 Å.
    assert len(find(two_residues(SER, ASP, "OG", "OD1", 2.45))) == 0
    assert len(find(two_residues(SER, ASP, "OG", "OD1", 2.3))) == 1
    # Two acceptors have no hydrogen between them.
    assert len(find(two_residues(ASP, ASP, "OD1", "OD2", 2.45))) == 1


def test_a_disulfide_bridge_is_no_clash_and_neither_are_the_atoms_around_it():
    chain = example("5pti.cif.gz")
    cysteines = chain.aatype == CYS
    found = find(chain)
    assert cysteines.sum() == 6
    assert not (cysteines[found.residues].all(axis=1)).any()
    assert len(find(two_residues(CYS, CYS, "SG", "SG", 1.0))) == 0
    assert len(find(two_residues(CYS, CYS, "SG", "CB", 3.0))) == 1


def test_atoms_of_one_residue_never_clash():
    structure = spread_out([LYS, LYS])
    positions = structure.positions.copy()
    positions[0, 4:9] = positions[0, 4]
    assert len(find(structure.with_atoms(positions), backbone=True)) == 0


def test_backbones_are_given_in_packing_and_counted_in_generation():
    structure = two_residues(SER, SER, "O", "C", 2.0)
    assert len(find(structure)) == 0
    assert len(find(structure, backbone=True)) == 1
    # CB follows from the backbone.
    assert len(find(two_residues(SER, SER, "CB", "O", 2.0))) == 0


def test_joined_residues_clash_only_beyond_what_bonds_hold():
    chain = first_residues(example(), 60)
    assert len(find(chain, backbone=True)) < 40
    apart = chain.with_atoms(chain.positions)
    broken = Structure(
        apart.positions, apart.mask, apart.aatype, apart.residue_index, np.arange(len(apart))
    )
    # The same atoms in chains of their own: every peptide bond is a clash now.
    assert len(find(broken, backbone=True)) > 5 * 59


def test_atoms_of_different_chains_clash_too():
    structure = two_residues(VAL, VAL, "CG1", "CG2", 3.0)
    assert len(find(structure)) == len(find(as_one_chain(structure))) == 1


def test_proline_does_not_clash_with_the_backbone_that_its_ring_is_joined_to():
    chain = example()
    found = find(chain)
    cd = SLOT_OF_NAME[PRO]["CD"]
    for i, s, j, t in pairs_of(found):
        if j == i + 1:
            assert not (chain.aatype[j] == PRO and t == cd and s < 4)
            assert not (chain.aatype[i] == PRO and s == cd and t < 4)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 1000))
def test_rotating_translating_and_absent_slots_change_no_clash(seed):
    structure = noisy(first_residues(example("1bd2.cif.gz"), 80), 0.6, seed)
    expected = pairs_of(find(structure))
    assert pairs_of(find(moved(structure, seed))) == expected
    assert pairs_of(find(with_garbage(structure))) == expected
    assert expected


@pytest.mark.parametrize("n", [0, 1])
def test_a_structure_of_no_or_one_atom_has_no_clash(n):
    structure = spread_out([ALA])
    mask = np.zeros((1, 14), bool)
    mask[0, :n] = True
    found = find(structure.with_atoms(structure.positions, mask), backbone=True)
    assert len(found) == 0
    assert found.residues.shape == found.slots.shape == (0, 2)


def test_experimental_structures_have_few_clashes_and_random_rotamers_have_many():
    chain = example()
    native = find(chain)
    assert 0 < len(native) < 0.4 * len(chain)
    assert len(native.below(0.9)) < 0.05 * len(chain)
    chi = np.random.default_rng(0).uniform(-180, 180, (len(chain), 4))
    assert len(find(repacked(chi, chain))) > 5 * len(native)


def test_all_packing_metrics_of_500_residues_take_well_under_50_ms():
    chain = example()
    predicted = noisy(chain, 1.0)
    packing_metrics("", predicted, chain)
    seconds = []
    for _ in range(5):
        start = time.process_time()
        packing_metrics("", predicted, chain)
        seconds.append(time.process_time() - start)
    assert min(seconds) * 500 / len(chain) < 0.05


def test_every_atom_has_a_radius_and_every_pair_of_a_residue_a_path():
    for kind in range(21):
        slots = np.flatnonzero(ATOM14_EXISTS[kind])
        paths = N_BONDS[kind][np.ix_(slots, slots)]
        assert paths.max() < 14
        np.testing.assert_array_equal(paths, paths.T)
