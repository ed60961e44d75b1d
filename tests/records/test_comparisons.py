"""Intervals of means and of differences over seeds, against scipy's own, and what they are called."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from wavemem.records.comparisons import UNDECIDED, Interval, mean_interval, welch, word


@pytest.mark.parametrize("counts", [(3, 3), (3, 8), (2, 5)])
def test_welch_s_interval_is_scipy_s(counts: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(1, 2, counts[0]), rng.normal(0, 0.5, counts[1])
    expected = stats.ttest_ind(a, b, equal_var=False).confidence_interval(0.9)
    found = welch(a, b, 0.9)
    assert found.mean == pytest.approx(a.mean() - b.mean())
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))


def test_the_mean_s_interval_is_scipy_s() -> None:
    values = [0.1, 0.4, 0.2]
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert mean_interval(values) == pytest.approx((np.mean(values), expected.low, expected.high))


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    inside = 0
    for _ in range(2000):
        found = welch(rng.normal(0, 1, 3), rng.normal(0, 3, 3))
        inside += found.low <= 0 <= found.high
    assert 0.93 < inside / 2000 < 0.985  # Welch's is a little wide for three against three


def test_one_seed_shows_nothing_and_no_spread_shows_all() -> None:
    assert welch([1.0], [0.0, 0.1]) == Interval(1.0 - 0.05, -math.inf, math.inf)
    assert mean_interval([2.0]) == Interval(2.0, -math.inf, math.inf)
    assert welch([1.0, 1.0], [0.0, 0.0]) == Interval(1.0, 1.0, 1.0)
    assert word(welch([1.0], [0.0]), "more", "less") == UNDECIDED
    assert word(welch([1.0, 1.0], [1.0, 1.0]), "more", "less") == UNDECIDED


def test_words() -> None:
    assert word(Interval(1, 0.5, 1.5), "slower", "faster") == "slower"
    assert word(Interval(-1, -1.5, -0.5), "slower", "faster") == "faster"
    assert word(Interval(-1, -2.5, 0.5), "slower", "faster", "?") == "?"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: welch([], [1.0]), "values = "),
        (lambda: welch([1.0], [float("nan")]), "control = "),
        (lambda: mean_interval([1.0, 2.0], level=1.5), "level = 1.5"),
    ],
)
def test_bad_input_is_explained(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
