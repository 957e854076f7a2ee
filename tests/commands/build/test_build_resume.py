"""Killing, interrupting and repeating a build: nothing half-written, and the same result."""

from __future__ import annotations

import os
import random
import shutil
import signal
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pytest

from pipeline.build.command import main
from pipeline.built.errors import UnfinishedBuild
from pipeline.crew import worker
from pipeline.crew.seat import Seat, WorkerDied
from tests.support import build_runs as runs
from tests.support.build_runs import SMALL_PARTS, Command, on_reading, run, wait_until

SLOWLY = {**SMALL_PARTS, **on_reading("*", "time.sleep(0.02)")}
N_FILES = 36


@dataclass(frozen=True)
class Undisturbed:
    source: Path
    out: Path
    seconds: float

    @property
    def digest(self) -> str:
        return runs.build_json(self.out)["digest"]

    @property
    def digests(self) -> tuple[str, str]:
        return digests(self.out)


def digests(out: Path) -> tuple[str, str]:
    """Of the dataset and of its interfaces."""
    found = runs.build_json(out)
    return found["digest"], found["interfaces_digest"]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    folder = tmp_path_factory.mktemp("undisturbed")
    source = runs.write_peptides(folder / "in", N_FILES)
    for k in range(0, N_FILES, 9):
        (source / f"p{k + 1:03d}.pdb").write_text(runs.dimer(20, seed=k))
    started = time.monotonic()
    result = run("--pdb-dir", source, "--out-dir", folder / "out", append=SLOWLY, folder=folder)
    assert result.status == 0, result.err
    assert len(runs.shards(folder / "out")) > 5
    return Undisturbed(source, folder / "out", time.monotonic() - started)


def arguments(undisturbed: Undisturbed, out: Path) -> list[object]:
    return ["--pdb-dir", undisturbed.source, "--out-dir", out, "--n-jobs", 2]


def check_same(undisturbed: Undisturbed, out: Path) -> None:
    assert digests(out) == undisturbed.digests
    assert runs.shards(out) == runs.shards(undisturbed.out)
    assert runs.accounts_for_all(out)
    assert runs.leftovers(out) == []


def check_nothing_half_written(undisturbed: Undisturbed, out: Path) -> None:
    """What has a final name is whole: readable with its checksums, and what it has to be."""
    whole = runs.shards(undisturbed.out)
    for shard in (out / "shards").glob("*"):
        pq.read_table(shard, page_checksum_verification=True)
        assert shard.read_bytes() == whole[shard.name]
    for table in out.glob("*.parquet"):
        pq.read_table(table, page_checksum_verification=True)
    if (out / "build.json").exists():
        assert digests(out) == undisturbed.digests
        assert set(runs.shards(out)) == set(whole)
        assert {p.name for p in out.glob("*.parquet")} == {
            p.name for p in undisturbed.out.glob("*.parquet")
        }


