"""φ and ψ: how a backbone turns about N–CA and CA–C."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.geometry.frames import Vector, cross, dot, unstack


def phi_psi(
    n: NDArray[np.float64],
    ca: NDArray[np.float64],
    c: NDArray[np.float64],
    rows: NDArray[np.int64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """φ and ψ of residues that are bonded to the one before and to the one after them.

    Elementwise, so a residue's angles do not depend on its neighbours in the array.

    Parameters
    ----------
    n, ca, c : (L, 3) float64
        Å.
    rows : (R,) int
        The residues; from 1 to L − 2.

    Returns
    -------
    phi, psi : (R,) float64
        Degrees from −180 to 180, with the sign of IUPAC-IUB (1970).
    """
    before, here, alpha = c[rows - 1], n[rows], ca[rows]
    carbon, after = c[rows], n[rows + 1]
    first, second, third, fourth = (
        unstack(b - a) for a, b in ((before, here), (here, alpha), (alpha, carbon), (carbon, after))
    )
    normals = cross(first, second), cross(second, third), cross(third, fourth)
    return (
        _torsion(first, second, normals[0], normals[1]),
        _torsion(second, third, normals[1], normals[2]),
    )


def _torsion(
    before: Vector, axis: Vector, normal: Vector, next_normal: Vector
) -> NDArray[np.float64]:
    """Degrees about the axis between two planes; `before` is the bond ahead of it."""
    sine = np.sqrt(dot(axis, axis)) * dot(before, next_normal)
    return np.degrees(np.arctan2(sine, dot(normal, next_normal)))
