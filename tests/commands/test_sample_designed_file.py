"""What a designed file has of its input beside what is designed, and what is said of the rest."""

from __future__ import annotations

import re
from pathlib import Path

import gemmi
import numpy as np
import pytest
import torch

from model.sample import Sample, Sampler
from model.sample.sampler import read_problems
from model.sample.tables import save_tables
from model.tasks import Problem, Request
from pipeline.errors import UsageError
from tests.support.sample_network import (
    first,
    named,
    number_of,
    small_network,
    ubiquitin_lines,
    write_pdb,
)

FEW = {"steps": 1, "seed": 1}


@pytest.fixture(scope="module")
def flow() -> Sampler:
    torch.set_num_threads(1)
    return Sampler(small_network(), device="cpu")


def beside(name: str, comp: str, number: int, xyz: tuple[float, ...]) -> str:
    """A HETATM of a residue of one atom."""
    x, y, z = xyz
    at = f"{x:8.3f}{y:8.3f}{z:8.3f}"
    return f"HETATM 9000 {name:<4} {comp:>3} A{number:>4}    {at}  1.00  0.00          {name[:2]}"


def design(flow: Sampler, path: Path, lines: list[str], **more: object) -> Sample:
    (made,) = flow.sample("design", input=write_pdb(path, lines), **FEW | more)  # type: ignore
    return made


def read(path: Path, lines: list[str], **more: object) -> tuple[Problem, list[str]]:
    """The problem, and what is said of it."""
    said: list[str] = []
    request = Request("design", input=write_pdb(path, lines), **more)  # type: ignore[arg-type]
    ((problem,), errors) = read_problems(request, said.append)
    assert not errors
    return problem, said


def atoms_of(path: Path) -> dict[tuple[str, str, str], tuple[float, ...]]:
    """(number, residue, atom) → place."""
    return {
        (str(r.seqid), r.name, a.name): tuple(round(v, 3) for v in a.pos.tolist())
        for chain in gemmi.read_structure(str(path))[0]
        for r in chain
        for a in r
    }


def saved(made: Sample, path: Path) -> dict[tuple[str, str, str], tuple[float, ...]]:
    made.save(path)
    return atoms_of(path)


# ---- beside the chains


@pytest.mark.parametrize("kind", ["cif", "pdb"])
def test_ligands_and_caps_come_back_in_their_places_and_waters_are_counted(
    flow: Sampler, tmp_path: Path, kind: str
) -> None:
    path, chain = tmp_path / "a.pdb", first(4)
    more = [
        beside(" C  ", "ACE", 0, (26.3, 24.0, 1.5)),
        *chain,
        "TER",
        beside("ZN  ", "ZN", 99, (40.0, 20.0, 5.0)),
        beside(" O  ", "HOH", 100, (50.0, 20.0, 5.0)),
    ]
    lines = ["SEQRES   1 A    5  ACE MET GLN ILE PHE", *more]
    made = design(flow, path, lines)
    found = saved(made, tmp_path / f"out.{kind}")
    assert found["99", "ZN", "ZN"] == (40.0, 20.0, 5.0)
    assert found["0", "ACE", "C"] == (26.3, 24.0, 1.5)
    assert not any(comp == "HOH" for _, comp, _ in found)
    _, said = read(path, lines)
    assert said == [
        "a.pdb: comes back in its place, and is in the way: ACE, ZN",
        "a.pdb: left out: 1 water",
    ]
    assert made.metrics()["left_out"] == "1 water"


def test_designed_side_chains_avoid_what_is_beside_them(flow: Sampler, tmp_path: Path) -> None:
    path, lines = tmp_path / "a.pdb", first(6)
    free = design(flow, path, lines)
    row = next(k for k, letter in enumerate(free.sequences["A"]) if letter in "RKQEMLHFYW")
    tip = int(np.flatnonzero(free.structure.mask[row])[-1])
    place = free.structure.positions[row, tip]
    away = design(flow, path, [*lines, "TER", beside(" C1 ", "LIG", 99, tuple(place))])
    assert away.sequences == free.sequences
    assert np.linalg.norm(away.structure.positions[row, tip] - place) > 1.5
    backbone = np.arange(14) < 4
    both = free.structure.mask & backbone
    assert np.array_equal(away.structure.positions[both], free.structure.positions[both])


