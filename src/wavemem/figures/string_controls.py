"""Figures of chapter 20: what registers of different velocity and length can see, the controls, and the grid of both.

Functions take measured tables (from `wavemem.experiments`) or arrays and return the figure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from wavemem.checks import require
from wavemem.figures.strings import COLOURS
from wavemem.plotting.style import ACCENT, INK, LEARNED, MUTED, SEQUENTIAL, THEORY, figure_size
from wavemem.records.comparisons import Interval, mean_interval, word

__all__ = [
    "accuracy_by_reach",
    "by_model",
    "differences",
    "grid",
    "learned_velocities",
    "learning",
    "reaches",
    "velocities_after",
]

Floats = NDArray[np.float64]


def reaches(registers: Sequence[tuple[str, Floats]], longest: int) -> Figure:
    """What every neuron of a few registers holds, by age.

    Args:
        registers: title, share of the input of age τ in neuron j, (neurons, ages).
        longest: the age that the copy task needs, drawn as a line.
    """
    fig, axes = plt.subplots(1, len(registers), figsize=figure_size(1.9), sharex=True, sharey=True, squeeze=False)
    for ax, (title, pulses) in zip(axes[0], registers, strict=True):
        neurons, ages = pulses.shape
        colours = plt.get_cmap(SEQUENTIAL)(np.linspace(0.05, 0.85, neurons))
        for j in reversed(range(neurons)):
            ax.fill_between(np.arange(ages), pulses[j], color=colours[j], alpha=0.25, lw=0, step="mid")
            ax.plot(np.arange(ages), pulses[j], color=colours[j], lw=1.1, drawstyle="steps-mid")
        ax.axvline(longest, color=MUTED, lw=0.9, ls="--")
        ax.set_title(title, fontsize=9)
        ax.set(xlim=(0, ages - 1))
    axes[0, 0].set_ylabel("share in a neuron")
    fig.supxlabel("age of the input (steps)", fontsize=9.5)
    return fig


def _means(ax: Axes, place: float, values: Floats, colour: str, span: tuple[float, float] | None = None) -> None:
    """Seeds as dots, their mean as a bar with the 95 % interval, cut to what is possible."""
    interval = mean_interval(values)
    low, high = interval.low, interval.high
    if np.isfinite([low, high]).all():
        if span is not None:
            low, high = max(low, span[0]), min(high, span[1])
        ax.plot([low, high], [place, place], color=colour, lw=5, alpha=0.22, solid_capstyle="butt", zorder=1)
    ax.plot([interval.mean] * 2, [place - 0.3, place + 0.3], color=colour, lw=1.8, zorder=2)
    ax.plot(values, np.full(len(values), place), "o", color=colour, ms=3.6, alpha=0.9, zorder=3, mec="white", mew=0.4)


def by_model(
    table: pd.DataFrame, columns: Mapping[str, tuple[str, tuple[float, float]]], groups: Mapping[str, str]
) -> Figure:
    """Every seed of every model, its mean and the 95 % interval of the mean.

    Args:
        table: one line per `model` and seed.
        columns: column of the table → label of its axis, possible range.
        groups: model → colour, in the order of the rows from top to bottom; models that are not in the table are left out.
    """
    models = [model for model in groups if (table["model"] == model).any()]
    require(len(models) > 0, "a table without these models", ", ".join(groups), "Pass the readings of a run.")
    fig, axes = plt.subplots(
        1, len(columns), figsize=figure_size(0.24 * len(models) + 0.75), sharey=True, squeeze=False
    )
    for ax, (column, (label, span)) in zip(axes[0], columns.items(), strict=True):
        for place, model in enumerate(models):
            values = table.loc[table["model"] == model, column].to_numpy(dtype=np.float64)
            values = values[np.isfinite(values)]
            if len(values):
                _means(ax, place, values, groups[model], span)
        for place in range(0, len(models), 2):
            ax.axhspan(place - 0.5, place + 0.5, color="#f3f4f6", zorder=0, lw=0)
        ax.set(xlabel=label, ylim=(len(models) - 0.5, -1.2))  # the corners stay light
    axes[0, 0].set_yticks(range(len(models)), models)
    for ax in axes[0]:
        ax.tick_params(axis="y", length=0)
    return fig


def differences(panels: Sequence[tuple[str, pd.DataFrame, tuple[str, str]]]) -> Figure:
    """Differences of seed means with Welch's 95 % interval; in colour those that exclude zero with a rank test of p < 0.05.

    Args:
        panels: label of the axis, table with columns model, control, mean, low, high, p (the same comparisons in each), and
            what a difference below and above zero means.
    """
    names = [f"{line.model}  −  {line.control}" for line in panels[0][1].itertuples()]
    fig, axes = plt.subplots(1, len(panels), figsize=figure_size(0.25 * len(names) + 1.0), sharey=True, squeeze=False)
    for ax, (label, table, (below, above)) in zip(axes[0], panels, strict=True):
        widest = 0.0
        for place, line in enumerate(table.to_dict("records")):
            found = Interval(line["mean"], line["low"], line["high"])
            shown = word(found, "above", "below") if line["p"] < 0.05 else ""
            colour = {"above": LEARNED, "below": ACCENT}.get(shown, MUTED)
            ax.plot([found.low, found.high], [place, place], color=colour, lw=1.6)
            ax.plot(found.mean, place, "o", color=colour, ms=4.5)
            widest = max(widest, abs(found.mean))
            if np.isfinite([found.low, found.high]).all():
                widest = max(widest, min(max(abs(found.low), abs(found.high)), 4 * abs(found.mean) + 0.2))
        ax.axvline(0, color=INK, lw=0.8)
        # Linear up to 0.1, so that narrow intervals near zero can be seen beside wide ones.
        ax.set_xscale("symlog", linthresh=0.1, linscale=0.8)
        ax.set_xticks([t for t in (-3, -1, -0.1, 0, 0.1, 1, 3) if abs(t) <= widest])
        ax.xaxis.set_major_formatter("{x:g}")
        ax.minorticks_off()
        ax.set(xlabel=label, xlim=(-1.1 * widest, 1.1 * widest), ylim=(len(names) - 0.5, -0.5))
        ax.set_title(f"← {below}", loc="left", fontsize=8.5, color=ACCENT)
        ax.set_title(f"{above} →", loc="right", fontsize=8.5, color=LEARNED)
        for place in range(0, len(names), 2):
            ax.axhspan(place - 0.5, place + 0.5, color="#f3f4f6", zorder=0, lw=0)
        ax.tick_params(axis="y", length=0)
    axes[0, 0].set_yticks(range(len(names)), names)
    return fig


def learning(rows: pd.DataFrame, panels: Mapping[str, Sequence[str]], guessing: float, window: int = 5) -> Figure:
    """Training loss, every seed as a thin line and the mean as a thick one.

    Args:
        rows: of `wavemem.experiments.string_copying`.
        panels: title → models; models that are not there are left out.
        guessing: the loss of even guesses, drawn as a line.
        window: logged values that are averaged for drawing.
    """
    lines = -(-len(panels) // 2)
    fig, axes = plt.subplots(lines, 2, figsize=figure_size(2.1 * lines + 0.3), sharex=True, sharey=True, squeeze=False)
    for ax in axes.flat[len(panels) :]:
        ax.set_visible(False)
    for ax, (title, models) in zip(axes.flat, panels.items(), strict=False):
        for model in models:
            colour = COLOURS.get(model, INK)
            own = rows[(rows["model"] == model) & (rows["quantity"] == "loss")]
            if not len(own):
                continue
            table = own.pivot(index="iteration", columns="seed", values="value").sort_index()
            table = table.rolling(window, min_periods=1, center=True).mean()
            ax.plot(table.index, table.to_numpy(), color=colour, lw=0.6, alpha=0.5)
            ax.plot(table.index, table.mean(axis=1), color=colour, lw=1.9, label=model)
        ax.axhline(guessing, color=MUTED, lw=0.9, ls="--", zorder=0)
        ax.set(title=title, ylim=(0, 2.0 * guessing))  # the upper part is for the legend
        ax.xaxis.set_major_locator(MaxNLocator(4))
        if ax.get_legend_handles_labels()[1]:
            ax.legend(fontsize=7.2, loc="upper right", handlelength=1.2, ncols=2, columnspacing=1, borderaxespad=0)
    fig.supylabel("loss (nats per character)", fontsize=9.5)
    fig.supxlabel("updates", fontsize=9.5)
    return fig


def velocities_after(before: float, after: Mapping[str, Floats]) -> Figure:
    """Velocity of every channel after training, one strip per model and seed.

    Args:
        before: where all of them started.
        after: model → (seeds, channels).
    """
    fig, ax = plt.subplots(figsize=figure_size(0.5 + 0.22 * sum(len(v) for v in after.values())))
    place, ticks = 0.0, []
    for model, values in after.items():
        colour, first = COLOURS.get(model, INK), place
        for own in values:
            low, high = np.quantile(own, [0.05, 0.95])
            ax.plot([low, high], [place, place], color=colour, lw=4, alpha=0.25, solid_capstyle="butt")
            ax.plot(own, np.full(len(own), place), "|", color=colour, ms=6, alpha=0.5, mew=0.7)
            ax.plot(np.median(own), place, "o", color=colour, ms=4.5, mec="white", mew=0.6)
            place += 1
        ticks.append(((first + place - 1) / 2, model))
        place += 0.6
    ax.axvline(before, color=THEORY, lw=1, ls="--")
    ax.set(xlabel="velocity (neurons/step)", ylim=(place - 0.6, -0.8))
    ax.set_yticks([t for t, _ in ticks], [m for _, m in ticks])
    ax.tick_params(axis="y", length=0)
    return fig


def grid(table: pd.DataFrame, quantity: str, label: str, reach: NDArray[np.float64], longest: int) -> Figure:
    """A reading over velocities and register lengths, with the reach of each cell and where it suffices.

    Args:
        table: columns register, velocity, seed and the reading.
        quantity: the reading; its mean over seeds is coloured.
        label: of the colour bar.
        reach: (registers, velocities), in the order of the sorted values; printed in each cell.
        longest: the age that the task needs; cells that reach as far are framed.
    """
    means = table.pivot_table(index="register", columns="velocity", values=quantity, aggfunc="mean").sort_index()
    values = means.to_numpy(dtype=np.float64)
    rows, columns = values.shape
    require(reach.shape == values.shape, f"reach of shape {reach.shape}", f"{values.shape}", "One per cell.")
    fig, ax = plt.subplots(figsize=figure_size(max(0.42 * rows + 1.0, 2.2), 0.85))
    image = ax.imshow(
        values, cmap=SEQUENTIAL, aspect="auto", vmin=0, vmax=1 if quantity.startswith(("char", "str")) else None
    )
    low, high = image.get_clim()
    for i in range(rows):
        for j in range(columns):
            pale = (values[i, j] - low) / max(high - low, 1e-9) < 0.6
            bold = reach[i, j] >= longest
            ax.text(j, i, f"{values[i, j]:.2f}", ha="center", va="center", fontsize=8, color="white" if pale else INK,
                    fontweight="bold" if bold else "normal")  # fmt: skip
            if bold:
                ax.add_patch(
                    Rectangle((j - 0.46, i - 0.44), 0.92, 0.88, fill=False, ec="white" if pale else INK, lw=1.3)
                )
    ax.set_xticks(range(columns), [f"{v:g}" for v in means.columns])
    ax.set_yticks(range(rows), [f"{n:g}" for n in means.index])
    ax.set(xlabel="velocity v (neurons/step)", ylabel="neurons n")
    ax.tick_params(length=0)
    for side in ax.spines.values():
        side.set_visible(False)
    fig.colorbar(image, ax=ax, label=label)
    return fig


def accuracy_by_reach(
    table: pd.DataFrame, panels: Mapping[str, str], quantity: str, label: str, longest: int
) -> Figure:
    """A reading against what theory says of each cell, one dot per seed, coloured by velocity, shaped by length.

    Args:
        table: columns register, velocity, the reading, and one per panel.
        panels: column → label of its axis.
        quantity: the reading.
        label: its label.
        longest: the age that the task needs; drawn in panels of a reach.
    """
    fig, axes = plt.subplots(1, len(panels), figsize=figure_size(2.7), sharey=True, squeeze=False)
    markers = dict(zip(sorted(table["register"].unique()), "osD^vP*X", strict=False))
    for ax, (column, name) in zip(axes[0], panels.items(), strict=True):
        for n, marker in markers.items():
            own = table[table["register"] == n]
            points = ax.scatter(own[column], own[quantity], c=own["velocity"], cmap="cividis", vmin=0, vmax=1,
                                marker=marker, s=20, linewidths=0.4, edgecolors=INK, alpha=0.9)  # fmt: skip
        if column.startswith("reach"):
            ax.axvline(longest, color=MUTED, lw=0.9, ls="--", zorder=0)
            ax.set_xscale("log")
            ticks = [t for t in (1, 2, 5, 10, 20, 50, 100, 200) if table[column].min() <= t <= table[column].max()]
            ax.set_xticks(ticks, [str(t) for t in ticks])
            ax.minorticks_off()
        ax.set_xlabel(name)
    axes[0, 0].set_ylabel(label)
    fig.colorbar(points, ax=list(axes[0]), label="velocity", pad=0.01)
    handles = [Line2D([], [], marker=m, color=INK, lw=0, ms=4.5, label=f"n = {n}") for n, m in markers.items()]
    axes[0, -1].legend(handles=handles, fontsize=7.5, handletextpad=0.2)
    return fig


def learned_velocities(starts: Sequence[float], after: Mapping[str, Sequence[Floats]]) -> Figure:
    """Where velocities ended that started together: spread over channels against the start.

    Args:
        starts: initial velocities.
        after: title → one array per start, (seeds, channels).
    """
    fig, axes = plt.subplots(
        1, len(after), figsize=figure_size(2.6, min(1.0, 0.5 * len(after))), sharey=True, squeeze=False
    )
    for ax, (title, values) in zip(axes[0], after.items(), strict=True):
        ax.plot([0, 1], [0, 1], color=THEORY, lw=0.9, ls="--", zorder=0)
        for start, own in zip(starts, values, strict=True):
            flat = own.ravel()
            jitter = np.linspace(-0.012, 0.012, len(flat))
            ax.plot(start + jitter, flat, ".", color=LEARNED, ms=2, alpha=0.35, rasterized=True)
            low, high = np.quantile(flat, [0.05, 0.95])
            ax.plot([start, start], [low, high], color=INK, lw=1.2)
            ax.plot(start, np.median(flat), "o", color=LEARNED, mec=INK, mew=0.8, ms=5)
        ax.set(title=title, xlim=(0, 1), ylim=(0, 1), xlabel="velocity before training", aspect="equal")
    axes[0, 0].set_ylabel("velocity after training")
    return fig
