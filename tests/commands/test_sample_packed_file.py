"""What a packed file has of its input beside new side chains, and what is said of the rest."""

from __future__ import annotations

from pathlib import Path

import gemmi
import numpy as np
import pytest
import torch

from model.errors import CannotLoad
from model.sample import Sampler, Samples
from model.sample.measure import n_disulphides
from model.sample.sampler import read_problems
from model.sample.structure_file import structure_text
from model.tasks import Output, Problem, Request
from model.tasks.inputs import InputError, is_torn
from model.trained_network import load_network
from pipeline.errors import UsageError
from pipeline.export.bonds import bonds_between
from pipeline.export.chain_ids import Kind
from pipeline.export.mmcif import mmcif_text
from pipeline.export.pdb import pdb_text
from pipeline.parsing import read_chains
from pipeline.sources import decompress
from tests.support import structure_text as text
from tests.support.places import EXAMPLES
from tests.support.sample_network import (
    first,
    is_backbone,
    named,
    number_of,
    small_network,
    ubiquitin_lines,
    write_pdb,
)

KINDS = ["cif", "pdb"]


@pytest.fixture(scope="module")
def flow() -> Sampler:
    torch.set_num_threads(1)
    return Sampler(small_network(), device="cpu")


def atom(
    name: str, comp: str, number: int, like: str, shift: float = 0.0, altloc: str = " "
) -> str:
    """A HETATM beside the atom of another line."""
    x = float(like[30:38]) + shift
    return f"HETATM 9000 {name:<4}{altloc}{comp:>3} A{number:>4}    {x:8.3f}{like[38:76]} {name[1]}"


def packed(flow: Sampler, path: Path, lines: list[str], kind: str, **more: object) -> Path:
    """The file of a packing of these lines."""
    samples = pack(flow, path, lines, **more)
    out = path.with_name(f"out.{kind}")
    samples[0].save(out)
    return out


def pack(flow: Sampler, path: Path, lines: list[str], **more: object) -> Samples:
    given = write_pdb(path, lines)
    return flow.sample("packing", input=given, steps=1, **more)  # type: ignore[arg-type]


def atoms_of(path: Path) -> dict[tuple[str, str, str, str], tuple[float, ...]]:
    """(number, residue, atom, altloc) → place, of the first model."""
    return {
        (str(r.seqid), r.name, a.name, a.altloc.strip("\0")): tuple(
            round(v, 3) for v in a.pos.tolist()
        )
        for chain in gemmi.read_structure(str(path))[0]
        for r in chain
        for a in r
    }


def said_of(path: Path, lines: list[str], **more: object) -> list[str]:
    said: list[str] = []
    request = Request("packing", input=write_pdb(path, lines), **more)  # type: ignore[arg-type]
    _, errors = read_problems(request, said.append)
    return said + [str(error) for error in errors]


def unchanged(path: Path, lines: list[str], **more: object) -> tuple[Problem, Output]:
    """A packing that finds every side chain where it was."""
    request = Request("packing", input=write_pdb(path, lines), **more)  # type: ignore[arg-type]
    ((problem,), errors) = read_problems(request)
    assert not errors
    n, given = len(problem), problem.given
    stays = np.zeros(n, bool) if problem.untouched is None else problem.untouched
    mask = given.mask & (stays | (problem.has_frame & ~is_torn(given)))[:, None]
    made = given.with_atoms(given.positions, mask)
    return problem, Output(made, np.zeros(n), np.zeros(n), None, np.zeros(n, bool), [])


def text_of(path: Path, lines: list[str], kind: Kind = "pdb", **more: object) -> list[str]:
    """The lines of the file of such a packing."""
    return structure_text(*unchanged(path, lines, **more), kind)[0].splitlines()


def without(lines: list[str], number: str, name: str) -> list[str]:
    return [
        line for line in lines if not (number_of(line) == number and line[12:16].strip() == name)
    ]


