"""3Di: one letter per residue for how it lies to its nearest neighbour in space.

Letters equal those of biotite 1.6's ``to_3di``, which are those of Foldseek, wherever a residue and
both its neighbours are resolved. Everything is elementwise, in the precision and order of biotite,
so that a letter depends on no processor; only where biotite takes the distances of all pairs at
once in float64, a product of matrices in float32 does here what it can decide, whatever rounds it.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from pipeline.geometry.three_di_network import CENTROIDS, LAYERS

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Ints = NDArray[np.int64]

ALPHABET = "ACDEFGHIKLMNPQRSTVWY"
"""Letters in the order of the network's states; X, for what is not known, is none of them."""

UNKNOWN_LETTER = ord("X")
_LETTERS = np.frombuffer(ALPHABET.encode(), np.uint8)

CODES = np.full(256, 20, np.int8)
"""By byte: 0–19 in the order of `ALPHABET`, 20 for all else."""
CODES[_LETTERS] = np.arange(20)

ARE_LETTERS = np.isin(np.arange(256), [*_LETTERS, UNKNOWN_LETTER])
"""(256,) bool: whether a byte may stand in a text of 3Di."""

_UNDEFINED = np.uint8(ord("D"))
"""A residue whose partner has a neighbour without a frame, as Foldseek has it."""

_CB_DISTANCE = 1.5336
"""Å from CA, of a CB that is not there."""

_CENTRE_DISTANCE = 2.0
"""Of the virtual centre from CA, in lengths of CA–CB."""

_PAIRS = 1 << 15
"""Distances that are held at a time: they stay in a core's cache."""

_RESIDUES = 8192
"""Residues that go through the network at a time: fewer cost more per call, more gain nothing."""


def three_di(
    positions: Doubles,
    mask: NDArray[np.bool_],
    resolved: NDArray[np.bool_],
    chain_start: Ints,
) -> NDArray[np.uint8]:
    """Letters of the residues of several chains.

    Parameters
    ----------
    positions : (L, 14, 3) float64
        Å, by slot: N, CA, C, O, CB …
    mask : (L, 14) bool
        Which atoms there are. A residue without any is not in the file: it is no neighbour of
        anything, and where partners are counted, those on both its sides follow each other.
    resolved : (L,) bool
        Residues with a frame.
    chain_start : (C + 1,) int
        Chain c is the rows ``chain_start[c]:chain_start[c + 1]``.

    Returns
    -------
    (L,) uint8
        ASCII: one of `ALPHABET`, or X where the residue, the one before or the one behind it is
        unresolved or does not exist.
    """
    letters = np.full(len(resolved), UNKNOWN_LETTER, np.uint8)
    rows = np.flatnonzero(mask.any(axis=1))
    start = np.searchsorted(rows, chain_start)
    n, ca, c, cb = (_columns(positions[:, slot], rows) for slot in (0, 1, 2, 4))
    has = mask[rows]
    valid = has[:, 0] & has[:, 1] & has[:, 2]
    # The first and the last of a chain have no letter and are nobody's partner.
    inner = valid.copy()
    inner[start[:-1][start[:-1] < len(rows)]] = False
    inner[start[1:][start[1:] > 0] - 1] = False
    centre = _virtual_centres(n, ca, c, cb, has[:, 4])
    partner = _partners(centre, np.flatnonzero(inner), start)

    neighbours = resolved.copy()
    neighbours[1:] &= resolved[:-1]
    neighbours[:-1] &= resolved[1:]
    neighbours[chain_start[:-1][chain_start[:-1] < len(resolved)]] = False
    neighbours[chain_start[1:][chain_start[1:] > 0] - 1] = False
    wanted = np.flatnonzero(inner & neighbours[rows])
    letters[rows[wanted]] = _UNDEFINED

    j = partner[wanted]
    known = valid[j - 1] & valid[j + 1]
    wanted, j = wanted[known], j[known]
    if len(wanted):
        states = _states(_descriptors(ca, wanted, j))
        letters[rows[wanted]] = _LETTERS[states]
    return letters


def _columns(atoms: Doubles, rows: Ints) -> Floats:
    """(3, R) float32, as readers of files have coordinates."""
    return np.ascontiguousarray(atoms[rows].T, np.float32)


def _cross(a: NDArray[np.floating], b: NDArray[np.floating]) -> NDArray[np.floating]:
    x, y, z = a
    u, v, w = b
    return np.stack([y * w - z * v, z * u - x * w, x * v - y * u])


def _dot(a: NDArray[np.floating], b: NDArray[np.floating]) -> NDArray[np.floating]:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def _unit(a: NDArray[np.floating]) -> NDArray[np.floating]:
    length = np.sqrt(_dot(a, a))
    return np.divide(a, length, out=a.copy(), where=length != 0)


def _virtual_centres(
    n: Floats, ca: Floats, c: Floats, cb: Floats, has_cb: NDArray[np.bool_]
) -> Doubles:
    """(3, R): from CA at a right angle to CB, in the plane of N, CA and CB and away from N."""
    a = cb.astype(np.float64) - ca
    lacking = np.flatnonzero(~has_cb)
    a[:, lacking] = _ideal_cb(n[:, lacking], ca[:, lacking], c[:, lacking])
    b = (n - ca).astype(np.float64)
    normal = _unit(_cross(a, b))
    return ca - _CENTRE_DISTANCE * _cross(normal, a)


def _ideal_cb(n: Floats, ca: Floats, c: Floats) -> Doubles:
    """(3, R): from CA to where CB would be."""
    to_c, to_n = _unit(c - ca), _unit(n - ca)
    third = to_c / np.float32(3)
    bisector = to_n + third
    u1, u2 = _unit(bisector), _unit(_cross(to_c, bisector))
    direction = np.sqrt(8) / 3 * (-u1 / 2 - u2.astype(np.float64) * np.sqrt(3) / 2) - third
    # As biotite rounds it: to the sum with CA.
    return direction * _CB_DISTANCE + ca - ca


