"""Faults around a build: full disks, inputs that cannot be read, workers that die or hang."""

from __future__ import annotations

import errno
import json
import os
import resource
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import pipeline.crew.batches
import pipeline.crew.build_part
from pipeline.build.command import main
from pipeline.built.errors import OutputError
from pipeline.built.layout import Layout
from pipeline.built.plan import make_plan
from pipeline.built.reading import Reading
from pipeline.chain import Chain
from pipeline.crew.build_part import build_part
from pipeline.sources import discover, group_entries
from tests.support import build_runs as runs
from tests.support.build_runs import SMALL_PARTS, Result, run
from tests.support.places import EXAMPLES

# --- workers that die or hang -----------------------------------------------------------------

ONCE = (
    "import pathlib\n"
    "def _first_time(name):\n"
    "    marker = pathlib.Path(os.environ['MARKERS']) / name\n"
    "    first = not marker.exists()\n"
    "    marker.touch()\n"
    "    return first\n"
)
DEADLY = {
    "kills": "os.kill(os.getpid(), signal.SIGKILL)",
    "exits": "os._exit(3)",
    "crashes": "ctypes.string_at(0)",
    "sleeps": "time.sleep(600)",
    # In native code, with Python's lock held: no Python code can answer an alarm.
    "stalls": (
        "signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM}); ctypes.PyDLL(None).sleep(600)"
    ),
    "swells": "raise MemoryError",
    "stumbles": "raise RuntimeError('a bug of ours')",
    "kills-once": "_first_time('k') and os.kill(os.getpid(), signal.SIGKILL)",
    "swells-once": "if _first_time('s'): raise MemoryError",
}
REASONS = {
    "kills": "worker-died",
    "exits": "worker-died",
    "crashes": "worker-died",
    "computes": "worker-died",
    "sleeps": "timeout",
    "stalls": "timeout",
    "swells": "out-of-memory",
    "stumbles": "internal-error",
    "bomb": "too-large",
    "gone": "missing",
}
CURED = ("kills-once", "swells-once")
N_GOOD = 12


def faults() -> dict[str, str]:
    conditions = "".join(
        f"    if entry_id == {name!r}:\n        {action}\n" for name, action in DEADLY.items()
    )
    return {
        "pipeline.built.plan": "MIN_PART = 120_000",
        "pipeline.crew.crew": "GRACE_SECONDS = 1.0",
        "pipeline.crew.build_part": (
            "import ctypes, os, signal, time\n" + ONCE + "_read_chains = read_chains\n"
            "def read_chains(data, entry_id, **options):\n"
            + conditions
            + "    return _read_chains(data, entry_id, **options)\n"
        ),
        "pipeline.crew.batches": (
            "import os\n"
            "_compute_features = compute_features\n"
            "def compute_features(chains, **options):\n"
            "    if any(c.entry_id == 'computes' for c in chains):\n"
            "        os._exit(3)\n"
            "    return _compute_features(chains, **options)\n"
        ),
    }


class Faulty:
    """One build over everything that can go wrong in a worker."""

    def __init__(self, folder: Path) -> None:
        self.source, self.out = folder / "in", folder / "out"
        runs.write_peptides(self.source, N_GOOD)
        for k, name in enumerate([*DEADLY, "computes"]):
            (self.source / f"{name}.pdb").write_text(runs.peptide(30, seed=1000 + k))
        text = runs.peptide(20, seed=1) + " " * (2 << 20)
        (self.source / "bomb.pdb").write_text(text)
        (self.source / "gone.pdb").symlink_to("nowhere")
        (self.source / "again.pdb").symlink_to("p001.pdb")
        (self.source / "deep" / "p001.pdb").symlink_to("../p001.pdb")
        (folder / "markers").mkdir()
        before = runs.snapshot(self.source)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("MARKERS", str(folder / "markers"))
            options = ["--n-jobs", 2, "--timeout", 1, "--max-file-size", 1]
            options += ["--log-file", folder / "log.jsonl"]
            arguments = ["--pdb-dir", self.source, "--out-dir", self.out, *options]
            self.result = run(*arguments, append=faults(), folder=folder)
        self.log = [json.loads(line) for line in (folder / "log.jsonl").open()]
        self.source_is_untouched = runs.snapshot(self.source) == before


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Faulty:
    return Faulty(tmp_path_factory.mktemp("faulty"))


