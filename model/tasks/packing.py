"""Packing: frames and sequence are held, side chains are made."""

from __future__ import annotations

import numpy as np

from model.metrics import packing_metrics
from model.tasks.inputs import InputStructure
from model.tasks.problem import Output, Problem, held_out_problem, labels_of
from model.tasks.record import Row, TaskRecord, numbers
from model.tasks.request import Request, check_input
from model.tasks.sequences import retyped, spread
from pipeline.errors import UsageError
from pipeline.residues import CHI_MASK


def packing_problem(request: Request, name: str, structure: InputStructure) -> Problem:
    """Side chains for the backbone of an input.

    Raises
    ------
    InputError
        The sequence does not fit the input.
    """
    given, sequence = structure.structure, request.sequence
    n = len(given)
    if sequence is not None:
        given = retyped(given, spread(sequence, structure, "--sequence"))
    return Problem(
        name=name,
        task="packing",
        given=given,
        held_frames=np.ones(n, bool),
        held_atoms=np.zeros(n, bool),
        held_sequence=np.ones(n, bool),
        labels=labels_of(structure, keep_sequence=sequence is None),
        reference=structure.structure if sequence is None else None,
        source=structure.name,
    )


def _check(request: Request) -> None:
    check_input(request)
    if request.start > 0 or request.noise_scale is not None:
        name = "--start" if request.start > 0 else "--noise-scale"
        raise UsageError(
            f"{name} is for what flows from noise, and side chains do not: leave it out of "
            "--task packing; --temperature draws other side chains"
        )


def _has_side_chains(problem: Problem) -> bool:
    reference = problem.reference
    if reference is None:
        return False
    return bool((reference.mask[:, 5:].any(1) & CHI_MASK[reference.aatype, 0]).any())


def _compare(problem: Problem, output: Output) -> Row:
    assert problem.reference is not None
    return numbers(packing_metrics(problem.name, output.structure, problem.reference))


PACKING = TaskRecord(
    name="packing",
    title="Side chains packed on {}".format,
    options=("sequence", "esm"),
    check=_check,
    problem=packing_problem,
    held_out=lambda item, seed: held_out_problem("packing", item, frames=True, sequence=True),
    flows=False,
    compare=_compare,
    is_comparable=_has_side_chains,
    shown={
        "side_chain_rmsd": "side-chain RMSD, Å",
        "side_chain_rmsd_core": "… of the core, Å",
        "chi1_recovery": "χ1 within 20°",
        "chi2_recovery": "χ2 within 20°",
        "chi3_recovery": "χ3 within 20°",
        "chi4_recovery": "χ4 within 20°",
        "rotamer_recovery": "all χ within 20°",
        "chi1_mae": "χ1 error, °",
        "chi2_mae": "χ2 error, °",
        "chi3_mae": "χ3 error, °",
        "chi4_mae": "χ4 error, °",
        "clashes_100": "clashes at 100 % of the radii",
        "clashes_90": "clashes at 90 %",
    },
    ranked_error="side_chain_rmsd",
    has_baseline=True,
)
