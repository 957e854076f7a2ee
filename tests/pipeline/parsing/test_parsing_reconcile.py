"""What a file says about its chains, held against its atoms: each contradiction and its answer."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pipeline.parsing import ParseError, read_chains
from pipeline.residues import sequence_string
from pipeline.sources import decompress
from tests.support.places import STRUCTURES
from tests.support.real_atoms import STRETCHES, by_residue, moved, names, residues, stretch
from tests.support.structure_text import (
    COLUMNS,
    Atom,
    change,
    cif_text,
    entity,
    in_format,
    loop,
    pdb_line,
    pdb_models,
    pdb_text,
    read,
    residue,
    seqres,
)

RECONCILED = {
    "labels_set_aside", "entity_by_atoms", "entity_by_sequence", "entity_unclear",
    "entity_set_aside", "label_seq_set_aside", "label_seq_missing", "sequence_differs",
    "split_by_segid", "split_by_ter", "joined_over_ter", "put_in_order",
    "repeated_numbers", "left_out",
}  # fmt: skip

ENTRIES = pytest.mark.parametrize("entry", STRETCHES)
BACKBONE = ("N", "CA", "C", "O")
BOTH = pytest.mark.parametrize("kind", ["pdb", "cif"])


def shape(parsed) -> list[tuple[str, int]]:
    """(label, number of resolved residues) of each chain."""
    return [(c.label_asym_id, int(c.resolved.sum())) for c in parsed.chains]


def spelled(parsed, k: int = 0) -> str:
    return sequence_string(parsed.chains[k].aatype)


def without(*columns: str) -> list[str]:
    return [c for c in COLUMNS if c not in columns]


def entities(*sequences: list[str], asyms: dict[str, str]) -> str:
    """Polypeptide entities 1, 2 …, one more that is no polymer, and which asym is which."""
    number = [str(k) for k in range(1, len(sequences) + 1)]
    other = str(len(sequences) + 1)
    return (
        loop("entity", ("id", "type"), [*([n, "polymer"] for n in number), [other, "non-polymer"]])
        + loop("entity_poly", ("entity_id", "type"), [[n, "'polypeptide(L)'"] for n in number])
        + loop(
            "entity_poly_seq",
            ("entity_id", "num", "mon_id"),
            [
                [n, str(k), comp]
                for n, sequence in zip(number, sequences, strict=True)
                for k, comp in enumerate(sequence, start=1)
            ],
        )
        + loop("struct_asym", ("id", "entity_id"), [[a, e] for a, e in asyms.items()])
    )


# ---- label ids without entity records ----------------


def hetero_apart(atoms: list[Atom], places: set[int], chain: str = "B") -> list[Atom]:
    """As some writers have it: every HETATM residue gets a label of its own, and what follows it
    another one."""
    labels = iter("ACDEFGHIJKLMNOP")
    asyms: dict[int, str] = {}
    current = next(labels)
    for place in range(1, len(residues(atoms)) + 1):
        if place in places:
            asyms[place] = next(labels)
            current = next(labels)
        else:
            asyms[place] = current
    return by_residue(
        atoms,
        lambda place: {
            "asym": asyms[place],
            "record": "HETATM" if place in places else "ATOM",
            "chain": chain,
            "seq": ".",
        },
    )


@ENTRIES
def test_label_ids_that_cut_through_a_chain_are_set_aside_without_entity_records(entry):
    atoms = stretch(entry)
    plain = read(cif_text(change(atoms, chain="B", seq=".")))
    cut = read(cif_text(hetero_apart(atoms, {7, 12})))
    assert shape(cut) == [("B", 20)]
    assert cut.flags == ["labels_set_aside:B"]
    assert spelled(cut) == spelled(plain)
    assert cut.chains[0].coords.tobytes() == plain.chains[0].coords.tobytes()


@ENTRIES
def test_all_chains_go_by_the_author_once_labels_are_set_aside(entry):
    first = hetero_apart(stretch(entry), {7}, chain="X")
    second = change(moved(stretch("1ubi"), 60), chain="Y", asym="X", seq=".")
    parsed = read(cif_text([*first, *second]))
    assert shape(parsed) == [("X", 20), ("Y", 20)]
    assert parsed.flags == ["labels_set_aside:X", "labels_set_aside:Y"]


@ENTRIES
def test_with_entity_records_a_label_is_a_chain_even_where_a_bond_joins_two(entry):
    atoms = by_residue(
        stretch(entry),
        lambda place: {"asym": "A" if place <= 8 else "B", "seq": str((place - 1) % 8 + 1)},
    )
    atoms = [a for a in atoms if int(a.number) <= 16]
    kinds = names(atoms)
    parsed = read(
        cif_text(
            by_residue(atoms, lambda place: {"entity": "1" if place <= 8 else "2"}),
            before=entities(kinds[:8], kinds[8:16], asyms={"A": "1", "B": "2"}),
        )
    )
    assert shape(parsed) == [("A", 8), ("B", 8)]
    assert parsed.flags == []


@ENTRIES
def test_labels_that_tell_apart_chains_under_one_author_id_stay(entry):
    first = change(stretch(entry), asym="A", chain="Z", seq=".")
    second = change(moved(stretch(entry), 60), asym="B", chain="Z", seq=".")
    parsed = read(cif_text([*first, *second]))
    assert shape(parsed) == [("A", 20), ("B", 20)]
    assert parsed.flags == []


@ENTRIES
def test_labels_that_no_peptide_bond_joins_tell_apart_molecules_that_are_numbered_through(entry):
    first = change(stretch(entry, 12), asym="A", chain="Z", seq=".")
    second = by_residue(moved(stretch(entry, 8, 12), 60), lambda p: {"number": str(p + 12)})
    parsed = read(cif_text([*first, *change(second, asym="B", chain="Z", seq=".")]))
    assert shape(parsed) == [("A", 12), ("B", 8)]
    assert parsed.flags == []


@ENTRIES
def test_a_label_that_names_a_whole_chain_stays_whatever_ligands_have(entry):
    atoms = change(stretch(entry), asym="C", chain="A", seq=".")
    acid = change(moved(stretch("1ubi", 1), 60), record="HETATM", number="301", asym="D", seq=".")
    parsed = read(cif_text([*atoms, *acid]))
    assert shape(parsed) == [("C", 20)]
    assert parsed.flags == []
    assert parsed.metadata.n_ligands == 1


@ENTRIES
def test_waters_without_an_author_id_keep_no_labels(entry):
    water = [Atom("O", "HOH", chain="", asym="W", record="HETATM", number="301", seq=".")]
    parsed = read(cif_text([*hetero_apart(stretch(entry), {7}), *water]))
    assert shape(parsed) == [("B", 20)]
    assert parsed.flags == ["labels_set_aside:B"]


# ---- ligands of amino acids ----------------


@BOTH
@ENTRIES
@pytest.mark.parametrize("behind", [True, False])
def test_a_ligand_of_bonded_amino_acids_is_no_part_of_the_chain(entry, kind, behind):
    atoms = change(stretch(entry), record="ATOM", seq=".")
    ligand = change(moved(stretch("1ubi", 2), 60), record="HETATM", seq=".")
    ligand = by_residue(ligand, lambda p: {"number": str((300 if behind else -10) + p)})
    parsed = read(in_format(kind, [*atoms, *ligand] if behind else [*ligand, *atoms]))
    assert shape(parsed) == [("A", 20)]
    assert parsed.metadata.n_ligands == 2


@BOTH
@ENTRIES
def test_hetatm_residues_that_a_bond_joins_to_the_chain_are_part_of_it(entry, kind):
    atoms = by_residue(
        change(stretch(entry), seq="."),
        lambda p: {"record": "HETATM" if p in (1, 2, 19, 20) else "ATOM"},
    )
    assert shape(read(in_format(kind, atoms))) == [("A", 20)]


# ---- several residues under one number ----------------


def one_number(atoms, first: int = 5, last: int = 8) -> list[Atom]:
    """Residues first … last share the number of the first; those behind are numbered on."""
    return by_residue(
        atoms,
        lambda place: {
            "number": str(
                place if place < first else first if place <= last else place - last + first
            ),
            "seq": ".",
        },
    )


@BOTH
@ENTRIES
def test_residues_that_share_a_number_are_residues_each(entry, kind):
    parsed = read(in_format(kind, one_number(stretch(entry))))
    (chain,) = parsed.chains
    assert spelled(parsed) == spelled(read(in_format(kind, stretch(entry))))
    assert chain.auth_seq_id.tolist() == [1, 2, 3, 4, *[5] * 4, *range(6, 18)]
    assert (np.diff(chain.residue_index) > 0).all()
    assert chain.n_microhet == 0
    assert parsed.flags == ["repeated_numbers:A:3"]


@BOTH
@ENTRIES
def test_residues_of_one_name_under_one_number_are_told_by_atoms_that_come_again(entry, kind):
    alanines = [a for a in stretch(entry) if a.name in ("N", "CA", "C", "O", "CB")]
    parsed = read(in_format(kind, one_number(change(alanines, comp="ALA", record="ATOM"))))
    assert spelled(parsed) == "A" * 20
    assert parsed.flags == ["repeated_numbers:A:3"]


@BOTH
@ENTRIES
@pytest.mark.parametrize("place", [5, 6, 8])
def test_alternates_of_a_side_chain_merge_no_residues_that_share_a_number(entry, kind, place):
    side_chain = [a for a in residues(stretch(entry))[place - 1] if a.name not in BACKBONE]
    split: list[Atom] = []
    for atom in stretch(entry):
        labels = "AB" if atom in side_chain else [""]
        split += [replace(atom, altloc=label) for label in labels]
    parsed = read(in_format(kind, one_number(split)))
    assert spelled(parsed) == spelled(read(in_format(kind, stretch(entry))))
    assert parsed.chains[0].n_microhet == 0
    assert parsed.flags == ["repeated_numbers:A:3"]


@BOTH
@ENTRIES
def test_alternates_of_two_components_stay_one_residue(entry, kind):
    atoms = list(stretch(entry))
    at = residues(atoms)[4]
    other = [replace(a, comp="ALA", altloc="B") for a in at if a.name in ("N", "CA", "C", "O")]
    written = [a for a in atoms if a not in at]
    begin = atoms.index(at[0])
    written[begin:begin] = [*(replace(a, altloc="A") for a in at), *other]
    parsed = read(in_format(kind, change(written, seq=".")))
    assert shape(parsed) == [("A", 20)]
    assert parsed.chains[0].n_microhet == 1
    assert parsed.flags == []


@BOTH
@ENTRIES
def test_two_components_at_one_place_stay_one_residue_without_labels_too(entry, kind):
    atoms = list(stretch(entry))
    at = residues(atoms)[4]
    other = [replace(a, comp="ALA") for a in at if a.name in ("N", "CA", "C", "O")]
    end = atoms.index(at[-1]) + 1
    written = [*atoms[:end], *other, *atoms[end:]]
    parsed = read(in_format(kind, change(written, seq=".")))
    assert shape(parsed) == [("A", 20)]
    assert parsed.chains[0].n_microhet == (at[0].comp != "ALA")


@BOTH
@ENTRIES
def test_a_second_name_without_a_backbone_of_its_own_begins_no_residue(entry, kind):
    atoms = by_residue(stretch(entry), lambda place: {"seq": "."})
    rest = [replace(a, comp="ALA") for a in residues(atoms)[5] if a.name in ("C", "O", "CB")]
    sixth = residues(atoms)[5]
    written = [a for a in atoms if a not in sixth or a.name in ("N", "CA")]
    place = max(k for k, a in enumerate(written) if a.number == "6") + 1
    written[place:place] = rest
    parsed = read(in_format(kind, written))
    assert len(parsed.chains[0].aatype) == 20


# ---- label_seq_id against the sequence ----------------


@ENTRIES
def test_label_seq_that_counts_what_is_modelled_is_replaced_by_places_of_the_names(entry):
    atoms = stretch(entry)
    kinds = names(atoms)
    kept = [a for a in atoms if not 8 <= int(a.number) <= 10]
    renumbered = by_residue(kept, lambda place: {"seq": str(place)})
    parsed = read(cif_text(renumbered, before=entity(kinds)))
    (chain,) = parsed.chains
    assert chain.residue_index.tolist() == list(range(1, 21))
    assert np.flatnonzero(~chain.resolved).tolist() == [7, 8, 9]
    assert spelled(parsed) == chain.entity_sequence
    assert parsed.flags == ["label_seq_set_aside:A"]


@ENTRIES
@pytest.mark.parametrize("shift", [4, 100, -7])
def test_label_seq_that_repeats_the_authors_number_is_replaced_by_places_of_the_names(entry, shift):
    kinds = names(stretch(entry))
    atoms = [a for a in stretch(entry) if int(a.number) <= 12]
    shifted = by_residue(
        atoms, lambda place: {"seq": str(place + shift), "number": str(place + shift)}
    )
    parsed = read(cif_text(shifted, before=entity(kinds)))
    assert parsed.chains[0].residue_index.tolist() == list(range(1, 13))
    assert parsed.chains[0].auth_seq_id.tolist() == list(range(1 + shift, 13 + shift))
    assert parsed.flags == ["label_seq_set_aside:A"]


@ENTRIES
@pytest.mark.parametrize("same", [2, 5, 20])
def test_label_seq_that_comes_again_along_a_bonded_chain_cuts_nothing(entry, same):
    atoms = by_residue(stretch(entry), lambda p: {"seq": str((p - 1) // same + 1)})
    parsed = read(cif_text(atoms, before=entity(names(atoms))))
    assert shape(parsed) == [("A", 20)]
    assert parsed.chains[0].residue_index.tolist() == list(range(1, 21))
    assert parsed.flags == ["label_seq_set_aside:A"]


@ENTRIES
def test_label_seq_that_agrees_is_believed_whatever_the_author_numbers(entry):
    atoms = by_residue(stretch(entry), lambda place: {"number": str(200 - 3 * place)})
    parsed = read(cif_text(atoms, before=entity(names(atoms))))
    assert parsed.chains[0].residue_index.tolist() == list(range(1, 21))
    assert parsed.flags == []


@ENTRIES
@pytest.mark.parametrize("places", [{20}, {1}, {9, 10}])
def test_a_few_mutations_move_no_residue_and_are_counted(entry, places):
    atoms = stretch(entry)
    told = ["TRP" if k in places else c for k, c in enumerate(names(atoms), start=1)]
    parsed = read(cif_text(atoms, before=entity(told)))
    assert parsed.chains[0].residue_index.tolist() == list(range(1, 21))
    assert parsed.flags == [f"sequence_differs:A:{len(places)}"]


@ENTRIES
def test_a_modified_residue_in_place_of_its_parent_is_no_difference(entry):
    atoms = by_residue(stretch(entry), lambda place: {"comp": "MSE"} if place == 9 else {})
    told = ["MET" if k == 9 else c for k, c in enumerate(names(atoms), start=1)]
    assert read(cif_text(atoms, before=entity(told))).flags == []


@ENTRIES
def test_a_sequence_of_something_else_is_set_aside_with_a_flag(entry):
    parsed = read(cif_text(stretch(entry), before=entity(["TRP", "HIS"] * 15)))
    (chain,) = parsed.chains
    assert parsed.flags == ["sequence_mismatch:A"]
    assert chain.entity_sequence is None
    assert chain.residue_index.tolist() == list(range(1, 21))


@ENTRIES
def test_seqres_that_differs_in_a_residue_says_so(entry):
    atoms = change(stretch(entry), record="ATOM")
    told = ["TRP" if k == 9 else c for k, c in enumerate(names(atoms), start=1)]
    parsed = read(pdb_models(atoms, seqres("A", told)))
    assert parsed.flags == ["sequence_differs:A:1"]


# ---- residues without label_seq_id ----------------


@ENTRIES
@pytest.mark.parametrize("places", [{5, 6, 7}, {1, 2}, {20}, {3, 11, 19}])
def test_residues_without_label_seq_belong_to_the_protein(entry, places):
    kinds = names(stretch(entry))
    atoms = by_residue(stretch(entry), lambda p: {"seq": "."} if p in places else {})
    parsed = read(cif_text(atoms, before=entity(kinds)))
    assert shape(parsed) == [("A", 20)]
    assert parsed.chains[0].residue_index.tolist() == list(range(1, 21))
    assert parsed.metadata.n_ligands == 0
    assert parsed.flags == [f"label_seq_missing:A:{len(places)}"]


@ENTRIES
def test_a_free_amino_acid_under_the_label_of_the_protein_stays_a_ligand(entry):
    acid = change(moved(stretch("1ubi", 1), 60), record="HETATM", number="301", seq=".", entity="1")
    parsed = read(cif_text([*stretch(entry), *acid], before=entity(names(stretch(entry)))))
    assert shape(parsed) == [("A", 20)]
    assert parsed.metadata.n_ligands == 1
    assert parsed.flags == []


# ---- which entity ----------------


@ENTRIES
def test_an_author_id_that_struct_asym_has_for_a_ligand_loses_no_chain(entry):
    """Without labels, the author's B is looked up, and B is the label of something else."""
    atoms = change(stretch(entry), chain="B", seq=".")
    before = entities(names(atoms), asyms={"A": "1", "B": "2"})
    columns = without("label_asym_id", "label_entity_id", "label_seq_id")
    parsed = read(cif_text(atoms, before=before, columns=columns))
    assert shape(parsed) == [("B", 20)]
    assert parsed.chains[0].entity_id == "1"
    assert parsed.flags == ["entity_by_sequence:B"]


