"""Alternate locations: one conformer per run of residues, and no backbone lost to the choice.

Runs that touch in space choose together where what they choose clashes.
"""

from __future__ import annotations

import math
from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.chain import Chain
from pipeline.parsing import altlocs, read_chains
from pipeline.parsing.clashes import clashing_pairs
from pipeline.residues import ATOM14_NAMES, sequence_string
from tests.pipeline.parsing.test_gemmi_differential import differences
from tests.support import gemmi_reading
from tests.support.structure_text import (
    Atom,
    change,
    cif_text,
    in_format,
    pdb_models,
    read,
    residue,
)
from tests.support.touching_alternates import labels_of, touching, two_tips

BOTH = pytest.mark.parametrize("kind", ["pdb", "cif"])


def alternates(
    number: int, labels: dict[str, str], comp: str | dict[str, str] = "ALA"
) -> list[Atom]:
    """A residue all of whose atoms have the given labels, each shifted by its rank."""
    found = []
    for rank, (label, occupancy) in enumerate(labels.items()):
        name = comp[label] if isinstance(comp, dict) else comp
        found += residue(name, number, altloc=label, occupancy=occupancy, shift=float(rank))
    return found


def shifts(kind: str, atoms: list[Atom]) -> list[int]:
    """Which rank of label each residue was given, from the y of its CA."""
    found = read(in_format(kind, atoms)).chains[0]
    starts = np.cumsum([0, *(bin(m).count("1") for m in found.atom14_mask[:-1].tolist())])
    return [round((found.coords[k + 1, 1] - 800) / 1000) for k in starts]


@BOTH
def test_the_label_with_the_largest_occupancy_is_kept(kind):
    assert shifts(kind, alternates(1, {"A": "0.30", "B": "0.70"})) == [1]
    assert shifts(kind, alternates(1, {"A": "0.70", "B": "0.30"})) == [0]


def interleaved(*conformers: list[Atom]) -> list[Atom]:
    return [atom for same in zip(*conformers, strict=True) for atom in same]


@BOTH
@pytest.mark.parametrize("order", [lambda *parts: [a for p in parts for a in p], interleaved])
@pytest.mark.parametrize("labels", [("", ""), ("", "B")])
@pytest.mark.parametrize(("first", "rank"), [("0.30", 1), ("0.50", 0), ("0.70", 0)])
def test_alternates_without_a_label_are_read_like_labelled_ones(kind, order, labels, first, rank):
    second = f"{1 - float(first):.2f}"
    one, other = residue("ALA", 1), residue("ALA", 1, shift=1.0)
    atoms = order(
        change(one, altloc=labels[0], occupancy=first),
        change(other, altloc=labels[1], occupancy=second),
    )
    assert shifts(kind, [*atoms, *residue("GLY", 2)])[0] == rank
    assert read(in_format(kind, atoms)).chains[0].n_altloc == 1


@BOTH
def test_of_several_components_without_labels_the_one_of_larger_occupancy_is_kept(kind):
    names = ("N", "CA", "C", "O", "CB", "OG")
    serine = residue("SER", 1, names=names, occupancy="0.40")
    threonine = residue("THR", 1, names=(*names[:-1], "OG1", "CG2"), occupancy="0.60", shift=1.0)
    found = read(in_format(kind, serine + threonine)).chains[0]
    assert sequence_string(found.aatype) == "T"
    assert found.atom14_mask.tolist() == [0b1111111]
    assert (found.n_altloc, found.n_microhet) == (1, 1)


@BOTH
def test_ties_go_to_the_smallest_label_whatever_the_order(kind):
    assert shifts(kind, alternates(1, {"B": "0.50", "A": "0.50"})) == [1]


@BOTH
def test_digits_are_labels(kind):
    assert shifts(kind, alternates(1, {"1": "0.40", "2": "0.60"})) == [1]
    assert shifts(kind, alternates(1, {"B": "0.50", "1": "0.50"})) == [1]