@pytest.mark.parametrize("name", REASONS)
def test_a_bad_file_costs_itself_and_is_recorded_by_name_and_reason(
    faulty: Faulty, name: str
) -> None:
    row = runs.inputs(faulty.out)[f"{name}.pdb"]
    assert (row["status"], row["reason"]) == ("failed", REASONS[name])
    assert row["message"]
    assert row["n_chains"] == 0
    assert name not in runs.entry_ids(faulty.out)


def test_the_log_says_how_a_worker_ended(faulty: Faulty) -> None:
    how = {event["input"]: event["how"] for event in faulty.log if event["event"] == "worker-died"}
    assert how["exits.pdb"] == "the worker ended with status 3"
    assert how["kills.pdb"] == "the worker was ended by signal 9, Killed"
    assert "signal 11" in how["crashes.pdb"]


def test_what_hangs_in_native_code_is_killed(faulty: Faulty) -> None:
    assert "had to be killed" in runs.inputs(faulty.out)["stalls.pdb"]["message"]
    assert "had to be killed" not in runs.inputs(faulty.out)["sleeps.pdb"]["message"]


def test_all_other_files_are_built(faulty: Faulty) -> None:
    good = {f"p{k:03d}" for k in range(N_GOOD)}
    assert runs.entry_ids(faulty.out) == good | {*CURED, "again"}


@pytest.mark.parametrize("name", CURED)
def test_a_failure_of_time_or_memory_that_does_not_come_back_is_none(
    faulty: Faulty, name: str
) -> None:
    assert runs.inputs(faulty.out)[f"{name}.pdb"]["status"] == "ok"


def test_every_file_is_counted_links_included(faulty: Faulty) -> None:
    assert runs.accounts_for_all(faulty.out)
    names = {str(p.relative_to(faulty.source)) for p in faulty.source.rglob("*.pdb")}
    assert set(runs.inputs(faulty.out)) == names
    alias = runs.inputs(faulty.out)["deep/p001.pdb"]
    assert (alias["status"], alias["reason"]) == ("skipped", "alias")


def test_the_last_line_says_how_many_failed_and_the_status_is_1(faulty: Faulty) -> None:
    n_found = N_GOOD + len(DEADLY) + 5
    assert faulty.result.status == 1
    last = faulty.result.out.strip().splitlines()[-1]
    assert last.startswith(f"{len(REASONS)} of {n_found} files failed")
    assert "4 worker-died" in faulty.result.out
    assert "Traceback" not in faulty.result.out


def test_a_build_with_faults_sweeps_up_and_leaves_its_input_alone(faulty: Faulty) -> None:
    assert runs.leftovers(faulty.out) == []
    assert faulty.source_is_untouched


def test_shards_around_bad_files_are_those_of_a_build_without_them(
    faulty: Faulty, tmp_path: Path
) -> None:
    source = tmp_path / "in"
    shutil.copytree(faulty.source, source, symlinks=True)
    for name in REASONS:
        (source / f"{name}.pdb").unlink()
    clean = runs.build_here(source, tmp_path / "out", max_file_size=1)
    assert clean["digest"] == runs.build_json(faulty.out)["digest"]


