"""How often a held-out chain's nearest training chain is missed, and what closer looks would cost.

    python benchmarks/nearest_chain.py DATASET [--chains 36] [--closest 30] [--others 10]
        [--held-out 0.2] [--by sequence structure] [--scores FILE] [--markdown]

The dataset is divided as `pipeline.split` does it, by sequence and by structure. Of the chains that
both hold out some are drawn. TM-align compares each with the training chains whose letters of 3Di
align best when all pairs are aligned (`--closest`, or `--closest all`), with some others at random,
and with the candidates of every search of the second table. The best of all these is held against
what the columns of `splits.parquet` would say. So what is missed is missed at least; how much more
there may be, the others at random tell. Pairs whose lengths rule out 0.5 are left out.
`--scores` keeps the comparisons, so that a run can go on.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from build_speed import format_table
from fold_scores import FoldScores, share, spent
from numpy.typing import NDArray

from pipeline.built.built_dataset import BuiltDataset
from pipeline.built.novelty import KINDS, SAME_FOLD, kinds_of
from pipeline.split.assign import assign_splits
from pipeline.split.chains import Chains, read_chains
from pipeline.split.folds import Folds, read_folds
from pipeline.split.mmseqs import Hits, MMseqs
from pipeline.split.nearest import compared_chains, nearest_folds, nearest_sequences
from pipeline.split.options import SplitOptions
from pipeline.split.same_fold import can_share_fold, same_fold
from pipeline.split.similar_letters import (
    CLOSE_LOOK,
    LetterSearch,
    for_neighbours,
    search_letters,
    similar_letters,
)

NOVEL = KINDS.index("novel")

SEARCHES = (
    LetterSearch(),
    LetterSearch(sensitivity=9.5, max_e_value=1000),
    LetterSearch(without_words=True, most=100),
    LetterSearch(without_words=True, max_e_value=100_000, coverage=0.3, most=100),
    CLOSE_LOOK,
)
MOST_COMPARED = (10, 30)
CLOSEST = replace(CLOSE_LOOK, most=1000)

Ranked = dict[int, list[int]]
"""Fold → others, the most similar first."""


@dataclass(frozen=True)
class Division:
    """What a split does with chains and folds.

    Attributes
    ----------
    name : str
    split : (n,) int64
        Of the chains.
    held, train : (m,) bool
        Of the folds.
    """

    name: str
    split: NDArray[np.int64]
    held: NDArray[np.bool_]
    train: NDArray[np.bool_]


def divide(
    chains: Chains, folds: Folds, options: SplitOptions, mmseqs: MMseqs, scores: FoldScores
) -> Division:
    """As the command does."""
    joins = mmseqs.similar_sequences(chains, options, 1)
    if options.by == "structure":
        near, _ = similar_letters(mmseqs, folds.letters, 1)
        alike = same_fold(folds, near, options.linkage, score=scores.between)
        joins = np.concatenate([joins, folds.numbers[alike]])
    split = assign_splits(chains, options, joins).split
    held, train = (of_chains[folds.chains] for of_chains in compared_chains(split))
    return Division(f"by {options.by}", split, held, train)


def some(folds: Folds, chosen: NDArray[np.int64]) -> Folds:
    letters, ca = ([values[k] for k in chosen.tolist()] for values in (folds.letters, folds.ca))
    return Folds(folds.numbers[chosen], folds.chains[chosen], letters, ca)


def columns(
    division: Division,
    chains: Chains,
    folds: Folds,
    drawn: NDArray[np.int64],
    scores: FoldScores,
) -> NDArray[np.float64]:
    """``nearest_tm`` of the drawn folds."""
    mmseqs = MMseqs.find()

    def search(queries: list[str], targets: list[str]) -> Hits:
        return mmseqs.identities(queries, targets, 0.8, 1)

    by_sequence, _ = nearest_sequences(chains, division.split, search)
    ours, training = some(folds, drawn), some(folds, np.flatnonzero(division.train))
    letters = ours.letters, training.letters
    hits = search_letters(mmseqs, *letters, 1, for_neighbours(*letters))
    both = ours, training
    found = nearest_folds(chains, division.split, by_sequence, both, hits, score=scores.between)
    return found[1][ours.chains]


def ranked(
    folds: Folds, drawn: NDArray[np.int64], train: NDArray[np.bool_], how: LetterSearch
) -> Ranked:
    """Training folds that a search finds of each drawn fold, as far as lengths allow one fold."""
    targets = np.flatnonzero(train)
    letters = [[folds.letters[k] for k in side] for side in (drawn, targets)]
    found: Ranked = {int(k): [] for k in drawn}
    for query, target in search_letters(MMseqs.find(), *letters, 1, how).pairs.tolist():
        one, other = int(drawn[query]), int(targets[target])
        if can_share_fold(len(folds.ca[one]), len(folds.ca[other])):
            found[one].append(other)
    return found


def look_closely(
    folds: Folds,
    drawn: NDArray[np.int64],
    train: NDArray[np.bool_],
    compare: FoldScores,
    numbers: tuple[int, int],
) -> tuple[int, int, float]:
    """Compare the closest ones, and others; of the others how many there were, those of one fold,
    and how many per chain were compared with nothing."""
    n_closest, n_others = numbers
    rng = np.random.default_rng(1)
    near = ranked(folds, drawn, train, CLOSEST)
    n = n_same = left = 0
    for query in drawn.tolist():
        length = len(folds.ca[query])
        closest = near[query][:n_closest]
        rest = [
            k
            for k in np.flatnonzero(train).tolist()
            if can_share_fold(length, len(folds.ca[k])) and k not in set(closest)
        ]
        for target in closest:
            compare(query, target)
        others = rng.permutation(rest)[:n_others].tolist()
        n += len(others)
        n_same += sum(compare(query, target) >= SAME_FOLD for target in others)
        left += len(rest) - len(others)
    compare.save()
    return n, n_same, left / max(1, len(drawn))


def truth(
    drawn: NDArray[np.int64], train: NDArray[np.bool_], compare: FoldScores
) -> NDArray[np.float64]:
    """The best score of each drawn fold with a training fold, of all that were compared."""
    known = [compare.known(query) for query in drawn.tolist()]
    return np.array([max([0.0, *(v for k, v in near.items() if train[k])]) for near in known])


def against_columns(
    name: str, said: NDArray[np.float64], true: NDArray[np.float64]
) -> list[tuple[str, ...]]:
    """What the columns say, and what is so."""
    known = ~np.isnan(said)
    true, said = np.floor(true[known] * 1000 + 1e-6) / 1000, said[known]
    is_class, said_class = kinds_of(true), kinds_of(said)
    novel, same = said_class == NOVEL, true >= SAME_FOLD
    # Scores of a pair differ in the last digits by which chain comes first.
    missed = same & (said < true - 2e-3)
    return [
        (f"{name}: chains compared", f"{len(true):,}"),
        (f"{name}: called novel, but have one of their fold", of(novel & same, novel)),
        (
            f"{name}: of another class than the column says",
            of(is_class != said_class, known[known]),
        ),
        (
            f"{name}: of those that have one of their fold, a nearer one was missed",
            of(missed, same),
        ),
    ]


def of(some: NDArray[np.bool_], all_: NDArray[np.bool_]) -> str:
    return share(int(some.sum()), int(all_.sum()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--chains", type=int, default=36)
    parser.add_argument("--closest", default="30")
    parser.add_argument("--others", type=int, default=10)
    parser.add_argument("--held-out", type=float, default=0.2, help="share of the chains")
    parser.add_argument("--by", nargs="+", default=["sequence", "structure"])
    parser.add_argument("--scores", type=Path)
    parser.add_argument("--markdown", action="store_true")
    given = parser.parse_args()
    dataset, mmseqs = BuiltDataset.open(given.dataset), MMseqs.find()
    chains = read_chains(dataset)
    folds = read_folds(dataset, chains)
    compare = FoldScores(folds, given.scores)
    fractions = [1 - given.held_out, given.held_out / 2, given.held_out / 2]
    divisions = []
    for by in given.by:
        options = SplitOptions(given.dataset, by=by, fractions=fractions)
        divisions.append(divide(chains, folds, options, mmseqs, compare))
    held = np.all([division.held for division in divisions], axis=0)
    train = np.any([division.train for division in divisions], axis=0)
    drawn = np.sort(np.random.default_rng(0).permutation(np.flatnonzero(held))[: given.chains])
    n_closest = len(folds) if given.closest == "all" else int(given.closest)
    n, n_same, left = look_closely(folds, drawn, train, compare, (n_closest, given.others))
    searches = []
    for division in divisions:
        for how in SEARCHES:
            before = spent()
            near = ranked(folds, drawn, division.train, how)
            searches.append((division, how, near, spent() - before))
            for query, targets in near.items():
                for target in targets[: max(MOST_COMPARED)]:
                    compare(query, target)
    said = [columns(division, chains, folds, drawn, compare) for division in divisions]
    compare.save()
    true = {d.name: truth(drawn, d.train, compare) for d in divisions}
    rows = [
        ("different sequences", f"{len(folds):,}"),
        ("held-out chains drawn", f"{len(drawn):,} of {int(held.sum()):,}"),
        ("training chains at random beside the closest, of their fold", share(n_same, n)),
        ("training chains that nothing was compared with, per chain", f"{left:.0f}"),
    ]
    for division, tm in zip(divisions, said, strict=True):
        rows += against_columns(division.name, tm, true[division.name])
    print(format_table(("", ""), rows, given.markdown))
    print()
    rows = []
    for division, how, near, seconds in searches:
        best_of = true[division.name]
        same = best_of >= SAME_FOLD
        words = "all pairs" if how.without_words else f"-s {how.sensitivity:g}"
        for most in MOST_COMPARED:
            lists = [near[query][:most] for query in drawn.tolist()]
            found = np.array(
                [
                    max([0.0, *(compare(query, target) for target in targets)])
                    for query, targets in zip(drawn.tolist(), lists, strict=True)
                ]
            )
            novel = found < SAME_FOLD
            name = f"{words}, E ≤ {how.max_e_value:g}, coverage {how.coverage:g}"
            rows.append(
                (
                    f"{division.name}, {name}",
                    f"{most}",
                    of(novel & same, novel),
                    of(same & (found < best_of - 1e-9), same),
                    f"{np.mean([len(targets) for targets in lists]):.1f}",
                    f"{seconds:.1f}",
                )
            )
    heads = (
        "candidates",
        "at most",
        "novel, but have one of their fold",
        "of the fold, and a nearer one missed",
        "comparisons a chain",
        "search, CPU s",
    )
    print(format_table(heads, rows, given.markdown))


if __name__ == "__main__":
    main()
