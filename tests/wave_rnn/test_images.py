"""Images pixel by pixel: what is trained and reported; the search of the small digits' settings."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pandas as pd
import pytest
import torch

from wavemem.records.experiment import Result
from wavemem.records.runs import recorded
from wavemem.wave_rnn import images
from wavemem.wave_rnn.image_tasks import SequentialImages
from wavemem.wave_rnn.images import (
    GRIDS,
    SETTINGS,
    Config,
    Grid,
    SearchConfig,
    Setting,
    at_edge,
    best,
    image_search,
    networks,
    run,
    scores,
    summarise,
    updates_to,
)

OWN = {task: dict(settings) for task, settings in SETTINGS.items()}  # as they are: the tests put smaller ones there
TINY = Config(
    tasks=("sdigits", "nsdigits"), models=("wRNN", "iRNN"), further=(), size_task=None, runs=2, epochs=1, log_every=9
)


@pytest.fixture(autouse=True, scope="module")
def small() -> Iterator[None]:
    """Networks that train in no time."""
    patch = pytest.MonkeyPatch()
    little = {name: Setting(6, 2 if name.startswith("wRNN") else 1, 1e-2, 1.0, 64) for name in images.MODELS}
    for task in ("sdigits", "psdigits", "nsdigits"):
        patch.setitem(SETTINGS, task, little)
    yield
    patch.undo()


@pytest.fixture(scope="module")
def trained(small: None) -> Result:
    return run(TINY, 0, "cpu", progress=False)


def test_rows_and_weights(trained: Result) -> None:
    rows = trained.rows
    assert set(rows["task"]) == {"sdigits", "nsdigits"}
    assert set(rows["data"]) == {"8 × 8 digits"}
    assert set(rows["seed"]) == {0, 1}
    curve = rows[(rows["task"] == "sdigits") & (rows["model"] == "iRNN") & (rows["seed"] == 0)]
    seen = curve[curve["quantity"] == "validation accuracy"]["iteration"].tolist()
    assert seen == [0, 8, 17, 18]  # before the updates 1, 9 and 18, and after the last of 18
    train = curve[curve["quantity"] == "train loss"]
    assert train["iteration"].tolist() == [0, 8, 17]
    assert train["value"].iloc[-1] < train["value"].iloc[0]
    assert curve["epoch"].max() == 1.0
    assert set(curve["parameters"]) == {6 + 36 + 60}
    assert set(trained.weights) >= {"sdigits/wRNN/6x2/u", "nsdigits/iRNN/6x1/U"}
    assert trained.weights["sdigits/wRNN/6x2/u"].shape == (2, 2, 2, 3)


def test_the_final_score_is_the_test_accuracy_at_the_best_validation_accuracy(trained: Result) -> None:
    rows = trained.rows.set_index(["task", "model", "seed"]).sort_index()
    for key in rows.index.unique():
        own = rows.loc[key]
        curve = own[own["quantity"] == "validation accuracy"]
        best = curve["value"].max()
        at = curve[curve["value"] == best]["iteration"].min()
        test = own[(own["quantity"] == "test accuracy") & (own["iteration"] == at)]["value"].item()
        assert own[own["quantity"] == "final test accuracy"]["value"].item() == test
        assert own[own["quantity"] == "best validation accuracy"]["value"].item() == best


def test_the_stored_networks_have_the_accuracy_of_the_rows(trained: Result) -> None:
    task = SequentialImages("sdigits")
    for model in ("wRNN", "iRNN"):
        found = networks(trained, "sdigits", model)
        right = (found(task.sequence(task.test)).argmax(-1) == task.labels[task.test]).double().mean(-1)
        rows = trained.rows
        chosen = (rows["task"] == "sdigits") & (rows["model"] == model) & (rows["quantity"] == "test accuracy")
        last = rows[chosen & (rows["iteration"] == rows["iteration"].max())]
        assert last["value"].tolist() == pytest.approx(right.tolist())


def test_every_epoch_visits_the_images_in_a_new_order() -> None:
    task = SequentialImages("sdigits")
    first, second = (
        torch.cat([images._shown(task, [0, 1], 64, done) for done in range(epoch, epoch + 18)], 1) for epoch in (0, 18)
    )
    for k in range(2):
        assert len(first[k].unique()) == 18 * 64
        assert set(first[k].tolist()) <= set(task.train.tolist())
    assert not torch.equal(first, second)
    assert not torch.equal(first[0], first[1])
    assert torch.equal(images._shown(task, [0, 1], 64, 3), first[:, 3 * 64 : 4 * 64])  # whatever was asked before


def test_gated_and_two_layer_networks_are_trained_too() -> None:
    config = replace(TINY, tasks=("psdigits",), models=("wRNN + MLP",), further=("LSTM", "GRU"), runs=1)
    result = run(config, 0, "cpu", progress=False)
    assert set(result.rows["model"]) == {"wRNN + MLP", "LSTM", "GRU"}
    assert networks(result, "psdigits", "GRU").state_dict()["W_hh"].shape == (1, 18, 6)
    assert networks(result, "psdigits", "wRNN + MLP").readout == "mlp"


def test_further_sizes_are_trained_once() -> None:
    config = replace(TINY, tasks=("psdigits",), size_task="psdigits", wave_sizes=((6, 2), (4, 1)), dense_sizes=(6, 3))
    sizes = [(job.model, job.setting.units, job.setting.channels) for job in config.jobs]
    assert sizes == [("wRNN", 6, 2), ("iRNN", 6, 1), ("wRNN", 4, 1), ("iRNN", 3, 1)]
    assert all(job.setting.units == 6 for job in Config(tasks=("sdigits",)).jobs)  # sizes come with their task
    config = replace(TINY, further=("LSTM", "GRU"), further_task="nsdigits")
    further = {(job.task, job.model) for job in config.jobs if job.model in ("LSTM", "GRU")}
    assert further == {("nsdigits", "LSTM"), ("nsdigits", "GRU")}


def test_two_starts_of_one_architecture_train_as_one_ensemble(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same numbers as each by itself; other settings do not mix."""
    scaled = Setting(6, 1, 1e-3, 1.0, 64, V_scale=1.0, biases=False)
    monkeypatch.setitem(SETTINGS["sdigits"], "iRNN searched", scaled)
    config = replace(TINY, tasks=("sdigits",), models=("iRNN", "iRNN searched"))
    assert len({job.together for job in config.jobs}) == 1
    both = run(config, 0, "cpu", progress=False)
    for model, scale in (("iRNN", None), ("iRNN searched", 1.0)):
        own = run(replace(config, models=(model,)), 0, "cpu", progress=False)
        rows = both.rows[both.rows["model"] == model].reset_index(drop=True)
        pd.testing.assert_frame_equal(rows, own.rows, check_exact=False, rtol=1e-5)
        assert set(rows["V_scale"].fillna(0)) == {scale or 0}
        assert networks(both, "sdigits", model).K == 2