@BOTH
def test_sums_are_over_whole_hundredths(kind):
    """As floats 0.1 + 0.2 > 0.3 would decide a tie."""
    a = [*residue("ALA", 1, names=("N",), altloc="A", occupancy="0.10"),
         *residue("ALA", 1, names=("CA",), altloc="A", occupancy="0.20"),
         *residue("ALA", 1, names=("C",), altloc="A", occupancy="0.30")]  # fmt: skip
    b = [*residue("ALA", 1, names=("N",), altloc="B", occupancy="0.30", shift=1.0),
         *residue("ALA", 1, names=("CA",), altloc="B", occupancy="0.20", shift=1.0),
         *residue("ALA", 1, names=("C",), altloc="B", occupancy="0.10", shift=1.0)]  # fmt: skip
    assert shifts(kind, [*b, *a]) == [0]


@BOTH
def test_neighbours_with_alternates_take_one_label(kind):
    atoms = [*alternates(1, {"A": "0.60", "B": "0.40"}), *alternates(2, {"A": "0.30", "B": "0.70"})]
    assert shifts(kind, atoms) == [1, 1]


@BOTH
def test_a_residue_without_alternates_separates_two_runs(kind):
    atoms = [
        *alternates(1, {"A": "0.60", "B": "0.40"}),
        *residue("GLY", 2),
        *alternates(3, {"A": "0.30", "B": "0.70"}),
    ]
    assert shifts(kind, atoms) == [0, 0, 1]


@BOTH
def test_a_residue_that_lacks_the_label_of_its_run_uses_its_own_best(kind):
    atoms = [
        *alternates(1, {"A": "0.90", "B": "0.10"}),
        *alternates(2, {"C": "0.40", "D": "0.60"}),
        *alternates(3, {"A": "0.20", "B": "0.80"}),
    ]
    assert shifts(kind, atoms) == [0, 1, 0]


@BOTH
def test_hydrogens_have_no_say(kind):
    heavy = alternates(1, {"A": "0.60", "B": "0.40"})
    names = ("HA", "HB1", "HB2", "HB3", "H")
    hydrogens = residue("ALA", 1, names=names, altloc="B", occupancy="1.00", element="H")
    assert shifts(kind, [*heavy, *hydrogens]) == [0]


@BOTH
def test_a_label_of_zero_occupancy_does_not_exist(kind):
    assert shifts(
        kind, [*alternates(1, {"A": "0.00", "B": "0.00"}), *residue("GLY", 1, shift=2.0)]
    ) == [2]


@BOTH
def test_microheterogeneity_is_decided_by_the_label_and_counted(kind):
    atoms = [
        *alternates(1, {"A": "0.40", "B": "0.60"}, {"A": "SER", "B": "PRO"}),
        *residue("GLY", 2),
    ]
    found = read(in_format(kind, atoms)).chains[0]
    assert sequence_string(found.aatype) == "PG"
    assert (found.n_altloc, found.n_microhet) == (1, 1)


@BOTH
def test_atoms_of_the_other_component_without_label_go_with_it(kind):
    ser = residue("SER", 1)
    pro = residue("PRO", 1, names=("CB", "CG"), altloc="B", occupancy="0.40")
    found = read(in_format(kind, [*ser, *pro])).chains[0]
    assert len(found.aatype) == 1
    assert found.resolved.all()


@BOTH
@pytest.mark.parametrize("lost", ["N", "CA", "C", "O"])
def test_no_residue_loses_its_backbone(kind, lost):
    """Label B wins by its side chain, and only A has one of the backbone atoms."""
    atoms = [
        *residue("ALA", 1, altloc="A", occupancy="0.40"),
        *[a for a in residue("ALA", 1, altloc="B", occupancy="0.60", shift=1.0) if a.name != lost],
    ]
    found = read(in_format(kind, atoms)).chains[0]
    assert found.atom14_mask.tolist() == [31]
    y = found.coords[:, 1].reshape(5)
    slot = ["N", "CA", "C", "O"].index(lost)
    own = [0, 800, -300, -1400, 1500]
    assert [(v - o) // 1000 for v, o in zip(y.tolist(), own, strict=True)] == [
        0 if k == slot else 1 for k in range(5)
    ]


