"""The chemistry tables, held to the chemical component dictionary (CCD) that biotite carries."""

from __future__ import annotations

import re
import subprocess
import sys
from itertools import pairwise

import biotite
import biotite.structure.info as info
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline import residues
from pipeline.residues import (
    ALTERNATIVE_SLOT_OF,
    ATOM14_ELEMENT,
    ATOM14_EXISTS,
    ATOM14_NAMES,
    ATOM_CODES,
    CHI_ATOMS,
    CHI_MASK,
    CHI_PI_PERIODIC,
    CHI_SLOTS,
    KINDS,
    N_KINDS,
    ONE_LETTER,
    RESTYPES,
    SLOT_OF,
    SYMMETRIC_ATOMS,
    SYMMETRIC_SLOTS,
    UNKNOWN,
    VAN_DER_WAALS_RADII,
    Linking,
    atom_indices,
    component,
    override_names,
    sequence_string,
)
from pipeline.residues import generate_components as generator
from pipeline.residues.components import is_glycosylated_in_glycam

STANDARD = pytest.mark.parametrize("restype", RESTYPES)


def ccd_heavy_atoms(comp_id: str) -> dict[str, str]:
    residue = info.residue(comp_id)
    heavy = ~np.isin(residue.element, ["H", "D"])
    return dict(
        zip(residue.atom_name[heavy].tolist(), residue.element[heavy].tolist(), strict=True)
    )


def ccd_bonds(comp_id: str) -> set[frozenset[str]]:
    return {frozenset(pair) for pair in info.bonds_in_residue(comp_id)}


def slot_names(comp_id: str) -> dict[str, int]:
    """Atom name → slot of a component, as the parser will find them."""
    known = component(comp_id)
    assert known is not None
    names = ATOM_CODES.astype("<u4").view("S4")
    row = SLOT_OF[known.kind, :-1]
    return {names[k].decode(): int(row[k]) for k in np.flatnonzero(row >= 0)}


def parent_name(comp_id: str) -> str:
    known = component(comp_id)
    assert known is not None
    return (*RESTYPES, "X")[known.aatype]


# ---- types and atom14 ------------------------------------------------------------------------


def test_restypes_are_in_the_order_of_three_letter_names() -> None:
    assert sorted(RESTYPES) == list(RESTYPES)
    assert [info.one_letter_code(name) for name in RESTYPES] == list(ONE_LETTER[:20])


@given(st.lists(st.integers(0, UNKNOWN)))
def test_a_sequence_has_a_letter_for_each_residue(aatype: list[int]) -> None:
    text = sequence_string(np.array(aatype, dtype=np.int8))
    assert text == "".join(ONE_LETTER[a] for a in aatype)


@pytest.mark.parametrize("bad", [-1, 21])
def test_an_aatype_without_a_letter_is_refused(bad: int) -> None:
    with pytest.raises(ValueError, match="aatype is 0–20"):
        sequence_string([0, bad])


@STANDARD
def test_atom14_holds_the_heavy_atoms_of_the_ccd_without_oxt(restype: str) -> None:
    aatype = RESTYPES.index(restype)
    expected = {n: e for n, e in ccd_heavy_atoms(restype).items() if n != "OXT"}
    names, elements = ATOM14_NAMES[aatype], ATOM14_ELEMENT[aatype]
    assert {n: e for n, e in zip(names, elements, strict=True) if n} == expected
    assert sum(map(bool, names)) == len(expected) == ATOM14_EXISTS[aatype].sum()


def test_slot_3_is_always_o_and_slot_4_always_cb() -> None:
    for name, row in zip((*RESTYPES, "X"), ATOM14_NAMES, strict=True):
        assert row[:4] == ("N", "CA", "C", "O")
        assert row[4] == ("" if name == "GLY" else "CB")


@STANDARD
def test_every_slot_is_bonded_to_an_earlier_one(restype: str) -> None:
    names = [n for n in ATOM14_NAMES[RESTYPES.index(restype)] if n]
    bonds = ccd_bonds(restype)
    for k in range(1, len(names)):
        assert any(frozenset((names[k], earlier)) in bonds for earlier in names[:k])


