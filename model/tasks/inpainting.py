"""Inpainting: everything at a motif is held, everything elsewhere is made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from model.flow.clean import BATCH_KEYS, clean_from_batch
from model.flow.noise import draw_noise
from model.flow.tasks import hold_motif
from model.metrics import Structure, fold_metrics
from model.tasks.chain_breaks import peptide_bonds
from model.tasks.contigs import Contigs, draw_contigs, parse_contigs
from model.tasks.inputs import InputStructure
from model.tasks.kept_residues import completed, lost_of_kept, notes_of_kept
from model.tasks.motif_bench import check_case
from model.tasks.problem import Output, Problem, count_within, held_out_problem, new_labels
from model.tasks.record import Row, TaskRecord, numbers
from model.tasks.request import Request, check_input
from model.tasks.residue_ranges import ResidueRange, find_rows, parts_of
from pipeline.batching import collate
from pipeline.commands.words import listed
from pipeline.errors import UsageError
from pipeline.residues import MAX_PEPTIDE_BOND, UNKNOWN


def inpainting_problem(request: Request, name: str, structure: InputStructure) -> Problem:
    """A protein around parts of an input.

    With `request.start` above 0 the new residues start from the input's at the same place.

    Raises
    ------
    UsageError
        The contigs do not fit the input.
    """
    if request.motifbench:
        check_case(_contigs(request), structure)
    contigs = draw_contigs(_contigs(request), request.seed, name)
    rows: list[int] = []
    held, chain_index = [], []
    owner: dict[int, ResidueRange] = {}
    for number, segments in enumerate(contigs):
        for segment in segments:
            if isinstance(segment, ResidueRange):
                of_segment = find_rows(segment, structure).tolist()
                _check_resolved(segment, of_segment, structure)
                _check_bonded(segment, of_segment, structure)
                other = next((owner[row] for row in of_segment if row in owner), None)
                if other is not None:
                    raise UsageError(
                        f"--contigs: {str(segment)!r} and {str(other)!r} have residues in common"
                    )
                owner |= dict.fromkeys(of_segment, segment)
                rows += of_segment
            else:
                of_segment = [-1] * segment.least
                rows += of_segment
            held += [isinstance(segment, ResidueRange)] * len(of_segment)
            chain_index += [number] * len(of_segment)
    motif = np.array(held, bool)
    source = np.array(rows, np.int64)
    n = len(source)
    known = structure.structure
    if request.start > 0:
        if n != len(known):
            raise UsageError(
                f"--start needs contigs of as many residues as {structure.name} has, "
                f"{len(known)}, so that each has a place to start from; found {n}"
            )
        source = np.where(source < 0, np.arange(n), source)
    from_input = source >= 0
    at = np.where(from_input, source, 0)
    mask = known.mask[at] & from_input[:, None]
    chains = np.array(chain_index, np.int64)
    given = Structure(
        positions=np.where(mask[..., None], known.positions[at], 0.0),
        mask=mask,
        aatype=np.where(from_input, known.aatype[at], UNKNOWN),
        residue_index=count_within(chains),
        chain_index=chains,
    )
    complete = motif & (given.aatype < UNKNOWN)
    untouched = complete & ~completed(structure)[at]
    return Problem(
        name=name,
        task="inpainting",
        given=given,
        held_frames=motif,
        held_atoms=complete,
        held_sequence=complete,
        labels=new_labels(np.bincount(chains).tolist()),
        reference=given,
        source=structure.name,
        untouched=untouched if untouched.any() else None,
    )


def inpainting_notes(request: Request, problem: Problem, structure: InputStructure) -> list[str]:
    """Which residues of the parts that are kept lack atoms, and what does not come back."""
    kept = np.zeros(len(structure.structure), bool)
    for residues in _kept(request):
        kept[find_rows(residues, structure)] = True
    typed = kept & (structure.structure.aatype < UNKNOWN)
    said = notes_of_kept(typed, structure, "--contigs")
    if lost := lost_of_kept(structure, kept):
        said.append(f"--contigs: of what is kept, left out: {listed(lost)}")
    if structure.left_out:
        said.append(f"left out: {listed(structure.left_out)}")
    if structure.beside:
        said.append(f"left out, and not in the way: {structure.beside}")
    return [f"{structure.file or structure.name}: {sentence}" for sentence in said]


def _check_resolved(residues: ResidueRange, rows: list[int], structure: InputStructure) -> None:
    missing = [row for row in rows if not structure.resolved[row]]
    if missing:
        raise UsageError(
            f"--contigs: {str(residues)!r}: {len(missing)} of its residues have no backbone (N, CA "
            f"and C with occupancy and coordinates) in {structure.name}; keep the parts around "
            "them, with new residues between"
        )


def _check_bonded(residues: ResidueRange, rows: list[int], structure: InputStructure) -> None:
    """See that a kept part is one piece: what is missing within it would be closed up."""
    distance = peptide_bonds(structure)[rows[:-1]]
    broken = np.flatnonzero(distance > MAX_PEPTIDE_BOND)
    if not len(broken):
        return
    k = int(broken[0])
    starts = [0, *(broken + 1).tolist()]
    ends = [*broken.tolist(), len(rows) - 1]
    parts = ", ".join(
        parts_of(structure, rows[a], rows[b]) for a, b in zip(starts, ends, strict=True)
    )
    raise UsageError(
        f"--contigs: {str(residues)!r}: {structure.number(rows[k])} and "
        f"{structure.number(rows[k + 1])} of chain {residues.chain} of {structure.name} are not "
        f"bonded (C–N {distance[k]:.1f} Å), so something is missing between them; keep the parts "
        f"({parts}), with new residues between"
    )


def _check(request: Request) -> None:
    check_input(request)
    if request.contigs is None:
        raise UsageError('--task inpainting needs --contigs, such as "10-20/A45-60/15"')


def _contigs(request: Request) -> Contigs:
    assert request.contigs is not None
    return parse_contigs(request.contigs)


def _kept(request: Request) -> list[ResidueRange]:
    return [s for chain in _contigs(request) for s in chain if isinstance(s, ResidueRange)]


def _held_out(item: Mapping[str, Any], seed: int) -> Problem:
    """A motif is drawn as in training: one to three segments, a tenth to half of the residues."""
    keys = [key for key in BATCH_KEYS if key != "lengths"]
    clean = clean_from_batch(collate([{key: item[key] for key in ("chain_uid", *keys)}]))
    n = clean.mask.shape[1]
    noise = draw_noise([f"motif of {item['chain_uid']}"], [n], n, seed, 0)
    held = hold_motif(clean, noise)
    frames, atoms, sequence = (m[0].numpy() for m in (held.frames, held.atoms, held.sequence))
    return held_out_problem("inpainting", item, frames=frames, atoms=atoms, sequence=sequence)


def _compare(problem: Problem, output: Output) -> Row:
    assert problem.reference is not None
    return numbers(
        fold_metrics(problem.name, output.structure, problem.reference, problem.held_frames)
    )


INPAINTING = TaskRecord(
    name="inpainting",
    title="Protein made around parts of {}".format,
    options=("contigs", "motifbench"),
    check=_check,
    ranges=_kept,
    problem=inpainting_problem,
    notes=inpainting_notes,
    held_out=_held_out,
    takes_whole_input=False,
    tells_others=True,
    hides_frames=True,
    compare=_compare,
    # An input is no answer to what is made around its parts.
    of_input=("motif_rmsd",),
    alone=("step_valid", "n_bumps", "clashes_90"),
    shown={
        "ca_rmsd": "Cα RMSD, Å",
        "tm_score": "TM-score",
        "motif_rmsd": "motif RMSD, Å",
        "step_valid": "Cα–Cα steps of 3.8 ± 0.1 Å",
        "clashes_90": "clashes at 90 %",
    },
    by_length={"ca_rmsd": "Cα RMSD, Å", "tm_score": "TM-score"},
    ranked_error="ca_rmsd",
)
