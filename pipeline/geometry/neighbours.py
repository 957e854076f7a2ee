"""Which points of different owners are near each other, of many groups of owners at once.

Three sieves, each of which leaves a small part to the next. Points in whose cell, and in the cells
around it, nobody but their owner has any are left out: a small grid of each group tells. The others
are put into clumps, the points of one owner in one cell; two clumps whose boxes are too far apart
are left out. What is left is looked at point by point.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAX_DISTANCE = 8000
"""Squares of distances within neighbouring cells fit into 32 bits up to this."""

MAX_PAIRS = 1 << 26
"""Pairs of points looked at in a group. One with more lays its points upon each other, and would
take minutes and gigabytes."""

_BLOCK = 1 << 18
"""Pairs looked at together."""

_MIN_POINTS, _MAX_CELLS_PER_POINT = 1024, 64
"""A group that has fewer points, or strews them wider, has no grid: all of its points pass the
first sieve."""

_AXIS_BITS = 16
"""A group's cells are numbered along each axis."""

_GROUPS = 1 << (63 - 3 * _AXIS_BITS)


@dataclass(frozen=True, slots=True)
class ClosePairs:
    """Pairs of points, each once.

    Attributes
    ----------
    first, second : (p,) int64
        Numbers of the points; ``owner[first] < owner[second]``.
    square : (p,) int32
        Of the distance.
    left_out : frozenset of int
        Groups of which no pairs are told: they have more than `MAX_PAIRS` to look at, or are wider
        than 65,000 times the distance.
    """

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    square: NDArray[np.int32]
    left_out: frozenset[int]

    def only(self, kept: NDArray[np.bool_]) -> ClosePairs:
        """Some of them."""
        return ClosePairs(self.first[kept], self.second[kept], self.square[kept], self.left_out)


@dataclass(frozen=True, slots=True)
class _Clumps:
    """Points of one owner in one cell; sorted by cell, `begin` points into the sorted points."""

    key: NDArray[np.int64]
    owner: NDArray[np.int32]
    group: NDArray[np.int32]
    begin: NDArray[np.int64]
    size: NDArray[np.int64]
    low: list[NDArray[np.int32]]
    high: list[NDArray[np.int32]]


def close_pairs(
    points: NDArray[np.int32],
    owner: NDArray[np.int32],
    group: NDArray[np.int32],
    distance: int,
) -> ClosePairs:
    """Find the pairs of points of one group and two owners that are within a distance.

    Parameters
    ----------
    points : (n, 3) int32
    owner : (n,) int32
        Rises along the points of a group; an owner is in one group.
    group : (n,) int32
        From 0; rises along the points.
    distance : int
        In the unit of the points, at most `MAX_DISTANCE`; the distance itself is within.
    """
    assert distance <= MAX_DISTANCE
    xyz = np.ascontiguousarray(points.T)
    cell = xyz // np.int32(distance)
    is_near, left_out = _sieve(cell, owner, group)
    near = np.flatnonzero(is_near)
    key = _numbered(cell[:, near], group[near])
    order = np.argsort(key, kind="stable")
    near, key = near[order], key[order]
    sorted_xyz = xyz[:, near]
    clumps = _clumps(key, owner[near], group[near], sorted_xyz)
    a, b = _neighbouring(clumps, distance)
    n_pairs = np.bincount(clumps.group[a], clumps.size[a] * clumps.size[b])
    crowded = np.flatnonzero(n_pairs > MAX_PAIRS)
    if len(crowded):
        left_out |= {*crowded.tolist()}
        kept = ~np.isin(clumps.group[a], crowded)
        a, b = a[kept], b[kept]
    one, other, square = _within(clumps, a, b, sorted_xyz, distance)
    one, other = near[one], near[other]
    turned = owner[one] > owner[other]
    first, second = np.where(turned, other, one), np.where(turned, one, other)
    return ClosePairs(first, second, square, frozenset(left_out))


def ranges(starts: NDArray[Any], counts: NDArray[Any]) -> NDArray[np.int64]:
    """Concatenated ``arange(start, start + count)``."""
    ends = np.cumsum(counts)
    n = int(ends[-1]) if len(ends) else 0
    return np.arange(n) + np.repeat(starts - ends + counts, counts)


def _sieve(
    cell: NDArray[np.int32], owner: NDArray[np.int32], group: NDArray[np.int32]
) -> tuple[NDArray[np.bool_], set[int]]:
    """Points with another owner's point in the 27 cells about theirs (more may be there), and
    groups that are too wide. The cells of each group are counted from 1 from now on."""
    found = np.ones(len(owner), bool)
    if not len(owner):
        return found, set()
    bounds = np.flatnonzero(np.diff(group, prepend=-1, append=-1))
    begins, sizes = bounds[:-1], np.diff(bounds)
    lowest = np.stack([np.minimum.reduceat(along, begins) for along in cell]).astype(np.int64) - 1
    highest = np.stack([np.maximum.reduceat(along, begins) for along in cell])
    size = highest - lowest + 2
    for along, low in zip(cell, lowest.astype(np.int32), strict=True):
        along -= np.repeat(low, sizes)
    too_wide = size.max(axis=0) > 1 << _AXIS_BITS
    if too_wide.any():
        found[np.repeat(too_wide, sizes)] = False
    n_cells = size.astype(np.float64).prod(axis=0)
    has_grid = (sizes >= _MIN_POINTS) & (n_cells <= _MAX_CELLS_PER_POINT * sizes)
    for k in np.flatnonzero(has_grid & ~too_wide).tolist():
        here = slice(begins[k], begins[k] + sizes[k])
        steps = (1, int(size[0, k]), int(size[0, k] * size[1, k]))
        found[here] = _near_others(cell[:, here], owner[here], steps, int(n_cells[k]))
    return found, {*group[begins[too_wide]].tolist()}


