"""Problems: what is held, what is hidden, and the chains that come out, for every task."""

from __future__ import annotations

import string
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from model.flow.tasks import Task
from model.metrics import Structure
from model.sample.contigs import Contigs
from model.sample.inputs import InputError, InputStructure
from model.sample.residue_ranges import ResidueRange, find_rows, parts_of
from pipeline.chain import Chain
from pipeline.errors import UsageError
from pipeline.geometry.frames import is_frame
from pipeline.residues import AATYPE_OF_LETTER, MAX_PEPTIDE_BOND, N_SLOTS, ONE_LETTER, UNKNOWN

CHAIN_IDS = string.ascii_uppercase + string.ascii_lowercase + string.digits
FREE_LETTERS = "_X"


@dataclass(frozen=True)
class ChainLabels:
    """How a chain of a sample is called and numbered: (L,) arrays, as in `Chain`."""

    label_asym_id: str
    auth_asym_id: str
    auth_seq_id: NDArray[np.int32]
    ins_code: NDArray[np.uint8]
    entity_sequence: str | None = None
    entity_id: str | None = None


@dataclass(frozen=True)
class Problem:
    """One protein of L residues to be made or completed.

    Attributes
    ----------
    name : str
        Of the sample; the noise is a function of it.
    task : {"packing", "design", "inpainting", "unconditional"}
    given : Structure
        What the sampler starts from. What is not held is read for partial diffusion only.
    held_frames, held_atoms, held_sequence : (L,) bool
    labels : tuple of ChainLabels
        Of each chain, in the order of ``given.chain_index``.
    reference : Structure or None
        The answer, for metrics; the sampler never reads it.
    source : str
        The input's name.
    embedding : (L, E) float or None
        Of a language model; what is read of it is nothing unless the whole sequence is held.
    """

    name: str
    task: Task
    given: Structure
    held_frames: NDArray[np.bool_]
    held_atoms: NDArray[np.bool_]
    held_sequence: NDArray[np.bool_]
    labels: tuple[ChainLabels, ...]
    reference: Structure | None = None
    source: str = ""
    embedding: NDArray[np.floating] | None = None

    def __len__(self) -> int:
        return len(self.given)

    @cached_property
    def has_frame(self) -> NDArray[np.bool_]:
        """(L,) N, CA and C are given and span a frame."""
        x, mask = self.given.positions, self.given.mask[:, :3].all(1)
        return np.asarray(is_frame(x[:, 0], x[:, 1], x[:, 2], mask))

    @property
    def anchor(self) -> NDArray[np.bool_]:
        """(L,) Residues whose frames are held."""
        return self.held_frames & self.has_frame

    @property
    def motif(self) -> NDArray[np.bool_] | None:
        """(L,) Held parts of an inpainting problem."""
        return self.held_frames if self.task == "inpainting" else None


# ---- from input files ---------------------------------------------------------------------------


def packing_problem(
    name: str, structure: InputStructure, *, sequence: str | None = None
) -> Problem:
    """Side chains for the backbone of an input.

    Parameters
    ----------
    name : str
    structure : InputStructure
    sequence : str, optional
        Takes the place of the residue names; chains separated by ``:``.

    Raises
    ------
    InputError
        The sequence does not fit the input.
    """
    given = structure.structure
    n = len(given)
    if sequence is not None:
        aatype = _spread(sequence, structure, "--sequence")
        given = _retyped(given, aatype)
    return Problem(
        name=name,
        task="packing",
        given=given,
        held_frames=np.ones(n, bool),
        held_atoms=np.zeros(n, bool),
        held_sequence=np.ones(n, bool),
        labels=_labels_of(structure, keep_sequence=sequence is None),
        reference=structure.structure if sequence is None else None,
        source=structure.name,
    )


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
        aatype = _spread(partial_sequence, structure, "--partial-sequence", free=FREE_LETTERS)
        clash = kept & (aatype != UNKNOWN) & (aatype != given.aatype)
        if clash.any():
            row = int(np.flatnonzero(clash)[0])
            raise InputError(
                f"{structure.describe(row)} of {structure.name} is {ONE_LETTER[given.aatype[row]]} "
                f"by --fixed and {ONE_LETTER[aatype[row]]} by --partial-sequence"
            )
        typed |= aatype != UNKNOWN
        given = _retyped(given, np.where(aatype != UNKNOWN, aatype, given.aatype))
    return Problem(
        name=name,
        task="design",
        given=given,
        held_frames=np.ones(n, bool),
        held_atoms=held_atoms,
        held_sequence=typed,
        labels=_labels_of(structure, keep_sequence=False),
        reference=structure.structure,
        source=structure.name,
    )


