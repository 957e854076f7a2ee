"""How many pairs of one fold a split by structure leaves, and what it costs.

    python benchmarks/structure_split.py DATASET [--pairs 1000] [--linkage single] [--markdown]

The dataset is divided as `pipeline.split --by structure` does it. Then pairs of chains across the
split are drawn: at random, and those that come next behind the prefilter's cut, which nobody has
compared. TM-align says which have a TM-score of 0.5 or more by the longer chain; intervals are
Wilson's for 95 %. Seconds are those of the processor.
"""

from __future__ import annotations

import argparse
import math
import os
from pathlib import Path

import numpy as np
from build_speed import format_table
from numpy.typing import NDArray

from pipeline.built.built_dataset import BuiltDataset
from pipeline.built.novelty import SAME_FOLD
from pipeline.split.assign import assign_splits
from pipeline.split.chains import read_chains
from pipeline.split.folds import Folds, read_folds
from pipeline.split.mmseqs import MMseqs
from pipeline.split.options import SplitOptions
from pipeline.split.same_fold import same_fold, tm_score
from pipeline.split.similar_letters import MAX_E_VALUE, similar_letters

BEHIND_THE_CUT = 10.0
"""Sensitivity of a second search: what it finds beside the first one is just behind the cut."""


def spent() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def share(folds: Folds, pairs: NDArray[np.int64]) -> str:
    """How many of the pairs have one fold."""
    n, k = len(pairs), sum(tm_score(folds.ca[a], folds.ca[b]) >= SAME_FOLD for a, b in pairs)
    if not n:
        return "no pairs"
    z = 1.96
    middle = (k / n + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(k / n * (1 - k / n) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    low, high = max(0.0, middle - half), middle + half
    return f"{k:,} of {n:,}: {k / n:.1%} ({low:.1%} to {high:.1%})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--pairs", type=int, default=1000)
    parser.add_argument("--linkage", default="single", choices=["single", "representatives"])
    parser.add_argument("--markdown", action="store_true")
    given = parser.parse_args()
    dataset, mmseqs = BuiltDataset.open(given.dataset), MMseqs.find()
    options = SplitOptions(given.dataset, by="structure", linkage=given.linkage)
    chains = read_chains(dataset)
    clock, seconds = spent(), {}

    def lap(name: str) -> None:
        nonlocal clock
        seconds[name], clock = spent() - clock, spent()

    similar = mmseqs.similar_sequences(chains, options, 1)
    lap("clusters of sequences")
    folds = read_folds(dataset, chains)
    lap("reading folds")
    near, _ = similar_letters(mmseqs, folds.letters, 1)
    lap("candidates")
    compared = 0

    def counted(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
        nonlocal compared
        compared += 1
        return tm_score(a, b)

    alike = same_fold(folds, near, given.linkage, score=counted)
    lap("confirming")
    both = np.concatenate([similar, folds.numbers[alike]])
    found, before = (assign_splits(chains, options, joins) for joins in (both, similar))
    sizes = np.bincount(found.components)
    split = found.split[folds.chains]
    more, _ = similar_letters(mmseqs, folds.letters, 1, BEHIND_THE_CUT)
    known = {tuple(pair) for pair in near.tolist()}
    beyond = np.array([pair for pair in more.tolist() if tuple(pair) not in known], np.int64)
    beyond = beyond.reshape(-1, 2)
    beyond = beyond[split[beyond[:, 0]] != split[beyond[:, 1]]][: given.pairs]
    rng = np.random.default_rng(0)
    drawn: set[tuple[int, int]] = set()
    while len(drawn) < given.pairs:
        a, b = sorted(rng.integers(0, len(folds), 2).tolist())
        if split[a] != split[b]:
            drawn.add((a, b))
    n = len(folds)
    rows = [
        ("chains, different sequences", f"{len(chains):,}, {n:,}"),
        ("candidates, E-value up to " + f"{MAX_E_VALUE:g}", f"{len(near):,}"),
        ("of these compared by TM-align", f"{compared:,}"),
        ("clusters by sequence", f"{len(set(before.clusters.tolist())):,}"),
        ("clusters by sequence and structure", f"{len(set(found.clusters.tolist())):,}"),
        ("largest component", f"{sizes.max():,} chains ({sizes.max() / len(chains):.1%})"),
        ("TM ≥ 0.5 across the split, at random", share(folds, np.array(sorted(drawn)))),
        ("TM ≥ 0.5 across the split, next behind the cut", share(folds, beyond)),
        *((f"{name}, s", f"{value:.0f}") for name, value in seconds.items()),
        ("a comparison, ms", f"{1000 * seconds['confirming'] / max(1, compared):.0f}"),
    ]
    print(format_table(("", ""), rows, given.markdown))


if __name__ == "__main__":
    main()
