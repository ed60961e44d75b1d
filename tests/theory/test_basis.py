"""Bases, duals and their failure modes."""

from __future__ import annotations

import pytest
import torch

from wavemem.theory.basis import Basis, random_basis, standard_basis


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_dual_of_an_orthogonal_basis_is_its_transpose() -> None:
    thin = random_basis(6, _generator(), "orthogonal", N=11)
    torch.testing.assert_close(thin.dual, thin.Psi.mT)
    assert abs(thin.condition - 1) < 1e-12


def test_reading_undoes_writing_and_ignores_the_orthogonal_complement() -> None:
    basis = random_basis(6, _generator(), N=10)
    Phi = torch.randn(3, 6, 6, generator=_generator(1), dtype=torch.float64)
    torch.testing.assert_close(basis.matrix(basis.operator(Phi)), Phi, rtol=0, atol=1e-9)
    torch.testing.assert_close(basis.components(basis.vector(Phi)), Phi, rtol=0, atol=1e-9)
    outside = torch.linalg.svd(basis.Psi).U[:, 6:].mT
    assert basis.components(outside).abs().max() < 1e-12


def test_blocks_are_the_columns_of_the_substrate() -> None:
    basis = random_basis(12, _generator())
    assert torch.equal(basis.block(0, 3), basis.Psi[:, :3])
    assert torch.equal(basis.dual_block(-1, 3), basis.dual[9:])
    assert torch.equal(torch.cat([basis.block(i, 3) for i in range(4)], dim=1), basis.Psi)


def test_a_draw_depends_on_its_generator_alone() -> None:
    first, second = random_basis(5, _generator(3)), random_basis(5, _generator(3))
    assert torch.equal(first.Psi, second.Psi)
    Basis(torch.tensor([[1.0, 1.0], [0.0, 1e-5]], dtype=torch.float64))  # too much for float32, see below


def test_standard_basis_reads_neurons() -> None:
    v = torch.arange(5, dtype=torch.float64)
    assert torch.equal(standard_basis(5).components(v), v)
    assert torch.equal(standard_basis(3, N=5).components(v), v[:3])
    assert "N=5, n=3" in repr(standard_basis(3, N=5))


def test_orthogonal_draws_have_no_preferred_sign() -> None:
    # Without the sign correction the diagonal of Q has one sign in every draw.
    generator = _generator(5)
    signs = {float(torch.sign(random_basis(4, generator, "orthogonal").Psi[0, 0])) for _ in range(20)}
    assert signs == {-1.0, 1.0}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Basis(torch.zeros(3)), "Psi has shape"),
        (lambda: Basis(torch.eye(3)[:2]), "3 vectors in 2"),
        (lambda: Basis(torch.ones(3, 2)), "condition number"),
        (lambda: Basis(torch.zeros(3, 2)), "condition number inf"),
        (lambda: Basis(torch.full((2, 2), float("nan"))), "NaN"),
        (lambda: Basis(torch.eye(2, dtype=torch.int64)), "torch.int64"),
        (lambda: Basis(torch.tensor([[1.0, 1.0], [0.0, 1e-5]])), "linearly dependent"),
        (lambda: Basis(torch.diag(torch.tensor([1.0, 1e-3])), max_condition=100.0), "at most 100"),
        (lambda: standard_basis(3).components(torch.zeros(4)), "v has shape"),
        (lambda: standard_basis(3).vector(torch.zeros(2)), "c has shape"),
        (lambda: standard_basis(3).operator(torch.zeros(2, 2)), "Phi has shape"),
        (lambda: standard_basis(3).matrix(torch.zeros(2, 2)), "W has shape"),
        (lambda: standard_basis(6).block(2, 3), "column i = 2"),
        (lambda: standard_basis(6).dual_block(0, 4), "d = 4 for a basis of 6"),
        (lambda: standard_basis(0), "n"),
        (lambda: standard_basis(4, N=3), "4 vectors in 3 dimensions"),
        (lambda: random_basis(4, _generator(), "uniform"), "kind"),
    ],
)
def test_bad_input_says_what_it_got(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
