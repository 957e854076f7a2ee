"""Superposition of Cα traces: RMSD and TM-score of residues that correspond by their place."""

from __future__ import annotations

import biotite.structure as struc
import numpy as np
from numpy.typing import ArrayLike, NDArray
from tmtools import tm_align

MIN_ALIGNED = 3
"""Fewer points leave a rotation open."""


def superpose(
    moving: ArrayLike, fixed: ArrayLike, mask: ArrayLike | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The rotation and translation of least RMSD (Kabsch 1976, as biotite computes it).

    Parameters
    ----------
    moving, fixed : (L, 3) float
        Å; row k of one corresponds to row k of the other.
    mask : (L,) bool, optional
        Rows to superpose; the others may hold anything.

    Returns
    -------
    rotation : (3, 3) float64
    translation : (3,) float64
        ``moving @ rotation.T + translation`` lies on `fixed`.

    Raises
    ------
    ValueError
        Shapes that differ, or fewer than three rows to superpose.
    """
    moving, fixed, _ = _corresponding(moving, fixed, mask)
    if len(moving) < MIN_ALIGNED:
        raise ValueError(f"a superposition needs three points, found {len(moving)}")
    # biotite computes in float32: centred coordinates lose nothing to their distance from 0.
    from_, to = moving.mean(axis=0), fixed.mean(axis=0)
    _, transform = struc.superimpose(fixed - to, moving - from_)
    rotation = np.asarray(transform.rotation, np.float64).reshape(3, 3)
    rotation = _nearest_rotation(rotation)
    return rotation, to - rotation @ from_


def rmsd(a: ArrayLike, b: ArrayLike, mask: ArrayLike | None = None) -> float:
    """Root mean square distance of corresponding points where they are, without superposition.

    Parameters
    ----------
    a, b : (L, 3) float
    mask : (L,) bool, optional

    Returns
    -------
    float
        In the unit of the points; NaN if there are none.
    """
    a, b, _ = _corresponding(a, b, mask)
    return float(np.sqrt(((a - b) ** 2).sum() / len(a))) if len(a) else float("nan")


def ca_rmsd(predicted: ArrayLike, reference: ArrayLike, mask: ArrayLike | None = None) -> float:
    """RMSD of the Cα after superposition.

    Parameters
    ----------
    predicted, reference : (L, 3) float
        Cα in Å.
    mask : (L,) bool, optional
        Residues that have a Cα in both; the other rows may hold anything.

    Returns
    -------
    float
        Å; NaN with fewer than three residues.
    """
    predicted, reference, _ = _corresponding(predicted, reference, mask)
    if len(predicted) < MIN_ALIGNED:
        return float("nan")
    rotation, translation = superpose(predicted, reference)
    return rmsd(predicted @ rotation.T + translation, reference)


def tm_score(predicted: ArrayLike, reference: ArrayLike, mask: ArrayLike | None = None) -> float:
    """TM-score of two structures whose residues correspond by their place (identity alignment).

    Through `tmtools`, whose TM-align searches the superposition for a given alignment.

    Parameters
    ----------
    predicted, reference : (L, 3) float
        Cα in Å.
    mask : (L,) bool, optional
        Residues that have a Cα in both; the score is normalised by their number.

    Returns
    -------
    float
        In (0, 1]; NaN with fewer than three residues. Chains of different proteins score about
        0.17, above 0.5 the fold is the same. d₀ is 0.5 Å up to 21 residues, so scores of short
        peptides are low.

    References
    ----------
    Zhang, Skolnick: Scoring function for automated assessment of protein structure template
    quality. Proteins 57 (2004) 702–710.
    Xu, Zhang: How significant is a protein structure similarity with TM-score = 0.5?
    Bioinformatics 26 (2010) 889–895.
    """
    predicted, reference, _ = _corresponding(predicted, reference, mask)
    length = len(predicted)
    if length < MIN_ALIGNED:
        return float("nan")
    letters = "A" * length
    result = tm_align(predicted, reference, letters, letters, [letters, letters])
    return float(result.tm_norm_chain2)


def aligned_tm_scores(a: ArrayLike, b: ArrayLike) -> tuple[float, float]:
    """TM-scores after TM-align's own alignment, for structures of different proteins.

    Parameters
    ----------
    a : (L, 3) float
        Cα in Å, all present.
    b : (M, 3) float

    Returns
    -------
    by_a, by_b : float
        Normalised by the length of `a`, and of `b`; NaN if one has fewer than three residues.

    References
    ----------
    Zhang, Skolnick: TM-align: a protein structure alignment algorithm based on the TM-score.
    Nucleic Acids Research 33 (2005) 2302–2309.
    """
    a, b = (np.ascontiguousarray(points, np.float64) for points in (a, b))
    if min(len(a), len(b)) < MIN_ALIGNED:
        return float("nan"), float("nan")
    result = tm_align(a, b, "A" * len(a), "A" * len(b))
    return float(result.tm_norm_chain1), float(result.tm_norm_chain2)


def _corresponding(
    a: ArrayLike, b: ArrayLike, mask: ArrayLike | None
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    a = np.asarray(a, np.float64)
    b = np.asarray(b, np.float64)
    if a.shape != b.shape or a.ndim != 2 or a.shape[1] != 3:
        raise ValueError(f"expected two arrays (L, 3), found {a.shape} and {b.shape}")
    keep = np.ones(len(a), bool) if mask is None else np.asarray(mask, bool)
    return np.ascontiguousarray(a[keep]), np.ascontiguousarray(b[keep]), keep


def _nearest_rotation(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """float32's rounding taken out of a rotation."""
    u, _, vt = np.linalg.svd(matrix)
    return u @ vt
