"""The pictures of the chapter on a wave in a network show what they are given."""

from __future__ import annotations

from collections.abc import Iterator

import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest

from wavemem.figures import bump as figures


@pytest.fixture(autouse=True)
def close_figures() -> Iterator[None]:
    yield
    plt.close("all")


def test_fig1_marks_what_was_read_and_turns_the_rings() -> None:
    T, c, n = 6, 2, 4
    x = np.zeros((T, c))
    x[1, 0] = x[4, 1] = 1
    wave = np.zeros((T, c, n))
    wave[1, 0, 0] = 1  # an input at unit 0 is drawn at the top of its band
    read, guess = x.T.astype(bool), np.zeros((c, T), dtype=bool)
    guess[:, -1] = True
    top, middle, bottom = figures.signals_wave_bump(x, wave, x.cumsum(0), read, guess).axes
    offsets = [collection.get_offsets() for collection in top.collections]
    assert [len(points) for points in offsets] == [1, 1, 1, 1]
    assert [points[0][0] for points in offsets] == [2, 6, 5, 6]
    assert middle.images[0].get_array()[:, 1].argmax() == n - 1
    assert [text.get_text() for text in bottom.texts] == ["1", "1"]
    with pytest.raises(ValueError, match="same signals"):
        figures.signals_wave_bump(x, wave[:-1], x, read, guess)


def test_shares_and_accuracies_draw_a_line_per_system_and_a_band_per_ensemble() -> None:
    ax = figures.shares_over_time({"a": np.ones((3, 5)), "b": np.zeros(5)}, {"lap": 3}).axes[0]
    assert len(ax.lines) == 3
    assert len(ax.collections) == 1
    assert list(ax.lines[0].get_xdata()) == [1, 2, 3, 4, 5]
    panels = {"p": {"a": np.ones(4), "b": np.ones(4)}, "q": {"a": np.ones(4), "b": np.ones(4)}}
    axes = figures.accuracy_by_age(range(4), panels, {"p": {"b": 2.5}, "q": {"b": 9.0}}).axes
    assert [len(ax.lines) for ax in axes] == [4, 3]  # the limit of the second lies beyond its ages


def test_modes_and_gradients_have_their_panels() -> None:
    x = np.linspace(0.1, 0.5, 6)
    curves = {"ν = 1": np.ones(6), "ν = ½": x}
    assert len(figures.modes(x, curves, curves, curves, 0.1).axes) == 3
    left, right = figures.gradients_through_time(range(1, 5), {"a": np.zeros((2, 4))}, {"a": np.ones((2, 4))}, 8).axes
    assert left.lines[0].get_ydata().min() > 0  # zero gains are drawn at the floor of the logarithmic axis
    assert right.lines[1].get_ydata()[0] == 8


def test_ring_activity_has_a_panel_each_and_shares_no_scale_unless_told() -> None:
    first, second = np.ones((5, 4)), np.full((5, 4), 3.0)
    fig = figures.ring_activity({"a": first, "b": second, "c": first}, columns=2, limits={"c": 7.0})
    shown = [ax for ax in fig.axes if ax.get_visible()]
    assert [ax.get_title() or ax.get_title("left") for ax in shown] == ["a", "b", "c"]
    assert [ax.images[0].get_clim()[1] for ax in shown] == [1, 3, 7]
    with pytest.raises(ValueError, match="one channel"):
        figures.ring_activity({"a": np.ones((2, 3, 4))})
