"""Packing: frames and sequence are held, side chains are made."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from model.metrics import packing_metrics
from model.tasks.bonded_residues import bonded_residues
from model.tasks.inputs import InputError, InputStructure
from model.tasks.kept_residues import (
    counted,
    first_of,
    is_d,
    is_modified,
    lost_of_chains,
    oxygen_made,
)
from model.tasks.problem import Output, Problem, held_out_problem, labels_of
from model.tasks.record import Row, TaskRecord, numbers
from model.tasks.request import Request, check_input
from model.tasks.residue_ranges import ResidueRange, find_rows, parse_ranges
from model.tasks.sequences import retyped, spread
from pipeline.commands.words import listed
from pipeline.errors import UsageError
from pipeline.residues import CHI_MASK, N_SLOTS, ONE_LETTER, UNKNOWN


def packing_problem(request: Request, name: str, structure: InputStructure) -> Problem:
    """Side chains for the backbone of an input.

    Raises
    ------
    InputError
        The sequence does not fit the input, or what is to be made cannot be.
    """
    given, sequence = structure.structure, request.sequence
    n = len(given)
    if sequence is not None:
        given = retyped(given, spread(sequence, structure, "--sequence"))
        _check_types_known(given.aatype, structure)
    stays = _cannot_be_made(structure, given.aatype)
    stays[_bonded(structure, given.aatype)] = True
    if request.only is not None:
        named, ends = _named(request, structure)
        lacking = ends & (stays | ~structure.resolved)
        if lacking.any():
            raise InputError(_why_not(lacking, structure))
        stays = stays | ~(named & structure.resolved)
        _check_types_stay(stays, given.aatype, structure)
    untouched = stays if stays.any() else None
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
        own=structure.own,
        connections=structure.connections,
        left_out=listed([*structure.left_out, *lost_of_chains(structure, stays)]),
    )


def _cannot_be_made(structure: InputStructure, aatype: NDArray[np.int64]) -> NDArray[np.bool_]:
    """(L,) D-amino acids, and residues whose type is not known.

    Raises
    ------
    InputError
        A D-amino acid would get another type.
    """
    if not structure.own:
        return np.zeros(len(aatype), bool)
    comps = structure.comp_ids
    mirrored = is_d(comps)
    changed = np.flatnonzero(mirrored & (aatype != structure.structure.aatype))
    if len(changed):
        row = int(changed[0])
        raise InputError(
            f"{structure.describe(row)} of {structure.name} is {comps[row]}, a D-amino acid, which "
            f"stays as it is, and {ONE_LETTER[aatype[row]]} by --sequence"
        )
    known = np.array([comp != "" for comp in comps], bool)
    unknown = (aatype == UNKNOWN) & known
    # A sequence that is given for what is resolved has no letters for the rest.
    unknown &= structure.resolved | (structure.structure.aatype == UNKNOWN)
    return np.asarray(mirrored | unknown)


def _check_types_known(aatype: NDArray[np.int64], structure: InputStructure) -> None:
    in_file = structure.structure.aatype
    lost = np.flatnonzero((aatype == UNKNOWN) & (in_file < UNKNOWN) & structure.resolved)
    if len(lost):
        row = int(lost[0])
        raise InputError(
            f"{structure.describe(row)} of {structure.name} is X by --sequence and "
            f"{ONE_LETTER[in_file[row]]} in the file; write {ONE_LETTER[in_file[row]]}, or the "
            "type that it is to have"
        )


def _bonded(structure: InputStructure, aatype: NDArray[np.int64]) -> list[int]:
    """Rows whose side chains another molecule or residue is bonded to, and whose type stays."""
    same = aatype == structure.structure.aatype
    return [row for row in bonded_residues(structure) if same[row] and structure.resolved[row]]


def _named(
    request: Request, structure: InputStructure
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """(L,) Residues with atoms that ``--only`` names; and those that it names by their number."""
    named, ends = np.zeros((2, len(structure.structure)), bool)
    for residues in _only(request):
        rows = find_rows(residues, structure)
        named[rows] = True
        if not residues.is_whole:
            ends[rows[[0, -1]]] = True
    return named & structure.numbered, ends


def _why_not(rows: NDArray[np.bool_], structure: InputStructure) -> str:
    said = []
    comps = structure.comp_ids if structure.own else [""] * len(rows)
    bonded = bonded_residues(structure)
    for row in np.flatnonzero(rows).tolist():
        why = "has no backbone (N, CA, C)"
        if row in bonded and structure.resolved[row]:
            why = f"is bonded by {bonded[row]}"
        elif structure.resolved[row]:
            mirrored = is_d([comps[row]])[0]
            why = f"is {comps[row]}, " + ("a D-amino acid" if mirrored else "of no known type")
        said.append(f"{structure.describe(row)} {why}")
    return (
        f"{structure.name}: --only names residues whose side chains cannot be made: "
        f"{first_of(said)}; leave them out of --only, and they stay as they are"
    )


def packing_notes(request: Request, problem: Problem, structure: InputStructure) -> list[str]:
    """What stays that somebody may think is made, and what does not come back."""
    said = []
    stays = _cannot_be_made(structure, problem.given.aatype)
    bonded = bonded_residues(structure)
    if bonds := [
        f"{structure.describe(row)} ({bonded[row]})"
        for row in _bonded(structure, problem.given.aatype)
        if not stays[row]
    ]:
        said.append(
            "side chains stay as they are in the file where something else is bonded to them: "
            f"{first_of(bonds)}"
        )
    if stays.any():
        comps = [structure.comp_ids[row] for row in np.flatnonzero(stays)]
        said.append(
            "stay as they are in the file, for the network makes neither D-amino acids nor what "
            f"has no known type: {counted(comps)}"
        )
    said += oxygen_made(structure, _stays(problem))
    made = np.flatnonzero(structure.resolved & ~_stays(problem)).tolist() if structure.own else []
    modified = [comp for row in made if is_modified(comp := structure.comp_ids[row])]
    if modified and request.sequence is None:
        said.append(f"modified residues are made as their parents: {counted(modified)}")
    if request.only is not None:
        named, _ = _named(request, structure)
        rows = np.flatnonzero(named & _stays(problem))
        if len(rows):
            names = ", ".join(structure.describe(row) for row in rows)
            said.append(f"--only names residues that stay as they are: {names}")
    if problem.left_out:
        said.append(f"left out: {problem.left_out}")
    return [f"{structure.file or structure.name}: {sentence}" for sentence in said]


def _stays(problem: Problem) -> NDArray[np.bool_]:
    untouched = problem.untouched
    return np.zeros(len(problem), bool) if untouched is None else untouched


def _only(request: Request) -> list[ResidueRange]:
    return [] if request.only is None else parse_ranges(request.only, "--only")


def _check_types_stay(
    untouched: NDArray[np.bool_], aatype: NDArray[np.int64], structure: InputStructure
) -> None:
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
    notes=packing_notes,
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
