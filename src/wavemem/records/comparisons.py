"""Comparing a few seeds of one model with a few seeds of another: means, 95 % intervals and a word for what they show."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from wavemem.checks import number_in, require

__all__ = ["UNDECIDED", "Interval", "mean_interval", "welch", "word"]

UNDECIDED = "no difference shown"
"""The word for an interval that contains zero: neither a difference nor its absence has been shown."""

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


def word(interval: Interval, more: str, less: str, undecided: str = UNDECIDED) -> str:
    """`more` if the whole interval lies above zero, `less` if it lies below, else `undecided`.

    Args:
        interval: of a difference.
        more: what to say of a positive one.
        less: what to say of a negative one.
        undecided: what to say if zero is in it.
    """
    if interval.low > 0:
        return more
    return less if interval.high < 0 else undecided
