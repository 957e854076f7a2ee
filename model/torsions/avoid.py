"""`avoid`: of the draws of each side chain, the first that does not overlap with what is there.

A draw that overlaps is drawn again, which is rejection sampling, but only so often: then the one
that overlaps least is taken. Residues are asked one after the other, and those that were asked
stand where they stand.
"""

from __future__ import annotations

import torch
from torch import Tensor

from model.torsions.obstacles import Obstacles, overlap_with_obstacles
from model.torsions.overlap import SIZES, neighbours, overlap, squared
from model.torsions.settle import BOND, CYS, PRO, SG

TOLERANCE = 0.02
"""Å², of overlap: an atom may be 0.14 Å nearer than `NEARNESS` says."""


@torch.no_grad()
def avoid(
    chosen: Tensor,
    side_chains: Tensor,
    backbone: Tensor,
    sequence: Tensor,
    mask: Tensor,
    placed: Tensor,
    order: Tensor,
    *,
    obstacles: Obstacles | None = None,
) -> Tensor:
    """The number of the draw that each residue takes.

    Parameters
    ----------
    chosen : (B, N) int64
        Which draw each residue has now.
    side_chains : (B, N, M, 10, 3) float
        Slots 4–13 of each draw, Å, global; all alike where a side chain is given.
    backbone : (B, N, 4, 3) float
        N, CA, C and O, global.
    sequence : (B, N) int64
    mask, placed : (B, N) bool
        There is a residue; it has a side chain that others have to avoid.
    order : (B, V) int64
        Residues that choose, the first first; −1 at the end of shorter rows.
    obstacles : Obstacles, optional

    Returns
    -------
    (B, N) int64
        Other than `chosen` only where that overlaps by more than `TOLERANCE`.
    """
    chosen, sizes = chosen.clone(), SIZES.like(side_chains)[sequence]
    near, there = neighbours(side_chains[:, :, 0, 0], mask)
    alone = side_chains.new_zeros(side_chains.shape[:3])
    if obstacles is not None:
        alone = overlap_with_obstacles(side_chains, sequence, mask, obstacles)
    batch = torch.arange(len(chosen), device=chosen.device)
    for visited in order.unbind(1):
        one = visited.clamp(min=0)
        others, with_them = near[batch, one], there[batch, one]
        of_others = batch[:, None], others
        proline = sequence[batch, one] == PRO
        # What a proline overlaps with of a backbone is what it is bonded to.
        fixed = sizes[of_others][..., :5] * (with_them & ~proline[:, None])[..., None]
        free = sizes[of_others][..., 5:] * (with_them & placed[of_others])[..., None]
        theirs = side_chains[(*of_others, chosen[of_others])]
        atoms, size = side_chains[batch, one][:, :, None, 1:], sizes[batch, one][:, None, None, 5:]
        energy = overlap(
            atoms[..., None, :],
            size[..., None],
            torch.cat([backbone[of_others], theirs], 2)[:, None, :, None],
            torch.cat([fixed, free], 2)[:, None, :, None],
        )
        cysteines = (sequence[batch, one] == CYS)[:, None] & (sequence[of_others] == CYS)
        if bool(cysteines.any()):
            apart = squared(atoms[:, :, :, SG], theirs[:, None, :, 1 + SG])
            bond = cysteines[:, None] & (apart < BOND**2)
            energy[:, :, :, SG, 5 + SG] = torch.where(bond, 0.0, energy[:, :, :, SG, 5 + SG])
        total = energy.sum((-3, -2, -1)) + alone[batch, one]
        excess = (total - TOLERANCE).clamp(min=0.0)
        now = chosen[batch, one]
        best = torch.where(excess[batch, now] > 0, excess.argmin(-1), now)
        chosen[batch, one] = torch.where(visited >= 0, best, now)
    return chosen
