"""A small drawing of a chain: its trace, helices and strands as broad bands, and ellipsoids."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import TypeAlias

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from pipeline.built.stored_chains import StoredChain
from pipeline.features import unpack_mask
from pipeline.report.svg import element, picture

Points: TypeAlias = NDArray[np.float64]
Place: TypeAlias = Callable[[Points], Points]
"""Å in the plane of the drawing → its units."""

WIDTH, HEIGHT, MARGIN = 1600, 1200, 80
"""In tenths of a unit, so that whole numbers are fine enough."""

MOST_POINTS = 260
MOST_ELLIPSOIDS = 48

_KINDS = ("coil", "helix", "strand")
_SMOOTHED = {0: 0, 1: 2, 2: 1}
"""Neighbours on either side over which a point of the band is a mean: a helix becomes a rod."""


def portrait(stored: StoredChain, label: str) -> Markup:
    """The chain from the side on which it is broadest; what is nearer is drawn later.

    Of long chains every so-many-th point and ellipsoid is drawn. The ellipsoids are those of one
    standard deviation, the largest among them.
    """
    chain = stored.chain
    mask = unpack_mask(chain.atom14_mask)
    rows = np.flatnonzero(chain.resolved)
    first = np.cumsum(mask.sum(axis=1)) - mask.sum(axis=1)
    # CA is the second atom of a resolved residue.
    points = chain.coords[first[rows] + 1] * 0.001
    view = _view(points)
    shown = (points - points.mean(axis=0)) @ view.T
    low, high = shown[:, :2].min(axis=0) - 2, shown[:, :2].max(axis=0) + 2
    scale = min(
        (WIDTH - 2 * MARGIN) / (high[0] - low[0]), (HEIGHT - 2 * MARGIN) / (high[1] - low[1])
    )
    middle = (low + high) / 2

    def place(xy: Points) -> Points:
        return np.rint((xy - middle) * [scale, -scale] + [WIDTH / 2, HEIGHT / 2])

    drawn = [
        *_ellipsoids(stored, points.mean(axis=0), view, scale, place),
        *_bands(shown, rows, stored.sse[rows], place),
    ]
    parts = [text for _, text in sorted(drawn, key=lambda part: part[0])]
    return picture(WIDTH, HEIGHT, label, parts, "portrait")


def _view(points: Points) -> Points:
    """(3, 3) rows: right, up, towards who looks."""
    centred = points - points.mean(axis=0)
    axes = np.linalg.eigh(centred.T @ centred)[1][:, ::-1].T
    # Each axis may as well be turned round: its largest component is positive.
    for axis in axes:
        axis *= np.sign(axis[np.argmax(np.abs(axis))]) or 1.0
    axes[2] = np.cross(axes[0], axes[1])
    return axes


def _bands(
    shown: Points, rows: NDArray[np.int64], sse: NDArray[np.int8], place: Place
) -> Iterator[tuple[float, str]]:
    """(depth, element) of each stretch of one kind."""
    joined = np.diff(rows) == 1
    step = -(-len(rows) // MOST_POINTS)
    sums = np.concatenate([np.zeros((1, 3)), np.cumsum(shown, axis=0)])
    begins = [0, *(k + 1 for k in range(len(rows) - 1) if not joined[k] or sse[k] != sse[k + 1])]
    for begin, end in pairwise([*begins, len(rows)]):
        kind = int(sse[begin])
        # A stretch reaches to the next one, unless the chain is broken between.
        reach = end + (end < len(rows) and bool(joined[end - 1]))
        inside = np.minimum(np.arange(begin, reach - 1 + step, step), reach - 1)
        if len(inside) < 2:
            continue
        width = _SMOOTHED[kind]
        low, high = np.maximum(inside - width, begin), np.minimum(inside + width + 1, reach)
        curve = (sums[high] - sums[low]) / (high - low)[:, None]
        at = place(curve[:, :2]).astype(int)
        moves = " ".join(f"{x} {y}" for x, y in np.diff(at, axis=0).tolist())
        d = f"M{at[0, 0]} {at[0, 1]}l{moves}"
        yield float(curve[:, 2].mean()), element("path", class_=_KINDS[kind], d=d)


def _ellipsoids(
    stored: StoredChain, centre: Points, view: Points, scale: float, place: Place
) -> Iterator[tuple[float, str]]:
    """(depth, element) of some ellipsoids."""
    rows = np.flatnonzero(stored.chain.resolved)
    sigma = stored.covariance[rows].astype(np.float64)
    largest = int(np.argmax(sigma[:, 0] + sigma[:, 3] + sigma[:, 5]))
    some = sorted({*range(0, len(rows), -(-len(rows) // MOST_ELLIPSOIDS)), largest})
    matrices = sigma[some][:, [0, 1, 2, 1, 3, 4, 2, 4, 5]].reshape(-1, 3, 3)
    values, vectors = np.linalg.eigh((view @ matrices @ view.T)[:, :2, :2])
    radii = np.rint(np.sqrt(np.maximum(values[:, ::-1], 0)) * scale).astype(int)
    angles = np.rint(-np.degrees(np.arctan2(vectors[:, 1, 1], vectors[:, 0, 1]))).astype(int)
    away = (stored.centroid[rows[some]] - centre) @ view.T
    at = place(away[:, :2]).astype(int)
    columns = (column.tolist() for column in (away[:, 2], at, radii, angles))
    for depth, (cx, cy), (rx, ry), angle in zip(*columns, strict=True):
        turn = f"rotate({angle} {cx} {cy})"
        yield depth, element("ellipse", cx=cx, cy=cy, rx=rx, ry=ry, transform=turn)
