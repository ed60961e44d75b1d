"""Episodes: what a network is shown, when, and how its outputs are scored."""

from __future__ import annotations

import pytest
import torch

from wavemem.theory.episodes import accuracy, elman_inputs, phases, random_histories


def test_histories_are_binary_balanced_and_repeatable() -> None:
    u = random_histories(500, 4, 5, torch.Generator().manual_seed(3))
    assert u.shape == (500, 4, 5)
    assert u.dtype == torch.float32
    assert set(u.unique().tolist()) == {-1.0, 1.0}
    assert abs(float(u.mean())) < 0.05
    assert torch.equal(u, random_histories(500, 4, 5, torch.Generator().manual_seed(3)))
    double = random_histories(500, 4, 5, torch.Generator().manual_seed(3), dtype=torch.float64)
    assert torch.equal(u.double(), double)


def test_inputs_show_the_oldest_vector_first_and_then_nothing() -> None:
    u = random_histories(6, 3, 2, torch.Generator().manual_seed(0))
    shown = elman_inputs(u, 4)
    assert shown.shape == (7, 6, 2)
    for t in range(3):
        assert torch.equal(shown[t], u[:, t])
    assert not shown[3:].any()


def test_inputs_keep_all_other_axes() -> None:
    u = random_histories(6, 3, 2, torch.Generator().manual_seed(0)).unflatten(0, (2, 3))
    assert torch.equal(elman_inputs(u, 1)[1], u[:, :, 1])


def test_phases_cut_time_into_two() -> None:
    p = phases(8, 20)
    steps = list(range(p.length))
    assert steps[p.input] == list(range(8))
    assert steps[p.output] == list(range(8, 28))


def test_accuracy_counts_right_signs_and_zero_as_a_guess() -> None:
    target = torch.tensor([[1.0, -1.0], [1.0, -1.0]])
    y = torch.tensor([[0.1, -3.0], [0.0, 2.0]])
    assert float(accuracy(y, target)) == 0.625
    assert accuracy(y, target, per=0).tolist() == [1.0, 0.25]
    assert accuracy(y, target, per=-1).tolist() == [0.75, 0.5]
    assert float(accuracy(torch.zeros(2, 2), target)) == 0.5  # a network whose weights have decayed away is at chance
    assert not bool(accuracy(torch.full((2, 2), float("nan")), target))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: random_histories(0, 2, 2, torch.Generator()), "batch = 0"),
        (lambda: elman_inputs(torch.zeros(3), 2), "u has shape"),
        (lambda: elman_inputs(torch.zeros(3, 2), 0), "horizon = 0"),
        (lambda: phases(0, 2), "s = 0"),
        (lambda: accuracy(torch.zeros(2), torch.zeros(3)), "same shape"),
        (lambda: accuracy(torch.zeros(2), torch.zeros(2), per=1), "per = 1"),
    ],
)
def test_bad_input_is_explained(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