# ---- torsions --------------------------------------------------------------------------------


@STANDARD
def test_chi_atoms_are_bonded_one_after_the_other(restype: str) -> None:
    bonds = ccd_bonds(restype)
    for k, names in enumerate(CHI_ATOMS[RESTYPES.index(restype)]):
        assert len(set(names)) == 4
        for pair in pairwise(names):
            assert frozenset(pair) in bonds
        slots = CHI_SLOTS[RESTYPES.index(restype), k]
        assert tuple(ATOM14_NAMES[RESTYPES.index(restype)][s] for s in slots) == names


def test_each_chi_starts_one_bond_after_the_one_before() -> None:
    for chis in CHI_ATOMS:
        for before, after in pairwise(chis):
            assert before[1:] == after[:3]


def test_the_number_of_torsions_is_that_of_the_textbook() -> None:
    count = dict(zip(RESTYPES, CHI_MASK.sum(axis=1).tolist(), strict=False))
    assert {n for n, c in count.items() if c == 0} == {"ALA", "GLY"}
    assert {n for n, c in count.items() if c == 1} == {"CYS", "SER", "THR", "VAL"}
    assert {n for n, c in count.items() if c == 3} == {"GLN", "GLU", "MET"}
    assert {n for n, c in count.items() if c == 4} == {"ARG", "LYS"}
    assert not CHI_MASK[UNKNOWN].any()
    assert (CHI_SLOTS[~CHI_MASK] == -1).all()


def test_swapping_symmetric_atoms_maps_the_bonds_of_the_residue_onto_themselves() -> None:
    for aatype, pairs in SYMMETRIC_ATOMS.items():
        swap = {a: b for pair in pairs for a, b in (pair, pair[::-1])}
        own = {n for n in ATOM14_NAMES[aatype] if n}
        bonds = {b for b in ccd_bonds(RESTYPES[aatype]) if b <= own}
        assert {frozenset(swap.get(a, a) for a in bond) for bond in bonds} == bonds


def test_the_half_turn_torsions_are_those_whose_last_atom_trades_names() -> None:
    expected = np.zeros_like(CHI_PI_PERIODIC)
    for aatype, pairs in SYMMETRIC_ATOMS.items():
        for k, names in enumerate(CHI_ATOMS[aatype]):
            expected[aatype, k] = names[3] in {a for pair in pairs for a in pair}
    np.testing.assert_array_equal(CHI_PI_PERIODIC, expected)


def test_the_symmetric_swap_of_slots_follows_the_names_and_undoes_itself() -> None:
    for aatype, names in enumerate(ATOM14_NAMES):
        swap = {a: b for p in SYMMETRIC_ATOMS.get(aatype, ()) for a, b in (p, p[::-1])}
        swapped = SYMMETRIC_SLOTS[aatype]
        assert [names[s] for s in swapped] == [swap.get(n, n) for n in names]
        np.testing.assert_array_equal(swapped[swapped], np.arange(14))


def test_radii_are_those_of_bondi_and_of_mantina() -> None:
    for element in ("C", "N", "O", "S", "B", "SI"):
        assert VAN_DER_WAALS_RADII[element] == pytest.approx(info.vdw_radius_single(element))


# ---- known atoms -----------------------------------------------------------------------------


def codes(*names: bytes | str) -> NDArray[np.uint32]:
    """Names without blanks, read as little-endian integers."""
    return np.array(names, dtype="S4").view("<u4")


def test_codes_of_known_atoms_ascend_and_are_little_endian() -> None:
    assert int.from_bytes(b"OG1\0", "little") in ATOM_CODES
    assert (np.diff(ATOM_CODES.astype(np.int64)) > 0).all()


@given(st.lists(st.binary(min_size=0, max_size=4)))
def test_atom_indices_agree_with_a_dictionary(names: list[bytes]) -> None:
    names = [*names, b"CA", b"SE"]
    given_codes = codes(*names)
    places = {int(code): k for k, code in enumerate(ATOM_CODES)}
    expected = [places.get(int(code), -1) for code in given_codes]
    assert atom_indices(given_codes).tolist() == expected


