"""`Clean`: what a batch says of its proteins, in the residues' frames."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from model.flow.slots import FIRST, existing_slots
from model.on_device import Constant, sent
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
    placed : (B, N) bool
        Nothing says that the place of the residue is a guess (`well_placed`).
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
    placed: Tensor
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

_REACH = Constant(torch.tensor([BACKBONE_REACH] * FIRST + [SIDE_CHAIN_REACH] * (14 - FIRST)))

MAX_B_FACTOR = 60.0
"""Å², of CA: above, a side chain was hardly seen."""

WORST_SHARE = 0.1
"""Nor are those of a chain believed whose B-factors are the highest: how high is high differs from
one structure to the next."""

MIN_PLDDT = 70.0
"""Where B-factors are confidences of a prediction: below, AlphaFold DB calls them low."""

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
"""Keys of a batch that the flow reads; `OPTIONAL_KEYS` besides, where there are any."""

OPTIONAL_KEYS = ("b_factor", "confidence_kind", "embedding")


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
    near = distance <= _REACH.like(distance)
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
        placed=well_placed(batch, frame),
        embedding=batch.get("embedding"),
    )


def well_placed(batch: Mapping[str, Any], present: Tensor) -> Tensor:
    """Residues of which the file does not say that nobody knows where they are.

    Parameters
    ----------
    batch : mapping
        Without ``b_factor`` (that of CA) nothing is said. Where ``confidence_kind`` is ``plddt``,
        B-factors are confidences.
    present : (B, N) bool
        Residues that have a B-factor.

    Returns
    -------
    (B, N) bool
        False where B is above `MAX_B_FACTOR` or among the worst tenth of the chain, ties not
        counted; or where the confidence is below `MIN_PLDDT`.
    """
    if "b_factor" not in batch:
        return torch.ones_like(present)
    b = torch.nan_to_num(batch["b_factor"].float())
    chain = batch["chain_index"]
    same = (chain[:, :, None] == chain[:, None, :]) & present[:, None, :]
    worse = (same & (b[:, None, :] >= b[:, :, None])).sum(-1)
    believed = (b <= MAX_B_FACTOR) & (worse > WORST_SHARE * same.sum(-1))
    kinds = batch.get("confidence_kind") or [None] * len(b)
    confident = sent(torch.tensor([kind == "plddt" for kind in kinds]), b.device)
    return torch.where(confident[:, None], b >= MIN_PLDDT, believed)
