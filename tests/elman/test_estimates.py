"""Estimates of the variable memories and how they are judged: the right ones are perfect, others are measured as they are."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from wavemem.elman.estimates import (
    calibrated,
    corrected_power_iteration,
    decoded_past,
    describing_gains,
    explained_variance,
    intertwined_memories,
    operator_error,
    persistent_subspace,
    pollution,
    regressed_memories,
    with_transients,
    written_by_inputs_and_boundary,
)
from wavemem.elman.variable_memories import VariableMemories, true_histories
from wavemem.theory.basis import random_basis
from wavemem.theory.hds import HDS, elman_inputs, random_histories, repeat_copy
from wavemem.theory.selection import paper_task
from wavemem.theory.spectrum import reduced_basis

S, D, N = 4, 2, 24


def gen(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def linear_network(task_name: str = "T1") -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Ψ, W_hh, W_uh, W_r; the inputs also excite directions outside the waves, which die out at once."""
    whole = random_basis(N, gen(1)).Psi
    Psi, outside = whole[:, : S * D], whole[:, S * D : S * D + D]
    dual = torch.linalg.inv(whole)[: S * D]
    return Psi, Psi @ paper_task(task_name, S, D).Phi() @ dual, Psi[:, -D:] + outside, dual[-D:]


def episodes() -> tuple[Tensor, Tensor, Tensor]:
    """States of this network on T1, what its substrate should hold, and its inputs, time first."""
    _, W_hh, W_uh, _ = linear_network()
    u = random_histories(40, S, D, gen(2), dtype=torch.float64)
    x = elman_inputs(u, 6)
    h, states = x.new_zeros(40, N), []
    for now in x:
        h = h @ W_hh.mT + now @ W_uh.mT
        states.append(h)
    return torch.stack(states), true_histories(paper_task("T1", S, D), u, S + 6), x


def setting(s: int = 3, N: int = 12) -> tuple[VariableMemories, Tensor, Tensor]:
    """Memories, the states of the waves alone, and what they hold, for repeat copy."""
    Psi = random_basis(s * D, gen(0), N=N).Psi
    u = random_histories(20, s, D, gen(1), dtype=torch.float64)
    held = true_histories(repeat_copy(s, D), u, 8)
    return VariableMemories(Psi, torch.arange(s * D), s, D), held.flatten(-2) @ Psi.mT, held


def test_regression_recovers_the_vectors_and_their_transient() -> None:
    Psi, _, W_uh, _ = linear_network()
    states, held, x = episodes()
    found = regressed_memories(states[S:], held[S:])
    torch.testing.assert_close(found.Psi, Psi)
    shielded = with_transients(found, states, held, x)
    torch.testing.assert_close(shielded.Psi, Psi)
    torch.testing.assert_close(shielded.transient, W_uh - Psi[:, -D:])
    torch.testing.assert_close(shielded.substrate(states), held)
    torch.testing.assert_close(shielded.dual @ shielded.Psi, torch.eye(S * D, dtype=torch.float64))
    # The plain reading is fooled while inputs come.
    assert float((found.substrate(states) - held)[:S].abs().max()) > 0.1
    assert with_transients(found, states, held, x, S).transient.shape == (N, S * D)
    task = paper_task("T2", S, D)
    keep = reduced_basis(task.Phi()).keep
    held = true_histories(task, x[:S].movedim(0, 1), S + 9)[S:]
    assert regressed_memories(held.flatten(-2) @ Psi.mT, held, keep).m == len(keep)
    with pytest.raises(ValueError, match=r"reduced_basis\(Phi\)"):  # entries that do not vary independently
        regressed_memories(held.flatten(-2) @ Psi.mT, held)


def test_future_outputs_ignore_decaying_directions() -> None:
    Psi, W_hh, _, W_r = linear_network()
    Phi = paper_task("T1", S, D).Phi()
    noise = torch.randn(N, N, generator=gen(5), dtype=torch.float64)
    outside = torch.eye(N, dtype=torch.float64) - Psi @ torch.linalg.pinv(Psi)
    decaying = W_hh + 0.05 * outside @ noise @ outside
    found = intertwined_memories(decaying, W_r, Phi)
    torch.testing.assert_close(decaying @ found.Psi, found.Psi @ Phi, atol=1e-6, rtol=1e-6)


@given(gain=st.floats(0.1, 10), seed=st.integers(0, 100))
@settings(max_examples=20, deadline=None)
def test_operator_error_with_free_gains(gain: float, seed: int) -> None:
    Phi = repeat_copy(S, D).Phi()
    gains = torch.rand(S * D, generator=gen(seed), dtype=torch.float64) + 0.5
    assert operator_error(Phi, Phi) == 0
    assert math.isclose(operator_error(gain * Phi, Phi), abs(gain - 1), abs_tol=1e-12)
    assert operator_error(gain * Phi, Phi, "global") < 1e-12
    assert operator_error(Phi * gains, Phi, "columns") < 1e-12
    A = Phi + torch.randn(Phi.shape, generator=gen(seed), dtype=torch.float64)
    none, one, many = (operator_error(A, Phi, scaling) for scaling in ("none", "global", "columns"))
    assert many <= one + 1e-12 <= none + 2e-12
    assert one <= 1 + 1e-12
    assert operator_error(torch.zeros_like(Phi), Phi, "columns") == 1


