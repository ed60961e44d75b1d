"""Judging a basis: the right one is perfect, others are measured as they are."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from wavemem.elman.basis_quality import (
    calibrated,
    decoded_past,
    describing_gains,
    explained_variance,
    operator_error,
    pollution,
    written_by_inputs_and_boundary,
)
from wavemem.elman.variable_memories import VariableMemories, true_histories
from wavemem.theory.basis import random_basis
from wavemem.theory.hds import HDS, random_histories, repeat_copy
from wavemem.theory.selection import paper_task

S, D, N = 3, 2, 12


def setting() -> tuple[VariableMemories, torch.Tensor, torch.Tensor]:
    Psi = random_basis(S * D, torch.Generator().manual_seed(0), "gaussian", N=N).Psi
    u = random_histories(20, S, D, torch.Generator().manual_seed(1), dtype=torch.float64)
    held = true_histories(repeat_copy(S, D), u, 8)
    return VariableMemories(Psi, torch.arange(S * D), S, D), held.flatten(-2) @ Psi.mT, held


@given(gain=st.floats(0.1, 10), seed=st.integers(0, 100))
@settings(max_examples=20, deadline=None)
def test_operator_error_with_free_gains(gain: float, seed: int) -> None:
    Phi = repeat_copy(S, D).Phi()
    gains = torch.rand(S * D, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + 0.5
    assert operator_error(Phi, Phi) == 0
    assert math.isclose(operator_error(gain * Phi, Phi), abs(gain - 1), abs_tol=1e-12)
    assert operator_error(gain * Phi, Phi, "global") < 1e-12
    assert operator_error(Phi * gains, Phi, "columns") < 1e-12
    A = Phi + torch.randn(Phi.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    none, one, many = (operator_error(A, Phi, scaling) for scaling in ("none", "global", "columns"))
    assert many <= one + 1e-12 <= none + 2e-12
    assert one <= 1 + 1e-12
    assert operator_error(torch.zeros_like(Phi), Phi, "columns") == 1
    with pytest.raises(ValueError, match="Phi = 0"):
        operator_error(Phi, 0 * Phi)
    with pytest.raises(ValueError, match="scaling"):
        operator_error(Phi, Phi, "rows")


def test_states_of_the_waves_are_explained_and_read_without_error() -> None:
    memories, states, held = setting()
    assert math.isclose(explained_variance(memories, states), 1.0)
    read = decoded_past(memories, states, held)
    assert read.signs == 1
    assert read.error < 1e-20
    assert read.signs_by_step.shape == read.error_by_step.shape == (8,)
    assert read.error_by_entry.shape == (S, D)
    half = decoded_past(memories, 0.5 * states[S:], held[S:])
    assert half.signs == 1
    assert math.isclose(half.error, 0.25)
    assert decoded_past(memories, -states, held).signs == 0


def test_unfilled_columns_count_in_the_error_but_have_no_sign() -> None:
    memories, states, held = setting()
    wrong = states + memories.Psi[:, 0]  # column 1 reads one too much, filled or not
    read = decoded_past(memories, wrong, held)
    assert math.isclose(float(read.error_by_step[0]), 1 / (S * D))
    assert float(read.signs_by_step[0]) == 1


def test_dropped_entries_are_left_out() -> None:
    memories, _, held = setting()
    keep = torch.tensor([2, 3, 4, 5])
    some = VariableMemories(memories.Psi[:, keep], keep, S, D)
    read = decoded_past(some, held.flatten(-2)[..., keep] @ some.Psi.mT, held)
    assert read.error < 1e-20
    assert int(read.error_by_entry.isnan().sum()) == 2


def test_transient_directions_can_be_counted_in() -> None:
    memories, states, _ = setting()
    B = torch.randn(N, 2, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    moved = states + torch.randn(*states.shape[:-1], 2, generator=torch.Generator().manual_seed(5)).double() @ B.mT
    shielded = VariableMemories(memories.Psi, memories.keep, S, D, transient=B)
    assert explained_variance(shielded, moved) < 0.999
    assert math.isclose(explained_variance(shielded, moved, transient=True), 1.0)
    with pytest.raises(ValueError, match="all 0"):
        explained_variance(memories, 0 * states)


def test_calibration_finds_the_unit() -> None:
    memories, states, held = setting()
    other = memories.scaled(torch.full((S * D,), 0.2, dtype=torch.float64))
    assert decoded_past(other, states, held).error > 1
    assert decoded_past(calibrated(other, states, held), states, held).error < 1e-20
    uneven = memories.scaled(torch.linspace(0.2, 3, S * D, dtype=torch.float64))
    assert decoded_past(calibrated(uneven, states, held), states, held).error > 0.1
    assert decoded_past(calibrated(uneven, states, held, by_vector=True), states, held).error < 1e-20


def test_describing_gains_are_one_for_small_and_falling_for_large_signals() -> None:
    generator = torch.Generator().manual_seed(6)
    W = torch.linalg.qr(torch.randn(N, N, generator=generator, dtype=torch.float64)).Q
    h = [1e-4 * torch.randn(50, N, generator=generator, dtype=torch.float64)]
    for _ in range(5):
        h.append(torch.tanh(h[-1] @ W.mT))
    torch.testing.assert_close(describing_gains(W, torch.stack(h)), torch.ones(N, dtype=torch.float64))
    large = [1e4 * h[0]]
    for _ in range(5):
        large.append(torch.tanh(3 * large[-1] @ W.mT))
    gains = describing_gains(3 * W, torch.stack(large))
    assert 0 < float(gains.min()) < float(gains.max()) < 0.9
    still = describing_gains(torch.zeros(N, N), torch.stack(h))
    torch.testing.assert_close(still, torch.ones(N, dtype=torch.float64))
    with pytest.raises(ValueError, match="steps"):
        describing_gains(W, torch.stack(h[:1]))


@pytest.mark.parametrize("acts", [False, True])
def test_inputs_and_boundary_are_told_apart(acts: bool) -> None:
    task = paper_task("T2", 4, 3)
    u = random_histories(60, 4, 3, torch.Generator().manual_seed(1), dtype=torch.float64)
    held = true_histories(task, u, 8)
    Psi = random_basis(12, torch.Generator().manual_seed(0), "gaussian", N=15).Psi
    states = held.clone()
    # What the boundary makes of the history after step t - 1 is added to what step t wrote, and travels with it.
    for t in range(1, 4):
        for a in range(4) if acts else ():
            states[t + a, :, 3 - a] += 0.5**a * task.next(held[t - 1])
    memories = VariableMemories(Psi, torch.arange(12), 4, 3)
    by_input, by_boundary = written_by_inputs_and_boundary(memories, states.flatten(-2) @ Psi.mT, held, task)
    torch.testing.assert_close(by_input, torch.ones(4, dtype=torch.float64))
    expected = torch.tensor([1.0, 0.5, 0.25, 0.125]) if acts else torch.zeros(4)
    torch.testing.assert_close(by_boundary, expected.double(), atol=1e-9, rtol=1e-9)


def test_repeat_copy_has_no_boundary_to_tell_apart() -> None:
    memories, states, held = setting()
    by_input, by_boundary = written_by_inputs_and_boundary(memories, states, held, repeat_copy(S, D))
    assert bool(by_input.isnan().all())
    assert bool(by_boundary.isnan().all())
    with pytest.raises(ValueError, match="2s - 1"):
        written_by_inputs_and_boundary(memories, states[:3], held[:3], repeat_copy(S, D))


def test_pollution_is_about_linear_systems() -> None:
    with pytest.raises(ValueError, match="LinearHDS"):
        pollution(HDS(2, 1, lambda h: h[..., 0, :]))
