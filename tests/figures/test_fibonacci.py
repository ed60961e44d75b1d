"""The pictures of the Fibonacci chapter show what they are given."""

from __future__ import annotations

from collections.abc import Iterator

import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from wavemem.figures import fibonacci as figures


@pytest.fixture(autouse=True)
def close_figures() -> Iterator[None]:
    yield
    plt.close("all")


def test_operators_draw_every_matrix() -> None:
    fig = figures.operators({"a": np.eye(6), "b": -np.eye(6)}, 3, 2)
    images = [ax.images[0].get_array() for ax in fig.axes if ax.images]
    assert np.array_equal(np.asarray(images[0]), np.eye(6))
    assert np.array_equal(np.asarray(images[1]), -np.eye(6))


def test_growth_has_a_limit_per_sequence() -> None:
    fig = figures.wave_and_growth(np.ones((5, 3)), {"p": [1.0, 2.0], "q": [1.0, 1.5]}, {"p": 1.9, "q": 1.6})
    lines = fig.axes[1].lines
    assert [line.get_ydata()[0] for line in lines[1::2]] == [1.9, 1.6]
    assert np.array_equal(lines[0].get_xdata(), [1, 2])


def test_eigenvalues_and_gap_are_where_they_belong() -> None:
    fig = figures.eigenvalues_by_s({2: [1.6 + 0j, -0.6]}, [2, 3], [0.4, 0.2])
    assert np.allclose(fig.axes[0].collections[0].get_offsets(), [[1.6, 0], [-0.6, 0]])
    assert np.allclose(fig.axes[1].lines[0].get_ydata(), [0.25, 0.125])
    assert np.allclose(fig.axes[1].lines[1].get_ydata(), [0.4, 0.2])


def test_cliffs_mark_the_task() -> None:
    fig = figures.cliffs([1.0, 2.0], {"raw": {2: [1, 2], 4: [3, 4]}, "scaled": {2: [1, 1], 4: [1, 1]}}, 1.6)
    assert [len(ax.lines) for ax in fig.axes] == [3, 3]
    assert fig.axes[0].lines[2].get_xdata()[0] == 1.6


def test_learned_floors_and_separates_the_arms() -> None:
    rows = pd.DataFrame({"arm": ["a", "a", "b"], "horizon": [2, 4, 2], "error": [0.0, 0.1, 0.2]})
    fig = figures.learned(rows, ["a", "b"], {"error": "e"}, floor=1e-9)
    first, second = fig.axes[0].collections
    assert first.get_offsets()[0][1] == 1e-9
    assert first.get_offsets()[0][0] < 2 < second.get_offsets()[0][0]


def test_gradients_draw_the_predicted_slope() -> None:
    largest = pd.DataFrame({"a": [1.0, 2.0]}, index=[2, 4])
    fig = figures.gradients(largest, 1.5, {"a": ([1, 2], [[1.0, 0.5], [1.0, 0.4]])})
    assert np.allclose(fig.axes[0].lines[-1].get_ydata(), [1.5**4, 1.5**8])
    assert len(fig.axes[1].lines) == 2
