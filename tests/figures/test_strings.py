"""The figures of string copying draw what they are given."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from wavemem.figures import strings as figures

MODELS = ("ALiBi", "Mamba", "v-Wave")


@pytest.fixture
def rows() -> pd.DataFrame:
    table = []
    for m, model in enumerate(MODELS):
        for seed in range(3):
            at = {"model": model, "seed": seed, "lr": 1e-3}
            for t in range(10, 110, 10):
                value = 2.7 * np.exp(-0.01 * (m + 1) * t)
                table.append({**at, "iteration": t, "length": 0, "quantity": "loss", "value": value})
            for length in (4, 8, 16):
                for quantity in ("characters", "strings", "teacher-forced characters"):
                    value = 1 / (length * (seed + 1))
                    table.append({**at, "iteration": 100, "length": length, "quantity": quantity, "value": value})
    return pd.DataFrame(table)


@pytest.fixture(autouse=True)
def _close() -> object:
    yield
    plt.close("all")


def test_learning_curves_have_one_panel_per_source_and_a_band_per_model(rows: pd.DataFrame) -> None:
    fig = figures.learning_curves({"this run": rows, "paper": rows}, [*MODELS, "RoPE"], {"this run": 2.7, "paper": 3.2})
    assert len(fig.axes) == 2
    assert [len(ax.collections) for ax in fig.axes] == [3, 3]
    mean = next(line for line in fig.axes[0].get_lines() if line.get_label() == "ALiBi")
    np.testing.assert_allclose(mean.get_ydata()[0], 2.7 * np.exp(-0.1))


def test_a_failed_run_is_left_out_of_the_curves(rows: pd.DataFrame) -> None:
    rows.loc[(rows["model"] == "Mamba") & (rows["quantity"] == "loss"), "value"] = np.nan
    fig = figures.learning_curves({"run": rows}, MODELS, {"run": 2.7})
    assert len(fig.axes[0].collections) == 2


def test_lengths_show_generated_lines_and_forced_crosses(rows: pd.DataFrame) -> None:
    fig = figures.lengths(rows, MODELS, (4, 8))
    left, right = fig.axes
    assert sum(line.get_marker() == "x" for line in left.get_lines()) == 3
    assert sum(line.get_marker() == "x" for line in right.get_lines()) == 0


def test_seeds_without_a_reading_are_in_the_strip() -> None:
    values = {"ALiBi": np.array([1.0, 2.0, 4.0]), "Mamba": np.array([np.nan, 8.0, np.nan])}
    never = {"ALiBi": np.full(3, np.nan)}
    fig = figures.speeds([("updates", values, True), ("rate", values, False), ("none", never, True)])
    for ax in fig.axes:
        hollow = [line for line in ax.get_lines() if line.get_markerfacecolor() == "none"]
        strip = ax.patches[0].get_extents().transformed(ax.transData.inverted())
        for line in hollow:
            assert all(strip.y0 < y < strip.y1 for y in line.get_ydata())
    assert sum(len(line.get_ydata()) for line in fig.axes[0].get_lines() if line.get_markerfacecolor() == "none") == 2


def test_the_other_figures_are_drawn() -> None:
    fig = figures.contexts([("copy", "$ab|ab.", [False] * 4 + [True] * 3)])
    assert len(fig.axes[0].patches) == 7
    x = np.array([10.0, 100.0])
    fig = figures.limits({1: (x, x / 1000, x / 100), 2: (x, x * 0, x / 1e4)}, {"8": (x, x / 100)})
    assert len(fig.axes) == 2
    fig = figures.attention([("head 1", np.eye(7)), ("head 2", np.eye(7))], "$ab|ab.", 3, [1, 2])
    assert fig.axes[0].images[0].get_array().shape == (2, 7)
    fig = figures.costs(x, {"ALiBi": (x, x), "Mamba": (x, x)}, 30)
    assert len(fig.axes[0].get_lines()) == 3
    table = pd.DataFrame(
        [("Mamba", lr, s, lr * (s + 1), lr == 0.01) for lr in (0.01, 0.1) for s in (0, 1)],
        columns=["model", "lr", "seed", "loss", "chosen"],
    )
    assert len(figures.searched_rates(table, ["Mamba", "RoPE"]).axes) == 1
    assert not figures.searched_rates(table.iloc[:0], ["Mamba"]).axes[0].get_lines()
    fig = figures.bits({"Mamba": (10 * x, np.array([[0.0, 1.0], [0.5, 1.0]]))}, 40.0, 16, 10)
    assert fig.axes[0].get_xlim()[0] < 40


def test_rows_of_other_models_are_refused(rows: pd.DataFrame) -> None:
    with pytest.raises(ValueError, match="allowed"):
        figures.lengths(rows, ["LSTM"], (4, 8))
    with pytest.raises(ValueError, match="allowed"):
        figures.learning_curves({}, MODELS, {})