@ENTRIES
def test_the_entity_that_atoms_name_beats_a_look_up_by_label(entry):
    atoms = change(stretch(entry), chain="B", asym="B")
    parsed = read(cif_text(atoms, before=entities(names(atoms), asyms={"A": "1", "B": "2"})))
    assert shape(parsed) == [("B", 20)]
    assert parsed.chains[0].entity_id == "1"
    assert parsed.flags == ["entity_by_atoms:B"]


@ENTRIES
@pytest.mark.parametrize("named", [True, False])
def test_two_proteins_whose_ids_are_swapped_keep_their_own_sequences(entry, named):
    first = change(stretch(entry), asym="B", chain="B", entity="1")
    second = change(moved(stretch(entry, 20, 21), 90), asym="A", chain="A", entity="2")
    before = entities(names(first), names(second), asyms={"A": "1", "B": "2"})
    columns = list(COLUMNS) if named else without("label_entity_id")
    parsed = read(cif_text([*first, *second], before=before, columns=columns))
    assert [(c.label_asym_id, c.entity_id) for c in parsed.chains] == [("B", "1"), ("A", "2")]
    for chain in parsed.chains:
        assert sequence_string(chain.aatype) == chain.entity_sequence
    how = "entity_by_atoms" if named else "entity_by_sequence"
    assert parsed.flags == [f"{how}:B", f"{how}:A"]


