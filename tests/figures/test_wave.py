"""The pictures of the wave-equation chapter show what they are given."""

from __future__ import annotations

from collections.abc import Iterator

import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest

from wavemem.figures import wave as figures


@pytest.fixture(autouse=True)
def close_figures() -> Iterator[None]:
    yield
    plt.close("all")


def test_characteristics_fall_with_the_velocity() -> None:
    fig = figures.characteristics({"a": (np.ones((5, 8)), 1.0), "b": (np.ones((5, 8)), -0.5)}, 6.0)
    x, y = fig.axes[1].lines[0].get_data()
    assert (y[-1] - y[0]) / (x[-1] - x[0]) == pytest.approx(0.5)


def test_packets_modes_and_spans_draw_every_curve() -> None:
    x = np.linspace(0.1, 3, 7)
    curves = {"p": x, "q": 2 * x}
    assert [len(ax.lines) for ax in figures.packets(x, x, {"u": curves, "w": curves}, (0, 3)).axes] == [2, 2]
    assert [len(ax.lines) for ax in figures.mode_errors(x, curves, curves, dashed=("q",)).axes] == [3, 3]
    assert np.array_equal(figures.spans(curves, 4).axes[0].lines[1].get_ydata(), 2 * x)


def test_convergence_names_the_measured_order() -> None:
    fig = figures.convergence([8, 16], {"u": [1e-1, 5e-2], "exact": [0.0, 0.0]}, {"u": 1.0})
    labels = [text.get_text() for text in fig.legends[0].get_texts()]
    assert labels == ["u: order 1.00", "exact"]


def test_recovery_separates_found_from_missed() -> None:
    start, final = np.array([-1.0, 0.0, 1.0]), np.array([0.5, 0.0, 0.0])
    ok = {"m": {"λ": np.array([False, True, True])}, "n": {"λ": np.array([True, True, True])}}
    ends = {"m": {"λ": final, "μ": final}, "n": {"λ": final, "μ": final}}
    both = {name: {"λ": by["λ"], "μ": by["λ"]} for name, by in ok.items()}
    fig = figures.recovery(start, ends, both)
    missed, found = fig.axes[0].collections
    assert len(missed.get_offsets()) == 1
    assert len(found.get_offsets()) == 2
    assert fig.axes[0].texts[0].get_text() == "67%"


def test_landscapes_and_rule_have_a_panel_each() -> None:
    x = np.linspace(-1, 1, 5)
    assert len(figures.loss_landscapes(x, {"2": {"32": x}, "16": {"32": x}}).axes) == 2
    assert len(figures.driven_by_a_rule(np.ones((6, 4)), 4).axes) == 1


def test_ripples_mark_what_was_put_in_and_what_was_read() -> None:
    fig = figures.ripples(np.eye(5), [(1, 2, 3)], [(1, 2, 3)])
    marks = [tuple(float(np.asarray(v)[0]) for v in line.get_data()) for line in fig.axes[0].lines]
    assert marks == [(1.0, 2.0), (1.0, 2.0)]
    assert fig.axes[0].texts[0].get_text() == "3 steps ago"


def test_architecture_has_a_neuron_per_column_and_wave() -> None:
    fig = figures.architecture(np.arange(12.0).reshape(4, 3))
    assert len(fig.axes[0].collections[0].get_offsets()) == 12
