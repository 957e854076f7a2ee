"""Fixed-width text fields → numbers and names, a whole column at a time.

A field is an ``(n, w) uint8`` matrix of characters: n rows, w columns, padded with blanks on either
side. Nothing here ever turns an unreadable value into a number: every conversion returns a mask.
"""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.uint8]

BLANK = 32
_DOT, _MINUS, _PLUS = 46, 45, 43
_QUOTES = (34, 39)


def decimals(
    field: Field, places: int, *, cif_values: bool = False
) -> tuple[NDArray, NDArray[np.bool_], NDArray[np.bool_]]:
    """Read plain decimal numbers as integers of ``10**-places``.

    Parameters
    ----------
    field : (n, w) uint8
        Numbers such as ``-12.345``, blank-padded on either side. Exponents, ``nan``, ``?`` and
        anything else that is not an optional sign, digits and at most one point are not numbers.
    places : int
        Decimal places kept, at most 4.
    cif_values : bool
        Read every way in which CIF writes a number: also ``"1.5"``, ``-12345e-3``, ``1.234(12)``.

    Returns
    -------
    values : (n,) int64
        Rounded half to even where a number has more places; 0 where it is none.
    valid : (n,) bool
        The field holds a number.
    exact : (n,) bool
        Nothing but zeros was rounded away.
    """
    n, width = field.shape
    if n == 0 or width == 0:
        return np.zeros(n, np.int64), np.zeros(n, bool), np.ones(n, bool)
    if width > 8:
        return _decimals_of_wide_fields(field, places, cif_values)
    values, valid = decimals_of_fixed_places(field, places)
    exact = np.ones(n, bool)
    if not valid.all():
        rows = np.flatnonzero(~valid)
        # What has no digit ('?', '.', blanks) is no number in any layout.
        rows = rows[((field[rows] - np.uint8(48)) < 10).any(axis=1)]
        if len(rows):
            decoded = _decimals_of_any_layout(field[rows], places, cif_values)
            values[rows], valid[rows], exact[rows] = decoded
    return values, valid, exact


def decimals_of_fixed_places(field: Field, places: int) -> tuple[NDArray, NDArray[np.bool_]]:
    """`decimals`, (values, valid), of at most 8 characters with exactly `places` decimals."""
    n = len(field)
    values, valid = np.empty(n, np.int64), np.empty(n, bool)
    for begin in range(0, n, _BLOCK):
        block = slice(begin, begin + _BLOCK)
        values[block], valid[block] = _decimals_of_words(_words(field[block]), places)
    return values, valid


_BLOCK = 8192
"""Numbers read together: a block's dozen temporaries fit the processor's second-level cache."""


def _everywhere(byte: int) -> np.uint64:
    return np.uint64(byte * 0x0101010101010101)


_BLANKS, _TOPS, _HIGH_HALVES, _SIXES = map(_everywhere, (BLANK, 0x80, 0xF0, 0x06))
_TENS, _LOW_SEVENS, _LOW_HALVES = map(_everywhere, (0x10, 0x7F, 0x0F))
_ZERO, _ONE, _THREE, _SEVEN, _BYTE = map(np.uint64, (0, 1, 3, 7, 8))
_TOP_BIT = np.uint64(60)
_POINT_BYTE, _MINUS_BYTE, _LAST_BYTE = map(np.uint64, (0x0E, 0x0D, 0xFF))
_DOUBLE_QUOTE, _SINGLE_QUOTE, _ABSENT_DOT, _ABSENT_MARK = map(np.uint64, b"\"'.?")
_PAIRS = (
    (np.uint64(10), np.uint64(8), np.uint64(0x00FF00FF00FF00FF)),
    (np.uint64(100), np.uint64(16), np.uint64(0x0000FFFF0000FFFF)),
    (np.uint64(10000), np.uint64(32), np.uint64(0x00000000FFFFFFFF)),
)