def inpainting_problem(
    name: str, structure: InputStructure, contigs: Contigs, *, start: float = 0.0
) -> Problem:
    """A protein around parts of an input.

    Parameters
    ----------
    name : str
    structure : InputStructure
    contigs : Contigs
        With numbers drawn, see `draw_contigs`.
    start : float
        Above 0, the new residues start from the input's at the same place.

    Raises
    ------
    UsageError
        The contigs do not fit the input.
    """
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
    if start > 0:
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
        residue_index=_count_within(chains),
        chain_index=chains,
    )
    complete = motif & (given.aatype < UNKNOWN)
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
    )


def varied_problem(name: str, structure: InputStructure) -> Problem:
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
        labels=_labels_of(structure, keep_sequence=False),
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
            residue_index=_count_within(chains),
            chain_index=chains,
        ),
        held_frames=nothing,
        held_atoms=nothing,
        held_sequence=nothing,
        labels=new_labels(lengths),
    )


# ---- details ------------------------------------------------------------------------------------


def new_labels(lengths: Sequence[int]) -> tuple[ChainLabels, ...]:
    """Labels A, B, C … of chains that are numbered from 1."""
    if len(lengths) > len(CHAIN_IDS):
        raise UsageError(f"{len(lengths)} chains: there are letters for {len(CHAIN_IDS)}")
    return tuple(
        ChainLabels(
            label_asym_id=ident,
            auth_asym_id=ident,
            auth_seq_id=np.arange(1, length + 1, dtype=np.int32),
            ins_code=np.zeros(length, np.uint8),
            entity_sequence="",
        )
        for ident, length in zip(CHAIN_IDS, lengths, strict=False)
    )


def _labels_of(structure: InputStructure, *, keep_sequence: bool) -> tuple[ChainLabels, ...]:
    return tuple(_labels(chain, keep_sequence) for chain in structure.chains)


def _labels(chain: Chain, keep_sequence: bool) -> ChainLabels:
    return ChainLabels(
        label_asym_id=chain.label_asym_id,
        auth_asym_id=chain.auth_asym_id,
        auth_seq_id=chain.auth_seq_id,
        ins_code=chain.ins_code,
        # A new sequence is not that of the input's entity, which may also go beyond its rows.
        entity_sequence=chain.entity_sequence if keep_sequence else None,
        entity_id=chain.entity_id if keep_sequence else None,
    )


def _retyped(given: Structure, aatype: NDArray[np.int64]) -> Structure:
    """Other types; side chains of residues that change are gone."""
    changed = aatype != given.aatype
    mask = given.mask.copy()
    mask[changed, 4:] = False
    return replace(given, aatype=aatype, mask=mask)


def _spread(
    text: str, structure: InputStructure, option: str, free: str = "X"
) -> NDArray[np.int64]:
    """(L,) types of letters, one for each residue or for each resolved residue of every chain."""
    parts = [part.strip() for part in text.split(":")]
    if len(parts) != len(structure.chains):
        raise InputError(
            f"{option} has {len(parts)} chains (separated by ':') and {structure.name} has "
            f"{len(structure.chains)}"
        )
    aatype = []
    for part, chain in zip(parts, structure.chains, strict=True):
        known = set(ONE_LETTER) | set(free)
        for letter in part.upper():
            if letter not in known:
                raise InputError(f"{option}: {letter!r} is no residue type")
        letters = [AATYPE_OF_LETTER.get(c, UNKNOWN) for c in part.upper()]
        types = np.full(len(chain), UNKNOWN, np.int64)
        if len(letters) == len(chain):
            types[:] = letters
        elif len(letters) == int(chain.resolved.sum()):
            types[chain.resolved] = letters
        else:
            raise InputError(
                f"{option} has {len(letters)} letters for chain {chain.auth_asym_id} of "
                f"{structure.name}, which has {len(chain)} residues, {int(chain.resolved.sum())} "
                "of them with a backbone"
            )
        aatype.append(types)
    return np.concatenate(aatype)


def _check_resolved(residues: ResidueRange, rows: list[int], structure: InputStructure) -> None:
    missing = [row for row in rows if not structure.resolved[row]]
    if missing:
        raise UsageError(
            f"--contigs: {str(residues)!r}: {len(missing)} of its residues have no backbone in "
            f"{structure.name}; keep the parts around them, with new residues between"
        )


def _check_bonded(residues: ResidueRange, rows: list[int], structure: InputStructure) -> None:
    """See that a kept part is one piece: what is missing within it would be closed up."""
    positions = structure.structure.positions[rows]
    gap = positions[1:, 0] - positions[:-1, 2]
    distance = np.sqrt((gap**2).sum(-1))
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


def _count_within(chains: NDArray[np.int64]) -> NDArray[np.int64]:
    """1, 2, 3 … within each chain."""
    starts = np.flatnonzero(np.diff(chains, prepend=-1))
    return np.arange(len(chains)) - np.repeat(starts, np.diff([*starts, len(chains)])) + 1
