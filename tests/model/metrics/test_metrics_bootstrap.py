"""Bootstrap intervals over chains."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.metrics import mean_interval, paired_difference

VALUES = st.lists(st.floats(-100, 100), min_size=2, max_size=40).map(np.array)


@settings(max_examples=30, deadline=None)
@given(VALUES, st.integers(0, 100))
def test_the_interval_holds_the_mean_and_is_a_function_of_values_and_seed(values, seed):
    a = mean_interval(values, seed=seed, resamples=500)
    assert a == mean_interval(values, seed=seed, resamples=500)
    assert values.min() - 1e-9 <= a.low <= a.high <= values.max() + 1e-9
    assert a.mean == pytest.approx(values.mean())
    assert a.n == len(values)


def test_of_many_normal_values_the_interval_is_1_96_standard_errors():
    values = np.random.default_rng(0).normal(5, 2, 4000)
    found = mean_interval(values)
    error = values.std() / np.sqrt(len(values))
    assert found.low == pytest.approx(values.mean() - 1.96 * error, abs=0.1 * error)
    assert found.high == pytest.approx(values.mean() + 1.96 * error, abs=0.1 * error)


def test_the_interval_holds_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(1)
    held = [
        (i := mean_interval(rng.normal(0, 1, 50), resamples=400)).low <= 0 <= i.high
        for _ in range(300)
    ]
    assert 0.90 <= np.mean(held) <= 0.98


def test_a_small_difference_between_methods_shows_in_pairs_only():
    rng = np.random.default_rng(2)
    difficulty = rng.normal(10, 5, 60)
    a, b = difficulty + rng.normal(0.3, 0.1, 60), difficulty
    paired = paired_difference(a, b)
    assert 0.2 < paired.low < paired.mean < paired.high < 0.4
    assert mean_interval(a).low < mean_interval(b).high


def test_swapping_the_arms_changes_the_sign():
    rng = np.random.default_rng(3)
    a, b = rng.normal(size=(2, 30))
    one, other = paired_difference(a, b), paired_difference(b, a)
    np.testing.assert_allclose([one.mean, one.low], [-other.mean, -other.high], atol=0.02)


def test_chains_without_a_value_are_left_out_and_n_tells():
    found = mean_interval([1.0, np.nan, 3.0])
    assert (found.mean, found.n) == (2.0, 2)
    pairs = paired_difference([1.0, np.nan, 3.0], [1.0, 1.0, np.nan])
    assert (pairs.mean, pairs.low, pairs.high, pairs.n) == (0, 0, 0, 1)
    nothing = mean_interval([np.nan])
    assert nothing.n == 0
    assert np.isnan([nothing.mean, nothing.low, nothing.high]).all()


def test_different_numbers_of_chains_are_no_pairs():
    with pytest.raises(ValueError, match="same chains"):
        paired_difference([1.0, 2.0], [1.0])


def test_an_interval_prints_as_in_a_table():
    assert str(mean_interval([2.0, 2.0])) == "2.000 [2.000, 2.000]"
