"""Which rescaling makes the predicted errors of side chains right: a factor, a line, or steps.

    python benchmarks/error_scale.py DATASET [--ckpt FILE] [--split val] [--limit 90]

Chains of validation are packed, and two halves of them tell of each other: each way is fitted on
one and tried on the other. *Off* is how far the mean predicted RMSD is from the mean found one, in
a tenth of the residues with torsions, on average over the tenths; *rms* is over residues. The ways
are fitted by least squares to Σ p(rotamer)·RMSD(rotamer, output); *steps* are of tenths, isotonic,
with lines between. `model.evaluate` fits the line.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from build_speed import describe_machine, format_table
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

from model.evaluate.calibration import tenths
from model.evaluate.held_out import COLUMNS, items_of
from model.evaluate.tally import ResidueTally
from model.flow.error_scale import ErrorScale
from model.sample.run import Drawing, run_problems
from model.tasks import TASK_RECORDS, Request
from model.trained_network import load_network, open_dataset

Values = NDArray[np.float64]
Way = Callable[[Values], Values]


def as_it_is(predicted: Values, found: Values) -> Way:
    return lambda x: x


def by_factor(predicted: Values, found: Values) -> Way:
    factor = (predicted * found).sum() / np.square(predicted).sum()
    return lambda x: factor * x


def by_line(predicted: Values, found: Values) -> Way:
    scale = ErrorScale.fitted(predicted, found)
    assert scale is not None
    return lambda x: scale.offset + scale.slope * x


def by_steps(predicted: Values, found: Values) -> Way:
    groups = tenths(predicted)
    x = [predicted[group].mean() for group in groups]
    y = isotonic_regression([found[group].mean() for group in groups]).x
    return lambda values: np.interp(values, x, y)


WAYS = {
    "as it is": as_it_is,
    "a factor": by_factor,
    "a line": by_line,
    "ten steps": by_steps,
}


def row_of(name: str, halves: list[tuple[Values, Values]]) -> list[str]:
    """Each half by what the other tells."""
    off, squared, bias = [], [], []
    for (fit, fit_found), (predicted, found) in (halves, halves[::-1]):
        scaled = WAYS[name](fit, fit_found)(predicted)
        off += [abs(scaled[g].mean() - found[g].mean()) for g in tenths(predicted)]
        squared.append(np.square(scaled - found))
        bias.append(scaled - found)
    rms = np.sqrt(np.concatenate(squared).mean())
    return [name, f"{np.mean(off):.3f}", f"{rms:.3f}", f"{np.concatenate(bias).mean():+.3f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--ckpt", type=Path, help="that of the package if not given")
    parser.add_argument("--split", default="val")
    parser.add_argument("--where", default="length >= 20")
    parser.add_argument("--limit", type=int, default=90, help="so many chains, evenly spread")
    parser.add_argument("--markdown", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    network, info = load_network(options.ckpt)
    choice = {"columns": COLUMNS, "split": options.split, "where": options.where}
    dataset = open_dataset(options.dataset, None, info.network.c_embedding, **choice)
    packing = TASK_RECORDS["packing"]
    problems = [packing.held_out(item, 0) for item in items_of(dataset, options.limit)]
    if len(problems) < 2:
        raise SystemExit(f"error: {len(problems)} chain: two halves need more")
    halves = [ResidueTally(), ResidueTally()]
    # Not on a scale, whatever the checkpoint has.
    names = [problem.name for problem in problems]
    for k, output in run_problems(network, problems, names, Drawing.of(Request("packing"))):
        halves[k % 2].add(output.structure, problems[k].given, output.predicted_error)
    values = [half.with_torsions() for half in halves]
    for line in describe_machine():
        print(f"{'- ' if options.markdown else ''}{line}")
    n_residues = sum(len(found) for _, found in values)
    print(
        f"\nnetwork of step {info.step:,}; dataset {dataset.digest[:12]}, split {options.split}: "
        f"{len(problems)} chains, {n_residues} side chains with torsions\n"
    )
    header = ["predicted error", "off, Å", "rms, Å", "predicted − found, Å"]
    rows = [row_of(name, values) for name in WAYS]
    print(format_table(header, rows, options.markdown))


if __name__ == "__main__":
    main()
