"""The adding experiment: its rows, settings, repeatability, resumption, summary."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch

from wavemem.experiments.adding import BEST, Config, initial, networks, run, solved_at, summarise
from wavemem.records.experiment import Result
from wavemem.streams import stream
from wavemem.tasks.adding import AddingTask

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


def test_runs_do_not_depend_on_their_neighbours(result: Result) -> None:
    alone = run(replace(TINY, runs=1, models=("wRNN",)), 0, "cpu", progress=False).rows
    together = result.rows[(result.rows["model"] == "wRNN") & (result.rows["seed"] == 0)]
    pd.testing.assert_frame_equal(alone, together.reset_index(drop=True))


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


def test_a_stopped_run_goes_on(result: Result, tmp_path: Path) -> None:
    run(replace(TINY, lengths=(6,)), 0, "cpu", progress=False, checkpoints=tmp_path)
    again = run(TINY, 0, "cpu", progress=False, checkpoints=tmp_path)
    pd.testing.assert_frame_equal(again.rows, result.rows)


def test_settings_are_the_papers_table() -> None:
    paper = Config.profile("paper")
    for model, table in BEST.items():
        for T, setting in table.items():
            assert paper.setting(model, T) == setting
    assert initial(paper, "wRNN", [0]).parameter_count() == 10_287  # printed 10.29k
    assert initial(paper, "iRNN", [0]).parameter_count() == 10_300  # printed 10.3k


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


def test_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match="profile"):
        Config.profile("huge")
    with pytest.raises(ValueError, match="models"):
        Config(models=("LSTM",))
    with pytest.raises(ValueError, match="batch"):
        Config(batch=0)
    with pytest.raises(ValueError, match="model"):
        initial(Config(), "LSTM", [0])
