"""Bins, ticks and words of the report."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from pipeline.report.charts import column_chart
from pipeline.report.histogram import histogram, nice_step, size_classes, ticks
from pipeline.report.sections.elements import class_columns
from pipeline.report.wording import legible, plain, share, size

anything = st_numpy.arrays(
    np.float64,
    st.integers(0, 60),
    elements=st.one_of(st.floats(-1e6, 1e9), st.just(math.nan), st.just(math.inf)),
)


@given(anything)
def test_every_value_is_in_a_bin_above_them_or_missing(values: np.ndarray) -> None:
    found = histogram(values)
    assert sum(found.counts) + found.n_above == found.n
    assert found.n + found.n_missing == len(values)
    assert len(found.edges) == (len(found.counts) + 1 if found.n else 0)
    assert len(found.counts) <= 60
    assert found.n_above <= 0.02 * found.n + 1


@given(st.lists(st.integers(0, 5000), min_size=1, max_size=80))
def test_bins_of_whole_numbers_hold_what_their_edges_say(values: list[int]) -> None:
    found = histogram(values, low=0, least_step=1)
    for k, n in enumerate(found.counts):
        low, high = found.edges[k], found.edges[k + 1]
        last = k == len(found.counts) - 1
        assert n == sum(low <= v < high or (last and v == high) for v in values)
        assert low == int(low)


def test_a_float32_of_one_decimal_is_in_the_bin_that_begins_with_it() -> None:
    values = np.array([1.8, 1.9, 2.1, 2.3], np.float32)
    found = histogram(values, low=0, high=3, least_step=0.1, most_bins=30)
    filled = [found.edges[k] for k, n in enumerate(found.counts) if n]
    assert filled == pytest.approx([1.8, 1.9, 2.1, 2.3])


@given(st.floats(1e-6, 1e12))
def test_a_step_is_round_and_hardly_larger_than_asked_for(least: float) -> None:
    step = nice_step(least)
    assert least * (1 - 1e-6) <= step <= 2.6 * least
    mantissa = step / 10 ** math.floor(math.log10(step) + 1e-9)
    assert min(abs(mantissa - m) for m in (1, 2, 2.5, 5, 10)) < 1e-6


@given(st.floats(-1e5, 1e5), st.floats(1e-3, 1e6))
def test_ticks_lie_between_the_ends(low: float, width: float) -> None:
    found = ticks(low, low + width)
    assert 2 <= len(found) <= 8
    assert all(low - 1e-6 * width <= t <= low + width * (1 + 1e-6) for t in found)


@given(st.lists(st.integers(1, 3000), max_size=60))
def test_classes_of_sizes_cover_all_sizes_once(sizes: list[int]) -> None:
    found = size_classes(sizes)
    assert sum(n for _, _, n in found) == len(sizes)
    assert [low for low, _, _ in found[1:]] == [high + 1 for _, high, _ in found[:-1]]


@given(st.text(), st.integers(20, 200))
def test_legible_text_is_one_line_of_visible_characters(text: str, limit: int) -> None:
    shown = legible(text, limit)
    assert shown.isprintable()
    assert len(shown) <= 10 * limit
    shown.encode("utf-8")


def test_what_hides_is_shown_as_a_code() -> None:
    assert legible("a\u202eb\x00c\ud800") == "a\\u202eb\\u0000c\\ud800"
    assert legible("two\n  lines\tand more") == "two lines and more"
    assert legible("x" * 5000, 100).count("x") < 100


def test_numbers_are_rounded_for_people() -> None:
    assert [share(1, 3), share(0, 9), share(1, 10**6), share(10**6 - 1, 10**6)] == [
        "33.3\u00a0%",
        "0\u00a0%",
        "< 0.1\u00a0%",
        "> 99.9\u00a0%",
    ]
    assert (share(3, 3), share(0, 0)) == ("100\u00a0%", "–")
    assert [size(0), size(999), size(21.2 * 2**20)] == ["0 bytes", "999 bytes", "21.2 MiB"]
    assert [plain(0.25), plain(1200.0), plain(-0.0)] == ["0.25", "1,200", "0"]


@pytest.mark.parametrize(
    ("largest", "expected"),
    [
        (32, ["1", "2", "3–4", "5–8", "9–16", "17–32"]),
        (1000, ["≥ 257", "65–128", "17–32", "5–8", "2"]),
    ],
)
def test_labels_of_columns_that_would_overlap_are_left_out_and_the_last_one_stays(
    largest: int, expected: list[str]
) -> None:
    columns = class_columns(size_classes([1, largest]))
    chart = str(column_chart(columns, "label", "axis", "pairs"))
    labels = re.findall(r'class="tick middle"[^>]*>([^<]*)<', chart)
    assert sorted(labels) == sorted(expected)
    assert all(f"<title>{name}: " in chart for name, n in columns if n)