# ---- what comes back ----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_the_second_oxygen_of_the_end_comes_back(flow: Sampler, tmp_path: Path, kind: str) -> None:
    lines = ubiquitin_lines()[-60:]
    (end,) = (line for line in lines if line[12:16].strip() == "OXT")
    place = tuple(float(end[k : k + 8]) for k in (30, 38, 46))
    found = atoms_of(packed(flow, tmp_path / "a.pdb", lines, kind))
    assert found["76", "GLY", "OXT", ""] == place
    # Programs of molecular dynamics call both otherwise.
    renamed = [
        line.replace(" OXT ", " OT2 ").replace(" O  ", " OT1") if number_of(line) == "76" else line
        for line in lines
    ]
    assert atoms_of(packed(flow, tmp_path / "b" / "a.pdb", renamed, kind)) == found


@pytest.mark.parametrize("kind", KINDS)
def test_a_d_amino_acid_stays_as_it_is_under_its_name(
    flow: Sampler, tmp_path: Path, kind: str
) -> None:
    lines = named(first(9), "5", "DVA")
    samples = pack(flow, tmp_path / "a.pdb", lines)
    samples[0].save(out := tmp_path / f"out.{kind}")
    expected = {
        name: tuple(float(line[k : k + 8]) for k in (30, 38, 46))
        for line in lines
        if number_of(line) == "5" and (name := line[12:16].strip())
    }
    found = atoms_of(out)
    assert {k[2]: v for k, v in found.items() if k[:2] == ("5", "DVA")} == expected
    assert ("5", "VAL") not in {k[:2] for k in found}
    entity = gemmi.read_structure(str(out))
    entity.setup_entities()
    assert entity[0][0].get_polymer()[4].name == "DVA", "it is a residue of the chain"
    said = said_of(tmp_path / "a.pdb", lines)
    assert any("stay as they are" in s and s.endswith("known type: DVA") for s in said)
    assert samples[0].residues()[4]["predicted_error"] == 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_residue_of_no_known_type_stays_and_one_with_a_parent_is_made(
    flow: Sampler, tmp_path: Path, kind: str
) -> None:
    lines = named(named(first(9), "4", "XQZ"), "7", "TPO")
    lines += [atom(" P  ", "TPO", 7, lines[-1], 1.0)]
    lines.sort(key=lambda line: int(line[22:26]))
    found = atoms_of(packed(flow, tmp_path / "a.pdb", lines, kind))
    before = {line[12:16].strip() for line in lines if number_of(line) == "4"}
    assert {k[2] for k in found if k[1] == "XQZ"} == before
    assert {k[1] for k in found if k[0] == "7"} == {"THR"}
    said = " ".join(said_of(tmp_path / "a.pdb", lines))
    assert "known type: XQZ" in said
    assert "modified residues are made as their parents: TPO" in said
    assert "left out: 1 atom that the parents of modified residues lack (TPO)" in said


@pytest.mark.parametrize("kind", KINDS)
def test_a_residue_without_occupancy_is_packed(flow: Sampler, tmp_path: Path, kind: str) -> None:
    lines = [
        f"{line[:54]}  0.00{line[60:]}" if number_of(line) == "4" else line for line in first(9)
    ]
    assert atoms_of(packed(flow, tmp_path / "a.pdb", lines, kind)) == atoms_of(
        packed(flow, tmp_path / "b" / "a.pdb", first(9), kind)
    )


@pytest.mark.parametrize("kind", KINDS)
def test_caps_at_the_ends_of_a_chain_come_back(flow: Sampler, tmp_path: Path, kind: str) -> None:
    lines = first(4)
    head = "SEQRES   1 A    6  ACE MET GLN ILE PHE NH2"
    ends = [atom(" C  ", "ACE", 0, lines[0], -1.3), atom(" N  ", "NH2", 5, lines[-1], 1.3)]
    found = atoms_of(packed(flow, tmp_path / "a.pdb", [head, ends[0], *lines, ends[1]], kind))
    assert {k[:3] for k in found} >= {("0", "ACE", "C"), ("5", "NH2", "N")}
    assert {k[0] for k in found} == set("012345")


