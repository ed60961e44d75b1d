"""The ring of neurons: the circulant of the Wave-RNN (Eq. 2), its kernel (after Eq. 2), and what they do to a wave.

    Σ = circulant with 1 − ν on the diagonal and ν beside it,      u = [0, 1 − ν, ν],      u ⋆ h = Σ h

The ⋆ is a circular cross-correlation, (u ⋆ h)_i = Σ_m u_m h_{i + m − f//2}, which is what PyTorch's ``conv1d`` computes; a
convolution would flip the kernel and send the wave the other way. With several channels u has shape (c, c, f) and h (c, n).

A ring has no ends, so its operators commute with the rotation and are diagonal in Fourier's basis: the wave number
θ_k = 2πk/n is multiplied by the *symbol* û(θ) = Σ_m u_m e^{iθ(m − f//2)}, a number (one channel) or a c × c matrix.

Sign: a positive velocity carries activity towards smaller position, as everywhere in the book.

Source: Keller et al., ICLR 2024, Section 2; R. J. LeVeque, Finite Difference Methods, SIAM 2007, chapter 10.

A velocity read off the two-dimensional spectrum of activity on a ring (Wave-RNN Fig. 2).

A pattern that travels with velocity ν has all its power on the line ω = ν k of wave number k and frequency ω. The share of a
wave number's power that lies on the line, relative to what an even spread over the frequencies would put there, is averaged
over the wave numbers: the *strength* of the line. Each wave number counts the same, so that the slow ones, where all lines
meet near the origin, do not decide.

Sign: a positive velocity carries activity towards smaller position, a rising diagonal, as in `wavemem.theory.readings`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Complex, Float
from numpy.typing import NDArray
from torch import Tensor

from wavemem.checks import activity_is, finite, number_in, positive_int, require, shape_is


def one_way_kernel(velocity: float) -> Float[Tensor, " f"]:
    """The kernel of one upwind step on a ring: u = [0, 1 − ν, ν] for ν >= 0, [|ν|, 1 − |ν|, 0] for ν < 0.

    Args:
        velocity: ν in units per step (the paper's ν' = ν Δt, with Δx = 1). Any value is accepted; beyond |ν| = 1 the step
            is unstable (CFL).

    Returns:
        Three weights (float64): of the neighbour below, of the unit itself, of the neighbour above.

    Raises:
        ValueError: If the velocity is not a finite number.

    Source: Wave-RNN, after Eq. 2.
    """
    nu = number_in("velocity", velocity, -1e6, 1e6)
    return torch.tensor([max(-nu, 0.0), 1 - abs(nu), max(nu, 0.0)], dtype=torch.float64)


def circulant(velocity: float, n: int) -> Float[Tensor, "n n"]:
    """Σ of Eq. 2: h_i(t+1) = (1 − ν) h_i(t) + ν h_{i+1}(t), indices modulo n (ν < 0: the other neighbour).

    Args:
        velocity: ν in units per step.
        n: Number of units on the ring.

    Returns:
        Float64 matrix; 1 − |ν| on the diagonal, |ν| beside it and in the corner that closes the ring.

    Raises:
        ValueError: If n is not a positive whole number or the velocity not finite.

    Source: Wave-RNN, Eq. 2.
    """
    nu = number_in("velocity", velocity, -1e6, 1e6)
    unit = torch.eye(positive_int("n", n), dtype=torch.float64)
    return (1 - abs(nu)) * unit + abs(nu) * unit.roll(1 if nu >= 0 else -1, dims=1)


def _kernel(u: Tensor) -> Tensor:
    """A kernel with its channel axes: (f,) becomes (1, 1, f)."""
    require(
        u.ndim in (1, 3) and u.shape[-1] % 2 == 1 and (u.ndim == 1 or u.shape[0] == u.shape[1]),
        f"a kernel of shape {tuple(u.shape)}",
        "(f,) or (c, c, f) with an odd number f of weights",
        "Pad the kernel with a zero so that it has a middle.",
    )
    return u if u.ndim == 3 else u[None, None]


def correlate(u: Float[Tensor, "c c f"], h: Float[Tensor, "*batch c n"]) -> Float[Tensor, "*batch c n"]:
    """The circular cross-correlation u ⋆ h: (u ⋆ h)_{a,i} = Σ_b Σ_m u_{a,b,m} h_{b, i + m − f//2}.

    Args:
        u: Kernel (receiving channel, sending channel, weight), or (f,) for a single channel; f odd.
        h: State (..., channel, position).

    Returns:
        The state one linear step later, of h's shape.

    Raises:
        ValueError: If the kernel has no middle, or its channels are not those of h.

    Source: Wave-RNN, Eq. 3 without input, bias and activation.
    """
    u = _kernel(u)
    shape_is("h", h, ("...", u.shape[0], "n"))
    middle = u.shape[-1] // 2
    moved = [u[..., m] @ h.roll(middle - m, -1) for m in range(u.shape[-1])]
    return torch.stack(moved).sum(0)


def ring_matrix(u: Float[Tensor, "c c f"], n: int) -> Float[Tensor, "cn cn"]:
    """The matrix of `correlate` for the flattened state (channel by channel): what U would be in a dense network.

    Args:
        u: Kernel (c, c, f) or (f,).
        n: Units per channel. A kernel longer than the ring wraps round and its weights add.

    Returns:
        (c·n, c·n), made of c × c circulant blocks. One channel with `one_way_kernel`: Σ of Eq. 2.

    Raises:
        ValueError: If the kernel has no middle or n is not positive.
    """
    u = _kernel(u)
    c, n = u.shape[0], positive_int("n", n)
    unit = torch.eye(c * n, dtype=u.dtype, device=u.device).unflatten(-1, (c, n))
    return correlate(u, unit).flatten(-2).mT.contiguous()


def symbol(u: Float[Tensor, "c c f"], theta: Float[Tensor, "*any"]) -> Complex[Tensor, "*any c c"]:
    """û(θ) = Σ_m u_m e^{iθ(m − f//2)}: what a step does to the mode e^{iθx} of all channels.

    Args:
        u: Kernel (c, c, f) or (f,).
        theta: Wave numbers in radians per unit.

    Returns:
        A complex c × c matrix per wave number (complex128). For `one_way_kernel(ν)`: 1 + ν (e^{iθ} − 1).

    Raises:
        ValueError: If the kernel has no middle.
    """
    u = _kernel(u)
    place = torch.arange(u.shape[-1], dtype=torch.float64) - u.shape[-1] // 2
    angle = theta.to(torch.float64)[..., None] * place
    factor = torch.polar(torch.ones_like(angle), angle)
    return torch.einsum("...m,abm->...ab", factor, u.detach().cpu().to(torch.complex128))


def _wave_numbers(n: int) -> Tensor:
    return 2 * math.pi * torch.arange(n, dtype=torch.float64) / n


def ring_eigenvalues(u: Float[Tensor, "c c f"], n: int) -> Complex[Tensor, "n c"]:
    """Eigenvalues of `ring_matrix` by Fourier's transform: those of û(2πk/n) for k = 0, …, n − 1.

    Args:
        u: Kernel (c, c, f) or (f,).
        n: Units per channel.

    Returns:
        (n, c), by wave number; within one wave number in no particular order. n small problems instead of one of size c·n.

    Raises:
        ValueError: If the kernel has no middle or n is not positive.
    """
    finite("u", u)
    at = symbol(u, _wave_numbers(positive_int("n", n)))
    return at[..., 0] if at.shape[-1] == 1 else torch.linalg.eigvals(at)


def gain_and_velocity(
    u: Float[Tensor, " f"], theta: Float[Tensor, " theta"]
) -> tuple[Float[Tensor, " theta"], Float[Tensor, " theta"]]:
    """Gain |û(θ)| and phase velocity arg û(θ)/θ of a single-channel kernel, by wave number.

    Args:
        u: Kernel of one channel, (f,) or (1, 1, f).
        theta: Wave numbers in (0, π], radians per unit.

    Returns:
        The factor by which one step multiplies the mode's amplitude, and its velocity in units per step, positive towards
        smaller position.

    Raises:
        ValueError: If there are several channels, or a wave number is 0.
    """
    u = _kernel(u)
    require(
        u.shape[0] == 1 and bool((theta != 0).all()),
        f"a kernel of {u.shape[0]} channels and wave numbers from {float(theta.min()):g}",
        "one channel and wave numbers different from 0",
        "Several channels mix: look at the eigenvalues of symbol(u, theta).",
    )
    factor = symbol(u, theta)[..., 0, 0]
    return factor.abs(), factor.angle() / theta.to(torch.float64)


def surviving_power(u: Float[Tensor, " f"], n: int, steps: int) -> float:
    """Share of a single pulse's power Σ h² that is left after some steps: (1/n) Σ_k |û(2πk/n)|^{2t} (Parseval).

    A pulse holds all wave numbers in equal parts, so this is the mean of the squared gains. It is 1 for a shift and falls
    like 1/√t for 0 < ν < 1, down to 1/n, the share of the mean, which never moves and never fades.

    Args:
        u: Kernel of one channel.
        n: Units on the ring.
        steps: t.

    Raises:
        ValueError: If there are several channels, or n or steps are not whole numbers of at least 1 and 0.
    """
    steps = positive_int("steps", steps, minimum=0)
    factors = ring_eigenvalues(u, n)
    require(
        factors.shape[-1] == 1,
        f"a kernel of {factors.shape[-1]} channels",
        "one channel",
        "Choose one channel's kernel u[a, a].",
    )
    return float((factors.abs() ** (2 * steps)).mean())


FloatArray = NDArray[np.float64]
ComplexArray = NDArray[np.complex128]

_GROUPS = 8
_FASTEST = 3.0  # units per step


def _correlations(activity: Tensor) -> ComplexArray:
    """Temporal autocorrelation of each wave number's amplitude, summed over series: (group, wave number, lag 0 … T − 1).

    Wave numbers from 1/n to below 1/2: zero has no velocity, and 1/2 is its own mirror image. From these the power is known
    at *every* frequency, not just at those of the discrete transform, so that no velocity is favoured.
    """
    activity_is(activity, 4, 4)
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


def _strongest(lags: ComplexArray, n: int, near: float | None = None) -> tuple[float, float]:
    """Velocity and strength of the strongest line: a grid, then ever finer grids around its best point."""
    step = 0.5 / lags.shape[1]  # changes the frequency at k = 1/2 by a quarter of the resolution
    grid: FloatArray = np.asarray(np.arange(-round(_FASTEST / step), round(_FASTEST / step) + 1) * step, np.float64)
    if near is not None:
        grid = np.asarray(near + np.arange(-4, 5) * step, np.float64)
    for _ in range(9):
        strength = _strength(lags, grid, n)
        at = float(grid[int(np.argmax(strength))])
        step /= 4
        grid = np.asarray(at + np.arange(-5, 6) * step, np.float64)
    return at, float(strength.max())


def spectral_velocity(activity: Float[Tensor, "time *rest position"]) -> Band:
    """The velocity of the strongest line of the two-dimensional spectrum up to 3 units per step, with its error.

    Args:
        activity: (time, ..., channel, position); all series are taken to share one velocity.

    Returns:
        The line. Stationary patterns have velocity 0; where there is no activity the strength is 0 and the velocity nan.

    Raises:
        ValueError: If the activity has fewer than 4 steps or positions or is not finite.
    """
    groups, n = _correlations(activity), activity.shape[-1]
    if not groups.any():
        return Band(math.nan, math.nan, 0.0)
    best, strength = _strongest(groups.sum(0), n)
    if len(groups) < 2:
        return Band(best, math.nan, strength)
    left_out = np.array([_strongest(groups.sum(0) - group, n, best)[0] for group in groups])
    count = len(groups)
    error = math.sqrt((count - 1) / count * float(((left_out - left_out.mean()) ** 2).sum()))
    return Band(best, error, strength)
