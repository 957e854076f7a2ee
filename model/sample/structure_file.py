"""Samples as the text of mmCIF and PDB files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from model.tasks import TASK_RECORDS, Output, Problem
from pipeline.chain import Chain, EntryMetadata
from pipeline.export.atoms import Kept
from pipeline.export.chain_ids import Kind, with_own_ids
from pipeline.export.mmcif import mmcif_text
from pipeline.export.others import OtherResidue, other_residues, with_ids_of
from pipeline.export.pdb import pdb_text
from pipeline.parsing.entry_info import BondedAtom, Connection
from pipeline.residues import AATYPE_OF_LETTER, ATOM14_EXISTS, N_SLOTS, sequence_string

COMMENT = "written by model.sample; B-factors are predicted errors of the residues in Angstrom"
MAX_ERROR = 999.0
"""What a PDB file has room for."""


def structure_text(
    problem: Problem, output: Output, kind: Kind, *, trajectory: bool = False
) -> tuple[str, str]:
    """A file of one sample.

    Parameters
    ----------
    problem : Problem
    output : Output
    kind : {"cif", "pdb"}
    trajectory : bool
        Models 1, 2, … are the states that the network was given, the last model is the result.
        All have the atoms of the result, so that viewers take them for one molecule that moves.

    Returns
    -------
    text : str
    changed : str
        A sentence about chains that have other ids in the file than in the sample, or nothing.

    Raises
    ------
    ExportError
        It does not fit the format.
    """
    chains = chains_of(problem, output)
    if trajectory:
        states = [*output.trajectory, output.structure.positions]
        chains = [
            chain
            for number, positions in enumerate(states, start=1)
            for chain in chains_of(problem, output, positions=positions, model=number)
        ]
    kept = kept_of(problem)
    whole = {label: [row for row, own in of.items() if own.whole] for label, of in kept.items()}
    named = with_own_ids(chains, kind, whole)
    pairs = list(zip(chains, named.chains, strict=True))
    ids = {old.auth_asym_id: new.auth_asym_id for old, new in pairs}
    others: list[OtherResidue] = []
    changed: dict[str, str] = {}
    if problem.others is not None:
        others, changed = with_ids_of(other_residues(problem.others), ids, kind)
    lines = [*named.lines(), *(f"chain {new} is chain {old}" for old, new in changed.items())]
    said = [named.sentence()] if named.sentence() else []
    said += [f"what is in chain {old} is written as chain {new}" for old, new in changed.items()]
    write = pdb_text if kind == "pdb" else mmcif_text
    text = write(
        named.chains,
        others=others,
        kept=kept,
        connections=_renamed(problem, {new.label_asym_id: new for _, new in pairs}, ids | changed),
        comment="\n".join([COMMENT, *lines]),
    )
    return text, "; ".join(said)


def check_fits(problem: Problem, kind: Kind) -> None:
    """See that samples of a problem fit the format, as far as that is known before they are made.

    Raises
    ------
    ExportError
    """
    types = np.where(problem.held_sequence, problem.given.aatype, AATYPE_OF_LETTER["G"])
    there = problem.has_frame | ~problem.held_frames
    mask = ATOM14_EXISTS[types] & there[:, None]
    if problem.untouched is not None:
        mask[problem.untouched] = problem.given.mask[problem.untouched]
    nothing = np.zeros(len(problem))
    stand_in = Output(
        structure=replace(problem.given, aatype=types, mask=mask),
        predicted_error=nothing,
        rotamer_probability=nothing,
        log_probabilities=None,
        drawn=nothing > 0,
        trajectory=[],
    )
    structure_text(problem, stand_in, kind)


def kept_of(problem: Problem) -> dict[str, Kept]:
    """``label_asym_id`` → what is written of a chain as it was read."""
    labels = [chain.label_asym_id for chain in problem.labels]
    return dict(zip(labels, problem.kept, strict=False))


def _renamed(
    problem: Problem, chains: Mapping[str, Chain], ids: Mapping[str, str]
) -> list[Connection]:
    """The bonds of the input by the ids that chains and residues have in the file."""
    if not problem.connections:
        return []
    places: dict[tuple[str, int, str], tuple[str, int, str]] = {}
    for labels, own in zip(problem.labels, problem.own, strict=True):
        chain = chains.get(labels.label_asym_id)
        if chain is None:
            continue
        rows, first = np.unique(own.row, return_index=True)
        authors = own.atoms.auth_asym_id[first].astype("U").tolist()
        codes = [[chr(code) if code else "" for code in c.ins_code] for c in (labels, chain)]
        for row, author in zip(rows.tolist(), authors, strict=True):
            old = author, int(labels.auth_seq_id[row]), codes[0][row]
            new = chain.auth_asym_id, int(chain.auth_seq_id[row]), codes[1][row]
            places.setdefault(old, new)
    found = []
    for connection in problem.connections:
        one, other = (_moved(atom, places, ids) for atom in connection.atoms)
        found.append(replace(connection, atoms=(one, other)))
    return found


def _moved(
    atom: BondedAtom,
    places: Mapping[tuple[str, int, str], tuple[str, int, str]],
    ids: Mapping[str, str],
) -> BondedAtom:
    old = atom.auth_asym_id, atom.auth_seq_id, atom.ins_code
    chain, number, code = places.get(old, (ids.get(old[0], old[0]), *old[1:]))
    return atom._replace(auth_asym_id=chain, auth_seq_id=number, ins_code=code)


def chains_of(
    problem: Problem,
    output: Output,
    *,
    positions: NDArray[np.float64] | None = None,
    model: int = 1,
) -> list[Chain]:
    """The chains of a sample as a reader of its file finds them.

    Parameters
    ----------
    problem : Problem
    output : Output
    positions : (L, 14, 3) float64, optional
        In place of its own.
    model : int
    """
    structure = output.structure
    positions = structure.positions if positions is None else positions
    error = np.nan_to_num(np.clip(output.predicted_error, 0.0, MAX_ERROR))
    metadata = EntryMetadata(
        file_entry_id=problem.name,
        method="THEORETICAL MODEL",
        title=_title(problem),
    )
    chains = []
    for number, labels in enumerate(problem.labels):
        rows = np.flatnonzero(structure.chain_index == number)
        aatype = structure.aatype[rows].astype(np.int8)
        mask = structure.mask[rows] & ATOM14_EXISTS[aatype]
        whole = labels.entity_sequence
        chains.append(
            Chain(
                entry_id=problem.name,
                model=model,
                label_asym_id=labels.label_asym_id,
                auth_asym_id=labels.auth_asym_id,
                aatype=aatype,
                residue_index=structure.residue_index[rows].astype(np.int32),
                auth_seq_id=labels.auth_seq_id,
                ins_code=labels.ins_code,
                atom14_mask=(mask << np.arange(N_SLOTS)).sum(1).astype(np.uint16),
                coords=np.rint(positions[rows][mask] * 1000).astype(np.int32),
                b_factor=np.where(mask[:, 1], np.round(error[rows], 2), 0.0).astype(np.float32),
                resolved=np.asarray(mask[:, :3].all(1)),
                entity_id=labels.entity_id,
                # All residues of a new chain are rows: their types are the whole sequence.
                entity_sequence=sequence_string(aatype) if whole == "" else whole,
                metadata=metadata,
            )
        )
    return [chain for chain in chains if chain.atom14_mask.any()]


def _title(problem: Problem) -> str:
    title = TASK_RECORDS[problem.task].title(problem.source)
    return f"{title}; the B-factor is the predicted error of the residue in Angstrom"
