"""The parsing policy, row by row, on files of a few atoms."""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.parsing import NotAStructure, ParseError, read_chains
from pipeline.residues import UNKNOWN, sequence_string
from pipeline.sources import decompress
from tests.support.places import EXAMPLES, STRUCTURES
from tests.support.structure_text import (
    Atom,
    chain,
    change,
    cif_text,
    entity,
    in_format,
    loop,
    pdb_models,
    pdb_text,
    read,
    residue,
    seqres,
)

BOTH = pytest.mark.parametrize("kind", ["pdb", "cif"])
BACKBONE = 0b1111


def sequence(parsed, k: int = 0) -> str:
    return sequence_string(parsed.chains[k].aatype)


def labels(parsed) -> list[str]:
    return [c.label_asym_id for c in parsed.chains]


# ---- chains ----------------


@BOTH
def test_chain_ids_are_case_sensitive(kind):
    atoms = [*chain(["ALA", "GLY"], chain="A"), *chain(["SER"], chain="a")]
    assert labels(read(in_format(kind, atoms))) == ["A", "a"]


def test_mmcif_keeps_label_and_author_chain_ids_of_any_length():
    atoms = change(chain(["ALA", "GLY"]), chain="AUTH5", asym="LABEL")
    parsed = read(cif_text(atoms))
    assert (parsed.chains[0].label_asym_id, parsed.chains[0].auth_asym_id) == ("LABEL", "AUTH5")


def test_a_pdb_chain_without_id_is_named_underscore():
    assert labels(read(in_format("pdb", change(chain(["ALA"]), chain="")))) == ["_"]


def test_two_character_chain_ids_of_pdb_files_are_kept_apart():
    atoms = [*chain(["ALA"], chain="XA"), *chain(["GLY"], chain="YA")]
    assert labels(read(in_format("pdb", atoms))) == ["XA", "YA"]


def test_a_four_letter_residue_name_of_molecular_dynamics_is_no_chain_id():
    line = pdb_text(chain(["ALA"]))
    water = "ATOM      9  OH2 TIP3    7      10.000  44.891  14.267  1.00  0.00\n"
    parsed = read(line + water)
    assert labels(parsed) == ["A"]
    assert parsed.metadata.n_waters == 1


@BOTH
def test_the_dummies_of_a_membrane_s_faces_are_left_out_and_counted(kind):
    """OPM writes hundreds of them, N and O by side of the membrane."""
    protein = chain(["ALA", "GLY"])
    dummies = [
        replace(a, name="NO"[k % 2], comp="DUM", number=str(k), record="HETATM", seq=".")
        for k in range(900, 940)
        for a in residue("ALA", k, names=("N",))
    ]
    found = read(in_format(kind, [*protein, *dummies]), with_others=True)
    assert found.metadata.n_ligands == 0
    assert found.flags == ["dummy_atoms:40"]
    assert not len(found.others)


def test_anonymous_chains_end_at_ter():
    one, two = change(chain(["ALA", "GLY"]), chain=""), change(chain(["SER"], first=3), chain="")
    parsed = read(pdb_text(one, "TER", two, "TER", "END"))
    assert labels(parsed) == ["_", "_.2"]
    assert [c.auth_asym_id for c in parsed.chains] == ["_", "_"]
    assert parsed.flags == ["several_chains_of_one_id:_"]


def test_a_named_chain_goes_on_behind_a_ter_within_it():
    parsed = read(pdb_text(chain(["ALA", "GLY"]), "TER", chain(["SER"], first=3), "END"))
    assert (labels(parsed), sequence(parsed)) == (["A"], "AGS")


@pytest.mark.parametrize("between", [["TER"], []])
def test_residues_that_come_again_under_one_chain_id_are_a_chain_of_their_own(between):
    atoms = chain(["ALA", "GLY"]), change(chain(["ALA", "GLY", "SER"], shift=30.0), chain="A")
    parsed = read(pdb_text(atoms[0], between, atoms[1], "END"))
    assert labels(parsed) == ["A", "A.2"]
    assert [sequence(parsed, k) for k in (0, 1)] == ["AG", "AGS"]
    assert not np.array_equal(parsed.chains[0].coords, parsed.chains[1].coords[:10])


def test_a_residue_whose_alternates_stand_apart_is_one_residue():
    a = change(residue("SER", 1), altloc="A", occupancy="0.60")
    b = change(residue("SER", 1, shift=0.5), altloc="B", occupancy="0.40")
    parsed = read(pdb_text(a, residue("GLY", 2), b, "TER"))
    assert (labels(parsed), sequence(parsed)) == (["A"], "SG")
    assert parsed.chains[0].n_altloc == 1


