"""How new held-out chains are: columns of ``splits.parquet``, and the classes that they make."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

SAME_FOLD = 0.5
"""TM-score, by the length of the longer chain, from which on two chains count as one fold."""

REDUNDANT = 0.9
"""TM-score, by the length of the longer chain, from which on two chains count as one structure."""

KINDS = ("redundant", "same fold", "novel")
"""Of a held-out chain, by its TM-score to the nearest training chain."""

UNKNOWN = -1

NEAREST_FIELDS = (
    pa.field("nearest_by_sequence", pa.string()),
    pa.field("nearest_identity", pa.float32()),
    pa.field("nearest_by_structure", pa.string()),
    pa.field("nearest_tm", pa.float32()),
)
"""Columns that ``splits.parquet`` has if neighbours were looked for, behind the others."""


def kinds_of(tm: ArrayLike) -> NDArray[np.int64]:
    """Numbers into `KINDS`, `UNKNOWN` for NaN.

    Parameters
    ----------
    tm : (n,) float
        TM-scores as they are stored: float32, of three decimals.
    """
    score = np.asarray(tm, np.float64) + 1e-6  # 0.9 as float32 is below 0.9
    return np.where(
        np.isnan(score), UNKNOWN, (score < REDUNDANT).astype(np.int64) + (score < SAME_FOLD)
    )


def counts_of(tm: ArrayLike) -> tuple[int, ...]:
    """How many scores are of each of `KINDS`."""
    kinds = kinds_of(tm)
    return tuple(int((kinds == k).sum()) for k in range(len(KINDS)))


def shares_told(counts: Sequence[int]) -> str:
    """``12.0% redundant (TM-score from 0.9), …`` of counts as of `counts_of`."""
    whole = max(1, sum(counts))
    limits = (f" (TM-score from {REDUNDANT:g})", f" (from {SAME_FOLD:g})", "")
    return ", ".join(
        f"{n / whole:.1%} {kind}{limit}"
        for n, kind, limit in zip(counts, KINDS, limits, strict=True)
    )
