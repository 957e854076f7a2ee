"""Datasets in a store are verified as they would be here."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import pipeline.verify.check_dataset
from pipeline.built import store_lock
from pipeline.built.output_folder import layout_of
from pipeline.files.storage import StorageError
from pipeline.verify.check_dataset import Thoroughness, check_dataset
from pipeline.verify.command import main
from tests.support import build_runs as runs
from tests.support.s3_server import BUCKET, S3Server

ONE = Thoroughness(n_jobs=1)
NUMBERS = itertools.count()


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = runs.write_peptides(tmp_path_factory.mktemp("peptides"), 12, 30)
    (folder / "short.pdb").write_text(runs.peptide(5))
    return folder


@pytest.fixture(scope="module")
def whole(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "out"
    runs.build_here(source, out, min_part=60_000, min_length=10)
    assert len(runs.shards(out)) >= 3
    return out


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only place for temporary files, which has to be empty in the end."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return folder


@pytest.fixture
def s3(running: S3Server, scratch: Path) -> Iterator[S3Server]:
    running.work()
    yield running
    running.work()
    assert list(scratch.iterdir()) == []


@pytest.fixture
def put(s3: S3Server) -> Callable[[Path], str]:
    """Copies a dataset into the store; its URI."""
    prefix = f"sets/{next(NUMBERS)}"

    def copied(dataset: Path) -> str:
        for path in dataset.rglob("*"):
            if path.is_file():
                s3.put(BUCKET, f"{prefix}/{path.relative_to(dataset)}", path.read_bytes())
        s3.work()
        return s3.uri(f"{BUCKET}/{prefix}")

    return copied


def flip(path: Path, position: int) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)


def with_other_counts(out: Path) -> None:
    summary = json.loads((out / "build.json").read_text())
    summary["counts"]["chains"] += 1
    (out / "build.json").write_text(json.dumps(summary))


SHARD = "shards/part-00001.parquet"
DAMAGES: dict[str, Callable[[Path], object]] = {
    "none": lambda out: None,
    "a-bit-of-a-shard": lambda out: flip(out / SHARD, 2000),
    "a-footer": lambda out: flip(out / SHARD, -40),
    "no-shard": lambda out: (out / SHARD).unlink(),
    "another-shard": lambda out: shutil.copy(out / "shards/part-00000.parquet", out / SHARD),
    "a-stray": lambda out: shutil.copy(out / SHARD, out / "shards/copy.parquet"),
    "no-index": lambda out: (out / "index.parquet").unlink(),
    "a-bit-of-the-inputs": lambda out: flip(out / "inputs.parquet", 500),
    "no-plan": lambda out: (out / "plan.parquet").unlink(),
    "counts": with_other_counts,
    "no-summary": lambda out: (out / "build.json").unlink(),
    "splits": lambda out: (out / "splits.parquet").write_bytes(b"PAR1"),
    "no-options": lambda out: (out / "options.yaml").unlink(),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_found_in_a_store_is_what_is_found_in_a_folder(
    damage: str, whole: Path, put: Callable[[Path], str], tmp_path: Path
) -> None:
    out = shutil.copytree(whole, tmp_path / "out")
    DAMAGES[damage](out)
    here = check_dataset(layout_of(out), ONE).to_json()
    there = check_dataset(layout_of(Path(put(out))), ONE).to_json()
    assert here["whole"] == (damage in ("none", "no-options"))
    assert there.pop("dataset").startswith(f"s3://{BUCKET}/")
    for found in (here, there):
        found.pop("seconds")
        found.pop("dataset", None)
    assert there == here


def test_the_command_says_that_it_is_whole_and_writes_nothing(
    whole: Path, put: Callable[[Path], str], s3: S3Server, capfd: pytest.CaptureFixture
) -> None:
    uri = put(whole)
    assert main([uri]) == 0
    name = uri.partition("?")[0]
    said = capfd.readouterr()
    assert said.err == ""
    assert said.out.endswith(f"{name} is whole\n")
    assert [r for r in s3.requests() if not r.startswith(("GET", "HEAD"))] == []


@pytest.mark.slow
def test_processes_fetch_their_shards_themselves(
    whole: Path, put: Callable[[Path], str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    out = shutil.copytree(whole, tmp_path / "out")
    flip(out / SHARD, 2000)
    monkeypatch.setattr(pipeline.verify.check_dataset, "BYTES_PER_WORKER", 1)
    found = check_dataset(layout_of(Path(put(out))), Thoroughness(n_jobs=2))
    assert {p.file for p in found.damage} == {SHARD}
    assert found.n_shards == len(found.sha256) == len(runs.shards(out))


def test_what_is_deleted_as_advised_is_made_again_by_the_builds_command(
    source: Path, whole: Path, put: Callable[[Path], str], s3: S3Server, tmp_path: Path,
    scratch: Path, capfd: pytest.CaptureFixture
) -> None:  # fmt: skip
    out = shutil.copytree(whole, tmp_path / "out")
    flip(out / SHARD, 2000)
    (out / "index.parquet").unlink()
    uri = put(out)
    assert main([uri, "--quiet"]) == 1
    said = capfd.readouterr().out
    assert f"delete {SHARD} there, and run the build's own command again" in said
    assert "--repair" not in said
    layout_of(Path(uri)).folder.delete(SHARD)
    runs_again = {"min_part": 60_000, "min_length": 10}
    with pytest.raises(FileNotFoundError):  # of build.json, which build_here looks for here
        runs.build_here(source, Path(uri), **runs_again)
    shutil.rmtree(next(scratch.glob("ellipsoid-flow-*")))
    assert main([uri, "--quiet"]) == 0


@pytest.mark.parametrize("asked", ["build.json", "index.parquet", SHARD])
def test_a_store_that_refuses_is_no_damage(
    asked: str, whole: Path, put: Callable[[Path], str], s3: S3Server,
    capfd: pytest.CaptureFixture
) -> None:  # fmt: skip
    uri = put(whole)
    s3.fail("", asked, 403)
    assert main([uri, "--quiet"]) == 1
    said = capfd.readouterr()
    assert said.out == ""
    (line,) = said.err.splitlines()
    assert line.startswith(f"error: {uri.partition('?')[0]}/{asked}")
    assert "the store refuses" in line
    with pytest.raises(StorageError):
        check_dataset(layout_of(Path(uri)), ONE)


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("s3://nowhere/set", "no bucket nowhere"),
        ("s3://bucket/nothing", "neither build.json nor shards/"),
        ("ftp://bucket/set", "s3://, gs:// or file://"),
    ],
)
def test_what_is_no_dataset_is_one_sentence(
    uri: str, said: str, s3: S3Server, capfd: pytest.CaptureFixture
) -> None:
    where = uri + (s3.uri("")[len("s3://") :] if uri.startswith("s3") else "")
    assert main([where]) == (1 if "nowhere" in uri else 2)
    (line,) = capfd.readouterr().err.splitlines()
    assert said in line


def test_a_repair_in_a_store_is_refused(
    whole: Path, put: Callable[[Path], str], s3: S3Server, capfd: pytest.CaptureFixture
) -> None:
    assert main([put(whole), "--repair"]) == 2
    assert "--repair is for folders of this machine" in capfd.readouterr().err
    assert [r for r in s3.requests() if not r.startswith(("GET", "HEAD"))] == []


def test_a_store_that_a_build_writes_to_is_not_looked_at(
    whole: Path, put: Callable[[Path], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture
) -> None:  # fmt: skip
    monkeypatch.setattr(store_lock, "BEAT_SECONDS", 0.02)
    monkeypatch.setattr(store_lock, "POLL_SECONDS", 0.1)
    monkeypatch.setattr(store_lock._Holder, "is_dead", False)
    uri = put(whole)
    folder = layout_of(Path(uri)).folder
    (tmp_path / "locks").mkdir()
    with store_lock.store_lock(folder, ".build/lock", tmp_path / "locks", print):
        assert main([uri]) == 2
    assert "a build is writing to" in capfd.readouterr().err


def test_the_lock_of_a_build_that_was_killed_here_bothers_nobody(
    whole: Path, put: Callable[[Path], str], tmp_path: Path
) -> None:
    out = shutil.copytree(whole, tmp_path / "out")
    lock = {"process": 2**22 + 1, "host": os.uname().nodename, "since": "", "token": "x"}
    (out / ".build" / "lock").write_text(json.dumps(lock))
    assert main([put(out), "--quick"]) == 0