@pytest.mark.parametrize("word", ["polypeptide", "peptide", "PROTEIN", "'other'", "?"])
def test_residues_decide_where_the_type_of_the_polymer_is_no_word_for_one(word):
    described = entity(["ALA", "GLY", "SER"])
    plain = read(cif_text(chain(["ALA", "GLY", "SER"]), before=described))
    text = cif_text(
        chain(["ALA", "GLY", "SER"]), before=described.replace("'polypeptide(L)'", word)
    )
    found = read(text)
    assert sequence(found) == sequence(plain) == "AGS"
    assert found.chains[0].entity_sequence == plain.chains[0].entity_sequence
    assert found.flags == []


@pytest.mark.parametrize(
    "word",
    [
        "polyribonucleotide",
        "'peptide nucleic acid'",
        "'polysaccharide(D)'",
        "DNA",
        "'DNA/RNA hybrid'",
    ],
)
def test_a_polymer_whose_type_is_another_one_is_no_protein(word):
    described = entity(["ALA", "GLY", "SER"]).replace("'polypeptide(L)'", word)
    assert not read(cif_text(chain(["ALA", "GLY", "SER"]), before=described)).chains


def test_without_entity_records_a_chain_is_protein_if_its_residues_are():
    atoms = [*chain(["ALA", "GLY"]), *change(residue("DA", 1), chain="B", asym="B")]
    parsed = read(in_format("pdb", atoms))
    assert labels(parsed) == ["A"]
    assert parsed.metadata.n_nucleic == 1


def test_with_entity_records_they_decide():
    text = cif_text(chain(["ALA", "GLY"]), before=entity(["ALA", "GLY"]))
    assert labels(read(text)) == ["A"]
    branched = text.replace("_entity.type polymer", "_entity.type branched")
    assert labels(read(branched.replace("polypeptide(L)", "other"))) == []


def test_a_free_amino_acid_behind_ter_is_a_ligand():
    ligand = change(residue("GLU", 301, place=20), record="HETATM")
    parsed = read(pdb_text(chain(["ALA", "GLY"]), "TER", ligand, "END"))
    assert sequence(parsed) == "AG"
    assert parsed.metadata.n_ligands == 1


@BOTH
def test_a_free_amino_acid_that_nothing_binds_is_a_ligand_without_ter_as_well(kind):
    ligand = change(residue("GLU", 301, place=20), record="HETATM")
    assert sequence(read(in_format(kind, [*chain(["ALA", "GLY"]), *ligand]))) == "AG"
    assert (
        sequence(read(in_format(kind, [*change(ligand, number="0"), *chain(["ALA", "GLY"])])))
        == "AG"
    )


@BOTH
def test_a_modified_residue_at_the_end_of_the_chain_is_bonded_and_stays(kind):
    end = change(residue("MSE", 3), record="HETATM")
    assert sequence(read(in_format(kind, [*chain(["ALA", "GLY"]), *end]))) == "AGM"


def test_atom_residues_behind_the_last_ter_are_not_lost():
    parsed = read(pdb_text(chain(["ALA"]), "TER", chain(["GLY"], chain="B"), "END"))
    assert labels(parsed) == ["A", "B"]
    blank = read(
        pdb_text(change(chain(["ALA"]), chain=""), "TER", change(chain(["GLY"], 9), chain=""))
    )
    assert labels(blank) == ["_", "_.2"]


# ---- residues and numbering ----------------


def test_an_entity_sequence_gives_positions_gaps_and_letters():
    comps = ["MET", "ALA", "GLY", "SER", "THR", "TRP"]
    atoms = [*residue("ALA", 2), *residue("THR", 5)]
    found = read(cif_text(atoms, before=entity(comps))).chains[0]
    assert found.residue_index.tolist() == [2, 3, 4, 5]  # unresolved ends are trimmed
    assert found.resolved.tolist() == [True, False, False, True]
    assert sequence_string(found.aatype) == "AGST"
    assert found.entity_sequence == "MAGSTW"
    assert found.atom14_mask.tolist() == [31, 0, 0, 31]


def test_without_an_entity_sequence_no_rows_are_invented_and_author_numbers_count():
    atoms = [*residue("ALA", -5), *residue("GLY", 7), *residue("SER", 7, place=8, ins="A")]
    for kind in ("pdb", "cif"):
        found = read(in_format(kind, atoms)).chains[0]
        assert found.residue_index.tolist() == [-5, 7, 8]
        assert found.auth_seq_id.tolist() == [-5, 7, 7]
        assert found.ins_code.tolist() == [0, 0, ord("A")]
        assert found.entity_sequence is None


@BOTH
def test_numbers_that_go_back_are_made_increasing_in_the_order_of_the_file(kind):
    atoms = [
        *residue("ALA", 50, place=1),
        *residue("GLY", 3, place=2),
        *residue("SER", 60, place=3),
    ]
    found = read(in_format(kind, atoms)).chains[0]
    assert found.residue_index.tolist() == [50, 51, 60]
    assert found.auth_seq_id.tolist() == [50, 3, 60]


def test_insertion_codes_are_part_of_the_identity():
    atoms = [a for k, i in enumerate(["", "A", "B"]) for a in residue("GLY", 52, place=k, ins=i)]
    for kind in ("pdb", "cif"):
        found = read(in_format(kind, atoms)).chains[0]
        assert found.ins_code.tolist() == [0, ord("A"), ord("B")]


