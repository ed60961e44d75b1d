"""The adding experiment: its rows, settings, repeatability, resumption, summary."""

from __future__ import annotations

import math
from dataclasses import replace

import pandas as pd
import pytest
import torch

from wavemem.records.experiment import Result
from wavemem.streams import stream
from wavemem.wave_rnn import adding, adding_search
from wavemem.wave_rnn.adding import (
    SEARCHED,
    ComparedConfig,
    Config,
    Setting,
    adding_compared,
    by_run,
    networks,
    run,
    setting,
    solved_at,
    start,
    summarise,
)
from wavemem.wave_rnn.adding_task import AddingTask
from wavemem.wave_rnn.grids import TABLE_6, Best

TINY = replace(
    Config.profile("quick"),
    lengths=(6, 9),
    units=10,
    channels=2,
    dense_units=5,
    runs=2,
    iterations=4,
    dense_iterations=6,
    batch=4,
    test_batch=8,
    log_every=2,
)


@pytest.fixture(scope="module")
def result() -> Result:
    return run(TINY, 0, "cpu", progress=False)


def test_every_model_length_and_seed_is_there_once(result: Result) -> None:
    tests = result.rows[result.rows["quantity"] == "test MSE"]
    found = sorted(map(tuple, tests[["model", "T", "seed", "iteration"]].to_numpy().tolist()))
    assert found == sorted((m, T, s, n) for m, n in (("wRNN", 4), ("iRNN", 6)) for T in (6, 9) for s in (0, 1))


def test_stored_weights_give_the_stored_error(result: Result) -> None:
    network = networks(result, "iRNN", 9)
    drawn = [AddingTask(9).batch(8, stream(seed, "adding/9/test")) for seed in (0, 1)]
    x, y = torch.stack([b.inputs for b in drawn], 1), torch.stack([b.targets for b in drawn])
    with torch.no_grad():
        errors = ((network(x)[..., 0].double() - y) ** 2).mean(-1)
    own = result.rows[(result.rows["model"] == "iRNN") & (result.rows["T"] == 9)]
    assert own[own["quantity"] == "test MSE"]["value"].tolist() == pytest.approx(errors.tolist(), rel=1e-12)
    with pytest.raises(ValueError, match="no weights"):
        networks(result, "iRNN", 7)


def test_settings_are_the_papers_table() -> None:
    paper = Config.profile("paper")
    for found in TABLE_6:
        assert setting(f"{found.model} published", found.T) == Setting(None, True, found.lr, found.clip)
    wave, dense = (start(m, [setting(f"{m} published", 100)], [0], 100, paper.channels) for m in ("wRNN", "iRNN"))
    assert wave.parameter_count() == 10_287  # printed 10.29k
    assert dense.parameter_count() == 10_300  # printed 10.3k


def test_solved_is_the_first_error_at_or_below_the_threshold() -> None:
    rows = [
        {"model": "wRNN", "T": 5, "seed": seed, "iteration": i, "quantity": "train MSE", "value": v}
        for seed, values in ((0, (0.2, 0.05, 0.06)), (1, (0.2, 0.2, 0.2)))
        for i, v in zip((1, 10, 20), values, strict=True)
    ]
    rows += [
        {"model": "wRNN", "T": 5, "seed": seed, "iteration": 20, "quantity": q, "value": v}
        for seed in (0, 1)
        for q, v in (("test MSE", 0.1 + seed), ("parameters", 7.0))
    ]
    table = solved_at(pd.DataFrame(rows))
    assert table["iteration"].iloc[0] == 10
    assert math.isnan(table["iteration"].iloc[1])
    line = summarise(pd.DataFrame(rows)).iloc[0]
    assert (line["solved"], line["n"], line["updates"], line["solved at"]) == (1, 2, 20, 10)
    assert line["median test MSE"] == pytest.approx(0.6)


