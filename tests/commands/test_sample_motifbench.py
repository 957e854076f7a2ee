"""Scaffolds in the layout of MotifBench, read back as its evaluation reads them."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import gemmi
import numpy as np
import pytest

from model.metrics import rmsd, superpose
from model.sample.command import main
from model.tasks.contigs import parse_contigs
from model.tasks.inputs import InputStructure, read_inputs
from model.tasks.motif_bench import check_case, placements
from model.tasks.request import Request
from pipeline.errors import UsageError
from tests.support.odd_inputs import numbered, write
from tests.support.sample_network import (
    is_backbone,
    save_small_network,
    ubiquitin_lines,
    write_pdb,
)

CONTIGS = "3-9/B1/2/4-6/A1-6"
UNKNOWN_TYPE = 3
"""Residue of segment A whose type may be designed: UNK, and no side chain."""


@pytest.fixture(scope="module")
def ckpt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_small_network(tmp_path_factory.mktemp("network") / "small.ckpt")


def motif_lines() -> list[str]:
    """Two segments as chains of their own, numbered from 1."""
    made = []
    for chain, first, last in (("A", 10, 15), ("B", 40, 40)):
        for line in ubiquitin_lines():
            number = int(line[22:26])
            if not first <= number <= last:
                continue
            place, name = number - first + 1, line[17:20]
            if (chain, place) == ("A", UNKNOWN_TYPE):
                if not is_backbone(line):
                    continue
                name = "UNK"
            made.append(f"{line[:17]}{name} {chain}{place:4}{line[26:]}")
    return made


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pdb(tmp_path_factory.mktemp("motif_pdbs") / "01_1UBQ.pdb", motif_lines())


def run(ckpt: Path, out: Path, case: Path, *arguments: str, contigs: str = CONTIGS) -> int:
    task = ["--task", "inpainting", "--motifbench", "--input", str(case), "--contigs", contigs]
    given = ["--ckpt", str(ckpt), "--out-dir", str(out), "--steps", "2", "--device", "cpu"]
    return main([*task, *given, *arguments])


def backbone(residues: list[gemmi.Residue]) -> np.ndarray:
    return np.array([r[atom][0].pos.tolist() for r in residues for atom in ("N", "CA", "C", "O")])


def test_the_residues_of_the_motif_are_where_the_placements_say(
    ckpt: Path, case: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "scaffolds" / case.stem
    assert run(ckpt, out, case, "--format", "pdb", "--number", "3") == 0
    assert "scaffold_info.csv" in capsys.readouterr().out
    assert {p.name for p in out.glob("*.pdb")} == {f"01_1UBQ_{k}.pdb" for k in range(3)}
    with open(out / "scaffold_info.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [list(row) for row in rows] == [["sample_num", "motif_placements"]] * 3
    assert [row["sample_num"] for row in rows] == ["0", "1", "2"]
    segments = {chain.name: list(chain) for chain in gemmi.read_pdb(str(case))[0]}
    for row in rows:
        (chain,) = gemmi.read_pdb(str(out / f"01_1UBQ_{row['sample_num']}.pdb"))[0]
        scaffold = list(chain)
        assert [r.seqid.num for r in scaffold] == list(range(1, len(scaffold) + 1))
        kept, motif, at = [], [], 0
        for part in row["motif_placements"].split("/"):
            if part.isdigit():
                at += int(part)
                continue
            kept += scaffold[at : at + len(segments[part])]
            motif += segments[part]
            at += len(segments[part])
        assert at == len(scaffold)
        assert len(motif) == 7
        types = [(a.name, b.name) for a, b in zip(kept, motif, strict=True)]
        assert [pair for pair in types if pair[0] != pair[1]] == [types[1 + UNKNOWN_TYPE - 1]]
        a, b = backbone(kept), backbone(motif)
        rotation, shift = superpose(a, b)
        assert rmsd(a @ rotation.T + shift, b) < 1e-3
    # New residues between segments are counted together, and their numbers differ.
    assert all(row["motif_placements"].count("/") == 3 for row in rows)
    assert len({row["motif_placements"] for row in rows}) > 1


def test_segments_at_the_ends_and_side_by_side_have_no_number_between() -> None:
    request = Request("inpainting", contigs="B1-3/A1-2/2/3/A4/0-1")
    drawn = {placements(request, f"01_1UBQ_{k}") for k in range(20)}
    assert drawn == {"B/A/5/A", "B/A/5/A/1"}


@pytest.mark.parametrize(
    ("arguments", "contigs", "sentence"),
    [
        ([], CONTIGS, "give --format pdb"),
        (["--format", "pdb", "--trajectory"], CONTIGS, "leave out --trajectory"),
        (["--format", "pdb"], "5/A1-6/5", "chain B of 01_1UBQ is part of the motif"),
        (["--format", "pdb"], "5/A2-6/5/B1", "'A2-6' has 5 of the 6 residues of chain A"),
        (["--format", "pdb"], "5/A1-6/0 B1/5", "a scaffold is one chain, and --contigs has 2"),
    ],
)
def test_what_motifbench_could_not_read_is_refused(
    ckpt: Path,
    case: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    contigs: str,
    sentence: str,
) -> None:
    assert run(ckpt, tmp_path / "out", case, *arguments, contigs=contigs) == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_case_whose_name_motifbench_could_not_split_is_refused(
    ckpt: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_pdb(tmp_path / "my_own_motif.pdb", motif_lines())
    assert run(ckpt, tmp_path / "out", path, "--format", "pdb") == 2
    assert "rename my_own_motif" in capsys.readouterr().err


def test_a_chain_is_named_as_motifbench_names_it(tmp_path: Path) -> None:
    atoms = numbered("1ubi.pdb.zst", [str(k) for k in range(1, 7)])
    path = write(tmp_path, "cif", [replace(a, chain="A", asym="Q") for a in atoms])
    ((_, structure),) = read_inputs(path.rename(path.with_stem("01_1UBQ")))
    assert isinstance(structure, InputStructure)
    check_case(parse_contigs("5/A1-6/5"), structure)
    with pytest.raises(UsageError, match=r"Q is the label_asym_id of chain A, .* write A1-6"):
        check_case(parse_contigs("5/Q1-6/5"), structure)


def test_a_folder_of_scaffolds_is_of_one_case(
    ckpt: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("01_1UBQ", "02_1UBI"):
        write_pdb(tmp_path / "motif_pdbs" / f"{name}.pdb", motif_lines())
    assert run(ckpt, tmp_path / "out", tmp_path / "motif_pdbs", "--format", "pdb") == 2
    assert "is of one case, and --input has 2" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_other_tasks_have_no_motifbench(
    ckpt: Path, case: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--task", "unconditional", "--lengths", "9", "--motifbench"]
    assert main([*arguments, "--ckpt", str(ckpt), "--out-dir", str(tmp_path / "out")]) == 2
    assert "--motifbench is for --task inpainting" in capsys.readouterr().err
