"""The ring's operators: a kernel, a matrix and a Fourier factor are three descriptions of one step."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from wavemem.streams import stream
from wavemem.wave_rnn.ring import (
    correlate,
    gain_and_velocity,
    one_way_kernel,
    ring_eigenvalues,
    ring_matrix,
    surviving_power,
    symbol,
)

sizes = {
    "seed": st.integers(0, 10_000),
    "n": st.integers(3, 14),
    "c": st.integers(1, 4),
    "f": st.sampled_from([1, 3, 5]),
}


def drawn(seed: int, n: int, c: int, f: int) -> tuple[torch.Tensor, torch.Tensor]:
    g = stream(seed, "ring")
    return torch.randn(c, c, f, generator=g, dtype=torch.float64), torch.randn(
        2, c, n, generator=g, dtype=torch.float64
    )


@settings(max_examples=40, deadline=None)
@given(**sizes)
def test_correlate_is_conv1d_with_circular_padding(seed: int, n: int, c: int, f: int) -> None:
    u, h = drawn(seed, n, c, f)
    padded = F.pad(h, (f // 2, f // 2), mode="circular") if f // 2 <= n else h
    torch.testing.assert_close(correlate(u, h), F.conv1d(padded, u))


@settings(max_examples=40, deadline=None)
@given(**sizes)
def test_matrix_and_kernel_do_the_same_and_commute_with_rotation(seed: int, n: int, c: int, f: int) -> None:
    u, h = drawn(seed, n, c, f)
    step = (h.flatten(-2) @ ring_matrix(u, n).mT).unflatten(-1, (c, n))
    torch.testing.assert_close(step, correlate(u, h))
    torch.testing.assert_close(correlate(u, h.roll(2, -1)), correlate(u, h).roll(2, -1))


@settings(max_examples=30, deadline=None)
@given(**sizes)
def test_fourier_modes_are_eigenvectors(seed: int, n: int, c: int, f: int) -> None:
    u, _ = drawn(seed, n, c, f)
    matrix = ring_matrix(u, n).to(torch.complex128)
    values, k = ring_eigenvalues(u, n), seed % n
    assert values.shape == (n, c)
    theta = torch.tensor(2 * math.pi * k / n, dtype=torch.float64)
    mode = torch.polar(torch.ones(n, dtype=torch.float64), theta * torch.arange(n))
    at, vectors = torch.linalg.eig(symbol(u, theta))
    for value, vector in zip(at, vectors.mT, strict=True):
        whole = (vector[:, None] * mode).flatten()
        torch.testing.assert_close(matrix @ whole, value * whole, atol=1e-9, rtol=1e-9)
    # as a set: the moments of the eigenvalues are traces of powers
    torch.testing.assert_close((values**2).sum(), (matrix @ matrix).trace(), atol=1e-8, rtol=1e-8)


@settings(max_examples=30, deadline=None)
@given(nu=st.floats(-1, 1), n=st.integers(3, 20), steps=st.integers(0, 40))
def test_surviving_power_is_what_a_pulse_has_left(nu: float, n: int, steps: int) -> None:
    h = torch.zeros(1, n, dtype=torch.float64)
    h[0, 0] = 1.0
    for _ in range(steps):
        h = correlate(one_way_kernel(nu), h)
    assert surviving_power(one_way_kernel(nu), n, steps) == pytest.approx(float(h.square().sum()), abs=1e-10)


@settings(max_examples=50, deadline=None)
@given(nu=st.floats(0.01, 1), theta=st.floats(0.01, 3.14))
def test_no_mode_grows_and_only_the_shift_keeps_all(nu: float, theta: float) -> None:
    gain, velocity = gain_and_velocity(one_way_kernel(nu), torch.tensor([theta], dtype=torch.float64))
    squared = 1 - 2 * nu * (1 - nu) * (1 - math.cos(theta))
    assert gain.item() ** 2 == pytest.approx(squared, abs=1e-12)
    if nu == 1:
        assert velocity.item() == pytest.approx(1, abs=1e-12)


def test_what_makes_no_sense_is_refused() -> None:
    h = torch.zeros(2, 5)
    with pytest.raises(ValueError, match="odd number"):
        correlate(torch.zeros(2, 2, 4), h)
    with pytest.raises(ValueError, match="channels before positions"):
        correlate(torch.zeros(3, 3, 3), h)
    with pytest.raises(ValueError, match="velocity"):
        one_way_kernel(float("nan"))
    with pytest.raises(ValueError, match="Several channels"):
        gain_and_velocity(torch.zeros(2, 2, 3), torch.ones(1))
    with pytest.raises(ValueError, match="different from 0"):
        gain_and_velocity(torch.zeros(3), torch.zeros(1))
    with pytest.raises(ValueError, match="one channel"):
        surviving_power(torch.zeros(2, 2, 3), 4, 1)
    with pytest.raises(ValueError, match="steps"):
        surviving_power(torch.zeros(3), 4, -1)
    with pytest.raises(ValueError, match="n = 0"):
        ring_matrix(torch.zeros(3), 0)
