"""Figures of memories that have too little: too few neurons, too much weight decay; and of what an initialisation leaves behind.

Each function takes measured numbers and returns the figure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, NullLocator
from numpy.typing import NDArray

from wavemem.checks import require
from wavemem.plotting.panels import complex_plane
from wavemem.plotting.style import (
    ACCENT,
    CATEGORICAL,
    DIVERGING,
    INK,
    LEARNED,
    MUTED,
    SEQUENTIAL,
    THEORY,
    figure_size,
)
from wavemem.substrate.compression import least_error, spread_accuracy, whole_wave_accuracy

__all__ = [
    "code_and_saturation",
    "counts_and_errors",
    "fading",
    "initial_and_final_spectra",
    "penalties",
    "radius_and_reach",
    "recall_by_inputs",
    "recall_maps",
    "spectra_by_size",
]

Floats = NDArray[np.floating]


def _shades(n: int) -> list[tuple[float, float, float, float]]:
    """n colours of one sequence, none of them too pale for a line."""
    return [plt.get_cmap(SEQUENTIAL)(x) for x in np.linspace(0.0, 0.88, n)]


def counts_and_errors(table: pd.DataFrame, needed: int) -> Figure:
    """Persistent dimensions against neurons; error and right signs of the answers against persistent dimensions.

    Args:
        table: one line per network: hidden_size, lasting (eigenvalues above the threshold), error and accuracy (of one cycle).
        needed: s·d, the numbers to be stored.
    """
    fig, (left, middle, right) = plt.subplots(1, 3, figsize=figure_size(2.7))
    sizes = sorted(table["hidden_size"].unique())
    colours = dict(zip(sizes, _shades(len(sizes)), strict=True))
    smallest = min(sizes)
    grid = np.linspace(smallest * 0.9, max(sizes) * 1.1, 200)
    left.plot(grid, np.minimum(grid, needed), color=THEORY, lw=1.2, ls="--", label="$\\min(N, sd)$")
    left.set_xscale("log")
    left.set_xticks(sizes, [str(size) for size in sizes], fontsize=7.5)
    left.xaxis.set_minor_locator(NullLocator())
    left.set(xlabel="neurons $N$", ylabel="persistent eigenvalues $m$", title="A  dimensions kept")
    dimensions = list(range(needed + 1))
    share = np.asarray(dimensions) / needed
    middle.plot(share, [least_error(m, needed) for m in dimensions], color=THEORY, lw=1.2, ls="--", label="$1-m/sd$")
    right.plot(share, [spread_accuracy(m, needed) for m in dimensions], color=THEORY, lw=1.2, ls="--", label="spread")
    whole = [whole_wave_accuracy(m, needed) for m in dimensions]
    right.plot(share, whole, color=MUTED, lw=1.2, ls=":", label="whole entries")
    dots: list[Line2D] = []
    for size in sizes:
        own = table[table["hidden_size"] == size]
        style = {"color": colours[size], "ls": "", "marker": "o", "ms": 4.5, "alpha": 0.85}
        jitter = np.linspace(-0.03, 0.03, len(own)) if len(own) > 1 else np.zeros(1)
        dots += left.plot(size * (1 + jitter), own["lasting"], label=f"$N = {size}$", **style)
        middle.plot(own["lasting"] / needed, own["error"], **style)
        right.plot(own["lasting"] / needed, own["accuracy"], **style)
    middle.set(xlabel="$m\\,/\\,sd$", ylabel="mean squared error", title="B  error of the answers")
    right.set(xlabel="$m\\,/\\,sd$", ylabel="share of right signs", title="C  right signs")
    lowest = float(table["lasting"].min()) / needed
    for ax in (middle, right):
        ax.set_xlim(max(0.0, lowest - 0.12), 1.03)
    middle.set_ylim(-0.02, max(1.0 - lowest + 0.12, float(table["error"].max()) * 1.05))
    right.set_ylim(min(0.6, float(table["accuracy"].min()) - 0.03), 1.01)
    left.legend(handles=left.get_lines()[:1], loc="lower right", fontsize=7.5, handlelength=1.2, borderaxespad=0.0)
    middle.legend(loc="upper right")
    right.legend(loc="lower right", fontsize=7.5, handlelength=1.4, borderaxespad=0.0)
    fig.legend(handles=dots, loc="outside lower center", ncols=len(dots), columnspacing=1.0, handletextpad=0.2)
    return fig


def recall_maps(maps: Mapping[str, Floats], shown: str, s: int, d: int) -> Figure:
    """The linear map from what was stored to what was answered: singular values, and the map of one network.

    Args:
        maps: title → (s·d, s·d) map.
        shown: title of the map that is drawn as a matrix too.
        s, d: columns and waves.
    """
    fig, (left, right) = plt.subplots(1, 2, figsize=figure_size(2.9), width_ratios=(1.25, 1))
    for colour, (title, M) in zip(_shades(len(maps)), maps.items(), strict=True):
        values = np.linalg.svd(M, compute_uv=False)
        left.plot(np.arange(1, s * d + 1), values, "o-", color=colour, ms=3.5, lw=1.2, label=title)
    left.axhline(1.0, color=MUTED, lw=0.9, ls=":")
    left.set(xlabel="number", ylabel="singular value", title="A  how many directions come back")
    left.set_ylim(-0.03, 1.2)
    left.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))
    left.legend(loc="lower left", fontsize=8)
    image = right.imshow(maps[shown], cmap=DIVERGING, vmin=-1, vmax=1, interpolation="nearest")
    for i in range(1, s):
        right.axhline(i * d - 0.5, color=MUTED, lw=0.5)
        right.axvline(i * d - 0.5, color=MUTED, lw=0.5)
    ticks = [(i + 0.5) * d - 0.5 for i in range(s)]
    right.set_xticks(ticks, [str(i + 1) for i in range(s)])
    right.set_yticks(ticks, [str(i + 1) for i in range(s)])
    right.set(xlabel="stored vector", ylabel="answered vector", title=f"B  the map, {shown}")
    fig.colorbar(image, ax=right, fraction=0.046, pad=0.03)
    return fig


def recall_by_inputs(panels: Mapping[str, tuple[int, Mapping[str, Floats]]]) -> Figure:
    """Singular values, relative to the largest, of the map from stored to answered numbers for several kinds of inputs.

    Args:
        panels: title → (number of persistent eigenvalues, kind of inputs → singular values).
    """
    fig, axes = plt.subplots(1, len(panels), figsize=figure_size(2.8), sharey=True, squeeze=False)
    for ax, (title, (lasting, curves)) in zip(axes[0], panels.items(), strict=True):
        for colour, marker, (kind, values) in zip(CATEGORICAL, "os^vD", curves.items(), strict=False):
            relative = values / values.max()
            ax.plot(np.arange(1, len(values) + 1), relative, marker + "-", color=colour, ms=4, lw=1.2, label=kind)
        ax.axvline(lasting + 0.5, color=INK, lw=1.0, ls="--")
        ax.annotate("$m$", (lasting + 0.5, 0.96), xytext=(4, 0), textcoords="offset points", fontsize=9)
        ax.set_title(title, fontsize=9.5)
        ax.set(xlabel="number", ylim=(-0.03, 1.08))
        ax.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))
    axes[0, 0].set_ylabel("singular value / largest")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    return fig


def _counted_spectrum(ax: Axes, theory: Floats, learned: Floats, counts: Sequence[int], full: int) -> None:
    """A spectrum with, outside the circle, the number of persistent eigenvalues at each phase."""
    complex_plane(ax, theory, learned, limit=1.55, legend=False)
    for k, count in enumerate(counts):
        angle = 2 * np.pi * k / len(counts)
        ax.text(
            1.34 * np.cos(angle),
            1.34 * np.sin(angle),
            str(count),
            ha="center",
            va="center",
            fontsize=8.5,
            color=INK if count == full else LEARNED,
            fontweight="normal" if count == full else "bold",
            bbox={"boxstyle": "round,pad=0.18", "fc": "white", "ec": MUTED if count == full else LEARNED, "lw": 0.8},
        )


def spectra_by_size(
    panels: Mapping[str, tuple[Floats, Sequence[int]]], theory: Floats, full: int, columns: int = 4
) -> Figure:
    """Eigenvalues of several networks with the number of persistent ones at each phase.

    Args:
        panels: title → (eigenvalues, counts per phase from phase 0).
        theory: eigenvalues of Φ.
        full: the count per phase that Φ has; others are highlighted.
        columns: panels in a row.
    """
    rows = -(-len(panels) // columns)
    fig, axes = plt.subplots(rows, min(columns, len(panels)), figsize=figure_size(2.1 * rows + 0.1), squeeze=False)
    for ax in axes.flat[len(panels) :]:
        ax.set_visible(False)
    for ax, (title, (values, counts)) in zip(axes.flat, panels.items(), strict=False):
        _counted_spectrum(ax, theory, values, counts, full)
        ax.set_title(title, fontsize=9)
        ax.set(xticks=[-1, 0, 1], yticks=[-1, 0, 1])
        if ax is not axes[0, 0]:
            ax.set(xlabel="", ylabel="")
    return fig


def fading(cycles: Sequence[int], curves: Mapping[str, Floats], trained: float, s: int) -> Figure:
    """Share of right signs in the course of the output phase, one colour per group of networks.

    Args:
        cycles: numbers of the cycles, from 1.
        curves: title → (cycles, networks).
        trained: last step of the longest training horizon.
        s: steps of a cycle.
    """
    fig, ax = plt.subplots(figsize=figure_size(2.7))
    steps = np.asarray(cycles) * s
    for colour, (title, values) in zip(_shades(len(curves)), curves.items(), strict=True):
        for k in range(values.shape[1]):
            ax.plot(steps, values[:, k], color=colour, lw=1.1, alpha=0.85, label=title if k == 0 else None)
    ax.axvline(trained, color=INK, lw=1.0, ls="--")
    ax.annotate(
        "longest horizon\nof the training", (trained, 0.52), xytext=(4, 0), textcoords="offset points", fontsize=8
    )
    ax.axhline(0.5, color=MUTED, lw=0.9, ls=":")
    ax.set(xscale="log", xlabel="step of the output phase", ylabel="right signs in a cycle")
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return fig


def code_and_saturation(activity: Mapping[str, Floats], table: pd.DataFrame, needed: int) -> Figure:
    """How far the units are driven, and how much of the answers is not linear in what was stored.

    Args:
        activity: title → |h| of all units, times and histories of a group of networks.
        table: one line per network: hidden_size, lasting, nonlinear (share of the answers' variance), past (share of
            the history's variance that a linear decoder finds in the state).
        needed: s·d.
    """
    fig, (left, middle, right) = plt.subplots(1, 3, figsize=figure_size(2.7))
    sizes = sorted(table["hidden_size"].unique())
    colours = dict(zip(sizes, _shades(len(sizes)), strict=True))
    edges = np.linspace(0, 1, 41)
    for title, colour in zip(activity, colours.values(), strict=True):
        density = np.histogram(activity[title], bins=edges, density=True)[0]
        left.plot((edges[:-1] + edges[1:]) / 2, density, color=colour, lw=1.4, label=title)
    left.set(xlabel="$|h|$ of a unit", ylabel="density", title="A  how far units are driven")
    left.set_xlim(0, 1)
    for size in sizes:
        own = table[table["hidden_size"] == size]
        style = {"color": colours[size], "ls": "", "marker": "o", "ms": 4.5, "alpha": 0.85}
        middle.plot(own["lasting"] / needed, own["nonlinear"], **style)
        right.plot(own["lasting"] / needed, own["past"], **style)
    middle.set(xlabel="$m\\,/\\,sd$", ylabel="share of variance", title="B  answers: not linear")
    middle.set_ylim(0, max(0.5, 1.1 * float(table["nonlinear"].max())))
    share = np.linspace(0, 1, 50)
    right.plot(share, share, color=THEORY, lw=1.2, ls="--", label="$m/sd$")
    right.set(xlabel="$m\\,/\\,sd$", ylabel="share of variance", title="C  past, decoded linearly")
    right.legend(loc="upper left")
    lowest = float(table["lasting"].min()) / needed
    for ax in (middle, right):
        ax.set_xlim(max(0.0, lowest - 0.12), 1.03)
    right.set_ylim(0, 1.05)
    handles, labels = left.get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside lower center", ncols=len(labels), columnspacing=1.0)
    return fig


def penalties(
    table: pd.DataFrame, quantities: Mapping[str, str], needed: int, reference: pd.DataFrame | None = None
) -> Figure:
    """Quantities of trained networks against the weight decay; a decay of 0 stands at the left end.

    Args:
        table: one line per network: weight_decay and the quantities.
        quantities: column → label of its axis.
        needed: s·d; drawn as a line in the panel of the column "lasting".
        reference: networks with another history, same columns; drawn as crosses.
    """
    decays = sorted(table["weight_decay"].unique())
    place = {decay: i for i, decay in enumerate(decays)}
    labels = ["off" if decay == 0 else f"{np.log10(decay):.0f}".replace("-", "−") for decay in decays]
    fig, axes = plt.subplots(1, len(quantities), figsize=figure_size(2.5))
    for ax, (column, label) in zip(np.atleast_1d(axes), quantities.items(), strict=True):
        for decay in decays:
            own = table[table["weight_decay"] == decay]
            jitter = np.linspace(-0.14, 0.14, len(own)) if len(own) > 1 else np.zeros(1)
            ax.plot(place[decay] + jitter, own[column], "o", color=ACCENT, ms=4.5, alpha=0.85)
        means = table.groupby("weight_decay")[column].mean()
        ax.plot([place[decay] for decay in means.index], means, color=ACCENT, lw=1.0, alpha=0.6)
        if reference is not None:
            for decay in sorted(reference["weight_decay"].unique()):
                own = reference[reference["weight_decay"] == decay]
                jitter = np.linspace(-0.14, 0.14, len(own)) if len(own) > 1 else np.zeros(1)
                ax.plot(place[decay] + jitter, own[column], "x", color=LEARNED, ms=5.5, mew=1.5)
        if column == "lasting":
            ax.axhline(needed, color=THEORY, lw=1.0, ls="--")
        ax.set_xticks(range(len(decays)), labels, fontsize=7.5)
        ax.set_xlim(-0.5, len(decays) - 0.5)
        ax.set(xlabel="$\\log_{10}$ decay", title=label)
        ax.title.set_fontsize(9)
    return fig


def initial_and_final_spectra(
    panels: Mapping[str, tuple[Floats, Floats]], radii: Mapping[str, float], theory: Floats
) -> Figure:
    """Figs. 12 to 14: eigenvalues before and after training, one row of panels per initialisation.

    Args:
        panels: initialisation → (eigenvalues of all seeds before training, of one seed after it).
        radii: initialisation → radius that the circular law gives.
        theory: eigenvalues of Φ.
    """
    fig, axes = plt.subplots(1, 2 * len(panels), figsize=figure_size(2.25))
    for column, (name, (before, after)) in enumerate(panels.items()):
        left, right = axes[2 * column], axes[2 * column + 1]
        complex_plane(left, None, before, limit=1.32, legend=False)
        angle = np.linspace(0, 2 * np.pi, 200)
        left.plot(radii[name] * np.cos(angle), radii[name] * np.sin(angle), color=THEORY, lw=1.3, ls="--")
        complex_plane(right, theory, after, limit=1.32, legend=False)
        left.set_title(f"{name}: before", fontsize=9)
        right.set_title(f"{name}: after", fontsize=9)
    for ax in axes:
        ax.set(xticks=[-1, 0, 1], yticks=[-1, 0, 1])
        if ax is not axes[0]:
            ax.set(xlabel="", ylabel="", yticklabels=[])
    return fig


def radius_and_reach(
    networks: pd.DataFrame,
    measures: Mapping[str, str],
    radius: str = "mean_modulus",
    notes: Mapping[str, str] | None = None,
) -> Figure:
    """Whether networks with larger eigenvalues remember longer: one dot per network, one panel per measure of memory.

    Args:
        networks: one line per network: init, the radius and the measures.
        measures: column → title of its panel.
        radius: column of the horizontal axis.
        notes: column → what is written into its panel.

    Raises:
        ValueError: if there are no networks.
    """
    require(len(networks) > 0, "no networks", "at least one", "Train some, or leave the figure out.")
    fig, axes = plt.subplots(1, len(measures), figsize=figure_size(2.6), sharey=False)
    for ax, (column, title) in zip(np.atleast_1d(axes), measures.items(), strict=True):
        for colour, marker, (name, own) in zip(CATEGORICAL, "os^", networks.groupby("init", sort=False), strict=False):
            ax.plot(own[radius], own[column], marker, color=colour, ms=5, alpha=0.9, label=str(name))
        ax.set_title(title, fontsize=9)
        ax.set_xlabel("mean persistent $|\\lambda|$")
        ax.xaxis.get_major_locator().set_params(nbins=4)
        if notes and column in notes:
            ax.text(0.97, 0.04, notes[column], transform=ax.transAxes, ha="right", va="bottom", fontsize=8)
    np.atleast_1d(axes)[0].set_ylabel("share of right signs")
    handles, labels = np.atleast_1d(axes)[0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    return fig
