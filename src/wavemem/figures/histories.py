"""Figures of the chapter on histories: what must be remembered, for how long, and how much of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from wavemem.checks import require
from wavemem.plotting.panels import draw_operator
from wavemem.plotting.style import CATEGORICAL, DIVERGING, INK, MUTED, figure_size
from wavemem.tasks.hds import LinearHDS

__all__ = [
    "agreement_over_time",
    "lags_decoded",
    "one_value_many_futures",
    "outputs_as_images",
    "ranks_over_time",
    "task_operators",
    "window_accuracy",
]


def one_value_many_futures(series: Mapping[str, Sequence[float]], meeting: int) -> Figure:
    """Sequences that agree at one time and part afterwards.

    Args:
        series: label → values x_1, x_2, ...
        meeting: index n (from 1) at which all have the same value.

    Returns:
        The figure.

    Raises:
        ValueError: if the sequences do not agree at the meeting point.
    """
    values = [list(v) for v in series.values()]
    require(
        len({v[meeting - 1] for v in values}) == 1,
        f"values {[v[meeting - 1] for v in values]} at n = {meeting}",
        "one common value",
        "Choose the time at which the sequences meet.",
    )
    fig, ax = plt.subplots(figsize=figure_size(2.9, 0.75))
    for colour, marker, (label, sequence) in zip(CATEGORICAL, "osD^", series.items(), strict=False):
        n = np.arange(1, len(sequence) + 1)
        ax.plot(n, sequence, marker=marker, color=colour, label=label, clip_on=False)
    y = values[0][meeting - 1]
    ax.plot(meeting, y, "o", ms=13, mfc="none", mec=INK, mew=1.2)
    top = max(max(v) for v in values)
    ax.annotate(
        f"all at {y:g}",
        (meeting, y),
        (meeting - 0.35, y + 0.42 * top),
        ha="right",
        color=INK,
        arrowprops={"arrowstyle": "-", "color": MUTED, "shrinkB": 7},
    )
    ax.set(xlabel="$n$", ylabel="$x_n$")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.legend(title="first two values", loc="upper left")
    return fig


def task_operators(tasks: Mapping[str, LinearHDS]) -> Figure:
    """The boundary matrices F of several tasks, one above the other, as at the top of Table 1 of the paper.

    Args:
        tasks: name → system.

    Returns:
        The figure; red +1, blue −1, no colour 0.
    """
    fig, axes = plt.subplots(len(tasks), 1, figsize=figure_size(1.25 * len(tasks) + 0.2), squeeze=False, sharex=True)
    for ax, (name, task) in zip(axes[:, 0], tasks.items(), strict=True):
        draw_operator(ax, task.F, task.s, task.d)
        ax.set_yticks([0, task.d - 1], ["1", str(task.d)])
        ax.set_title(name)
        ax.set_xlabel("")
        ax.set_ylabel("output $j$")
    axes[-1, 0].set_xlabel("history entries, grouped by the vector they belong to (1 oldest, right-hand end newest)")
    return fig


def outputs_as_images(outputs: Mapping[str, NDArray[np.floating]], history: NDArray[np.floating]) -> Figure:
    """The same history continued by several systems.

    Args:
        outputs: name → (horizon, d) outputs.
        history: (s, d) initial history, drawn to the left of every continuation.

    Returns:
        The figure.
    """
    s, d = history.shape
    fig, axes = plt.subplots(len(outputs), 1, figsize=figure_size(1.0 * len(outputs) + 0.5), squeeze=False, sharex=True)
    for ax, (name, x) in zip(axes[:, 0], outputs.items(), strict=True):
        image = np.concatenate([history, x]).T
        steps = image.shape[1]
        ax.imshow(
            image,
            cmap=DIVERGING,
            vmin=-1.6,
            vmax=1.6,
            aspect="auto",
            interpolation="nearest",
            extent=(0.5, steps + 0.5, d + 0.5, 0.5),
        )
        ax.axvline(s + 0.5, color=INK, lw=1.4)
        ax.set_title(name)
        ax.set_ylabel("$j$")
        ax.set_yticks([1, d])
        for spine in ax.spines.values():
            spine.set_visible(True)
    axes[-1, 0].set_xlabel("step $n$ (initial history to the left of the line)")
    return fig


def agreement_over_time(agreement: Mapping[str, NDArray[np.floating]], periods: Mapping[str, int]) -> Figure:
    """How much of the history at time t equals the one at a reference time, against t.

    Args:
        agreement: name → (time, histories) share of equal entries; time 0 is the reference.
        periods: name → predicted period, marked by vertical lines.

    Returns:
        The figure.
    """
    fig, axes = plt.subplots(len(agreement), 1, figsize=figure_size(1.0 * len(agreement) + 0.6), squeeze=False)
    for k, (ax, (name, share)) in enumerate(zip(axes[:, 0], agreement.items(), strict=True)):
        time = np.arange(len(share))
        for multiple in range(periods[name], len(share), periods[name]):
            ax.axvline(multiple, color=MUTED, lw=0.8, ls=(0, (3, 2)), zorder=1)
        ax.fill_between(
            time, share.min(axis=1), share.max(axis=1), color=CATEGORICAL[k], alpha=0.25, lw=0, rasterized=True
        )
        ax.plot(time, share.mean(axis=1), color=CATEGORICAL[k], lw=0.9, rasterized=True)
        ax.set_ylim(0, 1.08)
        ax.set_yticks([0, 0.5, 1])
        ax.set_xlim(0, len(share) - 1)
        ax.set_title(f"{name}: predicted period {periods[name]}")
    axes[len(agreement) // 2, 0].set_ylabel("share of equal entries", y=1.1)
    axes[-1, 0].set_xlabel("steps after the reference time")
    return fig


def ranks_over_time(forgetting: Mapping[str, Sequence[int]], showing: Mapping[str, Sequence[int]]) -> Figure:
    """Left: rank of Φ^t, what is still there. Right: rank of the first t outputs, what has been shown.

    Args:
        forgetting: name → rank of Φ^t for t = 0, 1, ...
        showing: name → rank of the horizon operator of t steps, t = 0, 1, ...

    Returns:
        The figure.
    """
    fig, axes = plt.subplots(1, 2, figsize=figure_size(2.7), sharey=True)
    panels = (
        (forgetting, "rank of $\\Phi^t$: what is kept"),
        (showing, "rank of the first $t$ outputs: what is shown"),
    )
    for ax, (curves, title) in zip(axes, panels, strict=True):
        for k, (name, ranks) in enumerate(curves.items()):
            ax.plot(range(len(ranks)), ranks, marker="osD^"[k % 4], color=CATEGORICAL[k], label=name, clip_on=False)
        ax.set_title(title)
        ax.set_xlabel("steps $t$")
        ax.set_ylim(0, 68)
        ax.set_yticks([0, 8, 36, 57, 64])
        ax.grid(axis="y")
    axes[0].set_ylabel("dimensions")
    axes[1].legend(loc="lower right")
    return fig


def window_accuracy(
    measured: Mapping[str, NDArray[np.floating]], predicted: Mapping[str, NDArray[np.floating]]
) -> Figure:
    """Accuracy of the next vector predicted from the last k vectors.

    Args:
        measured: name → (seeds, s) accuracies for k = 1, ..., s.
        predicted: name → (s,) accuracies that counting predicts.

    Returns:
        The figure.
    """
    fig, axes = plt.subplots(1, len(measured), figsize=figure_size(2.4), sharey=True, squeeze=False)
    for ax, (name, values) in zip(axes[0], measured.items(), strict=True):
        k = np.arange(1, values.shape[1] + 1)
        ax.axhline(0.5, color=MUTED, lw=0.8, ls=(0, (3, 2)))
        ax.plot(k, predicted[name], color=INK, lw=1.0, label="counted")
        for seed, row in enumerate(values):
            ax.plot(k, row, "o", ms=3.5, color=CATEGORICAL[1], alpha=0.7, label="measured" if seed == 0 else None)
        ax.set_title(name)
        ax.set_xticks([1, *range(2, len(k) + 1, 2)])
        ax.set_ylim(0.4, 1.04)
    axes[0, 0].set_ylabel("accuracy")
    axes[0, -1].text(len(k), 0.455, "chance", color=MUTED, fontsize=8.5, ha="right")
    fig.supxlabel("vectors seen, $k$", fontsize=9.5)
    axes[0, 0].legend(loc="upper left", handlelength=1.2)
    return fig


def lags_decoded(accuracy: Mapping[str, NDArray[np.floating]], styles: Mapping[str, tuple[str, str]]) -> Figure:
    """How well each past vector can be read out of several memories.

    Args:
        accuracy: name → (seeds, lags) accuracy for lags 1, 2, ...
        styles: name → (line style, marker).

    Returns:
        The figure.
    """
    fig, ax = plt.subplots(figsize=figure_size(2.9))
    for k, (name, values) in enumerate(accuracy.items()):
        lag = np.arange(1, values.shape[1] + 1)
        line, marker = styles.get(name, ("-", "o"))
        ax.plot(lag, values.mean(axis=0), ls=line, marker=marker, color=CATEGORICAL[k], label=name, clip_on=False)
        ax.fill_between(lag, values.min(axis=0), values.max(axis=0), color=CATEGORICAL[k], alpha=0.2, lw=0)
    ax.axhline(0.5, color=MUTED, lw=0.8, ls=(0, (3, 2)))
    ax.text(1.02, 0.5, "chance", color=MUTED, va="center", fontsize=8.5, transform=ax.get_yaxis_transform())
    ax.set(xlabel="lag (steps into the past)", ylabel="accuracy of the decoded vector", ylim=(0.45, 1.03))
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0))
    return fig
