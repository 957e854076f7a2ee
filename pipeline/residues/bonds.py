"""How far apart bonded atoms may be."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

MAX_PEPTIDE_BOND = 2.5
"""Å. A C–N bond is 1.33 Å; an unmodelled residue between leaves at least 3 Å."""

CLASH_DISTANCE = 2200
"""0.001 Å; nearer atoms of two residues clash, if they are not at the length of a bond."""

_CARBON, _SULPHUR = ord("C"), ord("S")


def at_bond_length(
    first: NDArray[np.uint8], second: NDArray[np.uint8], square: NDArray[np.integer[Any]]
) -> NDArray[np.bool_]:
    """Pairs of atoms nearer than `CLASH_DISTANCE` that are at the length of a bond.

    Parameters
    ----------
    first, second : (p,) uint8
        The first letters of their names, in ASCII.
    square : (p,) int
        Of their distance in 0.001 Å.
    """
    carbons = (first == _CARBON).astype(np.int8) + (second == _CARBON)
    sulphurs = (first == _SULPHUR).astype(np.int8) + (second == _SULPHUR)
    bonded = (sulphurs == 2) & (square >= 1900**2)
    bonded |= (sulphurs == 1) & (carbons == 1) & (square >= 1600**2) & (square <= 2000**2)
    return bonded | ((sulphurs == 0) & (carbons > 0) & (square >= 1200**2) & (square <= 1700**2))
