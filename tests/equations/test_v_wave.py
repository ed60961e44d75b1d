"""The v-Wave abstract: the state space, the shift, the register of any velocity, its pulses, and what it remembers."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as nnf
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from wavemem.kernels.register import register_kernel, register_scan, register_states
from wavemem.ssm import register_span as span
from wavemem.ssm import shift_register as spaces
from wavemem.ssm.diagonal_ssm import DiagonalSSM, spectrum
from wavemem.ssm.mamba import Mamba
from wavemem.streams import stream
from wavemem.theory.hds import shift_operator
from wavemem.theory.readings import transport
from wavemem.theory.wave_equation import upwind_matrix, upwind_step
from wavemem.wave_rnn import ring

seeds = st.integers(0, 10_000)


def drawn(test: Callable[..., None]) -> Callable[..., None]:
    """A test of a velocity v and of n neurons."""
    return settings(max_examples=30, deadline=None)(given(v=st.floats(0.05, 1.0), n=st.integers(1, 10))(test))


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=stream(seed, "state space"), dtype=torch.float64)


@settings(max_examples=30, deadline=None)
@given(seed=seeds, n=st.integers(1, 6), steps=st.integers(1, 12))
def test_eq_ssm_is_a_convolution(seed: int, n: int, steps: int) -> None:
    A, B, C, x = normal(seed, n, n) / n, normal(seed + 1, n), normal(seed + 2, n), normal(seed + 3, steps)
    h, y = torch.zeros(n, dtype=torch.float64), []
    for x_t in x:  # as printed: y_t = C h_t, then h_{t+1} = A h_t + B x_t
        y.append(C @ h)
        h = A @ h + B * x_t
    kernel = [torch.zeros((), dtype=torch.float64)]
    kernel += [C @ torch.linalg.matrix_power(A, k - 1) @ B for k in range(1, steps)]
    expected = torch.stack([sum(kernel[k] * x[t - k] for k in range(t + 1)) for t in range(steps)])
    printed = spaces.StateSpace(A, B, C).outputs(x, printed=True)
    torch.testing.assert_close(printed, torch.stack(y))
    torch.testing.assert_close(printed, expected)


def test_eq_ssm_as_printed_answers_one_step_late() -> None:
    x = normal(0, 15)
    system = spaces.register(4, normal(1, 4))
    late, ours = system.outputs(x, printed=True), system.outputs(x)
    assert late[0] == 0
    assert torch.equal(late[1:], ours[:-1])
    # Mamba's convolution has seen the token of the same step
    y = register_scan(x.view(1, 1, -1, 1), system.C.view(1, 1, 4), torch.ones(1, 1, dtype=torch.float64))
    torch.testing.assert_close(y.flatten(), ours)


@settings(max_examples=30, deadline=None)
@given(seed=seeds, n=st.integers(2, 9))
def test_eq_shift_is_the_upwind_step_at_one_neuron_per_step(seed: int, n: int) -> None:
    h, x = normal(seed, n), normal(seed + 1, 1)[0]
    upper = torch.diag(torch.ones(n - 1, dtype=torch.float64), 1)
    torch.testing.assert_close(upper, upwind_matrix(n, 1.0))
    e_last = torch.eye(n, dtype=torch.float64)[-1]
    assert torch.equal(upper @ h + e_last * x, upwind_step(h, 1.0, inflow=x))
    # ours counts from the input: the same register in reversed order
    ours = spaces.register(n)
    assert torch.equal(ours.A @ h.flip(0) + ours.B * x, upwind_step(h, 1.0, inflow=x).flip(0))
    assert torch.equal(ours.A, shift_operator(n, 1).flip(0, 1))
    for c in (0.3, 0.9):
        assert not torch.allclose(upwind_matrix(n, c), upper)


def test_eq_shift_as_printed_remembers_one_step() -> None:
    one = torch.eye(20, dtype=torch.float64)[0]
    held = {
        name: int((system.states(one).abs().sum(1) > 0).sum())
        for name, system in (("printed", spaces.printed_register(7)), ("ours", spaces.register(7)))
    }
    assert held == {"printed": 1, "ours": 7}


@settings(max_examples=20, deadline=None)
@given(seed=seeds, n=st.integers(1, 6))
def test_eq_shift_is_a_causal_convolution_and_a_window(seed: int, n: int) -> None:
    x, C = normal(seed, 20), normal(seed + 1, n)
    system = spaces.register(n, C)
    expected = nnf.conv1d(nnf.pad(x, (n - 1, 0))[None, None], C.flip(0)[None, None])[0, 0]
    torch.testing.assert_close(system.outputs(x), expected)
    states = register_states(x.view(1, 1, -1, 1), torch.ones(1, 1, dtype=torch.float64), n)
    torch.testing.assert_close(system.states(x), states[:, 0, 0, 0])


def test_the_wave_rnn_s_ring_is_the_circulant_register() -> None:
    for n in (3, 8):
        assert torch.equal(spaces.ring(n).A, ring.circulant(-1.0, n))


@settings(max_examples=20, deadline=None)
@given(M=st.integers(2, 10), delta=st.floats(0.001, 0.2))
def test_s4d_lin_is_a_damped_wave_on_a_ring(M: int, delta: float) -> None:
    n = 2 * M - 1
    half = spectrum("lin", M)
    A_bar = torch.exp(delta * torch.cat([half[1:].flip(0).conj(), half]))
    k = torch.arange(1 - M, M, dtype=torch.float64)
    moved = torch.exp(2j * math.pi * k / n * (n * delta / 2))  # by v = nΔ/2 neurons away from the input
    torch.testing.assert_close(A_bar, math.exp(-delta / 2) * moved)


def test_s4d_lin_at_one_neuron_per_step_shifts_its_ring() -> None:
    M = 5
    n = 2 * M - 1
    ssm = DiagonalSSM.draw([stream(0, "s4d")], 1, M).requires_grad_(False)
    ssm.log_step.fill_(math.log(2 / n))
    A_bar = ssm.discrete()[0][0, 0]
    A = torch.diag(torch.cat([A_bar[1:].flip(0).conj(), A_bar]))
    k, j = torch.arange(1 - M, M, dtype=torch.float64), torch.arange(n, dtype=torch.float64)
    Psi = torch.exp(-2j * math.pi * torch.outer(j, k) / n)
    on_ring = Psi @ A @ torch.linalg.inv(Psi)
    expected = math.exp(-1 / n) * spaces.ring(n).A
    torch.testing.assert_close(on_ring, expected.to(torch.complex128), atol=1e-12, rtol=0)


def test_fig1_mamba_s_convolution_moves_one_neuron_per_step() -> None:
    model = Mamba.initialise((0, 1), vocabulary=9, width=8, layers=2)
    tokens = torch.randint(9, (6, 30), generator=stream(0, "tokens"))
    for layer in range(2):
        h = model.activity(tokens, layer)
        for run in range(2):
            for channel in range(h.shape[3]):
                assert transport(h[:, run, :, channel]).velocity == pytest.approx(-1.0, abs=1e-6)


@drawn
def test_velocity_the_register_steps_the_wave_equation_upwind(v: float, n: int) -> None:
    """∂h/∂t = −v ∂h/∂x with the newest input upstream of neuron 0; the substrate numbers the same neurons backwards."""
    x = torch.randn(1, 1, 12, 1, dtype=torch.float64, generator=stream(n, "upwind"))
    h = torch.zeros(n, dtype=torch.float64)
    states = register_states(x, torch.tensor([[v]], dtype=torch.float64), n)[:, 0, 0, 0]
    for t in range(12):
        h = upwind_step(h.flip(0), v, inflow=float(x[0, 0, t, 0])).flip(0)
        torch.testing.assert_close(states[t], h)


@drawn
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


@drawn
def test_velocity_the_kernel_is_the_sum_of_the_pulses(v: float, n: int) -> None:
    C = torch.randn(1, 1, n, dtype=torch.float64, generator=stream(n, "readout"))
    kernel = register_kernel(C, torch.tensor([[v]], dtype=torch.float64), 50)[0, 0]
    torch.testing.assert_close(kernel, C[0, 0] @ span.pulses(v, n, 50))


def test_velocity_one_is_the_shift() -> None:
    assert torch.equal(span.pulses(1.0, 5, 8), torch.eye(8, dtype=torch.float64)[:5])
    assert torch.equal(span.laguerre_functions(1.0, 5, 8), torch.eye(8, dtype=torch.float64)[:5])


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
@given(v=st.floats(0.05, 0.95) | st.just(1.0), n=st.integers(1, 6))
def test_velocity_gradient_is_a_difference_of_neighbours(v: float, n: int) -> None:
    velocity = torch.tensor([[v]], dtype=torch.float64, requires_grad=True)
    C = torch.randn(1, 1, n, dtype=torch.float64, generator=stream(n, "gradient"))
    weight = torch.randn(30, dtype=torch.float64, generator=stream(n, "weight"))
    (slope,) = torch.autograd.grad((register_kernel(C, velocity, 30)[0, 0] * weight).sum(), velocity)
    k = span.pulses(v, n + 1, 30)  # one neuron more than the register has gives its gradient
    derivatives = torch.arange(1.0, n + 1, dtype=torch.float64)[:, None] / v * (k[:-1] - k[1:])
    by_hand = C[0, 0] @ derivatives
    assert float(slope) == pytest.approx(float(by_hand @ weight), rel=1e-8, abs=1e-8)
    if v == 1:
        assert not derivatives[:, n + 1 :].any()  # it sees nothing older than the register
        return
    tau = torch.arange(30, dtype=torch.float64)
    means = torch.tensor([span.delay_mean(j, v) for j in range(n)], dtype=torch.float64)[:, None]
    other = span.pulses(v, n, 30) * (means - tau) / (1 - v)
    torch.testing.assert_close(derivatives, other, atol=1e-9, rtol=1e-7)


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
