"""Clashes: atoms of different residues nearer than any two that are not bonded can be.

The distance is such that elements need not be known: no hydrogen bond is so short (2.4 Å), and no
two atoms with a third between them are so near (O and N of a peptide: 2.25 Å). A covalent link
between two residues therefore brings one pair of their atoms so near, and its length tells it from
a clash.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

DISTANCE = 2200
"""0.001 Å; nearer atoms clash."""

_CARBON, _SULPHUR = ord("C"), ord("S")

_MAX_CELLS = 1 << 16
"""Cells whose atoms are sorted by numbers of 16 bits, several times as fast as by others."""

_BLOCK = 1 << 14
"""Atoms whose neighbours are looked at together."""

_MAX_IN_HEAP = 64

_ALL_FOUR = np.uint32(0x01010101)


def at_bond_length(
    first: NDArray[np.uint8], second: NDArray[np.uint8], square: NDArray[np.integer]
) -> NDArray[np.bool_]:
    """Which pairs of atoms are as far apart as a bond is long.

    Parameters
    ----------
    first, second : (p,) uint8
        The first letters of the atoms' names.
    square : (p,) int
        Of the distances, in units of 1e-6 Å².

    Returns
    -------
    (p,) bool
        1.9 Å or more between two S, 1.6 to 2.0 Å between C and S, 1.2 to 1.7 Å between C and C, N
        or O.
    """
    carbons = (first == _CARBON).astype(np.int8) + (second == _CARBON)
    sulphurs = (first == _SULPHUR).astype(np.int8) + (second == _SULPHUR)
    bonded = (sulphurs == 2) & (square >= 1900**2)
    bonded |= (sulphurs == 1) & (carbons == 1) & (square >= 1600**2) & (square <= 2000**2)
    return bonded | ((sulphurs == 0) & (carbons > 0) & (square >= 1200**2) & (square <= 1700**2))


def count_clashes(
    coords: NDArray[np.int32],
    residue: NDArray[np.int64],
    initial: NDArray[np.uint8],
    offsets: NDArray[np.int64],
) -> NDArray[np.int64]:
    """How many pairs of atoms of each chain clash.

    Parameters
    ----------
    coords : (a, 3) int32
        Of the atoms of all chains. Units of 0.001 Å.
    residue : (a,) int
        The row of each atom's residue.
    initial : (a,) uint8
        The first letter of each atom's name.
    offsets : (k + 1,) int
        Chain i has the atoms ``offsets[i]`` to ``offsets[i + 1]``.

    Returns
    -------
    (k,) int64
        Pairs of atoms of one chain, of residues that are not next to each other, nearer than 2.2 Å
        and not at the length of a bond (`at_bond_length`). An atom is compared with at most 64 of
        each heap of atoms around it: real ones have 10.
    """
    found = np.zeros(len(offsets) - 1, np.int64)
    begins = offsets[:-1][np.diff(offsets) > 0]
    if not len(begins):
        return found
    # Cells as large as the distance: whatever is near lies in three by three by three of them. A
    # margin of one cell keeps rows of cells, and chains, apart.
    cell = np.ascontiguousarray(coords.T) // np.int32(DISTANCE)
    lowest = np.minimum.reduceat(cell, begins, axis=1) - 1
    size = np.maximum.reduceat(cell, begins, axis=1) - lowest + 2
    ends = [*begins[1:].tolist(), len(coords)]
    # Neighbours are near: 16 bits of their coordinates tell by how much they differ. The four
    # numbers of an atom, of which the last is 0, are looked up as one.
    axes = np.zeros((len(coords), 4), np.int16)
    axes[:, :3] = coords
    packed = axes.view(np.int64)[:, 0]
    heaps: list[_Heaps] = []
    for some in _groups(size):
        begin, end = int(begins[some[0]]), ends[some[-1]]
        n = np.diff([*begins[some], end])
        x, y, _ = size[:, some].max(axis=1).tolist()
        # The chains of a group lie one above the other.
        base = lowest[:, some].astype(np.int64)
        base[2] -= np.cumsum(size[2, some]) - size[2, some]
        key = np.repeat(-(base[0] + base[1] * x + base[2] * (x * y)), n)
        for along, step in zip(cell[:, begin:end], (1, x, x * y), strict=True):
            key += along * np.int64(step)
        n_cells = x * y * int(size[2, some].sum())
        heaps.append(_heaps(begin, key, residue[begin:end], x, x * y, n_cells))
        if end == len(coords) or sum(len(h.order) for h in heaps) > _BLOCK:
            first = _clashing(packed, residue, initial, heaps)
            chain = np.searchsorted(offsets, first, side="right") - 1
            found += np.bincount(chain, minlength=len(found))
            heaps = []
    return found


def _groups(size: NDArray[np.int32]) -> Iterator[list[int]]:
    """Chains in their order, as many together as have few enough cells; one at least."""
    some: list[int] = []
    x = y = z = 0
    for k, (a, b, c) in enumerate(size.T.tolist()):
        if some and max(x, a) * max(y, b) * (z + c) > _MAX_CELLS:
            yield some
            some, x, y, z = [], 0, 0, 0
        some.append(k)
        x, y, z = max(x, a), max(y, b), z + c
    yield some


class _Heaps(NamedTuple):
    """Atoms in the order of their cells, `order`; and heaps of them, from `begin` to `end` in this
    order, each to be compared with the atom at `atom`."""

    order: NDArray[np.int64]
    atom: NDArray[np.int64]
    begin: NDArray[np.int64]
    end: NDArray[np.int64]


def _heaps(
    first: int,
    key: NDArray[np.int64],
    residue: NDArray[np.int64],
    y: int,
    z: int,
    n_cells: int,
) -> _Heaps:
    """What is near each atom, of the atoms from `first` on, by the numbers of their cells, which
    rise by `y` and `z` from one row to the next; each pair once."""
    n = len(key)
    # Half of the neighbours: the rest of the own row of cells, and four rows beside it, of each of
    # which three cells follow on one another.
    rows = np.array([[0], [y], [z - y], [z], [z + y]])
    if n_cells <= _MAX_CELLS:
        order = np.argsort(key.astype(np.uint16), kind="stable")
        key = key[order]
        up_to = np.cumsum(np.bincount(key, minlength=n_cells))
        at = rows + key
        begin, end = up_to.take(at - 2), up_to.take(at + 1)
    else:
        order = np.argsort(key, kind="stable")
        key = key[order]
        begin, end = (np.searchsorted(key, rows + (key + k)) for k in (-1, 2))
    begin[0] = np.arange(1, n + 1)
    some = np.flatnonzero(begin < end)
    atom, begin, end = some % n, begin.ravel()[some], end.ravel()[some]
    # Most heaps are of the atom's own residue and its neighbours. Of heaps of one or two, their
    # first and their last say so.
    residue = residue[order]
    own = residue[atom]
    apart = np.abs(residue[begin] - own) > 1
    apart |= np.abs(residue[end - 1] - own) > 1
    apart |= end - begin > 2
    kept = np.flatnonzero(apart)
    return _Heaps(order + first, atom[kept], begin[kept], end[kept])


def _clashing(
    packed: NDArray[np.int64],
    residue: NDArray[np.int64],
    initial: NDArray[np.uint8],
    heaps: list[_Heaps],
) -> NDArray[np.int64]:
    """One atom of each pair that clashes."""
    before = np.cumsum([0, *(len(h.order) for h in heaps)])[:-1]
    order = np.concatenate([h.order for h in heaps])
    a = np.concatenate([h.atom + n for h, n in zip(heaps, before, strict=True)])
    b = np.concatenate([h.begin + n for h, n in zip(heaps, before, strict=True)])
    end = np.concatenate([h.end + n for h, n in zip(heaps, before, strict=True)])
    packed = packed[order]
    found = []
    for _ in range(_MAX_IN_HEAP):
        step = packed.take(a).view(np.int16)
        step -= packed.take(b).view(np.int16)
        np.abs(step, out=step)
        near = np.flatnonzero((step < DISTANCE).view(np.uint32) == _ALL_FOUR)
        found.append((a[near], b[near], step.view(np.int64)[near]))
        more = np.flatnonzero(b < end - 1)
        if not len(more):
            break
        a, b, end = a[more], b[more] + 1, end[more]
    a, b, step = (np.concatenate(columns) for columns in zip(*found, strict=True))
    square = np.square(step.view(np.int16).reshape(-1, 4), dtype=np.int32)
    square = square[:, 0] + square[:, 1] + square[:, 2]
    close = np.flatnonzero(square < DISTANCE**2)
    a, b, square = order[a[close]], order[b[close]], square[close]
    apart = np.flatnonzero(np.abs(residue[a] - residue[b]) > 1)
    a, b, square = a[apart], b[apart], square[apart]
    return a[~at_bond_length(initial[a], initial[b], square)]
