"""History-dependent systems and their episodes: stepping, one matrix product, the smallest loss of a linear network, scores."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from wavemem.elman.network import ElmanEnsemble
from wavemem.theory.hds import (
    HDS,
    LinearHDS,
    accuracy,
    elman_inputs,
    generalized_fibonacci,
    linear_floor,
    random_histories,
    repeat_copy,
)
from wavemem.theory.selection import paper_task, signed_selection


@settings(max_examples=40, deadline=None)
@given(s=st.integers(1, 5), d=st.integers(1, 4), horizon=st.integers(1, 12), seed=st.integers(0, 2**31 - 1))
def test_targets_equal_stepping_for_any_linear_system(s: int, d: int, horizon: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    F = torch.randn(d, s * d, generator=generator, dtype=torch.float64) / (s * d)
    system = LinearHDS(F)
    u = torch.randn(3, s, d, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(system.targets(u, horizon), system.rollout(u, horizon), rtol=1e-10, atol=1e-12)
    expected = torch.cat([F @ torch.linalg.matrix_power(system.Phi(), t) for t in range(horizon)])
    torch.testing.assert_close(system.horizon_operator(horizon), expected)


def test_shorter_horizons_after_longer_ones_agree() -> None:
    system = generalized_fibonacci(3, 2)
    u = torch.randn(4, 3, 2, generator=torch.Generator().manual_seed(0))
    long, double = system.targets(u, 9), system.targets(u.double(), 9)
    torch.testing.assert_close(system.targets(u, 4), long[:, :4])
    torch.testing.assert_close(double.float(), long)
    assert double.dtype == torch.float64


def test_any_function_can_be_an_hds() -> None:
    system = HDS(3, 2, lambda h: torch.tanh(h.prod(dim=-2)), name="product")
    u = torch.randn(5, 3, 2, generator=torch.Generator().manual_seed(0))
    x = system.targets(u, 4)
    torch.testing.assert_close(x[:, 1], torch.tanh(u[:, 1] * u[:, 2] * x[:, 0]))
    assert repr(system) == "HDS('product', s=3, d=2)"


def test_a_copy_of_lag_l_is_left_with_one_minus_l_over_s() -> None:
    s = d = 4
    task = paper_task("T2", s, d)  # output j copies dimension j of column j
    floor = linear_floor(task, 1200)
    torch.testing.assert_close(floor, 1 - torch.tensor([4.0, 3.0, 2.0, 1.0]).double() / s, atol=3e-3, rtol=0)
    # The sign of a copy changes nothing, and repeat copy has no floor.
    flipped = signed_selection([0, 5, 10, 15], [-1, 1, -1, -1], s, d)
    torch.testing.assert_close(linear_floor(flipped, 12), linear_floor(task, 12))
    assert (linear_floor(repeat_copy(4, 3), 17) == 0).all()


@pytest.mark.parametrize("task", [paper_task("T3", 3, 2), paper_task("T2", 4, 4), generalized_fibonacci(3, 2)])
def test_the_floor_is_the_least_squares_error_and_a_delay_line_attains_it(task: LinearHDS) -> None:
    s, d, horizon = task.s, task.d, 7
    u = torch.eye(s * d).double().reshape(-1, s, d)  # every unit history once
    y_star = task.targets(u, horizon)
    # The regressors of y(s + m): u(s + m - k), zero outside the input phase.
    past = torch.zeros(s * d, horizon, s + horizon, d).double()
    for m in range(horizon):
        for delay in range(1, s + horizon):
            if 0 <= s + m - delay < s:
                past[:, m, delay] = u[:, s + m - delay]
    x, y = past.reshape(s * d * horizon, -1), y_star.reshape(-1, d)
    R = torch.linalg.pinv(x) @ y
    torch.testing.assert_close(((x @ R - y) ** 2).sum(0) / horizon, linear_floor(task, horizon))

    n = s + horizon
    W_hh = torch.diag(torch.ones((n - 1) * d), d).double()
    W_uh = torch.eye(n * d)[:, -d:].double()
    # Block n - 1 - k of the line holds u(t - k).
    W_r = R.reshape(n, d, d).flip(0).permute(2, 0, 1).reshape(d, n * d)
    line = ElmanEnsemble(W_hh[None], W_uh[None], W_r[None], activation="linear")
    out = line(u.movedim(1, 0)[:, None], steps=s + horizon)[s:, 0].movedim(0, 1)
    torch.testing.assert_close(((out - y_star) ** 2).sum((0, 1)) / horizon, linear_floor(task, horizon))


def test_histories_are_binary_balanced_and_repeatable() -> None:
    u, again = (random_histories(500, 4, 5, torch.Generator().manual_seed(3)) for _ in "ab")
    assert u.shape == (500, 4, 5)
    assert u.dtype == torch.float32
    assert set(u.unique().tolist()) == {-1.0, 1.0}
    assert abs(float(u.mean())) < 0.05
    assert torch.equal(u, again)
    double = random_histories(500, 4, 5, torch.Generator().manual_seed(3), dtype=torch.float64)
    assert torch.equal(u.double(), double)


def test_inputs_show_the_oldest_vector_first_and_then_nothing() -> None:
    u = random_histories(6, 3, 2, torch.Generator().manual_seed(0)).unflatten(0, (2, 3))
    shown = elman_inputs(u, 4)
    assert torch.equal(shown[:3], u.movedim(2, 0))
    assert shown.shape == (7, 2, 3, 2)
    assert not shown[3:].any()


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
        (lambda: HDS(0, 2, torch.sum), "s = 0"),
        (lambda: HDS(2, 2.5, torch.sum), "d = 2.5"),
        (lambda: HDS(2, 2, "sum"), "f = 'sum'"),
        (lambda: LinearHDS(torch.zeros(2, 5)), "multiple of its height"),
        (lambda: LinearHDS(torch.zeros(4)), "F has shape"),
        (lambda: LinearHDS(torch.full((1, 2), float("nan"))), "NaN"),
        (lambda: generalized_fibonacci(2, 0), "d = 0"),
        (lambda: repeat_copy(-1, 2), "s = -1"),
        (lambda: repeat_copy(2, 2).targets(torch.zeros(3, 2), 4), "u has shape"),
        (lambda: repeat_copy(2, 2).targets(torch.zeros(2, 2), 0), "horizon = 0"),
        (lambda: repeat_copy(2, 2).rollout(torch.zeros(2, 2), 0), "horizon = 0"),
        (lambda: repeat_copy(2, 2).horizon_operator(0), "horizon = 0"),
        (lambda: repeat_copy(2, 2).next(torch.zeros(2, 3)), "h has shape"),
        (lambda: HDS(2, 2, torch.sum).next(torch.zeros(2, 2)), r"f\(h\) has shape"),
        (lambda: linear_floor(repeat_copy(2, 2), 0), "horizon"),
        (lambda: random_histories(0, 2, 2, torch.Generator()), "batch = 0"),
        (lambda: elman_inputs(torch.zeros(3), 2), "u has shape"),
        (lambda: elman_inputs(torch.zeros(3, 2), 0), "horizon = 0"),
        (lambda: accuracy(torch.zeros(2), torch.zeros(3)), "y has shape"),
        (lambda: accuracy(torch.zeros(2), torch.zeros(2), per=1), "per = 1"),
    ],
)
def test_bad_input_is_explained(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
