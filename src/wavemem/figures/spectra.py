"""Figures of spectra: eigenvalues over the theory's rays with counts, pairings, and how counts depend on the threshold.

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
from matplotlib.ticker import PercentFormatter
from numpy.typing import ArrayLike, NDArray

from wavemem.checks import require
from wavemem.plotting.style import ACCENT, CATEGORICAL, GRID, INK, LEARNED, MUTED, POSITIVE, THEORY, figure_size

__all__ = [
    "Spectrum",
    "count_by_threshold",
    "not_measured",
    "pairings",
    "rays",
    "task_spectra",
]

Floats = NDArray[np.floating]


def pairings(theory: ArrayLike, learned: ArrayLike, pairs: Mapping[str, NDArray[np.complexfloating]]) -> Figure:
    """Two ways to pair the same eigenvalues, drawn as chords from theory to learned.

    Args:
        theory: theoretical eigenvalues.
        learned: learned ones.
        pairs: title → (n, 2) theoretical and learned partners.
    """
    fig, axes = plt.subplots(1, len(pairs), figsize=figure_size(2.9, 0.85), squeeze=False, sharex=True, sharey=True)
    circle = np.exp(1j * np.linspace(-np.pi, np.pi, 361))
    inside = 0.82
    for ax, (title, couples) in zip(axes[0], pairs.items(), strict=True):
        for radius in (inside, 1.0):
            ax.plot(radius * circle.real, radius * circle.imag, color=GRID, lw=1, zorder=0)
        # Only angles matter here: the theory is drawn on the outer circle, what was learned on the inner one.
        for outer, inner in couples:
            ends = np.array([outer / abs(outer), inside * inner / abs(inner)])
            ax.plot(ends.real, ends.imag, color=ACCENT, lw=1.3, zorder=1)
        outer, inner = np.asarray(theory), inside * np.asarray(learned) / np.abs(learned)
        ax.scatter(
            outer.real, outer.imag, s=46, facecolors="white", edgecolors=THEORY, lw=1.0, zorder=3, label="theory"
        )
        ax.scatter(inner.real, inner.imag, s=20, color=LEARNED, lw=0, zorder=3, label="learned (moved inwards)")
        ax.set_title(title)
        ax.set_aspect("equal")
        ax.set_axis_off()
    handles, labels = axes[0, 0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside lower center", ncols=2)
    return fig


@dataclass(frozen=True)
class Spectrum:
    """Eigenvalues of one network beside those of theory.

    Attributes:
        title: above the panel.
        theory: theoretical eigenvalues that last.
        learned: all learned eigenvalues.
        modulus: those above it are counted.
    """

    title: str
    theory: NDArray[np.complexfloating]
    learned: NDArray[np.complexfloating]
    modulus: float = 0.9


def rays(
    theory: NDArray[np.complexfloating], learned: NDArray[np.complexfloating], width: float = 1e-3
) -> list[tuple[float, int, int]]:
    """Directions of the theory with the numbers of eigenvalues in them.

    Args:
        theory: theoretical eigenvalues.
        learned: learned ones that last; each counts for the direction nearest to it in angle.
        width: theoretical angles closer than this are one direction (radians).

    Returns:
        (angle, theoretical count, learned count) by increasing angle.

    Raises:
        ValueError: if there is no theoretical eigenvalue.
    """
    require(
        len(theory) > 0, "no theoretical eigenvalue", "at least one", "Lower the modulus above which they are kept."
    )
    angles = np.sort(np.angle(theory))
    groups: list[list[float]] = [[float(angles[0])]]
    for angle in angles[1:]:
        if angle - groups[-1][-1] <= width:
            groups[-1].append(float(angle))
        else:
            groups.append([float(angle)])
    # -π and π are one direction.
    if len(groups) > 1 and groups[0][0] + 2 * np.pi - groups[-1][-1] <= width:
        groups[-1] += [angle + 2 * np.pi for angle in groups.pop(0)]
    centres = np.array([float(np.mean(group)) for group in groups])
    nearest = np.abs(np.angle(np.exp(1j * (np.angle(learned)[:, None] - centres[None])))).argmin(1)
    return [
        (float(c), len(group), int((nearest == k).sum()))
        for k, (c, group) in enumerate(zip(centres, groups, strict=True))
    ]


def _spectrum(ax: Axes, spectrum: Spectrum, reach: float) -> None:
    circle = np.exp(1j * np.linspace(-np.pi, np.pi, 361))
    ax.plot(circle.real, circle.imag, color=MUTED, lw=0.8, zorder=1)
    lasting = np.abs(spectrum.learned) > spectrum.modulus
    z = spectrum.learned
    found = rays(spectrum.theory, z[lasting])
    crowded = len(found) > 12
    for angle, n_theory, n_learned in found:
        direction = np.exp(1j * angle)
        ax.plot([0, 1.16 * direction.real * reach], [0, 1.16 * direction.imag * reach], color=THEORY, lw=0.6, zorder=0)
        ax.annotate(
            str(n_learned) if n_learned == n_theory else f"{n_learned}/{n_theory}",
            (1.3 * reach * direction.real, 1.3 * reach * direction.imag),
            ha="center",
            va="center",
            fontsize=6.5 if crowded else 8.5,
            color=INK if n_learned == n_theory else POSITIVE,
            fontweight="normal" if n_learned == n_theory else "bold",
        )
    ax.scatter(z[~lasting].real, z[~lasting].imag, s=6, color=MUTED, alpha=0.6, linewidths=0, zorder=2)
    ax.scatter(z[lasting].real, z[lasting].imag, s=14, color=LEARNED, alpha=0.8, linewidths=0, zorder=3)
    ax.set_xlim(-1.45 * reach, 1.45 * reach)
    ax.set_ylim(-1.45 * reach, 1.45 * reach)
    ax.set_aspect("equal")
    ax.set_axis_off()
    ax.set_title(spectrum.title, loc="center")


def task_spectra(rows: Sequence[Sequence[Spectrum]]) -> Figure:
    """Fig. 6: eigenvalues in the complex plane, one panel per network, over the rays of the theory with counts at their ends.

    Args:
        rows: rows of panels.

    Returns:
        Dots are eigenvalues (grey: at most the modulus that counts), lines the theory's directions, numbers how many
        eigenvalues lie nearest to each: one number where theory agrees, "ours/theory" in red where not.

    Raises:
        ValueError: if there is no panel.
    """
    require(len(rows) > 0 and all(len(row) > 0 for row in rows), "no panel", "at least one", "Pass spectra.")
    columns = max(len(row) for row in rows)
    width = figure_size(1.0)[0] / columns
    fig, axes = plt.subplots(
        len(rows), columns, figsize=figure_size((min(width, 2.4) + 0.25) * len(rows) + 0.3), squeeze=False
    )
    for ax in axes.ravel():
        ax.set_axis_off()
    for line, row in zip(axes, rows, strict=True):
        for ax, spectrum in zip(line, row, strict=False):
            reach = max(1.0, float(np.abs(spectrum.learned).max(initial=1.0)))
            _spectrum(ax, spectrum, reach)
    modulus = rows[0][0].modulus
    handles = [
        Line2D([], [], ls="", marker="o", color=LEARNED, ms=4.5, label=rf"eigenvalues, $|\lambda| > {modulus:g}$"),
        Line2D([], [], ls="", marker="o", color=MUTED, ms=3, label="the others"),
        Line2D([], [], color=THEORY, lw=0.8, label="directions of the theory"),
        Line2D([], [], color=MUTED, lw=0.8, label="unit circle"),
    ]
    fig.legend(handles=handles, loc="outside lower center", ncols=4, handlelength=1.4, columnspacing=1.2)
    return fig


def not_measured() -> Figure:
    """A panel that says that there is nothing to draw yet."""
    fig, ax = plt.subplots(figsize=figure_size(1.0))
    ax.set_axis_off()
    ax.annotate("not measured yet", (0.5, 0.5), xycoords="axes fraction", ha="center", va="center", color=MUTED)
    return fig


def count_by_threshold(
    moduli: Floats,
    panels: Mapping[str, Mapping[str, Floats]],
    used: float = 0.9,
    ylabel: str = "networks whose counts agree",
) -> Figure:
    """Share of networks with as many eigenvalues above the threshold as the theory has, over the threshold.

    Args:
        moduli: the thresholds.
        panels: title → name of the curve → share per threshold.
        used: the threshold of the table.
        ylabel: label of the vertical axis.
    """
    require(len(panels) > 0, "no panel", "at least one", "Pass curves.")
    fig, axes = plt.subplots(1, len(panels), figsize=figure_size(2.7), squeeze=False, sharey=True, sharex=True)
    for ax, (title, curves) in zip(axes[0], panels.items(), strict=True):
        ax.axvline(used, color=MUTED, lw=0.9, ls=(0, (4, 3)))
        for k, (name, share) in enumerate(curves.items()):
            # Shares are multiples of 1/n, so curves would cover one another.
            ax.step(
                moduli,
                share - 0.012 * k,
                where="mid",
                color=CATEGORICAL[k % len(CATEGORICAL)],
                lw=1.5,
                label=name,
            )
        ax.set_title(title)
        ax.set_xlabel("threshold on $|\\lambda|$")
        ax.set_ylim(-0.1, 1.05)
        ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes[0, 0].set_ylabel(ylabel)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), 5))
    return fig