@pytest.mark.parametrize("kind", KINDS)
def test_what_only_leaves_has_its_alternates_and_modifications(
    flow: Sampler, tmp_path: Path, kind: str
) -> None:
    lines = named(first(9), "7", "TPO")
    of_2 = [line for line in lines if number_of(line) == "2" and not is_backbone(line)]
    at = lines.index(of_2[0])
    lines[at : at + len(of_2)] = [f"{line[:16]}A{line[17:54]}  0.60{line[60:]}" for line in of_2]
    lines[at:at] = [
        f"{line[:16]}B{line[17:30]}{float(line[30:38]) + 1:8.3f}{line[38:54]}  0.40{line[60:]}"
        for line in of_2
    ]
    found = atoms_of(packed(flow, tmp_path / "a.pdb", lines, kind, only="A4"))
    before = atoms_of(tmp_path / "a.pdb")
    stays = {key: xyz for key, xyz in before.items() if key[0] != "4"}
    assert {key: xyz for key, xyz in found.items() if key[0] != "4"} == stays
    assert {key[3] for key in found if key[0] == "2"} == {"", "A", "B"}
    said = " ".join(said_of(tmp_path / "a.pdb", lines))
    assert "left out: alternate locations of 1 residue" in said
    assert "alternate" not in " ".join(said_of(tmp_path / "a.pdb", lines, only="A4"))
    whole = pack(flow, tmp_path / "a.pdb", lines)[0].metrics()
    assert whole["left_out"] == "alternate locations of 1 residue"


def test_what_is_read_of_no_file_is_counted(tmp_path: Path) -> None:
    lines = [f"{line[:78]}1-" if k in (3, 5) else line for k, line in enumerate(first(4))]
    models = [
        "MODEL        1",
        *lines,
        "ENDMDL",
        "MODEL        2",
        *lines,
        "ENDMDL",
        "CONECT    1    2",
    ]
    said = said_of(tmp_path / "a.pdb", models)
    assert said == ["a.pdb: left out: 1 later model, 2 formal charges and 1 CONECT record"]
    structure = gemmi.read_structure(str(tmp_path / "a.pdb"))
    structure.make_mmcif_document().write_file(str(tmp_path / "a.cif"))
    told: list[str] = []
    read_problems(Request("packing", input=tmp_path / "a.cif"), told.append)
    assert told == ["a.cif: left out: 1 later model and 2 formal charges"]


@pytest.mark.parametrize("comp", ["CRO", "UNK"])
def test_a_residue_without_a_backbone_that_stays_is_there_and_in_the_way(
    tmp_path: Path, comp: str
) -> None:
    lines = named(first(9), "5", comp)
    if comp == "CRO":  # its atoms have other names
        names = {" N  ": " N1 ", " CA ": " CA1", " C  ": " C1 ", " O  ": " O3 ", " CB ": " CB1"}
        lines = [
            line[:12] + names.get(line[12:16], line[12:16]) + line[16:]
            if number_of(line) == "5"
            else line
            for line in lines
        ]
    else:
        lines = without(lines, "5", "N")
    comps = list({number_of(line): line[17:20] for line in lines}.values())
    path, before = tmp_path / "a.pdb", [line for line in lines if number_of(line) == "5"]
    found = text_of(path, [*text.seqres("A", comps), *lines])
    assert [line[12:54] for line in found if line[17:26] == f"{comp} A   5"] == [
        line[12:54] for line in before
    ]
    assert not any(line.startswith("REMARK 465") for line in found)
    x, _ = unchanged(path, [*text.seqres("A", comps), *lines])[0].beside()
    assert len(x) == len(before)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_comes_back_of_an_end_that_is_torn(tmp_path: Path, kind: Kind) -> None:
    lines = [
        f"{line[:30]}{float(line[30:38]) + 8:8.3f}{line[38:]}"
        if number_of(line) == "76" and line[12:16].strip() == "N"
        else line
        for line in ubiquitin_lines()[-60:]
    ]
    path = tmp_path / "a.pdb"
    found, (problem, _) = text_of(path, lines, kind), unchanged(path, lines)
    assert not any(" OXT " in line for line in found)
    assert len(problem.beside()[0]) == 0