def test_numbers_of_five_digits_and_hybrid_36_are_read():
    five = pdb_text(residue("ALA", 9999, place=1)) + pdb_text(
        residue("GLY", "1000", place=2, ins="0")
    )
    assert read(five).chains[0].auth_seq_id.tolist() == [9999, 10000]
    hybrid = pdb_text(residue("ALA", 9999, place=1), residue("GLY", "A000", place=2))
    assert read(hybrid).chains[0].auth_seq_id.tolist() == [9999, 10000]


def test_residues_without_a_readable_number_are_counted_on():
    atoms = [*residue("ALA", 9999, place=1)]
    for k, comp in enumerate(["GLY", "GLY", "SER"], start=2):
        atoms += residue(comp, "****", place=k)
    parsed = read(in_format("pdb", atoms))
    assert sequence(parsed) == "AGGS"
    assert parsed.chains[0].residue_index.tolist() == [9999, 10000, 10001, 10002]
    assert parsed.flags == ["numbers_guessed:3"]


@BOTH
def test_residues_with_a_glycan_under_the_names_of_glycam_are_what_their_atoms_say(kind):
    backbone = ("N", "CA", "C", "O", "CB")
    atoms = [
        *residue("NLN", 1, names=(*backbone, "CG", "OD1", "ND2")),
        *residue("OLS", 2, names=(*backbone, "OG")),
        *residue("OLT", 3, names=(*backbone, "OG1", "CG2")),
        *residue("NLN", 4, names=(*backbone, "CG", "OD1", "ND2")),
    ]
    parsed = read(in_format(kind, atoms))
    assert sequence(parsed) == "NSTN"
    assert parsed.chains[0].n_modified == 0
    assert sorted(parsed.flags) == ["glycam_name:NLN:2", "glycam_name:OLS:1", "glycam_name:OLT:1"]
    # Norleucine amide, by its atoms.
    other = read(in_format(kind, residue("NLN", 1, names=(*backbone, "CG", "CD", "CE", "NXT"))))
    assert sequence(other) == "L"
    assert other.flags == []


def test_sequence_and_atoms_that_disagree_fall_back_to_author_numbers_with_a_flag():
    text = pdb_text(seqres("A", ["TRP", "TRP", "TRP"]), chain(["ALA", "GLY"], first=7), "TER")
    parsed = read(text)
    assert parsed.flags == ["sequence_mismatch:A"]
    assert parsed.chains[0].residue_index.tolist() == [7, 8]
    assert parsed.chains[0].entity_sequence is None


def test_waters_in_the_chain_of_an_undescribed_sequence_are_no_residues():
    water = Atom("O", "HOH", number="90", seq=".", record="HETATM")
    before = entity(["ALA"]).replace("1 1 ALA", "1 5 ALA")
    parsed = read(cif_text([*chain(["ALA", "GLY"]), water], before=before))
    assert sequence(parsed) == "AG"
    assert parsed.metadata.n_waters == 1


def test_the_first_of_a_heterogeneous_entity_sequence_stands():
    rows = [["1", "1", "ALA"], ["1", "2", "SER"], ["1", "2", "PRO"], ["1", "3", "GLY"]]
    before = entity(["ALA"]).replace(
        loop("entity_poly_seq", ("entity_id", "num", "mon_id"), [["1", "1", "ALA"]]),
        loop("entity_poly_seq", ("entity_id", "num", "mon_id"), rows),
    )
    found = read(cif_text([*residue("ALA", 1), *residue("GLY", 3)], before=before)).chains[0]
    assert found.entity_sequence == "ASG"


# ---- residues: chemistry ----------------


@BOTH
@pytest.mark.parametrize(
    ("comp", "letter"),
    [
        ("MSE", "M"),
        ("SEC", "C"),
        ("PYL", "K"),
        ("SEP", "S"),
        ("HSD", "H"),
        ("CYX", "C"),
        ("DAL", "X"),
    ],
)
def test_modified_residues_are_their_parents_and_d_residues_are_x(kind, comp, letter):
    middle = change(residue(comp, 2), record="HETATM")
    assert (
        sequence(read(in_format(kind, [*residue("ALA", 1), *middle, *residue("GLY", 3)])))
        == f"A{letter}G"
    )


def test_the_selenium_of_mse_stands_in_the_place_of_sulphur():
    mse = change(
        residue("MSE", 2, names=("N", "CA", "C", "O", "CB", "CG", "SE", "CE")), record="HETATM"
    )
    met = residue("MET", 2, names=("N", "CA", "C", "O", "CB", "CG", "SD", "CE"))
    masks = [
        read(in_format("cif", [*residue("ALA", 1), *r])).chains[0].atom14_mask for r in (mse, met)
    ]
    assert np.array_equal(*masks)


