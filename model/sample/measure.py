"""What can be measured of a sample, alone and against its input."""

from __future__ import annotations

import math
from typing import Any

from model.metrics import (
    design_metrics,
    fold_metrics,
    generation_metrics,
    packing_metrics,
    row,
)
from model.sample.problems import Problem
from model.sample.run import Output
from pipeline.residues import CHI_MASK, UNKNOWN

_NAMES = ("chain_uid", "length")


def measure(problem: Problem, output: Output) -> dict[str, Any]:
    """One row: names, what the protein is like, and how it compares with its input.

    Columns that compare are there for the tasks for which they mean something, and empty where the
    input cannot tell (packing a bare backbone, say).
    """
    structure, reference = output.structure, problem.reference
    found: dict[str, Any] = {
        "name": problem.name,
        "task": problem.task,
        "input": problem.source,
        "length": len(problem),
        "n_chains": len(problem.labels),
        "n_held": int((problem.held_frames & problem.held_atoms).sum()),
    }
    found |= _values(row(generation_metrics(problem.name, structure)))
    if reference is None:
        return found
    if problem.task == "packing" and _has_side_chains(problem):
        # Clashes are those of the whole protein, counted above.
        packing = _values(row(packing_metrics(problem.name, structure, reference)))
        found |= {name: v for name, v in packing.items() if not name.startswith("clashes")}
    elif problem.task == "design":
        metrics = design_metrics(
            problem.name,
            structure.aatype,
            output.log_probabilities,
            reference.aatype,
            output.drawn,
        )
        found |= _values(row(metrics))
    elif problem.task == "inpainting":
        metrics_ = fold_metrics(problem.name, structure, reference, problem.motif)
        found["motif_rmsd"] = metrics_.motif_rmsd
    elif problem.task == "unconditional":
        metrics_ = fold_metrics(problem.name, structure, reference)
        found |= {"ca_rmsd": metrics_.ca_rmsd, "tm_score": metrics_.tm_score}
        same = (structure.aatype == reference.aatype)[reference.aatype < UNKNOWN]
        found["identity"] = float(same.mean()) if len(same) else math.nan
    return found


def _has_side_chains(problem: Problem) -> bool:
    reference = problem.reference
    assert reference is not None
    return bool((reference.mask[:, 5:].any(1) & CHI_MASK[reference.aatype, 0]).any())


def _values(record: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in record.items() if name not in _NAMES}