def test_allow_failures_makes_the_status_0(tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    source, out = runs.write_peptides(tmp_path / "in", 3), tmp_path / "out"
    (source / "gone.pdb").symlink_to("nowhere")
    runs.build_here(source, out, allow_failures=1)
    assert capfd.readouterr().out.strip().splitlines()[-1] == "1 of 4 files failed"
    runs.build_here(source, out, allow_failures=0, status=1)


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        ("def ShardWriter(*_): os._exit(3)", "while it wrote its shard"),
        (
            "if 'pipeline.crew.worker' in open('/proc/self/cmdline').read(): os._exit(3)",
            "before it read a file",
        ),
        ("def build_assigned(*_): raise KeyError('mind')", "please report it (KeyError: 'mind')"),
    ],
)
def test_workers_that_fail_without_a_file_to_blame_end_the_build(
    tmp_path: Path, fault: str, sentence: str
) -> None:
    source = runs.write_peptides(tmp_path / "in", 2)
    append = {"pipeline.crew.build_part": f"import os\n{fault}\n"}
    arguments = ["--pdb-dir", source, "--out-dir", tmp_path / "out", "--n-jobs", 1]
    result = run(*arguments, append=append, folder=tmp_path)
    assert result.status == 1
    assert sentence in result.err
    assert "the same command goes on" in result.err
    assert not (tmp_path / "out" / "build.json").exists()
    assert runs.leftovers(tmp_path / "out") == []


# --- faults inside a worker --------------------------------------------------------------------


@pytest.fixture
def peptides(tmp_path: Path) -> Path:
    return runs.write_peptides(tmp_path / "in", 8)


@pytest.mark.parametrize("error", [RuntimeError("no"), MemoryError(), "slow"], ids=str)
def test_what_fails_when_geometry_is_computed_together_costs_one_file(
    peptides: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception | str
) -> None:
    compute = pipeline.crew.batches.compute_features

    def fail(chains: Sequence[Chain], **options: Any) -> list:
        if any(c.entry_id == "p004" for c in chains):
            if isinstance(error, Exception):
                raise error
            while True:
                pass
        return compute(chains, **options)

    monkeypatch.setattr(pipeline.crew.batches, "compute_features", fail)
    runs.build_here(peptides, tmp_path / "out", timeout=0.5, status=1)
    rows = runs.inputs(tmp_path / "out")
    assert {n for n, r in rows.items() if r["status"] == "failed"} == {"p004.pdb"}
    reasons = {"slow": "timeout", "no": "internal-error", "": "out-of-memory"}
    assert rows["p004.pdb"]["reason"] == reasons[str(error)]
    assert runs.entry_ids(tmp_path / "out") == {f"p{k:03d}" for k in range(8) if k != 4}
    assert runs.accounts_for_all(tmp_path / "out")


