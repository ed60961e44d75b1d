"""Drawings for the chapter on Generalized Fibonacci: its operator and spectrum, and what makes it hard to learn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from wavemem.plotting.panels import draw_operator, space_time
from wavemem.plotting.style import ACCENT, CATEGORICAL, INK, LEARNED, MUTED, THEORY, figure_size

__all__ = ["cliffs", "eigenvalues_by_s", "gradients", "learned", "operators", "wave_and_growth"]

MARKERS = ("o", "s", "^", "D", "v", "P")
"""Marker of every series, so that colour is never the only difference."""


def operators(panels: Mapping[str, ArrayLike], s: int, d: int) -> Figure:
    """Matrices that act on the substrate, side by side: Φ in two bases, for example.

    Args:
        panels: Title → matrix.
        s: Number of columns.
        d: Number of dimensions.
    """
    figure, axes = plt.subplots(1, len(panels), figsize=figure_size(2.9), squeeze=False)
    for ax, (title, matrix) in zip(axes[0], panels.items(), strict=True):
        draw_operator(ax, matrix, s, d, colorbar=True)
        ax.set_title(title)
    return figure


def wave_and_growth(activity: ArrayLike, ratios: Mapping[str, ArrayLike], constants: Mapping[str, float]) -> Figure:
    """The substrate in space and time, and the growth per step of simulated sequences with its limits.

    Args:
        activity: (time, position), already divided by the growth.
        ratios: Label → ratio of successive lengths, from step 1 on.
        constants: The same labels → the limit that theory gives.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=figure_size(2.7))
    space_time(left, activity, colorbar=True, label="activity / growth")
    for i, (label, values) in enumerate(ratios.items()):
        values = np.asarray(values)
        colour = CATEGORICAL[i]
        right.plot(np.arange(1, len(values) + 1), values, color=colour, marker=MARKERS[i], ms=3, lw=1, label=label)
        right.axhline(constants[label], color=colour, lw=0.8, ls=(0, (4, 3)))
    right.set_xlabel("output step")
    right.set_ylabel("growth per step")
    right.legend(loc="lower right", ncols=2)
    return figure


