"""Figures of the adding task: hand-built adders, what a gradient can tell, training curves.

Each function takes measured arrays or tables and returns the figure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import ArrayLike, NDArray

from wavemem.checks import require
from wavemem.plotting.panels import space_time
from wavemem.plotting.style import CATEGORICAL, DIVERGING, INK, LEARNED, MUTED, NEGATIVE, THEORY, figure_size

__all__ = [
    "MODEL_COLOURS",
    "adders",
    "curves",
    "outcomes",
    "place_maps",
    "ring_errors",
    "sensitivities",
]

Floats = NDArray[np.floating]

MODEL_COLOURS = {"wRNN": CATEGORICAL[1], "iRNN": CATEGORICAL[0]}
"""One colour per model in every figure."""

_NAMES = {"wRNN": "Wave-RNN", "iRNN": "iRNN"}

_MARKS = {"solved": "o", "lost": "v", "diverged": "x", "stalled": "|"}


def _name(model: str) -> str:
    """For instance "iRNN searched" → "iRNN, searched start"."""
    name, _, start = model.partition(" ")
    return _NAMES.get(name, name) + (f", {start} start" if start else "")


def _level(ax: Axes, value: float, text: str) -> None:
    """A dashed horizontal line with its name beside the axes."""
    ax.axhline(value, color=MUTED, lw=1.0, ls="--", zorder=1)
    ax.annotate(
        text,
        (1.0, value),
        xycoords=("axes fraction", "data"),
        xytext=(3, 0),
        textcoords="offset points",
        va="center",
        fontsize=8.5,
        color=MUTED,
        annotation_clip=False,
    )


def _nothing(xlabel: str, ylabel: str) -> Figure:
    """The axes of a figure whose measurement is not there."""
    fig, ax = plt.subplots(figsize=figure_size(1.6))
    ax.text(0.5, 0.5, "not measured yet", ha="center", va="center", color=MUTED, transform=ax.transAxes)
    ax.set(xlabel=xlabel, ylabel=ylabel, xticks=[], yticks=[])
    return fig


def adders(numbers: Floats, marked: Sequence[int], activities: Mapping[str, Floats]) -> Figure:
    """One sequence, and what networks that add make of it: activity over position and time.

    Args:
        numbers: the numbers shown, (T,).
        marked: the two marked steps, counted from 1.
        activities: title → (T, positions).
    """
    T = len(numbers)
    heights = [0.8, *(max(0.55, values.shape[1] / T) for values in activities.values())]
    fig, axes = plt.subplots(
        len(heights), 1, figsize=figure_size(1.2 + 1.45 * sum(heights)), sharex=True, height_ratios=heights
    )
    steps = np.arange(1, T + 1)
    colours = [LEARNED if t in marked else MUTED for t in steps]
    axes[0].bar(steps, numbers, width=0.7, color=colours)
    axes[0].set(ylabel="number", ylim=(0, 1.05), title="what is shown (orange: marked)")
    limit = max(float(values.max()) for values in activities.values())
    for ax, (title, values) in zip(axes[1:], activities.items(), strict=True):
        space_time(ax, values, signed=False, limit=limit, start=1, colorbar=True)
        ax.set(title=title, xlabel="", ylabel="position")
    axes[-1].set_xlabel("step")
    return fig


def ring_errors(
    lengths: Sequence[int], theory: Floats, single: Floats, gated: Floats, n: int, baseline: float
) -> Figure:
    """Error of the hand-built adders against the length of the sequence, in turns of the ring.

    Args:
        lengths: values of T.
        theory: closed form for a single ring, (lengths,).
        single, gated: measured errors of the single ring and of gate and ring, (lengths,).
        n: units of the ring.
        baseline: error of the best constant.
    """
    turns = np.asarray(lengths) / n
    fig, ax = plt.subplots(figsize=figure_size(2.7, 0.72))
    ax.plot(turns, theory, color=THEORY, lw=1.4, label="single ring, closed form")
    ax.plot(turns, single, "o", color=LEARNED, ms=4.5, label="single ring, measured")
    ax.plot(turns, gated, "s", color=CATEGORICAL[0], ms=4, label="gate and ring, measured")
    _level(ax, baseline, "always\nsaying 1")
    ax.axvline(1.0, color=MUTED, lw=0.9, ls=":")
    ax.set(xlabel="length of the sequence in turns of the ring, $T/n$", ylabel="mean squared error", ylim=(-0.05, None))
    ax.legend(loc="upper left")
    return fig


def place_maps(maps: Mapping[str, ArrayLike], captions: Mapping[str, str]) -> Figure:
    """How gradients at the units depend on the place of the marker, one panel per network.

    Args:
        maps: title → (T, units), deviations from the mean over places.
        captions: title → a line written below the panel.
    """
    fig, axes = plt.subplots(1, len(maps), figsize=figure_size(2.9), sharey=True)
    arrays = [np.asarray(values) for values in maps.values()]
    limit = max(float(np.abs(array).max()) for array in arrays)
    for ax, title, array in zip(np.atleast_1d(axes), maps, arrays, strict=True):
        T, units = array.shape
        ax.imshow(
            array.T,
            cmap=DIVERGING,
            vmin=-limit,
            vmax=limit,
            origin="lower",
            aspect="auto",
            extent=(0.5, T + 0.5, 0.5, units + 0.5),
        )
        ax.set(title=title, xlabel=f"place of the marker (step)\n{captions[title]}")
    np.atleast_1d(axes)[0].set_ylabel("unit")
    colours = ScalarMappable(Normalize(-limit, limit), DIVERGING)
    fig.colorbar(colours, ax=axes, label="deviation of the gradient")
    return fig


def _smooth(values: pd.Series, window: int) -> pd.Series:
    return values.rolling(window, min_periods=1, center=True).mean()


def outcomes(
    panels: Mapping[str, pd.DataFrame], by: str, order: Sequence[str], colours: Mapping[str, str], unit: str = "updates"
) -> Figure:
    """When each run solved the task, and what became of those that did not: one row per kind, one mark per run.

    Some run has to have solved it.

    Args:
        panels: title → one line per run: `by`, "solved at", "fate", "updates" (how many there were).
        by: column that names the kind.
        order: kinds from the top down.
        colours: kind → colour.
        unit: of the horizontal axis.
    """
    fig, axes = plt.subplots(
        1, len(panels), figsize=figure_size(1.3 + 0.22 * len(order)), sharey=True, sharex=True, squeeze=False
    )
    end = max(float(runs["updates"].max()) for runs in panels.values())
    least = min(float(runs["solved at"].min()) for runs in panels.values() if runs["solved at"].notna().any())
    for ax, (title, runs) in zip(axes[0], panels.items(), strict=True):
        for row, kind in enumerate(order):
            own = runs[runs[by] == kind]
            spread = np.linspace(-0.25, 0.25, len(own)) if len(own) > 1 else np.zeros(len(own))
            for offset, run in zip(spread, own.itertuples(index=False), strict=True):
                at = dict(zip(own.columns, run, strict=True))
                solved = at["fate"] in ("solved", "lost")
                ax.plot(
                    at["solved at"] if solved else 1.25 * end,
                    row + offset,
                    _MARKS[at["fate"]],
                    color=colours[kind],
                    mfc=colours[kind] if at["fate"] == "solved" else "none",
                    ms=4.2,
                    mew=1.0,
                    alpha=0.9,
                )
        ax.axvline(1.08 * end, color=MUTED, lw=0.8, ls=":")
        ax.set(xscale="log", xlabel=f"{unit} until solved", title=title, xlim=(0.8 * least, 1.5 * end))
        ticks = [tick for tick in (100, 200, 500, 1000, 2000, 5000, 10_000) if 0.8 * least < tick <= end]
        ax.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
        ax.set_xticks([], minor=True)
        ax.grid(axis="y", color=MUTED, alpha=0.25, lw=0.6)
    axes[0, 0].set_yticks(range(len(order)), [_name(kind) if by == "contestant" else kind for kind in order])
    axes[0, 0].set_ylim(len(order) - 0.4, -0.6)
    marks = [
        Line2D([], [], ls="", marker=mark, color=INK, mfc=INK if fate == "solved" else "none", ms=4.5, label=fate)
        for fate, mark in _MARKS.items()
    ]
    fig.legend(handles=marks, loc="outside lower center", ncols=4)
    return fig


def curves(rows: pd.DataFrame, baseline: float, threshold: float, window: int = 5) -> Figure:
    """Fig. 5: training error of Wave-RNN and iRNN, one panel per length, one line per seed.

    Args:
        rows: from `wavemem.experiments.adding`, or from `adding_compared` with its contestants; none at all gives a panel that
            says so.
        baseline: error of the best constant.
        threshold: error at which the task counts as solved.
        window: logged updates over which a line is averaged.
    """
    if len(rows) == 0:
        return _nothing("training iteration", "training error")
    seen = rows[rows["quantity"] == "train MSE"]
    by = "model" if "model" in seen else "contestant"
    lengths = sorted(int(T) for T in seen["T"].unique())
    require(len(lengths) > 0, "rows without training errors", "rows of the adding experiment", "Pass its rows.")
    # Dashed is the published start of a network that has another one beside it.
    dashed = "iRNN published"
    fig, axes = plt.subplots(1, len(lengths), figsize=figure_size(2.9), sharey=True, squeeze=False)
    for ax, T in zip(axes[0], lengths, strict=True):
        for model in dict.fromkeys(seen[by]):
            own = seen[(seen["T"] == T) & (seen[by] == model)]
            for k, (_, run) in enumerate(own.groupby("seed")):
                run = run.sort_values("iteration")
                ax.plot(
                    run["iteration"],
                    _smooth(run["value"], window),
                    color=MODEL_COLOURS[model.partition(" ")[0]],
                    ls="--" if model == dashed else "-",
                    lw=1.3,
                    alpha=0.85,
                    label=_name(model) if k == 0 else None,
                )
        ax.set(yscale="log", xscale="log", title=f"$T = {T}$", xlabel="training iteration")
        ax.set_xlim(left=10)
        last = lengths[-1] == T
        _level(ax, baseline, "always\nsaying 1" if last else "")
        _level(ax, threshold, "solved" if last else "")
    axes[0, 0].set(ylabel="training error", ylim=(None, 3 * baseline))
    axes[0, 0].legend(loc="lower left")
    return fig


def sensitivities(panels: Mapping[str, tuple[Floats, Floats]], step: int = 1) -> Figure:
    """What an input is worth to the output, by its age: marked and unmarked numbers, one panel per network.

    Args:
        panels: title → (marked, unmarked), each (runs, ages): mean ∂y/∂x by age; none at all gives a panel that says so.
        step: ages per entry.
    """
    if not panels:
        return _nothing("age of the input (steps)", r"$\partial y / \partial x$")
    fig, axes = plt.subplots(1, len(panels), figsize=figure_size(2.6), sharey=True)
    for ax, (title, (marked, unmarked)) in zip(np.atleast_1d(axes), panels.items(), strict=True):
        age = step * np.arange(marked.shape[1]) + (step - 1) / 2
        for values, colour, name in ((marked, LEARNED, "marked"), (unmarked, NEGATIVE, "unmarked")):
            for k, line in enumerate(values):
                ax.plot(age, line, color=colour, lw=1.1, alpha=0.85, label=name if k == 0 else None)
        for ideal in (0.0, 1.0):
            ax.axhline(ideal, color=INK, lw=0.8, ls="--", zorder=0)
        ax.set(title=title, xlabel="age of the input (steps)")
    np.atleast_1d(axes)[0].set_ylabel(r"$\partial y / \partial x$")
    np.atleast_1d(axes)[-1].legend(loc="center")
    return fig