def test_settings_are_the_paper_s() -> None:
    config = Config.profile("paper")
    chosen = {(job.task, job.model): job for job in config.jobs if job.setting.units >= 256}
    parameters = {}
    for (task, model), job in chosen.items():
        kind = "nscifar10" if task.startswith("ns") else task
        d = 96 if kind == "nscifar10" else 1
        n, c = job.setting.units, job.setting.channels
        parameters[task, model] = d * n * c + (n * n if model == "iRNN" else 3 * c * c) + 10 * n * c
    assert parameters["smnist", "iRNN"] == 68_352  # 68k
    assert parameters["nscifar10", "iRNN"] == 335_915  # 336k
    assert parameters["nscifar10", "wRNN"] == 434_944  # 435k
    assert parameters["psmnist", "wRNN"] == 45_824  # printed as 47k
    assert len([job for job in config.jobs if job.task == "psmnist" and job.model == "wRNN"]) == 17
    assert config.log_every is None
    assert SETTINGS["psmnist"]["iRNN"].epochs == 250


def test_summaries(trained: Result) -> None:
    table = summarise(trained.rows)
    assert list(table["model"]) == ["wRNN", "iRNN", "wRNN", "iRNN"]
    assert set(table["n"]) == {2}
    found = scores(trained.rows, "sdigits", "wRNN")
    assert list(found.index) == [0, 1]
    line = table[(table["task"] == "sdigits") & (table["model"] == "wRNN")]
    assert line["test accuracy"].item() == pytest.approx(found.mean())
    assert scores(trained.rows, "psdigits", "wRNN").empty
    early = trained.rows[trained.rows["iteration"] <= 8]
    assert scores(trained.rows, "sdigits", "wRNN", epochs=0.5).equals(scores(early, "sdigits", "wRNN"))
    assert line["state"].item() == 6 * 2
    assert updates_to(trained.rows, "sdigits", "iRNN", 0.0).tolist() == [0.0, 0.0]
    assert updates_to(trained.rows, "sdigits", "iRNN", 1.1).isna().all()


