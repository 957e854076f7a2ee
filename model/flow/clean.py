"""`Clean`: what a batch says of its proteins, in the residues' frames."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from model.flow.slots import FIRST, existing_slots
from model.tensor_record import TensorRecord
from pipeline.geometry.frames import to_local


@dataclass(frozen=True)
class Clean(TensorRecord):
    """B proteins of N residues as they were measured; what was not measured is zero, masks say so.

    Attributes
    ----------
    rotations, translations : (B, N, 3, 3) and (B, N, 3) float
        Identity and zero where there is no frame.
    backbone : (B, N, 4, 3) float
        N, CA, C, O in the frame, Å.
    atoms : (B, N, 10, 3) float
        Slots 4–13 in the frame, Å.
    sequence : (B, N) int64
        0–20.
    frame_mask, oxygen_mask : (B, N) bool
        N, CA and C span a frame; O is there, too.
    atoms_mask : (B, N, 10) bool
    residue_index, chain_index : (B, N) int64
    mask : (B, N) bool
        False at padding.
    embedding : (B, N, E) float or None
    """

    rotations: Tensor
    translations: Tensor
    backbone: Tensor
    atoms: Tensor
    sequence: Tensor
    frame_mask: Tensor
    oxygen_mask: Tensor
    atoms_mask: Tensor
    residue_index: Tensor
    chain_index: Tensor
    mask: Tensor
    embedding: Tensor | None = None

    @property
    def complete(self) -> Tensor:
        """(B, N) bool: there is a frame, and every side-chain atom that the sequence implies."""
        missing = existing_slots(self.sequence) & ~self.atoms_mask
        return self.frame_mask & ~missing.any(-1)


BACKBONE_REACH = 5.0
SIDE_CHAIN_REACH = 12.0
"""Å from CA, beyond which an atom is not one of the residue's: N, C and O are within 2.5 Å, the
side chain of an arginine within 8."""

BATCH_KEYS = (
    "aatype",
    "residue_index",
    "chain_index",
    "atom14_positions",
    "atom14_mask",
    "rotmats",
    "trans",
    "residue_mask",
    "lengths",
)
"""Keys of a batch that the flow reads; ``embedding`` besides, where there is one."""


def clean_from_batch(batch: Mapping[str, Any]) -> Clean:
    """Read a batch of `pipeline.batching.collate`.

    Parameters
    ----------
    batch : mapping
        With `BATCH_KEYS`.

    Raises
    ------
    KeyError
        A key is missing; the message names it.
    """
    for key in BATCH_KEYS:
        if key not in batch:
            raise KeyError(f"the batch has no {key!r}: the dataset was opened without this column")
    rotations, translations = batch["rotmats"].float(), batch["trans"].float()
    present = batch["atom14_mask"].bool()
    frame = batch["residue_mask"].bool()
    length = rotations.shape[1]
    mask = torch.arange(length, device=frame.device) < batch["lengths"][:, None]
    frame = frame & mask
    present = present & frame[..., None]
    local = to_local(rotations, translations, batch["atom14_positions"].float())
    # A damaged file may say that an atom is hundreds of Å from its residue. Such a place was never
    # measured, and nothing that is computed from it has a size that a loss could be weighted for.
    distance = torch.sqrt(local.square().sum(-1))
    reach = distance.new_tensor([BACKBONE_REACH] * FIRST + [SIDE_CHAIN_REACH] * (14 - FIRST))
    near = distance <= reach
    frame = frame & near[:, :, 0] & near[:, :, 2]
    present = present & near & frame[..., None]
    local = torch.where(present[..., None], local, 0.0)
    identity = torch.eye(3, dtype=rotations.dtype, device=rotations.device)
    sequence = batch["aatype"].long()
    return Clean(
        rotations=torch.where(frame[..., None, None], rotations, identity),
        translations=torch.where(frame[..., None], translations, 0.0),
        backbone=local[:, :, :FIRST],
        atoms=local[:, :, FIRST:],
        sequence=sequence,
        frame_mask=frame,
        oxygen_mask=present[:, :, 3],
        atoms_mask=present[:, :, FIRST:] & existing_slots(sequence),
        residue_index=batch["residue_index"].long(),
        chain_index=batch["chain_index"].long(),
        mask=mask,
        embedding=batch.get("embedding"),
    )
