"""The estimated velocity: right where something travels, silent where nothing does."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from wavemem.streams import stream
from wavemem.theory.boundary import run
from wavemem.theory.velocity import estimate_velocity


def smooth_wave(velocity: float, seed: int, time: int = 40, position: int = 24, channels: int = 6) -> Tensor:
    """Random smooth profiles, each carried exactly with one velocity: (time, channel, position)."""
    g = stream(seed, "profile")
    k = 2 * math.pi * torch.arange(1, 9, dtype=torch.float64) / 61.0  # incommensurate with the substrate
    a, b = (torch.randn(channels, 8, generator=g, dtype=torch.float64) for _ in "ab")
    foot = torch.arange(position, dtype=torch.float64) + velocity * torch.arange(time, dtype=torch.float64)[:, None]
    angle = k * foot[:, None, :, None]
    return (a[:, None] * angle.cos() + b[:, None] * angle.sin()).sum(-1)


@settings(max_examples=15, deadline=None)
@given(velocity=st.floats(-2, 2).filter(lambda nu: abs(nu) > 0.2), seed=st.integers(0, 99))
def test_recovers_the_velocity_of_smooth_waves(velocity: float, seed: int) -> None:
    found = estimate_velocity(smooth_wave(velocity, seed), max_velocity=4.0)
    assert found.confident
    assert found.value == pytest.approx(velocity, abs=0.05 * abs(velocity) + 0.02)


def test_a_shift_of_random_inputs_has_velocity_one() -> None:
    g = stream(0, "inputs")
    h0 = torch.randn(8, 10, 3, generator=g, dtype=torch.float64)
    states = run(h0, lambda h: torch.randn(h.shape[0], 3, generator=g, dtype=torch.float64), 50)
    found = estimate_velocity(states.mT)
    assert found.value == pytest.approx(1.0, abs=1e-3)
    assert 0 <= found.error < 1e-2
    assert found.coherence > 0.9


@pytest.mark.parametrize("seed", range(5))
def test_noise_frozen_patterns_and_standing_waves_have_none(seed: int) -> None:
    g = stream(seed, "none")
    noise = torch.randn(40, 6, 16, generator=g, dtype=torch.float64)
    frozen = torch.randn(6, 16, generator=g, dtype=torch.float64).expand(40, 6, 16)
    v, t = torch.arange(24.0, dtype=torch.float64), torch.arange(40.0, dtype=torch.float64)[:, None]
    standing = (torch.cos(0.7 * v) * torch.cos(0.5 * t + seed)).unsqueeze(1)
    for activity in (noise, frozen, standing):
        found = estimate_velocity(activity)
        assert not found.confident
        assert math.isnan(found.value)
        assert math.isnan(found.error)


def test_noise_on_a_wave_widens_the_error() -> None:
    wave = smooth_wave(0.8, 2, channels=16)
    noise = torch.randn(wave.shape, generator=stream(2, "noise"), dtype=torch.float64)
    clear, noisy = estimate_velocity(wave), estimate_velocity(wave + 2 * noise)
    assert noisy.error > clear.error
    assert noisy.coherence < clear.coherence
    assert noisy.value == pytest.approx(0.8, abs=max(5 * noisy.error, 0.05))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: estimate_velocity(torch.zeros(3, 8)), "time >= 4"),
        (lambda: estimate_velocity(smooth_wave(1.0, 0)[..., :8], max_velocity=5.0), "max_velocity"),
        (lambda: estimate_velocity(smooth_wave(1.0, 0), min_coherence=1.0), "min_coherence"),
    ],
)
def test_bad_input_is_explained(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
