"""Every call to the file system fails in turn, and clocks jump: a build ends well or says why."""

from __future__ import annotations

import errno
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from pipeline.built.errors import OutputError, UnfinishedBuild
from pipeline.built.layout import Layout
from tests.support import build_runs as runs
from tests.support.build_runs import SMALL_PARTS, on_reading, run

ERRORS = (errno.EIO, errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EDQUOT)
EVENTS = ("open", "os.rename", "os.remove", "os.mkdir", "os.scandir", "os.listdir")


class Disk:
    """Counts calls that concern one folder, and lets one of them fail."""

    def __init__(self) -> None:
        self.folder, self.fails_at, self.code, self.n_calls = "", 0, errno.EIO, 0
        self.failed: str | None = None

    def call(self, what: str) -> None:
        self.n_calls += 1
        if self.n_calls == self.fails_at:
            self.failed = what
            raise OSError(self.code, os.strerror(self.code))

    def hear(self, event: str, arguments: tuple) -> None:
        if not self.folder or event not in EVENTS:
            return
        path = arguments[0]
        if isinstance(path, str | os.PathLike) and os.fspath(path).startswith(self.folder):
            self.call(f"{event} {path}")


DISK = Disk()
sys.addaudithook(DISK.hear)  # for good, as hooks are; it hears nothing unless a folder is set


@contextmanager
def failing(folder: Path, call: int, code: int) -> Iterator[None]:
    """The block, in which one call fails."""
    fsync, pwrite = os.fsync, os.pwrite

    def failing_fsync(descriptor: int) -> None:
        DISK.call("fsync")
        fsync(descriptor)

    def failing_pwrite(*arguments: Any) -> int:
        DISK.call("pwrite")
        return pwrite(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", failing_fsync)
        patch.setattr(os, "pwrite", failing_pwrite)
        DISK.fails_at, DISK.code, DISK.n_calls, DISK.failed = call, code, 0, None
        DISK.folder = str(folder)
        try:
            yield
        finally:
            DISK.folder = ""


def build_with(source: Path, out: Path, call: int, code: int) -> None:
    said = None
    try:
        with failing(out, call, code):
            runs.build_here(source, out, min_part=30_000, report=False)
    except (OutputError, UnfinishedBuild) as error:
        said = str(error)
    assert DISK.failed is not None
    assert said is None or str(out) in said, DISK.failed
    for shard in (out / "shards").glob("*"):
        pq.read_table(shard, page_checksum_verification=True)
    for table in out.glob("*.parquet"):
        pq.read_table(table, page_checksum_verification=True)


def every_call_fails_once(folder: Path, step: int, code_of: Any) -> int:
    source = runs.write_peptides(folder / "in", 4, n_residues=20)
    digest = runs.build_here(source, folder / "right", min_part=30_000, report=False)["digest"]
    with failing(folder / "counted", 0, errno.EIO):
        runs.build_here(source, folder / "counted", min_part=30_000, report=False)
    n_calls = DISK.n_calls - 1  # the last one is `build_here`'s, which reads build.json
    for call in range(1, n_calls + 1, step):
        for code in code_of(call):
            out = folder / f"out-{call}-{code}"
            build_with(source, out, call, code)
            if (out / "build.json").exists():
                assert runs.build_json(out)["digest"] == digest, DISK.failed
                assert all(path.exists() for path in Layout(out).results), DISK.failed
            again = runs.build_here(source, out, min_part=30_000, report=False)
            assert again["digest"] == digest, DISK.failed
            assert runs.leftovers(out) == [], DISK.failed
    return n_calls


def test_whichever_call_fails_nothing_is_half_written_and_the_same_command_ends_it(
    tmp_path: Path,
) -> None:
    n_calls = every_call_fails_once(tmp_path, 3, lambda call: [ERRORS[call % len(ERRORS)]])
    assert n_calls > 40


@pytest.mark.slow
def test_whichever_call_fails_with_whichever_error_nothing_is_half_written(tmp_path: Path) -> None:
    every_call_fails_once(tmp_path, 1, lambda call: ERRORS)


@pytest.fixture
def open_to_all() -> Iterator[Path]:
    """A folder that other users may look into, unlike pytest's."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


def test_without_permission_the_build_says_where_and_leaves_nothing(open_to_all: Path) -> None:
    source, out = runs.write_peptides(open_to_all / "in", 2), open_to_all / "out"
    out.mkdir(mode=0o555)
    child = os.fork()
    if child == 0:
        status = 9
        try:
            if os.getuid() == 0:  # who is refused nothing
                os.setgid(65534)
                os.setuid(65534)
            try:
                runs.build_here(source, out)
            except OutputError as error:
                told = str(error)
                status = 0 if "Permission denied" in told and str(out) in told else 3
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert list(out.iterdir()) == []


JUMPS = (
    "import itertools as _itertools, time as _time\n"
    "_now, _days = _time.time, _itertools.cycle((86400, -86400, 0, 3e7))\n"
    "_time.time = lambda: _now() + next(_days)\n"
)


def test_a_clock_that_jumps_by_days_and_back_changes_nothing(tmp_path: Path) -> None:
    source = runs.write_peptides(tmp_path / "in", 8)
    digest = runs.build_here(source, tmp_path / "right")["digest"]
    fault = on_reading("*", "time.sleep(0.01)")
    append = {**SMALL_PARTS, **fault, "pipeline.build.options": JUMPS}
    out = tmp_path / "out"
    arguments = ["--pdb-dir", source, "--out-dir", out, "--n-jobs", 1, "--timeout", 5]
    begun = time.monotonic()
    result = run(*arguments, append=append, folder=tmp_path)
    assert result.status == 0, result.err
    assert time.monotonic() - begun < 60
    assert runs.build_json(out)["digest"] == digest
    assert all(r["status"] == "ok" and r["seconds"] < 60 for r in runs.inputs(out).values())
