"""The training loop, its Adam, and where it reports how far it is."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from wavemem.training.fit import EnsembleAdam, FitConfig, Progress, fit

Parameters = dict[str, Tensor]


@pytest.mark.parametrize("clip", [None, 0.5])
@pytest.mark.parametrize("decoupled", [False, True])
def test_ensemble_adam_equals_torch_s_run_by_run(clip: float | None, decoupled: bool) -> None:
    generator = torch.Generator().manual_seed(0)

    def drawn() -> list[Tensor]:
        return [torch.randn(3, 4, 2, generator=generator, dtype=torch.float64) for _ in range(2)]

    rates, decays, ours = (1e-2, 1e-3, 3e-3), (0.0, 0.1, 1.0), drawn()
    theirs = [[p[k].clone().requires_grad_() for p in ours] for k in range(3)]
    optimiser = EnsembleAdam(ours, rates, decays, clip, decoupled, exempt=(1,))
    kind: Any = torch.optim.AdamW if decoupled else torch.optim.Adam
    adams = [
        kind([{"params": [own[0]], "weight_decay": decay}, {"params": [own[1]], "weight_decay": 0.0}])
        for own, decay in zip(theirs, decays, strict=True)
    ]
    for factor in (0.5, 1.0, 0.25, *[1.0] * 7):
        gradients = drawn()
        for k, adam in enumerate(adams):
            for group, p, g in zip(adam.param_groups, theirs[k], gradients, strict=True):
                group["lr"], p.grad = rates[k] * factor, g[k].clone()
            if clip is not None:
                torch.nn.utils.clip_grad_norm_(theirs[k], clip)
            adam.step()
        optimiser.step(gradients, factor=factor)
    for index, p in enumerate(ours):
        torch.testing.assert_close(p, torch.stack([own[index].detach() for own in theirs]))


def test_a_frozen_run_does_not_decay() -> None:
    ours = [torch.ones(2, 3)]
    optimiser = EnsembleAdam(ours, 0.1, 0.5, decoupled=True)
    optimiser.step([torch.zeros(2, 3)], torch.tensor([float("nan"), 1.0]))
    assert ours[0][0].tolist() == [1.0, 1.0, 1.0]
    assert ours[0][1].max() < 1.0


def test_fit_recovers_known_minima_each_with_its_own_optimiser() -> None:
    goals = torch.tensor([1.0, -2.0, 0.5])

    def loss(parameters: Parameters, step: int) -> tuple[Tensor, dict[str, Tensor]]:
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


@pytest.mark.parametrize(
    ("config", "rates"),
    [
        (FitConfig(6, milestones=(2, 4), gamma=0.25), [1.0, 1.0, 0.25, 0.25, 0.0625, 0.0625]),
        (FitConfig(3, milestones=(1,), gamma=0.0), [1.0, 0.0, 0.0]),
        (FitConfig(10, schedule="linear", warmup=4), [0.25, 0.5, 0.75, 1.0, *(i / 7 for i in (6, 5, 4, 3, 2, 1))]),
        (FitConfig(4, schedule="linear"), [1.0, 0.75, 0.5, 0.25]),
        (FitConfig(4, warmup=2), [0.5, 1.0, 1.0, 1.0]),
        (FitConfig(2), [1.0, 1.0]),
    ],
)
def test_rates_drop_warm_up_and_go_down(config: FitConfig, rates: list[float]) -> None:
    """Under a constant gradient every step of Adam is as long as the rate."""
    config = replace(config, lr=0.4, clip=None, snapshots=tuple(range(config.iterations + 1)))
    found = fit({"x": torch.zeros(1, 1).double()}, lambda p, done: p["x"][:, 0], config, progress=False).snapshots
    moved = [float(found[i]["x"] - found[i + 1]["x"]) for i in range(config.iterations)]
    assert moved == pytest.approx([0.4 * rate for rate in rates], rel=1e-6)


def test_fit_exempts_named_parameters_from_decay() -> None:
    start = {"a.theta": torch.ones(1, 2), "a.weight": torch.ones(1, 2)}
    config = FitConfig(3, lr=0.1, weight_decay=0.5, decoupled=True, no_decay=("theta",))
    kept = fit(start, lambda q, i: 0 * (q["a.theta"].sum(1) + q["a.weight"].sum(1)), config, progress=False).parameters
    assert kept["a.theta"].tolist() == [[1.0, 1.0]]
    torch.testing.assert_close(kept["a.weight"], torch.full((1, 2), 0.95**3))


def test_fit_keeps_each_run_where_its_value_was_lowest_for_the_first_time() -> None:
    values = torch.tensor([[3.0, 1.0, 1.0, 2.0], [4.0, 3.0, 2.0, float("nan")]])

    def loss(parameters: Parameters, done: int) -> tuple[Tensor, dict[str, Tensor]]:
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
    def loss(parameters: Parameters, step: int) -> Tensor:
        scale = torch.tensor([1.0, float("inf") if step == 3 else 1.0])
        return (parameters["x"] * scale + 1.0).square()

    result = fit({"x": torch.ones(2)}, loss, FitConfig(50, lr=0.1, log_every=1), progress=False)
    assert bool(torch.isfinite(result.parameters["x"]).all())
    assert result.log.query("run == 0")["finite"].all()
    assert result.log.query("run == 1")["finite"].tolist() == [True] * 3 + [False] * 47


def test_a_loss_may_bring_its_own_gradient() -> None:
    start = {"x": torch.tensor([[1.0, 2.0], [3.0, 4.0]])}

    def closed(p: Parameters, done: int) -> tuple[Tensor, dict[str, Tensor], list[Tensor]]:
        x = p["x"].detach()
        return x.square().sum(1), {}, [2 * x]

    ours = fit(start, closed, FitConfig(5, lr=0.1), progress=False)
    theirs = fit(start, lambda p, done: p["x"].square().sum(1), FitConfig(5, lr=0.1), progress=False)
    assert torch.equal(ours.parameters["x"], theirs.parameters["x"])
    assert ours.log.equals(theirs.log)


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
    monkeypatch.setattr("wavemem.training.fit.time.monotonic", lambda: float(next(clock)))
    with Progress(4, "copying") as bar:
        for done in range(1, 5):
            bar.update(done, loss=0.5)
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1].startswith("copying: 4/4, loss 0.5")
    assert 1 < len(lines) <= 4
    with Progress(4, "silent", enabled=False) as bar:
        bar.update(4)
    assert capsys.readouterr().err == ""


def test_progress_on_a_terminal_is_a_bar(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("WAVEMEM_PROGRESS_FILE", raising=False)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with Progress(4, "copying") as bar:
        bar.update(1)
        bar.update(4, loss=0.5)
    shown = capsys.readouterr().err
    assert "copying: 100%" in shown
    assert "4/4" in shown
