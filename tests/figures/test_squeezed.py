"""Figures of the chapter on squeezed memories: panels and what they need."""

from __future__ import annotations

from collections.abc import Iterator

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from wavemem.figures import squeezed as figures


@pytest.fixture(autouse=True)
def _close_figures() -> Iterator[None]:
    with mpl.rc_context({"figure.constrained_layout.use": True}):
        yield
    plt.close("all")


@pytest.fixture
def table() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "hidden_size": [8, 8, 16, 32],
            "lasting": [6, 7, 12, 16],
            "error": [0.62, 0.57, 0.25, 0.01],
            "accuracy": [0.75, 0.8, 0.93, 1.0],
            "nonlinear": [0.2, 0.1, 0.05, 0.0],
            "past": [0.4, 0.45, 0.8, 1.0],
        }
    )


def test_panels_by_size(table: pd.DataFrame) -> None:
    assert len(figures.counts_and_errors(table, 16).axes) == 3
    activity = {f"N = {n}": np.random.default_rng(0).random(100) for n in (8, 16, 32)}
    assert len(figures.code_and_saturation(activity, table, 16).axes) == 3


def test_maps_and_spectra() -> None:
    M = np.eye(8)
    assert len(figures.recall_maps({"a": M, "b": 0.5 * M}, "a", 4, 2).axes) == 3
    kinds = {"signs": np.ones(8), "Gaussian": np.linspace(1, 0, 8)}
    assert len(figures.recall_by_inputs({"one": (6, kinds), "two": (7, kinds)}).axes) == 2
    values = np.exp(2j * np.pi * np.arange(4) / 4)
    panels = {f"N = {n}": (values, [1, 1, 1, 1]) for n in range(5)}
    fig = figures.spectra_by_size(panels, values, 2)
    assert sum(ax.get_visible() for ax in fig.axes) == 5
    both = figures.initial_and_final_spectra({"uniform": (values, values)}, {"uniform": 0.6}, values)
    assert len(both.axes) == 2


def test_fading_penalties_and_reach() -> None:
    curves = {"N = 8": np.linspace(1, 0.5, 6).reshape(3, 2)}
    assert len(figures.fading([1, 3, 10], curves, 60, 4).axes) == 1
    by_decay = pd.DataFrame({"weight_decay": [0.0, 0.0, 1e-2], "lasting": [16, 15, 9], "modulus": [1.0, 1.01, np.nan]})
    names = {"lasting": "kept", "modulus": "modulus"}
    assert len(figures.penalties(by_decay, names, 16, by_decay[by_decay["weight_decay"] > 0]).axes) == 2
    networks = pd.DataFrame({"init": ["uniform", "gaussian"], "mean_modulus": [1.01, 1.02], "late": [0.7, 0.8]})
    assert len(figures.radius_and_reach(networks, {"late": "step 1,000"}, notes={"late": "r"}).axes) == 1
    with pytest.raises(ValueError, match="no networks"):
        figures.radius_and_reach(networks[:0], {"late": "step 1,000"})
