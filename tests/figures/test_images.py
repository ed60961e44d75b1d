"""Figures of the chapter on images: what they draw, with all and with few rows."""

from __future__ import annotations

from collections.abc import Iterator

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch

from wavemem.figures import images as figures
from wavemem.substrate.readings import spectrum_2d


@pytest.fixture(autouse=True)
def close() -> Iterator[None]:
    yield
    plt.close("all")


@pytest.fixture
def rows() -> pd.DataFrame:
    found = []
    for model, sizes in (("wRNN", ((8, 2), (4, 1))), ("iRNN", ((8, 1),))):
        for units, channels in sizes:
            for seed in (0, 1):
                for iteration in (0, 10, 20):
                    base = {"task": "sdigits", "model": model, "units": units, "channels": channels, "seed": seed}
                    found.append(
                        {**base, "iteration": iteration, "quantity": "test accuracy", "value": 0.1 + 0.01 * iteration}
                    )
    return pd.DataFrame(found)


def test_sequences_have_one_strip_each() -> None:
    fig = figures.sequences(np.zeros((8, 8)), {"a": np.zeros((64, 1)), "b": np.zeros((100, 8))})
    assert len(fig.axes) == 3
    assert fig.axes[2].get_ylabel() == "8 values"


def test_learning_curves_show_the_tasks_own_size_once(rows: pd.DataFrame) -> None:
    fig = figures.learning_curves(rows, {"sdigits": "one", "psdigits": "none"}, ["wRNN", "iRNN", "LSTM"])
    lines = [line for line in fig.axes[0].get_lines() if not str(line.get_label()).startswith("_")]
    assert [line.get_label() for line in lines] == ["wRNN", "iRNN"]
    np.testing.assert_allclose(lines[0].get_ydata(), [10, 20, 30])
    np.testing.assert_allclose(lines[0].get_xdata(), [0, 10, 20])
    with pytest.raises(ValueError, match="no tasks"):
        figures.learning_curves(rows, {}, ["wRNN"])


def test_sizes_are_labelled_and_steps_only_rise() -> None:
    table = pd.DataFrame(
        {
            "model": ["wRNN"] * 4 + ["iRNN"] * 2,
            "units": [8, 8, 4, 4, 16, 16],
            "channels": [2, 2, 1, 1, 1, 1],
            "parameters": [300, 300, 50, 50, 400, 400],
            "accuracy": [60.0, 62.0, 70.0, 72.0, 30.0, 40.0],
        }
    )
    fig = figures.over_parameters(table)
    assert {text.get_text() for text in fig.axes[0].texts} == {"8×2", "4×1", "16"}
    steps = [line for line in fig.axes[0].get_lines() if line.get_drawstyle() == "steps-post"]
    np.testing.assert_allclose(steps[0].get_ydata(), [71, 71])
    assert not figures.over_parameters(table, ["GRU"]).axes[0].texts


def test_states_spectra_folding_and_memory() -> None:
    activity = torch.randn((32, 4, 16), generator=torch.Generator().manual_seed(0))
    spectrum = spectrum_2d(activity)
    fig = figures.states_and_spectra(
        {"a": activity[:, 0], "b": activity[:, 1]}, {"a": spectrum, "b": spectrum}, {"a": (1.0,), "b": ()}
    )
    assert len(fig.axes) == 6  # two colour bars
    fig = figures.folding([8, 16], {"x": [50, 60], "y": [70, 80]}, {"all": 90, "ink": 12})
    assert fig.axes[0].get_xticks().tolist() == [8, 16]
    values = np.array([[0.2, np.nan, -3.0], [0.4, np.nan, 0.5]])
    fig = figures.kept({"p": {"wRNN": values, "iRNN": values}}, 2, 1)
    shown = fig.axes[0].get_images()[0].get_array()
    np.testing.assert_allclose(np.ma.filled(shown, np.nan), [[0.3, np.nan], [0.25, np.nan]])
    assert [ax.get_ylabel() for ax in fig.axes[:2]] == ["wRNN", "iRNN"]


def test_units_can_have_a_scale_each() -> None:
    activity = torch.tensor([[1.0, 100.0], [2.0, 50.0]])
    spectrum = spectrum_2d(torch.randn((8, 4, 8), generator=torch.Generator().manual_seed(0)))
    fig = figures.states_and_spectra({"a": activity}, {"a": spectrum}, {"a": ()}, per_unit=["a"])
    shown = np.asarray(fig.axes[0].get_images()[0].get_array())
    assert shown.max() == 1.0
    assert sorted(shown.ravel().tolist()) == [0.5, 0.5, 1.0, 1.0]


def test_a_search_is_drawn_by_rate_and_biases() -> None:
    tried = pd.DataFrame(
        {"model": model, "lr": lr, "V_scale": scale, "biases": biases, "value": 0.5}
        for model in ("iRNN", "wRNN") for lr in (1e-3, 1e-2) for scale in (0.1, 1.0) for biases in (True, False)
    )  # fmt: skip
    fig = figures.search(tried)
    assert len([line for line in fig.axes[1].get_lines() if len(line.get_xdata()) == 2]) == 5  # four, and chance
