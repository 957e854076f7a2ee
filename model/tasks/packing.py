"""Packing: frames and sequence are held, side chains are made."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from model.metrics import packing_metrics
from model.tasks.inputs import InputError, InputStructure
from model.tasks.problem import Output, Problem, held_out_problem, labels_of
from model.tasks.record import Row, TaskRecord, numbers
from model.tasks.request import Request, check_input
from model.tasks.residue_ranges import ResidueRange, find_rows, parse_ranges
from model.tasks.sequences import retyped, spread
from pipeline.errors import UsageError
from pipeline.residues import CHI_MASK, N_SLOTS, ONE_LETTER, UNKNOWN


def packing_problem(request: Request, name: str, structure: InputStructure) -> Problem:
    """Side chains for the backbone of an input.

    Raises
    ------
    InputError
        The sequence does not fit the input.
    """
    given, sequence = structure.structure, request.sequence
    n = len(given)
    untouched = None
    if request.only is not None:
        named = np.zeros(n, bool)
        for residues in _only(request):
            named[find_rows(residues, structure)] = True
        if not (named & structure.resolved).any():
            raise InputError(f"--only: {structure.name} has no backbone at these residues")
        untouched = ~(named & structure.resolved)
    if sequence is not None:
        aatype = spread(sequence, structure, "--sequence")
        _check_untouched_keep_types(untouched, aatype, structure)
        given = retyped(given, aatype)
    return Problem(
        name=name,
        task="packing",
        given=given,
        held_frames=np.ones(n, bool),
        # One that lacks atoms is not held: the network sees what it would be.
        held_atoms=np.zeros(n, bool) if untouched is None else untouched & (given.aatype < UNKNOWN),
        held_sequence=np.ones(n, bool),
        labels=labels_of(structure, keep_sequence=sequence is None),
        reference=structure.structure if sequence is None else None,
        source=structure.name,
        untouched=untouched,
        others=structure.others,
    )


def _only(request: Request) -> list[ResidueRange]:
    return [] if request.only is None else parse_ranges(request.only, "--only")


def _check_untouched_keep_types(
    untouched: NDArray[np.bool_] | None, aatype: NDArray[np.int64], structure: InputStructure
) -> None:
    if untouched is None:
        return
    changed = np.flatnonzero(untouched & (aatype != structure.structure.aatype))
    if len(changed):
        row = int(changed[0])
        raise InputError(
            f"{structure.describe(row)} of {structure.name} is "
            f"{ONE_LETTER[structure.structure.aatype[row]]} in the file and "
            f"{ONE_LETTER[aatype[row]]} by --sequence; --only does not name it, so that it stays"
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
    found = output.structure
    if problem.untouched is not None:
        side_chain = problem.untouched[:, None] & (np.arange(N_SLOTS) >= 4)
        found = found.with_atoms(found.positions, found.mask & ~side_chain)
    return numbers(packing_metrics(problem.name, found, problem.reference))


PACKING = TaskRecord(
    name="packing",
    title="Side chains packed on {}".format,
    options=("sequence", "only", "esm"),
    check=_check,
    ranges=_only,
    problem=packing_problem,
    held_out=lambda item, seed: held_out_problem("packing", item, frames=True, sequence=True),
    flows=False,
    takes_others=True,
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
