"""The adding task: where the markers lie, what the sum is, and what a constant answer costs."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from wavemem.wave_rnn.adding_task import BASELINE_MSE, SOLVED_MSE, AddingTask, adding_loss


@settings(max_examples=25, deadline=None)
@given(T=st.integers(2, 41), seed=st.integers(0, 99))
def test_one_marker_in_each_half_and_the_sum_of_the_two(T: int, seed: int) -> None:
    inputs, targets = AddingTask(T).batch(8, torch.Generator().manual_seed(seed))
    assert inputs.shape == (T, 8, 2)
    assert inputs.dtype == targets.dtype == torch.float32
    numbers, markers = inputs.unbind(-1)
    assert set(markers.unique().tolist()) <= {0.0, 1.0}
    assert torch.equal(markers[: T // 2].sum(0), torch.ones(8))
    assert torch.equal(markers[T // 2 :].sum(0), torch.ones(8))
    assert float(numbers.min()) >= 0
    assert float(numbers.max()) < 1
    torch.testing.assert_close((numbers * markers).sum(0), targets)


def test_every_step_can_be_marked_and_batches_repeat() -> None:
    one = AddingTask(7).batch(600, torch.Generator().manual_seed(0))
    marked = one.inputs[..., 1].sum(1)
    assert marked.min() > 100
    assert float(marked[:3].sum()) == float(marked[3:].sum()) == 600
    assert torch.equal(one.inputs, AddingTask(7).batch(600, torch.Generator().manual_seed(0)).inputs)


def test_a_constant_answer_has_the_variance_of_the_sum() -> None:
    _, targets = AddingTask(10).batch(40_000, torch.Generator().manual_seed(1))
    assert float(adding_loss(torch.ones(40_000, 1), targets)) == pytest.approx(BASELINE_MSE, rel=0.02)
    assert SOLVED_MSE < BASELINE_MSE


def test_errors_are_per_run() -> None:
    targets = torch.tensor([1.0, 0.5])
    outputs = torch.tensor([[[1.0], [0.5]], [[2.0], [0.5]], [[0.0], [1.5]]])
    assert adding_loss(outputs, targets).tolist() == [0.0, 0.5, 1.0]
    assert adding_loss(outputs.squeeze(-1), targets.expand(3, 2)).tolist() == [0.0, 0.5, 1.0]
    assert adding_loss(outputs[1], targets).shape == ()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: AddingTask(1), "T = 1"),
        (lambda: AddingTask(10).batch(0, torch.Generator()), "size = 0"),
        (lambda: adding_loss(torch.zeros(3, 5, 1), torch.zeros(4)), "outputs of shape"),
        (lambda: adding_loss(torch.zeros(3, 5), torch.zeros(2, 5)), "outputs of shape"),
    ],
)
def test_bad_input_is_explained(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
