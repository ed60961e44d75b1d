from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import torch

from wavemem.experiments import adding_starts as experiment

SMALL = experiment.Config(T=6, units=6, runs=2, iterations=12, batch=8, test_batch=16, log_every=4)


def test_only_the_start_differs() -> None:
    network = experiment.start_networks(SMALL, 0)
    assert len(experiment.STARTS) * 2 == network.K
    at = {name: network.run(2 * i) for i, name in enumerate(SMALL.starts)}
    for name, start in experiment.STARTS.items():
        eye = torch.eye(6)
        assert torch.equal(at[name].U[0], eye if start.U == "identity" else eye.roll(1, 1))
        assert bool(at[name].b_V.any()) == start.biases
        assert at[name].parameter_count() == at["shift, sparse V"].parameter_count()
    assert torch.equal(at["identity, sparse V"].V, at["shift, sparse V"].V)
    assert torch.equal(at["identity, normal V"].V, at["shift, normal V"].V)


def test_rows_weights_and_tables(tmp_path: Path) -> None:
    result = experiment.run(SMALL, 0, progress=False)
    assert set(result.rows["quantity"]) == {"train MSE", "test MSE", "solved iteration"}
    table = experiment.by_network(result.rows)
    assert len(table) == 10
    assert list(table["start"][::2]) == list(SMALL.starts)
    assert list(experiment.summarise(result.rows).index) == list(SMALL.starts)
    trained = experiment.networks(result, "shift, sparse V")
    assert trained.K == 2
    assert trained.N == 6
    again = experiment.run(SMALL, 0, progress=False, checkpoints=tmp_path)
    resumed = experiment.run(SMALL, 0, progress=False, checkpoints=tmp_path)  # everything is there already
    for other in (again, resumed):
        pd.testing.assert_frame_equal(other.rows, result.rows)
        assert all(torch.equal(value, result.weights[name]) for name, value in other.weights.items())


def test_runs_do_not_depend_on_their_company() -> None:
    alone = experiment.Config(**{**vars(SMALL), "starts": ("shift, sparse V",), "runs": 1})
    one = experiment.run(alone, 0, progress=False).rows
    many = experiment.run(SMALL, 0, progress=False).rows
    own = many[(many["start"] == "shift, sparse V") & (many["seed"] == 0)]
    both = [rows[rows["quantity"] == "train MSE"]["value"].to_numpy() for rows in (one, own)]
    assert both[0] == pytest.approx(both[1], rel=1e-4)


def test_bad_configurations_are_refused() -> None:
    with pytest.raises(ValueError, match="start"):
        experiment.Config(starts=("somehow",))
    with pytest.raises(ValueError, match="profile"):
        experiment.Config.profile("huge")
    with pytest.raises(ValueError, match="seed"):
        experiment.run(SMALL, -1, progress=False)
    with pytest.raises(ValueError, match="start"):
        experiment.networks(experiment.run(SMALL, 0, progress=False), "somehow")
