"""Layouts of programs that write less than the archive does, on files of a few residues."""

from __future__ import annotations

import gzip
import random
from collections.abc import Iterable, Sequence

import numpy as np
import pytest

from pipeline.chain import Chain
from pipeline.parsing import NotAStructure, ParsedEntry, ParseError, read_chains
from pipeline.residues import sequence_string
from tests.pipeline.parsing.test_parsing_bcif import as_bcif
from tests.support.places import EXAMPLES
from tests.support.structure_text import (
    Atom,
    chain,
    change,
    cif_text,
    entity,
    in_format,
    loop,
    pdb_line,
    pdb_text,
    read,
    residue,
)

BOTH = pytest.mark.parametrize("kind", ["pdb", "cif"])
ENTRIES = ("1ubi.pdb.zst", "1orc.pdb.gz", "1a8o.pdb", "1ejg.pdb.gz")


def sequences(parsed: ParsedEntry) -> dict[str, str]:
    return {c.label_asym_id: sequence_string(c.aatype) for c in parsed.chains}


def check_same_residues(one: Chain, other: Chain) -> None:
    for name in ("aatype", "residue_index", "auth_seq_id", "ins_code", "atom14_mask", "coords"):
        assert np.array_equal(getattr(one, name), getattr(other, name)), name


# ---- mmCIF without entity records ----------------

PYMOL = (
    *("group_PDB", "id", "type_symbol", "label_atom_id", "label_alt_id", "label_comp_id"),
    *("label_asym_id", "label_entity_id", "label_seq_id", "pdbx_PDB_ins_code"),
    *("Cartn_x", "Cartn_y", "Cartn_z", "occupancy", "B_iso_or_equiv"),
    *("auth_asym_id", "pdbx_PDB_model_num"),
)
CHIMERAX = (
    *("group_PDB", "id", "type_symbol", "label_atom_id", "label_alt_id", "label_comp_id"),
    *("label_asym_id", "label_entity_id", "label_seq_id", "Cartn_x", "Cartn_y", "Cartn_z"),
    *("auth_asym_id", "auth_seq_id", "pdbx_PDB_ins_code", "occupancy", "B_iso_or_equiv"),
    "pdbx_PDB_model_num",
)


def two_chains_and_ligands() -> list[Atom]:
    one = chain(["ALA", "GLY", "MSE", "TRP"], first=5)
    one = [a if a.comp != "MSE" else change([a], record="HETATM")[0] for a in one]
    two = change(chain(["SER", "THR"], shift=30.0), chain="B", asym="B")
    ligand = change(residue("HEM", 201, place=30, names=("FE",)), record="HETATM", seq=".")
    water = change(residue("HOH", 301, place=40, names=("O",)), record="HETATM", seq=".")
    return [*one, *two, *change(ligand, chain="A", asym="C"), *change(water, chain="A", asym="D")]


def test_pymol_writes_the_author_numbers_as_labels_and_segments_as_chains():
    """Loaded from an mmCIF file the segments are its labels; from a PDB file there are none."""
    atoms = change(two_chains_and_ligands(), entity="")
    atoms = [change([a], seq=a.number)[0] for a in atoms]
    labelled = read(cif_text(atoms, columns=PYMOL))
    blank = read(cif_text(change(atoms, asym=""), columns=PYMOL))
    for parsed in (labelled, blank):
        assert sequences(parsed) == {"A": "AGMW", "B": "ST"}
        assert parsed.chains[0].auth_seq_id.tolist() == [5, 6, 7, 8]
        assert parsed.chains[0].n_modified == 1
        assert (parsed.metadata.n_ligands, parsed.metadata.n_waters) == (1, 1)
        assert parsed.chains[0].entity_sequence is None


@pytest.mark.parametrize("named", [True, False])
def test_chimerax_writes_a_model_without_metadata_as_atoms_alone(named):
    atoms = two_chains_and_ligands()
    if not named:
        atoms = change(atoms, entity="", seq="")
    parsed = read(cif_text(atoms, columns=CHIMERAX))
    assert sequences(parsed) == {"A": "AGMW", "B": "ST"}
    assert parsed.chains[0].auth_seq_id.tolist() == [5, 6, 7, 8]
    assert parsed.chains[0].residue_index.tolist() == [5, 6, 7, 8]
    assert (parsed.metadata.n_ligands, parsed.metadata.n_waters) == (1, 1)


