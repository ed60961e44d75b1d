"""The figures of the copy task: right panels for what is passed in, and a word where nothing was measured."""

from __future__ import annotations

from collections.abc import Iterator

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from wavemem.figures import copying as figures


@pytest.fixture(autouse=True)
def _close_figures() -> Iterator[None]:
    yield
    plt.close("all")


def _rows(lengths: tuple[int, ...]) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {"model": model, "T": T, "seed": seed, "iteration": i, "quantity": "train loss", "value": 10.0 ** -(i + 1)}
            for model in ("wRNN", "iRNN")
            for T in lengths
            for seed in (0, 1)
            for i in (1, 2)
        ]
    )


def test_learning_curves_have_a_panel_per_length_and_source() -> None:
    lines = {"chance": {0: 1e-2, 10: 1e-2}, "bump": {0: 5e-3, 10: 5e-3}}
    fig = figures.learning_curves(
        {"quick": _rows((0, 10)), "large": _rows((0,))}, (0, 10), ("wRNN", "iRNN"), lines, {"quick": 2, "large": 4}
    )
    assert len(fig.axes) == 4
    assert [len(ax.get_lines()) for ax in fig.axes] == [6, 6, 6, 2]
    assert fig.axes[3].get_lines()[0].get_ydata()[0] == 1e-2 / 4
    assert [text.get_text() for text in fig.axes[3].texts] == ["not measured yet"]
    with pytest.raises(ValueError, match="no sources"):
        figures.learning_curves({}, (0,), ("wRNN",), lines, {})


def test_pictures_of_the_task_and_of_rings() -> None:
    shown, due = np.array([3, 1, 0, 9, 0]), np.array([0, 0, 0, 3, 1])
    fig = figures.tasks([("a", shown, due), ("b", shown[:3], due[:3])])
    assert [text.get_text() for text in fig.axes[0].texts] == ["3", "1", "9", "3", "1"]
    activity = np.eye(6)
    fig = figures.rings([("one", activity, 2, 4, None), ("two", activity, 3, 4, activity)])
    assert [ax.get_title() for ax in fig.axes] == ["one", "two"]


def test_what_networks_say_and_keep_apart() -> None:
    due = {0: np.array([0, 1, 2])}
    fig = figures.network_outputs(due, {0: {"wRNN": np.eye(10)[[0, 1, 2]], "iRNN": np.full((3, 10), 0.1)}}, last=2)
    assert len(fig.axes) == 3
    assert len(figures.crosstalk({"a": np.eye(4), "b": np.ones((4, 4))}).axes) == 3  # and a colour bar
    assert len(figures.displacements({0: np.ones((2, 9)), 10: np.ones((2, 9))}, {0: 3, 10: 4}).axes) == 2


def test_ladder_and_gains() -> None:
    fig = figures.bump_ladder(np.array([0.1, 1.0]), {"2": np.ones((2, 3))}, {"shift": 1.0, "uniform": 2.0})
    assert fig.axes[0].get_yscale() == "log"
    losses = {"double": np.array([[1e-3], [1e-9]]), "single": np.array([[1e-3], [0.0]])}
    fig = figures.loss_and_gain(np.array([1.0, 2.0]), losses, 1e-8)
    drawn = [line.get_ydata()[-1] for line in fig.axes[0].get_lines()]
    assert drawn[1] == pytest.approx(1e-9)  # zero stands a decade below the step


def test_spikes_show_every_run_and_every_learning_rate() -> None:
    at = np.arange(5)
    runs = {k: (at, 10.0 ** -(at + k)) for k in range(3)}
    fig = figures.spikes(runs, dict.fromkeys(runs, 1e-3), {1e-3: np.array([0.0, 1.0]), 1e-2: np.array([2.0])})
    left, right = fig.axes
    assert len(left.get_lines()) == 6
    assert [label.get_text() for label in right.get_xticklabels()] == ["0.001", "0.01"]
