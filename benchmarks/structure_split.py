"""How many pairs of one fold a split by structure leaves, and what it costs.

    python benchmarks/structure_split.py DATASET [--pairs 1000] [--linkage single] [--search words]
        [--max-e-value 10] [--scores FILE] [--markdown]

The dataset is divided as `pipeline.split --by structure` does it. Then pairs of chains across the
split are drawn: at random, and those that come next behind the candidates' cut, which nobody has
compared. TM-align says which have a TM-score of 0.5 or more by the longer chain; intervals are
Wilson's for 95 %. A second table says what parts of the dataset cost, and what larger ones would.
Seconds are those of the processor. `--scores` keeps the comparisons for another run.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from build_speed import format_table
from fold_scores import FoldScores, share, spent
from numpy.typing import NDArray

from pipeline.built.built_dataset import BuiltDataset
from pipeline.built.novelty import SAME_FOLD
from pipeline.split.assign import assign_splits
from pipeline.split.chains import read_chains
from pipeline.split.folds import Folds, read_folds
from pipeline.split.mmseqs import MMseqs
from pipeline.split.options import SplitOptions
from pipeline.split.same_fold import can_share_fold, same_fold
from pipeline.split.similar_letters import FOR_CLUSTERS, LetterSearch, similar_letters

BEHIND_THE_CUT = LetterSearch(without_words=True, max_e_value=100_000, most=200)
"""What this search finds beside the first one is just behind the cut."""

PARTS = (250, 500, 1000)
LARGER = (40_000, 200_000, 700_000)
"""Numbers of chains for which the costs are extrapolated."""


@dataclass(frozen=True)
class Cost:
    """Of a search for candidates.

    Attributes
    ----------
    n : int
        Folds.
    n_near, n_possible : int
        Candidates, and those whose lengths allow one fold: TM-align compares no more.
    seconds : float
    """

    n: int
    n_near: int
    n_possible: int
    seconds: float


def candidates(
    folds: Folds, how: LetterSearch, chosen: NDArray[np.int64]
) -> tuple[NDArray[np.int64], Cost]:
    """Among the chosen folds."""
    before = spent()
    near, _ = similar_letters(MMseqs.find(), [folds.letters[k] for k in chosen], 1, how)
    seconds = spent() - before
    near = chosen[near]
    possible = [can_share_fold(len(folds.ca[a]), len(folds.ca[b])) for a, b in near.tolist()]
    return near, Cost(len(chosen), len(near), sum(possible), seconds)


def cost_rows(costs: list[Cost], start: float, comparison: float) -> list[tuple[str, ...]]:
    """Measured, and extrapolated by powers of the number of folds that fit the measured ones."""
    rows = [
        (
            *(f"{c.n:,}", f"{c.n_near:,}", f"{c.n_possible:,}"),
            *(f"{c.seconds:.1f} s", f"{c.n_possible * comparison:.0f} s"),
        )
        for c in costs
    ]
    n = np.log([c.n for c in costs])
    values = [
        [c.n_near for c in costs],
        [c.n_possible for c in costs],
        [max(0.01, c.seconds - start) for c in costs],
    ]
    fits = [np.polyfit(n, np.log(v), 1) for v in values]
    slopes = [f"{slope:.2f}" for slope, _ in fits]
    rows.append(("exponent", *slopes, slopes[1]))
    for larger in LARGER:
        near, possible, search = (float(np.exp(np.polyval(fit, np.log(larger)))) for fit in fits)
        hours = search / 3600, possible * comparison / 3600
        rows.append(
            (
                f"{larger:,}, extrapolated",
                *(f"{near:.2g}", f"{possible:.2g}"),
                *(f"{value:.2g} h" for value in hours),
            )
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--pairs", type=int, default=1000)
    parser.add_argument("--linkage", default="single", choices=["single", "representatives"])
    parser.add_argument("--search", choices=["words", "all"])
    parser.add_argument("--max-e-value", type=float, default=FOR_CLUSTERS.max_e_value)
    parser.add_argument("--scores", type=Path)
    parser.add_argument("--markdown", action="store_true")
    given = parser.parse_args()
    all_pairs = FOR_CLUSTERS.without_words if given.search is None else given.search == "all"
    how = LetterSearch(max_e_value=given.max_e_value, without_words=all_pairs)
    dataset, mmseqs = BuiltDataset.open(given.dataset), MMseqs.find()
    options = SplitOptions(given.dataset, by="structure", linkage=given.linkage)
    chains = read_chains(dataset)
    clock = spent()
    similar = mmseqs.similar_sequences(chains, options, 1)
    sequences = spent() - clock
    clock = spent()
    folds = read_folds(dataset, chains)
    reading = spent() - clock
    scores = FoldScores(folds, given.scores)
    n = len(folds)
    order = np.random.default_rng(0).permutation(n)
    near, whole = candidates(folds, how, np.arange(n))
    seconds = []

    def score(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
        value = scores.between(a, b)
        seconds.append(scores.seconds(a, b))
        return value

    alike = same_fold(folds, near, given.linkage, score=score)
    confirm, n_compared = sum(seconds), len(seconds)
    both = np.concatenate([similar, folds.numbers[alike]])
    found, before = (assign_splits(chains, options, joins) for joins in (both, similar))
    sizes = np.bincount(found.components)
    split = found.split[folds.chains]
    more, _ = similar_letters(mmseqs, folds.letters, 1, BEHIND_THE_CUT)
    known = {tuple(sorted(pair)) for pair in near.tolist()}
    beyond = [
        (a, b)
        for a, b in more.tolist()
        if tuple(sorted((a, b))) not in known and split[a] != split[b]
    ]
    rng = np.random.default_rng(0)
    drawn: set[tuple[int, int]] = set()
    held_apart = (n * n - sum(int(np.sum(split == s)) ** 2 for s in set(split.tolist()))) // 2
    while len(drawn) < min(given.pairs, held_apart):
        a, b = sorted(rng.integers(0, n, 2).tolist())
        if split[a] != split[b]:
            drawn.add((a, b))

    def of_one_fold(pairs: list[tuple[int, int]]) -> str:
        lengths = [len(ca) for ca in folds.ca]
        k = sum(
            can_share_fold(lengths[a], lengths[b]) and scores(a, b) >= SAME_FOLD for a, b in pairs
        )
        return share(k, len(pairs))

    words = "all pairs" if all_pairs else f"sensitivity {how.sensitivity:g}"
    rows = [
        ("chains, different sequences", f"{len(chains):,}, {n:,}"),
        (f"candidates, {words}, E-value up to {how.max_e_value:g}", f"{whole.n_near:,}"),
        ("of these compared by TM-align", f"{n_compared:,}"),
        ("pairs that this joins", f"{len(alike):,}"),
        ("clusters by sequence", f"{len(set(before.clusters.tolist())):,}"),
        ("clusters by sequence and structure", f"{len(set(found.clusters.tolist())):,}"),
        ("largest component", f"{sizes.max():,} chains ({sizes.max() / len(chains):.1%})"),
        ("TM ≥ 0.5 across the split, at random", of_one_fold(sorted(drawn))),
        ("TM ≥ 0.5 across the split, next behind the cut", of_one_fold(beyond[: given.pairs])),
        ("pairs across the split that a search of all finds", f"{len(beyond):,}"),
        ("clusters of sequences, s", f"{sequences:.0f}"),
        ("reading folds, s", f"{reading:.1f}"),
        ("candidates, s", f"{whole.seconds:.1f}"),
        ("confirming, s", f"{confirm:.0f}"),
        ("a comparison, ms", f"{1000 * confirm / max(1, n_compared):.0f}"),
    ]
    scores.save()
    print(format_table(("", ""), rows, given.markdown))
    parts = [part for part in PARTS if part < n]
    if not parts:
        return
    costs = [candidates(folds, how, np.sort(order[:part]))[1] for part in parts]
    clock = spent()
    similar_letters(mmseqs, folds.letters[:2], 1, how)
    start = spent() - clock
    heads = (
        *("different sequences", "candidates", "to be compared, at most"),
        *("search", "comparing them"),
    )
    comparison = confirm / max(1, n_compared)
    print()
    print(format_table(heads, cost_rows([*costs, whole], start, comparison), given.markdown))
    print(f"\nOf each search {start:.1f} s are start; the exponent is of the rest.")


if __name__ == "__main__":
    main()
