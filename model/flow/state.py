"""What flows: the state of a batch of proteins, its times, and what the network may see."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from model.tensor_record import TensorRecord
from model.torsions import ChiDistribution, Rotamers


@dataclass(frozen=True)
class ProteinState(TensorRecord):
    """Frames, atoms and sequence of B proteins of N residues; Å, padding included.

    Attributes
    ----------
    rotations : (B, N, 3, 3) float
        Columns are the axes of the backbone frame (`pipeline.geometry.frames.backbone_frames`).
    translations : (B, N, 3) float
        CA.
    backbone : (B, N, 4, 3) float
        N, CA, C and O in the residue's frame: measured where frames are held clean, elsewhere
        ideal, with O placed by a torsion.
    atoms : (B, N, 10, 3) float
        Slots 4–13 of atom14 in the residue's frame; zeros where the side chain is hidden, and in
        slots that the residue's type does not have.
    sequence : (B, N) int64
        ``aatype``: 0–19, 20 = X, 21 = MASK.
    """

    rotations: Tensor
    translations: Tensor
    backbone: Tensor
    atoms: Tensor
    sequence: Tensor


@dataclass(frozen=True)
class PerModality(TensorRecord):
    """Something of each modality at each residue.

    Attributes
    ----------
    frames, atoms, sequence : (B, N)
    """

    frames: Tensor
    atoms: Tensor
    sequence: Tensor


MODALITIES = tuple(field.name for field in fields(PerModality))
"""Their names. docs/model.md lists what a further one touches."""


@dataclass(frozen=True)
class Times(PerModality):
    """Time of each modality at each residue, float, from 0 (prior) to 1 (clean).

    A modality is hidden where its time is below 1. Side chains do not flow: they are given (1) or
    hidden (0).
    """

    def within(self, mask: Tensor) -> Times:
        """The same times, 1 outside a mask (B, N), so that nothing there counts as hidden."""
        return self.map(lambda time: torch.where(mask, time, 1.0))


@dataclass(frozen=True)
class Held(PerModality):
    """What is held clean of each residue, bool."""

    def times(self, frames: Tensor | float, sequence: Tensor | float) -> Times:
        """1 where a value is held, the given time of its modality elsewhere; of side chains 0."""
        return Times(
            frames=torch.where(self.frames, 1.0, frames),
            atoms=torch.where(self.atoms, 1.0, 0.0),
            sequence=torch.where(self.sequence, 1.0, sequence),
        )


@dataclass(frozen=True)
class SelfConditioning(TensorRecord):
    """An earlier prediction of the clean state, as the network's input; zeros where there is none.

    Attributes
    ----------
    translations : (B, N, 3) float
        Predicted CA, Å.
    sequence : (B, N, 20) float
        Predicted probabilities.
    rotamers : Rotamers
        Of hidden side chains whose types were known; weights of 0 elsewhere.
    given : (B,) bool
        False: there is no earlier prediction for this item.
    """

    translations: Tensor
    sequence: Tensor
    rotamers: Rotamers
    given: Tensor


@dataclass(frozen=True)
class NoisyProtein(TensorRecord):
    """All that the network may see.

    Attributes
    ----------
    state : ProteinState
        Values that are held clean, and x_t elsewhere.
    times : Times
    residue_index : (B, N) int64
    chain_index : (B, N) int64
    mask : (B, N) bool
        False at padding, and at residues without a frame where frames are held clean.
    self_conditioning : SelfConditioning or None
    embedding : (B, N, E) float or None
        Language-model embedding of the sequence; used only where `embedding_given`.
    embedding_given : (B,) bool or None
        The whole sequence of the item is clean.
    """

    state: ProteinState
    times: Times
    residue_index: Tensor
    chain_index: Tensor
    mask: Tensor
    self_conditioning: SelfConditioning | None = None
    embedding: Tensor | None = None
    embedding_given: Tensor | None = None


@dataclass(frozen=True)
class Prediction(TensorRecord):
    """What the network says of the clean state.

    Attributes
    ----------
    rotations, translations : (B, N, 3, 3) and (B, N, 3) float
        Clean frames; those that are held clean come back bit by bit.
    torsion : (B, N, 2) float
        sin and cos of the torsion that places O, not normalised.
    chi : ChiDistribution
        Of the side chains whose types are known.
    chi_of_blocks : (B, N, K, 4, 36) float
        What the blocks but the last took them for: logits of each χ by itself.
    logits : (B, N, 20) float
        Of the residue types.
    confidence : (B, N) float
        Predicted log of (1 + the error of CA in Å); see `model.losses`.
    """

    rotations: Tensor
    translations: Tensor
    torsion: Tensor
    chi: ChiDistribution
    chi_of_blocks: Tensor
    logits: Tensor
    confidence: Tensor


Network = Callable[[NoisyProtein], Prediction]
"""What predicts: `FlowNetwork`, or whatever stands in for it."""
