"""Figures of waves through training: Wave-RNN Figs. 9, 10 and 18, and what is measured on them.

Every function takes networks or the rows of `wavemem.experiments.wave_learning` and returns the figure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from numpy.typing import NDArray
from torch import Tensor

from wavemem.plotting.panels import space_time, spectrum_image
from wavemem.plotting.style import ACCENT, DIVERGING, INK, LEARNED, MUTED, figure_size
from wavemem.substrate.readings import Spectrum2D

__all__ = [
    "channel_speeds",
    "channels_of_one_network",
    "final_waves",
    "propagators",
    "spectra_through_training",
    "starts_through_training",
    "waves_over_training",
]

Activities = Mapping[str, Mapping[int, Float[Tensor, "time position"]]]


def _bare(ax: Axes) -> None:
    ax.set(xlabel="", ylabel="", xticks=[], yticks=[])


def starts_through_training(activities: Activities) -> Figure:
    """Fig. 18: one sequence's varying activity on one ring, models as rows and training as columns.

    Args:
        activities: model → iteration → (time, position). Colours are scaled to each panel's own largest value; panels
            of zeros are marked.
    """
    models = list(activities)
    iterations = list(activities[models[0]])
    fig, axes = plt.subplots(len(models), len(iterations), figsize=figure_size(1.02 * len(models) + 0.5), squeeze=False)
    for row, model in zip(axes, models, strict=True):
        for ax, iteration in zip(row, iterations, strict=True):
            shown = activities[model][iteration]
            varies = bool(shown.any())
            space_time(ax, shown, limit=None if varies else 1.0)
            _bare(ax)
            if not varies:
                ax.annotate("nothing varies", (0.5, 0.5), xycoords="axes fraction", ha="center", va="center",
                            fontsize=8, color=MUTED)  # fmt: skip
        row[0].set_ylabel(model.replace(" ", "\n", 1), rotation=0, ha="right", va="center")
    for ax, iteration in zip(axes[0], iterations, strict=True):
        ax.set_title("before training" if iteration == 0 else f"{iteration:,} updates", fontsize=9)
    fig.supxlabel("time (steps) →", fontsize=9)
    fig.supylabel("position on the ring →", fontsize=9)
    return fig


def spectra_through_training(spectra: Mapping[str, Sequence[Spectrum2D]], titles: Sequence[str]) -> Figure:
    """Two-dimensional spectra over those of shuffled activity; one column per model, one row per moment.

    Args:
        spectra: model → one spectrum per moment.
        titles: names of the moments.
    """
    fig, axes = plt.subplots(
        len(titles), len(spectra), figsize=figure_size(1.75 * len(titles)), sharex=True, sharey=True, squeeze=False
    )
    for column, (model, found) in zip(axes.T, spectra.items(), strict=True):
        column[0].set_title(model)
        for ax, spectrum in zip(column, found, strict=True):
            spectrum_image(ax, spectrum)
            ax.plot([-0.5, 0.5], [-0.5, 0.5], color="white", lw=0.8, ls=":")
            ax.set(xlabel="", ylabel="", xlim=(-0.5, 0.5), ylim=(-0.5, 0.5))
    for ax, title in zip(axes[:, 0], titles, strict=True):
        ax.set_ylabel(title)
    fig.supxlabel("spatial frequency (cycles per unit)", fontsize=9)
    fig.supylabel("temporal frequency (cycles per step)", fontsize=9)
    return fig


def _table(rows: pd.DataFrame, model: str, quantity: str, channel: int = -1) -> pd.DataFrame:
    chosen = rows[(rows["model"] == model) & (rows["quantity"] == quantity) & (rows["channel"] == channel)]
    return chosen.pivot(index="iteration", columns="seed", values="value").sort_index()


def waves_over_training(rows: pd.DataFrame, models: Sequence[str], threshold: float = 0.2) -> Figure:
    """Coherence and share recalled over training, one panel per model, one line per seed.

    Args:
        rows: from the experiment.
        models: which.
        threshold: the coherence above which a velocity is reported.
    """
    columns = 3
    lines = -(-len(models) // columns)
    fig, axes = plt.subplots(lines, columns, figsize=figure_size(1.75 * lines + 0.3), sharex=True, sharey=True)
    for ax, model in zip(np.ravel(axes), models, strict=False):
        for quantity, colour, label in (
            ("coherence", LEARNED, "coherence"),
            ("right", ACCENT, "sequences recalled"),
        ):
            table = _table(rows, model, quantity)
            for i, seed in enumerate(table.columns):
                ax.plot(table.index, table[seed], color=colour, lw=1.2, alpha=0.85, marker="o", ms=2.5,
                        label=label if i == 0 else None)  # fmt: skip
        ax.axhline(threshold, color=MUTED, lw=0.8, ls="--", zorder=0)
        ax.set_xscale("symlog", linthresh=10, linscale=0.5)
        last = int(rows.loc[rows["model"] == model, "iteration"].max())
        ticks = [0, *(10**k for k in range(1, 7) if 10**k <= last)]
        ax.set_xticks(ticks, [f"{t:,}" for t in ticks])
        ax.minorticks_off()
        ax.set(title=model, ylim=(-0.08, 1.05))
    for ax in np.ravel(axes)[len(models) :]:
        ax.set_visible(False)
    fig.supxlabel("updates", fontsize=9)
    handles, labels = np.ravel(axes)[0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside upper center", ncols=2)
    return fig


def final_waves(rows: pd.DataFrame, models: Sequence[str]) -> Figure:
    """After training: velocity of the activity and of the response to a disturbance, one marker per seed and model.

    Networks without a velocity stand in the strip below.

    Args:
        rows: from the experiment.
        models: which.
    """
    last = rows["iteration"].max()
    fig, ax = plt.subplots(figsize=figure_size(2.9))
    known = rows[
        (rows["iteration"] == last) & (rows["channel"] == -1) & rows["quantity"].isin(("velocity", "response velocity"))
    ]
    low = min(-1.0, float(known["value"].min(skipna=True)) if known["value"].notna().any() else -1.0) - 0.45
    for x, model in enumerate(models):
        for shift, prefix, colour, marker in ((-0.14, "", LEARNED, "o"), (0.14, "response ", ACCENT, "s")):
            values = _table(rows, model, f"{prefix}velocity").loc[last]
            errors = _table(rows, model, f"{prefix}velocity error").loc[last]
            places = x + shift + np.linspace(-0.08, 0.08, len(values))
            there = values.notna().to_numpy()
            label = {"": "activity", "response ": "response to a disturbance"}[prefix] if x == 0 else None
            ax.errorbar(
                places[there], values[there], errors[there], fmt=marker, color=colour, ms=4.5, lw=1.2, label=label
            )
            ax.plot(places[~there], np.full((~there).sum(), low), marker, mfc="none", mec=colour, ms=4.5)
    ax.axhspan(low - 0.2, low + 0.2, color=MUTED, alpha=0.12, lw=0)
    ax.annotate(
        "no velocity",
        (0.995, low),
        xycoords=("axes fraction", "data"),
        ha="right",
        va="center",
        fontsize=8.5,
        color=MUTED,
    )
    for value in (0.0, 1.0):
        ax.axhline(value, color=MUTED, lw=0.8, ls="--", zorder=0)
    ax.set_xticks(range(len(models)), [model.replace(" ", "\n") for model in models])
    ax.set(ylabel="velocity (units per step)", ylim=(low - 0.2, None))
    fig.legend(loc="outside upper center", ncols=2)
    return fig


def _ridge(ax: Axes, values: Float[Tensor, "steps n"]) -> AxesImage:
    shown: NDArray[np.float64] = values.numpy()
    n = shown.shape[1]
    image = ax.imshow(shown.T, origin="lower", aspect="auto", cmap=DIVERGING, vmin=-1, vmax=1,
                      extent=(-0.5, len(shown) - 0.5, -(n // 2) - 0.5, n - n // 2 - 0.5))  # fmt: skip
    for spine in ax.spines.values():
        spine.set_visible(True)
    return image


def propagators(
    before: Sequence[Float[Tensor, "steps n"]], after: Sequence[Float[Tensor, "steps n"]], velocities: Sequence[float]
) -> Figure:
    """Fig. 10: where a disturbance of one unit is after τ steps, channel by channel, before and after training.

    Args:
        before: one propagator per channel.
        after: the same after training.
        velocities: built-in velocity of each channel, drawn as a dashed line.
    """
    fig, axes = plt.subplots(2, len(velocities), figsize=figure_size(3.7), sharex=True, sharey=True, squeeze=False)
    for row, found, title in zip(axes, (before, after), ("before training", "after training"), strict=True):
        for ax, values, velocity in zip(row, found, velocities, strict=True):
            image = _ridge(ax, values)
            tau = np.arange(len(values))
            ax.plot(tau, velocity * tau, color=INK, lw=0.9, ls="--")
        row[0].set_ylabel(title)
    for ax, velocity in zip(axes[0], velocities, strict=True):
        ax.set_title(rf"built in: $\nu$ = {velocity:g}")
    n = before[0].shape[1]
    axes[0, 0].set_ylim(-(n // 2) - 0.5, n - n // 2 - 0.5)
    fig.supxlabel("steps after the disturbance", fontsize=9)
    fig.supylabel("displacement (units)", fontsize=9)
    fig.colorbar(image, ax=axes, label="left of a disturbance of 1", pad=0.01, fraction=0.04)
    return fig


def channel_speeds(rows: pd.DataFrame, models: Mapping[str, Sequence[float]]) -> Figure:
    """Velocity of the response in every channel before and after training; faint markers: no wave.

    Args:
        rows: from the experiment.
        models: model → velocity built into each channel.
    """
    fig, axes = plt.subplots(1, len(models), figsize=figure_size(2.9), sharey=True, squeeze=False)
    chosen = rows[(rows["quantity"] == "response velocity") & (rows["channel"] >= 0)]
    for ax, (model, built) in zip(axes[0], models.items(), strict=True):
        own = chosen[chosen["model"] == model]
        last = own["iteration"].max()
        for shift, iteration, colour, label in ((-0.15, 0, MUTED, "before"), (0.15, last, LEARNED, "after training")):
            now = own[own["iteration"] == iteration]
            seeds = sorted(now["seed"].unique())
            for i, seed in enumerate(seeds):
                run = now[now["seed"] == seed]
                places = run["channel"] + shift + 0.05 * (i - (len(seeds) - 1) / 2)
                ax.plot(places, run["value"], "o", ms=3.5, color=colour, label=label if i == 0 else None)
        for channel, velocity in enumerate(built):
            ax.plot([channel - 0.4, channel + 0.4], [velocity, velocity], color=INK, lw=1.0, zorder=1)
        ax.set(title=model, xticks=range(len(built)), xlabel="channel")
    axes[0, 0].set_ylabel("velocity (units per step)")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside upper center", ncols=2)
    return fig


def channels_of_one_network(activity: Float[Tensor, "time channel position"], columns: int = 5) -> Figure:
    """Fig. 9: the activity of every channel of one network for one sequence, each scaled to its own largest value."""
    count = activity.shape[1]
    lines = -(-count // columns)
    fig, axes = plt.subplots(lines, columns, figsize=figure_size(1.15 * lines + 0.3), squeeze=False)
    for channel, ax in enumerate(axes.flat):
        if channel >= count:
            ax.set_visible(False)
            continue
        values = torch.as_tensor(activity[:, channel])
        space_time(ax, values, limit=float(values.abs().max()) or 1.0)
        _bare(ax)
        ax.set_title(f"channel {channel + 1}", fontsize=8.5)
    fig.supxlabel("time (steps) →", fontsize=9)
    fig.supylabel("position on the ring →", fontsize=9)
    return fig
