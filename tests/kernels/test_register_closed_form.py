"""The register's impulse response: closed form against the stepped recurrence, limits, derivatives; convolutions."""

from __future__ import annotations

from math import comb
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from wavemem.kernels import compiled, convolution, register_closed_form
from wavemem.kernels.convolution import causal_convolution
from wavemem.kernels.register import register_scan_reference
from wavemem.kernels.register_closed_form import binomial_shares, check_velocity, register_kernel


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def stepped(C: Tensor, v: Tensor, length: int) -> Tensor:
    """What comes out of the stepped register after an impulse."""
    impulse = torch.zeros(C.shape[0], 1, length, C.shape[1], dtype=C.dtype)
    impulse[:, :, 0] = 1
    return register_scan_reference(impulse, C, v)[0][:, 0].mT


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(1, 12),
    length=st.integers(1, 30),
    v=st.one_of(st.floats(0, 1), st.sampled_from([0.0, 1.0, 1e-12, 1 - 1e-12, 0.5])),
    seed=st.integers(0, 1000),
)
def test_kernel_is_the_impulse_response(n: int, length: int, v: float, seed: int) -> None:
    C = normal(2, 3, n, seed=seed).requires_grad_()
    speed = torch.full((2, 3), v, dtype=torch.float64, requires_grad=True)
    weight = normal(2, 3, length, seed=seed + 1)
    closed, loop = register_kernel(C, speed, length), stepped(C, speed, length)
    torch.testing.assert_close(closed, loop, rtol=1e-10, atol=1e-12)
    for mine, theirs in zip(
        torch.autograd.grad((closed * weight).sum(), (C, speed)),
        torch.autograd.grad((loop * weight).sum(), (C, speed)),
        strict=True,
    ):
        torch.testing.assert_close(mine, theirs, rtol=1e-8, atol=1e-9)


