"""The schemes: matrix, kernel, diffusion, amplification, and what they refuse."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from wavemem.streams import stream
from wavemem.theory.hds import shift_operator
from wavemem.theory.wave_equation import (
    amplification,
    exact_solution,
    group_velocity,
    lax_wendroff_step,
    march,
    numerical_diffusion,
    upwind_kernel,
    upwind_matrix,
    upwind_step,
)


@settings(max_examples=40, deadline=None)
@given(c=st.floats(-1.5, 1.5), periodic=st.booleans(), seed=st.integers(0, 999))
def test_matrix_is_the_step(c: float, periodic: bool, seed: int) -> None:
    h = torch.randn(4, 7, generator=stream(seed, "h"), dtype=torch.float64)
    torch.testing.assert_close(upwind_step(h, c, periodic=periodic), h @ upwind_matrix(7, c, periodic).mT)
    assert torch.equal(upwind_matrix(6, 1.0), shift_operator(6, 1))


@settings(max_examples=40, deadline=None)
@given(c=st.floats(0, 1), steps=st.integers(0, 20))
def test_kernel_is_what_the_steps_do_to_one_active_position(c: float, steps: int) -> None:
    h = torch.zeros(41, dtype=torch.float64)
    h[-1] = 1.0
    final = march(h, steps, lambda x: upwind_step(x, c))[-1]
    torch.testing.assert_close(final.flip(0)[: steps + 1], upwind_kernel(c, steps), atol=1e-12, rtol=0)


@settings(max_examples=40, deadline=None)
@given(c=st.floats(0.05, 1.0), steps=st.integers(1, 30))
def test_a_packet_moves_by_c_and_spreads_by_the_numerical_diffusion(c: float, steps: int) -> None:
    weights = upwind_kernel(c, steps)
    j = torch.arange(steps + 1, dtype=torch.float64)
    mean = (weights * j).sum()
    variance = (weights * (j - mean) ** 2).sum()
    assert mean.item() == pytest.approx(c * steps, rel=1e-9)
    # velocity c in units of positions per step, dt = dx = 1: variance 2 D t
    assert variance.item() == pytest.approx(2 * numerical_diffusion(c, velocity=c) * steps, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("scheme", ["upwind", "lax-wendroff"])
@pytest.mark.parametrize("c", [0.3, 0.7, 1.0])
def test_amplification_is_the_eigenvalue_of_the_periodic_step(scheme: str, c: float) -> None:
    n = 12
    step = (lambda h: upwind_step(h, c, periodic=True)) if scheme == "upwind" else (lambda h: lax_wendroff_step(h, c))
    theta = 2 * math.pi * torch.arange(n, dtype=torch.float64) / n
    mode = torch.exp(1j * theta[:, None] * torch.arange(n, dtype=torch.float64))
    after = torch.complex(step(mode.real), step(mode.imag))
    torch.testing.assert_close(after, amplification(theta, c, scheme)[:, None] * mode)


@pytest.mark.parametrize("scheme", ["upwind", "lax-wendroff"])
def test_cfl_condition(scheme: str) -> None:
    theta = torch.linspace(-math.pi, math.pi, 201, dtype=torch.float64)
    for c in (-1.0, -0.4, 0.0, 0.4, 1.0):
        assert amplification(theta, c, scheme).abs().max() <= 1 + 1e-12
    for c in (-1.05, 1.05):
        assert amplification(theta, c, scheme).abs().max() > 1.05


def test_velocities_of_modes() -> None:
    theta = torch.linspace(0.05, 3.0, 40, dtype=torch.float64)
    torch.testing.assert_close(group_velocity(theta, 1.0), torch.ones_like(theta))
    torch.testing.assert_close(group_velocity(theta, 0.5), torch.ones_like(theta))  # c = 1/2 is free of dispersion
    assert group_velocity(theta, 0.3)[-1] < 0.9
    assert group_velocity(theta, 0.8)[-1] > 1.1
    assert group_velocity(theta, 0.5, "lax-wendroff")[-1] < 0  # short waves run backwards
    shorter = torch.tensor([1.0, 1.0 + 1e-6], dtype=torch.float64)
    phases = torch.angle(amplification(shorter, 0.3))
    numeric = (phases[1] - phases[0]) / (0.3 * 1e-6)
    assert group_velocity(shorter[:1], 0.3).item() == pytest.approx(numeric.item(), rel=1e-5)


def test_one_velocity_per_wave_and_an_inflow_per_wave() -> None:
    h = torch.randn(3, 6, generator=stream(0, "h"), dtype=torch.float64)
    c = torch.tensor([1.0, 0.5, -0.25], dtype=torch.float64)
    inflow = torch.tensor([5.0, 6.0, 7.0], dtype=torch.float64)
    together = upwind_step(h, c, inflow)
    for k in range(3):
        torch.testing.assert_close(together[k], upwind_step(h[k], float(c[k]), float(inflow[k])))
    assert together[0, -1] == 5.0
    assert together[2, 0] == pytest.approx(0.75 * h[2, 0].item() + 0.25 * 7.0)


def test_gradient_with_respect_to_the_velocity() -> None:
    c = torch.tensor(0.4, dtype=torch.float64, requires_grad=True)
    h = torch.randn(6, generator=stream(0, "h"), dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: upwind_step(h, x), (c,))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: upwind_step(torch.zeros(4), 0.5, inflow=1.0, periodic=True), "inflow on a periodic substrate"),
        (lambda: exact_solution(torch.sin, 1.0, torch.zeros(4), 1.0, inflow=torch.cos), "without length"),
        (lambda: exact_solution(torch.sin, -1.0, torch.zeros(4), 1.0, torch.cos, length=4.0), "velocities > 0"),
        (lambda: upwind_kernel(1.5, 3), r"courant = 1\.5"),
        (lambda: march(torch.zeros(4), -1, lambda x: x), "steps"),
        (lambda: amplification(torch.zeros(4), 0.5, "leapfrog"), "scheme"),
        (lambda: group_velocity(torch.ones(1), 0.0), "courant = 0"),
    ],
)
def test_bad_input_is_explained(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
