"""`Obstacles`: ligands, metals and nucleic acids, which side chains go round."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from model.on_device import Constant
from model.tensor_record import TensorRecord
from model.torsions.angles import by_type
from model.torsions.overlap import SIZES, overlap, squared
from pipeline.residues import ATOM14_ELEMENT, VAN_DER_WAALS_RADII

METAL = 0.8
"""Å, of what has no van der Waals radius in our table: side chains coordinate metals at 1.9–2.6 Å,
which overlap does not count then."""

BOND = (1.2, 2.0)
"""Å: N, O or S of a side chain that is so far from a carbon or a boron of a ligand is bonded to it,
as asparagines are to glycans, cysteines to haem, lysines to pyridoxal phosphate and serines to
boronic acids."""

REACH = 12.0
"""Å from CB, farther than the tip of an arginine and the radii of two atoms."""

_PAIRS_AT_ONCE = 20_000

_ELEMENTS = [[str(e).upper() for e in row] for row in ATOM14_ELEMENT]
_BONDING = Constant(by_type(torch.tensor([[e in ("N", "O", "S") for e in r] for r in _ELEMENTS])))


@dataclass(frozen=True)
class Obstacles(TensorRecord):
    """Up to M atoms beside each of B proteins.

    Attributes
    ----------
    positions : (B, M, 3) float
        Å, in the coordinates of the protein.
    radii : (B, M) float
        Å; 0 where there is no atom.
    bonding : (B, M) bool
        A side chain may be bonded to it.
    """

    positions: Tensor
    radii: Tensor
    bonding: Tensor

    @classmethod
    def of(cls, atoms: Sequence[tuple[Tensor, Sequence[str]]]) -> Obstacles | None:
        """Of the ((M, 3) positions, M element symbols) of each protein; None if there are none."""
        most = max((len(elements) for _, elements in atoms), default=0)
        if most == 0:
            return None
        positions = torch.zeros(len(atoms), most, 3)
        radii, bonding = torch.zeros(2, len(atoms), most)
        for b, (x, elements) in enumerate(atoms):
            n, symbols = len(elements), [element.upper() for element in elements]
            positions[b, :n] = x
            radii[b, :n] = torch.tensor([VAN_DER_WAALS_RADII.get(e, METAL) for e in symbols])
            bonding[b, :n] = torch.tensor([e in ("B", "C") for e in symbols])
        return cls(positions, radii, bonding.bool())


def overlap_with_obstacles(
    side_chains: Tensor, sequence: Tensor, mask: Tensor, obstacles: Obstacles
) -> Tensor:
    """Squared overlap of each rotamer, beyond CB, with obstacles.

    Parameters
    ----------
    side_chains : (B, N, R, 10, 3) float
        Slots 4–13, Å, global.
    sequence : (B, N) int64
    mask : (B, N) bool
    obstacles : Obstacles

    Returns
    -------
    (B, N, R) float
        Å².
    """
    b, n, r = side_chains.shape[:3]
    apart = torch.cdist(side_chains[:, :, 0, 0], obstacles.positions)
    near = (apart < REACH) & mask[..., None] & (obstacles.radii > 0)[:, None]
    energy = side_chains.new_zeros(b * n, r)
    for pairs in near.nonzero().split(_PAIRS_AT_ONCE):
        item, residue, atom = pairs.unbind(-1)
        types = sequence[item, residue]
        place = obstacles.positions[item, atom][:, None, None]
        atoms = side_chains[item, residue, :, 1:]
        found = overlap(
            atoms,
            SIZES.like(atoms)[types][:, None, 5:],
            place,
            obstacles.radii[item, atom][:, None, None],
        )
        bonding = _BONDING.of(types)[:, None, 5:]
        bonding = bonding & obstacles.bonding[item, atom][:, None, None]
        apart = squared(atoms, place)
        bonded = bonding & (apart > BOND[0] ** 2) & (apart < BOND[1] ** 2)
        found = torch.where(bonded, 0.0, found)
        energy.index_add_(0, item * n + residue, found.sum(-1))
    return energy.reshape(b, n, r)
