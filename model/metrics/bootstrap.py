"""Intervals for means over chains, and for paired differences, by resampling chains."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

RESAMPLES = 10_000
_BLOCK = 1 << 22


@dataclass(frozen=True)
class Interval:
    """A mean with its bootstrap interval.

    Attributes
    ----------
    mean, low, high : float
        NaN if there are no values.
    n : int
        Chains that have a value (in both arms, if paired).
    level : float
    """

    mean: float
    low: float
    high: float
    n: int
    level: float = 0.95

    def __str__(self) -> str:
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]"


def mean_interval(
    values: ArrayLike, *, seed: int = 0, resamples: int = RESAMPLES, level: float = 0.95
) -> Interval:
    """Mean over chains and its percentile bootstrap interval.

    Parameters
    ----------
    values : (n,) float
        One value per chain; NaN (a chain without a χ4, say) is left out, and `Interval.n` tells.
    seed : int
        The interval is a pure function of the values and of this.
    resamples : int
    level : float

    References
    ----------
    Efron, Tibshirani: An Introduction to the Bootstrap (1993), chapter 13.
    """
    given = np.asarray(values, np.float64)
    known = given[~np.isnan(given)]
    n = len(known)
    if not n:
        return Interval(float("nan"), float("nan"), float("nan"), 0, level)
    tail = (1 - level) / 2
    low, high = np.quantile(_resampled_means(known, seed, resamples), [tail, 1 - tail])
    return Interval(float(known.mean()), float(low), float(high), n, level)


def paired_difference(
    a: ArrayLike, b: ArrayLike, *, seed: int = 0, resamples: int = RESAMPLES, level: float = 0.95
) -> Interval:
    """Mean of a − b over chains and its interval: chains are resampled, each with both its values.

    Much narrower than the difference of two intervals when chains are hard or easy for both
    methods alike. If 0 is outside, the methods differ at that level.

    Parameters
    ----------
    a, b : (n,) float
        Values of the same chains in the same order; chains with a NaN in either are left out.
    seed, resamples, level
        As for `mean_interval`.

    Raises
    ------
    ValueError
        Different numbers of chains.
    """
    a = np.asarray(a, np.float64)
    b = np.asarray(b, np.float64)
    if a.shape != b.shape:
        raise ValueError(f"pairs need the same chains on both sides, found {a.shape} and {b.shape}")
    return mean_interval(a - b, seed=seed, resamples=resamples, level=level)


def _resampled_means(values: NDArray[np.float64], seed: int, resamples: int) -> NDArray[np.float64]:
    rng = np.random.default_rng(seed)
    n = len(values)
    per_block = max(1, _BLOCK // n)
    blocks = [
        values[rng.integers(0, n, (min(per_block, resamples - start), n))].mean(axis=1)
        for start in range(0, resamples, per_block)
    ]
    return np.concatenate(blocks)
