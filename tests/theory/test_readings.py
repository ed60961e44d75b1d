"""Readings of a substrate, each against a construction whose answer is known, and silent where there is none."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from wavemem.ssm.shift_register import upwind_register
from wavemem.streams import stream
from wavemem.theory.basis import random_basis
from wavemem.theory.readings import decode_past, spectrum_2d, substrate_activity, transport
from wavemem.theory.wave_equation import upwind_step


def shifted_inputs(time: int, batch: int, s: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Inputs (time, batch, 1) and the states (time, batch, s) of a shift register that reads them."""
    u = torch.randn(time, batch, 1, generator=stream(seed, "u"), dtype=torch.float64)
    h, states = torch.zeros(batch, s, dtype=torch.float64), []
    for x in u[..., 0]:
        h = upwind_step(h, 1.0, inflow=x)
        states.append(h)
    return u, torch.stack(states)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 999), s=st.integers(1, 5), d=st.integers(1, 4))
def test_flattening_puts_column_after_column(seed: int, s: int, d: int) -> None:
    h = torch.randn(6, s, d, generator=stream(seed, "h"), dtype=torch.float64)
    assert torch.equal(substrate_activity(h.flatten(-2), s, d), h.mT)


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
    Psi = random_basis(6, stream(1, "basis"), N=9).Psi  # no basis decides
    seen, hidden = (decode_past(h[20:], u[20:], lags=[0, 2, 4], ridge=1e-10).r2 for h in (states, states @ Psi.mT))
    np.testing.assert_allclose(seen, hidden, atol=1e-4)
    assert decoding.r2[:6].min() > 0.999
    assert decoding.r2[6:].max() < 0.05
    assert decoding.accuracy[:6].min() == 1.0
    assert decoding.accuracy[6:].max() < 0.6
    assert decoding.capacity == pytest.approx(6, abs=0.1)
    series = decode_past(*(x[:, :1] for x in shifted_inputs(400, 1, 4)[::-1]), lags=6)  # split in time
    assert series.r2[:4].min() > 0.99
    assert series.r2[4:].max() < 0.2


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=stream(seed, "transport"), dtype=torch.float64)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), v=st.floats(0.1, 1.0), n=st.integers(2, 8), correlation=st.sampled_from([0.0, 0.9]))
def test_reads_velocity_and_diffusion_of_a_register(seed: int, v: float, n: int, correlation: float) -> None:
    x = normal(120, 4, seed=seed)
    for t in range(1, 120):
        x[t] += correlation * x[t - 1]
    h = upwind_register(n, v).states(x)
    fit = transport(h)
    assert fit.velocity == pytest.approx(-v, abs=1e-6)
    assert fit.diffusion == pytest.approx(v * (1 - v), abs=1e-5)
    assert fit.nearest == pytest.approx(1.0, abs=1e-5)
    assert fit.uneven < 1e-5
    assert bool((fit.explained[1:] > 1 - 1e-9).all())


def test_says_nothing_where_nothing_travels() -> None:
    assert math.isnan(transport(normal(100, 5, 4, seed=2)).velocity)
    wrong = upwind_register(4, 1.0).states(normal(100, 5, seed=3))[..., [0, 2, 3, 1]]
    fit = transport(wrong)
    assert math.isnan(fit.velocity)
    assert math.isnan(fit.diffusion)
    assert fit.uneven > 1
    assert fit.nearest < 0.9
    decays = torch.tensor([0.99, 0.97, 0.95, 0.9], dtype=torch.float64)
    h, kept = torch.ones(3, 4, dtype=torch.float64) * normal(3, 4, seed=4), []
    for _ in range(50):
        h = h * decays
        kept.append(h)
    still = transport(torch.stack(kept))
    assert still.velocity == pytest.approx(0.0, abs=1e-3)


SERIES = torch.zeros(10, 4, 1), torch.zeros(10, 4, 3)
"""A history and states."""


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: substrate_activity(torch.zeros(4, 5), 3, 2), "states has shape"),
        (lambda: spectrum_2d(torch.zeros(1, 5)), "activity of shape"),
        (lambda: spectrum_2d(torch.full((4, 5), math.nan)), "infinite entries"),
        (lambda: decode_past(SERIES[1][1:], SERIES[0], 2), "history has shape"),
        (lambda: decode_past(SERIES[1], SERIES[0], 11), "lags between 0 and 9"),
        (lambda: decode_past(SERIES[1], SERIES[0], 2, ridge=0.0), "ridge > 0"),
        (lambda: transport(torch.zeros(1, 4)), "time >= 2"),
    ],
)
def test_bad_input_is_explained(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
