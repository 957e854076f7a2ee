"""Words of CIF text, and columns of them.

Syntax: Hall, Allen & Brown (1991) Acta Cryst. A47, 655 and the CIF 1.1 specification of the IUCr.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

NEWLINE, HASH, SEMICOLON = 10, 35, 59
QUOTES = (34, 39)

# A value, in the order in which CIF tries them: text field, quoted string, comment, bare word.
_TOKEN = re.compile(
    rb"^;(?P<text>[\s\S]*?)\n;|(?P<open>^;[\s\S]*)"
    # Bounded, for a line of a megabyte of quotes would be read once per quote.
    rb"|'(?P<single>[^\n]{0,9999}?)'(?=\s|\Z)|\"(?P<double>[^\n]{0,9999}?)\"(?=\s|\Z)"
    rb"|(?P<comment>\#[^\n]*)|(?P<bare>\S+)",
    re.MULTILINE,
)

Column = list[str | None]


class Columns(Mapping[str, Column]):
    """Columns of a category, decoded when they are asked for."""

    def __init__(self, encoded: Mapping[str, Any], decode: Callable[[Any], Column]):
        self._encoded, self._decode = encoded, decode

    def __getitem__(self, tag: str) -> Column:
        return self._decode(self._encoded[tag])

    def __iter__(self) -> Iterator[str]:
        return iter(self._encoded)

    def __len__(self) -> int:
        return len(self._encoded)


def without_margins(data: bytes) -> bytes:
    """The file without a byte order mark before it and ``^Z`` or NUL behind it, its lines ending
    with newlines."""
    if data.startswith(b"\xef\xbb\xbf"):
        data = data[3:]
    if b"\x1a" in data[-3:] or b"\0" in data[-3:]:
        text = data.rstrip(b"\x1a\0\r\n")
        ends_with_newline = data[len(text) : len(text) + 1] in (b"\r", b"\n")
        data = text + b"\n" * ends_with_newline
    if b"\r" in data:
        data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return data


def decode_words(words: list[bytes]) -> Column:
    """Words as text: unquoted and stripped, bare ``.`` and ``?`` as ``None``."""
    if not words:
        return []
    joined = b"\n".join(words)
    text = joined.decode("utf-8", "replace").split("\n")
    column: Column = list(text)
    if "?" in text or "." in text:
        column = [None if t == "?" or t == "." else t for t in text]
    if b"'" not in joined and b'"' not in joined:
        return column
    for k, t in enumerate(text):
        if t[0] in "'\"" and len(t) > 1 and t[-1] == t[0]:
            column[k] = t[1:-1].strip(" \t")
    return column


def may_go_on(data: bytes) -> bool:
    """Whether text that ends with a row of a table may be the beginning of a file only.

    So it is within a line. Behind one it is if the file closes its tables with a line ``# ``, or
    with ``#`` and its rows end with a blank, as databases do. Other programs write ``#`` between
    tables, no blank, and nothing at the end.
    """
    text = data.rstrip()
    if text.rpartition(b"\n")[2].lstrip().startswith(b"#"):
        return False
    last = data[: len(text) + 1].rpartition(b"\n")[2]
    is_closed_elsewhere = b"\n# \n" in data or (b"\n#\n" in data and last.endswith(b" "))
    return is_closed_elsewhere or not data.endswith(b"\n")


def split_words(region: bytes) -> list[bytes]:
    """Words of CIF text that starts at the start of a line; see `tokenise_raw`."""
    if b"'" in region or b'"' in region or b"#" in region or b"\n;" in region:
        return [word for word, _ in tokenise_raw(region)]
    return region.split()


def tokenise_raw(data: bytes) -> list[tuple[bytes, bool]]:
    """Split CIF text into (word, is bare) pairs; quoted words keep their quotes, and text fields
    are quoted on one line, so that a column of words stays a column."""
    words = []
    for match in _TOKEN.finditer(data):
        kind = match.lastgroup
        if kind == "text":
            words.append((b'"' + match["text"].replace(b"\n", b" ").strip() + b'"', False))
        elif kind == "open":  # a text field that nothing closes: the file is cut within it
            break
        elif kind != "comment":
            words.append((match[0], kind == "bare"))
    return words
