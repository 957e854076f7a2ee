"""``python -m pipeline.verify --repair`` gives back what was there, or changes nothing."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import pipeline.build.build_parts
import pipeline.built.plan
import pipeline.shards.writer
from pipeline.built.dataset_lock import locked
from pipeline.built.layout import Layout
from pipeline.verify.check_dataset import Thoroughness, check_dataset
from pipeline.verify.command import main
from tests.support import build_runs as runs

TABLES = (
    "index.parquet",
    "inputs.parquet",
    "drops.parquet",
    "plan.parquet",
    "interfaces.parquet",
)
MIN_PART = 60_000


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``in`` and ``out``: several small shards, a skipped file, a dropped chain, a
    broken link."""
    folder = tmp_path_factory.mktemp("built")
    source = runs.write_peptides(folder / "in", 20, 30)
    (source / "two.pdb").write_text(runs.dimer(30))
    (source / "short.pdb").write_text(runs.peptide(5))
    (source / "notes.txt").write_text("nothing")
    (source / "link").symlink_to("nowhere.pdb")
    runs.build_here(source, folder / "out", min_part=MIN_PART, min_length=10, status=1)
    assert len(runs.shards(folder / "out")) >= 4
    return folder


@pytest.fixture
def here(built: Path, tmp_path: Path) -> Path:
    """A copy of both, of which options.yaml knows."""
    for name in ("in", "out"):
        shutil.copytree(built / name, tmp_path / name, symlinks=True)
    options = tmp_path / "out" / "options.yaml"
    options.write_text(options.read_text().replace(str(built), str(tmp_path)))
    return tmp_path


@pytest.fixture(autouse=True)
def without_workers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(pipeline.build.build_parts, "Crew", runs.CrewOfNone)
    monkeypatch.setattr(pipeline.built.plan, "MIN_PART", MIN_PART)
    return


def repair(here: Path, *options: object) -> int:
    command = [here / "out", "--repair", "--quiet", "--n-jobs", 1, *options]
    return main([str(word) for word in command])


def contents(out: Path) -> dict[str, bytes]:
    """Every file of the dataset by name, what resumes the build included."""
    return {str(p.relative_to(out)): p.read_bytes() for p in sorted(out.rglob("*")) if p.is_file()}


def shard(here: Path, k: int = 2) -> Path:
    return here / "out" / "shards" / f"part-{k:05d}.parquet"


def flip(path: Path, position: int = 1000) -> None:
    data = bytearray(path.read_bytes())
    data[position % len(data)] ^= 4
    path.write_bytes(data)


def is_whole(here: Path) -> bool:
    return check_dataset(Layout(here / "out"), Thoroughness(n_jobs=1)).problems == []


def cut(here: Path) -> None:
    shard(here).write_bytes(shard(here).read_bytes()[:-100])


def swap(here: Path) -> None:
    shard(here, 1).rename(here / "third")
    shard(here, 2).rename(shard(here, 1))
    (here / "third").rename(shard(here, 2))


def wrong_version(here: Path) -> None:
    table = pq.read_table(shard(here))
    metadata = {**table.schema.metadata, b"schema_version": b"7"}
    pq.write_table(table.replace_schema_metadata(metadata), shard(here), write_page_checksum=True)


def lose_everything_but_inputs(here: Path) -> None:
    for path in (here / "out" / "shards").iterdir():
        path.unlink()


def wrong_hash(here: Path) -> None:
    path = here / "out" / "build.json"
    summary = json.loads(path.read_text())
    summary["shards"][1]["sha256"] = "0" * 64
    path.write_text(json.dumps(summary, indent=1) + "\n")


def many(here: Path) -> None:
    flip(shard(here, 0))
    cut(here)
    shard(here, 3).unlink()
    flip(here / "out" / "index.parquet", 200)
    (here / "out" / "drops.parquet").unlink()
    (here / "out" / "build.json").write_text("{")


