"""Variable memories: reading, drawing and dropping entries of a substrate that lies somewhere in hidden space."""

from __future__ import annotations

import pytest
import torch

from wavemem.elman.variable_memories import VariableMemories, kept_entries
from wavemem.theory.basis import random_basis
from wavemem.theory.selection import paper_task

S, D, N = 3, 2, 11


def memories(**changes: object) -> VariableMemories:
    Psi = random_basis(S * D, torch.Generator().manual_seed(0), "gaussian", N=N).Psi
    return VariableMemories(**{"Psi": Psi, "keep": torch.arange(S * D), "s": S, "d": D, **changes})


def test_what_is_stored_is_read_and_dropped_entries_are_unknown() -> None:
    keep = torch.tensor([0, 2, 3, 5])
    full = memories()
    some = memories(Psi=full.Psi[:, keep], keep=keep)
    x = torch.randn(7, S, D, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    torch.testing.assert_close(full.substrate(x.flatten(-2) @ full.Psi.mT), x)
    h = x.flatten(-2)[:, keep] @ some.Psi.mT
    read = some.substrate(h)
    torch.testing.assert_close(read.flatten(-2)[:, keep], x.flatten(-2)[:, keep])
    assert read.isnan().sum() == 7 * 2
    torch.testing.assert_close(some.project(h), h)
    assert (some.N, some.m) == (N, 4)


def test_operators_in_the_basis_are_the_theory() -> None:
    Phi = paper_task("T1", S, D).Phi()
    full = memories()
    W = full.Psi @ Phi @ full.dual
    torch.testing.assert_close(full.operator(W), Phi)
    torch.testing.assert_close(full.theory(Phi), Phi)
    torch.testing.assert_close(full.full_operator(W), Phi)
    outside = torch.linalg.qr(full.Psi, mode="complete").Q[:, S * D :][:, :2]
    more = memories(complement=outside).full_operator(W)
    torch.testing.assert_close(more[: S * D, : S * D], Phi)
    torch.testing.assert_close(more[S * D :], torch.zeros(2, S * D + 2, dtype=torch.float64), atol=1e-12, rtol=0)


def test_transient_directions_are_not_read() -> None:
    B = torch.randn(N, 2, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    plain, shielded = memories(), memories(transient=B)
    torch.testing.assert_close(shielded.dual @ shielded.Psi, torch.eye(S * D, dtype=torch.float64))
    torch.testing.assert_close(shielded.dual @ B, torch.zeros(S * D, 2, dtype=torch.float64), atol=1e-12, rtol=0)
    assert float((plain.dual @ B).abs().max()) > 0.01


def test_scaling_a_vector_divides_what_is_read() -> None:
    gains = torch.tensor([1.0, 2.0, -1.0, 0.5, 3.0, 1.0], dtype=torch.float64)
    h = torch.randn(5, N, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    torch.testing.assert_close(memories().scaled(gains).coordinates(h) * gains, memories().coordinates(h))
    with pytest.raises(ValueError, match="other than 0"):
        memories().scaled(torch.zeros(6))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"keep": torch.tensor([0, 1])}, "Psi"),
        ({"keep": torch.tensor([0, 1, 2, 3, 5, 4])}, "increasing"),
        ({"keep": torch.tensor([0, 1, 2, 3, 4, 6])}, r"s\*d - 1 = 5"),
        ({"Psi": torch.full((N, 6), float("nan"))}, "NaN"),
        ({"complement": torch.zeros(N + 1, 2)}, "complement"),
        ({"s": 0}, "s = 0"),
    ],
)
def test_memories_that_cannot_be_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        memories(**changes)


def test_states_of_another_network_are_refused() -> None:
    with pytest.raises(ValueError, match="h has shape"):
        memories().coordinates(torch.zeros(4, N + 1))
    with pytest.raises(ValueError, match="W has shape"):
        memories().operator(torch.zeros(4, 4))
    with pytest.raises(ValueError, match="Phi has shape"):
        memories().theory(torch.zeros(4, 4))


def test_kept_entries() -> None:
    assert kept_entries(None, 2, 3).tolist() == [0, 1, 2, 3, 4, 5]
    assert kept_entries([1, 4], 2, 3).tolist() == [1, 4]
    with pytest.raises(ValueError, match="at least one"):
        kept_entries([], 2, 3)
