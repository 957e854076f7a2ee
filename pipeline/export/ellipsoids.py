"""Gaussians as pseudo-atoms: what ANISOU and ``_atom_site_anisotrop`` hold.

The anisotropic displacement parameters U of an atom are the covariance of its position, in Å²
(Trueblood et al. 1996, Acta Cryst. A52, 770): what a residue's Gaussian is of its atoms. Viewers
draw the surface that encloses a share p of the density, r(p) standard deviations from the centre;
r² follows a χ² distribution of three degrees of freedom, so that p = 50 % is r = 1.538 and r = 1 is
p = 19.9 %.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.built.stored_chains import StoredChain

RESIDUE, ATOM, ELEMENT = "DUM", "DUM", "X"
"""Names of the pseudo-atom: those of the CCD's component for dummy atoms."""

CHAIN_SUFFIX = "_ell"
"""The ellipsoids of chain A are chain A_ell (mmCIF)."""


@dataclass(frozen=True, slots=True)
class Ellipsoids:
    """The Gaussians of the resolved residues of a chain.

    Attributes
    ----------
    residue : (k,) int64
        Rows of the chain.
    centre : (k, 3) float32
        Å.
    u : (k, 6) float32
        Å², in the order of PDB and mmCIF: 11 22 33 12 13 23.
    b_equivalent : (k,) float64
        Å²: 8π²·(u11 + u22 + u33)/3.
    """

    residue: NDArray[np.int64]
    centre: NDArray[np.float32]
    u: NDArray[np.float32]
    b_equivalent: NDArray[np.float64]

    @classmethod
    def of(cls, stored: StoredChain) -> Ellipsoids:
        """From what is stored: xx xy xz yy yz zz."""
        rows = np.flatnonzero(stored.chain.resolved)
        u = stored.covariance[rows][:, [0, 3, 5, 1, 2, 4]]
        b = 8 * np.pi**2 * u[:, :3].astype(np.float64).mean(axis=1)
        return cls(rows, stored.centroid[rows], u, b)
