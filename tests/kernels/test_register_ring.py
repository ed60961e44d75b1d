"""The ring: exact movement at any velocity, closed form against the stepped ring."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from wavemem.kernels.register_ring import ring_kernel, ring_scan, ring_scan_with_state, ring_states, ring_step


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def operator(n: int, v: float) -> Tensor:
    """R_v as a matrix, from all n Fourier modes written out."""
    j = torch.arange(n, dtype=torch.float64)
    moved = torch.zeros(n, n, dtype=torch.float64)
    for m in range(-((n - 1) // 2), n // 2 + 1):
        if 2 * m == n:
            factor = torch.cos(torch.tensor(torch.pi * v, dtype=torch.float64))
            moved += factor * torch.cos(torch.pi * (j[:, None] - j)) / n
        else:
            moved += torch.cos(2 * torch.pi * m * (j[:, None] - j - v) / n) / n
    return moved


@settings(max_examples=40, deadline=None)
@given(n=st.integers(1, 9), v=st.floats(-3, 3), length=st.integers(1, 12), damping=st.floats(0, 1))
def test_kernel_is_powers_of_the_operator(n: int, v: float, length: int, damping: float) -> None:
    C = normal(1, 1, n)
    h = torch.eye(n, dtype=torch.float64)[0]
    expected = []
    for _ in range(length):
        expected.append(C[0, 0] @ h)
        h = damping * (operator(n, v) @ h)
    full = torch.full((1, 1), v, dtype=torch.float64), torch.full((1, 1), damping, dtype=torch.float64)
    found = ring_kernel(C, full[0], length, full[1])[0, 0]
    torch.testing.assert_close(found, torch.stack(expected), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("n", [1, 2, 4, 5])
@pytest.mark.parametrize("v", [-2, -1, 0, 1, 3])
def test_a_whole_velocity_is_a_permutation(n: int, v: int) -> None:
    h = normal(1, 2, 3, n)
    speed = torch.full((1, 3), float(v), dtype=torch.float64)
    moved = ring_step(torch.zeros(1, 2, 3, dtype=torch.float64), normal(1, 3, n), speed, None, h)[1]
    torch.testing.assert_close(moved, h.roll(v, -1), rtol=1e-13, atol=1e-13)


@settings(max_examples=30, deadline=None)
@given(n=st.sampled_from([1, 3, 5, 9]), v=st.floats(-4, 4))
def test_a_ring_of_an_odd_number_keeps_its_norm(n: int, v: float) -> None:
    h = normal(1, 1, 2, n)
    speed = torch.full((1, 2), v, dtype=torch.float64)
    states = ring_states(torch.zeros(1, 1, 50, 2, dtype=torch.float64), speed, n, h)
    torch.testing.assert_close(states[-1].norm(dim=-1), h.norm(dim=-1), rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("n", [2, 4, 8])
def test_of_an_even_ring_the_shortest_mode_alone_shrinks(n: int) -> None:
    v = torch.full((1, 1), 0.3, dtype=torch.float64)
    h = normal(1, 1, 1, n)
    before = torch.fft.rfft(h, dim=-1).abs()
    after = torch.fft.rfft(ring_states(torch.zeros(1, 1, 3, 1, dtype=torch.float64), v, n, h)[-1], dim=-1).abs()
    torch.testing.assert_close(after[..., :-1], before[..., :-1])
    torch.testing.assert_close(after[..., -1], before[..., -1] * float(torch.cos(torch.pi * v)) ** 3)


@pytest.mark.parametrize("silu", [False, True])
@pytest.mark.parametrize("n", [1, 2, 5, 8])
def test_scan_equals_the_loop(n: int, silu: bool) -> None:
    K, B, L, E = 2, 3, 13, 4
    values = {
        "x": normal(K, B, L, E),
        "C": normal(K, E, n, seed=1),
        "v": 2 * normal(K, E, seed=2),
        "bias": normal(K, E, seed=3),
        "damping": torch.sigmoid(normal(K, E, seed=4)),
        "h0": normal(K, B, E, n, seed=5),
    }

    def loop(x: Tensor, C: Tensor, v: Tensor, bias: Tensor, damping: Tensor, h0: Tensor) -> tuple[Tensor, Tensor]:
        states = ring_states(x, v, n, h0, damping=damping)
        y = torch.einsum("tkben,ken->kbte", states, C) + bias[:, None, None]
        return torch.nn.functional.silu(y) if silu else y, states[-1]

    found = []
    for scan in (partial(ring_scan_with_state, silu=silu), loop):
        own = {name: value.clone().requires_grad_() for name, value in values.items()}
        y, last = scan(**own)
        total = (y * normal(K, B, L, E, seed=6)).sum() + (last * normal(K, B, E, n, seed=7)).sum()
        found.append([y, last, *torch.autograd.grad(total, list(own.values()))])
    for mine, theirs in zip(*found, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-9)
    single = {name: value.float() for name, value in values.items()}
    torch.testing.assert_close(ring_scan(**single, silu=silu).double(), found[0][0], rtol=1e-4, atol=1e-4)
    plain = ring_scan(values["x"], values["C"], values["v"])
    states = ring_states(values["x"], values["v"], n)
    torch.testing.assert_close(plain, torch.einsum("tkben,ken->kbte", states, values["C"]), rtol=1e-9, atol=1e-9)


def test_stepping_equals_the_scan() -> None:
    K, B, L, E, n = 2, 3, 40, 5, 6
    x, C, v = normal(K, B, L, E).float(), normal(K, E, n).float(), normal(K, E, seed=1).float()
    bias, damping = normal(K, E, seed=2).float(), torch.full((K, E), 0.9)
    whole, last = ring_scan_with_state(x, C, v, bias, damping=damping, silu=True)
    h = torch.zeros(K, B, E, n)
    for t in range(L):
        y, h = ring_step(x[:, :, t], C, v, bias, h, damping=damping, silu=True)
        torch.testing.assert_close(y, whole[:, :, t], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(h, last, rtol=1e-5, atol=1e-5)


X, C, V = torch.zeros(1, 2, 6, 4), torch.zeros(1, 4, 3), torch.zeros(1, 4)


def changed(**change: Tensor) -> Tensor:
    """The scan of sound arguments, of which some are others."""
    return ring_scan(**{"x": X, "C": C, "v": V, **change})


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: changed(x=torch.zeros(1, 2, 3)), "x has shape"),
        (lambda: changed(x=torch.zeros(1, 2, 0, 4)), "Pass something"),
        (lambda: changed(C=torch.zeros(1, 5, 3)), "v has shape"),
        (lambda: changed(C=torch.zeros(1, 4, 0)), "reads no neuron"),
        (lambda: changed(v=torch.zeros(4)), "v has shape"),
        (lambda: changed(bias=torch.zeros(4)), "bias has shape"),
        (lambda: changed(damping=torch.zeros(4)), "damping has shape"),
        (lambda: changed(damping=torch.full((1, 4), 1.1)), "0 to 1 per step"),
        (lambda: changed(h0=torch.zeros(1, 2, 4, 4)), "h0 has shape"),
        (lambda: ring_step(torch.zeros(1, 2, 5), C, V, None, torch.zeros(1, 2, 4, 3)), "x has shape"),
        (lambda: ring_step(torch.zeros(1, 2, 4), C, V, None, torch.zeros(1, 2, 4, 2)), "h has shape"),
        (lambda: ring_states(X, V, 0), "n = 0"),
    ],
)
def test_bad_input_is_refused(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
