"""The smallest loss of a linear network on a task."""

from __future__ import annotations

import pytest
import torch

from wavemem.elman.network import ElmanEnsemble
from wavemem.streams import stream
from wavemem.theory.episodes import random_histories
from wavemem.theory.hds import LinearHDS, generalized_fibonacci, linear_floor, repeat_copy
from wavemem.theory.selection import paper_task, signed_selection


def test_repeat_copy_has_no_floor() -> None:
    assert (linear_floor(repeat_copy(4, 3), 17) == 0).all()


def test_a_copy_of_lag_l_is_left_with_one_minus_l_over_s() -> None:
    s = d = 4
    task = paper_task("T2", s, d)  # output j copies dimension j of column j
    floor = linear_floor(task, 1200)
    torch.testing.assert_close(floor, 1 - torch.tensor([4.0, 3.0, 2.0, 1.0]).double() / s, atol=3e-3, rtol=0)
    # The sign of a copy changes nothing.
    flipped = signed_selection([0, 5, 10, 15], [-1, 1, -1, -1], s, d)
    torch.testing.assert_close(linear_floor(flipped, 12), linear_floor(task, 12))


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


def test_no_linear_network_is_below_it_and_a_tanh_network_may_be() -> None:
    task = paper_task("T2", 2, 2)
    u = random_histories(4096, 2, 2, stream(0, "test")).double()
    floor = linear_floor(task, 6).mean()
    for seed in range(5):
        network = ElmanEnsemble.initialise([seed], 8, 2, activation="linear", dtype=torch.float64)
        out = network(u.movedim(1, 0)[:, None], steps=8)[2:, 0].movedim(0, 1)
        assert ((out - task.targets(u, 6)) ** 2).mean() > floor
    # Newest input wins, by saturation: the lag-1 output of T2 with one neuron of gain 5 and input weight 20.
    one = ElmanEnsemble(torch.full((1, 1, 1), 5.0), torch.full((1, 1, 1), 20.0), torch.ones(1, 1, 1))
    last = u[:, :, 1:].float()
    out = one(last.movedim(1, 0)[:, None], steps=8)[2:, 0, :, 0]
    assert ((out - last[None, :, -1, 0]) ** 2).max() < 1e-6 < float(linear_floor(task, 6)[1])


def test_a_wrong_horizon_is_named() -> None:
    with pytest.raises(ValueError, match="horizon"):
        linear_floor(repeat_copy(2, 2), 0)
