"""Means over chains or residues, and their intervals by resampling chains."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.metrics import Interval

RESAMPLES = 10_000

_ENDS: dict[str, Callable[[NDArray[np.float64]], NDArray[np.float64]]] = {
    "mean": lambda x: x,
    "root": np.sqrt,
    "exp": np.exp,
}


@dataclass(frozen=True)
class Measure:
    """A number of a table: over all chains, a sum over a count, or the mean of the chains' own.

    Attributes
    ----------
    label : str
    over : str
        "residues": all of all chains weigh the same; "chains": all chains do.
    of : tuple of str
        Names of the sum and of the count in what is measured of a chain.
    digits : int
    end : {"mean", "root", "exp"}
        What is said: the mean, its square root, or exp of it.
    """

    label: str
    over: str
    of: tuple[str, str]
    digits: int = 3
    end: str = "mean"


@dataclass(frozen=True)
class Resampled:
    """How often each of C chains is in each resample: the same for all packers and measures."""

    weights: NDArray[np.float64]

    @classmethod
    def of(cls, n_chains: int, seed: int = 0) -> Resampled:
        rng = np.random.default_rng(seed)
        return cls(rng.multinomial(n_chains, np.full(n_chains, 1 / n_chains), RESAMPLES) * 1.0)

    def interval(
        self, measure: Measure, rows: Sequence[dict[str, float]], minus: Sequence[dict[str, float]]
    ) -> Interval:
        """Of a measure, or of its difference if `minus` has the chains of another packer."""
        sides = [self._values(measure, side) for side in (rows, minus) if side]
        value, values = sides[0]
        if len(sides) == 2:
            value, values = value - sides[1][0], values - sides[1][1]
        low, high = np.nanquantile(values, [0.025, 0.975]) if value == value else (value, value)
        n = sum(row[measure.of[1]] > 0 for row in rows)
        return Interval(value, float(low), float(high), n)

    def _values(
        self, measure: Measure, rows: Sequence[dict[str, float]]
    ) -> tuple[float, NDArray[np.float64]]:
        total, count = (np.array([row[name] for row in rows], float) for name in measure.of)
        if measure.over == "chains":
            total = np.divide(total, count, out=np.zeros_like(total), where=count > 0)
            count = (count > 0) * 1.0
        end = _ENDS[measure.end]
        with np.errstate(invalid="ignore"):
            value = end(np.divide(total.sum(), count.sum()))
            return float(value), end((self.weights @ total) / (self.weights @ count))


def said(interval: Interval, digits: int) -> str:
    """As a cell of a table."""
    if interval.mean != interval.mean:
        return ""
    mean, low, high = (f"{x:.{digits}f}" for x in (interval.mean, interval.low, interval.high))
    return mean if low == high == mean else f"{mean} [{low}, {high}]"
