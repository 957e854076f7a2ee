"""χ of residues that are given in their frames, and which χ of a type are free."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from model.on_device import Constant
from pipeline.residues import CHI_MASK, CHI_PI_PERIODIC, CHI_SLOTS, MASK, RESTYPES

N_CHI = 4


def by_type(rows: Tensor) -> Tensor:
    """Rows of the types, and zeros for those that have none."""
    table = rows.new_zeros(MASK + 1, *rows.shape[1:])
    table[: len(rows)] = rows
    return table


_SLOTS = Constant(by_type(torch.from_numpy(CHI_SLOTS.astype("int64")).clamp(min=0)))
_free = by_type(torch.from_numpy(CHI_MASK.copy()))
# Proline's ring is a function of χ1.
_free[RESTYPES.index("PRO"), 1:] = False
_FREE = Constant(_free)
_PERIODIC = Constant(by_type(torch.from_numpy(CHI_PI_PERIODIC.copy())))


def free_chi(sequence: Tensor) -> Tensor:
    """Torsions that make a side chain of its type: none of X and MASK, of proline χ1 alone.

    Parameters
    ----------
    sequence : (...) int64
        0–21.

    Returns
    -------
    (..., 4) bool
    """
    return _FREE.of(sequence)


def periodic_chi(sequence: Tensor) -> Tensor:
    """Torsions that mean the same after half a turn, (..., 4) bool; as for `free_chi`."""
    return _PERIODIC.of(sequence)


def chi_angles(
    backbone: Tensor, atoms: Tensor, atoms_mask: Tensor, sequence: Tensor
) -> tuple[Tensor, Tensor]:
    """χ1 to χ4, where they are free and their four atoms are there.

    Parameters
    ----------
    backbone : (..., 4, 3) float
        N, CA, C and O; Å, in any coordinates.
    atoms : (..., 10, 3) float
        Slots 4–13. What is masked may hold anything, NaN included.
    atoms_mask : (..., 10) bool
    sequence : (...) int64

    Returns
    -------
    chi : (..., 4) float
        Radians, IUPAC sign; 0 where it is not known.
    known : (..., 4) bool
    """
    there = torch.cat([torch.ones_like(atoms_mask[..., :4]), atoms_mask], -1)
    points = torch.cat([backbone, torch.where(atoms_mask[..., None], atoms, 0.0)], -2)
    slots = _SLOTS.of(sequence)
    flat = slots.flatten(-2)
    known = free_chi(sequence) & there.gather(-1, flat).unflatten(-1, (N_CHI, 4)).all(-1)
    of_chi = points.gather(-2, flat[..., None].expand(*flat.shape, 3)).unflatten(-2, (N_CHI, 4))
    return torch.where(known, dihedral(*of_chi.unbind(-2)), 0.0), known


def dihedral(a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
    """Torsion about b–c of points (..., 3), in (−π, π]."""
    axis = c - b
    before, after = torch.linalg.cross(b - a, axis), torch.linalg.cross(axis, d - c)
    sine = (torch.linalg.cross(before, after) * axis).sum(-1)
    cosine = (before * after).sum(-1) * torch.linalg.vector_norm(axis, dim=-1)
    return torch.atan2(sine, cosine)


def wrapped(angle: Tensor, period: Tensor | float = 2 * math.pi) -> Tensor:
    """The same angle in [−period/2, period/2)."""
    return torch.remainder(angle + period / 2, period) - period / 2
