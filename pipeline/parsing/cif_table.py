"""Loops of CIF text whose columns are character matrices: aligned, of any layout, or of words."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.parsing.atom_table import ABSENT
from pipeline.parsing.cif_words import HASH, NEWLINE, QUOTES, SEMICOLON, tokenise_raw
from pipeline.parsing.errors import ParseError
from pipeline.parsing.fields import (
    BLANK,
    Field,
    is_constant,
    item_size,
    names,
    run_heads,
    run_lengths,
    stack,
    windows,
)
from pipeline.parsing.numbers import decimals, integers

MAX_MATRIX = 4 << 20
"""Bytes of one column as a character matrix."""

Rows = slice | NDArray[np.bool_] | NDArray[np.int64]


class TextTable(ABC):
    """A loop whose columns are character matrices.

    Attributes
    ----------
    reader : str
        Which reader vouches for it: ``aligned``, ``tokens``.
    n_rows : int
    cut : bool
        The last row is incomplete (and left out), or nothing closes the table.
    """

    reader = ""

    def __init__(self, tags: Sequence[str], n_rows: int, cut: bool):
        self.position = {tag: k for k, tag in reversed(list(enumerate(tags)))}
        self.n_rows = n_rows
        self.cut = cut

    def __contains__(self, tag: str) -> bool:
        return tag in self.position

    @abstractmethod
    def field(self, tag: str) -> Field:
        """The characters of a column, ``(n_rows, w) uint8``, quotes included."""

    def run_heads(self, tags: Collection[str]) -> NDArray[np.int64] | None:
        """Rows at which any of the columns changes, where that is cheap to tell; else ``None``."""
        return None

    def names(self, tags: Sequence[str], rows: Rows) -> list[NDArray[np.bytes_]]:
        """Columns as names; ``.`` and ``?`` are empty. See `fields.names`."""
        fields = [self.field(tag)[rows] for tag in tags]
        if len(fields) > 1 and all(f.shape[1] <= 8 for f in fields):
            size = item_size(max(f.shape[1] for f in fields))
            columns = names(stack(fields), cif_values=True).astype(f"S{size}")
            return list(columns.reshape(len(fields), -1))
        return [names(field, cif_values=True) for field in fields]

    def integers(self, tags: Sequence[str], rows: Rows) -> list[NDArray[np.int32]]:
        """Columns as int32, `ABSENT` where there is no whole number."""
        fields = [self.field(tag)[rows] for tag in tags]
        values, valid = integers(stack(fields), cif_values=True)
        return list(np.where(valid, values, np.int32(ABSENT)).reshape(len(fields), -1))

    def fixed(
        self, tags: Sequence[str], places: int, rows: Rows
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_], bool]:
        """k columns as integers of ``10**-places``: values (k, n), valid (k, n), and whether
        nothing was rounded."""
        fields = [self.field(tag)[rows] for tag in tags]
        values, valid, exact = decimals(stack(fields), places, cif_values=True)
        shape = (len(fields), -1)
        return values.reshape(shape), valid.reshape(shape), bool(exact.all())

    def is_constant(self, tag: str) -> bool:
        """Whether all rows of a column hold the same characters."""
        return is_constant(self.field(tag))


class AlignedTable(TextTable):
    """Every row has the same width and every column its own place in it (archive files)."""

    reader = "aligned"

    def __init__(self, tags: Sequence[str], rows: Field, bounds: list[tuple[int, int]], cut: bool):
        super().__init__(tags, len(rows), cut)
        self._rows = rows
        self._bounds = bounds

    @classmethod
    def over(cls, tags: Sequence[str], rows: Field, closed: bool) -> AlignedTable | None:
        """The table over rows that end with a newline and have neither tab nor ``#`` within, or
        ``None`` if they are not aligned beyond doubt.

        Beyond doubt: blank columns cut the rows into as many fields as there are tags, the table
        holds exactly one word per row and tag, and each field has a word in every row.
        """
        ink = rows > BLANK
        inked = np.bitwise_or.reduce(ink.view(np.uint8), axis=0).astype(bool)
        edges = np.flatnonzero(np.diff(np.concatenate(([False], inked, [False]))))
        bounds = list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))
        if len(bounds) != len(tags):
            return None
        flat = ink.reshape(-1)
        words = np.count_nonzero(flat[1:] > flat[:-1]) + int(flat[0])
        if words != len(rows) * len(tags):
            return None
        if not ink[:, edges[::2]].all():
            for begin, end in bounds:
                field = ink[:, begin:end]
                if not (field[:, 0].all() or field[:, -1].all() or field.any(axis=1).all()):
                    return None
        if (rows[:, 0] == SEMICOLON).any():
            return None
        return cls(tags, rows, bounds, cut=not closed)

    def field(self, tag: str) -> Field:
        begin, end = self._bounds[self.position[tag]]
        return self._rows[:, begin:end]

    def run_heads(self, tags: Collection[str]) -> NDArray[np.int64] | None:
        bounds = [self._bounds[self.position[tag]] for tag in tags if tag in self.position]
        return run_heads(self._rows, bounds)


class TokenTable(TextTable):
    """Rows of any layout, cut at white space (quotes and text fields respected)."""

    reader = "tokens"

    def __init__(self, tags: Sequence[str], text: Field, closed: bool, mid_line: bool = False):
        starts, ends = _words(text)
        raw: list[bytes] | None = None
        if _needs_grammar(text, starts, ends):
            raw = [word for word, _ in tokenise_raw(text.tobytes())]
            n_words = len(raw)
        else:
            n_words = len(starts)
        n_rows, left_over = divmod(n_words, len(tags)) if tags else (0, 0)
        if left_over and closed:
            raise ParseError(
                "malformed-loop",
                f"the atom_site table has {n_words} values for {len(tags)} columns: "
                "some row is incomplete",
            )
        if raw is None and n_rows:
            _check_rows_on_lines(text, starts, len(tags))
            if mid_line and not left_over and n_rows > 1:
                # The file ends within its last line. The last value may lack its end; it is the
                # model number in most files, so it is whole if it equals the one before.
                ks = (n_words - 1, n_words - 1 - len(tags))
                last, before = (text[starts[k] : ends[k]].tobytes() for k in ks)
                n_rows -= last != before
        super().__init__(tags, n_rows, cut=not closed)
        self._text = text
        self._starts, self._ends, self._raw = starts, ends, raw
        self._n_tags = len(tags)

    def field(self, tag: str) -> Field:
        k, step, n = self.position[tag], self._n_tags, self.n_rows
        if n == 0:
            return np.zeros((0, 1), np.uint8)
        if self._raw is not None:
            return matrix_of_words(self._raw[k : n * step : step])
        starts = self._starts[k : n * step : step]
        lengths = self._ends[k : n * step : step] - starts
        return gather(self._text, starts, lengths)


def _check_rows_on_lines(text: Field, starts: NDArray[np.int64], n_tags: int) -> None:
    """Refuse a table with a short or long row, whose values all later rows would inherit.

    CIF lets rows run over lines as they like, but a writer that puts one row on some line does so
    on every line: there a row begins where a line begins.
    """
    line = np.cumsum(text == NEWLINE, dtype=np.int32)[starts]
    begins = np.concatenate(([True], line[1:] != line[:-1]))
    counts = run_lengths(np.flatnonzero(begins), len(starts))
    if (counts == n_tags).any() and not begins[::n_tags].all():
        row = int(np.argmin(begins[::n_tags]))
        raise ParseError(
            "malformed-loop",
            f"row {row} of the atom_site table has too few or too many values for {n_tags} columns",
        )


def gather(text: NDArray[np.uint8], starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> Field:
    """Copy words of differing lengths into a blank-padded matrix.

    Parameters
    ----------
    text : (N,) uint8
    starts, lengths : (n,) int
    """
    width = int(lengths.max())
    _check_sane_width(width, len(starts))
    padded = text
    if int(starts[-1]) + width > len(text):
        padded = np.concatenate((text, np.full(width, BLANK, np.uint8)))
    rows = windows(padded, width)[starts]
    if (lengths != width).any():
        rows[np.arange(width) >= lengths[:, None]] = BLANK
    return rows


def _words(text: Field) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    ink = text > BLANK  # every character of CIF white space is at or below the blank
    edges = np.flatnonzero(np.diff(np.concatenate(([False], ink, [False])).view(np.int8)))
    return edges[::2], edges[1::2]


def _needs_grammar(text: Field, starts: NDArray[np.int64], ends: NDArray[np.int64]) -> bool:
    first, last = text[starts], text[ends - 1]
    if (first == HASH).any():
        return True
    for quote in QUOTES:
        opening = first == quote
        if (opening & ((last != quote) | (ends - starts < 2))).any():
            return True
    fields = np.flatnonzero(first == SEMICOLON)
    at_line_start = (starts[fields] == 0) | (text[starts[fields] - 1] == NEWLINE)
    return bool(at_line_start.any())


def matrix_of_words(words: list[bytes]) -> Field:
    """Words as a blank-padded character matrix."""
    if not words:
        return np.zeros((0, 1), np.uint8)
    width = max(map(len, words))
    _check_sane_width(width, len(words))
    return np.frombuffer(b"".join(w.ljust(width) for w in words), np.uint8).reshape(-1, width)


def _check_sane_width(width: int, n: int) -> None:
    """One word of a megabyte would make a megabyte of every row."""
    if width > 64 and width * n > MAX_MATRIX:
        raise ParseError(
            "overlong-value", f"a column of {n} values has one that is {width} characters long"
        )


class WordTable(TextTable):
    """A table whose values are lists of words, quotes included."""

    reader = "grammar"

    def __init__(self, columns: dict[str, list[bytes]], cut: bool):
        super().__init__(list(columns), len(next(iter(columns.values()), [])), cut)
        self._columns = columns

    def field(self, tag: str) -> Field:
        return matrix_of_words(self._columns[tag])
