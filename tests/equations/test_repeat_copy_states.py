"""TWM Eqs. 29-38: repeat copy worked by hand, each line against stepping the network, in any basis."""

from __future__ import annotations

from collections.abc import Callable

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from wavemem.theory.basis import Basis, random_basis
from wavemem.theory.repeat_copy import (
    input_phase_state,
    output,
    output_phase_state,
    repeat_copy_weights,
    subspace,
)


def drawn(test: Callable[..., None]) -> Callable[..., None]:
    """A test of sizes s, d, and of a seed."""
    return settings(max_examples=8, deadline=None)(
        given(st.integers(2, 5), st.integers(1, 3), st.integers(0, 2**31))(test)
    )


def _setup(s: int, d: int, seed: int) -> tuple[Basis, torch.Tensor, tuple[torch.Tensor, ...]]:
    generator = torch.Generator().manual_seed(seed)
    basis = random_basis(s * d, generator, "orthogonal", N=s * d + 3)
    # A shear makes the basis oblique: vectors and covectors then differ, and confusing them shows.
    oblique = Basis(basis.Psi @ (torch.eye(s * d, dtype=torch.float64) + 0.3 * torch.eye(s * d).roll(1, 0).double()))
    u = torch.randn(s, d, generator=generator, dtype=torch.float64)
    return oblique, u, repeat_copy_weights(s, d, oblique)


def _ket(basis: Basis, k: int) -> torch.Tensor:
    """|ψ_k⟩ with the paper's k = 1..sd."""
    return basis.Psi[:, k - 1]


@drawn
def test_eq30_to_eq33_first_step(s: int, d: int, seed: int) -> None:
    basis, u, (_, W_uh, _) = _setup(s, d, seed)
    h = W_uh @ u[0]
    e = torch.eye(d, dtype=torch.float64)
    eq30 = sum(
        _ket(basis, (s - 1) * d + j) * (e[j - 1] @ (u[0, i - 1] * e[i - 1]))
        for i in range(1, d + 1)
        for j in range(1, d + 1)
    )
    eq31_32 = sum(
        u[0, i - 1] * _ket(basis, (s - 1) * d + j) * float(i == j) for i in range(1, d + 1) for j in range(1, d + 1)
    )
    eq33 = sum(u[0, i - 1] * _ket(basis, (s - 1) * d + i) for i in range(1, d + 1))
    for value in (eq30, eq31_32, eq33, input_phase_state(u, 1, basis)):
        torch.testing.assert_close(value, h, rtol=0, atol=1e-11)


@drawn
def test_eq34_to_eq36_second_step(s: int, d: int, seed: int) -> None:
    basis, u, (W_hh, W_uh, _) = _setup(s, d, seed)
    h = W_hh @ (W_uh @ u[0]) + W_uh @ u[1]
    last = [_ket(basis, (s - 1) * d + i) for i in range(1, d + 1)]
    eq34 = sum(u[0, i] * (W_hh @ last[i]) + u[1, i] * last[i] for i in range(d))
    eq36 = sum(u[0, i - 1] * _ket(basis, (s - 2) * d + i) + u[1, i - 1] * last[i - 1] for i in range(1, d + 1))
    for value in (eq34, eq36, input_phase_state(u, 2, basis)):
        torch.testing.assert_close(value, h, rtol=0, atol=1e-11)


@drawn
def test_eq35_covectors_pick_one_term_of_phi(s: int, d: int, seed: int) -> None:
    basis, _, _ = _setup(s, d, seed)
    for i in range(1, d + 1):
        picked = basis.dual @ _ket(basis, (s - 1) * d + i)
        expected = torch.zeros(s * d, dtype=torch.float64)
        expected[(s - 1) * d + i - 1] = 1
        torch.testing.assert_close(picked, expected, rtol=0, atol=1e-11)


@drawn
def test_eq37_end_of_the_input_phase(s: int, d: int, seed: int) -> None:
    basis, u, (W_hh, W_uh, _) = _setup(s, d, seed)
    h = torch.zeros(basis.N, dtype=torch.float64)
    for t in range(s):
        h = W_hh @ h + W_uh @ u[t]
        torch.testing.assert_close(input_phase_state(u, t + 1, basis), h, rtol=0, atol=1e-10)
    eq37 = sum(u[mu - 1, i - 1] * _ket(basis, (mu - 1) * d + i) for mu in range(1, s + 1) for i in range(1, d + 1))
    torch.testing.assert_close(eq37, h, rtol=0, atol=1e-10)


@drawn
def test_eq38_output_phase_with_the_corrected_index(s: int, d: int, seed: int) -> None:
    (basis, u, (W_hh, _, W_r)), t = _setup(s, d, seed), seed % 13
    h = torch.linalg.matrix_power(W_hh, t) @ input_phase_state(u, s, basis)
    corrected = sum(
        u[mu - 1, i - 1] * _ket(basis, ((mu - t - 1) % s) * d + i) for mu in range(1, s + 1) for i in range(1, d + 1)
    )
    torch.testing.assert_close(corrected, h, rtol=0, atol=1e-9)
    torch.testing.assert_close(output_phase_state(u, t, basis), h, rtol=0, atol=1e-9)
    # The sentence under Eq. 38: vector mu is read from subspace ((mu - t - 1) mod s) + 1.
    for mu in range(1, s + 1):
        content = basis.dual_block(subspace(mu, t, s) - 1, d) @ h
        torch.testing.assert_close(content, u[mu - 1], rtol=0, atol=1e-9)
    if t >= 1:
        torch.testing.assert_close(output(u, t), W_r @ h, rtol=0, atol=1e-9)
