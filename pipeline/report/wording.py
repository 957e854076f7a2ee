"""Numbers and foreign text as a reader meets them."""

from __future__ import annotations

from pipeline.sources.names import printable


def count(n: float) -> str:
    """12,345"""
    return f"{n:,.0f}"


def share(part: float, whole: float) -> str:
    """12.3 %, with a blank that does not break."""
    if not whole:
        return "–"
    if not part:
        return "0\u00a0%"
    percent = 100 * part / whole
    if 0 < percent < 0.1:
        return "< 0.1\u00a0%"
    if 99.9 < percent < 100:
        return "> 99.9\u00a0%"
    return f"{percent:.1f}\u00a0%" if percent < 99.95 else "100\u00a0%"


def size(n_bytes: float) -> str:
    """21.2 MiB"""
    value, units = float(n_bytes), ["bytes", "KiB", "MiB", "GiB", "TiB"]
    while value >= 1000 and len(units) > 1:
        value /= 1024
        del units[0]
    return f"{value:.0f} {units[0]}" if units[0] == "bytes" else f"{value:.3g} {units[0]}"


def plain(value: float) -> str:
    """A tick or bin edge: as few digits as it has."""
    text = f"{value:,.6f}".rstrip("0").rstrip(".")
    return text if text != "-0" else "0"


def legible(text: object, limit: int = 160) -> str:
    r"""Text from a file or folder on one line, of bounded length, with nothing invisible in it.

    Blanks become single spaces; control characters, bidirectional overrides and lone surrogates
    are shown as ``\u202e``; a long text loses its middle.
    """
    line = " ".join(str(text).split())
    if len(line) > limit:
        line = f"{line[: limit * 2 // 3]} … {line[-limit // 4 :]}"
    return "".join(c if c.isprintable() else printable(c) for c in line)
