"""Drawings for the chapter on the wave equation: packets, schemes, spans, and the recovery of velocities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import ArrayLike, NDArray

from wavemem.plotting.panels import space_time
from wavemem.plotting.style import ACCENT, CATEGORICAL, DIVERGING, INK, LEARNED, MUTED, figure_size

__all__ = [
    "architecture",
    "characteristics",
    "convergence",
    "driven_by_a_rule",
    "loss_landscapes",
    "mode_errors",
    "packets",
    "recovery",
    "ripples",
    "spans",
]


def ripples(
    field: ArrayLike, stimuli: Sequence[tuple[float, float, float]], read: Sequence[tuple[float, float, float]]
) -> Figure:
    """A snapshot of a two-dimensional wave field, with the stimuli that were read off it.

    Args:
        field: Activity (y, x) at one moment, on a grid of unit spacing.
        stimuli: The true (x, y, age) of each stimulus.
        read: (x, y, age) as recovered from the field alone.
    """
    figure, ax = plt.subplots(figsize=figure_size(3.2, 0.6))
    values = np.asarray(field)
    top = float(np.abs(values).max())
    ax.imshow(values, origin="lower", cmap=DIVERGING, vmin=-top, vmax=top)
    for x, y, _ in stimuli:
        ax.plot(x, y, "+", color=INK, ms=9, mew=1.4)
    for x, y, age in read:
        ax.plot(x, y, "o", mfc="none", mec=INK, ms=11)
        ax.annotate(f"{age:.0f} steps ago", (x, y + age + 3.5), ha="center", fontsize=9)
    ax.set_xlabel("position $x$")
    ax.set_ylabel("position $y$")
    return figure


def architecture(h: ArrayLike) -> Figure:
    """The travelling-wave memory: d waves on s columns, shifted towards column 1, and f writing column s.

    Args:
        h: A state (s, d) whose values colour the neurons.
    """
    values = np.asarray(h)
    s, d = values.shape
    figure, ax = plt.subplots(figsize=figure_size(2.5))
    top = float(np.abs(values).max())
    x, y = np.meshgrid(np.arange(1, s + 1), np.arange(1, d + 1), indexing="ij")
    for i in range(2, s + 1):
        for j in range(1, d + 1):
            ax.annotate("", (i - 0.75, j), (i - 0.25, j), arrowprops={"arrowstyle": "->", "color": MUTED, "lw": 1.0})
    for j in range(1, d + 1):
        ax.annotate("", (0.25, j), (0.75, j), arrowprops={"arrowstyle": "->", "color": MUTED, "lw": 1.0, "ls": ":"})
    ax.scatter(
        x.ravel(), y.ravel(), s=260, c=values.ravel(), cmap=DIVERGING, vmin=-top, vmax=top, edgecolors=INK, zorder=3
    )
    box = {"boxstyle": "round,pad=0.45", "fc": "white", "ec": INK}
    ax.text(s + 1.6, (d + 1) / 2, "$f$", ha="center", va="center", fontsize=14, bbox=box)
    ax.annotate(
        "", (s + 0.3, (d + 1) / 2), (s + 1.25, (d + 1) / 2), arrowprops={"arrowstyle": "->", "color": INK, "lw": 1.4}
    )
    ax.plot([1, 1, s + 1.6, s + 1.6], [d + 0.55, d + 0.8, d + 0.8, (d + 1) / 2 + 0.5], color=INK, lw=1.2)
    ax.plot([s, s], [d + 0.55, d + 0.8], color=INK, lw=1.2)
    ax.text((s + 1) / 2, d + 0.95, "all columns are read by $f$", ha="center", va="bottom", fontsize=9)
    ax.text(s + 0.78, (d + 1) / 2 - 0.25, "writes\ncolumn $s$", ha="center", va="top", fontsize=9)
    ax.text(0.1, (d + 1) / 2, "open end", ha="right", va="center", fontsize=9)
    ax.set_xticks(range(1, s + 1), [*(str(i) for i in range(1, s)), "$s$"])
    ax.set_yticks(range(1, d + 1), [*(str(j) for j in range(1, d)), "$d$"])
    ax.set_xlabel("column $i$")
    ax.set_ylabel("wave $j$")
    ax.set_xlim(-0.9, s + 2.2)
    ax.set_ylim(0.4, d + 1.5)
    ax.spines[["left", "bottom"]].set_visible(False)
    ax.tick_params(length=0)
    return figure


def characteristics(panels: Mapping[str, tuple[ArrayLike, float]], length: float) -> Figure:
    """Exact solutions in space and time with the characteristic through the packet.

    Args:
        panels: Title → (activity (time, position), velocity); times 0, 1, …, positions 1, 2, ….
        length: Position of the packet at time 0.
    """
    figure, axes = plt.subplots(1, len(panels), figsize=figure_size(2.3), sharey=True)
    for ax, (title, (activity, velocity)) in zip(axes, panels.items(), strict=True):
        values = np.asarray(activity)
        space_time(ax, values)
        t = np.linspace(0, len(values) - 1, 200)
        ax.plot(t, length - velocity * t, color=INK, lw=1.1, ls=(0, (4, 3)))
        ax.set_xlim(-0.5, len(values) - 0.5)
        ax.set_ylim(0.5, values.shape[1] + 0.5)
        ax.set_title(title)
        if ax is not axes[0]:
            ax.set_ylabel("")
    return figure


def packets(
    position: ArrayLike, exact: ArrayLike, panels: Mapping[str, Mapping[str, ArrayLike]], limits: tuple[float, float]
) -> Figure:
    """Profiles after one round of the ring: the exact one in the background, one panel per scheme."""
    figure, axes = plt.subplots(1, len(panels), figsize=figure_size(2.5), sharey=True)
    for ax, (title, curves) in zip(axes, panels.items(), strict=True):
        ax.fill_between(position, np.asarray(exact), color=MUTED, alpha=0.25, lw=0, label="exact")
        for colour, (label, values) in zip(CATEGORICAL, curves.items(), strict=False):
            ax.plot(position, values, color=colour, label=label, lw=1.4)
        ax.set_xlabel("position")
        ax.set_xlim(*limits)
        ax.set_title(title)
    axes[0].set_ylabel("activity")
    axes[0].set_ylim(-0.4, 1.3)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right center")
    return figure


def mode_errors(
    theta: ArrayLike, gain: Mapping[str, ArrayLike], speed: Mapping[str, ArrayLike], dashed: Sequence[str] = ()
) -> Figure:
    """Per-step gain |g| and relative group velocity of every mode, one curve per scheme and Courant number."""
    figure, axes = plt.subplots(1, 2, figsize=figure_size(2.7))
    wavelength = np.asarray(theta) / np.pi
    for ax, curves, label in (
        (axes[0], gain, "gain per step $|g|$"),
        (axes[1], speed, "group velocity / true"),
    ):
        for colour, (name, values) in zip(CATEGORICAL, curves.items(), strict=False):
            ax.plot(wavelength, values, color=colour, label=name, ls="--" if name in dashed else "-")
        ax.axhline(1.0, color=MUTED, lw=0.8, zorder=0)
        ax.set_xlabel(r"wave number $\theta/\pi$")
        ax.set_ylabel(label)
        ax.set_xlim(0, 1)
    axes[1].set_ylim(-1.2, 2.0)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right center")
    return figure


def convergence(sizes: ArrayLike, errors: Mapping[str, ArrayLike], orders: Mapping[str, float]) -> Figure:
    """Largest error after a quarter round against the number of positions, with the regressed orders."""
    figure, ax = plt.subplots(figsize=figure_size(2.7, 0.75))
    for colour, (name, values) in zip(CATEGORICAL, errors.items(), strict=False):
        label = f"{name}: order {orders[name]:.2f}" if name in orders else name
        ax.loglog(sizes, np.maximum(np.asarray(values), 1e-17), "o-", color=colour, label=label)
    ax.set_xticks(np.asarray(sizes), [str(n) for n in np.asarray(sizes)])
    ax.minorticks_off()
    ax.set_xlabel("positions on the ring")
    ax.set_ylabel("largest error")
    figure.legend(loc="outside right center")
    return figure


def spans(curves: Mapping[str, ArrayLike], s: int) -> Figure:
    """Share of the variance of past inputs that a linear decoder recovers, against their age."""
    figure, ax = plt.subplots(figsize=figure_size(2.6))
    for colour, (name, values) in zip(CATEGORICAL, curves.items(), strict=False):
        ax.plot(np.asarray(values), color=colour, label=name)
    ax.axvline(s - 0.5, color=MUTED, lw=0.8, ls=(0, (4, 3)))
    ax.set_xlabel("age of the input (steps)")
    ax.set_ylabel("decoded $R^2$")
    ax.set_ylim(-0.03, 1.05)
    ax.legend()
    return figure


def driven_by_a_rule(substrate: NDArray[np.float64], s: int) -> Figure:
    """One wave of a substrate whose boundary is a non-linear rule: the written column and its travel."""
    figure, ax = plt.subplots(figsize=figure_size(2.2))
    space_time(ax, substrate)
    ax.axvline(-0.5, color=INK)
    ax.set_ylabel("column $i$")
    ax.axhline(s - 0.5, color=INK, lw=1.2)
    return figure


def loss_landscapes(offsets: ArrayLike, curves: Mapping[str, Mapping[str, ArrayLike]]) -> Figure:
    """The loss against the error of the guessed velocity: one panel per observation time, one curve per wavelength."""
    figure, axes = plt.subplots(1, len(curves), figsize=figure_size(2.5), sharey=True)
    for ax, (title, by_wavelength) in zip(axes, curves.items(), strict=True):
        for colour, (name, values) in zip(CATEGORICAL, by_wavelength.items(), strict=False):
            ax.plot(offsets, values, color=colour, label=name)
        ax.set_title(title)
        ax.set_xlabel(r"guess minus true velocity")
        ax.axvline(0, color=MUTED, lw=0.8, zorder=0)
    axes[0].set_ylabel("loss / variance")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right center", title="shortest\nwavelength")
    return figure


def recovery(
    start: ArrayLike,
    end: Mapping[str, Mapping[str, ArrayLike]],
    found: Mapping[str, Mapping[str, ArrayLike]],
) -> Figure:
    """Where every start ends: initial against final error of the velocity, by method (rows) and wavelength (columns)."""
    rows, columns = len(end), len(next(iter(end.values())))
    figure, axes = plt.subplots(rows, columns, figsize=figure_size(3.6), sharex=True, sharey=True)
    palette = sns.color_palette([LEARNED, ACCENT])
    for row, (method, by_wavelength) in zip(axes, end.items(), strict=True):
        for ax, (name, final) in zip(row, by_wavelength.items(), strict=True):
            ok = np.asarray(found[method][name], dtype=bool)
            x, y = np.asarray(start), np.asarray(final)
            ax.axhline(0, color=MUTED, lw=0.8, zorder=0)
            ax.scatter(x[~ok], y[~ok], s=9, color=palette[0], lw=0, label="missed")
            ax.scatter(x[ok], y[ok], s=9, color=palette[1], lw=0, label="found")
            if ax in axes[0]:
                ax.set_title(name, fontsize=9.5)
            ax.annotate(f"{ok.mean():.0%}", (0.04, 0.95), xycoords="axes fraction", va="top", fontsize=9)
            if ax in axes[-1]:
                ax.set_xlabel("error at start")
        row[0].set_ylabel(f"{method}\nerror at end")
    handles = [Line2D([], [], marker="o", ls="", ms=4, color=c) for c in palette]
    figure.legend(handles, ["missed", "found"], loc="outside right center")
    return figure
