"""Design: frames are held, and what is fixed; sequence and side chains are made."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from model.metrics import PLACES, design_metrics
from model.tasks.bonded_residues import bonded_residues
from model.tasks.chain_breaks import closed_up
from model.tasks.inputs import InputError, InputStructure
from model.tasks.kept_residues import (
    completed,
    counted,
    first_of,
    is_d,
    lost_of_chains,
    notes_of_kept,
    oxygen_made,
)
from model.tasks.problem import Output, Problem, held_out_problem, labels_of
from model.tasks.record import Row, TaskRecord, numbers
from model.tasks.request import Request, check_input
from model.tasks.residue_ranges import ResidueRange, find_rows, parse_ranges
from model.tasks.sequences import retyped, spread
from model.tasks.type_preferences import (
    bias_of,
    check_ties,
    parse_omit,
    parse_tied,
    read_biases,
    rows_of_biases,
    ties_of,
    typed_together,
)
from pipeline.commands.words import listed
from pipeline.errors import UsageError
from pipeline.residues import N_TYPES, ONE_LETTER, UNKNOWN
from pipeline.residues.components import is_name_of_standard

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
    kept = _kept(request, structure)
    typed = kept & (given.aatype < UNKNOWN)
    held_atoms = typed.copy()
    stays = _stays(kept, structure)
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
    bias = bias_of(request.omit, request.bias, structure)
    ties = ties_of(request.tied, structure)
    if ties is not None:
        check_ties(ties, bias, structure)
        aatype, typed = typed_together(ties, given.aatype, typed, structure)
        given = retyped(given, aatype)
    # What has another name than the twenty stays under it, whatever is said of its type.
    other = stays & (structure.structure.aatype == UNKNOWN)
    given = retyped(given, np.where(other, UNKNOWN, given.aatype))
    return Problem(
        name=name,
        task="design",
        given=given,
        held_frames=np.ones(n, bool),
        held_atoms=held_atoms,
        held_sequence=typed | other,
        labels=labels_of(structure, keep_sequence=False),
        reference=structure.structure,
        source=structure.name,
        untouched=stays if stays.any() else None,
        others=structure.others,
        own=structure.own,
        connections=structure.connections,
        left_out=listed([*structure.left_out, *lost_of_chains(structure, stays)]),
        bias=bias,
        ties=ties,
    )


def _stays(kept: NDArray[np.bool_], structure: InputStructure) -> NDArray[np.bool_]:
    """(L,) What comes back atom by atom: what is kept, as far as it is known what it is."""
    known = (structure.structure.aatype < UNKNOWN) | ~structure.is_nameless
    there = structure.structure.mask.any(1) | (np.array(structure.comp_ids) != "")
    return _without_backbone(structure) | (kept & known & there & ~completed(structure))


def _without_backbone(structure: InputStructure) -> NDArray[np.bool_]:
    """(L,) What packing leaves as it is, if no type can be made for it: chromophores, say."""
    names = structure.comp_ids
    unknown = (structure.structure.aatype == UNKNOWN) & (np.array(names) != "")
    return np.asarray((is_d(names) | unknown) & ~structure.resolved)


def _kept(request: Request, structure: InputStructure) -> NDArray[np.bool_]:
    """(L,) What ``--fixed`` names."""
    kept = np.zeros(len(structure.structure), bool)
    for residues in _fixed(request):
        kept[find_rows(residues, structure)] = True
    return kept


def design_notes(request: Request, problem: Problem, structure: InputStructure) -> list[str]:
    """What stays that somebody may think is made, and what does not come back."""
    kept = _kept(request, structure)
    stays = _stays(kept, structure)
    said = notes_of_kept(kept & (structure.structure.aatype < UNKNOWN), structure, "--fixed")
    said += oxygen_made(structure, kept)
    if (left := stays & ~structure.resolved).any():
        names = first_of([structure.describe(row) for row in np.flatnonzero(left)])
        said.append(f"stay as they are in the file, for they have no backbone (N, CA, C): {names}")
    if (left := kept & structure.numbered & ~structure.resolved & ~stays).any():
        names = first_of([structure.describe(row) for row in np.flatnonzero(left)])
        said.append(f"--fixed names residues without atoms, which are left out: {names}")
    if problem.ties is not None:
        other = stays & (structure.structure.aatype == UNKNOWN)
        tied = np.bincount(problem.ties)[problem.ties] > 1
        if (left := other & tied).any():
            names = first_of([structure.describe(row) for row in np.flatnonzero(left)])
            said.append(f"--tied: none of the twenty types, and so tied to nothing: {names}")
    designed = structure.resolved & ~kept
    comps = [structure.comp_ids[row] for row in np.flatnonzero(designed & ~structure.is_nameless)]
    if others := [comp for comp in comps if not is_name_of_standard(comp)]:
        said.append(
            "residues that are none of the twenty are designed like others, as one of these, L: "
            f"{counted(others)}; --fixed keeps what it names as it is"
        )
    bonded = bonded_residues(structure)
    if bonds := [f"{structure.describe(row)} ({bonded[row]})" for row in bonded if designed[row]]:
        said.append(
            "residues are designed although something else is bonded to their side chains: "
            f"{first_of(bonds)}; --fixed keeps what it names as it is"
        )
    said += _unheard(request, problem, structure)
    if broken := closed_up(structure):
        said.append(broken)
    if problem.left_out:
        said.append(f"left out: {problem.left_out}")
    return [f"{structure.file or structure.name}: {sentence}" for sentence in said]


def _unheard(request: Request, problem: Problem, structure: InputStructure) -> list[str]:
    """``--omit`` and ``--bias`` where a type is given, which they do not change."""
    if problem.bias is None:
        return []
    given, types = problem.held_sequence, problem.given.aatype
    of_type = problem.bias[np.arange(len(types)), np.minimum(types, N_TYPES - 1)]
    against = given & (types < N_TYPES) & np.isneginf(of_type)
    named = given & ~against & rows_of_biases(request.bias, structure)
    said = []
    for rows, sentence in (
        (against, "types that are given stay, although --omit or --bias leaves them out"),
        (named, "--bias changes nothing where the type is given"),
    ):
        if rows.any():
            names = [
                f"{structure.describe(row)} ({ONE_LETTER[types[row]]})"
                for row in np.flatnonzero(rows)
            ]
            said.append(f"{sentence}: {first_of(names)}")
    return said


def _check(request: Request) -> None:
    check_input(request)
    if request.omit is not None:
        parse_omit(request.omit)
    if request.tied is not None:
        parse_tied(request.tied)
    if request.bias is not None:
        read_biases(request.bias)
    if request.start > 0 and not (request.omit is request.bias is request.tied is None):
        raise UsageError(
            "--start keeps some types of the input, whatever --omit, --bias and --tied say: leave "
            "it out, or these"
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
    options=("fixed", "partial_sequence", "omit", "bias", "tied"),
    check=_check,
    ranges=_fixed,
    problem=design_problem,
    takes_others=True,
    notes=design_notes,
    held_out=lambda item, seed: held_out_problem("design", item, frames=True),
    compare=_compare,
    shown={"recovery": "recovery", "score": "score of the designs"},
    of_evaluation={
        "perplexity": "perplexity",
        **{f"recovery_{place}": f"recovery {where}" for place, where in PLACES.items()},
    },
)