def behind_another(here: Path) -> None:
    """What is wrong in build.json shows only when inputs.parquet can be read again."""
    path = here / "out" / "build.json"
    summary = json.loads(path.read_text())
    first = next(iter(summary["examples"]["skipped"].values()))
    first["message"] += "!"
    path.write_text(json.dumps(summary, indent=1) + "\n")
    flip(here / "out" / "inputs.parquet", 30)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "flipped bit": lambda here: flip(shard(here)),
    "flipped bit in a footer": lambda here: flip(shard(here), -300),
    "cut": cut,
    "missing": lambda here: shard(here).unlink(),
    "swapped": swap,
    "other schema version": wrong_version,
    "all shards gone": lose_everything_but_inputs,
    "build.json gone": lambda here: (here / "out" / "build.json").unlink(),
    "build.json cut": lambda here: (here / "out" / "build.json").write_text('{"digest": "'),
    "wrong hash in build.json": wrong_hash,
    **{f"{name} gone": lambda here, n=name: (here / "out" / n).unlink() for name in TABLES},
    **{f"{name} flipped": lambda here, n=name: flip(here / "out" / n, 30) for name in TABLES},
    "one behind another": behind_another,
    "many things": many,
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_what_was_damaged_is_had_back_to_the_byte(
    here: Path, damage: Callable, capfd: pytest.CaptureFixture
) -> None:
    out = here / "out"
    before, inputs = contents(out), runs.snapshot(here / "in")
    damage(here)
    assert not is_whole(here)
    assert repair(here) == 0
    assert contents(out) == before
    assert runs.snapshot(here / "in") == inputs
    said = capfd.readouterr().out
    assert "repaired" in said
    assert said.splitlines()[-1] == f"{out} is whole"
    assert is_whole(here)


def test_only_what_is_damaged_is_replaced(here: Path) -> None:
    def times() -> dict[str, int]:
        return {str(p): p.stat().st_ino for p in (here / "out").rglob("*") if p.is_file()}

    before = times()
    flip(shard(here))
    assert repair(here) == 0
    after = times()
    assert {n for n in before if before[n] != after[n]} == {str(shard(here))}
    assert before.keys() == after.keys()


def test_a_repair_of_what_is_whole_changes_nothing(here: Path) -> None:
    before = runs.snapshot(here / "out")
    assert repair(here) == 0
    assert runs.snapshot(here / "out") == before


def test_the_build_resumes_after_a_repair_and_builds_nothing(here: Path) -> None:
    before = contents(here / "out")
    many(here)
    assert repair(here) == 0
    runs.build_here(here / "in", here / "out", min_part=MIN_PART, min_length=10, status=1)
    assert contents(here / "out") == before


# ---- what cannot be repaired --------------------------------------------------------------------


@pytest.mark.parametrize("what", ["folder", "one file"])
def test_with_inputs_out_of_reach_nothing_is_changed(
    here: Path, what: str, capfd: pytest.CaptureFixture
) -> None:
    flip(shard(here))
    shard(here, 1).unlink()
    names = pq.read_table(here / "out" / "inputs.parquet").to_pylist()
    lost = next(r["input"] for r in names if r["part"] == 2)
    if what == "folder":
        (here / "in").rename(here / "elsewhere")
    else:
        (here / "in" / lost).rename(here / "lost.pdb")
    before = runs.snapshot(here / "out")
    assert repair(here) == 1
    assert runs.snapshot(here / "out") == before
    captured = capfd.readouterr()
    assert "nothing was changed" in captured.err
    assert "--pdb-dir" in captured.err
    assert (str(here / "in") if what == "folder" else lost) in captured.err
    assert "part-00002.parquet" in captured.out
    if what == "folder":
        assert repair(here, "--pdb-dir", here / "elsewhere") == 0
    else:
        (here / "lost.pdb").rename(here / "in" / lost)
        assert repair(here) == 0
    assert is_whole(here)


