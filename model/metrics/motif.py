"""Inpainting: how well a generated structure keeps the motif it was built around."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from model.metrics.superposition import MIN_ALIGNED, rmsd, superpose


def motif_rmsd(
    predicted: ArrayLike,
    predicted_mask: ArrayLike,
    reference: ArrayLike,
    reference_mask: ArrayLike,
    motif: ArrayLike,
    *,
    slots: tuple[int, ...] = (0, 1, 2),
) -> float:
    """RMSD of the motif's backbone after superposition of the motif alone.

    Parameters
    ----------
    predicted, reference : (L, 14, 3) float
        Å, atom14; absent atoms may hold anything. Rows correspond; rows outside the motif are not
        read.
    predicted_mask, reference_mask : (L, 14) bool
    motif : (L,) bool
    slots : tuple of int
        Atoms compared: N, CA and C by default; ``(1,)`` is the Cα RMSD.

    Returns
    -------
    float
        Å; NaN with fewer than three atoms.
    """
    there = np.asarray(predicted_mask, bool) & np.asarray(reference_mask, bool)
    rows, atoms = np.nonzero(there[:, slots] & np.asarray(motif, bool)[:, None])
    atoms = np.asarray(slots)[atoms]
    a = np.asarray(predicted, np.float64)[rows, atoms]
    b = np.asarray(reference, np.float64)[rows, atoms]
    if len(a) < MIN_ALIGNED:
        return float("nan")
    rotation, translation = superpose(a, b)
    return rmsd(a @ rotation.T + translation, b)