@ENTRIES
def test_two_entities_that_fit_alike_leave_the_entity_open(entry):
    atoms = change(stretch(entry), chain="Q")
    kinds = names(atoms)
    columns = without("label_asym_id", "label_entity_id", "label_seq_id")
    longer = read(
        cif_text(atoms, before=entities(kinds, [*kinds, "GLY"], asyms={"A": "1"}), columns=columns)
    )
    assert (longer.chains[0].entity_id, longer.chains[0].entity_sequence) == (None, None)
    assert longer.flags == ["entity_unclear:Q"]
    alike = read(cif_text(atoms, before=entities(kinds, kinds, asyms={"A": "1"}), columns=columns))
    assert alike.chains[0].entity_id is None
    assert alike.chains[0].entity_sequence == spelled(alike)
    assert alike.flags == ["entity_unclear:Q"]


@ENTRIES
def test_a_label_that_leads_to_one_of_two_like_entities_decides(entry):
    atoms = change(stretch(entry), asym="B")
    kinds = names(atoms)
    parsed = read(
        cif_text(
            atoms,
            before=entities(kinds, kinds, asyms={"A": "1", "B": "2"}),
            columns=without("label_entity_id"),
        )
    )
    assert parsed.chains[0].entity_id == "2"
    assert parsed.flags == []


