"""A build whose input is in a store is the build from a folder."""

from __future__ import annotations

import io
import re
import tarfile
from pathlib import Path
from typing import Any

import pytest

import pipeline.build.command
import pipeline.built.plan
from pipeline.build.command import main
from pipeline.crew.build_part import build_part
from pipeline.verify.command import main as verify
from tests.support import build_runs
from tests.support.build_runs import (
    SMALL_PARTS,
    CrewOfNone,
    accounts_for_all,
    build_json,
    inputs,
    peptide,
    run,
    shards,
    write_peptides,
)
from tests.support.s3_server import BUCKET, S3Server, s3_server


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files in nested folders and archives; a file of nothing, one cut off, one that is none."""
    folder = write_peptides(tmp_path_factory.mktemp("peptides"), 8, n_residues=110)
    for suffix in ("", ".gz"):
        with tarfile.open(folder / f"set.tar{suffix}", "w:" + suffix[1:]) as archive:
            for k in range(4):
                content = peptide(60, seed=100 + k).encode()
                info = tarfile.TarInfo(f"in/{suffix[1:]}{k}.pdb")
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    (folder / "empty.pdb").touch()
    (folder / "cut.pdb.gz").write_bytes(b"\x1f\x8b\x08\0\0\0\0\0\0\0")
    (folder / "READ ME.txt").write_text("Dear reader,\n")
    return folder


@pytest.fixture(scope="module")
def local(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dataset of the same files in a folder."""
    out = tmp_path_factory.mktemp("local") / "out"
    assert build(source, out, "--allow-failures", 2) == 0
    assert len(shards(out)) > 3
    return out


@pytest.fixture(scope="module")
def stored(running: S3Server, source: Path) -> str:
    upload(running, "in", source)
    return running.uri(f"{BUCKET}/in")


