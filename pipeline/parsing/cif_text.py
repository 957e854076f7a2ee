"""mmCIF text: where the categories are, and their values.

Reading the file is separate from interpreting it (`cif_atoms`, `cif_entry`). The whole file is
never tokenised: one pass over the line starts finds every tag, and only the categories asked for
are split. The big loop, ``atom_site``, is handed out as character matrices (`TextTable`).

Syntax: Hall, Allen & Brown (1991) Acta Cryst. A47, 655 and the CIF 1.1 specification of the IUCr.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.parsing.atom_table import ABSENT
from pipeline.parsing.errors import Irregular, NotAStructure, ParseError
from pipeline.parsing.fields import (
    BLANK,
    Field,
    decimals,
    integers,
    is_constant,
    item_size,
    names,
    run_heads,
    run_lengths,
    stack,
    windows,
)

_NEWLINE, _RETURN, _TAB = 10, 13, 9
_HASH, _SEMICOLON, _UNDERSCORE = 35, 59, 95
_QUOTES = (34, 39)

# A value, in the order in which CIF tries them: text field, quoted string, comment, bare word.
_TOKEN = re.compile(
    rb"^;(?P<text>[\s\S]*?)\n;|(?P<open>^;[\s\S]*)"
    # Bounded, for a line of a megabyte of quotes would be read once per quote.
    rb"|'(?P<single>[^\n]{0,9999}?)'(?=\s|\Z)|\"(?P<double>[^\n]{0,9999}?)\"(?=\s|\Z)"
    rb"|(?P<comment>\#[^\n]*)|(?P<bare>\S+)",
    re.MULTILINE,
)
_CATEGORY = re.compile(rb"_([^.\s]+)\.(\S+)")

MAX_MATRIX = 4 << 20
"""Bytes of one column as a character matrix."""

MAX_LINES = 24_000_000
"""The largest entries of the PDB have fewer than 10 million atoms, one a line. A line costs thirty
bytes of memory however short it is, and half a gigabyte of empty ones packs into a few hundred
kilobytes."""

MAX_TAGS = 1_000_000
"""Lines that begin with a tag; the largest entries have some thousands."""

MAX_CATEGORY = 32 << 20
"""Bytes of a category that is read word by word: all but the atoms. They are a few megabytes in the
largest entries, and a word costs forty bytes of memory however short it is."""

Column = list[str | None]
Rows = slice | NDArray


class CifText:
    """One data block of an mmCIF file: the first that has `wanted`, or else the first.

    Parameters
    ----------
    data : bytes
        The whole decompressed file.
    wanted : str
        Category that decides which block is read.

    Raises
    ------
    NotAStructure
        There is no data block.
    Irregular
        The layout is legal perhaps, but not line-oriented (a tag that does not start its line).
    """

    def __init__(self, data: bytes, wanted: str = "atom_site"):
        if data.startswith(b"\xef\xbb\xbf"):
            data = data[3:]
        if b"\r" in data:
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        self.ends_with_newline = data.endswith(b"\n")
        if not self.ends_with_newline:
            data += b"\n"
        self.data = data
        self.buffer = np.frombuffer(data, np.uint8)
        newlines = newlines_of(self.buffer)
        # line k is data[starts[k] : starts[k + 1] - 1]
        self.starts = np.concatenate(([0], newlines + 1))
        self._index(wanted)

    def _index(self, wanted: str) -> None:
        data, starts = self.data, self.starts
        first = self.buffer[starts[:-1]]
        semicolons = np.flatnonzero(first == _SEMICOLON)
        self.ends_in_text = len(semicolons) % 2 == 1

        def outside_text(lines: NDArray) -> NDArray:
            # An even number of field marks before a line: it is outside a text field.
            return lines[np.searchsorted(semicolons, lines) % 2 == 0]

        def lines_with(mask: NDArray) -> list[int]:
            return outside_text(np.flatnonzero(mask)).tolist()

        for line in lines_with((first == BLANK) | (first == _TAB)):
            text = data[starts[line] : starts[line + 1]].lstrip()
            if text.startswith(b"_") or text[:5].lower() in (b"loop_", b"data_"):
                raise Irregular("a tag or keyword is indented")
        boundaries: list[tuple[int, str, str]] = []  # (line, kind, category or tag)
        lower = first | 32
        for line in lines_with((lower == ord("l")) | (lower == ord("d"))):
            text = data[starts[line] : starts[line + 1] - 1]
            word = text[:5].lower()
            if word == b"loop_":
                if text[5:].strip() and not text[5:].lstrip().startswith(b"#"):
                    raise Irregular("something follows loop_ on its line")
                boundaries.append((line, "loop", ""))
            elif word == b"data_":
                boundaries.append((line, "data", text[5:].decode("utf-8", "replace").strip()))
            else:
                continue
            _check_few_tags(len(boundaries))
        tag_lines = np.flatnonzero(first == _UNDERSCORE)
        _check_few_tags(len(tag_lines))
        boundaries += self._category_starts(outside_text(tag_lines))
        boundaries.sort()
        blocks = [k for k, entry in enumerate(boundaries) if entry[1] == "data"]
        if not blocks:
            raise NotAStructure("no-data-block", "the file has no data_ block: not an mmCIF file")
        spans = [
            boundaries[a:b] for a, b in zip(blocks, [*blocks[1:], len(boundaries)], strict=True)
        ]
        holding = [s for s in spans if any(e[1] == "tag" and e[2] == wanted for e in s)]
        span = (holding or spans)[0]
        self.n_blocks_with_wanted = len(holding)
        self.name = span[0][2]
        k = boundaries.index(span[0]) + len(span)
        self.end_line = boundaries[k][0] if k < len(boundaries) else len(starts) - 1
        self._places: dict[str, list[tuple[int, int, bool]]] = {}
        position = 0
        while position < len(span):
            line, kind, category = span[position]
            loop = kind == "loop"
            if loop:
                position += 1
                if position == len(span) or span[position][1] != "tag":
                    continue
                line, kind, category = span[position]
            if kind != "tag":
                position += 1
                continue
            begin = line
            while position < len(span) and span[position][1:] == ("tag", category):
                position += 1
            end = span[position][0] if position < len(span) else self.end_line
            self._places.setdefault(category, []).append((begin, end, loop))
        self.categories = frozenset(self._places)

    def _category_starts(self, lines: NDArray) -> list[tuple[int, str, str]]:
        """The tag lines whose category differs from that of the line before it."""
        # Two lines are of one category if they agree up to the first point: all lines at once.
        if not len(lines):
            return []
        width = 64
        padded = self.buffer
        if self.starts[lines[-1]] + width > len(padded):
            padded = np.concatenate((padded, np.full(width, BLANK, np.uint8)))
        heads = windows(padded, width)[self.starts[lines]]
        point = (heads == ord(".")).argmax(axis=1)
        difference = (heads[1:] != heads[:-1]).argmax(axis=1)
        starts = np.ones(len(lines), bool)
        starts[1:] = (difference <= point[1:]) | (point[1:] == 0) | (np.diff(lines) != 1)
        tag_lines = []
        for line in lines[starts].tolist():
            match = _CATEGORY.match(self.data, self.starts[line])
            # A tag without a category is core CIF (small molecules).
            tag_lines.append((line, "tag", match[1].decode("latin-1").lower() if match else ""))
        return tag_lines

    def category(self, name: str, tags: Collection[str] = ()) -> Mapping[str, Column]:
        """Values of a category: tag (lower case, without the category) → column.

        All tags, or those of `tags` that are cheap to tell apart from the rest.
        ``.`` and ``?`` are ``None``. Columns of one loop have equal lengths; an absent category
        is an empty mapping. A loop that breaks off is cut to its complete rows.
        """
        return Columns(self._words_of(name, tags), decode_words)

    def _words_of(self, name: str, tags: Collection[str]) -> dict[str, list[bytes]]:
        words: dict[str, list[bytes]] = {}
        for begin, end, loop in self._places.get(name, ()):
            while end > begin and self._is_void(end - 1):
                end -= 1
            if self.starts[end] - self.starts[begin] > MAX_CATEGORY:
                raise ParseError(
                    "too-many-rows", f"the category _{name} has over {MAX_CATEGORY:,} bytes"
                )
            region = self.data[self.starts[begin] : self.starts[end]]
            if not loop and tags and b"\n;" not in region:
                words.update(_wanted_items(region, tags))
                continue
            parts = split_words(region)
            if loop:
                n_tags = 0
                while n_tags < len(parts) and parts[n_tags].startswith(b"_"):
                    n_tags += 1
                n = (len(parts) - n_tags) // n_tags if n_tags else 0
                for k in range(n_tags):
                    tag = _tag_name(parts[k])
                    words.setdefault(tag, parts[n_tags + k : n_tags * (n + 1) : n_tags])
            else:
                for item, value in zip(parts[::2], parts[1::2], strict=False):
                    if not item.startswith(b"_"):
                        raise Irregular(f"the values of _{name} do not alternate with its tags")
                    words.setdefault(_tag_name(item), [value])
        return words

    def table(self, name: str) -> TextTable:
        """A loop as character matrices; see `TextTable`.

        Raises
        ------
        NotAStructure
            The block has no such category.
        ParseError
            The loop's rows are not all complete.
        """
        places = self._places.get(name)
        if not places:
            if self.ends_in_text:
                raise ParseError(
                    "truncated", f"the file ends within a text field, before any _{name} table"
                )
            raise NotAStructure(
                f"no-{name.replace('_', '-')}", f"the file has no _{name} table: it holds no atoms"
            )
        begin, end, loop = places[0]
        if len(places) > 1:
            raise Irregular(f"_{name} stands in several places")
        tags: list[str] = []
        line = begin
        while line < end:
            if self.buffer[self.starts[line]] != _UNDERSCORE:
                if not self._is_void(line):
                    break
                line += 1
                continue
            words = self.data[self.starts[line] : self.starts[line + 1]].split(b"#")[0].split()
            if len(words) != 1:
                if loop:
                    raise Irregular("a value follows a tag of a loop on its line")
                return self._single_row(name)
            tags.append(words[0].partition(b".")[2].decode("latin-1").lower())
            line += 1
        if not loop:
            return self._single_row(name)
        # Lines behind the loop that are blank or a comment close it.
        last = end
        while last > line and self._is_void(last - 1):
            last -= 1
        # A table that runs to the very end of the file may have been cut off: its last row, or,
        # where the file closes its categories with '# ' as wwPDB archives do, any row after it.
        # (Other programs write '#' between categories and nothing at the end.)
        at_end = last == len(self.starts) - 1
        closed = not at_end or (self.ends_with_newline and b"\n# \n" not in self.data)
        closed &= not self.ends_in_text
        mid_line = at_end and not self.ends_with_newline
        rows = self.buffer[self.starts[line] : self.starts[last]]
        if line == last:
            return TokenTable(tags, rows, closed)
        lengths = np.diff(self.starts[line : last + 1])
        table: TextTable | None = None
        span = self.starts[line], self.starts[last]
        is_plain = self.data.find(b"\t", *span) < 0 and self.data.find(b"#", *span) < 0
        if is_plain and (lengths == lengths[0]).all():
            table = AlignedTable.over(tags, rows.reshape(len(lengths), -1), closed)
        if table is None:
            table = TokenTable(tags, rows, closed, mid_line)
        return table

    def _single_row(self, name: str) -> TextTable:
        return WordTable(self._words_of(name, ()), cut=False)

    def _is_void(self, line: int) -> bool:
        text = self.data[self.starts[line] : self.starts[line + 1]].strip()
        return not text or text.startswith(b"#")


def _wanted_items(region: bytes, tags: Collection[str]) -> dict[str, list[bytes]]:
    """Values of some tags of a category that is no loop: a category may have a hundred items."""
    wanted = {}
    encoded = {tag.encode(): tag for tag in tags}
    for item in (b"\n" + region).split(b"\n_")[1:]:
        head = item.split(None, 1)
        tag = encoded.get(head[0].partition(b".")[2].lower())
        if tag is not None:
            values = split_words(head[1]) if len(head) > 1 else []
            if len(values) != 1:
                raise Irregular(f"{tag} has not one value")
            wanted[tag] = values
    return wanted


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


def _check_few_tags(n: int) -> None:
    if n > MAX_TAGS:
        raise ParseError(
            "too-many-rows",
            f"over {MAX_TAGS:,} lines are tags, loops or data blocks, as in no structure",
        )


def newlines_of(text: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Where lines end. A file of more lines than any structure has is refused before that."""
    is_newline = text == _NEWLINE
    n_lines = int(np.count_nonzero(is_newline))
    if n_lines > MAX_LINES:
        raise ParseError(
            "too-many-rows", f"the file has {n_lines:,} lines; at most {MAX_LINES:,} are read"
        )
    return np.flatnonzero(is_newline)


