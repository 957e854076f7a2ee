"""Bonds, angles, RMSD and clashes of side chains that a network has placed on held-out backbones.

    python benchmarks/packed_geometry.py DATASET [--ckpt FILE] [--split test] [--passes 1 2 4]
        [--temperatures 0.5 1 --number 5]

The chains of a split are packed, and measured beside what they are and beside what is built from
their own torsions, which is the best that ideal bonds and angles can do (`side_chain_geometry.py`
says what the columns are). Residues that lack an atom in the file are left out. The seconds are of
the process, one thread, a chain at a time.

With `--temperatures`, `--number` alternatives of each chain are drawn as well. Their row is of all
of them together. The second table says how they differ: residues of which χ1 of two of them is more
than 40° apart, mean over pairs. And how good the best is: residues of which χ1 of some alternative
is within 20°, and the RMSD of the one that is nearest, chain by chain.
"""

from __future__ import annotations

import argparse
import itertools
import os
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from build_speed import describe_machine, format_table
from numpy.typing import NDArray
from side_chain_geometry import FAR_OFF, OVERLAP, rebuilt, row_of

from model.evaluate.held_out import COLUMNS, items_of
from model.metrics import Structure, chi_angles, chi_errors
from model.metrics.side_chains import core_residues, side_chain_rmsd
from model.network import FlowNetwork
from model.sample.run import Drawing, run_problems
from model.tasks import TASK_RECORDS, Request
from model.trained_network import load_network, open_dataset
from pipeline.residues import ATOM14_EXISTS

DIFFERENT = 40
"""Degrees: another rotamer."""


def whole_residues(chain: Structure) -> Structure:
    """The same with side chains only where no atom is missing."""
    whole = (chain.mask == ATOM14_EXISTS[chain.aatype]).all(axis=1)
    return chain.with_atoms(chain.positions, chain.mask & (whole[:, None] | (np.arange(14) < 4)))


def packed(
    network: FlowNetwork,
    items: list[dict[str, object]],
    passes: int,
    relax: bool,
    temperature: float = 0.0,
    alternative: int = 0,
) -> tuple[list[Structure], float]:
    """The chains with side chains by the network, and the seconds that it took."""
    problems = [TASK_RECORDS["packing"].held_out(item, 0) for item in items]
    began = time.process_time()
    request = Request("packing", steps=passes, no_relax=not relax, temperature=temperature)
    uids = [f"{problem.name}_{alternative}" for problem in problems]
    drawing = Drawing.of(request)
    found = dict(run_problems(network, problems, uids, drawing, batch_size=1))
    seconds = time.process_time() - began
    return [found[k].structure for k in range(len(problems))], seconds


def apart(found: list[Structure], real: list[Structure]) -> NDArray[np.float64]:
    """(residues of all chains, 4) degrees between the torsions of two packings."""
    return np.concatenate(
        [
            chi_errors(*(chi_angles(s.positions, s.mask, s.aatype) for s in (f, r)), r.aatype)
            for f, r in zip(found, real, strict=True)
        ]
    )


def recovered(found: list[Structure], real: list[Structure]) -> list[str]:
    """Shares of χ1 and χ2 within 20°, over residues."""
    errors = apart(found, real)
    known = ~np.isnan(errors)
    return [f"{(errors[known[:, k], k] <= 20).mean():.3f}" for k in (0, 1)]


