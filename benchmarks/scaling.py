"""Two workers against one, memory per worker, bytes per residue: the build as a command.

    python benchmarks/scaling.py FOLDER [--jobs 2] [--copies 1 4] [--limit N] [--markdown]

Time: ``python -m pipeline.build`` from start to exit into fresh folders, with one worker and with
`--jobs` in alternation, over 1, 4, … copies of the input (links of different names, so each is an
entry of its own); best of `--repeats`. Memory: of the same, the peak of every process watched from
outside. Size: of what a build leaves, per residue.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
import pyarrow.parquet as pq
from build_speed import describe_machine, format_table

OK, SOME_FILES_FAILED = 0, 1
WATCH_SECONDS = 0.1
MEBIBYTE = 1 << 20


@dataclass(frozen=True)
class Run:
    """One build: seconds from start to exit, and the processor's for all its processes."""

    wall: float
    cpu: float


def build_command(folder: Path, out_dir: Path, n_jobs: int, part_size: int) -> list[str]:
    return [
        *(sys.executable, "-m", "pipeline.build", "--pdb-dir", str(folder), "--out-dir"),
        *(str(out_dir), "--n-jobs", str(n_jobs), "--part-size", str(part_size), "--quiet"),
        *("--report", "false"),  # a second or two at the end, by one process
    ]


