"""The v-Wave register: the equation, its pulses, what it remembers, and the gradient of its velocity."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from wavemem.kernels.register import register_kernel, register_scan, register_states
from wavemem.ssm import register_span as span
from wavemem.streams import stream
from wavemem.theory.wave_equation import upwind_step

velocities = st.floats(0.05, 1.0)
sizes = st.integers(1, 10)


@settings(max_examples=30, deadline=None)
@given(v=velocities, n=sizes)
def test_velocity_the_register_steps_the_wave_equation_upwind(v: float, n: int) -> None:
    """∂h/∂t = −v ∂h/∂x with the newest input upstream of neuron 0; the substrate numbers the same neurons backwards."""
    x = torch.randn(1, 1, 12, 1, dtype=torch.float64, generator=stream(n, "upwind"))
    h = torch.zeros(n, dtype=torch.float64)
    states = register_states(x, torch.tensor([[v]], dtype=torch.float64), n)[:, 0, 0, 0]
    for t in range(12):
        h = upwind_step(h.flip(0), v, inflow=float(x[0, 0, t, 0])).flip(0)
        torch.testing.assert_close(states[t], h)


@settings(max_examples=30, deadline=None)
@given(v=velocities, n=sizes)
def test_velocity_pulses_are_negative_binomial_with_unit_mass(v: float, n: int) -> None:
    length = span.tail_length(v, n)
    k = span.pulses(v, n, length)
    tau = torch.arange(length, dtype=torch.float64)
    for j in range(n):
        assert float(k[j].sum()) == pytest.approx(1, abs=1e-9)
        mean = float((k[j] * tau).sum())
        assert mean == pytest.approx(span.delay_mean(j, v), abs=1e-6)
        assert float((k[j] * (tau - mean) ** 2).sum()) == pytest.approx(span.delay_variance(j, v), rel=1e-6, abs=1e-6)
        for t in (j, j + 3):
            assert float(k[j, t]) == pytest.approx(math.comb(t, j) * v ** (j + 1) * (1 - v) ** (t - j), abs=1e-12)


@settings(max_examples=30, deadline=None)
@given(v=velocities, n=sizes)
def test_velocity_the_kernel_is_the_sum_of_the_pulses(v: float, n: int) -> None:
    C = torch.randn(1, 1, n, dtype=torch.float64, generator=stream(n, "readout"))
    kernel = register_kernel(C, torch.tensor([[v]], dtype=torch.float64), 50)[0, 0]
    torch.testing.assert_close(kernel, C[0, 0] @ span.pulses(v, n, 50))


def test_velocity_one_is_the_shift() -> None:
    assert torch.equal(span.pulses(1.0, 5, 8), torch.eye(8, dtype=torch.float64)[:5])
    assert torch.equal(span.laguerre_functions(1.0, 5, 8), torch.eye(8, dtype=torch.float64)[:5])
    x = torch.randn(1, 1, 9, 1, dtype=torch.float64, generator=stream(0, "shift"))
    C = torch.tensor([[[0.0, 0.0, 1.0]]], dtype=torch.float64)
    y = register_scan(x, C, torch.ones(1, 1, dtype=torch.float64))
    torch.testing.assert_close(y[0, 0, 2:], x[0, 0, :-2])


def test_velocity_slow_pulses_tend_to_gamma_densities() -> None:
    v = 1e-3
    s = torch.arange(8000, dtype=torch.float64) * v
    for j in (0, 2, 5):
        gamma = v * torch.exp(torch.xlogy(torch.tensor(float(j)), s) - s) / math.factorial(j)
        difference = (span.pulses(v, j + 1, 8000)[j] - gamma).abs().max()
        assert float(difference / gamma.max()) < 5e-3


@settings(max_examples=20, deadline=None)
@given(v=st.floats(1.01, 1.8), n=st.integers(1, 6))
def test_velocity_above_one_grows_along_the_register(v: float, n: int) -> None:
    measured = span.pulses(v, n, 800).abs().sum(1)
    torch.testing.assert_close(measured, (v / (2 - v)) ** torch.arange(1.0, n + 1, dtype=torch.float64))
    torch.testing.assert_close(span.absolute_gain(v, n), measured)


@settings(max_examples=20, deadline=None)
@given(v=st.floats(0.2, 1.0), n=st.integers(1, 8))
def test_velocity_moves_memory_and_makes_none(v: float, n: int) -> None:
    k = span.pulses(v, n, span.tail_length(v, n))
    assert float(span.memory_by_age(k).sum()) == pytest.approx(n, abs=1e-6)
    assert float(span.memory_by_age(k, noise=0.1).sum()) == pytest.approx(span.capacity(v, n, 0.1), abs=1e-9)
    assert span.capacity(v, n, 0.1) <= span.capacity(1.0, n, 0.1) + 1e-9


def test_velocity_capacity_agrees_with_a_fitted_readout() -> None:
    """The formula against least squares on sampled inputs, half for fitting and half for testing."""
    v, n, samples = 0.6, 4, 40_000
    k = span.pulses(v, n, 40)
    x = torch.randn(samples, 40, dtype=torch.float64, generator=stream(0, "sampled"))
    states = x @ k.mT
    half = samples // 2
    gram = states[:half].mT @ states[:half]
    weights = torch.linalg.solve(gram, states[:half].mT @ x[:half])
    residual = (x[half:] - states[half:] @ weights).square().mean(0) / x[half:].square().mean(0)
    torch.testing.assert_close(1 - residual, span.memory_by_age(k), atol=0.03, rtol=0)


@settings(max_examples=20, deadline=None)
@given(v=st.floats(0.1, 1.0), n=st.integers(1, 8))
def test_velocity_pulses_are_binomial_mixtures_of_laguerre_functions(v: float, n: int) -> None:
    length = span.tail_length(v, n)
    ell = span.laguerre_functions(v, n, length)
    torch.testing.assert_close(ell @ ell.mT, torch.eye(n, dtype=torch.float64), atol=1e-8, rtol=0)
    torch.testing.assert_close(span.binomial_mixture(v, n) @ ell, span.pulses(v, n, length), atol=1e-10, rtol=0)
    values = torch.linalg.svdvals(span.binomial_mixture(v, n)) / math.sqrt(v / (2 - v))
    assert float(values.log().mean()) == pytest.approx(-(n - 1) / 2 * math.log(2 - v), abs=1e-6)


@settings(max_examples=20, deadline=None)
@given(v=st.floats(0.05, 0.95), n=st.integers(1, 6))
def test_velocity_gradient_is_a_difference_of_neighbours(v: float, n: int) -> None:
    velocity = torch.tensor([[v]], dtype=torch.float64, requires_grad=True)
    C = torch.randn(1, 1, n, dtype=torch.float64, generator=stream(n, "gradient"))
    weight = torch.randn(30, dtype=torch.float64, generator=stream(n, "weight"))
    (slope,) = torch.autograd.grad((register_kernel(C, velocity, 30)[0, 0] * weight).sum(), velocity)
    by_hand = C[0, 0] @ span.pulse_derivatives(v, n, 30)
    assert float(slope) == pytest.approx(float(by_hand @ weight), rel=1e-8, abs=1e-8)
    tau = torch.arange(30, dtype=torch.float64)
    means = torch.tensor([span.delay_mean(j, v) for j in range(n)], dtype=torch.float64)[:, None]
    other = span.pulses(v, n, 30) * (means - tau) / (1 - v)
    torch.testing.assert_close(span.pulse_derivatives(v, n, 30), other, atol=1e-9, rtol=1e-7)


@pytest.mark.parametrize("n", [1, 3, 4])
def test_velocity_gradient_at_one_sees_nothing_older_than_the_register(n: int) -> None:
    at_one = span.pulse_derivatives(1.0, n, 12)
    assert not at_one[:, n + 1 :].any()
    velocity = torch.ones(1, 1, dtype=torch.float64, requires_grad=True)
    C = torch.randn(1, 1, n, dtype=torch.float64, generator=stream(n, "blind"))
    K = register_kernel(C, velocity, 12)[0, 0]
    for age in range(12):
        (slope,) = torch.autograd.grad(K[age], velocity, retain_graph=True)
        assert float(slope) == pytest.approx(float(C[0, 0] @ at_one[:, age]), abs=1e-9)


@pytest.mark.parametrize(("n", "age"), [(1, 3), (4, 2), (4, 8), (8, 16)])
def test_velocity_slope_of_memory_is_a_product_of_two_laguerre_functions(n: int, age: int) -> None:
    v = torch.linspace(0.1, 0.9, 9, dtype=torch.float64)
    up, down = (span.memory_of_one_age(v + s * 1e-6, n, age) for s in (1, -1))
    torch.testing.assert_close((up - down) / 2e-6, span.memory_slope(v, n, age), atol=1e-7, rtol=0)


def test_velocity_there_are_as_many_valleys_as_neurons() -> None:
    for n in (1, 2, 4, 8):
        for age in (n, 2 * n):
            at = span.resting_velocities(n, age)
            assert len(at) == n
            assert float(span.memory_slope(at, n, age).abs().max()) < 1e-6


@settings(max_examples=20, deadline=None)
@given(v=st.floats(0.2, 1.0), rho=st.floats(0.0, 0.9))
def test_velocity_memory_of_smooth_inputs_is_bounded_by_their_spectrum(v: float, rho: float) -> None:
    n, length = 4, 120
    found = span.memory_by_age(
        span.pulses(v, n, length), noise=1e-3, autocorrelation=rho ** torch.arange(length, dtype=torch.float64)
    )
    assert float(found.sum()) <= n * (1 + rho) / (1 - rho) + 1e-6
    assert float(found.min()) > -1e-9
    assert float(found.max()) < 1 + 1e-9
