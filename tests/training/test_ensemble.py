"""Training of ensembles: independence, equality with plain PyTorch, reproducibility, frozen runs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from wavemem.models.elman import ElmanEnsemble
from wavemem.streams import stream
from wavemem.tasks.episodes import accuracy, elman_inputs, random_histories
from wavemem.tasks.hds import HDS, repeat_copy
from wavemem.training.curriculum import FixedHorizon, LadderCurriculum, MultiplicativeCurriculum
from wavemem.training.ensemble import TrainingConfig, TrainingResult, evaluate, train

TASK = repeat_copy(2, 3)


def _train(seeds: list[int], iterations: int = 12, **settings: Any) -> TrainingResult:
    ensemble = ElmanEnsemble.initialise(seeds, 16, 3)
    curriculum = settings.pop("curriculum", LadderCurriculum((2, 4, 7), threshold=0.5))
    config = TrainingConfig(iterations, batch=8, curriculum=curriculum, log_every=1, **settings)
    return train(ensemble, TASK, config, seeds, progress=False)


def test_training_equals_a_loop_over_torch_rnn() -> None:
    seeds, horizon = [4, 9], 5
    result = _train(seeds, 15, curriculum=FixedHorizon(horizon), weight_decay=(0.0, 1e-2), lr=(1e-2, 3e-3), clip=0.3)
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
        torch.testing.assert_close(result.ensemble.W_hh[k].detach(), rnn.weight_hh_l0.detach(), rtol=1e-3, atol=1e-5)


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
    for name, value in alone.ensemble.state_dict().items():
        torch.testing.assert_close(value[0], together.ensemble.state_dict()[name][2], rtol=1e-3, atol=1e-5)
        assert torch.equal(alone.snapshots[0][name][0], together.snapshots[0][name][2])
    assert set(together.snapshots) == {0, 7}


@pytest.mark.parametrize("threads", [1, 2])
def test_the_same_training_twice_is_bit_identical(threads: int) -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        first, second = _train([0, 1, 2], 20), _train([0, 1, 2], 20)
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert first.log.equals(second.log)
    for name, value in first.ensemble.state_dict().items():
        assert torch.equal(value, second.ensemble.state_dict()[name])


def test_a_run_that_fails_is_frozen_and_does_not_touch_the_others() -> None:
    seeds = [0, 1, 2]
    broken = ElmanEnsemble.initialise(seeds, 16, 3)
    with torch.no_grad():
        broken.W_r[1, 0, 0] = float("nan")
    config = TrainingConfig(5, batch=8, curriculum=FixedHorizon(4), log_every=1)
    kept = broken.W_hh[1].detach().clone()
    result = train(broken, TASK, config, seeds, progress=False)
    assert torch.equal(broken.W_hh[1].detach(), kept)
    assert not result.log.loc[result.log["run"] == 1, "finite"].any()
    assert result.log.loc[result.log["run"] != 1, "finite"].all()
    healthy = train(ElmanEnsemble.initialise(seeds, 16, 3), TASK, config, seeds, progress=False)
    for k in (0, 2):
        assert torch.equal(healthy.ensemble.W_hh[k], broken.W_hh[k])


def test_learning_rate_drops_when_asked() -> None:
    still = _train([0], 6, lr_drop_at=3, lr_drop_factor=0.0, snapshots=(3, 6)).snapshots
    moving = _train([0], 6, snapshots=(3, 6)).snapshots
    assert torch.equal(still[3]["W_hh"], moving[3]["W_hh"])
    assert torch.equal(still[3]["W_hh"], still[6]["W_hh"])
    assert not torch.equal(moving[3]["W_hh"], moving[6]["W_hh"])


def test_training_learns_and_evaluate_measures_it() -> None:
    ensemble = ElmanEnsemble.initialise([0, 1], 24, 2)
    task = repeat_copy(2, 2)
    before = evaluate(ensemble, task, horizon=12, batches=4)
    config = TrainingConfig(400, batch=32, lr=3e-3, curriculum=LadderCurriculum((4, 8), threshold=0.95))
    rows: list[int] = []
    train(ensemble, task, config, [0, 1], progress=False, on_log=lambda iteration, _: rows.append(iteration))
    after = evaluate(ensemble, task, horizon=12, batches=4)
    assert before.shape == (2,)
    assert bool((before < 0.8).all())
    assert bool((after > 0.99).all())
    assert np.array_equal(after, evaluate(ensemble, task, horizon=12, batches=4))
    assert rows == [1, *range(50, 401, 50)]


def test_a_nonlinear_system_can_be_trained_on() -> None:
    task = HDS(2, 3, lambda h: h[..., 0, :] * h[..., 1, :])
    config = TrainingConfig(2, batch=4, curriculum=FixedHorizon(3))
    result = train(ElmanEnsemble.initialise([0], 8, 3), task, config, [0], progress=False)
    assert list(result.log.columns) == [
        "iteration",
        "run",
        "seed",
        "horizon",
        "loss",
        "accuracy",
        "grad_norm",
        "finite",
    ]


def test_wrong_settings_are_named() -> None:
    ensemble = ElmanEnsemble.initialise([0, 1], 8, 3)
    config = TrainingConfig(1, curriculum=FixedHorizon(2))
    with pytest.raises(ValueError, match="seeds"):
        train(ensemble, TASK, config, [0], progress=False)
    with pytest.raises(ValueError, match="d = 3"):
        train(ensemble, repeat_copy(2, 4), config, [0, 1], progress=False)
    with pytest.raises(ValueError, match="lr"):
        train(ensemble, TASK, TrainingConfig(1, lr=(1e-3,) * 3), [0, 1], progress=False)
    with pytest.raises(ValueError, match="horizon"):
        evaluate(ensemble, TASK, horizon=0)
    with pytest.raises(ValueError, match="iterations"):
        TrainingConfig(0)
    with pytest.raises(ValueError, match="snapshots"):
        TrainingConfig(5, snapshots=(6,))
