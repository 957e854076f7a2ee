"""Where φ and ψ of good structures lie: regions for glycine, proline and all others."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .ramachandran_table import TABLE
from .types import RESTYPES, UNKNOWN

STEP = 5
"""Degrees: the table tells of each square of so many."""

N_STEPS = 360 // STEP

KINDS = ("general", "glycine", "proline")

OUTLIER, ALLOWED, FAVOURED = 0, 1, 2
"""Regions, as the table has them."""

SHARES = {"general": (0.98, 0.9995), "glycine": (0.98, 0.998), "proline": (0.98, 0.998)}
"""Of the residues of good structures how many are favoured, and how many are no outliers: the
shares of Lovell et al. 2003, Proteins 50, 437."""

KIND_OF: NDArray[np.int8] = np.zeros(UNKNOWN + 1, np.int8)
"""(21,) ``aatype`` → index into `KINDS`; −1 for X, of which nothing is known."""
KIND_OF[[RESTYPES.index("GLY"), RESTYPES.index("PRO"), UNKNOWN]] = 1, 2, -1

REGIONS: NDArray[np.int8] = np.array([list(line) for line in TABLE.split()], np.int8).reshape(
    len(KINDS), N_STEPS, N_STEPS
)
"""(3, 72, 72): the region of each square, by kind, by φ and by ψ, both from −180° upwards."""


def square_of(angle: NDArray[np.float64]) -> NDArray[np.int64]:
    """Numbers of the squares along one axis of angles in degrees; 180° is −180°."""
    return np.floor((angle + 180) / STEP).astype(np.int64) % N_STEPS


def ramachandran_regions(
    aatype: NDArray[np.integer[Any]], phi: NDArray[np.float64], psi: NDArray[np.float64]
) -> NDArray[np.int8]:
    """The region in which each residue lies.

    Parameters
    ----------
    aatype : (R,) int
        0–19; of X there is no region.
    phi, psi : (R,) float64
        Degrees.

    Returns
    -------
    (R,) int8
        `OUTLIER`, `ALLOWED` or `FAVOURED`.
    """
    return REGIONS[KIND_OF[aatype], square_of(phi), square_of(psi)]
