"""Radius of gyration by length: chains counted in cells, so that any number of them is a plot."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

CELLS = (40, 28)
"""Along the logarithm of the length, and of the radius."""


@dataclass(frozen=True)
class Gyration:
    """Chains by resolved residues and radius, both on logarithmic axes.

    Attributes
    ----------
    counts : CELLS int64
        All zero without chains.
    lengths, radii : (low, high)
        Range of the cells: residues, and Å.
    """

    counts: NDArray[np.int64]
    lengths: tuple[float, float]
    radii: tuple[float, float]


def gyration(n_resolved: NDArray[np.float64], radius: NDArray[np.float64]) -> Gyration:
    """Count chains.

    Parameters
    ----------
    n_resolved, radius : (N,) float64
        Chains of one residue, and those without a radius, are left out.
    """
    known = (n_resolved > 1) & (radius > 0)
    n, r = n_resolved[known], radius[known]
    if not len(n):
        return Gyration(np.zeros(CELLS, np.int64), (1.0, 10.0), (1.0, 10.0))
    # A little room around, and for the expected line where all chains are alike.
    lengths = (float(n.min()) / 1.2, float(n.max()) * 1.2)
    radii = (float(r.min()) / 1.2, float(r.max()) * 1.2)
    counts, _, _ = np.histogram2d(
        np.log10(n), np.log10(r), CELLS, (np.log10(lengths), np.log10(radii))
    )
    return Gyration(counts.astype(np.int64), lengths, radii)