def _tag_name(word: bytes) -> str:
    return word.partition(b".")[2].decode("utf-8", "replace").lower()


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
        if (rows[:, 0] == _SEMICOLON).any():
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


def _check_rows_on_lines(text: Field, starts: NDArray, n_tags: int) -> None:
    """Refuse a table with a short or long row, whose values all later rows would inherit.

    CIF lets rows run over lines as they like, but a writer that puts one row on some line does so
    on every line: there a row begins where a line begins.
    """
    line = np.cumsum(text == _NEWLINE, dtype=np.int32)[starts]
    begins = np.concatenate(([True], line[1:] != line[:-1]))
    counts = run_lengths(np.flatnonzero(begins), len(starts))
    if (counts == n_tags).any() and not begins[::n_tags].all():
        row = int(np.argmin(begins[::n_tags]))
        raise ParseError(
            "malformed-loop",
            f"row {row} of the atom_site table has too few or too many values for {n_tags} columns",
        )


def gather(text: NDArray[np.uint8], starts: NDArray, lengths: NDArray) -> Field:
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


def _words(text: Field) -> tuple[NDArray, NDArray]:
    ink = text > BLANK  # every character of CIF white space is at or below the blank
    edges = np.flatnonzero(np.diff(np.concatenate(([False], ink, [False])).view(np.int8)))
    return edges[::2], edges[1::2]


def _needs_grammar(text: Field, starts: NDArray, ends: NDArray) -> bool:
    first, last = text[starts], text[ends - 1]
    if (first == _HASH).any():
        return True
    for quote in _QUOTES:
        opening = first == quote
        if (opening & ((last != quote) | (ends - starts < 2))).any():
            return True
    fields = np.flatnonzero(first == _SEMICOLON)
    at_line_start = (starts[fields] == 0) | (text[starts[fields] - 1] == _NEWLINE)
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
