"""TWM appendix A.5: linearisation (Eqs. 39-41) and fixed points by optimisation (Eq. 42)."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from wavemem.elman.fixed_points import RecurrentMap, find_fixed_points, linearise, minimise_speed, starting_points
from wavemem.streams import stream
from wavemem.theory.basis import random_basis
from wavemem.theory.boundary import phi_in_basis
from wavemem.theory.selection import paper_task
from wavemem.theory.spectrum import angle_error, eigenvalues


def _driven(seed: int, N: int = 5, d: int = 2) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """A contracting network with bias and input, whose only fixed point is found by iterating."""
    generator = stream(seed, "driven")
    W_hh = torch.randn(N, N, generator=generator, dtype=torch.float64)
    W_hh = 0.8 * W_hh / torch.linalg.matrix_norm(W_hh, ord=2)
    W_uh = torch.randn(N, d, generator=generator, dtype=torch.float64)
    b = torch.randn(N, generator=generator, dtype=torch.float64)
    h = torch.zeros(N, dtype=torch.float64)
    for _ in range(500):
        h = torch.tanh(W_hh @ h + b)
    return W_hh, W_uh, b, h


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.booleans())
def test_eq39_eq40_the_error_is_of_second_order(seed: int, with_input: bool) -> None:
    """Without input (Eq. 39), and with one, which enters through its own Jacobian (Eq. 40)."""
    W_hh, W_uh, b, fixed = _driven(seed)
    found = linearise(W_hh, W_uh, fixed, u=torch.zeros(2), b=b)
    torch.testing.assert_close(found.J, torch.diag(1 - torch.tanh(W_hh @ fixed + b).square()) @ W_hh)
    assert float(found.speed) < 1e-12
    generator = stream(seed, "δ, υ")
    deviation = torch.randn(5, generator=generator, dtype=torch.float64)
    u = with_input * torch.randn(2, generator=generator, dtype=torch.float64)

    def error(size: float) -> float:
        after = torch.tanh(W_hh @ (fixed + size * deviation) + W_uh @ (size * u) + b)
        return float((after - found.image - size * (found.J @ deviation + found.J_u @ u)).norm())

    assert error(1e-4) / error(1e-5) == pytest.approx(100, rel=0.05)  # ten times closer, a hundred times better


def test_eq41_deviations_follow_a_linear_recurrence() -> None:
    W_hh, _, b, fixed = _driven(3)
    deviation = 1e-6 * torch.ones(5, dtype=torch.float64)
    predicted = linearise(W_hh, None, fixed, b=b).run(deviation, 20)
    states = RecurrentMap(W_hh, b=b).orbit(fixed + deviation, 20)
    torch.testing.assert_close(states - fixed, predicted, rtol=1e-4, atol=1e-13)


@pytest.mark.parametrize("name", ["T1", "T2", "T3", "T4"])
def test_eq41_a_memory_of_the_theory_is_found_in_the_jacobian_at_the_origin(name: str) -> None:
    system = paper_task(name, 3, 3)
    basis = random_basis(9, stream(0, "Ψ"), "orthogonal", N=14)
    for gain in (1.0, 1.1):  # the gain changes the moduli, not the angles
        W_hh = gain * phi_in_basis(system.Phi(), basis)
        J = linearise(W_hh, None, torch.zeros(14)).J
        torch.testing.assert_close(J, W_hh)
        result = angle_error(eigenvalues(system.Phi()), eigenvalues(J))
        assert result.error < 1e-3  # not smaller: T2 has a defective zero eigenvalue and coinciding ones
        assert result.modulus_error == pytest.approx(gain - 1, abs=1e-3)


def test_eq41_link_gains_change_the_moduli_of_a_cycle_but_no_angle() -> None:
    gains = torch.tensor([0.7, 1.9, 1.2, 0.8, 1.3], dtype=torch.float64)
    for sign in (1.0, -1.0):
        W = torch.roll(torch.diag(gains), 1, 0)
        W[0] *= sign
        values = eigenvalues(W)
        torch.testing.assert_close(values.abs(), torch.full((5,), float(gains.prod()) ** 0.2, dtype=torch.float64))
        angles = torch.tensor([(2 * k + (sign < 0)) * math.pi / 5 for k in range(5)])
        assert angle_error(torch.polar(torch.ones(5), angles), values).error < 1e-6


def test_eq42_minima_at_zero_are_fixed_points_and_others_are_not() -> None:
    w, b = (
        torch.tensor([[2.0]], dtype=torch.float64),
        torch.tensor([0.6], dtype=torch.float64),
    )  # beyond the fold at 0.533
    ends = minimise_speed(RecurrentMap(w, b=b), torch.tensor([[-1.0], [1.0]], dtype=torch.float64))
    after = torch.tanh(2.0 * ends.h + 0.6)
    distance = (after - ends.h).norm(dim=1)
    torch.testing.assert_close(distance, (2 * ends.q).sqrt(), atol=1e-13, rtol=1e-9)
    assert float(distance[1]) < 1e-12  # a fixed point
    assert float(distance[0]) > 0.01  # a minimum of the same function, and no fixed point
    assert float(ends.gradient[0]) < 1e-8


def test_eq42_finds_what_iterating_finds_and_what_it_cannot() -> None:
    generator = stream(5, "W")
    W = 1.5 * torch.randn(5, 5, generator=generator, dtype=torch.float64) / 5**0.5
    W = W @ W.mT  # symmetric and positive: iterating climbs an energy and ends in fixed points
    points, _, _ = find_fixed_points(W, starting_points(5, 800, generator))
    h = torch.randn(20, 5, generator=generator, dtype=torch.float64)
    for _ in range(20_000):
        h = torch.tanh(h @ W.mT)
    nearest = (h[:, None] - points.h).norm(dim=-1).amin(dim=1)
    assert float(nearest.max()) < 1e-6
    assert int((points.unstable > 0).sum()) > 0  # iterating never ends there
