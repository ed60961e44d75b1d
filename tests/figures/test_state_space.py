"""The figures of registers: panels for what is passed in, and complaints about what does not fit."""

from __future__ import annotations

from collections.abc import Iterator

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from wavemem.figures import state_space as figures
from wavemem.substrate import shift_register as spaces


@pytest.fixture(autouse=True)
def _close_figures() -> Iterator[None]:
    yield
    plt.close("all")


def test_passages_draw_lines_where_asked() -> None:
    x = torch.eye(12, dtype=torch.float64)[0]
    pictures = {"open": spaces.register(4).states(x), "ring": spaces.ring(5).states(x)}
    fig = figures.passages(pictures)
    assert [ax.get_title() for ax in fig.axes] == ["open", "ring"]
    fig = figures.passages(pictures, shared=False, lines=[1.0, None], start=2)
    assert [len(ax.get_lines()) for ax in fig.axes] == [1, 0]
    assert fig.axes[0].get_lines()[0].get_xdata()[0] == 2


def test_forms_have_a_matrix_and_a_plane_each() -> None:
    ring = spaces.ring(6)
    fig = figures.forms({"ring": ring.A, "modes": ring.in_basis(spaces.fourier_basis(6)).A})
    assert len(fig.axes) == 4


def test_curves() -> None:
    fig = figures.usefulness({"a": ([3, 5], [1.0, 2.0]), "b": ([4, 6], [10.0, float("nan")])})
    assert len(fig.axes[0].get_lines()) == 4  # two curves, two limits
    axis = np.linspace(-1, 1, 5)
    fig = figures.cost_of_diagonal_form(
        (axis, axis, np.ones((5, 5))), {"e": np.ones(3)}, [1e-1, 1e-3], {"exact": [1, 1], "single": [1, 2]}
    )
    assert len(fig.axes) == 3  # and a colour bar
    one = np.ones(4)
    assert len(figures.measured_velocities({"M": (one, one)}, {"M": (one, 0 * one)}).axes) == 2


def test_registers_while_reading() -> None:
    h = torch.randn(7, 2, 4, generator=torch.Generator().manual_seed(0))
    panel = figures.Panel("Mamba", h, ["channel 0", "channel 1"])
    fig = figures.reading_registers([panel, panel], list("$ab|ab."))
    assert len(fig.axes) == 4
    assert fig.axes[0].get_title() == "Mamba, channel 0"
    assert [label.get_text() for label in fig.axes[3].get_xticklabels()] == list("$ab|ab.")
    with pytest.raises(ValueError, match="3 labels for 7 steps"):
        figures.reading_registers([panel], list("abc"))
    with pytest.raises(ValueError, match="Choose one channel"):
        figures.passages({"x": h})
