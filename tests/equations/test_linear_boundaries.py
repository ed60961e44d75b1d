"""TWM Eqs. 6, 7, 9, 18, 25 and 27-38 as the paper writes them: sums over |ψ_μ⟩ and ⟨ψ^ν|, term by term, in any basis.

The sums below count μ from 1 as the paper does and share no code with the library. Repeat copy is worked by hand, each line
against stepping the network.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from wavemem.elman.network import ElmanEnsemble
from wavemem.theory.basis import Basis
from wavemem.theory.boundary import (
    fibonacci_phi,
    input_phase_state,
    output,
    output_phase_state,
    phi_in_basis,
    readout,
    repeat_copy_phi,
    repeat_copy_weights,
    run,
    subspace,
    write,
)
from wavemem.theory.hds import (
    LinearHDS,
    boundary_operator,
    generalized_fibonacci,
    linear_boundary_operator,
    shift_operator,
)
from wavemem.theory.spectrum import eigenvalues, growth_polynomial, snacci_constant


def drawn(test: Callable[..., None]) -> Callable[..., None]:
    """A test of sizes s and d, and of a seed."""
    seed = st.integers(0, 2**31)
    return settings(max_examples=15, deadline=None)(given(st.integers(1, 5), st.integers(1, 3), seed)(test))


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def basis_of(seed: int, n: int) -> tuple[Tensor, Tensor]:
    """Vectors in as many neurons or a few more, oblique and of bounded condition, and their covectors."""
    shear = torch.eye(n, dtype=torch.float64) + 0.5 * torch.triu(normal(seed, n, n).clamp(-1, 1), 1) / n
    Psi = torch.linalg.qr(normal(seed + 1, n + seed % 4, n)).Q @ shear * (0.5 + torch.sigmoid(normal(seed + 2, n)))
    return Psi, torch.linalg.pinv(Psi)


def ket(Psi: Tensor, k: int) -> Tensor:
    """|ψ_k⟩ with the paper's k = 1..sd."""
    return Psi[:, k - 1]


def ket_bra(Psi: Tensor, dual: Tensor, mu: int, nu: int) -> Tensor:
    """|ψ_μ⟩⟨ψ^ν|, counted from 1."""
    return torch.outer(Psi[:, mu - 1], dual[nu - 1, :])


def shift_by_definition(Psi: Tensor, dual: Tensor, s: int, d: int) -> Tensor:
    total = torch.zeros(len(Psi), len(Psi), dtype=torch.float64)
    for mu in range(1, (s - 1) * d + 1):
        total = total + ket_bra(Psi, dual, mu, mu + d)
    return total


def close(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-9)


@drawn
def test_eq6_phi_is_the_sum_of_its_operator_products_in_any_basis(s: int, d: int, seed: int) -> None:
    n = s * d
    F = normal(seed, d, n)
    Psi, dual = basis_of(seed + 1, n)
    expected = shift_by_definition(Psi, dual, s, d)
    for mu in range((s - 1) * d + 1, n + 1):
        for nu in range(1, n + 1):
            expected = expected + F[mu - (s - 1) * d - 1, nu - 1] * ket_bra(Psi, dual, mu, nu)
    Phi = linear_boundary_operator(F)
    close(phi_in_basis(Phi, Psi), expected)
    close(Basis(Psi).operator(Phi), expected)
    close(Phi, shift_operator(s, d) + boundary_operator(F))
    close(phi_in_basis(Phi, torch.eye(n, dtype=torch.float64)), Phi)


@drawn
def test_eq6_the_spectrum_is_the_same_in_every_basis(s: int, d: int, seed: int) -> None:
    F = torch.linalg.qr(normal(seed, s * d, d)).Q.mT  # a boundary of moderate norm
    Phi = linear_boundary_operator(F)
    W = phi_in_basis(Phi, basis_of(seed + 1, s * d)[0])
    # Traces of powers are the power sums of the eigenvalues, free of the ill-conditioning of defective ones.
    power, power_W = Phi, W
    for _ in range(min(s * d, 6)):
        close(torch.trace(power_W), torch.trace(power))
        power, power_W = power @ Phi, power_W @ W