def test_an_unknown_atom_has_no_slot_in_any_kind() -> None:
    unknown = atom_indices(codes(b"QQQ", b""))
    assert (unknown == -1).all()
    assert (SLOT_OF[:, unknown] == -1).all()
    assert (ALTERNATIVE_SLOT_OF[:, unknown] == -1).all()


@STANDARD
def test_standard_kinds_read_atoms_by_name(restype: str) -> None:
    names = ATOM14_NAMES[RESTYPES.index(restype)]
    assert slot_names(restype) == {n: k for k, n in enumerate(names) if n}


def test_no_two_atoms_of_a_kind_share_a_slot_and_no_slot_is_one_the_parent_lacks() -> None:
    assert SLOT_OF.shape == ALTERNATIVE_SLOT_OF.shape == (N_KINDS, len(ATOM_CODES) + 1)
    for kind, (aatype, _) in enumerate(KINDS):
        slots = SLOT_OF[kind][SLOT_OF[kind] >= 0]
        assert len(set(slots.tolist())) == len(slots)
        assert ATOM14_EXISTS[aatype][slots].all()
        alternatives = ALTERNATIVE_SLOT_OF[kind]
        assert ATOM14_EXISTS[aatype][alternatives[alternatives >= 0]].all()
        assert not ((SLOT_OF[kind] >= 0) & (alternatives >= 0)).any()


@pytest.mark.parametrize(
    ("comp_id", "name", "slot_name"),
    [
        ("ILE", "CD", "CD1"),
        ("ALA", "OT1", "O"),
        ("GLY", "OC1", "O"),
        ("VAL", "O1", "O"),
        ("MET", "SE", "SD"),
        ("MSE", "SD", "SD"),
        ("SEC", "SG", "SG"),
        ("MSE", "SED", "SD"),
        ("MSE", "S", "SD"),
        ("SEC", "SEG", "SG"),
    ],
)
def test_names_of_other_programs_are_alternatives(comp_id: str, name: str, slot_name: str) -> None:
    known = component(comp_id)
    assert known is not None
    place = atom_indices(codes(name))[0]
    assert SLOT_OF[known.kind, place] == -1
    slot = ALTERNATIVE_SLOT_OF[known.kind, place]
    assert ATOM14_NAMES[known.aatype][slot] == slot_name


@pytest.mark.parametrize("name", ["OT2", "OC2", "O2", "OXT"])
def test_the_second_terminal_oxygen_is_never_o(name: str) -> None:
    place = atom_indices(codes(name))[0]
    for aatype in range(UNKNOWN + 1):
        assert SLOT_OF[aatype, place] == ALTERNATIVE_SLOT_OF[aatype, place] == -1


@pytest.mark.parametrize(
    ("comp_id", "own", "slot_name"),
    [
        ("MSE", "SE", "SD"),
        ("SEC", "SE", "SG"),
        ("CSE", "SE", "SG"),
        ("MSO", "SE", "SD"),
        ("SME", "S", "SD"),
        ("PCA", "OE", "OE1"),
        ("CIR", "C3", "CB"),
        ("CGU", "CD1", "CD"),
        ("CGU", "OE12", "OE2"),
        ("AIB", "CB2", "CB"),
    ],
)
def test_atoms_under_another_name_find_the_slot_they_stand_for(
    comp_id: str, own: str, slot_name: str
) -> None:
    known = component(comp_id)
    assert known is not None
    assert own in ccd_heavy_atoms(comp_id)
    assert ATOM14_NAMES[known.aatype][slot_names(comp_id)[own]] == slot_name


@pytest.mark.parametrize(
    ("comp_id", "names"),
    [
        ("HPE", {"CE1", "CE2"}),  # homophenylalanine: a CH2 more before the ring
        ("MTY", {"OH"}),  # meta-tyrosine
        ("IB9", {"N"}),  # β-tyrosine: N is bonded to CB
        ("ACA", {"N", "C", "O"}),  # 6-aminohexanoic acid
    ],
)
def test_atoms_that_are_bonded_elsewhere_have_no_slot(comp_id: str, names: set[str]) -> None:
    assert names <= ccd_heavy_atoms(comp_id).keys()
    assert not names & slot_names(comp_id).keys()


