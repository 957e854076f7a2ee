"""PDB atom records with a value that is wider than its columns: everything behind it, coordinates
included or not, stands too far to the right.

Programs that pad values but do not check them write such lines: a serial number of six digits, a
residue number of five, a component id of five letters. Where the coordinates really stand is
certain: x, y and z have three decimals each and are eight columns wide, and that fits one place at
most. What stands before them is read by the rules of the format, with one value or more too wide.
Where that can be done in two ways, the line is left as it is. Of the coordinates only the last may
be too wide (-1000 or less, 10000 or more); the first eight characters of such a number look like
another number.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise, product

import numpy as np
from numpy.typing import NDArray

from pipeline.parsing.fields import BLANK, Field, names, stack
from pipeline.parsing.numbers import decimals, decimals_of_fixed_places, integers

MAX_SHIFT = 7
"""Columns. A line shifted by eight, a whole coordinate, would fit in two places."""

_SERIAL, _NAME, _COMP, _X, _Y, _Z, _END = 6, 12, 17, 30, 38, 46, 54
_POINT = ord(".")
_TOO_WIDE = list(product(range(3), range(4), range(4)))
"""Columns that component (3 by the format), chain (1) and residue number (4) may have too many."""


@dataclass(frozen=True, slots=True)
class WideValues:
    """What has no room in its columns, of k records.

    Attributes
    ----------
    rows : (k,) int
        The records.
    comp_id, chain, ins_code : (k,) bytes
    seq_id : (k,) int32
    """

    rows: NDArray[np.int64]
    comp_id: NDArray[np.bytes_]
    chain: NDArray[np.bytes_]
    seq_id: NDArray[np.int32]
    ins_code: NDArray[np.bytes_]

    def select(self, mask: NDArray[np.bool_]) -> WideValues:
        return WideValues(*(getattr(self, name)[mask] for name in self.__slots__))


def coordinate_fields(rows: Field) -> Field:
    """x, y and z of n records, below each other, ``(3n, 8) uint8``."""
    return stack([rows[:, k : k + 8] for k in (_X, _Y, _Z)])


def mend(
    rows: Field, odd: NDArray[np.int64], columns: Callable[[NDArray[np.int64], int], Field]
) -> tuple[NDArray[np.int64], list[WideValues]]:
    """Move what stands too far to the right to where it belongs.

    Parameters
    ----------
    rows : (n, 80) uint8
        All records; those that are mended change.
    odd : (m,) int
        Those without three numbers of three decimals in columns 31–54, ascending.
    columns : callable
        (records, first) → 80 columns of these records from the one at `first` on.

    Returns
    -------
    mended : (k,) int
        The records that were too wide, ascending.
    values : list of WideValues
        Of those whose component, chain or number has no room in its columns: these are blank then.
    """
    in_place = np.ones(len(rows), bool)
    in_place[odd] = False
    mended = [np.zeros(0, np.int64)]
    values = []
    for shift in range(1, MAX_SHIFT + 1):
        axes = coordinate_fields(rows[odd, shift:])
        _, valid = decimals_of_fixed_places(axes, 3)
        valid &= axes[:, -1] != BLANK
        fits = valid.reshape(3, len(odd)).all(axis=0)
        here, odd = odd[fits], odd[~fits]
        moved = columns(here, shift)
        extra = _columns_too_many_of_serial(rows[here], shift)
        regular = (extra == shift) & _is_regular(moved)
        rows[here[regular], _NAME:] = moved[regular, _NAME:]
        in_place[here[regular]] = True
        mended.append(here[regular])
        for serial in range(shift):
            some = np.flatnonzero(extra == serial)
            found = _readings(rows, here[some], shift, serial, in_place) if len(some) else []
            for reading in found:
                these = reading.rows
                rows[these, _NAME:_COMP] = rows[these, _NAME + serial : _COMP + serial]
                rows[these, _COMP:_X] = BLANK
                rows[these, _X:] = columns(these, shift)[:, _X:]
                mended.append(these)
            values += found
    return np.sort(np.concatenate(mended)), values


def mend_z(
    rows: Field, odd: NDArray[np.int64], columns: Callable[[NDArray[np.int64], int], Field]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Move what stands behind a z that is too wide to where it belongs.

    Parameters
    ----------
    rows : (n, 80) uint8
        All records; those that are mended change.
    odd : (m,) int
        As `mend` has them.
    columns : callable
        As `mend` has it.

    Returns
    -------
    mended : (k,) int
        The records: x and y have three decimals in their columns, z has three and fills its own and
        up to three more, and a blank is behind it.
    z : (k,) int64
        0.001 Å. There is no room for it in the record.
    """
    _, valid = decimals_of_fixed_places(coordinate_fields(rows[odd]), 3)
    in_place = valid.reshape(3, len(odd))
    odd = odd[in_place[0] & in_place[1] & (rows[odd, _END - 1] != BLANK)]
    mended, values = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for shift in range(1, 4):
        field = rows[odd, _Z : _END + shift]
        z, fits = decimals(field, 3)[:2]
        fits &= (field[:, -4] == _POINT) & (field != BLANK).all(axis=1)
        fits &= rows[odd, _END + shift] == BLANK
        these = odd[fits]
        if len(these):
            rows[these, _END:] = columns(these, shift)[:, _END:]
        mended.append(these)
        values.append(z[fits])
        odd = odd[~fits]
    return np.concatenate(mended), np.concatenate(values)


