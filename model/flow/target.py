"""`Target`: the answer that losses compare a prediction with. The network never sees it."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from model.tensor_record import TensorRecord


@dataclass(frozen=True)
class Target(TensorRecord):
    """Clean values in the coordinates of the noisy protein, and where they count.

    Attributes
    ----------
    rotations, translations : (B, N, 3, 3) and (B, N, 3) float
        Moved as the noisy protein was (origin; superposition where nothing is held).
    backbone : (B, N, 4, 3) float
    atoms : (B, N, 10, 3) float
        In the frame; zeros (CA) in slots that do not exist; equivalent atoms named as is nearer to
        the prior.
    sequence : (B, N) int64
    atoms_mask : (B, N, 10) bool
        Slots that exist.
    frame_mask : (B, N) bool
        There is a frame to compare with, hidden or not.
    frames_count, oxygen_count, atoms_count, sequence_count : (B, N) bool
        The value is hidden, and known: it carries loss.
    """

    rotations: Tensor
    translations: Tensor
    backbone: Tensor
    atoms: Tensor
    sequence: Tensor
    atoms_mask: Tensor
    frame_mask: Tensor
    frames_count: Tensor
    oxygen_count: Tensor
    atoms_count: Tensor
    sequence_count: Tensor
