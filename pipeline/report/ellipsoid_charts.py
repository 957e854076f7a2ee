"""Ellipsoids of the twenty residue types: drawn to scale, and their sizes axis by axis."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from markupsafe import Markup

from pipeline.report.histogram import ticks
from pipeline.report.scan_shards import EllipsoidSizes, Spread
from pipeline.report.svg import Frame, element, picture, text, tip
from pipeline.report.wording import plain
from pipeline.residues import RESTYPES

SMALLEST = ("GLY", "ALA")
"""Marked wherever types are listed: their side chains have no extent of their own."""

_PER_ANGSTROM = 10.0
_MARGIN = 0.25

Window = tuple[float, float, float, float]
"""Part of the xz plane: left, right, bottom, top, in Å."""


def by_volume(sizes: EllipsoidSizes) -> list[int]:
    """``aatype`` of the types that there are, the smallest first."""
    volume = sizes.volume.median
    found = [k for k in range(len(RESTYPES)) if not math.isnan(volume[k])]
    return sorted(found, key=lambda k: (volume[k], k))


def common_window(order: Sequence[int], *kinds: EllipsoidSizes) -> Window:
    """What holds the ellipsoids of all these types, so that they can be drawn to one scale."""
    edges = [-_MARGIN, _MARGIN, -_MARGIN, _MARGIN]
    for sizes in kinds:
        for axis, place in ((0, 0), (2, 2)):
            mean, scale = sizes.local_mean[axis].median, sizes.scale[axis].median
            for k in order:
                edges[place] = min(edges[place], mean[k] - scale[k] - _MARGIN)
                edges[place + 1] = max(edges[place + 1], mean[k] + scale[k] + _MARGIN)
    return edges[0], edges[1], edges[2], edges[3]


def ellipsoid_drawing(
    aatype: int, all_atoms: EllipsoidSizes, side_chain: EllipsoidSizes, window: Window
) -> Markup:
    """One residue type seen along y of its frame: x to the right, z up, CA at the cross."""
    left, right, bottom, top = window
    width, height = (right - left) * _PER_ANGSTROM, (top - bottom) * _PER_ANGSTROM
    x0, z0 = -left * _PER_ANGSTROM, top * _PER_ANGSTROM
    name = RESTYPES[aatype].capitalize()
    parts = []
    for sizes, kind, what in (
        (all_atoms, "whole", "all atoms"),
        (side_chain, "alone", "side chain only"),
    ):
        x, _, z = (axis.median[aatype] for axis in sizes.local_mean)
        scale = [axis.median[aatype] for axis in sizes.scale]
        words = f"{name}, {what}: {' × '.join(f'{s:.2f}' for s in scale)} Å"
        parts.append(
            element(
                "ellipse",
                tip(words),
                class_=f"mark {kind}",
                cx=x0 + x * _PER_ANGSTROM,
                cy=z0 - z * _PER_ANGSTROM,
                rx=scale[0] * _PER_ANGSTROM,
                ry=scale[2] * _PER_ANGSTROM,
            )
        )
    cross = f"M{x0 - 3:.1f} {z0:.1f}h6M{x0:.1f} {z0 - 3:.1f}v6"
    parts.append(element("path", class_="origin", d=cross))
    label = f"Median ellipsoids of {name}: all atoms, and side chain only"
    return picture(width, height, label, parts, "ellipsoid")


def size_chart(
    order: Sequence[int],
    all_atoms: Spread,
    side_chain: Spread,
    axis: str,
    unit: str,
    label: str,
    base: float | None,
) -> Markup:
    """A row for each type: median and middle half of both kinds, joined by a line."""
    row, top, bottom = 19.0, 8.0, 42.0
    width, height = 240.0, top + row * max(1, len(order)) + bottom
    chosen = list(order)
    largest = max(
        [
            float(np.nanmax(values, initial=0.0))
            for values in (all_atoms.upper[chosen], side_chain.upper[chosen])
        ]
    )
    frame = Frame(width, height, (0, largest * 1.04), (0, 1), (top, 8, bottom, 36))
    parts = []
    for value in ticks(0, largest * 1.04, 4):
        x = frame.x(value)
        parts.append(element("line", class_="grid", x1=x, x2=x, y1=top, y2=frame.bottom))
    if base:
        x = frame.x(base)
        parts.append(element("line", class_="floor", x1=x, x2=x, y1=top, y2=frame.bottom))
    for place, k in enumerate(chosen):
        y = top + row * (place + 0.5)
        name = RESTYPES[k].capitalize()
        if RESTYPES[k] in SMALLEST:
            parts.append(
                element(
                    "rect", class_="marked", x=0.0, y=y - row / 2, width=width, height=row, rx=3
                )
            )
        parts.append(text(29, y + 4, name, class_="tick end"))
        ends = [frame.x(s.median[k]) for s in (side_chain, all_atoms)]
        parts.append(element("line", class_="joint", x1=ends[0], x2=ends[1], y1=y, y2=y))
        for spread, kind, what in (
            (side_chain, "alone", "side chain only"),
            (all_atoms, "whole", "all atoms"),
        ):
            low, middle, high = (s[k] for s in (spread.lower, spread.median, spread.upper))
            words = (
                f"{name}, {what}: {_number(middle)}{unit} "
                f"(middle half {_number(low)} – {_number(high)})"
            )
            parts.append(
                element(
                    "line",
                    class_=f"half {kind}",
                    x1=frame.x(low),
                    x2=frame.x(high),
                    y1=y,
                    y2=y,
                )
            )
            parts.append(
                element(
                    "circle", tip(words), class_=f"mark dot {kind}", cx=frame.x(middle), cy=y, r=4
                )
            )
    marks = [(t, plain(t)) for t in ticks(0, largest * 1.04, 4)]
    parts.append(frame.x_axis(marks, axis))
    return picture(width, height, label, parts)


def _number(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:.1f}"
