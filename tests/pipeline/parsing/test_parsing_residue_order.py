"""Residues that a file writes in another order than that of the chain."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from pipeline.parsing import read_chains
from pipeline.sources import decompress
from tests.support.places import EXAMPLES
from tests.support.real_atoms import STRETCHES, by_residue, moved, names, residues, stretch
from tests.support.structure_text import (
    COLUMNS,
    Atom,
    change,
    cif_text,
    entity,
    in_format,
    pdb_text,
    read,
    seqres,
)

ENTRIES = pytest.mark.parametrize("entry", STRETCHES)
BOTH = pytest.mark.parametrize("kind", ["pdb", "cif"])

PLACES = list(range(1, 21))
ORDERS = {
    "a loop at the end": ([*PLACES[:7], *PLACES[12:], *PLACES[7:12]], 5),
    "the beginning at the end": ([*PLACES[3:], *PLACES[:3]], 3),
    "halves exchanged": ([*PLACES[9:], *PLACES[:9]], 9),
    "reversed": (PLACES[::-1], 19),
    "two loops at the end": ([1, 2, 3, 7, 8, 9, 10, 14, *PLACES[14:], 11, 12, 13, 4, 5, 6], 6),
    "the end at the beginning": ([20, *PLACES[:19]], 19),
}
EACH_ORDER = pytest.mark.parametrize(("order", "n_late"), ORDERS.values(), ids=ORDERS)


def in_this_order(atoms: list[Atom], order: list[int]) -> list[Atom]:
    groups = residues(atoms)
    return [atom for place in order for atom in groups[place - 1]]


def rows(parsed) -> list[tuple]:
    return [
        (
            c.label_asym_id,
            c.entity_sequence,
            *(
                getattr(c, name).tobytes()
                for name in ("aatype", "residue_index", "auth_seq_id", "ins_code", "coords")
            ),
        )
        for c in parsed.chains
    ]


def chain(entry: str) -> list[Atom]:
    return change(stretch(entry), record="ATOM")


@ENTRIES
@BOTH
@EACH_ORDER
def test_residues_out_of_order_are_put_back_by_their_numbers(entry, kind, order, n_late):
    atoms = chain(entry)
    parsed = read(in_format(kind, in_this_order(atoms, order)))
    assert rows(parsed) == rows(read(in_format(kind, atoms)))
    assert parsed.flags == [f"put_in_order:A:{n_late}"]


@ENTRIES
@EACH_ORDER
@pytest.mark.parametrize("with_ter", [False, True], ids=["no TER", "TER"])
@pytest.mark.parametrize("described", [False, True], ids=["no SEQRES", "SEQRES"])
def test_neither_ter_nor_seqres_keeps_a_bonded_residue_out_of_order(
    entry, order, n_late, with_ter, described
):
    atoms = chain(entry)
    head = seqres("A", names(atoms)) if described else []
    cut = 1 + next(k for k in range(19) if order[k + 1] < order[k])
    first, second = in_this_order(atoms, order[:cut]), in_this_order(atoms, order[cut:])
    parsed = read(pdb_text(head, first, ["TER"] if with_ter else [], second, "TER", "END"))
    assert rows(parsed) == rows(read(pdb_text(head, atoms, "TER", "END")))
    assert parsed.flags == [f"put_in_order:A:{n_late}"]


@ENTRIES
@pytest.mark.parametrize("n", [3, 9])
def test_a_sequence_tells_the_order_where_the_residue_between_is_missing(entry, n):
    """No bond joins what stands at the end to anything; the sequence fits by number alone."""
    atoms = [a for a in chain(entry) if a.number != str(n + 1)]
    first = [a for a in atoms if int(a.number) <= n]
    head = seqres("A", names(chain(entry)))
    parsed = read(pdb_text(head, atoms[len(first) :], first, "TER", "END"))
    assert rows(parsed) == rows(read(pdb_text(head, atoms, "TER", "END")))
    assert parsed.flags == [f"put_in_order:A:{n}"]


@ENTRIES
@BOTH
def test_insertion_codes_are_part_of_the_order(entry, kind):
    codes = {9: "A", 10: "B", 11: "C"}

    def written(order: list[int]) -> str:
        numbers = [("8", codes[p]) if p in codes else (str(p), "") for p in order]
        named = by_residue(
            in_this_order(chain(entry), order),
            lambda k: {"number": numbers[k - 1][0], "ins": numbers[k - 1][1]},
        )
        return in_format(kind, change(named, seq="."))

    parsed = read(written([*PLACES[:8], *PLACES[11:], *PLACES[8:11]]))
    assert rows(parsed) == rows(read(written(PLACES)))
    assert parsed.flags == ["put_in_order:A:3"]


@ENTRIES
@BOTH
@pytest.mark.parametrize("seed", [0, 1])
def test_modified_residues_are_put_in_order_with_the_others(entry, kind, seed):
    atoms = by_residue(
        change(chain(entry), seq="."),
        lambda p: {"comp": "MSE", "record": "HETATM"} if p in (1, 6, 15) else {},
    )
    order = random.Random(seed).sample(PLACES, 20)
    parsed = read(in_format(kind, in_this_order(atoms, order)))
    assert rows(parsed) == rows(read(in_format(kind, atoms)))
    assert [flag.rpartition(":")[0] for flag in parsed.flags] == ["put_in_order:A"]


@ENTRIES
@BOTH
def test_a_circular_permutant_keeps_the_order_of_the_file(entry, kind):
    atoms = by_residue(change(chain(entry), seq="."), lambda p: {"number": str((p + 8) % 20 + 1)})
    parsed = read(in_format(kind, atoms))
    assert rows(parsed)[0][2] == rows(read(in_format(kind, chain(entry))))[0][2]
    assert parsed.chains[0].auth_seq_id.tolist() == [(p + 8) % 20 + 1 for p in PLACES]
    assert parsed.flags == []


@ENTRIES
def test_numbers_that_repeat_put_nothing_in_order(entry):
    """A loop at the end, and behind it the chain again elsewhere under the same id."""
    atoms = chain(entry)
    parsed = read(
        pdb_text(in_this_order(atoms, ORDERS["a loop at the end"][0]), moved(atoms, 60), "END")
    )
    assert [c.label_asym_id for c in parsed.chains] == ["A", "A.2"]
    assert parsed.flags == ["several_chains_of_one_id:A", "numbers_fall:A:1"]


@ENTRIES
@BOTH
def test_numbers_that_fall_where_no_bond_explains_it_are_flagged(entry, kind):
    """Two molecules under one id, or a chain whose order cannot be known."""
    atoms = [a for a in change(chain(entry), seq=".") if a.number not in ("10", "20")]
    second = [a for a in atoms if int(a.number) > 10]
    first = [a for a in atoms if int(a.number) < 10]
    parsed = read(in_format(kind, [*second, *first]))
    assert parsed.chains[0].auth_seq_id.tolist() == [*range(11, 20), *range(1, 10)]
    assert parsed.flags == ["numbers_fall:A:1"]
    assert read(in_format(kind, [*first, *second])).flags == []


@ENTRIES
def test_label_seq_id_says_the_order_where_it_joins_more_than_author_numbers(entry):
    atoms = by_residue(chain(entry), lambda p: {"number": str((p + 8) % 20 + 1)})
    order = random.Random(3).sample(PLACES, 20)
    parsed = read(cif_text(in_this_order(atoms, order)))
    assert rows(parsed) == rows(read(cif_text(atoms)))
    assert [flag.rpartition(":")[0] for flag in parsed.flags] == ["put_in_order:A"]


@ENTRIES
def test_atoms_in_any_order_without_entity_records_give_the_same_rows(entry):
    atoms = chain(entry)
    shuffled = random.Random(1).sample(atoms, len(atoms))
    parsed = read(cif_text(shuffled))
    assert rows(parsed) == rows(read(cif_text(atoms)))
    assert [flag.rpartition(":")[0] for flag in parsed.flags] == ["put_in_order:A"]


@ENTRIES
def test_label_seq_id_of_an_entity_needs_no_order_of_the_file_and_no_flag(entry):
    atoms = chain(entry)
    described = entity(names(atoms))
    shuffled = in_this_order(atoms, random.Random(2).sample(PLACES, 20))
    parsed = read(cif_text(shuffled, before=described))
    assert rows(parsed) == rows(read(cif_text(atoms, before=described)))
    assert parsed.flags == []


@pytest.mark.parametrize("seed", range(3))
def test_a_whole_file_with_its_residues_permuted_gives_the_same_rows(seed):
    text = decompress((EXAMPLES / "1ubi.pdb.zst").read_bytes(), 1 << 28).decode()
    lines = text.splitlines(keepends=True)
    atoms = [line for line in lines if line.startswith("ATOM")]
    begin = lines.index(atoms[0])
    behind = [line for line in lines[begin:] if not line.startswith("ATOM")]
    groups: dict[str, list[str]] = {}
    for line in atoms:
        groups.setdefault(line[22:27], []).append(line)
    order = random.Random(seed).sample(list(groups), len(groups))
    permuted = "".join([*lines[:begin], *(a for key in order for a in groups[key]), *behind])
    before, after = read_chains(text.encode(), "x"), read_chains(permuted.encode(), "x")
    assert rows(after) == rows(before)
    assert before.flags == []
    assert [flag.rpartition(":")[0] for flag in after.flags] == ["put_in_order:A"]


# ---- names in lower case ----------------


@ENTRIES
@pytest.mark.parametrize("labels", [True, False], ids=["label_seq_id", "by names"])
@pytest.mark.parametrize("where", ["atoms", "sequence", "both"])
def test_a_sequence_and_residues_in_lower_case_read_like_capitals(entry, labels, where):
    atoms = [a for a in chain(entry) if a.comp != "MSE" and a.number != "9"]
    comps = [name if name != "MSE" else "ALA" for name in names(chain(entry))]
    columns = [c for c in COLUMNS if labels or c != "label_seq_id"]
    lower = [replace(a, comp=a.comp.lower()) if where != "sequence" else a for a in atoms]
    spelled = [comp.lower() for comp in comps] if where != "atoms" else comps
    parsed = read(cif_text(lower, before=entity(spelled), columns=columns))
    assert rows(parsed) == rows(read(cif_text(atoms, before=entity(comps), columns=columns)))
    assert parsed.chains[0].entity_sequence
    assert parsed.flags == []


@ENTRIES
@pytest.mark.parametrize("where", ["atoms", "sequence", "both"])
def test_a_seqres_and_residues_in_lower_case_read_like_capitals(entry, where):
    atoms = [a for a in chain(entry) if a.comp != "MSE" and a.number != "9"]
    comps = [name if name != "MSE" else "ALA" for name in names(chain(entry))]
    lower = [replace(a, comp=a.comp.lower()) if where != "sequence" else a for a in atoms]
    spelled = [comp.lower() for comp in comps] if where != "atoms" else comps
    parsed = read(pdb_text(seqres("A", spelled), lower, "END"))
    assert rows(parsed) == rows(read(pdb_text(seqres("A", comps), atoms, "END")))
    assert parsed.chains[0].entity_sequence
    assert parsed.flags == []