@ENTRIES
def test_protein_and_ligand_under_one_label_are_told_apart_by_their_entities(entry):
    """The author's id written over the labels puts a ligand first under the protein's label."""
    zinc = [Atom("ZN", "ZN", record="HETATM", number="201", seq=".", entity="2", element="ZN")]
    atoms = [*zinc, *stretch(entry)]
    parsed = read(cif_text(atoms, before=entities(names(stretch(entry)), asyms={"A": "1"})))
    assert shape(parsed) == [("A", 20)]
    assert parsed.metadata.n_ligands == 1


# ---- residues and molecules in an odd order ----------------


def with_segid(atoms, segids: list[str], head: list[str] | None = None) -> str:
    """A PDB file whose residues have segment ids in columns 73–76, without TER."""
    lines = []
    for k, (group, segid) in enumerate(zip(residues(atoms), segids, strict=True)):
        lines += [f"{pdb_line(a, k)[:72]}{segid:<4}{a.symbol:>2}" for a in group]
    return pdb_text(head or [], lines, "END")


def two_molecules(entry: str, chain: str = "P") -> list[Atom]:
    """12 residues and 11 residues 40 Å away, numbered through."""
    first = stretch(entry, 12)
    second = by_residue(
        moved(stretch(entry, 11, 12), 40), lambda p: {"number": str(p + 12), "seq": str(p + 12)}
    )
    return change([*first, *second], chain=chain, record="ATOM")


