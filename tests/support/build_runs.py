"""Builds for tests: tiny inputs, the command as a process (with faults put in), its results."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq
import pytest

import pipeline.build.build_parts
import pipeline.built.plan
from pipeline.build.command import build
from pipeline.build.options import BuildOptions
from pipeline.built.plan import Part
from pipeline.built.reading import Reading
from pipeline.commands.words import MEBIBYTE
from pipeline.crew.build_part import build_part
from pipeline.crew.crew import Job
from pipeline.filters import Filters
from tests.support.places import ROOT

BACKBONE = {
    "N": (0.0, 0.0, 0.0),
    "CA": (1.458, 0.0, 0.0),
    "C": (2.009, 1.42, 0.0),
    "O": (1.251, 2.39, 0.0),
    "CB": (1.988, -0.773, -1.199),
}
RESIDUES = ("ALA", "SER", "LEU", "VAL", "LYS")
READING = Reading.__dataclass_fields__.keys() - {"filters", "manifest", "manifest_sha256"}


def peptide(n_residues: int, seed: int = 0) -> str:
    """A PDB file of one chain; every seed gives another."""
    rng = random.Random(seed)
    lines, serial = [], 0
    for number in range(1, n_residues + 1):
        name = rng.choice(RESIDUES)
        for atom, (x, y, z) in BACKBONE.items():
            serial += 1
            shifted = (x + 3.3 * number + rng.uniform(-0.05, 0.05), y + 0.3 * (number % 2), z)
            position = "".join(f"{v:8.3f}" for v in shifted)
            lines.append(
                f"ATOM  {serial:5d}  {atom:<3s} {name} A{number:4d}    {position}"
                f"  1.00 10.00           {atom[0]}  "
            )
    return "\n".join([*lines, "TER", "END", ""])


def dimer(n_residues: int, seed: int = 0) -> str:
    """A PDB file of two chains, A and B, that lie along each other, and a zinc between them."""
    one = [line for line in peptide(n_residues, seed).splitlines() if line.startswith("ATOM")]
    other = [f"{line[:21]}B{line[22:46]}{float(line[46:54]) + 4.5:8.3f}{line[54:]}" for line in one]
    zinc = "HETATM 9999 ZN    ZN C   1       6.000   0.500   2.200  1.00 10.00          ZN  "
    return "\n".join([*one, "TER", *other, "TER", zinc, "END", ""])


def write_peptides(folder: Path, n_files: int, n_residues: int = 40) -> Path:
    """A folder of tiny PDB files, some of them a folder deeper."""
    for k in range(n_files):
        path = folder / ("deep" if k % 3 == 0 else "") / f"p{k:03d}.pdb"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(peptide(n_residues, seed=k))
    return folder


class CrewOfNone:
    """Stands for `Crew`: builds the parts in turn, in this process, which spares a second."""

    def __init__(self, job: Job, n_jobs: int, on_done: Callable, *_: object) -> None:
        self._job, self._on_done = job, on_done

    def run(self, parts: Iterable[Part]) -> None:
        for part in parts:
            job = self._job
            self._on_done(build_part(part, job.root, job.reading, job.out_dir, work=job.work))


def build_here(
    source: Path | None, out: Path, *, min_part: int = 100_000, status: int = 0, **options: Any
) -> dict:
    """A build in this process, without workers and of many parts; what build.json says.

    Options are given as on the command line.
    """
    rules = {k: options.pop(k) for k in list(options) if k in Filters.__dataclass_fields__}
    told = {k: options.pop(k) for k in list(options) if k in READING}
    told |= {k: v * MEBIBYTE for k, v in told.items() if k in ("max_file_size", "max_memory")}
    reading = Reading(filters=Filters(**rules), **told)
    wanted = BuildOptions(out_dir=out, pdb_dir=source, reading=reading, **options)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline.build.build_parts, "Crew", CrewOfNone)
        patch.setattr(pipeline.built.plan, "MIN_PART", min_part)
        assert build(wanted) == status
    return build_json(out)


@dataclass(frozen=True)
class Result:
    """How a command ended."""

    status: int
    out: str
    err: str


class Command:
    """A command, the build by default, as a process of its own, in a process group of its own.

    Parameters
    ----------
    arguments : objects
        Their texts are the command line.
    module : str
        Which command: what ``python -m`` runs.
    append : mapping
        Module → source that is run at its end, in the command and in its workers: how faults get
        into processes that a test cannot reach.
    folder : Path
        Where such sources are put.
    """

    def __init__(
        self,
        *arguments: object,
        module: str = "pipeline.build",
        append: Mapping[str, str] | None = None,
        folder: Path | None = None,
        stdout: Any = subprocess.PIPE,
    ) -> None:
        environment = {**os.environ}
        if append:
            assert folder is not None
            environment["PYTHONPATH"] = str(_appending(append, folder))
        self.process = subprocess.Popen(
            [sys.executable, "-m", module, *map(str, arguments)],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def wait(self, timeout: float = 60) -> Result:
        """Its end; a test fails where it does not come."""
        try:
            out, err = self.process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, 9)
            out, err = self.process.communicate()
            raise AssertionError(f"the command hangs; it said:\n{out}\n{err}") from None
        return Result(self.process.returncode, out or "", err)

    def family(self) -> list[psutil.Process]:
        """The command's process and all below it."""
        try:
            parent = psutil.Process(self.process.pid)
            return [parent, *parent.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def workers(self) -> list[psutil.Process]:
        """Worker processes."""
        return [p for p in self.family() if "pipeline.crew.worker" in " ".join(_arguments(p))]


def _arguments(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def run(*arguments: object, **more: Any) -> Result:
    """The command from its start to its end."""
    return Command(*arguments, **more).wait()


def _appending(append: Mapping[str, str], folder: Path) -> Path:
    for module in append:
        assert importlib.util.find_spec(module), f"no {module}: the fault would stay away"
    name = hashlib.sha256(repr(sorted(append.items())).encode()).hexdigest()[:12]
    home = folder / f"faults-{name}"
    home.mkdir(exist_ok=True)
    (home / "sitecustomize.py").write_text(
        f"APPEND = {dict(append)!r}\n"
        "import importlib.abc, importlib.machinery, sys\n"
        "class Finder(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path, target=None):\n"
        # Arrow imports it where it is, which is a third of a start; here it is not.
        "        if name == 'pandas':\n"
        "            raise ModuleNotFoundError(name)\n"
        "        if name not in APPEND:\n"
        "            return None\n"
        "        spec = importlib.machinery.PathFinder.find_spec(name, path)\n"
        "        load = spec.loader.exec_module\n"
        "        def exec_module(module):\n"
        "            load(module)\n"
        "            exec(compile(APPEND[name], 'fault', 'exec'), module.__dict__)\n"
        "        spec.loader.exec_module = exec_module\n"
        "        return spec\n"
        "sys.meta_path.insert(0, Finder())\n"
    )
    return home


SMALL_PARTS = {"pipeline.built.plan": "MIN_PART = 100_000"}
"""Many parts of little input."""


def on_reading(entry_id: str, action: str) -> dict[str, str]:
    """A fault: what happens in a worker when it is to parse an entry (a pattern of its id)."""
    return {
        "pipeline.crew.build_part": (
            "import ctypes, fnmatch, os, signal, time\n"
            "_read_chains = read_chains\n"
            "def read_chains(data, entry_id, **options):\n"
            f"    if fnmatch.fnmatch(entry_id, {entry_id!r}):\n"
            f"        {action}\n"
            "    return _read_chains(data, entry_id, **options)\n"
        )
    }


def build_json(out: Path) -> dict:
    """What a finished build says of itself."""
    return json.loads((out / "build.json").read_text())


def shards(out: Path) -> dict[str, bytes]:
    """Shards by name."""
    return {p.name: p.read_bytes() for p in sorted((out / "shards").iterdir())}


def inputs(out: Path) -> dict[str, dict]:
    """Rows of inputs.parquet by name."""
    rows = pq.read_table(out / "inputs.parquet").to_pylist()
    found = {r["input"]: r for r in rows}
    assert len(found) == len(rows)
    return found


def entry_ids(out: Path) -> set[str]:
    """Entries in the index."""
    return set(pq.read_table(out / "index.parquet")["entry_id"].to_pylist())


def leftovers(out: Path) -> list[str]:
    """What a build should have swept up."""
    return sorted(p.name for p in (out / ".build" / "scratch").iterdir())


def accounts_for_all(out: Path) -> bool:
    """Whether found = ok + skipped + failed, in build.json and in inputs.parquet."""
    counts = build_json(out)["counts"]
    statuses = pq.read_table(out / "inputs.parquet")["status"].to_pylist()
    return counts["found"] == len(statuses) == counts["ok"] + counts["skipped"] + counts[
        "failed"
    ] and all(statuses.count(s) == counts[s] for s in ("ok", "skipped", "failed"))


def wait_until(condition: Callable[[], Any], seconds: float = 30) -> Any:
    """The first true value of a condition."""
    for _ in _ticks(seconds):
        if value := condition():
            return value
    raise AssertionError("it did not come to that")


def _ticks(seconds: float) -> Iterator[None]:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        yield
        time.sleep(0.01)


def snapshot(folder: Path) -> dict[str, tuple]:
    """Everything about a tree that a writer would change."""
    found: dict[str, tuple] = {}
    for path in sorted([folder, *folder.rglob("*")]):
        status = path.lstat()
        content = path.read_bytes() if path.is_file() else b""
        found[str(path)] = (status.st_mtime_ns, status.st_mode, status.st_ino, content)
    return found
