from __future__ import annotations

from collections.abc import Iterator

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from wavemem.figures import adding as figures


@pytest.fixture(autouse=True)
def _close() -> Iterator[None]:
    with plt.rc_context({"figure.constrained_layout.use": True}):
        yield
    plt.close("all")


def curve(name: str, column: str, seed: int) -> pd.DataFrame:
    at = np.arange(1, 101, 10)
    return pd.DataFrame(
        {column: name, "T": 100, "seed": seed, "iteration": at, "quantity": "train MSE", "value": 1.0 / at}
    )


def test_the_orange_bars_are_the_marked_steps() -> None:
    fig = figures.adders(np.full(10, 0.5), [3, 8], {"ring": np.eye(10), "unit": np.ones((10, 2))})
    colours = [bar.get_facecolor() for bar in fig.axes[0].patches]
    odd = [i + 1 for i, colour in enumerate(colours) if colour != colours[0]]
    assert odd == [3, 8]
    assert [bar.get_x() + bar.get_width() / 2 for bar in fig.axes[0].patches] == pytest.approx(list(range(1, 11)))


def test_curves_have_a_panel_per_length_and_a_line_per_seed() -> None:
    rows = pd.concat([curve(model, "model", seed) for model in ("wRNN", "iRNN") for seed in (0, 1)])
    fig = figures.curves(pd.concat([rows, rows.assign(T=200)]), 1 / 6, 0.05)
    assert [ax.get_title() for ax in fig.axes] == ["$T = 100$", "$T = 200$"]
    assert all(len(ax.lines) == 4 + 2 for ax in fig.axes)  # and two levels
    with pytest.raises(ValueError, match="training errors"):
        figures.curves(rows.assign(quantity="test MSE"), 1 / 6, 0.05)


def test_nothing_measured_is_said() -> None:
    for fig in (figures.curves(pd.DataFrame(), 1 / 6, 0.05), figures.sensitivities({})):
        assert [text.get_text() for text in fig.axes[0].texts] == ["not measured yet"]


def test_every_run_has_its_mark() -> None:
    runs = pd.DataFrame(
        {
            "start": ["a", "a", "b", "b"],
            "solved at": [100.0, 200.0, np.nan, np.nan],
            "fate": ["solved", "lost", "diverged", "stalled"],
            "updates": 500,
        }
    )
    fig = figures.outcomes({"one": runs}, "start", ["a", "b"], {"a": "C0", "b": "C1"})
    marks = [line for line in fig.axes[0].lines if line.get_linestyle() == "None"]
    assert [line.get_marker() for line in marks] == ["o", "v", "x", "|"]
    assert [line.get_xdata()[0] for line in marks] == [100, 200, 625, 625]
    assert [text.get_text() for text in fig.axes[0].get_yticklabels()] == ["a", "b"]


def test_published_and_searched_starts_are_told_apart() -> None:
    rows = pd.concat([curve(name, "contestant", 0) for name in ("wRNN published", "iRNN published", "iRNN searched")])
    lines = figures.curves(rows, 1 / 6, 0.05).axes[0].lines[:3]
    assert [line.get_linestyle() for line in lines] == ["-", "--", "-"]
    assert lines[1].get_color() == lines[2].get_color() != lines[0].get_color()
    assert lines[2].get_label() == "iRNN, searched start"


def test_the_other_figures_draw() -> None:
    figures.ring_errors([5, 10], np.zeros(2), np.zeros(2), np.zeros(2), 5, 1 / 6)
    figures.place_maps({"a": np.eye(4), "b": np.zeros((4, 6))}, {"a": "one", "b": "two"})
    fig = figures.sensitivities({"a": (np.ones((2, 5)), np.zeros((2, 5)))}, step=10)
    assert list(fig.axes[0].lines[0].get_xdata()) == [4.5, 14.5, 24.5, 34.5, 44.5]
    fig.canvas.draw()
