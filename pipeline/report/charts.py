"""Charts of one quantity: histograms, columns, shares, a map of two fractions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from pipeline.report.gyration import CELLS, Gyration
from pipeline.report.histogram import Histogram, ticks
from pipeline.report.missing import LENGTHS, POSITIONS, MissingMap
from pipeline.report.outliers import COMPACT, WIDE, expected_radius
from pipeline.report.svg import Frame, element, picture, text, tip
from pipeline.report.wording import count, plain, share

WIDTH, HEIGHT, MAP_HEIGHT = 460.0, 230.0, 270.0


def histogram_chart(
    shown: Histogram,
    label: str,
    axis: str,
    things: str,
    unit: str = "",
    colour: Callable[[float], str] = lambda _: "bar",
    percent: bool = False,
) -> Markup:
    """Columns over a numeric axis, the median marked; what is beyond the axis in a column apart.

    Parameters
    ----------
    label : str
        What the chart shows, in words.
    axis : str
        Name of the quantity, with its unit.
    things : str
        What is counted: ``chains``.
    unit : str
        For the tips: `` Å``.
    colour : callable
        Lower edge of a bin → class of its column.
    percent : bool
        The quantity is a share, and shown as one.
    """
    number = (lambda v: f"{100 * v:.0f} %") if percent else plain
    low, high = shown.edges[0], shown.edges[-1]
    # Values beyond the last edge stand after a gap of one and a half columns.
    room = 3.5 * (high - low) / max(len(shown.counts), 12) if shown.n_above else 0.0
    most = max(*shown.counts, shown.n_above, 1)
    frame = Frame(WIDTH, HEIGHT, (low, high + room), (0, most * 1.08))
    parts = [frame.y_axis(_counting_ticks(most), things)]
    for k, n in enumerate(shown.counts):
        left, right = shown.edges[k], shown.edges[k + 1]
        words = f"{number(left)} – {number(right)}{unit}: {count(n)} {things}"
        parts.append(frame.bar(left, right, n, f"{words} ({share(n, shown.n)})", colour(left)))
    if shown.n_above:
        words = f"over {number(high)}{unit}: {count(shown.n_above)} {things}"
        parts.append(
            frame.bar(
                high + room * 0.45,
                high + room,
                shown.n_above,
                f"{words}, up to {plain(round(shown.quartiles[4], 2))}{unit}",
                "bar beyond",
            )
        )
        parts.append(
            text(frame.x(high + room * 0.72), frame.bottom + 16, "more", class_="tick middle")
        )
    marks = [(t, number(t)) for t in ticks(low, high, 7) if not room or t < high - room * 0.2]
    parts.append(frame.x_axis(marks, axis))
    if low <= shown.median <= high:
        parts.append(_median(frame, shown.median))
    return picture(WIDTH, HEIGHT, label, parts)


def _median(frame: Frame, value: float) -> str:
    x = frame.x(value)
    anchor = "end" if x > 0.8 * frame.width else "start"
    return element("line", class_="median", x1=x, x2=x, y1=frame.top - 3, y2=frame.bottom) + text(
        x + (4 if anchor == "start" else -4), frame.top + 5, "median", class_=f"note {anchor}"
    )


def _counting_ticks(most: float) -> list[tuple[float, str]]:
    found = [t for t in ticks(0, most * 1.08, 4) if t == int(t)]
    return [(t, count(t)) for t in found]


def column_chart(
    values: Sequence[tuple[str, int]],
    label: str,
    axis: str,
    things: str,
    every: int = 1,
    tips: Sequence[str] | None = None,
) -> Markup:
    """A column for each category in the order given, every so-many-th with its name: fewer where
    names would overlap."""
    most = max((n for _, n in values), default=1) or 1
    frame = Frame(WIDTH, HEIGHT, (0, max(1, len(values))), (0, most * 1.08))
    total = sum(n for _, n in values)
    parts = [frame.y_axis(_counting_ticks(most), things)]
    wide = 0.1 if len(values) <= 15 else 0.0
    for k, (name, n) in enumerate(values):
        words = tips[k] if tips else f"{name}: {count(n)} {things} ({share(n, total)})"
        parts.append(frame.bar(k + wide, k + 1 - wide, n, words))
        if wide:
            x, y = frame.x(k + 0.5), frame.y(n) - 4
            parts.append(text(x, y, count(n), class_="note middle"))
    marks = [(k + 0.5, name) for k, (name, _) in enumerate(values)][::every]
    room, fewer = every * (frame.x(1) - frame.x(0)), 1
    # The last one stays, which may stand for all that is larger.
    while not _fit([name for _, name in marks[::-fewer]], fewer * room):
        fewer += 1
    parts.append(frame.x_axis(marks[::-fewer], axis))
    return picture(WIDTH, HEIGHT, label, parts)


LETTER = 6.4
"""Width of a digit of a tick's label, about."""