@pytest.mark.parametrize("same_size", [True, False])
def test_inputs_that_changed_meanwhile_are_named_and_the_damaged_shard_stays(
    here: Path, same_size: bool, capfd: pytest.CaptureFixture
) -> None:
    rows = pq.read_table(here / "out" / "inputs.parquet").to_pylist()
    changed = next(r["input"] for r in rows if r["part"] == 2 and r["status"] == "ok")
    path = here / "in" / changed
    text = path.read_text()
    path.write_text(text.replace(" ALA ", " GLY ") if same_size else text + "REMARK\n")
    flip(shard(here))
    shard(here, 1).unlink()
    before = contents(here / "out")
    assert repair(here) == 1
    after = contents(here / "out")
    assert after.pop("shards/part-00001.parquet")  # the one that could be had back
    assert after == before
    captured = capfd.readouterr()
    assert "not repaired" in captured.out
    assert changed in captured.out
    assert "changed since the build" in captured.out


def test_inputs_with_other_times_are_the_same_inputs(here: Path) -> None:
    before = contents(here / "out")
    for path in (here / "in").rglob("*.pdb"):
        os.utime(path, (1, 1))
    flip(shard(here))
    assert repair(here) == 0
    assert contents(here / "out") == before


def test_other_versions_of_software_may_write_the_same_rows_in_other_bytes(
    here: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> None:
    before, digest = contents(here / "out"), runs.build_json(here / "out")["digest"]
    flip(shard(here))
    monkeypatch.setattr(pipeline.shards.writer, "ZSTD_LEVEL", 9)
    assert repair(here) == 0
    summary = runs.build_json(here / "out")
    assert summary["digest"] == digest
    assert summary["shards"][2] != json.loads(before["build.json"])["shards"][2]
    assert "same rows as before" in capfd.readouterr().out
    after = contents(here / "out")
    changed = {name for name in after if after[name] != before[name]}
    assert changed <= {
        *("shards/part-00002.parquet", ".build/part-00002.json"),
        *("build.json", "inputs.parquet"),
    }


def test_rows_that_other_software_builds_otherwise_are_not_taken(
    here: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> None:
    flip(shard(here))
    before = contents(here / "out")
    monkeypatch.setattr(pipeline.shards.writer, "row_digest", lambda _: bytes(32))
    assert repair(here) == 1
    assert contents(here / "out") == before
    assert "other versions of software build other rows" in capfd.readouterr().out


def test_tables_are_written_anew_without_the_inputs(here: Path) -> None:
    """Shards and records know all of it, and `.build` has a copy of the plan."""
    before = contents(here / "out")
    shutil.rmtree(here / "in")
    for name in ("index.parquet", "drops.parquet", "plan.parquet", "build.json"):
        (here / "out" / name).unlink()
    assert repair(here) == 0
    assert contents(here / "out") == before


def test_a_plan_that_is_lost_is_made_again_without_the_obsolete_entries(tmp_path: Path) -> None:
    source = runs.write_peptides(tmp_path / "in", 5)
    (tmp_path / "obsolete").write_text("p001\np004\n")
    runs.build_here(
        source, tmp_path / "out", min_part=MIN_PART, obsolete=tmp_path / "obsolete", status=0
    )
    shutil.rmtree(tmp_path / "out" / ".build")
    before = contents(tmp_path / "out")
    (tmp_path / "out" / "plan.parquet").unlink()
    assert main([str(tmp_path / "out"), "--repair", "--quiet"]) == 0
    assert {n: c for n, c in contents(tmp_path / "out").items() if ".build" not in n} == before


def test_a_dataset_without_records_is_repaired_from_its_tables(here: Path) -> None:
    before = {n: c for n, c in contents(here / "out").items() if not n.startswith(".build")}
    shutil.rmtree(here / "out" / ".build")
    flip(shard(here))
    (here / "out" / "index.parquet").unlink()
    assert repair(here) == 0
    after = {n: c for n, c in contents(here / "out").items() if not n.startswith(".build")}
    assert after == before


def test_without_options_a_repair_says_what_it_needs(
    here: Path, capfd: pytest.CaptureFixture
) -> None:
    flip(shard(here))
    options = here / "out" / "options.yaml"
    text = options.read_text()
    for broken, said in ((None, "missing"), ("pdb_dirr: x", "pdb-dir"), ("- 1", "expected lines")):
        options.unlink(missing_ok=True)
        if broken is not None:
            options.write_text(broken)
        before = runs.snapshot(here / "out")
        assert repair(here) == 1
        captured = capfd.readouterr()
        assert "options.yaml" in captured.err
        assert said in captured.err
        assert runs.snapshot(here / "out") == before
    options.write_text(text.replace("min_length: 10", "min_length: 11"))
    assert repair(here) == 1
    assert "configuration" in capfd.readouterr().err
    options.write_text(text)
    assert repair(here) == 0


def test_strays_are_left_to_their_owner(here: Path) -> None:
    flip(shard(here))
    stray = here / "out" / "shards" / "part-00099.parquet"
    stray.write_bytes(b"mine")
    (here / "out" / "index.parquet").unlink()
    assert repair(here) == 1
    assert stray.read_bytes() == b"mine"
    stray.unlink()
    assert is_whole(here)


def test_relative_inputs_are_found_from_where_the_output_folder_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs.write_peptides(tmp_path / "in", 3)
    monkeypatch.chdir(tmp_path)
    runs.build_here(Path("in"), Path("sets/out"), min_part=MIN_PART)
    monkeypatch.chdir("/")
    flip(tmp_path / "sets" / "out" / "shards" / "part-00000.parquet")
    assert main([str(tmp_path / "sets" / "out"), "--repair", "--quiet"]) == 0


def test_a_dataset_in_the_input_folder_is_repaired(tmp_path: Path) -> None:
    source = runs.write_peptides(tmp_path / "in", 3)
    runs.build_here(source, source / "out", min_part=MIN_PART)
    before = contents(source / "out")
    flip(source / "out" / "shards" / "part-00000.parquet")
    (source / "out" / "plan.parquet").unlink()
    assert main([str(source / "out"), "--repair", "--quiet"]) == 0
    assert contents(source / "out") == before


def test_a_dataset_that_is_being_written_is_neither_verified_nor_repaired(
    here: Path, capfd: pytest.CaptureFixture
) -> None:
    with locked(Layout(here / "out")):
        assert main([str(here / "out")]) == 2
        assert repair(here) == 2
    assert capfd.readouterr().err.count("a build is writing to") == 2
    assert repair(here) == 0


def test_the_report_says_what_was_repaired(here: Path, tmp_path: Path) -> None:
    flip(shard(here))
    report = tmp_path / "report.json"
    assert repair(here, "--json", report) == 0
    content = json.loads(report.read_text())
    assert content["whole"] is True
    assert content["repair"]["replaced"] == ["shards/part-00002.parquet"]
    flip(shard(here))
    shutil.rmtree(here / "in")
    assert repair(here, "--json", report) == 1
    content = json.loads(report.read_text())
    assert content["whole"] is False
    assert content["repair"]["replaced"] == []
    assert "not reachable" in content["repair"]["left"][0]


def test_a_repair_that_was_killed_leaves_nothing_that_hinders(here: Path) -> None:
    left = here / "out" / ".build" / "repair" / "shards"
    left.mkdir(parents=True)
    (left / "part-00002.parquet").write_bytes(b"half")
    (left / "part-00001.parquet").symlink_to(shard(here, 1))
    findings = check_dataset(Layout(here / "out"), Thoroughness(n_jobs=1))
    assert findings.is_whole
    assert [p.file for p in findings.problems] == [".build/repair"]
    before = shard(here, 2).read_bytes()
    flip(shard(here))
    assert repair(here) == 0
    assert shard(here, 2).read_bytes() == before
    assert shard(here, 1).exists()
    assert is_whole(here)


def test_repair_with_worker_processes(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    before = contents(here / "out")
    flip(shard(here, 0))
    flip(shard(here, 1))
    assert main([str(here / "out"), "--repair", "--n-jobs", "2"]) == 0
    assert contents(here / "out") == before


def test_an_index_is_rebuilt_as_it_was_even_if_it_lies_in_several_row_groups(here: Path) -> None:
    path = here / "out" / "index.parquet"
    table: pa.Table = pq.read_table(path)
    pq.write_table(table, path, row_group_size=5, write_page_checksum=True)
    assert is_whole(here)
