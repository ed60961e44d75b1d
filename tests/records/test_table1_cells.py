"""Table 1 cell by cell: the paper's numbers come from the registry, and averaging is as stated."""

from __future__ import annotations

import math

import pandas as pd
import pytest

from wavemem.records.table1_cells import best_of_thresholds, paper_cells, quantities, table


def _cells(thresholds: tuple[float, ...] = (0.9, 0.98)) -> pd.DataFrame:
    errors = {0.9: (0.001, math.nan, math.nan), 0.98: (0.003, 0.002, math.nan)}
    accuracies = {0.9: (0.99, 0.90, 0.6), 0.98: (0.98, 0.97, 0.5)}
    return pd.DataFrame(
        [
            {
                "task": "T1",
                "hidden_size": 128,
                "weight_decay": 0.0,
                "threshold": threshold,
                "seed": seed,
                "test_accuracy": accuracies[threshold][seed],
                "angle_error": errors[threshold][seed],
            }
            for threshold in thresholds
            for seed in range(3)
        ]
    )


def test_the_paper_s_cells_are_all_there() -> None:
    cells = paper_cells().set_index(["task", "hidden_size", "weight_decay"])
    assert len(cells) == 24
    assert cells["paper_accuracy"].notna().all()
    assert cells.loc[("T1", 128, 0.0), "paper_error"] == 0.0005
    assert cells.loc[("T4", 64, 0.0), "paper_accuracy"] == 0.94
    assert math.isnan(cells.loc[("T1", 64, 0.0), "paper_error"])
    assert math.isnan(cells.loc[("T4", 128, 0.1), "paper_error"])
    assert (cells["paper_error"].notna().groupby("weight_decay").sum() == pd.Series({0.0: 7, 0.001: 5, 0.1: 0})).all()


def test_best_of_two_chooses_error_and_accuracy_separately() -> None:
    best = best_of_thresholds(_cells())
    assert best["seed"].tolist() == [0, 1, 2]
    assert best["test_accuracy"].tolist() == [0.99, 0.97, 0.6]
    assert best["angle_error"].tolist()[:2] == [0.001, 0.002]
    assert math.isnan(best["angle_error"][2])


def test_quantities_have_the_registry_s_names() -> None:
    found = quantities(_cells())
    assert set(found) == {"T1, N = 128, L2 = 0: accuracy", "T1, N = 128, L2 = 0: angle error"}
    other = _cells().assign(weight_decay=1e-3)
    assert quantities(other)["T1, N = 128, L2 = 1e-3: seeds whose counts agree"] == [1.0, 1.0, 0.0]
    assert quantities(_cells().assign(hidden_size=77)) == {}


def test_table_states_the_plain_mean_and_the_best_of_two() -> None:
    line = table(_cells()).loc["T1, N = 128, L2 = 0"]
    assert line["networks"] == "6"
    assert line["counts agree"] == "50%"
    assert line["angle error (rad)"] == "0.0020 ± 0.0010"
    assert line["best of two"] == "0.0015 ± 0.0007 (0.853)"
    assert line["paper"] == "0.0005 (1.00)"
    assert "accuracy: " in line["status"] or line["status"] in ("reproduced", "partly", "not reproduced")
    one = table(_cells((0.98,)), paper=False).loc["T1, N = 128, L2 = 0"]
    assert one["best of two"] == "—"
    assert "paper" not in one.index


def test_missing_columns_are_explained() -> None:
    with pytest.raises(ValueError, match="column = 'threshold'"):
        best_of_thresholds(_cells().drop(columns="threshold"))