def test_the_second_oxygen_is_that_of_the_conformer_that_is_written(tmp_path: Path) -> None:
    lines = []
    for line in ubiquitin_lines()[-60:]:
        if number_of(line) == "76" and line[12:16].strip() in ("C", "O", "OXT"):
            x = float(line[30:38])
            lines.append(f"{line[:16]}A{line[17:54]}  0.30{line[60:]}")
            lines.append(f"{line[:16]}B{line[17:30]}{x + 1:8.3f}{line[38:54]}  0.70{line[60:]}")
        else:
            lines.append(line)
    written = text_of(tmp_path / "a.pdb", lines)
    found = [line[12:54] for line in written if line[:4] == "ATOM" and number_of(line) == "76"]
    of_b = [f"{line[12:16]} {line[17:54]}" for line in lines if line[16] == "B"]
    assert found[-3:] == of_b


def test_a_sequence_of_what_has_a_backbone_leaves_the_rest_out(tmp_path: Path) -> None:
    lines, path = without(first(9), "5", "N"), tmp_path / "a.pdb"
    said = said_of(path, lines, sequence="MQIFKTLT")
    assert said == ["a: 1 of 9 residues have no backbone (N, CA, C) and are left out: A5"]
    ((problem,), _) = read_problems(Request("packing", input=path))
    assert problem.left_out == "1 residue without a backbone (A5)"
    found = text_of(path, lines, sequence="MQIFKTLT")
    numbers = {number_of(line) for line in found if line.startswith(("ATOM", "HETATM"))}
    assert numbers == set("12346789")


def test_an_atom_too_many_of_a_standard_residue_is_not_one_of_a_modified_residue(
    tmp_path: Path,
) -> None:
    lines = first(9)
    at = next(k for k, line in enumerate(lines) if number_of(line) == "3")
    lines.insert(at, atom(" CX ", "ILE", 3, lines[at], 1.2).replace("HETATM", "ATOM  "))
    said = said_of(tmp_path / "a.pdb", lines)
    assert said == [
        "a.pdb: is read with remarks (docs/parsing.md): unknown_atoms:1",
        "a.pdb: left out: 1 atom without a place (ILE)",
    ]


def test_the_sequence_of_an_entity_has_the_names_of_all_its_chains(tmp_path: Path) -> None:
    lines = named(first(4), "1", "MSE")
    comps = list({number_of(line): line[17:20] for line in lines}.values())
    copy = [
        f"{line[:21]}B{line[22:30]}{float(line[30:38]) + 100:8.3f}{line[38:]}" for line in lines
    ]
    given = [*text.seqres("A", comps), *text.seqres("B", comps), *lines, "TER", *copy]
    found = "\n".join(text_of(tmp_path / "a.pdb", given, "cif", only="B1"))
    block = gemmi.cif.read_string(found).sole_block()
    rows = [(*row,) for row in block.find("_entity_poly_seq.", ["num", "mon_id", "hetero"])]
    assert rows[:3] == [("1", "MSE", "y"), ("1", "MET", "y"), ("2", "GLN", "n")]
    sites = block.find("_atom_site.", ["label_seq_id", "label_comp_id"])
    assert {row[1] for row in sites if row[0] == "1"} == {"MSE", "MET"}


# ---- bonds --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_disulphides_are_listed_where_sulphurs_are_near(tmp_path: Path, kind: str) -> None:
    def cysteine(number: int, x: str) -> list[text.Atom]:
        atoms = text.residue("CYS", number, names=("N", "CA", "C", "O", "CB", "SG"))
        return [*atoms[:-1], text.replace(atoms[-1], xyz=(x, "9.000", "9.000"), element="S")]

    for far, n in (("12.050", 1), ("13.000", 0)):
        lines = [*cysteine(1, "10.000"), *text.residue("ALA", 2), *cysteine(3, far)]
        chains = read_chains(text.pdb_text(lines, "END").encode(), "a").chains
        write = pdb_text if kind == "pdb" else mmcif_text
        path = tmp_path / f"{n}.{kind}"
        path.write_text(write(chains, kept={}))
        found = gemmi.read_structure(str(path)).connections
        assert [c.type for c in found] == [gemmi.ConnectionType.Disulf] * n
        ends = [(str(c.partner1), str(c.partner2)) for c in found]
        assert ends == [("A/CYS 1/SG", "A/CYS 3/SG")] * n
        assert len(bonds_between(chains, {}, [], [])) == n


