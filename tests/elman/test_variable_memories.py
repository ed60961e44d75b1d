"""Estimates of the variable memories: what they return, what they need, what they refuse."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from wavemem.elman.variable_memories import (
    algorithm_1,
    corrected_power_iteration,
    intertwined_memories,
    regressed_memories,
    true_histories,
    with_transients,
)
from wavemem.theory.basis import random_basis
from wavemem.theory.hds import HDS, elman_inputs, random_histories, repeat_copy
from wavemem.theory.selection import paper_task
from wavemem.theory.spectrum import reduced_basis

S, D, N = 4, 2, 24


def gen(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def linear_network(task_name: str = "T1") -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Ψ, W_hh, W_uh, W_r; the inputs also excite directions outside the waves, which die out at once."""
    task = paper_task(task_name, S, D)
    whole = random_basis(N, gen(1), "gaussian").Psi
    Psi, outside = whole[:, : S * D], whole[:, S * D : S * D + D]
    dual = torch.linalg.inv(whole)[: S * D]
    return Psi, Psi @ task.Phi() @ dual, Psi[:, -D:] + outside, dual[-D:]


def run(W_hh: Tensor, W_uh: Tensor, x: Tensor) -> Tensor:
    h, states = x.new_zeros(*x.shape[1:-1], W_hh.shape[0]), []
    for u in x:
        h = h @ W_hh.mT + u @ W_uh.mT
        states.append(h)
    return torch.stack(states)


def test_true_histories_of_both_phases() -> None:
    task = repeat_copy(3, 1)
    u = torch.tensor([[1.0], [2.0], [3.0]])
    held = true_histories(task, u, 5)[..., 0]
    assert held.tolist() == [[0, 0, 1], [0, 1, 2], [1, 2, 3], [2, 3, 1], [3, 1, 2]]
    acted = true_histories(task, u, 5, boundary_acts=True)[..., 0]
    assert torch.equal(held, acted)
    assert true_histories(task, u, 2).shape == (2, 3, 1)
    with pytest.raises(ValueError, match="LinearHDS"):
        true_histories(HDS(3, 1, lambda h: h[..., 0, :]), u, 5, boundary_acts=True)
    with pytest.raises(ValueError, match="steps"):
        true_histories(task, u, 0)


def test_regression_recovers_the_vectors_and_their_transient() -> None:
    Psi, W_hh, W_uh, _ = linear_network()
    task = paper_task("T1", S, D)
    u = random_histories(40, S, D, gen(2), dtype=torch.float64)
    x = elman_inputs(u, 6)
    states, held = run(W_hh, W_uh, x), true_histories(task, u, S + 6)
    found = regressed_memories(states[S:], held[S:])
    torch.testing.assert_close(found.Psi, Psi)
    shielded = with_transients(found, states, held, x)
    torch.testing.assert_close(shielded.Psi, Psi)
    torch.testing.assert_close(shielded.transient, W_uh - Psi[:, -D:])
    torch.testing.assert_close(shielded.substrate(states), held)
    assert (
        float((found.substrate(states) - held)[:S].abs().max()) > 0.1
    )  # the plain reading is fooled while inputs come


def test_regression_needs_entries_that_vary_and_says_so() -> None:
    task = paper_task("T2", S, D)
    u = random_histories(40, S, D, gen(2), dtype=torch.float64)
    held = true_histories(task, u, S + 9)[S:]
    states = held.flatten(-2) @ linear_network("T2")[0].mT
    with pytest.raises(ValueError, match=r"reduced_basis\(Phi\)"):
        regressed_memories(states, held)
    keep = reduced_basis(task.Phi()).keep
    assert regressed_memories(states, held, keep).m == len(keep)
    assert regressed_memories(states, held, ridge=1e-6).m == S * D
    with pytest.raises(ValueError, match="states"):
        regressed_memories(states[1:], held)


def test_complement_is_what_is_left_of_the_states() -> None:
    _, W_hh, W_uh, W_r = linear_network()
    u = random_histories(40, S, D, gen(2), dtype=torch.float64)
    states = run(W_hh, W_uh, elman_inputs(u, 6))
    found = algorithm_1(W_hh, W_r, S, states=states, components=10)
    assert found.complement is not None
    assert 0 < found.complement.shape[1] <= 10
    torch.testing.assert_close(
        found.complement.mT @ found.Psi,
        torch.zeros(found.complement.shape[1], S * D, dtype=torch.float64),
        atol=1e-8,
        rtol=0,
    )
    assert algorithm_1(W_hh, W_r, S, states=states, components=0).complement is None
    assert (
        regressed_memories(states, true_histories(paper_task("T1", S, D), u, S + 6), complement=False).complement
        is None
    )


