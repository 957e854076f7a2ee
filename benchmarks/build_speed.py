"""Entries per second of the build and of what others do with the same files, on one core.

    python benchmarks/build_speed.py FOLDER [--formats cif pdb bcif] [--limit N] [--markdown]

All contestants run in one process, one thread, pinned to one core, with the files in the page
cache. They take turns part by part, in rotating order, so that whatever else the machine does hits
all of them; of `--repeats` turns the best one of each part counts. One table per format. Slow
peers read a sample (`--peer-limit`), evenly drawn by file size, and are compared with this build on
that sample.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import gc
import os
import platform
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import peers
import psutil
import pyarrow as pa

from pipeline.built.layout import Layout
from pipeline.built.plan import Part, make_plan
from pipeline.built.reading import Reading
from pipeline.built.records import PartRecord
from pipeline.built.tables import finalise
from pipeline.crew.build_part import build_part
from pipeline.parsing import NotAStructure, read_chains
from pipeline.sources import Entry, decompress, discover, group_entries

WORKER_ENVIRONMENT = {
    **dict.fromkeys(
        ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "ARROW_NUM_THREADS"), "1"
    ),
    "MALLOC_TRIM_THRESHOLD_": "268435456",
    "MALLOC_MMAP_THRESHOLD_": "67108864",
}
"""One thread each, and the allocator of the build's own workers: here all contestants have it."""

LIBRARIES = ("biotite", "gemmi", "biopython", "numpy", "pyarrow", "isal")


@dataclass(frozen=True)
class Contestant:
    """Someone who reads the files of a part.

    Attributes
    ----------
    name, does : str
        As in the table.
    run : callable
        (part, folder for output) → names of the files it failed on.
    finish : callable, optional
        (all parts, folder for output): what is left to do after the last part.
    """

    name: str
    does: str
    run: Callable[[Part, Path], list[str]]
    finish: Callable[[Sequence[Part], Path], None] | None = None


@dataclass
class Result:
    """Seconds of one contestant: ``[repeat][part]``, the finish being one more part."""

    contestant: Contestant
    n_entries: int
    wall: list[list[float]] = field(default_factory=list)
    cpu: list[list[float]] = field(default_factory=list)
    failed: set[str] = field(default_factory=set)

    @property
    def seconds(self) -> float:
        return sum(map(min, zip(*self.wall, strict=True)))

    @property
    def cpu_seconds(self) -> float:
        return sum(map(min, zip(*self.cpu, strict=True)))

    @property
    def median_seconds(self) -> float:
        return sum(map(statistics.median, zip(*self.wall, strict=True)))


class ThisBuild:
    """The build's own map step and its finish, in this process."""

    def __init__(self, root: Path):
        self.root, self.reading = root, Reading()
        self._records: dict[Path, list[PartRecord]] = {}

    def run(self, part: Part, out_dir: Path) -> list[str]:
        Layout(out_dir).make_folders()
        record = build_part(part, self.root, self.reading, out_dir)
        self._records.setdefault(out_dir, []).append(record)
        return [r.input for r in record.inputs if r.status == "failed"]

    def finish(self, parts: Sequence[Part], out_dir: Path) -> None:
        finalise(Layout(out_dir), parts, self._records.pop(out_dir), [], self.reading)


def for_each_file(read: Callable[[Path], Any], root: Path) -> Callable[[Part, Path], list[str]]:
    """A contestant's `run` from a function of one path; what it returns is let go at once."""

    def run(part: Part, out_dir: Path) -> list[str]:
        failed = []
        for entry in part.entries:
            path = root / entry.candidates[0].path
            try:
                read(path)
            except Exception:
                failed.append(path.name)
        return failed

    return run


def parse_only(path: Path) -> None:
    """This build's reader without anything after it."""
    with contextlib.suppress(NotAStructure):  # the build skips such a file too
        read_chains(decompress(path.read_bytes(), 1 << 30), path.name)


def fast_contestants(root: Path, file_format: peers.Format) -> list[Contestant]:
    """This build first, then those that can read all files of a benchmark."""
    ours = ThisBuild(root)
    each = partial(for_each_file, root=root)
    found = [
        Contestant("this build", "whole build, every column, to disk", ours.run, ours.finish),
        Contestant("this build's reader", "parse only: all chains", each(parse_only)),
    ]
    if file_format != "bcif":  # gemmi does not read BinaryCIF
        found.append(Contestant("gemmi", "parse only: atom arrays", each(peers.read_with_gemmi)))
    return [
        *found,
        Contestant("isal", "gunzip only", each(peers.gunzip_with_isal)),
        Contestant("gzip", "gunzip only", each(peers.gunzip_with_gzip)),
    ]