COMPARED = ComparedConfig(
    contestants=("wRNN published", "iRNN published", "iRNN searched"),
    lengths=(6, 9),
    runs=(2, 1),
    updates=(6, 4),
    units=5,
    channels=2,
    batch=4,
    test_batch=8,
    log_every=2,
)


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A search that has found something."""
    monkeypatch.setitem(SEARCHED, "iRNN", {6: Setting(0.1, False, 1e-3, 1.0)})


@pytest.mark.usefixtures("found")
def test_rows_weights_and_table() -> None:
    result = adding_compared.run(COMPARED, 1, progress=False)
    table = adding_compared.summarise(result.rows)
    assert table["n"].tolist() == 3 * [2] + 3 * [1]
    assert table[["solved", "lost", "diverged", "stalled"]].sum(axis=1).tolist() == table["n"].tolist()
    assert table["state"].tolist() == 2 * [10, 5, 5]
    runs = by_run(result.rows)
    assert sorted(runs["seed"].unique()) == [1000, 1001]
    assert not runs["test MSE"].isna().any()
    assert networks(result, "wRNN published", 6).K == 2


def test_a_frozen_run_with_a_harmless_last_batch_has_diverged() -> None:
    base = {"contestant": "iRNN searched", "T": 6, "iteration": 10}
    rows = [
        {**base, "seed": seed, "quantity": quantity, "value": value}
        for seed, test in ((0, 1e27), (1, 0.17), (2, float("nan")))
        for quantity, value in (("train MSE", 0.2), ("test MSE", test))
    ]
    assert by_run(pd.DataFrame(rows))["fate"].tolist() == ["diverged", "stalled", "diverged"]


@pytest.mark.usefixtures("found")
def test_contestants_see_the_same_sequences_and_the_start_is_what_differs() -> None:
    same = replace(COMPARED, contestants=("iRNN published", "iRNN searched"), lengths=(6,), updates=(1,))
    weights = adding_compared.run(same, 1, progress=False).weights
    assert torch.allclose(weights["iRNN published/T6/W"], weights["iRNN searched/T6/W"], atol=3e-3)
    first, second = (setting(name, 6) for name in same.contestants)
    assert (first.V_scale, first.biases) == (None, True)
    assert (second.V_scale, second.biases) == (0.1, False)


def test_lengths_between_take_the_next_shorter_searched_and_the_next_longer_published_setting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = {T: Setting(0.1, False, lr, 1.0) for T, lr in ((10, 1e-1), (20, 1e-2), (40, 1e-3))}
    monkeypatch.setitem(SEARCHED, "iRNN", found)
    table = tuple(Best("iRNN", 100, 1, T, own.lr, own.clip, "identity") for T, own in found.items())
    monkeypatch.setattr(adding, "TABLE_6", table)
    for T, searched, published in ((5, 10, 10), (10, 10, 10), (15, 10, 20), (20, 20, 20), (30, 20, 40), (50, 40, 40)):
        assert setting("iRNN searched", T) == found[searched]
        assert setting("iRNN published", T).lr == found[published].lr


def test_medians_are_of_those_that_solved_it_and_of_all_tests() -> None:
    base = {"contestant": "iRNN searched", "T": 6}
    rows = []
    for seed, (curve, test) in enumerate((((0.01, 0.01), 0.02), ((0.2, 0.01), 0.3), ((0.2, 0.2), float("nan")))):
        rows += [
            {**base, "seed": seed, "iteration": 10 * (i + 1), "quantity": "train MSE", "value": value}
            for i, value in enumerate(curve)
        ]
        for quantity, value in (("test MSE", test), ("parameters", 7.0), ("state", 5.0)):
            rows.append({**base, "seed": seed, "iteration": 20, "quantity": quantity, "value": value})
    line = adding_compared.summarise(pd.DataFrame(rows)).iloc[0]
    assert (line["n"], line["solved"], line["diverged"], line["stalled"]) == (3, 2, 1, 0)
    assert (line["median"], line["median test MSE"]) == (15, 0.3)
    assert (line["parameters"], line["state"]) == (7, 5)


def test_the_search_and_the_test_have_the_same_sizes() -> None:
    """Same network, batch and clip rule; other seeds are a matter of the base seed."""
    search, test = adding_search.Config(), ComparedConfig()
    for name in ("units", "channels", "batch", "margin", "log_every", "lengths"):
        assert getattr(search, name) == getattr(test, name)


def test_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match="updates"):
        ComparedConfig(updates=(1,))
    with pytest.raises(ValueError, match="contestant"):
        setting("LSTM", 100)
    with pytest.raises(ValueError, match="model"):
        start("LSTM", [Setting(0.5, False, 1e-3, 1.0)], [0], 5)