def are_gone(processes: list[psutil.Process], seconds: float = 5) -> bool:
    _, alive = psutil.wait_procs(processes, timeout=seconds)
    return not [p for p in alive if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


def kill_and_resume(undisturbed: Undisturbed, tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    out = tmp_path / "out"
    only_parent = seed % 2 == 1
    for _ in range(1 + seed // 3 % 2):
        command = Command(*arguments(undisturbed, out), append=SLOWLY, folder=tmp_path)
        # From before its first file until about its end.
        time.sleep(rng.uniform(0.3, 1.0) * undisturbed.seconds)
        family = command.family()
        if only_parent:
            command.process.kill()
        else:
            os.killpg(command.process.pid, signal.SIGKILL)
        command.wait()
        assert are_gone(family), "workers go on without their parent"
        if out.exists():
            check_nothing_half_written(undisturbed, out)
    runs.build_here(undisturbed.source, out)
    check_same(undisturbed, out)


@pytest.mark.parametrize("seed", [0, *(pytest.param(k, marks=pytest.mark.slow) for k in (1, 2))])
def test_a_build_killed_at_a_random_moment_resumes_to_the_same_bytes(
    undisturbed: Undisturbed, tmp_path: Path, seed: int
) -> None:
    kill_and_resume(undisturbed, tmp_path, seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3, 23))
def test_a_build_killed_at_many_random_moments_resumes_to_the_same_bytes(
    undisturbed: Undisturbed, tmp_path: Path, seed: int
) -> None:
    kill_and_resume(undisturbed, tmp_path, seed)


def killing_at(count: int, moment: str) -> dict[str, str]:
    """A fault: all processes die just before or after the parent gives a file its final name."""
    return {
        **SMALL_PARTS,
        "pipeline.files.atomic": (
            "_replace, _count = os.replace, 0\n"
            "class _Os:\n"
            "    def __getattr__(self, name):\n"
            "        import os\n"
            "        return getattr(os, name)\n"
            "    def replace(self, source, target):\n"
            "        global _count\n"
            "        _count += 1\n"
            f"        if _count == {count} and {moment!r} == 'before': _replace_dies()\n"
            "        _replace(source, target)\n"
            f"        if _count == {count} and {moment!r} == 'after': _replace_dies()\n"
            "def _replace_dies():\n"
            "    import os, signal, sys\n"
            "    if 'pipeline.crew.worker' in open('/proc/self/cmdline').read():\n"
            "        return\n"
            "    os.killpg(os.getpid(), signal.SIGKILL)\n"
            "os = _Os()\n"
        ),
    }


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("count", range(1, 8))
def test_a_build_killed_around_any_of_its_renames_resumes_to_the_same_bytes(
    undisturbed: Undisturbed, tmp_path: Path, count: int, moment: str
) -> None:
    out = tmp_path / "out"
    fault = killing_at(count, moment)
    killed = run(*arguments(undisturbed, out), append=fault, folder=tmp_path)
    assert killed.status == -signal.SIGKILL
    check_nothing_half_written(undisturbed, out)
    runs.build_here(undisturbed.source, out)
    check_same(undisturbed, out)


def has_shards(out: Path) -> bool:
    """A part is finished: its shard is there, and the record that comes right after it."""
    return any((out / ".build").glob("part-*.json"))


@pytest.mark.parametrize(
    ("kind", "when"),
    [
        ("SIGTERM", "shards"),
        ("SIGINT", "workers"),
        pytest.param("SIGINT", "shards", marks=pytest.mark.slow),
        pytest.param("SIGTERM", "workers", marks=pytest.mark.slow),
    ],
)
def test_an_interrupted_build_says_how_to_go_on_and_leaves_no_process(
    undisturbed: Undisturbed, tmp_path: Path, kind: str, when: str
) -> None:
    out = tmp_path / "out"
    command = Command(*arguments(undisturbed, out), append=SLOWLY, folder=tmp_path)
    wait_until(lambda: has_shards(out) if when == "shards" else command.workers())
    family = command.family()
    if kind == "SIGINT":  # Ctrl-C reaches everybody on the terminal
        os.killpg(command.process.pid, signal.SIGINT)
    else:
        command.process.terminate()
    result = command.wait(timeout=15)
    assert result.status == 130
    assert "interrupted" in result.err
    assert "same command again" in result.err
    assert "Traceback" not in result.err + result.out
    assert are_gone(family)
    assert runs.leftovers(out) == []
    assert not (out / "build.json").exists()
    check_nothing_half_written(undisturbed, out)
    n_finished = len(list((out / ".build").glob("part-*.json")))
    assert n_finished or when == "workers"
    before = times(out)
    runs.build_here(undisturbed.source, out)
    check_same(undisturbed, out)
    after = times(out)
    # A shard counts from the moment on that its record is there.
    assert sum(after[name] == time for name, time in before.items()) >= n_finished


@pytest.mark.slow
def test_a_second_ctrl_c_is_no_worse_than_the_first(
    undisturbed: Undisturbed, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    command = Command(*arguments(undisturbed, out), append=SLOWLY, folder=tmp_path)
    wait_until(lambda: has_shards(out))
    family = command.family()
    for _ in range(3):
        os.killpg(command.process.pid, signal.SIGINT)
        time.sleep(0.03)
    result = command.wait(timeout=15)
    assert result.status in (130, -signal.SIGINT)
    assert "Traceback" not in result.err + result.out
    assert are_gone(family)


def test_ctrl_c_while_the_process_ends_shows_no_traceback(
    undisturbed: Undisturbed, tmp_path: Path
) -> None:
    late = "import atexit, os, signal; atexit.register(os.kill, os.getpid(), signal.SIGINT)"
    more = ["--dry-run"]
    fault = {"pipeline.build.options": late}
    result = run(*arguments(undisturbed, tmp_path / "out"), *more, append=fault, folder=tmp_path)
    assert (result.status, result.err) == (-signal.SIGINT, "")
    assert "parts" in result.out


@pytest.mark.parametrize("is_new", [True, False])
def test_a_worker_may_be_stopped_before_it_has_taken_up_its_part(
    is_new: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[threading.ExceptHookArgs] = []
    before = set(threading.enumerate())
    monkeypatch.setattr(threading, "excepthook", said.append)
    seat = Seat()
    if not is_new:
        seat.submit(time.sleep, 0).result()
    future = seat.submit(time.sleep, 60)
    seat.stop()
    assert said == []
    assert isinstance(future.exception(), WorkerDied)
    assert set(threading.enumerate()) == before


def test_a_worker_that_holds_much_more_than_at_first_is_replaced() -> None:
    seat, numbers = Seat(), []
    try:
        for size in (1, worker.MAX_GROWTH):  # as some large file leaves it behind
            seat.submit(exec, f"import os; os.held = bytes([1]) * {size}").result()
            numbers += [seat.submit(os.getpid).result() for _ in range(2)]
    finally:
        seat.stop()
    first, again, second, last = numbers
    assert first == again != second == last


def test_ctrl_c_while_modules_are_loaded_shows_no_traceback(
    undisturbed: Undisturbed, tmp_path: Path
) -> None:
    fault = {"pipeline.build.options": "import os, signal; os.kill(os.getpid(), signal.SIGINT)"}
    result = run(*arguments(undisturbed, tmp_path / "out"), append=fault, folder=tmp_path)
    assert result.status == 130
    assert "interrupted" in result.err
    assert "Traceback" not in result.err


@pytest.fixture
def finished(undisturbed: Undisturbed, tmp_path: Path) -> Undisturbed:
    """A finished build of one's own, input and output, to change."""
    source, out = tmp_path / "in", tmp_path / "out"
    shutil.copytree(undisturbed.source, source)
    shutil.copytree(undisturbed.out, out)
    return Undisturbed(source, out, 0)


def times(out: Path) -> dict[str, int]:
    paths = [*(out / "shards").iterdir(), *out.glob("*.parquet"), *out.glob("build.json")]
    return {p.name: p.stat().st_mtime_ns for p in paths}


def test_a_finished_build_rebuilds_nothing_and_touches_nothing(
    finished: Undisturbed, capfd: pytest.CaptureFixture
) -> None:
    before = times(finished.out)
    runs.build_here(finished.source, finished.out)
    assert times(finished.out) == before
    assert finished.digest in capfd.readouterr().out


@pytest.mark.parametrize("damage", ["deleted", "truncated", "record deleted", "record cut"])
def test_a_shard_that_somebody_damaged_is_built_again(
    undisturbed: Undisturbed, finished: Undisturbed, damage: str
) -> None:
    before = times(finished.out)
    victim = sorted((finished.out / "shards").iterdir())[2]
    record = finished.out / ".build" / f"{victim.stem}.json"
    if damage == "deleted":
        victim.unlink()
    elif damage == "truncated":
        victim.write_bytes(victim.read_bytes()[:-100])
    elif damage == "record deleted":
        record.unlink()
    else:
        record.write_bytes(record.read_bytes()[:-100])
    runs.build_here(finished.source, finished.out)
    check_same(undisturbed, finished.out)
    after = times(finished.out)
    assert {n for n in after if n.startswith("part") and after[n] != before[n]} == {victim.name}


def test_a_shard_with_a_flipped_bit_is_reported_and_then_built_again(
    undisturbed: Undisturbed, finished: Undisturbed
) -> None:
    victim = sorted((finished.out / "shards").iterdir())[1]
    column = pq.ParquetFile(victim).metadata.row_group(0)
    chunk = next(
        column.column(k)
        for k in range(column.num_columns)
        if column.column(k).path_in_schema == "row_sha256"
    )
    data = bytearray(victim.read_bytes())
    data[chunk.data_page_offset + chunk.total_compressed_size - 5] ^= 1
    victim.write_bytes(data)
    with pytest.raises(UnfinishedBuild, match=f"{victim.name} is damaged"):
        runs.build_here(finished.source, finished.out)
    runs.build_here(finished.source, finished.out)
    check_same(undisturbed, finished.out)


def test_a_changed_input_rebuilds_its_part_only(finished: Undisturbed) -> None:
    before, digest = runs.shards(finished.out), finished.digest
    stamps = times(finished.out)
    path = finished.source / "p022.pdb"
    path.write_text(path.read_text().replace(" ALA ", " GLY ", 5))
    runs.build_here(finished.source, finished.out)
    after = runs.shards(finished.out)
    changed = {n for n in after if after[n] != before[n]}
    assert len(changed) == 1
    assert {n for n, t in times(finished.out).items() if n in after and t != stamps[n]} == changed
    assert finished.digest != digest


def test_adding_and_removing_a_file_ends_where_a_fresh_build_does(
    finished: Undisturbed, tmp_path: Path
) -> None:
    (finished.source / "p001.pdb").unlink()
    (finished.source / "q.pdb").write_text(runs.peptide(50, seed=99))
    resumed = runs.build_here(finished.source, finished.out)
    fresh = runs.build_here(finished.source, tmp_path / "fresh")
    assert resumed["digest"] == fresh["digest"]
    assert runs.shards(finished.out) == runs.shards(tmp_path / "fresh")
    assert runs.entry_ids(finished.out) == runs.entry_ids(tmp_path / "fresh")


def test_parts_that_are_no_longer_needed_go(finished: Undisturbed, tmp_path: Path) -> None:
    n_before = len(runs.shards(finished.out))
    for path in sorted(finished.source.glob("p*.pdb"))[-20:]:
        path.unlink()
    summary = runs.build_here(finished.source, finished.out)
    assert len(runs.shards(finished.out)) == len(summary["shards"]) < n_before
    assert len(list((finished.out / ".build").glob("part-*.json"))) == len(summary["shards"])


def test_another_configuration_is_refused_by_the_option_s_name_and_overwrite_starts_anew(
    finished: Undisturbed, capfd: pytest.CaptureFixture
) -> None:
    before = times(finished.out)
    command = ["--pdb-dir", str(finished.source), "--out-dir", str(finished.out)]
    assert main([*command, "--max-length", "10", "--base-thickness", "1"]) == 2
    said = capfd.readouterr().err
    assert "--max-length: none then, 10 now" in said
    assert "--base-thickness: 0.5 then, 1.0 now" in said
    assert "--overwrite" in said
    assert times(finished.out) == before
    mine = finished.out / "shards" / "notes.txt"
    mine.write_text("not made by a build")
    summary = runs.build_here(
        finished.source, finished.out, max_length=10, overwrite=True, allow_empty=True
    )
    assert summary["counts"]["ok"] == 0
    assert mine.exists()


def test_a_second_build_into_the_same_folder_is_refused_naming_the_first(
    undisturbed: Undisturbed, tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    out, go = tmp_path / "out", tmp_path / "go"
    wait = on_reading("p035", f"while not os.path.exists({str(go)!r}): time.sleep(0.02)")
    command = arguments(undisturbed, out)
    first = Command(*command, append={**SMALL_PARTS, **wait}, folder=tmp_path)
    wait_until(lambda: has_shards(out))
    assert main([str(a) for a in command]) == 2
    assert f"process {first.process.pid} " in capfd.readouterr().err
    go.touch()
    assert first.wait().status == 0
    check_same(undisturbed, out)


def test_the_lock_of_a_crashed_build_does_not_matter(finished: Undisturbed) -> None:
    (finished.out / ".build" / "lock").write_text("process 1 on elsewhere\n")
    (finished.out / ".build" / "scratch" / "part-00000.parquet.1.tmp").write_text("half")
    assert runs.build_here(finished.source, finished.out)["digest"] == finished.digest
    assert runs.leftovers(finished.out) == []
