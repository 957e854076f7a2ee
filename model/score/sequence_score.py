"""`SequenceScore`: what a network says of one sequence on one structure."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.tasks.inputs import InputStructure
from pipeline.commands.words import several
from pipeline.residues import N_TYPES, ONE_LETTER
from pipeline.short_repr import short_repr

Row = dict[str, Any]

OWN = "input"
"""What the sequence of the file itself is called."""


@dataclass(frozen=True)
class SequenceScore:
    """Log-likelihoods in nats; L residues.

    Attributes
    ----------
    structure : InputStructure
    sequence_name : str
    aatype : (L,) int64
        What is scored; 20 where it is not.
    of_orders : (orders, L) float64
        log p of each type when its turn came, or the estimate of it; NaN where nothing is scored.
    weights : (orders, L) float64
        Of estimates, see `model.flow.likelihood.estimated`; 1 where they are exact.
    conditional : (L, 20) float64 or None
        log p of the twenty types given the types of all other residues.
    """

    structure: InputStructure
    sequence_name: str
    aatype: NDArray[np.int64]
    of_orders: NDArray[np.float64]
    weights: NDArray[np.float64]
    conditional: NDArray[np.float64] | None = None

    __repr__ = short_repr

    @property
    def name(self) -> str:
        """Of the structure."""
        return self.structure.name

    @cached_property
    def scored(self) -> NDArray[np.bool_]:
        """(L,) Residues with a backbone and a type."""
        return np.asarray(~np.isnan(self.of_orders).any(0))

    @property
    def log_likelihood(self) -> NDArray[np.float64]:
        """(L,) of each residue, mean over orders; NaN also where an estimate never asked."""
        with np.errstate(invalid="ignore"):
            return np.asarray(self.of_orders.sum(0) / self.weights.sum(0))

    def doubts(self) -> list[str]:
        """What to say of an estimate that is made of little."""
        found, n_orders = [], len(self.of_orders)
        never = int((self.scored & (self.weights == 0).all(0)).sum())
        if never:
            found.append(
                f"{never} of {several(int(self.scored.sum()), 'residue')} never were hidden, and "
                "have no log_likelihood of their own; more --steps or --orders ask them, too"
            )
        if n_orders == 1 and (self.weights[:, self.scored] != 1).any():
            found.append(
                "how far the estimate may be off is not known from one order (sd_over_orders); "
                "give more --orders, or all steps"
            )
        return [f"{self.name}: {sentence}" for sentence in found]

    @property
    def total(self) -> float:
        """Of the sequence, mean over orders."""
        return float(self.of_orders[:, self.scored].sum(1).mean())

    @property
    def perplexity(self) -> float:
        """exp of the mean negative log-likelihood of a residue."""
        return float(np.exp(-self.total / self.scored.sum()))

    def row(self) -> Row:
        """Of ``scores.csv``."""
        n = int(self.scored.sum())
        totals = self.of_orders[:, self.scored].sum(1)
        native = self.structure.structure.aatype
        known = self.scored & (native < N_TYPES)
        same = float((native == self.aatype)[known].mean()) if known.any() else float("nan")
        return {
            "name": self.name,
            "sequence": self.sequence_name,
            "length": len(self.aatype),
            "n_scored": n,
            "log_likelihood": self.total,
            # ProteinMPNN's score.
            "score": -self.total / n,
            "perplexity": self.perplexity,
            "sd_over_orders": float(totals.std(ddof=1)) if len(totals) > 1 else float("nan"),
            "identity": same,
        }

    def residues(self) -> list[Row]:
        """Rows of a table of residues."""
        rows = []
        for k in np.flatnonzero(self.scored).tolist():
            row = self._names(k) | {
                "type": ONE_LETTER[self.aatype[k]],
                "log_likelihood": float(self.log_likelihood[k]),
            }
            if self.conditional is not None:
                best = int(self.conditional[k].argmax())
                row |= {
                    "given_all_others": float(self.conditional[k, self.aatype[k]]),
                    "likeliest": ONE_LETTER[best],
                    "likeliest_probability": float(np.exp(self.conditional[k, best])),
                }
            rows.append(row)
        return rows

    def mutations(self) -> list[Row]:
        """Rows of a table of all single mutations: nineteen for each residue."""
        if self.conditional is None:
            return []
        rows = []
        for k in np.flatnonzero(self.scored).tolist():
            own = self.aatype[k]
            for kind in range(N_TYPES):
                if kind != own:
                    rows.append(
                        self._names(k)
                        | {
                            "wild_type": ONE_LETTER[own],
                            "mutant": ONE_LETTER[kind],
                            "log_probability": float(self.conditional[k, kind]),
                            "difference": float(
                                self.conditional[k, kind] - self.conditional[k, own]
                            ),
                        }
                    )
        return rows

    def _names(self, row: int) -> Row:
        return {
            "sequence": self.sequence_name,
            "chain": self.structure.chain_id(row),
            "residue": self.structure.number(row),
        }
