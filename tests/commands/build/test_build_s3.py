"""A build whose output folder is in a store: what it leaves, and what it does when that fails."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import pipeline.build.build_parts
import pipeline.built.plan
from pipeline.build.command import main
from pipeline.built import store_lock as lock_module
from pipeline.built.output_folder import layout_of
from pipeline.built.store_lock import InUse, store_lock
from pipeline.files.storage import open_folder
from tests.support.build_runs import (
    SMALL_PARTS,
    Command,
    CrewOfNone,
    run,
    wait_until,
    write_peptides,
)
from tests.support.s3_server import BUCKET, S3Server, s3_server

RESULTS = {"plan.parquet", "inputs.parquet", "drops.parquet", "index.parquet", "build.json"}
SLOWLY = {
    **SMALL_PARTS,
    "pipeline.crew.build_part": (
        "import time\n"
        "_read_chains = read_chains\n"
        "def read_chains(*arguments, **options):\n"
        "    time.sleep(0.1)\n"
        "    return _read_chains(*arguments, **options)\n"
    ),
}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with s3_server() as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(tmp_path_factory.mktemp("tmp")))
        patch.setattr(tempfile, "tempdir", None)
        server.make_bucket(BUCKET)
        yield server


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_peptides(tmp_path_factory.mktemp("peptides"), 10, n_residues=110)


@pytest.fixture(scope="module")
def local(source: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Files of the same build in a folder here."""
    out = tmp_path_factory.mktemp("local") / "out"
    assert build_here(source, out) == 0
    found = {str(p.relative_to(out)): p.read_bytes() for p in out.rglob("*") if p.is_file()}
    assert sum(name.startswith("shards/") for name in found) > 3
    return found


