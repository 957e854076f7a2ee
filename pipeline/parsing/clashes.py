"""Which alternates clash, as `pipeline.geometry.clashes` has it: the clashes of some atoms."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.geometry.clashes import DISTANCE, at_bond_length

_MAX_PAIRS = 1 << 24
"""Pairs looked at. In a protein there are some 35 for each atom that asks; a file with more than
this lays its atoms upon each other."""

_MAX_CLASHES = 1 << 14
"""Clashes found. Beyond, they are how the file is, and no choice of labels will mend it."""

_BLOCK = 1 << 18
"""Pairs looked at together."""

_CELL = 2 * DISTANCE
"""Whatever is near an atom lies in two by two by two cells."""

_CELL_NUMBERS = (1, 1031, 17377)
_N_CELL_NUMBERS = 1 << 15


def clashing_pairs(
    coords: NDArray[np.int32],
    rows: NDArray[np.int64],
    name: NDArray[np.bytes_],
    residue: NDArray[np.int64],
    joins_previous: NDArray[np.bool_],
    asking: NDArray[np.int64],
) -> NDArray[np.int64] | None:
    """Find the pairs of atoms that clash.

    Parameters
    ----------
    coords : (a, 3) int32
        Of the atoms. Units of 0.001 Å.
    rows : (a,) int
        Where `name` and `residue` tell of each atom.
    name : (n,) bytes
    residue : (n,) int
    joins_previous : (R,) bool
        The residue stands directly behind the one before it in its chain.
    asking : (m,) int
        Atoms of whose clashes is asked; at least one.

    Returns
    -------
    (p, 2) int64 or None
        Pairs of one that asks and one of a residue that is neither its own nor next to it in the
        chain, nearer than 2.2 Å and not at the length of a bond: 1.9 Å or more between two S, 1.6
        to 2.0 Å between C and S, 1.2 to 1.7 Å between C and C, N or O. Two that both ask are there
        once. None: there are too many, or too many atoms in one place.
    """
    # A table of numbered cells tells at once of most atoms that none of those that ask is near.
    xyz = np.ascontiguousarray(coords.T)
    lowest = (xyz[:, asking].astype(np.int64) - DISTANCE) // _CELL
    is_near = np.zeros(_N_CELL_NUMBERS, bool)
    corners = _numbered(lowest, _CELL_NUMBERS) + _rows_of_cells(_CELL_NUMBERS)
    for further in (0, _CELL_NUMBERS[0]):
        is_near[(corners + further) & (_N_CELL_NUMBERS - 1)] = True
    near = np.flatnonzero(is_near[_numbered(xyz // _CELL, _CELL_NUMBERS) & (_N_CELL_NUMBERS - 1)])

    # The others are sorted by cell. Those in two cells that follow on each other along x are
    # together then, so each atom that asks has four stretches of neighbours.
    cell = xyz[:, near].astype(np.int64) // _CELL
    origin = lowest.min(axis=1, keepdims=True)
    size = cell.max(axis=1) - origin[:, 0] + 2
    steps = (1, int(size[0]), int(size[0] * size[1]))
    key = _numbered(cell - origin, steps)
    order = np.argsort(key, kind="stable")
    key, near = key[order], near[order]
    begins = (_numbered(lowest - origin, steps) + _rows_of_cells(steps)).ravel()
    first = np.searchsorted(key, begins, side="left")
    count = np.searchsorted(key, begins + 1, side="right") - first
    ends = np.cumsum(count)
    if ends[-1] > _MAX_PAIRS:
        return None

    asks = np.tile(asking, 4)
    has_asked = np.zeros(len(coords), bool)
    has_asked[asking] = True
    found: list[NDArray[np.int64]] = []
    begin = n_found = 0
    while begin < len(count):
        done = ends[begin] - count[begin]
        end = max(begin + 1, int(np.searchsorted(ends, done + _BLOCK, side="right")))
        n = count[begin:end]
        a = np.repeat(asks[begin:end], n)
        b = near[np.arange(len(a)) + np.repeat(first[begin:end] - (ends[begin:end] - n - done), n)]
        begin = end
        # Cells are small: the squares fit.
        square = sum((along[a] - along[b]) ** 2 for along in xyz)
        close = np.flatnonzero(square < DISTANCE**2)
        a, b, square = a[close], b[close], square[close]
        one, other = residue[rows[a]], residue[rows[b]]
        apart = np.abs(one - other)
        neighbours = (apart == 1) & joins_previous[np.maximum(one, other)]
        counted = (apart > 0) & ~neighbours & ((a < b) | ~has_asked[b])
        a, b, square = a[counted], b[counted], square[counted]
        if len(a):
            clash = ~at_bond_length(_initials(name[rows[a]]), _initials(name[rows[b]]), square)
            found.append(np.stack([a[clash], b[clash]], axis=1))
            n_found += len(found[-1])
            if n_found > _MAX_CLASHES:
                return None
    return np.concatenate(found) if found else np.zeros((0, 2), np.int64)


def _numbered(
    cell: NDArray[np.integer[Any]], steps: tuple[int, int, int]
) -> NDArray[np.integer[Any]]:
    x, y, z = cell
    return x * steps[0] + y * steps[1] + z * steps[2]


def _rows_of_cells(steps: tuple[int, int, int]) -> NDArray[np.int64]:
    """(4, 1) from the number of a cell to those of the four rows of two about its upper corner."""
    return np.array([[0], [steps[1]], [steps[2]], [steps[1] + steps[2]]])


def _initials(name: NDArray[np.bytes_]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(name).view(np.uint8).reshape(-1, name.dtype.itemsize)[:, 0]
