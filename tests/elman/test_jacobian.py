"""Jacobians of the recurrent map: against autograd, first order in deviations, products along orbits."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from wavemem.elman.fixed_points import RecurrentMap, linearise, orbit_jacobian
from wavemem.streams import stream


def _network(N: int, d: int, seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    generator = stream(seed, "test network")

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    return draw(N, N) / N**0.5, draw(N, d), draw(d), draw(N), draw(N)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 7), st.integers(1, 4), st.integers(0, 1000))
def test_jacobians_equal_autograd(N: int, d: int, seed: int) -> None:
    W_hh, W_uh, u, b, h = _network(N, d, seed)
    network = RecurrentMap(W_hh, W_uh, u, b)
    found = linearise(W_hh, W_uh, h, u, b)

    def after(state: Tensor, given_input: Tensor) -> Tensor:
        return torch.tanh(W_hh @ state + W_uh @ given_input + b)

    by_state, by_input = torch.autograd.functional.jacobian(after, (h, u))
    torch.testing.assert_close(found.J, by_state)
    torch.testing.assert_close(found.J_u, by_input)
    torch.testing.assert_close(found.image, after(h, u))
    torch.testing.assert_close(network(h), after(h, u))
    torch.testing.assert_close(network.jacobian(h), by_state)
    torch.testing.assert_close(found.speed, (after(h, u) - h).norm())
    many = linearise(W_hh, W_uh, torch.stack([h, -h, 2 * h]).reshape(3, 1, N), u, b)
    torch.testing.assert_close(many.J[0, 0], found.J)
    torch.testing.assert_close(many.J_u[0, 0], found.J_u)


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_orbit_jacobian_is_that_of_the_iterated_map(steps: int) -> None:
    W_hh, W_uh, u, b, h = _network(6, 2, 8)
    network = RecurrentMap(W_hh, W_uh, u, b)

    def iterated(state: Tensor) -> Tensor:
        for _ in range(steps):
            state = torch.tanh(W_hh @ state + W_uh @ u + b)
        return state

    torch.testing.assert_close(orbit_jacobian(network, h, steps), torch.autograd.functional.jacobian(iterated, h))
    torch.testing.assert_close(network.orbit(h, steps)[-1], iterated(h))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RecurrentMap(torch.zeros(2, 3)), "W_hh has shape"),
        (lambda: RecurrentMap(torch.eye(2), torch.zeros(3, 1)), "W_uh has shape"),
        (lambda: RecurrentMap(torch.eye(2), u=torch.zeros(1)), "u without W_uh"),
        (lambda: RecurrentMap(torch.eye(2), torch.zeros(2, 1), torch.zeros(2)), "u has shape"),
        (lambda: RecurrentMap(torch.eye(2), b=torch.zeros(3)), "b has shape"),
        (lambda: RecurrentMap(torch.eye(2) * float("nan")), "NaN"),
        (lambda: linearise(torch.eye(2), None, torch.zeros(3)), "h has shape"),
        (lambda: linearise(torch.eye(2), None, torch.zeros(2)).run(torch.zeros(3), 1), "deviation has shape"),
        (lambda: linearise(torch.eye(2), None, torch.zeros(2)).run(torch.zeros(2), -1), "steps = -1"),
        (lambda: orbit_jacobian(RecurrentMap(torch.eye(2)), torch.zeros(2), 0), "steps = 0"),
        (lambda: RecurrentMap(torch.eye(2)).orbit(torch.zeros(2), -1), "steps = -1"),
    ],
)
def test_bad_input_is_explained(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