@pytest.mark.parametrize("comp_id", ["AIB", "MSE", "TPO", "CGU", "HYP", "DAL"])
def test_cb_lies_on_the_side_that_the_chirality_says(comp_id: str) -> None:
    known = component(comp_id)
    assert known is not None
    residue = info.residue(comp_id)
    at = dict(zip(residue.atom_name.tolist(), residue.coord, strict=True))
    cb = next(name for name, slot in slot_names(comp_id).items() if slot == 4)
    n, c, b = (at[name] - at["CA"] for name in ("N", "C", cb))
    assert np.sign(np.dot(np.cross(n, c), b)) == (-1 if known.chirality == "D" else 1)


# ---- components ------------------------------------------------------------------------------


PARENTS = {
    "MSE": "MET", "SEP": "SER", "TPO": "THR", "PTR": "TYR", "HYP": "PRO", "MLY": "LYS",
    "M3L": "LYS", "MLZ": "LYS", "ALY": "LYS", "CSO": "CYS", "CSD": "CYS", "OCS": "CYS",
    "CME": "CYS", "KCX": "LYS", "PCA": "GLN", "LLP": "LYS", "TYS": "TYR", "CGU": "GLU",
    "FME": "MET", "NEP": "HIS", "MHS": "HIS", "CAS": "CYS", "SMC": "CYS", "NLE": "LEU",
    "AIB": "ALA", "SAR": "GLY", "MVA": "VAL", "MLE": "LEU", "DHA": "SER", "AGM": "ARG",
    "TRQ": "TRP", "MEN": "ASN", "BHD": "ASP", "MEQ": "GLN",
}  # fmt: skip


@pytest.mark.parametrize(("comp_id", "parent"), PARENTS.items())
def test_a_modified_residue_has_the_parent_that_the_ccd_names(comp_id: str, parent: str) -> None:
    said = info.ccd.get_from_ccd("chem_comp", comp_id, "mon_nstd_parent_comp_id")
    assert said.as_item().upper() == parent
    known = component(comp_id)
    assert known is not None
    assert parent_name(comp_id) == parent
    assert known.linking is Linking.PEPTIDE
    assert known.is_modified


@pytest.mark.parametrize(
    ("comp_id", "parent"),
    [("SEC", "CYS"), ("PYL", "LYS"), ("SYS", "CYS"), ("XPL", "LYS"), ("5GG", "LYS")],
)
def test_parents_are_followed_through_selenocysteine_and_pyrrolysine(
    comp_id: str, parent: str
) -> None:
    assert parent_name(comp_id) == parent


@pytest.mark.parametrize(
    "comp_id",
    # several parents; D residues, with and without a parent; β, γ; none; its own parent
    ["CRO", "NRQ", "CRQ", "DAL", "DPN", "MED", "999", "2RA", "IAS", "GGL", "FGA", "D4P", "V4F"],
)
def test_what_has_no_single_standard_parent_is_a_modified_x(comp_id: str) -> None:
    known = component(comp_id)
    assert known is not None
    assert known.linking is Linking.PEPTIDE
    assert known.aatype == UNKNOWN
    assert known.is_modified


@pytest.mark.parametrize("comp_id", ["UNK", "ASX", "GLX"])
def test_residues_of_unknown_identity_are_x_but_not_modified(comp_id: str) -> None:
    known = component(comp_id)
    assert known is not None
    assert (known.aatype, known.kind, known.is_modified) == (UNKNOWN, UNKNOWN, False)


@STANDARD
def test_a_standard_residue_is_itself(restype: str) -> None:
    known = component(restype)
    assert known is not None
    assert known.aatype == known.kind == RESTYPES.index(restype)
    assert not known.is_modified
    assert known.chirality == ("none" if restype == "GLY" else "L")


@pytest.mark.parametrize("comp_id", ["ACE", "NH2", "FOR", "NME", "ATP", "UNL", "HEM", "XYZZY", ""])
def test_caps_ligands_and_unknown_names_are_not_in_the_table(comp_id: str) -> None:
    assert component(comp_id) is None


