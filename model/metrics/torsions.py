"""Side-chain torsions: their values, errors and recovery."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from model.metrics.residue_types import table_rows
from pipeline.residues import CHI_MASK, CHI_PI_PERIODIC, CHI_SLOTS

TOLERANCE = 20.0
"""Degrees within which a torsion counts as recovered."""


@dataclass(frozen=True)
class ChiAccuracy:
    """Torsions of one protein against the reference; NaN where there is nothing to compare.

    Attributes
    ----------
    mae : (4,) float64
        Mean absolute error of χ1 … χ4 in degrees.
    recovery : (4,) float64
        Share of χ1 … χ4 within 20°, each on its own.
    count : (4,) int64
        Torsions compared.
    rotamer_recovery : float
        Share of residues all of whose χ are within 20°.
    n_rotamers : int
        Residues all of whose χ could be compared.
    """

    mae: NDArray[np.float64]
    recovery: NDArray[np.float64]
    count: NDArray[np.int64]
    rotamer_recovery: float
    n_rotamers: int


def dihedral(
    p0: NDArray[np.float64],
    p1: NDArray[np.float64],
    p2: NDArray[np.float64],
    p3: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Dihedral angle of four points by the IUPAC sign, (..., 3) each → (...) degrees."""
    b0, b1, b2 = p1 - p0, p2 - p1, p3 - p2
    n0, n1 = np.cross(b0, b1), np.cross(b1, b2)
    sine = np.einsum("...i,...i->...", np.cross(n0, n1), b1)
    cosine = np.einsum("...i,...i->...", n0, n1) * np.linalg.norm(b1, axis=-1)
    return np.degrees(np.arctan2(sine, cosine))


def chi_angles(positions: ArrayLike, mask: ArrayLike, aatype: ArrayLike) -> NDArray[np.float64]:
    """χ1 to χ4 of every residue.

    Parameters
    ----------
    positions : (L, 14, 3) float
        Å, atom14; absent atoms may hold anything.
    mask : (L, 14) bool
    aatype : (L,) int
        Values above 20 have no torsion.

    Returns
    -------
    (L, 4) float64
        Degrees in [−180, 180]; NaN where the type has no such torsion or one of its atoms is
        absent.
    """
    positions = np.asarray(positions, np.float64)
    mask = np.asarray(mask, bool)
    rows = table_rows(aatype)
    slots = CHI_SLOTS[rows].astype(np.intp)
    residue = np.arange(len(rows))[:, None, None]
    chi = np.full((len(rows), 4), np.nan)
    rows, k = np.nonzero(CHI_MASK[rows] & mask[residue, slots].all(axis=-1))
    points = positions[rows[:, None], slots[rows, k]]
    chi[rows, k] = dihedral(points[:, 0], points[:, 1], points[:, 2], points[:, 3])
    return chi


def chi_errors(
    predicted: ArrayLike, reference: ArrayLike, aatype: ArrayLike
) -> NDArray[np.float64]:
    """Absolute difference of torsions.

    χ2 of Phe, Tyr and Asp and χ3 of Glu are compared modulo 180°: half a turn gives the same
    conformation with two names traded.

    Parameters
    ----------
    predicted, reference : (L, 4) float
        Degrees; NaN where there is none.
    aatype : (L,) int

    Returns
    -------
    (L, 4) float64
        Degrees in [0, 180], or [0, 90] modulo 180°; NaN where one of the two is.
    """
    period = np.where(CHI_PI_PERIODIC[table_rows(aatype)], 180.0, 360.0)
    difference = np.abs(np.asarray(predicted, np.float64) - np.asarray(reference, np.float64))
    difference = difference % period
    return np.minimum(difference, period - difference)


def chi_accuracy(errors: ArrayLike, aatype: ArrayLike) -> ChiAccuracy:
    """Summary of `chi_errors` over a protein, or over many laid end to end.

    Parameters
    ----------
    errors : (L, 4) float
        Degrees; NaN where there is nothing to compare.
    aatype : (L,) int
    """
    errors = np.asarray(errors, np.float64)
    known = ~np.isnan(errors)
    within = errors <= TOLERANCE
    count = known.sum(axis=0)
    has_chi = CHI_MASK[table_rows(aatype)]
    whole = has_chi.any(axis=1) & (known | ~has_chi).all(axis=1)
    recovered = np.asarray((within | ~has_chi).all(axis=1))
    n_rotamers = int(whole.sum())
    with np.errstate(invalid="ignore", divide="ignore"):
        return ChiAccuracy(
            mae=np.where(known, errors, 0).sum(axis=0) / np.where(count, count, np.nan),
            recovery=(within & known).sum(axis=0) / np.where(count, count, np.nan),
            count=count,
            rotamer_recovery=float(recovered[whole].mean()) if n_rotamers else float("nan"),
            n_rotamers=n_rotamers,
        )
