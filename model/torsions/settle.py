"""`settle`: which of its probable rotamers each side chain takes, given those of its neighbours.

The network says p(rotamer) of each residue by itself, and two modes may want the same place. Mean
field (P. Koehl and M. Delarue, J. Mol. Biol. 239, 249, 1994): with q_i the present distribution of
residue i, started from p,

    q_i(r) ∝ p_i(r)^s exp(−s·β·[E_i(r) + Σ_j Σ_t q_j(t) E_ij(r, t)])

is repeated while s grows from 1, so that q ends on one rotamer. E is the overlap, squared, of atoms
nearer than `NEARNESS` of the sum of their radii: E_ij between side chains beyond CB, E_i with the
neighbours' backbones and CB, and with obstacles.
"""

from __future__ import annotations

import torch
from torch import Tensor

from model.torsions.obstacles import Obstacles, overlap_with_obstacles
from model.torsions.overlap import SIZES, neighbours, overlap, squared
from pipeline.residues import RESTYPES

STRENGTH = 10.0
"""β, per Å²."""

SHARPENING = (1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 2.0, 2.0, 4.0, 4.0)
"""s of each sweep."""

BOND = 2.5
"""Å: sulphurs of two cysteines that are so near are about to bond."""

BOND_ENERGY = -0.3
"""Å², of such a bond."""

CYS = RESTYPES.index("CYS")
PRO = RESTYPES.index("PRO")
SG = 0
"""Slot 5 of atom14, the first beyond CB."""


@torch.no_grad()
def settle(
    weight: Tensor,
    side_chains: Tensor,
    backbone: Tensor,
    sequence: Tensor,
    mask: Tensor,
    obstacles: Obstacles | None = None,
) -> Tensor:
    """The number of the rotamer that each residue takes.

    Parameters
    ----------
    weight : (B, N, R) float
        Probabilities of the rotamers; 1 for the only one of a side chain that is given.
    side_chains : (B, N, R, 10, 3) float
        Slots 4–13 of each rotamer, Å, global; what the type does not have may hold anything.
    backbone : (B, N, 4, 3) float
        N, CA, C and O, global.
    sequence : (B, N) int64
    mask : (B, N) bool
        False: there is no residue.
    obstacles : Obstacles, optional

    Returns
    -------
    (B, N) int64
    """
    radii = SIZES.like(side_chains)[sequence]
    near, there = neighbours(side_chains[:, :, 0, 0], mask)
    own, pairs = _overlaps(side_chains, backbone, radii, sequence, near, there)
    # What a proline overlaps with is what it is bonded to.
    own = torch.where((sequence == PRO)[..., None], 0.0, own)
    if obstacles is not None:
        own = own + overlap_with_obstacles(side_chains, sequence, mask, obstacles)
    prior = torch.log(weight.clamp(min=1e-6))
    q = weight
    batch = torch.arange(len(q), device=q.device)[:, None, None]
    for sharp in SHARPENING:
        field = torch.einsum("bnkrt,bnkt->bnr", pairs, q[batch, near])
        q = 0.5 * q + 0.5 * torch.softmax(sharp * (prior - STRENGTH * (own + field)), -1)
    return q.argmax(-1)


def _overlaps(
    side_chains: Tensor,
    backbone: Tensor,
    radii: Tensor,
    sequence: Tensor,
    near: Tensor,
    there: Tensor,
) -> tuple[Tensor, Tensor]:
    """E_i (B, N, R) of each rotamer with the neighbours' backbones, and E_ij (B, N, K, R, R)."""
    b, n, r = side_chains.shape[:3]
    batch = torch.arange(b, device=near.device)[:, None]
    atoms, size = side_chains[:, :, :, 1:], radii[:, :, 5:]
    fixed = torch.cat([backbone, side_chains[:, :, 0, :1]], 2)
    own = atoms.new_zeros(b, n, r)
    pairs = []
    for k in range(near.shape[-1]):
        other = near[:, :, k]
        with_it = there[:, :, k, None]
        energy = overlap(
            atoms[..., None, :], size[:, :, None, :, None],
            fixed[batch, other][:, :, None, None], radii[batch, other][:, :, None, None, :5],
        )  # fmt: skip
        own = own + torch.where(with_it, energy.sum((-1, -2)), 0.0)
        theirs = atoms[batch, other]
        energy = overlap(
            atoms[:, :, :, :, None, None], size[:, :, None, :, None, None],
            theirs[:, :, None, None], size[batch, other][:, :, None, None, None],
        )  # fmt: skip
        bonded = (sequence == CYS) & (sequence[batch, other] == CYS)
        if bool(bonded.any()):
            apart = squared(atoms[:, :, :, None, SG], theirs[:, :, None, :, SG])
            bond = bonded[..., None, None] & (apart < BOND**2)
            sulphurs = torch.where(bond, BOND_ENERGY, energy[:, :, :, SG, :, SG])
            energy[:, :, :, SG, :, SG] = sulphurs
        pairs.append(torch.where(with_it[..., None], energy.sum((-3, -1)), 0.0))
    return own, torch.stack(pairs, 2)
