"""Numbers → bins with round edges."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

TAIL = 0.99
"""Share of the values that the bins cover where the rest would squeeze them."""


@dataclass(frozen=True)
class Histogram:
    """Counts of one quantity.

    Attributes
    ----------
    edges : (n_bins + 1,) float
        Bin k holds ``edges[k] <= value < edges[k + 1]``; the last one its upper edge as well.
    counts : (n_bins,) int
    n : int
        All values, those beyond the bins included.
    n_missing : int
        Values that are not known.
    n_above : int
        Values above the last edge.
    quartiles : (5,) float
        Smallest, lower quartile, median, upper quartile, largest; empty without values.
    """

    edges: tuple[float, ...]
    counts: tuple[int, ...]
    n: int
    n_missing: int
    n_above: int
    quartiles: tuple[float, ...]

    @property
    def step(self) -> float:
        return self.edges[1] - self.edges[0]

    @property
    def median(self) -> float:
        return self.quartiles[2]


def histogram(
    values: ArrayLike,
    *,
    low: float | None = None,
    high: float | None = None,
    most_bins: int = 44,
    least_step: float = 0.0,
) -> Histogram:
    """Count values in bins whose edges are multiples of 1, 2, 2.5 or 5 times a power of ten.

    Parameters
    ----------
    values : (N,) array
        NaN and infinities are counted as missing.
    low, high : float, optional
        Where the bins begin and end; found from the values if not given. Values below `low` are
        counted in the first bin.
    most_bins : int
    least_step : float
        1 for whole numbers.
    """
    array = np.asarray(values, np.float64)
    known = array[np.isfinite(array)]
    n_missing = len(array) - len(known)
    if not len(known):
        return Histogram((), (), 0, n_missing, 0, ())
    quartiles = tuple(float(q) for q in np.quantile(known, (0, 0.25, 0.5, 0.75, 1)))
    start = quartiles[0] if low is None else low
    end = quartiles[4] if high is None else high
    if high is None:
        tail = float(np.quantile(known, TAIL))
        if end - start > 1.25 * (tail - start):
            end = tail
    # Equal values have a bin as well, one that their digits can tell from its neighbours.
    span = max(end - start, least_step, 1e-6 * max(abs(start), abs(end)), 1e-9)
    step = nice_step(span / most_bins, least_step)
    first = math.floor(start / step + 1e-9)
    last = max(first + 1, math.ceil(end / step - 1e-9))
    if high is None and last * step <= end:
        last += 1  # the largest of whole numbers has a bin of its own
    edges = np.arange(first, last + 1) * step
    above = known > edges[-1]
    # A hair above what they are: 1.8 as float32 is 1.79999995, and belongs to the bin from 1.8.
    inside = known[~above] + 1e-6 * step
    counts, _ = np.histogram(np.clip(inside, edges[0], edges[-1]), edges)
    return Histogram(
        tuple(round(float(e), 9) for e in edges),
        tuple(int(c) for c in counts),
        len(known),
        n_missing,
        int(np.count_nonzero(above)),
        quartiles,
    )


def nice_step(least: float, whole: float = 0.0) -> float:
    """The smallest of 1, 2, 2.5 and 5 times a power of ten that is at least so large.

    Parameters
    ----------
    least : float
        Positive.
    whole : float
        If positive, only multiples of it.
    """
    power = 10.0 ** math.floor(math.log10(least))
    for factor in (1, 2, 2.5, 5, 10, 20, 25, 50):
        step = round(factor * power, 12)
        fits = whole <= 0 or (step >= whole and abs(step / whole - round(step / whole)) < 1e-9)
        if step >= least * (1 - 1e-9) and fits:
            return step
    return max(whole, least)


def ticks(low: float, high: float, about: int = 6) -> list[float]:
    """Round numbers from `low` to `high`, about so many."""
    if not high > low:
        return [low]
    step = nice_step((high - low) / about)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(k * step, 10) for k in range(first, last + 1)]


def size_classes(sizes: Sequence[int] | NDArray[np.int64]) -> list[tuple[int, int, int]]:
    """(from, to, how many) of positive whole numbers, in classes that double: 1, 2, 3–4, 5–8 …"""
    array = np.asarray(sizes, np.int64)
    if not len(array):
        return []
    classes, low, high = [], 1, 1
    while low <= array.max():
        classes.append((low, high, int(np.count_nonzero((array >= low) & (array <= high)))))
        low, high = high + 1, high * 2
    return classes