def test_the_choice_does_not_depend_on_the_format():
    atoms = []
    for number, (a, b) in enumerate(product(["0.20", "0.50", "0.80"], repeat=2), start=1):
        atoms += alternates(number, {"A": a, "B": b})
    assert shifts("pdb", atoms) == shifts("cif", atoms)


# ---- against a plain reading of the rule ----------------


def plain_choice(rows: list[tuple[int, str, int]], n: int, joins: list[bool]) -> list[str]:
    """The label of each residue by the policy's sentence. Rows: (residue, label, occupancy)."""

    def best(members: list[int]) -> str:
        total: dict[str, int] = {}
        for r, label, occupancy in rows:
            if r in members and label:
                total[label] = total.get(label, 0) + occupancy
        return min(total, key=lambda k: (-total[k], k)) if total else ""

    has = [any(r == k and label for r, label, _ in rows) for k in range(n)]
    chosen, run = [""] * n, []
    for k in range(n + 1):
        if k < n and has[k] and (not run or joins[k]):
            run.append(k)
            continue
        for member in run:
            label = best(run)
            own = {lab for r, lab, _ in rows if r == member}
            chosen[member] = label if label in own else best([member])
        run = [k] if k < n and has[k] else []
    return chosen


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_the_vectorised_choice_is_the_rule_spelled_out(data):
    n = data.draw(st.integers(1, 7))
    rows: list[tuple[int, str, int]] = []
    for k in range(n):
        label = st.sampled_from(["", "A", "B", "1", "C"])
        some = data.draw(st.lists(st.tuples(label, st.integers(1, 100)), min_size=1, max_size=5))
        rows += [(k, lab, occupancy) for lab, occupancy in some]
    joins = [False, *data.draw(st.lists(st.booleans(), min_size=n - 1, max_size=n - 1))]
    expected = plain_choice(rows, n, joins)
    atoms = altlocs.ResidueAtoms(
        residue=np.array([r for r, _, _ in rows]),
        comp=np.zeros(len(rows), np.int64),
        name=np.array([b"CB"] * len(rows), "S4"),  # no backbone to restore
        altloc=np.array([lab.encode() for _, lab, _ in rows], "S1"),
        occupancy=np.array([o for _, _, o in rows], np.int32),
        coords=np.arange(3 * len(rows), dtype=np.int32).reshape(-1, 3) * 10_000,  # nothing is near
        row=np.arange(len(rows)),
    )
    found = altlocs.choose(atoms, np.array(joins), np.zeros(n, np.int64), [("A", "A")])
    kept = [lab in ("", expected[r]) for r, lab, _ in rows]
    assert found.keep.tolist() == kept
    assert found.alternates.tolist() == [label != "" for label in expected]


def test_both_texts_hold_the_alternates():
    """The parametrised tests above would say nothing about files without labels."""
    atoms = alternates(1, {"A": "0.30", "B": "0.70"})
    assert read(pdb_models(atoms)).chains[0].n_altloc == 1
    assert read(cif_text(atoms)).chains[0].n_altloc == 1


# ---- runs that touch ----------------