def _near_others(
    cell: NDArray[np.int32], owner: NDArray[np.int32], steps: tuple[int, int, int], n_cells: int
) -> NDArray[np.bool_]:
    """Points with another owner's point around, in a grid whose outermost cells are empty."""
    x, y, z = cell
    place = (x + y * np.int32(steps[1]) + z * np.int32(steps[2])).astype(np.intp)
    # Of an owner's cell the owner, of nobody's none, of several owners' cell both extremes.
    below, above = owner[0] - 1, owner[-1] + 1
    least = np.full(n_cells, above, np.int32)
    least[place] = owner
    most = np.where(least == above, below, least)
    shared = place[least[place] != owner]
    least[shared], most[shared] = below, above
    for step in steps:
        least, most = _spread(least, step, np.minimum), _spread(most, step, np.maximum)
    return (least[place] < owner) | (most[place] > owner)


def _spread(values: NDArray[np.int32], step: int, choose: np.ufunc) -> NDArray[np.int32]:
    """Of each cell and its two neighbours along an axis."""
    spread = values.copy()
    choose(spread[step:], values[:-step], out=spread[step:])
    choose(spread[:-step], values[step:], out=spread[:-step])
    return spread


def _numbered(cell: NDArray[np.int32], group: NDArray[np.int32]) -> NDArray[np.int64]:
    """One number for the cell of each point; next to each other along x, the numbers are too."""
    x, y, z = cell
    number = (group & np.int32(_GROUPS - 1)).astype(np.int64)
    for along in (z, y, x):
        number <<= _AXIS_BITS
        number |= along
    return number


def _clumps(
    key: NDArray[np.int64],
    owner: NDArray[np.int32],
    group: NDArray[np.int32],
    xyz: NDArray[np.int32],
) -> _Clumps:
    if not len(key):
        none = np.zeros(0, np.int32)
        return _Clumps(key, owner, group, key, key, [none] * 3, [none] * 3)
    begins = np.ones(len(key), bool)
    begins[1:] = (key[1:] != key[:-1]) | (owner[1:] != owner[:-1])
    begin = np.flatnonzero(begins)
    return _Clumps(
        key[begin],
        owner[begin],
        group[begin],
        begin,
        np.diff(begin, append=len(key)),
        [np.minimum.reduceat(along, begin) for along in xyz],
        [np.maximum.reduceat(along, begin) for along in xyz],
    )


def _neighbouring(clumps: _Clumps, distance: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pairs of clumps of two owners whose boxes are within a distance, each once."""
    key = clumps.key
    y, z = 1 << _AXIS_BITS, 1 << (2 * _AXIS_BITS)
    number = np.arange(len(key))
    # Half of the cells around: the rest of the own cell and the next one, and four rows of three.
    firsts = [number + 1, *(np.searchsorted(key, key + step - 1) for step in (y, z - y, z, z + y))]
    lasts = [np.searchsorted(key, key + step + 1, "right") for step in (0, y, z - y, z, z + y)]
    first = np.concatenate(firsts)
    count = np.concatenate(lasts) - first
    a, b = np.repeat(np.tile(number, 5), count), ranges(first, count)
    is_pair = clumps.owner[a] != clumps.owner[b]
    if clumps.group.max(initial=0) >= _GROUPS:
        is_pair &= clumps.group[a] == clumps.group[b]
    kept = np.flatnonzero(is_pair)
    a, b = a[kept], b[kept]
    square = np.zeros(len(a), np.int32)
    for low, high in zip(clumps.low, clumps.high, strict=True):
        square += _square_of_gap(low[b] - high[a], low[a] - high[b])
    kept = np.flatnonzero(square <= distance**2)
    return a[kept], b[kept]


def _square_of_gap(one: NDArray[np.int32], other: NDArray[np.int32]) -> NDArray[np.int32]:
    gap = np.maximum(one, other)
    np.maximum(gap, 0, out=gap)
    gap *= gap
    return gap


def _within(
    clumps: _Clumps,
    a: NDArray[np.int64],
    b: NDArray[np.int64],
    xyz: NDArray[np.int32],
    distance: int,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int32]]:
    """Pairs of points of pairs of clumps, by their places among the sorted points."""
    # Points of the one, each with the whole of the other, if its box is near enough.
    point = ranges(clumps.begin[a], clumps.size[a])
    clump = np.repeat(b, clumps.size[a])
    square = np.zeros(len(point), np.int32)
    for along, low, high in zip(xyz, clumps.low, clumps.high, strict=True):
        at = along[point]
        square += _square_of_gap(low[clump] - at, at - high[clump])
    kept = np.flatnonzero(square <= distance**2)
    point, clump = point[kept], clump[kept]
    count = clumps.size[clump]
    ends = np.cumsum(count)
    none = np.zeros(0, np.int64)
    found = [(none, none, np.zeros(0, np.int32))]
    begin = 0
    while begin < len(point):
        done = ends[begin] - count[begin]
        end = max(begin + 1, int(np.searchsorted(ends, done + _BLOCK, side="right")))
        one = np.repeat(point[begin:end], count[begin:end])
        other = ranges(clumps.begin[clump[begin:end]], count[begin:end])
        begin = end
        squares = np.zeros(len(one), np.int32)
        for along in xyz:
            apart = along[one] - along[other]
            apart *= apart
            squares += apart
        close = np.flatnonzero(squares <= distance**2)
        found.append((one[close], other[close], squares[close]))
    one, other, squares = (np.concatenate(columns) for columns in zip(*found, strict=True))
    return one, other, squares
