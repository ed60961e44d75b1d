"""TWM Eqs. 6, 7, 18 and 25: bases, the linear boundary in any basis, and what survives the choice."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from wavemem.elman.network import ElmanEnsemble
from wavemem.theory.basis import Basis, random_basis, standard_basis
from wavemem.theory.boundary import linear_boundary_operator, phi_in_basis, readout, step
from wavemem.theory.spectrum import angle_error, eigenvalues

SIZES = st.tuples(st.integers(1, 4), st.integers(1, 3), st.integers(0, 5))  # s, d, extra neurons
SEEDS = st.integers(0, 2**31)


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _draw(generator: torch.Generator, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def _basis(generator: torch.Generator, n: int, extra: int) -> Basis:
    """A basis whose condition is bounded, so that tolerances can be: orthonormal vectors, sheared and rescaled a little."""
    Q = random_basis(n, generator, "orthogonal", N=n + extra).Psi
    shear = torch.eye(n, dtype=torch.float64) + 0.5 * torch.triu(_draw(generator, n, n).clamp(-1, 1), 1) / n
    return Basis(Q @ shear * (0.5 + torch.rand(n, generator=generator, dtype=torch.float64)))


@settings(max_examples=12, deadline=None)
@given(SIZES, SEEDS)
def test_eq18_a_vector_is_its_components_times_the_basis(sizes: tuple[int, int, int], seed: int) -> None:
    n = sizes[0] * sizes[1]
    generator = _generator(seed)
    basis = _basis(generator, n, sizes[2])
    torch.testing.assert_close(basis.dual @ basis.Psi, torch.eye(basis.n, dtype=torch.float64), rtol=0, atol=1e-12)
    v = basis.Psi @ _draw(generator, n)  # a vector of the span
    by_hand = sum((basis.dual[mu] @ v) * basis.Psi[:, mu] for mu in range(n))
    torch.testing.assert_close(by_hand, v, rtol=0, atol=1e-11)
    torch.testing.assert_close(basis.vector(basis.components(v)), v, rtol=0, atol=1e-11)


@settings(max_examples=12, deadline=None)
@given(SIZES, SEEDS)
def test_eq6_phi_is_the_sum_of_outer_products(sizes: tuple[int, int, int], seed: int) -> None:
    s, d, extra = sizes
    generator = _generator(seed)
    basis, F = _basis(generator, s * d, extra), _draw(generator, d, s * d)
    ket, bra = basis.Psi, basis.dual
    Phi = torch.zeros(basis.N, basis.N, dtype=torch.float64)
    for mu in range(1, (s - 1) * d + 1):
        Phi += torch.outer(ket[:, mu - 1], bra[mu + d - 1])
    for mu in range((s - 1) * d + 1, s * d + 1):
        for nu in range(1, s * d + 1):
            Phi += F[mu - (s - 1) * d - 1, nu - 1] * torch.outer(ket[:, mu - 1], bra[nu - 1])
    torch.testing.assert_close(phi_in_basis(linear_boundary_operator(F), basis), Phi, rtol=0, atol=1e-11)
    torch.testing.assert_close(basis.operator(linear_boundary_operator(F)), Phi, rtol=0, atol=1e-11)


@settings(max_examples=12, deadline=None)
@given(SIZES, SEEDS)
def test_eq7_components_evolve_as_the_substrate_in_every_basis(sizes: tuple[int, int, int], seed: int) -> None:
    s, d, extra = sizes
    generator = _generator(seed)
    basis = _basis(generator, s * d, extra)
    F = _draw(generator, d, s * d) / (s * d) ** 0.5
    Phi, W_r = phi_in_basis(linear_boundary_operator(F), basis), readout(s, d, basis)
    h = _draw(generator, 2, s, d)
    state = basis.vector(h.flatten(-2))
    for _ in range(4):
        h = step(h, lambda x: x.flatten(-2) @ F.mT)
        state = state @ Phi.mT
        torch.testing.assert_close(basis.components(state), h.flatten(-2), rtol=0, atol=1e-9)
        by_sum = sum(
            torch.outer(state @ basis.dual[mu - 1], torch.eye(d, dtype=torch.float64)[mu - (s - 1) * d - 1])
            for mu in range((s - 1) * d + 1, s * d + 1)
        )
        torch.testing.assert_close(state @ W_r.mT, by_sum, rtol=0, atol=1e-11)
        torch.testing.assert_close(by_sum, h[:, -1], rtol=0, atol=1e-9)


@settings(max_examples=10, deadline=None)
@given(SIZES, SEEDS)
def test_eq6_the_spectrum_is_the_same_in_every_basis(sizes: tuple[int, int, int], seed: int) -> None:
    s, d, extra = sizes
    generator = _generator(seed)
    F = torch.linalg.qr(_draw(generator, s * d, d)).Q.mT  # a boundary of moderate norm
    Phi = linear_boundary_operator(F)
    W = phi_in_basis(Phi, _basis(generator, s * d, extra))
    # Traces of powers are the power sums of the eigenvalues, free of the ill-conditioning of defective ones.
    power, power_W = Phi, W
    for _ in range(min(s * d, 6)):
        torch.testing.assert_close(torch.trace(power_W), torch.trace(power), rtol=0, atol=1e-9)
        power, power_W = power @ Phi, power_W @ W


def test_eq6_spectral_error_between_phi_and_its_image_vanishes() -> None:
    F = torch.eye(3, 12, dtype=torch.float64)
    Phi = linear_boundary_operator(F)
    W = phi_in_basis(Phi, random_basis(12, _generator(0), N=40))
    comparison = angle_error(Phi, W)
    assert comparison.n_learned == 12
    assert comparison.error < 1e-9
    assert int((eigenvalues(W).abs() > 1e-6).sum()) == 12


@settings(max_examples=8, deadline=None)
@given(SIZES, SEEDS)
def test_eq25_an_elman_network_with_these_weights_is_the_memory_to_first_order(
    sizes: tuple[int, int, int], seed: int
) -> None:
    s, d, extra = sizes
    generator = _generator(seed)
    basis, F = _basis(generator, s * d, extra), _draw(generator, d, s * d) / (s * d) ** 0.5
    Xi, Xi_dual, Phi = basis.Psi, basis.dual, linear_boundary_operator(F)
    W_hh = torch.einsum("im,mn,nj->ij", Xi, Phi, Xi_dual)  # Eq. 25, index by index
    torch.testing.assert_close(W_hh, phi_in_basis(Phi, basis), rtol=0, atol=1e-12)
    weights = (W_hh[None], basis.block(-1, d)[None], basis.dual_block(-1, d)[None])
    h0 = basis.vector(_draw(generator, s * d))
    silent = torch.zeros(1, 1, 1, d, dtype=torch.float64)

    def one_step(size: float, activation: str) -> torch.Tensor:
        network = ElmanEnsemble(*weights, activation=activation)
        return network.states(silent, h0=size * h0[None, None])[0, 0, 0].detach()

    torch.testing.assert_close(one_step(1.0, "linear"), W_hh @ h0, rtol=0, atol=1e-12)
    # tanh(x) = x - x^3/3 + ...: halving the state divides the departure from the linear memory by eight.
    gap = [float((one_step(size, "tanh") - one_step(size, "linear")).norm()) for size in (2e-2, 1e-2)]
    scale = float((W_hh @ h0).norm())
    if scale > 1e-3:
        assert abs(gap[0] / gap[1] - 8) < 0.2


def test_eq18_standard_coordinates_are_a_basis_like_any_other() -> None:
    v = torch.arange(1.0, 4.0, dtype=torch.float64)
    assert torch.equal(standard_basis(3).components(v), v)


@settings(max_examples=10, deadline=None)
@given(SIZES, SEEDS)
def test_eq9_the_elman_network_step_by_step(sizes: tuple[int, int, int], seed: int) -> None:
    steps, d, extra = sizes
    N, batch = d + extra, 2
    generator = _generator(seed)
    W_hh, W_uh, W_r = _draw(generator, N, N), _draw(generator, N, d), _draw(generator, d, N)
    u = _draw(generator, steps, batch, d)
    network = ElmanEnsemble(W_hh[None], W_uh[None], W_r[None])
    states = network.states(u[:, None])
    outputs = network.outputs(states)
    h = torch.zeros(batch, N, dtype=torch.float64)
    for t in range(steps):
        h = torch.tanh(h @ W_hh.mT + u[t] @ W_uh.mT)
        torch.testing.assert_close(states[t, 0].detach(), h, rtol=0, atol=1e-11)
        torch.testing.assert_close(outputs[t, 0].detach(), h @ W_r.mT, rtol=0, atol=1e-11)