def by_occupancy_alone(text: str | bytes) -> list[Chain]:
    """The chains, if every run chose by itself."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(altlocs, "NEARLY_EQUAL", -1)
        data = text if isinstance(text, bytes) else text.encode()
        return list(read_chains(data, "test").chains)


def tip(
    number: int,
    places: dict[str, tuple[float, str]],
    comp: str = "ALA",
    name: str = "CB",
    chain: str = "A",
) -> list[Atom]:
    """A residue with one atom away from its backbone: label → (x, occupancy)."""
    names = ("N", "CA", "C", "O")
    atoms = residue(comp, number, names=names, place=20.0 * number, chain=chain)
    for label, (x, occupancy) in places.items():
        xyz = (f"{x:.3f}", "50.000", "0.000")
        atoms += change(atoms[:1], name=name, xyz=xyz, altloc=label, occupancy=occupancy)
    return change(atoms, entity="1" if chain == "A" else "2", element=None)


def tips(*places: dict[str, tuple[float, str]], comp: str = "ALA", name: str = "CB") -> list[Atom]:
    """Residues of one chain, with another between every two of them."""
    atoms: list[Atom] = []
    for k, these in enumerate(places):
        atoms += tip(2 * k + 1, these, comp, name)
        atoms += tip(2 * k + 2, {}, "GLY")
    return atoms


def x_of(chains: list[Chain]) -> list[float]:
    """x of the atoms away from backbones."""
    return [x / 1000 for c in chains for x, y, _ in c.coords.tolist() if y == 50_000]


def chosen(kind: str, atoms: list[Atom]) -> list[float]:
    return x_of(list(read(in_format(kind, atoms)).chains))


@BOTH
def test_labels_that_do_not_clash_are_chosen_by_occupancy_alone(kind):
    """At 2.2 Å there is no clash, and A would go as well with A."""
    one = {"A": (0.0, "0.50"), "B": (9.0, "0.50")}
    other = {"A": (7.0, "0.49"), "B": (2.2, "0.51")}
    assert chosen(kind, tips(one, other)) == [0.0, 2.2]
    assert chosen(kind, tips(one, other | {"B": (2.199, "0.51")})) == [9.0, 2.199]


@BOTH
def test_ten_hundredths_less_are_nearly_equal_and_eleven_are_not(kind):
    for occupancy, expected in (("0.45", 9.0), ("0.44", 1.0)):
        atoms = tips({"A": (0.0, "1.00")}, {"A": (1.0, "0.55"), "B": (9.0, occupancy)})
        assert chosen(kind, atoms) == [0.0, expected]


@BOTH
def test_of_combinations_that_do_not_clash_the_one_of_most_occupancy_is_taken(kind):
    one = {"A": (0.0, "0.54"), "B": (-4.0, "0.46")}
    other = {"A": (1.0, "0.52"), "B": (5.0, "0.48")}
    assert chosen(kind, tips(one, other)) == [0.0, 5.0]
    assert chosen(kind, tips(other, one)) == [5.0, 0.0]


@BOTH
def test_of_combinations_of_equal_occupancy_the_one_of_equal_labels_is_taken(kind):
    one = {"A": (0.0, "0.50"), "B": (-4.0, "0.50")}
    other = {"A": (1.0, "0.50"), "B": (5.0, "0.50")}
    assert chosen(kind, tips(one, other)) == [-4.0, 5.0]


@BOTH
def test_else_the_first_run_by_the_ids_of_chains_keeps_the_smallest_label(kind):
    """A and A clash, and so do B and B."""
    one = {"A": (0.0, "0.50"), "B": (4.0, "0.50")}
    other = {"A": (1.0, "0.50"), "B": (5.0, "0.50")}
    assert chosen(kind, tips(one, other)) == [0.0, 5.0]
    first, second = tip(1, one, chain="A"), tip(4, other, chain="B")
    for atoms in ([*first, *second], [*second, *first]):
        found = {c.auth_asym_id: x_of([c]) for c in read(in_format(kind, atoms)).chains}
        assert found == {"A": [0.0], "B": [5.0]}


@BOTH
def test_if_not_all_clashes_can_be_avoided_there_are_as_few_as_can_be(kind):
    atoms = tips(
        {"A": (0.0, "1.00")},
        {"A": (0.9, "0.50"), "B": (9.1, "0.50")},
        {"A": (10.0, "1.00")},
        {"A": (2.0, "1.00")},
    )
    assert chosen(kind, atoms) == [0.0, 9.1, 10.0, 2.0]
    assert chosen(kind, atoms[:-9]) == [0.0, 0.9, 10.0]  # one clash either way


@BOTH
def test_a_clash_with_an_atom_without_alternates_counts_like_any_other(kind):
    atoms = tips({"A": (0.0, "0.52"), "B": (6.0, "0.48")})
    assert chosen(kind, atoms) == [0.0]
    assert chosen(kind, [*atoms, *tip(3, {"": (1.0, "1.00")})]) == [6.0, 1.0]


@BOTH
@pytest.mark.parametrize(
    ("name", "bond"), [("SG", 1.9), ("SG", 2.05), ("SG", 2.19), ("CB", 1.2), ("CB", 1.7)]
)
def test_bonds_are_no_clashes(kind, name, bond):
    def pair(distance: float) -> list[Atom]:
        one = {"A": (0.0, "0.50"), "B": (-5.0, "0.50")}
        return tips(one, {"A": (distance, "0.50"), "B": (9.0, "0.50")}, comp="CYS", name=name)

    assert chosen(kind, pair(bond)) == [0.0, bond]
    for clash in (0.0, 1.1, *((1.8, 2.1) if name == "CB" else (1.7, 1.8))):
        assert chosen(kind, pair(clash)) == [-5.0, 9.0]


def test_a_bond_is_told_by_its_length_and_the_first_letters_of_names():
    lengths = {"CC": (1200, 1700), "CN": (1200, 1700), "CO": (1200, 1700), "CS": (1600, 2000)}
    lengths |= {"SS": (1900, 2199), "NN": (1, 0), "NO": (1, 0), "OO": (1, 0), "NS": (1, 0)}
    for (a, b), (low, high) in lengths.items():
        for distance in (500, 1199, 1200, 1599, 1600, 1700, 1701, 1899, 1900, 2000, 2001, 2199):
            for names in ([a, b], [b, a]):
                coords = np.array([[0, 0, -7], [0, distance, -7]], np.int32)
                name = np.array([names[0] + "D1", names[1] + "G"], "S4")
                joins = np.zeros(2, bool)
                both = np.arange(2)
                found = clashing_pairs(coords, both, name, both, joins, both)
                assert len(found) == (not low <= distance <= high), (names, distance)


@BOTH
def test_residues_next_to_each_other_do_not_clash(kind):
    one = tip(1, {"A": (0.0, "0.50"), "B": (9.0, "0.50")})
    assert chosen(kind, [*one, *tip(2, {"": (1.0, "1.00")})]) == [0.0, 1.0]
    between = tip(2, {}, "GLY")
    assert chosen(kind, [*one, *between, *tip(3, {"": (1.0, "1.00")})]) == [9.0, 1.0]


@BOTH
def test_a_run_that_gives_way_gives_way_in_all_its_residues(kind):
    """The third residue, which has other labels, takes its own best as ever."""
    atoms = []
    for number, labels in ((1, "AB"), (2, "AB"), (3, "CD")):
        for label, occupancy, shift in zip(labels, ("0.51", "0.49"), (0.0, 5.0), strict=True):
            atoms += residue("ALA", number, altloc=label, occupancy=occupancy, shift=shift)
    atoms += residue("GLY", 4, names=("N", "CA", "C", "O"))
    in_the_way = residue("ALA", 5, place=1, shift=0.4)
    assert shifts(kind, atoms) == [0, 0, 0, 0]
    assert shifts(kind, [*atoms, *in_the_way]) == [5, 5, 0, 0, 0]


@BOTH
def test_no_residue_loses_its_backbone_to_a_clash(kind):
    """Label B, which gets out of the way, has a side chain only."""
    *backbone, tip_of_a = tip(3, {"": (1.0, "1.00")}, "LEU")
    atoms = change([*backbone, tip_of_a], altloc="A", occupancy="0.50")
    for name, y in (("CB", "50"), ("CG", "52"), ("CD1", "54"), ("CD2", "56")):
        fields = {"name": name, "xyz": ("9.000", f"{y}.000", "0.000")}
        atoms += change([tip_of_a], altloc="B", occupancy="0.50", **fields)
    found = read(in_format(kind, [*tips({"": (0.0, "1.00")}), *atoms])).chains[0]
    assert x_of([found]) == [0.0, 9.0]
    assert found.resolved.all()
    assert found.atom14_mask.tolist() == [31, 15, 255]


@BOTH
def test_the_combination_decides_microheterogeneity(kind):
    def one_of(comp: str, label: str, occupancy: str, x: float) -> list[Atom]:
        atoms = tip(3, {"": (x, "1.00")}, comp)
        return change(atoms, altloc=label, occupancy=occupancy)

    either = [*one_of("SER", "A", "0.51", 1.0), *one_of("VAL", "B", "0.49", 9.0)]
    text = in_format(kind, [*tips({"": (0.0, "1.00")}), *either])
    found = read(text).chains[0]
    assert sequence_string(found.aatype) == "AGV"
    assert found.resolved.all()
    assert (found.n_altloc, found.n_microhet) == (1, 1)
    assert sequence_string(by_occupancy_alone(text)[0].aatype) == "AGS"


@BOTH
def test_an_atom_without_label_that_goes_with_its_component_can_be_in_the_way(kind):
    """Only the last atom of either side chain has a label; the first of serine's is in the way."""
    ser, val = tip(3, {"": (1.0, "1.00")}, "SER"), tip(3, {"": (9.0, "1.00")}, "VAL")
    ser += change(ser[-1:], name="OG", xyz=("1.0", "55.0", "0.0"), altloc="A", occupancy="0.51")
    val += change(val[-1:], name="CG1", xyz=("9.0", "55.0", "0.0"), altloc="B", occupancy="0.49")
    for in_the_way, expected in ((0.0, "AGV"), (5.0, "AGS")):
        atoms = [*tips({"": (in_the_way, "1.00")}), *ser, *val]
        assert sequence_string(read(in_format(kind, atoms)).chains[0].aatype) == expected


