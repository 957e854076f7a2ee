"""`ErrorScale`: from the error that rotamers tell to the error that is found."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from torch import Tensor

MIN_RESIDUES = 100
"""Fewer tell nothing of a line."""


@dataclass(frozen=True)
class ErrorScale:
    """A line from Σ p(rotamer) · RMSD(rotamer, output) to the RMSD that is to be expected.

    A side chain is never quite at a rotamer, and its bonds and angles are not ideal: where one
    rotamer is certain, that is left. It is fitted on chains of validation, once (`fitted`), and
    stored in the checkpoint.

    Attributes
    ----------
    offset : float
        Å.
    slope : float
        Above 0, so that the order of residues stays.
    """

    offset: float = 0.0
    slope: float = 1.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.offset) and 0 < self.slope < math.inf):
            raise ValueError(f"no scale of errors: offset {self.offset}, slope {self.slope}")

    def __call__(self, error: Tensor) -> Tensor:
        return self.offset + self.slope * error

    @classmethod
    def fitted(cls, predicted: ArrayLike, found: ArrayLike) -> ErrorScale | None:
        """By least squares; none if they tell no rising line.

        Parameters
        ----------
        predicted, found : (R,) float
            Å, of residues with torsions.
        """
        x, y = np.asarray(predicted, np.float64), np.asarray(found, np.float64)
        if len(x) < MIN_RESIDUES or np.ptp(x) == 0:
            return None
        slope, offset = np.polyfit(x, y, 1).tolist()
        return cls(offset, slope) if slope > 0 else None

    def after(self, first: ErrorScale) -> ErrorScale:
        """This one of what another has scaled, as one."""
        return ErrorScale(self.offset + self.slope * first.offset, self.slope * first.slope)


UNSCALED = ErrorScale()