def differing(name: str, drawn: list[list[Structure]], real: list[Structure]) -> list[str]:
    """How alternatives differ from each other, and how near the best is to the real one."""
    core = np.concatenate([core_residues(s.positions, s.mask) for s in real])
    errors = np.stack([apart(one, real)[:, 0] for one in drawn])
    known = ~np.isnan(errors[0])
    between = np.mean(
        [apart(a, b)[:, 0] > DIFFERENT for a, b in itertools.combinations(drawn, 2)], axis=0
    )
    rmsd = np.array(
        [
            [
                side_chain_rmsd(s.positions, s.mask, r.positions, r.mask, r.aatype).all
                for s, r in zip(one, real, strict=True)
            ]
            for one in drawn
        ]
    )
    return [
        name,
        f"{between[known & core].mean():.3f}",
        f"{between[known & ~core].mean():.3f}",
        f"{(errors[:, known] <= 20).mean():.3f}",
        f"{(errors[:, known] <= 20).any(axis=0).mean():.3f}",
        f"{np.nanmean(rmsd):.3f}",
        f"{np.nanmean(rmsd.min(axis=0)):.3f}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--ckpt", type=Path, help="that of the package if not given")
    parser.add_argument("--split", default="test")
    parser.add_argument("--where", default="length >= 20")
    parser.add_argument("--limit", type=int, help="of these chains so many, evenly spread")
    parser.add_argument("--passes", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--temperatures", type=float, nargs="+", default=[])
    parser.add_argument("--number", type=int, default=5, help="alternatives at each temperature")
    parser.add_argument("--markdown", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    network, info = load_network(options.ckpt)
    dataset = open_dataset(
        options.dataset,
        None,
        info.network.c_embedding,
        columns=COLUMNS,
        split=options.split,
        where=options.where,
    )
    items = items_of(dataset, options.limit)
    real = [whole_residues(Structure.from_item(item)) for item in items]
    chi = [np.radians(chi_angles(s.positions, s.mask, s.aatype)) for s in real]
    n_residues = sum(len(s) for s in real)
    rows = [
        [*row_of("as they are", real, real), *recovered(real, real), ""],
        [
            *row_of(
                "from their χ", own := [rebuilt(s, c) for s, c in zip(real, chi, strict=True)], real
            ),
            *recovered(own, real),
            "",
        ],
    ]
    for passes, relax in [*((p, False) for p in options.passes), (options.passes[-1], True)]:
        made, seconds = packed(network, items, passes, relax)
        # Where the file lacks an atom nothing is compared, clashes included.
        made = [s.with_atoms(s.positions, s.mask & r.mask) for s, r in zip(made, real, strict=True)]
        name = f"packed, {passes} {'pass' if passes == 1 else 'passes'}{', relaxed' * relax}"
        speed = f"{100 * seconds / n_residues:.2f}"
        rows.append([*row_of(name, made, real), *recovered(made, real), speed])
    alternatives = []
    for temperature in options.temperatures:
        drawn, seconds = [], 0.0
        for number in range(options.number):
            made, took = packed(network, items, options.passes[-1], True, temperature, number + 1)
            seconds += took
            drawn.append(
                [
                    s.with_atoms(s.positions, s.mask & r.mask)
                    for s, r in zip(made, real, strict=True)
                ]
            )
        name = f"{options.number} drawn at {temperature:g}"
        together, all_real = [s for one in drawn for s in one], real * options.number
        speed = f"{100 * seconds / n_residues / options.number:.2f}"
        row = row_of(name, together, all_real)
        rows.append([*row, *recovered(together, all_real), speed])
        alternatives.append(differing(name, drawn, real))
    for line in describe_machine():
        print(f"{'- ' if options.markdown else ''}{line}")
    print(f"\nnetwork of step {info.step:,}; {len(real)} chains, {n_residues} residues\n")
    header = ["side chains", "RMSD, Å", "core", "bonds, Å rms", f"off by > {FAR_OFF} Å"]
    header += ["angles, ° rms", f"clashes < {OVERLAP} per 1,000 atoms"]
    header += ["χ1 within 20°", "χ2", "s per 100 residues"]
    print(format_table(header, rows, options.markdown))
    if alternatives:
        header = ["", f"χ1 of two > {DIFFERENT}° apart, core", "… of the rest", "χ1 within 20°"]
        header += [f"… of one of {options.number}", "RMSD by chain, Å", "… of the best"]
        print(f"\n{format_table(header, alternatives, options.markdown)}")


if __name__ == "__main__":
    main()
