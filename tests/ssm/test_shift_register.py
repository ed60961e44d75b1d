"""Registers, rings and companions: what they hold, what a basis keeps, and what cannot be diagonalised."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from wavemem.ssm import shift_register as spaces
from wavemem.streams import stream
from wavemem.theory.hds import linear_boundary_operator

seeds = st.integers(0, 10_000)


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=stream(seed, "shift register"), dtype=torch.float64)


def test_a_register_holds_the_last_inputs_in_order() -> None:
    x = normal(0, 12, 3)
    states = spaces.register(4).states(x)
    assert states.shape == (12, 3, 4)
    for t in range(3, 12):
        for j in range(4):
            assert torch.equal(states[t, :, j], x[t - j])
    assert torch.equal(spaces.register(4).states(x[6:], h0=states[5]), states[6:])


def test_a_ring_repeats() -> None:
    kernel = spaces.ring(5, 0.5).kernel(15)
    expected = torch.zeros(15, dtype=torch.float64)
    expected[4], expected[9], expected[14] = 1.0, 0.5, 0.25
    assert torch.equal(kernel, expected)


@settings(max_examples=30, deadline=None)
@given(seed=seeds, n=st.integers(1, 7))
def test_companion_is_the_linear_boundary_of_part_one_reversed(seed: int, n: int) -> None:
    a = normal(seed, n)
    A = spaces.companion(a).A
    torch.testing.assert_close(A, linear_boundary_operator(a.flip(0)[None]).flip(0, 1))
    for value in torch.linalg.eigvals(A).tolist():
        polynomial = value**n - sum(float(a[j]) * value ** (n - 1 - j) for j in range(n))
        assert abs(polynomial) < 1e-8 * max(1.0, abs(value)) ** n


@settings(max_examples=30, deadline=None)
@given(seed=seeds, n=st.integers(1, 6))
def test_a_basis_keeps_kernel_and_transfer_function(seed: int, n: int) -> None:
    # Norms of at most 1: the series converges at |z| = 4, and the basis is far from singular.
    A, change = (m / torch.linalg.matrix_norm(m, 2) for m in (normal(seed, n, n), normal(seed + 3, n, n)))
    system = spaces.StateSpace(A, normal(seed + 1, n), normal(seed + 2, n))
    Psi = change + 3 * torch.eye(n, dtype=torch.float64)
    moved = system.in_basis(Psi)
    torch.testing.assert_close(moved.kernel(20), system.kernel(20), atol=1e-7, rtol=1e-7)
    z = torch.polar(torch.full((5,), 4.0, dtype=torch.float64), normal(seed + 4, 5))
    torch.testing.assert_close(moved.transfer(z), system.transfer(z), atol=1e-7, rtol=1e-7)
    tau = torch.arange(60)
    series = (system.kernel(60) * z[:, None] ** -tau).sum(1)
    torch.testing.assert_close(system.transfer(z), series, atol=1e-7, rtol=1e-7)


@pytest.mark.parametrize("n", [1, 2, 5, 8])
def test_fourier_basis_diagonalises_the_ring(n: int) -> None:
    F = spaces.fourier_basis(n)
    moved = spaces.ring(n, C=normal(1, n)).in_basis(F)
    turn = torch.exp(2j * math.pi * torch.arange(n, dtype=torch.float64) / n)
    torch.testing.assert_close(moved.A, torch.diag(turn), atol=1e-12, rtol=0)
    torch.testing.assert_close(F.mH @ F, torch.eye(n, dtype=torch.complex128), atol=1e-12, rtol=0)


@settings(max_examples=30, deadline=None)
@given(seed=seeds, n=st.integers(1, 7))
def test_every_controllable_system_is_a_register_with_a_boundary(seed: int, n: int) -> None:
    A = normal(seed, n, n) / math.sqrt(n)
    system = spaces.StateSpace(A, normal(seed + 1, n), normal(seed + 2, n))
    wave, Psi = spaces.companion_form(system)
    torch.testing.assert_close(wave.A, spaces.companion(wave.A[0]).A)
    scale = float(system.kernel(30).abs().max()) * float(torch.linalg.cond(Psi))
    torch.testing.assert_close(wave.kernel(30), system.kernel(30), atol=1e-10 * scale, rtol=1e-8)
    # what stands at the neurons is the history of the driven boundary
    x, a = normal(seed + 3, 25), wave.A[0]
    w = torch.zeros(25 + n, dtype=torch.float64)  # w[n + t]
    for t in range(25):
        w[n + t] = x[t] + sum(a[j] * w[n + t - 1 - j] for j in range(n))
    held = wave.states(x)
    for t in range(25):
        torch.testing.assert_close(held[t], w[t + 1 : n + t + 1].flip(0), atol=1e-9, rtol=1e-9)


def test_diagonal_modes_have_a_wave_basis_and_it_may_be_useless() -> None:
    turns = torch.exp(2j * math.pi * torch.arange(8, dtype=torch.float64) / 8)
    one = torch.ones(8, dtype=torch.complex128)
    register, Psi = spaces.companion_form(spaces.diagonal(turns, one, one))
    torch.testing.assert_close(register.A.real, spaces.ring(8).A, atol=1e-12, rtol=0)
    assert float(torch.linalg.cond(Psi)) == pytest.approx(1.0)
    decays = torch.exp(-0.1 * torch.arange(1, 9, dtype=torch.float64)).to(torch.complex128)
    _, Psi = spaces.companion_form(spaces.diagonal(decays, one, one))
    assert float(torch.linalg.cond(Psi)) > 1e7


@pytest.mark.parametrize(("n", "eps"), [(4, 1e-3), (8, 1e-2), (16, 1e-4)])
def test_a_weak_junction_trades_error_for_condition(n: int, eps: float) -> None:
    near = spaces.ring(n, eps)
    error = (near.kernel(3 * n) - spaces.register(n).kernel(3 * n)).abs().max()
    assert float(error) == pytest.approx(eps)
    values = torch.linalg.eigvals(near.A)
    assert values.abs().numpy() == pytest.approx(eps ** (1 / n), rel=1e-6)
    Psi = torch.linalg.eig(near.A).eigenvectors
    modes = near.in_basis(Psi)
    assert float(torch.linalg.cond(Psi)) == pytest.approx(eps ** (-(n - 1) / n), rel=1e-3)
    np.testing.assert_allclose(modes.kernel(3 * n).real, near.kernel(3 * n), atol=1e-11)


def test_the_open_register_has_no_diagonal_form() -> None:
    A = spaces.register(6).A
    assert not bool(torch.linalg.matrix_power(A, 6).any())
    assert bool(torch.linalg.matrix_power(A, 5).any())
    assert int(torch.linalg.matrix_rank(A)) == 5  # one eigenvector
    z = torch.tensor([0.5, 0.9], dtype=torch.complex128)
    norm = spaces.resolvent_norm(A, z)
    for point, value in zip(z, norm, strict=True):  # a change of size 1/norm makes z an eigenvalue
        U, S, V = torch.linalg.svd(point * torch.eye(6) - A.to(torch.complex128))
        E = S[-1] * torch.outer(U[:, -1], V[-1])
        assert float(S[-1]) == pytest.approx(1 / float(value))
        assert float((torch.linalg.eigvals(A + E) - point).abs().min()) < 1e-6


TWICE = torch.ones(2, dtype=torch.complex128)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: spaces.register(0), "n = 0"),
        (lambda: spaces.upwind_register(4, 1.5), r"courant = 1\.5"),
        (lambda: spaces.StateSpace(torch.eye(3), torch.ones(2), torch.ones(3)), "B has shape"),
        (lambda: spaces.companion_form(spaces.diagonal(0.5 * TWICE, TWICE, TWICE)), "controllable"),
        (lambda: spaces.register(3).states(torch.zeros(())), "Put time first"),
        (lambda: spaces.register(3).kernel(0), "length = 0"),
    ],
)
def test_complaints(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