def test_a_d_residue_keeps_backbone_and_cb():
    found = read(in_format("cif", [*residue("ALA", 1), *residue("DAL", 2)])).chains[0]
    assert found.aatype.tolist()[1] == UNKNOWN
    assert found.atom14_mask.tolist() == [31, 31]
    assert found.n_modified == 1


@BOTH
def test_unknown_residues_with_a_backbone_are_x(kind):
    assert sequence(read(in_format(kind, chain(["ALA", "QQQ", "GLY"])))) == "AXG"


# ---- models ----------------


@BOTH
def test_the_first_model_is_read_whatever_its_number(kind):
    atoms = [*change(chain(["ALA"]), model=5), *change(chain(["ALA"], shift=9.0), model=2)]
    parsed = read(in_format(kind, atoms))
    assert [c.model for c in parsed.chains] == [5]
    every = read(in_format(kind, atoms), models="all")
    assert [c.model for c in every.chains] == [5, 2]
    assert np.array_equal(every.chains[0].coords, parsed.chains[0].coords)
    assert not np.array_equal(every.chains[1].coords, parsed.chains[0].coords)


@pytest.mark.parametrize("aligned", [True, False])
def test_only_the_first_model_is_read_however_the_table_is_written(aligned):
    atoms = [*change(chain(["ALA"]), model=5), *change(chain(["ALA"], shift=9.0), model=2)]
    assert read(cif_text(atoms, aligned=aligned)).n_atoms == 5
    assert read(cif_text(atoms, aligned=aligned), models="all").n_atoms == 10


def test_models_without_numbers_or_with_equal_ones_are_numbered():
    one, two = pdb_text(chain(["ALA"])), pdb_text(chain(["GLY"]))
    text = f"MODEL\n{one}ENDMDL\nMODEL\n{two}ENDMDL\nMODEL        1\n{two}ENDMDL\n"
    assert [c.model for c in read(text, models="all").chains] == [1, 2, 3]


def test_mmcif_models_may_stand_mixed():
    a, b = change(residue("ALA", 1), model=1), change(residue("ALA", 1, shift=5.0), model=2)
    mixed = [x for pair in zip(a, b, strict=True) for x in pair]
    assert np.array_equal(
        read(cif_text(mixed)).chains[0].coords, read(cif_text(a)).chains[0].coords
    )


# ---- what is left out ----------------


@BOTH
@pytest.mark.parametrize(
    ("name", "element"), [("HA", "H"), ("D", "D"), ("HA", ""), ("1HB", ""), ("HG21", "")]
)
def test_hydrogens_are_left_out_by_element_or_by_name(kind, name, element):
    hydrogen = change(residue("ALA", 1, names=(name,)), element=element)
    found = read(in_format(kind, [*residue("ALA", 1), *hydrogen])).chains[0]
    assert found.atom14_mask.tolist() == [31]


def test_columns_73_to_80_of_the_1990s_are_no_elements():
    lines = [
        line[:72] + f"1ACE{k:4d}" for k, line in enumerate(pdb_text(chain(["ALA"])).splitlines())
    ]
    assert read("\n".join(lines)).chains[0].atom14_mask.tolist() == [31]


@BOTH
def test_atoms_of_zero_occupancy_are_dropped_unless_the_whole_chain_has_none(kind):
    atoms = [*residue("ALA", 1), *change(residue("GLY", 2), occupancy="0.00"), *residue("SER", 3)]
    some = read(in_format(kind, atoms)).chains[0]
    assert some.resolved.tolist() == [True, False, True]
    assert sequence_string(some.aatype) == "AGS"
    every = read(in_format(kind, change(atoms, occupancy="0.00"))).chains[0]
    assert every.resolved.tolist() == [True, True, True]


@BOTH
def test_a_blank_occupancy_is_an_occupied_atom(kind):
    atoms = [*residue("ALA", 1), *change(residue("GLY", 2), occupancy="")]
    assert read(in_format(kind, atoms)).chains[0].resolved.tolist() == [True, True]


@BOTH
def test_a_gap_that_no_chain_spans_is_flagged_and_one_that_missing_residues_span_is_not(kind):
    first = change(chain(["ALA", "GLY"]), seq=".")

    def flags(number: int, shift: float) -> list[str]:
        other = residue("SER", number, place=3, shift=shift, seq=".")
        return read(in_format(kind, [*first, *other])).flags

    assert flags(3, 40.0) == ["wide_gaps:A:1"]
    assert flags(6, 40.0) == ["wide_gaps:A:1"]
    assert flags(20, 40.0) == []
    assert flags(3, 6.0) == []


# ---- names of atoms ----------------


@BOTH
def test_heavy_atoms_that_a_standard_residue_does_not_have_are_counted(kind):
    backbone = ("N", "CA", "C", "O", "CB")
    ends = ("OXT", "OT2", "CAY", "NT", "LP1")
    atoms = residue("SER", 1, names=(*backbone, "OG1", "H", "HG1"))
    atoms += [*residue("ALA", 2, names=(*backbone, *ends)), *residue("MET", 3)]
    assert read(in_format(kind, atoms)).flags == ["unknown_atoms:1"]
    # A modified residue has atoms of its own.
    atoms[:8] = residue("SEP", 1, names=(*backbone, "OG", "P", "O1P"))
    assert read(in_format(kind, atoms)).flags == []


