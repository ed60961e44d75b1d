"""The adding experiments: settings, rows, what becomes of a run, repeatability, tables."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from wavemem.records.experiment import Result, Where
from wavemem.streams import stream
from wavemem.wave_rnn import adding, adding_search
from wavemem.wave_rnn.adding import (
    DIVERGED_MSE,
    SEARCHED,
    SOLVED_MSE,
    TABLE_6,
    ComparedConfig,
    Config,
    Setting,
    adding_compared,
    by_run,
    fates,
    networks,
    run,
    setting,
    start,
    summarise,
    train,
)
from wavemem.wave_rnn.adding_task import AddingTask
from wavemem.wave_rnn.grids import best_settings, draw
from wavemem.wave_rnn.network import IdentityRNN

SMALL = {"units": 5, "channels": 2, "batch": 4, "test_batch": 8, "log_every": 2}
TINY = Config(lengths=(6, 9), dense_units=5, runs=2, iterations=4, dense_iterations=6, **SMALL)
STARTS = ("wRNN published", "iRNN published", "iRNN searched")
COMPARED = ComparedConfig(contestants=STARTS, lengths=(6, 9), runs=(2, 1), updates=(6, 4), **SMALL)
RowsOf = Callable[..., pd.DataFrame]
QUIET = Setting(0.1, False, 1e-3, 1.0)


@pytest.fixture(scope="module")
def result() -> Result:
    return run(TINY, 0, "cpu", progress=False)


def test_every_model_length_and_seed_is_there_once(result: Result) -> None:
    tests = result.rows[result.rows["quantity"] == "test MSE"]
    found = sorted(map(tuple, tests[["model", "T", "seed", "iteration"]].to_numpy().tolist()))
    assert found == sorted((m, T, s, n) for m, n in (("wRNN", 4), ("iRNN", 6)) for T in (6, 9) for s in (0, 1))


def test_stored_weights_give_the_stored_error(result: Result) -> None:
    network = networks(result, "iRNN", 9)
    x, y = draw(AddingTask(9), 8, [stream(seed, "adding/9/test") for seed in (0, 1)])
    with torch.no_grad():
        errors = ((network(x)[..., 0].double() - y) ** 2).mean(-1)
    own = result.rows[(result.rows["model"] == "iRNN") & (result.rows["T"] == 9)]
    assert own[own["quantity"] == "test MSE"]["value"].tolist() == pytest.approx(errors.tolist(), rel=1e-12)


def test_settings_are_the_papers_table() -> None:
    paper = Config.profile("paper")
    for found in TABLE_6:
        assert setting(f"{found.model} published", found.T) == Setting(None, True, found.lr, found.clip)
    wave, dense = (start(m, [setting(f"{m} published", 100)], [0], 100, paper.channels) for m in ("wRNN", "iRNN"))
    assert wave.parameter_count() == 10_287  # printed 10.29k
    assert dense.parameter_count() == 10_300  # printed 10.3k


def test_lengths_between_take_the_next_shorter_searched_and_the_next_longer_published_setting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = {T: Setting(0.1, False, lr, 1.0) for T, lr in ((10, 1e-1), (20, 1e-2), (40, 1e-3))}
    monkeypatch.setitem(SEARCHED, "iRNN", found)
    table = best_settings("iRNN", 100, 1, *((T, own.lr, own.clip, "identity") for T, own in found.items()))
    monkeypatch.setattr(adding, "TABLE_6", table)
    for T, searched, published in ((5, 10, 10), (10, 10, 10), (15, 10, 20), (20, 20, 20), (30, 20, 40), (50, 40, 40)):
        assert setting("iRNN searched", T) == found[searched]
        assert setting("iRNN published", T).lr == found[published].lr


def test_a_start_is_its_settings() -> None:
    network = start("iRNN", [QUIET._replace(V_scale=0.5), Setting(None, True, 1e-3, 1.0)], [3, 4], 5)
    assert network.K == 4
    alone = IdentityRNN.initialise([4], 5, 2, 1, V_scale=0.5, biases=False)
    assert torch.equal(network.run(1).V, alone.V)
    assert [bool(network.run(k).b_V.any()) for k in (0, 2)] == [False, True]


@pytest.mark.parametrize(
    ("threshold", "frozen", "margin", "updates"),
    [
        (10.0, False, 4, 5),  # solved at the first look: a margin later all is over
        (10.0, True, 3, 4),  # a run that is frozen from the start is not waited for
        (-1.0, True, 3, 6),  # one that has not solved is
    ],
)
def test_training_ends_a_margin_after_the_last_run_has_solved(
    threshold: float, frozen: bool, margin: int, updates: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(adding, "SOLVED_MSE", threshold)
    config, ended = Config(batch=4, test_batch=8, log_every=1), []
    where = Where(torch.device("cpu"), False, tmp_path / "c")
    for _ in range(2):  # the second reads the checkpoint
        network = start("iRNN", [QUIET], [0, 1], 5)
        if frozen:
            with torch.no_grad():
                network.V[0] = math.nan
        ended.append(train(config, network, 6, 6, [QUIET], [{"model": "iRNN"}], [0, 1], where, margin).rows)
    assert ended[0]["iteration"].max() == updates
    pd.testing.assert_frame_equal(*ended)


def fate_by_hand(curve: list[float], margin: int) -> tuple[str, float]:
    """The rule of `fates`, word by word."""
    times = [10 * (i + 1) for i in range(len(curve))]
    solved = [t for t, error in zip(times, curve, strict=True) if error <= SOLVED_MSE]
    if not solved:
        return ("stalled" if curve[-1] <= DIVERGED_MSE else "diverged"), math.nan
    within = [e for t, e in zip(times, curve, strict=True) if solved[0] <= t <= solved[0] + margin]
    last = [math.inf if math.isnan(e) else e for e in within[-5:]]
    return ("solved" if statistics.median(last) <= SOLVED_MSE else "lost"), solved[0]


ERRORS = st.sampled_from([0.01, SOLVED_MSE, 1.01 * SOLVED_MSE, DIVERGED_MSE, 1.01 * DIVERGED_MSE, math.inf, math.nan])


@settings(max_examples=150, deadline=None)
@given(st.lists(ERRORS, min_size=1, max_size=12), st.sampled_from([10, 50, 55, 60]), st.randoms(use_true_random=False))
def test_fates_are_what_the_rule_says(rows_of: RowsOf, values: list[float], margin: int, shuffled: object) -> None:
    rows = rows_of(({"model": "a"}, {"train MSE": [values]})).to_dict("records")
    shuffled.shuffle(rows)
    line = fates(pd.DataFrame(rows), ["model"], margin).iloc[0]
    fate, at = fate_by_hand(values, margin)
    assert (line["fate"], line["updates"]) == (fate, 10 * len(values))
    assert line["solved at"] == pytest.approx(at, nan_ok=True)


def test_solved_is_the_first_error_at_or_below_the_threshold(rows_of: RowsOf) -> None:
    curves = ((0.2, 0.05, 0.06), (0.2, 0.2, 0.2))
    found = {"train MSE": curves, "test MSE": (0.1, 1.1), "parameters": (7.0, 7.0)}
    line = summarise(rows_of(({"model": "wRNN", "T": 5}, found))).iloc[0]
    assert line[["solved", "n", "updates", "solved at", "parameters"]].tolist() == [1, 2, 30, 20, 7]
    assert line["median test MSE"] == pytest.approx(0.6)


def test_medians_are_of_those_that_solved_it_and_of_all_tests(rows_of: RowsOf) -> None:
    """A frozen run whose last batch looks harmless has diverged if its test error says so."""
    curves = ((0.01, 0.01), (0.2, 0.01), (0.2, 0.2), (0.2, 0.2), (0.2, 0.2))
    ends = {"test MSE": (0.02, 0.3, math.nan, 1e27, 0.17), "parameters": 5 * (7.0,), "state": 5 * (5.0,)}
    rows = rows_of(({"contestant": "iRNN searched", "T": 6}, {"train MSE": curves, **ends}))
    assert by_run(rows)["fate"].tolist() == ["solved", "solved", "diverged", "diverged", "stalled"]
    line = adding_compared.summarise(rows).iloc[0]
    assert line[["n", "solved", "diverged", "stalled"]].tolist() == [5, 2, 2, 1]
    assert line[["median", "median test MSE", "parameters", "state"]].tolist() == [15, 0.3, 7, 5]


def test_rows_weights_and_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SEARCHED, "iRNN", {6: QUIET})
    result = adding_compared.run(COMPARED, 1, progress=False)
    table = adding_compared.summarise(result.rows)
    assert table["n"].tolist() == 3 * [2] + 3 * [1]
    assert table[["solved", "lost", "diverged", "stalled"]].sum(axis=1).tolist() == table["n"].tolist()
    assert table["state"].tolist() == 2 * [10, 5, 5]
    runs = by_run(result.rows)
    assert sorted(runs["seed"].unique()) == [1000, 1001]
    assert not runs["test MSE"].isna().any()
    assert networks(result, "wRNN published", 6).K == 2


def test_contestants_see_the_same_sequences_and_the_start_is_what_differs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SEARCHED, "iRNN", {6: QUIET})
    same = replace(COMPARED, contestants=("iRNN published", "iRNN searched"), lengths=(6,), updates=(1,))
    weights = adding_compared.run(same, 1, progress=False).weights
    assert torch.allclose(weights["iRNN published/T6/W"], weights["iRNN searched/T6/W"], atol=3e-3)
    first, second = (setting(name, 6) for name in same.contestants)
    assert (first.V_scale, first.biases) == (None, True)
    assert (second.V_scale, second.biases) == (0.1, False)


def test_the_search_and_the_test_have_the_same_sizes() -> None:
    """Same network, batch and clip rule; other seeds are a matter of the base seed."""
    search, test = adding_search.Config(), ComparedConfig()
    for name in ("units", "channels", "batch", "margin", "log_every", "lengths"):
        assert getattr(search, name) == getattr(test, name)