@pytest.mark.parametrize("comp_id", ["A", "C", "G", "U", "DA", "DC", "DG", "DT", "PSU", "5MC"])
def test_nucleotides_are_nucleic(comp_id: str) -> None:
    known = component(comp_id)
    assert known is not None
    assert known.linking is Linking.NUCLEIC


@pytest.mark.parametrize("comp_id", ["HOH", "DOD", "WAT", "H2O", "TIP", "TIP3"])
def test_water_is_water(comp_id: str) -> None:
    known = component(comp_id)
    assert known is not None
    assert known.linking is Linking.WATER


def test_every_parent_chain_of_the_table_ends_where_the_ccd_says() -> None:
    """Every peptide component of the CCD, told apart by a second reading of its parents."""
    ccd = info.ccd.get_ccd()["chem_comp"]
    comp_ids = ccd["id"].as_array(str).tolist()
    types = [t.upper() for t in ccd["type"].as_array(str).tolist()]
    parents = dict(
        zip(comp_ids, ccd["mon_nstd_parent_comp_id"].as_array(str).tolist(), strict=True)
    )
    parents |= {"SEC": "CYS", "PYL": "LYS"}
    plain = re.compile(r"L-PEPTIDE.*|PEPTIDE LINKING")
    checked = 0
    for comp_id, kind in zip(comp_ids, types, strict=True):
        if "PEPTIDE" not in kind or kind == "PEPTIDE-LIKE":
            continue
        end = comp_id
        for _ in range(3):
            if end not in RESTYPES:
                end = parents.get(end, "?").upper()
        if not plain.fullmatch(kind) or end not in RESTYPES:
            end = "X"
        assert parent_name(comp_id) == end, comp_id
        checked += 1
    assert checked > 1500


@pytest.mark.skipif(
    f"biotite {biotite.__version__}" not in residues.COMPONENTS_SOURCE,
    reason="the table was generated with another biotite",
)
def test_the_checked_in_table_is_what_the_generator_writes() -> None:
    assert generator.TABLE_PATH.read_text(encoding="utf-8") == generator.generate()


def test_the_table_knows_its_version() -> None:
    assert generator.TABLE_VERSION == residues.COMPONENTS_VERSION


# ---- names of force fields -------------------------------------------------------------------

HISTIDINE = ("N", "CA", "C", "O", "CB", "CG", "ND1", "CD2", "CE1", "NE2")


@pytest.mark.parametrize(
    ("comp_id", "parent"),
    [
        *((name, "HIS") for name in ("HSD", "HSE", "HSP", "HID", "HIE", "HIP", "HISD", "NHIE")),
        *(("CYX", "CYS"), ("CYM", "CYS"), ("CYS2", "CYS"), ("ASH", "ASP"), ("GLH", "GLU")),
        *(("LYN", "LYS"), ("LYP", "LYS"), ("ARN", "ARG"), ("TYM", "TYR"), ("CILE", "ILE")),
        *(("NLN", "ASN"), ("OLS", "SER"), ("OLT", "THR"), ("COLS", "SER"), ("NNLN", "ASN")),
        *(("NALA", "ALA"), ("CGLY", "GLY"), ("phe", "PHE"), ("Trp", "TRP")),
    ],
)
def test_a_force_field_name_is_its_parent_when_the_atoms_agree(comp_id: str, parent: str) -> None:
    aatype = RESTYPES.index(parent)
    atoms = {n for n in ATOM14_NAMES[aatype] if n}
    if parent == "ILE":
        atoms = atoms - {"CD1", "O"} | {"CD", "OT1", "OT2"}
    assert comp_id in override_names()
    known = component(comp_id, atoms)
    assert known is not None
    assert (known.linking, known.kind, known.aatype) == (Linking.PEPTIDE, aatype, aatype)
    assert not known.is_modified


