"""TM-scores of a dataset's folds, kept from one benchmark to the next, with what they cost."""

from __future__ import annotations

import math
import os
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.files.atomic import appears_whole
from pipeline.split.folds import Folds
from pipeline.split.same_fold import tm_score

SAVED_EVERY = 100


def spent() -> float:
    """Seconds of the processor, of this process and those that it ran."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def share(k: int, n: int) -> str:
    """``3 of 40: 7.5% (2.6% to 19.9%)``, with Wilson's interval for 95 %."""
    if not n:
        return "of none"
    z = 1.96
    middle = (k / n + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(k / n * (1 - k / n) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    low, high = max(0.0, middle - half), min(1.0, middle + half)
    return f"{k:,} of {n:,}: {k / n:.1%} ({low:.1%} to {high:.1%})"


class FoldScores:
    """Compares each pair once.

    Parameters
    ----------
    folds : Folds
    kept : Path, optional
        A file (of NumPy's ``.npz``) of an earlier run with the same folds; it is written, too.
    """

    def __init__(self, folds: Folds, kept: Path | None = None):
        self._ca, self._kept = folds.ca, kept
        self._places = {id(ca): k for k, ca in enumerate(folds.ca)}
        self._known: dict[tuple[int, int], tuple[float, float]] = {}
        if kept is not None and kept.exists():
            with np.load(kept) as file:
                pairs, values = file["pairs"], file["values"]
            rows = zip(pairs.tolist(), values.tolist(), strict=True)
            self._known = {(a, b): (score, seconds) for (a, b), (score, seconds) in rows}

    def __call__(self, a: int, b: int) -> float:
        """TM-score by the longer chain of two positions in the folds."""
        pair = min(a, b), max(a, b)
        if pair not in self._known:
            before = time.process_time()
            score = tm_score(self._ca[pair[0]], self._ca[pair[1]])
            self._known[pair] = score, time.process_time() - before
            if len(self._known) % SAVED_EVERY == 0:
                self.save()
        return self._known[pair][0]

    def between(self, a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
        """The same of two of the folds' own arrays, as `same_fold` wants it."""
        return self(self._places[id(a)], self._places[id(b)])

    def seconds(self, a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
        """Of the processor, that a pair took when it was compared."""
        one, other = self._places[id(a)], self._places[id(b)]
        return self._known[min(one, other), max(one, other)][1]

    def known(self, a: int) -> dict[int, float]:
        """Folds that were compared with one → TM-score."""
        found = {}
        for pair, (score, _) in self._known.items():
            if a in pair:
                found[pair[0] if pair[1] == a else pair[1]] = score
        return found

    def save(self) -> None:
        if self._kept is not None:
            pairs = np.array(list(self._known), np.int32).reshape(-1, 2)
            values = np.array(list(self._known.values())).reshape(-1, 2)
            with appears_whole(self._kept, self._kept.parent) as whole, open(whole, "wb") as file:
                np.savez(file, pairs=pairs, values=values)
