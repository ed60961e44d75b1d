"""Curricula, optimiser, progress, device and the training loop."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from wavemem.checks import choose_device
from wavemem.training.curriculum import FixedHorizon, LadderCurriculum, MultiplicativeCurriculum
from wavemem.training.fit import EnsembleAdam, FitConfig, fit
from wavemem.training.progress import Progress


def test_ladder_steps_up_above_the_threshold_and_never_down() -> None:
    state = LadderCurriculum((10, 20, 40), threshold=(0.9, 0.98)).start(2)
    seen = []
    for value in (0.95, 0.99, 0.5, float("nan"), 1.0, 1.0):
        state.update(np.full(2, value), [])
        seen.append(state.horizons.tolist())
    assert seen == [[20, 10], [40, 20], [40, 20], [40, 20], [40, 40], [40, 40]]
    state = LadderCurriculum((10, 20), threshold=0.9).start(1)
    state.update(np.array([0.9]), [])  # not above the threshold
    assert state.horizons.tolist() == [10]


def test_multiplicative_curriculum_follows_the_early_loss() -> None:
    curriculum = MultiplicativeCurriculum(10, 100, factor=1.2, threshold=3e-2, memory=0.0)
    state = curriculum.start(2)
    good, bad = np.full(10, 1e-3), np.full(10, 1.0)
    state.update(np.ones(2), [good, bad])
    assert state.horizons.tolist() == [12, 10]
    for _ in range(20):
        state.update(np.ones(2), [np.concatenate([good, np.full(90, 5.0)]), bad])
    assert state.horizons.tolist() == [100, 10]
    state.update(np.ones(2), [bad, np.full(10, np.nan)])
    assert state.horizons.tolist() == [83, 10]
    at = MultiplicativeCurriculum(10, 100, factor=2.0, threshold=0.5, memory=0.75).start(1)
    horizons = []
    for loss in (0.25, 0.5, 5.0, 0.0, 0.5):  # rolling means 0.25, 0.3125, 1.48, 1.11, 0.96
        at.update(np.ones(1), [np.full(10, loss)])
        horizons.append(int(at.horizons[0]))
    assert horizons == [20, 40, 20, 10, 10]
    level = MultiplicativeCurriculum(10, 100, factor=2.0, threshold=0.5, memory=0.0).start(1)
    level.update(np.ones(1), [np.full(10, 0.25)])
    level.update(np.ones(1), [np.full(10, 0.5)])  # not below the threshold
    assert level.horizons.tolist() == [10]


def test_curricula_refuse_what_they_cannot_do() -> None:
    with pytest.raises(ValueError, match="horizons"):
        LadderCurriculum((20, 10))
    with pytest.raises(ValueError, match="horizons"):
        FixedHorizon(0)
    with pytest.raises(ValueError, match="threshold"):
        LadderCurriculum(threshold=(0.9, 0.9)).start(3)
    with pytest.raises(ValueError, match="factor"):
        MultiplicativeCurriculum(factor=1.0)
    with pytest.raises(ValueError, match="memory"):
        MultiplicativeCurriculum(memory=1.0)
    with pytest.raises(ValueError, match="largest"):
        MultiplicativeCurriculum(smallest=10, largest=5)


@pytest.mark.parametrize("clip", [None, 0.5])
def test_ensemble_adam_equals_torch_adam_run_by_run(clip: float | None) -> None:
    generator = torch.Generator().manual_seed(0)
    start = [torch.randn(3, 4, 2, generator=generator, dtype=torch.float64) for _ in range(2)]
    rates, decays = (1e-2, 1e-3, 3e-3), (0.0, 0.1, 1.0)
    ours = [p.clone() for p in start]
    optimiser = EnsembleAdam(ours, rates, decays, clip)
    theirs = [[p[k].clone().requires_grad_() for p in start] for k in range(3)]
    adams = [torch.optim.Adam(theirs[k], lr=rates[k], weight_decay=decays[k]) for k in range(3)]
    for _ in range(10):
        gradients = [torch.randn(3, 4, 2, generator=generator, dtype=torch.float64) for _ in range(2)]
        for k in range(3):
            for p, g in zip(theirs[k], gradients, strict=True):
                p.grad = g[k].clone()
            if clip is not None:
                torch.nn.utils.clip_grad_norm_(theirs[k], clip)
            adams[k].step()
        optimiser.step([g.clone() for g in gradients])
    for index, p in enumerate(ours):
        torch.testing.assert_close(p, torch.stack([theirs[k][index].detach() for k in range(3)]))


def test_ensemble_adam_with_decoupled_decay_equals_adamw() -> None:
    generator = torch.Generator().manual_seed(1)
    start = [torch.randn(2, 5, generator=generator, dtype=torch.float64) for _ in range(2)]
    ours = [p.clone() for p in start]
    optimiser = EnsembleAdam(ours, (1e-2, 3e-3), (0.1, 0.5), clip=None, decoupled=True, exempt=(1,))
    theirs = [[p[k].clone().requires_grad_() for p in start] for k in range(2)]
    groups = [
        [{"params": [theirs[k][0]], "weight_decay": decay}, {"params": [theirs[k][1]], "weight_decay": 0.0}]
        for k, decay in enumerate((0.1, 0.5))
    ]
    adams = [torch.optim.AdamW(groups[k], lr=rate) for k, rate in enumerate((1e-2, 3e-3))]
    for factor in (0.5, 1.0, 0.25):
        gradients = [torch.randn(2, 5, generator=generator, dtype=torch.float64) for _ in range(2)]
        for k, rate in enumerate((1e-2, 3e-3)):
            for group in adams[k].param_groups:
                group["lr"] = rate * factor
            for p, g in zip(theirs[k], gradients, strict=True):
                p.grad = g[k].clone()
            adams[k].step()
        optimiser.step([g.clone() for g in gradients], factor=factor)
    for index, p in enumerate(ours):
        torch.testing.assert_close(p, torch.stack([theirs[k][index].detach() for k in range(2)]))


def test_a_frozen_run_does_not_decay() -> None:
    ours = [torch.ones(2, 3)]
    optimiser = EnsembleAdam(ours, 0.1, 0.5, decoupled=True)
    optimiser.step([torch.zeros(2, 3)], torch.tensor([float("nan"), 1.0]))
    assert ours[0][0].tolist() == [1.0, 1.0, 1.0]
    assert ours[0][1].max() < 1.0


def test_optimiser_refuses_what_it_cannot_do() -> None:
    with pytest.raises(ValueError, match="one K"):
        EnsembleAdam([torch.zeros(2, 3), torch.zeros(3, 3)])
    with pytest.raises(ValueError, match="lr"):
        EnsembleAdam([torch.zeros(2, 3)], lr=-1.0)
    with pytest.raises(ValueError, match="weight_decay"):
        EnsembleAdam([torch.zeros(2, 3)], weight_decay=(1.0, 1.0, 1.0))


def test_fit_recovers_known_minima_each_with_its_own_optimiser() -> None:
    goals = torch.tensor([1.0, -2.0, 0.5])

    def loss(parameters: dict[str, torch.Tensor], step: int) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        error = parameters["x"] - goals[:, None]
        return error.square().mean(1), {"step": torch.full((3,), float(step))}

    start = {"x": torch.zeros(3, 2), "unused": torch.ones(3)}
    result = fit(start, loss, FitConfig(400, lr=(0.05, 0.05, 0.0), log_every=100, snapshots=(0, 10)), progress=False)
    torch.testing.assert_close(result.parameters["x"][:2], goals[:2, None].expand(2, 2), atol=1e-3, rtol=0)
    assert float(result.parameters["x"][2].abs().max()) == 0.0
    assert float(start["x"].abs().max()) == 0.0
    assert torch.equal(result.parameters["unused"], torch.ones(3))
    assert result.log["iteration"].unique().tolist() == [1, 100, 200, 300, 400]
    assert result.log["step"].tolist()[-1] == 399.0
    assert set(result.snapshots) == {0, 10}


def test_fit_drops_the_rate_at_its_milestones() -> None:
    def loss(parameters: dict[str, torch.Tensor], done: int) -> torch.Tensor:
        return parameters["x"][:, 0]  # a constant gradient: Adam moves by the learning rate

    config = FitConfig(6, lr=0.4, clip=None, milestones=(2, 4), gamma=0.25, snapshots=tuple(range(7)))
    found = fit({"x": torch.zeros(1, 1)}, loss, config, progress=False).snapshots
    moved = [float(found[i]["x"] - found[i + 1]["x"]) for i in range(6)]
    assert moved == pytest.approx([0.4, 0.4, 0.1, 0.1, 0.025, 0.025], rel=1e-5)
    with pytest.raises(ValueError, match="gamma"):
        FitConfig(6, gamma=-1.0)


def test_fit_warms_up_and_goes_down_linearly() -> None:
    config = FitConfig(10, lr=0.1, clip=None, schedule="linear", warmup=4)
    rates = [config.rate(i) for i in range(1, 11)]
    assert rates == pytest.approx([0.25, 0.5, 0.75, 1.0, 6 / 7, 5 / 7, 4 / 7, 3 / 7, 2 / 7, 1 / 7])
    assert [FitConfig(4, schedule="linear").rate(i) for i in range(1, 5)] == [1.0, 0.75, 0.5, 0.25]
    assert [FitConfig(4, warmup=2).rate(i) for i in range(1, 5)] == [0.5, 1.0, 1.0, 1.0]
    # Under a constant gradient every step of Adam is as long as the rate.
    result = fit({"p": torch.zeros(1, 1, dtype=torch.float64)}, lambda q, i: q["p"][:, 0], config, progress=False)
    assert float(result.parameters["p"]) == pytest.approx(-0.1 * sum(rates), rel=1e-6)
    assert [FitConfig(5).rate(i) for i in (1, 5)] == [1.0, 1.0]
    with pytest.raises(ValueError, match="schedule"):
        FitConfig(5, schedule="cosine")
    with pytest.raises(ValueError, match="warmup"):
        FitConfig(5, warmup=-1)


def test_fit_exempts_named_parameters_from_decay() -> None:
    start = {"a.theta": torch.ones(1, 2), "a.weight": torch.ones(1, 2)}
    config = FitConfig(3, lr=0.1, weight_decay=0.5, decoupled=True, no_decay=("theta",))
    kept = fit(start, lambda q, i: 0 * (q["a.theta"].sum(1) + q["a.weight"].sum(1)), config, progress=False).parameters
    assert kept["a.theta"].tolist() == [[1.0, 1.0]]
    torch.testing.assert_close(kept["a.weight"], torch.full((1, 2), 0.95**3))


def test_fit_keeps_each_run_where_its_value_was_lowest_for_the_first_time() -> None:
    values = torch.tensor([[3.0, 1.0, 1.0, 2.0], [4.0, 3.0, 2.0, float("nan")]])

    def loss(parameters: dict[str, torch.Tensor], done: int) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        return parameters["x"], {"value": values[:, done]}  # a constant gradient: Adam moves by the rate

    config = FitConfig(4, lr=0.5, clip=None, keep="value")
    best = fit({"x": torch.zeros(2, dtype=torch.float64)}, loss, config, progress=False).best
    assert best is not None
    assert best.value.tolist() == [1.0, 2.0]
    assert best.updates.tolist() == [1, 2]
    assert best.parameters["x"].tolist() == pytest.approx([-0.5, -1.0], rel=1e-6)


def test_fit_ends_where_the_caller_has_seen_enough_of_the_log() -> None:
    looked = []

    def enough(rows: Sequence[Mapping[str, Any]]) -> bool:
        looked.append(rows[-1]["iteration"])
        return bool(rows[-1]["iteration"] >= 6)

    config = FitConfig(20, log_every=3)
    result = fit({"x": torch.zeros(1)}, lambda p, done: p["x"], config, progress=False, on_log=enough)
    assert looked == [1, 3, 6]
    assert result.log["iteration"].tolist() == [1, 3, 6]


def test_fit_freezes_a_model_that_fails() -> None:
    def loss(parameters: dict[str, torch.Tensor], step: int) -> torch.Tensor:
        scale = torch.tensor([1.0, float("inf") if step == 3 else 1.0])
        return (parameters["x"] * scale + 1.0).square()

    result = fit({"x": torch.ones(2)}, loss, FitConfig(50, lr=0.1, log_every=1), progress=False)
    assert bool(torch.isfinite(result.parameters["x"]).all())
    assert result.log.query("run == 0")["finite"].all()
    assert result.log.query("run == 1")["finite"].tolist() == [True] * 3 + [False] * 47


def test_a_loss_may_bring_its_own_gradient() -> None:
    start = {"x": torch.tensor([[1.0, 2.0], [3.0, 4.0]])}

    def closed(
        p: dict[str, torch.Tensor], done: int
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor], list[torch.Tensor]]:
        x = p["x"].detach()
        return x.square().sum(1), {}, [2 * x]

    ours = fit(start, closed, FitConfig(5, lr=0.1), progress=False)
    theirs = fit(start, lambda p, done: p["x"].square().sum(1), FitConfig(5, lr=0.1), progress=False)
    assert torch.equal(ours.parameters["x"], theirs.parameters["x"])
    assert ours.log.equals(theirs.log)


def test_fit_names_what_is_wrong() -> None:
    with pytest.raises(ValueError, match="parameters"):
        fit({}, lambda p, i: p["x"], FitConfig(1))
    with pytest.raises(ValueError, match=r"shape \(\)"):
        fit({"x": torch.ones(2)}, lambda p, i: p["x"].sum(), FitConfig(1), progress=False)
    with pytest.raises(ValueError, match="iterations"):
        FitConfig(0)
    with pytest.raises(ValueError, match="snapshots"):
        FitConfig(1, snapshots=(2,))


def test_progress_goes_to_the_named_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "progress.jsonl"
    monkeypatch.setenv("WAVEMEM_PROGRESS_FILE", str(path))
    with Progress(10, "copying") as bar:
        for done in range(1, 11):
            bar.update(done, loss=0.5, accuracy=0.75)
    records = [json.loads(line) for line in path.read_text().splitlines()]
    assert 1 <= len(records) <= 3
    assert records[-1]["done"] == records[-1]["total"] == 10
    assert set(records[-1]) == {"label", "done", "total", "loss", "accuracy", "time"}
    assert capsys.readouterr() == ("", "")


def test_progress_without_terminal_prints_plain_lines(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("WAVEMEM_PROGRESS_FILE", raising=False)
    clock = iter(range(0, 1000, 6))
    monkeypatch.setattr("wavemem.training.progress.time.monotonic", lambda: float(next(clock)))
    with Progress(4, "copying") as bar:
        for done in range(1, 5):
            bar.update(done, loss=0.5)
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1].startswith("copying: 4/4, loss 0.5")
    assert 1 < len(lines) <= 4
    with Progress(4, "silent", enabled=False) as bar:
        bar.update(4)
    assert capsys.readouterr().err == ""


def test_device_names() -> None:
    assert choose_device("cpu").type == "cpu"
    assert choose_device("auto").type in ("cpu", "cuda")
    with pytest.raises(ValueError, match="auto, cpu, cuda"):
        choose_device("tpu")
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="no CUDA device"):
            choose_device("cuda")