def test_with_entity_records_the_labels_of_the_same_atoms_count():
    """The counter-example: then the file says which residues are the chain, and where."""
    before = entity(["MET", "LEU", "LEU", "LEU", "ALA", "GLY", "MET", "TRP"]).replace(
        "_entity_poly.type", "_entity_poly.nstd_monomer no\n_entity_poly.type"
    )
    parsed = read(cif_text(two_chains_and_ligands()[:20], before=before, columns=CHIMERAX))
    assert parsed.chains[0].entity_sequence == "MLLLAGMW"
    assert parsed.chains[0].residue_index.tolist() == [5, 6, 7, 8]


# ---- numbers and TER ----------------


def residues_of(name: str) -> list[list[str]]:
    """The atom lines of the first chain of an example, residue by residue, without alternates."""
    path = EXAMPLES / name
    if path.suffix == ".zst":
        import zstandard

        data = zstandard.ZstdDecompressor().decompressobj().decompress(path.read_bytes())
    else:
        data = path.read_bytes()
        data = gzip.decompress(data) if path.suffix == ".gz" else data
    found: dict[str, list[str]] = {}
    for line in data.decode("latin-1").splitlines():
        if line.startswith("TER"):
            break
        if line.startswith(("ATOM", "HETATM")) and line[16] in " A":
            found.setdefault(line[21:27], []).append(f"{line[:16]} {line[17:]}")
    return list(found.values())


def as_text(residues: Iterable[Sequence[str]], *, ter: Iterable[int] = ()) -> str:
    lines: list[str] = []
    ends = set(ter)
    for k, lines_of_residue in enumerate(residues):
        lines += lines_of_residue
        lines += ["TER"] if k in ends else []
    return "\n".join([*lines, "TER", "END"]) + "\n"


def numbered(residues: Iterable[Sequence[str]], numbers: Iterable[int]) -> list[list[str]]:
    return [
        [f"{line[:22]}{number:>4} {line[27:]}" for line in lines]
        for lines, number in zip(residues, numbers, strict=True)
    ]


@pytest.mark.parametrize("name", ENTRIES)
def test_a_ter_where_a_stretch_is_unresolved_does_not_end_the_chain(name):
    """As REMARK 465 would have it, or as modelling programs mark the gap they see."""
    residues = residues_of(name)
    gap = len(residues) // 2
    broken = [*residues[:gap], *residues[gap + 3 :]]
    whole, cut = read(as_text(broken)), read(as_text(broken, ter=[gap - 1, gap + 4]))
    assert len(cut.chains) == 1
    assert cut.flags == ["joined_over_ter:A"]
    check_same_residues(whole.chains[0], cut.chains[0])
    assert cut.chains[0].n_modified == whole.chains[0].n_modified


@pytest.mark.parametrize("name", ENTRIES)
def test_numbers_that_fall_are_kept_and_the_index_rises(name):
    """A circular permutant, and a fusion whose second part is numbered from 1 again."""
    residues = residues_of(name)
    n, half = len(residues), len(residues) // 2
    for numbers in (
        [*range(half + 1, n + 1), *range(1, half + 1)],
        [*range(900, 900 + half), *range(1, n - half + 1)],
        range(n, 0, -1),
    ):
        found = read(as_text(numbered(residues, numbers)))
        (one,) = found.chains
        assert found.flags == []
        assert one.auth_seq_id.tolist() == list(numbers)[: len(one)]
        assert (np.diff(one.residue_index) > 0).all()
        plain = read(as_text(numbered(residues, range(1, n + 1)))).chains[0]
        assert np.array_equal(one.coords, plain.coords)


# ---- designs of a backbone alone ----------------


@BOTH
def test_a_backbone_of_glycine_with_no_b_factors_is_a_chain_like_any_other(kind):
    """As RFdiffusion and other generators of backbones write them."""
    names = ("N", "CA", "C", "O")
    atoms = [a for k in range(1, 41) for a in residue("GLY", k, names=names, b="0.00")]
    parsed = read(in_format(kind, atoms))
    (found,) = parsed.chains
    assert sequence_string(found.aatype) == "G" * 40
    assert found.atom14_mask.tolist() == [0b1111] * 40
    assert found.resolved.all()
    assert found.b_factor.tolist() == [0.0] * 40
    assert parsed.flags == []


