"""What can be measured of a sample, alone and against its input."""

from __future__ import annotations

from typing import Any

from model.sample.structure_file import chains_of, kept_of
from model.tasks import TASK_RECORDS, Output, Problem, numbers_alone
from pipeline.export.bonds import bonds_between, once_each


def measure(problem: Problem, output: Output) -> dict[str, Any]:
    """One row: names, what the protein is like, and how it compares with its input.

    Columns that compare are there for the tasks for which they mean something, and empty where the
    input cannot tell (packing a bare backbone, say).
    """
    record = TASK_RECORDS[problem.task]
    measures: dict[str, Any] = {
        "name": problem.name,
        "task": problem.task,
        "input": problem.source,
        "length": len(problem),
        "n_chains": len(problem.labels),
        "n_held": int((problem.held_frames & problem.held_atoms).sum()),
    }
    measures |= numbers_alone(problem, output)
    if record.takes_others:
        measures |= {
            "n_disulphides": n_disulphides(problem, output),
            "left_out": problem.left_out,
        }
    if record.is_comparable(problem):
        compared = record.compare(problem, output)
        names = compared if record.of_input is None else record.of_input
        # Clashes are those of the whole protein, counted above.
        measures |= {name: compared[name] for name in names if name not in measures}
    return measures


def n_disulphides(problem: Problem, output: Output) -> int:
    """Pairs of residues with a disulphide in the file of a sample, D-cysteines among them."""
    bonds = bonds_between(chains_of(problem, output), kept_of(problem), [], [])
    return len(once_each(bonds))
