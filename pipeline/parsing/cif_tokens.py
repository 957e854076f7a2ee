"""mmCIF by the grammar alone: every token of the file, for layouts that are not line-oriented.

Ten times slower than `cif_text`; indented tags, ``loop_ _a.b`` on one line and the like end here.
"""

from __future__ import annotations

from collections.abc import Collection

from pipeline.parsing.cif_table import TextTable, WordTable
from pipeline.parsing.cif_words import (
    Column,
    decode_words,
    may_go_on,
    tokenise_raw,
    without_margins,
)
from pipeline.parsing.errors import NotAStructure, ParseError

_KEYWORDS = b"data_", b"loop_", b"save_", b"stop_"


class CifTokens:
    """One data block of an mmCIF file: the first that has `wanted`, or else the first.

    The interface is that of `cif_text.CifText`.

    Raises
    ------
    NotAStructure
        There is no data block.
    ParseError
        A tag has no value, or a loop's values do not fill its rows.
    """

    def __init__(self, data: bytes, wanted: str = "atom_site"):
        data = without_margins(data)
        blocks: list[tuple[str, dict[str, dict[str, list[bytes]]], set[str]]] = []
        tokens = [*tokenise_raw(data), (b"data_", True)]
        open_ended = may_go_on(data)
        k = 0
        while k < len(tokens) - 1:
            word, bare = tokens[k]
            lower = word[:5].lower()
            k += 1
            if bare and lower == b"data_":
                blocks.append((word[5:].decode("utf-8", "replace"), {}, set()))
            elif bare and lower == b"loop_" and len(word) == 5 and blocks:
                tags = []
                while _is_tag(tokens[k]):
                    tags.append(tokens[k][0])
                    k += 1
                begin = k
                while not _ends_values(tokens[k]):
                    k += 1
                values = [w for w, _ in tokens[begin:k]]
                self._add_loop(blocks[-1], tags, values, k == len(tokens) - 1 and open_ended)
            elif bare and word.startswith(b"_") and blocks:
                if _ends_values(tokens[k]):
                    raise ParseError(
                        "malformed-cif", f"{word.decode('utf-8', 'replace')} has no value"
                    )
                category, _, tag = word[1:].decode("utf-8", "replace").lower().partition(".")
                blocks[-1][1].setdefault(category, {}).setdefault(tag, []).append(tokens[k][0])
                k += 1
        if not blocks:
            raise NotAStructure("no-data-block", "the file has no data_ block: not an mmCIF file")
        holding = [b for b in blocks if wanted in b[1]]
        self.n_blocks_with_wanted = len(holding)
        self.name, self._values, self._cut = (holding or blocks)[0]
        self.categories = frozenset(self._values)

    @staticmethod
    def _add_loop(block, tags: list[bytes], values: list[bytes], may_be_cut: bool) -> None:
        if not tags:
            raise ParseError("malformed-cif", "a loop_ has no tags")
        n, left_over = divmod(len(values), len(tags))
        category = tags[0][1:].decode("utf-8", "replace").lower().partition(".")[0]
        if left_over and not may_be_cut:
            raise ParseError(
                "malformed-loop",
                f"the {category} table has {len(values)} values for {len(tags)} columns: "
                "some row is incomplete",
            )
        if may_be_cut:
            block[2].add(category)
        names = [tag[1:].decode("utf-8", "replace").lower().partition(".")[2] for tag in tags]
        columns = {name: values[k : n * len(tags) : len(tags)] for k, name in enumerate(names)}
        before = block[1].setdefault(category, columns)
        if before is columns:
            return
        # A second loop goes on with the table if it has the same columns.
        if before.keys() != columns.keys():
            raise ParseError(
                "malformed-loop", f"the {category} table is given twice, with different columns"
            )
        for name, column in columns.items():
            before[name] = before[name] + column

    def category(self, name: str, tags: Collection[str] = ()) -> dict[str, Column]:
        """All values of a category; see `cif_text.CifText.category`."""
        return {t: decode_words(words) for t, words in self._values.get(name, {}).items()}

    def table(self, name: str) -> TextTable:
        """A loop as character matrices; see `cif_text.CifText.table`."""
        columns = self._values.get(name)
        if not columns:
            raise NotAStructure(
                f"no-{name.replace('_', '-')}", f"the file has no _{name} table: it holds no atoms"
            )
        lengths = {len(c) for c in columns.values()}
        if len(lengths) != 1:
            raise ParseError("malformed-loop", f"the columns of _{name} differ in length")
        return WordTable(columns, cut=name in self._cut)


def _is_tag(token: tuple[bytes, bool]) -> bool:
    return token[1] and token[0].startswith(b"_")


def _ends_values(token: tuple[bytes, bool]) -> bool:
    word, bare = token
    return bare and (word.startswith(b"_") or word[:5].lower() in _KEYWORDS)
