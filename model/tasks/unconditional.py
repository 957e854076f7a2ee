"""Unconditional: nothing is held; a protein is made from nothing, or an input is varied."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import fields

import numpy as np

from model.metrics import GenerationMetrics, Structure, fold_metrics
from model.tasks.inputs import InputStructure
from model.tasks.problem import Output, Problem, count_within, labels_of, new_labels
from model.tasks.record import Row, TaskRecord
from model.tasks.request import Request
from pipeline.errors import UsageError
from pipeline.residues import N_SLOTS, UNKNOWN


def varied_problem(request: Request, name: str, structure: InputStructure) -> Problem:
    """A whole input to be varied by partial diffusion: nothing of it is held."""
    given = structure.structure
    nothing = np.zeros(len(given), bool)
    return Problem(
        name=name,
        task="unconditional",
        given=given,
        held_frames=nothing,
        held_atoms=nothing,
        held_sequence=nothing,
        labels=labels_of(structure, keep_sequence=False),
        reference=given,
        source=structure.name,
    )


def unconditional_problem(name: str, lengths: Sequence[int]) -> Problem:
    """A protein from nothing, of chains of the given lengths."""
    n = sum(lengths)
    chains = np.repeat(np.arange(len(lengths)), lengths)
    nothing = np.zeros(n, bool)
    return Problem(
        name=name,
        task="unconditional",
        given=Structure(
            positions=np.zeros((n, N_SLOTS, 3)),
            mask=np.zeros((n, N_SLOTS), bool),
            aatype=np.full(n, UNKNOWN, np.int64),
            residue_index=count_within(chains),
            chain_index=chains,
        ),
        held_frames=nothing,
        held_atoms=nothing,
        held_sequence=nothing,
        labels=new_labels(lengths),
    )


def parse_length(text: str) -> tuple[int, ...]:
    """Residues of each chain of ``80`` or ``80+60``.

    Raises
    ------
    UsageError
    """
    parts = text.split("+")
    if not all(part.isascii() and part.isdigit() and int(part) > 0 for part in parts):
        raise UsageError(
            f"--lengths {text!r}: expected a number of residues, or one for each chain as in 80+60"
        )
    return tuple(int(part) for part in parts)


def _check(request: Request) -> None:
    if request.start > 0:
        if request.input is None:
            raise UsageError("--start noises an input: give --input")
        if request.lengths is not None:
            raise UsageError("--start takes the length of its input; leave out --lengths")
    elif request.input is not None:
        raise UsageError(
            "--task unconditional reads no --input, unless --start says how far to noise it"
        )
    elif request.lengths is None:
        raise UsageError("--task unconditional needs --lengths, such as 80 120 80+60")


def _compare(problem: Problem, output: Output) -> Row:
    """A variation with its input."""
    structure, reference = output.structure, problem.reference
    assert reference is not None
    fold = fold_metrics(problem.name, structure, reference)
    same = (structure.aatype == reference.aatype)[reference.aatype < UNKNOWN]
    return {
        "ca_rmsd": fold.ca_rmsd,
        "tm_score": fold.tm_score,
        "identity": float(same.mean()) if len(same) else math.nan,
    }


UNCONDITIONAL = TaskRecord(
    name="unconditional",
    title=lambda source: f"Variation of {source}" if source else "Protein made from nothing",
    options=("lengths",),
    check=_check,
    problem=varied_problem,
    held_out=lambda item, seed: unconditional_problem(item["chain_uid"], [len(item["aatype"])]),
    hides_frames=True,
    compare=_compare,
    alone=tuple(field.name for field in fields(GenerationMetrics))[2:],
    shown={
        "step_mean": "Cα–Cα step, Å",
        "step_valid": "steps of 3.8 ± 0.1 Å",
        "n_bumps": "Cα pairs nearer than 3.6 Å",
        "relative_radius": "radius of gyration over that of a globule",
        "helix": "helix",
        "strand": "strand",
        "coil": "coil",
        "clashes_90": "clashes at 90 %",
    },
    # What has no answer can still be wrong in itself.
    ranked_error="step_deviation",
    is_new=True,
)
