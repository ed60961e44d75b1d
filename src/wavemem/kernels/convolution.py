r"""Causal convolution of every channel with its own kernel, y(t) = Σ_τ K(τ) x(t-τ).

Short kernels are summed directly: on a CPU by the compiled kernel of the register, whose v = 1 is this sum, elsewhere lag by
lag. Long ones go through a Fourier transform over time of at least L + M - 1 points, so that nothing wraps.

Source: the convolution of state-space models (Gu et al., 2022).
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from wavemem.checks import require, shape_is
from wavemem.kernels import register_cpu
from wavemem.kernels.arguments import alike

_DIRECT = 8  # lags summed one by one where there is no compiled kernel
_DIRECT_COMPILED = 512  # lags up to which the compiled sum was faster than the transform, at every size tried


def _transformed(x: Tensor, kernel: Tensor) -> Tensor:
    length = x.shape[2]
    size = _good_size(length + kernel.shape[2] - 1)
    product = torch.fft.rfft(x, n=size, dim=2) * torch.fft.rfft(kernel, n=size, dim=2).mT[:, None]
    return torch.fft.irfft(product, n=size, dim=2)[:, :, :length]


def _good_size(least: int) -> int:
    """Smallest power of two, or three quarters of it, that is at least this."""
    power = 1 << max(least - 1, 0).bit_length()
    return power * 3 // 4 if power >= 4 and power * 3 // 4 >= least else power


def _summed(x: Tensor, kernel: Tensor) -> Tensor:
    y = kernel[:, None, None, :, 0] * x
    for lag in range(1, kernel.shape[2]):
        late = kernel[:, None, None, :, lag] * x[:, :, : x.shape[2] - lag]
        y = y + torch.nn.functional.pad(late, (0, 0, lag, 0))
    return y


def causal_convolution(x: Float[Tensor, "K B L E"], kernel: Float[Tensor, "K E M"]) -> Float[Tensor, "K B L E"]:
    """Convolve every channel with its own causal kernel, y(t) = Σ_τ K(τ) x(t-τ).

    Args:
        x: Sequences, time on the third axis; zero before the first step.
        kernel: K(0) … K(M - 1) per run and channel; lags beyond the sequence's length are without effect.

    Returns:
        y of the same shape as x, differentiable.

    Raises:
        ValueError: If the shapes do not fit or one of them is empty.
    """
    shape_is("x", x, ("K", "B", "L", "E"))
    shape_is("kernel", kernel, (x.shape[0], x.shape[3], "M"))
    require(
        x.shape[2] >= 1 and kernel.shape[2] >= 1,
        f"{x.shape[2]} steps and {kernel.shape[2]} lags",
        "at least one of each",
        "Pass a sequence and a kernel that are not empty.",
    )
    alike(x=x, kernel=kernel)
    kernel = kernel[..., : x.shape[2]]
    lags = kernel.shape[2]
    if lags <= _DIRECT_COMPILED and x.numel() and register_cpu.available(x, kernel):
        ones = x.new_ones(x.shape[0], x.shape[3])
        return register_cpu.compiled_scan(x, kernel, ones, None, None, silu=False, ones=True, ends=False)[0]
    return _summed(x, kernel) if lags <= _DIRECT else _transformed(x, kernel)
