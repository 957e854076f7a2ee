"""Packing as people use it: many files at once, parts of a protein, what lies beside it."""

from __future__ import annotations

import math
import tarfile
from collections.abc import Iterator
from pathlib import Path

import gemmi
import numpy as np
import pytest
import torch
from Bio.PDB.MMCIFParser import MMCIFParser

from model.sample import Sampler
from model.sample.command import main
from model.sample.sampler import read_problems
from model.tasks import Request
from model.tasks.inputs import InputError
from pipeline.errors import UsageError
from tests.support.sample_network import (
    is_backbone,
    save_small_network,
    small_network,
    ubiquitin_lines,
    write_pdb,
)

STEPS = 1


@pytest.fixture(scope="module")
def flow() -> Sampler:
    torch.set_num_threads(1)
    return Sampler(small_network(), device="cpu")


@pytest.fixture(scope="module")
def ckpt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_small_network(tmp_path_factory.mktemp("ckpt") / "small.ckpt")


def first(n: int) -> list[str]:
    return [line for line in ubiquitin_lines() if int(line[22:26]) <= n]


def beside(name: str, comp: str, number: int, xyz: tuple[float, float, float], element: str) -> str:
    x, y, z = xyz
    return (
        f"HETATM 9000 {name:<4} {comp:>3} A{number:>4}    {x:8.3f}{y:8.3f}{z:8.3f}  0.50 20.00"
        f"          {element:>2}"
    )


LIGANDS = [
    beside("ZN", "ZN", 101, (40.0, 30.0, 20.0), "ZN"),
    beside(" C1", "GOL", 102, (45.1, 30.2, 20.3), "C"),
    beside(" O1", "GOL", 102, (46.4, 30.2, 20.3), "O"),
    beside(" H1", "GOL", 102, (46.9, 30.2, 20.3), "H"),
    beside(" O", "HOH", 201, (50.0, 30.0, 20.0), "O"),
]


# ---- many files ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("many") / "in"
    write_pdb(folder / "one.pdb", first(8))
    write_pdb(folder / "two.pdb", first(11))
    write_pdb(folder / "deep" / "three.pdb", first(9))
    return folder


def packings(flow: Sampler, path: Path) -> dict[str, np.ndarray]:
    samples = flow.sample("packing", input=path, steps=STEPS)
    return {sample.name: sample.structure.positions for sample in samples}


def test_a_tar_and_a_list_are_packed_like_the_folder(
    flow: Sampler, folder: Path, tmp_path: Path
) -> None:
    expected = packings(flow, folder)
    assert set(expected) == {"one_1", "two_1", "three_1"}
    for name, mode in (("all.tar", "w"), ("all.tar.gz", "w:gz")):
        with tarfile.open(tmp_path / name, mode) as tar:  # type: ignore[call-overload]
            tar.add(folder, "in")
    listed = folder.parent / "some.txt"
    listed.write_text("# two of them\nin/one.pdb\n\nin/deep/three.pdb\n")
    for path, names in (
        (tmp_path / "all.tar", set(expected)),
        (tmp_path / "all.tar.gz", set(expected)),
        (listed, {"one_1", "three_1"}),
    ):
        found = packings(flow, path)
        assert set(found) == names
        for name, positions in found.items():
            np.testing.assert_array_equal(positions, expected[name])


