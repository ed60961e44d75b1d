"""Accuracy step by step: exact memories, empty ones, and independence of the stretches."""

from __future__ import annotations

import pytest
import torch

from wavemem.models.elman import ElmanEnsemble
from wavemem.tasks.hds import repeat_copy
from wavemem.training.ensemble import evaluate
from wavemem.training.generalisation import accuracy_by_step


def exact(s: int, d: int) -> ElmanEnsemble:
    task = repeat_copy(s, d)
    eye = torch.eye(s * d, dtype=torch.float64)
    return ElmanEnsemble(task.Phi()[None], eye[None, :, -d:], eye[None, -d:], activation="linear")


def test_an_exact_memory_is_right_at_every_step() -> None:
    right = accuracy_by_step(exact(3, 2), repeat_copy(3, 2), 50, [0], batch=8, stretch=7)
    assert tuple(right.shape) == (50, 1, 2)
    assert bool((right == 1).all())


def test_an_empty_memory_guesses() -> None:
    empty = ElmanEnsemble(torch.zeros(1, 5, 5), torch.zeros(1, 5, 2), torch.zeros(1, 2, 5))
    assert float(accuracy_by_step(empty, repeat_copy(3, 2), 10, [0], batch=8).mean()) == 0.5


def test_stretches_do_not_matter_and_the_mean_is_evaluates() -> None:
    ensemble = ElmanEnsemble.initialise([3, 4], 12, 2)
    task = repeat_copy(3, 2)
    whole = accuracy_by_step(ensemble, task, 20, [3, 4], batch=512)
    parts = accuracy_by_step(ensemble, task, 20, [3, 4], batch=512, stretch=3)
    torch.testing.assert_close(whole, parts)
    other = evaluate(ensemble, task, 20, batches=8, seeds=[3, 4])
    assert whole.mean((0, 2)).numpy() == pytest.approx(other, abs=0.03)


def test_refusals() -> None:
    with pytest.raises(ValueError, match="one seed per network"):
        accuracy_by_step(exact(3, 2), repeat_copy(3, 2), 10, [0, 1])
    with pytest.raises(ValueError, match="d = 3"):
        accuracy_by_step(exact(3, 2), repeat_copy(3, 3), 10, [0])
    with pytest.raises(ValueError, match="horizon"):
        accuracy_by_step(exact(3, 2), repeat_copy(3, 2), 0, [0])