def _partners(centre: Doubles, inner: Ints, start: Ints) -> Ints:
    """(R,): the row whose virtual centre is nearest, the first of several; where a chain has no
    other, the residue itself, as biotite has it.

    Only `inner` rows have a partner and are one. float32 finds it; where a second one is as near as
    float32 can tell, float64 decides.
    """
    partner = np.arange(centre.shape[1])
    first = np.searchsorted(inner, start)
    first = first[np.concatenate(([True], np.diff(first) > 0))]
    if len(first) < 2:
        return partner
    begins, counts = first[:-1], np.diff(first)
    points = np.ascontiguousarray(centre[:, inner])
    middle = np.add.reduceat(points, begins, axis=1) / counts
    points -= np.repeat(middle, counts, axis=1)
    # |x_j|² − 2 x_i x_j: the squared distance but for |x_i|², which all that is compared have.
    x, y = np.empty((2, 4, len(inner)), np.float32)
    x[:3], x[3] = points, 1
    y[:3], y[3] = -2 * x[:3], _dot(x, x)
    nearest, least, second = np.zeros(len(inner), np.int64), *np.empty((2, len(inner)), np.float32)
    # Held for all chains: asking the system for so much each time costs more than filling it.
    room = np.empty(max(_PAIRS, int(counts.max())), np.float32)
    for begin, end in pairwise(first.tolist()):
        here = slice(begin, end)
        _two_nearest(x[:, here], y[:, here], room, nearest[here], least[here], second[here])
    nearest += np.repeat(begins, counts)
    # Two distances, each a sum of four products of rounded numbers, in whatever order.
    margin = 32 * np.finfo(np.float32).eps * np.maximum.reduceat(y[3], begins)
    for k in np.flatnonzero(~(second > least + np.repeat(margin, counts))):
        chain = int(np.searchsorted(first, k, side="right")) - 1
        here = slice(int(first[chain]), int(first[chain + 1]))
        away = points[:, here] - points[:, k : k + 1]
        exact = _dot(away, away)
        exact[k - here.start] = np.inf
        nearest[k] = here.start + exact.argmin()
    alone = np.repeat(counts == 1, counts)
    partner[inner] = np.where(alone, inner, inner[nearest])
    return partner


def _two_nearest(
    x: Floats, y: Floats, room: Floats, nearest: Ints, least: Floats, second: Floats
) -> None:
    """Of the points of one chain: the nearest other one, and how far it and the next one are.

    Parameters
    ----------
    x, y : (4, M)
        Their products are distances.
    room : (n,)
        Written to; n is M at least.
    nearest, least, second : (M,)
        Filled.
    """
    m = x.shape[1]
    step = min(m, len(room) // m)
    row = np.arange(0, step * m, m)
    for begin in range(0, m, step):
        end = min(m, begin + step)
        flat, rows = room[: (end - begin) * m], row[: end - begin]
        d = flat.reshape(-1, m)
        np.matmul(x[:, begin:end].T, y, out=d)
        flat[begin :: m + 1] = np.inf  # from a point to itself
        best = d.argmin(axis=1)
        nearest[begin:end] = best
        best += rows
        least[begin:end] = flat[best]
        flat[best] = np.inf
        best = d.argmin(axis=1)
        best += rows
        second[begin:end] = flat[best]


def _descriptors(ca: Floats, i: Ints, j: Ints) -> Floats:
    """(10, M): angles between the chain at i and at its partner j, how far they are apart."""
    step = _unit(ca[:, 1:] - ca[:, :-1])
    u1, u2, u3, u4 = (step.take(k, axis=1) for k in (i - 1, i, j - 1, j))
    away = ca.take(j, axis=1) - ca.take(i, axis=1)
    u5 = _unit(away)
    apart = j - i
    # Of whole numbers, and rounded to float32: the same whatever computes the logarithm.
    remote = np.copysign(np.log(np.abs(apart) + 1), apart)
    return np.stack(
        [
            *(_dot(a, b) for a, b in ((u1, u2), (u3, u4), (u1, u5), (u3, u5))),
            *(_dot(a, b) for a, b in ((u1, u4), (u2, u3), (u1, u3))),
            np.sqrt(_dot(away, away)),
            np.clip(apart, -4, 4).astype(np.float32),
            remote.astype(np.float32),
        ]
    )


def _states(descriptors: Floats) -> Ints:
    """(M,) states of (10, M) descriptors."""
    states = np.zeros(descriptors.shape[1], np.int64)
    for begin in range(0, len(states), _RESIDUES):
        values = descriptors[:, begin : begin + _RESIDUES]
        for weights, biases in LAYERS:
            total = weights[0][:, None] * values[0]
            product = np.empty_like(total)
            for weight, value in zip(weights[1:], values[1:], strict=True):
                np.multiply(weight[:, None], value, out=product)
                total += product
            total += biases[:, None]
            values = total if weights is LAYERS[-1][0] else np.maximum(total, 0, out=total)
        x, y = (2 * values).astype(np.float64)
        state = states[begin : begin + _RESIDUES]
        least = np.full(len(x), np.inf)
        squared, product, nearer = np.empty_like(x), np.empty_like(x), np.empty(len(x), bool)
        for k, (a, b) in enumerate(CENTROIDS.tolist()):
            np.multiply(x, -a, out=squared)
            np.multiply(y, -b, out=product)
            squared += product
            squared += a * a + b * b
            np.less(squared, least, out=nearer)
            np.copyto(state, k, where=nearer)
            np.minimum(least, squared, out=least)
    return states
