"""What is counted over residues and chains of an evaluation, task by task."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from model.evaluate.design_tally import DesignTally
from model.metrics import (
    AtomErrors,
    ModalRotamers,
    Structure,
    atom_errors,
    chi_angles,
    chi_errors,
    core_residues,
    nearest_naming,
    packing_metrics,
)
from model.metrics.residue_types import table_rows
from model.tasks import TASK_RECORDS, Output, Problem, Task, numbers_alone
from model.tasks.record import numbers
from pipeline.residues import CHI_MASK, RESTYPES
from pipeline.residues.side_chains import place_side_chains

TOLERANCE = 20.0
"""Degrees within which a torsion counts as recovered."""

NEAREST_TM = "nearest_tm"
"""Column of ``splits.parquet``, and of ``per_chain.csv`` where the splits have it."""

Row = dict[str, Any]


@dataclass
class Tally:
    """Everything that is found, filled output by output.

    Attributes
    ----------
    nearest_tm : dict
        ``chain_uid`` → TM-score to the nearest training chain, where that is known.
    rows : dict
        ``chain_uid`` → its row of ``per_chain.csv``.
    packed, baseline : ResidueTally
        Side chains of the network, and of the modal rotamers.
    designed : DesignTally
        Types of the network.
    generated : list of (L, 3) float64
        Cα of new proteins.
    """

    rotamers: ModalRotamers | None
    nearest_tm: Mapping[str, float] = field(default_factory=dict)
    rows: dict[str, Row] = field(default_factory=dict)
    packed: ResidueTally = field(default_factory=lambda: ResidueTally())
    baseline: ResidueTally = field(default_factory=lambda: ResidueTally())
    designed: DesignTally = field(default_factory=DesignTally)
    generated: list[NDArray[np.float64]] = field(default_factory=list)

    def add(
        self, problem: Problem, output: Output, likelihood: NDArray[np.float64] | None = None
    ) -> None:
        """Measure one output, and of a design the (L,) log-likelihood of the types of nature."""
        record = TASK_RECORDS[problem.task]
        measures = {} if problem.reference is None else record.compare(problem, output)
        if record.alone:
            alone = numbers_alone(problem, output)
            measures |= {name: alone[name] for name in record.alone}
        self._put(problem, problem.task, measures | {"predicted_error": output.mean_error(problem)})
        if problem.task == "design":
            self._put(problem, "design", self.designed.add(problem, output, likelihood))
        if problem.task in _COUNT:
            _COUNT[problem.task](self, problem, output)

    def _keep_trace(self, problem: Problem, output: Output) -> None:
        self.generated.append(output.structure.ca[output.structure.has_ca])

    def _count_side_chains(self, problem: Problem, output: Output) -> None:
        reference = problem.reference
        assert reference is not None
        error = residue_rmsd(output.structure, reference)
        ranked = spearman(output.predicted_error, error)
        self._put(problem, problem.task, {"confidence_spearman": ranked})
        self.packed.add(output.structure, reference, output.predicted_error)
        if self.rotamers is not None:
            positions, mask = place_side_chains(
                np.radians(self.rotamers.chi1_first[reference.aatype]),
                reference.positions,
                reference.mask,
                reference.aatype,
            )
            modal = reference.with_atoms(positions, mask)
            measures = numbers(packing_metrics(problem.name, modal, reference))
            self._put(problem, "baseline", measures)
            self.baseline.add(modal, reference)

    def _put(self, problem: Problem, column: str, measures: Mapping[str, Any]) -> None:
        uid = problem.name
        of_chain = self.rows.setdefault(uid, {"chain_uid": uid, "length": len(problem)})
        if self.nearest_tm:
            of_chain[NEAREST_TM] = self.nearest_tm.get(uid, float("nan"))
        of_chain |= {f"{column}.{name}": value for name, value in measures.items()}


_COUNT: dict[Task, Callable[[Tally, Problem, Output], None]] = {
    "packing": Tally._count_side_chains,
    "unconditional": Tally._keep_trace,
}
"""What is counted beyond the row of a chain."""


@dataclass
class ResidueTally:
    """Side chains, residue by residue.

    Attributes
    ----------
    atoms : AtomErrors
    aatype, core, error, predicted : list of (L,) arrays
        Types; whether in the core; RMSD of the side chain in Å, NaN where there is none to
        compare; predicted error in Å.
    chi : list of (L, 4) float64
        Errors in degrees.
    """

    atoms: AtomErrors = field(default_factory=AtomErrors.none)
    aatype: list[NDArray[np.int64]] = field(default_factory=list)
    core: list[NDArray[np.bool_]] = field(default_factory=list)
    error: list[NDArray[np.float64]] = field(default_factory=list)
    predicted: list[NDArray[np.float64]] = field(default_factory=list)
    chi: list[NDArray[np.float64]] = field(default_factory=list)

    def add(
        self,
        found: Structure,
        reference: Structure,
        predicted_error: NDArray[np.float64] | None = None,
    ) -> None:
        known = (reference.positions, reference.mask)
        kinds = reference.aatype
        self.atoms += atom_errors(found.positions, found.mask, *known, kinds)
        self.aatype.append(kinds)
        self.core.append(core_residues(*known))
        self.error.append(residue_rmsd(found, reference))
        nothing = np.full(len(kinds), np.nan)
        self.predicted.append(nothing if predicted_error is None else predicted_error)
        self.chi.append(
            chi_errors(
                chi_angles(found.positions, found.mask, kinds), chi_angles(*known, kinds), kinds
            )
        )

    def joined(self, name: str) -> NDArray[Any]:
        """A list of arrays as one array."""
        return np.concatenate(getattr(self, name))

    def with_torsions(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Predicted and found errors in Å of the side chains that have torsions."""
        predicted, error = self.joined("predicted"), self.joined("error")
        known = CHI_MASK[table_rows(self.joined("aatype")), 0]
        known &= ~np.isnan(predicted) & ~np.isnan(error)
        return predicted[known], error[known]

    def chi_rows(self) -> list[Row]:
        """One row per type and χ: how many, mean absolute error in degrees, share within 20°."""
        if not self.chi:
            return []
        chi, aatype = self.joined("chi"), self.joined("aatype")
        rows = []
        for kind, name in enumerate(RESTYPES):
            for k in np.flatnonzero(CHI_MASK[kind]):
                errors = chi[aatype == kind, k]
                errors = errors[~np.isnan(errors)]
                if len(errors):
                    rows.append(
                        {
                            "residue": name,
                            "chi": int(k) + 1,
                            "count": len(errors),
                            "mae": float(errors.mean()),
                            "recovery": float((errors <= TOLERANCE).mean()),
                        }
                    )
        return rows


def residue_rmsd(found: Structure, reference: Structure) -> NDArray[np.float64]:
    """(L,) RMSD of each side chain in Å, symmetric names resolved; NaN where none is compared."""
    named, named_mask = nearest_naming(
        found.positions, found.mask, reference.positions, reference.mask, reference.aatype
    )
    both = named_mask[:, 4:] & found.mask[:, 4:]
    difference = np.where(both[..., None], found.positions[:, 4:] - named[:, 4:], 0.0)
    n = both.sum(1)
    return np.sqrt((difference**2).sum((1, 2)) / np.where(n, n, np.nan))


def spearman(predicted: NDArray[np.float64], found: NDArray[np.float64]) -> float:
    """Rank correlation of what is known on both sides; NaN if one side does not vary."""
    known = ~np.isnan(predicted) & ~np.isnan(found)
    a, b = predicted[known], found[known]
    if len(a) < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    return float(spearmanr(a, b).statistic)
