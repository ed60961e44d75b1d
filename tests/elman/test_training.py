"""Training of ensembles: independence, equality with plain PyTorch, reproducibility, frozen runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from wavemem.elman.network import ElmanEnsemble
from wavemem.elman.training import accuracy_by_step, evaluate, train
from wavemem.streams import stream
from wavemem.theory.hds import HDS, accuracy, elman_inputs, random_histories, repeat_copy
from wavemem.training.curriculum import LadderCurriculum, MultiplicativeCurriculum, fixed_horizon
from wavemem.training.fit import FitConfig, FitResult

TASK = repeat_copy(2, 3)


def _train(seeds: list[int], iterations: int = 12, **settings: Any) -> FitResult:
    ensemble = ElmanEnsemble.initialise(seeds, 16, 3)
    curriculum = settings.pop("curriculum", LadderCurriculum((2, 4, 7), threshold=0.5))
    result = train(ensemble, TASK, FitConfig(iterations, log_every=1, **settings), seeds, curriculum, 8, progress=False)
    assert all(torch.equal(value, result.parameters[name]) for name, value in ensemble.state_dict().items())
    return result


def test_training_equals_a_loop_over_torch_rnn() -> None:
    seeds, horizon = [4, 9], 5
    result = _train(seeds, 15, curriculum=fixed_horizon(horizon), weight_decay=(0.0, 1e-2), lr=(1e-2, 3e-3), clip=0.3)
    for k, seed in enumerate(seeds):
        start = ElmanEnsemble.initialise([seed], 16, 3)
        rnn, readout = nn.RNN(3, 16, bias=False), nn.Linear(16, 3, bias=False)
        with torch.no_grad():
            rnn.weight_hh_l0.copy_(start.W_hh[0])
            rnn.weight_ih_l0.copy_(start.W_uh[0])
            readout.weight.copy_(start.W_r[0])
        parameters = [*rnn.parameters(), *readout.parameters()]
        adam = torch.optim.Adam(parameters, lr=(1e-2, 3e-3)[k], weight_decay=(0.0, 1e-2)[k])
        generator = stream(seed, "data")
        log = result.log[result.log["run"] == k]
        for row in log.to_dict("records"):
            u = random_histories(8, 2, 3, generator)
            target = TASK.targets(u, horizon).transpose(0, 1)
            y = readout(rnn(elman_inputs(u, horizon))[0][2:])
            loss = (y - target).square().mean()
            adam.zero_grad()
            loss.backward()
            norm = nn.utils.clip_grad_norm_(parameters, 0.3)
            adam.step()
            assert row["loss"] == pytest.approx(float(loss.detach()), rel=1e-4)
            assert row["grad_norm"] == pytest.approx(float(norm), rel=1e-4)
            assert row["accuracy"] == pytest.approx(float(accuracy(y.detach(), target)))
        torch.testing.assert_close(result.parameters["W_hh"][k], rnn.weight_hh_l0.detach(), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    "curriculum", [LadderCurriculum((2, 4, 7), threshold=0.6), MultiplicativeCurriculum(2, 9, threshold=1.0)]
)
def test_a_run_alone_equals_the_run_among_others(curriculum: Any) -> None:
    together = _train([1, 2, 3, 4], 30, curriculum=curriculum, snapshots=(0, 7))
    alone = _train([3], 30, curriculum=curriculum, snapshots=(0, 7))
    row = together.log[together.log["run"] == 2].reset_index(drop=True)
    assert row["horizon"].tolist() == alone.log["horizon"].tolist()
    assert row["horizon"].nunique() > 1
    np.testing.assert_allclose(row["loss"], alone.log["loss"], rtol=1e-4)
    for name, value in alone.parameters.items():
        torch.testing.assert_close(value[0], together.parameters[name][2], rtol=1e-3, atol=1e-5)
        assert torch.equal(alone.snapshots[0][name][0], together.snapshots[0][name][2])
    assert set(together.snapshots) == {0, 7}


def test_a_run_that_fails_is_frozen_and_does_not_touch_the_others() -> None:
    seeds = [0, 1, 2]
    broken = ElmanEnsemble.initialise(seeds, 16, 3)
    with torch.no_grad():
        broken.W_r[1, 0, 0] = float("nan")
    kept = broken.W_hh[1].detach().clone()
    result = train(broken, TASK, FitConfig(5, log_every=1), seeds, fixed_horizon(4), 8, progress=False)
    assert torch.equal(broken.W_hh[1].detach(), kept)
    assert not result.log.loc[result.log["run"] == 1, "finite"].any()
    assert result.log.loc[result.log["run"] != 1, "finite"].all()
    healthy = _train(seeds, 5, curriculum=fixed_horizon(4)).parameters["W_hh"]
    assert torch.equal(healthy[[0, 2]], broken.W_hh[[0, 2]])


def test_training_learns_and_evaluate_measures_it() -> None:
    ensemble = ElmanEnsemble.initialise([0, 1], 24, 2)
    task = repeat_copy(2, 2)
    before = evaluate(ensemble, task, horizon=12, batches=4)
    rows: list[int] = []

    def look(log: Any) -> None:
        rows.append(log[-1]["iteration"])

    ladder = LadderCurriculum((4, 8), threshold=0.95)
    train(ensemble, task, FitConfig(400, lr=3e-3), [0, 1], ladder, 32, progress=False, on_log=look)
    after = evaluate(ensemble, task, horizon=12, batches=4)
    assert before.shape == (2,)
    assert bool((before < 0.8).all())
    assert bool((after > 0.99).all())
    assert np.array_equal(after, evaluate(ensemble, task, horizon=12, batches=4))
    assert rows == [1, *range(50, 401, 50)]


def test_a_nonlinear_system_can_be_trained_on() -> None:
    task = HDS(2, 3, lambda h: h[..., 0, :] * h[..., 1, :])
    result = train(ElmanEnsemble.initialise([0], 8, 3), task, FitConfig(2), [0], fixed_horizon(3), 4, progress=False)
    named = ["iteration", "run", "seed", "horizon", "loss", "accuracy", "grad_norm", "finite"]
    assert list(result.log.columns) == named


def test_an_exact_memory_is_right_at_every_step_and_an_empty_one_guesses() -> None:
    task, eye = repeat_copy(3, 2), torch.eye(6, dtype=torch.float64)
    exact = ElmanEnsemble(task.Phi()[None], eye[None, :, -2:], eye[None, -2:], activation="linear")
    right = accuracy_by_step(exact, task, 50, [0], batch=8, stretch=7)
    assert tuple(right.shape) == (50, 1, 2)
    assert bool((right == 1).all())
    empty = ElmanEnsemble(torch.zeros(1, 5, 5), torch.zeros(1, 5, 2), torch.zeros(1, 2, 5))
    assert float(accuracy_by_step(empty, task, 10, [0], batch=8).mean()) == 0.5


def test_stretches_do_not_matter_and_the_mean_is_evaluates() -> None:
    ensemble = ElmanEnsemble.initialise([3, 4], 12, 2)
    task = repeat_copy(3, 2)
    whole = accuracy_by_step(ensemble, task, 20, [3, 4], batch=512)
    parts = accuracy_by_step(ensemble, task, 20, [3, 4], batch=512, stretch=3)
    torch.testing.assert_close(whole, parts)
    other = evaluate(ensemble, task, 20, batches=8, seeds=[3, 4])
    assert whole.mean((0, 2)).numpy() == pytest.approx(other, abs=0.03)


NETWORKS, ONE = ElmanEnsemble.initialise([0, 1], 8, 3), FitConfig(1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: train(NETWORKS, TASK, ONE, [0], progress=False), "one seed per network"),
        (lambda: train(NETWORKS, repeat_copy(2, 4), ONE, [0, 1], progress=False), "d = 3"),
        (lambda: train(NETWORKS, TASK, FitConfig(1, lr=(1e-3,) * 3), [0, 1], progress=False), "lr"),
        (lambda: train(NETWORKS, TASK, ONE, [0, 1], batch=0), "batch"),
        (lambda: evaluate(NETWORKS, TASK, horizon=0), "horizon"),
        (lambda: accuracy_by_step(NETWORKS, TASK, 10, [0]), "one seed per network"),
        (lambda: accuracy_by_step(NETWORKS, TASK, 0, [0, 1]), "horizon"),
    ],
)
def test_wrong_settings_are_named(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