def test_what_cannot_be_read_in_a_tar_or_list_is_told_and_the_rest_is_packed(
    ckpt: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken.cif").write_text("data_x\nloop_\n_atom_site.id\n")
    with tarfile.open(tmp_path / "some.tar.gz", "w:gz") as tar:
        tar.add(folder / "one.pdb", "one.pdb")
        tar.add(tmp_path / "broken.cif", "one.cif")
        tar.add(tmp_path / "broken.cif", "broken.cif")
    listed = tmp_path / "list.txt"
    listed.write_text(f"{folder / 'one.pdb'}\nnowhere.pdb\n")
    for path, lost in ((tmp_path / "some.tar.gz", "broken.cif"), (listed, "nowhere.pdb")):
        out = tmp_path / path.name.replace(".", "_")
        status = main(
            [
                *("--task", "packing", "--ckpt", str(ckpt), "--steps", "1", "--device", "cpu"),
                *("--input", str(path), "--out-dir", str(out)),
            ]
        )
        said = capsys.readouterr().err
        assert status == 1
        assert "failed: " in said
        assert lost in said
        assert said.splitlines()[-1] == "1 input could not be used"
        assert [p.name for p in out.glob("*.cif")] == ["one_1.cif"]


def test_a_text_file_that_is_a_structure_is_one(flow: Sampler, tmp_path: Path) -> None:
    write_pdb(tmp_path / "coordinates.txt", first(8))
    (name,) = packings(flow, tmp_path / "coordinates.txt")
    assert name.startswith("coordinates")


# ---- parts --------------------------------------------------------------------------------------


def atoms_of(path: Path) -> Iterator[tuple[int, str, tuple[float, ...], float]]:
    structure = gemmi.read_structure(str(path))
    for chain in structure[0]:
        for residue in chain:
            for atom in residue:
                yield residue.seqid.num, atom.name, tuple(atom.pos.tolist()), atom.b_iso


@pytest.mark.parametrize("kind", ["cif", "pdb"])
def test_all_but_the_named_residues_stay_as_they_are_in_the_file(
    flow: Sampler, tmp_path: Path, kind: str
) -> None:
    lines = [
        line
        for line in first(20)
        # Residue 3 lacks the tip of its side chain, residue 5 its N, 7 all but CA.
        if not (line[22:26].strip() == "3" and line[12:16].strip() in ("CD1", "CG2"))
        and not (line[22:26].strip() == "5" and line[12:16].strip() == "N")
        and not (line[22:26].strip() == "7" and line[12:16].strip() != "CA")
    ]
    given = write_pdb(tmp_path / "a.pdb", lines)
    (sample,) = flow.sample("packing", input=given, only="A10-12,A15", steps=STEPS)
    sample.save(tmp_path / f"out.{kind}")
    before = {(number, name): xyz for number, name, xyz, _ in atoms_of(given)}
    made = {1: [], 0: []}  # type: ignore[var-annotated]
    after = {}
    for number, name, xyz, b in atoms_of(tmp_path / f"out.{kind}"):
        named = number in (10, 11, 12, 15)
        after[number, name] = xyz
        if not named:
            assert b == 0
        if not named or name in ("N", "CA", "C", "O"):
            assert xyz == pytest.approx(before[number, name], abs=1e-6)
        else:
            made[name != "CB"].append(xyz != pytest.approx(before[number, name], abs=0.01))
    assert before.keys() == after.keys()
    assert all(made[1]), "all atoms beyond CB of the named residues are made"
    probability = {row["residue"]: row["rotamer_probability"] for row in sample.residues()}
    made_for = {number for number, p in probability.items() if not math.isnan(p)}
    assert made_for
    assert made_for <= {"10", "11", "12", "15"}
    metrics = sample.metrics()
    assert metrics["n_residues"] == 3, "of a glycine there is nothing to compare"


def test_an_end_without_a_backbone_is_left_out_and_told(tmp_path: Path) -> None:
    said: list[str] = []
    ragged = ("1", "2", "12")
    lines = [
        line
        for line in first(12)
        if not (line[22:26].strip() in ragged and line[12:16].strip() != "CA")
    ]
    given = write_pdb(tmp_path / "a.pdb", lines)
    (problem,), errors = read_problems(Request("packing", input=given), said.append)
    assert not errors
    assert len(problem) == 9
    assert said == ["a.pdb: left out: 3 residues at the ends of chains without a backbone"]
    assert problem.left_out == "3 residues at the ends of chains without a backbone"
    said.clear()
    read_problems(Request("inpainting", input=given, contigs="3/A4-6/3"), said.append)
    assert "a.pdb: left out: 3 residues at the ends of chains without a backbone" in said


def test_a_side_chain_that_stays_is_seen(flow: Sampler, tmp_path: Path) -> None:
    lines = first(20)
    moved = [
        f"{line[:30]}{float(line[30:38]) + 1:8.3f}{line[38:]}"
        if line[22:26].strip() == "13" and not is_backbone(line)
        else line
        for line in lines
    ]
    found = []
    for k, some in enumerate((lines, moved)):
        path = write_pdb(tmp_path / str(k) / "a.pdb", some)
        (sample,) = flow.sample("packing", input=path, only="A14", steps=STEPS)
        found.append((sample.structure.positions[13, 5:], sample.predicted_error))
    assert found[0][1] != found[1][1]


def test_what_only_names_has_to_be_there(flow: Sampler, tmp_path: Path) -> None:
    path = write_pdb(tmp_path / "a.pdb", first(12))
    with pytest.raises(UsageError, match="no residue 40"):
        flow.sample("packing", input=path, only="A40")
    with pytest.raises(UsageError, match="--only: '10' names no residues"):
        flow.sample("packing", input=path, only="10")
    with pytest.raises(UsageError, match="'ten': a has no chain ten; it has A"):
        flow.sample("packing", input=path, only="ten")
    with pytest.raises(UsageError, match="--only is for --task packing"):
        flow.sample("design", input=path, only="A4")
    with pytest.raises(InputError, match="A1 of a is M in the file and W by --sequence"):
        flow.sample("packing", input=path, only="A4", sequence="W" * 12)
    with pytest.raises(InputError, match="A3 of a is X by --sequence and I in the file; write I"):
        flow.sample("packing", input=path, sequence="MQXFVKTLTGKT")


# ---- what lies beside ---------------------------------------------------------------------------


def of_ligands(path: Path) -> list[tuple[str, int, str, list[float]]]:
    structure = gemmi.read_structure(str(path))
    structure.setup_entities()
    return [
        (residue.name, residue.seqid.num, atom.name, [round(v, 3) for v in atom.pos.tolist()])
        for chain in structure[0]
        for residue in chain
        if residue.het_flag == "H"
        for atom in residue
    ]


@pytest.mark.parametrize("kind", ["cif", "pdb"])
def test_ligands_and_metals_come_back_in_their_places(
    ckpt: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    given = write_pdb(tmp_path / "a.pdb", [*first(10), "TER", *LIGANDS])
    words = ["--task", "packing", "--ckpt", str(ckpt), "--steps", "1", "--device", "cpu"]
    out = tmp_path / "out"
    words += ["--input", str(given), "--format", kind, "--out-dir", str(out), "--trajectory"]
    assert main(words) == 0
    said = capsys.readouterr().err
    assert "a.pdb: comes back in its place, and is in the way: ZN, GOL" in said
    assert "a.pdb: left out: 1 water and 1 hydrogen" in said
    expected = [
        ("ZN", 101, "ZN", [40.0, 30.0, 20.0]),
        ("GOL", 102, "C1", [45.1, 30.2, 20.3]),
        ("GOL", 102, "O1", [46.4, 30.2, 20.3]),
    ]
    assert of_ligands(out / f"a_1.{kind}") == expected
    assert of_ligands(out / f"a_1_trajectory.{kind}") == expected
    if kind == "cif":
        chain = MMCIFParser(QUIET=True).get_structure("a", out / "a_1.cif")[0]["A"]
        assert [r.get_resname() for r in chain][-2:] == ["ZN", "GOL"]
        assert [r.id[1] for r in chain][:10] == list(range(1, 11))


def test_a_side_chain_goes_round_a_ligand(flow: Sampler, tmp_path: Path) -> None:
    lines = first(14)
    (alone,) = flow.sample("packing", input=write_pdb(tmp_path / "a.pdb", lines), steps=STEPS)
    # The tip of residue 6, a lysine.
    row = 5
    x, y, z = alone.structure.positions[row, alone.structure.mask[row]][-1]
    ligand = [beside(" C1", "LIG", 99, (x, y, z), "C")]
    path = write_pdb(tmp_path / "b" / "a.pdb", [*lines, "TER", *ligand])
    (sample,) = flow.sample("packing", input=path, steps=STEPS)
    tip = sample.structure.positions[row, sample.structure.mask[row]]
    distance = np.linalg.norm(tip[5:] - (x, y, z), axis=-1).min()
    assert distance > 1.5
    # The last step alone sees it.
    pair = [
        flow.sample("packing", input=tmp_path / name, steps=STEPS, no_relax=True)[0]
        for name in ("a.pdb", "b/a.pdb")
    ]
    np.testing.assert_array_equal(*(sample.structure.positions for sample in pair))


def test_what_belongs_to_chains_that_are_not_read_is_left_out_and_told(
    ckpt: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = [f"{line[:21]}B{line[22:]}" for line in first(9)]
    given = write_pdb(tmp_path / "a.pdb", [*first(9), "TER", *other, "TER", *LIGANDS])
    words = ["--task", "packing", "--ckpt", str(ckpt), "--steps", "1", "--device", "cpu"]
    words += ["--input", str(given), "--out-dir", str(tmp_path / "out"), "--chains", "B"]
    assert main(words) == 0
    assert "beside other chains, and left out: ZN, GOL" in capsys.readouterr().err
    assert of_ligands(tmp_path / "out" / "a_1.cif") == []


def test_a_residue_that_cannot_be_made_is_missing_from_the_number_that_is_told(
    flow: Sampler, tmp_path: Path
) -> None:
    def torn(line: str) -> str:
        if line[22:26].strip() == "5" and line[12:16].strip() == "N":
            return f"{line[:30]}{100:8.3f}{100:8.3f}{100:8.3f}{line[54:]}"
        return line

    given = write_pdb(tmp_path / "a.pdb", [torn(line) for line in first(12)])
    (sample,) = flow.sample("packing", input=given, steps=STEPS)
    assert "11 of 12 residues" in repr(sample)
    assert len(sample.residues()) == 11
    whole = write_pdb(tmp_path / "b.pdb", first(12))
    assert ", 12 residues," in repr(flow.sample("packing", input=whole, steps=STEPS)[0])


def test_a_task_that_there_is_not_is_told_which_there_are(flow: Sampler) -> None:
    with pytest.raises(UsageError, match=r"--task is one of packing, design.*found 'pack'"):
        flow.sample("pack", lengths=["9"])  # type: ignore[arg-type]
