"""Residue numbers of PDB files: four columns, and the ways to go on behind 9999."""

from __future__ import annotations

import re
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from pipeline.parsing.atom_table import ABSENT
from pipeline.parsing.fields import BLANK, Field, changes, codes, names
from pipeline.parsing.numbers import integers
from pipeline.parsing.residue_names import BLANK_CHAIN

_HYBRID_36 = re.compile(rb"[A-Z][0-9A-Z]{3}|[a-z][0-9a-z]{3}")
_HEXADECIMAL = re.compile(rb"[0-9A-Fa-f]{4}")
_LAST_DECIMAL = 9999


def read_residue_numbers(
    rows: Field, chain: NDArray[np.bytes_], model: NDArray[np.int64]
) -> tuple[NDArray[np.int32], NDArray[np.bytes_]]:
    """Residue numbers (columns 23–26) and insertion codes (27).

    A digit in column 27 is the last of a number of five columns (CHARMM, GROMACS, VMD) where
    `_five_columns` says so, else an insertion code like a letter. Hybrid-36 numbers (``A000`` =
    10000; Grosse-Kunstleve, cctbx) are decoded, and hexadecimal ones where a chain goes on from
    9999 in them. What is no number at all (``****``) is `ABSENT`.

    Parameters
    ----------
    rows : (n, 80) uint8
        Records, in the order of the file; of a residue one is enough.
    chain : (n,) bytes
    model : (n,) int
    """
    ins_code = names(rows[:, 26:27])
    values, valid = integers(rows[:, 22:26])
    five = (rows[:, 26] >= ord("0")) & (rows[:, 26] <= ord("9"))
    if five.any():
        five &= _five_columns(rows[:, 22:27], five)
        wide, good = integers(rows[:, 22:27])
        five &= good
        values = np.where(five, wide, values)
        valid |= five
        ins_code[five] = b""
    if not valid.all():
        odd = np.flatnonzero(~valid)
        texts, inverse = np.unique(
            np.ascontiguousarray(rows[odd, 22:26]).view("S4").ravel(), return_inverse=True
        )
        values[odd] = np.array([_hybrid_36(text) for text in texts.tolist()], np.int32)[inverse]
    if (values == _LAST_DECIMAL).any():
        _go_on_in_hexadecimal(rows, chain, model, values)
    return values, ins_code


def read_thousands_below_zero(
    rows: Field, chain: NDArray[np.bytes_], model: NDArray[np.int64], values: NDArray[np.int32]
) -> int:
    """Read ``-1000`` and below where the sign took the column of the chain id, into `values`.

    Such a number reads like 1000 of a chain ``-``. It is one where the numbers then rise, or go on
    behind the stretch: ``-1000``, ``A-999``. There the chain is A, else it has no id.

    Parameters
    ----------
    rows, chain, model
        As `read_residue_numbers` has them; `chain` changes.
    values : (n,) int32
        What it gave.

    Returns
    -------
    int
        How many of the rows were read so.
    """
    like = rows[:, 21] == ord("-")
    if not like.any():
        return 0
    digits = rows[:, 22:26] - np.uint8(ord("0"))
    like &= (rows[:, 20] == BLANK) & (digits < 10).all(axis=1) & (digits[:, 0] > 0)
    firsts = changes(like, model)
    n_read = 0
    for first, end in pairwise([*firsts.tolist(), len(rows)]):
        if not like[first]:
            continue
        numbers = -values[first:end]
        goes_on = end < len(rows) and model[end] == model[first] and values[end] == numbers[-1] + 1
        if goes_on or (numbers[0] < numbers[-1] and (np.diff(numbers) >= 0).all()):
            values[first:end] = numbers
            chain[first:end] = chain[end] if goes_on else BLANK_CHAIN
            n_read += end - first
    return n_read


def _five_columns(field: Field, ends_in_digit: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Whose number may take five columns: those that fill the first, those that have the last
    alone, and all where the numbers of the file are flush with the last.

    They are if every number ends there, in more than one digit: 52, 521, 522, 53 are 52 with two
    insertions and 53, and a 0 behind every number is an insertion code, too.
    """
    is_there = (field != BLANK).any(axis=1)
    last = field[ends_in_digit, -1]
    if (ends_in_digit == is_there).all() and (last != last[0]).any():
        return is_there
    alone: NDArray[np.bool_] = (field[:, :-1] == BLANK).all(axis=1)
    return (field[:, 0] != BLANK) | alone


def _hybrid_36(text: bytes) -> int:
    if not _HYBRID_36.fullmatch(text):
        return ABSENT
    base = 10 * 36**3 if text == text.upper() else -16 * 36**3
    return int(text, 36) - base + 10**4


def _go_on_in_hexadecimal(
    rows: Field, chain: NDArray[np.bytes_], model: NDArray[np.int64], values: NDArray[np.int32]
) -> None:
    """Read hexadecimal numbers (OpenMM, VMD: ``2710`` = 10000) into `values`.

    They are a stretch of residues of one chain that goes on from 9999 and rises by one. Without a
    letter among them it may be a chain that begins again at 2710: it is where its numbers go on
    rising in decimal behind the stretch.
    """
    order = np.lexsort((codes(chain), model))  # stable: in the order of the file within a chain
    texts = np.ascontiguousarray(rows[order, 22:26]).view("S4").ravel()
    plain = rows[order, 26] == BLANK
    chain_ends = np.append(changes(model[order], chain[order])[1:], len(order))
    lasts = np.flatnonzero((texts == b"9999") & plain)
    stops = chain_ends[np.searchsorted(chain_ends, lasts, side="right")]
    for last, stop in zip(lasts.tolist(), stops.tolist(), strict=True):
        if values[order[last]] != _LAST_DECIMAL:
            continue  # hexadecimal 9999 of a stretch
        text, number = b"9999", _LAST_DECIMAL
        numbers = []
        k = last + 1
        while k < stop and plain[k] and (number > _LAST_DECIMAL or texts[k] != b"9999"):
            if texts[k] != text:
                text = texts[k]
                if not _HEXADECIMAL.fullmatch(text) or int(text, 16) != number + 1:
                    break
                number += 1
            numbers.append(number)
            k += 1
        decimal = all(text.isdigit() for text in texts[last + 1 : k].tolist())
        if numbers and not (decimal and k < stop and values[order[k]] >= values[order[k - 1]]):
            values[order[last + 1 : k]] = numbers