@BOTH
@pytest.mark.parametrize(
    ("comp", "old", "new"),
    [
        ("ASN", ("CG", "AD1", "AD2"), ("CG", "OD1", "ND2")),
        ("GLN", ("CG", "CD", "AE1", "AE2"), ("CG", "CD", "OE1", "NE2")),
    ],
)
def test_side_chain_atoms_that_are_o_or_n_are_read_and_counted(kind, comp, old, new):
    def of(names):
        return read(in_format(kind, residue(comp, 1, names=("N", "CA", "C", "O", "CB", *names))))

    (plain,), found = of(new).chains, of(old)
    assert found.flags == ["ambiguous_atoms:2"]
    assert found.chains[0].atom14_mask.tolist() == plain.atom14_mask.tolist()
    assert found.chains[0].coords.tolist() == plain.coords.tolist()


# ---- coordinates ----------------


@BOTH
@pytest.mark.parametrize("bad", ["nan", "?", "", "1.2.3", "1e"])
def test_an_unreadable_coordinate_is_an_absent_atom_and_counted(kind, bad):
    atoms = residue("ALA", 1)
    atoms[4] = change([atoms[4]], xyz=("1.000", bad, "1.000"))[0]
    found = read(in_format(kind, atoms)).chains[0]
    assert found.atom14_mask.tolist() == [BACKBONE]
    assert found.n_bad_atoms == 1
    assert len(found.coords) == 4


@BOTH
@pytest.mark.parametrize("undefined", ["9999.000", "9999.999", "0.000"])
def test_coordinates_that_say_undefined_are_absent_atoms_and_counted(kind, undefined):
    first, second, third = residue("ALA", 1), residue("SER", 2), residue("ALA", 3)
    for atoms in (first, second):
        atoms[4:] = change(atoms[4:], xyz=(undefined,) * 3)
    found = read(in_format(kind, first + second + third)).chains[0]
    assert found.atom14_mask.tolist() == [BACKBONE, BACKBONE, 0b11111]
    assert found.n_bad_atoms == 2
    assert len(found.coords) == 13


@BOTH
def test_one_atom_may_be_at_the_origin_in_each_model_and_as_alternates(kind):
    origin = ("0.000",) * 3
    atoms = residue("ALA", 1)
    atoms[4:] = [Atom("CB", xyz=origin, altloc=label, seq="1") for label in "AB"]
    both = atoms + change(atoms, model=2)
    assert [c.n_bad_atoms for c in read(in_format(kind, both), models="all").chains] == [0, 0]


@BOTH
def test_an_ion_at_the_origin_takes_no_atom_of_a_protein_from_there(kind):
    atoms = residue("ALA", 1)
    atoms[1] = change(atoms[1:2], xyz=("0.000",) * 3)[0]
    ion = change(residue("ZN", 9, names=("ZN",), record="HETATM", chain="B"), xyz=("0.000",) * 3)
    found = read(in_format(kind, [*atoms, *residue("GLY", 2), *ion]))
    assert found.chains[0].n_bad_atoms == 0


def test_coordinates_that_equal_9999_in_one_direction_are_read():
    atoms = change(residue("ALA", 1), xyz=("9999.000", "1.000", "2.000"))
    assert read(pdb_text(atoms[:3], residue("GLY", 2))).chains[0].n_bad_atoms == 0


def test_coordinates_are_thousandths_of_an_angstrom():
    atoms = residue("ALA", 1)
    atoms[4] = change([atoms[4]], xyz=("-12.345", "1.0", "999.999"))[0]
    for kind in ("pdb", "cif"):
        found = read(in_format(kind, atoms)).chains[0]
        assert found.coords[4].tolist() == [-12345, 1000, 999999]
        assert not found.coords_rounded


def test_more_decimals_are_rounded_half_to_even_and_flagged():
    atoms = residue("ALA", 1)
    atoms[1] = change([atoms[1]], xyz=("1.00050", "1.00150", "-1.00251"))[0]
    found = read(cif_text(atoms)).chains[0]
    assert found.coords[1].tolist() == [1000, 1002, -1003]
    assert found.coords_rounded


@BOTH
def test_a_file_most_of_whose_coordinates_are_unreadable_fails_and_says_so(kind):
    with pytest.raises(ParseError, match="0 of 5 atoms") as caught:
        read(in_format(kind, change(residue("ALA", 1), xyz=("x", "1.000", "1.000"))))
    assert caught.value.reason == "unreadable-coordinates"