def test_a_chromophore_without_a_backbone_stays_where_it_is(tmp_path: Path) -> None:
    names = {" N  ": " N1 ", " CA ": " CA1", " C  ": " C1 ", " O  ": " O3 ", " CB ": " CB1"}
    lines = [
        line[:12] + names.get(line[12:16], line[12:16]) + line[16:]
        if number_of(line) == "5"
        else line
        for line in named(first(9), "5", "CRO")
    ]
    head = "SEQRES   1 A    9  MET GLN ILE PHE CRO LYS THR LEU THR"
    problem, said = read(tmp_path / "a.pdb", [head, *lines])
    assert said == ["a.pdb: stay as they are in the file, for they have no backbone (N, CA, C): A5"]
    assert problem.untouched is not None
    assert np.flatnonzero(problem.untouched).tolist() == [4]
    x, _ = problem.beside()
    assert len(x) == sum(number_of(line) == "5" for line in lines)


# ---- what is fixed


def of_residue(lines: list[str], number: str) -> dict[str, tuple[float, ...]]:
    return {
        line[12:16].strip(): tuple(float(line[k : k + 8]) for k in (30, 38, 46))
        for line in lines
        if number_of(line) == number
    }


@pytest.mark.parametrize("kind", ["cif", "pdb"])
def test_a_fixed_residue_that_lacks_atoms_keeps_those_that_it_has_and_a_note_names_it(
    flow: Sampler, tmp_path: Path, kind: str
) -> None:
    path = tmp_path / "a.pdb"
    lines = [
        line
        for line in first(8)
        # The tip of Lys 6, and of Ile 3 all beyond CB.
        if (number_of(line), line[12:16].strip()) not in {("6", "CE"), ("6", "NZ")}
        and not (number_of(line) == "3" and line[13:15] in ("CG", "CD"))
    ]
    made = design(flow, path, lines, fixed="A3-6")
    found = saved(made, tmp_path / f"out.{kind}")
    assert {k[2]: v for k, v in found.items() if k[:2] == ("6", "LYS")} == of_residue(lines, "6")
    of_3 = {k[2]: v for k, v in found.items() if k[:2] == ("3", "ILE")}
    assert of_3.items() >= of_residue(lines, "3").items(), "CB among them"
    assert of_3.keys() - of_residue(lines, "3").keys() == {"CG1", "CG2", "CD1"}
    beta, gamma = (np.array(of_3[name]) for name in ("CB", "CG1"))
    assert 1.3 < np.linalg.norm(gamma - beta) < 1.8
    assert made.sequences["A"][2:6] == "IFVK"
    _, said = read(path, lines, fixed="A3-6")
    assert said == [
        "a.pdb: --fixed: what the file lacks of these residues is made: A3 (CG1 CG2 CD1)",
        "a.pdb: --fixed: residues that lack atoms stay without them: A6 (CE NZ)",
    ]
    assert made.residues()[5]["predicted_error"] == 0


@pytest.mark.parametrize("fixed", [None, "A76"])
def test_the_second_oxygen_of_the_end_comes_back(
    flow: Sampler, tmp_path: Path, fixed: str | None
) -> None:
    lines = ubiquitin_lines()[-30:]
    found = saved(design(flow, tmp_path / "a.pdb", lines, fixed=fixed), tmp_path / "out.pdb")
    (oxygen,) = (xyz for (number, _, name), xyz in found.items() if (number, name) == ("76", "OXT"))
    assert oxygen == of_residue(lines, "76")["OXT"]


@pytest.mark.parametrize("kind", ["cif", "pdb"])
def test_residues_that_are_none_of_the_twenty_are_designed_by_name_or_kept_if_fixed(
    flow: Sampler, tmp_path: Path, kind: str
) -> None:
    path, lines = (
        tmp_path / "a.pdb",
        named(named(named(first(8), "3", "DIL"), "5", "TPO"), "7", "XQZ"),
    )
    made = design(flow, path, lines, fixed="A3,A7")
    found = saved(made, tmp_path / f"out.{kind}")
    for number, comp in (("3", "DIL"), ("7", "XQZ")):
        kept = {k[2]: v for k, v in found.items() if k[:2] == (number, comp)}
        assert kept == of_residue(lines, number)
    assert not {"TPO"} & {k[1] for k in found}
    assert made.sequences["A"][6] == "X"
    assert read(path, lines, fixed="A3,A7")[1] == [
        "a.pdb: residues that are none of the twenty are designed like others, as one of these, "
        "L: TPO; --fixed keeps what it names as it is",
        "a.pdb: left out: 1 atom that the parents of modified residues lack (TPO)",
    ]
    assert "L: DIL, TPO, XQZ; --fixed" in read(path, lines)[1][0]


