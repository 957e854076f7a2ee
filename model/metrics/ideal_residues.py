"""Ideal residues in their backbone frame, and how many bonds lie between two of their atoms."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from model.metrics.ideal_table import IDEAL_TABLE
from pipeline.frames import backbone_frames, to_local
from pipeline.residues import (
    CHI_MASK,
    CHI_SLOTS,
    N_SLOTS,
    RESTYPES,
    SLOT_OF_NAME,
    UNKNOWN,
)

FAR = 99
"""Bonds between atoms that no path joins, or that do not exist."""


def _read_table() -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    positions = np.zeros((UNKNOWN + 1, N_SLOTS, 3))
    bonded = np.zeros((UNKNOWN + 1, N_SLOTS, N_SLOTS), bool)
    aatype = -1
    for line in IDEAL_TABLE.splitlines():
        word, *values = line.split()
        if not line.startswith(" "):
            aatype = RESTYPES.index(word)
            slot_of = SLOT_OF_NAME[aatype]
        elif word == "bond":
            a, b = (slot_of[name] for name in values)
            bonded[aatype, a, b] = bonded[aatype, b, a] = True
        else:
            positions[aatype, slot_of[word]] = [float(value) for value in values]
    # What is known of an X is what every residue but glycine has.
    alanine = RESTYPES.index("ALA")
    positions[UNKNOWN], bonded[UNKNOWN] = positions[alanine], bonded[alanine]
    rotations, translations = backbone_frames(*(positions[:, slot] for slot in range(3)))
    return to_local(rotations, translations, positions), bonded


def _count_bonds(bonded: NDArray[np.bool_]) -> NDArray[np.int16]:
    """Shortest paths, for all types at once (Floyd and Warshall)."""
    n_bonds = np.where(bonded, 1, FAR).astype(np.int16)
    n_bonds[:, np.arange(N_SLOTS), np.arange(N_SLOTS)] = 0
    for k in range(N_SLOTS):
        n_bonds = np.minimum(n_bonds, n_bonds[:, :, k, None] + n_bonds[:, None, k, :])
    return np.minimum(n_bonds, FAR)


def _moved_by_chi(n_bonds: NDArray[np.int16]) -> NDArray[np.bool_]:
    """Atoms that turn with each χ: nearer to the third atom of the torsion than to the second.

    In proline, whose ring closes through N, the backbone stays where it is.
    """
    moved = np.zeros((UNKNOWN + 1, 4, N_SLOTS), bool)
    for aatype, k in zip(*np.nonzero(CHI_MASK), strict=True):
        _, b, c, _ = CHI_SLOTS[aatype, k]
        nearer = n_bonds[aatype, c] < n_bonds[aatype, b]
        nearer[[0, 1, 2, 3, int(c)]] = False
        if aatype == RESTYPES.index("PRO"):
            # Along the ring both ways lead to CD; the torsions go the way of the names.
            nearer[SLOT_OF_NAME[aatype]["CD"]] = True
        moved[aatype, k] = nearer
    return moved


IDEAL_LOCAL, _BONDED = _read_table()
"""(21, 14, 3) float64: Å, in the frame of the residue's own N, CA and C: median bond lengths and
angles of experimental structures, χ at 180° (proline: a pucker that occurs). X as alanine; slots
that the type does not have hold anything."""

N_BONDS = _count_bonds(_BONDED)
"""(21, 14, 14) int16: bonds on the shortest path between two atoms of a residue, `FAR` if none."""

MOVED_BY_CHI = _moved_by_chi(N_BONDS)
"""(21, 4, 14) bool: atoms that turn about the middle bond of each χ."""

for _array in (IDEAL_LOCAL, N_BONDS, MOVED_BY_CHI):
    _array.setflags(write=False)
