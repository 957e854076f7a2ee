"""The residues of a PDB file find their places in SEQRES."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.parsing.seqres import place
from pipeline.residues import RESTYPES, sequence_string
from tests.support.structure_text import chain, change, pdb_text, read, residue, seqres


def remark_465(missing: list[tuple[str, int, str]]) -> list[str]:
    head = ["REMARK 465", "REMARK 465   M RES C SSSEQI"]
    return head + [f"REMARK 465     {comp:>3} A {number:>5}{ins}" for comp, number, ins in missing]


@st.composite
def numbered_sequences(draw: st.DrawFn):
    """A random sequence, its author numbers (jumps, insertion codes), and what is observed."""
    n = draw(st.integers(6, 60))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    comps = [RESTYPES[k] for k in rng.integers(20, size=n)]
    keys: list[tuple[int, str]] = []
    number, ins = int(rng.integers(-9, 300)), ""
    for _ in range(n):
        keys.append((number, ins))
        kind = rng.random()
        if kind < 0.06 and ins < "F":
            ins = chr(ord(ins or "@") + 1)
        else:
            number, ins = number + (1 if kind < 0.95 else int(rng.integers(2, 30))), ""
    present = np.ones(n, bool)
    for _ in range(int(rng.integers(0, 4))):
        begin = int(rng.integers(n))
        present[begin : begin + int(rng.integers(1, 9))] = False
    if present.sum() < 3:
        present[:] = True
    return comps, keys, present.tolist()


def observed_of(comps, keys, present):
    at = [k for k, p in enumerate(present) if p]
    bonded = [i > 0 and at[i - 1] == k - 1 for i, k in enumerate(at)]
    return at, [comps[k] for k in at], [keys[k] for k in at], bonded


@settings(max_examples=150, deadline=None)
@given(numbered_sequences())
def test_with_remark_465_every_place_is_found_again(case):
    comps, keys, present = case
    at, names, numbers, bonded = observed_of(comps, keys, present)
    missing = [(comps[k], *keys[k]) for k, p in enumerate(present) if not p]
    found = place(names, numbers, lambda: bonded, comps, missing)
    assert found == [k + 1 for k in at]


@settings(max_examples=150, deadline=None)
@given(numbered_sequences())
def test_without_remark_465_places_spell_the_sequence_in_order(case):
    """Where a gap cannot be told from its neighbourhood several placements are right."""
    comps, keys, present = case
    _, names, numbers, bonded = observed_of(comps, keys, present)
    found = place(names, numbers, lambda: bonded, comps)
    assert found is not None
    assert all(b > a for a, b in pairwise(found))
    wrong = sum(comps[p - 1] != name for p, name in zip(found, names, strict=True))
    assert wrong <= 0.1 * len(names)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32), st.integers(12, 80))
def test_plain_numbers_tell_the_places_without_remark_465(seed, n):
    rng = np.random.default_rng(seed)
    comps = [RESTYPES[k] for k in rng.permutation(np.arange(n) % 20)]
    begin, length = int(rng.integers(1, n - 6)), int(rng.integers(1, 5))
    present = [not begin <= k < begin + length for k in range(n)]
    first = int(rng.integers(-20, 500))
    keys = [(first + k, "") for k in range(n)]
    at, names, numbers, bonded = observed_of(comps, keys, present)
    assert place(names, numbers, lambda: bonded, comps) == [k + 1 for k in at]


def test_a_peptide_bond_goes_before_a_jump_of_the_numbers():
    """Numbers 1, 2, 10, 11 without anything missing: all residues are neighbours."""
    comps = ["ALA", "SER", "GLY", "THR"]
    keys = [(1, ""), (2, ""), (10, ""), (11, "")]
    assert place(comps, keys, lambda: [False, True, True, True], comps) == [1, 2, 3, 4]


def test_a_residue_of_a_repeat_stands_on_the_side_of_the_gap_to_which_it_is_bonded():
    comps = ["ALA", "SER", "GLY", "GLY", "GLY", "THR"]
    names, keys = ["ALA", "SER", "GLY", "THR"], [(1, ""), (2, ""), (30, ""), (50, "")]
    assert place(names, keys, lambda: [False, True, False, True], comps) == [1, 2, 5, 6]
    assert place(names, keys, lambda: [False, True, True, False], comps) == [1, 2, 3, 6]


def test_repeats_are_told_apart_by_the_numbers():
    comps = ["GLY"] * 10
    keys = [(1, ""), (2, ""), (8, ""), (9, ""), (10, "")]
    bonded = [False, True, False, True, True]
    assert place(["GLY"] * 5, keys, lambda: bonded, comps) == [1, 2, 8, 9, 10]


def test_one_differing_residue_in_twenty_is_a_mutation_and_most_are_a_mismatch():
    comps = [RESTYPES[k] for k in range(20)]
    keys = [(k, "") for k in range(20)]
    bonded = [k > 0 for k in range(20)]
    mutant = [*comps[:7], "TRP", *comps[8:]]
    assert place(mutant, keys, lambda: bonded, comps) == list(range(1, 21))
    assert place(comps[::-1], keys, lambda: bonded, comps) is None
    assert place([*comps, "ALA"], [*keys, (20, "")], lambda: [*bonded, True], comps) is None


def test_a_heterogeneous_residue_agrees_under_any_of_its_names():
    comps = ["ALA", "SER", "GLY"]
    keys = [(1, ""), (2, ""), (3, "")]
    found = place(
        ["ALA", "PRO", "GLY"], keys, lambda: [False, True, True], comps, (), {1: {"SER", "PRO"}}
    )
    assert found == [1, 2, 3]


def test_a_pdb_file_gives_the_rows_that_its_mmcif_twin_would():
    comps = ["MET", "ALA", "GLY", "SER", "THR", "TRP", "LYS"]
    atoms = [
        *residue("ALA", 102, place=2),
        *residue("THR", 105, place=5),
        *residue("TRP", 106, place=6),
    ]
    missing = [("MET", 101, ""), ("GLY", 103, ""), ("SER", 104, ""), ("LYS", 107, "")]
    for head in (seqres("A", comps), [*remark_465(missing), *seqres("A", comps)]):
        found = read(pdb_text(head, atoms, "TER", "END")).chains[0]
        assert found.residue_index.tolist() == [2, 3, 4, 5, 6]
        assert found.auth_seq_id.tolist() == [102, 0, 0, 105, 106]
        assert sequence_string(found.aatype) == "AGSTW"
        assert found.entity_sequence == "MAGSTWK"


def test_the_missing_residues_of_the_first_nmr_model_count_once():
    comps = ["ALA", "GLY", "SER", "THR"]
    lines = [
        f"REMARK 465 {model:>3} {comp:>3} A {number:>5}"
        for model in (1, 2)
        for comp, number in (("GLY", 2), ("SER", 3))
    ]
    atoms = [*residue("ALA", 1), *residue("THR", 4)]
    found = read(pdb_text(lines, seqres("A", comps), atoms, "TER")).chains[0]
    assert found.residue_index.tolist() == [1, 2, 3, 4]


def test_a_seqres_under_a_letter_describes_the_only_chain_where_atoms_have_none():
    atoms = change(residue("GLY", 2), chain="")
    found = read(pdb_text(seqres("A", ["ALA", "GLY"]), atoms, "TER")).chains[0]
    assert (found.label_asym_id, found.entity_sequence) == ("_", "AG")


def test_a_cap_that_seqres_names_is_a_residue_and_is_trimmed():
    cap = change(residue("ACE", 0, names=("C", "O", "CH3")), record="HETATM")
    text = pdb_text(
        seqres("A", ["ACE", "ALA", "GLY"]), cap, residue("ALA", 1), residue("GLY", 2), "TER"
    )
    parsed = read(text)
    assert parsed.flags == []
    assert parsed.chains[0].residue_index.tolist() == [2, 3]
    assert parsed.chains[0].entity_sequence == "XAG"
    assert parsed.metadata.n_ligands == 0


def test_names_of_remark_465_in_lower_case_place_residues_as_capitals_do() -> None:
    names = ["GLY", "ALA", "SER"] * 3
    # Numbers jump, so that they alone place nothing.
    numbers = [4, 5, 6, 17, 18, 19]
    missing = [(name, number, " ") for name, number in zip(names[:3], (1, 2, 3), strict=True)]
    atoms = [
        atom
        for k, (name, number) in enumerate(zip(names[3:], numbers, strict=True))
        for atom in residue(name, number, place=k)
    ]
    head = [*remark_465(missing), *seqres("A", names)]
    small = [line.lower().replace(" a ", " A ") for line in head]
    small = [line.replace("remark", "REMARK").replace("seqres", "SEQRES") for line in small]
    assert small != head
    for lines in (head, small):
        (one,) = read(pdb_text(lines, atoms)).chains
        assert one.residue_index.tolist() == [4, 5, 6, 7, 8, 9]
        assert one.entity_sequence == "GAS" * 3


def test_a_sequence_that_describes_one_of_two_molecules_does_not_join_them_over_a_ter():
    """The second goes on by one, 50 Å away; each part is then placed for itself."""
    comps = ["ALA", "GLY", "SER", "THR", "LEU"] * 2
    peptide = chain(["TRP", "MET", "VAL"], first=11, shift=50.0)
    text = pdb_text(seqres("A", comps), chain(comps), "TER", peptide, "TER")
    found = read(text)
    assert [c.label_asym_id for c in found.chains] == ["A", "A.2"]
    assert [c.entity_sequence for c in found.chains] == ["AGSTLAGSTL", None]
    assert found.flags == ["split_by_ter:A", "sequence_mismatch:A.2"]
