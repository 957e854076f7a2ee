"""Repeats builds for as long as asked, and tests whether memory and open files grow.

    python benchmarks/soak.py data_manifest/examples --minutes 60

Each round builds the folder anew in this process, and opens and reads what it built. The slope of
resident memory over the rounds is fitted after a third of them, in which caches fill.
"""

from __future__ import annotations

import argparse
import gc
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa

from pipeline.built.built_dataset import BuiltDataset
from pipeline.built.layout import Layout
from pipeline.built.plan import make_plan
from pipeline.built.reading import Reading
from pipeline.crew.build_part import build_part
from pipeline.report import write_report
from pipeline.sources import discover, group_entries

MOST_GROWTH = 32 << 20
"""Bytes that the fitted line may rise over the rounds it is fitted to. A leak of one batch of
Arrow's would be more within minutes."""


@dataclass(frozen=True)
class Sample:
    """After one round."""

    seconds: float
    n_bytes: int
    n_files: int
    n_threads: int


@dataclass(frozen=True)
class Verdict:
    """A line through resident memory: what it rises by over the rounds that were fitted, with its
    standard error; and how many more files are open at the end."""

    growth: float
    error: float
    more_files: int
    more_threads: int

    @property
    def is_flat(self) -> bool:
        """Whether no growth beyond the bound can be told from noise, and no file is left open."""
        return self.growth - 3 * self.error <= MOST_GROWTH and self.more_files <= 0


def judge(samples: list[Sample]) -> Verdict:
    """Fit the last two thirds.

    Parameters
    ----------
    samples : list of Sample
        At least nine.
    """
    tail = samples[len(samples) // 3 :]
    rounds = np.linspace(0.0, 1.0, len(tail))
    (slope, _), covariance = np.polyfit(rounds, [s.n_bytes for s in tail], 1, cov=True)
    half = len(tail) // 2
    files = [max(s.n_files for s in part) for part in (tail[:half], tail[half:])]
    threads = [max(s.n_threads for s in part) for part in (tail[:half], tail[half:])]
    error = float(np.sqrt(covariance[0, 0]))
    return Verdict(float(slope), error, files[1] - files[0], threads[1] - threads[0])


def one_round(source: Path, out: Path) -> None:
    """Build every part, then read what was built."""
    layout = Layout(out)
    layout.make_folders()
    found = discover(source)
    for part in make_plan(group_entries(found.files)):
        build_part(part, found.root, Reading(), out)


def soak(source: Path, seconds: float, finished: Path | None = None) -> list[Sample]:
    """Samples of rounds over so many seconds.

    Parameters
    ----------
    source : Path
        Structure files.
    seconds : float
    finished : Path, optional
        A dataset of which each round writes the report, too.
    """
    process = psutil.Process()
    samples: list[Sample] = []
    started = time.monotonic()
    while (now := time.monotonic() - started) < seconds or len(samples) < 9:
        with tempfile.TemporaryDirectory() as folder:
            one_round(source, Path(folder) / "out")
            if finished is not None:
                BuiltDataset.open(finished).index()
                write_report(finished, Path(folder) / "report.html")
        gc.collect()
        pa.default_memory_pool().release_unused()
        memory = process.memory_info().rss
        samples.append(Sample(now, memory, process.num_fds(), process.num_threads()))
    return samples


def table(samples: list[Sample]) -> str:
    """Some twenty rows of the samples, as Markdown."""
    step = max(1, len(samples) // 20)
    lines = [
        "| round | minutes | memory / MiB | open files | threads |",
        "|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {k + 1} | {s.seconds / 60:.1f} | {s.n_bytes / 2**20:.1f} | {s.n_files} "
        f"| {s.n_threads} |"
        for k, s in enumerate(samples)
        if k % step == 0 or k == len(samples) - 1
    ]
    return "\n".join(lines)


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--dataset", type=Path, help="write its report in each round, too")
    options = parser.parse_args()
    samples = soak(options.folder, 60 * options.minutes, options.dataset)
    verdict = judge(samples)
    print(table(samples))
    print(
        f"\n{len(samples):,} rounds: {verdict.growth / 2**20:+.2f} ± {verdict.error / 2**20:.2f} "
        f"MiB, "
        f"{verdict.more_files:+d} open files over the last two thirds: "
        f"{'flat' if verdict.is_flat else 'GROWS'}"
    )
    return 0 if verdict.is_flat else 1


if __name__ == "__main__":
    sys.exit(main())
