"""A velocity read off the two-dimensional spectrum of activity on a ring (Wave-RNN Fig. 2).

A pattern that travels with velocity ν has all its power on the line ω = ν k of wave number k and frequency ω. The share of a
wave number's power that lies on the line, relative to what an even spread over the frequencies would put there, is averaged
over the wave numbers: the *strength* of the line. Each wave number counts the same, so that the slow ones, where all lines
meet near the origin, do not decide.

Sign: a positive velocity carries activity towards smaller position, a rising diagonal, as in `wavemem.substrate.readings`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from wavemem.checks import number_in, require
from wavemem.substrate.velocity import check_activity

__all__ = ["Band", "line_strength", "mirror_ratio", "spectral_velocity"]

FloatArray = NDArray[np.float64]
ComplexArray = NDArray[np.complex128]

_GROUPS = 8


def _correlations(activity: Tensor) -> ComplexArray:
    """Temporal autocorrelation of each wave number's amplitude, summed over series: (group, wave number, lag 0 … T − 1).

    Wave numbers from 1/n to below 1/2: zero has no velocity, and 1/2 is its own mirror image. From these the power is known
    at *every* frequency, not just at those of the discrete transform, so that no velocity is favoured.
    """
    check_activity(activity, 4, 4)
    time, n = activity.shape[0], activity.shape[-1]
    series = activity.detach().to("cpu", torch.float64).reshape(time, -1, n)
    # h(v, t) = Σ A exp(2πi(k v + ω t)), as `spectrum_2d`: a positive velocity has ω and k of one sign.
    amplitude = torch.fft.fft(series, dim=-1)[..., 1 : (n + 1) // 2]
    spectrum = torch.fft.fft(amplitude, n=2 * time, dim=0).abs().square()
    parts = torch.arange(series.shape[1]).tensor_split(min(_GROUPS, series.shape[1]))
    power = torch.stack([spectrum[:, part].sum(1) for part in parts])  # group, frequency, wave number
    lags: ComplexArray = torch.fft.ifft(power, dim=1)[:, :time].movedim(1, 2).resolve_conj().numpy()
    return lags


def _strength(lags: ComplexArray, velocities: FloatArray, n: int) -> FloatArray:
    """Strength of the lines of some velocities, from the autocorrelations (wave number, lag) of one group or of several."""
    count, time = lags.shape
    frequency = np.outer(velocities, np.arange(1, count + 1) / n)
    turned = np.exp(-2j * np.pi * frequency[..., None] * np.arange(1, time))  # velocity, wave number, lag
    total = lags[:, 0].real
    power = total + 2 * np.einsum("vkl,kl->vk", turned, lags[:, 1:]).real
    strength: FloatArray = np.divide(power, total, out=np.zeros_like(power), where=total > 0).mean(1)
    return strength


def line_strength(activity: Float[Tensor, "time *rest position"], velocity: float) -> float:
    """How much power lies on the line of a velocity, relative to power spread evenly over all frequencies.

    Args:
        activity: Activity on a ring.
        velocity: ν in units per step.

    Returns:
        1 for noise; the number of steps for a pure wave; 0 where there is no activity.

    Raises:
        ValueError: If the activity has fewer than 4 steps or positions or is not finite, or the velocity is not finite.
    """
    nu = number_in("velocity", velocity, -1e6, 1e6)
    return float(_strength(_correlations(activity).sum(0), np.array([nu]), activity.shape[-1])[0])


def mirror_ratio(activity: Float[Tensor, "time *rest position"], velocity: float = 1.0) -> float:
    """Strength of the line of a velocity over that of its mirror image, −ν.

    Args:
        activity: Activity on a ring, or of units in some order.
        velocity: ν in units per step.

    Returns:
        About 1 for noise, for standing and for stationary patterns; large for a wave; nan where there is no activity.

    Raises:
        ValueError: As `line_strength`.
    """
    along, against = line_strength(activity, velocity), line_strength(activity, -velocity)
    return along / against if against > 0 else (math.inf if along > 0 else math.nan)


@dataclass(frozen=True)
class Band:
    """The strongest line in a spectrum.

    Attributes:
        velocity: its slope, units per step.
        error: standard error, from leaving out one group of series at a time.
        strength: see `line_strength`.
    """

    velocity: float
    error: float
    strength: float


def _strongest(lags: ComplexArray, n: int, fastest: float, near: float | None = None) -> tuple[float, float]:
    """Velocity and strength of the strongest line: a grid, then ever finer grids around its best point."""
    step = 0.5 / lags.shape[1]  # changes the frequency at k = 1/2 by a quarter of the resolution
    grid: FloatArray = np.asarray(np.arange(-round(fastest / step), round(fastest / step) + 1) * step, np.float64)
    if near is not None:
        grid = np.asarray(near + np.arange(-4, 5) * step, np.float64)
    for _ in range(9):
        strength = _strength(lags, grid, n)
        at = float(grid[int(np.argmax(strength))])
        step /= 4
        grid = np.asarray(at + np.arange(-5, 6) * step, np.float64)
    return at, float(strength.max())


def spectral_velocity(activity: Float[Tensor, "time *rest position"], fastest: float = 3.0) -> Band:
    """The velocity of the strongest line of the two-dimensional spectrum, with its error.

    Args:
        activity: (time, ..., channel, position); all series are taken to share one velocity.
        fastest: Largest |ν| considered.

    Returns:
        The line. Stationary patterns have velocity 0; where there is no activity the strength is 0 and the velocity nan.

    Raises:
        ValueError: If the activity has fewer than 4 steps or positions or is not finite, or ``fastest`` is not positive.
    """
    fastest = number_in("fastest", fastest, 0.0, 1e6)
    require(fastest > 0, f"fastest = {fastest}", "a positive number", "3 units per step is the default.")
    groups, n = _correlations(activity), activity.shape[-1]
    if not groups.any():
        return Band(math.nan, math.nan, 0.0)
    best, strength = _strongest(groups.sum(0), n, fastest)
    if len(groups) < 2:
        return Band(best, math.nan, strength)
    left_out = np.array([_strongest(groups.sum(0) - group, n, fastest, best)[0] for group in groups])
    count = len(groups)
    error = math.sqrt((count - 1) / count * float(((left_out - left_out.mean()) ** 2).sum()))
    return Band(best, error, strength)
