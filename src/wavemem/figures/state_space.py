"""Figures of registers: which way they move, what ends them, the forms they can take, and those of trained models.

Registers number their neurons 0, 1, … from the input; pictures have neuron 0 at the bottom, so that a wave that moves away from
its input rises.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from wavemem.checks import require
from wavemem.plotting.panels import complex_plane
from wavemem.plotting.style import ACCENT, CATEGORICAL, DIVERGING, INK, LEARNED, MUTED, SEQUENTIAL, figure_size

__all__ = [
    "Panel",
    "cost_of_diagonal_form",
    "forms",
    "measured_velocities",
    "neurons",
    "passages",
    "reading_registers",
    "usefulness",
]


def neurons(
    ax: Axes, activity: ArrayLike | torch.Tensor, *, limit: float | None = None, ticks: Sequence[str] | None = None
) -> None:
    """A space-time picture of one register: time to the right, neuron 0 at the bottom.

    Args:
        ax: Axes to draw on.
        activity: (time, position), real.
        limit: Largest |value| of the colours.
        ticks: One label per step, e.g. the tokens read; numbers unless given.

    Raises:
        ValueError: If the activity is not (time, position), or the labels do not match its steps.
    """
    values = np.asarray(activity.detach().cpu() if isinstance(activity, torch.Tensor) else activity)
    require(values.ndim == 2, f"an activity of shape {values.shape}", "(time, position)", "Choose one channel.")
    top = float(np.abs(values).max()) if limit is None else limit
    ax.imshow(
        values.T,
        origin="lower",
        aspect="auto",
        interpolation="nearest",
        cmap=DIVERGING,
        vmin=-(top or 1.0),
        vmax=top or 1.0,
    )
    ax.spines[:].set_visible(True)
    ax.yaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    if ticks is None:
        ax.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
        return
    require(
        len(ticks) == len(values), f"{len(ticks)} labels for {len(values)} steps", "one per step", "Cut both alike."
    )
    ax.set_xticks(range(len(ticks)), list(ticks), fontsize=7.5)
    ax.tick_params(axis="x", length=0, pad=2)


def passages(
    panels: Mapping[str, ArrayLike | torch.Tensor],
    *,
    shared: bool = True,
    lines: Sequence[float | None] = (),
    start: int = 0,
) -> Figure:
    """Space-time pictures side by side.

    Args:
        panels: Title → activity (time, position).
        shared: One colour scale for all, or one for each.
        lines: Per panel the velocity of a dashed line (None for none), in neurons per step away from neuron 0; it wraps, and
            is drawn through the middle of what a step with held input writes.
        start: Step at which the lines start.
    """
    figure, axes = plt.subplots(1, len(panels), figsize=figure_size(2.3), squeeze=False)
    values = {title: np.asarray(activity) for title, activity in panels.items()}
    top = max(float(np.abs(v).max()) for v in values.values())
    velocities = [*lines, *[None] * (len(panels) - len(lines))]
    for ax, (title, activity), velocity in zip(axes[0], values.items(), velocities, strict=True):
        neurons(ax, activity, limit=top if shared else None)
        ax.set_title(title, fontsize=9)
        ax.set_xlabel("step")
        if velocity is not None:
            time = np.linspace(start, len(activity) - 1, 400)
            # A step that holds its input writes it over the stretch that the wave crosses meanwhile.
            place = (velocity * (time - start + 0.5) + 0.5) % activity.shape[1] - 0.5
            place[1:][np.diff(place) < 0] = np.nan
            ax.plot(time, place, color=INK, lw=1.0, ls=(0, (4, 3)))
            ax.set_ylim(-0.5, activity.shape[1] - 0.5)
    axes[0, 0].set_ylabel("neuron $j$")
    return figure


def forms(systems: Mapping[str, torch.Tensor], limit: float = 1.0) -> Figure:
    """State matrices above, their eigenvalues below.

    Args:
        systems: Title → A. Complex matrices are drawn by modulus.
        limit: |entry| at which the colours end.
    """
    figure, axes = plt.subplots(2, len(systems), figsize=figure_size(4.1), height_ratios=[1, 1.05])
    for column, (title, A) in enumerate(systems.items()):
        top, bottom = axes[0, column], axes[1, column]
        values = (A.abs() if A.is_complex() else A).numpy()
        top.imshow(values, cmap=DIVERGING, vmin=-limit, vmax=limit, interpolation="nearest")
        top.set_title(title, fontsize=9.5)
        top.spines[:].set_visible(True)
        top.xaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))
        top.yaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))
        complex_plane(bottom, theory=torch.linalg.eigvals(A), limit=1.35)
        bottom.set_xticks([-1, 0, 1])
        bottom.set_yticks([-1, 0, 1])
        if column == 0:
            top.set_ylabel("to neuron")
        else:
            bottom.set_ylabel("")
        top.set_xlabel("from neuron" if column < len(systems) - 1 else "mode")
    return figure


def usefulness(curves: Mapping[str, tuple[Sequence[int], Sequence[float]]]) -> Figure:
    """Condition number of the basis in which each system is a register, against the number of states.

    Args:
        curves: Name → (numbers of states, condition numbers); nan where the basis is lost in rounding.
    """
    figure, ax = plt.subplots(figsize=figure_size(2.8))
    for (name, (sizes, values)), colour, marker in zip(curves.items(), CATEGORICAL, "os^Dvp", strict=False):
        ax.semilogy(sizes, values, marker=marker, color=colour, ms=4, label=name)
    first = min(min(sizes) for sizes, _ in curves.values())
    for level, text in ((1 / 2**-24, "digits of single precision"), (1 / 2**-53, "digits of double precision")):
        ax.axhline(level, color=MUTED, lw=1.0, ls="--", zorder=0)
        ax.annotate(text, (first, level), xytext=(0, 3), textcoords="offset points", fontsize=8.5, color=MUTED)
    ax.set(xlabel="number of states $N$", ylabel="condition number")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_ylim(0.5, 1e18)
    figure.legend(loc="outside right center")
    return figure


def cost_of_diagonal_form(
    plane: tuple[ArrayLike, ArrayLike, ArrayLike],
    circles: Mapping[str, ArrayLike],
    junctions: ArrayLike,
    errors: Mapping[str, ArrayLike],
) -> Figure:
    """Left: resolvent norm of the open register, eigenvalues of rings with a weak junction. Right: what such a ring costs.

    Args:
        plane: Real parts, imaginary parts, and ‖(z − A)⁻¹‖ on their grid (imaginary, real).
        circles: Name → eigenvalues of a nearby diagonalisable matrix.
        junctions: Gains at the junction.
        errors: Name → error of the kernel at each gain; the first is drawn as a line, the others with markers.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=figure_size(3.1), width_ratios=[1.1, 1])
    real, imaginary, norm = (np.asarray(part) for part in plane)
    mesh = left.pcolormesh(
        real, imaginary, np.clip(norm, 1, 1e10), cmap=SEQUENTIAL, norm=LogNorm(1, 1e10), rasterized=True
    )
    figure.colorbar(mesh, ax=left, label=r"$\|(z - A)^{-1}\|$", pad=0.02, fraction=0.05)
    for marker, (name, values) in zip("os^", circles.items(), strict=False):
        z = np.asarray(values)
        left.plot(z.real, z.imag, marker, mfc="white", mec=INK, ms=4.5, mew=0.8, ls="none", label=name)
    left.set(aspect="equal", xlabel=r"Re $z$", ylabel=r"Im $z$", xticks=[-1, 0, 1], yticks=[-1, 0, 1])
    left.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, handletextpad=0.1, columnspacing=0.8)
    for number, (name, values) in enumerate(errors.items()):
        look = (
            {"color": INK, "lw": 1.0} if number == 0 else {"color": CATEGORICAL[number - 1], "marker": "os"[number - 1]}
        )
        right.loglog(junctions, values, ms=4, label=name, **look)
    right.set(xlabel=r"junction $\epsilon$", ylabel="error of the kernel")
    decades = range(int(np.floor(np.log10(np.min(junctions)))), 1, 4)
    right.set_xticks([10.0**e for e in decades])
    right.minorticks_off()
    right.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, columnspacing=1.0, handlelength=1.4)
    return figure


