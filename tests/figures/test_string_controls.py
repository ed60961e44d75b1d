"""The figures of chapter 20 draw what they are given, with few seeds and with missing models."""

from __future__ import annotations

from collections.abc import Iterator

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from wavemem.figures import string_controls as figures
from wavemem.plotting.style import ACCENT, LEARNED


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    yield
    plt.close("all")


def table_of(models: list[str], seeds: int) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    lines = [
        {"model": m, "seed": s, "loss": rng.uniform(), "share": rng.uniform()} for m in models for s in range(seeds)
    ]
    return pd.DataFrame(lines)


@pytest.mark.parametrize("seeds", [1, 3])
def test_every_seed_of_every_model_is_a_dot(seeds: int) -> None:
    table = table_of(["a", "b"], seeds)
    columns = {"loss": ("loss", (0.0, np.inf)), "share": ("share", (0.0, 1.0))}
    fig = figures.by_model(table, columns, {"a": ACCENT, "missing": LEARNED, "b": LEARNED})
    assert [label.get_text() for label in fig.axes[0].get_yticklabels()] == ["a", "b"]
    dots = [line for line in fig.axes[0].lines if line.get_marker() == "o"]
    assert [len(line.get_xdata()) for line in dots] == [seeds, seeds]
    bars = [line for line in fig.axes[1].lines if line.get_linewidth() == 5]
    assert len(bars) == (2 if seeds > 1 else 0)
    assert all(0 <= x <= 1 for line in bars for x in line.get_xdata())
    with pytest.raises(ValueError, match="without these models"):
        figures.by_model(table, columns, {"c": ACCENT})


def test_differences_have_a_colour_only_where_zero_is_outside() -> None:
    table = pd.DataFrame(
        {
            "model": ["a", "b", "c", "d", "e"],
            "control": ["z"] * 5,
            "mean": [1.0, -1.0, 0.1, 0.5, 1.0],
            "low": [0.5, -2.0, -1.0, -np.inf, 0.5],
            "high": [1.5, -0.5, 1.2, np.inf, 1.5],
            "p": [0.01, 0.01, 0.01, 0.01, 0.1],
        }
    )
    fig = figures.differences([("loss", table, ("faster", "slower")), ("share", table, ("worse", "better"))])
    colours = [line.get_color() for line in fig.axes[0].lines if line.get_marker() == "o"]
    assert colours[0] == LEARNED
    assert colours[1] == ACCENT
    assert colours[2] == colours[3] == colours[4] not in (LEARNED, ACCENT)
    assert all(np.isfinite(fig.axes[0].get_xlim()))


def test_learning_curves_leave_missing_models_out() -> None:
    rows = pd.DataFrame(
        [
            {"model": m, "seed": s, "iteration": i, "quantity": "loss", "value": 1.0 / i}
            for m in ("a", "b")
            for s in (0, 1)
            for i in (1, 2, 3)
        ]
    )
    fig = figures.learning(rows, {"one": ["a", "missing"], "two": ["b"], "none": ["missing"]}, guessing=0.9)
    assert [len(ax.lines) for ax in fig.axes] == [4, 4, 1, 0]  # two seeds, their mean, the dashed line


def test_the_grid_shows_means_and_frames_what_reaches() -> None:
    lines = [
        {"register": n, "velocity": v, "seed": s, "characters 10": 0.1 * n * v + 0.1 * s}
        for n in (2, 4)
        for v in (0.3, 0.6, 1.0)
        for s in (0, 1)
    ]
    reach = np.array([[5.0, 3.0, 1.0], [12.0, 6.0, 3.0]])
    fig = figures.grid(pd.DataFrame(lines), "characters 10", "share", reach, 5)
    ax = fig.axes[0]
    assert [text.get_text() for text in ax.texts] == ["0.11", "0.17", "0.25", "0.17", "0.29", "0.45"]
    assert [text.get_fontweight() == "bold" for text in ax.texts] == [True, False, False, True, True, False]
    assert len(ax.patches) == 3
    with pytest.raises(ValueError, match="reach of shape"):
        figures.grid(pd.DataFrame(lines), "characters 10", "share", reach[:1], 5)
    table = pd.DataFrame(lines).assign(reach=4.0, other=1.0)
    both = figures.accuracy_by_reach(table, {"reach": "reach", "other": "other"}, "characters 10", "share", 5)
    assert both.axes[0].get_xscale() == "log"
    assert both.axes[1].get_xscale() == "linear"


def test_velocities_and_reaches_are_drawn() -> None:
    rng = np.random.default_rng(0)
    fig = figures.velocities_after(0.5, {"a": rng.uniform(0, 1, (3, 20)), "b": rng.uniform(0, 1, (1, 8))})
    assert [label.get_text() for label in fig.axes[0].get_yticklabels()] == ["a", "b"]
    fig = figures.learned_velocities([0.3, 0.7], {"n = 4": [rng.uniform(0, 1, (2, 9))] * 2})
    assert "n = 4" in (fig.axes[0].get_title(), fig.axes[0].get_title(loc="left"))
    fig = figures.reaches([("one", rng.uniform(0, 1, (4, 16))), ("two", rng.uniform(0, 1, (12, 16)))], 10)
    assert len(fig.axes) == 2