@pytest.mark.parametrize("kind", KINDS)
def test_a_bond_to_a_ligand_is_listed_while_its_atoms_are_near(
    flow: Sampler, tmp_path: Path, kind: str
) -> None:
    lines = first(9)
    (tip,) = (line for line in lines if number_of(line) == "6" and line[12:16].strip() == "NZ")
    (oxygen,) = (line for line in lines if number_of(line) == "3" and line[12:16].strip() == "O")
    ligand = [atom(" C1 ", "LIG", 99, tip, 1.4), atom(" C2 ", "LIG", 99, oxygen, 1.4)]
    head = [
        "LINK         NZ  LYS A   6                 C1  LIG A  99     1555   1555  1.40",
        "LINK         O   ILE A   3                 C2  LIG A  99     1555   1555  1.40",
        "LINK         CD  LYS A   6                 C7  LIG A  99     1555   1555  1.40",
        "LINK         NZ  LYS A   6                 C1  LIG A  99     1555   3655  1.40",
    ]
    lines = [*head, *lines, "TER", *ligand]

    def bonds(**more: object) -> set[tuple[str, str]]:
        out = packed(flow, tmp_path / "a.pdb", lines, kind, **more)
        found = gemmi.read_structure(str(out)).connections
        assert all(c.type == gemmi.ConnectionType.Covale for c in found)
        return {(c.partner1.atom_name, c.partner2.atom_name) for c in found}

    assert bonds(only="A2") == {("NZ", "C1"), ("O", "C2")}
    assert bonds() == {("NZ", "C1"), ("O", "C2")}
    assert bonds(sequence="MQIFVRTLT") == {("O", "C2")}, "another type has another tip"


LINK = "LINK         NZ  LYS A   6                 C1  LIG A  99     1555   1555  1.40"


def bonded_to(shift: float, comp: str, element: str) -> list[str]:
    """Nine residues, and an atom so far from the tip of the sixth."""
    lines = first(9)
    (tip,) = (line for line in lines if number_of(line) == "6" and line[12:16].strip() == "NZ")
    other = atom(" C1 ", comp, 99, tip, shift)
    return [*lines, "TER", f"{other[:76]}{element:>2}"]


@pytest.mark.parametrize(("head", "shift"), [([LINK], -2.0), ([], -1.4)])
def test_a_side_chain_that_something_is_bonded_to_stays_and_is_named(
    flow: Sampler, tmp_path: Path, head: list[str], shift: float
) -> None:
    lines = head + bonded_to(shift, "LIG", "C")
    path = tmp_path / "a.pdb"
    found = atoms_of(packed(flow, path, lines, "pdb"))
    given = atoms_of(path)
    for key, place in given.items():
        if key[0] == "6":
            assert found[key] == place
    assert any(found[key] != place for key, place in given.items() if key[0] == "5")
    said = " ".join(said_of(path, lines))
    assert "bonded to them: A6 (NZ to C1 of LIG A99)" in said
    with pytest.raises(InputError, match=r"A6 is bonded by NZ to C1 of LIG A99; leave"):
        pack(flow, path, lines, only="A6")
    request = Request("design", input=path)
    notes: list[str] = []
    read_problems(request, notes.append)
    assert any("designed although" in note and "A6 (NZ to C1" in note for note in notes)
    assert not said_of(path, lines, sequence="MQIFVRTLT")[0].count("bonded")


