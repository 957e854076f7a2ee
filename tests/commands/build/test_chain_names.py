"""A chain's name is one chain's, or there is no dataset."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

import pipeline.build.build_parts
import pipeline.built.tables
from pipeline.build.command import main
from pipeline.subset.command import main as subset
from tests.support import build_runs as runs
from tests.support.build_runs import CrewOfNone
from tests.support.structure_text import chain, cif_text


def structure(chain_id: str, shift: float) -> str:
    return cif_text(chain(["ALA", "GLY", "SER", "LEU"] * 4, chain=chain_id, shift=shift))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Two files of which each by itself is in order, and one beside them."""
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.cif").write_text(structure("1_B", 0.0))
    (folder / "a_1.cif").write_text(structure("B", 0.5))
    (folder / "b.cif").write_text(structure("B", 0.7))
    return folder


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline.build.build_parts, "Crew", CrewOfNone)


def here(*arguments: object) -> int:
    return main([*map(str, arguments), "--quiet"])


def check_told(said: str) -> None:
    told = "a_1_1_B is chain 1_B of a.cif and chain B of a_1.cif. "
    assert f"several chains have one name: {told}" in " ".join(said.split())
    assert "Rename one of the files and run the same command again" in " ".join(said.split())


def test_two_chains_of_one_name_end_the_build_until_a_file_is_renamed(
    source: Path, tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    out = tmp_path / "out"
    command = ["--pdb-dir", source, "--out-dir", out, "--report", "false"]
    for _ in range(2):
        assert here(*command) == 1
        check_told(capfd.readouterr().err)
        assert not (out / "build.json").exists()
        assert not (out / "index.parquet").exists()
    (source / "a_1.cif").rename(source / "a1.cif")
    assert here(*command) == 0
    uids = pq.read_table(out / "index.parquet")["chain_uid"].to_pylist()
    assert sorted(uids) == ["a1_1_B", "a_1_1_B", "b_1_B"]


def test_an_update_that_brings_a_name_again_ends_too(
    source: Path, tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    out, later = tmp_path / "out", source / "a_1.cif"
    text = later.read_text()
    later.unlink()
    command = ["--pdb-dir", source, "--out-dir", out, "--report", "false"]
    assert here(*command) == 0
    later.write_text(text)
    assert here(*command, "--update") == 1
    check_told(capfd.readouterr().err)
    assert not (out / "build.json").exists()
    later.rename(source / "a1.cif")
    assert here(*command, "--update") == 0
    assert len(runs.build_json(out)["shards"]) == 2


def test_the_end_of_an_array_job_finds_two_chains_of_one_name(
    source: Path, tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    out = tmp_path / "out"
    assert here("--pdb-dir", source, "--out-dir", out, "--plan") == 0
    assert here("--out-dir", out, "--part", "0/1") == 0
    assert here("--out-dir", out, "--finalise") == 1
    check_told(capfd.readouterr().err)
    assert not (out / "build.json").exists()


def test_a_subset_of_an_older_dataset_with_one_name_twice_names_that_dataset(
    source: Path, tmp_path: Path, capfd: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    monkeypatch.setattr(pipeline.built.tables, "check_names", lambda *_: None)
    assert here("--pdb-dir", source, "--out-dir", out, "--report", "false") == 0
    assert subset([str(out), "--out-dir", str(tmp_path / "some")]) == 1
    said = " ".join(capfd.readouterr().err.split())
    assert f"{out} has different chains under one name: a_1_1_B; rename one of" in said
