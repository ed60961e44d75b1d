"""Figures of images seen pixel by pixel: the sequences, learning curves, hidden states with their spectra, what is kept.

Each function takes measured arrays or the rows of `wavemem.experiments.images` and returns the figure.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from numpy.typing import ArrayLike, NDArray

from wavemem.checks import require
from wavemem.plotting.panels import space_time, spectrum_image
from wavemem.plotting.style import ACCENT, CATEGORICAL, INK, MUTED, SEQUENTIAL, figure_size
from wavemem.substrate.readings import Spectrum2D

__all__ = [
    "MODEL_STYLES",
    "folding",
    "kept",
    "learning_curves",
    "over_parameters",
    "search",
    "sequences",
    "states_and_spectra",
]

Floats = NDArray[np.floating]

MODEL_STYLES: Final[dict[str, dict[str, Any]]] = {
    "wRNN": {"color": CATEGORICAL[1], "ls": "-", "marker": "o"},
    "wRNN searched": {"color": CATEGORICAL[1], "ls": "--", "marker": "P"},
    "iRNN": {"color": CATEGORICAL[0], "ls": "-", "marker": "s"},
    "iRNN searched": {"color": CATEGORICAL[0], "ls": "--", "marker": "X"},
    "wRNN + MLP": {"color": CATEGORICAL[2], "ls": "-.", "marker": "D"},
    "LSTM": {"color": CATEGORICAL[3], "ls": "-.", "marker": "^"},
    "GRU": {"color": CATEGORICAL[6], "ls": ":", "marker": "v"},
}
"""Colour, line and marker of each model; Wave-RNN orange and iRNN blue, as in the whole part, the searched starts broken."""


def sequences(image: ArrayLike, shown: Mapping[str, ArrayLike]) -> Figure:
    """An image and the sequences made of it.

    Args:
        image: (height, width).
        shown: title → (time, d) inputs; where a step shows a row, a line marks the end of the image.
    """
    fig = plt.figure(figsize=figure_size(0.5 + 0.75 * len(shown)))
    grid = fig.add_gridspec(len(shown), 2, width_ratios=[1, 4.5])
    ax = fig.add_subplot(grid[:, 0])
    ax.imshow(np.asarray(image), cmap="gray_r")
    ax.set(title="image", xticks=[], yticks=[])
    for row, (title, values) in enumerate(shown.items()):
        inputs = np.asarray(values)
        ax = fig.add_subplot(grid[row, 1])
        ax.imshow(
            inputs.T, cmap="gray_r", aspect="auto", vmin=0, vmax=1, extent=(0.5, len(inputs) + 0.5, inputs.shape[1], 0)
        )
        ax.set(title=title, yticks=[])
        ax.set_ylabel(
            "value" if inputs.shape[1] == 1 else f"{inputs.shape[1]} values", rotation=0, ha="right", va="center"
        )
        if inputs.shape[1] > 1:
            ax.axvline(len(np.asarray(image)) + 0.5, color=ACCENT, lw=1.5)
    ax.set_xlabel("step $t$")
    return fig


def folding(units: Sequence[int], curves: Mapping[str, ArrayLike], lines: Mapping[str, float]) -> Figure:
    """Accuracy of a linear readout of an image folded onto a ring, over the size of the ring.

    Args:
        units: sizes n.
        curves: name → accuracy per size, in per cent.
        lines: name → accuracy that does not depend on n.
    """
    fig, ax = plt.subplots(figsize=figure_size(2.7, 0.8))
    for k, (name, values) in enumerate(curves.items()):
        ax.plot(units, np.asarray(values), ms=3.5, marker="os"[k % 2], color=CATEGORICAL[k], label=name)
    for k, (name, value) in enumerate(lines.items()):
        ax.axhline(value, color=MUTED, ls=("--", ":")[k % 2])
        ax.annotate(
            name, (units[-1], value), xytext=(0, 3), textcoords="offset points", ha="right", fontsize=8.5, color=MUTED
        )
    ax.set(xlabel="units $n$ of the ring", ylabel="test accuracy (%)", ylim=(0, 103))
    ax.set_xticks([n for n in units if n % 8 == 0])
    ax.legend(loc="center right")
    return fig


def _curves(ax: Axes, rows: pd.DataFrame, task: str, models: Sequence[str], quantity: str) -> None:
    for model in models:
        chosen = rows[(rows["task"] == task) & (rows["model"] == model) & (rows["quantity"] == quantity)]
        if chosen.empty:
            continue
        # Further sizes of the same model, if there are any, come after the task's own.
        first = chosen.iloc[0]
        chosen = chosen[(chosen["units"] == first["units"]) & (chosen["channels"] == first["channels"])]
        table = 100 * chosen.pivot(index="iteration", columns="seed", values="value")
        style = MODEL_STYLES[model]
        at = table.index.to_numpy()
        ax.plot(at, table.mean(axis=1), color=style["color"], ls=style["ls"], lw=1.6, label=model)
        ax.fill_between(at, table.min(axis=1), table.max(axis=1), color=style["color"], alpha=0.18, lw=0)
    # Linear up to the first updates, so that 0 has a place, and logarithmic after them.
    ax.set_xscale("symlog", linthresh=100, linscale=0.7)
    ticks = [0, 100, 1000, 10_000]
    ax.xaxis.set_major_locator(FixedLocator(ticks))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    ax.set_xlim(left=0)
    ax.axhline(10, color=MUTED, ls=":", lw=1)


def learning_curves(
    rows: pd.DataFrame,
    tasks: Mapping[str, str],
    models: Sequence[str],
    quantity: str = "test accuracy",
    label: str = "test accuracy (%)",
) -> Figure:
    """Accuracy over training, one panel per task; line: mean over seeds, shading: their range, dots: chance.

    Args:
        rows: from `wavemem.experiments.images.run`.
        tasks: task → title.
        models: which.
        quantity: of the rows.
        label: of the vertical axis.
    """
    require(len(tasks) > 0, "no tasks", "at least one", "Name a task of the rows.")
    fig, axes = plt.subplots(1, len(tasks), figsize=figure_size(2.8), sharey=True, squeeze=False)
    for ax, (task, title) in zip(axes[0], tasks.items(), strict=True):
        _curves(ax, rows, task, models, quantity)
        ax.set(title=title, xlabel="updates", ylim=(0, 103))
    axes[0, 0].set_ylabel(label)
    handles = {
        line.get_label(): line for ax in axes[0] for line in ax.get_lines() if not str(line.get_label()).startswith("_")
    }
    fig.legend(list(handles.values()), list(handles), loc="outside lower center", ncols=4)
    return fig


def search(rows: pd.DataFrame, models: Sequence[str] = ("iRNN", "wRNN")) -> Figure:
    """What a search of starts and rates found: validation accuracy over the size of the input weights, mean of the seeds.

    Args:
        rows: from `wavemem.experiments.image_search.run`.
        models: with a size to search, one panel each; colours are learning rates, broken lines have no biases.
    """
    fig, axes = plt.subplots(1, len(models), figsize=figure_size(2.8), sharey=True, squeeze=False)
    rates = sorted(rows.loc[rows["model"].isin(models), "lr"].unique())
    for ax, model in zip(axes[0], models, strict=True):
        own = rows[rows["model"] == model]
        for (lr, biases), tried in own.groupby(["lr", "biases"]):
            mean = 100 * tried.groupby("V_scale")["value"].mean()
            colour, line = CATEGORICAL[rates.index(lr) % len(CATEGORICAL)], "-" if biases else "--"
            ax.plot(mean.index, mean, ls=line, marker="o" if biases else "s", ms=3.5, lw=1.2, color=colour)
        ax.axhline(10, color=MUTED, ls=":", lw=1)
        ax.set(title=model, xscale="log", xlabel="size of the input weights", ylim=(0, 103))
    axes[0, 0].set_ylabel("validation accuracy (%)")
    handles = [Line2D([], [], color=CATEGORICAL[k], label=f"rate {lr:g}") for k, lr in enumerate(rates)]
    handles += [Line2D([], [], color=INK, ls=ls, label=label) for ls, label in (("-", "biases"), ("--", "no biases"))]
    fig.legend(handles=handles, loc="outside lower center", ncols=4)
    return fig


def states_and_spectra(
    states: Mapping[str, ArrayLike],
    spectra: Mapping[str, Spectrum2D],
    velocities: Mapping[str, Sequence[float]],
    per_unit: Collection[str] = (),
) -> Figure:
    """Hidden states of one image, and the two-dimensional spectra of many: one row per model (the paper's Fig. 2).

    Args:
        states: title → (time, position) activity of one channel.
        spectra: the same titles → spectrum.
        velocities: the same titles → lines to draw.
        per_unit: titles whose units are each divided by their own largest value.
    """
    fig, axes = plt.subplots(
        len(states), 2, figsize=figure_size(2.3 * len(states)), width_ratios=[1.25, 1], squeeze=False
    )
    for row, (title, values) in zip(axes, states.items(), strict=True):
        activity = np.asarray(values, dtype=np.float64)
        if title in per_unit:
            activity = activity / np.maximum(np.abs(activity).max(0), 1e-12)
        # The few largest values would leave the rest without colour.
        space_time(row[0], activity, signed=False, start=1, limit=float(np.quantile(activity, 0.99)))
        row[0].set(title=title, ylabel="unit")
        spectrum_image(row[1], spectra[title], velocities=tuple(velocities[title]), colorbar=True)
        row[1].set(title="spectrum over shuffled", xlabel="spatial frequency (cycles / unit)")
    return fig


def over_parameters(table: pd.DataFrame, models: Sequence[str] = tuple(MODEL_STYLES)) -> Figure:
    """Accuracy over the number of parameters (the paper's Fig. 7); marker: mean over seeds, bar: their range.

    Args:
        table: one line per network with model, units, channels, parameters and accuracy (in per cent).
        models: which.
    """
    fig, ax = plt.subplots(figsize=figure_size(3.0, 0.8))
    for model in models:
        style = MODEL_STYLES[model]
        grouped = table[table["model"] == model].groupby(["parameters", "units", "channels"])["accuracy"]
        found = grouped.agg(["mean", "min", "max"]).reset_index().sort_values("parameters")
        if found.empty:
            continue
        error = np.stack([found["mean"] - found["min"], found["max"] - found["mean"]])
        ax.errorbar(
            found["parameters"],
            found["mean"],
            yerr=error,
            color=style["color"],
            marker=style["marker"],
            ls="",
            capsize=2,
            label=model,
        )
        best = found.assign(top=found["mean"].cummax())
        ax.step(best["parameters"], best["top"], where="post", color=style["color"], lw=1, alpha=0.6)
        for line in found.to_dict("records"):
            name = f"{line['units']}×{line['channels']}" if model.startswith("wRNN") else f"{line['units']}"
            ax.annotate(
                name,
                (line["parameters"], line["mean"]),
                xytext=(5, -9),
                textcoords="offset points",
                fontsize=7.5,
                color=style["color"],
            )
    ax.set(xscale="log", xlabel="parameters (without biases)", ylabel="test accuracy (%)")
    if not table[table["model"].isin(models)].empty:
        ax.legend(loc="lower right")
    return fig


def kept(panels: Mapping[str, Mapping[str, Floats]], width: int, lap: int | None = None) -> Figure:
    """How much of each input a linear map recovers from the last state: one small image per model and task.

    Args:
        panels: title → model → (seeds, inputs) R², in the order in which the inputs were shown; nan where one never varies.
        width: inputs per row of the small images.
        lap: steps of a round of the ring; the input shown a round before the end is marked.
    """
    models = list(next(iter(panels.values())))
    fig, axes = plt.subplots(
        len(models), len(panels), figsize=figure_size(1.75 * len(models) + 0.2, 0.75), squeeze=False
    )
    for column, (title, curves) in zip(axes.T, panels.items(), strict=True):
        column[0].set_title(title)
        for ax, model in zip(column, models, strict=True):
            mean = np.clip(curves[model], 0, 1).mean(0)
            padded = np.append(mean, np.full(-len(mean) % width, np.nan)).reshape(-1, width)
            image = ax.imshow(padded, vmin=0, vmax=1, cmap=SEQUENTIAL)
            if lap is not None and lap < len(mean):
                ax.axhline((len(mean) - lap) / width - 0.5, color="white", lw=1.2, ls=":")
            ax.set(xticks=[], yticks=[])
    for ax, model in zip(axes[:, 0], models, strict=True):
        ax.set_ylabel(model)
    fig.colorbar(image, ax=axes, label="$R^2$ of the pixel", fraction=0.05)
    return fig
