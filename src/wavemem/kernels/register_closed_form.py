r"""The register's impulse response in closed form.

An impulse that enters neuron 0 moves one neuron on with probability v at every later step, as it were: after τ steps the
share of it that has moved exactly j times is the binomial

    b_j(τ) = binom(τ, j) v^j (1-v)^(τ-j),

neuron j holds v b_j(τ) (the first v is the input's), and the register read by C is the convolution with

    K(τ) = v Σ_j C_j b_j(τ).

At v = 1 only τ = j is left, and K(τ) = C_τ: an ordinary causal convolution. Logarithms of b_j are taken in double
precision, with 0 log 0 = 0, so that v = 1, v = 0 and τ in the tens of thousands need no special case. The derivative

    dK/dv (τ) = Σ_j C_j b_j(τ) + v τ Σ_j (C_{j+1} - C_j) b_j(τ-1),     C_n = 0,

is a sum of binomials too, and therefore finite and right at v = 1, where differentiating the powers would give 0 · ∞.

Source: our derivation from the one-way wave equation stepped at any velocity; v = 1 is the shift-SSM of Fu et al. (2023).
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from wavemem.checks import positive_int, require, shape_is
from wavemem.kernels.arguments import alike, first_derivatives

_BLOCK = 2**22  # binomials held at once


def check_velocity(v: Tensor) -> bool:
    """Refuse velocities outside of [0, 1], on the CPU; return whether all are exactly 1.

    NaN passes, so that one diverged run of an ensemble does not stop the others. On other devices the values are looked
    at only for the answer.
    """
    if v.device.type != "cpu":
        return bool((v == 1).all())
    low, high = (float(value) for value in v.detach().aminmax()) if v.numel() else (1.0, 1.0)
    require(
        not (low < 0 or high > 1),
        f"velocities v from {low:g} to {high:g}",
        "0 to 1 neurons per step",
        "Take v = sigmoid(θ) for a free parameter θ.",
    )
    return low == 1.0


def _log_choose(first: int, last: int, length: int, device: torch.device) -> Tensor:
    """log binom(τ, j) for j = first … last - 1 and τ = 0 … length - 1, -inf where τ < j; (j, τ)."""
    tau = torch.arange(length, dtype=torch.float64, device=device)
    j = torch.arange(first, last, dtype=torch.float64, device=device)[:, None]
    inside = tau >= j
    left = torch.where(inside, tau - j, 0.0)
    value = torch.lgamma(tau + 1) - torch.lgamma(j + 1) - torch.lgamma(left + 1)
    return torch.where(inside, value, -torch.inf)


def _shares(v: Tensor, first: int, last: int, length: int) -> Tensor:
    """b_j(τ) for j = first … last - 1, (K, E, j, τ) in double precision."""
    tau = torch.arange(length, dtype=torch.float64, device=v.device)
    j = torch.arange(first, last, dtype=torch.float64, device=v.device)[:, None]
    stayed = (tau - j).clamp_min(0.0)
    v = v.double()
    # log 0 as a number so large that a whole multiple of it gives 0 exactly, and none of it nothing.
    moves, stays = (part.clamp_min(-1e300)[..., None, None] for part in (torch.log(v), torch.log1p(-v)))
    return torch.addcmul(_log_choose(first, last, length, v.device) + j * moves, stayed, stays).exp_()


def _blocks(v: Tensor, n: int, length: int) -> list[tuple[int, int]]:
    size = max(1, _BLOCK // max(1, v.numel() * length))
    return [(first, min(first + size, n)) for first in range(0, n, size)]


class _Kernel(torch.autograd.Function):
    """K(τ) from C and v, binomials computed block by block and never kept."""

    @staticmethod
    def forward(ctx: Any, C: Tensor, v: Tensor, length: int) -> Tensor:
        ctx.save_for_backward(C, v)
        ctx.length = length
        total = torch.zeros(*v.shape, length, dtype=torch.float64, device=v.device)
        for first, last in _blocks(v, C.shape[-1], length):
            total += torch.einsum("kej,kejt->ket", C[..., first:last].double(), _shares(v, first, last, length))
        return (v.double()[..., None] * total).to(C.dtype)

    @staticmethod
    @first_derivatives
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        C, v = ctx.saved_tensors
        length, n = ctx.length, C.shape[-1]
        gradient, weights, speed = gradient.double(), C.double(), v.double()
        tau = torch.arange(1, length, dtype=torch.float64, device=v.device)
        later = gradient[..., 1:] * tau
        # Neuron j + 1 has in it what neuron j gave away; the last neuron gives it away for good.
        steps = torch.cat([weights[..., 1:], torch.zeros_like(weights[..., :1])], dim=-1) - weights
        d_C = torch.empty_like(weights)
        d_v = torch.zeros_like(speed)
        for first, last in _blocks(v, n, length):
            shares = _shares(v, first, last, length)
            per_share = torch.einsum("ket,kejt->kej", gradient, shares)
            d_C[..., first:last] = speed[..., None] * per_share
            d_v += (weights[..., first:last] * per_share).sum(-1)
            moved = torch.einsum("ket,kejt->kej", later, shares[..., :-1])
            d_v += speed * (steps[..., first:last] * moved).sum(-1)
        return d_C.to(C.dtype), d_v.to(v.dtype), None


class _Shares(torch.autograd.Function):
    """b_j(τ) themselves, for what an initial state contributes."""

    @staticmethod
    def forward(ctx: Any, v: Tensor, n: int, length: int) -> Tensor:
        shares = _shares(v, 0, n, length)
        ctx.save_for_backward(v, shares)
        return shares.to(v.dtype)

    @staticmethod
    @first_derivatives
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        v, shares = ctx.saved_tensors
        tau = torch.arange(1, shares.shape[-1], dtype=torch.float64, device=v.device)
        before = shares[..., :-1]
        gained = torch.cat([torch.zeros_like(before[..., :1, :]), before[..., :-1, :]], dim=-2)
        return (gradient[..., 1:].double() * tau * (gained - before)).sum((-2, -1)).to(v.dtype), None, None


def binomial_shares(v: Float[Tensor, "K E"], n: int, length: int) -> Float[Tensor, "K E n length"]:
    """Share of a neuron's content that is j neurons further on after τ steps, binom(τ, j) v^j (1-v)^(τ-j).

    Args:
        v: Velocities in [0, 1], neurons per step.
        n: Number of neurons, j = 0 … n - 1.
        length: Number of lags, τ = 0 … length - 1.

    Returns:
        b_j(τ) in the dtype of v, differentiable.

    Raises:
        ValueError: If v is not (K, E) or leaves [0, 1], or n or length is not positive.
    """
    shape_is("v", v, ("K", "E"))
    check_velocity(v)
    shares: Tensor = _Shares.apply(v, positive_int("n", n), positive_int("length", length))
    return shares


def register_kernel(C: Float[Tensor, "K E n"], v: Float[Tensor, "K E"], length: int) -> Float[Tensor, "K E length"]:
    """Impulse response of a register, K(τ) = v Σ_j C_j binom(τ, j) v^j (1-v)^(τ-j).

    Exact at v = 1, where it is C followed by zeros, and at v = 0, where it is zero; computed in double precision
    whatever the dtype. Gradients with respect to C and v are exact in the same sense.

    Args:
        C: Readout of every neuron, per run and channel.
        v: Velocities in [0, 1], neurons per step.
        length: Number of lags, τ = 0 … length - 1.

    Returns:
        K(τ), in the dtype of C.

    Raises:
        ValueError: If the shapes do not fit, v leaves [0, 1], or the length is not positive.
    """
    shape_is("C", C, ("K", "E", "n"))
    shape_is("v", v, C.shape[:2])
    require(C.shape[2] >= 1, "C reads no neuron", "n >= 1", "Give at least one neuron.")
    alike(C=C, v=v)
    check_velocity(v)
    kernel: Tensor = _Kernel.apply(C, v, positive_int("length", length))
    return kernel