@ENTRIES
@BOTH
@pytest.mark.parametrize("places", [{1}, {7}, {7, 8}, {1, 9, 15, 16}])
@pytest.mark.parametrize("gap", [set(), {10}], ids=["whole", "gap"])
def test_modified_residues_sorted_behind_a_chain_are_put_back(entry, kind, places, gap):
    whole = by_residue(
        change(stretch(entry), record="ATOM", seq="."),
        lambda p: {"comp": "MSE", "record": "HETATM"} if p in places else {},
    )
    whole = [a for a in whole if int(a.number) not in gap]
    apart = sorted(whole, key=lambda a: a.record)  # ATOM before HETATM, stably
    parsed, expected = read(in_format(kind, apart)), read(in_format(kind, whole))
    assert parsed.flags == [f"put_in_order:A:{len(places)}"]
    assert spelled(parsed) == spelled(expected)
    assert parsed.chains[0].residue_index.tolist() == expected.chains[0].residue_index.tolist()
    assert parsed.chains[0].coords.tobytes() == expected.chains[0].coords.tobytes()


@ENTRIES
@pytest.mark.parametrize("described", [True, False], ids=["SEQRES", "no SEQRES"])
def test_modified_residues_behind_ter_are_put_back_where_bonds_join_them(entry, described):
    whole = by_residue(
        change(stretch(entry), record="ATOM"),
        lambda p: {"comp": "MSE", "record": "HETATM"} if p in (4, 9) else {},
    )
    atoms = [a for a in whole if a.record == "ATOM" and a.number != "10"]
    behind = [a for a in whole if a.record == "HETATM"]
    head = seqres("A", names(whole)) if described else []
    parsed = read(pdb_text(head, atoms, "TER", behind, "END"))
    assert shape(parsed) == [("A", 19)]
    assert spelled(parsed)[:9] == spelled(read(pdb_text(whole)))[:9]
    assert parsed.flags == ["put_in_order:A:2"]


@ENTRIES
@pytest.mark.parametrize("places", [{20}, {19, 20}, {1}, {1, 9, 19, 20}, {1, 2, 20}])
def test_modified_residues_behind_ter_are_put_back_at_the_ends_of_the_chain(entry, places):
    whole = by_residue(
        change(stretch(entry), record="ATOM"),
        lambda p: {"comp": "MSE", "record": "HETATM"} if p in places else {},
    )
    ligand = change(moved(residues(stretch(entry))[9], 60), record="HETATM", number="301")
    apart = [[a for a in whole if a.record == record] for record in ("ATOM", "HETATM")]
    parsed = read(pdb_text(apart[0], "TER", apart[1], ligand, "END"))
    assert spelled(parsed) == spelled(read(pdb_text(whole)))
    assert parsed.flags == [f"put_in_order:A:{len(places)}"]
    assert parsed.metadata.n_ligands == 1


@ENTRIES
@pytest.mark.parametrize("end", ["TER", []], ids=["TER", "no TER"])
def test_modified_residues_before_a_gap_at_the_beginning_are_put_back(entry, end):
    whole = by_residue(
        change(stretch(entry), record="ATOM"),
        lambda p: {"comp": "MSE", "record": "HETATM"} if p < 3 else {},
    )
    whole = [a for a in whole if a.number != "3"]
    apart = [[a for a in whole if a.record == record] for record in ("ATOM", "HETATM")]
    parsed = read(pdb_text(apart[0], end, apart[1], "END"))
    assert spelled(parsed) == spelled(read(pdb_text(whole)))
    assert parsed.flags == ["put_in_order:A:2"]