def test_the_dictionary_wins_when_the_atoms_do_not_agree() -> None:
    for comp_id in ("HSD", "HID", "CYX", "ASH"):
        assert component(comp_id, ccd_heavy_atoms(comp_id)) is None
        assert component(comp_id) is None
    assert parent_name("HSE") == "SER"
    homoserine = component("HSE", ccd_heavy_atoms("HSE"))
    assert homoserine is not None
    assert (RESTYPES[homoserine.aatype], homoserine.is_modified) == ("SER", True)
    phosphohistidine = component("HIP", ccd_heavy_atoms("HIP"))
    assert phosphohistidine is not None
    assert phosphohistidine.is_modified
    assert component("phe", ["C1", "C2", "C3", "C4", "C5", "C6", "O1"]) is None


def test_atoms_that_fit_homoserine_and_histidine_alike_leave_it_homoserine() -> None:
    cut_off = component("HSE", ["N", "CA", "C", "O", "CB", "CG"])
    whole = component("HSE", HISTIDINE)
    assert cut_off is not None
    assert whole is not None
    assert RESTYPES[cut_off.aatype] == "SER"
    assert RESTYPES[whole.aatype] == "HIS"


def test_atoms_tell_the_glycosylated_residues_of_glycam_from_the_dictionary_s() -> None:
    for comp_id, parent in (("NLN", "LEU"), ("OLT", "THR")):
        known = component(comp_id, ccd_heavy_atoms(comp_id))
        assert known is not None
        assert (RESTYPES[known.aatype], known.is_modified) == (parent, True)
        assert not is_glycosylated_in_glycam(known)
        assert component(comp_id) == known
    cut_off = component("NLN", ["N", "CA", "C", "O", "CB", "CG"])
    assert cut_off is not None
    assert RESTYPES[cut_off.aatype] == "LEU"
    asparagine = component("NLN", ["N", "CA", "C", "O", "CB", "CG", "ND2"])
    assert asparagine is not None
    assert is_glycosylated_in_glycam(asparagine)


def test_the_four_letter_names_need_no_atoms() -> None:
    assert parent_name("NALA") == "ALA"
    assert parent_name("HISD") == "HIS"


def test_a_letter_behind_a_name_is_a_modification_if_all_atoms_are_there() -> None:
    palmitoyl = component("CYSP", [n for n in ATOM14_NAMES[RESTYPES.index("CYS")] if n] + ["C1"])
    assert palmitoyl is not None
    assert (RESTYPES[palmitoyl.aatype], palmitoyl.is_modified) == ("CYS", True)
    assert component("GLYC", ["C1", "C2", "C3", "O1", "O2", "O3"]) is None
    assert component("GLYC") is None


@pytest.mark.parametrize(
    ("comp_id", "atoms"),
    [
        *(("OPC", ["O", "EPW"]), ("OP3", ["O"]), ("OPC3", ["O"]), ("HO4", ["O", "M"])),
        *(("TP4", ["OH2", "OM"]), ("SWM4", ["OH2", "OM"]), ("WTR", ["O"])),
    ],
)
def test_the_water_of_a_force_field_is_water(comp_id: str, atoms: list[str]) -> None:
    known = component(comp_id, atoms)
    assert known is not None
    assert known.linking is Linking.WATER


def test_sorbose_is_water_only_when_it_is_one_oxygen() -> None:
    water = component("SOL", ["OW"])
    assert water is not None
    assert water.linking is Linking.WATER
    assert component("SOL", ccd_heavy_atoms("SOL")) is None


def test_a_base_name_is_nucleic_only_with_a_sugar() -> None:
    assert component("ADE", ccd_heavy_atoms("ADE")) is None
    for mark in "'*":
        sugar = [name + mark for name in ("C1", "C2", "C3", "C4", "O4", "C5", "O5", "O3")]
        known = component("ADE", [*sugar, "N1", "N9"])
        assert known is not None
        assert known.linking is Linking.NUCLEIC


def test_other_names_do_not_look_at_atoms() -> None:
    assert component("ALA", ["C1"]) == component("ALA")


def test_importing_the_tables_needs_neither_biotite_nor_torch() -> None:
    code = (
        "import sys, pipeline.residues; "
        "print([m for m in ('biotite', 'torch', 'pyarrow') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
