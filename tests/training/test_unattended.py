"""Training without waiting for a device, on CPU tensors: the same protocol, and no look at a number on the way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from wavemem.kernels.elman import SweepResult
from wavemem.models.elman import ElmanEnsemble
from wavemem.streams import stream
from wavemem.tasks.episodes import random_histories
from wavemem.tasks.hds import repeat_copy
from wavemem.training import ensemble as training
from wavemem.training import unattended
from wavemem.training.checkpoint import digest
from wavemem.training.curriculum import Curriculum, FixedHorizon, LadderCurriculum, MultiplicativeCurriculum
from wavemem.training.device_curriculum import on_device
from wavemem.training.ensemble import TrainingConfig, TrainingResult, train
from wavemem.training.optimiser import EnsembleAdam
from wavemem.training.unattended import Ahead, UnattendedLoop

CPU = torch.device("cpu")
CURRICULA = [
    FixedHorizon(4),
    LadderCurriculum((2, 4, 7), threshold=(0.5, 0.6, 0.99)),
    MultiplicativeCurriculum(2, 9, threshold=1.0),
]


@pytest.fixture
def without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the CPU take the way of a CUDA device."""
    monkeypatch.setattr(training, "_never_waits", lambda _ensemble: True)


def _train(curriculum: Curriculum, path: Path | None = None, stop: int = 0, **settings: Any) -> TrainingResult:
    def ends(iteration: int, _: object) -> None:
        if stop and iteration >= stop:
            raise InterruptedError

    chosen: dict[str, Any] = {"lr_drop_at": 20, "snapshots": (0, 25), "weight_decay": (0.0, 1e-3, 0.0), "log_every": 1}
    config = TrainingConfig(40, batch=8, curriculum=curriculum, **{**chosen, **settings})
    ensemble = ElmanEnsemble.initialise(range(3), 12, 2)
    task = repeat_copy(2, 2)
    return train(ensemble, task, config, range(3), False, ends, checkpoint=path, checkpoint_every=0.0)


