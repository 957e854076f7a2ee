"""`Problem`: what is held and what is hidden of a protein; `Output`: what came out."""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.flow.tasks import Task
from model.metrics import Structure
from model.tasks.inputs import InputStructure, is_torn
from model.tasks.kept_residues import beside_network, kept_of_chain
from pipeline.chain import Chain
from pipeline.errors import UsageError
from pipeline.export.others import KeptResidue
from pipeline.geometry.frames import is_frame
from pipeline.parsing.atom_table import AtomTable, ChainAtoms
from pipeline.parsing.entry_info import Connection
from pipeline.short_repr import short_repr

CHAIN_IDS = string.ascii_uppercase + string.ascii_lowercase + string.digits


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
    untouched : (L,) bool or None
        Residues that come back with the atoms that they have, whatever these are; none without it.
    others : AtomTable or None
        Ligands, metals and nucleic acids, which come back and which side chains avoid; the network
        does not see them.
    own : tuple of ChainAtoms
        The atoms of each chain as the file has them: what is untouched comes back with all of them,
        the rest with OXT. Empty without a file.
    connections : tuple of Connection
        Bonds that the file lists; those that are there come back.
    left_out : str
        What of the file does not come back, with numbers.
    bias : (L, 20) float64 or None
        Added to the logits of types; −∞ for a type that is left out.
    ties : (L,) int64 or None
        The row of the first residue that each is tied to, or its own: tied ones get one type.
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
    untouched: NDArray[np.bool_] | None = None
    others: AtomTable | None = None
    own: tuple[ChainAtoms, ...] = ()
    connections: tuple[Connection, ...] = ()
    left_out: str = ""
    bias: NDArray[np.float64] | None = None
    ties: NDArray[np.int64] | None = None

    __repr__ = short_repr

    def __len__(self) -> int:
        return len(self.given)

    @cached_property
    def has_frame(self) -> NDArray[np.bool_]:
        """(L,) N, CA and C are given and span a frame."""
        x, mask = self.given.positions, self.given.mask[:, :3].all(1)
        return np.asarray(is_frame(x[:, 0], x[:, 1], x[:, 2], mask))

    @cached_property
    def kept(self) -> tuple[dict[int, KeptResidue], ...]:
        """Of each chain of ``own``: row → what is written of it as it was read."""
        stays = np.zeros(len(self), bool) if self.untouched is None else self.untouched
        return tuple(
            kept_of_chain(own, stays[self.given.chain_index == number])
            for number, own in enumerate(self.own)
        )

    def beside(self) -> tuple[NDArray[np.float64], list[str]]:
        """Atoms that side chains avoid and the network does not see: (M, 3) in Å, M elements."""
        x, elements = [np.zeros((0, 3))], []
        if self.others is not None:
            x.append(self.others.coords / 1000.0)
            elements += self.others.element.astype("U").tolist()
        seen = self.has_frame & ~is_torn(self.given)
        for number, (own, kept) in enumerate(zip(self.own, self.kept, strict=True)):
            for atom in beside_network(own, kept, seen[self.given.chain_index == number]):
                x.append(np.array([atom.xyz]) / 1000.0)
                elements.append(atom.element)
        return np.concatenate(x), elements

    @property
    def anchor(self) -> NDArray[np.bool_]:
        """(L,) Residues whose frames are held."""
        return self.held_frames & self.has_frame


@dataclass(frozen=True)
class Output:
    """What came out for one problem of L residues.

    Attributes
    ----------
    structure : Structure
        In whole thousandths of Å; what was held is as it was given, digit by digit.
    predicted_error : (L,) float64
        The network's own estimate, Å; NaN where there is no residue.
    rotamer_probability : (L,) float64
        How likely the network holds the rotamer that was made; NaN where no side chain with
        torsions was.
    log_probabilities : (L, 20) float64 or None
        Of types, by the network, just before they were drawn; None if all were held. Zeros where
        none was drawn.
    drawn : (L,) bool
        Residues whose type was drawn: what is not held, but for the types that partial diffusion
        begins with.
    trajectory : list of (L, 14, 3) float64
        Positions at each step, in the coordinates of the result; empty unless asked for.
    """

    structure: Structure
    predicted_error: NDArray[np.float64]
    rotamer_probability: NDArray[np.float64]
    log_probabilities: NDArray[np.float64] | None
    drawn: NDArray[np.bool_]
    trajectory: list[NDArray[np.float64]]

    __repr__ = short_repr

    def mean_error(self, problem: Problem) -> float:
        """Mean predicted error of the residues that have something to be made, Å.

        On a given backbone that is not Gly and Ala, which side-chain RMSD leaves out, too.
        """
        hidden = ~(problem.held_frames & problem.held_atoms & problem.held_sequence)
        # A side chain that is given up to CB is held, and yet made.
        hidden |= ~np.isnan(self.rotamer_probability)
        if problem.untouched is not None:
            hidden &= ~problem.untouched
        counted = hidden & ~np.isnan(self.predicted_error)
        fixed = problem.held_frames & problem.held_sequence & np.isnan(self.rotamer_probability)
        if (counted & ~fixed).any():
            counted &= ~fixed
        return float(self.predicted_error[counted].mean()) if counted.any() else float("nan")

    def mean_probability(self) -> float:
        """Mean probability of the rotamers that were made; NaN if there are none."""
        counted = ~np.isnan(self.rotamer_probability)
        return float(self.rotamer_probability[counted].mean()) if counted.any() else float("nan")


def held_out_problem(
    task: Task,
    item: Mapping[str, Any],
    *,
    frames: NDArray[np.bool_] | bool = False,
    atoms: NDArray[np.bool_] | bool = False,
    sequence: NDArray[np.bool_] | bool = False,
) -> Problem:
    """A chain of a dataset with itself as reference; (L,) parts, or all or nothing, are held."""
    known = Structure.from_item(item)
    n = len(known)
    return Problem(
        name=item["chain_uid"],
        task=task,
        given=known,
        held_frames=np.full(n, frames),
        held_atoms=np.full(n, atoms),
        held_sequence=np.full(n, sequence),
        labels=new_labels([n]),
        reference=known,
        source=item["chain_uid"],
        embedding=np.asarray(item["embedding"]) if "embedding" in item else None,
    )


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


def labels_of(structure: InputStructure, *, keep_sequence: bool) -> tuple[ChainLabels, ...]:
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


def count_within(chains: NDArray[np.int64]) -> NDArray[np.int64]:
    """1, 2, 3 … within each chain."""
    starts = np.flatnonzero(np.diff(chains, prepend=-1))
    return np.arange(len(chains)) - np.repeat(starts, np.diff([*starts, len(chains)])) + 1
