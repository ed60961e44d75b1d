"""The string-copying experiment at a tiny size: what it records, what a search picks, what it refuses."""

from __future__ import annotations

import dataclasses
import math

import pandas as pd
import pytest
import torch

from wavemem.records.run import with_settings
from wavemem.records.runs import recorded
from wavemem.ssm import string_copying as experiment
from wavemem.ssm.string_comparison import search_rows
from wavemem.ssm.string_copying import MODELS, Config
from wavemem.ssm.string_tasks import teacher_forced_scores
from wavemem.streams import stream

TINY = Config(
    models=("ALiBi", "Mamba", "v-Wave", "S6 wave", "S4D", "H3"),
    letters=3,
    shortest=2,
    longest=3,
    context=12,
    width=8,
    layers=1,
    heads=2,
    N=4,
    runs=2,
    iterations=6,
    batch=4,
    warmup=2,
    tested=(2, 5),
    questions=5,
    log_every=3,
)


def test_rows_say_what_was_measured() -> None:
    result = experiment.run(TINY, 3, "cpu", progress=False)
    rows = result.rows
    assert list(rows.columns) == ["model", "seed", "lr", "iteration", "length", "quantity", "value"]
    assert set(rows["seed"]) == {3000, 3001}
    assert set(rows[rows["quantity"] == "loss"]["iteration"]) == {1, 3, 6}
    scores = rows[rows["quantity"].isin(["characters", "strings", "teacher-forced characters"])]
    assert set(scores["length"]) == {2, 5}
    assert scores["value"].between(0, 1).all()
    velocity = rows[rows["quantity"] == "velocity"].groupby("model")["value"].mean()
    assert velocity["Mamba"] == 1.0
    assert abs(velocity["v-Wave"] - 0.5) < 0.1
    assert not {"ALiBi", "S4D", "H3"} & set(velocity.index)
    assert set(rows[rows["quantity"] == "state velocity"]["model"]) == {"S6 wave"}
    table = experiment.summarise(rows)
    assert list(table["model"]) == list(TINY.models)
    assert (table["n"] == 2).all()
    assert {"final loss", "strings at 2", "characters at 5"} <= set(table.columns)


def test_stored_networks_answer_as_they_did() -> None:
    config = dataclasses.replace(TINY, models=("v-Wave",))
    result = experiment.run(config, 3, "cpu", progress=False)
    model = experiment.networks(result, config, "v-Wave")
    asked = experiment.task(config).questions(2, config.questions, stream(3000, "strings/test/2"))
    rows = result.rows[(result.rows["quantity"] == "teacher-forced characters") & (result.rows["length"] == 2)]
    assert teacher_forced_scores(model, asked).characters.tolist() == rows["value"].tolist()
    assert all(torch.equal(value, result.weights[f"v-Wave/{name}"]) for name, value in model.state_dict().items())
    with pytest.raises(ValueError, match="no weights"):
        experiment.networks(result, config, "Mamba")


def test_a_search_trains_every_rate_on_the_same_contexts() -> None:
    result = experiment.run(dataclasses.replace(TINY, models=("Mamba",), rates=(1e-7, 1e-2)), 0, "cpu", progress=False)
    assert result.weights == {}
    losses = result.rows[result.rows["quantity"] == "loss"]
    first = losses[losses["iteration"] == 1].pivot_table(index="seed", columns="lr", values="value")
    assert first[1e-7].tolist() == pytest.approx(first[1e-2].tolist())
    last = losses[losses["iteration"] == 6].groupby("lr")["value"].mean()
    assert last[1e-2] != pytest.approx(last[1e-7], abs=1e-6)


def test_the_best_rate_is_that_of_the_smallest_final_loss() -> None:
    rows = [
        {"model": m, "seed": s, "lr": lr, "iteration": i, "length": 0, "quantity": "loss", "value": value}
        for m, lr, late in (("A", 0.1, 2.0), ("A", 0.2, 1.0), ("B", 0.1, float("nan")), ("B", 0.3, 5.0))
        for s in (0, 1)
        for i, value in ((1, 0.0), (50, 0.0), (95, late), (100, late + s))
    ]
    assert experiment.best_rates(pd.DataFrame(rows)) == {"A": 0.2, "B": 0.3}


def test_found_rates_are_those_of_the_committed_searches() -> None:
    every = [*recorded("string_copying", "quick"), *recorded("string_copying", also=experiment.NARROW)]
    for size, rates in experiment.FOUND.items():
        rows = search_rows(every, size)
        assert experiment.best_rates(rows) == {
            model: rate for model, rate in rates.items() if model in set(rows["model"])
        }
        assert set(rates) == set(rows["model"])


def test_a_control_that_was_not_searched_takes_the_rate_of_what_it_changes() -> None:
    assert set(experiment.CHANGES) | set(experiment.CHANGES.values()) <= set(MODELS)
    assert Config().rate("Mamba n + 1") == experiment.FOUND["quick"]["Mamba n + 1"]
    nothing = Config.profile("paper")
    assert nothing.rate("v-Wave frozen") == nothing.lr
    narrow = dataclasses.replace(nothing, size="narrow")
    for control, changed in experiment.CHANGES.items():
        if control not in experiment.FOUND["narrow"]:
            assert narrow.rate(control) == narrow.rate(changed)


def test_controls_are_what_their_names_say() -> None:
    config = Config()
    counts = {model: experiment.build(config, model, (0,)) for model in MODELS}
    parameters = {model: network.parameter_count() for model, network in counts.items()}
    states = {model: network.state_count(23) for model, network in counts.items()}
    assert parameters["Mamba n + 1"] == parameters["v-Wave"] == parameters["v-Wave frozen"] + 2 * 64
    assert states["Mamba long (same states)"] == states["Mamba"] == states["v-Wave"] == 2 * 64 * 20
    assert states["Mamba long"] == states["v-Wave long"] == 2 * 64 * 28
    assert parameters["S6 wave"] == parameters["S6 wave (v = 0)"] + 2
    assert config.long == 12


def test_the_narrow_size_is_the_paper_profile_made_small() -> None:
    narrow, paper = Config.narrow(), Config.profile("paper")
    assert (narrow.letters, narrow.shortest, narrow.longest) == (26, 5, 20)
    assert narrow.tested == paper.tested
    assert narrow.width < paper.width


def test_the_moment_from_which_a_loss_stays_low() -> None:
    assert experiment.steady_below([10, 20, 30], [3.0, 1.0, 0.5], 2.0) == 20
    assert experiment.steady_below([10, 20, 30], [1.0, 3.0, 0.5], 2.0) == 30
    assert experiment.steady_below([10, 20], [1.0, 1.0], 2.0) == 10
    assert math.isnan(experiment.steady_below([10, 20], [1.0, 3.0], 2.0))
    assert math.isnan(experiment.steady_below([], [], 2.0))


def test_configuration_says_what_is_wrong() -> None:
    with pytest.raises(ValueError, match="context"):
        Config(context=20)
    with pytest.raises(ValueError, match="N = 4"):
        experiment.build(dataclasses.replace(Config(), N=4), "Mamba long (same states)", (0,))
    assert Config.profile("paper").context == 220
    assert with_settings(Config.profile("paper"), {"width": 64}).width == 64