def test_a_row_that_cannot_be_written_costs_its_file_and_no_row_is_written_twice(
    peptides: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = pipeline.crew.build_part.read_chains

    def read_nonsense(data: bytes, entry_id: str, **options: Any) -> Any:
        parsed = read(data, entry_id, **options)
        if entry_id == "p004":
            for chain in parsed.chains:
                object.__setattr__(chain, "label_asym_id", "\ud800")
        return parsed

    monkeypatch.setattr(pipeline.crew.build_part, "read_chains", read_nonsense)
    runs.build_here(peptides, tmp_path / "out", status=1)
    rows = runs.inputs(tmp_path / "out")
    assert rows["p004.pdb"]["reason"] == "internal-error"
    index = pq.read_table(tmp_path / "out" / "index.parquet")
    assert sorted(index["entry_id"].to_pylist()) == [f"p{k:03d}" for k in range(8) if k != 4]


def test_a_careful_build_of_a_part_has_the_same_bytes(tmp_path: Path) -> None:
    found = discover(EXAMPLES)
    (part,) = make_plan(group_entries(found.files))
    written = []
    for careful in (False, True):
        layout = Layout(tmp_path / str(careful))
        layout.make_folders()
        build_part(part, found.root, Reading(), layout.root, careful=careful)
        written.append((layout.root / layout.shard(0)).read_bytes())
    assert written[0] == written[1]


def test_the_next_format_is_read_where_the_geometry_of_the_first_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "in"
    source.mkdir()
    for name in ("1gbt.bcif.gz", "1gbt.cif.gz", "1a8o.cif.gz"):
        shutil.copy(EXAMPLES / name, source)
    compute, calls = pipeline.crew.batches.compute_features, []

    def fail_twice(chains: Sequence[Chain], **options: Any) -> list:
        if any(c.entry_id == "1gbt" for c in chains) and len(calls) < 2:
            calls.append(1)
            raise RuntimeError
        return compute(chains, **options)

    monkeypatch.setattr(pipeline.crew.batches, "compute_features", fail_twice)
    runs.build_here(source, tmp_path / "out", status=1)
    rows = runs.inputs(tmp_path / "out")
    assert rows["1gbt.bcif.gz"]["status"] == "failed"
    assert rows["1gbt.cif.gz"]["status"] == "ok"


# --- inputs that cannot be read ----------------------------------------------------------------


def test_inputs_of_the_wrong_kind_fail_by_name(peptides: Path, tmp_path: Path) -> None:
    (peptides / "folder.pdb").mkdir()
    os.mkfifo(peptides / "pipe.pdb")
    (peptides / "dangling.pdb").symlink_to("nowhere")
    names = ["p001.pdb", "folder.pdb", "pipe.pdb", "dangling.pdb", "never.pdb"]
    (peptides / "list.txt").write_text("\n".join(names))
    out = tmp_path / "out"
    runs.build_here(None, out, pdb_list=peptides / "list.txt", status=1)
    rows = runs.inputs(out)
    assert {n: rows[n]["reason"] for n in names[1:]} == {
        "folder.pdb": "unreadable",
        "pipe.pdb": "unreadable",
        "dangling.pdb": "missing",
        "never.pdb": "missing",
    }
    assert rows["p001.pdb"]["status"] == "ok"
    assert runs.accounts_for_all(out)


@pytest.mark.parametrize("packing", ["plain", "tar", "tar.gz"])
def test_a_disk_that_fails_under_an_input_is_not_taken_for_a_full_one(
    peptides: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, packing: str
) -> None:
    source = peptides
    if packing != "plain":
        source = tmp_path / f"all.{packing}"
        with tarfile.open(source, "w:gz" if packing == "tar.gz" else "w") as archive:
            archive.add(peptides, "")
    found = discover(source)
    parts = make_plan(group_entries(found.files))
    layout = Layout(tmp_path / "out")
    layout.make_folders()

    def fail(*_: object) -> bytes:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        for name in ("read", "pread"):
            patch.setattr(os, name, fail)
        record = build_part(parts[0], found.root, Reading(), layout.root)
    assert {r.reason for r in record.inputs} == {"unreadable"}
    assert {r.status for r in record.inputs} == {"failed"}
    assert "Input/output error" in (record.inputs[0].message or "")
    assert record.has_transient_failures  # so that a later run tries again


def test_a_rerun_reads_what_could_not_be_read_before(
    peptides: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = os.read, os.pread

    def fail(*_: object) -> bytes:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        for name in ("read", "pread"):
            patch.setattr(os, name, fail)
        first = runs.build_here(peptides, tmp_path / "out", status=1)
    assert (os.read, os.pread) == here
    assert first["counts"]["failed"] == 8
    assert runs.build_here(peptides, tmp_path / "out")["counts"]["ok"] == 8


# --- output that cannot be written -------------------------------------------------------------


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Mounts a small file system, or changes its options."""
    place = tmp_path / "disk"

    def mount(options: str) -> Path:
        remount = place.is_mount()
        place.mkdir(exist_ok=True)
        command = ["mount", "-t", "tmpfs", "-o", f"remount,{options}" if remount else options]
        done = subprocess.run([*command, "none", str(place)], capture_output=True, check=False)
        if done.returncode and not remount:
            pytest.skip("mounting is not permitted here")
        assert done.returncode == 0
        return place

    if shutil.which("mount") is None:
        pytest.skip("there is no mount")
    yield mount
    if place.is_mount():
        # Lazily: a process that was just killed may hold a file for another moment.
        subprocess.run(["umount", "-l", str(place)], check=False)


@pytest.fixture(scope="module")
def larger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return runs.write_peptides(tmp_path_factory.mktemp("larger") / "in", 40, n_residues=60)


def check_whole_shards(out: Path) -> None:
    for shard in (out / "shards").iterdir():
        pq.read_table(shard, page_checksum_verification=True)
    assert not (out / "build.json").exists()
    assert runs.leftovers(out) == []


@pytest.mark.parametrize("kilobytes", [20, 60, 120, 200, 300, 350])
def test_a_full_disk_leaves_nothing_half_written_and_room_lets_the_build_go_on(
    larger: Path, mount: Callable[[str], Path], tmp_path: Path, kilobytes: int
) -> None:
    out = mount(f"size={kilobytes}k") / "out"
    with pytest.raises(OutputError, match="No space left on device"):
        runs.build_here(larger, out)
    check_whole_shards(out)
    mount("size=50m")
    runs.build_here(larger, out)
    runs.build_here(larger, tmp_path / "undisturbed")
    assert runs.shards(out) == runs.shards(tmp_path / "undisturbed")
    assert runs.leftovers(out) == []


def test_a_full_disk_ends_the_command_with_a_clear_error(
    larger: Path, mount: Callable[[str], Path], tmp_path: Path
) -> None:
    out = mount("size=150k") / "out"
    arguments = ["--pdb-dir", larger, "--out-dir", out, "--n-jobs", 2]
    result = run(*arguments, append=SMALL_PARTS, folder=tmp_path)
    check_clear_error(result, "No space left on device")
    check_whole_shards(out)


def check_clear_error(result: Result, cause: str) -> None:
    assert result.status == 1
    assert result.err.startswith("error: cannot ")
    assert cause in result.err
    assert "run the same command again" in " ".join(result.err.split())
    assert "Traceback" not in result.err + result.out


def test_a_limit_on_file_sizes_is_an_error_like_a_full_disk(larger: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    limit = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, {2**30}))"
    arguments = ["--pdb-dir", larger, "--out-dir", out, "--n-jobs", 1]
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[1] in (-1, resource.RLIM_INFINITY)
    append = {"pipeline.crew.build_part": limit}
    check_clear_error(run(*arguments, append=append, folder=tmp_path), "File too large")
    assert list((out / "shards").iterdir()) == []
    check_whole_shards(out)
    assert runs.build_here(larger, out)["counts"]["ok"] == 40


def test_a_log_that_cannot_be_written_is_said(
    larger: Path, tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    arguments = ["--pdb-dir", larger, "--out-dir", tmp_path / "out", "--log-file", "/dev/full"]
    assert main([str(a) for a in arguments]) == 1
    assert "cannot write to --log-file /dev/full" in capfd.readouterr().err


def test_a_read_only_output_folder_is_said(
    larger: Path, mount: Callable[[str], Path], capfd: pytest.CaptureFixture
) -> None:
    disk = mount("size=1m")
    mount("ro")
    assert main(["--pdb-dir", str(larger), "--out-dir", str(disk / "out")]) == 1
    said = capfd.readouterr().err
    assert f"cannot write to {disk / 'out'}" in said
    assert "Read-only file system" in said
    mount("rw")


def test_an_output_folder_that_cannot_be_made_is_said(
    larger: Path, tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    out = tmp_path / "file" / "out"
    assert main(["--pdb-dir", str(larger), "--out-dir", str(out)]) == 1
    assert f"cannot write to {out}: " in capfd.readouterr().err
