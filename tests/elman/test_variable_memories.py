"""Variable memories: reading a substrate somewhere in hidden space, Algorithm 1, invariant subspaces, and what travels."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from wavemem.elman import variable_memories as travel
from wavemem.elman.estimates import persistent_subspace
from wavemem.elman.network import ElmanEnsemble
from wavemem.elman.variable_memories import (
    VariableMemories,
    algorithm_1,
    invariant_subspace,
    kept_entries,
    transient_projector,
    true_histories,
)
from wavemem.streams import stream
from wavemem.theory.basis import random_basis
from wavemem.theory.boundary import phi_in_basis
from wavemem.theory.hds import random_histories, repeat_copy
from wavemem.theory.selection import paper_task
from wavemem.theory.spectrum import reduced_basis

TASKS = ("T1", "T2", "T3", "T4")
S, D, N = 4, 4, 40


def draw(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=stream(seed, "memories"), dtype=torch.float64)


def memories(s: int = 3, d: int = 2, N: int = 11, **changes: object) -> VariableMemories:
    Psi = random_basis(s * d, stream(0, "Psi"), N=N).Psi
    return VariableMemories(**{"Psi": Psi, "keep": torch.arange(s * d), "s": s, "d": d, **changes})


def test_what_is_stored_is_read_and_dropped_entries_are_unknown() -> None:
    keep = torch.tensor([0, 2, 3, 5])
    full = memories()
    some = memories(Psi=full.Psi[:, keep], keep=keep)
    x = draw(7, 3, 2, seed=1)
    torch.testing.assert_close(full.substrate(x.flatten(-2) @ full.Psi.mT), x)
    h = x.flatten(-2)[:, keep] @ some.Psi.mT
    read = some.substrate(h)
    torch.testing.assert_close(read.flatten(-2)[:, keep], x.flatten(-2)[:, keep])
    assert read.isnan().sum() == 7 * 2
    torch.testing.assert_close(some.project(h), h)
    assert torch.equal(kept_entries([0, 2, 3, 5], 3, 2), keep)
    assert (some.N, some.m) == (11, 4)


def test_operators_in_the_basis_are_the_theory() -> None:
    Phi, full = paper_task("T1", 3, 2).Phi(), memories()
    W = full.Psi @ Phi @ full.dual
    for seen in (full.operator(W), full.theory(Phi), full.full_operator(W)):
        torch.testing.assert_close(seen, Phi)
    outside = torch.linalg.qr(full.Psi, mode="complete").Q[:, 6:][:, :2]
    more = memories(complement=outside).full_operator(W)
    torch.testing.assert_close(more[:6, :6], Phi)
    torch.testing.assert_close(more[6:], torch.zeros(2, 8, dtype=torch.float64), atol=1e-12, rtol=0)


def test_true_histories_of_both_phases() -> None:
    task, u = repeat_copy(3, 1), torch.tensor([[1.0], [2.0], [3.0]])
    held = true_histories(task, u, 5)[..., 0]
    assert held.tolist() == [[0, 0, 1], [0, 1, 2], [1, 2, 3], [2, 3, 1], [3, 1, 2]]
    assert true_histories(task, u, 2).shape == (2, 3, 1)


def mixed() -> Tensor:
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
    nothing, everything = transient_projector(W, 0.0), transient_projector(0.5 * W, 1.0)
    torch.testing.assert_close(nothing, torch.eye(7, dtype=torch.float64))
    torch.testing.assert_close(everything, 0 * nothing, atol=1e-12, rtol=0)


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


def test_persistent_subspace_keeps_pairs_together_and_finds_the_waves_of_phi() -> None:
    assert [persistent_subspace(mixed(), size).shape[1] for size in (1, 3, 99)] == [2, 3, 7]
    Phi = paper_task("T2", 4, 3).Phi()
    V = persistent_subspace(Phi, 9)
    torch.testing.assert_close(V @ (V.mT @ Phi @ V), Phi @ V, atol=1e-9, rtol=1e-9)


def designed(name: str) -> tuple[Tensor, Tensor]:
    """Recurrent weights and readout of a memory in an orthonormal basis."""
    basis = random_basis(S * D, stream(0, "travel"), "orthogonal", N=N)
    return phi_in_basis(paper_task(name, S, D).Phi(), basis), basis.dual_block(S - 1, D)


def untrained(seed: int = 0) -> tuple[Tensor, Tensor]:
    fresh = ElmanEnsemble.initialise([seed], N, D, dtype=torch.float64)
    return fresh.W_hh[0].detach(), fresh.W_r[0].detach()


def memories_of(name: str, weights: tuple[Tensor, Tensor], **options: object) -> VariableMemories:
    return algorithm_1(*weights, S, reduced_basis(paper_task(name, S, D).Phi()).keep, **options)


def test_algorithm_1_normalises_removes_transients_and_appends_what_is_left_of_the_states() -> None:
    whole = random_basis(N, stream(1, "Psi")).Psi
    dual = torch.linalg.inv(whole)[: S * D]
    W, W_r = whole[:, : S * D] @ paper_task("T1", S, D).Phi() @ dual, dual[-D:]
    torch.testing.assert_close(algorithm_1(W, W_r, S).Psi.norm(dim=0), torch.ones(S * D, dtype=torch.float64))
    plain, spectral, orthogonal = (
        algorithm_1(W, W_r, S, alpha=alpha, projection=projection, normalise=False).Psi
        for alpha, projection in ((0.0, "spectral"), (0.5, "spectral"), (0.5, "orthogonal"))
    )
    # Powers of this W_hh lie in the waves' span at once: there is nothing to remove, and column s is left as it is.
    torch.testing.assert_close(spectral, plain)
    assert float((orthogonal - plain).norm()) > 0.01
    states = draw(60, N, seed=4)
    found = algorithm_1(W, W_r, S, states=states, components=10).complement
    assert found.shape == (N, 10)
    rest = states - algorithm_1(W, W_r, S).project(states)
    leading = torch.linalg.svd(rest, full_matrices=False).Vh[:10]
    torch.testing.assert_close((leading @ found).abs(), torch.eye(10, dtype=torch.float64), atol=1e-6, rtol=0)
    assert algorithm_1(W, W_r, S, states=states, components=0).complement is None


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_inherited_columns_show_a_shift_whatever_the_network(name: str, seed: int) -> None:
    W, W_r = untrained(seed)
    found = memories_of(name, (W, W_r))
    operator, keep, free = found.operator(W), found.keep.tolist(), []
    for column, entry in enumerate(keep):
        if entry - D not in keep:
            free.append(entry)
            continue
        rest = operator[:, column].clone()
        assert rest[keep.index(entry - D)] > 0
        rest[keep.index(entry - D)] = 0.0
        assert rest.abs().max() < 1e-9
    # The free ones are the entries that the task reads.
    assert free == (paper_task(name, S, D).F != 0).any(0).nonzero().flatten().tolist()


@pytest.mark.parametrize("name", TASKS)
def test_free_columns_tell_a_memory_from_any_other_network(name: str) -> None:
    Phi = paper_task(name, S, D).Phi()
    own = travel.operator_share(memories_of(name, designed(name)), designed(name)[0], Phi)
    other = travel.operator_share(memories_of(name, untrained()), untrained()[0], Phi)
    assert own.all == pytest.approx(1.0)
    assert own.free == pytest.approx(1.0)
    assert own.inherited == pytest.approx(other.inherited) == pytest.approx(1.0)
    assert other.free < 0.3
    assert other.all > 0.5, "the built-in part alone makes a network that learned nothing look right"
    oldest = VariableMemories(torch.eye(N, dtype=torch.float64)[:, :D], torch.arange(D), S, D)
    assert math.isnan(travel.operator_share(oldest, torch.eye(N, dtype=torch.float64), Phi).inherited)


def test_agreement() -> None:
    truth, other = draw(200, 3, seed=0), draw(200, seed=1)
    content = torch.stack([3 * truth[:, 0] + 1, -truth[:, 1], other], dim=1)
    found = travel.agreement(content.reshape(10, 20, 3), truth.reshape(10, 20, 3))
    assert found[:2].tolist() == pytest.approx([1.0, -1.0])
    assert abs(float(found[2])) < 0.2
    assert math.isnan(float(travel.agreement(content, torch.zeros_like(truth))[0]))


def test_step_correlation_of_a_wave_of_a_reversed_one_and_with_dropped_entries() -> None:
    task = paper_task("T1", S, D)
    content = true_histories(task, random_histories(256, S, D, stream(0, "u"), torch.float64), 24)[S:]
    along, against = travel.step_correlation(content)
    assert along == pytest.approx(1.0)
    assert abs(against) < 0.1
    assert travel.step_correlation(content.flip(-2)) == pytest.approx((against, along))
    content = content.clone()
    content[..., 0, 1:] = float("nan")
    assert travel.step_correlation(content)[0] == pytest.approx(1.0)


def test_line_share() -> None:
    generator = np.random.default_rng(0)
    positions, time = 8, 32
    ring = torch.from_numpy(generator.standard_normal((16, positions)))
    wave = torch.stack([ring.roll(-t, dims=1) for t in range(time)])
    assert travel.line_share(wave) == pytest.approx(1.0)
    assert travel.line_share(wave.flip(-1)) < 0.5
    noise = torch.from_numpy(generator.standard_normal((time, 200, positions)))
    assert travel.line_share(noise) == pytest.approx(1 / time, abs=0.01)
    assert math.isnan(travel.line_share(torch.ones(8, 2, 4)))


def test_standardised() -> None:
    reference = draw(50, 40, S, D, seed=0) * torch.arange(1.0, S * D + 1).reshape(S, D)
    reference[..., 0, 0] = 5.0
    reference[..., 0, 1] = float("nan")
    shown = travel.standardised(reference[:, 0], reference)
    assert shown[..., 0, 0].unique().tolist() == [5.0], "what never varies is left as it is"
    assert bool(torch.isnan(shown[..., 0, 1]).all())
    spread = travel.standardised(reference, reference).std(dim=(0, 1))
    torch.testing.assert_close(spread[1:], torch.ones(S - 1, D, dtype=torch.float64), rtol=1e-2, atol=0)


W, R = torch.eye(6, dtype=torch.float64), torch.ones(2, 6, dtype=torch.float64)
CONTENT = torch.zeros(5, 4, 3, 2)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: memories(keep=torch.tensor([0, 1])), "Psi"),
        (lambda: memories(keep=torch.tensor([0, 1, 2, 3, 5, 4])), "increasing"),
        (lambda: memories(keep=torch.tensor([0, 1, 2, 3, 4, 6])), r"s\*d - 1 = 5"),
        (lambda: memories(Psi=torch.full((11, 6), math.nan)), "NaN"),
        (lambda: memories(complement=torch.zeros(12, 2)), "complement"),
        (lambda: VariableMemories(torch.eye(6), torch.arange(6), 0, 2), "s = 0"),
        (lambda: memories().coordinates(torch.zeros(4, 12)), "h has shape"),
        (lambda: memories().operator(torch.zeros(4, 4)), "W has shape"),
        (lambda: memories().theory(torch.zeros(4, 4)), "Phi has shape"),
        (lambda: memories().scaled(torch.zeros(6)), "other than 0"),
        (lambda: kept_entries([], 2, 3), "at least one"),
        (lambda: true_histories(repeat_copy(3, 1), torch.zeros(3, 1), 0), "steps"),
        (lambda: transient_projector(torch.zeros(2, 3), 0.5), "W has shape"),
        (lambda: transient_projector(W, 1.5), "alpha"),
        (lambda: transient_projector(W, 0.5, "sideways"), "projection"),
        (lambda: invariant_subspace(W * math.inf, lambda value: True), "infinite"),
        (lambda: algorithm_1(W, R, 0), "s = 0"),
        (lambda: algorithm_1(W, R[:, 1:], 2), "W_r has shape"),
        (lambda: algorithm_1(W * math.nan, R, 2), "NaN"),
        (lambda: algorithm_1(W, R, 2, alpha=2.0), "alpha"),
        (lambda: algorithm_1(W, R, 2, keep=[9]), "keep"),
        (lambda: algorithm_1(torch.zeros_like(W), R, 2), "length 0"),
        (lambda: travel.agreement(CONTENT, CONTENT[:2]), "truth"),
        (lambda: travel.step_correlation(CONTENT[:1]), "two steps"),
        (lambda: travel.line_share(torch.zeros(9, 3, 4)), "multiple"),
        (lambda: travel.line_share(torch.full((8, 3, 4), math.nan)), "multiple"),
        (lambda: travel.standardised(CONTENT[:, 0], CONTENT[..., :2, :]), "reference"),
        (lambda: travel.standardised(CONTENT[:, 0], CONTENT, skip=5), "skip"),
    ],
)
def test_bad_input_is_explained(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
