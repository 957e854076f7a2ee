"""What a build costs, per entry and per residue, and what that makes of a whole archive.

    python benchmarks/cost.py FOLDER [--jobs 1 2] [--synthetic 1000000] [--markdown]

Measures, on the folder's files of one format: seconds and bytes of one core by size of the entry,
and a line through them; the command with 1, 2, … workers; memory; and, on made-up entries, what
one process does for all of them alone (plan, index). Prints from these the time, memory and bytes
of a mirror of the PDB and of AlphaFold DB. benchmarks/README.md says more.
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from build_speed import (
    ThisBuild,
    describe_machine,
    find_entries,
    format_table,
    pin_to_idlest_core,
    use_worker_environment,
)
from scaling import build_command, link_copies, peak_memory, timed_build
from scipy.optimize import nnls

from pipeline.build.plan import MAX_PART, Part, make_plan
from pipeline.sources import Entry

MEBIBYTE, GIBIBYTE = 1 << 20, 1 << 30
SYNTHETIC = Path(__file__).with_name("synthetic_archive.py")


@dataclass(frozen=True)
class Archive:
    """What is to be built.

    Attributes
    ----------
    residues : float or None
        Per entry; None takes the mean of the sample.
    """

    name: str
    entries: float
    residues: float | None


ARCHIVES = (
    # wwPDB's announcement of early 2026: 250,441 entries.
    Archive("PDB mirror", 250_441, None),
    # 214,683,839 models (M. Varadi et al., Nucleic Acids Research 52, D368, 2024); 350 residues is
    # an assumption, about the mean length of UniProt's sequences.
    Archive("AlphaFold DB", 214_683_839, 350.0),
)


@dataclass(frozen=True)
class SizeClass:
    """Entries of about one size, built together by one core."""

    entries: int
    residues: int
    stored: int
    seconds: float
    written: int


@dataclass(frozen=True)
class Line:
    """seconds = per_entry · entries + per_residue · residues; bytes likewise."""

    per_entry: float
    per_residue: float

    def __call__(self, entries: float, residues: float) -> float:
        return self.per_entry * entries + self.per_residue * residues

    @classmethod
    def through(cls, classes: Sequence[SizeClass], values: Sequence[float]) -> Line:
        """Least squares of relative errors, with no negative cost."""
        rows = np.array([[c.entries, c.residues] for c in classes], float)
        target = np.array(values, float)
        (per_entry, per_residue), _ = nnls(rows / target[:, None], np.ones(len(target)))
        return cls(float(per_entry), float(per_residue))


def measure_classes(
    root: Path, entries: Sequence[Entry], n_classes: int, repeats: int
) -> list[SizeClass]:
    """Build the entries class by class, from the smallest files to the largest."""
    by_size = sorted(entries, key=lambda e: (e.candidates[0].size, e.entry_id))
    cuts = [round(k * len(by_size) / n_classes) for k in range(n_classes + 1)]
    classes = [by_size[a:b] for a, b in itertools.pairwise(cuts) if b > a]
    plans = [make_plan(sorted(c, key=lambda e: e.candidates[0].sort_key)) for c in classes]
    best = [np.inf] * len(classes)
    found: list[SizeClass | None] = [None] * len(classes)
    for _ in range(repeats):
        for k, parts in enumerate(plans):
            seconds, residues, written = _build(root, parts)
            best[k] = min(best[k], seconds)
            stored = sum(part.n_bytes for part in parts)
            found[k] = SizeClass(len(classes[k]), residues, stored, best[k], written)
    return [c for c in found if c is not None]


def _build(root: Path, parts: Sequence[Part]) -> tuple[float, int, int]:
    """Seconds, residues and bytes of shards."""
    with tempfile.TemporaryDirectory() as scratch:
        out_dir, build = Path(scratch), ThisBuild(root)
        started = time.perf_counter()
        for part in parts:
            build.run(part, out_dir)
        seconds = time.perf_counter() - started
        build.finish(parts, out_dir)
        counts = json.loads((out_dir / "build.json").read_text())["counts"]
    return seconds, counts["residues"], counts["shard_bytes"]


def measure_workers(folder: Path, copies: int, jobs: Sequence[int]) -> dict[int, float]:
    """Workers → seconds of the command, best of two."""
    best: dict[int, float] = {}
    for n in [*jobs, *reversed(jobs)]:
        with tempfile.TemporaryDirectory() as scratch:
            links = Path(scratch) / "in"
            links.mkdir()
            link_copies(folder, links, copies, 0)
            seconds = timed_build(build_command(links, Path(scratch) / "out", n, 0)).wall
        best[n] = min(best.get(n, np.inf), seconds)
    return best


def measure_memory(folder: Path, jobs: int) -> tuple[int, int]:
    """Peak bytes of the main process and of the largest worker."""
    with tempfile.TemporaryDirectory() as scratch:
        main, workers = peak_memory(build_command(folder, Path(scratch) / "out", jobs, 0))
    return main, max(workers, default=0)


def measure_synthetic(n: int) -> dict[str, dict[str, float]]:
    """Step → seconds, peak bytes and bytes written, of what one process does for all entries.

    Each step in a process of its own, of which the memory is measured.
    """
    with tempfile.TemporaryDirectory() as scratch:
        done = subprocess.run(
            [sys.executable, str(SYNTHETIC), scratch, "--entries", str(n)],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
    return json.loads(done.stdout)


# ---- tables -------------------------------------------------------------------------------------


def rows_of_classes(
    classes: Sequence[SizeClass], time_line: Line, bytes_line: Line
) -> list[tuple[str, ...]]:
    rows = []
    for c in classes:
        predicted = time_line(c.entries, c.residues)
        stored = bytes_line(c.entries, c.residues)
        rows.append(
            (
                f"{c.stored / c.entries / 1024:.0f} KiB",
                f"{c.entries}",
                f"{c.residues / c.entries:.0f}",
                f"{1e3 * c.seconds / c.entries:.2f}",
                f"{1e6 * c.seconds / max(1, c.residues):.1f}",
                f"{predicted / c.seconds - 1:+.0%}",
                f"{c.written / max(1, c.residues):.1f}",
                f"{stored / c.written - 1:+.0%}",
            )
        )
    return rows


CLASS_HEADER = (
    *("mean file", "entries", "residues/entry", "ms/entry", "µs/residue", "line"),
    *("bytes/residue", "line "),
)


def rows_of_archives(
    archives: Sequence[Archive],
    mean_residues: float,
    time_line: Line,
    bytes_line: Line,
    input_line: Line,
    alone: float,
    efficiency: float,
    cores: Sequence[int],
    worker_bytes: int,
    index_bytes_per_entry: float,
) -> list[tuple[str, ...]]:
    """`alone`: seconds per entry of what one process does for all."""
    rows = []
    for archive in archives:
        residues = archive.entries * (archive.residues or mean_residues)
        work = time_line(archive.entries, residues)
        stored = bytes_line(archive.entries, residues)
        for n in cores:
            parallel = work / (n * (efficiency if n > 1 else 1.0))
            total = parallel + alone * archive.entries
            rows.append(
                (
                    archive.name,
                    f"{archive.entries:,.0f}",
                    f"{residues / archive.entries:.0f}",
                    f"{n}",
                    duration(total),
                    duration(alone * archive.entries),
                    f"{n * worker_bytes / GIBIBYTE:.1f} GiB",
                    f"{index_bytes_per_entry * archive.entries / GIBIBYTE:.1f} GiB",
                    size(stored),
                    f"{max(1, input_line(archive.entries, residues) / MAX_PART):,.0f}",
                )
            )
    return rows


ARCHIVE_HEADER = (
    *("archive", "entries", "residues/entry", "cores", "time", "of it alone", "workers' memory"),
    *("main's memory", "shards", "number"),
)


def duration(seconds: float) -> str:
    for unit, length in (("d", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * length:
            return f"{seconds / length:,.1f} {unit}"
    return f"{seconds:.1f} s"


def size(n_bytes: float) -> str:
    for unit, length in (("TiB", 1 << 40), ("GiB", GIBIBYTE)):
        if n_bytes >= length:
            return f"{n_bytes / length:,.1f} {unit}"
    return f"{n_bytes / MEBIBYTE:.1f} MiB"


# ---- the command --------------------------------------------------------------------------------


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--format", choices=["cif", "pdb", "bcif"], default="cif")
    parser.add_argument("--classes", type=int, default=8, help="of entries, by size")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--jobs", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--copies", type=int, default=4, help="of the input, for workers")
    parser.add_argument("--synthetic", type=int, default=1_000_000, help="entries")
    parser.add_argument("--cores", type=int, nargs="+", default=[2, 16, 64, 512])
    parser.add_argument("--markdown", action="store_true")
    options = parser.parse_args()
    use_worker_environment()
    for line in describe_machine():
        print(f"- {line}" if options.markdown else line)

    def table(title: str, header: Sequence[str], rows: Sequence[tuple[str, ...]]) -> None:
        print(f"\n{title}\n\n{format_table(header, rows, options.markdown)}", flush=True)

    # These start processes of their own, and must not share the core of this one.
    workers = measure_workers(options.folder, options.copies, options.jobs)
    main_bytes, worker_bytes = measure_memory(options.folder, max(options.jobs))
    fewer = measure_synthetic(options.synthetic // 10)
    synthetic = measure_synthetic(options.synthetic)
    pin_to_idlest_core()
    root, entries = find_entries(options.folder, options.format, 0)
    classes = measure_classes(root, entries, options.classes, options.repeats)
    time_line = Line.through(classes, [c.seconds for c in classes])
    bytes_line = Line.through(classes, [float(c.written) for c in classes])
    input_line = Line.through(classes, [float(c.stored) for c in classes])
    table(
        f"{len(entries)} {options.format} entries on one core, by size of the file",
        CLASS_HEADER,
        rows_of_classes(classes, time_line, bytes_line),
    )
    print(
        f"\nline: {1e3 * time_line.per_entry:.2f} ms per entry + "
        f"{1e6 * time_line.per_residue:.1f} µs per residue; "
        f"{bytes_line.per_entry:.0f} bytes per entry + {bytes_line.per_residue:.1f} per residue; "
        f"input {input_line.per_residue:.0f} bytes per residue"
    )
    first = min(workers)
    table(
        f"The command over {options.copies} copies of the folder",
        ("workers", "seconds", "speed-up", "per worker"),
        [
            (
                str(n),
                f"{s:.1f}",
                f"{workers[first] / s:.2f}×",
                f"{workers[first] * first / (s * n):.0%}",
            )
            for n, s in sorted(workers.items())
        ],
    )
    print(
        f"\npeak memory: main process {main_bytes / MEBIBYTE:.0f} MiB, "
        f"largest worker {worker_bytes / MEBIBYTE:.0f} MiB"
    )
    table(
        f"What one process does alone, for {options.synthetic:,} made-up entries of one chain "
        f"({options.synthetic // 10:,} take {size(max(v['peak'] for v in fewer.values()))})",
        ("step", "seconds", "peak memory", "file"),
        [
            (name, f"{v['seconds']:.1f}", size(v["peak"]), size(v["bytes"]))
            for name, v in synthetic.items()
        ],
    )
    most = max(workers)
    # What libraries take is there in both.
    growth = max(synthetic[name]["peak"] - fewer[name]["peak"] for name in synthetic)
    per_entry = max(0.0, growth / (options.synthetic - options.synthetic // 10))
    table(
        "From this, an archive",
        ARCHIVE_HEADER,
        rows_of_archives(
            ARCHIVES,
            sum(c.residues for c in classes) / sum(c.entries for c in classes),
            time_line,
            bytes_line,
            input_line,
            sum(v["seconds"] for v in synthetic.values()) / options.synthetic,
            workers[first] * first / (workers[most] * most),
            options.cores,
            worker_bytes,
            per_entry,
        ),
    )


if __name__ == "__main__":
    main()
