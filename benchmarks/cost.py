"""What a build costs, per entry and per residue, and what that makes of a whole archive.

    python benchmarks/cost.py FOLDER [--jobs 1 2] [--synthetic 1000000] [--markdown]

Measures, on the folder's files of one format: seconds and bytes of one core by size of the entry,
and a line through them; the command with 1, 2, … workers; memory; and, on made-up entries, what
one process does for all of them alone (search, plan, index, report; a resumed build; an update).
Prints from these the time, memory and bytes of a mirror of the PDB, of an update of it, and of
AlphaFold DB. benchmarks/README.md says more.
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
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
from scaling import build_command, peak_memory, timed_build
from scipy.optimize import nnls

from pipeline.built.plan import FILE_OVERHEAD, MAX_PART, MIN_PART, PARTS_WANTED, Part, make_plan
from pipeline.commands.words import MEBIBYTE
from pipeline.sources import Entry

GIBIBYTE = 1 << 30
SYNTHETIC = Path(__file__).with_name("synthetic_archive.py")


FIRST_BUILD = ("search", "plan", "index", "report")
"""Steps that one process does alone, whatever the number of workers."""

COMMANDS = (*FIRST_BUILD, "resume", "update")
"""Steps whose memory is that of a build's main process."""

CORES_PER_BUILD = 16
"""Of several datasets, as many are built at once as there are so many cores."""

REVISED = 300
"""Entries that an update finds changed: some hundred are revised in a week of the PDB."""


@dataclass(frozen=True)
class Archive:
    """What is to be built.

    Attributes
    ----------
    residues : float or None
        Per entry; None takes the mean of the sample.
    files : int
        Inputs per entry: each has a row in the plan and a record, whatever becomes of it.
    stored : float or None
        Bytes of the input; None takes those of the sample, by residues.
    """

    name: str
    entries: int
    residues: float | None = None
    files: int = 1
    stored: float | None = None


