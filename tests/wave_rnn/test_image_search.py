"""The search of the small digits' settings: what is tried, who wins, and that no winner is at an edge."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from wavemem.records.runs import recorded
from wavemem.wave_rnn import image_search
from wavemem.wave_rnn.image_search import GRIDS, Config, Grid, at_edge, best, run, summarise
from wavemem.wave_rnn.images import SETTINGS, Setting

TINY = Config(models=("iRNN", "LSTM"), runs=2, epochs=1, rounds=1)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks and grids that are searched in no time."""
    monkeypatch.setitem(SETTINGS, "psdigits", dict.fromkeys(GRIDS, Setting(6, batch=64, clip=1.0)))
    monkeypatch.setitem(GRIDS, "iRNN", Grid((0.001, 0.1), (True, False), (3e-3, 1e-2), published=0.001, floor=0.001))
    monkeypatch.setitem(GRIDS, "LSTM", Grid(rates=(1e-2,)))


def _rows(values: dict[tuple[float, float, bool], float]) -> pd.DataFrame:
    """Rows of the identity network, two seeds that differ by 0.02 around a mean."""
    return pd.DataFrame(
        {"model": "iRNN", "lr": lr, "V_scale": scale, "biases": biases, "seed": k,
         "quantity": "best validation accuracy", "value": value + (-0.01, 0.01)[k]}
        for (lr, scale, biases), value in values.items() for k in (0, 1)
    )  # fmt: skip


def test_every_setting_is_tried_and_grids_are_widened(small: None, tmp_path: Path) -> None:
    found = run(TINY, 2, "cpu", progress=False, checkpoints=tmp_path).rows
    first = found[(found["model"] == "iRNN") & (found["round"] == 0)]
    assert len(first) == 2 * 2 * 2 * 2
    assert set(found["seed"]) == {2000, 2001}
    lstm = found[found["model"] == "LSTM"]
    assert set(lstm["lr"]) == {3e-3, 1e-2, 3e-2}  # the only rate is at both edges
    assert "test" not in " ".join(found["quantity"].unique())
    pd.testing.assert_frame_equal(found, run(TINY, 2, "cpu", progress=False, checkpoints=tmp_path).rows)
    assert len(summarise(found)) == len(found) / 2


def test_the_best_validation_accuracy_wins() -> None:
    grid = {(lr, scale, biases): 0.1 for lr in (1e-3, 3e-3, 1e-2) for scale in (0.001, 0.3, 1.0, 3.0)
            for biases in (True, False)}  # fmt: skip
    inside = grid | {(3e-3, 1.0, False): 0.8, (3e-3, 0.001, True): 0.2}
    assert best(_rows(inside), "iRNN") == {"lr": 3e-3, "V_scale": 1.0, "biases": False}
    assert best(_rows(inside), "iRNN", published=True) == {"lr": 3e-3, "V_scale": 0.001, "biases": True}
    assert at_edge(_rows(inside), "iRNN") == []
    corner = grid | {(1e-2, 3.0, True): 0.8, (3e-3, 0.001, True): 0.2}
    assert at_edge(_rows(corner), "iRNN") == [
        {"lr": 3e-2, "V_scale": 3.0, "biases": True},
        {"lr": 1e-2, "V_scale": 10.0, "biases": True},
    ]
    slow = grid | {(3e-3, 1.0, False): 0.8, (1e-3, 0.001, True): 0.2}  # the published start has a rate of its own
    assert at_edge(_rows(slow), "iRNN") == [{"lr": 3e-4, "V_scale": 0.001, "biases": True}]


def test_the_settings_are_the_winners_of_the_committed_search() -> None:
    rows = recorded("image_search", "quick")[-1].rows
    for task in ("sdigits", "psdigits", "nsdigits"):
        for model, setting in SETTINGS[task].items():
            grid = model.removesuffix(" searched")
            if grid not in set(rows["model"]):
                continue
            assert at_edge(rows, grid) == []
            winner = best(rows, grid, published=not model.endswith("searched"))
            assert setting.lr == winner["lr"], (task, model)
            if model.endswith("searched"):
                assert (setting.V_scale, setting.biases) == (winner["V_scale"], winner["biases"])


def test_neighbours_on_the_ladder() -> None:
    assert [image_search.neighbour(3.0, 1), image_search.neighbour(1e-3, -1)] == [10.0, 3e-4]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: run(Config(), -1, "cpu"), "seed is -1"),
        (lambda: best(_rows({(1e-3, 1.0, True): 0.5}), "GRU"), "no rows of GRU"),
        (lambda: best(_rows({(1e-3, 1.0, True): 0.5}), "RNN"), "model = 'RNN'"),
    ],
)
def test_bad_input_is_explained(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
