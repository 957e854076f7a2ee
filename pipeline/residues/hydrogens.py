"""Hydrogens whose element is told wrongly."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .components import is_name_of_standard

_DIGITS = b"0123456789"


def with_hydrogens_named_for_metals(
    element: NDArray[np.bytes_], name: NDArray[np.bytes_], comp_id: NDArray[np.bytes_]
) -> NDArray[np.bytes_]:
    """Elements, in which HE1 of a histidine is no helium.

    Some programs take the first two letters of an atom's name for its element: He, Hg, Ho … None
    of the twenty amino acids has an atom, but hydrogen and deuterium, whose name begins with H or
    D.

    Parameters
    ----------
    element, name, comp_id : (n,) bytes

    Returns
    -------
    (n,) bytes
        `element` itself where nothing is to be changed.
    """
    width = element.dtype.itemsize
    if width < 2:
        return element
    letters = element.view("<u2").reshape(len(element), width // 2)[:, 0]
    two = letters > 0xFF
    if not two.any():
        return element
    first = letters & 0xDF
    rows = np.flatnonzero(two & ((first == ord("H")) | (first == ord("D"))))
    hydrogens = []
    known: dict[bytes, bool] = {}
    for row, comp in zip(rows.tolist(), comp_id[rows].tolist(), strict=True):
        if comp not in known:
            known[comp] = is_name_of_standard(comp.decode("latin-1"))
        if known[comp] and name[row].lstrip(_DIGITS)[:2].upper() == element[row].upper():
            hydrogens.append(row)
    if hydrogens:
        element = element.copy()
        element[hydrogens] = b"H"
    return element
