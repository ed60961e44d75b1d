"""The search of the adding task: its grid, its rule, and what becomes of a run."""

from __future__ import annotations

import math
import statistics
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from wavemem.records.experiment import Where
from wavemem.wave_rnn import adding_search as experiment
from wavemem.wave_rnn.adding import DIVERGED_MSE, SOLVED_MSE, Config, Setting, fates, start, train
from wavemem.wave_rnn.adding_search import STARTS, StartsConfig, adding_starts, by_network, start_networks
from wavemem.wave_rnn.network import IdentityRNN

TINY = experiment.Config(
    lengths=(6, 8),
    dense_scales=(0.001, 0.1),
    wave_scales=(1.0,),
    rates=(1e-3, 1e-2),
    wave_rates=(1e-3, 1e-2),
    long_rates=(1e-3,),
    finalists=1,
    units=5,
    channels=2,
    runs=2,
    wave_runs=1,
    dense_updates=(6, 4),
    wave_updates=4,
    batch=4,
    test_batch=8,
    log_every=2,
)

LITTLE = Config(batch=4, test_batch=8, log_every=1)


def curve(values: list[float], **names: object) -> list[dict[str, object]]:
    """Rows of one run, logged every 10 updates."""
    return [
        {"seed": 0, **names, "iteration": 10 * (i + 1), "quantity": "train MSE", "value": v}
        for i, v in enumerate(values)
    ]


@pytest.mark.parametrize(
    ("values", "fate", "at"),
    [
        ([0.2, 0.05, 0.04, 0.2, 0.01], "solved", 20.0),
        ([0.2, 0.04, 0.04] + 10 * [0.2], "lost", 20.0),
        ([0.2, 0.04, 0.04, math.nan, math.nan, math.nan], "lost", 20.0),
        ([0.2, 0.17, 0.16], "stalled", math.nan),
        ([0.2, 0.17, 2.0], "diverged", math.nan),
        ([0.2, math.inf], "diverged", math.nan),
        ([0.2, math.nan], "diverged", math.nan),
    ],
)
def test_fates(values: list[float], fate: str, at: float) -> None:
    line = fates(pd.DataFrame(curve(values, model="a")), ["model"], margin=100).iloc[0]
    assert line["fate"] == fate
    assert line["solved at"] == pytest.approx(at, nan_ok=True)


def test_what_happens_after_the_margin_does_not_count() -> None:
    rows = pd.DataFrame(curve([0.04] * 6 + [9.0] * 20, model="a"))
    assert fates(rows, ["model"], margin=50)["fate"].item() == "solved"
    assert fates(rows, ["model"], margin=500)["fate"].item() == "lost"


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
def test_fates_are_what_the_rule_says(values: list[float], margin: int, shuffled: object) -> None:
    rows = curve(values, model="a")
    shuffled.shuffle(rows)
    line = fates(pd.DataFrame(rows), ["model"], margin).iloc[0]
    fate, at = fate_by_hand(values, margin)
    assert (line["fate"], line["updates"]) == (fate, 10 * len(values))
    assert line["solved at"] == pytest.approx(at, nan_ok=True)


def test_of_equally_many_seeds_the_sooner_is_better_and_of_those_the_smaller_rate() -> None:
    rows = []
    for lr, values in ((1e-2, [0.2, 0.01]), (1e-1, [0.01, 0.01]), (1e-4, [0.2, 9.0]), (1e-3, [0.2, 0.01])):
        rows += curve(values, model="iRNN", T=6, V_scale=0.1, biases=True, lr=lr)
    table = experiment.summarise(pd.DataFrame(rows))
    assert table["lr"].tolist() == [1e-1, 1e-3, 1e-2, 1e-4]
    assert table["median"].tolist()[:3] == [10, 20, 20]
    assert table["n"].tolist() == [1] * 4
    assert experiment.best(pd.DataFrame(rows))["lr"].tolist() == [1e-1]


def test_better_is_more_seeds_then_sooner() -> None:
    rows = []
    for lr, values in ((1e-3, ([0.2, 0.2, 0.01], [0.2, 0.2, 0.01])), (1e-2, ([0.01, 0.01, 0.01], [0.2, 0.2, 9.0]))):
        for seed, own in enumerate(values):
            rows += curve(list(own), model="iRNN", T=6, V_scale=0.1, biases=True, lr=lr, seed=seed)
    table = experiment.summarise(pd.DataFrame(rows))
    assert table["lr"].tolist() == [1e-3, 1e-2]
    assert table["solved"].tolist() == [1.0, 0.5]
    assert table["diverged"].tolist() == [0.0, 0.5]
    edge = experiment.at_edge(pd.DataFrame(rows)).iloc[0]
    assert edge["lr at an edge"]
    assert not edge["V_scale at an edge"]


def test_the_grid_is_complete() -> None:
    result = experiment.run(TINY, 2, progress=False)
    tests = result.rows[result.rows["quantity"] == "test MSE"]
    assert sorted(tests["seed"].unique()) == [2000, 2001]
    assert len(tests[(tests["model"] == "iRNN") & (tests["T"] == 6)]) == 2 * 2 * 2 * 2
    assert len(tests[(tests["model"] == "wRNN") & (tests["T"] == 6)]) == 2 * 2
    assert len(tests[tests["T"] == 8]) == 2  # one finalist, one rate


