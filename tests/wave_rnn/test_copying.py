"""The copy experiment: its rows, settings, repeatability, resumption, summary."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pandas as pd
import pytest
import torch

from wavemem.records.experiment import Result
from wavemem.records.runs import recorded
from wavemem.streams import stream
from wavemem.wave_rnn.copy_task import CopyTask, copy_scores
from wavemem.wave_rnn.copying import (
    GRIDS,
    MODELS,
    SEARCHED,
    TABLE_5,
    Config,
    Point,
    best,
    initial,
    networks,
    run,
    summarise,
)
from wavemem.wave_rnn.grids import draw
from wavemem.wave_rnn.network import GatedRNN, WaveRNN

FULL = ("wRNN", "iRNN", "iRNN large")  # models at all lengths
TINY = Config(
    models=MODELS,
    lengths=(0, 2),
    ablation_lengths=(1,),
    units=12,
    channels=2,
    dense_units=6,
    runs=2,
    iterations=6,
    batch=4,
    test_batch=8,
    validation_batch=6,
    log_every=2,
    validate_every=3,
)


@pytest.fixture(scope="module")
def result() -> Result:
    return run(TINY, 0, "cpu", progress=False)


def test_every_model_length_and_seed_is_there_once(result: Result) -> None:
    tests = result.rows[result.rows["quantity"] == "test loss"]
    found = sorted(map(tuple, tests[["model", "T", "seed"]].to_numpy().tolist()))
    wanted = [(m, T, s) for m in MODELS for T in ((0, 2) if m in FULL else (1,)) for s in (0, 1)]
    assert found == sorted(wanted)
    curve = result.rows[(result.rows["quantity"] == "train loss") & (result.rows["model"] == "iRNN +Σ")]
    assert sorted(set(curve["iteration"])) == [1, 2, 4, 6]


def test_stored_weights_give_the_stored_scores(result: Result) -> None:
    network = networks(result, "wRNN", 2)
    assert isinstance(network, WaveRNN)
    scores = {}
    for name, size in (("test", TINY.test_batch), ("validation", TINY.validation_batch)):
        x, y = draw(CopyTask(2), size, [stream(seed, f"copying/2/{name}") for seed in (0, 1)])
        with torch.no_grad():
            scores[name] = copy_scores(network(x, every_step=True), y)
    own = result.rows[(result.rows["model"] == "wRNN") & (result.rows["T"] == 2)].set_index("quantity")
    errors = scores["test"].cross_entropy.tolist()
    assert own.loc["cross-entropy", "value"].tolist() == errors
    assert own.loc["recall", "value"].tolist() == scores["test"].recall.tolist()
    assert (50 * own.loc["test loss", "value"]).tolist() == pytest.approx(errors, rel=1e-12)
    assert own.loc["validation loss", "value"].tolist() == scores["validation"].cross_entropy.tolist()
    assert set(own.loc["validation loss", "iteration"]) <= {0, 3, 6}


def test_starts_are_those_of_the_ablation() -> None:
    paper = Config.profile("paper")
    shift = torch.zeros(6, 6, 3)
    shift[range(6), range(6), 2] = 1.0
    assert torch.equal(initial(paper, "wRNN", 10, [0]).u[0], shift)
    assert torch.equal(initial(paper, "wRNN -V", 10, [0]).u[0], shift)
    assert torch.equal(initial(paper, "wRNN dirac", 10, [0]).u[0], shift.roll(-1, -1))
    assert float(initial(paper, "wRNN -u", 10, [0]).u.detach().abs().max()) < 0.01
    assert float(initial(paper, "wRNN -u", 10, [0]).V.detach().sum()) == 60.0
    assert float(initial(paper, "wRNN -V -u", 10, [0]).V.detach().abs().max()) < 0.01
    assert torch.equal(initial(paper, "iRNN", 30, [0]).U[0], torch.eye(100))
    assert float(initial(paper, "iRNN", 0, [0]).U.detach().abs().max()) <= 0.1
    assert torch.equal(initial(paper, "iRNN +Σ", 0, [0]).U[0], torch.eye(100).roll(1, -1))
    assert float(initial(paper, "iRNN +Σ +V", 0, [0]).V.detach().sum()) == 10.0
    assert initial(paper, "iRNN large", 10, [0]).hidden == 625


def test_the_network_of_lowest_validation_loss_is_tested_and_the_last_one_too() -> None:
    unstable = replace(TINY, models=("iRNN",), lengths=(0,), iterations=40, validate_every=1, lr=0.5)
    unstable = replace(unstable, runs=6, validation_batch=400, test_batch=400)
    rows = run(unstable, 0, "cpu", progress=False).rows
    wide = rows.pivot_table(index="seed", columns="quantity", values="value", aggfunc="first")
    at = rows[rows["quantity"] == "test loss"].set_index("seed")["iteration"]
    early = at < 40
    assert early.any()  # with such a rate the last update is not always the best
    assert (wide["test loss"] < wide["last test loss"])[early].all()
    assert (wide["test loss"] == wide["last test loss"])[~early].all()
    assert set(rows[rows["quantity"] == "last recall"]["iteration"]) == {40}


def test_a_search_trains_every_point_as_if_it_were_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    config = replace(TINY, models=("wRNN", "GRU"), lengths=(2,), ablation_lengths=(2,), search=1)
    rows = run(config, 2, "cpu", progress=False).rows
    for model in ("wRNN", "GRU"):
        found = rows[(rows["model"] == model) & (rows["quantity"] == "recall")]
        points = found[["V_scale", "biases", "lr", "seed"]]
        scales, biases, rates = GRIDS[model][0]
        assert len(points.drop_duplicates()) == len(points) == len(scales) * len(biases) * len(rates) * 2
    monkeypatch.setitem(SEARCHED, "wRNN", (3e-3, 0.3, False))
    alone = run(replace(config, models=("wRNN searched",), search=0), 2, "cpu", progress=False).rows
    same = rows[(rows["lr"] == 3e-3) & (rows["V_scale"] == 0.3) & ~rows["biases"] & (rows["quantity"] == "test loss")]
    assert same["value"].tolist() == alone[alone["quantity"] == "test loss"]["value"].tolist()


def test_the_best_point_has_the_lowest_mean_of_the_logarithm(rows_of: Callable[..., pd.DataFrame]) -> None:
    others = dict.fromkeys(("cross-entropy", "recall", "symbol accuracy", "parameters", "state"), (1.0, 1.0))
    losses = {(0.1, 1e-3): (1e-4, 1e-1), (1.0, 1e-3): (1e-3, 1e-3), (3.0, 1e-3): (1e-2, 1e-2), (1.0, 3e-3): (1, 1)}
    named = {"model": "iRNN", "T": 10, "biases": True}
    groups = [
        (named | {"V_scale": scale, "lr": lr}, {"validation loss": own, "test loss": own, **others})
        for (scale, lr), own in losses.items()
    ]
    found = best(rows_of(*groups)).iloc[0]
    assert (found["V_scale"], found["lr"], found["n"]) == (1.0, 1e-3, 2)


def test_searched_models_start_as_the_search_found() -> None:
    quick = Config.profile("quick")
    for model in ("wRNN", "iRNN"):
        lr, scale, biases = SEARCHED[model]
        assert quick.setting(f"{model} searched", 10)[0] == lr
        V = initial(quick, f"{model} searched", 10, [0]).V.detach()
        assert float(V.max() if model == "wRNN" else V.std()) == pytest.approx(scale, rel=0.1)
        assert bool(initial(quick, f"{model} searched", 10, [0]).bias().any()) == biases
    assert isinstance(initial(quick, "GRU", 10, [0]), GatedRNN)
    counts = [initial(quick, model, 10, [0]).parameter_count(biases=False) for model in ("wRNN", "iRNN", "GRU")]
    assert max(counts) < 1.02 * min(counts)


def test_searched_settings_are_the_best_of_the_committed_search() -> None:
    records = recorded("copying", "quick", also={"search": [1, 2], "batch": 32})
    rows = pd.concat([record.rows for record in records if record.config["search"]])
    for line in best(rows).to_dict("records"):
        found = (line["lr"], line["V_scale"], line["biases"])
        assert found == pytest.approx(SEARCHED[line["model"]], nan_ok=True)


def test_settings_are_the_papers_table() -> None:
    paper = Config.profile("paper")
    for found in TABLE_5:
        model = "iRNN large" if found.units == 625 else found.model
        scale = 1.0 if model == "wRNN" else 0.001
        assert paper.setting(model, found.T) == Point(found.lr, found.clip or None, found.recurrent, scale, True)
    assert paper.setting("wRNN", 20) == paper.setting("wRNN", 30)
    assert paper.setting("iRNN", 9999) == paper.setting("iRNN", 480)
    assert Config.profile("quick").setting("iRNN", 30)[0] == 1e-3


def test_summary_averages_losses_geometrically(rows_of: Callable[..., pd.DataFrame]) -> None:
    ends = dict.fromkeys(("recall", "symbol accuracy", "parameters"), (1.0, 1.0))
    found = {"test loss": (1e-10, 1e-6), "cross-entropy": (5e-9, 5e-5), **ends}
    line = summarise(rows_of(({"model": "wRNN", "T": 0}, found))).iloc[0]
    assert line["test loss"] == pytest.approx(1e-8)
    assert line["decades sd"] == pytest.approx(4 / math.sqrt(2))
    assert line["n"] == 2
