"""mmCIF text: where the categories are, and their values.

Reading the file is separate from interpreting it (`cif_atoms`, `cif_entry`). The whole file is
never tokenised: one pass over the line starts finds every tag, and only the categories asked for
are split (`cif_words`). The big loop, ``atom_site``, is handed out as character matrices
(`cif_table`).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

import numpy as np
from numpy.typing import NDArray

from pipeline.parsing.cif_table import AlignedTable, TextTable, TokenTable, WordTable
from pipeline.parsing.cif_words import (
    NEWLINE,
    SEMICOLON,
    Column,
    Columns,
    decode_words,
    may_go_on,
    split_words,
    without_margins,
)
from pipeline.parsing.errors import Irregular, NotAStructure, ParseError
from pipeline.parsing.fields import BLANK, windows

_TAB, _UNDERSCORE = 9, 95
_KEYWORDS = b"loop_", b"data_", b"save_", b"stop_"
_CATEGORY = re.compile(rb"_([^.\s]+)\.(\S+)")

MAX_LINES = 24_000_000
"""The largest entries of the PDB have fewer than 10 million atoms, one a line. A line costs thirty
bytes of memory however short it is, and half a gigabyte of empty ones packs into a few hundred
kilobytes."""

MAX_TAGS = 1_000_000
"""Lines that begin with a tag; the largest entries have some thousands."""

MAX_CATEGORY = 32 << 20
"""Bytes of a category that is read word by word: all but the atoms. They are a few megabytes in the
largest entries, and a word costs forty bytes of memory however short it is."""


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
        data = without_margins(data)
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
        semicolons = np.flatnonzero(first == SEMICOLON)
        self.ends_in_text = len(semicolons) % 2 == 1

        def outside_text(lines: NDArray[np.int64]) -> NDArray[np.int64]:
            # An even number of field marks before a line: it is outside a text field.
            return lines[np.searchsorted(semicolons, lines) % 2 == 0]

        def lines_with(mask: NDArray[np.bool_]) -> list[int]:
            return outside_text(np.flatnonzero(mask)).tolist()

        for line in lines_with((first == BLANK) | (first == _TAB)):
            text = data[starts[line] : starts[line + 1]].lstrip()
            if text.startswith(b"_") or text[:5].lower() in _KEYWORDS:
                raise Irregular("a tag or keyword is indented")
        # (line, kind, category or tag)
        boundaries: list[tuple[int, str, str]] = []
        lower = first | 32
        # A frame and stop_ end a table; rows of a chain S begin alike, but for the underscore.
        ends = np.flatnonzero(lower == ord("s"))
        ends = ends[self.buffer[np.minimum(starts[ends] + 4, len(data) - 1)] == _UNDERSCORE]
        boundaries += [
            (line, "end", "")
            for line in outside_text(ends).tolist()
            if data[starts[line] : starts[line] + 5].lower() in _KEYWORDS
        ]
        _check_few_tags(len(boundaries))
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

    def _category_starts(self, lines: NDArray[np.int64]) -> list[tuple[int, str, str]]:
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
        # A table that runs to the very end of the file may have been cut off: its last row, or any
        # row after it.
        at_end = last == len(self.starts) - 1
        closed = not at_end or (self.ends_with_newline and not may_go_on(self.data))
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


def _check_few_tags(n: int) -> None:
    if n > MAX_TAGS:
        raise ParseError(
            "too-many-rows",
            f"over {MAX_TAGS:,} lines are tags, loops or data blocks, as in no structure",
        )


def newlines_of(text: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Where lines end. A file of more lines than any structure has is refused before that."""
    is_newline = text == NEWLINE
    n_lines = int(np.count_nonzero(is_newline))
    if n_lines > MAX_LINES:
        raise ParseError(
            "too-many-rows", f"the file has {n_lines:,} lines; at most {MAX_LINES:,} are read"
        )
    return np.flatnonzero(is_newline)


def _tag_name(word: bytes) -> str:
    return word.partition(b".")[2].decode("utf-8", "replace").lower()
