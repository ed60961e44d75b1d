"""The figures of chapter 18 draw what they are given."""

from __future__ import annotations

from collections.abc import Iterator

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.axes import Axes

from wavemem.figures import any_velocity as figures
from wavemem.substrate import register_span as span


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    plt.close("all")


def _title(ax: Axes) -> str:
    return ax.get_title() or ax.get_title(loc="left")


def test_pulses_have_a_panel_per_velocity() -> None:
    panels = {f"v = {v:g}": span.pulses(v, 4, 12) for v in (1.0, 0.75, 0.5, 0.25)}
    figure = figures.neuron_pulses(panels, (0, 3), {"v = 0.25": panels["v = 0.25"]}, "limit")
    assert [_title(ax) for ax in figure.axes] == list(panels)
    assert len(figure.axes[3].lines) == len(figure.axes[0].lines) + 2


def test_space_time_pictures_start_at_the_bottom_and_hide_what_is_empty() -> None:
    states = torch.randn(20, 6)
    figure = figures.waves_in_registers({"a": (states, 1.0), "b": (states, 0.5)}, columns=3)
    assert [ax.get_visible() for ax in figure.axes] == [True, True, False]
    assert figure.axes[0].images[0].origin == "lower"


def test_growth_and_responses() -> None:
    gains = {1.5: (span.pulses(1.5, 4, 300).abs().sum(1), span.absolute_gain(1.5, 4))}
    figure = figures.beyond_one(gains, {"slow": span.pulses(0.8, 4, 20)[3], "fast": span.pulses(1.25, 4, 20)[3]})
    assert figure.axes[0].get_yscale() == "log"
    assert all(np.abs(line.get_ydata()).max() <= 1 for line in figure.axes[1].lines)


def test_memory_curves_and_the_law() -> None:
    curves = {v: torch.rand(10) for v in (1.0, 0.5)}
    figure = figures.memories_by_age({"a": curves, "b": curves}, 4, curves)
    assert len(figure.axes[0].lines) == len(figure.axes[1].lines) + 2
    assert [t.get_text() for t in figure.legends[0].get_texts()][-1] == "long register"


def test_capacities_needs_and_smooth_inputs() -> None:
    v = torch.linspace(0.1, 1, 5)
    pair = (torch.rand(5), torch.rand(5))
    assert len(figures.capacities(v, {0.1: pair}, (4, 8, 16, 32, 64), {"v = 1": pair}, 16).axes) == 2
    figure = figures.velocity_for_a_need(v, {"need": {8: torch.tensor([0.0, 0.1, 0.9, 0.2, 0.1])}}, 16)
    marked = figure.axes[0].lines[1]
    assert float(marked.get_xdata()[0]) == pytest.approx(0.55)
    assert len(figures.smooth_inputs(v, {0.5: pair[0]}, {"a": pair[1]}, 4).axes) == 2


def test_ring_beside_register() -> None:
    figure = figures.ring_and_register({"ring": torch.rand(6)}, {"ring": torch.rand(6)}, 4)
    assert [_title(ax) for ax in figure.axes] == ["one neuron", "memory"]


def test_valleys_draw_every_network_and_refuse_other_ages() -> None:
    v = torch.linspace(0.1, 1, 5)
    runs = (torch.tensor([0.2, 0.8]), torch.tensor([0.3, 0.8]), torch.tensor([0.5, 0.9]))
    figure = figures.valleys(v, {4: torch.rand(5)}, {4: torch.tensor([0.3])}, {4: runs})
    assert len(figure.axes) == 2
    with pytest.raises(ValueError, match="allowed"):
        figures.valleys(v, {4: torch.rand(5)}, {4: torch.tensor([0.3])}, {5: runs})
