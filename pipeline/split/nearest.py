"""For every held-out chain the training chain that is most like it, by sequence and by fold."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.split.chains import Chains
from pipeline.split.folds import Folds
from pipeline.split.mmseqs import Hits
from pipeline.split.same_fold import Score, can_share_fold, tm_score

NOTHING = -1

MOST_COMPARED = 10
"""Training chains that TM-align compares with one chain, those with the best E-values among those
whose lengths allow one fold."""

LEAST_RESIDUES = 20
"""Of chains that are searched with: the alignments of MMseqs2 say nothing of shorter ones."""

TRAINING = 0
"""Number of the split that training uses."""


@dataclass(frozen=True, slots=True)
class Nearest:
    """Rows as in `Chains`; unknown of chains that train, are in no split, or are too short.

    Attributes
    ----------
    by_sequence, by_structure : (n,) int64
        Chain of the training split, `NOTHING` where none was found.
    identity, tm : (n,) float64
        Share of identical residues in the alignment, and TM-score by the length of the longer
        chain (three decimals, never rounded up). 0 where nothing was found, NaN where it is
        unknown.
    """

    by_sequence: NDArray[np.int64]
    identity: NDArray[np.float64]
    by_structure: NDArray[np.int64]
    tm: NDArray[np.float64]


def compared_chains(split: NDArray[np.int64]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """(n,) which chains are held out, and which train."""
    return split > TRAINING, split == TRAINING


def nearest_sequences(
    chains: Chains,
    split: NDArray[np.int64],
    search: Callable[[list[str], list[str]], Hits],
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """`Nearest.by_sequence` and `Nearest.identity`.

    Parameters
    ----------
    chains : Chains
    split : (n,) int64
    search : callable
        Whole sequences of held-out and of training chains → hits with identities.
    """
    held, train = compared_chains(split)
    by, identity = np.full(len(chains), NOTHING), np.full(len(chains), np.nan)
    if not train.any():
        return by, identity
    stands = _standing_for(chains, train)
    queries = np.unique(chains.keys[held, 1])
    queries = np.array([k for k in queries if _known(chains.sequences[k])], np.int64)
    targets = np.unique(chains.keys[train, 1])
    found: dict[int, tuple[int, float]] = {int(k): (NOTHING, 0.0) for k in queries}
    hits = search([chains.sequences[k] for k in queries], [chains.sequences[k] for k in targets])
    for (query, target), value in zip(hits.pairs.tolist(), hits.values.tolist(), strict=True):
        if value > found[int(queries[query])][1]:
            found[int(queries[query])] = int(stands[int(targets[target])]), value
    for k in np.flatnonzero(held):
        same = [stands[key] for key in chains.keys[k, ::-1].tolist() if key in stands]
        if same:
            by[k], identity[k] = same[0], 1.0
        elif (key := int(chains.keys[k, 1])) in found:
            by[k], identity[k] = found[key][0], round(found[key][1], 3)
    return by, identity


def nearest_folds(
    chains: Chains,
    split: NDArray[np.int64],
    by_sequence: NDArray[np.int64],
    folds: tuple[Folds, Folds],
    hits: Hits,
    tell: Callable[[int, int], None] = lambda done, of: None,
    score: Score = tm_score,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """`Nearest.by_structure` and `Nearest.tm`.

    Compared are the `MOST_COMPARED` training folds whose letters align best and whose lengths allow
    one fold, and that of the nearest sequence.

    Parameters
    ----------
    chains : Chains
    split, by_sequence : (n,) int64
    folds : (Folds, Folds)
        Of the held-out chains, and of those that train.
    hits : Hits
        Positions in them, with E-values.
    tell : callable
        Called with (folds done, all of them).
    score : callable
        Two arrays of CA → TM-score.
    """
    held, train = compared_chains(split)
    by, tm = np.full(len(chains), NOTHING), np.full(len(chains), np.nan)
    if not train.any():
        return by, tm
    queries, targets = folds
    candidates: list[list[int]] = [[] for _ in range(len(queries))]
    for query, target in hits.pairs.tolist():
        sizes = len(queries.ca[query]), len(targets.ca[target])
        if len(candidates[query]) < MOST_COMPARED and can_share_fold(*sizes):
            candidates[query].append(target)
    place = {int(number): m for m, number in enumerate(targets.numbers)}
    best: dict[int, tuple[int, float]] = {}
    for query, chain in enumerate(queries.chains.tolist()):
        tell(query, len(queries))
        if not _known(queries.letters[query]):
            continue
        if by_sequence[chain] != NOTHING:
            alike = place[int(chains.keys[by_sequence[chain], 1])]
            candidates[query] = list(dict.fromkeys([alike, *candidates[query]]))
        found, most = NOTHING, 0.0
        for target in candidates[query]:
            sizes = len(queries.ca[query]), len(targets.ca[target])
            if min(sizes) <= most * max(sizes):
                continue  # a score is at most the ratio of the lengths
            value = score(queries.ca[query], targets.ca[target])
            if value > most:
                found, most = int(targets.chains[target]), value
        best[int(queries.numbers[query])] = found, np.floor(most * 1000) / 1000
    for k in np.flatnonzero(held):
        if (key := int(chains.keys[k, 1])) in best:
            by[k], tm[k] = best[key]
    return by, tm


def _standing_for(chains: Chains, among: NDArray[np.bool_]) -> dict[int, int]:
    """Number of a sequence → the longest of those chains that has it, whole or in its rows."""
    order = np.flatnonzero(among)
    order = order[np.argsort(-chains.lengths[order], kind="stable")]
    found: dict[int, int] = {}
    for column in (1, 0):
        for k in order.tolist():
            found.setdefault(int(chains.keys[k, column]), k)
    return found


def _known(letters: str) -> bool:
    return len(letters) - letters.count("X") >= LEAST_RESIDUES