@drawn
def test_eq7_h_is_phi_h_and_y_reads_the_last_column(s: int, d: int, seed: int) -> None:
    """Iterating Φ in any basis and reading column s (Eq. 28) gives the HDS's states, whatever the basis."""
    n = s * d
    system = LinearHDS(normal(seed, d, n) / n)
    Psi, dual = basis_of(seed + 1, n)
    u = normal(seed + 2, s, d)
    Phi, h, e = phi_in_basis(system.Phi(), Psi), Psi @ u.flatten(), torch.eye(d, dtype=torch.float64)
    W_r = sum(torch.outer(e[mu - (s - 1) * d - 1], dual[mu - 1]) for mu in range((s - 1) * d + 1, n + 1))
    close(readout(s, d, Psi), torch.as_tensor(W_r))
    close(readout(s, d) @ u.flatten(), u[-1])
    for x, state in zip(system.rollout(u, 7), run(u, system.f, 7)[1:], strict=True):
        h = Phi @ h
        close(W_r @ h, x)
        close(dual @ h, state.flatten(-2))  # the components are the substrate's columns


@drawn
def test_eq9_the_elman_network_step_by_step(steps: int, d: int, seed: int) -> None:
    N, batch = d + seed % 6, 2
    W_hh, W_uh, W_r = normal(seed, N, N), normal(seed + 1, N, d), normal(seed + 2, d, N)
    u = normal(seed + 3, steps, batch, d)
    network = ElmanEnsemble(W_hh[None], W_uh[None], W_r[None])
    states, h = network.states(u[:, None]), torch.zeros(batch, N, dtype=torch.float64)
    outputs = network.outputs(states)
    for t in range(steps):
        h = torch.tanh(h @ W_hh.mT + u[t] @ W_uh.mT)
        close(states[t, 0].detach(), h)
        close(outputs[t, 0].detach(), h @ W_r.mT)


@drawn
def test_eq18_a_vector_is_its_components_times_the_basis(s: int, d: int, seed: int) -> None:
    Psi, dual = basis_of(seed, s * d)
    basis = Basis(Psi)
    close(basis.dual, dual)
    v = Psi @ normal(seed + 3, s * d)  # a vector of the span
    by_hand = sum((dual[mu] @ v) * Psi[:, mu] for mu in range(s * d))
    close(torch.as_tensor(by_hand), v)
    close(basis.vector(basis.components(v)), v)


@drawn
def test_eq25_an_elman_network_with_these_weights_is_the_memory_to_first_order(s: int, d: int, seed: int) -> None:
    (Xi, Xi_dual), F = basis_of(seed, s * d), normal(seed + 3, d, s * d) / (s * d) ** 0.5
    W_hh = torch.einsum("im,mn,nj->ij", Xi, linear_boundary_operator(F), Xi_dual)  # Eq. 25, index by index
    close(phi_in_basis(linear_boundary_operator(F), Xi), W_hh)
    h0 = Xi @ normal(seed + 4, s * d)
    silent = torch.zeros(1, 1, 1, d, dtype=torch.float64)

    def one_step(size: float, activation: str) -> Tensor:
        network = ElmanEnsemble(W_hh[None], Xi[None, :, -d:], Xi_dual[None, -d:], activation=activation)
        return network.states(silent, h0=size * h0[None, None])[0, 0, 0].detach()

    close(one_step(1.0, "linear"), W_hh @ h0)
    # tanh(x) = x - x^3/3 + ...: halving the state divides the departure from the linear memory by eight.
    gap = [float((one_step(size, "tanh") - one_step(size, "linear")).norm()) for size in (2e-2, 1e-2)]
    if float((W_hh @ h0).norm()) > 1e-3:
        assert abs(gap[0] / gap[1] - 8) < 0.2


@drawn
def test_eq27_fibonacci_phi(s: int, d: int, seed: int) -> None:
    Psi, dual = basis_of(seed, s * d)
    expected = shift_by_definition(Psi, dual, s, d)
    for mu in range(1, d + 1):
        for nu in range(s):
            expected = expected + ket_bra(Psi, dual, (s - 1) * d + mu, nu * d + mu)
    close(fibonacci_phi(s, d, Psi), expected)
    assert torch.equal(fibonacci_phi(s, d), generalized_fibonacci(s, d).Phi())


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


