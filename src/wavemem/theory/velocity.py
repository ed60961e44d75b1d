"""The velocity with which activity travels over a substrate, with its error and a measure of trust.

Sign: a positive velocity moves activity towards *smaller* position, h(v, t) = h0(v + ν t), as in the travelling-wave papers'
Eq. 2. A substrate that shifts from column s to column 1 has velocity +1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from wavemem.checks import activity_is, require

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Velocity:
    """An estimated velocity and how far to trust it.

    Attributes:
        value: Columns per step, positive towards smaller position; nan where no direction stands out.
        error: Standard error (jackknife over groups of series, or of times), same unit; nan with ``value``.
        coherence: Correlation of the activity with itself carried along at ``best``, minus the correlation at −``best``
            (where that is positive): 1 for an undamped travelling wave, 0 for noise, for frozen patterns and for
            standing waves.
        best: The velocity of highest correlation, confident or not.
    """

    value: float
    error: float
    coherence: float
    best: float

    @property
    def confident(self) -> bool:
        """True where the activity travels in one direction by more than chance."""
        return math.isfinite(self.value)


_LANCZOS = 3


def _lanczos(x: FloatArray) -> FloatArray:
    """Interpolation kernel: 1 at 0, 0 at every other whole number, support (−3, 3)."""
    return np.where(np.abs(x) < _LANCZOS, np.sinc(x) * np.sinc(x / _LANCZOS), 0.0)


class _LagCorrelation:
    """Sums for the correlation of h(v, t) with h(v − ξ, t + τ), by group, for τ = 1..taus and |ξ| ≤ width."""

    def __init__(self, groups: list[tuple[FloatArray, int, int]], taus: int, width: int) -> None:
        shape = (len(groups), taus, 2 * width + 1)
        self.cross, self.before, self.after = np.zeros(shape), np.zeros(shape), np.zeros(shape)
        for g, (x, start, stop) in enumerate(groups):  # x: (time, series, position), earlier times start..stop-1
            position = x.shape[-1]
            for tau in range(1, taus + 1):
                last = min(stop, len(x) - tau)
                if last <= start:
                    continue
                early, late = x[start:last], x[start + tau : last + tau]
                # products[v, w] summed over time and series; its diagonals are the lags ξ = v − w.
                products = np.einsum("tbv,tbw->vw", early, late, optimize=True)
                power_early, power_late = (early**2).sum((0, 1)), (late**2).sum((0, 1))
                for c, xi in enumerate(range(-width, width + 1)):
                    keep = slice(max(xi, 0), position + min(xi, 0))
                    moved = slice(max(-xi, 0), position + min(-xi, 0))
                    self.cross[g, tau - 1, c] = np.trace(products, offset=-xi)
                    self.before[g, tau - 1, c] = power_early[keep].sum()
                    self.after[g, tau - 1, c] = power_late[moved].sum()

    def table(self, leave_out: int | None = None) -> FloatArray:
        """Correlation coefficients (taus, 2 width + 1), optionally without one group."""
        keep = [g for g in range(len(self.cross)) if g != leave_out]
        power = np.sqrt(self.before[keep].sum(0) * self.after[keep].sum(0))
        return np.divide(self.cross[keep].sum(0), power, out=np.zeros_like(power), where=power > 0)


def _carried(table: FloatArray, velocities: FloatArray, reach: float) -> FloatArray:
    """Mean over τ of the correlation at ξ = ν τ (interpolated in ξ), over the lags with |ν τ| ≤ reach."""
    taus = np.arange(1, len(table) + 1)
    width = (table.shape[1] - 1) // 2
    xi = velocities[:, None] * taus  # (velocity, tau)
    kernel = _lanczos(xi[..., None] - np.arange(-width, width + 1))
    value = (kernel * table).sum(-1)
    inside = np.abs(xi) <= reach + 1e-9
    result: FloatArray = (value * inside).sum(-1) / np.maximum(inside.sum(-1), 1)
    return result


def _best_velocity(table: FloatArray, largest: float, reach: float, near: float | None = None) -> float:
    """Velocity of the highest mean correlation: a grid, then ever finer grids around its best local maximum."""
    step = 0.5 / len(table) / 4
    if near is None:
        grid = np.arange(-math.ceil(largest / step), math.ceil(largest / step) + 1) * step
        grid = grid[np.abs(grid) <= largest + 1e-9]
        value = _carried(table, grid, reach)
        padded = np.concatenate([[-np.inf], value, [-np.inf]])
        peaks = np.flatnonzero((padded[1:-1] >= padded[:-2]) & (padded[1:-1] >= padded[2:]))
        peaks = peaks[value[peaks] >= value.max() - 0.01]
        # Velocities that differ by a whole wavelength per step look the same: report the slowest of the equals.
        near = float(grid[peaks[np.argmin(np.abs(grid[peaks]))]])
    for _ in range(12):
        grid = near + step * np.linspace(-1, 1, 9)
        grid = grid[np.abs(grid) <= largest + 1e-9]
        near = float(grid[np.argmax(_carried(table, grid, reach))])
        step /= 4
    return near


def estimate_velocity(
    activity: Float[Tensor, "time *rest position"], max_velocity: float | None = None, min_coherence: float = 0.2
) -> Velocity:
    """Velocity of the activity, from how well it is predicted by itself carried along.

    The temporal mean of every position is removed (a frozen pattern does not travel). For every lag τ and displacement ξ the
    correlation of h(v, t) with h(v − ξ, t + τ) is taken over the part of the substrate where both exist, so that open ends and
    what a boundary writes do no harm; a wave of velocity ν has its ridge on ξ = ν τ. The estimate maximises the mean
    correlation along that line; the coherence is its advantage over the same line mirrored, which is zero for a standing
    wave (two equal opposite ones), for noise, and for an oscillation in step everywhere.

    Two limits of any such estimate: velocities that differ by one wavelength per step cannot be told apart in a purely
    periodic pattern (the slowest is returned), and displacements beyond half the substrate are not looked at.

    Args:
        activity: (time, ..., channel, position); all channels and batch entries are taken to share one velocity. Call it
            channel by channel for a substrate with velocities ν_j.
        max_velocity: Largest |ν| considered, in columns per step; a quarter of the substrate unless given.
        min_coherence: Coherence below which no velocity is reported.

    Returns:
        The velocity (nan unless its coherence exceeds ``min_coherence`` and five of its own standard errors).

    Raises:
        ValueError: If the activity has fewer than 4 steps or 4 positions or is not finite, or a limit is out of range.
    """
    activity_is(activity, 4, 4)
    time, position = activity.shape[0], activity.shape[-1]
    reach = position / 2
    largest = position / 4 if max_velocity is None else float(max_velocity)
    require(
        0 < largest <= reach,
        f"max_velocity = {largest}",
        f"0 < max_velocity <= {reach} (half the substrate)",
        "A faster wave crosses the substrate before it can be seen twice.",
    )
    require(0 <= min_coherence < 1, f"min_coherence = {min_coherence}", "0 <= min_coherence < 1", "0.2 is the default.")
    x = activity.detach().to("cpu", torch.float64).reshape(time, -1, position).numpy()
    scale = np.abs(x).max()
    x = x - x.mean(0)
    if np.abs(x).max() <= 1e-12 * max(scale, 1e-300):
        return Velocity(math.nan, math.nan, 0.0, 0.0)
    taus = min(time // 2, position)
    width = min(int(reach) + _LANCZOS, position - 1)
    series = x.shape[1]
    if series >= 8:
        groups = [(x[:, part], 0, time) for part in np.array_split(np.arange(series), 8)]
    else:
        cuts = np.linspace(0, time, min(8, time) + 1).astype(int)
        groups = [(x, int(a), int(b)) for a, b in pairwise(cuts)]
    lags = _LagCorrelation(groups, taus, width)

    def both(table: FloatArray, near: float | None) -> tuple[float, float]:
        best = _best_velocity(table, largest, reach, near)
        along, against = _carried(table, np.array([best, -best]), reach)
        return best, float(min(along, 1.0) - max(against, 0.0))

    best, coherence = both(lags.table(), None)
    n = len(groups)
    left_out = np.array([both(lags.table(g), best) for g in range(n)])
    error, doubt = np.sqrt((n - 1) / n * ((left_out - left_out.mean(0)) ** 2).sum(0))
    if coherence >= min_coherence and coherence >= 5 * doubt:
        return Velocity(best, float(error), coherence, best)
    return Velocity(math.nan, math.nan, coherence, best)
