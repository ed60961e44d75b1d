"""TWM Algorithm 1 and Eqs. 43-47: the power iteration in linear networks, what pollutes it, and what the print gets wrong."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from wavemem.elman.estimates import corrected_power_iteration, intertwined_memories, operator_error, pollution
from wavemem.elman.variable_memories import algorithm_1
from wavemem.theory import boundary
from wavemem.theory.basis import random_basis
from wavemem.theory.hds import LinearHDS, generalized_fibonacci, repeat_copy, shift_operator
from wavemem.theory.selection import paper_task, signed_selection
from wavemem.theory.spectrum import reduced_basis

TASKS = ["T1", "T2", "T3", "T4"]


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def network(task: LinearHDS, N: int, seed: int = 0, kind: str = "orthogonal") -> tuple[Tensor, Tensor, Tensor]:
    """Ψ, W_hh = ΨΦΨ* and W_r = Ψ*_s of a linear network that is the theory itself."""
    basis = random_basis(task.s * task.d, generator(seed), kind, N=N)
    return basis.Psi, basis.Psi @ task.Phi() @ basis.dual, basis.dual[-task.d :]


def random_task(seed: int, s: int, d: int) -> LinearHDS:
    return LinearHDS(torch.randn(d, s * d, generator=generator(seed), dtype=torch.float64) / (s * d) ** 0.5)


@pytest.mark.parametrize("name", TASKS)
def test_algorithm_1_finds_the_basis_of_a_linear_network(name: str) -> None:
    """With orthonormal memories, and on the entries that the task needs, the algorithm is exact for all four tasks."""
    task = paper_task(name)
    Psi, W_hh, W_r = network(task, 96)
    keep = reduced_basis(task.Phi()).keep
    found = algorithm_1(W_hh, W_r, task.s, keep)
    torch.testing.assert_close(found.Psi, Psi[:, keep])
    torch.testing.assert_close(found.operator(W_hh), found.theory(task.Phi()))


@pytest.mark.parametrize("name", ["T2", "T3", "T4"])
def test_algorithm_1_pollution_reaches_dropped_entries_only(name: str) -> None:
    task = paper_task(name)
    error = pollution(task)
    keep = reduced_basis(task.Phi()).keep
    assert float(error[:, keep].abs().max()) == 0
    assert float(error.abs().max()) >= 1


def test_algorithm_1_pollutes_kept_entries_where_a_dimension_is_read_twice() -> None:
    """The reduced basis does not save every selection: here dimension 1 is read from column 3 and from column 1."""
    task = signed_selection([0, 4], [1, 1], s=3, d=2)
    assert float(pollution(task).abs().max()) == 1
    twice = signed_selection([0, 4], [1, 1], s=4, d=2)
    keep = reduced_basis(twice.Phi()).keep
    assert float(pollution(twice)[:, keep].abs().max()) >= 1


def test_algorithm_1_with_the_printed_transpose_needs_repeat_copy_and_an_orthonormal_basis() -> None:
    fibonacci = generalized_fibonacci(3, 2)
    for task, kind, right in (
        (repeat_copy(5, 3), "orthogonal", True),
        (repeat_copy(5, 3), "gaussian", False),
        (paper_task("T2", 4, 4), "orthogonal", False),
        (fibonacci, "orthogonal", False),
    ):
        keep = torch.arange(task.s * task.d) if task is fibonacci else reduced_basis(task.Phi()).keep
        Psi, W_hh, W_r = network(task, task.s * task.d, kind=kind)
        printed = algorithm_1(W_hh, W_r, task.s, keep, transposed=True, normalise=False)
        error = float((printed.Psi - Psi[:, keep]).norm() / Psi[:, keep].norm())
        assert (error < 1e-9) == right
    # What powers of the transpose find in every basis are the covectors of repeat copy: W_r W_hh^k reads column k (k >= 1).
    Psi, W_hh, W_r = network(repeat_copy(5, 3), 15, kind="gaussian")
    dual = torch.linalg.inv(Psi)
    for k in range(1, 5):
        read = (torch.linalg.matrix_power(W_hh.mT, k) @ W_r.mT).mT
        torch.testing.assert_close(read, dual[(k - 1) * 3 : k * 3])


def test_algorithm_1_column_s_is_not_the_pseudo_inverse_of_the_readout_in_general() -> None:
    """Eq. 44 sets Ψ_s = W_r†. That holds if column s is at right angles to the others; the error then travels on undiminished."""
    task = repeat_copy(4, 3)
    Psi, W_hh, W_r = network(task, 20, kind="gaussian")
    found = algorithm_1(W_hh, W_r, 4, normalise=False)
    error = (found.Psi - Psi).unflatten(1, (4, 3)).norm(dim=(0, 2)) / Psi.unflatten(1, (4, 3)).norm(dim=(0, 2))
    assert float(error.min()) > 0.1
    assert operator_error(found.operator(W_hh), task.Phi()) < 1e-9  # every commuting change of basis looks like Φ
    right = corrected_power_iteration(W_hh, W_r, task.F, newest=Psi[:, -3:])
    torch.testing.assert_close(right.Psi, Psi)


@given(seed=st.integers(0, 1000), s=st.integers(2, 5), d=st.integers(1, 3))
@settings(max_examples=20, deadline=None)
def test_eq43_eq44_eq45_the_states_of_theory_and_of_the_power_iteration(seed: int, s: int, d: int) -> None:
    """Both start at 0 and agree after one input; after two inputs they differ by Ψ_s F_s u(1)."""
    task = random_task(seed, s, d)
    Psi, W_hh, W_r = network(task, s * d + 2, seed)
    u = torch.randn(s, d, generator=generator(seed + 1), dtype=torch.float64)
    h, theory = torch.zeros_like(u), []
    for x in u[:2]:
        h = boundary.step(h, task.f) + torch.cat([torch.zeros_like(u[1:]), x[None]])
        theory.append(Psi @ h.flatten())  # |h(1)⟩, |h(2)⟩
    newest = torch.linalg.pinv(W_r)
    powers = [newest @ u[0], W_hh @ newest @ u[0] + newest @ u[1]]
    torch.testing.assert_close(theory[0], powers[0])
    torch.testing.assert_close(theory[1], powers[1])  # the states agree: what is called column s - 1 differs
    Psi_by_column = Psi.unflatten(1, (s, d))
    F_newest = task.F[:, -d:]
    named_right = Psi_by_column[:, -2] @ u[0] + Psi_by_column[:, -1] @ (u[1] + F_newest @ u[0])
    torch.testing.assert_close(theory[1], named_right)


@given(seed=st.integers(0, 1000), s=st.integers(3, 5), d=st.integers(1, 3))
@settings(max_examples=20, deadline=None)
def test_eq46_eq47_errors_of_the_second_and_third_memory(seed: int, s: int, d: int) -> None:
    """Counted from the newest: Ψ̃_2 - Ψ_2 = Ψ_1 F_1 and Ψ̃_3 - Ψ_3 = Ψ_2 F_1 + Ψ_1 (F_2 + F_1 F_1)."""
    task = random_task(seed, s, d)
    Psi, W_hh, W_r = network(task, s * d + 1, seed)
    found = algorithm_1(W_hh, W_r, s, normalise=False)
    true, ours = (P.unflatten(1, (s, d)).flip(1).movedim(1, 0) for P in (Psi, found.Psi))  # newest first, as in A.6
    F = task.F.unflatten(1, (s, d)).flip(1).movedim(1, 0)
    torch.testing.assert_close(ours[1] - true[1], true[0] @ F[0])
    torch.testing.assert_close(ours[2] - true[2], true[1] @ F[0] + true[0] @ (F[1] + F[0] @ F[0]))
    # As printed the last bracket holds Φ(0, …, u(2), u(1)), without the term that passes the boundary twice.
    printed = true[1] @ F[0] + true[0] @ F[1]
    assert float((ours[2] - true[2] - printed).norm()) > 1e-6 or float((F[0] @ F[0]).norm()) < 1e-6


@given(seed=st.integers(0, 1000), s=st.integers(1, 5), d=st.integers(1, 3))
@settings(max_examples=20, deadline=None)
def test_eq47_for_every_column_the_pollution_is_the_power_of_phi_minus_the_shift(seed: int, s: int, d: int) -> None:
    task = random_task(seed, s, d)
    Psi, W_hh, W_r = network(task, s * d, seed)
    found = algorithm_1(W_hh, W_r, s, normalise=False)
    torch.testing.assert_close(found.Psi, Psi + Psi @ pollution(task))
    S, E = shift_operator(s, d), torch.eye(s * d, dtype=torch.float64)[:, -d:]
    for k in range(s):
        i = s - 1 - k
        difference = torch.linalg.matrix_power(task.Phi(), k) @ E - torch.linalg.matrix_power(S, k) @ E
        torch.testing.assert_close(pollution(task)[:, i * d : (i + 1) * d], difference)


def test_eq46_fibonacci_second_memory_is_the_sum_of_two_and_repeat_copy_is_clean() -> None:
    assert float(pollution(repeat_copy(6, 2)).abs().max()) == 0
    task = generalized_fibonacci(5, 2)
    coordinates = pollution(task) + torch.eye(10, dtype=torch.float64)
    second = coordinates[:, 6:8].unflatten(0, (5, 2))  # estimate of the second newest column
    torch.testing.assert_close(second[4], torch.eye(2, dtype=torch.float64))
    torch.testing.assert_close(second[3], torch.eye(2, dtype=torch.float64))
    # The weight of the newest column in the k-th estimate doubles from then on: 1, 2, 4, …
    newest = [float(coordinates[8, 2 * i]) for i in (3, 2, 1, 0)]
    assert newest == [1, 2, 4, 8]


@given(seed=st.integers(0, 1000), s=st.integers(2, 5), d=st.integers(1, 3))
@settings(max_examples=20, deadline=None)
def test_corrected_power_iteration_is_exact_for_every_linear_boundary(seed: int, s: int, d: int) -> None:
    task = random_task(seed, s, d)
    Psi, W_hh, W_r = network(task, s * d + 3, seed)
    torch.testing.assert_close(corrected_power_iteration(W_hh, W_r, task.F).Psi, Psi)


@pytest.mark.parametrize("kind", ["orthogonal", "gaussian"])
@pytest.mark.parametrize("task", [generalized_fibonacci(3, 2), repeat_copy(4, 2), random_task(3, 3, 2)])
def test_future_outputs_determine_the_basis_whatever_the_boundary_and_the_angles(task: LinearHDS, kind: str) -> None:
    Psi, W_hh, W_r = network(task, task.s * task.d + 4, kind=kind)
    found = intertwined_memories(W_hh, W_r, task.Phi())
    torch.testing.assert_close(found.Psi, Psi, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", TASKS)
def test_only_repeat_copy_can_be_done_by_a_linear_network(name: str) -> None:
    """A linear network answers an input by its age alone; T2 to T4 ask for the same age differently at different steps."""
    task = paper_task(name, 4, 4)
    horizon = 20
    blocks = task.horizon_operator(horizon).unflatten(0, (horizon, 4)).unflatten(2, (4, 4))  # (step, d, column, d)
    by_age: dict[int, list[Tensor]] = {}
    for step in range(horizon):
        for m in range(4):
            by_age.setdefault(step + 4 - m, []).append(blocks[step, :, m])
    error = sum(float((torch.stack(b) - torch.stack(b).mean(0)).square().sum()) for b in by_age.values())
    assert (error == 0) == (name == "T1")