@BOTH
def test_a_designed_binder_keeps_its_target_beside_it(kind):
    binder = [a for k in range(1, 21) for a in residue("GLY", k, names=("N", "CA", "C", "O"))]
    target = change(chain(["ALA", "TRP", "SER"], first=301, shift=40.0), chain="B", asym="B")
    parsed = read(in_format(kind, change(binder, b="0.00") + target))
    assert sequences(parsed) == {"A": "G" * 20, "B": "AWS"}


@BOTH
def test_a_design_without_its_carbonyl_oxygens_is_resolved(kind):
    atoms = [a for k in range(1, 6) for a in residue("GLY", k, names=("N", "CA", "C"))]
    (found,) = read(in_format(kind, atoms)).chains
    assert found.atom14_mask.tolist() == [0b0111] * 5
    assert found.resolved.all()


# ---- hydrogens, deuterium, PDBQT, UTF-16, tabs ----------------


@BOTH
@pytest.mark.parametrize("element", ["H", "D"])
def test_a_protonated_or_deuterated_chain_has_the_rows_of_the_plain_one(kind, element):
    comps = ["ALA", "SER", "LYS", "ILE"]
    plain = chain(comps)
    names = (f"{element}", f"{element}A", f"{element}B1", f"{element}G21", f"{element}Z3")
    with_hydrogens = [
        atom
        for k, comp in enumerate(comps, start=1)
        for atom in [*residue(comp, k), *change(residue(comp, k, names=names), element=element)]
    ]
    one, other = read(in_format(kind, plain)), read(in_format(kind, with_hydrogens))
    check_same_residues(one.chains[0], other.chains[0])


@BOTH
def test_deuterium_as_the_alternate_of_hydrogen_is_no_alternate_of_the_residue(kind):
    """Neutron structures give both, each with a share."""
    both = [
        change(residue("SER", 2, names=("HA",)), altloc="A", occupancy="0.40", element="H"),
        change(residue("SER", 2, names=("DA",)), altloc="B", occupancy="0.60", element="D"),
    ]
    atoms = [*residue("ALA", 1), *residue("SER", 2), *both[0], *both[1], *residue("GLY", 3)]
    found = read(in_format(kind, atoms)).chains[0]
    assert (found.n_altloc, found.n_microhet) == (0, 0)
    check_same_residues(read(in_format(kind, chain(["ALA", "SER", "GLY"]))).chains[0], found)


@pytest.mark.parametrize("name", ENTRIES)
def test_pdbqt_is_read_as_the_pdb_it_is_behind_its_charges_and_atom_types(name):
    """AutoDock's receptor: a partial charge in columns 67–76 and a type in 78–79."""
    residues = residues_of(name)
    types = {"N": "N ", "O": "OA", "S": "SA", "C": "C ", "H": "HD"}

    def docked(line: str) -> str:
        element = line[76:78].strip()[-1:] or line[13]
        return f"{line[:66]:<66}{0.123:>10.3f} {types.get(element, 'C '):<2}"

    rows = [[docked(line) for line in lines] for lines in residues]
    text = "REMARK  Name = receptor\n" + as_text(rows)
    check_same_residues(read(as_text(residues)).chains[0], read(text).chains[0])


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
@BOTH
def test_utf_16_is_refused_and_not_read_in_part(kind, encoding):
    data = in_format(kind, chain(["ALA", "GLY"])).encode(encoding)
    with pytest.raises(NotAStructure) as caught:
        read_chains(data, "test")
    assert caught.value.reason == "not-a-structure"
    if encoding == "utf-16":  # with its mark
        assert "UTF-16" in str(caught.value)


def test_tabs_between_the_words_of_an_mmcif_table_are_blanks():
    atoms = chain(["ALA", "GLY", "SER"])
    plain = cif_text(atoms, aligned=False)
    tabbed = "".join(
        line.replace(" ", "\t") if line.startswith("ATOM") else line
        for line in plain.splitlines(keepends=True)
    )
    assert tabbed.count("\t") > 100
    check_same_residues(read(plain).chains[0], read(tabbed).chains[0])


def test_tabs_in_the_columns_of_a_pdb_line_are_no_coordinates():
    """The format is one of columns, and a tab is one of them: what shifts is not guessed."""
    lines = [pdb_line(atom, k) for k, atom in enumerate(chain(["ALA", "GLY"]), start=1)]
    tabbed = "\n".join("\t".join(line.split()) for line in lines)
    with pytest.raises((ParseError, NotAStructure)):
        read(tabbed)
    behind = "\n".join(f"{line}\t" for line in lines)
    check_same_residues(read(pdb_text(chain(["ALA", "GLY"]))).chains[0], read(behind).chains[0])