def _fit(names: Sequence[str], room: float) -> bool:
    """Whether labels that are so far apart leave a digit's width between neighbours."""
    return all(LETTER * ((len(a) + len(b)) / 2 + 1) <= room for a, b in pairwise(names))


def year_chart(years: dict[int, int], label: str) -> Markup:
    """Entries by year, gaps included."""
    first, last = min(years), max(years)
    values = [(str(year), years.get(year, 0)) for year in range(first, last + 1)]
    most = max(years.values())
    frame = Frame(WIDTH, HEIGHT, (first, last + 1), (0, most * 1.08))
    total = sum(years.values())
    parts = [frame.y_axis(_counting_ticks(most), "entries")]
    for name, n in values:
        year = int(name)
        words = f"{name}: {count(n)} entries ({share(n, total)})"
        parts.append(frame.bar(year, year + 1, n, words))
    step = next(s for s in (1, 2, 5, 10, 20, 50) if (last - first + 1) / s <= 9)
    marks = [(y + 0.5, str(y)) for y in range(first, last + 1) if y % step == 0]
    parts.append(frame.x_axis(marks, "year of release"))
    return picture(WIDTH, HEIGHT, label, parts)


def composition_chart(
    letters: Sequence[str],
    names: Sequence[str],
    percent: Sequence[float],
    reference: dict[str, float],
    reference_name: str,
    label: str,
) -> Markup:
    """A column for each residue type, with a bar across it where the reference is."""
    width, height = 940.0, 250.0
    most = max([*percent, *reference.values(), 1])
    frame = Frame(width, height, (0, len(letters)), (0, most * 1.06), (16, 8, 40, 46))
    parts = [frame.y_axis([(t, f"{plain(t)} %") for t in ticks(0, most, 5)], "of residues")]
    for k, letter in enumerate(letters):
        words = f"{names[k]} ({letter}): {percent[k]:.2f} %"
        if letter in reference:
            words += f"; {reference_name}: {reference[letter]:.2f} %"
        kind = "bar unknown" if letter == "X" else "bar"
        parts.append(frame.bar(k + 0.16, k + 0.84, percent[k], words, kind))
        if letter in reference:
            y = frame.y(reference[letter])
            parts.append(
                element(
                    "line",
                    tip(words),
                    class_="mark reference",
                    x1=frame.x(k + 0.06),
                    x2=frame.x(k + 0.94),
                    y1=y,
                    y2=y,
                )
            )
    parts.append(frame.x_axis([(k + 0.5, letter) for k, letter in enumerate(letters)]))
    for k, name in enumerate(names):
        parts.append(text(frame.x(k + 0.5), height - 8, name, class_="small middle"))
    return picture(width, height, label, parts, "wide")


def fraction_map(grid: NDArray[np.int64], label: str) -> Markup:
    """Chains by helix (horizontal) and strand fraction: the darker, the more of them."""
    n_bins = len(grid)
    frame = Frame(WIDTH, MAP_HEIGHT, (0, 1), (0, 1), (24, 12, 40, 46))
    total = int(grid.sum())
    marks = [(t, f"{100 * t:.0f} %") for t in (0, 0.25, 0.5, 0.75, 1)]
    parts = [frame.y_axis(marks, "strand")]
    most = max(1, int(grid.max(initial=0)))
    for i, j in zip(*np.nonzero(grid), strict=True):
        n = int(grid[i, j])
        # Square root: area beside area, a cell of one chain beside one of a hundred.
        depth = 0.12 + 0.88 * (n / most) ** 0.5
        words = (
            f"helix {100 * i // n_bins}–{100 * (i + 1) // n_bins} %, "
            f"strand {100 * j // n_bins}–{100 * (j + 1) // n_bins} %: "
            f"{count(n)} chains ({share(n, total)})"
        )
        parts.append(
            element(
                "rect",
                tip(words),
                class_="mark cell",
                x=frame.x(i / n_bins) + 0.5,
                y=frame.y((j + 1) / n_bins) + 0.5,
                width=frame.x(1 / n_bins) - frame.left - 1,
                height=frame.bottom - frame.y(1 / n_bins) - 1,
                fill_opacity=depth,
            )
        )
    edge = f"M{frame.x(0):.1f} {frame.y(1):.1f}L{frame.x(1):.1f} {frame.y(0):.1f}"
    parts.append(element("path", class_="limit", d=edge))
    parts.append(frame.x_axis(marks, "helix"))
    return picture(WIDTH, MAP_HEIGHT, label, parts)


