"""The twenty residue types, their order and their letters."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

RESTYPES: tuple[str, ...] = (
    "ALA", "ARG", "ASN", "ASP", "CYS", "GLN", "GLU", "GLY", "HIS", "ILE",
    "LEU", "LYS", "MET", "PHE", "PRO", "SER", "THR", "TRP", "TYR", "VAL",
)  # fmt: skip
"""Three-letter names; the place in this tuple is the ``aatype``."""

N_TYPES = len(RESTYPES)

UNKNOWN = 20
"""``aatype`` of X: no single standard residue stands for this position."""

MASK = 21
"""``aatype`` of a hidden position; only the model uses it, no file holds it."""

ONE_LETTER = "ARNDCQEGHILKMFPSTWYVX"
"""The letter of each ``aatype``, X included."""

AATYPE_OF_LETTER: dict[str, int] = {letter: i for i, letter in enumerate(ONE_LETTER)}

_LETTERS = np.frombuffer(ONE_LETTER.encode(), dtype=np.uint8)


def sequence_string(aatype: ArrayLike) -> str:
    """One letter per residue.

    Parameters
    ----------
    aatype : (L,) integers, 0–20

    Raises
    ------
    ValueError
        If a value lies outside 0–20 (`MASK` has no letter).

    Examples
    --------
    >>> sequence_string([0, 7, 20])
    'AGX'
    """
    index = np.asarray(aatype)
    if index.size == 0:
        return ""
    low, high = index.min(), index.max()
    if low < 0 or high > UNKNOWN:
        raise ValueError(f"aatype is 0–{UNKNOWN}; found values from {low} to {high}")
    return _LETTERS[index].tobytes().decode("ascii")