# ---- the same in entries ----------------

ENTRIES = pytest.mark.parametrize(
    "entry", ["1ubi.pdb.zst", "1orc.pdb.gz", "1a8o.pdb", "3hsy.pdb.gz"]
)


@BOTH
@ENTRIES
@pytest.mark.parametrize(
    ("occupancies", "gap", "labels"),
    [
        ((0.50, 0.50), 0.8, "BB"),
        ((0.52, 0.48), 0.8, "AB"),
        ((0.60, 0.40), 0.8, "AA"),  # not nearly equal
        ((0.50, 0.50), 2.6, "AA"),  # no clash
    ],
)
def test_side_chains_that_meet_take_labels_that_do_not_clash(kind, entry, occupancies, gap, labels):
    text = touching(kind, entry, occupancies, gap)
    found = list(read_chains(text, "test").chains)
    assert labels_of(found, entry, gap) == labels
    alone = by_occupancy_alone(text)
    assert labels_of(alone, entry, gap) == "AA"
    for chain, other in zip(found, alone, strict=True):
        assert np.array_equal(chain.atom14_mask, other.atom14_mask)
        n_moved = np.count_nonzero((chain.coords != other.coords).any(axis=1))
        ends = [t.chain for t, now in zip(two_tips(entry), labels, strict=True) if now == "B"]
        assert n_moved == ends.count(chain.auth_asym_id)