@dataclass(frozen=True)
class Panel:
    """One model's registers for `reading_registers`.

    Attributes:
        title: Heading.
        activity: (time, channel, position).
        note: Per channel, written into the picture.
    """

    title: str
    activity: torch.Tensor
    note: Sequence[str]


def reading_registers(
    panels: Sequence[Panel], tokens: Sequence[str], height: float = 0.95, ylabel: str = "neuron"
) -> Figure:
    """Registers of several models while they read the same text: one column per model, one row per channel.

    Every picture has colours of its own, up to the largest value in it.

    Args:
        panels: The models.
        tokens: What was read, one sign per step.
        height: Inches per row.
        ylabel: What the rows of a picture are.
    """
    rows = panels[0].activity.shape[1]
    figure, axes = plt.subplots(rows, len(panels), figsize=figure_size(height * rows + 0.55), squeeze=False)
    for column, panel in enumerate(panels):
        for row in range(rows):
            ax = axes[row, column]
            values = panel.activity[:, row]
            neurons(ax, values, ticks=tokens if row == rows - 1 else [""] * len(tokens))
            heading = f"{panel.title}, {panel.note[row]}" if row == 0 else panel.note[row]
            ax.set_title(heading, fontsize=8.5, pad=3)
        axes[-1, column].set_xlabel("token read")
    figure.supylabel(ylabel, fontsize=9.5)
    return figure


def measured_velocities(
    groups: Mapping[str, tuple[ArrayLike, ArrayLike]], diffusion: Mapping[str, tuple[ArrayLike, ArrayLike]]
) -> Figure:
    """Left: velocity measured from activity against the model's own parameter. Right: measured spread against v.

    Args:
        groups: Model → (set velocity, measured velocity), one entry per channel.
        diffusion: Model → (measured velocity, measured variance of the displacement per step).
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=figure_size(2.9))
    line = np.linspace(0, 1.05, 200)
    left.plot(line, line, color=INK, lw=1.0, label="equal")
    right.plot(line, line * (1 - line), color=INK, lw=1.0, label="$v(1 - v)$")
    for ax, data in ((left, groups), (right, diffusion)):
        for (name, (x, y)), colour, marker in zip(data.items(), (ACCENT, LEARNED, CATEGORICAL[2]), "s^o", strict=False):
            # Channels that would be drawn in the same place are drawn once.
            x, y = np.unique(np.round(np.stack([np.asarray(x), np.asarray(y)]), 3), axis=1)
            ax.plot(x, y, marker, color=colour, ms=4.5, mew=0, alpha=0.6, label=name)
        ax.set_xlim(0, 1.08)
        ax.legend(loc="upper left" if ax is left else "upper right")
    left.set(xlabel="velocity that the model has", ylabel="velocity measured", ylim=(0, 1.08))
    right.set(xlabel="velocity measured", ylabel="diffusion measured", ylim=(-0.02, 0.36))
    return figure
