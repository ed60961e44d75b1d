"""Pictures of the self-attention boundary: one step, the KV cache, positions, look-up, and what training found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator, NullLocator
from numpy.typing import ArrayLike, NDArray

from wavemem.checks import require
from wavemem.plotting.panels import space_time
from wavemem.plotting.style import CATEGORICAL, DIVERGING, INK, MUTED, THEORY, figure_size

__all__ = [
    "MODEL_COLOURS",
    "accuracy_by_step",
    "cache_pictures",
    "control_dots",
    "learning_curves",
    "matrices",
    "one_step",
    "position_curves",
    "sharpness",
]

MODEL_COLOURS: dict[str, str] = {
    "SBC": CATEGORICAL[0],
    "SBC + position": CATEGORICAL[5],
    "LBC": CATEGORICAL[1],
    "Elman": CATEGORICAL[2],
    "hidden layer": CATEGORICAL[3],
}
"""One colour per model, the same in every figure of the chapter."""

_PALE = 1.5
"""Colour limit relative to the largest activity: ±1 in half-tones, so that marks drawn on top stay visible."""

_MARKERS = {"SBC": "o", "SBC + position": "P", "LBC": "s", "Elman": "^", "hidden layer": "D"}


def _new(height: float, columns: int = 1, **options: Any) -> tuple[Figure, NDArray[Any]]:
    # Imported here, so that importing this module does not choose a backend.
    import matplotlib.pyplot as plt

    fig, axes = plt.subplots(1, columns, figsize=figure_size(height), squeeze=False, **options)
    return fig, axes[0]


def _array(values: Any) -> NDArray[np.float64]:
    return np.asarray(values.detach().cpu() if hasattr(values, "detach") else values, dtype=np.float64)


def one_step(h: ArrayLike, weights: ArrayLike, written: ArrayLike) -> Figure:
    """One step of the boundary: the substrate, the weight of each column, and the vector it writes.

    Args:
        h: the substrate, (s, d).
        weights: attention weights, (s,).
        written: what is written into column s, (d,).

    Returns:
        The figure.

    Raises:
        ValueError: if the sizes do not fit.
    """
    h, weights, written = _array(h), _array(weights), _array(written)
    s, d = h.shape if h.ndim == 2 else (0, 0)
    require(
        weights.shape == (s,) and written.shape == (d,) and s > 0,
        f"h {h.shape}, weights {weights.shape}, written {written.shape}",
        "(s, d), (s,) and (d,)",
        "Choose one run and one history.",
    )
    fig, (left, middle, right) = _new(2.7, 3, gridspec_kw={"width_ratios": [s, s, 2.2]})
    limit = _PALE * float(max(np.abs(h).max(), np.abs(written).max()))
    options = {"cmap": DIVERGING, "vmin": -limit, "vmax": limit, "aspect": "auto", "origin": "upper"}
    left.imshow(h.T, extent=(0.5, s + 0.5, d + 0.5, 0.5), **options)
    left.add_patch(Rectangle((s - 0.5, 0.5), 1, d, fill=False, edgecolor=INK, linewidth=2, clip_on=False))
    left.set(xlabel="column $i$", ylabel="dimension $j$", title="substrate: column $s$ asks")
    middle.bar(np.arange(1, s + 1), weights, color=MODEL_COLOURS["SBC"], width=0.8)
    middle.set(xlabel="column $i$", ylabel="weight $a_i$", ylim=(0, 1.02), title="every column answers")
    right.imshow(written[:, None], extent=(0.5, 1.5, d + 0.5, 0.5), **options)
    right.set(xticks=[], title="written")
    for ax in (left, middle):
        ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=9))
        ax.set_xlim(0.5, s + 0.5)
    for ax in (left, right):
        ax.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=9))
        for spine in ax.spines.values():
            spine.set_visible(True)
    return fig


def cache_pictures(wave: ArrayLike, ring: ArrayLike, weights: ArrayLike, newest: ArrayLike) -> Figure:
    """Three space-time pictures: one channel of the cache as it travels, as a ring buffer, and where the head looks.

    Args:
        wave: one channel of the travelling cache, (time, s).
        ring: the same channel of the ring buffer, (time, s).
        weights: attention weights by column, (steps, s).
        newest: position of writing in the ring buffer, (time,).

    Returns:
        The figure.
    """
    fig, axes = _new(2.6, 3)
    wave, ring, places = _array(wave), _array(ring), _array(newest)
    limit = _PALE * float(np.abs(wave).max())
    space_time(axes[0], wave, limit=limit)
    space_time(axes[1], ring, limit=limit)
    # The writing head: a mark on the slot that was just written, with a light edge to be seen on any colour.
    axes[1].plot(
        np.arange(len(places)), places + 1, ".", markersize=5, color=INK, markeredgecolor="white", markeredgewidth=0.5
    )
    image = space_time(axes[2], _array(weights), signed=False, limit=1.0)
    fig.colorbar(image, ax=axes[2], label="weight $a_i$", fraction=0.06, pad=0.03)
    axes[0].set_title("cache that travels")
    axes[1].set(title="ring buffer", ylabel="slot")
    axes[2].set_title("where the head looks")
    return fig


def position_curves(columns: ArrayLike, biases: Mapping[str, ArrayLike], phases: Mapping[str, ArrayLike]) -> Figure:
    """ALiBi's bias and RoPE's factor against the column, measured with absolute positions that start anywhere.

    Args:
        columns: 1, ..., s.
        biases: name of a start → bias of every column.
        phases: name of a start → RoPE's factor of the score of every column.

    Returns:
        The figure.
    """
    fig, axes = _new(2.6, 2)
    x = _array(columns)
    for ax, curves in ((axes[0], biases), (axes[1], phases)):
        for k, (name, values) in enumerate(curves.items()):
            # Open markers of falling size: coinciding curves stay visible inside one another.
            ax.plot(x, _array(values), "o", fillstyle="none", markersize=12 - 4 * k, color=CATEGORICAL[k], label=name)
        ax.plot(x, _array(next(iter(curves.values()))), color=MUTED, linewidth=0.8, zorder=0)
        ax.set_xlabel("column $i$  (age $s-i$)")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes[0].set(ylabel="added to the score", title="ALiBi: $-m\\,(s-i)$")
    axes[1].set(ylabel="score of two equal vectors", title="RoPE: $\\cos\\,\\theta(s-i)$, summed over planes")
    axes[0].legend(title="window starts at time", loc="upper left")
    return fig


def sharpness(
    beta: ArrayLike, errors: ArrayLike, bound: ArrayLike, steps: ArrayLike, linear: ArrayLike, ancestors: ArrayLike
) -> Figure:
    """Look-up: the constructed head's error against its bound; ancestors; and what a linear boundary can predict.

    Args:
        beta: sharpness β.
        errors: largest error of one step at each β.
        bound: 2 (s - 1) exp(-2β).
        steps: 1, 2, ....
        linear: share of right signs of the best linear prediction at every step.
        ancestors: mean number of initial vectors of which the window holds descendants, at every step.

    Returns:
        The figure.
    """
    fig, axes = _new(2.6, 3)
    axes[0].semilogy(_array(beta), _array(bound), color=THEORY, linewidth=1.2, label="bound")
    axes[0].semilogy(_array(beta), _array(errors), "o", color=MODEL_COLOURS["SBC"], label="measured")
    axes[0].set(xlabel="sharpness $\\beta$", ylabel="largest error", title="a head runs look-up")
    axes[0].legend()
    axes[0].yaxis.set_minor_locator(NullLocator())
    axes[1].plot(_array(steps), _array(ancestors), color=INK)
    axes[1].set(xlabel="step", ylabel="ancestors alive", title="what is not found is lost", ylim=(0, None))
    axes[2].plot(_array(steps), _array(linear), color=MODEL_COLOURS["LBC"])
    axes[2].axhline(0.5, color=MUTED, linewidth=1, linestyle=":")
    axes[2].set(xlabel="step", ylabel="share of right signs", title="best linear prediction", ylim=(0.48, 1.01))
    return fig


def learning_curves(ax: Axes, rows: pd.DataFrame, models: Sequence[str]) -> None:
    """Training accuracy against iteration: one thin line per seed, one thick line for their mean.

    Args:
        ax: axes to draw on.
        rows: rows of one part and task at the chosen learning rates, quantity "training accuracy".
        models: what to draw, in this order.
    """
    for model in models:
        curves = rows[(rows["model"] == model) & (rows["quantity"] == "training accuracy")].pivot_table(
            index="step", columns="seed", values="value"
        )
        smooth = curves.rolling(3, center=True, min_periods=1).mean()
        ax.plot(smooth.index, smooth, color=MODEL_COLOURS[model], linewidth=0.6, alpha=0.5)
        ax.plot(smooth.index, smooth.mean(axis=1), color=MODEL_COLOURS[model], label=model)
    ax.axhline(0.5, color=MUTED, linewidth=1, linestyle=":")
    ax.set(xlabel="iteration", ylabel="share of right signs", ylim=(0.46, 1.02))


def accuracy_by_step(ax: Axes, rows: pd.DataFrame, models: Sequence[str], quantity: str) -> None:
    """Accuracy against the step of the horizon: mean over seeds, band from the worst to the best seed.

    Args:
        ax: axes to draw on.
        rows: rows of one part and task at the chosen learning rates.
        models: what to draw, in this order.
        quantity: "next", "free" or "free, signs".
    """
    for model in models:
        table = rows[(rows["model"] == model) & (rows["quantity"] == quantity)].pivot_table(
            index="step", columns="seed", values="value"
        )
        colour = MODEL_COLOURS[model]
        ax.fill_between(table.index, table.min(axis=1), table.max(axis=1), color=colour, alpha=0.2, linewidth=0)
        ax.plot(table.index, table.mean(axis=1), color=colour, marker=_MARKERS[model], markersize=3.5, label=model)
    ax.axhline(0.5, color=MUTED, linewidth=1, linestyle=":")
    ax.set(xlabel="step after the history", ylim=(0.46, 1.02))
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))


def matrices(pictures: Mapping[str, ArrayLike], height: float = 2.2) -> Figure:
    """Matrices side by side, each in units of its own largest entry: red positive, blue negative.

    Args:
        pictures: title → matrix.
        height: of the figure in inches.

    Returns:
        The figure.
    """
    fig, axes = _new(height, len(pictures))
    for ax, (title, values) in zip(axes, pictures.items(), strict=True):
        matrix = _array(values)
        scale = float(np.abs(matrix).max()) or 1.0
        rows, columns = matrix.shape
        image = ax.imshow(matrix / scale, cmap=DIVERGING, vmin=-1, vmax=1, extent=(0.5, columns + 0.5, rows + 0.5, 0.5))
        ax.set_title(title)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))
        ax.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))
        for spine in ax.spines.values():
            spine.set_visible(True)
    fig.colorbar(image, ax=list(axes), label="entry / largest", fraction=0.03, pad=0.02)
    return fig


def control_dots(
    rows: pd.DataFrame, tasks: Sequence[str], models: Sequence[str], ceilings: Mapping[str, float]
) -> Figure:
    """One-step accuracy of every boundary on every system, one dot per seed.

    Args:
        rows: rows of the part "controls" at the chosen learning rates.
        tasks: systems, from left to right.
        models: boundaries, from left to right within a system.
        ceilings: system → share of right signs that no order-blind boundary exceeds, drawn as a line.

    Returns:
        The figure.
    """
    fig, axes = _new(2.9)
    ax = axes[0]
    width = 0.8 / len(models)
    for x, task in enumerate(tasks):
        for m, model in enumerate(models):
            values = rows[(rows["task"] == task) & (rows["model"] == model) & (rows["quantity"] == "next")]["value"]
            place = x + (m - (len(models) - 1) / 2) * width
            spread = place + np.linspace(-0.2, 0.2, len(values)) * width
            ax.plot(
                spread,
                values,
                _MARKERS[model],
                color=MODEL_COLOURS[model],
                markersize=5.5,
                label=model if x == 0 else None,
                alpha=0.85,
                linestyle="none",
            )
        if x:
            ax.axvline(x - 0.5, color=MUTED, linewidth=0.5)
        if task in ceilings:
            ax.plot([x - 0.45, x + 0.45], [ceilings[task]] * 2, color=THEORY, linewidth=1, linestyle="--")
            ax.annotate("ceiling without order", (x + 0.45, ceilings[task]), ha="right", va="bottom", fontsize=8)
    ax.axhline(0.5, color=MUTED, linewidth=1, linestyle=":")
    ax.annotate("chance", (-0.48, 0.5), va="bottom", fontsize=8, color=MUTED)
    ax.set(xticks=range(len(tasks)), ylabel="share of right signs, next vector", ylim=(0.42, 1.04))
    ax.set_xticklabels(tasks)
    ax.set_xlim(-0.5, len(tasks) - 0.5)
    ax.legend(ncols=len(models), loc="lower center", bbox_to_anchor=(0.5, 1.0), handletextpad=0.2, columnspacing=1.2)
    return fig