@BOTH
@pytest.mark.parametrize("entry", ["3hsy.pdb.gz", "1bd2.cif.gz"])
@pytest.mark.parametrize("occupancies", [(0.50, 0.50), (0.52, 0.48)])
def test_the_choice_does_not_depend_on_the_order_of_the_chains(kind, entry, occupancies):
    assert len({end.chain for end in two_tips(entry)}) == 2
    one, other = (
        read_chains(touching(kind, entry, occupancies, 0.8, reverse), "test").chains
        for reverse in (False, True)
    )
    assert labels_of(list(one), entry, 0.8) == labels_of(list(other), entry, 0.8)


# ---- against an independent reading ----------------


@st.composite
def crowded(draw) -> list[list[Atom]]:
    """Chains whose side chains, thrown into a box, have labels of nearly equal occupancies."""
    place = st.integers(0, 20).map(lambda k: f"{0.35 * k:.3f}")
    chains = []
    for n, chain in enumerate(draw(st.sampled_from(["A", "AB", "ABC"]))):
        atoms: list[Atom] = []
        for number in range(1, draw(st.integers(1, 5)) + 1):
            labels = draw(st.sampled_from(["", "A", "AB", "AB", "BC", "ABC"])) or [""]
            occupancies = draw(st.permutations(["0.50", "0.50", "0.44", "0.38"]))
            backbone = tip(10 * n + number, {}, "ASN", chain=chain)
            atoms += backbone
            for name in ("CB", "CG", "OD1", "ND2")[: draw(st.integers(1, 4))]:
                for label, occupancy in zip(labels, occupancies, strict=False):
                    xyz = (draw(place), draw(place), f"{50 + float(draw(place)) / 2:.3f}")
                    fields = {"xyz": xyz, "altloc": label, "occupancy": occupancy}
                    atoms += change(backbone[:1], name=name, **fields)
        chains.append(atoms)
    return chains


