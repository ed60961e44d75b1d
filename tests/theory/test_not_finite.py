"""What is handed to LAPACK is finite, or refused by name: LAPACK itself crashes the process or never returns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from wavemem.elman import compression, estimates, variable_memories
from wavemem.ssm import register_span, shift_register
from wavemem.theory import basis, gradients, spectrum
from wavemem.wave_rnn import adding_task, linear_waves, onsets, ring

DRAW = torch.randn(8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

CALLS: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
    "eigenvalues": (spectrum.eigenvalues, (DRAW,)),
    "persistent_subspace": (estimates.persistent_subspace, (DRAW, 2)),
    "ring_eigenvalues": (ring.ring_eigenvalues, (DRAW[:6, :6].reshape(2, 6, 3)[:, :2], 5)),
    "ring_eigenvalues, one channel": (ring.ring_eigenvalues, (DRAW[0, :3], 5)),
    "surviving_power": (ring.surviving_power, (DRAW[0, :3], 5, 2)),
    "modes": (linear_waves.modes, (DRAW[:6, :6].reshape(2, 6, 3)[:, :2], 5)),
    "input_memory, u": (lambda u: linear_waves.input_memory(u, torch.ones(8, 1), 3), (DRAW[:1, :3][None],)),
    "input_memory, V": (lambda V: linear_waves.input_memory(torch.eye(3)[None, 2:], V, 3), (DRAW,)),
    "memory_of_states": (linear_waves.memory_of_states, (DRAW, DRAW)),
    "memory_of_states, history": (lambda x: linear_waves.memory_of_states(DRAW, x), (DRAW,)),
    "StateSpace": (lambda A: shift_register.StateSpace(A, DRAW[0], DRAW[1]), (DRAW,)),
    "StateSpace, C": (lambda C: shift_register.StateSpace(DRAW, DRAW[0], C), (DRAW[1],)),
    "resolvent_norm": (shift_register.resolvent_norm, (DRAW, torch.zeros(1, dtype=torch.complex128))),
    "directions": (adding_task.directions, (DRAW,)),
    "linear_recall": (compression.linear_recall, (DRAW[:, :3], DRAW[:, 3:6])),
    "Basis": (basis.Basis, (DRAW,)),
    "times_told_apart": (onsets.times_told_apart, (DRAW[None],)),
    "step_norms": (lambda W: gradients.step_norms(W, torch.ones(1, 1, 8)), (DRAW.float(),)),
    "memory_by_age": (register_span.memory_by_age, (DRAW,)),
    "principal memories": (variable_memories.algorithm_1, (DRAW, DRAW[:2], 2)),
}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_not_finite_is_refused(name: str, bad: float) -> None:
    call, (first, *rest) = CALLS[name]
    broken = first.clone(memory_format=torch.contiguous_format)
    broken.view(-1)[-1] = bad
    with pytest.raises(ValueError, match=r"NaN or infinite.*allowed: finite"):
        call(broken, *rest)