ARCHIVES = (
    # wwPDB's announcement of early 2026: 250,441 entries.
    Archive("PDB mirror", 250_441),
    # Of the clusters of AlphaFold DB that are no single models: 2.30 million (I. Barrio-Hernandez
    # et al., Nature 622, 637, 2023). 350 residues are an assumption, about the mean length of
    # UniProt's sequences; 13 bytes a residue are what Foldcomp says of itself.
    Archive("AlphaFold DB: representatives, Foldcomp", 2_300_000, 350.0, stored=2.3e6 * 350 * 13),
    # 214,683,839 models (M. Varadi et al., Nucleic Acids Research 52, D368, 2024) of three files
    # each, together 23 TiB (the README of its bucket).
    Archive("AlphaFold DB: all tars", 214_683_839, 350.0, files=3, stored=23 * 2.0**40),
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


def measure_workers(
    root: Path, entries: Sequence[Entry], copies: int, jobs: Sequence[int]
) -> dict[int, float]:
    """Workers → seconds of the command over copies of the entries, best of two."""
    best: dict[int, float] = {}
    for n in [*jobs, *reversed(jobs)]:
        with tempfile.TemporaryDirectory() as scratch:
            links = link_entries(root, entries, copies, Path(scratch) / "in")
            seconds = timed_build(build_command(links, Path(scratch) / "out", n, 0)).wall
        best[n] = min(best.get(n, np.inf), seconds)
    return best


def link_entries(root: Path, entries: Sequence[Entry], copies: int, into: Path) -> Path:
    """A folder of links to the entries' files, each `copies` times under names of their own."""
    into.mkdir()
    for copy, (k, entry) in itertools.product(range(copies), enumerate(entries)):
        path = root / entry.candidates[0].path
        (into / f"copy{copy}_{k}_{path.name}").symlink_to(path.resolve())
    return into


def measure_memory(root: Path, entries: Sequence[Entry], jobs: int) -> tuple[int, int]:
    """Peak bytes of the main process and of the largest worker."""
    with tempfile.TemporaryDirectory() as scratch:
        links = link_entries(root, entries, 1, Path(scratch) / "in")
        main, workers = peak_memory(build_command(links, Path(scratch) / "out", jobs, 0))
    return main, max(workers, default=0)


@dataclass(frozen=True)
class Growth:
    """A line through what a step takes for two numbers of made-up entries."""

    fixed: float
    per_entry: float

    def __call__(self, entries: float) -> float:
        return self.fixed + self.per_entry * entries

    @classmethod
    def between(cls, few: int, at_few: float, many: int, at_many: float) -> Growth:
        per_entry = max(0.0, (at_many - at_few) / (many - few))
        return cls(max(0.0, at_many - per_entry * many), per_entry)


@dataclass(frozen=True)
class Synthetic:
    """What one process does for all entries, measured for two numbers of them.

    Attributes
    ----------
    few, many : int
        Entries.
    at_few, at_many : dict
        Step → what `synthetic_archive.py` prints of it.
    """

    few: int
    many: int
    at_few: Mapping[str, Mapping[str, float]]
    at_many: Mapping[str, Mapping[str, float]]

    def growth(self, step: str, what: str) -> Growth:
        """Of ``seconds``, ``peak`` or ``bytes``."""
        at_few, at_many = self.at_few[step][what], self.at_many[step][what]
        return Growth.between(self.few, at_few, self.many, at_many)

    def alone(self, files: float) -> float:
        """Seconds of a first build in which nothing else happens."""
        return sum(self.growth(step, "seconds")(files) for step in FIRST_BUILD)

    def memory(self, files: float) -> float:
        """Peak bytes of a build's main process, whatever the command does."""
        return max(self.growth(step, "peak")(files) for step in COMMANDS)

    def beside_shards(self, files: float) -> float:
        """Bytes of the tables and of the records that make a build resumable."""
        return sum(self.growth(step, "bytes")(files) for step in (*FIRST_BUILD, "resume"))


def measure_synthetic(many: int) -> Synthetic:
    """Each step in a process of its own; for a tenth of the entries too."""
    few = max(1000, many // 10)
    return Synthetic(few, many, _run_synthetic(few), _run_synthetic(many))


def _run_synthetic(n: int) -> dict[str, dict[str, float]]:
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


def rows_of_steps(synthetic: Synthetic) -> list[tuple[str, ...]]:
    rows = []
    for name, step in synthetic.at_many.items():
        before = synthetic.at_few[name]
        rows.append(
            (
                name,
                f"{step['seconds']:.1f}",
                f"{step['cpu']:.1f}",
                f"{step['cpu'] / before['cpu']:.1f}×",
                size(step["peak"]),
                f"{synthetic.growth(name, 'peak').per_entry:,.0f}",
                size(step["bytes"]) if step["bytes"] else "",
            )
        )
    return rows


STEP_HEADER = (
    *("step", "seconds", "CPU s", "of the few's", "peak memory", "bytes/entry of it", "files"),
)


@dataclass(frozen=True)
class Model:
    """Everything measured, and what it says of an archive.

    Attributes
    ----------
    time, written, stored : Line
        Seconds of one core, bytes of shards, bytes of input.
    mean_residues : float
        Per entry of the sample.
    efficiency : float
        Of several workers, each against one alone.
    worker_bytes : int
        Peak memory of one.
    files_per_dataset : int
        An archive of more is cut into several datasets.
    """

    time: Line
    written: Line
    stored: Line
    synthetic: Synthetic
    mean_residues: float
    efficiency: float
    worker_bytes: int
    files_per_dataset: int

    def residues(self, archive: Archive) -> float:
        return archive.entries * (archive.residues or self.mean_residues)

    def work(self, archive: Archive) -> float:
        """Seconds of one core."""
        return self.time(archive.entries, self.residues(archive))

    def input_bytes(self, archive: Archive) -> float:
        return archive.stored or self.stored(archive.entries, self.residues(archive))

    def datasets(self, archive: Archive) -> int:
        return -(-archive.entries * archive.files // self.files_per_dataset)

    def files(self, archive: Archive) -> float:
        """Inputs of one dataset."""
        return archive.entries * archive.files / self.datasets(archive)

    def part_bytes(self, archive: Archive) -> float:
        """Of one part, as `make_plan` cuts one dataset: with an overhead for each file."""
        whole = self.input_bytes(archive) / self.datasets(archive)
        whole += FILE_OVERHEAD * self.files(archive)
        return min(MAX_PART, max(MIN_PART, whole / PARTS_WANTED))

    def parts(self, archive: Archive, part_bytes: float) -> float:
        """Of one dataset."""
        whole = self.input_bytes(archive) / self.datasets(archive)
        return max(1.0, (whole + FILE_OVERHEAD * self.files(archive)) / part_bytes)

    def seconds(self, work: float, cores: int) -> float:
        """Of so much work of one core, by several."""
        return work / (cores * (self.efficiency if cores > 1 else 1.0))

    def at_once(self, archive: Archive, cores: int) -> int:
        """Datasets that are built at once."""
        return min(self.datasets(archive), max(1, cores // CORES_PER_BUILD))

    def busy(self, archive: Archive, cores: int) -> int:
        """Cores that have a part to build."""
        parts = self.parts(archive, self.part_bytes(archive)) * self.at_once(archive, cores)
        return min(cores, max(1, int(parts)))

    def alone(self, archive: Archive, cores: int) -> float:
        """Seconds of all in which one process of a build works and its workers wait."""
        rounds = -(-self.datasets(archive) // self.at_once(archive, cores))
        return rounds * self.synthetic.alone(self.files(archive))


def rows_of_sizes(archives: Sequence[Archive], model: Model) -> list[tuple[str, ...]]:
    rows = []
    for archive in archives:
        n, residues = model.datasets(archive), model.residues(archive)
        beside = n * model.synthetic.beside_shards(model.files(archive))
        rows.append(
            (
                archive.name,
                f"{archive.entries:,}",
                f"{residues / archive.entries:.0f}",
                f"{n:,}",
                f"{model.files(archive):,.0f}",
                size(model.input_bytes(archive)),
                size(model.written(archive.entries, residues)),
                size(beside),
                f"{model.parts(archive, model.part_bytes(archive)):,.0f}",
                size(model.synthetic.memory(model.files(archive))),
            )
        )
    return rows


SIZE_HEADER = (
    *("archive", "entries", "residues/entry", "datasets", "files of each", "input", "shards"),
    *("beside them", "shards of each", "main's memory"),
)


def rows_of_times(
    archives: Sequence[Archive], model: Model, cores: Sequence[int]
) -> list[tuple[str, ...]]:
    rows = []
    for archive in archives:
        for n in cores:
            alone = model.alone(archive, n)
            total = model.seconds(model.work(archive), model.busy(archive, n)) + alone
            rows.append(
                (
                    archive.name,
                    f"{n}",
                    f"{model.at_once(archive, n)}",
                    duration(total),
                    duration(alone),
                    f"{size(model.input_bytes(archive) / total)}/s",
                    size(n * model.worker_bytes),
                )
            )
    return rows


TIME_HEADER = (
    *("archive", "cores", "datasets at once", "time", "of it alone", "reads"),
    "workers' memory",
)


def rows_of_update(archive: Archive, model: Model, cores: int) -> list[tuple[str, ...]]:
    """An update after `REVISED` entries anywhere in the archive, by size of its parts."""
    rows = []
    alone = sum(
        model.synthetic.growth(step, "seconds")(model.files(archive))
        for step in ("search", "update", "report")
    )
    for mebibytes in (4, 16, 64):
        parts = model.parts(archive, mebibytes * MEBIBYTE)
        share = 1 - (1 - 1 / parts) ** REVISED
        again = share * model.work(archive)
        rows.append(
            (
                f"{mebibytes}",
                f"{parts:,.0f}",
                f"{share:.0%}",
                duration(model.seconds(again, cores)),
                duration(alone),
            )
        )
    return rows


UPDATE_HEADER = ("--part-size", "shards", "built again", "time", "and alone")


def duration(seconds: float) -> str:
    for unit, length in (("d", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * length:
            return f"{seconds / length:,.1f} {unit}"
    return f"{seconds:.1f} s"


def size(n_bytes: float) -> str:
    for unit, length in (("TiB", 1 << 40), ("GiB", GIBIBYTE)):
        if n_bytes >= length:
            return f"{n_bytes / length:,.1f} {unit}"
    if n_bytes >= MEBIBYTE:
        return f"{n_bytes / MEBIBYTE:,.1f} MiB"
    return f"{n_bytes / 1024:.0f} KiB"


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
    parser.add_argument(
        "--files-per-dataset", type=int, default=2_500_000, help="an archive of more is several"
    )
    parser.add_argument("--markdown", action="store_true")
    options = parser.parse_args()
    use_worker_environment()
    for line in describe_machine():
        print(f"- {line}" if options.markdown else line)

    def table(title: str, header: Sequence[str], rows: Sequence[tuple[str, ...]]) -> None:
        print(f"\n{title}\n\n{format_table(header, rows, options.markdown)}", flush=True)

    root, entries = find_entries(options.folder, options.format, 0)
    if len(entries) < 2:
        raise SystemExit(f"{options.folder} holds no {options.format} files to measure")
    # These start processes of their own, and must not share the core of this one.
    workers = measure_workers(root, entries, options.copies, options.jobs)
    main_bytes, worker_bytes = measure_memory(root, entries, max(options.jobs))
    synthetic = measure_synthetic(options.synthetic)
    pin_to_idlest_core()
    classes = measure_classes(root, entries, options.classes, options.repeats)
    time_line = Line.through(classes, [c.seconds for c in classes])
    bytes_line = Line.through(classes, [float(c.written) for c in classes])
    input_line = Line.through(classes, [float(c.stored) for c in classes])
    n_residues = sum(c.residues for c in classes)
    table(
        f"{len(entries)} {options.format} entries on one core, by size of the file",
        CLASS_HEADER,
        rows_of_classes(classes, time_line, bytes_line),
    )
    print(
        f"\nline: {1e3 * time_line.per_entry:.2f} ms per entry + "
        f"{1e6 * time_line.per_residue:.1f} µs per residue; "
        f"{bytes_line.per_entry:.0f} bytes per entry + {bytes_line.per_residue:.1f} per residue; "
        f"input {input_line.per_entry:,.0f} per entry + {input_line.per_residue:.0f} per residue"
    )
    first, most = min(workers), max(workers)
    table(
        f"The command over {options.copies} copies of these files",
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
    predicted = options.copies * time_line(len(entries), n_residues)
    print(
        f"\nthe line says {predicted:.1f} s of one core: the command starts Python, searches, "
        f"plans and finishes besides"
        f"\npeak memory: main process {main_bytes / MEBIBYTE:.0f} MiB, "
        f"largest worker {worker_bytes / MEBIBYTE:.0f} MiB"
    )
    table(
        f"What one process does alone, for {synthetic.many:,} made-up entries of one chain; "
        f"the few are {synthetic.few:,}",
        STEP_HEADER,
        rows_of_steps(synthetic),
    )
    model = Model(
        time=time_line,
        written=bytes_line,
        stored=input_line,
        synthetic=synthetic,
        mean_residues=n_residues / len(entries),
        efficiency=min(1.0, workers[first] * first / (workers[most] * most)),
        worker_bytes=worker_bytes,
        files_per_dataset=options.files_per_dataset,
    )
    at_most = f"datasets of at most {options.files_per_dataset:,} files"
    table(
        f"From this, an archive, the PDB's entries being as large as these; {at_most}",
        SIZE_HEADER,
        rows_of_sizes(ARCHIVES, model),
    )
    table(
        f"Its time, each core as busy as with {most} workers; a dataset for every "
        f"{CORES_PER_BUILD} cores",
        TIME_HEADER,
        rows_of_times(ARCHIVES, model, options.cores),
    )
    table(
        f"--update of the {ARCHIVES[0].name} after {REVISED} entries were revised, "
        f"{options.cores[0]} cores",
        UPDATE_HEADER,
        rows_of_update(ARCHIVES[0], model, options.cores[0]),
    )


if __name__ == "__main__":
    main()
