"""Eqs. 6, 7, 27, 28, 29 as the paper writes them: sums of |ψ_μ⟩⟨ψ^ν|, one outer product at a time, in any basis.

The oracle below counts μ from 1 as the paper does and shares no code with the library.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from wavemem.theory.boundary import (
    boundary_operator,
    fibonacci_phi,
    fill,
    flatten,
    linear_boundary_operator,
    phi_in_basis,
    readout,
    repeat_copy_phi,
    run,
    shift_operator,
    write,
)
from wavemem.theory.hds import LinearHDS, generalized_fibonacci
from wavemem.theory.spectrum import eigenvalues, growth_polynomial, snacci_constant


def drawn(test: Callable[..., None]) -> Callable[..., None]:
    """A test of sizes s, d, and of a seed."""
    seed = st.integers(0, 2**31 - 1)
    return settings(max_examples=25, deadline=None)(given(st.integers(1, 4), st.integers(1, 3), seed)(test))


def _normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _basis(seed: int, n: int) -> tuple[Tensor, Tensor]:
    """Some vectors, in as many neurons or a few more, and their covectors."""
    Psi = _normal(seed, n + seed % 3, n)
    assume(float(torch.linalg.cond(Psi)) < 1e4)
    return Psi, torch.linalg.pinv(Psi)


def _ket_bra(Psi: Tensor, dual: Tensor, mu: int, nu: int) -> Tensor:
    """|ψ_μ⟩⟨ψ^ν|, counted from 1."""
    return torch.outer(Psi[:, mu - 1], dual[nu - 1, :])


def _shift_by_definition(Psi: Tensor, dual: Tensor, s: int, d: int) -> Tensor:
    total = torch.zeros(len(Psi), len(Psi), dtype=torch.float64)
    for mu in range(1, (s - 1) * d + 1):
        total = total + _ket_bra(Psi, dual, mu, mu + d)
    return total


def _close(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=1e-8, atol=1e-8)


@drawn
def test_eq6_phi_is_the_sum_of_its_operator_products_in_any_basis(s: int, d: int, seed: int) -> None:
    n = s * d
    F = _normal(seed, d, n)
    Psi, dual = _basis(seed + 1, n)
    expected = _shift_by_definition(Psi, dual, s, d)
    for mu in range((s - 1) * d + 1, n + 1):
        for nu in range(1, n + 1):
            expected = expected + F[mu - (s - 1) * d - 1, nu - 1] * _ket_bra(Psi, dual, mu, nu)
    Phi = linear_boundary_operator(F)
    _close(phi_in_basis(Phi, Psi), expected)
    _close(Phi, shift_operator(s, d) + boundary_operator(F))
    _close(phi_in_basis(Phi, torch.eye(n, dtype=torch.float64)), Phi)


@drawn
def test_eq7_h_is_phi_h_and_y_reads_the_last_column(s: int, d: int, seed: int) -> None:
    """Iterating Φ in any basis and reading column s gives the HDS's states, whatever the basis."""
    n = s * d
    system = LinearHDS(_normal(seed, d, n) / n)
    Psi, dual = _basis(seed + 1, n)
    u = _normal(seed + 2, s, d)
    Phi, h = phi_in_basis(system.Phi(), Psi), Psi @ flatten(u)
    for x in system.rollout(u, 7):
        h = Phi @ h
        y = torch.zeros(d, dtype=torch.float64)
        for mu in range((s - 1) * d + 1, n + 1):
            e = torch.eye(d, dtype=torch.float64)[mu - (s - 1) * d - 1]
            y = y + e * (dual[mu - 1] @ h)
        _close(y, x)
        _close(readout(s, d, Psi) @ h, x)
    state = flatten(run(u, system.f, 7)[-1])
    _close(dual @ h, state)  # the components are the substrate's columns


@drawn
def test_eq27_fibonacci_phi(s: int, d: int, seed: int) -> None:
    Psi, dual = _basis(seed, s * d)
    expected = _shift_by_definition(Psi, dual, s, d)
    for mu in range(1, d + 1):
        for nu in range(s):
            expected = expected + _ket_bra(Psi, dual, (s - 1) * d + mu, nu * d + mu)
    _close(fibonacci_phi(s, d, Psi), expected)
    assert torch.equal(fibonacci_phi(s, d), generalized_fibonacci(s, d).Phi())


@drawn
def test_eq28_readout_extracts_the_last_column_in_the_standard_basis(s: int, d: int, seed: int) -> None:
    n = s * d
    Psi, dual = _basis(seed, n)
    expected = torch.zeros(d, len(Psi), dtype=torch.float64)
    for mu in range((s - 1) * d + 1, n + 1):
        expected = expected + torch.outer(torch.eye(d, dtype=torch.float64)[mu - (s - 1) * d - 1], dual[mu - 1])
    _close(readout(s, d, Psi), expected)
    u = _normal(seed + 1, s, d)
    _close(readout(s, d, Psi) @ (Psi @ flatten(u)), u[-1])
    _close(readout(s, d) @ flatten(u), u[-1])


@drawn
def test_eq29_repeat_copy_phi_write_and_readout(s: int, d: int, seed: int) -> None:
    n = s * d
    Psi, dual = _basis(seed, n)
    expected = _shift_by_definition(Psi, dual, s, d)
    for mu in range((s - 1) * d + 1, n + 1):
        expected = expected + _ket_bra(Psi, dual, mu, mu - (s - 1) * d)
    Phi, W_uh, W_r = repeat_copy_phi(s, d, Psi), write(s, d, Psi), readout(s, d, Psi)
    _close(Phi, expected)
    _close(W_r @ W_uh, torch.eye(d, dtype=torch.float64))
    u, h = _normal(seed + 1, s, d), torch.zeros(len(Psi), dtype=torch.float64)
    for t in range(s):
        h = Phi @ h + W_uh @ u[t]
    _close(h, Psi @ flatten(fill(u)[-1]))
    for t in range(2 * s):
        h = Phi @ h
        _close(W_r @ h, u[t % s])


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 8), st.integers(1, 3))
def test_eq27_spectrum_is_the_s_nacci_roots_d_times_each(s: int, d: int) -> None:
    """det(x - Φ) = ((x^{s+1} - 2x^s + 1)/(x - 1))^d, and the largest root is the s-nacci constant."""
    values = eigenvalues(fibonacci_phi(s, d))
    for x in (1.7 + 0.3j, -0.4 + 1.1j, 2.5 + 0j):
        direct = torch.prod(x - values)
        polynomial = sum(c * x ** (s + 1 - k) for k, c in enumerate(growth_polynomial(s).tolist()))
        torch.testing.assert_close(direct, torch.tensor((polynomial / (x - 1)) ** d, dtype=direct.dtype))
    assert abs(float(values.abs().max()) - snacci_constant(s)) < 1e-6
    if s > 1:
        inside = values[values.abs() < 1]
        assert len(inside) == (s - 1) * d, "all roots but the growing one lie inside the unit circle"
