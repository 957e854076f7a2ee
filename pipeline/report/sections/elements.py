"""Lines and figures of the page, and how many of them there are at most."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from pipeline.commands.words import several
from pipeline.report.histogram import Histogram
from pipeline.report.wording import count, plain, share

MOST_ROWS = 12
"""Rows of a list that the data make as long as they like; what is over is summed up."""

MOST_REASONS = 40
MOST_SHARDS = 100


@dataclass(frozen=True)
class Bar:
    """A line of a table with a bar: a name, a number, its share."""

    name: str
    n: int
    text: str
    share: str
    width: float
    kind: str = ""
    note: str = ""
    link: str = ""


@dataclass(frozen=True)
class Figure:
    """A drawing with the sentence below it."""

    title: str
    drawing: Markup
    caption: str
    wide: bool = False


def bar(name: str, n: int, whole: int, kind: str = "", note: str = "") -> Bar:
    """A line for `n` things out of a whole."""
    width = round(100 * n / whole, 2) if whole else 0.0
    return Bar(name, n, count(n), share(n, whole), width, kind, note)


def class_columns(classes: Sequence[tuple[int, int, int]]) -> list[tuple[str, int]]:
    """Classes of sizes with their names; the largest are one class if there are many."""
    columns = [(str(a) if a == b else f"{a:,}–{b:,}", n) for a, b, n in classes]
    if len(columns) > 10:
        rest = sum(n for _, n in columns[9:])
        columns = [*columns[:9], (f"≥ {classes[9][0]:,}", rest)]
    return columns


def middle(shown: Histogram, unit: str) -> str:
    """A sentence with the median and the quartiles, without its point."""
    low, lower, median, upper, high = (plain(round(q, 2)) for q in shown.quartiles)
    if low == high:
        return f"The value is {median}{unit} throughout"
    return (
        f"The median is {median}{unit}; half of the values lie between {lower} and {upper}{unit}, "
        f"all between {low} and {high}{unit}"
    )


def above(shown: Histogram, unit: str, things: str) -> str:
    """A sentence about values over the last edge, if there are some."""
    if not shown.n_above:
        return ""
    return (
        f" The column “more” holds the {several(shown.n_above, things.removesuffix('s'), things)} "
        f"over {plain(shown.edges[-1])}{unit}."
    )
