"""What is counted over residues and chains of an evaluation, task by task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from model.metrics import (
    AtomErrors,
    ModalRotamers,
    Structure,
    atom_errors,
    chi_angles,
    chi_errors,
    confusion,
    core_residues,
    design_metrics,
    fold_metrics,
    generation_metrics,
    nearest_naming,
    packing_metrics,
    row,
)
from model.sample.problems import Problem
from model.sample.run import Output
from pipeline.residues import CHI_MASK, RESTYPES
from pipeline.residues.side_chains import place_side_chains

TOLERANCE = 20.0
"""Degrees within which a torsion counts as recovered."""

Row = dict[str, Any]


@dataclass
class Tally:
    """Everything that is found, filled output by output.

    Attributes
    ----------
    rows : dict
        ``chain_uid`` → its row of ``per_chain.csv``.
    packed, baseline : ResidueTally
        Side chains of the network, and of the modal rotamers.
    confusion : (20, 20) int64
        True type, designed type.
    generated : list of (L, 3) float64
        Cα of new proteins.
    """

    rotamers: ModalRotamers | None
    rows: dict[str, Row] = field(default_factory=dict)
    packed: ResidueTally = field(default_factory=lambda: ResidueTally())
    baseline: ResidueTally = field(default_factory=lambda: ResidueTally())
    confusion: NDArray[np.int64] = field(default_factory=lambda: np.zeros((20, 20), np.int64))
    generated: list[NDArray[np.float64]] = field(default_factory=list)

    def add(self, problem: Problem, output: Output) -> None:
        """Measure one output."""
        uid, found = problem.name, output.structure
        reference = problem.reference
        mean_error = output.mean_error(problem)
        if problem.task == "packing":
            assert reference is not None
            self._pack(uid, reference, output)
        elif problem.task == "design":
            assert reference is not None
            metrics = design_metrics(
                uid, found.aatype, output.log_probabilities, reference.aatype, output.drawn
            )
            self._put(uid, "design", row(metrics), predicted_error=mean_error)
            self.confusion += confusion(found.aatype, reference.aatype, output.drawn)
        elif problem.task == "inpainting":
            assert reference is not None
            fold = fold_metrics(uid, found, reference, problem.motif)
            alone = row(generation_metrics(uid, found))
            more = {name: alone[name] for name in ("step_valid", "n_bumps", "clashes_90")}
            self._put(uid, "inpainting", row(fold) | more, predicted_error=mean_error)
        else:
            alone = row(generation_metrics(uid, found))
            self._put(uid, "unconditional", alone, predicted_error=mean_error)
            self.generated.append(found.ca[found.has_ca])

    def _pack(self, uid: str, reference: Structure, output: Output) -> None:
        metrics = row(packing_metrics(uid, output.structure, reference))
        error = residue_rmsd(output.structure, reference)
        self._put(
            uid,
            "packing",
            metrics,
            predicted_error=float(np.nanmean(output.predicted_error)),
            confidence_spearman=spearman(output.predicted_error, error),
        )
        self.packed.add(output.structure, reference, output.predicted_error)
        if self.rotamers is not None:
            positions, mask = place_side_chains(
                np.radians(self.rotamers.chi1_first[reference.aatype]),
                reference.positions,
                reference.mask,
                reference.aatype,
            )
            modal = reference.with_atoms(positions, mask)
            self._put(uid, "baseline", row(packing_metrics(uid, modal, reference)))
            self.baseline.add(modal, reference)

    def _put(self, uid: str, task: str, metrics: Mapping[str, Any], **more: float) -> None:
        of_chain = self.rows.setdefault(uid, {"chain_uid": uid, "length": metrics["length"]})
        for name, value in {**metrics, **more}.items():
            if name not in ("chain_uid", "length"):
                of_chain[f"{task}.{name}"] = value


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
