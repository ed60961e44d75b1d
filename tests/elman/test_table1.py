"""Table 1: what its rows say is what the kept weights do, whoever trained them."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from wavemem.elman.table1 import CELL, FINAL, Config, cells, networks, repeat_copy, run, summarise
from wavemem.elman.training import evaluate
from wavemem.records.experiment import Result
from wavemem.records.run import run_experiment
from wavemem.records.runs import recorded, runs_root, shared_run
from wavemem.theory.spectrum import angle_error, theoretical_eigenvalues

SMALL = Config(
    s=2,
    d=2,
    tasks=("T1", "T3"),
    hidden_sizes=(8, 12),
    # Neither grid is in increasing order: the weights must be found all the same.
    weight_decays=(1e-2, 0.0),
    thresholds=(0.9, 0.6),
    runs=3,
    iterations=60,
    batch=8,
    horizons=(2, 4),
    weights_of=2,
    test_batches=2,
    log_every=20,
)


@pytest.fixture(scope="module")
def small() -> Result:
    return run(SMALL, 5, progress=False)


@pytest.mark.parametrize(("task", "size"), [("T1", 8), ("T3", 12)])
def test_the_kept_weights_are_those_that_were_measured(small: Result, task: str, size: int) -> None:
    kept = networks(small, task, size)
    assert (kept.ensemble.K, kept.ensemble.N, kept.task.s, kept.task.d) == (8, size, 2, 2)
    table = cells(small.rows).set_index(["task", "hidden_size", "weight_decay", "threshold", "seed"])
    accuracy = evaluate(kept.ensemble, kept.task, 8, batches=2, batch=8, seeds=kept.seeds)
    for k in range(kept.ensemble.K):
        row = table.loc[(task, size, kept.weight_decays[k], kept.thresholds[k], kept.seeds[k])]
        assert accuracy[k] == row["test_accuracy"]
        spectral = angle_error(theoretical_eigenvalues(kept.task), kept.ensemble.W_hh[k])
        np.testing.assert_equal(spectral.error, row["angle_error"])
        assert spectral.n_learned == row["n_learned"]


def test_networks_can_be_chosen(small: Result) -> None:
    chosen = networks(small, "T1", 8, weight_decay=0.0, threshold=0.6)
    assert (chosen.weight_decays, chosen.thresholds, chosen.seeds) == ((0.0, 0.0), (0.6, 0.6), (5000, 5001))
    everything = networks(small, "T1", 8)
    picked = [k for k in range(8) if (everything.weight_decays[k], everything.thresholds[k]) == (0.0, 0.6)]
    assert torch.equal(chosen.ensemble.W_hh, everything.ensemble.W_hh[picked])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("T2", 8), "tasks \\['T1', 'T3'\\]"),
        (("T1",), "hidden sizes \\[8, 12\\]"),
        (("T1", 9), "hidden_size = 9"),
        (("T1", 8, 0.5), "weight_decay = 0.5"),
    ],
)
def test_networks_that_were_not_trained_are_named(small: Result, arguments: tuple[object, ...], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        networks(small, *arguments)


def test_a_network_does_not_depend_on_its_neighbours(small: Result) -> None:
    single = {"hidden_sizes": (8,), "weight_decays": (0.0,), "thresholds": (0.6,), "runs": 1}
    alone = run(replace(SMALL, tasks=("T3",), **single), 5, progress=False)
    other = networks(small, "T3", 8, 0.0, 0.6)
    mine = networks(alone, "T3").ensemble.W_hh[0]
    torch.testing.assert_close(mine, other.ensemble.W_hh[other.seeds.index(5000)], rtol=1e-4, atol=1e-5)
    # The curriculum of the paper's Table 2 trains too.
    other = run(replace(SMALL, tasks=("T1",), curriculum="multiplicative", lr_drop_at=30, **single), 0, progress=False)
    assert cells(other.rows)["test_accuracy"].between(0, 1).all()


def test_the_paper_s_configuration_has_its_960_networks() -> None:
    paper = Config.profile("paper")
    grids = (paper.tasks, paper.hidden_sizes, paper.weight_decays, paper.thresholds)
    assert math.prod(map(len, grids)) * paper.runs == 960
    assert (paper.s, paper.d, paper.test_horizon, paper.iterations) == (8, 8, 200, 20_000)


def test_repeat_copy_is_one_cell_of_the_table() -> None:
    sizes = {"s": 2, "d": 2, "runs": 2, "iterations": 30, "batch": 8, "horizons": (2, 4), "test_batches": 1}
    config = repeat_copy.Config(**sizes, hidden_size=8, weight_decay=1e-2, threshold=0.6, log_every=15, modulus=0.2)
    alone = repeat_copy.run(config, 1, progress=False)
    whole = replace(SMALL, **sizes, tasks=("T1",), hidden_sizes=(8,), log_every=15, modulus=0.2)
    table = run(whole, 1, progress=False)
    cell = table.rows.query("weight_decay == 1e-2 and threshold == 0.6")
    for quantity, own in alone.rows.groupby("quantity"):
        theirs = cell[cell["quantity"] == quantity].sort_values(["iteration", "seed"])["value"]
        np.testing.assert_allclose(own.sort_values(["iteration", "seed"])["value"], theirs, rtol=1e-4)
    torch.testing.assert_close(alone.weights["W_hh"], networks(table, "T1", 8, 1e-2, 0.6).ensemble.W_hh)
    summary = repeat_copy.summarise(alone.rows)
    assert list(summary.index) == [1000, 1001]
    # Where the counts differ there is no error to report, and where they agree there is one.
    assert (summary["angle_error"].isna() == (summary["n_learned"] != summary["n_theory"])).all()
    with pytest.raises(ValueError, match="quantity"):
        repeat_copy.summarise(alone.rows.drop(columns="quantity"))


def test_the_summary_prints_an_error_only_over_seeds_that_match(small: Result) -> None:
    table = summarise(small.rows)
    assert len(table) == 16
    assert (table["seeds"] == 3).all()
    everything = cells(small.rows)
    assert len(everything) == 2 * 2 * 2 * 2 * 3
    assert sorted(set(everything["seed"])) == [5000, 5001, 5002]
    assert set(FINAL) <= set(everything.columns)
    curves = small.rows[small.rows["quantity"] == "loss"]
    assert sorted(set(curves["iteration"])) == [1, 20, 40, 60]
    assert len(curves) == 48 * 4
    everything = everything.set_index(list(CELL))
    for line in table.to_dict("records"):
        own = everything.loc[tuple(line[name] for name in CELL)]
        matching = own[own["n_theory"] == own["n_learned"]]
        assert line["matching"] == len(matching) / 3
        assert line["all_match"] == (len(matching) == 3)
        np.testing.assert_allclose(line["error"], matching["angle_error"].mean() if len(matching) else np.nan)
    with pytest.raises(ValueError, match="column"):
        cells(pd.DataFrame({"task": ["T1"]}))


def test_a_shared_run_trains_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAVEMEM_RUNS", str(tmp_path))
    config = replace(SMALL, tasks=("T1",), hidden_sizes=(8,), runs=1)
    first = shared_run("table1", config, 3)
    (folder,) = tmp_path.iterdir()
    assert folder.name.startswith("table1-")  # by which `--force` finds it
    when = {p.name: p.stat().st_mtime_ns for p in folder.glob("*.safetensors")}
    second = shared_run("table1", config, 3)
    assert {p.name: p.stat().st_mtime_ns for p in folder.glob("*.safetensors")} == when
    pd.testing.assert_frame_equal(first.rows, second.rows)
    assert all(torch.equal(first.weights[name], second.weights[name]) for name in first.weights)
    shared_run("table1", replace(config, lr=2e-3), 3)
    assert len(list(tmp_path.iterdir())) == 2  # another configuration has a folder of its own
    monkeypatch.delenv("WAVEMEM_RUNS")
    assert runs_root().parts[-2:] == ("_build", "runs")


def test_a_part_is_recorded_and_read_back(tmp_path: Path) -> None:
    settings = {name: getattr(SMALL, name) for name in ("s", "d", "iterations", "batch", "horizons", "weights_of")}
    settings |= {"tasks": ("T3",), "hidden_sizes": (8,), "runs": 2, "test_batches": 1}
    run_experiment("table1", "quick", 2, root=tmp_path, settings=settings)
    assert recorded("table1", "quick", tmp_path) == []  # of another size than the profile's
    (record,) = recorded("table1", "quick", tmp_path, also=settings)
    assert record.config["tasks"] == ["T3"]
    kept = networks(record, "T3")
    assert kept.seeds == (2000, 2001, 2000, 2001)
    assert kept.weight_decays == (0.0, 0.0, 1e-3, 1e-3)