def cut_coordinates(rows: Field) -> NDArray[np.bool_]:
    """Which of x, y and z, ``(3, n)``, go on behind their columns: these are full, end before the
    third decimal, and a digit or the point follows."""
    cut = []
    for begin in (_X, _Y, _Z):
        field, behind = rows[:, begin : begin + 8], rows[:, begin + 8]
        few = (field[:, :5] != _POINT).all(axis=1)
        full = (field != BLANK).all(axis=1)
        goes_on = ((behind - np.uint8(ord("0"))) < 10) | (behind == _POINT)
        cut.append(few & full & goes_on)
    return np.array(cut)


def _columns_too_many_of_serial(line: Field, shift: int) -> NDArray[np.int64]:
    """By the end of the word behind the record name; -1 where that is no number of its own."""
    text = line[:, _SERIAL : _NAME + shift]
    ink = text != BLANK
    begun = np.logical_or.accumulate(ink, axis=1)
    ended = np.logical_or.accumulate(begun & ~ink, axis=1)
    extra = np.maximum(ended.argmax(axis=1) - 5, 0)
    before_name = np.arange(ink.shape[1]) <= 5 + extra[:, None]
    begin = ink.argmax(axis=1)
    is_digit = (text[np.arange(len(text)), begin] - np.uint8(ord("0"))) < 10
    good = (ink[:, :5].any(axis=1) | is_digit) & ended[:, -1]
    good &= ~(ink & ended & before_name).any(axis=1)
    return np.where(good, extra, -1)


def _is_regular(line: Field) -> NDArray[np.bool_]:
    """Whether name, component and number are words, and blanks stand before the coordinates."""
    words = [_is_word(line[:, begin:end]) for begin, end in ((12, 16), (17, 20), (22, 26))]
    good: NDArray[np.bool_] = np.logical_and.reduce(words) & (line[:, 27:30] == BLANK).all(axis=1)
    return good


def _is_word(field: Field) -> NDArray[np.bool_]:
    """Something stands there, without blanks within."""
    ink = field != BLANK
    starts = ink.copy()
    starts[:, 1:] &= ~ink[:, :-1]
    one: NDArray[np.bool_] = starts.sum(axis=1) == 1
    return one


def _readings(
    rows: Field, here: NDArray[np.int64], shift: int, serial: int, in_place: NDArray[np.bool_]
) -> list[WideValues]:
    """The only way to read component, chain and number of each of some records.

    A value is wider than its columns only if it fills them; a number may be padded. ``A12345`` is
    residue 12345 of chain A, or 2345 of chain A1: whichever chain other records have.
    """
    line = rows[here]
    readings, goods = [], []
    for comp, chain, number in _TOO_WIDE:
        ends = np.cumsum([_COMP + serial, 3 + comp, 1, 1 + chain, 4 + number, 1])
        if ends[-1] + 3 > _X + shift:
            continue
        comps, gap, chains, numbers, code = (line[:, begin:end] for begin, end in pairwise(ends))
        seq_id, good = integers(numbers)
        first = numbers[np.arange(len(line)), (numbers != BLANK).argmax(axis=1)]
        good &= ((first != ord("0")) | (seq_id == 0)) & (numbers[:, -1] != BLANK)
        good &= _is_word(line[:, _NAME + serial : _NAME + serial + 4]) & _is_word(comps)
        good &= (comps != BLANK).all(axis=1) | (comp == 0)
        good &= (chains != BLANK).all(axis=1) | (chain == 0)
        good &= (gap == BLANK)[:, 0] & ((code - np.uint8(ord("0"))) > 9)[:, 0]
        good &= (line[:, ends[-1] : _X + shift] == BLANK).all(axis=1)
        if good.any():
            readings.append(WideValues(here, names(comps), names(chains), seq_id, names(code)))
            goods.append(good)
    if not readings:
        return []
    several = np.sum(goods, axis=0) > 1
    if several.any():
        known = set(names(rows[in_place, 20:22]).tolist())
        for reading, good in zip(readings, goods, strict=True):
            known.update(reading.chain[good & ~several].tolist())
        for reading, good in zip(readings, goods, strict=True):
            good &= ~several | np.isin(reading.chain, list(known))
    only = np.sum(goods, axis=0) == 1
    chosen = [r.select(good & only) for r, good in zip(readings, goods, strict=True)]
    return [reading for reading in chosen if len(reading.rows)]