def upload(s3: S3Server, prefix: str, folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            s3.put(BUCKET, f"{prefix}/{path.relative_to(folder)}", path.read_bytes())


def build(source: Any, out: Any, *more: object, option: str = "--pdb-dir") -> int:
    """The command in this process, without workers and of many parts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline.build.command, "Crew", CrewOfNone)
        patch.setattr(pipeline.built.plan, "MIN_PART", 100_000)
        arguments = [option, source, "--out-dir", out, "--quiet", *more]
        return main([str(a) for a in arguments])


def statuses(out: Path) -> dict[str, tuple]:
    keys = ("entry_id", "part", "status", "reason", "message", "sha256", "n_chains")
    return {name: tuple(row[k] for k in keys) for name, row in inputs(out).items()}


def test_a_build_from_a_store_is_the_build_from_a_folder(
    stored: str, local: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert build(stored, out, "--allow-failures", 2) == 0
    assert build_json(out)["digest"] == build_json(local)["digest"]
    assert shards(out) == shards(local)
    assert statuses(out) == statuses(local)
    assert accounts_for_all(out)
    assert build_json(out)["counts"]["ok"] == 16


@pytest.mark.slow
def test_the_command_and_its_workers_build_from_a_store(
    stored: str, local: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    arguments = ["--pdb-dir", stored, "--out-dir", out, "--n-jobs", 2, "--allow-failures", 2]
    result = run(*arguments, append=SMALL_PARTS, folder=tmp_path)
    assert (result.status, result.err) == (0, "")
    assert shards(out) == shards(local)
    assert statuses(out) == statuses(local)


def test_a_build_from_one_place_of_a_store_to_another_stays_out_of_its_output(
    s3: S3Server, tmp_path: Path
) -> None:
    upload(s3, "both", write_peptides(tmp_path / "in", 3))
    source, out = s3.uri(f"{BUCKET}/both"), s3.uri(f"{BUCKET}/both/sets/one")
    assert build(source, out) == 0
    s3.work()
    assert build(source, out) == 0  # finds three files again
    puts = [r for r in s3.requests() if r.startswith("PUT") and not r.endswith("/")]
    assert not [r for r in puts if "/.build/lock" not in r]
    options = s3.get(BUCKET, "both/sets/one/options.yaml").decode()
    assert f"\npdb_dir: s3://{BUCKET}/both?" in options
    (tmp_path / "options.yaml").write_text(options)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline.build.command, "Crew", CrewOfNone)
        assert main(["--config", str(tmp_path / "options.yaml")]) == 0


@pytest.mark.parametrize(
    ("out", "says"),
    [("over", "--out-dir is the input folder"), ("", "lies in the output folder")],
)
def test_the_output_is_never_the_input_nor_around_it(
    out: str, says: str, s3: S3Server, capfd: pytest.CaptureFixture
) -> None:
    s3.put(BUCKET, "over/p.pdb", peptide(10).encode())
    assert build(s3.uri(f"{BUCKET}/over"), s3.uri(f"{BUCKET}/{out}")) == 2
    assert says in capfd.readouterr().err
    assert set(s3.objects(BUCKET, "over")) == {"p.pdb"}


def test_a_list_in_a_store_is_built(s3: S3Server, tmp_path: Path) -> None:
    for k in range(3):
        s3.put(BUCKET, f"listed/{k}.pdb", peptide(30, seed=k).encode())
    lines = ["listed/0.pdb", f"s3://{BUCKET}/listed/2.pdb", "listed/gone.pdb"]
    s3.put(BUCKET, "list.txt", "\n".join(lines).encode())
    out = tmp_path / "out"
    assert build(s3.uri(f"{BUCKET}/list.txt"), out, option="--pdb-list") == 1
    found = {name: (row["status"], row["reason"]) for name, row in inputs(out).items()}
    assert found == {
        "listed/0.pdb": ("ok", None),
        "listed/2.pdb": ("ok", None),
        "listed/gone.pdb": ("failed", "missing"),
    }


def test_only_parts_whose_objects_changed_are_built_again(
    s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload(s3, "again", write_peptides(tmp_path / "in", 8, n_residues=110))
    source, out = s3.uri(f"{BUCKET}/again"), tmp_path / "out"
    assert build(source, out) == 0
    built = []

    def noting(part: Any, *arguments: Any, **more: Any) -> Any:
        built.append({f.name for f in part.files})
        return build_part(part, *arguments, **more)

    monkeypatch.setattr(build_runs, "build_part", noting)
    assert build(source, out) == 0
    assert built == []
    before = s3.get(BUCKET, "again/p004.pdb")
    while not built:  # stores tell times to the second
        s3.put(BUCKET, "again/p004.pdb", before)
        assert build(source, out) == 0
    assert len(built) == 1
    assert "p004.pdb" in built[0]


def test_an_object_that_changes_after_the_plan_fails_by_name(
    s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload(s3, "moves", write_peptides(tmp_path / "in", 3))

    def changing(*arguments: Any, **more: Any) -> Any:
        s3.put(BUCKET, "moves/p001.pdb", peptide(7).encode())
        return build_part(*arguments, **more)

    monkeypatch.setattr(build_runs, "build_part", changing)
    out = tmp_path / "out"
    assert build(s3.uri(f"{BUCKET}/moves"), out) == 1
    found = inputs(out)
    assert (found["p001.pdb"]["status"], found["p001.pdb"]["reason"]) == ("failed", "changed")
    assert "p001.pdb changed after it was found" in found["p001.pdb"]["message"]
    assert build_json(out)["counts"]["ok"] == 2
    monkeypatch.undo()


def test_a_file_that_the_store_fails_to_give_fails_by_name_and_is_tried_again_later(
    s3: S3Server, tmp_path: Path
) -> None:
    upload(s3, "stumbles", write_peptides(tmp_path / "in", 4))
    source, out = s3.uri(f"{BUCKET}/stumbles"), tmp_path / "out"
    s3.fail("GET", "/stumbles/p001.pdb", 500)
    assert build(source, out) == 1
    row = inputs(out)["p001.pdb"]
    assert (row["status"], row["reason"], row["transient"]) == ("failed", "unreadable", True)
    assert re.search(r"stumbles/p001\.pdb at \S+: the server fails, 3 times", row["message"])
    assert build_json(out)["counts"]["ok"] == 3
    s3.work()
    assert build(source, out) == 0
    assert build_json(out)["counts"]["ok"] == 4


def test_a_place_that_is_not_there_is_said_before_anything_is_written(
    s3: S3Server, tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    out = tmp_path / "out"
    assert build(s3.uri(f"{BUCKET}/nothing/here"), out) == 2
    said = f"error: --pdb-dir s3://{BUCKET}/nothing/here: there is no such file or folder\n"
    assert capfd.readouterr().err == said
    assert build(s3.uri("nobucket/in"), out) == 1
    assert "there is no bucket nobucket" in capfd.readouterr().err
    assert build("s3://a:b@bucket/in", out) == 2
    assert capfd.readouterr().err.startswith("error: --pdb-dir s3://bucket/in: credentials")
    assert build(s3.uri(f"{BUCKET}/nothing.txt"), out, option="--pdb-list") == 2
    assert not out.exists()


def test_a_store_that_is_down_is_one_error(tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    with s3_server() as server:
        server.make_bucket(BUCKET)
        upload(server, "in", write_peptides(tmp_path / "in", 2))
        server.kill()
        assert build(server.uri(f"{BUCKET}/in"), tmp_path / "out") == 1
    error = capfd.readouterr().err
    assert re.fullmatch(
        r"error: s3://bucket/in\S*( at \S+)?: the server does not answer.*\n", error
    )
    assert not (tmp_path / "out").exists()


def test_a_damaged_shard_is_built_again_from_a_store(
    s3: S3Server, tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    upload(s3, "repaired", write_peptides(tmp_path / "in", 4))
    source, out = s3.uri(f"{BUCKET}/repaired"), tmp_path / "out"
    assert build(source, out) == 0
    (shard,) = (out / "shards").iterdir()
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-100])
    s3.delete(BUCKET, "repaired/p001.pdb")
    assert verify([str(out), "--repair", "--n-jobs", "1"]) != 0
    said = capfd.readouterr()
    assert f"are not below s3://{BUCKET}/repaired, such as p001.pdb" in said.out + said.err
    s3.put(BUCKET, "repaired/p001.pdb", peptide(40, seed=1).encode())
    assert verify([str(out), "--repair", "--n-jobs", "1"]) == 0
    assert shard.read_bytes() == whole