def test_resolved_means_n_ca_and_c_that_are_not_collinear():
    line = [
        Atom(n, "GLY", number="2", seq="2", xyz=(f"{x:.3f}", "0.000", "0.000"))
        for n, x in (("N", 6.0), ("CA", 7.5), ("C", 9.0))
    ]
    no_c = residue("ALA", 3, names=("N", "CA", "O"))
    atoms = [*residue("ALA", 1), *line, *no_c, *residue("ALA", 4)]
    found = read(in_format("cif", atoms)).chains[0]
    assert found.resolved.tolist() == [True, False, False, True]


def test_of_two_atoms_with_one_name_the_first_stays():
    twice = [*residue("ALA", 1), *residue("ALA", 1, names=("CB",), shift=3.0)]
    for kind in ("pdb", "cif"):
        found = read(in_format(kind, twice)).chains[0]
        assert np.array_equal(found.coords, read(in_format(kind, twice[:5])).chains[0].coords)


# ---- rejected ----------------


@BOTH
def test_a_ca_only_chain_is_dropped_by_that_name(kind):
    parsed = read(in_format(kind, chain(["ALA", "GLY"], names=("CA",))))
    assert parsed.chains == []
    assert [(d.reason, d.n_residues) for d in parsed.dropped] == [("ca-only", 2)]


@BOTH
def test_a_chain_without_a_whole_backbone_is_dropped_by_that_name(kind):
    parsed = read(in_format(kind, chain(["ALA", "GLY"], names=("N", "CB"))))
    assert [d.reason for d in parsed.dropped] == ["nothing-resolved"]


@BOTH
def test_a_file_without_protein_has_no_chains_and_no_drops(kind):
    parsed = read(in_format(kind, residue("HOH", 1, names=("O",), record="HETATM")))
    assert (parsed.chains, parsed.dropped) == ([], [])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not-a-structure"),
        ("HEADER    X\nREMARK   2\nEND\n", "no-atoms"),
        ("data_x\n_cell.length_a 1\n", "no-atom-site"),
        ("data_x\nloop_\n\n", "no-atom-site"),
        ("data_x\nloop_\n_atom_site.id\n_atom_site.fract_x\n1 0.5\n", "no-coordinates"),
    ],
)
def test_files_without_a_structure_are_skipped_by_name(text, reason):
    with pytest.raises(NotAStructure) as caught:
        read(text)
    assert caught.value.reason == reason


def test_one_value_of_a_megabyte_fails_the_file_before_it_costs_a_megabyte_per_atom():
    text = cif_text(chain(["ALA", "GLY", "SER"])).replace(" CA ", f" {'A' * 1_000_000} ", 1)
    with pytest.raises(ParseError, match="1000000 characters long") as caught:
        read(text)
    assert caught.value.reason == "overlong-value"


# ---- cut-off files ----------------


def whole() -> str:
    return cif_text(chain(["ALA", "GLY", "SER"]), aligned=True)


def test_a_complete_file_is_not_taken_for_a_truncated_one():
    for text in (
        whole(),
        whole() + "data_second\n_cell.length_a 1\n",
        whole().replace("# \n", "#\n"),
    ):
        assert read(text).flags == []
    # As gemmi writes: lines of #, and none at the end.
    no_hash = whole().removesuffix("# \n").replace("# \n", "#\n").replace(" \n", "\n")
    assert read(no_hash).flags == []


@pytest.mark.parametrize("indent", ["", "  "])  # line by line, and by the grammar
@pytest.mark.parametrize(
    "behind", ["stop_\n", "STOP_\n", "save_\n", "save_\nsave_two\n_cell.a 1\n"]
)
def test_stop_and_the_end_of_a_frame_end_the_table_of_atoms(behind, indent):
    rows = cif_text(chain(["ALA", "GLY", "SER"]), aligned=False).removesuffix("# \n")
    head, begin, table = rows.partition("loop_")
    frame = "save_one\n" if behind.startswith("save_") else ""
    found = read(f"{head}{frame}{indent}{begin}{table}{indent}{behind}")
    assert (sequence(found), found.n_atoms, found.flags) == ("AGS", 14, [])


@pytest.mark.parametrize("behind", ["\x1a", "\0" * 512, "\x1a\n", "\x1a\r\n", "\0\0\n"])
@pytest.mark.parametrize("indent", ["", "  "])
def test_what_old_systems_put_behind_a_file_is_no_sign_of_a_cut(behind, indent):
    text = whole().replace("loop_", f"{indent}loop_")
    assert read(text + behind).flags == []
    assert read(pdb_text(chain(["ALA", "GLY"]), "END") + behind).flags == []
    assert read(text[:-20] + behind).flags == ["maybe_truncated"]


@pytest.mark.parametrize("indent", ["", " "])  # line by line, and by the grammar
@pytest.mark.parametrize("close", ["# \n", "#\n"])  # wwPDB, AlphaFold DB
def test_a_cut_between_two_rows_is_flagged_where_the_archive_would_close_the_table(close, indent):
    text = whole().replace("# \n", close).replace("loop_", f"{indent}loop_")
    assert read(text).flags == []
    rows = text.removesuffix(close)
    assert read(rows).flags == ["maybe_truncated"]
    assert read(rows[: rows.rindex("\n", 0, -1) + 1]).flags == ["maybe_truncated"]


