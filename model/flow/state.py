"""What flows: the state of a batch of proteins, its times, and what the network may see."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from model.tensor_record import TensorRecord


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
        Slots 4–13 of atom14 in the residue's frame. What a slot holds that does not exist for the
        residue's type is not to be read.
    sequence : (B, N) int64
        ``aatype``: 0–19, 20 = X, 21 = MASK.
    """

    rotations: Tensor
    translations: Tensor
    backbone: Tensor
    atoms: Tensor
    sequence: Tensor


@dataclass(frozen=True)
class Times(TensorRecord):
    """Time of each modality at each residue, from 0 (prior) to 1 (clean).

    A modality is hidden where its time is below 1.

    Attributes
    ----------
    frames, atoms, sequence : (B, N) float
    """

    frames: Tensor
    atoms: Tensor
    sequence: Tensor


@dataclass(frozen=True)
class SelfConditioning(TensorRecord):
    """An earlier prediction of the clean state, as the network's input; zeros where there is none.

    Attributes
    ----------
    translations : (B, N, 3) float
        Predicted CA, Å.
    atoms : (B, N, 10, 3) float
        Predicted local atoms, Å.
    sequence : (B, N, 20) float
        Predicted probabilities.
    given : (B,) bool
        False: there is no earlier prediction for this item.
    """

    translations: Tensor
    atoms: Tensor
    sequence: Tensor
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
    atoms : (B, N, 10, 3) float
        Clean local atoms, all slots, Å.
    logits : (B, N, 20) float
        Of the residue types.
    confidence : (B, N) float
        Predicted log of (1 + the residue's error in Å); see `model.losses`.
    """

    rotations: Tensor
    translations: Tensor
    torsion: Tensor
    atoms: Tensor
    logits: Tensor
    confidence: Tensor


Network = Callable[[NoisyProtein], Prediction]
"""What predicts: `FlowNetwork`, or whatever stands in for it."""
