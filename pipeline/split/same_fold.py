"""Chains of one fold: pairs whose letters of 3Di align, confirmed by TM-score.

The letters alone join too much: MMseqs2 finds the candidates, and TM-align (Y. Zhang, J. Skolnick,
Nucleic Acids Research 33, 2302, 2005) decides.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from pipeline.built.novelty import SAME_FOLD
from pipeline.split.folds import Folds
from pipeline.split.options import Linkage

MIN_CA = 3
"""TM-align superposes no fewer."""


def tm_score(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """TM-score of two chains' CA by TM-align, by the length of the longer; 0 for mere stubs."""
    from tmtools import tm_align

    if min(len(a), len(b)) < MIN_CA:
        return 0.0
    # The sequences only label the alignment.
    found = tm_align(a, b, "A" * len(a), "A" * len(b))
    return float(min(found.tm_norm_chain1, found.tm_norm_chain2))


def can_share_fold(n: int, m: int) -> bool:
    """Whether chains of these lengths can reach `SAME_FOLD`: a score is at most their ratio."""
    return min(n, m) >= SAME_FOLD * max(n, m)


def same_fold(
    folds: Folds,
    candidates: NDArray[np.int64],
    linkage: Linkage,
    tell: Callable[[int, int], None] = lambda done, of: None,
    score: Callable[[NDArray[np.float64], NDArray[np.float64]], float] = tm_score,
) -> NDArray[np.int64]:
    """Pairs of folds that belong together.

    Parameters
    ----------
    folds : Folds
    candidates : (p, 2) int64
        Positions in `folds`, the most similar pairs first.
    linkage : {"single", "representatives"}
        ``single``: every confirmed pair joins. A pair whose folds are joined already needs no
        confirmation. ``representatives``: the longest fold that is left becomes a centre, and takes
        what is confirmed to be like it; so no two are joined that are not like one centre.
    tell : callable
        Called with (pairs looked at, all of them).
    score : callable
        Two arrays of CA → TM-score.

    Returns
    -------
    (q, 2) int64
        Positions in `folds`.
    """
    lengths = [len(ca) for ca in folds.ca]
    possible = [(a, b) for a, b in candidates.tolist() if can_share_fold(lengths[a], lengths[b])]
    join = _by_representatives if linkage == "representatives" else _by_single_linkage
    pairs = join(folds, possible, tell, score)
    return np.array(pairs, np.int64).reshape(-1, 2)


Score = Callable[[NDArray[np.float64], NDArray[np.float64]], float]
Pairs = list[tuple[int, int]]


def _by_single_linkage(
    folds: Folds, possible: Pairs, tell: Callable[[int, int], None], score: Score
) -> Pairs:
    parent = list(range(len(folds)))

    def root(k: int) -> int:
        while parent[k] != k:
            parent[k] = k = parent[parent[k]]
        return k

    joined = []
    for done, (a, b) in enumerate(possible):
        tell(done, len(possible))
        if root(a) != root(b) and score(folds.ca[a], folds.ca[b]) >= SAME_FOLD:
            parent[root(b)] = root(a)
            joined.append((a, b))
    return joined


def _by_representatives(
    folds: Folds, possible: Pairs, tell: Callable[[int, int], None], score: Score
) -> Pairs:
    near: list[list[int]] = [[] for _ in range(len(folds))]
    for a, b in possible:
        near[a].append(b)
        near[b].append(a)
    free = [True] * len(folds)
    joined = []
    order = sorted(range(len(folds)), key=lambda k: (-len(folds.ca[k]), k))
    for done, centre in enumerate(order):
        tell(done, len(order))
        if not free[centre]:
            continue
        free[centre] = False
        for k in near[centre]:
            if free[k] and score(folds.ca[centre], folds.ca[k]) >= SAME_FOLD:
                free[k] = False
                joined.append((centre, k))
    return joined
