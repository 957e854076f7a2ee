"""atom14: a fixed slot for each heavy atom of each residue type.

The layout is the one of AlphaFold 2 (Jumper et al. 2021): backbone N, CA, C, O
in slots 0–3, CB in slot 4, then the side chain outwards. Names are those of the PDB chemical
component dictionary. OXT has no slot.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .types import RESTYPES, UNKNOWN

N_SLOTS = 14
BACKBONE_SLOTS: tuple[int, ...] = (0, 1, 2, 3)
"""Slots of N, CA, C and O."""

_SIDE_CHAINS = {
    "ALA": "CB",
    "ARG": "CB CG CD NE CZ NH1 NH2",
    "ASN": "CB CG OD1 ND2",
    "ASP": "CB CG OD1 OD2",
    "CYS": "CB SG",
    "GLN": "CB CG CD OE1 NE2",
    "GLU": "CB CG CD OE1 OE2",
    "GLY": "",
    "HIS": "CB CG ND1 CD2 CE1 NE2",
    "ILE": "CB CG1 CG2 CD1",
    "LEU": "CB CG CD1 CD2",
    "LYS": "CB CG CD CE NZ",
    "MET": "CB CG SD CE",
    "PHE": "CB CG CD1 CD2 CE1 CE2 CZ",
    "PRO": "CB CG CD",
    "SER": "CB OG",
    "THR": "CB OG1 CG2",
    "TRP": "CB CG CD1 CD2 NE1 CE2 CE3 CZ2 CZ3 CH2",
    "TYR": "CB CG CD1 CD2 CE1 CE2 CZ OH",
    "VAL": "CB CG1 CG2",
    "X": "CB",
}


def _slots(restype: str) -> tuple[str, ...]:
    names = ["N", "CA", "C", "O", *_SIDE_CHAINS[restype].split()]
    return tuple(names + [""] * (N_SLOTS - len(names)))


ATOM14_NAMES: tuple[tuple[str, ...], ...] = tuple(_slots(name) for name in (*RESTYPES, "X"))
"""21 × 14 atom names by ``aatype`` and slot; ``""`` where the type has no such atom."""

ATOM14_EXISTS: NDArray[np.bool_] = np.array([[bool(a) for a in row] for row in ATOM14_NAMES])
"""(21, 14): the type has an atom in the slot."""

ATOM14_ELEMENT: tuple[tuple[str, ...], ...] = tuple(
    tuple(name[:1] for name in row) for row in ATOM14_NAMES
)
"""21 × 14 element symbols (C, N, O, S), ``""`` where the type has no such atom."""

SLOT_OF_NAME: tuple[dict[str, int], ...] = tuple(
    {name: slot for slot, name in enumerate(row) if name} for row in ATOM14_NAMES
)
"""For each of the 21 types, atom name → slot."""

ATOM14_EXISTS.setflags(write=False)
assert len(ATOM14_NAMES) == UNKNOWN + 1
