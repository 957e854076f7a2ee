"""Side-chain slots (4–13 of atom14, here 0–9): which exist, and which trade places by symmetry."""

from __future__ import annotations

import torch
from torch import Tensor

from model.on_device import Constant
from pipeline.residues import ATOM14_EXISTS, MASK, SYMMETRIC_SLOTS

N_SIDECHAIN = 10
FIRST = 4
"""Slot of atom14 that is side-chain slot 0 (CB)."""

_CB = torch.zeros(1, N_SIDECHAIN, dtype=torch.bool)
_CB[0, 0] = True
_EXISTS = Constant(torch.cat([torch.from_numpy(ATOM14_EXISTS[:, FIRST:].copy()), _CB]))
_SYMMETRIC = torch.from_numpy(SYMMETRIC_SLOTS[:, FIRST:].astype("int64")) - FIRST
_SWAPPED = Constant(torch.cat([_SYMMETRIC, torch.arange(N_SIDECHAIN)[None]]))
assert len(_EXISTS) == len(_SWAPPED) == MASK + 1


def existing_slots(sequence: Tensor) -> Tensor:
    """Slots that the type has; of MASK, whose CB follows from its frame, only that.

    Parameters
    ----------
    sequence : (...) int64
        0–21.

    Returns
    -------
    (..., 10) bool
    """
    return _EXISTS.of(sequence)


def swapped(atoms: Tensor, sequence: Tensor) -> Tensor:
    """Atoms with the equivalent ones of Asp, Glu, Phe and Tyr traded (ring pairs together).

    Parameters
    ----------
    atoms : (..., 10, *) float or bool
    sequence : (...) int64
    """
    order = _SWAPPED.of(sequence)
    if atoms.ndim > order.ndim:
        order = order[..., None].expand_as(atoms)
    return torch.gather(atoms, sequence.ndim, order)