def test_states_of_the_waves_are_explained_and_read_without_error() -> None:
    memories, states, held = setting()
    assert math.isclose(explained_variance(memories, states), 1.0)
    read = decoded_past(memories, states, held)
    assert read.signs == 1
    assert read.error < 1e-20
    assert read.error_by_step.shape == (8,)
    half = decoded_past(memories, 0.5 * states[3:], held[3:])
    assert half.signs == 1
    assert math.isclose(half.error, 0.25)
    assert decoded_past(memories, -states, held).signs == 0
    # Column 1 reads one too much, filled or not: unfilled entries count in the error but have no sign.
    wrong = decoded_past(memories, (states + memories.Psi[:, 0])[:1], held[:1])
    assert math.isclose(wrong.error, 1 / 6)
    assert wrong.signs == 1
    keep = torch.tensor([2, 3, 4, 5])
    some = VariableMemories(memories.Psi[:, keep], keep, 3, D)
    assert decoded_past(some, held.flatten(-2)[..., keep] @ some.Psi.mT, held).error < 1e-20


def test_transient_directions_can_be_counted_in() -> None:
    memories, states, _ = setting()
    B = torch.randn(12, 2, generator=gen(4), dtype=torch.float64)
    moved = states + torch.randn(*states.shape[:-1], 2, generator=gen(5)).double() @ B.mT
    shielded = VariableMemories(memories.Psi, memories.keep, 3, D, transient=B)
    assert explained_variance(shielded, moved) < 0.999
    assert math.isclose(explained_variance(shielded, moved, transient=True), 1.0)


def test_calibration_finds_the_unit() -> None:
    memories, states, held = setting()
    other = memories.scaled(torch.full((6,), 0.2, dtype=torch.float64))
    assert decoded_past(other, states, held).error > 1
    assert decoded_past(calibrated(other, states, held), states, held).error < 1e-20
    uneven = memories.scaled(torch.linspace(0.2, 3, 6, dtype=torch.float64))
    assert decoded_past(calibrated(uneven, states, held), states, held).error > 0.1
    assert decoded_past(calibrated(uneven, states, held, by_vector=True), states, held).error < 1e-20


def test_describing_gains_are_one_for_small_and_falling_for_large_signals() -> None:
    generator = gen(6)
    W = torch.linalg.qr(torch.randn(N, N, generator=generator, dtype=torch.float64)).Q
    h = [1e-4 * torch.randn(50, N, generator=generator, dtype=torch.float64)]
    large = [1e4 * h[0]]
    for _ in range(5):
        h.append(torch.tanh(h[-1] @ W.mT))
        large.append(torch.tanh(3 * large[-1] @ W.mT))
    torch.testing.assert_close(describing_gains(W, torch.stack(h)), torch.ones(N, dtype=torch.float64))
    gains = describing_gains(3 * W, torch.stack(large))
    assert 0 < float(gains.min()) < float(gains.max()) < 0.9
    still = describing_gains(torch.zeros(N, N), torch.stack(h))
    torch.testing.assert_close(still, torch.ones(N, dtype=torch.float64))


@pytest.mark.parametrize("acts", [False, True])
def test_inputs_and_boundary_are_told_apart(acts: bool) -> None:
    task = paper_task("T2", 4, 3)
    u = random_histories(60, 4, 3, gen(1), dtype=torch.float64)
    held = true_histories(task, u, 8)
    Psi = random_basis(12, gen(0), N=15).Psi
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
    # Repeat copy has no boundary to tell apart.
    assert all(bool(found.isnan().all()) for found in written_by_inputs_and_boundary(*setting(), repeat_copy(3, D)))


W, R, PHI = torch.eye(6, dtype=torch.float64), torch.ones(2, 6, dtype=torch.float64), repeat_copy(S, D).Phi()


def transients(ages: int) -> VariableMemories:
    states, held, x = episodes()
    return with_transients(regressed_memories(states[S:], held[S:]), states, held, x, ages)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: corrected_power_iteration(W, R, torch.zeros(3, 6)), "F has shape"),
        (lambda: corrected_power_iteration(W, R, torch.zeros(2, 6), newest=R), "newest"),
        (lambda: intertwined_memories(W, R, torch.eye(5)), "multiple of its height"),
        (lambda: intertwined_memories(W, R * math.nan, torch.eye(6)), "NaN"),
        (lambda: intertwined_memories(W, R, paper_task("T2", 3, D).Phi()), "tell all apart"),
        (lambda: persistent_subspace(torch.eye(2), 0), "size"),
        (lambda: regressed_memories(torch.ones(4, N), torch.ones(5, S, D)), "states"),
        (lambda: transients(0), "ages"),
        (lambda: transients(S + 1), "1 to s"),
        (lambda: with_transients(setting(3, 7)[0], W, W, W), "Follow fewer ages"),
        (lambda: operator_error(PHI, 0 * PHI), "Phi = 0"),
        (lambda: operator_error(PHI, PHI, "rows"), "scaling"),
        (lambda: explained_variance(setting()[0], torch.zeros(3, 12)), "all 0"),
        (lambda: describing_gains(W, W[:1]), "steps"),
        (
            lambda: written_by_inputs_and_boundary(setting()[0], *(x[:3] for x in setting()[1:]), repeat_copy(3, D)),
            "2s - 1",
        ),
        (lambda: pollution(HDS(3, 1, lambda h: h[..., 0, :])), "LinearHDS"),
    ],
)
def test_bad_input_is_explained(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
