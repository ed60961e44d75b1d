"""Readings of a substrate: what its activity tells, whichever model produced it.

Every model of the book hands over its activity as an array (time, ..., channel, position); the readings here take that
array and nothing else:

| reading | question |
|---|---|
| `substrate_activity` | how do flattened states lie on the substrate? |
| `spectrum_2d` | which space-time frequencies has the activity (after Wave-RNN Fig. 2)? |
| `transport` | which linear step carries it, and how far does that move things? |
| `decode_past` | what of the past does a linear decoder recover? |

How fast activity travels, whatever carries it, says `wavemem.theory.velocity`.

Sign of a velocity. A positive velocity moves activity towards *smaller* position, as in the travelling-wave papers: the
solution of Eq. 2 is h(v, t) = h0(v + ν t). A substrate that shifts from column s to column 1 has velocity +1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from wavemem.checks import activity_is, require, shape_is

FloatArray = NDArray[np.float64]


def substrate_activity(states: Float[Tensor, "time *batch sd"], s: int, d: int) -> Float[Tensor, "time *batch d s"]:
    """Lay flattened states out on the substrate: entry k = i·d + j becomes channel j, position i.

    Args:
        states: States over time in the substrate's basis, flattened with the oldest column first.
        s: Number of columns (positions).
        d: Number of dimensions (channels).

    Returns:
        Activity (time, ..., channel, position), unitless like the states.

    Raises:
        ValueError: If the width of the states does not fit s and d.
    """
    shape_is("states", states, ("time", "...", s * d))
    return states.unflatten(-1, (s, d)).mT


@dataclass(frozen=True)
class Spectrum2D:
    """Magnitude of the two-dimensional Fourier transform of an activity.

    Attributes:
        magnitude: (temporal, spatial) frequencies, both in ascending order (zero in the middle).
        temporal: Temporal frequencies in cycles per step, shape (temporal,).
        spatial: Spatial frequencies in cycles per column, shape (spatial,). A wave of velocity ν has its power on the
            line temporal = ν · spatial.
        normalised: True where ``magnitude`` is a ratio to the shuffled copy.
    """

    magnitude: FloatArray
    temporal: FloatArray
    spatial: FloatArray
    normalised: bool


def spectrum_2d(activity: Float[Tensor, "time *rest position"], shuffle: torch.Generator | None = None) -> Spectrum2D:
    """Space-time spectrum |fft2| of an activity, averaged over everything that is neither time nor position.

    The transform is h(v, t) = Σ A(k, ω) exp(2πi (k v + ω t)), so that a wave h0(v + ν t) of the papers lies on ω = ν k:
    a positive velocity is a rising diagonal. Wave-RNN (Fig. 2) divides by the spectrum of a copy whose entries are shuffled
    over space and time, which removes what the distribution of the values alone contributes.

    Args:
        activity: (time, ..., channel, position).
        shuffle: Random numbers for the shuffled copy; without it the spectrum is not normalised.

    Returns:
        The spectrum, with its frequencies in cycles per step and per column.

    Raises:
        ValueError: If the activity has fewer than two steps or positions, or is not finite.

    Source: Wave-RNN, Section 3 "Visualization of traveling waves", Fig. 2.
    """
    activity_is(activity, 2, 2)
    time, position = activity.shape[0], activity.shape[-1]
    series = activity.detach().to("cpu", torch.float64).reshape(time, -1, position).transpose(0, 1)

    def magnitude(x: Tensor) -> Tensor:
        return torch.fft.fftshift(torch.fft.fft2(x).abs().mean(0))

    result = magnitude(series)
    if shuffle is not None:
        order = torch.stack(
            [torch.randperm(time * position, generator=shuffle, device=shuffle.device).cpu() for _ in series]
        )
        shuffled = series.flatten(1).gather(1, order).reshape(series.shape)
        # The zero frequency is a sum, which no shuffling changes; the floor guards activities with exact zeros elsewhere.
        baseline = magnitude(shuffled)
        result = result / baseline.clamp_min(torch.finfo(torch.float64).eps * float(baseline.max() + 1.0))
    return Spectrum2D(
        magnitude=result.numpy(),
        temporal=np.fft.fftshift(np.fft.fftfreq(time)),
        spatial=np.fft.fftshift(np.fft.fftfreq(position)),
        normalised=shuffle is not None,
    )


@dataclass(frozen=True)
class Decoding:
    """How well the past is recovered from the present state by a linear map.

    Attributes:
        r2: Share of the variance explained on held-out data, per lag (0 is the input of the same step) and dimension, shape
            (lags, d); 1 is exact recovery, about 0 is none (values below 0 mean worse than the mean).
        accuracy: Share of signs recovered on held-out data, same shape; 0.5 is chance for ±1 inputs.
    """

    r2: FloatArray
    accuracy: FloatArray

    @property
    def capacity(self) -> float:
        """Memory capacity: Σ over lags of the mean R² over dimensions, floored at 0 — the number of past vectors held."""
        return float(self.r2.clip(min=0).mean(1).sum())


def decode_past(
    states: Float[Tensor, "time batch features"],
    history: Float[Tensor, "time batch d"],
    lags: int | Sequence[int],
    ridge: float = 1e-6,
) -> Decoding:
    """Linear (ridge) decoding of the past inputs history[t − lag] from the states[t] of any model.

    One decoder per lag, with an intercept, all from the same training data: every other entry of the batch, or the first half
    of the time where the batch has one entry. The other half measures it.

    Args:
        states: States, states[t] being the state after history[t] was read; flatten whatever a model has into features.
        history: The inputs.
        lags: The lags to decode, or their number (0..lags−1).
        ridge: Penalty relative to the mean variance of the features.

    Returns:
        R² and sign accuracy per lag and dimension, on held-out data.

    Raises:
        ValueError: If the shapes do not fit, a lag leaves no time to decode, or the ridge is not positive.
    """
    shape_is("states", states, ("time", "batch", "features"))
    shape_is("history", history, (*states.shape[:2], "d"))
    chosen = np.arange(lags) if isinstance(lags, int) else np.asarray(list(lags), dtype=np.int64)
    time, batch, _ = states.shape
    least = 1 if batch > 1 else 4
    require(
        len(chosen) > 0 and bool((chosen >= 0).all()) and int(chosen.max(initial=0)) <= time - least,
        f"lags = {lags} for {time} steps",
        f"lags between 0 and {time - least}",
        "Record more steps or ask for shorter lags.",
    )
    require(ridge > 0, f"ridge = {ridge}", "ridge > 0", "1e-6 hardly biases and keeps the normal equations solvable.")
    longest = int(chosen.max())
    x = states[longest:].detach().to("cpu", torch.float64)
    u = history.detach().to("cpu", torch.float64)
    y = torch.stack([u[longest - int(lag) : time - int(lag)] for lag in chosen], dim=-2)  # time batch lags d
    if batch > 1:
        train, test = (slice(None), slice(0, None, 2)), (slice(None), slice(1, None, 2))
    else:
        half = len(x) // 2
        train, test = (slice(0, half), slice(None)), (slice(half, None), slice(None))
    n_lags, d = y.shape[-2:]
    x_train, x_test = x[train].flatten(0, 1), x[test].flatten(0, 1)
    y_train, y_test = y[train].flatten(0, 1).flatten(1), y[test].flatten(0, 1).flatten(1)
    x_mean, y_mean = x_train.mean(0), y_train.mean(0)
    xc = x_train - x_mean
    gram = xc.mT @ xc / len(xc)
    penalty = ridge * float(gram.diagonal().mean()) + torch.finfo(torch.float64).tiny
    gram.diagonal().add_(penalty)
    weights = torch.linalg.lstsq(gram, xc.mT @ (y_train - y_mean) / len(xc)).solution
    guess = (x_test - x_mean) @ weights + y_mean
    residual = ((y_test - guess) ** 2).sum(0)
    total = ((y_test - y_test.mean(0)) ** 2).sum(0)
    r2 = torch.where(total > 0, 1 - residual / total.clamp_min(1e-300), torch.nan)
    accuracy = (torch.sign(guess) == torch.sign(y_test)).double().mean(0)
    return Decoding(r2.reshape(n_lags, d).numpy(), accuracy.reshape(n_lags, d).numpy())


LEAST_EXPLAINED = 0.9
MOST_UNEVEN = 0.25
"""In positions per step."""


@dataclass(frozen=True)
class Transport:
    """A fitted operator and what it says about travel.

    Attributes:
        operator: S, (position, position).
        explained: Share of the power of h_j(t+1) that S explains, per position (nan where nothing happens).
        velocity: Mean displacement per step over all positions but the source, positive towards smaller position; nan if their
            content is not explained or their displacements differ.
        diffusion: Variance of the displacement per step, averaged likewise.
        uneven: Standard deviation of the displacement from position to position.
        nearest: Share of |S| in these rows that lies on the diagonal or beside it: 1 for anything that moves step by step.
    """

    operator: Float[Tensor, "n n"]
    explained: Float[Tensor, " n"]
    velocity: float
    diffusion: float
    uneven: float
    nearest: float


def transport(activity: Float[Tensor, "time *rest position"]) -> Transport:
    """Fit one step of the activity by a linear map of the step before, and read displacement and spread from it.

    `wavemem.theory.velocity.estimate_velocity` needs no model, but on a register of four neurons it has little to look at, and
    its answer depends on how the input is correlated. Here the question is put to the dynamics: fit
    h_j(t+1) ≈ Σ_i S_ji h_i(t), and ask, for every neuron but the one that the input enters, from how far away its content came.
    For a register of velocity v the fit is exact, S_jj = 1 − v, S_j,j−1 = v: displacement v, variance of the displacement
    v (1 − v), both to rounding, whatever the input was. Modes that only fade have displacement 0. A wave has *one* velocity:
    none is given where the map explains less than `LEAST_EXPLAINED` of the power anywhere but at the source, or displacements
    differ by more than `MOST_UNEVEN`.

    Args:
        activity: (time, ..., position), input entering at position 0; whatever is between shares one operator.

    Returns:
        The operator and its readings.

    Raises:
        ValueError: If there are fewer than 2 steps or positions, or values are not finite.
    """
    activity_is(activity, 2, 2)
    h = activity.detach().to("cpu", torch.float64)
    n = h.shape[-1]
    before, after = h[:-1].reshape(-1, n), h[1:].reshape(-1, n)
    gram = before.mT @ before
    # Normal equations: the same bits in every process. The ridge only decides what no data decides.
    ridge = 1e-13 * float(gram.diagonal().mean()) + 1e-300
    S = torch.linalg.solve(gram + ridge * torch.eye(n, dtype=torch.float64), before.mT @ after).mT
    power = after.square().sum(0)
    explained = 1 - (after - before @ S.mT).square().sum(0) / power
    rows, share, place = S[1:], explained[1:], torch.arange(n)
    from_where = (place - place[1:].unsqueeze(1)).double()
    mass = rows.sum(1)
    moved = -(rows * from_where).sum(1) / mass
    spread = (rows * from_where.square()).sum(1) / mass - moved.square()
    magnitude = rows.abs()
    nearest = float((magnitude * (from_where.abs() <= 1)).sum() / magnitude.sum())
    uneven = float(moved.std(correction=0))
    known = bool((share >= LEAST_EXPLAINED).all()) and bool((mass > 0).all()) and uneven <= MOST_UNEVEN
    return Transport(
        S,
        explained,
        -float(moved.mean()) if known else math.nan,
        float(spread.mean()) if known else math.nan,
        uneven,
        nearest,
    )