def n_clashes(chains: list[Chain]) -> int:
    """Pairs of side-chain atoms that clash, by the words of the documentation."""
    atoms = []
    for c in chains:
        places = [
            (row, slot)
            for row, m in enumerate(c.atom14_mask)
            for slot in range(14)
            if m >> slot & 1
        ]
        for (row, slot), xyz in zip(places, c.coords.tolist(), strict=True):
            atoms.append((c.auth_asym_id, row, ATOM14_NAMES[c.aatype[row]][slot][0], xyz))
    found = 0
    for (chain, row, a, xyz), (other, at, b, there) in combinations(atoms, 2):
        distance = math.dist(xyz, there)
        bond = "C" in (a, b) and 1200 <= distance <= 1700  # there is no S
        found += distance < 2200 and not bond and (chain != other or abs(row - at) > 1)
    return found


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(chains=crowded(), kind=st.sampled_from(["pdb", "cif"]))
def test_crowded_files_are_read_as_gemmi_and_trying_everything_read_them(chains, kind, tmp_path):
    text = in_format(kind, [a for chain in chains for a in chain])
    found = list(read(text).chains)
    path = tmp_path / f"test.{kind}"
    path.write_text(text)
    assert not differences(found, gemmi_reading.read(path))

    alone = by_occupancy_alone(text)
    assert n_clashes(found) <= n_clashes(alone)
    if n_clashes(found) == n_clashes(alone):
        assert not differences_of_chains(found, alone)
    backwards = read(in_format(kind, [a for chain in chains[::-1] for a in chain])).chains
    assert not differences_of_chains(found, list(backwards)[::-1])
    other = read(
        in_format("cif" if kind == "pdb" else "pdb", [a for c in chains for a in c])
    ).chains
    assert not differences_of_chains(found, list(other))


def differences_of_chains(one: list[Chain], other: list[Chain]) -> list[str]:
    return [
        a.auth_asym_id
        for a, b in zip(one, other, strict=True)
        if not (np.array_equal(a.atom14_mask, b.atom14_mask) and np.array_equal(a.coords, b.coords))
    ]


# ---- combinations ----------------


@st.composite
def groups(draw):
    """Runs with two or three labels each, and what clashes between them."""
    sizes = draw(st.lists(st.integers(2, 3), min_size=1, max_size=5))
    few = st.integers(0, 4).map(lambda k: max(0, k - 2))
    alone = [np.array([draw(few) for _ in range(k)]) for k in sizes]
    contacts = {}
    for p, q in combinations(range(len(sizes)), 2):
        if draw(st.booleans()):
            table = [draw(few) for _ in range(sizes[p] * sizes[q])]
            contacts[p, q] = np.array(table).reshape(sizes[p], sizes[q])
    lack = [np.cumsum([0, *(draw(st.integers(0, 3)) for _ in range(k - 1))]) for k in sizes]
    label = [np.array(draw(st.permutations(range(3))))[:k] for k in sizes]
    return alone, contacts, lack, label


def clashes_of(ranks: tuple[int, ...], alone, contacts) -> int:
    total = sum(int(k[r]) for k, r in zip(alone, ranks, strict=True))
    return total + sum(int(t[ranks[p], ranks[q]]) for (p, q), t in contacts.items())


