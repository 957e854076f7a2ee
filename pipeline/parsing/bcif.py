"""BinaryCIF: decoding the columns that are asked for, and no others.

Specification: Sehnal et al. (2020) PLoS Comput. Biol. 16, e1008247, and
https://github.com/molstar/BinaryCIF (version 0.3).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import pairwise
from typing import Any

import msgpack
import numpy as np
from numpy.typing import NDArray

from pipeline.parsing.atom_table import ABSENT
from pipeline.parsing.cif_text import MAX_MATRIX, Column, Columns
from pipeline.parsing.errors import NotAStructure, ParseError
from pipeline.parsing.fields import BLANK, changes, decimals, item_size, run_lengths

MAX_ROWS = 12_000_000
"""A column may say "one value, a billion times" in ten bytes; the largest entries of the PDB have
fewer than 10 million atoms."""

_DTYPES = {1: "<i1", 2: "<i2", 3: "<i4", 4: "<u1", 5: "<u2", 6: "<u4", 32: "<f4", 33: "<f8"}
Rows = slice | NDArray


class BinaryCif:
    """One data block of a BinaryCIF file: the first that has `wanted`, or else the first.

    Parameters
    ----------
    data : bytes
        The whole decompressed file.
    categories : mapping of str to collection of str
        Categories that will be asked for, without underscore, and their columns; all else is
        skipped unread. Of `wanted` all columns can be asked for.
    wanted : str
        Category that decides which block is read.

    Raises
    ------
    ParseError
        The bytes are no MessagePack, or not the layout that BinaryCIF prescribes.
    """

    def __init__(
        self, data: bytes, categories: Mapping[str, Collection[str]], wanted: str = "atom_site"
    ):
        tags = {**categories, wanted: ()}
        try:
            try:
                blocks = _read_blocks(_unpacker(data), tags)
            except UnicodeDecodeError:  # numbers under the type of strings
                blocks = _read_blocks(_unpacker(data, old=True), tags)
        except (ValueError, msgpack.UnpackException, RecursionError) as error:
            raise ParseError(
                "malformed-bcif", f"the MessagePack data are broken: {error}"
            ) from None
        except (KeyError, TypeError, AttributeError):
            raise ParseError(
                "malformed-bcif", "the file is MessagePack, but not laid out as BinaryCIF"
            ) from None
        if not blocks:
            raise NotAStructure("no-data-block", "the BinaryCIF file has no data block")
        # A row costs a byte at least; whoever claims more wants our memory.
        self._limit = min(MAX_ROWS, len(data))
        holding = [b for b in blocks if wanted in b[1]]
        self.n_blocks_with_wanted = len(holding)
        self.name, self._categories = (holding or blocks)[0]

    def category(self, name: str, tags: Collection[str] = ()) -> Mapping[str, Column]:
        """All values of a category as text; see `cif_text.CifText.category`."""
        if name not in self._categories:
            return {}
        category = BinaryCategory(self._categories[name], self._limit)
        return Columns({tag: tag for tag in category.tags}, category.text)

    def table(self, name: str) -> BinaryCategory:
        """A category whose columns stay arrays.

        Raises
        ------
        NotAStructure
            The block has no such category.
        """
        if name not in self._categories:
            raise NotAStructure(
                f"no-{name.replace('_', '-')}", f"the file has no _{name} table: it holds no atoms"
            )
        return BinaryCategory(self._categories[name], self._limit)


# Keys and values that py-mmcif writes as byte strings; old writers know no other strings.
_BYTE_STRINGS = re.compile(
    rb"\xc4.(?:dataBlocks|header|categories|name|kind|ByteArray|StringArray|IntegerPacking)",
    re.DOTALL,
)
_TEXTS = frozenset({"name", "header", "kind", "stringData"})


def _unpacker(data: bytes, old: bool = False) -> msgpack.Unpacker:
    """Over the file, whose strings are text, or bytes (`old`, or as its beginning tells)."""
    if not old and not _BYTE_STRINGS.search(data, 0, 4096):
        unpacker = msgpack.Unpacker(raw=False, strict_map_key=False, max_buffer_size=len(data))
    else:
        unpacker = _UnpackerOfBytes(
            raw=True, strict_map_key=False, max_buffer_size=len(data), object_hook=_with_texts
        )
    unpacker.feed(data)
    return unpacker


class _UnpackerOfBytes(msgpack.Unpacker):
    """What it unpacks by itself are keys and names; binary data stand in maps."""

    def unpack(self) -> Any:
        return _text(super().unpack())


def _with_texts(raw: dict[Any, Any]) -> dict[Any, Any]:
    """A map of byte strings with text for its keys, and for the values that are text."""
    texts = {_text(key): value for key, value in raw.items()}
    return {key: _text(value) if key in _TEXTS else value for key, value in texts.items()}


def _text(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes) else value


def _read_blocks(
    unpacker: msgpack.Unpacker, wanted: Mapping[str, Collection[str]]
) -> list[tuple[str, dict[str, Any]]]:
    """(header, categories by name) of every block, skipping what is not wanted.

    A file has some seventy categories of up to a hundred columns; making Python objects of all of
    them would cost more than decoding the few that are read.
    """
    blocks = []
    for _ in range(unpacker.read_map_header()):
        if unpacker.unpack() != "dataBlocks":
            unpacker.skip()
            continue
        for _ in range(unpacker.read_array_header()):
            header, categories = "", {}
            for _ in range(unpacker.read_map_header()):
                key = unpacker.unpack()
                if key == "header":
                    header = str(unpacker.unpack())
                elif key == "categories":
                    for _ in range(unpacker.read_array_header()):
                        category = _read_category(unpacker, wanted)
                        categories[category.get("name", "")] = category
                else:
                    unpacker.skip()
            categories.pop("", None)
            blocks.append((header, categories))
    return blocks


def _read_category(
    unpacker: msgpack.Unpacker, wanted: Mapping[str, Collection[str]]
) -> dict[str, Any]:
    category: dict[str, Any] = {}
    for _ in range(unpacker.read_map_header()):
        key = unpacker.unpack()
        name = category.get("name")
        if name is not None and name not in wanted:
            unpacker.skip()
        elif key == "name":
            category["name"] = str(unpacker.unpack()).lstrip("_").lower()
        elif key == "columns" and name is not None and wanted[name]:
            n = unpacker.read_array_header()
            columns = (_read_column(unpacker, wanted[name]) for _ in range(n))
            category["columns"] = [column for column in columns if column is not None]
        else:
            category[key] = unpacker.unpack()
    return category if category.get("name") in wanted else {}


def _read_column(unpacker: msgpack.Unpacker, tags: Collection[str]) -> dict[str, Any] | None:
    """The next column, or ``None`` if it is none of the given."""
    column: dict[str, Any] = {}
    skipping = False
    for _ in range(unpacker.read_map_header()):
        key = unpacker.unpack()
        if skipping:
            unpacker.skip()
            continue
        column[key] = unpacker.unpack()
        skipping = key == "name" and str(column["name"]).lower() not in tags
    return None if skipping else column


class BinaryCategory:
    """The columns of one category, decoded on demand.

    The interface is that of `cif_text.TextTable`: `names`, `integers`, `fixed`.
    """

    reader = "bcif"
    cut = False

    def __init__(self, category: dict[str, Any], limit: int = MAX_ROWS):
        try:
            self.n_rows = int(category["rowCount"])
            self._columns = {c["name"].lower(): c for c in category["columns"]}
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
            raise ParseError("malformed-bcif", "a category lacks rowCount or columns") from None
        if not 0 <= self.n_rows <= limit:
            raise ParseError(
                "too-many-rows", f"a table claims {self.n_rows} rows; {limit} are possible"
            )

    @property
    def tags(self) -> list[str]:
        return list(self._columns)

    def __contains__(self, tag: str) -> bool:
        return tag in self._columns

    def run_heads(self, tags: Collection[str]) -> None:
        """Decoding a column yields all of its rows anyway."""
        return None

    def names(self, tags: Sequence[str], rows: Rows) -> list[NDArray[np.bytes_]]:
        """Columns as names; absent values are empty."""
        return [self._names(tag, rows) for tag in tags]

    def _names(self, tag: str, rows: Rows) -> NDArray[np.bytes_]:
        values, table, mask = self._decode(tag)
        if table is None:
            # A number is written out once for all the rows in turn that have it.
            bits = values.view(f"u{values.dtype.itemsize}")  # 0.0 and -0.0 are two texts
            heads = changes(bits) if mask is None else changes(bits, mask)
            there = None if mask is None else mask[heads]
            text = [b"" if t is None else t.encode() for t in self._as_text(values[heads], there)]
            width = max(map(len, text), default=1)
            _check_sane_width(width, self.n_rows)
            names = np.array(text, f"S{item_size(max(width, 1))}")
            return np.repeat(names, run_lengths(heads, self.n_rows))[rows]
        _check_sane_width(table.dtype.itemsize, self.n_rows)
        texts = table[values[rows]]
        if mask is not None:
            texts[mask[rows] != 0] = b""
        return texts

    def integers(self, tags: Sequence[str], rows: Rows) -> list[NDArray[np.int32]]:
        """Columns as int32, `ABSENT` where there is no whole number."""
        columns = []
        for tag in tags:
            values, valid, _ = self._fixed(tag, 0, rows)
            valid &= (values > -(2**31)) & (values < 2**31)
            columns.append(np.where(valid, values, ABSENT).astype(np.int32))
        return columns

    def fixed(
        self, tags: Sequence[str], places: int, rows: Rows
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_], bool]:
        """k columns as integers of ``10**-places``: values (k, n), valid (k, n), and whether
        nothing was rounded."""
        values, valid, exact = zip(*(self._fixed(t, places, rows) for t in tags), strict=True)
        return np.stack(values), np.stack(valid), all(exact)

    def is_constant(self, tag: str) -> bool:
        """Whether that is known without decoding the column; it never is."""
        return False

    def _fixed(
        self, tag: str, places: int, rows: Rows
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_], bool]:
        factor = 10**places
        values, table, mask = self._decode(tag, keep_fixed_point=factor)
        values = values[rows]
        valid = np.ones(len(values), bool) if mask is None else mask[rows] == 0
        if table is not None:
            width = table.dtype.itemsize
            cells = table.view(np.uint8).reshape(-1, width)
            cells = np.where(cells == 0, np.uint8(BLANK), cells)
            numbers, good, exact = decimals(cells, places, cif_values=places > 0)
            valid &= good[values]
            return np.where(valid, numbers[values], 0), valid, bool(exact[values][valid].all())
        if values.dtype.kind in "iu":
            scale = 1 if self._kept_fixed_point else factor
            whole = values.astype(np.int64)
            valid &= np.abs(whole) < 2**53 // scale
            return np.where(valid, whole, 0) * scale, valid, True
        valid &= np.isfinite(values) & (np.abs(values) < 2**53 / factor)
        values = np.where(valid, values, 0)
        scaled = values.astype(np.float64) * factor
        whole = np.rint(scaled)
        if values.dtype == np.float32:
            inexact = (whole / factor).astype(np.float32) != values
        else:
            inexact = np.abs(scaled - whole) > 1e-6 * np.maximum(1.0, np.abs(scaled) * 1e-6)
        if inexact.any():
            # A half in decimal is rarely a half in binary: settle it as text would.
            whole[inexact] = np.rint(np.round(scaled[inexact], 5))
        return whole.astype(np.int64), valid, not inexact.any()

    def text(self, tag: str) -> Column:
        """A column as text; absent values are ``None``."""
        values, table, mask = self._decode(tag)
        if table is None:
            return self._as_text(values, mask)
        words = self._as_text(table, None)
        texts = [words[k] for k in values.tolist()]
        return texts if mask is None else self._without(texts, mask)

    def _as_text(self, values: NDArray, mask: NDArray | None) -> Column:
        if values.dtype.kind == "S":
            text: Column = [v.decode("utf-8", "replace") or None for v in values.tolist()]
        elif values.dtype == np.float32:
            # As a float of 64 bits, 2.2 would be 2.200000047683716.
            text = [str(v) for v in values]
        else:
            text = [str(v) for v in values.tolist()]
        return text if mask is None else self._without(text, mask)

    @staticmethod
    def _without(text: Column, mask: NDArray) -> Column:
        for k in np.flatnonzero(mask):
            text[k] = None
        return text

    def _decode(
        self, tag: str, keep_fixed_point: int | None = None
    ) -> tuple[NDArray, NDArray[np.bytes_] | None, NDArray | None]:
        """(values, None, mask) of numbers, or (indices, strings, mask)."""
        column = self._columns[tag]
        self._kept_fixed_point = False
        try:
            mask = None
            if column.get("mask"):
                mask = self._sized(self._numbers(column["mask"]))
            encoding = column["data"]["encoding"]
            if encoding and encoding[0]["kind"] == "StringArray":
                indices, table = self._strings(column["data"])
                return self._sized(indices), table, mask
            if (
                keep_fixed_point is not None
                and encoding
                and encoding[0]["kind"] == "FixedPoint"
                and (factor := encoding[0]["factor"]) == keep_fixed_point
            ):
                data = {"encoding": encoding[1:], "data": column["data"]["data"]}
                values = self._sized(self._numbers(data))
                self._kept_fixed_point = values.dtype.kind in "iu"
                return values if self._kept_fixed_point else values / factor, None, mask
            return self._sized(self._numbers(column["data"])), None, mask
        except ParseError:
            raise
        except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError):
            raise ParseError(
                "malformed-bcif", f"the column {tag} of a table does not decode"
            ) from None

    def _sized(self, values: NDArray) -> NDArray:
        if len(values) != self.n_rows:
            raise ParseError(
                "malformed-bcif",
                f"a column has {len(values)} values, its table {self.n_rows} rows",
            )
        return values

    def _strings(self, data: dict[str, Any]) -> tuple[NDArray, NDArray[np.bytes_]]:
        encoding = data["encoding"][0]
        indices = self._numbers({"encoding": encoding["dataEncoding"], "data": data["data"]})
        offsets = self._numbers(
            {"encoding": encoding["offsetEncoding"], "data": encoding["offsets"]}
        ).tolist()
        text = encoding["stringData"]
        if indices.dtype.kind not in "iu" or offsets != sorted(offsets):
            raise ParseError("malformed-bcif", "a string column without whole, ascending offsets")
        words = [text[a:b].encode() for a, b in pairwise(offsets)]
        if " " in text:
            words = [word.strip() for word in words]
        words = [b"" if w in (b".", b"?") else w for w in words]
        width = item_size(max(map(len, words), default=1) or 1)
        _check_sane_width(width, len(words))
        # The entry behind the last, which index -1 finds, is "no value".
        table = np.array([*words, b""], f"S{width}")
        if len(indices) and not (indices.min() >= -1 and indices.max() < len(words)):
            raise ParseError("malformed-bcif", "a string index points outside its table")
        return indices, table

    def _numbers(self, data: dict[str, Any]) -> NDArray:
        values: Any = data["data"]
        with np.errstate(all="ignore"):  # what overflows is no number, and found to be none later
            for step in reversed(data["encoding"]):
                values = _DECODERS[step["kind"]](values, step)
        if not isinstance(values, np.ndarray):
            raise ParseError("malformed-bcif", "a column has no encoding")
        return values


def _check_sane_width(width: int, n: int) -> None:
    if width > 64 and width * n > MAX_MATRIX:
        raise ParseError(
            "overlong-value", f"a column of {n} values has one that is {width} bytes long"
        )


def _byte_array(data: bytes | str, step: dict[str, Any]) -> NDArray:
    if isinstance(data, str):  # as old MessagePack has it; bytes that are no text came another way
        data = data.encode()
    return np.frombuffer(data, _DTYPES[step["type"]])


def _fixed_point(data: NDArray, step: dict[str, Any]) -> NDArray:
    return data / np.float64(step["factor"])


def _interval_quantization(data: NDArray, step: dict[str, Any]) -> NDArray:
    low, high, n = float(step["min"]), float(step["max"]), int(step["numSteps"])
    return low + data * ((high - low) / (n - 1))


def _run_length(data: NDArray, step: dict[str, Any]) -> NDArray:
    values, counts = data[::2], data[1::2].astype(np.int64)
    size = int(step["srcSize"])
    if size > MAX_ROWS or len(values) != len(counts):
        raise ParseError("malformed-bcif", "a run-length column of impossible size")
    if len(counts) and (counts.min() < 0 or counts.max() > size or counts.sum() != size):
        raise ParseError("malformed-bcif", "the runs of a column do not add up to its length")
    return np.repeat(values, counts)


def _delta(data: NDArray, step: dict[str, Any]) -> NDArray:
    return np.cumsum(data, dtype=np.int64) + int(step["origin"])


def _integer_packing(data: NDArray, step: dict[str, Any]) -> NDArray:
    limits = np.iinfo(data.dtype)
    carries = data == limits.max
    if not step["isUnsigned"]:
        carries |= data == limits.min
    if not carries.any():
        return data.astype(np.int64)
    # A value at the limit of its type is continued by the next one.
    return np.diff(np.cumsum(data, dtype=np.int64)[~carries], prepend=0)


_DECODERS: dict[str, Callable[[Any, dict[str, Any]], NDArray]] = {
    "ByteArray": _byte_array,
    "FixedPoint": _fixed_point,
    "IntervalQuantization": _interval_quantization,
    "RunLength": _run_length,
    "Delta": _delta,
    "IntegerPacking": _integer_packing,
}
