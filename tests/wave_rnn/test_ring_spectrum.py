"""Velocities read off two-dimensional spectra of activity whose velocity is known."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from wavemem.wave_rnn.ring import line_strength, mirror_ratio, spectral_velocity


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
    band = spectral_velocity(torch.zeros(8, 3, 6))
    assert math.isnan(band.velocity)
    assert band.strength == 0
    assert math.isnan(mirror_ratio(torch.zeros(8, 3, 6)))
    assert math.isnan(spectral_velocity(travelling(1.0, series=1)).error)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: spectral_velocity(torch.zeros(3, 8)), "time >= 4"),
        (lambda: spectral_velocity(torch.zeros(8, 8), fastest=0), "fastest = 0"),
        (lambda: line_strength(torch.zeros(8, 8), math.nan), "velocity = nan"),
        (lambda: mirror_ratio(torch.full((8, 8), math.inf)), "infinite"),
    ],
)
def test_bad_input_is_explained(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
