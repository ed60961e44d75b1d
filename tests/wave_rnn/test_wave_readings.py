"""Readings of what travels in a network, on fields whose velocity is known."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from wavemem.streams import stream
from wavemem.theory.velocity import Velocity
from wavemem.wave_rnn.network import IdentityRNN, WaveRNN
from wavemem.wave_rnn.wave_readings import (
    different_speeds,
    direction,
    onset_order,
    ring_pass,
    ring_velocity,
    state_response,
    varying_part,
)


def travelling(velocity: int, time: int = 20, batch: int = 8, channels: int = 2, n: int = 24) -> Tensor:
    """Random patterns that go round rings of n units."""
    first = torch.randn(batch, channels, n, generator=stream(0, "pattern"), dtype=torch.float64)
    return torch.stack([torch.roll(first, -velocity * t, -1) for t in range(time)])


@pytest.mark.parametrize("velocity", [1, -1, 2])
def test_velocity_of_a_lossless_wave(velocity: int) -> None:
    found = ring_velocity(travelling(velocity))
    assert found.value == pytest.approx(velocity, abs=0.02)
    assert found.coherence > 0.9


@pytest.mark.parametrize("velocity", [1, -1])
def test_a_disturbance_that_goes_round_passes_and_returns(velocity: int) -> None:
    found = ring_pass(travelling(velocity, time=72, batch=64, channels=3))
    assert found.recirculating
    assert found.velocity == pytest.approx(velocity, abs=0.15)


def test_what_stands_or_fades_or_is_noise_does_not_pass() -> None:
    still = travelling(0, time=72, batch=64)
    fading = travelling(1, time=72, batch=64) * (0.9 ** torch.arange(72.0)).view(-1, 1, 1, 1)
    growing = fading.flip(0).flip(-1)  # a shift that amplifies, as trained networks do
    noise = torch.randn(72, 64, 2, 24, generator=stream(0, "noise"), dtype=torch.float64)
    assert [ring_pass(field).travelling for field in (still, noise, growing, fading)] == [False, False, True, True]
    assert not ring_pass(fading).recirculating  # it passes, but a twelfth of it returns


def test_what_a_ring_does_at_once_does_not_travel() -> None:
    ramp = torch.linspace(0, 50, 20, dtype=torch.float64).view(-1, 1, 1, 1)
    assert ring_velocity(travelling(1) + ramp).value == pytest.approx(1, abs=0.02)
    assert not ring_velocity(ramp.expand(20, 8, 2, 24)).confident


def test_varying_part_has_no_mean_and_drops_rounding() -> None:
    activity = travelling(1) + 5
    moving = varying_part(activity)
    assert float(moving.mean(1).abs().max()) < 1e-12
    same = activity[:, :1].float().expand(-1, 7, -1, -1) * (1 + 1e-8)
    assert not varying_part(same).any()


def test_direction_tells_the_sides_apart() -> None:
    assert direction(travelling(1)) > 0.9
    assert direction(travelling(-1)) < -0.9
    assert abs(direction(travelling(1) + travelling(-1))) < 0.2
    assert math.isnan(direction(torch.zeros(6, 2, 1, 6)))


def test_onset_order_sorts_a_sequence_of_units() -> None:
    peaks = torch.tensor([3, 0, 4, 1, 2])
    activity = torch.zeros(5, 4, 1, 5)
    activity[peaks, :, :, torch.arange(5)] = 1.0
    assert peaks[onset_order(activity)].tolist() == [0, 1, 2, 3, 4]


def test_a_shift_carries_a_disturbance_and_an_identity_keeps_it() -> None:
    wave = WaveRNN.initialise([0], 16, 2, inputs=3, outputs=3)
    with torch.no_grad():
        wave.b_u.fill_(0.5)  # no unit is cut off
    inputs = torch.rand(14, 8, 3, generator=stream(0, "inputs"))
    response = state_response(wave, inputs, 2, stream(0, "disturbance"))
    assert response.shape == (1, 13, 8, 2, 16)
    torch.testing.assert_close(response[0, 1], torch.roll(response[0, 0], -1, -1), rtol=0, atol=1e-4)
    assert ring_velocity(response[0]).value == pytest.approx(1, abs=0.02)
    single = state_response(wave, inputs, 2, stream(0, "disturbance"), channel=1)
    assert not single[:, :, :, 0].any()

    dense = IdentityRNN.initialise([0], 16, inputs=3, outputs=3)
    with torch.no_grad():
        dense.b_U.fill_(0.5)
    response = state_response(dense, inputs, 2, stream(0, "disturbance"))
    assert response.shape == (1, 13, 8, 1, 16)
    torch.testing.assert_close(response[0, -1], response[0, 0], rtol=0, atol=1e-4)
    assert not ring_velocity(response[0]).confident


def test_different_speeds_are_grouped() -> None:
    def known(value: float, error: float = 0.01) -> Velocity:
        return Velocity(value, error, 0.9, value)

    nothing = Velocity(math.nan, math.nan, 0.0, 0.3)
    assert different_speeds([known(1.0), known(0.95), nothing, known(0.5)]) == pytest.approx([0.975, 0.5])
    assert different_speeds([known(1.0, 0.2), known(0.5, 0.2)]) == pytest.approx([0.75])
    assert different_speeds([nothing]) == []
