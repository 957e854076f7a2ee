"""Design: frames are held, and what is fixed; sequence and side chains are made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from model.metrics import design_metrics
from model.tasks.inputs import InputError, InputStructure
from model.tasks.problem import Output, Problem, held_out_problem, labels_of
from model.tasks.record import Row, TaskRecord, numbers
from model.tasks.request import Request, check_input
from model.tasks.residue_ranges import ResidueRange, find_rows, parse_fixed
from model.tasks.sequences import retyped, spread
from pipeline.residues import ONE_LETTER, UNKNOWN

FREE_LETTERS = "_X"


def design_problem(
    name: str,
    structure: InputStructure,
    *,
    fixed: Sequence[ResidueRange] = (),
    partial_sequence: str | None = None,
) -> Problem:
    """A sequence with side chains for the backbone of an input.

    Parameters
    ----------
    name : str
    structure : InputStructure
    fixed : sequence of ResidueRange
        Residues that keep type and side chain.
    partial_sequence : str, optional
        Types that are given; ``_`` and ``X`` are free; chains separated by ``:``.

    Raises
    ------
    UsageError, InputError
        What is fixed does not fit the input.
    """
    given = structure.structure
    n = len(given)
    kept = np.zeros(n, bool)
    for residues in fixed:
        kept[find_rows(residues, structure)] = True
    typed = kept & (given.aatype < UNKNOWN)
    held_atoms = typed.copy()
    if partial_sequence is not None:
        aatype = spread(partial_sequence, structure, "--partial-sequence", free=FREE_LETTERS)
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
    return [] if request.fixed is None else parse_fixed(request.fixed)


def _problem(request: Request, name: str, structure: InputStructure) -> Problem:
    return design_problem(
        name, structure, fixed=_fixed(request), partial_sequence=request.partial_sequence
    )


def _held_out(item: Mapping[str, Any], seed: int) -> Problem:
    n = len(item["aatype"])
    held, made = np.ones(n, bool), np.zeros(n, bool)
    return held_out_problem("design", item, frames=held, atoms=made, sequence=made)


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
    problem=_problem,
    held_out=_held_out,
    compare=_compare,
    shown={"recovery": "recovery", "perplexity": "perplexity"},
)
