from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch

from wavemem.experiments import adding_starts as experiment

RING, PUBLISHED = "shift, unit sparse V", "identity, small normal V, biases"
SMALL = experiment.Config(T=6, units=6, rates=(1e-3, 1e-2), runs=2, iterations=12, batch=8, test_batch=16, log_every=4)


def test_only_the_start_differs() -> None:
    network = experiment.start_networks(SMALL, 0)
    assert len(experiment.STARTS) == 16
    assert network.K == 16 * 2 * 2
    at = {name: network.run(4 * i) for i, name in enumerate(SMALL.starts)}
    for name, start in experiment.STARTS.items():
        eye = torch.eye(6)
        assert torch.equal(at[name].U[0], eye if start.U == "identity" else eye.roll(1, 1))
        assert bool(at[name].b_V.any()) == start.biases
        assert not at[name].b_U.any()
        assert at[name].parameter_count() == at[RING].parameter_count()
        assert bool((at[name].V[0, 1:] == 0).all()) == (start.V == "sparse")
    with_biases = [at[name].b_V for name, start in experiment.STARTS.items() if start.biases]
    assert all(torch.equal(b, with_biases[0]) for b in with_biases)


def test_both_patterns_have_the_same_size() -> None:
    for start in experiment.STARTS.values():
        length = start.scale(400) * (20 if start.V == "normal" else 1)
        assert length == pytest.approx(1.0 if start.unit_size else 0.02)
    assert experiment.STARTS[PUBLISHED].scale(40) == pytest.approx(0.001)
    assert experiment.STARTS[RING].scale(40) == 1.0


def test_rows_and_tables(tmp_path: Path) -> None:
    result = experiment.run(SMALL, 0, progress=False)
    assert set(result.rows["quantity"]) == {"train MSE", "test MSE"}
    assert len(experiment.by_network(result.rows)) == 64
    table = experiment.summarise(result.rows)
    assert set(table.index) == set(SMALL.starts)
    assert (table[["solved", "lost", "diverged", "stalled"]].sum(axis=1) == 2).all()
    again = experiment.run(SMALL, 0, progress=False, checkpoints=tmp_path)
    resumed = experiment.run(SMALL, 0, progress=False, checkpoints=tmp_path)  # everything is there already
    for other in (again, resumed):
        pd.testing.assert_frame_equal(other.rows, result.rows)


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
    table = experiment.summarise(pd.DataFrame(rows))
    assert table.index.tolist() == [RING, PUBLISHED]
    assert table["lr"].tolist() == [1e-2, 1e-3]
    assert table["median"].tolist() == [10, 20]
    assert table[["solved", "stalled", "networks"]].to_numpy().tolist() == [[2, 0, 2], [1, 1, 2]]


def test_runs_do_not_depend_on_their_company() -> None:
    alone = replace(SMALL, starts=(RING,), rates=(1e-2,), runs=1)
    one = experiment.run(alone, 0, progress=False).rows
    many = experiment.run(SMALL, 0, progress=False).rows
    own = many[(many["start"] == RING) & (many["lr"] == 1e-2) & (many["seed"] == 0)]
    both = [rows[rows["quantity"] == "train MSE"]["value"].to_numpy() for rows in (one, own)]
    assert both[0] == pytest.approx(both[1], rel=1e-4)


def test_bad_configurations_are_refused() -> None:
    with pytest.raises(ValueError, match="start"):
        experiment.Config(starts=("somehow",))
    with pytest.raises(ValueError, match="profile"):
        experiment.Config.profile("huge")
    with pytest.raises(ValueError, match="seed"):
        experiment.run(SMALL, -1, progress=False)
