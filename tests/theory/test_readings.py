"""Readings of a substrate: layout, spectrum, decoding, each against a construction whose answer is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from wavemem.streams import stream
from wavemem.theory.basis import random_basis
from wavemem.theory.boundary import flatten, run
from wavemem.theory.episodes import random_histories
from wavemem.theory.hds import repeat_copy
from wavemem.theory.readings import decode_past, spectrum_2d, substrate_activity
from wavemem.theory.wave_equation import upwind_step


def shifted_inputs(time: int, batch: int, s: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs (time, batch, 1) and the states (time, batch, s) of a shift register that reads them."""
    u = torch.randn(time, batch, 1, generator=stream(seed, "u"), dtype=torch.float64)
    h, states = torch.zeros(batch, s, dtype=torch.float64), []
    for x in u[..., 0]:
        h = upwind_step(h, 1.0, inflow=x)
        states.append(h)
    return u, torch.stack(states)


def test_activity_is_laid_out_by_channel_and_position() -> None:
    s, d = 4, 3
    h = torch.arange(2.0 * 5 * s * d).reshape(2, 5, s, d)
    activity = substrate_activity(flatten(h), s, d)
    assert activity.shape == (2, 5, d, s)
    assert activity[1, 2, 0, 3] == h[1, 2, 3, 0]


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 999), s=st.integers(1, 5), d=st.integers(1, 4))
def test_the_dual_basis_brings_the_substrate_back(seed: int, s: int, d: int) -> None:
    basis = random_basis(s * d, stream(seed, "basis"))
    h = torch.randn(6, s, d, generator=stream(seed, "h"), dtype=torch.float64)
    hidden = flatten(h) @ basis.Psi.mT
    torch.testing.assert_close(substrate_activity(hidden, s, d, basis.dual), h.mT, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("velocity", [1, -1, 2])
def test_a_travelling_mode_has_its_power_on_the_line_of_its_velocity(velocity: int) -> None:
    n, k = 16, 3
    v, t = torch.arange(n, dtype=torch.float64), torch.arange(n, dtype=torch.float64)[:, None]
    spectrum = spectrum_2d(torch.cos(2 * math.pi * k / n * (v + velocity * t)))
    row, column = np.unravel_index(spectrum.magnitude.argmax(), spectrum.magnitude.shape)
    omega, kappa = spectrum.temporal[row], spectrum.spatial[column]
    assert abs(kappa) == pytest.approx(k / n)
    assert omega == pytest.approx((velocity * kappa + 0.5) % 1.0 - 0.5)
    others = np.sort(spectrum.magnitude.ravel())[:-2]
    assert others.max() < 1e-9 * spectrum.magnitude.max()


def test_shuffling_leaves_about_one_where_nothing_is_organised() -> None:
    noise = torch.randn(40, 30, 2, 20, generator=stream(3, "noise"))
    spectrum = spectrum_2d(noise, shuffle=stream(3, "shuffle"))
    assert spectrum.normalised
    off_centre = np.delete(spectrum.magnitude.ravel(), spectrum.magnitude.size // 2 + 10)
    assert np.median(off_centre) == pytest.approx(1.0, abs=0.05)


def test_a_shift_register_holds_exactly_its_length() -> None:
    u, states = shifted_inputs(80, 40, 6)
    decoding = decode_past(states[20:], u[20:], lags=12)
    assert decoding.lags.tolist() == list(range(12))
    assert decoding.r2[:6].min() > 0.999
    assert decoding.r2[6:].max() < 0.05
    assert decoding.accuracy[:6].min() == 1.0
    assert decoding.accuracy[6:].max() < 0.6
    assert decoding.capacity == pytest.approx(6, abs=0.1)


def test_decoding_does_not_depend_on_the_basis() -> None:
    u, states = shifted_inputs(60, 30, 5, seed=1)
    basis = random_basis(5, stream(1, "basis"), N=9)
    seen = decode_past(states[10:], u[10:], lags=[0, 2, 4, 7], ridge=1e-10)
    hidden = decode_past(states[10:] @ basis.Psi.mT, u[10:], lags=[0, 2, 4, 7], ridge=1e-10)
    np.testing.assert_allclose(seen.r2, hidden.r2, atol=1e-4)


def test_one_series_is_split_in_time() -> None:
    u, states = shifted_inputs(400, 1, 4)
    decoding = decode_past(states, u, lags=6)
    assert decoding.r2[:4].min() > 0.99
    assert decoding.r2[4:].max() < 0.2


def test_repeat_copy_states_hold_the_cycle() -> None:
    task = repeat_copy(4, 2)
    u = random_histories(60, 4, 2, stream(0, "u"), dtype=torch.float64)
    states = flatten(run(u, task.next, 12))
    written = states[:, :, -2:]
    decoding = decode_past(states, written, lags=4)
    assert decoding.accuracy.min() == 1.0


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="s = 3, d = 2"):
        substrate_activity(torch.zeros(4, 5), 3, 2)
    with pytest.raises(ValueError, match="covectors as rows"):
        substrate_activity(torch.zeros(4, 5), 3, 2, dual=torch.zeros(6, 4))
    with pytest.raises(ValueError, match="activity of shape"):
        spectrum_2d(torch.zeros(1, 5))
    with pytest.raises(ValueError, match="infinite or missing"):
        spectrum_2d(torch.full((4, 5), math.nan))
    u, states = shifted_inputs(10, 4, 3)
    with pytest.raises(ValueError, match="same time and batch"):
        decode_past(states[1:], u, 2)
    with pytest.raises(ValueError, match="lags between 0 and 9"):
        decode_past(states, u, 11)
    with pytest.raises(ValueError, match="ridge > 0"):
        decode_past(states, u, 2, ridge=0.0)
