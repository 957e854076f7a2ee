"""Sequence recovery, perplexity and confusion of designed positions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.metrics import confusion, perplexity, sequence_recovery

SEQUENCES = st.lists(st.integers(0, 20), min_size=1, max_size=50).map(np.array)


def test_recovery_counts_designed_positions_of_known_type():
    reference = np.array([0, 1, 2, 3, 20])
    predicted = np.array([0, 1, 5, 5, 20])
    assert sequence_recovery(predicted, reference) == 0.5
    assert sequence_recovery(predicted, reference, [True, False, True, False, True]) == 0.5
    assert sequence_recovery(predicted, reference, [True, True, False, False, False]) == 1
    assert np.isnan(sequence_recovery(predicted, reference, [False] * 4 + [True]))


@settings(max_examples=50)
@given(SEQUENCES)
def test_knowing_nothing_has_a_perplexity_of_20_and_certainty_of_1(sequence):
    known = sequence < 20
    uniform = np.full((len(sequence), 20), -np.log(20))
    certain = np.log(np.eye(20)[np.minimum(sequence, 19)] * (1 - 20e-12) + 1e-12)
    if known.any():
        assert perplexity(uniform, sequence) == pytest.approx(20)
        assert perplexity(certain, sequence) == pytest.approx(1, abs=1e-6)
    else:
        assert np.isnan(perplexity(uniform, sequence))


def test_perplexity_is_the_geometric_mean_over_designed_positions():
    p = np.full((3, 20), 0.01 / 19)
    p[[0, 1, 2], [4, 5, 6]] = 0.99
    log_p = np.log(p)
    assert perplexity(log_p, [4, 5, 7], [True, True, False]) == pytest.approx(1 / 0.99)
    both = perplexity(log_p, [4, 5, 7], [True, False, True])
    assert both == pytest.approx((0.99 * 0.01 / 19) ** -0.5)


def test_logits_are_refused_where_log_probabilities_are_asked_for():
    with pytest.raises(ValueError, match="log_softmax"):
        perplexity(np.ones((3, 20)), [0, 1, 2])
    with pytest.raises(ValueError, match=r"\(3, 20\)"):
        perplexity(np.zeros((3, 21)), [0, 1, 2])
    with pytest.raises(ValueError, match="log_softmax"):
        perplexity(np.full((3, 20), np.nan), [0, 1, 2])
    # Positions that do not count may hold anything.
    log_p = np.full((2, 20), -np.log(20))
    log_p[1] = np.nan
    assert perplexity(log_p, [3, 3], [True, False]) == pytest.approx(20)


@settings(max_examples=50)
@given(st.data(), SEQUENCES)
def test_confusion_counts_each_position_once_and_its_diagonal_is_the_recovery(data, reference):
    predicted = np.array([data.draw(st.integers(0, 21)) for _ in reference])
    found = confusion(predicted, reference)
    expected = np.zeros((20, 20), int)
    for a, b in zip(reference, predicted, strict=True):
        if a < 20 and b < 20:
            expected[a, b] += 1
    np.testing.assert_array_equal(found, expected)
    if (reference < 20).any():
        recovered = np.trace(found) / (reference < 20).sum()
        assert sequence_recovery(predicted, reference) == pytest.approx(recovered)
