"""Linear waves on a ring: their modes, what they remember, and how a disturbance spreads.

A linear Wave-RNN is its spectral blocks Û(m) (`wavemem.kernels.wave_linear`). Their eigenvalues λ tell how a pattern of m
waves per ring turns, and lasts, from step to step: |λ| = 1 lasts, and a phase of 2π ν m/n is a travel of ν units per step.
"""

from __future__ import annotations

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from wavemem.checks import finite, positive_int, require, shape_is
from wavemem.kernels.wave_linear import spectral_blocks


def modes(u: Float[Tensor, "c c k"], n: int) -> Complex[Tensor, "n c"]:
    """Eigenvalues of the recurrence on a ring of n units, c of them at each spatial frequency.

    Raises:
        ValueError: If u is not (c, c, odd) or n is not positive.
    """
    shape_is("u", u, ("c", "c", "k"))
    finite("u", u)
    return torch.linalg.eigvals(spectral_blocks(u[None], n, every=True)[0].detach())


def input_memory(
    u: Float[Tensor, "c c k"], V: Float[Tensor, "cn d"], steps: int, lags: int | None = None
) -> Float[Tensor, " lags"]:
    r"""How well the best linear readout of a linear Wave-RNN recovers each past input, exactly and without sampling.

    For independent inputs of variance 1 the state is h(T) = Σ_τ K(τ) x(T−τ), with K(τ) = U^τ V and covariance
    C = Σ_τ K(τ) K(τ)ᵀ. The share of the variance of x(T−τ) that C explains is K(τ)ᵀ C⁺ K(τ), averaged over the d inputs.
    Its sum over τ is d⁻¹ times the rank of C, at most the number of units: a ring can spread its memory but not enlarge it.

    Args:
        u: Recurrent kernels.
        V: Input weights.
        steps: Number of inputs read, T.
        lags: Number of lags to return; all T by default.

    Returns:
        R² for τ = 0, 1, ….

    Raises:
        ValueError: If the shapes do not fit or a number is out of range.
    """
    T = positive_int("steps", steps)
    kept = T if lags is None else positive_int("lags", lags)
    require(kept <= T, f"lags = {kept} with {T} steps", f"1 to {T}", "Only inputs that were read can be recovered.")
    shape_is("u", u, ("c", "c", "k"))
    c = u.shape[0]
    shape_is("V", V, ("c·n", "d"))
    n = V.shape[0] // c
    finite("u", u)
    finite("V", V)
    require(V.shape[0] == c * n, f"V has {V.shape[0]} rows for {c} channels", f"a multiple of {c}", "Check V.")
    blocks = spectral_blocks(u[None].detach(), n)[0]
    written = torch.fft.rfft(V.detach().double().unflatten(0, (c, n)), dim=1).transpose(0, 1)  # (f, c, d)
    columns = []
    for _ in range(T):
        columns.append(torch.fft.irfft(written.transpose(0, 1), n=n, dim=1).flatten(0, 1))
        written = blocks @ written
    k = torch.stack(columns)  # (T, c·n, d)
    # The singular vectors of all columns, rather than the covariance, whose condition is theirs squared.
    _, values, right = torch.linalg.svd(k.permute(1, 0, 2).flatten(1), full_matrices=False)
    kept_values = values > values.max() * 1e-10
    explained = right[kept_values].square().sum(0).view(T, -1).mean(-1)
    return explained[:kept]


def memory_of_states(
    states: Float[Tensor, "batch features"], history: Float[Tensor, "time batch"], ridge: float = 1e-8
) -> Float[Tensor, " time"]:
    """R² of the best linear readout of every past input from states, fitted on half of the sequences, tested on the others.

    For networks that `input_memory` does not cover, because they are not linear.

    Args:
        states: The last state of every sequence.
        history: The inputs of every sequence, oldest first.
        ridge: Penalty relative to the mean variance of the features.

    Returns:
        R² for lag 0 (the newest input), 1, …; not below 0.

    Raises:
        ValueError: If the shapes do not fit or there are fewer than four sequences.
    """
    shape_is("states", states, ("batch", "features"))
    shape_is("history", history, ("time", len(states)))
    finite("states", states)
    finite("history", history)
    require(len(states) >= 4, f"{len(states)} sequences", "four or more", "Both halves need some.")
    x, y = states.detach().double(), history.detach().double().flip(0).mT
    half = len(x) // 2
    mean, target_mean = x[:half].mean(0), y[:half].mean(0)
    centred = x[:half] - mean
    gram = centred.mT @ centred / half
    gram.diagonal().add_(ridge * float(gram.diagonal().mean()) + torch.finfo(torch.float64).tiny)
    weights = torch.linalg.solve(gram, centred.mT @ (y[:half] - target_mean) / half)
    residual = y[half:] - target_mean - (x[half:] - mean) @ weights
    total = (y[half:] - y[half:].mean(0)).square().sum(0)
    return (1 - residual.square().sum(0) / total).clamp_min(0.0)


def propagator(response: Float[Tensor, "steps batch n"]) -> Float[Tensor, "steps n"]:
    """Mean response of a ring to a disturbance of one unit, from responses to random disturbances of all units.

    G(τ, ξ) = Σ_v ε(v) δ(τ, v − ξ) / Σ_v ε(v)², averaged over sequences: what is left after τ steps of a disturbance of size 1, ξ
    units further towards smaller positions. A wave of velocity ν is a ridge on ξ = ν τ.

    Args:
        response: The disturbance ε at step 0 and its consequences δ at the following ones.

    Returns:
        G with displacement ξ = −⌊n/2⌋ … along the last axis.

    Raises:
        ValueError: If there was no disturbance.
    """
    shape_is("response", response, ("steps", "batch", "n"))
    first = response[0].double()
    power = float(first.square().sum())
    require(power > 0, "a disturbance of zero", "a disturbance", "Step 0 of the response is the disturbance itself.")
    n = response.shape[-1]
    transformed = torch.fft.fft(first).unsqueeze(0) * torch.fft.fft(response.double()).conj()
    return torch.fft.fftshift(torch.fft.ifft(transformed).real.sum(1) / power, dim=-1).reshape(-1, n)
