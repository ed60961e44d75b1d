"""The substrate and its linear boundaries: travel, bases (the equations are in tests/equations)."""

from __future__ import annotations

import pytest
import torch

from wavemem.theory.basis import Basis, random_basis, standard_basis
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
    shift,
    state,
    step,
    subspace,
    write,
)
from wavemem.theory.hds import (
    boundary_operator,
    linear_boundary_operator,
    shift_operator,
)


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_a_pulse_travels_down_and_leaves() -> None:
    pulses = torch.eye(4).unsqueeze(-1)  # one at each column
    assert torch.equal(shift(pulses), torch.cat([0 * pulses[:1], pulses[:-1]]))


@pytest.mark.parametrize("n", [6, 9])
def test_a_matrix_stands_for_the_basis_of_its_columns(n: int) -> None:
    Psi = draw(n, 6)
    basis = Basis(Psi)
    for make in (fibonacci_phi, repeat_copy_phi, readout, write):
        assert torch.equal(make(3, 2, basis), make(3, 2, Psi))


def test_types_follow_the_basis() -> None:
    assert fibonacci_phi(3, 2).dtype == torch.float64
    assert fibonacci_phi(3, 2, torch.eye(6)).dtype == torch.float32
    assert linear_boundary_operator(torch.zeros(2, 4)).dtype == torch.float32
    assert not shift_operator(1, 3).any()  # of one column nothing is left


@pytest.mark.parametrize(("s", "d", "N"), [(1, 1, 1), (1, 3, 7), (4, 1, 4), (5, 3, 15), (3, 2, 20)])
def test_closed_form_equals_stepping_in_any_basis(s: int, d: int, N: int) -> None:
    basis = random_basis(s * d, torch.Generator().manual_seed(1), N=N)
    W_hh, W_uh, W_r = repeat_copy_weights(s, d, basis)
    u = draw(6, s, d)
    h = u.new_zeros(6, N)
    for t in range(3 * s + 2):
        torch.testing.assert_close(state(u, t, basis), h, rtol=0, atol=1e-9)
        torch.testing.assert_close(basis.vector(state(u, t)), h, rtol=0, atol=1e-9)
        if t > s:
            torch.testing.assert_close(output(u, t - s), h @ W_r.mT, rtol=0, atol=1e-9)
        h = h @ W_hh.mT + (u[:, t] @ W_uh.mT if t < s else 0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: shift_operator(0, 2), "s = 0"),
        (lambda: boundary_operator(torch.zeros(2, 5)), "multiple of its height"),
        (lambda: linear_boundary_operator(torch.zeros(5)), "F has shape"),
        (lambda: phi_in_basis(torch.zeros(4, 5), torch.eye(4)), "Phi has shape"),
        (lambda: phi_in_basis(torch.zeros(4, 4), torch.eye(5)), "Psi has shape"),
        (lambda: fibonacci_phi(2, 0), "d = 0"),
        (lambda: readout(2, 2, torch.eye(5)), "Psi has shape"),
        (lambda: write(2, 2, torch.eye(5)), "Psi has shape"),
        (lambda: shift(torch.zeros(3)), "h has shape"),
        (lambda: step(torch.zeros(3, 2), lambda h: h), r"boundary\(h\) has shape"),
        (lambda: step(torch.zeros(3), lambda h: h), "h has shape"),
        (lambda: run(torch.zeros(3, 2), lambda h: h[..., 0, :], -1), "steps = -1"),
        (lambda: subspace(0, 1, 4), "mu = 0"),
        (lambda: subspace(1, -1, 4), "t = -1"),
        (lambda: subspace(5, 1, 4), "mu = 5"),
        (lambda: subspace(1, 1, 0), "s = 0"),
        (lambda: input_phase_state(torch.zeros(4, 2), 5), "t = 5"),
        (lambda: output_phase_state(torch.zeros(4, 2), -1), "t = -1"),
        (lambda: output_phase_state(torch.zeros(4, 2), 1.5), "t = 1.5"),
        (lambda: output(torch.zeros(4, 2), 0), "t = 0"),
        (lambda: state(torch.zeros(4), 0), "u has shape"),
        (lambda: state(torch.zeros(4, 2, dtype=torch.float64), 0, standard_basis(7)), "Psi has shape"),
        (lambda: repeat_copy_weights(2, 2, standard_basis(5)), "Psi has shape"),
        (lambda: repeat_copy_weights(0, 2), "s"),
    ],
)
def test_bad_input_is_explained(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
