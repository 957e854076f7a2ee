"""``python -m model.sample --resume``: a run that was stopped goes on, and makes what it would have
made."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import pytest
import torch

import model.sample.command as command
from model.checkpoint import CheckpointInfo, save_flow
from model.sample.journal import JOURNAL
from tests.support.sample_network import (
    CONFIG,
    save_small_network,
    small_network,
    ubiquitin_lines,
    write_pdb,
)

NAMES = [f"{stem}_{number}" for stem in "abc" for number in (1, 2)]


@pytest.fixture(scope="module")
def ckpt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return save_small_network(tmp_path_factory.mktemp("ckpt") / "small.ckpt")


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("in")
    for size, stem in enumerate("abc", 6):
        lines = [line for line in ubiquitin_lines() if int(line[22:26]) <= size]
        write_pdb(folder / f"{stem}.pdb", lines)
    return folder


def run(ckpt: Path, inputs: Path, out: Path, *more: str) -> int:
    given = ["--ckpt", str(ckpt), "--out-dir", str(out), "--device", "cpu", "--steps", "2"]
    given += ["--input", str(inputs), "--number", "2", "--batch-size", "2"]
    return command.main([*given, *(("--task", "design") if "--task" not in more else ()), *more])


@pytest.fixture
def whole(ckpt: Path, inputs: Path, tmp_path: Path) -> dict[str, object]:
    """Files of a run that nobody stops."""
    assert run(ckpt, inputs, tmp_path / "whole") == 0
    return contents(tmp_path / "whole")


def contents(folder: Path) -> dict[str, object]:
    """All but the options, which say where it is.

    Numbers of tables are in full: their last digits depend on what was in a batch.
    """
    return {
        p.name: numbers_of(p) if p.suffix == ".csv" else p.read_bytes()
        for p in folder.iterdir()
        if p.name != "options.yaml"
    }


def numbers_of(path: Path) -> list[list[object]]:
    with path.open(newline="") as file:
        return [[number_or_text(field) for field in row] for row in csv.reader(file)]


def number_or_text(field: str) -> object:
    try:
        return pytest.approx(float(field), rel=1e-4, abs=1e-5)
    except ValueError:
        return field


def stop_after(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C when so many samples are written."""
    save, made = command.save_structures, []

    def stopping(sample, *rest):  # type: ignore[no-untyped-def]
        if len(made) == number:
            raise KeyboardInterrupt
        made.append(sample)
        return save(sample, *rest)

    monkeypatch.setattr(command, "save_structures", stopping)


@pytest.mark.parametrize("number", [0, 1, 5])
def test_a_run_that_was_stopped_goes_on_to_the_same_files(
    ckpt: Path,
    inputs: Path,
    whole: dict[str, object],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    number: int,
) -> None:
    out = tmp_path / "out"
    with monkeypatch.context() as patched:
        stop_after(number, patched)
        assert run(ckpt, inputs, out) == 130
    said = capsys.readouterr().err.splitlines()[-1]
    assert f"interrupted: {number} of 6 samples are finished, and whole; the same" in said
    assert len(list(out.glob("*.cif"))) == number
    assert (out / "metrics.csv").exists() == (number > 0)
    if number:
        rows = (out / "metrics.csv").read_text().splitlines()
        assert [row.split(",")[0] for row in rows[1:]] == sorted(p.stem for p in out.glob("*.cif"))
    assert run(ckpt, inputs, out, "--resume", "--batch-size", "3") == 0
    told = capsys.readouterr()
    assert (f"{number} of 6 samples were finished before" in told.err) == (number > 0)
    assert len([line for line in told.out.splitlines() if ".cif:" in line]) == 6 - number
    assert contents(out) == whole