def test_what_the_book_trains_live() -> None:
    live = Config.live("quick")
    assert len(live.jobs) < len(Config().jobs)
    assert {job.setting.epochs for job in live.jobs} == {images.EPOCHS // 3}


SEARCH = SearchConfig(models=("iRNN", "LSTM"), runs=2, epochs=1, rounds=1)


def test_every_setting_is_tried_and_grids_are_widened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SETTINGS, "psdigits", dict.fromkeys(GRIDS, Setting(6, batch=64, clip=1.0)))
    monkeypatch.setitem(GRIDS, "iRNN", Grid((0.001, 0.1), (True, False), (3e-3, 1e-2), published=0.001, floor=0.001))
    monkeypatch.setitem(GRIDS, "LSTM", Grid(rates=(1e-2,)))
    found = image_search.run(SEARCH, 2, "cpu", progress=False).rows
    first = found[(found["model"] == "iRNN") & (found["round"] == 0)]
    assert len(first) == 2 * 2 * 2 * 2
    assert set(found["seed"]) == {2000, 2001}
    lstm = found[found["model"] == "LSTM"]
    assert set(lstm["lr"]) == {3e-3, 1e-2, 3e-2}  # the only rate is at both edges
    assert "test" not in " ".join(found["quantity"].unique())
    assert len(image_search.summarise(found)) == len(found) / 2


def test_the_best_validation_accuracy_wins(rows_of: Callable[..., pd.DataFrame]) -> None:
    def rows(values: dict[tuple[float, float, bool], float]) -> pd.DataFrame:
        named = ({"model": "iRNN", "lr": lr, "V_scale": scale, "biases": biases} for lr, scale, biases in values)
        found = ({"best validation accuracy": (mean - 0.01, mean + 0.01)} for mean in values.values())
        return rows_of(*zip(named, found, strict=True))

    grid = {(lr, scale, biases): 0.1 for lr in (1e-3, 3e-3, 1e-2) for scale in (0.001, 0.3, 1.0, 3.0)
            for biases in (True, False)}  # fmt: skip
    inside = grid | {(3e-3, 1.0, False): 0.8, (3e-3, 0.001, True): 0.2}
    assert best(rows(inside), "iRNN") == {"lr": 3e-3, "V_scale": 1.0, "biases": False}
    assert best(rows(inside), "iRNN", published=True) == {"lr": 3e-3, "V_scale": 0.001, "biases": True}
    assert at_edge(rows(inside), "iRNN") == []
    corner = grid | {(1e-2, 3.0, True): 0.8, (3e-3, 0.001, True): 0.2}
    assert at_edge(rows(corner), "iRNN") == [
        {"lr": 3e-2, "V_scale": 3.0, "biases": True},
        {"lr": 1e-2, "V_scale": 10.0, "biases": True},
    ]
    slow = grid | {(3e-3, 1.0, False): 0.8, (1e-3, 0.001, True): 0.2}  # the published start has a rate of its own
    assert at_edge(rows(slow), "iRNN") == [{"lr": 3e-4, "V_scale": 0.001, "biases": True}]


def test_the_settings_are_the_winners_of_the_committed_search() -> None:
    rows = recorded("image_search", "quick")[-1].rows
    for task in ("sdigits", "psdigits", "nsdigits"):
        for model, setting in OWN[task].items():
            grid = model.removesuffix(" searched")
            if grid not in set(rows["model"]):
                continue
            assert at_edge(rows, grid) == []
            winner = best(rows, grid, published=not model.endswith("searched"))
            assert setting.lr == winner["lr"], (task, model)
            if model.endswith("searched"):
                assert (setting.V_scale, setting.biases) == (winner["V_scale"], winner["biases"])
