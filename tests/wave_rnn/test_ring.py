"""Operators on a ring, against convolution and Fourier's basis; velocities read off spectra."""

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
    line_strength,
    mirror_ratio,
    one_way_kernel,
    ring_eigenvalues,
    ring_matrix,
    spectral_velocity,
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
    u = torch.randn(c, c, f, generator=g, dtype=torch.float64)
    return u, torch.randn(2, c, n, generator=g, dtype=torch.float64)


@settings(max_examples=40, deadline=None)
@given(**sizes)
def test_kernel_and_matrix_are_conv1d_with_circular_padding(seed: int, n: int, c: int, f: int) -> None:
    u, h = drawn(seed, n, c, f)
    step = F.conv1d(F.pad(h, (f // 2, f // 2), mode="circular"), u)
    torch.testing.assert_close(correlate(u, h), step)
    torch.testing.assert_close((h.flatten(-2) @ ring_matrix(u, n).mT).unflatten(-1, (c, n)), step)


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


def travelling(velocity: float, T: int = 64, n: int = 32, series: int = 16) -> torch.Tensor:
    """Random patterns that travel on a ring: h(x, t) = h0(x + ν t), exactly, through the Fourier series of h0."""
    generator = torch.Generator().manual_seed(0)
    h0 = torch.fft.rfft(torch.randn((series, n), generator=generator, dtype=torch.float64))
    h0[:, -1] = 0
    phase = 2j * math.pi * velocity * torch.outer(torch.arange(T), torch.arange(n // 2 + 1)) / n
    return torch.fft.irfft(h0 * torch.exp(phase)[:, None], n)


@pytest.mark.parametrize("velocity", [1.0, -1.0, 0.5, 0.3, 2.0, 0.0, 1.013])
def test_velocity_of_a_wave_on_a_ring(velocity: float) -> None:
    activity = travelling(velocity)
    band = spectral_velocity(activity)
    assert band.velocity == pytest.approx(velocity, abs=1e-4)
    assert band.error < 0.01
    assert band.strength > 20
    noisy = activity + torch.randn(activity.shape, generator=torch.Generator().manual_seed(1))
    found = spectral_velocity(noisy)
    assert abs(found.velocity - velocity) < 5 * found.error
    assert 0 < found.error < 0.01


def test_all_power_of_a_wave_is_on_its_line() -> None:
    assert line_strength(travelling(0.37), 0.37) == pytest.approx(64)
    activity = travelling(1.0)  # 64 steps hold two rounds of the ring: the mirror image gets exactly nothing
    assert line_strength(activity, 1.0) == pytest.approx(64)
    assert mirror_ratio(activity) > 1e6
    assert mirror_ratio(travelling(-1.0)) < 1e-6


def test_what_does_not_travel_prefers_no_direction() -> None:
    generator = torch.Generator().manual_seed(2)
    noise = torch.randn((64, 200, 32), generator=generator)
    assert line_strength(noise, 1.0) == pytest.approx(1, abs=0.1)
    assert mirror_ratio(noise) == pytest.approx(1, abs=0.15)
    standing = travelling(1.0) + travelling(1.0).flip(-1)
    assert mirror_ratio(standing) == pytest.approx(1, abs=0.3)
    frozen = torch.randn((1, 20, 32), generator=generator).expand(64, -1, -1)
    assert spectral_velocity(frozen).velocity == pytest.approx(0, abs=0.005)
    ramps = frozen * torch.linspace(0, 1, 64)[:, None, None]
    assert mirror_ratio(ramps) == pytest.approx(1, abs=1e-6)


def test_two_waves_and_the_stronger_one() -> None:
    both = travelling(1.0) + 0.5 * travelling(-0.5, series=16).roll(1, 1)
    assert spectral_velocity(both).velocity == pytest.approx(1.0, abs=0.02)
    assert line_strength(both, -0.5) > 3


def test_no_activity_has_no_velocity() -> None:
    band, single = spectral_velocity(torch.zeros(8, 3, 6)), spectral_velocity(travelling(1.0, series=1))
    assert band.strength == 0
    assert all(map(math.isnan, (band.velocity, mirror_ratio(torch.zeros(8, 3, 6)), single.error)))