def _decimals_of_words(word: NDArray[np.uint64], places: int) -> tuple[NDArray, NDArray[np.bool_]]:
    """Numbers with exactly `places` decimals; others are not valid. `word` is used up.

    The eight characters of a row are one 64-bit integer, and every step below works on all of
    its bytes, and on all rows, at once ("SIMD within a register", Lamport 1975; the summing of
    digits by pairs is that of Lemire's and Muła's number parsers). The first character is the
    lowest byte.
    """
    # Blank → 0, digit d → 0x10 + d, '.' → 0x0e, '-' → 0x0d.
    word ^= _BLANKS
    # Shift the number to the top of the word. The exponent of the word as a float tells which is
    # its highest used byte (no byte is 0xff, so rounding never carries into the next byte).
    exponent = word.astype(np.float64).view(np.int64)
    exponent >>= 52
    exponent -= 1023
    exponent >>= 3
    spare = np.minimum(7 - exponent, 7).view(np.uint64)
    spare <<= _THREE
    word <<= spare

    valid = (word & _TOPS) == _ZERO  # ASCII
    # 0x80 in every byte that is no digit.
    other = ((word & _HIGH_HALVES) ^ _TENS) | (((word + _SIXES) & _HIGH_HALVES) ^ _TENS)
    other |= (other & _LOW_SEVENS) + _LOW_SEVENS
    other &= _TOPS
    if places:
        point = np.uint64(8 * (7 - places))
        fraction = np.uint64(((1 << (8 * places)) - 1) << (8 * (8 - places)))
        valid &= ((word >> point) & _LAST_BYTE) == _POINT_BYTE
        valid &= (other & fraction) == _ZERO
        whole = np.uint64((1 << (8 * (7 - places))) - 1)
        other &= whole
    else:
        valid &= (word >> _TOP_BIT) == _ONE  # the last character is a digit
    # What is no digit must be blanks at the bottom, then at most a sign: bytes 0 … k-1 of `lead`.
    lead = other | (other - (other >> _SEVEN))
    after = lead + _ONE
    valid &= (lead & after) == _ZERO
    unprinted = word & lead
    after >>= _BYTE
    after *= _MINUS_BYTE
    negative = (unprinted == after) & (lead != _ZERO)
    valid &= (unprinted == _ZERO) | negative

    digits = word & _LOW_HALVES
    digits &= ~lead
    if places:
        digits = (digits & fraction) | ((digits & whole) << _BYTE)
        # Without a digit before the point ("-.5") there is still a number: digits are 0.
    for factor, shift, mask in _PAIRS:
        neighbours = digits >> shift
        digits *= factor
        digits += neighbours
        digits &= mask
    values = digits.view(np.int64)
    np.negative(values, out=values, where=negative)
    values[~valid] = 0
    return values, valid