def slow_contestants(root: Path, file_format: peers.Format) -> list[Contestant]:
    """Those that take too long for all files."""

    def biotite(path: Path) -> None:
        peers.read_with_biotite(path, file_format)

    def script(fast_cif: bool) -> Callable[[Part, Path], list[str]]:
        def run(part: Part, out_dir: Path) -> list[str]:
            def read(path: Path) -> None:
                peers.research_script(path, file_format, out_dir, fast_cif=fast_cif)

            return for_each_file(read, root)(part, out_dir)

        return run

    does = "Biopython, residue loop, pickle"
    found = [
        Contestant("biotite", "parse only: get_structure", for_each_file(biotite, root)),
        Contestant("research script", does, script(False)),
    ]
    if file_format == "cif":
        quick = "the same with FastMMCIFParser"
        found.append(Contestant("research script, fast", quick, script(True)))
    return found


def race(
    parts: Sequence[Part], contestants: Sequence[Contestant], repeats: int, label: str
) -> list[Result]:
    """Let the contestants take turns: part by part, in rotating order, `repeats` times."""
    n_entries = sum(len(p.entries) for p in parts)
    results = [Result(c, n_entries) for c in contestants]
    for repeat in range(repeats):
        with tempfile.TemporaryDirectory() as scratch:
            folders = [Path(scratch) / str(k) for k in range(len(contestants))]
            for result, folder in zip(results, folders, strict=True):
                folder.mkdir()
                result.wall.append([])
                result.cpu.append([])
            for turn, part in enumerate(parts):
                _say(f"{label}: repeat {repeat + 1}/{repeats}, part {turn + 1}/{len(parts)}")
                for k in range(len(results)):
                    who = (k + turn + repeat) % len(results)
                    run = partial(results[who].contestant.run, part, folders[who])
                    results[who].failed.update(_timed(run, results[who]))
            for result, folder in zip(results, folders, strict=True):
                if result.contestant.finish is not None:
                    _timed(partial(result.contestant.finish, parts, folder), result)
                shutil.rmtree(folder)
    _say("")
    return results


def _timed(run: Callable[[], Any], result: Result) -> Any:
    gc.collect()  # nobody pays for the objects of the one before
    cpu, wall = time.process_time(), time.perf_counter()
    found = run()
    result.wall[-1].append(time.perf_counter() - wall)
    result.cpu[-1].append(time.process_time() - cpu)
    return found


