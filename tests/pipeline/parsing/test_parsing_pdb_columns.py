"""PDB records whose columns do not hold what the format says: too wide, hexadecimal, guessed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace

import numpy as np
import pytest

from pipeline.chain import Chain
from pipeline.parsing import cif_atoms, read_chains
from pipeline.parsing.cif_text import CifText
from pipeline.parsing.pdb_text import PdbText, read_atoms
from pipeline.residues import RESTYPES, SLOT_OF_NAME, sequence_string
from pipeline.sources import decompress
from tests.support.places import EXAMPLES
from tests.support.structure_text import (
    Atom,
    chain,
    change,
    cif_text,
    in_format,
    pdb_line,
    pdb_text,
    read,
    residue,
)

BOTH = pytest.mark.parametrize("kind", ["pdb", "cif"])
ENTRIES = pytest.mark.parametrize(
    "name", ["1ubi.pdb.zst", "1orc.pdb.gz", "1a8o.pdb", "1ejg.pdb.gz"]
)


def example(name: str) -> list[str]:
    """The lines of an entry without its CONECT records."""
    text = decompress((EXAMPLES / name).read_bytes(), 2**30).decode()
    return [line for line in text.splitlines() if not line.startswith("CONECT")]


def is_atom(line: str) -> bool:
    return line.startswith(("ATOM", "HETATM"))


def is_wide(line: str) -> bool:
    return is_atom(line) and len(line) > 80


def chains_of(lines: list[str]) -> list[Chain]:
    return read_chains("\n".join(lines).encode() + b"\n", "test").chains


def differing(one: list[Chain], other: list[Chain], *but: str) -> list[str]:
    """Fields, headers among them, in which chains differ."""
    if len(one) != len(other):
        return [f"{len(one)} and {len(other)} chains"]
    names = [f.name for f in fields(Chain) if f.name not in but]
    return [
        name
        for a, b in zip(one, other, strict=True)
        for name in names
        if not np.array_equal(getattr(a, name), getattr(b, name))
    ]


# ---- records that are too wide ----------------


def renumbered(lines: list[str], first: int) -> list[str]:
    """Serial numbers from `first` on, as wide as they are."""
    found = []
    for line in lines:
        if is_atom(line):
            line = f"{line[:6]}{first:>5}{line[11:]}"
            first += 1
        found.append(line)
    return found


@ENTRIES
@pytest.mark.parametrize("first", [99_900, 100_000, 9_999_990])
def test_serial_numbers_of_any_width_change_nothing(name: str, first: int):
    plain = example(name)
    wide = renumbered(plain, first)
    assert any(map(is_wide, wide))
    assert not differing(chains_of(plain), chains_of(wide))


@pytest.mark.parametrize(
    "ter", ["TER  100011      GLY A   2", "TER1000110      GLY A   2", "TER\t"]
)
def test_a_ter_with_a_wide_serial_number_or_a_tab_ends_a_chain(ter: str):
    def of(ter: str) -> list[Chain]:
        shifted = chain(["SER", "THR"], first=3, shift=30.0)
        return read(pdb_text(chain(["ALA", "GLY"]), ter, shifted, "TER")).chains

    plain = of("TER      11      GLY A   2")
    assert len(plain) == 2
    assert not differing(plain, of(ter))


def test_residues_of_wide_records_are_counted_in_a_flag():
    lines = renumbered(example("1ubi.pdb.zst"), 100_000 - 10)
    residues = {line[17:28] for line in lines if is_wide(line)}
    found = read("\n".join(lines))
    assert found.flags == [f"wide_records:{len(residues)}"]


@ENTRIES
def test_a_file_whose_numbers_are_padded_to_one_column_more_is_read(name: str):
    plain = example(name)
    wide = [f"{x[:6]} {x[6:]}" if is_atom(x) else x for x in plain]
    assert not differing(chains_of(plain), chains_of(wide))


def test_a_serial_number_that_takes_the_blank_behind_it_shifts_nothing():
    plain = example("1orc.pdb.gz")
    wide = [f"{x[:6]}123456{x[12:]}" if is_atom(x) else x for x in plain]
    found = read("\n".join(wide))
    assert found.flags == []
    assert not differing(chains_of(plain), found.chains)


@pytest.mark.parametrize("first_serial", [1, 99_990, 100_000])
@pytest.mark.parametrize(
    ("chain_id", "first"), [("A", 9_990), ("b", 9_999), ("7", 9_995), (" ", 12_345)]
)
def test_residue_numbers_of_five_digits_may_shift_their_lines(chain_id, first, first_serial):
    atoms = [
        a
        for k, comp in enumerate(["ALA", "VAL", "SER", "MSE", "ALA"] * 4)
        for a in change(residue(comp, 1, place=k, chain=chain_id), number=str(first + k))
    ]
    found = read("\n".join(renumbered(pdb_text(atoms).splitlines(), first_serial)))
    (only,) = found.chains
    assert only.auth_seq_id.tolist() == list(range(first, first + 20))
    assert sequence_string(only.aatype) == "AVSMA" * 4
    assert only.n_bad_atoms == 0
    assert len(only.coords) == len(atoms)


def test_a_component_of_five_letters_shifts_its_line_and_takes_nothing_with_it():
    plain = chain(["ALA", "GLY", "SER"], chain="B")
    ligand = change(residue("LIG", 4, names=("C1", "C2"), chain="B"), record="HETATM")
    short = read(pdb_text(plain, "TER", ligand))
    for comp in ("A1ABC", "ABCD"):
        long = read(pdb_text(plain, "TER", change(ligand, comp=comp)))
        assert not differing(short.chains, long.chains)
        assert long.flags == ["wide_records:1"]
        lines = pdb_text(plain, "TER", change(ligand, comp=comp)).encode()
        atoms = read_atoms(PdbText(lines), "first")
        assert atoms.comp_id[-1].decode() == comp
        assert atoms.auth_seq_id[-1] == 4
        assert atoms.located.all()


def test_a_chain_id_of_two_letters_may_shift_its_line():
    atoms = chain(["ALA", "GLY", "SER"])
    lines = [line[:20] + " CB" + line[22:] for line in pdb_text(atoms).splitlines()]
    found = read("\n".join(lines))
    assert [c.auth_asym_id for c in found.chains] == ["CB"]
    assert not differing(
        read(pdb_text(atoms)).chains, found.chains, "auth_asym_id", "label_asym_id"
    )


def a_number_or_a_chain(numbers: range) -> list[str]:
    """``A1…``: chain A and five digits, or chain A1 and four."""
    lines = []
    for number in numbers:
        for atom in residue("ALA", 1, place=number - numbers[0]):
            line = pdb_line(atom)
            lines.append(f"{line[:21]}A{number}{line[26:]}")
    return lines


def test_what_can_be_read_in_two_ways_is_read_as_other_records_are():
    odd = a_number_or_a_chain(range(12_000, 12_004))
    of_a = chain(["GLY"] * 3, 1, chain="A", shift=50.0)
    found = read("\n".join([*pdb_text(of_a).splitlines(), *odd])).chains
    assert [c.auth_seq_id.tolist()[-2:] for c in found] == [[12_002, 12_003]]
    of_a1 = [line[:21] + "A1" + line[22:] for line in pdb_text(of_a).splitlines()]
    found = read("\n".join([*of_a1, *odd])).chains
    assert [(c.auth_asym_id, c.auth_seq_id.tolist()[-1]) for c in found] == [("A1", 2003)]
    found = read("\n".join(renumbered([*pdb_text(of_a).splitlines(), *odd], 100_000))).chains
    assert [c.auth_seq_id.tolist()[-2:] for c in found] == [[12_002, 12_003]]


def test_what_can_be_read_in_two_ways_and_nothing_settles_is_absent_and_counted():
    odd = a_number_or_a_chain(range(12_000, 12_003))
    of_b = chain(["GLY"] * 9, 1, chain="B", shift=50.0)
    found = read("\n".join([*pdb_text(of_b).splitlines(), *odd]))
    assert [c.auth_asym_id for c in found.chains] == ["B"]
    assert [d.auth_asym_id for d in found.dropped] == ["A"]
    assert not any(f.startswith("wide_records") for f in found.flags)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda x: f"{x[:30]} {x[30:38]}{x[38:46]}{x[46:]}"[:54] if "CB" in x else x,  # cut
        lambda x: f"{x[:46]}{'':8}{x[54:]}" if "CB" in x else x,  # z is missing
        lambda x: f"{x[:38]} {x[38:]}" if "CB" in x else x,  # y and z are shifted, x is not
        lambda x: f"{x[:30]}12345.678{x[38:]}" if "CB" in x else x,  # x is wider than its columns
        lambda x: f"{x[:14]} x {x[14:]}" if "CB" in x else x,  # a word too many
    ],
)
def test_where_coordinates_are_is_not_guessed(spoil: Callable[[str], str]):
    lines = [spoil(line) for line in pdb_text(chain(["ALA"] * 4)).splitlines()]
    found = read("\n".join(lines) + "\n")
    # With a word too many the residue's number is unreadable too.
    assert found.flags == (["numbers_guessed:4"] if " x " in lines[4] else [])
    (only,) = found.chains
    assert len(only.coords) == 16
    assert only.resolved.all()


def test_coordinates_of_two_decimals_are_not_shifted():
    lines = []
    for line in pdb_text(chain(["ALA"] * 4)).splitlines():
        x, y, z = (float(line[k : k + 8]) for k in (30, 38, 46))
        lines.append(f"{line[:30]}{x:8.2f}{y:8.2f}{z:8.2f}{line[54:]}")
    found = read("\n".join(lines))
    assert found.flags == []
    assert found.chains[0].n_bad_atoms == 0


def test_large_coordinates_of_a_shifted_line_are_not_cut_at_the_wrong_place():
    atoms = [
        replace(a, xyz=tuple(f"{float(v) + 1000:.3f}" for v in a.xyz)) for a in chain(["ALA"] * 3)
    ]
    plain = pdb_text(atoms).splitlines()
    assert not differing(chains_of(plain), chains_of(renumbered(plain, 100_000)))


def lifted(lines: list[str], by: int) -> list[str]:
    """Lines whose z is as wide as it is, once it is larger by so many Å."""
    return [
        f"{x[:46]}{float(x[46:54]) + by:8.3f}{x[54:]}" if x.startswith(("ATOM", "HETATM")) else x
        for x in lines
    ]


@ENTRIES
@pytest.mark.parametrize("by", [-1020, -3000, -20_000, 9_990, 99_990])
def test_a_z_that_is_wider_than_its_columns_is_read(name: str, by: int):
    """1ejg has alternates, so occupancies behind it are read as well."""
    plain = [line for line in example(name) if not line.startswith("SEQRES")]
    found = read("\n".join(lifted(plain, by)))
    expected = chains_of(plain)
    assert not differing(expected, found.chains, "coords")
    for one, other in zip(expected, found.chains, strict=True):
        assert np.array_equal(one.coords + np.array([0, 0, 1000 * by]), other.coords)
        assert not other.coords_rounded
    residues = {x[17:27] for x in lifted(plain, by) if is_wide(x)}
    assert found.flags == [f"wide_records:{len(residues)}"]


@pytest.mark.parametrize(
    "coordinates",
    [
        "   1.000   1.000-1008.469100.00 10.00",  # -1008.46 and 9100.00?
        "   1.000   1.000-1008.4691.0000 10.00",
        "   1.000   1.000-1000000.469  1.00 10.00",
        "10008.26010008.09510008.095  1.00 10.00",
    ],
)
def test_a_number_that_goes_on_behind_its_columns_is_none(coordinates: str):
    lines = pdb_text(chain(["ALA"] * 4)).splitlines()
    lines[9] = lines[9][:30] + coordinates
    (only,) = read("\n".join(lines) + "\n").chains
    assert (only.n_bad_atoms, len(only.coords)) == (1, 19)


def test_a_full_z_of_two_decimals_is_a_number_of_two_decimals():
    lines = pdb_text(chain(["ALA"] * 4)).splitlines()
    lines = [f"{line[:46]}-1234.50{line[54:]}" for line in lines]
    (only,) = read("\n".join(lines) + "\n").chains
    assert set(only.coords[:, 2].tolist()) == {-1_234_500}


@pytest.mark.parametrize("number", ["1e2", "1.000(2)", "'1.000'"])
def test_numbers_of_cif_are_none_in_pdb_files(number: str):
    atoms = residue("ALA", 1)
    atoms[4] = replace(atoms[4], xyz=("1.000", number, "1.000"))
    (only,) = read(pdb_text(atoms)).chains
    assert (only.n_bad_atoms, len(only.coords)) == (1, 4)


@ENTRIES
@pytest.mark.parametrize("indent", [" ", "   "])
def test_blanks_before_some_records_of_atoms_change_nothing(name: str, indent: str):
    plain = example(name)
    places = [k for k, line in enumerate(plain) if line.startswith(("ATOM", "HETATM", "TER"))]
    odd = {*places[3:9], *places[-40:]}
    indented = [indent + line if k in odd else line for k, line in enumerate(plain)]
    expected, found = read("\n".join(plain)), read("\n".join(indented))
    assert not differing(expected.chains, found.chains)
    assert found.flags == [f"indented_records:{len(odd)}", *expected.flags]


def test_models_of_an_indented_file_stay_models():
    models = pdb_text(chain(["ALA", "GLY"]), "ENDMDL", chain(["ALA", "GLY"], shift=9.0), "END")
    expected = read(models)
    found = read("".join(f"  {line}\n" for line in models.splitlines()))
    assert not differing(expected.chains, found.chains)
    assert len(found.chains) == 1


def test_indented_text_that_begins_with_a_record_s_name_is_none():
    plain = pdb_text(chain(["ALA", "GLY"]))
    head = " ATOM      1  N   MET A   1 is the first of 6.000 atoms, TER the last\n TERM\n\n"
    found = read(head + plain)
    assert found.flags == []
    assert not differing(read(plain).chains, found.chains)


# ---- numbers of -1000 and below ----------------


@pytest.mark.parametrize(
    ("first", "n", "found_in"), [(-1003, 9, "A"), (-1000, 4, "A"), (-9_990, 12, "_")]
)
def test_a_sign_in_the_column_of_the_chain_id_is_of_the_number(first, n, found_in):
    """Where numbers go on above -1000 the chain is known."""
    atoms = numbered([str(k) for k in range(first, first + n)])
    lines = [
        line[:21] + f"{atom.number:>5}" + line[26:] if int(atom.number) <= -1000 else line
        for atom, line in zip(atoms, pdb_text(change(atoms, number="0")).splitlines(), strict=True)
    ]
    lines = [
        f"{line[:22]}{atom.number:>4}{line[26:]}" if int(atom.number) > -1000 else line
        for atom, line in zip(atoms, lines, strict=True)
    ]
    other = pdb_text(change(chain(["GLY"] * 3, shift=40.0), chain="B")).splitlines()
    found = read("\n".join([*lines, "TER", *other]))
    assert [c.auth_asym_id for c in found.chains] == [found_in, "B"]
    assert found.chains[0].auth_seq_id.tolist() == [*range(first, first + n)]
    assert found.flags == [f"wide_records:{min(n, -999 - first)}"]


@pytest.mark.parametrize("numbers", [range(1000, 1004), range(1000, 1001)])
def test_a_chain_called_by_a_sign_keeps_its_numbers(numbers: range):
    found = read(pdb_text(numbered([str(k) for k in numbers], "-")))
    assert [(c.auth_asym_id, c.auth_seq_id.tolist()) for c in found.chains] == [("-", [*numbers])]
    assert found.flags == []


# ---- hexadecimal residue numbers ----------------


def numbered(
    numbers: list[str], chain_id: str = "A", comp: str = "ALA", at: float = 0
) -> list[Atom]:
    return [
        a
        for k, number in enumerate(numbers)
        for a in change(residue(comp, 1, place=at + k, chain=chain_id), number=number)
    ]


def hexadecimal(first: int, n: int, form: str = "X") -> list[str]:
    return [str(k) if k < 10_000 else f"{k:{form}}" for k in range(first, first + n)]


@pytest.mark.parametrize("form", ["X", "x"])
@pytest.mark.parametrize(("first", "n"), [(9_990, 60), (9_999, 5), (9_998, 12), (9_995, 300)])
def test_a_chain_goes_on_from_9999_in_hexadecimal(first: int, n: int, form: str):
    found = read(pdb_text(numbered(hexadecimal(first, n, form))))
    (only,) = found.chains
    assert only.auth_seq_id.tolist() == list(range(first, first + n))
    assert only.residue_index.tolist() == list(range(first, first + n))
    assert found.flags == []


def test_chains_and_models_count_in_hexadecimal_by_themselves():
    one, other = numbered(hexadecimal(9_990, 40)), numbered(hexadecimal(9_980, 30), "B", at=500)
    models = pdb_text(
        "MODEL        1", one, "TER", other, "ENDMDL", "MODEL        2", one, "ENDMDL"
    )
    found = read(models, models="all").chains
    assert [(c.model, c.auth_asym_id, int(c.auth_seq_id[-1])) for c in found] == [
        (1, "A", 10_029),
        (1, "B", 10_009),
        (2, "A", 10_029),
    ]


def test_waters_in_hexadecimal_are_no_second_chain():
    protein = numbered([str(k) for k in range(1, 30)])
    waters = [
        replace(a, name="O", comp="HOH", record="HETATM", number=number)
        for number in hexadecimal(9_000, 7_000)
        for a in residue("HOH", 1, names=("O",), place=900)
    ]
    found = read(pdb_text(protein, "TER", waters))
    assert found.chains[0].metadata.n_waters == 7_000
    assert found.flags == []


def test_hybrid_36_goes_on_from_9999_with_a000():
    found = read(pdb_text(numbered(["9998", "9999", "A000", "A001", "A002"])))
    assert [c.auth_seq_id.tolist() for c in found.chains] == [[9998, 9999, 10000, 10001, 10002]]


@pytest.mark.parametrize(
    ("behind", "n_chains"),
    [
        ([*map(str, range(2_710, 2_730))], 1),  # begins again, and goes on to 2720 after 2719
        (["2710", "2711", "2713", "2714"], 1),  # decimal as far as one can see
        (["2711", "2712"], 1),  # does not go on from 270F
        (["1", "2", "3"], 1),
    ],
)
def test_a_chain_that_begins_again_is_no_hexadecimal_one(behind: list[str], n_chains: int):
    found = read(pdb_text(numbered(["9998", "9999", *behind])))
    assert [c.auth_seq_id.tolist() for c in found.chains] == [[9998, 9999, *map(int, behind)]]


def test_numbers_with_letters_elsewhere_are_not_hexadecimal():
    atoms = numbered(["2710", "271A", "271B"])
    assert read(pdb_text(atoms)).chains[0].auth_seq_id.tolist() == [2710, 2711, 2712]  # counted on


# ---- elements taken from the first letters of a name ----------------

HISTIDINE = ("N", "CA", "C", "O", "CB", "CG", "ND1", "CD2", "CE1", "NE2")


def with_guessed_elements(atoms: list[Atom], form: Callable[[str], str]) -> list[Atom]:
    return [replace(a, element=form(a.name[:2])) for a in atoms]


@BOTH
@pytest.mark.parametrize("form", [str.upper, str.capitalize])
@pytest.mark.parametrize(
    ("comp", "letter", "names"),
    [
        ("HIE", "H", (*HISTIDINE, "HE1", "HE2", "HD2", "HA", "HB2")),
        ("HSP", "H", (*HISTIDINE, "HE1", "HE2", "HD1")),
        ("CYX", "C", ("N", "CA", "C", "O", "CB", "SG", "HB2")),
        ("ASH", "D", ("N", "CA", "C", "O", "CB", "CG", "OD1", "OD2", "HD2")),
        ("HIS", "H", (*HISTIDINE, "DE1", "HG")),
    ],
)
def test_no_amino_acid_holds_helium(kind, form, comp, letter, names):
    guessed = with_guessed_elements(residue(comp, 2, names=names), form)
    hydrogens = tuple(a.name for a in guessed if a.name[0] in "HD")
    text = in_format(kind, [*residue("ALA", 1), *guessed, *residue("ALA", 3)])
    (only,) = read(text).chains
    assert sequence_string(only.aatype) == f"A{letter}A"
    assert only.n_modified == 0
    proper = [a for a in guessed if a.name not in hydrogens]
    plain = in_format(kind, [*residue("ALA", 1), *proper, *residue("ALA", 3)])
    assert not differing(read(plain).chains, [only])


@BOTH
def test_the_mercury_of_a_modified_residue_stays_mercury(kind):
    names = ("N", "CA", "C", "O", "CB", "SG", "HG", "CM")
    bound = [
        replace(a, element="HG" if a.name == "HG" else None) for a in residue("CMH", 2, names=names)
    ]
    text = in_format(kind, [*residue("ALA", 1), *bound, *residue("ALA", 3)])
    if kind == "pdb":
        elements = read_atoms(PdbText(text.encode()), "first").element
    else:
        elements = cif_atoms.read_atoms(CifText(text.encode()).table("atom_site"), "first").element
    assert elements.tolist().count(b"HG") == 1
    assert sequence_string(read(text).chains[0].aatype) == "ACA"


@BOTH
@pytest.mark.parametrize("symbol", ["HE", "HG", "HO", "HF", "Hg"])
def test_a_metal_of_its_own_stays_one(kind, symbol):
    metal = Atom(symbol.upper(), symbol.upper(), "A", "9", element=symbol, record="HETATM")
    text = in_format(kind, [*chain(["ALA", "CYS"]), metal])
    found = read(text)
    assert found.chains[0].metadata.n_ligands == 1
    if kind == "pdb":
        assert read_atoms(PdbText(text.encode()), "first").element[-1] == symbol.encode()


# ---- read right, and to stay so ----------------


def test_a_table_of_scores_behind_the_atoms_is_no_structure():
    atoms = chain(["ALA", "HIS", "GLU"])
    scores = [
        "# All scores below are weighted scores, not raw scores.",
        "#BEGIN_POSE_ENERGIES_TABLE test.pdb",
        "label fa_atr fa_rep hbond_sr_bb total",
        "weights 1 0.55 1 NA",
        "pose -15.1 1.2 -0.3 -14.2",
        "ALA:NtermProteinFull_1 -1.9 0.1 0 -1.8",
        "HIS_2 -5.1 0.4 -0.1 -4.8",
        "#END_POSE_ENERGIES_TABLE test.pdb",
    ]
    plain = read(pdb_text(atoms, "TER"))
    scored = read(pdb_text(atoms, "TER", scores))
    assert scored.flags == plain.flags == []
    assert not differing(plain.chains, scored.chains)


def test_models_parted_by_end_alone_are_models():
    one, other = chain(["ALA", "GLY"]), chain(["ALA", "GLY"], shift=20.0)
    found = read(pdb_text(one, "END", other, "END"), models="all").chains
    assert [c.model for c in found] == [1, 2]
    assert len(read(pdb_text(one, "END", other, "END")).chains) == 1


@BOTH
@pytest.mark.parametrize(("name", "element"), [("DA", "D"), ("HA", "H"), ("D1", ""), ("1HB", "")])
def test_deuterium_is_left_out_as_hydrogen_is(kind, name, element):
    light = replace(residue("ALA", 1)[1], name=name, element=element)
    plain = [*residue("ALA", 1), *residue("GLY", 2)]
    found = read(in_format(kind, [*plain[:5], light, *plain[5:]]))
    assert not differing(read(in_format(kind, plain)).chains, found.chains)


def test_components_of_five_letters_are_told_apart_in_mmcif():
    atoms = [*residue("A1ABC", 1), *residue("A1ABD", 2), *residue("ALA", 3)]
    (only,) = read(cif_text(atoms)).chains
    assert sequence_string(only.aatype) == "XXA"
    assert only.n_modified == 2


def test_the_twenty_and_their_names_have_no_element_but_h_that_begins_with_h():
    """Why a two-letter element that begins with H or D is a hydrogen there."""
    assert not any(n[0] in "HD" for k in range(len(RESTYPES)) for n in SLOT_OF_NAME[k])


# ---- elements that stand nowhere but in names ---------------------------------------------------


def elements_of(lines: list[str]) -> list[str]:
    return [
        e.decode() for e in read_atoms(PdbText(("\n".join(lines) + "\n").encode()), "all").element
    ]


@pytest.mark.parametrize("name", sorted(p.name for p in EXAMPLES.glob("*.pdb*")))
@pytest.mark.parametrize("margin", ["", "              ", "      1ABC 123"])
def test_elements_are_told_by_the_names_of_the_archive(name, margin):
    lines = example(name)
    told = elements_of(lines)
    bare = [line[:66] + margin if is_atom(line) else line for line in lines]
    assert elements_of(bare) == told


@pytest.mark.parametrize(
    ("name", "comp", "element"),
    [
        ("ZN  ", " ZN", "ZN"),
        ("CA  ", " CA", "CA"),
        ("CL  ", " CL", "CL"),
        ("MG  ", "MG2", "MG"),
        (" K  ", "  K", "K"),
        (" NA ", " NA", "NA"),
        ("Na+ ", "Na+", "NA"),
        ("CL- ", "CL-", "CL"),
        (" SOD", "SOD", "NA"),
        (" CLA", "CLA", "CL"),
        ("HG  ", " HG", "HG"),
        ("FE  ", "HEM", "FE"),
        (" NA ", "HEM", "N"),
        ("CL1 ", "LIG", "CL"),
        (" CL1", "LIG", "C"),
        ("CD11", "LIG", "C"),
        ("HO1 ", "LIG", "H"),
        ("1HB ", "LIG", "H"),
        ("SE  ", "MSE", "SE"),
        (" CA ", "MSE", "C"),
        ("OW  ", "SOL", "O"),
    ],
)
def test_elements_of_ions_and_ligands_are_told_by_their_names(name, comp, element):
    lines = [pdb_line(a, k)[:66] for k, a in enumerate(residue("GLY", 1))]
    line = f"HETATM    9 {name} {comp} A   9      10.000  10.000  10.000  1.00  0.00"
    assert elements_of([*lines, line])[-1] == element


@pytest.mark.parametrize(("name", "element"), [("CA1 ", "C"), ("CD  ", "C"), ("ZN  ", "ZN")])
def test_names_that_all_begin_at_the_left_tell_one_letter_and_ions(name, element):
    """In such files CA1 of a ligand begins where a calcium does."""
    comp = " ZN" if element == "ZN" else "LIG"
    head = [
        f"ATOM      {k} {n:<4} GLY A   1      10.000  {k}0.000  10.000" for k, n in enumerate("NCO")
    ]
    line = f"HETATM    9 {name} {comp} A   9      10.000  10.000  10.000"
    assert elements_of([*head, line])[-1] == element


def in_five_columns(atoms: list[Atom]) -> list[Atom]:
    """Their numbers flush with column 27."""
    return [replace(a, number=a.number[:-1], ins=a.number[-1]) for a in atoms]


@BOTH
def test_a_digit_is_an_insertion_code_like_a_letter(kind):
    inserted = [residue("GLY", 52, place=52 + k, ins=str(k)) for k in (1, 2)]
    atoms = [*chain(["ALA"] * 52), *inserted[0], *inserted[1], *residue("SER", 53, place=55)]
    found = read(in_format(kind, atoms)).chains[0]
    assert found.auth_seq_id[50:].tolist() == [51, 52, 52, 52, 53]
    assert found.ins_code[50:].tolist() == [0, 0, ord("1"), ord("2"), 0]
    assert found.residue_index[50:].tolist() == [51, 52, 53, 54, 55]


@BOTH
def test_one_digit_behind_all_numbers_is_an_insertion_code(kind):
    atoms = change(chain(["ALA", "GLY", "SER"] * 4), ins="0")
    found = read(in_format(kind, atoms)).chains[0]
    assert found.auth_seq_id.tolist() == list(range(1, 13))
    assert set(found.ins_code.tolist()) == {ord("0")}


@pytest.mark.parametrize("first", [1, 8, 95, 998, 9997, 12345, -3])
def test_numbers_that_all_end_in_column_27_are_read_whole(first):
    comps = ["ALA", "GLY", "SER", "LEU"] * 3
    atoms = [a for k, comp in enumerate(comps) for a in residue(comp, first + k, place=k)]
    waters = residue("HOH", first + 12, place=20, names=["O"], record="HETATM")
    found = read(pdb_text(in_five_columns(atoms + waters))).chains[0]
    assert found.auth_seq_id.tolist() == list(range(first, first + 12))
    assert not found.ins_code.any()
    assert len(found.coords) == len(atoms)


def test_the_only_residue_of_a_file_may_have_its_number_in_column_27():
    found = read(pdb_text(in_five_columns(residue("ALA", 7)))).chains[0]
    assert (found.auth_seq_id[0], found.ins_code[0]) == (7, 0)


def test_numbers_of_five_digits_may_stand_beside_insertion_codes():
    wide = in_five_columns([*residue("LEU", 10000, place=101), *residue("VAL", 10001, place=102)])
    found = read(pdb_text(chain(["ALA"] * 3, 97), residue("SER", 99, place=100, ins="1"), wide))
    assert [c.auth_seq_id.tolist() for c in found.chains] == [[97, 98, 99, 99, 10000, 10001]]