def test_every_cut_within_atom_site_is_flagged_and_loses_at_most_one_row():
    text = whole()
    full = read(text).n_atoms
    begin = text.index("\nATOM") + 1
    row = text.index("\n", begin) + 1 - begin
    end = text.rindex("# \n")
    for at in [*range(begin + row + 1, begin + 2 * row), *range(end - 3 * row, end)]:
        parsed = read(text[:at])
        n_whole = (at - begin) // row
        assert "maybe_truncated" in parsed.flags, at
        assert n_whole <= parsed.n_atoms <= min(full, n_whole + 1), at
        if parsed.n_atoms > n_whole:  # all values of the last row are there, but for the blank
            assert text[at] in " \n", at


def test_half_a_model_number_at_the_cut_is_not_a_model_number():
    text = cif_text(change(chain(["ALA"]), model=12), aligned=False).removesuffix("# \n")
    assert read(text[:-2], models="all").n_atoms == 4
    assert read(text[:-1], models="all").n_atoms == 5


def test_a_file_cut_before_its_first_atom_fails():
    text = whole()
    with pytest.raises(ParseError) as caught:
        read(text[: text.index("\nATOM") + 9])
    assert caught.value.reason == "truncated"


def test_a_file_cut_within_a_text_field_is_flagged_or_fails():
    with pytest.raises(ParseError) as caught:
        read("data_x\n_struct.title\n;a title that goes on\nand on\n")
    assert caught.value.reason == "truncated"
    assert "maybe_truncated" in read(whole() + "_struct.title\n;a title that\n").flags


def test_fewer_atoms_than_the_file_says_is_flagged():
    before = "_refine_hist.number_atoms_total {}\n# \n"
    assert read(cif_text(chain(["ALA"]), before=before.format(5))).flags == []
    assert read(cif_text(chain(["ALA"]), before=before.format(500))).flags == ["maybe_truncated"]


def test_a_pdb_file_without_end_is_not_flagged_and_a_cut_record_is_no_atom():
    text = pdb_text(chain(["ALA", "GLY"]))
    assert read(text).flags == []
    last = text.splitlines()[-1]
    cut = text.removesuffix(last + "\n") + last[:51]  # within z: half a number looks like one
    assert read(cut).chains[0].n_bad_atoms == 1
    assert "cut_records:1" in read(text.removesuffix(last + "\n") + last[:20]).flags
    assert read(text.removesuffix("\n")).flags == []


@pytest.mark.parametrize("padded", [False, True])
def test_a_pdb_file_that_is_cut_anywhere_within_an_atom_is_flagged(padded):
    atoms = pdb_text(chain(["ALA", "GLY"]))
    lines = [line.ljust(80) if padded else line for line in atoms.splitlines()]
    before, last = "\n".join(lines[:-1]) + "\n", lines[-1]
    assert read(before).flags == []
    for end in range(1, len(last)):
        assert "maybe_truncated" in read(before + last[:end]).flags, end
        anisou = before + "ANISOU" + last[6:]
        if end < len(last) - 1:
            assert "maybe_truncated" in read(f"{anisou}\n{anisou}"[: -1 - end]).flags, end
    for unfinished in ("TER", "END", "CONECT    1", "MASTER"):
        assert read(before + unfinished).flags == [], unfinished


@pytest.mark.parametrize("write", [pdb_models, cif_text])
def test_chains_that_only_later_models_have_are_named(write):
    same = [change(chain(["ALA", "GLY"], chain="A"), model=k) for k in (1, 2, 3)]
    water = change(residue("HOH", 9, chain="W"), model=2, record="HETATM")
    assert read(write([*same[0], *same[1], *water])).flags == []
    other = [change(chain(["SER", "GLY"], chain=c), model=2) for c in "BC"]
    text = write([*same[0], *other[1], *other[0], *same[1], *same[2]])
    assert read(text).flags == ["chains_of_later_models:B,C"]
    assert [c.label_asym_id for c in read(text).chains] == ["A"]
    assert read(text, models="all").flags == []


@pytest.mark.parametrize("write", [pdb_models, cif_text])
@pytest.mark.parametrize("later", [["ALA", "SER"], ["ALA", "GLY", "SER"]])
def test_residues_that_later_models_have_beyond_the_first_are_flagged(write, later):
    atoms = [*chain(["ALA", "GLY"]), *chain(["GLY"], chain="B")]
    atoms += change([*chain(later), *chain(["GLY"], chain="B")], model=2)
    assert read(write(atoms)).flags == ["residues_of_later_models:A"]
    assert read(write(atoms), models="all").flags == []


@pytest.mark.parametrize("write", [pdb_models, cif_text])
def test_an_ensemble_and_models_with_less_or_with_other_waters_are_not_flagged(write):
    first = [*chain(["ALA", "GLY"]), *residue("HOH", 9, names=("O",))]
    same, less = change(first, model=2), change(chain(["ALA"]), model=3)
    other = change([*first, *residue("HOH", 10, names=("O",))], model=4)
    assert read(write([*first, *same, *less, *other])).flags == []


