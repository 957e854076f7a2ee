"""Sets of generated structures: how they differ from each other and from the training set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform

from model.metrics.superposition import aligned_tm_scores

SAME_FOLD = 0.5


@dataclass(frozen=True)
class Diversity:
    """Of n structures.

    Attributes
    ----------
    n : int
    mean_tm : float
        Mean TM-score of all pairs: low is diverse. NaN for fewer than two structures.
    n_clusters : int
    cluster_share : float
        Clusters per structure: 1 if all differ, 1/n if all are alike.
    labels : (n,) int64
        Cluster of each structure, from 0, numbered in the order in which they appear.
    """

    n: int
    mean_tm: float
    n_clusters: int
    cluster_share: float
    labels: NDArray[np.int64]


@dataclass(frozen=True)
class Nearest:
    """The most similar structure of a set.

    Attributes
    ----------
    index : int
        In the set; -1 if no structure could be compared.
    tm : float
        TM-score normalised by the query's length.
    """

    index: int
    tm: float


def pairwise_tm(structures: Sequence[ArrayLike]) -> NDArray[np.float64]:
    """TM-scores of all pairs after structural alignment.

    Parameters
    ----------
    structures : sequence of (L_k, 3) float
        Cα in Å.

    Returns
    -------
    (n, n) float64
        Symmetric: the mean of the two normalisations, which are one for equal lengths. 1 on the
        diagonal.

    Notes
    -----
    n(n−1)/2 runs of TM-align, about 0.03 s each for 100 residues and 1 s for 500.
    """
    n = len(structures)
    scores = np.eye(n)
    for i in range(n):
        for j in range(i):
            scores[i, j] = scores[j, i] = np.mean(aligned_tm_scores(structures[i], structures[j]))
    return scores


def diversity(scores: ArrayLike, threshold: float = SAME_FOLD) -> Diversity:
    """Summary of `pairwise_tm`.

    Parameters
    ----------
    scores : (n, n) float
        Symmetric TM-scores.
    threshold : float
        Clusters are merged as long as the mean TM-score between them is at least this (average
        linkage).
    """
    scores = np.asarray(scores, np.float64)
    n = scores.shape[0]
    if n < 2:
        return Diversity(n, float("nan"), n, 1.0 if n else float("nan"), np.zeros(n, np.int64))
    pairs = scores[np.triu_indices(n, 1)]
    tree = linkage(squareform(1 - scores, checks=False), "average")
    # An ulp of room: 1 - (1 - threshold) need not be the threshold.
    found = fcluster(tree, 1 - threshold + 1e-12, "distance")
    _, first, inverse = np.unique(found, return_index=True, return_inverse=True)
    labels = np.argsort(np.argsort(first))[inverse].astype(np.int64)
    return Diversity(n, float(pairs.mean()), len(first), len(first) / n, labels)


def nearest_structure(
    query: ArrayLike, structures: Sequence[ArrayLike], *, enough: float = 1.0
) -> Nearest:
    """The structure of a set (the training split, say) with the highest TM-score to the query.

    Parameters
    ----------
    query : (L, 3) float
        Cα in Å.
    structures : sequence of (L_k, 3) float
    enough : float
        Stop at the first structure that scores this much.

    Notes
    -----
    TM-align of every structure whose length lets it win: normalised by the query's length L, a
    structure of M residues scores at most M / L, so the longest are tried first and the rest is
    skipped once it cannot reach the best. Exact.
    """
    query = np.asarray(query, np.float64)
    lengths = np.array([np.shape(s)[0] for s in structures], np.int64)
    # Near the query's own length the good scores are likely; a bound never exceeds 1.
    bound = np.minimum(lengths / max(len(query), 1), 1.0)
    order = np.lexsort((np.abs(lengths - len(query)), -bound))
    best = Nearest(-1, float("nan"))
    for k in order:
        if best.index >= 0 and (best.tm >= bound[k] or best.tm >= enough):
            break
        tm = aligned_tm_scores(query, structures[k])[0]
        if tm == tm and not tm <= best.tm:
            best = Nearest(int(k), tm)
    return best
