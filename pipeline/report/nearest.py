"""How near held-out chains are to the training chains, as ``splits.parquet`` tells."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.built.novelty import counts_of
from pipeline.report.histogram import Histogram, histogram

BINS = 20


@dataclass(frozen=True)
class Nearest:
    """One held-out split.

    Attributes
    ----------
    split : str
    tm, identity : Histogram
        Of the nearest training chains; 0 where none was found.
    kinds : (3,) int
        Chains of each of `pipeline.built.novelty.KINDS`.
    """

    split: str
    tm: Histogram
    identity: Histogram
    kinds: tuple[int, ...]


def nearest_of(splits: pa.Table) -> tuple[Nearest, ...]:
    """The splits that have neighbours; none if nobody looked for them."""
    if not {"nearest_tm", "nearest_identity"} <= set(splits.column_names):
        return ()
    names = splits["split"].cast(pa.string())
    found = []
    for name in pc.unique(names).to_pylist():
        of_split = splits.filter(pc.fill_null(pc.equal(names, name), False))
        tm, identity = (
            of_split[column].cast(pa.float64()).to_numpy(zero_copy_only=False)
            for column in ("nearest_tm", "nearest_identity")
        )
        if name is not None and np.isfinite(tm).any():
            found.append(Nearest(name, _shares(tm), _shares(identity), counts_of(tm)))
    return tuple(sorted(found, key=lambda nearest: nearest.split, reverse=True))


def _shares(values: NDArray[np.float64]) -> Histogram:
    return histogram(values, low=0, high=1, most_bins=BINS)