def timed_build(command: Sequence[str]) -> Run:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    wall = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    _check(done.returncode, done.stdout)
    return Run(wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def peak_memory(command: Sequence[str]) -> tuple[int, list[int]]:
    """Peak resident bytes of the build's main process and of each of its workers."""
    peaks: dict[int, int] = {}
    with tempfile.TemporaryFile("w+") as output:
        build = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        main = psutil.Process(build.pid)
        while build.poll() is None:
            for process in _family(main):
                peaks[process.pid] = max(peaks.get(process.pid, 0), _resident_peak(process))
            time.sleep(WATCH_SECONDS)
        output.seek(0)
        _check(build.returncode, output.read())
    main_peak = peaks.pop(build.pid, 0)
    return main_peak, sorted(peaks.values(), reverse=True)


def _family(main: psutil.Process) -> list[psutil.Process]:
    try:
        return [main, *main.children(recursive=True)]
    except psutil.Error:
        return []


def _resident_peak(process: psutil.Process) -> int:
    """The kernel's high-water mark, which misses nothing between two looks; elsewhere the present
    value."""
    try:
        for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
        return process.memory_info().rss
    except (OSError, psutil.Error):
        return 0


def _check(status: int, output: str) -> None:
    if status not in (OK, SOME_FILES_FAILED):
        raise SystemExit(f"the build ended with status {status}:\n{output}")


def link_copies(folder: Path, into: Path, copies: int, limit: int) -> int:
    """Links to the folder's files, each `copies` times under names of their own; how many links.

    With a limit: that many files, at even steps through the list sorted by size.
    """
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    if 0 < limit < len(files):
        by_size = sorted(files, key=lambda p: (p.stat().st_size, p))
        files = [by_size[int((k + 0.5) * len(by_size) / limit)] for k in range(limit)]
    for copy in range(copies):
        for path in files:
            link = into / path.relative_to(folder).parent / f"copy{copy}_{path.name}"
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(path.resolve())
    return copies * len(files)


def sizes(out_dir: Path) -> dict[str, int]:
    """Bytes of what a build left, by kind."""
    found = {"shards": 0, "index.parquet": 0, ".build": 0, "everything else": 0}
    for path in out_dir.rglob("*"):
        if path.is_file():
            top = path.relative_to(out_dir).parts[0]
            found[top if top in found else "everything else"] += path.stat().st_size
    return found


def measure_time(
    folder: Path, copies: int, limit: int, jobs: int, repeats: int, part_size: int
) -> list[tuple[str, ...]]:
    runs: dict[int, list[Run]] = {1: [], jobs: []}
    for repeat in range(repeats):
        for n in sorted(runs, reverse=repeat % 2 == 1):
            with tempfile.TemporaryDirectory() as scratch:
                links = Path(scratch) / "in"
                links.mkdir()
                n_files = link_copies(folder, links, copies, limit)
                command = build_command(links, Path(scratch) / "out", n, part_size)
                runs[n].append(timed_build(command))
    best = {n: min(r.wall for r in found) for n, found in runs.items()}
    median = {n: statistics.median(r.wall for r in found) for n, found in runs.items()}
    return [
        (
            f"{n_files}",
            str(n),
            f"{best[n]:.2f}",
            f"{median[n]:.2f}",
            f"{min(r.cpu for r in runs[n]):.2f}",
            f"{best[1] / best[n]:.2f}×",
            f"{median[1] / median[n]:.2f}×",
        )
        for n in sorted(runs)
    ]


def measure_memory(
    folder: Path, jobs: int, copies: Sequence[int], limit: int, part_size: int
) -> list[tuple[str, ...]]:
    rows = []
    for k in copies:
        with tempfile.TemporaryDirectory() as scratch:
            links, out_dir = Path(scratch) / "in", Path(scratch) / "out"
            links.mkdir()
            n_files = link_copies(folder, links, k, limit)
            main, workers = peak_memory(build_command(links, out_dir, jobs, part_size))
            summary = json.loads((out_dir / "build.json").read_text())
            rows.append(
                (
                    str(k),
                    f"{n_files}",
                    f"{len(summary['shards'])}",
                    f"{summary['counts']['residues']}",
                    f"{main / MEBIBYTE:.0f}",
                    " ".join(f"{w / MEBIBYTE:.0f}" for w in workers[:jobs]),
                )
            )
    return rows


def measure_size(folder: Path, jobs: int, part_size: int) -> tuple[list[tuple[str, ...]], str]:
    with tempfile.TemporaryDirectory() as scratch:
        out_dir = Path(scratch) / "out"
        timed_build(build_command(folder, out_dir, jobs, part_size))
        index = pq.read_table(out_dir / "index.parquet", columns=["length", "n_resolved"])
        residues = sum(index["length"].to_pylist())
        resolved = sum(index["n_resolved"].to_pylist())
        found = sizes(out_dir)
    rows = [
        (kind, f"{n}", f"{n / residues:.1f}", f"{n / resolved:.1f}")
        for kind, n in (*found.items(), ("whole folder", sum(found.values())))
    ]
    return rows, f"{index.num_rows} chains, {residues} residues, {resolved} of them resolved"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--jobs", type=int, default=2, help="workers to compare with one")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--copies", type=int, nargs="+", default=[1, 4], help="of the input")
    parser.add_argument("--limit", type=int, default=0, help="files; 0: all")
    parser.add_argument("--part-size", type=int, default=0, help="MiB, as for the build")
    parser.add_argument("--markdown", action="store_true")
    options = parser.parse_args()
    bullet, heading = ("- ", "\n### ") if options.markdown else ("", "\n")
    for line in describe_machine():
        print(bullet + line)

    with tempfile.TemporaryDirectory() as links:
        folder = options.folder
        if options.limit:
            folder = Path(links)
            link_copies(options.folder, folder, 1, options.limit)
        for path in folder.rglob("*"):  # into the page cache
            if path.is_file():
                path.read_bytes()

        print(f"{heading}time of the command, best and median of {options.repeats}\n")
        header = (
            "files",
            "workers",
            "best s",
            "median s",
            "CPU s",
            "speed-up, best",
            "speed-up, median",
        )
        rows = []
        for copies in options.copies:
            rows += measure_time(
                options.folder,
                copies,
                options.limit,
                options.jobs,
                options.repeats,
                options.part_size,
            )
        print(format_table(header, rows, options.markdown))
        with tempfile.TemporaryDirectory() as scratch:
            command = build_command(folder, Path(scratch) / "out", 1, options.part_size)
            start = min(timed_build([*command, "--dry-run"]).wall for _ in range(options.repeats))
        print(f"\nof each: {start:.2f} s to start Python, search and plan (--dry-run)")

        rows, what = measure_size(folder, options.jobs, options.part_size)
        print(f"{heading}size on disk: {what}\n")
        header = ("what", "bytes", "bytes/residue", "bytes/resolved residue")
        print(format_table(header, rows, options.markdown))

        print(f"{heading}peak resident memory, MiB, {options.jobs} workers\n")
        header = ("copies", "files", "shards", "residues", "main process", "workers, each")
        arguments = (options.jobs, options.copies, options.limit, options.part_size)
        rows = measure_memory(options.folder, *arguments)
        print(format_table(header, rows, options.markdown))


if __name__ == "__main__":
    main()
