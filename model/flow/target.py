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
    chi : (B, N, 4) float
        Radians; 0 where a torsion is not known.
    sequence : (B, N) int64
    frame_mask, oxygen_mask : (B, N) bool
        There is a frame, or an O, to compare with, hidden or not.
    frames_count, oxygen_count, sequence_count : (B, N) bool
        The value is hidden, and known: it carries loss.
    chi_count : (B, N, 4) bool
        Likewise, where the network is told the type.
    """

    rotations: Tensor
    translations: Tensor
    backbone: Tensor
    chi: Tensor
    sequence: Tensor
    frame_mask: Tensor
    oxygen_mask: Tensor
    frames_count: Tensor
    oxygen_count: Tensor
    sequence_count: Tensor
    chi_count: Tensor