@ENTRIES
def test_a_sequence_that_ends_before_a_residue_behind_ter_makes_it_a_ligand(entry):
    """An inhibitor or a label may be bonded to the last residue."""
    whole = by_residue(
        change(stretch(entry), record="ATOM"),
        lambda p: {"comp": "MSE", "record": "HETATM"} if p == 20 else {},
    )
    chain = [a for a in whole if a.record == "ATOM"]
    end = change([a for a in whole if a.record == "HETATM"], number="301")
    parsed = read(pdb_text(seqres("A", names(chain)), chain, "TER", end, "END"))
    assert (shape(parsed), parsed.flags) == ([("A", 19)], [])
    assert parsed.metadata.n_ligands == 1
    last = [a for a in whole if a.record == "HETATM"]
    described = read(pdb_text(seqres("A", names(whole)), chain, "TER", last, "END"))
    assert (shape(described), described.flags) == ([("A", 20)], ["put_in_order:A:1"])


@ENTRIES
@pytest.mark.parametrize(
    ("ligand", "first"), [([9], -5), ([9], 21), ([9], 301), ([9, 10], 21), ([9, 10], 301)]
)
def test_a_ligand_behind_ter_that_no_bond_joins_to_an_end_stays_one(entry, ligand, first):
    chain = change(stretch(entry), record="ATOM")
    groups = [residues(stretch(entry))[k] for k in ligand]
    acids = [
        change(moved(group, 60), comp="MSE", record="HETATM", number=str(first + k))
        for k, group in enumerate(groups)
    ]
    parsed = read(pdb_text(chain, "TER", *acids, "END"))
    assert shape(parsed) == [("A", 20)]
    assert parsed.metadata.n_ligands == len(ligand)


@ENTRIES
@BOTH
@pytest.mark.parametrize("n", [1, 2])
@pytest.mark.parametrize("comp", [None, "MSE"])
def test_amino_acids_behind_a_gap_that_may_be_residues_or_ligands_are_flagged(entry, kind, n, comp):
    chain = change(stretch(entry, 24), record="ATOM", seq=".")
    free = by_residue(
        change([a for group in residues(chain)[-n:] for a in group], record="HETATM"),
        lambda p: {"comp": comp} if comp and p == n else {},
    )
    kept = [a for group in residues(chain)[: -n - 2] for a in group]
    parsed = read(in_format(kind, [*kept, *free]))
    if comp and n > 1:
        # A modified residue in a stretch of bonded ones is no ligand.
        assert (shape(parsed), parsed.flags) == ([("A", 22)], [])
        return
    assert shape(parsed) == [("A", 22 - n)]
    assert parsed.flags == [f"free_amino_acids:A:{n}"]
    if kind == "pdb":
        told = read(pdb_text(kept, "TER", free, "END"))
        assert shape(told) == [("A", 22 - n)]
        assert told.flags == [], "TER says that these are ligands"
        cap = change(residues(kept)[0][:3], comp="ACE", record="HETATM", number="0")
        head = seqres("A", ["ACE", *names(kept)])
        assert read(pdb_text(head, cap, kept, free, "END")).flags == parsed.flags


@ENTRIES
@BOTH
def test_a_free_amino_acid_whose_number_is_within_a_gap_stays_a_ligand(entry, kind):
    chain = [a for a in change(stretch(entry), record="ATOM", seq=".") if a.number != "10"]
    acid = change(moved(residues(stretch(entry))[9], 60), record="HETATM", seq=".")
    parsed = read(in_format(kind, [*chain, *acid]))
    assert shape(parsed) == [("A", 19)]
    assert parsed.metadata.n_ligands == 1
    assert parsed.flags == ["free_amino_acids:A:1"]


@ENTRIES
@pytest.mark.parametrize("end", ["END", "ENDMDL"])
@pytest.mark.parametrize("chain", ["A", "B"])
def test_other_atoms_behind_an_end_are_left_out_with_a_flag(entry, end, chain):
    first, second = stretch(entry, 12), change(stretch(entry, 8, 12), chain=chain)
    parsed = read(pdb_text(first, end, second, end))
    assert shape(parsed) == [("A", 12)]
    assert parsed.flags == [f"atoms_behind_end:{len(second)}"]
    assert read(pdb_text(first, end, second, end), models="all").flags == []


@ENTRIES
def test_the_same_atoms_behind_an_end_are_another_model_and_need_no_flag(entry):
    parsed = read(pdb_text(stretch(entry), "END", moved(stretch(entry), 40), "END"))
    assert shape(parsed) == [("A", 20)]
    assert parsed.flags == []


# ---- segment ids ----------------


@ENTRIES
@pytest.mark.parametrize("chain", ["P", ""])
def test_molecules_told_apart_by_segid_alone_are_two_chains(entry, chain):
    text = with_segid(two_molecules(entry, chain), ["PROA"] * 12 + ["PROB"] * 11)
    parsed = read(text)
    ident = chain or "_"
    assert shape(parsed) == [(ident, 12), (f"{ident}.2", 11)]
    assert parsed.flags == [f"split_by_segid:{ident}"]


