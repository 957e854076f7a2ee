"""Fields of characters → numbers, a whole column at a time; and single numbers of CIF.

Nothing here ever turns an unreadable value into a number: every conversion returns a mask.
"""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from pipeline.parsing.fields import (
    BLANK,
    BLANKS,
    BYTE,
    LAST_BYTE,
    LOW_SEVENS,
    ONE,
    QUOTES,
    SEVEN,
    TOPS,
    ZERO,
    Field,
    everywhere,
    names,
    unquoted,
    words_of,
)

_DOT, _MINUS, _PLUS = 46, 45, 43


def decimals(
    field: Field, places: int, *, cif_values: bool = False
) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.bool_]]:
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


def decimals_of_fixed_places(
    field: Field, places: int
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """`decimals`, (values, valid), of at most 8 characters with exactly `places` decimals."""
    n = len(field)
    values, valid = np.empty(n, np.int64), np.empty(n, bool)
    for begin in range(0, n, _BLOCK):
        block = slice(begin, begin + _BLOCK)
        values[block], valid[block] = _decimals_of_words(words_of(field[block]), places)
    return values, valid


_BLOCK = 8192
"""Numbers read together: a block's dozen temporaries fit the processor's second-level cache."""

_HIGH_HALVES, _SIXES, _TENS, _LOW_HALVES = map(everywhere, (0xF0, 0x06, 0x10, 0x0F))
_THREE, _TOP_BIT, _POINT_BYTE, _MINUS_BYTE = map(np.uint64, (3, 60, 0x0E, 0x0D))

_PAIRS = (
    (np.uint64(10), np.uint64(8), np.uint64(0x00FF00FF00FF00FF)),
    (np.uint64(100), np.uint64(16), np.uint64(0x0000FFFF0000FFFF)),
    (np.uint64(10000), np.uint64(32), np.uint64(0x00000000FFFFFFFF)),
)


def _decimals_of_words(
    word: NDArray[np.uint64], places: int
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Numbers with exactly `places` decimals; others are not valid. `word` is used up.

    The eight characters of a row are one 64-bit integer, and every step below works on all of
    its bytes, and on all rows, at once ("SIMD within a register", Lamport 1975; the summing of
    digits by pairs is that of Lemire's and Muła's number parsers). The first character is the
    lowest byte.
    """
    # Blank → 0, digit d → 0x10 + d, '.' → 0x0e, '-' → 0x0d.
    word ^= BLANKS
    # Shift the number to the top of the word. The exponent of the word as a float tells which is
    # its highest used byte (no byte is 0xff, so rounding never carries into the next byte).
    exponent = word.astype(np.float64).view(np.int64)
    exponent >>= 52
    exponent -= 1023
    exponent >>= 3
    spare = np.minimum(7 - exponent, 7).view(np.uint64)
    spare <<= _THREE
    word <<= spare

    valid = (word & TOPS) == ZERO  # ASCII
    # 0x80 in every byte that is no digit.
    other = ((word & _HIGH_HALVES) ^ _TENS) | (((word + _SIXES) & _HIGH_HALVES) ^ _TENS)
    other |= (other & LOW_SEVENS) + LOW_SEVENS
    other &= TOPS
    if places:
        point = np.uint64(8 * (7 - places))
        fraction = np.uint64(((1 << (8 * places)) - 1) << (8 * (8 - places)))
        valid &= ((word >> point) & LAST_BYTE) == _POINT_BYTE
        valid &= (other & fraction) == ZERO
        whole = np.uint64((1 << (8 * (7 - places))) - 1)
        other &= whole
    else:
        valid &= (word >> _TOP_BIT) == ONE  # the last character is a digit
    # What is no digit must be blanks at the bottom, then at most a sign: bytes 0 … k-1 of `lead`.
    lead = other | (other - (other >> SEVEN))
    after = lead + ONE
    valid &= (lead & after) == ZERO
    unprinted = word & lead
    after >>= BYTE
    after *= _MINUS_BYTE
    negative = (unprinted == after) & (lead != ZERO)
    valid &= (unprinted == ZERO) | negative

    digits = word & _LOW_HALVES
    digits &= ~lead
    if places:
        digits = (digits & fraction) | ((digits & whole) << BYTE)
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
) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.bool_]]:
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
) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.bool_]]:
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
    match = _CIF_NUMBER.fullmatch(unquoted(word, True))
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
        Unquote (``'12'``), and read ``12.0``, as which pandas writes a column that lacks values.

    Returns
    -------
    values : (n,) int32
        0 where invalid.
    valid : (n,) bool
    """
    n, width = field.shape
    if n == 0 or width == 0:
        return np.zeros(n, np.int32), np.zeros(n, bool)
    values, valid = _whole(field)
    if not cif_values and (dots := field == _DOT).any():
        valid[np.flatnonzero(dots) // width] = False
    if cif_values and not valid.all():
        rows = np.flatnonzero(~valid)
        cells = field[rows]
        rows = rows[((cells == QUOTES[0]) | (cells == QUOTES[1])).any(axis=1)]
        if len(rows):
            bare = names(field[rows], cif_values=True)
            cells = bare.view(np.uint8).reshape(len(rows), -1)
            cells = np.where(cells == 0, np.uint8(BLANK), cells)
            values[rows], valid[rows] = _whole(cells)
    values[~valid] = 0
    return values.astype(np.int32), valid


def _whole(field: Field) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    values, valid, exact = decimals(field, 0)
    return values, valid & exact & (values < 2**31) & (values > -(2**31))
