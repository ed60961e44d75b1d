"""Linear boundaries: duals, subspaces, bad input (the equations themselves are under tests/equations)."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from wavemem.theory.boundary import (
    boundary_operator,
    dual_of,
    fibonacci_phi,
    linear_boundary_operator,
    phi_in_basis,
    readout,
    repeat_copy_phi,
    shift_operator,
    write,
)


def _basis(n: int, k: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, k, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("n", [6, 9])
def test_dual_rows_meet_their_own_column_only(n: int) -> None:
    Psi = _basis(n, 6)
    torch.testing.assert_close(dual_of(Psi) @ Psi, torch.eye(6, dtype=torch.float64))


def test_dual_refuses_dependent_columns() -> None:
    Psi = _basis(4, 4)
    Psi[:, 3] = Psi[:, 0] + Psi[:, 1]
    with pytest.raises(ValueError, match="linearly dependent"):
        dual_of(Psi)


def test_an_object_with_vectors_and_covectors_serves_as_a_basis() -> None:
    Psi = _basis(6, 6)
    basis = SimpleNamespace(Psi=Psi, dual=torch.linalg.inv(Psi))
    for make in (fibonacci_phi, repeat_copy_phi, readout, write):
        torch.testing.assert_close(make(3, 2, basis), make(3, 2, Psi))


def test_a_memory_in_a_subspace_of_a_larger_state_runs_like_the_small_one() -> None:
    Psi = _basis(10, 6)
    Phi, large = fibonacci_phi(3, 2), fibonacci_phi(3, 2, Psi)
    h = _basis(6, 1, seed=1)
    torch.testing.assert_close(large @ (Psi @ h), Psi @ (Phi @ h))
    assert int(torch.linalg.matrix_rank(large)) == 6


def test_types_follow_the_basis() -> None:
    assert fibonacci_phi(3, 2).dtype == torch.float64
    assert fibonacci_phi(3, 2, torch.eye(6)).dtype == torch.float32
    assert linear_boundary_operator(torch.zeros(2, 4)).dtype == torch.float32


def test_shift_of_one_column_is_empty() -> None:
    assert not shift_operator(1, 3).any()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: shift_operator(0, 2), "s = 0"),
        (lambda: boundary_operator(torch.zeros(2, 5)), "multiple of its height"),
        (lambda: linear_boundary_operator(torch.zeros(5)), "F has shape"),
        (lambda: dual_of(torch.zeros(2, 3)), "transpose"),
        (lambda: phi_in_basis(torch.zeros(4, 5), torch.eye(4)), "Phi has shape"),
        (lambda: phi_in_basis(torch.zeros(4, 4), torch.eye(5)), "Psi has shape"),
        (lambda: phi_in_basis(torch.zeros(4, 4), "standard"), "basis of type str"),
        (lambda: fibonacci_phi(2, 0), "d = 0"),
        (lambda: readout(2, 2, torch.eye(5)), "Psi has shape"),
        (lambda: write(2, 2, torch.eye(5)), "Psi has shape"),
    ],
)
def test_bad_input_is_explained(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
