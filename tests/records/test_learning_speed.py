"""Rates and thresholds of learning curves whose rate is known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from wavemem.records.comparisons import at_least_times, learning_speed, smoothed

T = np.arange(1, 2001, 10).astype(float)


def test_the_rate_of_an_exponential_after_a_plateau() -> None:
    start, r, begin = math.log(16), 0.013, 400
    losses = start * np.exp(-r * np.clip(T - begin, 0, None))
    found = learning_speed(T, losses, start, window=1)
    assert abs(found.rate / r - 1) < 0.03
    assert found.straight > 0.995
    assert abs(found.began - (begin + math.log(1 / 0.9) / r)) <= 10
    assert abs(found.reached - (begin + math.log(10) / r)) <= 10


def test_smoothing_leaves_the_rate_of_an_exponential_and_delays_the_threshold() -> None:
    losses = 3 * np.exp(-0.005 * T)
    plain, mean = learning_speed(T, losses, 3.0, window=1), learning_speed(T, losses, 3.0, window=5)
    assert abs(mean.rate / plain.rate - 1) < 0.05
    assert 0 <= mean.reached - plain.reached <= 30
    assert smoothed([4, 2, 0, 6], 2).tolist() == [4, 3, 1, 3]


def test_a_curve_that_does_not_arrive_has_the_rate_of_the_fall_so_far() -> None:
    start, r, begin = 3.0, 0.001, 500
    found = learning_speed(T, start * np.exp(-r * np.clip(T - begin, 0, None)), start)
    assert abs(found.rate / r - 1) < 0.03
    assert found.straight > 0.99
    falling, flat, failed = (learning_speed(T, np.linspace(2.7, end, len(T)), 2.7) for end in (1.0, 2.7, math.nan))
    assert falling.began > 0
    assert abs(falling.folds - math.log(2.7 / 1.085)) < 0.01
    assert abs(flat.folds) < 1e-12
    assert all(map(math.isnan, (found.reached, falling.reached, flat.began, flat.rate, *failed)))


def test_the_stretch_of_the_fit_is_the_one_that_is_described() -> None:
    """From the last value before the first below 0.9 to the first below 0.1; a value on a threshold is not below it."""
    t = [10.0, 20.0, 30.0, 50.0, 60.0, 70.0, 80.0, 90.0, 95.0, 100.0]
    curve = [1.0, 0.9, 0.8, 0.5, 0.3, 0.1, 0.08, 0.02, 0.4, 0.04]
    found = learning_speed(t, 4 * np.array(curve), 4.0, window=1)
    assert (found.began, found.reached) == (30, 80)
    inside = slice(1, 7)
    slope, _ = np.polyfit(t[inside], np.log(curve[inside]), 1)
    assert found.rate == pytest.approx(-slope)
    assert found.straight == pytest.approx(np.corrcoef(t[inside], np.log(curve[inside]))[0, 1] ** 2)
    assert found.folds == pytest.approx(-math.log((0.4 + 0.04) / 2))  # of the updates after 90
    late = learning_speed(t[:4], np.array([1.0, 1.0, 1.0, 0.5]), 1.0, window=1)
    assert (late.began, late.rate) == (50, pytest.approx(math.log(2) / 20))
    assert math.isnan(late.reached)
    below = learning_speed([1, 2], [0.1, 0.1], 2.7)  # there at once
    assert below.reached == 1
    assert math.isnan(below.rate)


def test_never_arriving_counts_as_the_budget() -> None:
    assert at_least_times(100, 300, 900) == 3
    assert at_least_times(100, math.nan, 900) == 9
    assert at_least_times(math.nan, 300, 900) == 1 / 3
    assert math.isnan(at_least_times(math.nan, math.nan, 900))
