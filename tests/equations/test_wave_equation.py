"""TWM Eqs. 2 and 19–24, Wave-RNN Eq. 1 and the v-Wave abstract: the wave equation, its Euler steps, and the shift."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from wavemem.streams import stream
from wavemem.theory.boundary import step
from wavemem.theory.wave_equation import exact_solution, upwind_step

velocities = st.floats(-3, 3).filter(lambda nu: abs(nu) > 1e-2)


def packet(v: Tensor) -> Tensor:
    return torch.exp(-((v - 4.0) ** 2) / 3.0) * torch.cos(1.3 * v)


def periodic(v: Tensor) -> Tensor:
    """A profile on a ring of 7 positions."""
    return torch.cos(2 * math.pi * v / 7) + 0.3 * torch.sin(4 * math.pi * v / 7)


@settings(max_examples=60, deadline=None)
@given(nu=velocities, v=st.floats(-5, 12), t=st.floats(0, 5), enters=st.booleans(), on_a_ring=st.booleans())
def test_eq2_and_eq19_the_travelling_profile_solves_the_equation(
    nu: float, v: float, t: float, enters: bool, on_a_ring: bool
) -> None:
    """Without ends, on a ring (Wave-RNN, Eq. 1), and on both sides of a front that entered at position 12."""
    profile = periodic if on_a_ring else packet
    entering = {"inflow": lambda x: torch.sin(2 * x), "length": 12.0} if enters and nu > 0 else {}
    place, time = (torch.tensor(a, dtype=torch.float64, requires_grad=True) for a in (v, t))
    h = exact_solution(profile, nu, place, time, **entering)
    if not entering:
        assert h.item() == pytest.approx(profile(torch.tensor(v + nu * t, dtype=torch.float64)).item(), abs=1e-12)
    if not entering or abs(v + nu * t - 12.0) > 1e-6:  # on the front itself the solution has a corner
        in_space, in_time = torch.autograd.grad(h, (place, time))
        assert in_time.item() == pytest.approx(nu * in_space.item(), abs=1e-9)


def test_eq20_the_boundary_value_is_what_enters() -> None:
    times = torch.linspace(0.01, 9, 50, dtype=torch.float64)
    at_end = exact_solution(packet, 0.7, torch.tensor(8.0, dtype=torch.float64), times, torch.sin, 8.0)
    torch.testing.assert_close(at_end, torch.sin(times))


@settings(max_examples=50, deadline=None)
@given(nu=st.floats(-1, 1), seed=st.integers(0, 10_000), s=st.integers(2, 12))
def test_eq21_the_step_is_the_euler_difference(nu: float, seed: int, s: int) -> None:
    h = torch.randn(s, generator=stream(seed, "h"), dtype=torch.float64)
    new = upwind_step(h, nu, periodic=True)
    for j in range(s):
        ahead = h[(j + 1) % s] - h[j] if nu >= 0 else h[j] - h[j - 1]
        assert (new[j] - h[j]).item() == pytest.approx(nu * ahead.item(), abs=1e-14)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), s=st.integers(1, 9), d=st.integers(1, 5))
def test_eq22_to_eq24_unit_velocity_is_the_shift_and_the_inflow_is_the_boundary(seed: int, s: int, d: int) -> None:
    h = torch.randn(s, d, generator=stream(seed, "h"), dtype=torch.float64)

    def f(state: Tensor) -> Tensor:
        return torch.tanh(state.sum(-2) - state[..., 0, :] ** 2)

    marched = upwind_step(h.mT, 1.0, inflow=f(h)).mT  # waves are independent: position last
    assert torch.equal(marched, step(h, f))


@pytest.mark.parametrize("courant", [0.5, 0.8])
def test_the_upwind_scheme_converges_with_order_one(courant: float) -> None:
    sizes, errors = (64, 128, 256, 512), []
    for n in sizes:
        x = torch.arange(n, dtype=torch.float64) / n
        h = torch.sin(2 * math.pi * x)
        steps = round(n / courant / 4)
        for _ in range(steps):
            h = upwind_step(h, courant, periodic=True)
        errors.append((h - torch.sin(2 * math.pi * (x + steps * courant / n))).abs().max().item())
    assert -np.polyfit(np.log(sizes), np.log(errors), 1)[0] == pytest.approx(1, abs=0.06)
