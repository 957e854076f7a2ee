"""Error of every atom by its slot and residue type: where in a side chain a model goes wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from model.metrics.residue_types import table_rows
from model.metrics.symmetry import nearest_naming
from pipeline.residues import ATOM14_NAMES, N_SLOTS, RESTYPES, UNKNOWN

_NAMES = (*RESTYPES, "X")


@dataclass(frozen=True)
class AtomErrors:
    """Sums over atoms, which add up over proteins.

    Attributes
    ----------
    count : (21, 14) int64
        Atoms compared, by residue type and slot.
    distance : (21, 14) float64
        Sum of distances, Å.
    squared : (21, 14) float64
        Sum of squared distances, Å².
    """

    count: NDArray[np.int64]
    distance: NDArray[np.float64]
    squared: NDArray[np.float64]

    def __add__(self, other: AtomErrors) -> AtomErrors:
        return AtomErrors(
            self.count + other.count,
            self.distance + other.distance,
            self.squared + other.squared,
        )

    @classmethod
    def none(cls) -> AtomErrors:
        """Of no atoms."""
        shape = (UNKNOWN + 1, N_SLOTS)
        return cls(np.zeros(shape, np.int64), np.zeros(shape), np.zeros(shape))

    def mean(self) -> NDArray[np.float64]:
        """(21, 14) mean distance in Å; NaN where no atom was compared."""
        return self.distance / np.where(self.count, self.count, np.nan)

    def rmsd(self) -> NDArray[np.float64]:
        """(21, 14) root mean square distance in Å; NaN where no atom was compared."""
        return np.sqrt(self.squared / np.where(self.count, self.count, np.nan))

    def rows(self) -> list[dict[str, object]]:
        """One row per residue type and atom that occurs: names, count, mean and RMSD in Å."""
        mean, rmsd = self.mean(), self.rmsd()
        return [
            {
                "residue": _NAMES[aatype],
                "atom": ATOM14_NAMES[aatype][slot],
                "slot": int(slot),
                "count": int(self.count[aatype, slot]),
                "mean": float(mean[aatype, slot]),
                "rmsd": float(rmsd[aatype, slot]),
            }
            for aatype, slot in zip(*np.nonzero(self.count), strict=True)
        ]


def atom_errors(
    predicted: ArrayLike,
    predicted_mask: ArrayLike,
    reference: ArrayLike,
    reference_mask: ArrayLike,
    aatype: ArrayLike,
) -> AtomErrors:
    """Distances between the atoms of two structures where they are, symmetric names resolved.

    Parameters
    ----------
    predicted, reference : (L, 14, 3) float
        Å, atom14; absent atoms may hold anything.
    predicted_mask, reference_mask : (L, 14) bool
        Atoms are compared where both are present.
    aatype : (L,) int
        Of both.
    """
    kind = table_rows(aatype)
    named, named_mask = nearest_naming(predicted, predicted_mask, reference, reference_mask, aatype)
    rows, slots = np.nonzero(named_mask & np.asarray(predicted_mask, bool))
    difference = np.asarray(predicted, np.float64)[rows, slots] - named[rows, slots]
    squared = np.einsum("ai,ai->a", difference, difference)
    shape = (UNKNOWN + 1, N_SLOTS)
    cell = kind[rows] * N_SLOTS + slots

    def total(weights: NDArray[np.float64] | None) -> NDArray[Any]:
        return np.bincount(cell, weights, minlength=shape[0] * shape[1]).reshape(shape)

    return AtomErrors(total(None), total(np.sqrt(squared)), total(squared))
