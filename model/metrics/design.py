"""Designed sequences: recovery, perplexity and which type is taken for which."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline.residues import N_TYPES


def sequence_recovery(
    predicted: ArrayLike, reference: ArrayLike, mask: ArrayLike | None = None
) -> float:
    """Share of positions whose type is that of the reference.

    Parameters
    ----------
    predicted, reference : (L,) int
        ``aatype``; positions where the reference is not one of the twenty types do not count.
    mask : (L,) bool, optional
        Positions that were designed.

    Returns
    -------
    float
        In [0, 1]; NaN if no position counts.
    """
    predicted = np.asarray(predicted)
    reference = np.asarray(reference)
    counted = _counted(reference, mask)
    return float((predicted == reference)[counted].mean()) if counted.any() else float("nan")


def perplexity(
    log_probabilities: ArrayLike, reference: ArrayLike, mask: ArrayLike | None = None
) -> float:
    """exp of the mean negative log-probability of the reference's types.

    Parameters
    ----------
    log_probabilities : (L, 20) float
        Natural logarithms, normalised over the last axis.
    reference : (L,) int
        ``aatype``; positions that are not one of the twenty types do not count.
    mask : (L,) bool, optional
        Positions that were designed.

    Returns
    -------
    float
        1 for a certain and right model, 20 for one that knows nothing; NaN if no position counts.

    Raises
    ------
    ValueError
        If a row that counts does not sum to 1 within 1e-3: logits are no log-probabilities.
    """
    log_p = np.asarray(log_probabilities, np.float64)
    reference = np.asarray(reference)
    if log_p.shape != (len(reference), N_TYPES):
        raise ValueError(f"expected log-probabilities ({len(reference)}, 20), found {log_p.shape}")
    rows = np.flatnonzero(_counted(reference, mask))
    if not len(rows):
        return float("nan")
    total = np.exp(log_p[rows]).sum(axis=1)
    worst = int(np.argmax(np.abs(total - 1)))
    if not abs(total[worst] - 1) <= 1e-3:
        raise ValueError(
            f"probabilities of position {rows[worst]} sum to {total[worst]:.4g}, not 1: "
            "apply log_softmax first"
        )
    return float(np.exp(-log_p[rows, reference[rows]].mean()))


def confusion(
    predicted: ArrayLike, reference: ArrayLike, mask: ArrayLike | None = None
) -> NDArray[np.int64]:
    """How often each type of the reference (rows) was predicted as each type (columns).

    Parameters
    ----------
    predicted, reference : (L,) int
        ``aatype``; positions where one of the two is not one of the twenty types do not count.
    mask : (L,) bool, optional

    Returns
    -------
    (20, 20) int64
        Adds up over proteins. ``diagonal / row sum`` is the recovery of each type.
    """
    predicted = np.asarray(predicted)
    reference = np.asarray(reference)
    counted = _counted(reference, mask) & (predicted >= 0) & (predicted < N_TYPES)
    cell = reference[counted].astype(np.int64) * N_TYPES + predicted[counted]
    return np.bincount(cell, minlength=N_TYPES**2).reshape(N_TYPES, N_TYPES)


def _counted(reference: NDArray[np.int64], mask: ArrayLike | None) -> NDArray[np.bool_]:
    counted = (reference >= 0) & (reference < N_TYPES)
    return counted if mask is None else counted & np.asarray(mask, bool)
