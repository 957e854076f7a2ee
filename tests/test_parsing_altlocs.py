"""Alternate locations: one conformer per run of residues, and no backbone lost to the choice."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structure_text import Atom, cif_text, in_format, pdb_models, read, residue

from pipeline.parsing import altlocs
from pipeline.residues import sequence_string

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
    found = altlocs.choose(
        np.array([r for r, _, _ in rows]),
        n,
        np.array(joins),
        np.array([lab.encode() for _, lab, _ in rows], "S1"),
        np.zeros(len(rows), np.int64),
        np.array([b"CB"] * len(rows), "S4"),  # no backbone to restore
        np.array([o for _, _, o in rows], np.int32),
        np.arange(3 * len(rows), dtype=np.int32).reshape(-1, 3) * 10_000,  # nothing is near
        np.arange(len(rows)),
        np.zeros(n, np.int64),
        [("A", "A")],
    )
    kept = [lab in ("", expected[r]) for r, lab, _ in rows]
    assert found.keep.tolist() == kept
    assert found.alternates.tolist() == [label != "" for label in expected]


def test_both_texts_hold_the_alternates():
    """The parametrised tests above would say nothing about files without labels."""
    atoms = alternates(1, {"A": "0.30", "B": "0.70"})
    assert read(pdb_models(atoms)).chains[0].n_altloc == 1
    assert read(cif_text(atoms)).chains[0].n_altloc == 1
