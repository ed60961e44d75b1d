"""Invariant subspaces, also where eigenvectors do not span them."""

from __future__ import annotations

import pytest
import torch

from wavemem.elman.variable_memories import invariant_subspace, persistent_subspace, transient_projector
from wavemem.theory.selection import paper_task


def mixed() -> torch.Tensor:
    """A non-normal matrix with a rotation of modulus 1, a real eigenvalue 0.9 and transients, two of them a Jordan block."""
    generator = torch.Generator().manual_seed(0)
    D = torch.zeros(7, 7, dtype=torch.float64)
    D[0, 1], D[1, 0] = -1.0, 1.0
    D[2, 2], D[3, 3], D[4, 4] = 0.9, 0.3, 0.3
    D[3, 4] = 1.0
    X = torch.randn(7, 7, generator=generator, dtype=torch.float64)
    return X @ D @ torch.linalg.inv(X)


def test_an_invariant_subspace_is_invariant_and_holds_whole_jordan_blocks() -> None:
    W = mixed()
    V = invariant_subspace(W, lambda value: abs(value) < 0.5)
    assert V.shape == (7, 4)
    torch.testing.assert_close(V.mT @ V, torch.eye(4, dtype=torch.float64))
    torch.testing.assert_close(V @ (V.mT @ W @ V), W @ V, atol=1e-6, rtol=1e-6)
    assert invariant_subspace(W, lambda value: abs(value) > 2).shape == (7, 0)


def test_spectral_and_orthogonal_removal_differ_where_the_matrix_is_not_normal() -> None:
    W = mixed()
    spectral, orthogonal = (transient_projector(W, 0.5, kind) for kind in ("spectral", "orthogonal"))
    transient = invariant_subspace(W, lambda value: abs(value) < 0.5)
    persistent = invariant_subspace(W, lambda value: abs(value) > 0.5)
    zero = torch.zeros(7, 4, dtype=torch.float64)
    for P in (spectral, orthogonal):
        torch.testing.assert_close(P @ P, P)
        torch.testing.assert_close(P @ transient, zero, atol=1e-6, rtol=0)
    torch.testing.assert_close(spectral @ persistent, persistent)
    torch.testing.assert_close(spectral @ W, W @ spectral, atol=1e-6, rtol=1e-6)
    assert float((orthogonal @ persistent - persistent).norm()) > 0.1
    assert float((orthogonal @ W - W @ orthogonal).norm()) > 0.1


def test_one_eigenvector_after_another_is_not_the_projector_on_their_span() -> None:
    """Algorithm 1 subtracts E E† one direction E at a time; unless the directions are orthogonal, something is left of them."""
    W = mixed()
    _, vectors = torch.linalg.eig(W)
    values = torch.linalg.eigvals(W)
    P = torch.eye(7, dtype=torch.complex128)
    for k in torch.nonzero(values.abs() < 0.95).flatten().tolist():
        E = vectors[:, k : k + 1] / vectors[:, k].norm()
        P = P - E @ (E.mH @ P)
    transient = invariant_subspace(W, lambda value: abs(value) < 0.95).to(P.dtype)
    assert float((P @ transient).norm()) > 0.01
    whole = transient_projector(W, 0.95).to(P.dtype)
    assert float((whole @ transient).norm()) < 1e-6


def test_nothing_and_everything_can_be_transient() -> None:
    W = mixed()
    torch.testing.assert_close(transient_projector(W, 0.0), torch.eye(7, dtype=torch.float64))
    torch.testing.assert_close(
        transient_projector(0.5 * W, 1.0), torch.zeros(7, 7, dtype=torch.float64), atol=1e-12, rtol=0
    )


def test_persistent_subspace_keeps_pairs_together_and_finds_the_waves_of_phi() -> None:
    assert persistent_subspace(mixed(), 1).shape == (7, 2)
    assert persistent_subspace(mixed(), 3).shape == (7, 3)
    assert persistent_subspace(mixed(), 99).shape == (7, 7)
    Phi = paper_task("T2", 4, 3).Phi()
    V = persistent_subspace(Phi, 9)
    torch.testing.assert_close(V @ (V.mT @ Phi @ V), Phi @ V, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: transient_projector(torch.zeros(2, 3), 0.5), "W has shape"),
        (lambda: transient_projector(torch.eye(2), 1.5), "alpha"),
        (lambda: transient_projector(torch.eye(2), 0.5, "sideways"), "projection"),
        (lambda: persistent_subspace(torch.eye(2), 0), "size"),
        (lambda: invariant_subspace(torch.full((2, 2), float("inf")), lambda value: True), "infinite"),
    ],
)
def test_bad_arguments(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
