"""Task skeleton: what a batch holds, and that it can be learned."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from wavemem.streams import stream
from wavemem.training.fit import FitConfig, fit
from wavemem.wave_rnn.skeleton import SkeletonTask, skeleton_loss


@pytest.mark.parametrize("T", [1, 2, 7])
def test_the_answer_is_the_first_number(T: int) -> None:
    inputs, targets = SkeletonTask(T).batch(5, stream(0, "data"))
    assert inputs.shape == (T, 5, 1)
    assert inputs.dtype == targets.dtype == torch.float32
    assert torch.equal(targets, inputs[0, :, 0])


def test_a_batch_depends_on_the_state_of_its_generator_alone() -> None:
    task, generator = SkeletonTask(4), stream(0, "data")
    first, second = (task.batch(3, generator).inputs for _ in range(2))
    assert torch.equal(first, task.batch(3, stream(0, "data")).inputs)
    assert not torch.equal(first, second)


def test_errors_are_per_run() -> None:
    targets = torch.tensor([1.0, 0.5])
    outputs = torch.tensor([[[1.0], [0.5]], [[2.0], [0.5]]])
    assert skeleton_loss(outputs, targets).tolist() == [0.0, 0.5]
    assert skeleton_loss(outputs, targets.expand(2, 2)).tolist() == [0.0, 0.5]


def test_it_is_learned() -> None:
    """Here by a weight for each step; put a network in its place."""
    task, data = SkeletonTask(3), stream(0, "data")

    def loss(parameters: dict[str, Tensor], done: int) -> Tensor:
        inputs, targets = task.batch(16, data)
        return skeleton_loss(torch.einsum("kt,tbd->kbd", parameters["w"], inputs), targets)

    log = fit({"w": torch.zeros(2, 3)}, loss, FitConfig(60, lr=0.05), progress=False).log
    before, after = (log[log["iteration"] == update]["loss"].max() for update in (1, 60))
    assert after < 0.1 * before


@pytest.mark.parametrize("wrong", [0, -1, 2.5, True])
def test_bad_sizes(wrong: int) -> None:
    with pytest.raises(ValueError, match=r"T = .*; allowed: a whole number, 1 or larger"):
        SkeletonTask(wrong)
    with pytest.raises(ValueError, match=r"size = .*; allowed: a whole number, 1 or larger"):
        SkeletonTask(2).batch(wrong, stream(0, "data"))


def test_answers_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="outputs has shape"):
        skeleton_loss(torch.zeros(2, 3), torch.zeros(3))
    with pytest.raises(ValueError, match="targets has shape"):
        skeleton_loss(torch.zeros(2, 3, 1), torch.zeros(4))
