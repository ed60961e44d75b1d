"""The comparison on the adding task: its contestants, rows, rules."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch

from wavemem.experiments import adding, adding_search
from wavemem.experiments import adding_compared as experiment
from wavemem.experiments._adding_training import Setting

TINY = experiment.Config(
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


@pytest.fixture(autouse=True)
def found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A search that has found something."""
    monkeypatch.setitem(experiment.SEARCHED, "iRNN", {6: Setting(0.1, False, 1e-3, 1.0)})


def test_rows_weights_and_table(tmp_path: Path) -> None:
    result = experiment.run(TINY, 1, progress=False)
    table = experiment.summarise(result.rows)
    assert table["n"].tolist() == 3 * [2] + 3 * [1]
    assert table[["solved", "lost", "diverged", "stalled"]].sum(axis=1).tolist() == table["n"].tolist()
    assert table["state"].tolist() == 2 * [10, 5, 5]
    runs = experiment.by_run(result.rows)
    assert sorted(runs["seed"].unique()) == [1000, 1001]
    assert not runs["test MSE"].isna().any()
    assert experiment.networks(result, "wRNN published", 6).K == 2
    for _ in range(2):
        again = experiment.run(TINY, 1, progress=False, checkpoints=tmp_path)
        pd.testing.assert_frame_equal(again.rows, result.rows)


def test_a_frozen_run_with_a_harmless_last_batch_has_diverged() -> None:
    base = {"contestant": "iRNN searched", "T": 6, "iteration": 10}
    rows = [
        {**base, "seed": seed, "quantity": quantity, "value": value}
        for seed, test in ((0, 1e27), (1, 0.17), (2, float("nan")))
        for quantity, value in (("train MSE", 0.2), ("test MSE", test))
    ]
    assert experiment.by_run(pd.DataFrame(rows))["fate"].tolist() == ["diverged", "stalled", "diverged"]


def test_contestants_see_the_same_sequences_and_the_start_is_what_differs() -> None:
    same = replace(TINY, contestants=("iRNN published", "iRNN searched"), lengths=(6,), updates=(1,))
    weights = experiment.run(same, 1, progress=False).weights
    assert torch.allclose(weights["iRNN published/T6/W"], weights["iRNN searched/T6/W"], atol=3e-3)
    first, second = (experiment.setting(name, 6) for name in same.contestants)
    assert (first.V_scale, first.biases) == (None, True)
    assert (second.V_scale, second.biases) == (0.1, False)


def test_published_settings_are_the_papers() -> None:
    for model, lengths in adding.BEST.items():
        for T, (lr, clip) in lengths.items():
            assert experiment.setting(f"{model} published", T) == Setting(None, True, lr, clip)


def test_lengths_between_take_the_next_shorter_searched_and_the_next_longer_published_setting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = {T: Setting(0.1, False, lr, 1.0) for T, lr in ((10, 1e-1), (20, 1e-2), (40, 1e-3))}
    monkeypatch.setitem(experiment.SEARCHED, "iRNN", found)
    monkeypatch.setitem(experiment.BEST, "iRNN", {T: (own.lr, own.clip) for T, own in found.items()})
    for T, searched, published in ((5, 10, 10), (10, 10, 10), (15, 10, 20), (20, 20, 20), (30, 20, 40), (50, 40, 40)):
        assert experiment.setting("iRNN searched", T) == found[searched]
        assert experiment.setting("iRNN published", T).lr == found[published].lr


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
    line = experiment.summarise(pd.DataFrame(rows)).iloc[0]
    assert (line["n"], line["solved"], line["diverged"], line["stalled"]) == (3, 2, 1, 0)
    assert (line["median"], line["median test MSE"]) == (15, 0.3)
    assert (line["parameters"], line["state"]) == (7, 5)


def test_the_search_and_the_test_have_the_same_sizes() -> None:
    """Same network, batch and clip rule; other seeds are a matter of the base seed."""
    search, test = adding_search.Config(), experiment.Config()
    for name in ("units", "channels", "batch", "margin", "log_every", "lengths"):
        assert getattr(search, name) == getattr(test, name)


def test_bad_configurations_are_refused() -> None:
    with pytest.raises(ValueError, match="contestants"):
        experiment.Config(contestants=("LSTM",))
    with pytest.raises(ValueError, match="updates"):
        experiment.Config(updates=(1,))
    with pytest.raises(ValueError, match="contestant"):
        experiment.setting("LSTM", 100)
    with pytest.raises(ValueError, match="profile"):
        experiment.Config.profile("huge")
