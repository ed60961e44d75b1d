"""The figures of chapter 16 draw what they are given."""

from __future__ import annotations

from collections.abc import Iterator

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch

from wavemem.figures import linear_waves, wave_learning
from wavemem.substrate.readings import spectrum_2d


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    plt.close("all")


def _rows(models: list[str], iterations: tuple[int, ...] = (0, 100)) -> pd.DataFrame:
    rows = []
    for m, model in enumerate(models):
        for seed in range(2):
            for iteration in iterations:
                for channel in (-1, 0, 1):
                    for quantity in ("coherence", "right", "velocity", "velocity error", "response velocity",
                                     "response velocity error"):  # fmt: skip
                        missing = quantity == "velocity" and m == 1
                        value = np.nan if missing else 0.1 * m + 0.01 * seed
                        rows.append((model, seed, iteration, channel, quantity, value))
    return pd.DataFrame(rows, columns=["model", "seed", "iteration", "channel", "quantity", "value"])


def test_starts_are_a_grid_and_empty_panels_say_so() -> None:
    zero, wave = torch.zeros(6, 8), torch.randn(6, 8)
    figure = wave_learning.starts_through_training(
        {"wRNN shift": {0: zero, 10: wave}, "iRNN uniform": {0: wave, 10: wave}}
    )
    assert len(figure.axes) == 4
    said = [[text.get_text() for text in ax.texts] for ax in figure.axes]
    assert said == [["nothing varies"], [], [], []]


def test_coherence_and_recall_are_drawn_for_every_seed() -> None:
    figure = wave_learning.waves_over_training(_rows(["a b", "c d", "e f", "g h"]), ["a b", "c d", "e f", "g h"])
    visible = [ax for ax in figure.axes if ax.get_visible()]
    assert len(visible) == 4
    assert all(len(ax.lines) == 5 for ax in visible)  # two quantities, two seeds, the threshold


def test_networks_without_a_wave_are_in_the_strip() -> None:
    figure = wave_learning.final_waves(_rows(["a b", "c d"]), ["a b", "c d"])
    hollow = [line for line in figure.axes[0].lines if line.get_markerfacecolor() == "none"]
    assert sum(len(line.get_xdata()) for line in hollow) == 2


def test_speeds_and_channels() -> None:
    figure = wave_learning.channel_speeds(_rows(["a", "b"]), {"a": (1.0, 0.5), "b": (0.0, 1.0)})
    assert len(figure.axes) == 2
    G = torch.randn(5, 8, dtype=torch.float64)
    assert len(wave_learning.propagators([G, G], [G, G], (1.0, 0.5)).axes) == 5
    figure = wave_learning.channels_of_one_network(torch.randn(9, 7, 6))
    assert sum(ax.get_visible() for ax in figure.axes) == 7


def test_spectra_are_a_grid() -> None:
    spectrum = spectrum_2d(torch.randn(8, 2, 1, 6))
    figure = wave_learning.spectra_through_training({"a": [spectrum, spectrum], "b": [spectrum, spectrum]}, ["x", "y"])
    assert len(figure.axes) == 4


def test_linear_waves() -> None:
    roots = torch.exp(2j * torch.pi * torch.arange(6) / 6).unsqueeze(-1)
    assert len(linear_waves.modes_in_the_plane({"shift": roots, "other": 0.5 * roots}).axes) == 2
    K = torch.zeros(9)
    assert len(linear_waves.kernel_in_time({"shift": K}, {"shift": K}).axes) == 1
    memory = {"one turn": {"linear": torch.ones(8), "rectified": torch.rand(8)}, "two": {"linear": torch.ones(16)}}
    assert len(linear_waves.memory_by_lag(memory, 8).axes) == 2
