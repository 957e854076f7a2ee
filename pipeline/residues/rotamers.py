"""The commonest rotamers of each residue type: what is known of a side chain by its type alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .rotamer_table import TABLE
from .types import RESTYPES, UNKNOWN

N_ROTAMERS = 9
"""Of a type at most; lysine and arginine have more, which are rare."""

ROTAMER_CHI: NDArray[np.float64] = np.zeros((UNKNOWN + 1, N_ROTAMERS, 4))
"""(21, 9, 4): χ1–χ4 in radians; 0 where there is no torsion or no further rotamer."""

ROTAMER_SHARE: NDArray[np.float64] = np.zeros((UNKNOWN + 1, N_ROTAMERS))
"""(21, 9): share of the residues that are nearest to the rotamer. They sum to 1, but for X, of
which nothing is known. Types without torsions have one rotamer."""

ROTAMER_SHARE[:UNKNOWN, 0] = 1.0
_aatype, _rank = -1, 0
for _line in TABLE.splitlines():
    if not _line.startswith(" "):
        _aatype, _rank = RESTYPES.index(_line), 0
        continue
    _share, *_chi = map(float, _line.split())
    ROTAMER_SHARE[_aatype, _rank] = _share
    ROTAMER_CHI[_aatype, _rank, : len(_chi)] = np.radians(_chi)
    _rank += 1
ROTAMER_SHARE[:UNKNOWN] /= ROTAMER_SHARE[:UNKNOWN].sum(1, keepdims=True)

for _array in (ROTAMER_CHI, ROTAMER_SHARE):
    _array.setflags(write=False)
