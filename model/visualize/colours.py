"""Colours with a meaning: blue is negative, red is positive, and white is zero."""

from __future__ import annotations

import matplotlib
import numpy as np
from matplotlib.colors import LinearSegmentedColormap, TwoSlopeNorm
from numpy.typing import ArrayLike

ATTENTION = "#1f4e79"
BIAS = "#b2182b"
LOCAL = "#e08214"
GLOBAL = "#5e7f9e"
NEUTRAL = "#8a8a8a"
NEAR_SHADE = "#fde3b8"
GROUND = "#c9ccd1"
"""Behind dots of signed colours, which may be white."""


def _with_white_middle() -> LinearSegmentedColormap:
    """RdBu_r by its eleven colours, the middle one pure white instead of #f7f7f7.

    The number of levels is odd, so that 0.5 is the middle of one, not the border between two.
    """
    colours = matplotlib.colormaps["RdBu_r"](np.linspace(0, 1, 11))
    colours[5] = 1.0
    return LinearSegmentedColormap.from_list("RdBu_r", list(colours), N=257)


SIGNED = _with_white_middle()


def signed_norm(values: ArrayLike) -> TwoSlopeNorm:
    """Limits from the data, 0 in the middle.

    Values of one sign get a limit of the same size on the other side. No value lies there, and the
    colour bar does not show it (`signed_limits`).

    Parameters
    ----------
    values : array
        What is not finite does not count.
    """
    low, high = signed_limits(values)
    if low == high == 0:
        low, high = -1.0, 1.0
    return TwoSlopeNorm(0.0, low if low < 0 else -high, high if high > 0 else -low)


def signed_limits(values: ArrayLike) -> tuple[float, float]:
    """(least, greatest) value, zero among them."""
    numbers = np.asarray(values, dtype=float)
    numbers = numbers[np.isfinite(numbers)]
    if numbers.size == 0:
        return 0.0, 0.0
    return min(float(numbers.min()), 0.0), max(float(numbers.max()), 0.0)
