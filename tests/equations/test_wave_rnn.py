"""The Wave-RNN paper's equations, its cell and its Fig. 1, as properties."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from wavemem.streams import stream
from wavemem.theory.boundary import repeat_copy_phi
from wavemem.theory.wave_equation import upwind_step
from wavemem.wave_rnn.network import IdentityRNN, WaveRNN
from wavemem.wave_rnn.onsets import (
    bump_states,
    decode_wave,
    state_jacobians,
    wave_states,
)
from wavemem.wave_rnn.ring import circulant, correlate, one_way_kernel, ring_eigenvalues, ring_matrix

seeds = st.integers(0, 10_000)


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=stream(seed, "equations"), dtype=torch.float64)


@settings(max_examples=20, deadline=None)
@given(seed=seeds, N=st.integers(1, 7), d=st.integers(1, 3), steps=st.integers(1, 6))
def test_eq_srnn_is_the_dense_recurrence_and_its_readout(seed: int, N: int, d: int, steps: int) -> None:
    net = IdentityRNN.initialise([seed], N, d, 2, U_init="uniform", activation="tanh", dtype=torch.float64)
    U, V, W = (p.detach()[0] for p in (net.U, net.V, net.W))
    x, h = normal(seed, steps, 1, d), torch.zeros(N, dtype=torch.float64)
    for x_t in x[:, 0]:
        h = torch.tanh(U @ h + V @ x_t + net.b_V[0].detach() + net.b_U[0].detach())
    torch.testing.assert_close(net(x)[0, 0], W @ h + net.b_y[0].detach())


@settings(max_examples=40, deadline=None)
@given(nu=st.floats(-1.5, 1.5), n=st.integers(3, 14), seed=seeds)
def test_eq2_the_circulant_is_one_upwind_step_on_a_ring(nu: float, n: int, seed: int) -> None:
    h = normal(seed, n)
    Sigma = circulant(nu, n)
    torch.testing.assert_close(Sigma @ h, upwind_step(h, nu, periodic=True))
    torch.testing.assert_close(Sigma.roll((1, 1), (0, 1)), Sigma)  # each row is the one above, moved by one
    largest = float(torch.linalg.eigvals(Sigma).abs().max())
    assert largest == pytest.approx(1, abs=1e-9) if abs(nu) <= 1 else largest > 1  # CFL (at θ = π or next to it)


@settings(max_examples=40, deadline=None)
@given(nu=st.floats(-1.5, 1.5), n=st.integers(3, 14), seed=seeds)
def test_eq_conv_the_kernel_slid_round_the_ring_is_the_circulant(nu: float, n: int, seed: int) -> None:
    h = normal(seed, 2, n)
    u = one_way_kernel(nu)
    assert torch.equal(ring_matrix(u, n), circulant(nu, n))
    torch.testing.assert_close(correlate(u, h[:, None])[:, 0], h @ circulant(nu, n).mT)


@settings(max_examples=25, deadline=None)
@given(
    seed=seeds, n=st.integers(3, 8), c=st.integers(1, 4), d=st.integers(1, 3), sigma=st.sampled_from(["relu", "tanh"])
)
def test_eq3_the_wave_rnn_is_a_dense_network_of_circulant_blocks(seed: int, n: int, c: int, d: int, sigma: str) -> None:
    net = WaveRNN.initialise(
        [seed], n, c, d, 1, u_init="uniform", V_init="normal", activation=sigma, dtype=torch.float64
    )
    with torch.no_grad():
        net.V.copy_(normal(seed, 1, c * n, d))
    U, V, b = ring_matrix(net.u.detach()[0], n), net.V.detach()[0], net.bias().detach()[0]
    x, h, states = normal(seed + 1, 5, 1, d), torch.zeros(c * n, dtype=torch.float64), []
    act = torch.relu if sigma == "relu" else torch.tanh
    for x_t in x[:, 0]:
        h = act(U @ h + V @ x_t + b)
        states.append(h)
    torch.testing.assert_close(net.states(x).detach()[:, 0, 0].flatten(1), torch.stack(states))


class Cell(nn.Module):
    """Appendix B with its names mended and nothing else changed."""

    def __init__(self, n_in: int, n: int, c: int, k: int) -> None:
        super().__init__()
        self.n, self.c = n, c
        self.V, self.U = nn.Linear(n_in, n * c), nn.Conv1d(c, c, k, 1, k // 2, padding_mode="circular")
        with torch.no_grad():
            self.V.weight.zero_()
            self.V.bias.zero_()
            self.V.weight.view(c, n, n_in)[:, 0] = 1.0
            self.U.weight.copy_(torch.roll(nn.init.dirac_(torch.zeros(c, c, k)), 1, -1))

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        out: Tensor = torch.relu(self.V(x).view(-1, self.c, self.n) + self.U(h))
        return out


@settings(max_examples=15, deadline=None)
@given(seed=seeds, n=st.integers(3, 9), c=st.integers(1, 4), d=st.integers(1, 4), k=st.sampled_from([3, 5]))
def test_alg_cell_the_mended_pseudocode_starts_where_the_model_does(seed: int, n: int, c: int, d: int, k: int) -> None:
    cell = Cell(d, max(n, k), c, k).double()
    net = WaveRNN.initialise([seed], max(n, k), c, d, 1, kernel=k, dtype=torch.float64)
    assert torch.equal(net.u.detach()[0], cell.U.weight.detach())
    assert torch.equal(net.V.detach()[0], cell.V.weight.detach())
    assert torch.equal(net.b_V.detach()[0], cell.V.bias.detach())
    bound = 1 / math.sqrt(c * k)
    assert float(net.b_u.detach().abs().max()) <= bound  # PyTorch's default range, as the pseudocode leaves it
    assert float(cell.U.bias.detach().abs().max()) <= bound
    with torch.no_grad():
        net.b_u[0] = cell.U.bias
    x, h, states = normal(seed, 2 * n, 2, d), torch.zeros(2, c, max(n, k), dtype=torch.float64), []
    for x_t in x:
        h = cell(x_t, h)
        states.append(h)
    torch.testing.assert_close(net.states(x).detach()[:, 0], torch.stack(states).detach())


@settings(max_examples=30, deadline=None)
@given(seed=seeds, n=st.integers(3, 16), c=st.integers(1, 3))
def test_fig1_onsets_are_on_the_ring_and_not_in_the_bump(seed: int, n: int, c: int) -> None:
    x = (torch.rand(n, c, generator=stream(seed, "signals")) < 0.4).double()
    shuffled = x[torch.randperm(n, generator=stream(seed, "order"))]
    net = WaveRNN.initialise([seed], n, c, c, 1, dtype=torch.float64)
    with torch.no_grad():  # one input per channel, no bias
        net.b_u.zero_()
        net.V.copy_(torch.kron(torch.eye(c), torch.eye(n)[:, :1])[None])
    ring = net.states(x[:, None]).detach()[:, 0, 0]
    torch.testing.assert_close(ring, wave_states(x, n))
    for t in range(1, n + 1):
        assert torch.equal(decode_wave(ring[t - 1], t), x[:t].T.bool())
    assert torch.equal(bump_states(x)[-1], bump_states(shuffled)[-1])
    assert torch.equal(ring[-1], wave_states(shuffled, n)[-1]) == torch.equal(x, shuffled)


@settings(max_examples=20, deadline=None)
@given(n=st.integers(3, 8), c=st.integers(1, 4))
def test_the_shift_start_is_the_repeat_copy_substrate(n: int, c: int) -> None:
    net = WaveRNN.initialise([0], n, c, 1, 1, dtype=torch.float64)
    u = net.u.detach()[0]
    cut = [j * n + (i + 1) % n for i in range(n) for j in range(c)]
    assert torch.equal(ring_matrix(u, n)[cut][:, cut], repeat_copy_phi(n, c))
    torch.testing.assert_close(ring_eigenvalues(u, n) ** n, torch.ones(n, c, dtype=torch.complex128))


@settings(max_examples=30, deadline=None)
@given(seed=seeds, n=st.integers(3, 8), c=st.integers(1, 3), steps=st.integers(1, 20), relu=st.booleans())
def test_every_singular_value_of_the_shift_is_one_or_shut(seed: int, n: int, c: int, steps: int, relu: bool) -> None:
    net = WaveRNN.initialise([seed], n, c, 2, 1, V_init="normal", activation="relu" if relu else "linear")
    states = net.double().states(normal(seed, steps, 1, 2)).detach()[:, 0, 0].flatten(1)
    slopes = (states > 0).double() if relu else torch.ones_like(states)
    for start in ("shift", "identity"):
        U = ring_matrix(net.u.detach()[0], n) if start == "shift" else torch.eye(c * n, dtype=torch.float64)
        for jacobian in state_jacobians(U, slopes):
            values = torch.linalg.svdvals(jacobian)
            assert bool(((values - values.round()).abs() < 1e-12).all())
            assert float(values.max()) <= 1 + 1e-12
            assert int(values.round().sum()) == int((jacobian != 0).sum())  # one per open path
            if not relu:
                assert int(values.round().sum()) == c * n


@settings(max_examples=20, deadline=None)
@given(seed=seeds, n=st.integers(3, 9), steps=st.integers(1, 40))
def test_a_silent_unit_makes_the_ring_a_shift_register(seed: int, n: int, steps: int) -> None:
    x = (torch.rand(steps, 1, 1, generator=stream(seed, "x")) < 0.5).double()
    net = WaveRNN.initialise([seed], n, 1, 1, 1, dtype=torch.float64)
    with torch.no_grad():
        net.b_u.zero_()
        net.b_V[:, 1] = -1.0
    assert torch.equal(net.states(x).detach()[:, 0, 0], wave_states(x[:, 0], n, absorb=True))
