"""Values, items and loops as mmCIF writes them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

_RESERVED = re.compile(r"(?i)data_|save_|loop_$|global_$|stop_$|[_#$'\"\[\];]")


def quoted(value: str | None) -> str:
    """A value as CIF writes it; line breaks and what does not print become blanks."""
    if value is None:
        return "?"
    text = " ".join("".join(c if c.isprintable() else " " for c in value).split())
    if re.fullmatch("[!-~]+", text) and text not in ("?", ".") and not _RESERVED.match(text):
        return text
    # CIF closes a quote only before white space, but gemmi also before "#": neither is relied on.
    for quote in "'\"":
        if quote not in text:
            return f"{quote}{text}{quote}"
    return f"\n;{text}\n;\n"


def item(category: str, **values: str | None) -> str:
    """A category of one row."""
    width = max(len(tag) for tag in values) + len(category) + 2
    lines = [f"{f'_{category}.{tag}':<{width}} {quoted(v)}" for tag, v in values.items()]
    return "".join(line if line.endswith("\n") else line + "\n" for line in lines)


def loop(category: str, tags: Sequence[str], columns: Sequence[Sequence[str]]) -> str:
    """A category of many rows, of values that are quoted already; columns are aligned."""
    if not columns or not columns[0]:
        return ""
    padded = []
    for column in columns:
        width = max(map(len, column))
        padded.append([value.ljust(width) for value in column])
    head = [f"_{category}.{tag}\n" for tag in tags]
    return "".join(["loop_\n", *head, *(" ".join(row) + "\n" for row in zip(*padded, strict=True))])


def table(category: str, tags: Sequence[str], rows: Iterable[Sequence[str | None]]) -> str:
    """A short category of many rows."""
    return loop(category, tags, list(zip(*([quoted(v) for v in row] for row in rows), strict=True)))
