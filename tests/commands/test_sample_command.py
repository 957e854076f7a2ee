"""``python -m model.sample``: exit status, messages, files."""

from __future__ import annotations

import csv
import re
import shutil
from dataclasses import replace
from pathlib import Path

import gemmi
import pytest
import torch
import yaml

from model.checkpoint import CheckpointInfo, checkpoint_named, own_networks, save_flow
from model.sample import Sampler
from model.sample.command import main
from model.sample.sampler import read_problems
from model.tasks.request import Request
from tests.support.odd_inputs import (
    ENTRIES,
    FORMATS,
    copies,
    moved,
    numbered,
    with_biopython,
    with_gemmi,
    without,
    write,
)
from tests.support.places import EXAMPLES
from tests.support.sample_network import CONFIG, UBIQUITIN, save_small_network, small_network
from tests.support.structure_text import in_format


@pytest.fixture(scope="module")
def ckpt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return save_small_network(tmp_path_factory.mktemp("ckpt") / "small.ckpt")


def run(ckpt: Path, out: Path, *arguments: str) -> int:
    given = ["--ckpt", str(ckpt), "--out-dir", str(out), "--steps", "2", "--device", "cpu"]
    return main([*given, *arguments])


def test_a_folder_of_inputs_costs_only_its_bad_files(
    ckpt: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("1ubi.pdb.zst", "1lzh.pdb.gz", "1as5.cif.gz"):
        shutil.copy(EXAMPLES / name, folder)
    (folder / "cut.cif.gz").write_bytes((EXAMPLES / "1as5.cif.gz").read_bytes()[:5000])
    status = run(ckpt, tmp_path / "out", "--task", "packing", "--input", str(folder))
    captured = capsys.readouterr()
    assert status == 1
    assert "no protein chain with a backbone: chains of CA atoms only" in captured.err
    assert "cut.cif.gz" in captured.err
    assert captured.err.splitlines()[-1] == "2 inputs could not be used"
    assert {p.name for p in (tmp_path / "out").glob("*.cif")} == {"1ubi_1.cif", "1as5_1.cif"}


def test_a_readme_and_hidden_files_of_a_folder_are_told_and_are_no_failure(
    ckpt: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    shutil.copy(EXAMPLES / "1ubi.pdb.zst", folder)
    (folder / "README.md").write_text("made by hand\n")
    (folder / ".DS_Store").write_text("x")
    assert run(ckpt, tmp_path / "out", "--task", "packing", "--input", str(folder)) == 0
    said = capsys.readouterr().err
    assert "note: skipped: README.md: not a structure file" in said
    assert "note: skipped: .DS_Store: hidden" in said
    assert "failed" not in said
    (folder / "1ubi.pdb.zst").unlink()
    assert run(ckpt, tmp_path / "none", "--task", "packing", "--input", str(folder)) == 1
    assert "failed: README.md" in capsys.readouterr().err


def test_the_options_that_are_left_make_the_same_samples_again(ckpt: Path, tmp_path: Path) -> None:
    task = ("--task", "design", "--fixed", "A3-5", "--number", "2", "--input", str(UBIQUITIN))
    assert run(ckpt, tmp_path / "a", *task) == 0
    options = tmp_path / "a" / "options.yaml"
    assert yaml.safe_load(options.read_text())["fixed"] == "A3-5"
    assert main(["--config", str(options), "--out-dir", str(tmp_path / "b"), "--quiet"]) == 0
    for name in ("1ubi_1.cif", "1ubi_2.cif", "metrics.csv", "residues.csv", "sequences.fasta"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


@pytest.mark.parametrize(
    ("arguments", "status", "sentence"),
    [
        (["--task", "folding"], 2, "expected packing or design or inpainting or unconditional"),
        (["--task", "unconditional", "--length", "9"], 2, "did you mean --lengths?"),
        (["--task", "packing", "--input", "none.pdb"], 2, "--input none.pdb does not exist"),
        (["--task", "unconditional", "--lengths", "9", "--temperature", "hot"], 2, "a number"),
        (["--task", "unconditional", "--lengths", "9", "--ckpt", "none.ckpt"], 1, "none.ckpt"),
        (["--task", "packing", "--input", str(UBIQUITIN), "--chains", "Q"], 1, "no chain Q"),
    ],
)
def test_wrong_options_end_with_a_sentence(
    ckpt: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    status: int,
    sentence: str,
) -> None:
    try:
        found = run(ckpt, tmp_path / "out", *arguments)
    except SystemExit as end:
        found = int(end.code or 0)
    captured = capsys.readouterr()
    assert found == status
    assert sentence in captured.err
    assert "Traceback" not in captured.err
    assert not (tmp_path / "out").exists()


def test_a_folder_with_files_is_left_alone(
    ckpt: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    arguments = ["--task", "unconditional", "--lengths", "9", "--format", "pdb"]
    assert run(ckpt, tmp_path, *arguments) == 2
    assert "holds files already" in capsys.readouterr().err
    assert run(ckpt, tmp_path, *arguments, "--overwrite") == 0
    assert (tmp_path / "new_9_1.pdb").is_file()
    assert not list(tmp_path.glob("*.tmp"))


def test_the_help_defines_temperature_noise_scale_and_step_noise(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as end:
        main(["--help"])
    assert end.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "logits are divided by it" in text
    assert "Multiplies the standard deviation of the noise" in text
    assert "replaced by fresh noise, whose variance is multiplied by this" in text


def test_a_sample_that_does_not_fit_the_format_costs_only_itself(
    ckpt: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    shutil.copy(EXAMPLES / "1as5.cif.gz", folder)
    structure = gemmi.read_structure(str(EXAMPLES / "1as5.cif.gz"))
    for residue in structure[0][0]:
        residue.seqid.num += 12_000  # numbers of five digits fit mmCIF alone
    structure.make_mmcif_document().write_file(str(folder / "wide.cif"))
    arguments = ["--task", "packing", "--input", str(folder), "--format", "pdb"]
    assert run(ckpt, tmp_path / "out", *arguments) == 1
    captured = capsys.readouterr()
    assert "write mmCIF (--format cif)" in captured.err
    assert captured.err.splitlines()[-1] == "1 sample could not be written"
    assert [p.name for p in (tmp_path / "out").glob("*.pdb")] == ["1as5_1.pdb"]
    assert "1as5_1" in (tmp_path / "out" / "metrics.csv").read_text()
    # Where nothing is left, no network is read and no folder is made.
    alone = ["--task", "design", "--input", str(folder / "wide.cif"), "--format", "pdb"]
    more = ("--number", "2", "--quiet")
    assert run(tmp_path / "none.ckpt", tmp_path / "alone", *alone, *more) == 1
    said = capsys.readouterr().err.splitlines()
    assert "has residue numbers from 120" in said[0]
    assert said[1:] == ["error: none of 2 samples can be written"]
    assert not (tmp_path / "alone").exists()


@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize("given", FORMATS)
@pytest.mark.parametrize("format", FORMATS)
def test_chains_under_one_id_are_written_under_ids_of_their_own(
    ckpt: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    format: str,
    given: str,
    entry: str,
) -> None:
    path = write(tmp_path / "in", given, copies(entry, "AABA"))
    out = tmp_path / "out"
    assert run(ckpt, out, "--task", "packing", "--input", str(path), "--format", format) == 0
    # What an untrained network makes cannot be right, which is said too.
    said = [k for k in capsys.readouterr().err.splitlines() if "cannot be right" not in k]
    assert f"note: odd.{given}: 3 chains have the id A: A is the first, and the next are" in said[0]
    written = out / f"odd_1.{format}"
    ids = {"cif": {"A", "A.2", "A.3", "B"}, "pdb": {"A", "B", "C", "D"}}[format]
    for reader in (with_gemmi, with_biopython):
        assert reader(written) == dict.fromkeys(ids, 20)
    if format == "pdb":
        assert len(said) == 2
        assert "a PDB file has one letter for each: A.2 as C, A.3 as D" in said[1]
        assert "REMARK   6 chain C is chain A.2\n" in without_padding(written)
    else:
        assert len(said) == 1
    names = [x.split()[0] for x in (out / "sequences.fasta").read_text().split(">")[1:]]
    assert sorted(names) == ["odd_1_A", "odd_1_A.2", "odd_1_A.3", "odd_1_B"]


def without_padding(path: Path) -> str:
    return "".join(line.rstrip() + "\n" for line in path.read_text().splitlines())


@pytest.mark.parametrize("format", FORMATS)
def test_one_of_several_chains_under_one_id_is_packed_alone(
    ckpt: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], format: str
) -> None:
    path = write(tmp_path / "in", format, copies(ENTRIES[0], "AAB"))
    chosen = ("--task", "packing", "--input", str(path), "--chains", "A.2")
    assert run(ckpt, tmp_path / "out", *chosen) == 0
    assert with_gemmi(tmp_path / "out" / "odd_1.cif") == {"A.2": 20}
    first = gemmi.read_structure(str(tmp_path / "out" / "odd_1.cif"))[0][0][0]["CA"][0]
    (expected,) = [a for a in moved(copies(ENTRIES[0], "A", 1), 60.0) if a.name == "CA"]
    assert first.pos.tolist() == [float(v) for v in expected.xyz]
    capsys.readouterr()
    wrong = ("--task", "packing", "--input", str(path), "--chains", "A.3")
    assert run(ckpt, tmp_path / "none", *wrong) == 1
    assert f"odd.{format} has no chain A.3; it has A A.2 B" in capsys.readouterr().err


@pytest.mark.parametrize("ident", ["B", "b", "1", "_"])
@pytest.mark.parametrize("format", FORMATS)
def test_ids_that_fit_are_written_as_they_are(
    ckpt: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], format: str, ident: str
) -> None:
    path = write(tmp_path / "in", "cif", copies(ENTRIES[0], [ident, "A"]))
    task = ("--task", "packing", "--input", str(path), "--chains", ident)
    assert run(ckpt, tmp_path / "out", *task, "--format", format) == 0
    assert capsys.readouterr().err == ""
    found = with_gemmi(tmp_path / "out" / f"odd_1.{format}")
    assert found == {"" if (format, ident) == ("pdb", "_") else ident: 20}


def test_a_contig_across_a_gap_ends_with_a_sentence(
    ckpt: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    atoms = numbered(ENTRIES[0], [str(k) for k in range(1, 41)])
    path = write(tmp_path / "in", "pdb", without(atoms, (20, 21, 22)))
    task = ("--task", "inpainting", "--input", str(path), "--contigs")
    assert run(ckpt, tmp_path / "out", *task, "A10-30") == 2
    said = capsys.readouterr().err
    assert "error: --contigs: 'A10-30': 19 and 23 of chain A of odd are not bonded" in said
    assert not (tmp_path / "out").exists()
    assert run(ckpt, tmp_path / "out", *task, "A10-19/3/A23-30") == 0
    assert with_gemmi(tmp_path / "out" / "odd_1.cif") == {"A": 21}


@pytest.mark.parametrize("temperature", ["0", "1"])
def test_a_network_of_no_numbers_is_said_to_be_damaged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], temperature: str
) -> None:
    network = small_network()
    with torch.no_grad():
        network.chi.out[0].bias[3] = float("nan")  # type: ignore[index]
    save_flow(tmp_path / "nan.ckpt", network.state_dict(), CheckpointInfo(CONFIG))
    words = ["--task", "packing", "--input", str(UBIQUITIN), "--temperature", temperature]
    assert run(tmp_path / "nan.ckpt", tmp_path / "out", *words) == 1
    assert "1ubi_1: the network's coordinates are out of bounds" in capsys.readouterr().err
    assert not list((tmp_path / "out").iterdir())


def side_chains(folder: Path) -> str:
    return (folder / "1ubi_1.cif").read_text()


def test_one_packing_is_the_likeliest_and_several_are_drawn(ckpt: Path, tmp_path: Path) -> None:
    words = ["--task", "packing", "--input", str(UBIQUITIN), "--steps", "3"]
    for seed in ("1", "2"):
        assert run(ckpt, tmp_path / f"one{seed}", *words, "--seed", seed) == 0
        drawn = ["--number", "2", "--seed", seed]
        assert run(ckpt, tmp_path / f"two{seed}", *words, *drawn) == 0
    assert side_chains(tmp_path / "one1") == side_chains(tmp_path / "one2")
    assert side_chains(tmp_path / "two1") != side_chains(tmp_path / "two2")


def test_a_network_that_never_saw_the_task_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    info = CheckpointInfo(CONFIG, settings={"tasks": {"packing": 1.0, "design": 0.0}})
    path = tmp_path / "packs.ckpt"
    save_flow(path, small_network().state_dict(), info)
    words = ["--input", str(UBIQUITIN), "--steps", "2"]
    assert run(path, tmp_path / "packed", "--task", "packing", *words) == 0
    assert "never for" not in capsys.readouterr().err
    assert run(path, tmp_path / "designed", "--task", "design", *words) == 0
    assert "trained for packing, never for design" in capsys.readouterr().err
    with pytest.warns(UserWarning, match="never for design"):
        Sampler.load(path).sample(task="design", input=UBIQUITIN, steps=2)


def test_the_network_of_the_package_packs_ubiquitin(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """1ubi is not one of the domains that it was trained on, by name at least."""
    assert sum(checkpoint_named(name).stat().st_size for name in own_networks()) <= 10_000_000
    words = ["--task", "packing", "--input", str(UBIQUITIN)]
    assert main([*words, "--out-dir", str(tmp_path / "out")]) == 0
    with (tmp_path / "out" / "metrics.csv").open() as file:
        (row,) = csv.DictReader(file)
    print(row)
    assert float(row["side_chain_rmsd"]) < 1.2
    assert float(row["chi1_recovery"]) > 0.6


def test_what_is_not_read_of_a_folder_is_named(
    ckpt: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("1as5.cif.gz", "1ejg.pdb.gz"):
        shutil.copy(EXAMPLES / name, folder)
    (folder / "1as5.bcif").write_bytes(b"\x82\xa7version")  # of the same name, and cut off
    (folder / "1as5.pdb").write_text("TITLE     THE SAME\n")
    (folder / "gone.pdb").symlink_to(tmp_path / "nowhere.pdb")
    cut = in_format("pdb", copies(ENTRIES[0], "A")).replace("END\n", "ATOM    999  N   MET A\n")
    (folder / "cut.pdb").write_text(cut)
    status = run(ckpt, tmp_path / "out", "--task", "packing", "--input", str(folder))
    said = capsys.readouterr().err
    assert status == 1
    assert "note: not read: 1as5.bcif" in said
    assert "note: not read: 1as5.pdb, for 1as5.cif.gz is the same entry" in said
    assert "note: cut.pdb: is read with remarks (docs/parsing.md): cut_records:1" in said
    assert "note: 1ejg.pdb.gz: residues of several types are read as the one" in said
    assert "failed: gone.pdb is a link to a file that does not exist" in said
    assert {p.name for p in (tmp_path / "out").glob("*.cif")} == {
        *("1as5_1.cif", "1ejg_1.cif", "cut_1.cif"),
    }


@pytest.mark.parametrize("format", FORMATS)
def test_what_cannot_be_kept_of_named_residues_is_said(
    ckpt: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], format: str
) -> None:
    atoms = numbered(ENTRIES[0], [str(k) for k in range(1, 31)])
    atoms = [replace(a, comp={"7": "UNK", "9": "SEP"}.get(a.number, a.comp)) for a in atoms]
    path = write(tmp_path / "my odd one", format, atoms)
    path = path.rename(path.with_stem("an odd one"))
    task = ("--task", "design", "--input", str(path), "--fixed", "A5-10", "--format", format)
    assert run(ckpt, tmp_path / "out", *task) == 0
    said = capsys.readouterr().err.splitlines()
    assert said[:2] == [
        "note: an odd one: what type A7 is of is not known: backbones are kept, types are not",
        # SEP stays under its name; that it has the atoms of another residue is seen.
        f"note: an odd one.{format}: --fixed: residues that lack atoms stay without them: A9 (OG)",
    ]
    assert re.fullmatch(r"note: .*: left out: \d atoms? without a place \(UNK\)", said[2])
    assert len(said) == 3
    assert (tmp_path / "out" / "sequences.fasta").read_text().startswith(">an_odd_one_1_A task=")


@pytest.mark.parametrize("name", ["1ubi.pdb.zst", "1orc.pdb.gz", "5pti.cif.gz", "6wg6.bcif.gz"])
def test_of_an_input_without_oddities_nothing_is_said(name: str) -> None:
    notes: list[str] = []
    read_problems(Request("packing", input=EXAMPLES / name), notes.append)
    # What lies beside the chains is always told.
    beside = re.compile(
        r": (left out: ((\d+ (waters|formal charges|hydrogens|CONECT records)"
        r"|alternate locations of \d+ residues?)(, | and )?)+"
        r"|comes back in its place, .*)$"
    )
    assert [note for note in notes if not beside.search(note)] == []


def test_packings_that_cannot_differ_are_told(
    ckpt: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = "all --number 2 packings are one"
    for temperature, said in (("0", True), ("0.5", False)):
        more = ("--number", "2", "--temperature", temperature, "--overwrite")
        assert (
            run(ckpt, tmp_path / "out", "--task", "packing", "--input", str(UBIQUITIN), *more) == 0
        )
        assert (told in capsys.readouterr().err) == said