@ENTRIES
@pytest.mark.parametrize(
    "segids",
    [["P"] * 23, ["PROA"] * 23, [""] * 23, [""] * 12 + ["PROA"] * 11, ["1TST"] * 12 + ["P"] * 11],
    ids=["chain id", "one", "none", "none then one", "entry id then chain id"],
)
def test_segids_that_say_nothing_cut_nothing(entry, segids):
    head = ["HEADER    TEST                                    01-JAN-20   1TST"]
    parsed = read(with_segid(two_molecules(entry), segids, head))
    assert shape(parsed) == [("P", 23)]
    assert parsed.flags == ["wide_gaps:P:1"]


@ENTRIES
def test_a_peptide_bond_is_stronger_than_a_segid(entry):
    parsed = read(with_segid(change(stretch(entry), record="ATOM"), ["S1"] * 8 + ["S2"] * 12))
    assert shape(parsed) == [("A", 20)]
    assert parsed.flags == []


@ENTRIES
def test_seqres_is_stronger_than_a_segid(entry):
    atoms = two_molecules(entry)
    text = with_segid(atoms, ["PROA"] * 12 + ["PROB"] * 11, seqres("P", names(atoms)))
    assert shape(read(text)) == [("P", 23)]


# ---- several molecules under one id ----------------


@ENTRIES
@pytest.mark.parametrize("first", [13, 16, -20], ids=["on", "gap", "fall"])
def test_molecules_under_one_id_with_a_ter_between_are_two_chains(entry, first):
    atoms = two_molecules(entry)
    head = [a for a in atoms if int(a.number) <= 12]
    tail = by_residue(
        [a for a in atoms if int(a.number) > 12], lambda p: {"number": str(first + p - 1)}
    )
    parsed = read(pdb_text(head, "TER", tail, "TER", "END"))
    assert shape(parsed) == [("P", 12), ("P.2", 11)]
    assert parsed.flags == ["split_by_ter:P"]


@ENTRIES
def test_a_ter_at_a_gap_that_the_missing_residues_could_span_joins_with_a_flag(entry):
    groups = residues(change(stretch(entry), record="ATOM"))
    parsed = read(pdb_text(*groups[:9], "TER", *groups[12:], "TER", "END"))
    assert shape(parsed) == [("A", 17)]
    assert parsed.flags == ["joined_over_ter:A"]


@ENTRIES
def test_a_peptide_bond_is_stronger_than_a_ter(entry):
    groups = residues(change(stretch(entry), record="ATOM"))
    text = pdb_text(*groups[:9], "TER", *groups[9:], "TER", "END")
    parsed = read(text)
    assert shape(parsed) == [("A", 20)]
    assert parsed.flags == []


@ENTRIES
def test_seqres_is_stronger_than_a_ter(entry):
    groups = residues(change(two_molecules(entry), record="ATOM"))
    head = seqres("P", [g[0].comp for g in groups])
    parsed = read(pdb_text(head, *groups[:12], "TER", *groups[12:], "TER", "END"))
    assert shape(parsed) == [("P", 23)]
    assert parsed.flags == []


@ENTRIES
@BOTH
@pytest.mark.parametrize("lacking", [1, 3])
def test_residues_that_only_the_second_copy_has_are_part_of_the_second_copy(entry, kind, lacking):
    whole = change(stretch(entry), record="ATOM", seq=".")
    parsed = read(
        in_format(kind, [*(a for a in whole if int(a.number) > lacking), *moved(whole, 40)])
    )
    assert shape(parsed) == [("A", 20 - lacking), ("A.2", 20)]
    assert parsed.flags == ["several_chains_of_one_id:A"]


@ENTRIES
def test_one_residue_per_segment_under_one_number_is_two_chains(entry):
    first, second = residues(stretch(entry))[3], residues(stretch(entry))[7]
    atoms = change([*first, *moved(second, 40)], number="1", chain="", record="ATOM")
    lines = [f"{pdb_line(a)[:72]}{'P1' if a.seq == '4' else 'P2':<4}{a.symbol:>2}" for a in atoms]
    parsed = read(pdb_text(lines, "END"))
    assert shape(parsed) == [("_", 1), ("_.2", 1)]
    assert "split_by_segid:_" in parsed.flags


# ---- assemblies that list author ids ----------------


def assembly(asyms: str) -> str:
    identity = ["1", "0", "0", "0", "0", "1", "0", "0", "0", "0", "1", "0"]
    turned = ["-1", "0", "0", "100", "0", "-1", "0", "0", "0", "0", "1", "0"]
    elements = [
        t for i in (1, 2, 3) for t in (*(f"matrix[{i}][{j}]" for j in (1, 2, 3)), f"vector[{i}]")
    ]
    return (
        "_pdbx_struct_assembly_gen.assembly_id 1\n_pdbx_struct_assembly_gen.oper_expression 1,2\n"
        f"_pdbx_struct_assembly_gen.asym_id_list {asyms}\n# \n"
        + loop("pdbx_struct_oper_list", ["id", *elements], [["1", *identity], ["2", *turned]])
    )


