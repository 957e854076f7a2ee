"""``python -m pipeline.build``: plan → map → finalise, with what can go wrong said plainly."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import fcntl
import json
import math
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from rich.console import Console

from pipeline.atomic_files import appears_whole
from pipeline.build.display import Display, show_plan, show_summary, standard_console
from pipeline.build.finalise import UnfinishedBuild, finalise, withdraw
from pipeline.build.map_part import OutputError
from pipeline.build.options import MEBIBYTE, BuildOptions, Reading
from pipeline.build.plan import Part, make_plan
from pipeline.build.records import InputRecord, PartRecord
from pipeline.build.workers import Crew, Job, WorkersFail, available_jobs
from pipeline.command_line import parse_options, to_yaml
from pipeline.filters import Manifest, ManifestError
from pipeline.layout import Layout
from pipeline.sources import Discovery, SourceError, discover, group_entries

OK, FAILURES, USAGE, INTERRUPTED = 0, 1, 2, 130

INTERRUPTED_MESSAGE = (
    "interrupted: the parts in flight are dropped, those that were finished are kept; run the same "
    "command again to go on"
)


class UsageError(Exception):
    """The command cannot mean anything sensible; the sentence says what to change."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the exit status.

    0: all fine, or only skips. 1: some files failed (more than ``--allow-failures``), or the output
    could not be written. 2: wrong usage. 130: interrupted.
    """
    options = parse_options(
        BuildOptions,
        "python -m pipeline.build",
        "Turn a folder of protein structure files into Parquet shards.",
        arguments,
    )
    try:
        with _terminable():
            return build(options)
    except (UsageError, ManifestError, SourceError) as error:
        return _end_with(f"error: {error}", USAGE)
    except OutputError as error:
        advice = (
            "The parts that were finished are kept: make room (or mend the permissions) and run "
            "the same command again."
        )
        return _end_with(f"error: {error}\n{advice}", FAILURES)
    except WorkersFail as error:
        advice = "The parts that were finished are kept; the same command goes on from there."
        return _end_with(f"error: {error}\n{advice}", FAILURES)
    except UnfinishedBuild as error:
        return _end_with(f"error: {error}", FAILURES)
    except KeyboardInterrupt:
        return _end_with(INTERRUPTED_MESSAGE, INTERRUPTED)


def _end_with(sentence: str, status: int) -> int:
    errors = Console(stderr=True, soft_wrap=True, highlight=False)
    errors.print(sentence, markup=False)
    return status


def build(options: BuildOptions, console: Console | None = None) -> int:
    """Build a dataset as the options say; the exit status.

    Raises
    ------
    UsageError, ManifestError, SourceError
        Before anything is written.
    OutputError
        The output cannot be written; nothing half-written is left.
    WorkersFail
        Workers die, and no input is to blame.
    UnfinishedBuild
        A shard was damaged by somebody.
    """
    console = console or standard_console()
    started = time.monotonic()
    _check(options)
    reading = options.reading()
    layout = Layout(options.out_dir)
    found = discover(options.pdb_dir, options.pdb_list, exclude=[options.out_dir])
    parts = make_plan(group_entries(found.files), options.part_size * MEBIBYTE)
    if not parts and not found.problems:
        raise UsageError(f"{options.pdb_dir or options.pdb_list} holds no files")
    if options.dry_run:
        n_done = len(_finished(layout, parts, reading))
        show_plan(console, layout, parts, n_done, len(found.problems))
        return OK
    with _output_folder(layout, reading, options.overwrite), _Log(options.log_file) as log:
        return _build(options, reading, layout, found, parts, console, started, log)


def _build(
    options: BuildOptions,
    reading: Reading,
    layout: Layout,
    found: Discovery,
    parts: list[Part],
    console: Console,
    started: float,
    log: _Log,
) -> int:
    records = _finished(layout, parts, reading)
    todo = [p for p in parts if p.number not in records]
    log.write("start", {"files": len(found.files), "parts": len(parts), "todo": len(todo)})
    display = Display(console, todo, options.quiet)

    def part_done(record: PartRecord) -> None:
        records[record.number] = record
        display.part_done(record)
        log.write_part(record)

    crew = Crew(
        Job(found.root, reading, layout.root),
        options.n_jobs or available_jobs(),
        part_done,
        display.update,
        log.write,
    )
    try:
        if todo:
            withdraw(layout)
        with display:
            crew.run(todo)
        summary = finalise(layout, parts, list(records.values()), _beside(found), reading)
        _save_options(dataclasses.replace(options, overwrite=False), layout)
    except OSError as error:
        raise OutputError(f"cannot finish {layout.root}: {error}") from error
    seconds = time.monotonic() - started
    log.write("summary", {**summary["counts"], "digest": summary["digest"], "seconds": seconds})
    show_summary(console, layout, summary, seconds, len(todo), len(parts), options.allow_failures)
    return FAILURES if summary["counts"]["failed"] > options.allow_failures else OK


def _beside(found: Discovery) -> list[InputRecord]:
    """Records of what was found and is in no part: nothing found is left uncounted."""
    problems = [
        InputRecord(p.name, None, None, "failed", "find", p.reason, p.message)
        for p in found.problems
    ]
    message = "a link to a file that is found under its own name, or an older copy in an archive"
    aliases = [
        InputRecord(name, None, None, "skipped", "find", "alias", message) for name in found.aliases
    ]
    return problems + aliases


def _save_options(options: BuildOptions, layout: Layout) -> None:
    """The YAML that makes this dataset again, beside it."""
    text = to_yaml(options)
    try:
        if layout.options.read_text(encoding="utf-8") == text:
            return
    except (OSError, ValueError):
        pass
    with appears_whole(layout.options, layout.scratch) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _check(options: BuildOptions) -> None:
    if options.pdb_dir is None and options.pdb_list is None:
        raise UsageError("give --pdb-dir, --pdb-list or both")
    for name in ("pdb_dir", "pdb_list", "manifest"):
        path: Path | None = getattr(options, name)
        if path is not None and not path.exists():
            raise UsageError(f"{_dashed(name)} {path}: there is no such file or folder")
    if options.out_dir.exists() and not options.out_dir.is_dir():
        raise UsageError(f"--out-dir {options.out_dir} is a file; give a folder")
    if options.pdb_dir is not None:
        output, source = options.out_dir.resolve(), options.pdb_dir.resolve()
        if output == source:
            raise UsageError(
                "--out-dir is the input folder, which is never written to; give another"
            )
        if output in source.parents:
            raise UsageError(
                f"--pdb-dir {options.pdb_dir} lies in the output folder, which is not searched; "
                "give another --out-dir"
            )
    at_least = {"n_jobs": 0, "part_size": 0, "max_file_size": 1, "allow_failures": 0}
    for name, least in at_least.items():
        if getattr(options, name) < least:
            raise UsageError(f"{_dashed(name)} must be at least {least}")
    if not 0 < options.timeout < math.inf:
        raise UsageError("--timeout must be a positive number of seconds")
    if not 0 <= options.base_thickness < math.inf:
        raise UsageError("--base-thickness must be 0 or a positive number of Å")
    for rule in dataclasses.fields(options.filters):
        value = getattr(options.filters, rule.name)
        if isinstance(value, float) and not math.isfinite(value):
            raise UsageError(f"{_dashed(rule.name)} must be a number")
        if "fraction" in rule.name and value is not None and not 0 <= value <= 1:
            raise UsageError(f"{_dashed(rule.name)} is a share, from 0 to 1")
    if options.manifest is not None:
        try:
            Manifest.read(options.manifest)
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise UsageError(f"--manifest {options.manifest} cannot be read: {error}") from error
    for name in ("deposited_after", "deposited_before", "released_after", "released_before"):
        value = getattr(options.filters, name)
        if value is not None:
            try:
                datetime.strptime(value, "%Y-%m-%d")
            except ValueError:
                raise UsageError(f"{_dashed(name)} {value}: give a day as YYYY-MM-DD") from None
    for least, most in (
        ("min_length", "max_length"),
        ("min_resolved", "max_length"),
        ("min_oligomer", "max_oligomer"),
        ("deposited_after", "deposited_before"),
        ("released_after", "released_before"),
    ):
        low, high = getattr(options.filters, least), getattr(options.filters, most)
        if low is None or high is None:
            continue
        if low > high or (low == high and "before" in most):
            raise UsageError(f"{_dashed(least)} {low} and {_dashed(most)} {high} leave nothing")


def _finished(layout: Layout, parts: Sequence[Part], reading: Reading) -> dict[int, PartRecord]:
    """Records of the parts that need not be built again."""
    config_hash = reading.config_hash
    found = {}
    for part in parts:
        record = PartRecord.read(layout.record(part.number))
        if (
            record is not None
            and record.fingerprint == part.fingerprint(config_hash)
            and not record.has_transient_failures
            and _size(layout.shard(part.number)) == record.shard_bytes
        ):
            found[part.number] = record
    return found


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1


@contextlib.contextmanager
def _output_folder(layout: Layout, reading: Reading, overwrite: bool) -> Iterator[None]:
    """Make the folder, lock it, and see that it belongs to this configuration."""
    with contextlib.ExitStack() as stack:
        try:
            layout.make_folders()
            lock = stack.enter_context(open(layout.lock, "a+"))
        except OSError as error:
            raise OutputError(f"cannot write to {layout.root}: {error}") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise UsageError(
                f"another build is writing to {layout.root} ({lock.read().strip() or 'unknown'}); "
                "wait for it, or give another --out-dir"
            ) from None
        except OSError as error:
            raise OutputError(f"cannot lock {layout.lock}: {error}") from error
        try:
            lock.truncate(0)
            lock.write(f"process {os.getpid()} on {os.uname().nodename}\n")
            lock.flush()
            _claim(layout, reading, overwrite)
            _clear(layout.scratch)
        except OSError as error:
            raise OutputError(f"cannot write to {layout.root}: {error}") from error
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                _clear(layout.scratch)


def _clear(scratch: Path) -> None:
    for leftover in scratch.iterdir():
        leftover.unlink(missing_ok=True)


def _claim(layout: Layout, reading: Reading, overwrite: bool) -> None:
    identity = reading.identity()
    try:
        known = json.loads(layout.config.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        known = None
    current = json.loads(json.dumps(identity))
    if known is not None and known != current:
        if not overwrite:
            raise UsageError(
                f"{layout.root} was built with another configuration "
                f"({_difference(known, current)}); give another --out-dir, or --overwrite to "
                "delete it and start anew"
            )
        known = None
    if known is None:
        if overwrite:
            withdraw(layout)
            # Only what builds make: the folder may hold what somebody else put there.
            for path in (*layout.state.glob("part-*.json"), *layout.shards.glob("part-*.parquet")):
                path.unlink(missing_ok=True)
        with appears_whole(layout.config, layout.scratch) as temporary:
            temporary.write_text(json.dumps(identity, indent=1), encoding="utf-8")


def _dashed(name: str) -> str:
    return "--" + name.replace("_", "-")


def _told(value: object) -> str:
    return "none" if value is None else str(value)


def _difference(known: dict, current: dict) -> str:
    parts = []
    for key in sorted({*known, *current}):
        before, after = known.get(key), current.get(key)
        if isinstance(before, dict) and isinstance(after, dict):
            inner = _difference(before, after)
            if inner:
                parts.append(inner)
        elif before != after:
            # An option is named as it is typed.
            name = key if key.endswith("_version") else _dashed(key.removesuffix("_sha256"))
            if key == "max_file_size":  # given in MiB
                before, after = (int(v or 0) // MEBIBYTE for v in (before, after))
            parts.append(f"{name}: {_told(before)} then, {_told(after)} now")
    return ", ".join(parts)


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM ends a build as Ctrl-C does."""

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    try:
        before = signal.signal(signal.SIGTERM, stop)
    except ValueError:  # not the main thread: somebody's notebook
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class _Log:
    """JSON lines, flushed one by one."""

    def __init__(self, path: Path | None):
        self._path = path
        self._file: IO[str] | None = None

    def __enter__(self) -> _Log:
        if self._path is not None:
            try:
                self._file = open(self._path, "a", encoding="utf-8")
            except OSError as error:
                raise UsageError(f"--log-file {self._path}: {error.strerror}") from error
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):  # each line was flushed, or its failure was said
                self._file.close()

    def write(self, event: str, details: dict) -> None:
        """Append an event."""
        if self._file is not None:
            now = datetime.now(UTC).isoformat(timespec="milliseconds")
            line = json.dumps({"time": now, "event": event, **details}, default=str)
            try:
                self._file.write(line + "\n")
                self._file.flush()
            except OSError as error:
                raise OutputError(f"cannot write to --log-file {self._path}: {error}") from error

    def write_part(self, record: PartRecord) -> None:
        """Append a finished part, and its failures one by one."""
        counts = {"chains": record.n_chains, "residues": record.n_residues}
        self.write("part", {"part": record.number, **counts, "bytes": record.shard_bytes})
        for failed in (r for r in record.inputs if r.status == "failed"):
            what = {"input": failed.input, "reason": failed.reason, "message": failed.message}
            self.write("failed", what)


def run() -> None:
    """Entry point of ``python -m pipeline.build``."""
    sys.exit(main())