def test_what_was_cut_off_by_a_kill_or_taken_away_is_made_again(
    ckpt: Path,
    inputs: Path,
    whole: dict[str, object],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = tmp_path / "out"
    with monkeypatch.context() as patched:
        stop_after(4, patched)
        assert run(ckpt, inputs, out) == 130
    journal = out / JOURNAL
    journal.write_bytes(journal.read_bytes()[:-40])
    first = min(out.glob("*.cif"))
    first.unlink()
    with monkeypatch.context() as patched:
        stop_after(0, patched)
        assert run(ckpt, inputs, out, "--resume") == 130
    assert first.stem not in (out / "metrics.csv").read_text()
    assert run(ckpt, inputs, out, "--resume") == 0
    assert contents(out) == whole


def test_resume_in_a_new_folder_begins_and_in_a_complete_one_has_nothing_to_do(
    ckpt: Path,
    inputs: Path,
    whole: dict[str, object],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out, folder = tmp_path / "out", tmp_path / "in"
    shutil.copytree(inputs, folder)
    assert run(ckpt, folder, out, "--resume") == 0
    assert contents(out) == whole
    assert run(ckpt, folder, out, "--resume") == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"{out}: 6 samples, all finished before"
    shutil.copy(folder / "a.pdb", folder / "d.pdb")
    assert run(ckpt, folder, out, "--resume") == 2
    assert "is of a run that is complete, and does not have d_1, d_2" in capsys.readouterr().err
    assert contents(out) == whole


def test_a_run_with_other_options_or_another_network_does_not_go_on(
    ckpt: Path,
    inputs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    with monkeypatch.context() as patched:
        stop_after(2, patched)
        assert run(ckpt, inputs, out) == 130
    capsys.readouterr()
    before = {p.name: p.read_bytes() for p in out.iterdir()}
    assert run(ckpt, inputs, out, "--resume", "--seed", "1", "--omit", "C") == 2
    assert "is of a run with another --omit and --seed: give what" in capsys.readouterr().err
    other = tmp_path / "other.ckpt"
    weights = {name: 1.1 * value for name, value in small_network().state_dict().items()}
    save_flow(other, weights, CheckpointInfo(CONFIG))
    assert run(other, inputs, out, "--resume") == 2
    assert "is of a run with another --ckpt: give what" in capsys.readouterr().err
    assert run(ckpt, inputs, out) == 2
    assert "--resume goes on with the run that was stopped" in capsys.readouterr().err
    assert run(ckpt, inputs, out, "--resume", "--overwrite") == 2
    assert "give one of them" in capsys.readouterr().err
    assert {p.name: p.read_bytes() for p in out.iterdir()} == before
    # The same network under another name is the same.
    shutil.copy(ckpt, other)
    assert run(other, inputs, out, "--resume") == 0


def test_a_folder_of_something_else_is_left_alone(ckpt: Path, inputs: Path, tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("mine")
    assert run(ckpt, inputs, tmp_path, "--resume") == 2
    assert [p.name for p in tmp_path.iterdir()] == ["note.txt"]


def test_a_damaged_journal_is_said_to_be_so(
    ckpt: Path, inputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / JOURNAL).write_bytes(b"{}\n\xff{\n{}\n")
    assert run(ckpt, inputs, tmp_path, "--resume") == 2
    assert f"{JOURNAL} is damaged" in capsys.readouterr().err
    (tmp_path / JOURNAL).unlink()
    (tmp_path / "options.yaml").write_text("a: [")
    assert run(ckpt, inputs, tmp_path, "--resume") == 2
    assert "options.yaml is damaged" in capsys.readouterr().err


def test_a_run_that_was_killed_before_its_first_line_begins_anew(
    ckpt: Path, inputs: Path, whole: dict[str, object], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / JOURNAL).write_text('{"task": "des')
    (out / f"{JOURNAL}.99.tmp").write_text("")
    assert run(ckpt, inputs, out, "--resume") == 0
    assert contents(out) == whole


def test_a_complete_run_with_a_failed_input_stays_a_failure(
    ckpt: Path, inputs: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "in"
    shutil.copytree(inputs, folder)
    (folder / "bad.pdb").write_text("nothing\n")
    assert run(ckpt, folder, tmp_path / "out") == 1
    assert run(ckpt, folder, tmp_path / "out", "--resume") == 1