def test_a_side_chain_that_is_bonded_to_a_residue_of_no_known_type_stays(tmp_path: Path) -> None:
    lines = named(first(9), "3", "XYZ")
    (tip,) = (line for line in lines if number_of(line) == "6" and line[12:16].strip() == "NZ")
    end = atom(" CX ", "XYZ", 3, tip, -1.4)
    at = max(k for k, line in enumerate(lines) if number_of(line) == "3")
    link = "LINK         NZ  LYS A   6                 CX  XYZ A   3     1555   1555  1.40"
    said = said_of(tmp_path / "a.pdb", [link, *lines[: at + 1], end, *lines[at + 1 :]])
    assert any("bonded to them: A6 (NZ to CX of XYZ A3)" in sentence for sentence in said)


def test_alternates_that_exclude_each_other_are_not_bonded(tmp_path: Path) -> None:
    lines = bonded_to(-1.4, "LIG", "C")
    at = next(k for k, x in enumerate(lines) if number_of(x) == "6" and x[12:16].strip() == "NZ")
    tip = lines[at]
    lines[at] = f"{tip[:16]}A{tip[17:54]}  0.60{tip[60:]}"
    lines.insert(
        at + 1, f"{tip[:16]}B{tip[17:30]}{float(tip[30:38]) + 1:8.3f}{tip[38:54]}  0.40{tip[60:]}"
    )
    lines[-1] = f"{lines[-1][:16]}B{lines[-1][17:]}"
    assert not any("bonded" in sentence for sentence in said_of(tmp_path / "a.pdb", lines))
    lines[-1] = f"{lines[-1][:16]}A{lines[-1][17:]}"
    assert any("bonded" in sentence for sentence in said_of(tmp_path / "a.pdb", lines))


@pytest.mark.parametrize(
    ("head", "shift", "comp", "element"),
    [
        ([], -2.0, "LIG", "C"),
        ([LINK], -3.0, "LIG", "C"),
        ([LINK.replace("LIG", " ZN")], -2.0, " ZN", "ZN"),
    ],
)
def test_what_is_near_a_side_chain_or_a_metal_of_it_is_not_bonded(
    tmp_path: Path, head: list[str], shift: float, comp: str, element: str
) -> None:
    said = said_of(tmp_path / "a.pdb", head + bonded_to(shift, comp, element))
    assert said
    assert not any("bonded" in sentence for sentence in said)


@pytest.mark.parametrize("only", [None, "A5"])
def test_disulphides_are_counted_as_they_are_listed(tmp_path: Path, only: str | None) -> None:
    data = decompress((EXAMPLES / "1ejg.pdb.gz").read_bytes(), 1 << 24).decode()
    lines = []
    for line in data.splitlines():
        if not line.startswith("ATOM") or line[76:78].strip() == "H" or line[16] not in " A":
            continue
        line = f"{line[:16]} {line[17:54]}  1.00{line[60:]}"
        if line[17:20] == "CYS" and number_of(line) == "3":
            line = f"HETATM{line[6:17]}DCY{line[20:]}"
        if line[12:16].strip() == "SG" and number_of(line) in ("3", "40"):
            moved = f"{line[:16]}B{line[17:30]}{float(line[30:38]) + 0.3:8.3f}{line[38:]}"
            lines += [f"{line[:16]}A{line[17:]}", moved]
        else:
            lines.append(line)
    found = text_of(tmp_path / "a.pdb", lines, only=only)
    listed = [line for line in found if line.startswith("SSBOND")]
    pairs = [(int(line[17:21]), int(line[31:35])) for line in listed]
    assert pairs == [(3, 40), (4, 32), (16, 26)]
    assert len(pairs) == n_disulphides(*unchanged(tmp_path / "a.pdb", lines, only=only))


@pytest.mark.parametrize("task", ["packing", "design"])
def test_an_oxygen_that_is_missing_lies_across_from_the_next_nitrogen_and_is_named(
    flow: Sampler, tmp_path: Path, task: str
) -> None:
    """Ubiquitin begins with a strand: at the torsion of a helix O would lie on that N."""
    whole = first(9)
    lines = [line for line in whole if line[12:16].strip() != "O"]
    given = write_pdb(tmp_path / "a.pdb", lines)
    samples = flow.sample(task, input=given, steps=1)  # type: ignore[arg-type]
    samples[0].save(tmp_path / "out.pdb")
    found = {key[0]: xyz for key, xyz in atoms_of(tmp_path / "out.pdb").items() if key[2] == "O"}
    write_pdb(tmp_path / "whole.pdb", whole)
    native = {key[0]: xyz for key, xyz in atoms_of(tmp_path / "whole.pdb").items() if key[2] == "O"}
    assert len(found) == 9
    for number in sorted(native)[:-1]:
        assert np.linalg.norm(np.subtract(found[number], native[number])) < 0.15
    said: list[str] = []
    read_problems(Request(task, input=given), said.append)  # type: ignore[arg-type]
    assert any("O is made for 9 residues that lack it: A1, A2" in sentence for sentence in said)


