"""The v-Wave abstract's equations in its text: the wave, the state space, the shift; and what follows from them."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as nnf
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from wavemem.kernels.register import register_scan, register_states
from wavemem.ssm import shift_register as spaces
from wavemem.ssm.diagonal_ssm import DiagonalSSM, spectrum
from wavemem.ssm.mamba import Mamba
from wavemem.streams import stream
from wavemem.theory.boundary import shift_operator
from wavemem.theory.readings import transport
from wavemem.theory.wave_equation import exact_solution, upwind_matrix, upwind_step
from wavemem.wave_rnn import ring

seeds = st.integers(0, 10_000)


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=stream(seed, "state space"), dtype=torch.float64)


@settings(max_examples=30, deadline=None)
@given(v=st.floats(-3, 3), x=st.floats(-4, 4), t=st.floats(0, 5))
def test_eq_wave_is_solved_by_what_moves_towards_smaller_x(v: float, x: float, t: float) -> None:
    def f0(place: Tensor) -> Tensor:
        return torch.exp(-(place**2)) + 0.3 * torch.sin(2 * place)

    place, time = (torch.tensor(a, dtype=torch.float64, requires_grad=True) for a in (x, t))
    f = exact_solution(f0, v, place, time)
    in_space, in_time = torch.autograd.grad(f, (place, time))
    assert in_time.item() == pytest.approx(v * in_space.item(), abs=1e-9)
    assert f.item() == pytest.approx(f0(torch.tensor(x + v * t, dtype=torch.float64)).item(), abs=1e-12)


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
