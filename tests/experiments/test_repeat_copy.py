"""The repeat-copy experiment: its rows, its summary, its independence of the company a run keeps."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch

from wavemem.experiments import repeat_copy
from wavemem.experiments.repeat_copy import Config, run, summarise, trained
from wavemem.records.experiment import Result, get_experiment
from wavemem.substrate.basis import random_basis
from wavemem.substrate.repeat_copy import repeat_copy_weights
from wavemem.training.ensemble import evaluate

TINY = Config(s=2, d=2, hidden_size=8, runs=2, iterations=6, batch=4, horizons=(2, 4), test_batches=1, log_every=3)


@pytest.fixture(scope="module")
def tiny() -> Result:
    return run(TINY, seed=1, progress=False)


def test_it_is_an_experiment_of_the_store() -> None:
    assert get_experiment("repeat_copy") is repeat_copy


def test_rows_hold_every_quantity_of_every_seed(tiny: Result) -> None:
    assert list(tiny.rows.columns) == ["seed", "iteration", "quantity", "value"]
    assert set(tiny.rows["seed"]) == {1000, 1001}
    for quantity in repeat_copy.CURVES:
        assert (tiny.rows["quantity"] == quantity).sum() == 2 * 3  # iterations 1, 3 and 6
    for quantity in repeat_copy.FINAL:
        assert (tiny.rows["quantity"] == quantity).sum() == 2
    assert {name: tuple(value.shape) for name, value in tiny.weights.items()} == {
        "W_hh": (2, 8, 8),
        "W_uh": (2, 8, 2),
        "W_r": (2, 2, 8),
    }


def test_summary_has_one_line_per_seed(tiny: Result) -> None:
    table = summarise(tiny.rows)
    assert list(table.index) == [1000, 1001]
    assert (table["n_theory"] == 4).all()
    assert table["test_accuracy"].between(0, 1).all()
    # Where the counts differ there is no error to report, and where they agree there is one.
    assert (table["angle_error"].isna() == (table["n_learned"] != table["n_theory"])).all()


def test_the_same_seed_gives_the_same_rows(tiny: Result) -> None:
    again = run(TINY, seed=1, progress=False)
    pd.testing.assert_frame_equal(again.rows, tiny.rows, check_exact=True)
    for name, value in tiny.weights.items():
        assert torch.equal(again.weights[name], value)


def test_weights_can_be_run_again(tiny: Result) -> None:
    ensemble = trained(tiny)
    accuracy = evaluate(
        ensemble, repeat_copy.paper_task("T1", 2, 2), TINY.test_horizon, batches=1, batch=4, seeds=(1000, 1001)
    )
    recorded = tiny.rows.loc[tiny.rows["quantity"] == "test_accuracy", "value"].to_numpy()
    np.testing.assert_allclose(accuracy, recorded)
    assert trained(tiny, "linear").activation == "linear"


def test_summary_of_a_perfect_memory() -> None:
    """Weights set to Eq. 29 pass the spectral test exactly; the experiment's own numbers must say so."""
    s, d = TINY.s, TINY.d
    W_hh = repeat_copy_weights(s, d, random_basis(s * d, torch.Generator().manual_seed(0), N=8))[0]
    comparison = repeat_copy.angle_error(repeat_copy.theoretical_eigenvalues(repeat_copy.paper_task("T1", s, d)), W_hh)
    assert comparison.n_learned == s * d
    assert comparison.error < 1e-9


def test_profiles_and_seeds() -> None:
    quick, paper = Config.profile("quick"), Config.profile("paper")
    assert (quick.s, quick.d, quick.hidden_size, quick.iterations, quick.test_horizon) == (4, 4, 64, 4000, 200)
    assert (paper.s, paper.d, paper.hidden_size, paper.iterations, paper.runs) == (8, 8, 128, 20_000, 20)
    assert quick.runs >= 4
    with pytest.raises(dataclasses.FrozenInstanceError):
        quick.s = 5


def test_bad_input_says_what_it_got(tiny: Result) -> None:
    with pytest.raises(ValueError, match="large"):
        Config.profile("large")
    with pytest.raises(ValueError, match="seed"):
        run(TINY, seed=-1, progress=False)
    with pytest.raises(ValueError, match="quantity"):
        summarise(tiny.rows.drop(columns="quantity"))
    with pytest.raises(ValueError, match="relu"):
        trained(tiny, "relu")
