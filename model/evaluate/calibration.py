"""`Calibration`: whether side chains are as far off as was predicted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.evaluate.tally import ResidueTally
from model.flow.error_scale import ErrorScale

GROUPS = 10


@dataclass(frozen=True)
class Calibration:
    """Predicted and found RMSD of side chains with torsions, Å.

    Attributes
    ----------
    predicted, found : (10,) float64
        Means over tenths of the residues, those with the least predicted error first.
    scale : ErrorScale or None
        That the checkpoint should have, by these residues.
    """

    predicted: NDArray[np.float64]
    found: NDArray[np.float64]
    scale: ErrorScale | None

    @classmethod
    def of(cls, residues: ResidueTally, scale: ErrorScale) -> Calibration | None:
        """None if there are too few residues.

        Parameters
        ----------
        residues : ResidueTally
            Of a packing.
        scale : ErrorScale
            That the predicted errors have.
        """
        predicted, found = residues.with_torsions()
        fitted = ErrorScale.fitted(predicted, found)
        if len(predicted) < GROUPS:
            return None
        groups = tenths(predicted)
        return cls(
            np.array([predicted[group].mean() for group in groups]),
            np.array([found[group].mean() for group in groups]),
            None if fitted is None else fitted.after(scale),
        )

    def lines(self) -> list[str]:
        """Of a page."""
        rows = zip(self.predicted, self.found, strict=True)
        line = []
        if self.scale is not None:
            formula = f"{self.scale.offset:.3f} Å + {self.scale.slope:.3f} · what rotamers say"
            line = [f"A line through what was found: {formula}.", ""]
        return [
            "Side chains with torsions, by tenths of the predicted error:",
            "",
            "| predicted, Å | found, Å |",
            "|---|---|",
            *(f"| {predicted:.2f} | {found:.2f} |" for predicted, found in rows),
            f"| **{self.predicted.mean():.2f}** | **{self.found.mean():.2f}** |",
            "",
            *line,
        ]


def tenths(predicted: NDArray[np.float64]) -> list[NDArray[np.intp]]:
    """Which residues are in each tenth, the least first."""
    return [g for g in np.array_split(np.argsort(predicted, kind="stable"), GROUPS) if len(g)]
