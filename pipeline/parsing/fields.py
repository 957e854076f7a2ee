"""Fields of fixed-width text: names, where they change, and their characters as words.

A field is an ``(n, w) uint8`` matrix of characters: n rows, w columns, padded with blanks on either
side. `numbers` reads numbers from it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.uint8]
BLANK = 32
QUOTES = (34, 39)


def everywhere(byte: int) -> np.uint64:
    """A byte, eight times."""
    return np.uint64(byte * 0x0101010101010101)


BLANKS, TOPS, LOW_SEVENS = map(everywhere, (BLANK, 0x80, 0x7F))
ZERO, ONE, SEVEN, BYTE, LAST_BYTE = map(np.uint64, (0, 1, 7, 8, 0xFF))
_DOUBLE_QUOTE, _SINGLE_QUOTE, _ABSENT_DOT, _ABSENT_MARK = map(np.uint64, b"\"'.?")


def names(field: Field, *, cif_values: bool = False) -> NDArray[np.bytes_]:
    """Read names, stripped of blanks on both sides; blanks within a name are kept.

    Parameters
    ----------
    field : (n, w) uint8
    cif_values : bool
        Unquote (``"O5'"``, ``"ATOM  "``) and read an unquoted ``.`` or ``?`` as the empty name.

    Returns
    -------
    names : (n,) bytes
        The item size is 1, 2, 4 or 8 bytes (or a multiple of 8), so that `codes` can view it.
    """
    n, width = field.shape
    if n == 0 or width == 0:
        return np.zeros(n, "S1")
    size = item_size(width)
    if width > 8:
        bare = {w: unquoted(w, cif_values) for w in set(_strings(field))}
        return np.array([bare[w] for w in _strings(field)], f"S{size}")
    word = words_of(field)
    full = _inked(word ^ BLANKS)
    # NUL behind the name is what NumPy's bytes strings do not count.
    word &= full
    if not (full & ONE).all():  # some begin with blanks, or are nothing else
        while (indented := ((word & LAST_BYTE) == ZERO) & (word != ZERO)).any():
            word[indented] >>= BYTE
        full = _inked(word)
    odd = (full & (full + ONE)) != ZERO
    if cif_values:
        first = word & LAST_BYTE
        odd |= (first == _DOUBLE_QUOTE) | (first == _SINGLE_QUOTE)
        word[(word == _ABSENT_DOT) | (word == _ABSENT_MARK)] = ZERO
    texts = word.astype(f"<u{size}").view(f"S{size}")
    if odd.any():
        # Quoted names and names that hold a blank: as few distinct ones as ligands have.
        raw = _strings(field[odd])
        bare = {w: unquoted(w, cif_values) for w in set(raw)}
        texts[odd] = [bare[w] for w in raw]
    return texts


def _inked(word: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """0xff in every byte that is not zero."""
    ink = (word & LOW_SEVENS) + LOW_SEVENS
    ink |= word
    ink &= TOPS
    ink >>= SEVEN
    ink *= LAST_BYTE
    return ink


def _strings(field: Field) -> list[bytes]:
    return np.ascontiguousarray(field).view(f"S{field.shape[1]}").ravel().tolist()


class _Unaligned:
    """Eight bytes from the start of every row but the last, as integers, without copying.

    NumPy has no view of overlapping, unaligned items; its array interface has. Each read stays
    within the memory of `field`: a row's eight bytes end before the next row's do.
    """

    def __init__(self, field: Field):
        self._field = field  # keeps the memory
        self.__array_interface__ = {
            "version": 3,
            "data": (field.__array_interface__["data"][0], True),
            "shape": (len(field) - 1,),
            "strides": (field.strides[0],),
            "typestr": "<u8",
        }


def words_of(field: Field) -> NDArray[np.uint64]:
    """Rows of at most eight characters as integers, the first character lowest, blank-padded."""
    n, width = field.shape
    stride, step = field.strides
    if n > 1 and step == 1 and stride >= 8:
        word = np.empty(n, np.uint64)
        word[:-1] = np.asarray(_Unaligned(field))
        word[-1] = int.from_bytes(field[-1].tobytes(), "little")
        if width < 8:
            word &= np.uint64((1 << (8 * width)) - 1)
            word |= np.uint64(int.from_bytes(b" " * (8 - width), "little") << (8 * width))
        return word
    cells = np.full((n, 8), BLANK, np.uint8)
    cells[:, :width] = field
    return cells.view("<u8").ravel()


def unquoted(word: bytes, cif_value: bool) -> bytes:
    word = word.strip()
    if cif_value and word in (b".", b"?"):
        return b""
    if cif_value and len(word) > 1 and word[0] in QUOTES and word[-1] == word[0]:
        word = word[1:-1].strip()
    return word


def item_size(width: int) -> int:
    """Bytes given to a name of `width` characters: a size that some unsigned integer has."""
    for size in (1, 2, 4, 8):
        if width <= size:
            return size
    return -(-width // 8) * 8


def codes(names: NDArray[np.bytes_]) -> NDArray[Any]:
    """View names as unsigned integers, so that comparing them costs one instruction each.

    Names longer than 8 bytes are numbered instead (equal names, equal numbers; the numbers have
    no meaning beyond that).
    """
    size = names.dtype.itemsize
    if size in (1, 2, 4, 8):
        return names.view(f"<u{size}")
    return np.unique(names, return_inverse=True)[1]


def windows(text: NDArray[np.uint8], width: int) -> Field:
    """The `width` characters from each one on, ``(len(text) - width + 1, width)``, without copying.

    As ``sliding_window_view`` has them, in a fortieth of the time: files are small.
    """
    return np.ndarray((len(text) - width + 1, width), np.uint8, text, strides=(1, 1))


def is_name(names: NDArray[np.bytes_], name: bytes) -> NDArray[np.bool_]:
    """Which names are the given one: ``names == name``, ten times as fast."""
    size = names.dtype.itemsize
    if size not in (1, 2, 4, 8):
        return names == name
    if len(name) > size:
        return np.zeros(len(names), bool)
    is_it: NDArray[np.bool_] = codes(names) == int.from_bytes(name, "little")
    return is_it


def changes(*columns: NDArray[Any]) -> NDArray[np.int64]:
    """Row numbers at which any column differs from the row before; row 0 is always one.

    Parameters
    ----------
    columns : (n,) arrays
        Names or numbers, all of one length.
    """
    n = len(columns[0])
    if n == 0:
        return np.zeros(0, np.int64)
    changed = np.zeros(n, bool)
    changed[0] = True
    for column in columns:
        view = codes(column) if column.dtype.kind == "S" else column
        changed[1:] |= view[1:] != view[:-1]
    return np.flatnonzero(changed)


def run_lengths(heads: NDArray[np.int64], n: int) -> NDArray[np.int64]:
    """How many of `n` rows each run has, from their first rows."""
    lengths = np.empty(len(heads), np.int64)
    np.subtract(heads[1:], heads[:-1], out=lengths[:-1])
    lengths[-1:] = n - heads[-1:]
    return lengths


def stack(fields: list[Field]) -> Field:
    """Fields of one length, below each other, blank-padded to the widest: reading several columns
    at once costs little more than reading one."""
    if all(f.shape[1] <= 8 for f in fields):
        return np.concatenate([words_of(f) for f in fields]).view(np.uint8).reshape(-1, 8)
    n = len(fields[0])
    stacked = np.full((len(fields) * n, max(f.shape[1] for f in fields)), BLANK, np.uint8)
    for k, field in enumerate(fields):
        stacked[k * n : (k + 1) * n, : field.shape[1]] = field
    return stacked


def run_heads(rows: Field, columns: list[tuple[int, int]]) -> NDArray[np.int64]:
    """Row numbers at which the characters of some columns differ from the row before.

    Parameters
    ----------
    rows : (n, w) uint8
        Contiguous.
    columns : list of (begin, end)

    Returns
    -------
    (h,) int64
        Ascending; the first is 0. What is read from those columns at these rows, repeated, is what
        would be read at every row: residues have eight atoms, so this saves most of the reading.
    """
    n, width = rows.shape
    if n == 0:
        return np.zeros(0, np.int64)
    wanted = np.zeros(width, bool)
    for begin, end in columns:
        wanted[begin:end] = True
    places = np.flatnonzero(wanted).tolist()
    changed = np.zeros(n, bool)
    changed[0] = True
    while places:
        # Eight characters at a time; only those that belong to the columns count.
        begin = places[0]
        here = [p - begin for p in places if p < begin + 8]
        places = places[len(here) :]
        word = words_of(rows[:, begin : begin + 8])
        word &= np.uint64(sum(0xFF << 8 * p for p in here))
        changed[1:] |= word[1:] != word[:-1]
    return np.flatnonzero(changed)


def is_constant(field: Field) -> bool:
    """Whether all rows hold the same characters."""
    if field.shape[1] > 8:
        return bool((field == field[:1]).all())
    word = words_of(field)
    return bool((word == word[:1]).all())