def test_the_waves_best_start_goes_on_to_longer_sequences() -> None:
    config = replace(TINY, models=("wRNN",), wave_scales=(0.5, 1.0), wave_rates=(1e-3,), wave_lengths=(8,))
    longer = experiment.run(config, 2, progress=False).rows.query("T == 8")
    assert len(longer[longer["quantity"] == "test MSE"]) == 1  # one start, one rate, one seed
    assert longer["iteration"].max() == 4
    with pytest.raises(ValueError, match="wave_lengths"):
        replace(TINY, wave_lengths=(6,))


def test_a_start_is_its_settings() -> None:
    quiet, loud = Setting(0.5, False, 1e-3, 1.0), Setting(None, True, 1e-3, 1.0)
    network = start("iRNN", [quiet, loud], [3, 4], 5)
    assert network.K == 4
    alone = IdentityRNN.initialise([4], 5, 2, 1, V_scale=0.5, biases=False)
    assert torch.equal(network.run(1).V, alone.V)
    assert not network.run(0).b_V.any()
    assert network.run(2).b_V.any()


def test_training_ends_a_margin_after_the_last_run_has_solved(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("wavemem.wave_rnn.adding.SOLVED_MSE", 10.0)  # solved at the first look
    settings = [Setting(0.1, False, 1e-3, 1.0)]
    ended = []
    for _ in range(2):  # the second reads the checkpoint
        network, where = start("iRNN", settings, [0, 1], 5), Where(torch.device("cpu"), checkpoint=tmp_path / "c")
        rows, _ = train(LITTLE, network, 6, 50, settings, [{"model": "iRNN"}], [0, 1], where, margin=4)
        ended.append(rows)
    assert ended[0]["iteration"].max() == 5
    pd.testing.assert_frame_equal(*ended)


@pytest.mark.parametrize(("threshold", "updates"), [(10.0, 4), (-1.0, 6)])
def test_a_frozen_run_is_not_waited_for_and_one_that_has_not_solved_is(
    monkeypatch: pytest.MonkeyPatch, threshold: float, updates: int
) -> None:
    monkeypatch.setattr("wavemem.wave_rnn.adding.SOLVED_MSE", threshold)
    settings = [Setting(0.1, False, 1e-3, 1.0)]
    network = start("iRNN", settings, [0, 1], 5)
    with torch.no_grad():
        network.V[0] = math.nan  # the first run is frozen from the start
    where = Where(torch.device("cpu"))
    rows, _ = train(LITTLE, network, 6, 6, settings, [{"model": "iRNN"}], [0, 1], where, margin=3)
    assert rows["iteration"].max() == updates


RING, PUBLISHED = "shift, unit sparse V", "identity, small normal V, biases"
SMALL = StartsConfig(T=6, units=6, rates=(1e-3, 1e-2), runs=2, iterations=12, batch=8, test_batch=16, log_every=4)


def test_only_the_start_differs() -> None:
    network = start_networks(SMALL, 0)
    assert len(STARTS) == 16
    assert network.K == 16 * 2 * 2
    at = {name: network.run(4 * i) for i, name in enumerate(SMALL.starts)}
    for name, own in STARTS.items():
        eye = torch.eye(6)
        assert torch.equal(at[name].U[0], eye if own.U == "identity" else eye.roll(1, 1))
        assert bool(at[name].b_V.any()) == own.biases
        assert not at[name].b_U.any()
        assert at[name].parameter_count() == at[RING].parameter_count()
        assert bool((at[name].V[0, 1:] == 0).all()) == (own.V == "sparse")
    with_biases = [at[name].b_V for name, own in STARTS.items() if own.biases]
    assert all(torch.equal(b, with_biases[0]) for b in with_biases)


def test_both_patterns_have_the_same_size() -> None:
    for own in STARTS.values():
        length = own.scale(400) * (20 if own.V == "normal" else 1)
        assert length == pytest.approx(1.0 if own.unit_size else 0.02)
    assert STARTS[PUBLISHED].scale(40) == pytest.approx(0.001)
    assert STARTS[RING].scale(40) == 1.0


def test_rows_and_tables() -> None:
    result = adding_starts.run(SMALL, 0, progress=False)
    assert set(result.rows["quantity"]) == {"train MSE", "test MSE"}
    assert len(by_network(result.rows)) == 64
    table = adding_starts.summarise(result.rows)
    assert set(table.index) == set(SMALL.starts)
    assert (table[["solved", "lost", "diverged", "stalled"]].sum(axis=1) == 2).all()


def test_a_start_is_shown_at_the_rate_that_solves_most_and_of_those_soonest() -> None:
    rows = []
    for name, lr, *curves in (
        (PUBLISHED, 1e-3, [0.2, 0.2], [0.2, 0.01]),
        (RING, 1e-1, [0.01, 0.01], [9.0, 9.0]),
        (RING, 1e-3, [0.2, 0.01], [0.2, 0.01]),
        (RING, 1e-2, [0.01, 0.01], [0.01, 0.01]),
    ):
        rows += [
            {"start": name, "lr": lr, "seed": s, "iteration": 10 * (i + 1), "quantity": "train MSE", "value": value}
            for s, curve in enumerate(curves)
            for i, value in enumerate(curve)
        ]
    table = adding_starts.summarise(pd.DataFrame(rows))
    assert table.index.tolist() == [RING, PUBLISHED]
    assert table["lr"].tolist() == [1e-2, 1e-3]
    assert table["median"].tolist() == [10, 20]
    assert table[["solved", "stalled", "networks"]].to_numpy().tolist() == [[2, 0, 2], [1, 1, 2]]


def test_bad_configurations_are_refused() -> None:
    with pytest.raises(ValueError, match="dense_updates"):
        experiment.Config(dense_updates=(1,))
    with pytest.raises(ValueError, match="seed"):
        adding_starts.run(SMALL, -1, progress=False)
