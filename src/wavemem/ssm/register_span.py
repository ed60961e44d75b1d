r"""What a register of n neurons with velocity v remembers: its pulses, its capacity, and what noise leaves of it.

The register h_0 ← (1−v) h_0 + v x, h_j ← (1−v) h_j + v h_{j−1} is linear, so neuron j is a weighted sum of past inputs,
h_j(t) = Σ_τ k_j(τ) x(t−τ). Everything it can tell is in the n pulses k_j, and for white inputs in the space they span.

Two descriptions of that space are used. The pulses themselves are negative-binomial distributions of the delay. The
discrete Laguerre functions ℓ_0, …, ℓ_{n−1} with pole a = 1 − v are an orthonormal basis of the same space, and

    k_j = √(v/(2−v)) Σ_i binom(j, i) q^i (1−q)^{j−i} ℓ_i        q = 1/(2−v)

so that every number about the register comes from a small triangular matrix, without long sums over the past.

The recurrence is the gamma memory of de Vries and Principe (1992) without its tap 0; v is their μ.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from wavemem.checks import finite, number_in, positive_int, require, shape_is


def _velocity(v: float, most: float = 1.0) -> float:
    v = number_in("v", v, 0.0, most)
    require(v > 0, "v = 0", f"0 < v <= {most:g}", "A register with velocity 0 is never written to.")
    return v


def delay_mean(j: int, v: float) -> float:
    """Mean age of the inputs in neuron j, (j + 1 − v)/v steps: j + 1 successes at probability v, the first at once.

    Raises:
        ValueError: If j is not a whole number >= 0 or v lies outside (0, 1].
    """
    return (positive_int("j", j, minimum=0) + 1 - _velocity(v)) / v


def delay_variance(j: int, v: float) -> float:
    """Variance of the age of the inputs in neuron j, (j + 1)(1 − v)/v² steps².

    Raises:
        ValueError: If j is not a whole number >= 0 or v lies outside (0, 1].
    """
    return (positive_int("j", j, minimum=0) + 1) * (1 - _velocity(v)) / v**2


def tail_length(v: float, n: int) -> int:
    """Number of steps after which the pulses of n neurons are over, to rounding: mean + 12 standard deviations + a margin.

    Raises:
        ValueError: If n is not a positive whole number or v lies outside (0, 1].
    """
    last = positive_int("n", n) - 1
    geometric = 40 / _velocity(v)  # the last pulse ends like (1 − v)^τ
    return math.ceil(delay_mean(last, v) + 12 * math.sqrt(delay_variance(last, v)) + geometric) + 1


def pulses(v: float, n: int, length: int) -> Float[Tensor, "n length"]:
    """k_j(τ), by stepping through the recurrence from a single input of 1.

    Velocities above 1 are allowed, to show what they do; below 2 the pulses still end, from 2 on they do not.

    Args:
        v: Velocity in neurons per step, in (0, 2.5].
        n: Number of neurons.
        length: Number of ages τ = 0, 1, ….

    Returns:
        Float64 pulses; row j is what neuron j holds τ steps after the input.

    Raises:
        ValueError: If a number is out of range.
    """
    v = _velocity(v, 2.5)
    n, length = positive_int("n", n), positive_int("length", length)
    h = torch.zeros(n, dtype=torch.float64)
    h[0] = v
    found = [h]
    for _ in range(length - 1):
        moved = torch.cat([torch.zeros(1, dtype=torch.float64), h[:-1]])
        h = (1 - v) * h + v * moved
        found.append(h)
    return torch.stack(found, dim=1)


def absolute_gain(v: float, n: int) -> Float[Tensor, " n"]:
    """Σ_τ |k_j(τ)|, the largest activity that inputs between −1 and 1 can cause: 1 up to v = 1, then (v/(2−v))^{j+1}.

    Raises:
        ValueError: If v lies outside (0, 2) or n is not a positive whole number.
    """
    v = _velocity(v, 2.0)
    require(v < 2, f"v = {v:g}", "0 < v < 2", "From 2 on the sum does not converge.")
    return (v / (1 - abs(1 - v))) ** torch.arange(1.0, positive_int("n", n) + 1, dtype=torch.float64)


def binomial_mixture(v: float, n: int) -> Float[Tensor, "n n"]:
    """The pulses in the orthonormal Laguerre basis: k = √(v/(2−v)) T ℓ with T_{ji} = binom(j, i) q^i (1−q)^{j−i}.

    T is triangular with diagonal q^j, q = 1/(2−v): its n singular values have the geometric mean (2−v)^{−(n−1)/2}.

    Returns:
        The factor and T together, so that k = binomial_mixture(v, n) @ laguerre_functions(v, n, length).

    Raises:
        ValueError: If n is not a positive whole number or v lies outside (0, 1].
    """
    v, n = _velocity(v), positive_int("n", n)
    q = 1 / (2 - v)
    row = torch.zeros(n, dtype=torch.float64)
    row[0] = 1.0
    rows = [row]
    for _ in range(n - 1):
        row = (1 - q) * row + q * torch.cat([torch.zeros(1, dtype=torch.float64), row[:-1]])
        rows.append(row)
    return math.sqrt(v * q) * torch.stack(rows)


def laguerre_functions(v: Float[Tensor, "*many"] | float, n: int, length: int) -> Float[Tensor, "*many n length"]:
    """ℓ_i(τ): √(1−a²)/(1−a z⁻¹) followed by i all-pass sections (z⁻¹−a)/(1−a z⁻¹), a = 1 − v; the shift at v = 1.

    Args:
        v: One velocity in (0, 1], or a tensor of them.
        n: Number of functions.
        length: Number of ages τ = 0, 1, ….

    Returns:
        Float64, orthonormal over all τ ≥ 0 (over the given length: but for what lies beyond it).

    Raises:
        ValueError: If a number is out of range.
    """
    velocities = torch.as_tensor(v, dtype=torch.float64)
    for value in velocities.flatten().tolist():
        _velocity(value)
    n, length = positive_int("n", n), positive_int("length", length)
    a = (1 - velocities).numpy()
    state = np.zeros((n, *a.shape))  # the outputs of the n sections one step ago
    found = np.zeros((n, length, *a.shape))
    for tau in range(length):
        previous, state = state, np.zeros_like(state)
        state[0] = a * previous[0] + (np.sqrt(1 - a * a) if tau == 0 else 0.0)
        for i in range(1, n):
            state[i] = a * (previous[i] - state[i - 1]) + previous[i - 1]
        found[:, tau] = state
    return torch.from_numpy(np.moveaxis(found, (0, 1), (-2, -1)).copy())


def memory_of_one_age(v: Float[Tensor, " many"], n: int, age: int) -> Float[Tensor, " many"]:
    """R²(τ) = Σ_{i<n} ℓ_i(τ)² of one age for many velocities: white inputs, no noise, the best readout for each v.

    Raises:
        ValueError: If a number is out of range.
    """
    age = positive_int("age", age, minimum=0)
    return laguerre_functions(v, n, age + 1)[..., -1].square().sum(-1)


def memory_slope(v: Float[Tensor, " many"], n: int, age: int) -> Float[Tensor, " many"]:
    """dR²(τ)/dv = −2n ℓ_{n−1}(τ) ℓ_n(τ) / (v(2−v)): what is left of the gradient of v once the readout is the best one.

    Raises:
        ValueError: If a number is out of range.
    """
    age = positive_int("age", age, minimum=0)
    last = laguerre_functions(v, positive_int("n", n) + 1, age + 1)[..., -1]
    return -2 * n * last[..., -2] * last[..., -1] / (v * (2 - v))


def resting_velocities(n: int, age: int, points: int = 4000) -> Float[Tensor, " found"]:
    """Velocities below 1 at which R²(τ) has a local maximum: where ℓ_{n−1}(τ) ℓ_n(τ) goes from − to +.

    Args:
        n: Number of neurons.
        age: τ.
        points: Size of the grid on which changes of sign are looked for; each is then refined by bisection.

    Returns:
        The velocities, slowest first; training for this age alone can come to rest at these.

    Raises:
        ValueError: If a number is out of range.
    """
    grid = torch.linspace(0, 1, positive_int("points", points, minimum=10) + 2, dtype=torch.float64)[1:-1].square()
    slope = memory_slope(grid, n, age)
    at = torch.nonzero((slope[:-1] > 0) & (slope[1:] < 0)).flatten()
    low, high = grid[at], grid[at + 1]
    for _ in range(50):
        if not len(at):
            break
        middle = (low + high) / 2
        rising = memory_slope(middle, n, age) > 0
        low, high = torch.where(rising, middle, low), torch.where(rising, high, middle)
    return (low + high) / 2


def neuron_variances(v: float, n: int) -> Float[Tensor, " n"]:
    """Σ_τ k_j(τ)²: variance of every neuron for white inputs of variance 1.

    Raises:
        ValueError: If n is not a positive whole number or v lies outside (0, 1].
    """
    return binomial_mixture(v, n).square().sum(1)


def ring_pulses(v: float, n: int, length: int, damping: float = 1.0) -> Float[Tensor, "n length"]:
    """What a ring of n neurons, moved by v per step in Fourier space, holds of one input to neuron 0.

    k_j(τ) = γ^τ D(j − vτ) with the periodic sinc D(ξ) = (1/n) Σ_m e^{2πi m ξ/n} over the n frequencies around 0. At even n
    the highest frequency is split between ±n/2, so that the pulse is real.

    Args:
        v: Velocity in neurons per step, any number.
        n: Neurons on the ring.
        length: Number of ages τ = 0, 1, ….
        damping: γ, the share kept per step.

    Raises:
        ValueError: If a number is out of range.
    """
    n, length = positive_int("n", n), positive_int("length", length)
    v, damping = number_in("v", v, -1e6, 1e6), number_in("damping", damping, 0.0, 1.0)
    tau = torch.arange(length, dtype=torch.float64)
    xi = torch.arange(n, dtype=torch.float64)[:, None] - v * tau
    m = torch.arange(1, (n - 1) // 2 + 1, dtype=torch.float64)
    wave = 1 + 2 * torch.cos(2 * math.pi / n * m * xi[..., None]).sum(-1)
    if n % 2 == 0:
        wave = wave + torch.cos(math.pi * xi)
    return damping**tau * wave / n


def memory_by_age(
    k: Float[Tensor, "n length"], noise: float = 0.0, autocorrelation: Float[Tensor, " length"] | None = None
) -> Float[Tensor, " length"]:
    """R² of the best linear readout of the input of age τ from all neurons, exactly and without sampling.

    Args:
        k: The pulses, long enough to hold (nearly) all that the neurons remember.
        noise: Standard deviation of independent noise on every neuron when it is read, relative to the neuron's own.
        autocorrelation: Correlation of inputs 0, 1, … steps apart (first entry 1); white inputs without it.

    Returns:
        R² for τ = 0, 1, …, each in [0, 1]. For white inputs without noise their sum is the rank of k.

    Raises:
        ValueError: If shapes do not fit or the noise is negative.
    """
    shape_is("k", k, ("n", "length"))
    noise = number_in("noise", noise, 0.0, 1e6)
    finite("k", k)
    k = k.to(torch.float64)
    length = k.shape[1]
    if autocorrelation is None:
        seen = k
    else:
        shape_is("autocorrelation", autocorrelation, (length,))
        finite("autocorrelation", autocorrelation)
        apart = torch.arange(length)
        seen = k @ autocorrelation.to(torch.float64)[(apart[:, None] - apart).abs()]
    scale = (seen * k).sum(1).clamp_min(1e-300).sqrt()
    if autocorrelation is None:
        # Singular vectors of the pulses rather than of their covariance, whose condition is the square.
        _, values, right = torch.linalg.svd(k / scale[:, None], full_matrices=False)
        share = values**2 / (values**2 + noise**2) if noise > 0 else (values > values.max() * 1e-13).to(k.dtype)
        return (share[:, None] * right.square()).sum(0)
    covariance = (seen @ k.mT) / scale[:, None] / scale
    values, vectors = torch.linalg.eigh(covariance)
    inverse = torch.where(values > values.max() * 1e-12, 1 / (values.clamp_min(0) + noise**2), torch.zeros_like(values))
    projected = vectors.mT @ (seen / scale[:, None])
    return (inverse[:, None] * projected.square()).sum(0)


def capacity(v: float, n: int, noise: float = 0.0) -> float:
    """Σ_τ R²(τ) for white inputs: n without noise, for every v; Σ_i λ_i/(λ_i + σ²) with it.

    λ_i are the eigenvalues of the neurons' correlation matrix, from `binomial_mixture`.

    Raises:
        ValueError: If a number is out of range.
    """
    noise = number_in("noise", noise, 0.0, 1e6)
    T = binomial_mixture(v, n)
    if noise == 0:
        return float(n)
    values = torch.linalg.svdvals(T / T.square().sum(1).sqrt()[:, None]) ** 2
    return float((values / (values + noise**2)).sum())


def long_register_memory(v: float, n: int, ages: Float[Tensor, " ages"]) -> Float[Tensor, " ages"]:
    """R²(τ) of a long register without noise: the share of frequencies whose group delay in n all-pass sections exceeds τ.

    A section delays frequency ω by g(ω) = (1−a²)/(1 − 2a cos ω + a²) steps, between v/(2−v) and (2−v)/v. Age τ keeps the
    frequencies below ω*, g(ω*) = τ/n: all of them up to τ = n v/(2−v), none beyond n (2−v)/v.

    Raises:
        ValueError: If n is not a positive whole number or v lies outside (0, 1].
    """
    v, n = _velocity(v), positive_int("n", n)
    a = 1 - v
    tau = ages.to(torch.float64).clamp_min(1e-12)
    if a == 0:
        return (tau < n).to(torch.float64)
    cosine = (1 + a * a - (1 - a * a) * n / tau) / (2 * a)
    return torch.arccos(cosine.clamp(-1, 1)) / math.pi


def noisy_capacity_estimate(v: float, n: int, noise: float, points: int = 400) -> float:
    """Capacity with relative noise, estimated by counting waves.

    Neuron j sees frequency ω with gain |G(ω)|^{j+1}, G = v e^{−iω}/(1 − a e^{−iω}), a = 1 − v.
    A wave of frequency ω has the wave number θ(ω) = −arg G along the register. Each neuron has room for wave numbers 0 to π;
    the part whose power λ(j, θ) = |G|^{2j+2} dω/dθ, over the neuron's variance, stands above σ² counts:

        capacity ≈ Σ_j (1/π) ∫ dθ λ/(λ + σ²)

    An approximation for long registers, as if each neuron's surroundings were uniform.

    Raises:
        ValueError: If a number is out of range.
    """
    v, n = _velocity(v), positive_int("n", n)
    noise = number_in("noise", noise, 0.0, 1e6)
    a = 1 - v
    omega = (torch.arange(positive_int("points", points), dtype=torch.float64) + 0.5) * math.pi / points
    denominator = 1 - 2 * a * torch.cos(omega) + a * a
    log_gain = (v * v / denominator).log()  # log |G|²
    stretch = (1 - a * torch.cos(omega)) / denominator  # dθ/dω
    j = torch.arange(1.0, n + 1, dtype=torch.float64)[:, None]
    power = torch.exp(j * log_gain) / stretch / neuron_variances(v, n)[:, None]
    return float((stretch * power / (power + noise**2)).mean(1).sum())


def reach(n: int, v: float, layers: int = 1) -> float:
    """Age up to which registers in a row hold something: mean delay of their last neurons and one standard deviation.

    The delays of the registers add up, and so do their variances.
    """
    mean, variance = delay_mean(n - 1, v), delay_variance(n - 1, v)
    return positive_int("layers", layers) * mean + math.sqrt(layers * variance)


def coverage(n: int, v: float, lengths: tuple[int, int], layers: int = 1) -> float:
    """Share of the letters to be said that the best linear readout of registers in a row recovers.

    To copy a string of l letters, each letter is read at the age l. This is R²(l) of independent inputs, averaged over l.
    Below v = 1 the pulses of registers in a row, and past each of them, span what one register of layers · n neurons
    spans; at v = 1 they are the ages up to layers · (n - 1).

    Args:
        n: neurons of each register.
        v: velocity, in (0, 1].
        lengths: shortest and longest string.
        layers: registers in a row.
    """
    low, high = lengths
    neurons = layers * (n - 1) + 1 if v == 1 else positive_int("layers", layers) * n
    memory = memory_by_age(pulses(v, neurons, max(tail_length(v, neurons), high + 1)))
    return float(memory[low : high + 1].mean())