def _say(line: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\033[K{line}", end="", file=sys.stderr, flush=True)


def evenly_by_size(entries: Sequence[Entry], n: int) -> list[Entry]:
    """`n` entries at even steps through the list sorted by file size, in their old order."""
    if n <= 0 or n >= len(entries):
        return list(entries)
    by_size = sorted(range(len(entries)), key=lambda k: (entries[k].candidates[0].size, k))
    chosen = {by_size[int((k + 0.5) * len(entries) / n)] for k in range(n)}
    return [entries[k] for k in sorted(chosen)]


def find_entries(folder: Path, file_format: str, limit: int) -> tuple[Path, list[Entry]]:
    """The folder's files of one format (by name; not in archives), at most `limit` of them."""
    found = discover(folder)
    files = [f for f in found.files if f.suffix_format == file_format and f.member is None]
    return found.root, evenly_by_size(group_entries(files), limit)


HEADER = (
    "contestant",
    "does",
    "entries",
    "entries/s",
    "ms/entry",
    "CPU ms/entry",
    "median/best",
    "our speed / its",
    "failed",
)


def table_rows(results: Sequence[Result], on_sample: bool = False) -> list[tuple[str, ...]]:
    """Rows of results whose first is this build."""
    ours = results[0]
    rows = []
    for result in results:
        n = result.n_entries
        speed = n / result.seconds
        rows.append(
            (
                result.contestant.name + (", same sample" if on_sample and result is ours else ""),
                result.contestant.does,
                str(n),
                f"{speed:.1f}" if speed < 100 else f"{speed:.0f}",
                f"{1e3 * result.seconds / n:.2f}",
                f"{1e3 * result.cpu_seconds / n:.2f}",
                f"{result.median_seconds / result.seconds:.2f}",
                f"{result.seconds / ours.seconds:.3g}×",
                str(len(result.failed)),
            )
        )
    return rows


def format_table(header: Sequence[str], rows: Sequence[Sequence[str]], markdown: bool) -> str:
    """Aligned columns, the first two to the left and numbers to the right; or Markdown."""
    widths = [max(len(row[k]) for row in (header, *rows)) for k in range(len(header))]
    left = [all(not row[k][:1].isdigit() for row in rows) for k in range(len(header))]

    def line(row: Sequence[str]) -> str:
        cells = [
            cell.ljust(w) if is_left else cell.rjust(w)
            for cell, w, is_left in zip(row, widths, left, strict=True)
        ]
        return "| " + " | ".join(cells) + " |" if markdown else "  ".join(cells).rstrip()

    if markdown:
        rule = [
            "-" * w if is_left else "-" * (w - 1) + ":"
            for w, is_left in zip(widths, left, strict=True)
        ]
    else:
        rule = ["-" * w for w in widths]
    return "\n".join(map(line, (header, rule, *rows)))


def describe_machine() -> list[str]:
    """What the numbers depend on: date, processor, load, software."""
    versions = []
    for name in LIBRARIES:
        try:
            versions.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    memory = psutil.virtual_memory().total / 2**30
    load = psutil.getloadavg()[0]
    busy = psutil.cpu_percent(interval=0.5)
    return [
        f"date: {datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M} UTC",
        f"machine: {_processor()}, {os.cpu_count()} cores, {memory:.0f} GiB, {platform.system()}",
        f"before the run: load average {load:.1f}, cores {busy:.0f} % busy",
        f"software: Python {platform.python_version()}, {', '.join(versions)}",
    ]


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def pin_to_idlest_core() -> int | None:
    """Keep this process on the core with least to do; its number, or None where there is no way."""
    if not hasattr(os, "sched_setaffinity"):
        return None
    busy = psutil.cpu_percent(interval=0.5, percpu=True)
    core = min(os.sched_getaffinity(0), key=lambda k: busy[k] if k < len(busy) else 0.0)
    os.sched_setaffinity(0, {core})
    return core


def use_worker_environment() -> None:
    """Start again with `WORKER_ENVIRONMENT`: libraries read it when they are loaded."""
    if any(os.environ.get(name) != value for name, value in WORKER_ENVIRONMENT.items()):
        os.execve(sys.executable, sys.orig_argv, {**os.environ, **WORKER_ENVIRONMENT})
    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--formats", nargs="+", choices=["cif", "pdb", "bcif"], default=None)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--limit", type=int, default=0, help="entries per format; 0: all")
    parser.add_argument(
        "--peer-limit", type=int, default=100, help="entries per format of slow peers; 0: all"
    )
    parser.add_argument("--pin", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--markdown", action="store_true")
    options = parser.parse_args()
    use_worker_environment()
    bullet = "- " if options.markdown else ""
    for line in describe_machine():
        print(bullet + line)
    pinned = options.pin and pin_to_idlest_core() is not None
    print(
        f"{bullet}{'pinned to one core' if pinned else 'NOT pinned to a core'}, one thread, warm "
        f"page cache; best of {options.repeats} per part; files that fail count as read"
    )

    for file_format in options.formats or ("cif", "pdb", "bcif"):
        root, entries = find_entries(options.folder, file_format, options.limit)
        if not entries:
            print(f"\nno .{file_format} files")
            continue
        sample = evenly_by_size(entries, options.peer_limit)
        size = sum((root / e.candidates[0].path).stat().st_size for e in entries)
        fast = fast_contestants(root, file_format)
        slow = slow_contestants(root, file_format)
        _warm_up(root, entries, [*fast, *slow])
        if len(sample) == len(entries):
            rows = table_rows(
                race(make_plan(entries), [*fast, *slow], options.repeats, file_format)
            )
        else:
            rows = table_rows(race(make_plan(entries), fast, options.repeats, file_format))
            both = [fast[0], *slow]
            label = f"{file_format} sample"
            rows += table_rows(race(make_plan(sample), both, options.repeats, label), True)
        packed = {Path(e.candidates[0].path).suffix == ".gz" for e in entries}
        suffix = ".gz" if packed == {True} else "" if packed == {False} else "[.gz]"
        title = f".{file_format}{suffix}: {len(entries)} entries, {size / 2**20:.1f} MiB"
        print(f"\n{'### ' if options.markdown else ''}{title}\n")
        print(format_table(HEADER, rows, options.markdown))
        if file_format == "bcif":
            print("\ngemmi: n/a (it does not read BinaryCIF)")


def _warm_up(root: Path, entries: Sequence[Entry], contestants: Sequence[Contestant]) -> None:
    """Files into the page cache; every contestant once over one file, to load its tables."""
    for entry in entries:
        (root / entry.candidates[0].path).read_bytes()
    race(make_plan(evenly_by_size(entries, 1)), contestants, 1, "warming up")
    # Nobody pays, at each garbage collection, for the modules that the others loaded.
    gc.collect()
    gc.freeze()


if __name__ == "__main__":
    main()