@ENTRIES
def test_an_assembly_that_lists_the_authors_id_is_built_by_it(entry):
    atoms = change(stretch(entry), chain="U", asym="A")
    before = entity(names(atoms))
    by_author = read(cif_text(atoms, before=before + assembly("U")), assembly="first")
    by_label = read(cif_text(atoms, before=before + assembly("A")), assembly="first")
    assert [c.label_asym_id for c in by_author.chains] == ["A", "A-2"]
    assert by_author.flags == ["assembly_by_author_id:1"]
    assert by_label.flags == []
    for mine, other in zip(by_author.chains, by_label.chains, strict=True):
        assert mine.coords.tobytes() == other.coords.tobytes()


@ENTRIES
def test_an_assembly_of_chains_that_are_not_there_fails_and_names_both(entry):
    atoms = change(stretch(entry), chain="U", asym="A")
    text = cif_text(atoms, before=entity(names(atoms)) + assembly("V"))
    with pytest.raises(ParseError, match=r"lists the chains V; .* A \(label.* U \(auth") as error:
        read(text, assembly="first")
    assert error.value.reason == "bad-assembly"


@ENTRIES
def test_an_assembly_that_lists_a_label_goes_by_labels_and_names_what_it_lacks(entry):
    atoms = change(stretch(entry), chain="U", asym="A")
    text = cif_text(atoms, before=entity(names(atoms)) + assembly("A,U"))
    parsed = read(text, assembly="first")
    assert [c.label_asym_id for c in parsed.chains] == ["A", "A-2"]
    assert parsed.flags == ["assembly_lacks:U"]


# ---- what is left out ----------------


@BOTH
@ENTRIES
@pytest.mark.parametrize(("n_lost", "flag"), [(2, []), (3, ["left_out:17/20"])])
def test_a_file_that_keeps_under_nine_tenths_of_its_residues_says_so(entry, kind, n_lost, flag):
    atoms = by_residue(
        stretch(entry), lambda p: {"occupancy": "0.00"} if 4 <= p < 4 + n_lost else {}
    )
    assert read(in_format(kind, atoms)).flags == flag


@ENTRIES
def test_a_file_that_lacks_more_than_five_residues_says_so(entry):
    atoms = [
        replace(a, chain=c, occupancy="0.00" if c == "A" and int(a.number) in range(3, 9) else "1")
        for c in "ABCDEF"
        for a in stretch(entry)
    ]
    assert read(in_format("pdb", atoms)).flags == ["left_out:114/120"]


@ENTRIES
@BOTH
def test_residues_that_have_the_names_of_nucleotides_are_left_out_with_a_flag(entry, kind):
    atoms = by_residue(stretch(entry), lambda p: {"comp": "I"} if p in (4, 9, 15) else {})
    assert read(in_format(kind, change(atoms, seq="."))).flags == ["left_out:17/20"]


@ENTRIES
def test_a_protein_that_its_entity_calls_something_else_is_left_out_with_a_flag(entry):
    atoms = change(stretch(entry), entity="2")
    text = cif_text(atoms, before=entities(names(atoms), asyms={"B": "1", "A": "2"}))
    assert read(text).chains == []
    assert read(text).flags == ["left_out:0/20"]


LEFT_OUT_IN_MAIN = {
    "1a9u.cif.gz", "1bl6.cif.gz", "1bmk.cif.gz", "1es9.pdb.gz", "1fne.pdb.gz", "1mzd.pdb.gz",
    "6rfk.cif.gz",
}  # fmt: skip
"""Loops whose atoms have no occupancy."""


@pytest.mark.skipif(not STRUCTURES.is_dir(), reason="needs the shared structures")
def test_archive_files_contradict_themselves_only_where_loops_are_unoccupied():
    flagged: dict[str, list[str]] = {}
    for path in sorted((STRUCTURES / "main").iterdir()):
        try:
            flags = read_chains(decompress(path.read_bytes(), 1 << 30), "entry").flags
        except ParseError:  # 2atc has blanks for coordinates
            continue
        of_reconciling = [f for f in flags if f.partition(":")[0] in RECONCILED]
        if of_reconciling:
            flagged[path.name] = of_reconciling
    assert set(flagged) == LEFT_OUT_IN_MAIN
    assert all(f.startswith("left_out:") for flags in flagged.values() for f in flags)


def test_waters_ions_and_ligands_are_not_counted_as_left_out():
    other = [
        Atom(name, comp, record="HETATM", number=str(300 + k), element=element)
        for k, (name, comp, element) in enumerate(
            [("O", "HOH", "O"), ("CA", "CA", "CA"), ("ZN", "ZN", "ZN")] * 5
        )
    ]
    assert read(in_format("pdb", [*stretch("1ubi"), *other])).flags == []


def test_one_label_for_the_chains_of_several_authors_is_set_aside():
    first = [residue(c, k, asym="A", seq=".") for k, c in enumerate(["ALA", "GLY", "SER"], 1)]
    other = [
        residue(c, k, chain="B", asym="A", seq=".", shift=40.0) for k, c in ((1, "TRP"), (2, "MET"))
    ]
    found = read(cif_text([a for some in (*first, *other) for a in some]))
    assert [(c.label_asym_id, c.auth_asym_id, len(c)) for c in found.chains] == [
        ("A", "A", 3),
        ("B", "B", 2),
    ]
    assert found.flags == ["labels_set_aside:B"]
