"""How good chains are: the columns of the index that say so, as distributions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.report.histogram import Histogram, histogram


@dataclass(frozen=True)
class Measure:
    """A column, and how it is shown and judged.

    Attributes
    ----------
    far : float or None
        From this value on a chain is named as an outlier.
    of_entry : bool
        All chains of an entry have the same.
    is_share : bool
        From 0 to 1.
    """

    column: str
    title: str
    axis: str
    far: float | None = None
    of_entry: bool = False
    is_share: bool = False
    least_step: float = 0.001


MEASURES = (
    Measure("r_free", "R-free", "R-free", 0.35, of_entry=True),
    Measure(
        "data_completeness",
        "Completeness of the data",
        "possible reflections that were measured",
        of_entry=True,
        is_share=True,
    ),
    Measure(
        "ramachandran_outlier_fraction",
        "Ramachandran outliers",
        "residues with φ and ψ that are outliers",
        0.05,
        is_share=True,
    ),
    Measure("clashes_per_1000_atoms", "Clashes", "clashes per 1,000 atoms", 5.0),
    Measure("n_chirality_errors", "Chirality errors", "carbons of the wrong hand", 1, least_step=1),
    Measure(
        "zero_occupancy_fraction",
        "Atoms without occupancy",
        "atoms of the file with occupancy 0",
        0.05,
        is_share=True,
    ),
    Measure("trimmed_mean_b_factor", "B-factor or pLDDT without the ends", "trimmed mean"),
)

QUALITY_COLUMNS = tuple(m.column for m in MEASURES)


def numbers_of(index: pa.Table, column: str) -> NDArray[np.float64]:
    """A column; NaN where it is null, and throughout where the index lacks it."""
    if column not in index.column_names:
        return np.full(index.num_rows, np.nan)
    return index[column].cast(pa.float64()).to_numpy(zero_copy_only=False)


def distributions(index: pa.Table, entries: pa.Table) -> tuple[tuple[Measure, Histogram], ...]:
    """Of the measures that are known of some chain.

    Parameters
    ----------
    index, entries : pyarrow.Table
        A row for each chain; and for each entry.
    """
    found = []
    for measure in MEASURES:
        values = numbers_of(entries if measure.of_entry else index, measure.column)
        if np.isfinite(values).any():
            low, high = 0.0, None
            if measure.least_step == 1:  # counts, of which the few large ones matter
                high = float(np.nanmax(values)) + 1
            elif measure.far is None and measure.is_share:
                low, high = float(np.nanmin(values)), 1.0
            shown = histogram(values, low=low, high=high, least_step=measure.least_step)
            found.append((measure, shown))
    return tuple(found)