def test_where_nothing_is_made_no_number_is_told(flow: Sampler, tmp_path: Path) -> None:
    made = design(flow, tmp_path / "a.pdb", first(6), fixed="A1-6")
    assert "all is given, and nothing made" in repr(made)
    options = Request("design", input=tmp_path / "a.pdb", fixed="A1-6")
    for name in save_tables([made.rows()], tmp_path, "", options):
        assert "nan" not in (tmp_path / name).read_text().lower()
    head = (tmp_path / "sequences.fasta").read_text().splitlines()[0]
    assert head == ">a_1_A task=design sample=a_1 chain=A"


# ---- what is not there


def without_occupancy(lines: list[str], number: str) -> list[str]:
    return [
        f"{line[:54]}  0.00{line[60:]}" if number_of(line) == number else line for line in lines
    ]


def test_residues_without_occupancy_are_designed_and_kept_like_others(
    flow: Sampler, tmp_path: Path
) -> None:
    path, lines = tmp_path / "a.pdb", without_occupancy(first(8), "5")
    made = design(flow, path, lines, fixed="A5")
    assert len(made.sequences["A"]) == 8
    assert made.structure.mask.any(1).all()
    assert made.sequences["A"][4] == "V"
    assert read(path, lines, fixed="A4-5")[1] == []


def test_a_residue_without_coordinates_is_named_and_counted(tmp_path: Path) -> None:
    lines = [
        f"{line[:30]}{'nan':>8}{'nan':>8}{'nan':>8}{line[54:]}" if number_of(line) == "5" else line
        for line in first(8)
    ]
    _, said = read(tmp_path / "a.pdb", lines, fixed="A4-5")
    assert "a.pdb: --fixed names residues without atoms, which are left out: A5" in said
    assert "a: 1 of 8 residues have no backbone (N, CA, C) and are left out: A5" in said


def test_a_part_without_occupancy_is_no_part_to_build_around_and_is_not_called_missing(
    tmp_path: Path,
) -> None:
    path = write_pdb(tmp_path / "a.pdb", without_occupancy(first(8), "5"))
    with pytest.raises(UsageError, match=r"1 of its residues have no backbone .*with occupancy"):
        read_problems(Request("inpainting", input=path, contigs="3/A4-6/3"))


def test_inpainting_says_what_of_the_parts_that_it_keeps_does_not_come_back(
    tmp_path: Path,
) -> None:
    lines = [line for old in first(8) for line in with_oddities(old)]
    lines += ["TER", beside("ZN  ", "ZN", 99, (40.0, 20.0, 5.0))]
    path = write_pdb(tmp_path / "a.pdb", lines)
    notes: list[str] = []
    read_problems(Request("inpainting", input=path, contigs="3/A1-8/3"), notes.append)
    assert notes == [
        "a.pdb: --contigs: of what is kept, left out: alternate locations of 1 residue, 1 atom "
        "that the parents of modified residues lack (SEP), OXT of 1 residue and the names of "
        "residues that are none of the twenty (SEP)",
        "a.pdb: left out, and not in the way: ZN",
    ]
    notes.clear()
    read_problems(Request("inpainting", input=path, contigs="3/A3-4/3"), notes.append)
    assert notes == ["a.pdb: left out, and not in the way: ZN"]


def with_oddities(line: str) -> list[str]:
    """A line of ubiquitin: Q2 has another place for CB, K6 is a SEP, and L8 has OXT."""
    atom = number_of(line), line[12:16].strip()
    if atom == ("2", "CB"):
        other = f"{line[:16]}B{line[17:30]}{float(line[30:38]) + 0.5:8.3f}{line[38:54]}"
        return [f"{line[:16]}A{line[17:54]}  0.60{line[60:]}", f"{other}  0.40{line[60:]}"]
    if atom == ("8", "O"):
        return [line, f"{line[:12]} OXT{line[16:30]}{float(line[30:38]) + 2:8.3f}{line[38:]}"]
    if atom[0] == "6":
        name = {"CG": " OG ", "CD": " P  ", "CE": "", "NZ": ""}.get(atom[1], line[12:16])
        return [f"HETATM{line[6:12]}{name} SEP{line[20:76]}{name[:2]}"] if name else []
    return [line]


def test_a_break_that_the_sequence_does_not_show_is_named(tmp_path: Path) -> None:
    chain = [line for line in first(12) if int(number_of(line)) not in range(5, 8)]
    _, said = read(tmp_path / "a.pdb", chain)
    (note,) = said
    assert note.startswith("a.pdb: is broken, and sequences are closed up without X there, ")
    assert re.search(r"between A4 and A8 \(C–N \d+\.\d Å; by their numbers 3 missing\)$", note)
    comps = "MET GLN ILE PHE VAL LYS THR LEU THR GLY LYS THR"
    assert read(tmp_path / "a.pdb", [f"SEQRES   1 A   12  {comps}", *chain])[1] == []