def test_formula_of_the_text() -> None:
    v, C = 0.3, [0.5, -1.0, 2.0]
    expected = [v * sum(C[j] * comb(t, j) * v**j * (1 - v) ** (t - j) for j in range(min(3, t + 1))) for t in range(9)]
    found = register_kernel(torch.tensor([[C]], dtype=torch.float64), torch.full((1, 1), v, dtype=torch.float64), 9)
    torch.testing.assert_close(found[0, 0], torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("length", [1, 3, 5, 20_000])
def test_at_velocity_1_the_kernel_is_the_readout(dtype: torch.dtype, length: int) -> None:
    C = normal(1, 2, 5).to(dtype).requires_grad_()
    v = torch.ones(1, 2, dtype=dtype, requires_grad=True)
    kernel = register_kernel(C, v, length)
    shown = min(length, 5)
    torch.testing.assert_close(
        kernel[..., :shown], C[..., :shown], rtol=0, atol=2e-7 if dtype == torch.float32 else 1e-13
    )
    assert float(kernel[..., 5:].detach().abs().sum()) == 0.0
    gradients = torch.autograd.grad(kernel.square().sum(), (C, v))
    assert all(bool(gradient.isfinite().all()) for gradient in gradients)


def test_derivative_at_velocity_1() -> None:
    # K(τ) = v Σ C_j binom(τ, j) v^j (1-v)^(τ-j): at v = 1, dK/dv = (τ+1) C_τ - τ C_{τ-1}.
    C = normal(1, 1, 4)
    v = torch.ones(1, 1, dtype=torch.float64, requires_grad=True)
    padded = torch.nn.functional.pad(C[0, 0], (1, 3))
    for tau in range(6):
        kernel = register_kernel(C, v, 7)
        found = torch.autograd.grad(kernel[0, 0, tau], v)[0][0, 0]
        torch.testing.assert_close(found, (tau + 1) * padded[tau + 1] - tau * padded[tau])


def test_long_and_wide_kernels_stay_finite() -> None:
    C = normal(1, 3, 64).requires_grad_()
    v = torch.tensor([[1e-6, 0.37, 1 - 1e-9]], dtype=torch.float64, requires_grad=True)
    kernel = register_kernel(C, v, 20_000)
    assert bool(kernel.isfinite().all())
    assert all(bool(found.isfinite().all()) for found in torch.autograd.grad(kernel.square().sum(), (C, v)))
    # Whatever enters either is in the register or has left it: the shares of the last neuron's loss sum to 1.
    shares = binomial_shares(v.detach(), 64, 20_000)
    torch.testing.assert_close((v.detach() * shares[:, :, -1].sum(-1))[0, 1:], torch.ones(2, dtype=torch.float64))


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    C, v = normal(2, 3, 7).requires_grad_(), torch.rand(2, 3, dtype=torch.float64).requires_grad_()
    found = []
    for size in (2**22, 1):
        monkeypatch.setattr(register_closed_form, "_BLOCK", size)
        kernel = register_kernel(C, v, 12)
        found.append([kernel, *torch.autograd.grad(kernel.square().sum(), (C, v))])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("length", [1, 6])
def test_kernels_by_finite_differences(length: int) -> None:
    C = normal(1, 2, 3).requires_grad_()
    v = torch.tensor([[0.25, 0.9]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda C, v: register_kernel(C, v, length), (C, v))
    assert torch.autograd.gradcheck(lambda v: binomial_shares(v, 3, length), (v,))


def test_velocities_are_looked_at() -> None:
    assert check_velocity(torch.ones(2, 3))
    assert not check_velocity(torch.tensor([[1.0, 0.999]]))
    assert not check_velocity(torch.tensor([[float("nan")]]))
    assert check_velocity(torch.ones(0, 3))
    with pytest.raises(ValueError, match=r"from 0\.5 to 1\.5"):
        check_velocity(torch.tensor([[0.5, 1.5]]))


@pytest.mark.parametrize(
    ("C", "v", "length", "message"),
    [
        (torch.zeros(2, 3), torch.zeros(2, 3), 4, "C has shape"),
        (torch.zeros(1, 3, 2), torch.zeros(2, 3), 4, "v has shape"),
        (torch.zeros(1, 3, 0), torch.zeros(1, 3), 4, "reads no neuron"),
        (torch.zeros(1, 3, 2), torch.full((1, 3), 2.0), 4, "0 to 1"),
        (torch.zeros(1, 3, 2), torch.zeros(1, 3), 0, "length = 0"),
    ],
)
def test_bad_kernels_are_refused(C: Tensor, v: Tensor, length: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        register_kernel(C, v, length)


def test_bad_shares_are_refused() -> None:
    with pytest.raises(ValueError, match="v has shape"):
        binomial_shares(torch.zeros(3), 2, 4)
    with pytest.raises(ValueError, match="n = 0"):
        binomial_shares(torch.zeros(1, 3), 0, 4)


def written_out(x: Tensor, kernel: Tensor) -> Tensor:
    y = torch.zeros_like(x)
    for t in range(x.shape[2]):
        for lag in range(min(kernel.shape[2], t + 1)):
            y[:, :, t] = y[:, :, t] + kernel[:, None, :, lag] * x[:, :, t - lag]
    return y


@pytest.mark.parametrize("compile_it", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("L", "lags"), [(1, 1), (1, 5), (7, 3), (20, 8), (20, 9), (33, 33), (16, 40)])
def test_convolution_is_the_sum(
    L: int, lags: int, dtype: torch.dtype, compile_it: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, kernel = normal(2, 3, L, 5).requires_grad_(), normal(2, 5, lags, seed=1).requires_grad_()
    weight = normal(2, 3, L, 5, seed=2)
    expected = written_out(x, kernel)
    gradients = torch.autograd.grad((expected * weight).sum(), (x, kernel))
    if not compile_it:
        monkeypatch.setenv("WAVEMEM_COMPILE", "0")
    compiled.load_library.cache_clear()
    try:
        own = x.detach().to(dtype).requires_grad_(), kernel.detach().to(dtype).requires_grad_()
        found = causal_convolution(*own)
        found_gradients = torch.autograd.grad((found * weight).sum(), own)
    finally:
        compiled.load_library.cache_clear()
    tolerance: dict[str, Any] = {"rtol": 1e-4, "atol": 1e-4} if dtype == torch.float32 else {}
    torch.testing.assert_close(found.double(), expected, **tolerance)
    for mine, theirs in zip(found_gradients, gradients, strict=True):
        torch.testing.assert_close(mine.double(), theirs, **tolerance)


@given(st.integers(1, 10_000))
def test_transforms_are_long_enough(least: int) -> None:
    size = convolution._good_size(least)
    assert least <= size <= max(1, 2 * least - 1)


def test_bad_convolutions_are_refused() -> None:
    with pytest.raises(ValueError, match="x has shape"):
        causal_convolution(torch.zeros(2, 3, 4), torch.zeros(2, 4, 1))
    with pytest.raises(ValueError, match="kernel has shape"):
        causal_convolution(torch.zeros(2, 3, 4, 5), torch.zeros(2, 4, 1))
    with pytest.raises(ValueError, match="not empty"):
        causal_convolution(torch.zeros(2, 3, 4, 5), torch.zeros(2, 5, 0))
