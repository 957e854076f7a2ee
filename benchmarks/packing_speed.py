"""How many chains a minute `python -m model.sample --task packing` packs, and where its time goes.

    python benchmarks/packing_speed.py INPUT [--limit 40] [--threads 2] [--number 1]

INPUT is what the command takes: a folder, a tar, a list. Everything between the start of Python and
its end is measured: reading, sampling with the last step, writing, tables. Chains of 150 residues
are residues / 150. On a busy machine wall time says little; the processor's time over `--threads`
is what it could not be below.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path

import torch
from build_speed import describe_machine, format_table

from model.sample import Request, Sampler
from model.sample.sampler import read_problems
from model.sample.samples import save_structures
from model.sample.tables import save_tables

CHAIN = 150
"""Residues."""


class Clock:
    """Seconds since the last question: (wall, processor)."""

    def __init__(self) -> None:
        self._last = self._now()

    @staticmethod
    def _now() -> tuple[float, float]:
        used = resource.getrusage(resource.RUSAGE_SELF)
        return time.perf_counter(), used.ru_utime + used.ru_stime

    def __call__(self) -> tuple[float, float]:
        now, last = self._now(), self._last
        self._last = now
        return now[0] - last[0], now[1] - last[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("input", type=Path)
    parser.add_argument("--ckpt", type=Path, help="that of the package if not given")
    parser.add_argument("--limit", type=int, help="of the inputs so many, evenly spread")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--number", type=int, default=1)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--markdown", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    request = Request(
        "packing", input=options.input, number=options.number, batch_size=options.batch_size
    )
    steps: dict[str, tuple[float, float]] = {}
    clock = Clock()
    flow = Sampler.load(options.ckpt, device="cpu")
    start = clock()
    problems, _ = read_problems(request)
    if options.limit is not None:
        step = max(1, len(problems) // options.limit)
        problems = problems[::step][: options.limit]
    steps["reading"] = clock()
    made = [sample for _, sample in flow.run(request, problems)]
    steps["sampling"] = clock()
    with tempfile.TemporaryDirectory() as folder:
        for sample in made:
            save_structures(sample, Path(folder), "cif", trajectory=False)
        steps["writing"] = clock()
        save_tables([sample.rows() for sample in made], Path(folder), "", request)
        steps["tables"] = clock()
    residues = sum(len(problem) for problem in problems)
    chains = residues / CHAIN
    steps["all"] = tuple(map(sum, zip(*steps.values(), strict=True)))  # type: ignore[assignment]
    for line in describe_machine():
        print(f"{'- ' if options.markdown else ''}{line}")
    print(
        f"\n{len(problems)} packings, {residues} residues; {options.threads} threads; the network "
        f"loads in {start[0]:.1f} s\n"
    )
    rows = [
        [name, f"{wall:.1f}", f"{cpu:.1f}", f"{100 * cpu / residues:.3f}"]
        for name, (wall, cpu) in steps.items()
    ]
    header = ["", "wall, s", "processor, s", "… per 100 residues"]
    print(format_table(header, rows, options.markdown))
    wall, cpu = steps["all"]
    print(
        f"\nchains of {CHAIN} residues a minute: {60 * chains / wall:.0f} by wall time, "
        f"{60 * chains / (cpu / options.threads):.0f} if {options.threads} cores were free"
    )


if __name__ == "__main__":
    main()
