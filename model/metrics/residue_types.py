"""Residue types as indices into the tables of `pipeline.residues`."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline.residues import UNKNOWN


def table_rows(aatype: ArrayLike) -> NDArray[np.intp]:
    """(L,) ``aatype`` as rows of the 21 types; MASK, which has no row, is read as X."""
    return np.minimum(np.asarray(aatype, np.intp), UNKNOWN)
