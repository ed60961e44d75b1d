"""Intervals of means and of differences over seeds, against scipy's own, and what they are called."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from wavemem.records.comparisons import ALIKE, UNDECIDED, Interval, mean_interval, ranks, ratio, welch, word


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
    assert word(Interval(-1, -2.5, 0.5), "slower", "faster") == UNDECIDED
    assert word(Interval(0, -0.05, 0.08), "slower", "faster", 0.1) == ALIKE
    assert word(Interval(0, -0.05, 0.12), "slower", "faster", 0.1) == UNDECIDED
    assert word(Interval(0.05, 0.01, 0.08), "slower", "faster", 0.1) == "slower"


@pytest.mark.parametrize("counts", [(3, 3), (5, 5), (4, 9), (10, 10)])
def test_ranks_are_scipy_s_where_nothing_is_tied(counts: tuple[int, int]) -> None:
    rng = np.random.default_rng(2)
    a, b = rng.normal(0.5, 1, counts[0]), rng.normal(0, 2, counts[1])
    expected = stats.mannwhitneyu(a, b, method="exact")
    assert ranks(a, b) == pytest.approx((expected.statistic / (counts[0] * counts[1]), expected.pvalue))


def test_ranks_with_ties_are_those_of_all_ways_to_deal_them_out() -> None:
    a, b = [1.0, 1.0, 0.9, 1.0], [1.0, 0.5, 0.9, 0.2, 1.0]
    every = stats.rankdata(a + b)
    sums = np.array([every[list(chosen)].sum() for chosen in itertools.combinations(range(9), 4)])
    expected = (np.abs(sums - sums.mean()) >= abs(every[:4].sum() - sums.mean()) - 1e-9).mean()
    assert ranks(a, b).p == pytest.approx(expected)
    wins = np.mean([(x > y) + 0.5 * (x == y) for x in a for y in b])
    assert ranks(a, b).share == pytest.approx(wins)


def test_three_seeds_a_side_cannot_show_a_difference_by_rank_and_five_can() -> None:
    for n in (3, 5, 10):
        found = ranks(np.arange(n) + 100.0, np.arange(n))
        assert found.share == 1
        assert found.p == pytest.approx(2 / math.comb(2 * n, n))
    assert ranks([1.0, 1.0, 1.0], [0.0, 0.0, 0.0]).p == pytest.approx(0.1)
    assert ranks([1.0, 1.0], [1.0, 1.0]) == (0.5, 1.0)


def test_a_ratio_is_of_geometric_means() -> None:
    rng = np.random.default_rng(3)
    a, b = rng.lognormal(1, 0.2, 8), rng.lognormal(0, 0.5, 6)
    found, logs = ratio(a, b), welch(np.log(a), np.log(b))
    assert found == pytest.approx(tuple(np.exp(logs)))
    assert ratio(10 * a, b).mean == pytest.approx(10 * found.mean)
    assert ratio([1.0], [2.0]) == (0.5, 0.0, math.inf)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: welch([], [1.0]), "values = "),
        (lambda: welch([1.0], [float("nan")]), "control = "),
        (lambda: mean_interval([1.0, 2.0], level=1.5), "level = 1.5"),
        (lambda: ranks([1.0], []), "control = "),
        (lambda: ratio([1.0, 0.0], [1.0, 2.0]), "a value of 0"),
    ],
)
def test_bad_input_is_explained(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
