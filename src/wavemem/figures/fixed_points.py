"""Figures of fixed points: one neuron's, those of trained networks counted, Jacobians there, and what lasts.

Each function takes measured arrays and returns the figure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator, NullLocator
from numpy.typing import NDArray

from wavemem.checks import require
from wavemem.plotting.style import ACCENT, CATEGORICAL, GRID, LEARNED, MUTED, POSITIVE, THEORY, figure_size

__all__ = [
    "FixedPointPanel",
    "LongRun",
    "at_the_origin_and_elsewhere",
    "fixed_point_census",
    "long_recall",
    "one_neuron",
]

Floats = NDArray[np.floating]


def one_neuron(
    h: Floats,
    panels: Mapping[str, tuple[Floats, Floats]],
    found: Mapping[str, tuple[Sequence[tuple[float, bool]], Floats]],
) -> Figure:
    """The map of one neuron and the function that is minimised, with what was found.

    Args:
        h: states, increasing.
        panels: title → (F(h), q(h)) on these states.
        found: the same titles → ((fixed point, stable) …, slow points).

    Returns:
        Above the map with the diagonal, below q on a logarithmic axis, one column per title.
    """
    fig, axes = plt.subplots(
        2, len(panels), figsize=figure_size(4.1), sharex=True, sharey="row", squeeze=False, height_ratios=[1.25, 1]
    )
    for (upper, lower), (title, (after, q)) in zip(axes.T, panels.items(), strict=True):
        points, slow = found[title]
        upper.plot(h, h, color=MUTED, lw=0.9, ls=(0, (4, 3)))
        upper.plot(h, after, color=ACCENT)
        lower.plot(h, np.maximum(q, 1e-12), color=ACCENT)
        for point, stable in points:
            for ax, height in ((upper, point), (lower, 1e-7)):
                _point(ax, point, height, stable)
        for point in np.atleast_1d(slow):
            upper.plot(point, point, "x", color=POSITIVE, ms=7, mew=1.8, zorder=5)
            lower.plot(point, np.interp(point, h, q), "x", color=POSITIVE, ms=7, mew=1.8, zorder=5)
        upper.set_title(title)
        lower.set(yscale="log", xlabel="state $h$")
        lower.set_ylim(3e-8, 3)
        lower.yaxis.set_minor_locator(NullLocator())
    axes[0, 0].set_ylabel(r"next state $\tanh(wh+b)$")
    axes[1, 0].set_ylabel("$q(h)$")
    handles = [
        Line2D([], [], ls="", marker="o", color=LEARNED, ms=6, label="stable fixed point"),
        Line2D([], [], ls="", marker="o", mec=LEARNED, mfc="white", mew=1.4, ms=6, label="unstable"),
        Line2D([], [], ls="", marker="x", color=POSITIVE, ms=7, mew=1.8, label="slow point"),
    ]
    fig.legend(handles=handles, loc="outside lower center", ncols=3)
    return fig


def _point(ax: Axes, x: float, y: float, stable: bool) -> None:
    ax.plot(x, y, "o", ms=6, mec=LEARNED, mfc=LEARNED if stable else "white", mew=1.4, zorder=5)


@dataclass(frozen=True)
class FixedPointPanel:
    """The fixed points of one task's networks.

    Attributes:
        title: above the column.
        unstable: number of unstable directions of every fixed point, one array per network.
        expected: number of unstable directions → number of fixed points by counting.
        readout: |W_r h*| of every fixed point, one array (points, d) per network.
    """

    title: str
    unstable: Sequence[NDArray[np.integer]]
    expected: Mapping[int, int]
    readout: Sequence[Floats]


def fixed_point_census(panels: Sequence[FixedPointPanel]) -> Figure:
    """How many fixed points have how many unstable directions, and what the readout says there.

    Args:
        panels: one per task.

    Returns:
        Above, counts by the number of unstable directions: bars for the theory, a dot per network. Below, the distribution of
        the readout's size over all fixed points but the origin, all networks together.

    Raises:
        ValueError: if there is no panel.
    """
    require(len(panels) > 0, "no panel", "at least one", "Pass the fixed points of at least one task.")
    fig, axes = plt.subplots(
        2, len(panels), figsize=figure_size(4.3), squeeze=False, sharey="row", height_ratios=[1.5, 1]
    )
    top = max(max(panel.expected.values()) for panel in panels)
    for column, panel in zip(axes.T, panels, strict=True):
        upper, lower = column
        upper.bar(list(panel.expected), list(panel.expected.values()), color=GRID, edgecolor=MUTED, width=0.8, lw=0.8)
        for k, numbers in enumerate(panel.unstable):
            values, counts = np.unique(numbers, return_counts=True)
            shift = 0.45 * (k / max(len(panel.unstable) - 1, 1) - 0.5)
            upper.plot(values + shift, counts, "o", ms=3.6, color=LEARNED, alpha=0.85, mew=0)
        upper.set_yscale("symlog", linthresh=1, linscale=0.4)
        upper.set_ylim(0, 1.9 * top)
        ticks = [0, *(k for k in (1, 3, 10, 30, 100, 300, 1000, 3000) if k <= 1.5 * top)]
        upper.set_yticks(ticks, [f"{k:,}" for k in ticks])
        low, high = min(panel.expected), max(panel.expected)
        # A single bar would fill the panel.
        pad = max(0.8, 3 - (high - low) / 2)
        upper.set_xlim(low - pad, high + pad)
        upper.yaxis.set_minor_locator(NullLocator())
        upper.set_title(panel.title)
        upper.set_xlabel("unstable directions")
        upper.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
        sizes = np.concatenate([np.ravel(values) for values in panel.readout]) if panel.readout else np.zeros(0)
        for mark in (0.0, 1.0):
            lower.axvline(mark, color=MUTED, lw=0.9, ls=(0, (4, 3)))
        if len(sizes):
            lower.hist(sizes, bins=np.linspace(0, 2, 41), weights=np.full(len(sizes), 1 / len(sizes)), color=LEARNED)
        else:
            lower.annotate(
                "no fixed point\nbut the origin",
                (0.5, 0.5),
                xycoords="axes fraction",
                ha="center",
                va="center",
                color=MUTED,
            )
        lower.set_xlim(-0.1, 2)
        lower.set_xlabel(r"$|y_j|$ at the point")
    axes[0, 0].set_ylabel("fixed points")
    axes[1, 0].set_ylabel("share")
    handles = [
        Patch(facecolor=GRID, edgecolor=MUTED, label="counted from the cycles of $\\Phi$"),
        Line2D([], [], ls="", marker="o", color=LEARNED, ms=4, label="found, one dot per network"),
    ]
    fig.legend(handles=handles, loc="outside lower center", ncols=2)
    return fig


def at_the_origin_and_elsewhere(
    panels: Mapping[str, tuple[NDArray[np.complexfloating], NDArray[np.complexfloating]]],
) -> Figure:
    """Jacobian spectra at several points of one network, with the theory's eigenvalues.

    Args:
        panels: title → (theoretical eigenvalues, those of the Jacobian).
    """
    require(len(panels) > 0, "no panel", "at least one", "Pass spectra.")
    fig, axes = plt.subplots(1, len(panels), figsize=figure_size(2.75), squeeze=False, sharex=True, sharey=True)
    circle = np.exp(1j * np.linspace(-np.pi, np.pi, 361))
    reach = 1.12 * max(float(np.abs(values).max()) for _, values in panels.values())
    for ax, (title, (theory, values)) in zip(axes[0], panels.items(), strict=True):
        ax.plot(circle.real, circle.imag, color=MUTED, lw=0.8, zorder=1)
        ax.scatter(
            theory.real, theory.imag, s=46, facecolors="none", edgecolors=THEORY, lw=1.0, zorder=4, label=r"$\Phi$"
        )
        ax.scatter(values.real, values.imag, s=14, color=LEARNED, alpha=0.8, lw=0, zorder=3, label="Jacobian")
        ax.set_xlim(-reach, reach)
        ax.set_ylim(-reach, reach)
        ax.set_aspect("equal")
        ax.set_title(title)
        ax.set_xticks([-1, 0, 1])
        ax.set_yticks([-1, 0, 1])
        ax.set_xlabel(r"Re $\lambda$")
    axes[0, 0].set_ylabel(r"Im $\lambda$")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside lower center", ncols=2)
    return fig


@dataclass(frozen=True)
class LongRun:
    """Networks of one kind left running without input.

    Attributes:
        task: gives the colour.
        steps: time since the end of the input phase, increasing.
        accuracy: (networks, times) share of right signs.
        change: (networks, times) ‖h(t+p) - h(t)‖ / ‖h(t)‖ with p the recurrence time of the task.
        stored: whether they come from a record; drawn dashed.
    """

    task: str
    steps: Floats
    accuracy: Floats
    change: Floats
    stored: bool = False


def long_recall(runs: Sequence[LongRun], tested: float) -> Figure:
    """Share of right signs, and how much the state changes from one recurrence to the next, over very long runs.

    Args:
        runs: one per task and source.
        tested: the horizon of the live test.

    Raises:
        ValueError: if there is no run.
    """
    require(len(runs) > 0, "no run", "at least one", "Pass what was measured.")
    fig, (left, right) = plt.subplots(1, 2, figsize=figure_size(2.9), sharex=True)
    for ax in (left, right):
        ax.axvline(tested, color=MUTED, lw=0.9, ls=(0, (1, 2)))
        ax.set_xscale("log")
        ax.set_xlabel("steps after the input phase")
    tasks = sorted({run.task for run in runs})
    for run in runs:
        k = tasks.index(run.task)
        style = {
            "color": CATEGORICAL[k % len(CATEGORICAL)],
            "lw": 1.4 if run.stored else 1.2,
            "alpha": 0.85,
            "ls": (0, (4, 2)) if run.stored else "-",
        }
        for accuracy, change in zip(run.accuracy, run.change, strict=True):
            # Curves of 1.0 would cover one another.
            left.plot(run.steps, accuracy - 0.008 * k, **style)
            right.plot(run.steps, np.maximum(change, 1e-8), **style)
    first = min(float(run.steps[0]) for run in runs)
    left.axhline(0.5, color=MUTED, lw=0.8, ls=(0, (1, 2)))
    left.annotate("chance", (first, 0.5), xytext=(2, 3), textcoords="offset points", fontsize=8.5, color=MUTED)
    left.annotate("horizon of\nthe test", (tested, 0.60), xytext=(-4, 0), textcoords="offset points", fontsize=8.5,
                  color=MUTED, ha="right")  # fmt: skip
    left.set_ylim(0.45, 1.03)
    left.set_title("share of right signs")
    right.set_yscale("log")
    right.yaxis.set_minor_locator(NullLocator())
    right.set_title("relative change per recurrence")
    handles = [Line2D([], [], color=CATEGORICAL[k % len(CATEGORICAL)], label=task) for k, task in enumerate(tasks)]
    if any(run.stored for run in runs):
        handles.append(Line2D([], [], color=MUTED, ls=(0, (4, 2)), label="stored, s = d = 8"))
    fig.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    return fig
