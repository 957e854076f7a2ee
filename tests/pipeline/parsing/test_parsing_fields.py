"""Fixed-width fields become what Python's own decimal, int and bytes make of them."""

from __future__ import annotations

import re
from decimal import ROUND_HALF_EVEN, Decimal

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.parsing.fields import changes, codes, decimals, integers, names, whole_number

_PLAIN = re.compile(rb" *[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+) *")
_CHARACTERS = st.sampled_from(list(b"0123456789012345678901234567890.. --+?eEnaN/:*\t\xff\xb2"))


def field(rows: list[bytes], width: int | None = None) -> np.ndarray:
    width = max(map(len, rows)) if width is None else width
    return np.frombuffer(b"".join(r.ljust(width) for r in rows), np.uint8).reshape(-1, width)


def expected_decimal(text: bytes, places: int) -> tuple[int, bool, bool]:
    """(value, valid, exact); at most 18 digits are numbers of ours."""
    if not _PLAIN.fullmatch(text) or sum(48 <= c < 58 for c in text) > 18:
        return 0, False, True
    exact = Decimal(text.strip().decode()).scaleb(places)
    if abs(exact) > np.iinfo(np.int64).max:
        return 0, False, True
    value = int(exact.to_integral_value(ROUND_HALF_EVEN))
    return value, True, value == exact


@st.composite
def number_like(draw: st.DrawFn) -> bytes:
    """What stands in number columns, and what nearly does."""
    if draw(st.booleans()):
        return bytes(draw(st.lists(_CHARACTERS, min_size=1, max_size=20)))
    sign = draw(st.sampled_from(["", "", "-", "+"]))
    whole = draw(st.text("0123456789", max_size=6))
    point = draw(st.sampled_from(["", "."]))
    fraction = draw(st.text("0123456789", max_size=6)) if point else ""
    left, right = (" " * draw(st.integers(0, 3)) for _ in range(2))
    return (left + sign + whole + point + fraction + right).encode() or b" "


@settings(max_examples=600, deadline=None)
@given(st.lists(number_like(), min_size=1, max_size=12), st.integers(0, 4), st.integers(0, 3))
@example([b"  -0.500", b"   1.500"], 0, 0)
@example([b"-999.9995", b"1000.0005"], 3, 0)
@example([b"-12.345 ", b"  12.345"], 3, 0)
@example([b"-.5     ", b"+.500   ", b"-.      ", b".       "], 3, 0)
def test_decimals_are_those_of_pythons_decimal(rows: list[bytes], places: int, extra: int):
    width = max(map(len, rows)) + extra
    values, valid, exact = decimals(field(rows, width), places)
    wanted = [expected_decimal(row, places) for row in rows]
    assert [(int(v), bool(g)) for v, g in zip(values, valid, strict=True)] == [
        (v, g) for v, g, _ in wanted
    ]
    assert [bool(e) for e, g in zip(exact, valid, strict=True) if g] == [
        e for _, g, e in wanted if g
    ]


@pytest.mark.parametrize("width", range(1, 21))
def test_decimals_of_every_width_keep_sign_and_digits(width: int):
    rng = np.random.default_rng(width)
    rows = []
    for _ in range(300):
        places = int(rng.integers(0, min(4, width)))
        digits = int(rng.integers(1, max(2, min(width - 1, 15))))
        text = f"{int(rng.integers(-(10**digits), 10**digits)) / 10**places:.{places}f}"
        rows.append((text.rjust(width) if rng.integers(2) else text.ljust(width)).encode())
    rows = [row for row in rows if len(row) == width] or [b"1".rjust(width)]
    values, valid, exact = decimals(field(rows), 3)
    assert valid.all()
    assert exact.all()
    assert values.tolist() == [expected_decimal(row, 3)[0] for row in rows]


def test_a_half_beyond_the_last_place_is_rounded_to_even():
    rows = [b"0.0005", b"0.0015", b"0.0025", b"-0.0015", b"-0.0025", b"0.00051", b"0.0004999"]
    values, _, exact = decimals(field(rows), 3)
    assert values.tolist() == [0, 2, 2, -2, -2, 1, 0]
    assert not exact.any()


