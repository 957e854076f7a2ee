"""Design: frames are held, and what is fixed; sequence and side chains are made."""

from __future__ import annotations

import numpy as np

from model.metrics import design_metrics
from model.tasks.inputs import InputError, InputStructure
from model.tasks.problem import Output, Problem, held_out_problem, labels_of
from model.tasks.record import Row, TaskRecord, numbers
from model.tasks.request import Request, check_input
from model.tasks.residue_ranges import ResidueRange, find_rows, parse_ranges
from model.tasks.sequences import retyped, spread
from pipeline.residues import ONE_LETTER, UNKNOWN

FREE_LETTERS = "_X"


def design_problem(request: Request, name: str, structure: InputStructure) -> Problem:
    """A sequence with side chains for the backbone of an input.

    Raises
    ------
    UsageError, InputError
        What is fixed does not fit the input.
    """
    given = structure.structure
    n = len(given)
    kept = np.zeros(n, bool)
    for residues in _fixed(request):
        kept[find_rows(residues, structure)] = True
    typed = kept & (given.aatype < UNKNOWN)
    held_atoms = typed.copy()
    if request.partial_sequence is not None:
        aatype = spread(
            request.partial_sequence, structure, "--partial-sequence", free=FREE_LETTERS
        )
        clash = kept & (aatype != UNKNOWN) & (aatype != given.aatype)
        if clash.any():
            row = int(np.flatnonzero(clash)[0])
            raise InputError(
                f"{structure.describe(row)} of {structure.name} is {ONE_LETTER[given.aatype[row]]} "
                f"by --fixed and {ONE_LETTER[aatype[row]]} by --partial-sequence"
            )
        typed |= aatype != UNKNOWN
        given = retyped(given, np.where(aatype != UNKNOWN, aatype, given.aatype))
    return Problem(
        name=name,
        task="design",
        given=given,
        held_frames=np.ones(n, bool),
        held_atoms=held_atoms,
        held_sequence=typed,
        labels=labels_of(structure, keep_sequence=False),
        reference=structure.structure,
        source=structure.name,
    )


def _fixed(request: Request) -> list[ResidueRange]:
    return [] if request.fixed is None else parse_ranges(request.fixed, "--fixed")


def _compare(problem: Problem, output: Output) -> Row:
    assert problem.reference is not None
    return numbers(
        design_metrics(
            problem.name,
            output.structure.aatype,
            output.log_probabilities,
            problem.reference.aatype,
            output.drawn,
        )
    )


DESIGN = TaskRecord(
    name="design",
    title="Sequence designed for {}".format,
    options=("fixed", "partial_sequence"),
    check=check_input,
    ranges=_fixed,
    problem=design_problem,
    held_out=lambda item, seed: held_out_problem("design", item, frames=True),
    compare=_compare,
    shown={"recovery": "recovery", "perplexity": "perplexity"},
)
