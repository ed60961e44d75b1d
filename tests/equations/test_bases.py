"""TWM Eqs. 6, 9, 18 and 25: bases, what survives the choice, and the network that is the memory to first order."""

from __future__ import annotations

from collections.abc import Callable

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from wavemem.elman.network import ElmanEnsemble
from wavemem.theory.basis import Basis, random_basis
from wavemem.theory.boundary import linear_boundary_operator, phi_in_basis


def drawn(test: Callable[..., None]) -> Callable[..., None]:
    """A test of sizes s, d, of neurons beside the s·d that the basis needs, and of a seed."""
    extra, seed = st.integers(0, 5), st.integers(0, 2**31)
    return settings(max_examples=12, deadline=None)(given(st.integers(1, 4), st.integers(1, 3), extra, seed)(test))


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _draw(generator: torch.Generator, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def _basis(generator: torch.Generator, n: int, extra: int) -> Basis:
    """A basis whose condition is bounded, so that tolerances can be: orthonormal vectors, sheared and rescaled a little."""
    Q = random_basis(n, generator, "orthogonal", N=n + extra).Psi
    shear = torch.eye(n, dtype=torch.float64) + 0.5 * torch.triu(_draw(generator, n, n).clamp(-1, 1), 1) / n
    return Basis(Q @ shear * (0.5 + torch.rand(n, generator=generator, dtype=torch.float64)))


@drawn
def test_eq18_a_vector_is_its_components_times_the_basis(s: int, d: int, extra: int, seed: int) -> None:
    n = s * d
    generator = _generator(seed)
    basis = _basis(generator, n, extra)
    torch.testing.assert_close(basis.dual @ basis.Psi, torch.eye(basis.n, dtype=torch.float64), rtol=0, atol=1e-12)
    v = basis.Psi @ _draw(generator, n)  # a vector of the span
    by_hand = sum((basis.dual[mu] @ v) * basis.Psi[:, mu] for mu in range(n))
    torch.testing.assert_close(by_hand, v, rtol=0, atol=1e-11)
    torch.testing.assert_close(basis.vector(basis.components(v)), v, rtol=0, atol=1e-11)


@drawn
def test_eq6_the_spectrum_is_the_same_in_every_basis(s: int, d: int, extra: int, seed: int) -> None:
    generator = _generator(seed)
    F = torch.linalg.qr(_draw(generator, s * d, d)).Q.mT  # a boundary of moderate norm
    Phi = linear_boundary_operator(F)
    W = phi_in_basis(Phi, _basis(generator, s * d, extra))
    # Traces of powers are the power sums of the eigenvalues, free of the ill-conditioning of defective ones.
    power, power_W = Phi, W
    for _ in range(min(s * d, 6)):
        torch.testing.assert_close(torch.trace(power_W), torch.trace(power), rtol=0, atol=1e-9)
        power, power_W = power @ Phi, power_W @ W


@drawn
def test_eq25_an_elman_network_with_these_weights_is_the_memory_to_first_order(
    s: int, d: int, extra: int, seed: int
) -> None:
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


@drawn
def test_eq9_the_elman_network_step_by_step(s: int, d: int, extra: int, seed: int) -> None:
    steps, N, batch = s, d + extra, 2
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