def test_zeros_beyond_the_last_place_are_not_rounding():
    assert decimals(field([b"1.23400", b"-0.5000000"]), 3)[2].all()


@pytest.mark.parametrize(
    "text",
    [b"nan", b"NaN", b"inf", b"1e3", b"1.0.0", b"1 2", b"--1", b"1-", b"?", b".", b"", b"0x1"],
)
def test_what_is_no_number_is_never_zero(text: bytes):
    values, valid, _ = decimals(field([text or b" ", b"1.000"]), 3)
    assert valid.tolist() == [False, True]
    assert values.tolist() == [0, 1000]


@settings(max_examples=400, deadline=None)
@given(st.lists(number_like(), min_size=1, max_size=12))
@example([b"2147483647", b"-2147483647", b"2147483648", b"99999999999999999999"])
def test_integers_are_those_of_pythons_int(rows: list[bytes]):
    values, valid = integers(field(rows))
    for row, value, good in zip(rows, values.tolist(), valid.tolist(), strict=True):
        whole = re.fullmatch(rb" *([+-]?[0-9]{1,18}) *", row)
        is_one = whole is not None and abs(int(whole[1])) < 2**31
        assert good == is_one
        assert value == (int(whole[1]) if whole is not None and is_one else 0)


def test_integers_of_equal_rows_far_apart_are_read_each_time():
    values, valid = integers(field([b"1", b"1", b"x", b"2", b"1"]))
    assert values.tolist() == [1, 1, 0, 2, 1]
    assert valid.tolist() == [True, True, False, True, True]


@settings(max_examples=400, deadline=None)
@given(
    st.lists(
        st.text("ABC12'\"*+ .?", max_size=12).map(lambda t: t.encode()), min_size=1, max_size=10
    ),
    st.integers(0, 3),
)
def test_names_are_stripped_and_keep_blanks_within(rows: list[bytes], extra: int):
    width = max(1, *map(len, rows)) + extra
    assert names(field(rows, width)).tolist() == [row.strip(b" ") for row in rows]


@settings(max_examples=400, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.text("ABO12'*.?", min_size=1, max_size=10),
            st.text("ABO12'*.? ", min_size=1, max_size=10).map(lambda t: f'"{t.strip()}"'),
            st.sampled_from([".", "?", "'.'", '"?"', "'", '"', "O5'", 'C1"']),
        ),
        min_size=1,
        max_size=10,
    )
)
def test_cif_names_are_unquoted_and_absent_only_without_quotes(words: list[str]):
    def bare(word: str) -> bytes:
        if word in (".", "?"):
            return b""
        if len(word) > 1 and word[0] in "'\"" and word[-1] == word[0]:
            word = word[1:-1]
        return word.encode()

    rows = [w.encode() for w in words]
    assert names(field(rows), cif_values=True).tolist() == [bare(w) for w in words]


@given(st.lists(st.sampled_from([b"A", b"B", b"AB", b"ABCDEFGHIJ", b""]), min_size=1, max_size=30))
def test_codes_are_equal_exactly_where_names_are(rows: list[bytes]):
    found = names(field(rows, max(1, *map(len, rows))))
    view = codes(found)
    for k in range(len(rows)):
        assert (view == view[k]).tolist() == [row == rows[k] for row in rows]


@given(st.lists(st.tuples(st.integers(0, 2), st.sampled_from([b"A", b"B"])), min_size=1))
def test_changes_are_where_any_column_differs_from_the_row_before(rows):
    numbers = np.array([n for n, _ in rows])
    text = np.array([t for _, t in rows], "S1")
    expected = [k for k in range(len(rows)) if k == 0 or rows[k] != rows[k - 1]]
    assert changes(numbers, text).tolist() == expected


@pytest.mark.parametrize(
    ("text", "number"),
    [
        *[("12", 12), ("-3", -3), ("+7", 7), ("²", None), ("9" * 5000, None), ("1_0", None)],
        *[("", None), (None, None), ("--5", None), ("1.0", None)],
    ],
)
def test_a_whole_number_is_one_in_ascii_of_nine_digits_at_most(text, number):
    assert whole_number(text) == number
