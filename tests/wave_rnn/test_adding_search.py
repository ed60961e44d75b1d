"""The search of the adding task: its grid, its rule, its starts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pandas as pd
import pytest
import torch

from wavemem.wave_rnn import adding_search as experiment
from wavemem.wave_rnn.adding_search import STARTS, StartsConfig, adding_starts, start_networks

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
)
RowsOf = Callable[..., pd.DataFrame]
RING, PUBLISHED = "shift, unit sparse V", "identity, small normal V, biases"
SMALL = StartsConfig(T=6, units=6, rates=(1e-3, 1e-2), runs=2, iterations=12, batch=8, test_batch=16, log_every=4)


def point(lr: float) -> dict[str, object]:
    return {"model": "iRNN", "T": 6, "V_scale": 0.1, "biases": True, "lr": lr}


def test_of_equally_many_seeds_the_sooner_is_better_and_of_those_the_smaller_rate(rows_of: RowsOf) -> None:
    curves = ((1e-2, (0.2, 0.01)), (1e-1, (0.01, 0.01)), (1e-4, (0.2, 9.0)), (1e-3, (0.2, 0.01)))
    rows = rows_of(*((point(lr), {"train MSE": (errors,)}) for lr, errors in curves))
    table = experiment.summarise(rows)
    assert table["lr"].tolist() == [1e-1, 1e-3, 1e-2, 1e-4]
    assert table["median"].tolist()[:3] == [10, 20, 20]
    assert table["n"].tolist() == [1] * 4
    assert experiment.best(rows)["lr"].tolist() == [1e-1]


def test_better_is_more_seeds_then_sooner(rows_of: RowsOf) -> None:
    late, early = (0.2, 0.2, 0.01), (0.01, 0.01, 0.01)
    curves = {1e-3: (late, late), 1e-2: (early, (0.2, 0.2, 9.0))}
    table = experiment.summarise(rows_of(*((point(lr), {"train MSE": own}) for lr, own in curves.items())))
    assert table[["lr", "solved", "diverged"]].to_numpy().tolist() == [[1e-3, 1.0, 0.0], [1e-2, 0.5, 0.5]]


def test_the_grid_is_complete() -> None:
    result = experiment.run(TINY, 2, progress=False)
    tests = result.rows[result.rows["quantity"] == "test MSE"]
    assert sorted(tests["seed"].unique()) == [2000, 2001]
    counts = tests.groupby(["model", "T"]).size().to_dict()
    assert counts == {("iRNN", 6): 2 * 2 * 2 * 2, ("wRNN", 6): 2 * 2, ("iRNN", 8): 2}  # one finalist, one rate


def test_the_waves_best_start_goes_on_to_longer_sequences() -> None:
    config = replace(TINY, models=("wRNN",), wave_scales=(0.5, 1.0), wave_rates=(1e-3,), wave_lengths=(8,))
    longer = experiment.run(config, 2, progress=False).rows.query("T == 8")
    assert len(longer[longer["quantity"] == "test MSE"]) == 1  # one start, one rate, one seed
    assert longer["iteration"].max() == 4


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
    table = adding_starts.summarise(result.rows)
    assert set(table.index) == set(SMALL.starts)
    assert (table[["solved", "lost", "diverged", "stalled"]].sum(axis=1) == 2).all()


def test_a_start_is_shown_at_the_rate_that_solves_most_and_of_those_soonest(rows_of: RowsOf) -> None:
    late, early = (0.2, 0.01), (0.01, 0.01)
    curves = [
        ({"start": PUBLISHED, "lr": 1e-3}, {"train MSE": ((0.2, 0.2), late)}),
        ({"start": RING, "lr": 1e-1}, {"train MSE": (early, (9.0, 9.0))}),
        ({"start": RING, "lr": 1e-3}, {"train MSE": (late, late)}),
        ({"start": RING, "lr": 1e-2}, {"train MSE": (early, early)}),
    ]
    table = adding_starts.summarise(rows_of(*curves))
    assert table.index.tolist() == [RING, PUBLISHED]
    assert table["lr"].tolist() == [1e-2, 1e-3]
    assert table["median"].tolist() == [10, 20]
    assert table[["solved", "stalled", "networks"]].to_numpy().tolist() == [[2, 0, 2], [1, 1, 2]]
