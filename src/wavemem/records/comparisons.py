r"""Comparing seeds of one model with seeds of another: means, 95 % intervals, ranks, a word for what they show, and how fast
a loss falls.

"Learns exponentially faster" is taken literally. While a model goes from guessing to knowing, let its loss fall as
$e^{-rt}$; of two models the one with the larger rate $r$ learns exponentially faster, since the ratio of the losses
itself falls exponentially. The rate is fitted where the fall takes place:

1. the curve is smoothed by a running mean over the last `window` logged values;
2. the fall begins at the last value before the smoothed loss is below `above` times its start for the first time, and
   ends where it is below `below` times its start for the first time, or with the training;
3. the rate is minus the slope of the least-squares line through the logarithm of the smoothed loss over this stretch.

So a curve that begins to fall has a rate, whether it arrives or not: to leave out those that do not arrive would compare
the lucky runs of a slow model with all runs of a fast one. A curve that never gets below `below` has no number of updates
(NaN); the length of the training is a lower bound of it. A curve that never begins to fall has no rate either. What is
defined for every curve is how many e-foldings the loss has lost at the end.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from wavemem.checks import number_in, positive_int, require

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


class LearningSpeed(NamedTuple):
    """Readings of one learning curve.

    Attributes:
        began: updates after which the loss had begun to fall (first below 0.9 of its start); NaN if never.
        reached: updates until it was below a tenth of its start; NaN if never.
        rate: decay rate between the two, per update, or from the one to the end of the training; NaN if it never began.
        straight: share of the variance of the logarithm that the line explains, 1 for an exponential; NaN with the rate.
        folds: e-foldings lost at the end, ln(start / final), the final loss being the mean of the last tenth.
    """

    began: float
    reached: float
    rate: float
    straight: float
    folds: float


def smoothed(values: Values, window: int = 5) -> NDArray[np.float64]:
    """Running mean over the last `window` values; over as many as there are at the beginning.

    Raises:
        ValueError: if there are no values or the window is not positive.
    """
    window = positive_int("window", window)
    array = np.asarray(values, dtype=np.float64)
    require(
        array.ndim == 1 and len(array) > 0, f"values of shape {array.shape}", "one axis, not empty", "Pass a curve."
    )
    return np.array([array[max(0, i + 1 - window) : i + 1].mean() for i in range(len(array))])


def learning_speed(
    iterations: Values, losses: Values, start: float, above: float = 0.9, below: float = 0.1, window: int = 5
) -> LearningSpeed:
    """Read one learning curve.

    Args:
        iterations: updates at which the loss was logged, rising.
        losses: the loss there; a value that is not finite ends the curve's use: nothing is reached any more.
        start: the loss of guessing, from which the fall is measured (ln V).
        above, below: shares of the start between which the rate is fitted.
        window: logged values per mean.

    Raises:
        ValueError: if lengths differ, updates do not rise, or shares are out of order.
    """
    t, raw = np.asarray(iterations, dtype=np.float64), np.asarray(losses, dtype=np.float64)
    require(
        t.ndim == 1 and t.shape == raw.shape and len(t) > 0 and bool((np.diff(t) > 0).all()),
        f"{t.shape} iterations that need not rise and {raw.shape} losses",
        "one axis, equal lengths, rising iterations",
        "Sort the rows of one run by iteration.",
    )
    require(start > 0, f"start = {start!r}", "a number above 0", "Pass the loss of guessing.")
    number_in("above", above, 0.0, 1.0)
    require(0 < below < above, f"below = {below!r}", f"between 0 and above = {above:g}", "Swap the two?")
    with np.errstate(invalid="ignore"):
        curve = smoothed(raw, window) / start
        first = np.flatnonzero(curve < above)
        last = np.flatnonzero(curve < below)
    late = raw[t > 0.9 * t[-1]]
    final = float(late.mean())
    folds = math.log(start / final) if math.isfinite(final) and final > 0 else math.nan
    began = float(t[first[0]]) if len(first) else math.nan
    reached = float(t[last[0]]) if len(last) else math.nan
    low, high = max(int(first[0]) - 1, 0) if len(first) else len(t), int(last[0]) if len(last) else len(t) - 1
    if high - low < 1:
        return LearningSpeed(began, reached, math.nan, math.nan, folds)
    x, y = t[low : high + 1], np.log(curve[low : high + 1])
    x, y = x - x.mean(), y - y.mean()
    slope = float((x * y).sum() / (x * x).sum())
    straight = float((x * y).sum() ** 2 / ((x * x).sum() * (y * y).sum()))
    return LearningSpeed(began, reached, -slope, straight, folds)


def at_least_times(faster: float, slower: float, budget: float) -> float:
    """How many times as many updates the slower of two runs needs, a run that never arrives counting as the whole budget.

    Args:
        faster: updates of the one run; NaN if never.
        slower: updates of the other; NaN if never.
        budget: updates that both were given.

    Returns:
        slower / faster, a lower bound where the slower never arrives, an upper bound where the other never does, NaN
        where neither does.
    """
    require(budget > 0, f"budget = {budget!r}", "a number above 0", "Pass the number of updates.")
    if math.isnan(faster) and math.isnan(slower):
        return math.nan
    return (budget if math.isnan(slower) else slower) / (budget if math.isnan(faster) else faster)
