"""Comparing seeds of one model with seeds of another: means, 95 % intervals, ranks, and a word for what they show."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from wavemem.checks import number_in, require

UNDECIDED = "no difference shown"
"""The word for an interval that contains zero: neither a difference nor its absence has been shown."""

ALIKE = "alike"
"""The word for an interval that contains zero and lies within a margin that was named beforehand."""

Values = Sequence[float] | NDArray[np.float64]


class Interval(NamedTuple):
    """An estimate and its confidence interval.

    Attributes:
        mean: the estimate.
        low, high: ends of the interval; infinite if one value per side leaves the spread unknown.
    """

    mean: float
    low: float
    high: float


class Ranks(NamedTuple):
    """What the order of the seeds says, whatever scale they are on.

    Attributes:
        share: of all pairs of a seed of one model and one of the other, those in which the former is larger; ties count half.
        p: exact two-sided probability of a share at least as far from one half if the two models do not differ.
    """

    share: float
    p: float


def _checked(name: str, values: Values) -> NDArray[np.float64]:
    array = np.asarray(values, dtype=np.float64)
    good = array.ndim == 1 and len(array) > 0 and bool(np.isfinite(array).all())
    require(good, f"{name} = {values!r}", "finite numbers, one per seed, at least one", "Leave out failed runs first.")
    return array


def _interval(mean: float, error: float, freedom: float, level: float) -> Interval:
    number_in("level", level, 0.0, 1.0)
    if freedom < 1e-9:
        return Interval(mean, -math.inf, math.inf)
    half = 0.0 if error == 0 else float(stats.t.ppf(0.5 + level / 2, freedom)) * error
    return Interval(mean, mean - half, mean + half)


def mean_interval(values: Values, level: float = 0.95) -> Interval:
    """Mean over seeds with Student's interval.

    Args:
        values: one per seed.
        level: confidence.

    Raises:
        ValueError: If there is no value, one of them is not finite, or the level is no share.
    """
    array = _checked("values", values)
    n = len(array)
    error = float(array.std(ddof=1)) / math.sqrt(n) if n > 1 else 0.0
    return _interval(float(array.mean()), error, n - 1, level)


def welch(values: Values, control: Values, level: float = 0.95) -> Interval:
    """Mean of one model's seeds minus that of another's, with Welch's interval (unequal variances, unpaired).

    Args:
        values: one per seed.
        control: one per seed of what it is compared with; the number of seeds may differ.
        level: confidence.

    Returns:
        The difference. Where neither side varies at all the interval is the difference itself.

    Raises:
        ValueError: If a side has no value, one of them is not finite, or the level is no share.
    """
    a, b = _checked("values", values), _checked("control", control)
    difference = float(a.mean() - b.mean())
    if min(len(a), len(b)) < 2:
        return _interval(difference, 0.0, 0, level)
    u, w = float(a.var(ddof=1)) / len(a), float(b.var(ddof=1)) / len(b)
    if u + w == 0:
        return _interval(difference, 0.0, 1, level)
    freedom = (u + w) ** 2 / (u**2 / (len(a) - 1) + w**2 / (len(b) - 1))
    return _interval(difference, math.sqrt(u + w), freedom, level)


def ratio(values: Values, control: Values, level: float = 0.95) -> Interval:
    """Ratio of geometric means with Welch's interval of the logarithms.

    Raises:
        ValueError: As `welch`; also if a value is not positive.
    """
    a, b = _checked("values", values), _checked("control", control)
    low = float(min(a.min(), b.min()))
    require(low > 0, f"a value of {low:g}", "numbers above 0", "Compare differences instead.")
    with np.errstate(over="ignore"):
        return Interval(*np.exp(welch(np.log(a), np.log(b), level)).tolist())


def ranks(values: Values, control: Values) -> Ranks:
    """Mann and Whitney's test, exact with ties: the share of pairs, and its p from all ways to deal out the midranks.

    Three seeds against three have p >= 0.1 however far apart they are; five against five reach 0.008.

    Args:
        values: one per seed.
        control: one per seed of what it is compared with.

    Raises:
        ValueError: If a side has no value, or one of them is not finite.
    """
    a, b = _checked("values", values), _checked("control", control)
    doubled = np.rint(2 * stats.rankdata(np.concatenate([a, b]))).astype(int)
    m, total = len(a), int(doubled.sum())
    ways = np.zeros((m + 1, total + 1))  # of choosing k of the ranks with a given sum
    ways[0, 0] = 1
    for rank in doubled:
        ways[1:, rank:] += ways[:-1, : total + 1 - rank].copy()
    expected = m * total / len(doubled)
    found = float(doubled[:m].sum())
    far = np.abs(np.arange(total + 1) - expected) >= abs(found - expected) - 1e-9
    share = (found / 2 - m * (m + 1) / 2) / (m * len(b))
    return Ranks(share, float(ways[m, far].sum() / ways[m].sum()))


def word(interval: Interval, more: str, less: str, margin: float = 0.0) -> str:
    """`more` if the whole interval lies above zero, `less` if it lies below; else `ALIKE` or `UNDECIDED`.

    Args:
        interval: of a difference.
        more: what to say of a positive one.
        less: what to say of a negative one.
        margin: an interval that contains zero and lies within ± margin is `ALIKE`; 0 for never.
    """
    if interval.low > 0:
        return more
    if interval.high < 0:
        return less
    return ALIKE if -margin < interval.low and interval.high < margin else UNDECIDED