# ---- formats ----------------


def test_of_several_blocks_the_first_with_atoms_is_read_and_flagged():
    text = "data_empty\n_cell.length_a 1\n" + whole() + whole().replace("ALA", "TRP")
    parsed = read(text)
    assert parsed.flags == ["several_data_blocks"]
    assert sequence(parsed) == "AGS"


def test_two_loops_of_one_table_are_one_table():
    one, two = cif_text(chain(["ALA"])), cif_text(chain(["GLY"], first=2))
    parsed = read(one + two.removeprefix("data_TEST\n# \n"))
    assert sequence(parsed) == "AG"


@pytest.mark.parametrize(
    "missing",
    ["group_PDB", "occupancy", "label_seq_id", "label_entity_id", "auth_asym_id", "auth_seq_id",
     "type_symbol", "label_alt_id", "pdbx_PDB_ins_code", "B_iso_or_equiv", "pdbx_PDB_model_num",
     "label_asym_id"],
)  # fmt: skip
def test_a_column_that_is_missing_is_not_needed(missing):
    from tests.support.structure_text import COLUMNS

    columns = [c for c in COLUMNS if c != missing]
    found = read(cif_text(chain(["ALA", "GLY"]), columns=columns)).chains[0]
    assert sequence_string(found.aatype) == "AG"
    assert found.label_asym_id == "A"
    assert found.residue_index.tolist() == [1, 2]


@pytest.mark.parametrize("needed", ["label_atom_id", "label_comp_id"])
def test_a_column_that_is_needed_is_named(needed):
    from tests.support.structure_text import COLUMNS

    with pytest.raises(ParseError, match="atom_site table has no"):
        read(cif_text(chain(["ALA"]), columns=[c for c in COLUMNS if c != needed]))


def test_byte_order_marks_and_foreign_line_ends_change_nothing():
    for text in (whole(), pdb_models(chain(["ALA", "GLY"]))):
        plain = read(text).chains[0].coords
        for other in ("\ufeff" + text, text.replace("\n", "\r\n"), text.replace("\n", "\r")):
            assert np.array_equal(read(other).chains[0].coords, plain)


def test_the_header_can_reject_an_entry_before_its_atoms_are_read():
    parsed = read(whole(), accept=lambda metadata: ("resolution", "none"))
    assert parsed.rejected == ("resolution", "none")
    assert parsed.chains == []


# ---- damage ----------------


def damaged(data: bytes, rng: np.random.Generator) -> bytes:
    if len(data) < 2:
        return data
    at = int(rng.integers(len(data)))
    piece = slice(at, at + int(rng.integers(1, 2000)))
    way = rng.integers(6)
    if way == 0:
        return data[:at]
    if way == 1:
        return data[: piece.start] + data[piece.stop :]
    if way == 2:
        return data[:at] + data[piece] + data[at:]
    found = bytearray(data)
    if way == 3:
        found[piece] = bytes(len(found[piece]))
    else:
        for k in rng.integers(len(data), size=int(rng.choice([1, 5, 60]))):
            found[k] = (
                found[k] ^ (1 << rng.integers(8)) if way == 4 else rng.choice(list(b" \n'\";#_.?-"))
            )
    return bytes(found)


def small_files() -> list[Path]:
    found = sorted((EXAMPLES).iterdir())
    if STRUCTURES.is_dir():
        edge = sorted(
            (STRUCTURES / "edge").iterdir(), key=lambda p: hashlib.md5(p.name.encode()).digest()
        )
        found += [p for p in edge if p.stat().st_size < 20_000]
    return [p for p in found if p.is_file()]


@pytest.mark.parametrize(
    "seed", [*range(3), *(pytest.param(s, marks=pytest.mark.slow) for s in range(3, 30))]
)
def test_damaged_files_end_as_chains_or_as_an_error_with_a_reason(seed):
    rng = np.random.default_rng(seed)
    paths = small_files()
    reasons = set()
    for _ in range(150):
        data = decompress(paths[int(rng.integers(len(paths)))].read_bytes(), 2**30)
        try:
            read_chains(damaged(data, rng), "x", models=["first", "all"][rng.integers(2)])
        except (ParseError, NotAStructure) as error:
            reasons.add((error.reason, str(error)))
    assert len(reasons) > 2
    assert all(reason and sentence for reason, sentence in reasons)


@pytest.mark.skipif(not STRUCTURES.is_dir(), reason="needs the shared structures")
def test_no_complete_archive_file_is_taken_for_a_truncated_one():
    paths = sorted((STRUCTURES / "main").glob("*.cif.gz"), key=lambda p: p.stat().st_size)
    for path in paths[:120]:
        assert (
            "maybe_truncated" not in read_chains(gzip.decompress(path.read_bytes()), "x").flags
        ), path
