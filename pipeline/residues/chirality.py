"""Which way round the four neighbours of a carbon stand."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .atom14 import SLOT_OF_NAME
from .types import RESTYPES

_CENTRES = {
    "ILE": ("CB", "CA", "CG1", "CG2"),
    "THR": ("CB", "CA", "OG1", "CG2"),
}
"""The centres beside CA: the carbon, and the three neighbours that go round clockwise, seen from
the fourth, which is a hydrogen (IUPAC-IUB 1970)."""

_ALPHA = ("CA", "N", "C", "CB")


def wrong_hands(
    aatype: NDArray[np.int8], positions: NDArray[np.float64], mask: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """Residues with carbons that are the mirror image of what an L-amino acid has.

    Looked at are CA of all twenty types but glycine, and CB of isoleucine and threonine, where all
    of their heavy neighbours are present.

    Parameters
    ----------
    aatype : (L,) int8
        Residues of type X may be D-amino acids, and have no wrong hand.
    positions : (L, 14, 3) float64
        Å.
    mask : (L, 14) bool

    Returns
    -------
    (n,) int64
        Row of the residue of each wrong carbon; a row is there twice if both of its are.
    """
    # CB of glycine does not exist, so its slot is empty.
    known = aatype < len(RESTYPES)
    rows = np.flatnonzero(mask[:, 0] & mask[:, 1] & mask[:, 2] & mask[:, 4] & known)
    found = [_inverted(positions, rows, 4, _ALPHA)]
    for name, centre in _CENTRES.items():
        kind = RESTYPES.index(name)
        rows = np.flatnonzero(aatype == kind)
        slots = [SLOT_OF_NAME[kind][atom] for atom in centre]
        rows = rows[mask[rows][:, slots].all(axis=1)]
        found.append(_inverted(positions, rows, kind, centre))
    return np.concatenate(found)


def _inverted(
    positions: NDArray[np.float64], rows: NDArray[np.int64], kind: int, centre: tuple[str, ...]
) -> NDArray[np.int64]:
    """Those of the rows where the three neighbours go round the other way."""
    atoms = [positions[rows, SLOT_OF_NAME[kind][atom]].T for atom in centre]
    (ax, ay, az), (bx, by, bz), (cx, cy, cz) = (atom - atoms[0] for atom in atoms[1:])
    volume = ax * (by * cz - bz * cy) + ay * (bz * cx - bx * cz) + az * (bx * cy - by * cx)
    return rows[volume < 0]