def eigenvalues_by_s(spectra: Mapping[int, ArrayLike], sizes: ArrayLike, gap: ArrayLike) -> Figure:
    """Eigenvalues of Φ in the complex plane for several s, and the distance of the largest from 2.

    Args:
        spectra: s → complex eigenvalues.
        sizes: Values of s of the right panel.
        gap: 2 minus the largest eigenvalue, for each of them.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=figure_size(3.0))
    angle = np.linspace(0, 2 * np.pi, 400)
    left.plot(np.cos(angle), np.sin(angle), color=MUTED, lw=0.8)
    left.axvline(2.0, color=MUTED, lw=0.8, ls=":")
    for i, (s, values) in enumerate(spectra.items()):
        z = np.asarray(values)
        left.scatter(z.real, z.imag, s=18, marker=MARKERS[i], color=CATEGORICAL[i], label=f"$s={s}$", zorder=3, lw=0)
    left.set_aspect("equal")
    left.set_xlim(-1.2, 2.2)
    left.set_ylim(-1.25, 1.25)
    left.set_xlabel("real part")
    left.set_ylabel("imaginary part")
    figure.legend(*left.get_legend_handles_labels(), loc="outside left center", handletextpad=0.1)
    x = np.asarray(sizes, dtype=float)
    right.semilogy(x, 2.0**-x, color=THEORY, lw=1, label="$2^{-s}$")
    right.semilogy(x, np.asarray(gap), "o", color=ACCENT, ms=4, label=r"$2-\varphi_s$")
    right.set_xlabel("$s$")
    right.set_ylabel("distance from 2")
    right.legend(loc="upper right")
    return figure


def cliffs(lam: ArrayLike, panels: Mapping[str, Mapping[int, ArrayLike]], best: float) -> Figure:
    """Loss along the dominant eigenvalue, one curve per horizon, one panel per loss.

    Args:
        lam: Values of the eigenvalue.
        panels: Title → {horizon → loss}.
        best: The eigenvalue of the task.
    """
    figure, axes = plt.subplots(1, len(panels), figsize=figure_size(2.8), squeeze=False)
    shades = plt.get_cmap("viridis")
    for ax, (title, curves) in zip(axes[0], panels.items(), strict=True):
        for i, (T, values) in enumerate(curves.items()):
            ax.semilogy(lam, np.asarray(values), color=shades(0.9 * i / max(len(curves) - 1, 1)), label=f"$T={T}$")
        ax.axvline(best, color=MUTED, lw=0.8, ls=":", zorder=0)
        ax.set_title(title)
        ax.set_xlabel(r"dominant eigenvalue $\lambda$")
    axes[0, 0].set_ylabel("loss")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside right center")
    return figure


def learned(rows: pd.DataFrame, arms: Sequence[str], columns: Mapping[str, str], floor: float = 1e-12) -> Figure:
    """What the runs found, against the horizon: one panel per measured quantity, one marker per run.

    Args:
        rows: One row per run with `arm`, `horizon` and the columns to draw.
        arms: The arms in the order of the legend.
        columns: Column → label of its axis.
        floor: Smaller values are drawn here.
    """
    figure, axes = plt.subplots(1, len(columns), figsize=figure_size(3.2), squeeze=False)
    for ax, (column, label) in zip(axes[0], columns.items(), strict=True):
        for i, arm in enumerate(arms):
            part = rows[rows["arm"] == arm]
            shift = 2.0 ** (0.13 * (i - (len(arms) - 1) / 2))
            values = part[column].to_numpy(dtype=float)
            ax.scatter(
                part["horizon"].to_numpy() * shift,
                np.maximum(values, floor),
                s=17,
                marker=MARKERS[i],
                color=CATEGORICAL[i],
                alpha=0.85,
                lw=0,
                label=arm,
            )
        ax.set_xscale("log", base=2)
        ax.set_yscale("log")
        horizons = sorted({int(T) for T in rows["horizon"]})
        ax.set_xticks(horizons, [str(T) for T in horizons])
        ax.minorticks_off()
        ax.set_xlabel("horizon $T$")
        ax.set_ylabel(label)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=min(3, len(labels)))
    return figure


def gradients(largest: pd.DataFrame, growth: float, curves: Mapping[str, tuple[ArrayLike, ArrayLike]]) -> Figure:
    """Largest gradient norm against the horizon, and relative losses over training.

    Args:
        largest: Index horizon, one column per arm.
        growth: Growth factor of the task; a line of slope growth^(2T) is drawn.
        curves: Arm → (iterations, one relative loss per run and iteration (runs, iterations)).
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=figure_size(2.9))
    T = largest.index.to_numpy(dtype=float)
    for i, arm in enumerate(largest.columns):
        left.semilogy(T, largest[arm], marker=MARKERS[i], color=CATEGORICAL[i], lw=1.2, label=arm)
    left.semilogy(T, growth ** (2 * T), color=INK, lw=1, ls=(0, (4, 3)), label=r"$\varphi_s^{2T}$")
    left.set_xlabel("horizon $T$")
    left.set_ylabel("largest gradient norm")
    left.set_xticks(T, [f"{v:g}" for v in T])
    for i, (iterations, losses) in enumerate(curves.values()):
        for values in np.atleast_2d(np.asarray(losses)):
            right.semilogy(iterations, values, color=CATEGORICAL[i] if len(curves) > 1 else LEARNED, lw=0.9, alpha=0.8)
    right.set_xlabel("iteration")
    right.set_ylabel("loss / loss of silence")
    figure.legend(*left.get_legend_handles_labels(), loc="outside upper center", ncols=3)
    return figure