def gyration_map(shown: Gyration, label: str) -> Markup:
    """Chains by length (horizontal) and radius, logarithmic, with the expected line."""
    (n0, n1), (r0, r1) = np.log10(shown.lengths), np.log10(shown.radii)
    frame = Frame(WIDTH, MAP_HEIGHT, (n0, n1), (r0, r1), (24, 12, 40, 46))
    wide, high = (n1 - n0) / CELLS[0], (r1 - r0) / CELLS[1]
    radii, lengths = ([t for t in _ROUND if a <= t <= b] for a, b in (shown.radii, shown.lengths))
    marks = [(float(np.log10(t)), plain(t)) for t in radii]
    parts = [frame.y_axis(marks, "radius of gyration / Å")]
    most = max(1, int(shown.counts.max(initial=0)))
    for i, j in zip(*np.nonzero(shown.counts), strict=True):
        n = int(shown.counts[i, j])
        edges = [10**v for v in (n0 + i * wide, n0 + (i + 1) * wide)]
        heights = [10**v for v in (r0 + j * high, r0 + (j + 1) * high)]
        words = (
            f"{edges[0]:.0f}–{edges[1]:.0f} residues, {heights[0]:.1f}–{heights[1]:.1f} Å: "
            f"{count(n)} chains"
        )
        x, y = frame.x(n0 + i * wide), frame.y(r0 + (j + 1) * high)
        parts.append(
            element(
                "rect",
                tip(words),
                class_="mark cell",
                x=x,
                y=y,
                width=frame.x(n0 + (i + 1) * wide) - x,
                height=frame.y(r0 + j * high) - y,
                fill_opacity=0.16 + 0.84 * (n / most) ** 0.5,
            )
        )
    for times, kind in ((1.0, "expected"), (COMPACT, "expected bound"), (WIDE, "expected bound")):
        parts.append(element("path", class_=kind, d=_expected(frame, (n0, n1), (r0, r1), times)))
    parts.append(
        frame.x_axis([(float(np.log10(t)), plain(t)) for t in lengths], "resolved residues")
    )
    return picture(WIDTH, MAP_HEIGHT, label, parts)


_ROUND = [m * 10.0**p for p in range(5) for m in (1, 2, 5)]


def _expected(
    frame: Frame, lengths: tuple[float, float], radii: tuple[float, float], times: float
) -> str:
    """The part of a straight line, on logarithmic axes, that is in the frame."""
    ends = np.linspace(*lengths, 201)
    line = np.log10(times * expected_radius(10**ends))
    inside = (line >= radii[0]) & (line <= radii[1])
    points = [
        f"{frame.x(a):.1f} {frame.y(b):.1f}"
        for a, b in zip(ends[inside], line[inside], strict=True)
    ]
    return "M" + "L".join([points[0], points[-1]]) if points else "M0 0"


def missing_map(shown: MissingMap, label: str) -> Markup:
    """Shares of missing residues: a row for each class of lengths, and one for all."""
    edges = [*LENGTHS]
    names = [f"< {edges[0]}", *(f"{a}–{b - 1}" for a, b in pairwise(edges))]
    names.append(f"≥ {edges[-1]}")
    rows = [(n, *row) for n, *row in zip(names, shown.residues, shown.missing, strict=True)]
    rows = [row for row in rows if row[1].sum()]
    rows.append(("all", shown.residues.sum(axis=0), shown.missing.sum(axis=0)))
    frame = Frame(WIDTH, MAP_HEIGHT, (0, POSITIONS), (0, len(rows)), (24, 12, 40, 62))
    parts = [text(0, 9, "residues of the sequence", class_="axis")]
    high = frame.y(0) - frame.y(1)
    for k, (name, residues, missing) in enumerate(rows):
        y = frame.y(len(rows) - k)
        parts.append(text(frame.left - 6, y + high / 2 + 3.5, name, class_="tick end"))
        parts.append(
            element(
                "rect",
                class_="track",
                x=frame.left,
                y=y + 1,
                width=frame.right - frame.left,
                height=high - 2,
            )
        )
        for p in np.flatnonzero(missing).tolist():
            part = missing[p] / residues[p]
            words = (
                f"{name}{'' if name == 'all' else ' residues'}, "
                f"{100 * p // POSITIONS}–{100 * (p + 1) // POSITIONS} % of the way: "
                f"{share(int(missing[p]), int(residues[p]))} of {count(residues[p])} missing"
            )
            parts.append(
                element(
                    "rect",
                    tip(words),
                    class_="mark gap",
                    x=frame.x(p) + 0.5,
                    y=y + 1,
                    width=frame.x(1) - frame.left - 1,
                    height=high - 2,
                    fill_opacity=0.1 + 0.9 * part**0.5,
                )
            )
    marks = [(POSITIONS * t, f"{100 * t:.0f} %") for t in (0, 0.25, 0.5, 0.75, 1)]
    parts.append(frame.x_axis(marks, "from the first residue to the last"))
    return picture(WIDTH, MAP_HEIGHT, label, parts)