@settings(max_examples=200)
@given(groups())
def test_the_combination_is_the_first_of_all_in_the_documented_order(group):
    alone, contacts, lack, label = group

    def order(ranks: tuple[int, ...]) -> tuple:
        labels = [k[r] for k, r in zip(label, ranks, strict=True)]
        unlike = sum(labels[p] != labels[q] for p, q in contacts)
        lacking = sum(k[r] for k, r in zip(lack, ranks, strict=True))
        return clashes_of(ranks, alone, contacts), lacking, unlike, labels

    every = list(product(*(range(len(k)) for k in alone)))
    best, today = min(every, key=order), every[0]
    expected = best if order(best)[0] < order(today)[0] else today
    assert altlocs.combine(*group) == list(expected)


@settings(max_examples=200)
@given(groups())
def test_runs_that_take_turns_never_have_more_clashes_and_give_way_only_for_fewer(group):
    alone, contacts, _, _ = group
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(altlocs, "MAX_COMBINATIONS", 1)
        ranks = altlocs.combine(*group)
    before, after = (clashes_of(r, alone, contacts) for r in ([0] * len(alone), ranks))
    assert after < before or not any(ranks)
    # No single run could do better.
    for p, k in enumerate(alone):
        for rank in range(len(k)):
            assert clashes_of([*ranks[:p], rank, *ranks[p + 1 :]], alone, contacts) >= after


@BOTH
def test_a_long_line_of_runs_in_contact_is_resolved_by_turns(kind):
    """Thirty runs, each of which clashes with the next in A: 2**30 combinations."""
    line = [{"A": (0.9 * k, "0.50"), "B": (100.0 + 3.0 * k, "0.50")} for k in range(30)]
    text = in_format(kind, tips(*line))
    found, alone = list(read(text).chains), by_occupancy_alone(text)
    assert n_clashes(alone) > 28
    assert n_clashes(found) == 0


def test_atoms_laid_upon_each_other_are_left_as_they_are():
    """There is no choice that would help, and trying would take for ever."""
    n = 20_000
    atoms = altlocs.ResidueAtoms(
        residue=np.repeat(np.arange(n), 2),
        comp=np.zeros(2 * n, np.int64),
        name=np.full(2 * n, b"CB", "S4"),
        altloc=np.tile(np.array([b"A", b"B"]), n),
        occupancy=np.full(2 * n, 50, np.int32),
        coords=np.zeros((2 * n, 3), np.int32),
        row=np.arange(2 * n),
    )
    found = altlocs.choose(atoms, np.zeros(n, bool), np.zeros(n, np.int64), [("A", "A")])
    assert found.keep.tolist() == [True, False] * n


@settings(max_examples=100)
@given(st.data())
def test_the_pairs_found_are_those_that_a_look_at_all_pairs_finds(data):
    n = data.draw(st.integers(2, 40))
    scale = data.draw(st.sampled_from([300, 3_000, 40_000, 50_000_000]))
    rng = np.random.default_rng(data.draw(st.integers(0, 10**6)))
    coords = (rng.integers(-20, 20, (n, 3)) * scale).astype(np.int32)
    coords[n // 2 :] = coords[: n - n // 2] + rng.integers(-2500, 2500, (n - n // 2, 3))
    residue_of = np.sort(rng.integers(0, n, n))
    joins = rng.random(n) < 0.5
    asking = np.flatnonzero(rng.random(n) < 0.5)
    if not len(asking):
        asking = np.array([0])
    name = np.full(n, b"O", "S4")
    found = clashing_pairs(coords, np.arange(n), name, residue_of, joins, asking)
    expected = set()
    for i, j in combinations(range(n), 2):
        r, s = residue_of[i], residue_of[j]
        beside = r == s or (s == r + 1 and joins[s])
        asks = i in asking or j in asking
        if asks and not beside and math.dist(coords[i].tolist(), coords[j].tolist()) < 2200:
            expected.add((i, j))
    pairs = [tuple(sorted(pair)) for pair in found.tolist()]
    assert len(pairs) == len(set(pairs))
    assert set(pairs) == expected
