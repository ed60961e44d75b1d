"""Wave-RNNs with and without the rectifier: each with its own learning rate, and what is measured."""

from __future__ import annotations

import math

import pandas as pd
import pytest

from wavemem.wave_rnn import linear_learning
from wavemem.wave_rnn.linear_learning import Config, networks, run, summarise

TINY = Config(units=12, channels=2, runs=2, iterations=3, rates=(3e-3, 1e-2), search_runs=2, tests=64)


def test_the_rate_is_searched_on_other_seeds_and_not_at_an_edge() -> None:
    result = run(TINY, 1, progress=False)
    rows = result.rows
    assert set(rows.loc[rows["part"] == "search", "seed"]) == {2000, 2001}
    assert set(rows.loc[rows["part"] == "test", "seed"]) == {1000, 1001}
    for name in linear_learning.ACTIVATIONS:
        own = rows[rows["activation"] == name]
        losses = linear_learning._losses(own[own["part"] == "search"])
        best = own.loc[own["part"] == "test", "lr"].unique().tolist()
        assert best == [losses.idxmin()]
        assert losses.index[0] < best[0] < losses.index[-1]
        trained = networks(result, name)
        assert trained.K == 2
        assert trained.activation == linear_learning.ACTIVATIONS[name]
    shift = rows[(rows["part"] == "test") & (rows["quantity"] == "travelling") & (rows["activation"] == "linear")]
    assert shift["value"].tolist() == [1.0] * 2  # a few updates do not undo the shift
    assert len(summarise(rows)) == rows.groupby(["activation", "part", "lr"]).ngroups
    pd.testing.assert_frame_equal(rows, run(TINY, 1, progress=False).rows)


def test_losses_of_nothing_and_of_infinity_are_compared() -> None:
    rows = pd.DataFrame({"quantity": "loss", "lr": [1e-3, 1e-2, 1e-1], "value": [1e-3, 0.0, math.nan]})
    losses = linear_learning._losses(rows)
    assert losses.idxmin() == 1e-2
    assert losses.tolist() == [math.log(1e-3), math.log(linear_learning.FLOOR), math.inf]


def test_losses_are_averaged_as_logarithms_of_their_own_rate() -> None:
    shares = {"right": 0.5, "travelling": 1.0, "recirculating": 0.0}
    rows = pd.DataFrame(
        [
            {"activation": "linear", "part": "test", "lr": lr, "seed": seed, "quantity": name, "value": value}
            for lr, losses in {1e-2: (1e-1, 1e-3), 1e-3: (4e-2, 1e-2)}.items()
            for seed, loss in enumerate(losses)
            for name, value in {"loss": loss, **shares}.items()
        ]
    )
    assert linear_learning._losses(rows).to_dict() == pytest.approx({1e-3: math.log(2e-2), 1e-2: math.log(1e-2)})
    table = summarise(rows).set_index("lr")
    assert table["loss"].to_dict() == pytest.approx({1e-3: 2e-2, 1e-2: 1e-2})
    assert table["n"].tolist() == [2, 2]
    assert table["right"].tolist() == [0.5, 0.5]


def test_networks_of_another_kind_are_refused() -> None:
    with pytest.raises(ValueError, match="name = 'tanh'"):
        networks(None, "tanh")
