"""The pictures of the self-attention chapter show what they are given."""

from __future__ import annotations

from collections.abc import Iterator

import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from wavemem.figures import self_attention as figures


@pytest.fixture(autouse=True)
def close_figures() -> Iterator[None]:
    yield
    plt.close("all")


def test_one_step_shows_weights_and_refuses_other_sizes() -> None:
    h, a = np.ones((3, 2)), np.array([0.2, 0.3, 0.5])
    fig = figures.one_step(h, a, np.ones(2))
    assert [bar.get_height() for bar in fig.axes[1].patches] == a.tolist()
    with pytest.raises(ValueError, match="weights"):
        figures.one_step(h, np.ones(2), np.ones(2))


def test_cache_pictures_mark_the_place_of_writing() -> None:
    rng = np.random.default_rng(0)
    newest = np.arange(6) % 4
    fig = figures.cache_pictures(rng.normal(size=(6, 4)), rng.normal(size=(6, 4)), np.full((5, 4), 0.25), newest)
    assert fig.axes[1].lines[0].get_ydata().tolist() == (newest + 1).tolist()


def test_position_curves_coincide_where_values_do() -> None:
    fig = figures.position_curves([1, 2, 3], {"0": [3, 2, 1], "9": [3, 2, 1]}, {"0": [0, 1, 0], "9": [0, 1, 0]})
    assert all(np.array_equal(line.get_ydata(), [3, 2, 1]) for line in fig.axes[0].lines)


def test_sharpness_and_matrices_draw_every_panel() -> None:
    x = np.arange(1, 5)
    assert len(figures.sharpness(x, 0.1**x, 0.2**x, x, x / 5, 8 / x).axes) == 3
    fig = figures.matrices({"a": 4 * np.eye(3), "b": np.zeros((2, 3))})
    assert float(fig.axes[0].images[0].get_array().max()) == 1.0


def test_curves_and_dots_use_one_colour_per_model() -> None:
    rows = pd.DataFrame(
        [
            {"task": "T1", "model": model, "quantity": quantity, "seed": seed, "step": step, "value": 0.5 + 0.1 * seed}
            for model in ("SBC", "LBC")
            for quantity in ("training accuracy", "next")
            for seed in (0, 1)
            for step in (1, 2, 3)
        ]
    )
    _, axes = plt.subplots(1, 2)
    figures.learning_curves(axes[0], rows, ("SBC", "LBC"))
    figures.accuracy_by_step(axes[1], rows, ("SBC", "LBC"), "next")
    for ax in axes:
        labelled = {line.get_label(): line for line in ax.lines if not str(line.get_label()).startswith("_")}
        assert {name: line.get_color() for name, line in labelled.items()} == {
            name: figures.MODEL_COLOURS[name] for name in ("SBC", "LBC")
        }
        assert np.allclose(labelled["SBC"].get_ydata(), 0.55)
    dots = figures.control_dots(rows[rows["step"] == 1], ("T1",), ("SBC", "LBC"), {"T1": 0.75}).axes[0]
    assert sorted(dots.lines[0].get_ydata().tolist()) == [0.5, 0.6]
