"""How commands print: lines as long as they are, in rows of a name and what is to be said of it."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable

from rich.console import Console
from rich.text import Text


def standard_console() -> Console:
    """Standard output; lines are as long as they are."""
    return Console(file=sys.stdout, soft_wrap=True)


def print_rows(
    console: Console,
    rows: Iterable[tuple[str, str]],
    *,
    width: int = 11,
    alarming: Collection[str] = (),
) -> None:
    """Print names and what belongs to them, one below the other.

    Parameters
    ----------
    console : Console
    rows : iterable of (str, str)
    width : int
        Of the names.
    alarming : collection of str
        Names in red.
    """
    for name, text in rows:
        style = "bold red" if name in alarming else "bold"
        console.print(Text.assemble((f"{name:<{width}}", style), "  ", text), highlight=False)
