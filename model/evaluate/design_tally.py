"""Designed sequences, residue by residue: where they are right, and of what types they are."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.metrics import PLACES, confusion, places_of
from model.tasks import Output, Problem
from pipeline.residues import N_TYPES, RESTYPES

Row = dict[str, Any]
EVERYWHERE = "all"


@dataclass
class DesignTally:
    """Filled chain by chain; arrays are of the residues of all chains.

    Attributes
    ----------
    right : list of (L,) float64
        1 where the designed type is that of nature, 0 elsewhere; NaN where nothing was designed.
    likelihood : list of (L,) float64
        Of the type of nature, log p; NaN where it is not known.
    places : list of (L, 5) bool
        Columns are those of `PLACES`.
    confusion : (20, 20) int64
        Type of nature, designed type.
    """

    right: list[NDArray[np.float64]] = field(default_factory=list)
    likelihood: list[NDArray[np.float64]] = field(default_factory=list)
    places: list[NDArray[np.bool_]] = field(default_factory=list)
    confusion: NDArray[np.int64] = field(
        default_factory=lambda: np.zeros((N_TYPES, N_TYPES), np.int64)
    )

    def add(
        self, problem: Problem, output: Output, likelihood: NDArray[np.float64] | None = None
    ) -> Row:
        """Count one design; its measures, by name.

        Parameters
        ----------
        problem : Problem
            With its reference.
        output : Output
        likelihood : (L,) float64, optional
            Of the reference's types (`model.flow.likelihood`).
        """
        known = problem.reference
        assert known is not None
        designed = output.structure.aatype
        self.confusion += confusion(designed, known.aatype, output.drawn)
        counted = output.drawn & (known.aatype < N_TYPES)
        right = np.where(counted, designed == known.aatype, np.nan)
        log_p = np.full(len(known), np.nan) if likelihood is None else likelihood
        places = places_of(known)
        self.right.append(right)
        self.likelihood.append(log_p)
        self.places.append(np.stack([places[name] for name in PLACES], 1))
        found: Row = {} if likelihood is None else {"perplexity": _perplexity(log_p)}
        # Of a few residues a perplexity says little: `by_place` takes those of all chains.
        return found | {f"recovery_{name}": _mean(right[there]) for name, there in places.items()}

    def by_place(self) -> list[Row]:
        """One row for each place: residues of all chains together."""
        if not self.right:
            return []
        right, log_p = np.concatenate(self.right), np.concatenate(self.likelihood)
        places = np.concatenate(self.places)
        columns = {EVERYWHERE: np.ones(len(right), bool)}
        columns |= {name: places[:, k] for k, name in enumerate(PLACES)}
        return [
            {
                "place": name,
                "residues": int((~np.isnan(right[there])).sum()),
                "recovery": _mean(right[there]),
                "perplexity": _perplexity(log_p[there]),
            }
            for name, there in columns.items()
        ]

    def composition(self) -> list[Row]:
        """One row for each type: its share in nature and in designs, at the same residues."""
        total = max(int(self.confusion.sum()), 1)
        nature, designed = self.confusion.sum(1) / total, self.confusion.sum(0) / total
        return [
            {
                "type": name,
                "nature": float(nature[k]),
                "designed": float(designed[k]),
                "difference": float(designed[k] - nature[k]),
            }
            for k, name in enumerate(RESTYPES)
        ]


def _mean(values: NDArray[np.float64]) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def _perplexity(log_p: NDArray[np.float64]) -> float:
    return float(np.exp(-_mean(log_p)))