@pytest.mark.parametrize("curriculum", CURRICULA, ids=lambda c: type(c).__name__)
def test_the_protocol_is_that_of_the_attended_training(
    curriculum: Curriculum, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    attended = _train(curriculum)
    request.getfixturevalue("without_waiting")
    monkeypatch.setattr(training, "_iterate", None)
    ours = _train(curriculum)
    assert list(ours.log.columns) == list(attended.log.columns)
    assert ours.log["horizon"].tolist() == attended.log["horizon"].tolist()
    assert isinstance(curriculum, FixedHorizon) or ours.log["horizon"].nunique() > 1
    for name in ("loss", "accuracy", "grad_norm"):
        np.testing.assert_allclose(ours.log[name], attended.log[name], rtol=1e-4)
    for number, weights in attended.snapshots.items():
        for name, value in weights.items():
            torch.testing.assert_close(ours.snapshots[number][name], value, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("curriculum", CURRICULA, ids=lambda c: type(c).__name__)
@pytest.mark.usefixtures("without_waiting")
def test_stopped_and_taken_up_again_it_ends_as_if_it_had_not_been(tmp_path: Path, curriculum: Curriculum) -> None:
    path = tmp_path / "run.safetensors"
    for stop in (7, 21):
        with pytest.raises(InterruptedError):
            _train(curriculum, path, stop, log_every=7)
    resumed, whole = _train(curriculum, path, log_every=7), _train(curriculum, log_every=7)
    assert resumed.log.equals(whole.log)
    assert digest(resumed.ensemble.state_dict()) == digest(whole.ensemble.state_dict())


@pytest.mark.usefixtures("without_waiting")
def test_a_run_that_fails_is_frozen_and_does_not_touch_the_others() -> None:
    log = _train(FixedHorizon(4), lr=(1e-3, 1e30, 1e-3), clip=None, weight_decay=0.0).log
    assert not log.loc[log["run"] == 1, "finite"].all()
    assert log.loc[log["run"] != 1, "finite"].all()


@pytest.mark.parametrize("curriculum", CURRICULA, ids=lambda c: type(c).__name__)
def test_curricula_on_a_device_follow_those_on_the_processor(curriculum: Curriculum) -> None:
    generator = np.random.default_rng(0)
    state, settled = curriculum.start(3), curriculum.start(3)
    device = on_device(settled, CPU)
    assert device is not None
    for _ in range(40):
        accuracy = generator.uniform(0.3, 1.0, 3)
        errors = generator.uniform(0.0, 2.0, (curriculum.largest, 3))
        if generator.random() < 0.2:
            accuracy[1], errors[0, 1] = np.nan, np.nan
        loss_by_step = [errors[:horizon, k] for k, horizon in enumerate(state.horizons)]
        state.update(accuracy, loss_by_step)
        device.update(torch.from_numpy(accuracy), torch.from_numpy(errors))
        assert device.horizons.tolist() == state.horizons.tolist()
    device.settle()
    for name, value in state.state().items():
        np.testing.assert_allclose(settled.state()[name], value, rtol=1e-12)
    assert settled.horizons.tolist() == state.horizons.tolist()


def test_other_rules_stay_on_the_processor() -> None:
    class Own:
        horizons = np.array([3])

    assert on_device(Own(), CPU) is None


def test_histories_drawn_ahead_are_those_of_the_streams() -> None:
    generators, same = [stream(k, "data") for k in range(5)], [stream(k, "data") for k in range(5)]
    ahead = Ahead(generators, 6, 3, 2, pinned=False, count=50)
    enough = Ahead([stream(0, "data")], 6, 3, 2, pinned=False, count=1)
    enough.take()
    with pytest.raises(ValueError, match="1 batches"):
        enough.take()
    enough.close()
    for _ in range(7):
        expected = torch.stack([random_histories(6, 3, 2, generator) for generator in same])
        assert torch.equal(ahead.take().float(), expected)
    ahead.settle()
    ahead.close()
    assert all(torch.equal(a.get_state(), b.get_state()) for a, b in zip(generators, same, strict=True))


def test_an_error_while_drawing_reaches_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise MemoryError("no room")

    monkeypatch.setattr(Ahead, "_draw", fails)
    ahead = Ahead([stream(0, "data")], 6, 3, 2, pinned=False, count=5)
    with pytest.raises(MemoryError, match="no room"):
        ahead.take()
    ahead.close()


@pytest.mark.parametrize("curriculum", CURRICULA, ids=lambda c: type(c).__name__)
def test_an_iteration_asks_for_no_number(monkeypatch: pytest.MonkeyPatch, curriculum: Curriculum) -> None:
    """Tensors without contents raise an error where a program wants to know a number."""

    def sweep(W_hh: Tensor, W_uh: Tensor, W_r: Tensor, u: Tensor, targets: Tensor, *_: object) -> SweepResult:
        shape = (targets.shape[2], W_hh.shape[0])
        gradients = (torch.empty_like(W_hh), torch.empty_like(W_uh), torch.empty_like(W_r))
        return SweepResult(W_hh.new_empty(shape), W_hh.new_empty(shape), gradients)

    monkeypatch.setattr(unattended, "loss_and_gradients", sweep)
    ensemble, task = ElmanEnsemble.initialise(range(3), 12, 2), repeat_copy(2, 2)
    state = on_device(curriculum.start(3), CPU)
    assert state is not None
    optimiser = EnsembleAdam([ensemble.W_hh, ensemble.W_uh, ensemble.W_r], clip=1.0, weight_decay=1e-3)
    loop = UnattendedLoop(
        ensemble, task, optimiser, state, curriculum.largest, [stream(k, "data") for k in range(3)], 8, 1
    )
    signs = loop._ahead.take()
    loop.close()
    task.targets(signs.float(), curriculum.largest)  # makes the task's operator, once
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        with pytest.raises(DataDependentOutputException):
            bool(mode.from_tensor(torch.ones(())).all())
        # What the optimiser keeps, as tensors of a device that has no numbers to show.
        for holder in (optimiser, state):
            for name, value in vars(holder).items():
                if isinstance(value, Tensor):
                    setattr(holder, name, mode.from_tensor(value))
        optimiser._looks = False
        loop._advance(mode.from_tensor(signs))
        loop._advance(mode.from_tensor(signs))


def test_nothing_measured_yet_is_named() -> None:
    state = on_device(FixedHorizon(2).start(1), CPU)
    assert state is not None
    ensemble = ElmanEnsemble.initialise([0], 4, 1)
    optimiser = EnsembleAdam([ensemble.W_hh, ensemble.W_uh, ensemble.W_r])
    loop = UnattendedLoop(ensemble, repeat_copy(2, 1), optimiser, state, 2, [stream(0, "data")], 3, 1)
    with pytest.raises(ValueError, match="no iteration"):
        loop.measured()
    assert loop.glance() == (None, None)
    loop.close()