# ---- tables whose rows stand in another order ----------------


@pytest.mark.parametrize("seed", range(3))
def test_the_rows_of_entity_sequences_may_stand_in_any_order(seed):
    comps = {"1": ["MET", "ALA", "GLY", "SER"], "2": ["TRP", "GLY", "THR"]}
    rows = [[e, str(k), c] for e, s in comps.items() for k, c in enumerate(s, start=1)]
    random.Random(seed).shuffle(rows)
    before = (
        loop("entity_poly", ("entity_id", "type"), [[e, "'polypeptide(L)'"] for e in comps])
        + loop("entity_poly_seq", ("entity_id", "num", "mon_id"), rows)
        + loop("struct_asym", ("id", "entity_id"), [["A", "1"], ["B", "2"]])
    )
    two = change(residue("TRP", 1, shift=30.0), chain="B", entity="2")
    atoms = [*residue("ALA", 2), *residue("SER", 4), *two]
    found = read(cif_text(atoms, before=before)).chains
    assert [c.entity_sequence for c in found] == ["MAGS", "WGT"]
    assert found[0].residue_index.tolist() == [2, 3, 4]


def test_an_entity_sequence_that_is_told_twice_is_none():
    """Its order is all that tells the two apart."""
    rows = [["1", str(k), c] for c in ("ALA", "TRP") for k in (1, 2)]
    before = entity(["ALA"]).replace(
        loop("entity_poly_seq", ("entity_id", "num", "mon_id"), [["1", "1", "ALA"]]),
        loop("entity_poly_seq", ("entity_id", "num", "mon_id"), rows),
    )
    assert read(cif_text(chain(["ALA", "ALA"]), before=before)).chains[0].entity_sequence is None


CODED = ["MSE", "ALA", "SER", "GLY", "UNK", "LEU", "SEC", "TRP"]


def in_letters(code: str, kind: str = "'polypeptide(L)'") -> str:
    """What describes `CODED`, its sequence in letters alone."""
    described = entity(CODED).replace("'polypeptide(L)'", kind)
    begin, end = (
        described.index(word) for word in ("loop_\n_entity_poly_seq", "loop_\n_struct_asym")
    )
    letters = f"_entity_poly.pdbx_seq_one_letter_code {code}\n# \n"
    return described[:begin].removesuffix("# \n") + letters + described[end:]


@pytest.mark.parametrize("code", ["(MSE)ASGXLUW", "\n;(MSE)AS\nGXLUW\n;", "'(mse)asg xluw'"])
@pytest.mark.parametrize("binary", [False, True])
def test_a_sequence_in_letters_is_that_of_the_entity_where_no_table_has_it(code, binary):
    atoms = [a for a in chain(CODED) if a.number not in ("1", "4", "5", "8")]
    plain = read(cif_text(atoms, before=entity(CODED)))
    text = cif_text(atoms, before=in_letters(code))
    found = read_chains(as_bcif(text), "test") if binary else read(text)
    for one, other in zip(plain.chains, found.chains, strict=True):
        check_same_residues(one, other)
        assert one.entity_sequence == other.entity_sequence == "MASGXLCW"
        assert one.residue_index.tolist() == other.residue_index.tolist() == [2, 3, 4, 5, 6, 7]
        assert one.resolved.tolist() == other.resolved.tolist()
    assert found.flags == plain.flags == []


@pytest.mark.parametrize("kind", ["polyribonucleotide", "?"])
def test_letters_that_may_be_nucleotides_are_no_sequence_of_a_protein(kind):
    parsed = read(cif_text(chain(CODED), before=in_letters("(MSE)ASGXLUW", kind)))
    assert all(found.entity_sequence is None for found in parsed.chains)


@pytest.mark.parametrize("code", ["(MSE)AS*GXLUW", "(MSE", "?", "''"])
def test_letters_that_cannot_be_read_are_no_sequence(code):
    (found,) = read(cif_text(chain(CODED), before=in_letters(code))).chains
    assert found.entity_sequence is None
    assert sequence_string(found.aatype) == "MASGXLCW"
