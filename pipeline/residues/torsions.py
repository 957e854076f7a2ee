"""Side-chain torsions, atoms that trade names by symmetry, and van der Waals radii."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from .atom14 import N_SLOTS, SLOT_OF_NAME
from .types import RESTYPES, UNKNOWN

ChiAtoms = tuple[str, str, str, str]

# Consecutive quadruples of these names are χ1, χ2, … (IUPAC-IUB conventions, 1970).
_CHI_PATHS = {
    "ARG": "N CA CB CG CD NE CZ",
    "ASN": "N CA CB CG OD1",
    "ASP": "N CA CB CG OD1",
    "CYS": "N CA CB SG",
    "GLN": "N CA CB CG CD OE1",
    "GLU": "N CA CB CG CD OE1",
    "HIS": "N CA CB CG ND1",
    "ILE": "N CA CB CG1 CD1",
    "LEU": "N CA CB CG CD1",
    "LYS": "N CA CB CG CD CE NZ",
    "MET": "N CA CB CG SD CE",
    "PHE": "N CA CB CG CD1",
    "PRO": "N CA CB CG CD",
    "SER": "N CA CB OG",
    "THR": "N CA CB OG1",
    "TRP": "N CA CB CG CD1",
    "TYR": "N CA CB CG CD1",
    "VAL": "N CA CB CG1",
}


def _chi_atoms(restype: str) -> tuple[ChiAtoms, ...]:
    path = _CHI_PATHS.get(restype, "").split()
    return tuple((path[k], path[k + 1], path[k + 2], path[k + 3]) for k in range(len(path) - 3))


CHI_ATOMS: tuple[tuple[ChiAtoms, ...], ...] = tuple(_chi_atoms(name) for name in (*RESTYPES, "X"))
"""For each of the 21 types, the four atom names of χ1 up to χ4 (arginine's fifth is planar)."""

CHI_MASK: NDArray[np.bool_] = np.array(
    [[k < len(chis) for k in range(4)] for chis in CHI_ATOMS], dtype=np.bool_
)
"""(21, 4): the type has the torsion."""

CHI_SLOTS: NDArray[np.int8] = np.full((UNKNOWN + 1, 4, 4), -1, dtype=np.int8)
"""(21, 4, 4): slots of the four atoms of each torsion, -1 where there is none."""

for _aatype, _chis in enumerate(CHI_ATOMS):
    for _k, _names in enumerate(_chis):
        CHI_SLOTS[_aatype, _k] = [SLOT_OF_NAME[_aatype][_name] for _name in _names]

CHI_PI_PERIODIC: NDArray[np.bool_] = np.zeros((UNKNOWN + 1, 4), dtype=np.bool_)
"""(21, 4): the torsion means the same after half a turn: its last atom has a twin."""

for _name, _k in (("ASP", 1), ("GLU", 2), ("PHE", 1), ("TYR", 1)):
    CHI_PI_PERIODIC[RESTYPES.index(_name), _k] = True

SYMMETRIC_ATOMS: Mapping[int, tuple[tuple[str, str], ...]] = {
    RESTYPES.index("ASP"): (("OD1", "OD2"),),
    RESTYPES.index("GLU"): (("OE1", "OE2"),),
    RESTYPES.index("PHE"): (("CD1", "CD2"), ("CE1", "CE2")),
    RESTYPES.index("TYR"): (("CD1", "CD2"), ("CE1", "CE2")),
}
"""``aatype`` → pairs of names that mean the same when all pairs of the type trade together."""

SYMMETRIC_SLOTS: NDArray[np.int8] = np.tile(np.arange(N_SLOTS, dtype=np.int8), (UNKNOWN + 1, 1))
"""(21, 14): the slots after the swap of `SYMMETRIC_ATOMS`; for other types, as they were."""

for _aatype, _pairs in SYMMETRIC_ATOMS.items():
    for _pair in _pairs:
        _a, _b = (SLOT_OF_NAME[_aatype][_name] for _name in _pair)
        SYMMETRIC_SLOTS[_aatype, [_a, _b]] = [_b, _a]

for _array in (CHI_MASK, CHI_SLOTS, CHI_PI_PERIODIC, SYMMETRIC_SLOTS):
    _array.setflags(write=False)

VAN_DER_WAALS_RADII: Mapping[str, float] = {
    "H": 1.20,
    "B": 1.92,
    "C": 1.70,
    "N": 1.55,
    "O": 1.52,
    "F": 1.47,
    "SI": 2.10,
    "P": 1.80,
    "S": 1.80,
    "CL": 1.75,
    "SE": 1.90,
    "BR": 1.85,
    "I": 1.98,
}
"""Å, by element symbol in capitals. A. Bondi, J. Phys. Chem. 68, 441 (1964), table I,
doi:10.1021/j100785a001; boron, which it lacks: M. Mantina et al., J. Phys. Chem. A 113, 5806
(2009), doi:10.1021/jp8111556."""