def _decimals_of_wide_fields(
    field: Field, places: int, cif_values: bool
) -> tuple[NDArray, NDArray[np.bool_], NDArray[np.bool_]]:
    """`decimals` where some row has more than eight characters; one long word must not make every
    row as expensive as itself, in time or in memory."""
    n, width = field.shape
    values, valid, exact = np.zeros(n, np.int64), np.zeros(n, bool), np.ones(n, bool)
    step = max(1, (1 << 20) // width)
    for begin in range(0, n, step):
        rows = field[begin : begin + step]
        short = (rows[:, 8:] == BLANK).all(axis=1)
        for chosen, read, end in (
            (short, decimals, 8),
            (~short, _decimals_of_any_layout, width),
        ):
            where = np.flatnonzero(chosen)
            if len(where):
                decoded = read(rows[where, :end], places, cif_values=cif_values)
                where += begin
                values[where], valid[where], exact[where] = decoded
    return values, valid, exact


def _decimals_of_any_layout(
    field: Field, places: int, cif_values: bool
) -> tuple[NDArray, NDArray[np.bool_], NDArray[np.bool_]]:
    """`decimals` character by character: any width, any number of places."""
    n, width = field.shape
    columns = np.ascontiguousarray(field.T)
    digits = columns - np.uint8(48)
    is_digit = digits < 10
    is_dot = columns == _DOT
    is_sign = (columns == _MINUS) | (columns == _PLUS)
    is_ink = columns != BLANK

    n_digits = is_digit.sum(axis=0)
    starts = is_ink.copy()
    starts[1:] &= ~is_ink[:-1]
    valid = (
        (starts.sum(axis=0) == 1)
        & (is_dot.sum(axis=0) <= 1)
        & (n_digits > 0)
        & (n_digits <= 18)  # what an int64 holds
        & ((is_digit | is_dot | is_sign) == is_ink).all(axis=0)
        & (is_sign <= starts).all(axis=0)
    )
    values = np.zeros(n, np.int64)
    for k in range(width):
        values = np.where(is_digit[k] & valid, values * 10 + digits[k], values)
    n_places = (np.logical_or.accumulate(is_dot, axis=0) & is_digit).sum(axis=0)

    exact = np.ones(n, bool)
    rows = np.flatnonzero((n_places != places) & valid)
    if len(rows):
        shift = places - n_places[rows]
        small = values[rows]
        scale = 10 ** np.abs(shift)
        quotient, remainder = np.divmod(small, scale)
        twice = 2 * remainder
        up = (twice > scale) | ((twice == scale) & (quotient % 2 == 1))
        # Overflow: such a number is no coordinate, no occupancy and no residue number.
        overflow = (shift > 0) & (small > np.iinfo(np.int64).max // scale)
        values[rows] = np.where(shift >= 0, np.where(overflow, 0, small) * scale, quotient + up)
        exact[rows] = (shift >= 0) | (remainder == 0)
        valid[rows] &= ~overflow
    negative = (columns == _MINUS).any(axis=0)
    values[negative] *= -1
    values[~valid] = 0
    if cif_values and not valid.all():
        for row in np.flatnonzero(~valid & (n_digits > 0)).tolist():
            decimal = _cif_decimal(field[row].tobytes(), places)
            if decimal is not None:
                values[row], exact[row] = decimal
                valid[row] = True
    return values, valid, exact


# CIF 1.1, "Numeric values". mmCIF's dictionary puts the uncertainty before the exponent.
# Possessive repeats: a value may have a million digits.
_CIF_NUMBER = re.compile(
    rb"([+-]?)(?=\.?[0-9])([0-9]*+)\.?([0-9]*+)"
    rb"(?:\([0-9]+\)(?:[eE]([+-]?[0-9]{1,4}))?|[eE]([+-]?[0-9]{1,4})(?:\([0-9]+\))?)?"
)


def _cif_decimal(word: bytes, places: int) -> tuple[int, bool] | None:
    """(integer of ``10**-places``, nothing was rounded) of one value of a CIF, if a number."""
    match = _CIF_NUMBER.fullmatch(_bare(word, True))
    if match is None:
        return None
    sign, whole, fraction, *exponents = match.groups()
    digits = (whole + fraction).lstrip(b"0")
    power = places - len(fraction) + int(exponents[0] or exponents[1] or 0)
    if not digits or len(digits) + power < 0:  # nothing, or less than a tenth of a unit
        return 0, not digits
    if len(digits) > 18 or len(digits) + power > 18:  # what an int64 holds
        return None
    value, rest, scale = int(digits), 0, 10 ** max(-power, 0)
    value, rest = divmod(value * 10 ** max(power, 0), scale)
    value += 2 * rest > scale or (2 * rest == scale and value % 2 == 1)
    return (-value if sign == b"-" else value), rest == 0


def cif_number(text: str | None) -> float | None:
    """One number of a CIF, unquoted; ``None`` for anything else, ``nan`` and ``inf`` among it.

    Examples
    --------
    >>> cif_number("1.50(2)"), cif_number("15e-1"), cif_number("1_0")
    (1.5, 1.5, None)
    """
    match = None if text is None else _CIF_NUMBER.fullmatch(text.strip().encode())
    if match is None:
        return None
    sign, whole, fraction, *exponents = match.groups()
    exponent = exponents[0] or exponents[1] or b"0"
    return float(b"%b%b.%be%b" % (sign, whole, fraction, exponent))


_WHOLE = re.compile(r"[+-]?[0-9]{1,9}")


def whole_number(text: str | None) -> int | None:
    """One whole number of at most nine digits; ``None`` for anything else.

    ``str.isdigit`` is no such test: ``"²"`` passes it, and so does a number of 5,000 digits.
    """
    return int(text) if text is not None and _WHOLE.fullmatch(text) else None


def integers(
    field: Field, *, cif_values: bool = False
) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """Read whole numbers that fit an int32; a decimal point makes a field invalid.

    Parameters
    ----------
    field : (n, w) uint8
    cif_values : bool
        Unquote (``'12'``).

    Returns
    -------
    values : (n,) int32
        0 where invalid.
    valid : (n,) bool
    """
    n, width = field.shape
    if n == 0 or width == 0:
        return np.zeros(n, np.int32), np.zeros(n, bool)
    values, valid, _ = decimals(field, 0)
    valid &= (values < 2**31) & (values > -(2**31))
    dots = field == _DOT
    if dots.any():
        valid[np.flatnonzero(dots) // width] = False
    values[~valid] = 0
    if cif_values and not valid.all():
        rows = np.flatnonzero(~valid)
        cells = field[rows]
        rows = rows[((cells == _QUOTES[0]) | (cells == _QUOTES[1])).any(axis=1)]
        if len(rows):
            bare = names(field[rows], cif_values=True)
            cells = bare.view(np.uint8).reshape(len(rows), -1)
            values[rows], valid[rows] = integers(np.where(cells == 0, np.uint8(BLANK), cells))
    return values.astype(np.int32), valid


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
        bare = {w: _bare(w, cif_values) for w in set(_strings(field))}
        return np.array([bare[w] for w in _strings(field)], f"S{size}")
    word = _words(field)
    full = _inked(word ^ _BLANKS)
    # NUL behind the name is what NumPy's bytes strings do not count.
    word &= full
    if not (full & _ONE).all():  # some begin with blanks, or are nothing else
        while (indented := ((word & _LAST_BYTE) == _ZERO) & (word != _ZERO)).any():
            word[indented] >>= _BYTE
        full = _inked(word)
    odd = (full & (full + _ONE)) != _ZERO
    if cif_values:
        first = word & _LAST_BYTE
        odd |= (first == _DOUBLE_QUOTE) | (first == _SINGLE_QUOTE)
        word[(word == _ABSENT_DOT) | (word == _ABSENT_MARK)] = _ZERO
    texts = word.astype(f"<u{size}").view(f"S{size}")
    if odd.any():
        # Quoted names and names that hold a blank: as few distinct ones as ligands have.
        raw = _strings(field[odd])
        bare = {w: _bare(w, cif_values) for w in set(raw)}
        texts[odd] = [bare[w] for w in raw]
    return texts


def _inked(word: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """0xff in every byte that is not zero."""
    ink = (word & _LOW_SEVENS) + _LOW_SEVENS
    ink |= word
    ink &= _TOPS
    ink >>= _SEVEN
    ink *= _LAST_BYTE
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


def _words(field: Field) -> NDArray[np.uint64]:
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


def _bare(word: bytes, cif_value: bool) -> bytes:
    word = word.strip()
    if cif_value and word in (b".", b"?"):
        return b""
    if cif_value and len(word) > 1 and word[0] in _QUOTES and word[-1] == word[0]:
        word = word[1:-1].strip()
    return word


def item_size(width: int) -> int:
    """Bytes given to a name of `width` characters: a size that some unsigned integer has."""
    for size in (1, 2, 4, 8):
        if width <= size:
            return size
    return -(-width // 8) * 8


def codes(names: NDArray[np.bytes_]) -> NDArray:
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


def changes(*columns: NDArray) -> NDArray[np.int64]:
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
        return np.concatenate([_words(f) for f in fields]).view(np.uint8).reshape(-1, 8)
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
        # Eight characters at a time, of which those count that belong to the columns.
        begin = places[0]
        here = [p - begin for p in places if p < begin + 8]
        places = places[len(here) :]
        word = _words(rows[:, begin : begin + 8])
        word &= np.uint64(sum(0xFF << 8 * p for p in here))
        changed[1:] |= word[1:] != word[:-1]
    return np.flatnonzero(changed)


def is_constant(field: Field) -> bool:
    """Whether all rows hold the same characters."""
    if field.shape[1] > 8:
        return bool((field == field[:1]).all())
    word = _words(field)
    return bool((word == word[:1]).all())
