"""Names and units of other programs: four-letter residue names, lower case, nanometres."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pipeline.parsing import ParseError
from pipeline.parsing.pdb_text import PdbText, read_atoms
from pipeline.residues import RESTYPES, SLOT_OF_NAME
from tests.pipeline.parsing.test_parsing_pdb_columns import differing
from tests.support.structure_text import Atom, chain, in_format, pdb_text, read, residue


def whole(comp: str, number: int, **fields: object) -> list:
    """A residue with all its heavy atoms, and hydrogens."""
    names = [*SLOT_OF_NAME[RESTYPES.index(comp)], "H", "HA", "HB1", "HD11"]
    return residue(comp, number, names=names, **fields)


def renamed(text: str, number: int, name: str) -> str:
    """The text with another residue name, in columns 18–21, for one number."""
    lines = [
        f"{line[:17]}{name}{line[21:]}" if line[22:26] == f"{number:>4}" else line
        for line in text.splitlines()
    ]
    return "\n".join(lines) + "\n"


# ---- residue names of four letters ----------------


@pytest.mark.parametrize("end", ["N", "C"])
@pytest.mark.parametrize("chain_id", ["A", "B", ""])
def test_a_terminal_name_of_amber_reads_like_the_plain_one(end: str, chain_id: str):
    """All twenty in one file: each at an end of a chain, of which the next begins with a TER."""
    for comp in RESTYPES:
        number = 1 if end == "N" else 4
        atoms = [
            whole(comp, k, chain=chain_id) if k == number else residue("GLY", k, chain=chain_id)
            for k in (1, 2, 3, 4)
        ]
        plain = pdb_text(*atoms, "TER", residue("HOH", 9, names=("O",), chain=chain_id))
        found = read(renamed(plain, number, end + comp))
        assert not differing(read(plain).chains, found.chains), comp
        flag = f"four_letter_names:{end}{comp}"
        assert found.flags in ([], [flag])
        # Components of the CCD are called CAS and NLE, but none is called CAL.
        if (end, comp) in {("C", "ASN"), ("N", "LEU")}:
            assert found.flags == [flag]


def test_the_two_residues_of_a_dipeptide_may_both_have_terminal_names():
    plain = pdb_text(whole("LEU", 1), whole("ASN", 2))
    found = read(renamed(renamed(plain, 1, "NLEU"), 2, "CASN"))
    assert not differing(read(plain).chains, found.chains)
    assert found.flags == ["four_letter_names:CASN,NLEU"]


@pytest.mark.parametrize(
    ("name", "comp"), [("LYSH", "LYS"), ("HISB", "HIS"), ("CYS2", "CYS"), ("GLUH", "GLU")]
)
def test_a_name_of_gromacs_within_a_chain_reads_like_the_plain_one(name: str, comp: str):
    plain = pdb_text(residue("GLY", 1), whole(comp, 2), residue("GLY", 3))
    found = read(renamed(plain, 2, name))
    assert not differing(read(plain).chains, found.chains)
    assert found.flags == [f"four_letter_names:{name}"]


def of_long_id(text: str, ident: str) -> str:
    return "\n".join(f"{x[:20]}{ident}{x[22:]}" for x in text.splitlines()) + "\n"


@pytest.mark.parametrize(
    ("comp", "ident", "plain_name"), [("CAS", "NA", "CASN"), ("LYS", "HA", "LYSH")]
)
def test_a_residue_of_a_chain_with_two_letters_is_no_name_of_four(comp, ident, plain_name):
    """Its atoms fit both, and the chain before it is called A; but other residues are in NA."""
    before = chain(["ALA", "GLY"])
    long = of_long_id(pdb_text(chain([comp, "SER", "GLY"], 3)), ident)
    found = read(pdb_text(before) + long)
    assert [(c.auth_asym_id, len(c)) for c in found.chains] == [("A", 2), (ident, 3)]
    assert found.flags == []


def test_a_component_whose_atoms_are_not_the_amino_acids_keeps_its_chain():
    """CAS is a cysteine with arsenic; a chain of nothing else is still called NA."""
    atoms = residue("CAS", 3, names=("N", "CA", "C", "O", "CB", "SG", "AS"), record="HETATM")
    found = read(pdb_text(chain(["ALA", "GLY"])) + of_long_id(pdb_text(atoms), "NA"))
    assert [(c.auth_asym_id, len(c)) for c in found.chains] == [("A", 2)]
    assert found.flags == ["name_or_chain:CASNA", "left_out:2/3"]


def test_a_ligand_in_a_chain_with_two_letters_is_no_terminal_residue():
    """NAR is a ligand, and not known here; ALA is in chain GA, so NAR is."""
    ligand = residue("NAR", 9, names=("C1", "O1"), record="HETATM")
    text = of_long_id(pdb_text(chain(["ALA", "GLY"]), "TER", ligand), "GA")
    found = read(text)
    assert [(c.auth_asym_id, len(c)) for c in found.chains] == [("GA", 2)]
    assert found.metadata.n_ligands == 1


@pytest.mark.parametrize("lipid", ["DPPC", "DPPE", "DSPC", "SDPC", "POPC", "DOPC"])
@pytest.mark.parametrize("first", [1, 4, 900])
def test_a_membrane_is_lipids_and_changes_no_name_of_the_protein(lipid: str, first: int):
    """DPP, DSP and SDP are amino acids of the dictionary; a lipid has no CA."""
    protein = [*residue("GLY", 1, chain=""), *whole("LYS", 2, chain="")]
    protein += residue("GLY", 3, chain="")
    names = ("N4", "C5", "P8", "O7", "C13")
    lipids = [residue("LIP", first + k, names=names, place=50 + k, chain="") for k in range(3)]
    plain = read(pdb_text(protein, "TER", *lipids))
    text = renamed(pdb_text(protein), 2, "LYSH") + "TER\n"
    text += pdb_text(*lipids).replace("LIP ", lipid)
    found = read(text)
    assert not differing(plain.chains, found.chains)
    assert found.metadata.n_ligands == 3
    assert found.dropped == []
    assert "four_letter_names:" in found.flags[0]


CYANA = {"LYS+": "LYS", "ARG+": "ARG", "HIS+": "HIS", "ASP-": "ASP", "GLU-": "GLU", "CYSS": "CYS"}


@pytest.mark.parametrize("chain_id", ["A", ""])
def test_a_file_of_cyana_reads_like_the_plain_one(chain_id: str):
    """One or more at a time, at the ends as well."""
    comps = [*CYANA.values(), "GLY", "LYS", "GLY", "CYS", "GLY", "ARG", "ASP"]
    plain = pdb_text([a for k, comp in enumerate(comps) for a in whole(comp, k, chain=chain_id)])
    by_comp = {comp: name for name, comp in CYANA.items()}
    text = plain
    for number, comp in enumerate(comps):
        text = renamed(text, number, by_comp.get(comp, comp.ljust(4)))
    found = read(text)
    assert not differing(read(plain).chains, found.chains)
    assert found.flags == ["four_letter_names:" + ",".join(sorted(CYANA))]


@pytest.mark.parametrize("chain_id", ["A", ""])
@pytest.mark.parametrize(
    ("name", "comp", "number"),
    [
        *(("NLYP", "LYS", 1), ("CLYP", "LYS", 4), ("CGLH", "GLU", 4), ("NHSD", "HIS", 1)),
        *(("SERD", "SER", 2), ("CYSG", "CYS", 2), ("GLYM", "GLY", 3), ("TYRP", "TYR", 2)),
    ],
)
def test_a_name_with_a_letter_more_is_the_residue_of_its_atoms(name, comp, number, chain_id):
    """Terminal and charged forms are plain; what a letter behind means is a modification."""
    atoms = [
        whole(comp, k, chain=chain_id) if k == number else residue("ALA", k, chain=chain_id)
        for k in (1, 2, 3, 4)
    ]
    plain = pdb_text(*atoms)
    found = read(renamed(plain, number, name))
    assert not differing(read(plain).chains, found.chains, "n_modified")
    assert found.chains[0].n_modified == (name[:3] == comp)


@pytest.mark.parametrize("chain_id", ["A", ""])
@pytest.mark.parametrize("name", ["THPB", "XYZB", "DALA", "SEPP"])
def test_a_residue_among_the_numbers_of_a_chain_is_of_the_chain(name: str, chain_id: str):
    """THP is a nucleotide, DAL and SEP are amino acids, XYZ is nothing that is known here."""
    plain = pdb_text(chain(["ALA", "UNK", "ALA"], chain=chain_id))
    found = read(renamed(plain, 2, name))
    assert not differing(read(plain).chains, found.chains, "n_modified")
    assert found.flags == [f"four_letter_names:{name}"]
    assert (found.metadata.n_nucleic, found.metadata.n_ligands) == (0, 0)


def test_a_name_of_five_letters_that_covers_the_chain_id_is_of_the_chain_around_it():
    plain = pdb_text(chain(["ALA", "UNK", "ALA"]))
    text = plain.replace("UNK A", "A1ABC")
    found = read(text)
    assert not differing(read(plain).chains, found.chains, "n_modified")
    assert found.flags == ["five_letter_names:A1ABC"]
    assert read_atoms(PdbText(text.encode()), "first").comp_id[5] == b"A1ABC"


@pytest.mark.parametrize("number", [1, 3])
def test_a_letter_that_may_be_of_the_name_or_of_the_chain_is_told(number: int):
    """DAL in chain AA, or DALA in chain A? Only numbers on both sides decide."""
    plain = pdb_text(chain(["ALA"] * 3))
    found = read(renamed(plain, number, "DALA"))
    assert sorted(c.auth_asym_id for c in found.chains) == ["A", "AA"]
    assert found.flags == ["name_or_chain:DALAA"]


@pytest.mark.parametrize("comps", [["ALA"] * 4, ["ALA", "SER", "HOH"], ["DAL", "SEP", "DAL"]])
def test_a_chain_whose_numbers_go_on_from_the_one_before_it_is_no_name(comps: list[str]):
    """All of one kind, too; and chain A has waters of higher numbers behind it."""
    long = of_long_id(pdb_text(chain(comps, 3)), "BA")
    water = residue("HOH", 300, names=("O",), place=90)
    found = read(pdb_text(chain(["ALA", "GLY"])) + long + pdb_text(water))
    assert [c.auth_asym_id for c in found.chains] == ["A", "BA"]
    assert found.flags == []


@pytest.mark.parametrize("behind", ["GLU", "MSE", "DAL"])
def test_a_ligand_behind_a_chain_with_two_letters_does_not_take_it_into_its_own(behind: str):
    """What stands between residues of chain A by its numbers is of chain BA all the same."""
    long = of_long_id(pdb_text(chain(["ALA", "SER", "LYS", "GLY"], 11)), "BA")
    ligand = residue(behind, 401, record="HETATM", place=90)
    found = read(pdb_text(chain(["ALA", "GLY"]), "TER") + long + "TER\n" + pdb_text(ligand))
    assert [(c.auth_asym_id, len(c)) for c in found.chains][:2] == [("A", 2), ("BA", 4)]
    assert not any("letter_names" in flag for flag in found.flags)


@pytest.mark.parametrize(("number", "ident"), [(3, "A"), (301, "BA")])
def test_an_unknown_residue_at_an_end_is_of_the_chain_whose_numbers_go_on(number: int, ident: str):
    """A ligand of its own chain may have a CA, too."""
    odd = of_long_id(pdb_text(residue("XYZ", number, record="HETATM")), "BA")
    text = pdb_text(chain(["ALA", "GLY"])) + odd
    atoms = read_atoms(PdbText(text.encode()), "first")
    assert (atoms.auth_asym_id[-1].decode(), atoms.comp_id[-1]) == (
        ident,
        b"XYZB" if ident == "A" else b"XYZ",
    )


def test_massless_sites_of_gromacs_do_not_hide_a_lysine():
    plain = pdb_text(residue("GLY", 1), whole("LYS", 2), residue("GLY", 3))
    sites = residue("LYS", 2, names=("MNZ1", "MNZ2"))
    with_sites = pdb_text(residue("GLY", 1), whole("LYS", 2), sites, residue("GLY", 3))
    found = read(renamed(with_sites, 2, "LYSH"))
    assert not differing(read(plain).chains, found.chains)


# ---- what is bound to a residue ----------------

HIS = tuple(SLOT_OF_NAME[RESTYPES.index("HIS")])


@pytest.mark.parametrize("kind", ["pdb", "cif"])
@pytest.mark.parametrize("name", ["HSE", "HSD"])
@pytest.mark.parametrize("odd", [("NT",), ("CAY", "CY", "OY"), ("LPND", "LP1"), ("CAT", "NT")])
def test_a_cap_or_lone_pairs_do_not_change_what_a_residue_is(kind, name, odd):
    atoms = [*whole("SER", 1), *residue(name, 2, names=(*HIS, *odd))]
    (plain,) = read(in_format(kind, [*whole("SER", 1), *residue("HIS", 2, names=HIS)])).chains
    found = read(in_format(kind, atoms))
    assert not differing([plain], found.chains, "metadata")


@pytest.mark.parametrize("kind", ["pdb", "cif"])
def test_a_group_bound_to_one_residue_does_not_change_others_of_its_name(kind):
    def of_name(name: str) -> list[Atom]:
        first = residue(name, 1, names=HIS)
        return [*first, *residue(name, 2, names=HIS), *residue(name, 3, names=(*HIS, "P", "O1P"))]

    (plain,) = read(in_format(kind, of_name("HIS"))).chains
    assert not differing([plain], read(in_format(kind, of_name("HSE"))).chains, "metadata")


def test_a_name_of_which_one_residue_alone_could_be_the_force_field_s_is_the_dictionary_s():
    """The second phosphohistidine lacks its phosphate."""
    phosphate = ("P", "O1P", "O2P", "O3P")
    atoms = [*residue("HIP", 1, names=(*HIS, *phosphate)), *residue("HIP", 2, names=HIS)]
    assert read(pdb_text(atoms)).chains[0].n_modified == 2


# ---- names in lower case ----------------


@pytest.mark.parametrize("kind", ["pdb", "cif"])
@pytest.mark.parametrize("comp", [str, str.lower])
def test_a_file_with_all_its_names_in_lower_case_has_the_rows_of_the_plain_one(kind, comp):
    ligand = residue("ZN", 9, names=("ZN",), record="HETATM", seq=".")
    plain = [*whole("TRP", 1), *whole("SER", 2), *whole("ILE", 3), *ligand]
    lower = [
        replace(a, name=a.name.lower(), comp=comp(a.comp), element=a.symbol.lower()) for a in plain
    ]
    found = read(in_format(kind, lower))
    assert found.flags == ["lower_case_atom_names"]
    (one,), (other,) = read(in_format(kind, plain)).chains, found.chains
    assert not differing([one], [other], "metadata")
    assert one.b_factor.all()


def test_names_in_lower_case_among_others_mean_something_else():
    plain = chain(["ALA", "GLY", "SER"])
    odd = [replace(a, name=a.name.lower()) if a.name == "CB" else a for a in plain]
    found = read(pdb_text(odd))
    assert found.flags == ["unknown_atoms:2"]
    assert len(found.chains[0].coords) == len(plain) - sum(a.name == "CB" for a in plain)


@pytest.mark.parametrize("kind", ["pdb", "cif"])
@pytest.mark.parametrize("form", [str.lower, str.capitalize])
def test_the_name_of_a_modified_residue_without_capitals_reads_like_the_plain_one(kind, form):
    selenium = ("N", "CA", "C", "O", "CB", "CG", "SE", "CE")
    his = SLOT_OF_NAME[RESTYPES.index("HIS")]

    def of_names(mse: str, hie: str) -> list[Atom]:
        modified = residue(mse, 2, names=selenium, record="HETATM")
        return [*whole("SER", 1), *modified, *whole("SER", 3), *residue(hie, 4, names=list(his))]

    (plain,) = read(in_format(kind, of_names("MSE", "HIE"))).chains
    found = read(in_format(kind, of_names(form("MSE"), form("HIE"))))
    assert found.flags == [f"lower_case_name:{form(name)}:1" for name in ("HIE", "MSE")]
    assert not differing([plain], found.chains, "metadata")
    # A ligand without a backbone is none, whatever its name.
    ligand = residue(form("MSE"), 9, names=("CA", "C", "O"), record="HETATM", seq=".")
    found = read(in_format(kind, [*chain(["ALA", "GLY"]), *ligand]))
    assert (found.metadata.n_ligands, found.flags) == (1, [])


# ---- units ----------------


def scaled(atoms: list[Atom], by: float) -> list[Atom]:
    return [replace(a, xyz=tuple(f"{float(x) * by:.3f}" for x in a.xyz)) for a in atoms]


@pytest.mark.parametrize("kind", ["pdb", "cif"])
def test_a_file_in_nanometres_is_refused_with_what_to_do(kind: str):
    atoms = chain(["ALA", "GLY"] * 8)
    with pytest.raises(ParseError, match=r"nanometres, not in Å: .* Multiply them by ten") as told:
        read(in_format(kind, scaled(atoms, 0.1)))
    assert told.value.reason == "in-nanometres"
    assert "1.47" in str(told.value)


@pytest.mark.parametrize(("n_small", "is_refused"), [(11, False), (18, True), (19, True)])
def test_some_residues_that_are_ten_times_too_small_are_no_unit(n_small: int, is_refused: bool):
    small = scaled(chain(["ALA"] * n_small), 0.1)
    text = pdb_text(small, chain(["ALA"] * (20 - n_small), n_small + 1))
    if is_refused:
        with pytest.raises(ParseError, match="nanometres"):
            read(text)
    else:
        assert len(read(text).chains[0]) == 20
