"""Atoms that mean the same under another name: which naming of the reference is nearer."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from model.metrics.residue_types import table_rows
from pipeline.residues import SYMMETRIC_SLOTS


def nearest_naming(
    predicted: ArrayLike,
    predicted_mask: ArrayLike,
    reference: ArrayLike,
    reference_mask: ArrayLike,
    aatype: ArrayLike,
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """The reference with the symmetric atoms of each residue named as the prediction has them.

    OD1 and OD2 of Asp, OE1 and OE2 of Glu, and in Phe and Tyr both pairs of the ring together,
    trade names where that makes the sum of squared distances smaller.

    Parameters
    ----------
    predicted, reference : (L, 14, 3) float
        Å, atom14; absent atoms may hold anything.
    predicted_mask, reference_mask : (L, 14) bool
    aatype : (L,) int
        Of the reference.

    Returns
    -------
    positions : (L, 14, 3) float64
    mask : (L, 14) bool
        Of the reference, renamed. Where an atom of a pair is absent, the naming with more atoms to
        compare is taken first.
    """
    predicted = np.asarray(predicted, np.float64)
    reference = np.asarray(reference, np.float64)
    predicted_mask = np.asarray(predicted_mask, bool)
    mask = np.asarray(reference_mask, bool)
    slots = SYMMETRIC_SLOTS[table_rows(aatype)].astype(np.intp)
    rows = np.flatnonzero((slots != np.arange(slots.shape[1])).any(axis=1))
    there, slots = np.arange(len(rows))[:, None], slots[rows]

    def cost(x: NDArray[np.float64], m: NDArray[np.bool_]) -> NDArray[np.float64]:
        both = m & predicted_mask[rows]
        squared = np.where(both[..., None], x - predicted[rows], 0.0) ** 2
        # An atom more to compare outweighs any distance.
        return squared.sum(axis=(1, 2)) - 1e12 * both.sum(axis=1)

    as_is, as_is_mask = reference[rows], mask[rows]
    swapped, swapped_mask = as_is[there, slots], as_is_mask[there, slots]
    nearer = cost(swapped, swapped_mask) < cost(as_is, as_is_mask)
    positions, mask = reference.copy(), mask.copy()
    positions[rows[nearer]], mask[rows[nearer]] = swapped[nearer], swapped_mask[nearer]
    return positions, mask