def test_normalised_columns_have_length_one_and_alpha_removes_transients() -> None:
    _, W_hh, _, W_r = linear_network()
    found = algorithm_1(W_hh, W_r, S)
    torch.testing.assert_close(found.Psi.norm(dim=0), torch.ones(S * D, dtype=torch.float64))
    cleaned = algorithm_1(W_hh, W_r, S, alpha=0.5, projection="spectral", normalise=False)
    plain = algorithm_1(W_hh, W_r, S, normalise=False)
    # Powers of this W_hh lie in the waves' span at once: there is nothing to remove, and column s is left as it is.
    torch.testing.assert_close(cleaned.Psi, plain.Psi)
    fewer = algorithm_1(W_hh, W_r, S, alpha=0.5, projection="orthogonal", normalise=False)
    assert float((fewer.Psi - plain.Psi).norm()) > 0.01


def test_corrected_powers_without_a_boundary_on_kept_entries_are_the_powers() -> None:
    """On the entries that a selection task keeps there is nothing to correct: the boundary is not pollution's source there."""
    task = paper_task("T3", 4, 4)
    keep = reduced_basis(task.Phi()).keep
    W_hh, W_r = torch.randn(30, 30, generator=gen(3), dtype=torch.float64) / 6, torch.randn(4, 30, generator=gen(4))
    powers = algorithm_1(W_hh, W_r, 4, keep, normalise=False)
    torch.testing.assert_close(corrected_power_iteration(W_hh, W_r, task.F, keep).Psi, powers.Psi)
    unit = corrected_power_iteration(W_hh, W_r, task.F, keep, normalise=True)
    torch.testing.assert_close(unit.Psi, algorithm_1(W_hh, W_r, 4, keep).Psi)


def test_future_outputs_ignore_decaying_directions_and_need_entries_that_reach_the_output() -> None:
    Psi, W_hh, _, W_r = linear_network()
    task = paper_task("T1", S, D)
    noise = torch.randn(N, N, generator=gen(5), dtype=torch.float64)
    outside = torch.eye(N, dtype=torch.float64) - Psi @ torch.linalg.pinv(Psi)
    decaying = W_hh + 0.05 * outside @ noise @ outside
    found = intertwined_memories(decaying, W_r, task.Phi())
    torch.testing.assert_close(decaying @ found.Psi, found.Psi @ task.Phi(), atol=1e-6, rtol=1e-6)
    with pytest.raises(ValueError, match="tell all apart"):
        intertwined_memories(W_hh, W_r, paper_task("T2", S, D).Phi())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda W, R: algorithm_1(W, R, 0), "s = 0"),
        (lambda W, R: algorithm_1(W, R[:, 1:], 2), "W_hh has shape"),
        (lambda W, R: algorithm_1(W * float("nan"), R, 2), "NaN"),
        (lambda W, R: algorithm_1(W, R, 2, alpha=2.0), "alpha"),
        (lambda W, R: algorithm_1(W, R, 2, keep=[9]), "keep"),
        (lambda W, R: algorithm_1(torch.zeros_like(W), R, 2), "length 0"),
        (lambda W, R: corrected_power_iteration(W, R, torch.zeros(3, 6)), "F has shape"),
        (lambda W, R: corrected_power_iteration(W, R, torch.zeros(2, 6), newest=R), "newest"),
        (lambda W, R: intertwined_memories(W, R, torch.eye(5)), "Phi of side 5"),
    ],
)
def test_bad_arguments(call, message: str) -> None:
    W, R = torch.eye(6, dtype=torch.float64), torch.ones(2, 6, dtype=torch.float64)
    with pytest.raises(ValueError, match=message):
        call(W, R)


def test_transients_that_do_not_fit_are_refused() -> None:
    _, W_hh, W_uh, _ = linear_network()
    u = random_histories(9, S, D, gen(2), dtype=torch.float64)
    x = elman_inputs(u, 6)
    states, held = run(W_hh, W_uh, x), true_histories(paper_task("T1", S, D), u, S + 6)
    found = regressed_memories(states[S:], held[S:])
    for ages, message in ((0, "ages"), (S + 1, "1 to s")):
        with pytest.raises(ValueError, match=message):
            with_transients(found, states, held, x, ages)
    assert with_transients(found, states, held, x, S).transient.shape == (N, S * D)