def test_an_oxygen_of_what_only_leaves_is_not_made(flow: Sampler, tmp_path: Path) -> None:
    lines = [line for line in first(9) if line[12:16].strip() != "O"]
    found = atoms_of(packed(flow, tmp_path / "a.pdb", lines, "pdb", only="A3-4"))
    assert {key[0] for key in found if key[2] == "O"} == {"3", "4"}
    said = said_of(tmp_path / "a.pdb", lines, only="A3-4")
    assert any("O is made for 2 residues that lack it: A3, A4" in sentence for sentence in said)


# ---- what cannot be -----------------------------------------------------------------------------


def test_a_named_residue_that_cannot_be_made_is_an_error_that_names_it(
    flow: Sampler, tmp_path: Path
) -> None:
    lines = without(named(first(9), "7", "DTH"), "5", "N")
    path = tmp_path / "a.pdb"
    for only, why in (
        ("A5", r"A5 has no backbone \(N, CA, C\); leave"),
        ("A4-5", r"cannot be made: A5 has no backbone"),
        ("A7", "A7 is DTH, a D-amino acid"),
        ("A5-8", r"cannot be made: A5 has no backbone \(N, CA, C\); leave"),
    ):
        with pytest.raises(InputError, match=why):
            pack(flow, path, lines, only=only)
    # Within a range of many it is said, and they are made.
    ligand = [*lines, "TER", atom(" C1 ", "LIG", 99, lines[0], 30.0)]
    with pytest.raises(UsageError, match=r"no residue 99 of the protein \(LIG comes back"):
        pack(flow, path, ligand, only="A99")
    said = " ".join(said_of(path, lines, only="A4-8"))
    assert "--only names residues that stay as they are: A5, A7" in said
    assert "types are not" not in said, "what stays keeps its name"
    assert len(pack(flow, path, lines, only="A4-8")) == 1


def test_an_ending_that_means_no_format_is_refused(flow: Sampler, tmp_path: Path) -> None:
    samples = pack(flow, tmp_path / "a.pdb", first(4))
    with pytest.raises(UsageError, match=r"x.xyz should end with .cif, .mmcif, .pdb, .ent"):
        samples[0].save(tmp_path / "x.xyz")
    with pytest.raises(UsageError, match="format is one of cif, pdb, found 'xyz'"):
        samples.save(tmp_path / "out", format="xyz")  # type: ignore[arg-type]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.pdb"]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"number": "3"}, "number is a whole number, found '3'"),
        ({"number": 1.5}, "number is a whole number, found 1.5"),
        ({"temperature": "0.1"}, "temperature is a number, found '0.1'"),
        ({"input": 5}, "input is a path, found 5"),
        ({"chains": 5}, "chains is a list of texts, found 5"),
        ({"chains": ["A", 1]}, "chains is a list of texts"),
        ({"no_relax": 1}, "no_relax is a bool, found 1"),
        ({"seed": None}, "seed is a whole number, found None"),
    ],
)
def test_a_value_of_a_wrong_kind_is_told_by_name(
    flow: Sampler, given: dict[str, object], told: str
) -> None:
    with pytest.raises(UsageError, match=told.replace("[", r"\[")):
        flow.sample("packing", **({"input": "a.pdb"} | given))  # type: ignore[arg-type]


def test_a_checkpoint_is_a_path_or_a_name() -> None:
    with pytest.raises(CannotLoad, match="found 5"):
        load_network(5)  # type: ignore[arg-type]