def build_here(source: Path, out: Any, *more: object) -> int:
    """The command in this process, without workers and of many parts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline.build.build_parts, "Crew", CrewOfNone)
        patch.setattr(pipeline.built.plan, "MIN_PART", 100_000)
        arguments = ["--pdb-dir", source, "--out-dir", out, "--quiet", *more]
        return main([str(a) for a in arguments])


def same_data(found: dict[str, bytes], local: dict[str, bytes]) -> bool:
    """Whether shards and results are the same bytes, but for the seconds in inputs.parquet."""
    names = {n for n in local if n.startswith("shards/")} | RESULTS - {"inputs.parquet"}
    return all(found.get(n) == local[n] for n in names) and set(found) == (
        set(local) - {".build/lock"}
    )


def writes(s3: S3Server) -> list[str]:
    """Names that were put or deleted since `work`, the lock left out."""
    requests = [r.split("?")[0] for r in s3.requests() if not r.startswith(("GET", "HEAD"))]
    return [r for r in requests if "/.build/lock" not in r and not r.endswith("/")]


def test_a_build_into_a_store_is_the_build_into_a_folder(
    s3: S3Server, source: Path, local: dict[str, bytes], capfd: pytest.CaptureFixture
) -> None:
    assert build_here(source, s3.uri(f"{BUCKET}/same")) == 0
    assert same_data(s3.objects(BUCKET, "same"), local)
    assert f"s3://{BUCKET}/same/inputs.parquet" in capfd.readouterr().out
    scratch = layout_of(Path(s3.uri(f"{BUCKET}/same"))).scratch
    assert list(scratch.iterdir()) == []


@pytest.mark.slow
def test_the_command_and_its_workers_build_into_a_store(
    s3: S3Server, source: Path, local: dict[str, bytes], tmp_path: Path
) -> None:
    uri = s3.uri(f"{BUCKET}/workers")
    arguments = ["--pdb-dir", source, "--out-dir", uri, "--n-jobs", 2]
    result = run(*arguments, append=SMALL_PARTS, folder=tmp_path)
    assert (result.status, result.err) == (0, "")
    assert same_data(s3.objects(BUCKET, "workers"), local)


def test_a_finished_build_writes_nothing_when_it_is_run_again(s3: S3Server, source: Path) -> None:
    uri = s3.uri(f"{BUCKET}/again")
    assert build_here(source, uri) == 0
    s3.work()
    assert build_here(source, uri) == 0
    assert writes(s3) == []


def test_the_options_beside_a_dataset_build_it_again(
    s3: S3Server, source: Path, tmp_path: Path
) -> None:
    uri = s3.uri(f"{BUCKET}/options")
    assert build_here(source, uri) == 0
    text = s3.get(BUCKET, "options/options.yaml")
    assert text.startswith(f"out_dir: s3://{BUCKET}/options?".encode())
    (tmp_path / "options.yaml").write_bytes(text)
    s3.work()
    assert build_here(source, uri, "--config", tmp_path / "options.yaml") == 0
    assert writes(s3) == []


def test_build_json_is_withdrawn_first_and_put_last(s3: S3Server, source: Path) -> None:
    uri = s3.uri(f"{BUCKET}/order")
    assert build_here(source, uri, "--max-length", 500) == 0
    s3.work()
    assert build_here(source, uri, "--overwrite") == 0
    order = [r.rsplit("/", 1)[-1] for r in writes(s3) if not r.startswith("POST")]
    assert order[0] == "build.json"
    results = [name for name in order if name in RESULTS]
    assert results[-1] == "build.json"


@pytest.mark.parametrize(
    "number", [signal.SIGKILL, pytest.param(signal.SIGINT, marks=pytest.mark.slow)]
)
def test_an_interrupted_build_goes_on_where_it_was(
    number: int, s3: S3Server, source: Path, local: dict[str, bytes], tmp_path: Path
) -> None:
    prefix = f"interrupted-{number:d}"
    uri = s3.uri(f"{BUCKET}/{prefix}")
    folder = open_folder(uri)
    arguments = ["--pdb-dir", source, "--out-dir", uri, "--n-jobs", 1]
    command = Command(*arguments, append=SLOWLY, folder=tmp_path)

    def records() -> set[str]:
        return {n for n in folder.list(".build") if re.fullmatch(r"part-\d+\.json", n)}

    wait_until(lambda: len(records()) >= 2)
    os.killpg(command.process.pid, number)
    result = command.wait()
    assert result.status == (-9 if number == signal.SIGKILL else 130)
    finished = records()
    found = s3.objects(BUCKET, prefix)
    assert not RESULTS & set(found)
    assert all(found[n] == local[n] for n in found if n.startswith("shards/"))
    assert (".build/lock" in found) == (number == signal.SIGKILL)
    s3.work()
    assert build_here(source, uri) == 0
    assert same_data(s3.objects(BUCKET, prefix), local)
    again = {r.rsplit("/", 1)[-1] for r in writes(s3)}
    assert finished
    assert not again & {n.replace(".json", ".parquet") for n in finished}
    assert list(layout_of(Path(uri)).scratch.iterdir()) == []


@pytest.mark.parametrize(
    "fails",
    [
        "/shards/part-00002.parquet",
        pytest.param(".build/part-00002.json", marks=pytest.mark.slow),
        pytest.param("index.parquet", marks=pytest.mark.slow),
        "/build.json",
    ],
)
def test_an_upload_that_fails_ends_the_build_with_a_sentence(
    fails: str,
    s3: S3Server,
    source: Path,
    local: dict[str, bytes],
    capfd: pytest.CaptureFixture,
) -> None:
    prefix = "fails-" + fails.strip("/").replace("/", "-")
    uri = s3.uri(f"{BUCKET}/{prefix}")
    s3.fail("PUT", fails, 403)
    assert build_here(source, uri) == 1
    error = capfd.readouterr().err
    assert error.startswith(f"error: s3://{BUCKET}/{prefix}/")
    assert fails in error
    assert "the store refuses" in error
    assert "The parts that were finished are kept: the same command goes on" in error
    found = s3.objects(BUCKET, prefix)
    assert "build.json" not in found
    assert all(found[n] == local[n] for n in found if n.startswith("shards/"))
    s3.work()
    assert build_here(source, uri) == 0
    assert same_data(s3.objects(BUCKET, prefix), local)


@pytest.mark.slow
def test_a_server_that_dies_ends_the_build_with_a_sentence(source: Path, tmp_path: Path) -> None:
    with s3_server() as server:
        server.make_bucket(BUCKET)
        uri = server.uri(f"{BUCKET}/set")
        folder = open_folder(uri)
        arguments = ["--pdb-dir", source, "--out-dir", uri, "--n-jobs", 1]
        command = Command(*arguments, append=SLOWLY, folder=tmp_path)
        wait_until(lambda: folder.list("shards"))
        server.kill()
        result = command.wait(30)
    assert result.status == 1
    assert re.match(rf"error: s3://{BUCKET}/set/\S+ at \S+: the server does not answer", result.err)
    assert "Traceback" not in result.err


def test_a_bucket_that_is_not_there_is_named_before_anything_is_read(
    s3: S3Server, source: Path, capfd: pytest.CaptureFixture
) -> None:
    assert build_here(source, s3.uri("nobucket/set")) == 1
    error = capfd.readouterr().err
    assert error == f"error: s3://nobucket/set: there is no bucket nobucket at {s3.endpoint}\n"


@pytest.mark.parametrize("uri", ["zz://bucket/set", "s3://", "s3://a:b@bucket/set"])
def test_a_bad_uri_is_wrong_usage(uri: str, source: Path, capfd: pytest.CaptureFixture) -> None:
    assert build_here(source, uri) == 2
    assert capfd.readouterr().err.startswith("error: --out-dir ")


def test_another_configuration_is_refused_or_overwritten(
    s3: S3Server, source: Path, local: dict[str, bytes], capfd: pytest.CaptureFixture
) -> None:
    uri = s3.uri(f"{BUCKET}/config")
    s3.put(BUCKET, "config/shards/notes.txt", b"somebody's")
    assert build_here(source, uri, "--min-length", 10) == 0
    before = s3.objects(BUCKET, "config")
    assert build_here(source, uri) == 2
    assert f"s3://{BUCKET}/config was built with another config" in capfd.readouterr().err
    assert s3.objects(BUCKET, "config") == before
    assert build_here(source, uri, "--overwrite") == 0
    found = s3.objects(BUCKET, "config")
    assert found.pop("shards/notes.txt") == b"somebody's"
    assert same_data(found, local)


def test_a_shard_that_was_damaged_in_the_store_is_built_again(
    s3: S3Server, source: Path, local: dict[str, bytes], capfd: pytest.CaptureFixture
) -> None:
    uri = s3.uri(f"{BUCKET}/damaged")
    assert build_here(source, uri) == 0
    name = "shards/part-00001.parquet"
    s3.put(BUCKET, f"damaged/{name}", bytes(len(local[name])))
    assert build_here(source, uri) == 1
    assert f"s3://{BUCKET}/damaged/{name} is damaged" in capfd.readouterr().err
    assert build_here(source, uri) == 0
    assert same_data(s3.objects(BUCKET, "damaged"), local)


def test_shards_of_an_earlier_plan_are_removed(s3: S3Server, tmp_path: Path) -> None:
    source = write_peptides(tmp_path / "in", 6, n_residues=110)
    uri = s3.uri(f"{BUCKET}/fewer")
    assert build_here(source, uri) == 0
    before = {n for n in s3.objects(BUCKET, "fewer") if n.startswith("shards/")}
    for path in sorted(source.rglob("*.pdb"))[2:]:
        path.unlink()
    assert build_here(source, uri) == 0
    found = s3.objects(BUCKET, "fewer")
    after = {n for n in found if n.startswith("shards/")}
    assert after < before
    assert after == {f"shards/{s['name']}" for s in json.loads(found["build.json"])["shards"]}


def other_lock(**values: object) -> bytes:
    host = {"process": 1, "host": "elsewhere", "since": "2020", "token": "x", "beat": 0}
    return json.dumps({**host, **values}).encode()


def test_a_build_elsewhere_keeps_its_folder(
    s3: S3Server,
    source: Path,
    capfd: pytest.CaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lock_module, "POLL_SECONDS", 0.05)
    s3.put(BUCKET, "held/.build/lock", other_lock())
    beats = threading.Timer(0.5, s3.put, [BUCKET, "held/.build/lock", other_lock(beat=1)])
    beats.start()
    assert build_here(source, s3.uri(f"{BUCKET}/held")) == 2
    beats.join()
    said = capfd.readouterr()
    assert "another build is writing to s3://bucket/held (process 1 on elsewhere" in said.err
    assert "has the lock of another build" in said.out
    assert set(s3.objects(BUCKET, "held")) == {".build/lock"}


def test_the_lock_of_a_build_that_was_killed_is_taken(
    s3: S3Server, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock_module, "POLL_SECONDS", 0.05)
    monkeypatch.setattr(lock_module, "PATIENCE_SECONDS", 0.3)
    s3.put(BUCKET, "killed/.build/lock", other_lock())
    assert build_here(source, s3.uri(f"{BUCKET}/killed")) == 0
    assert ".build/lock" not in s3.objects(BUCKET, "killed")
    monkeypatch.setattr(lock_module, "PATIENCE_SECONDS", 60)
    dead = other_lock(host=socket.gethostname(), process=2**22 + 1)
    for content in (dead, other_lock(host=socket.gethostname(), process=os.getpid()), b"{"):
        s3.put(BUCKET, "killed/.build/lock", content)
        started = time.monotonic()
        assert build_here(source, s3.uri(f"{BUCKET}/killed")) == 0
        assert time.monotonic() - started < 10


def test_a_lock_beats_and_notices_who_takes_it(
    s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock_module, "BEAT_SECONDS", 0.05)
    folder = open_folder(s3.uri(f"{BUCKET}/beats"))

    def lock() -> dict:
        return json.loads(folder.read_bytes(".build/lock"))

    with store_lock(folder, ".build/lock", tmp_path, print) as check_ours:
        first = lock()
        wait_until(lambda: lock()["beat"] > first["beat"] + 1)
        check_ours()

        def is_lost() -> bool:
            # Who lives renews its lock: one that was put between a beat's look and its write is
            # written over.
            s3.put(BUCKET, "beats/.build/lock", other_lock())
            try:
                check_ours()
            except InUse as error:
                return "process 1 on elsewhere" in str(error)
            return False

        wait_until(is_lost)
    assert lock() == json.loads(other_lock())


@pytest.mark.slow
def test_two_builds_on_one_machine_are_told_apart_at_once(
    s3: S3Server, source: Path, tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    uri = s3.uri(f"{BUCKET}/two")
    arguments = ["--pdb-dir", source, "--out-dir", uri, "--n-jobs", 1]
    command = Command(*arguments, append=SLOWLY, folder=tmp_path)
    folder = open_folder(uri)
    wait_until(lambda: folder.list("shards"))
    assert build_here(source, uri) == 2
    assert f"(process {command.process.pid} on " in capfd.readouterr().err
    assert command.wait().status == 0