@drawn
def test_eq29_repeat_copy_phi_write_and_readout(s: int, d: int, seed: int) -> None:
    n = s * d
    Psi, dual = basis_of(seed, n)
    expected = shift_by_definition(Psi, dual, s, d)
    for mu in range((s - 1) * d + 1, n + 1):
        expected = expected + ket_bra(Psi, dual, mu, mu - (s - 1) * d)
    Phi, W_uh, W_r = repeat_copy_phi(s, d, Psi), write(s, d, Psi), readout(s, d, Psi)
    for ours, right in zip(repeat_copy_weights(s, d, Basis(Psi)), (expected, Psi[:, -d:], dual[-d:]), strict=True):
        close(ours, right)
    close(Phi, expected)
    close(W_r @ W_uh, torch.eye(d, dtype=torch.float64))
    u, h = normal(seed + 3, s, d), torch.zeros(len(Psi), dtype=torch.float64)
    for t in range(s):
        h = Phi @ h + W_uh @ u[t]
    close(h, Psi @ u.flatten())
    for t in range(2 * s):
        h = Phi @ h
        close(W_r @ h, u[t % s])


def repeat_copy(s: int, d: int, seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Basis]:
    """Ψ, the network of Eq. 29 and what it reads."""
    Psi, _ = basis_of(seed, s * d)
    basis = Basis(Psi)
    return Psi, *repeat_copy_weights(s, d, basis), normal(seed + 3, s, d), basis


@drawn
def test_eq30_to_eq33_first_step(s: int, d: int, seed: int) -> None:
    Psi, _, W_uh, _, u, basis = repeat_copy(s, d, seed)
    e, last, numbers = torch.eye(d, dtype=torch.float64), (s - 1) * d, range(1, d + 1)
    eq30 = sum(ket(Psi, last + j) * (e[j - 1] @ (u[0, i - 1] * e[i - 1])) for i in numbers for j in numbers)
    eq31_32 = sum(u[0, i - 1] * ket(Psi, last + j) * float(i == j) for i in numbers for j in numbers)
    eq33 = sum(u[0, i - 1] * ket(Psi, last + i) for i in numbers)
    for value in (eq30, eq31_32, eq33, input_phase_state(u, 1, basis)):
        close(torch.as_tensor(value), W_uh @ u[0])


@drawn
def test_eq34_to_eq36_second_step(s: int, d: int, seed: int) -> None:
    s += 1
    Psi, W_hh, W_uh, _, u, basis = repeat_copy(s, d, seed)
    last = [ket(Psi, (s - 1) * d + i) for i in range(1, d + 1)]
    eq34 = sum(u[0, i] * (W_hh @ last[i]) + u[1, i] * last[i] for i in range(d))
    # Eq. 35: of the sum over the covectors one term is left.
    close(torch.linalg.pinv(Psi) @ torch.stack(last, 1), torch.eye(s * d, dtype=torch.float64)[:, -d:])
    eq36 = sum(u[0, i - 1] * ket(Psi, (s - 2) * d + i) + u[1, i - 1] * last[i - 1] for i in range(1, d + 1))
    for value in (eq34, eq36, input_phase_state(u, 2, basis)):
        close(torch.as_tensor(value), W_hh @ (W_uh @ u[0]) + W_uh @ u[1])


@drawn
def test_eq37_end_of_the_input_phase(s: int, d: int, seed: int) -> None:
    Psi, W_hh, W_uh, _, u, basis = repeat_copy(s, d, seed)
    h = torch.zeros(len(Psi), dtype=torch.float64)
    for t in range(s):
        h = W_hh @ h + W_uh @ u[t]
        close(input_phase_state(u, t + 1, basis), h)
    eq37 = sum(u[mu - 1, i - 1] * ket(Psi, (mu - 1) * d + i) for mu in range(1, s + 1) for i in range(1, d + 1))
    close(torch.as_tensor(eq37), h)


@drawn
def test_eq38_output_phase_with_the_corrected_index(s: int, d: int, seed: int) -> None:
    (Psi, W_hh, _, W_r, u, basis), t = repeat_copy(s, d, seed), seed % 13
    h = torch.linalg.matrix_power(W_hh, t) @ input_phase_state(u, s, basis)
    places = {(mu, i): ((mu - t - 1) % s) * d + i for mu in range(1, s + 1) for i in range(1, d + 1)}
    corrected = sum(u[mu - 1, i - 1] * ket(Psi, k) for (mu, i), k in places.items())
    close(torch.as_tensor(corrected), h)
    close(output_phase_state(u, t, basis), h)
    # The sentence under Eq. 38: vector mu is read from subspace ((mu - t - 1) mod s) + 1.
    for mu in range(1, s + 1):
        close(basis.dual_block(subspace(mu, t, s) - 1, d) @ h, u[mu - 1])
    if t >= 1:
        close(output(u, t), W_r @ h)
