"""Figures of gradients that travel backwards: bounds, Fig. 5 of the TWM paper, and what lies behind it.

Each function takes measured arrays or the rows of `wavemem.experiments.gradient_propagation` and returns the figure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator
from numpy.typing import NDArray

from wavemem.checks import require
from wavemem.plotting.panels import space_time
from wavemem.plotting.style import ACCENT, CATEGORICAL, INK, LEARNED, MUTED, NEGATIVE, POSITIVE, SEQUENTIAL, figure_size

__all__ = [
    "bounds_by_length",
    "bounds_in_training",
    "cost_choices",
    "decay_against_modulus",
    "decay_and_eigenvalue",
    "directions",
    "forward_and_backward",
    "norm_profiles",
]

Floats = NDArray[np.floating]

_BOUND_STYLES = {
    "power": {"color": CATEGORICAL[1], "marker": "s", "label": r"Eq. 14, power of $\mu$"},
    "waves": {"color": CATEGORICAL[2], "marker": "^", "label": "Eq. 16, corrected"},
    "operator": {"color": CATEGORICAL[0], "marker": "v", "label": "norm of the product"},
    "true": {"color": INK, "marker": "o", "label": "true gradient"},
}


def _training_axis(ax: Axes, last: int) -> None:
    """Iterations on an axis that is linear up to 10 and logarithmic after it, so that iteration 0 has a place."""
    ax.set_xscale("symlog", linthresh=10, linscale=0.6)
    ticks = [0, 10, *(10**k for k in range(2, 7) if 10**k <= last)]
    ax.xaxis.set_major_locator(FixedLocator(ticks))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xticklabels([f"{t:,}" for t in ticks])
    ax.set_xlim(0, last)


def forward_and_backward(forward: Floats, backward: Floats) -> Figure:
    """One channel of the activity in the wave basis, and of the gradient in the dual one, over the same steps.

    Args:
        forward: (time, position) components of h(1) … h(s+1).
        backward: (time, position) components of ∂C/∂h(1) … ∂C/∂h(s+1).
    """
    fig, (left, right) = plt.subplots(1, 2, figsize=figure_size(2.5), sharey=True)
    for ax, values, title in (
        (left, forward, r"activity: components of $h(k)$"),
        (right, backward, r"gradient: components of $\partial C/\partial h(k)$"),
    ):
        space_time(ax, values, start=1, limit=float(np.abs(values).max()))
        ax.set_title(title)
        ax.set_xlabel("step $k$")
    right.set_ylabel("")
    style = {"color": INK, "arrowprops": {"arrowstyle": "->", "color": INK, "lw": 1.4}}
    s = forward.shape[1]
    left.annotate("", xy=(s - 0.4, s * 0.42), xytext=(s * 0.62, s * 0.78), **style)
    right.annotate("", xy=(s * 0.62, s * 0.78), xytext=(s - 0.4, s * 0.42), **style)
    return fig


def bounds_by_length(panels: Mapping[str, Mapping[str, Floats]], lengths: Sequence[int]) -> Figure:
    """Gradient at the oldest input and its bounds against the length of the history, one panel per kind of network.

    Args:
        panels: title → name of the curve ("true", "operator", "waves", "power") → (lengths, seeds), geometric means over
            histories.
        lengths: the values of s.
    """
    fig, axes = plt.subplots(1, len(panels), figsize=figure_size(2.9), sharex=True, sharey=True)
    for ax, (title, curves) in zip(np.atleast_1d(axes), panels.items(), strict=True):
        for name, values in curves.items():
            style = _BOUND_STYLES[name]
            centre = np.exp(np.log(values).mean(1))
            ax.plot(lengths, centre, ms=4, lw=1.4, zorder=4 if name == "true" else 3, **style)
            ax.fill_between(lengths, values.min(1), values.max(1), color=style["color"], alpha=0.18, lw=0)
        ax.set(title=title, yscale="log", xlabel="length of the history $s$")
        ax.set_xticks(list(lengths)[1::2])
        stacked = np.stack([values.mean(1) for values in curves.values()])
        if (stacked.max(0) / stacked.min(0)).max() < 1.5:
            ax.annotate(
                "all four curves coincide",
                (0.5, stacked.max()),
                xycoords=("axes fraction", "data"),
                xytext=(0, 8),
                textcoords="offset points",
                ha="center",
                fontsize=8.5,
            )
    first = np.atleast_1d(axes)[0]
    first.set_ylabel(r"$\|\partial C/\partial x(1)\|\;/\;\|\partial C/\partial h(s+1)\|$")
    handles, labels = first.get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside lower center", ncols=4)
    return fig


def bounds_in_training(iterations: Sequence[int], ratios: Mapping[str, Floats]) -> Figure:
    """How many times too large each bound is for the oldest input, over training, one line per seed.

    Args:
        iterations: of the snapshots.
        ratios: name of the bound → (snapshots, seeds) of bound / true gradient.
    """
    fig, ax = plt.subplots(figsize=figure_size(2.7))
    for name, values in ratios.items():
        style = _BOUND_STYLES[name]
        for k in range(values.shape[1]):
            ax.plot(
                iterations,
                values[:, k],
                color=style["color"],
                lw=1.2,
                alpha=0.85,
                label=style["label"] if k == 0 else None,
            )
    ax.axhline(1.0, color=INK, lw=1.2, ls="--")
    ax.annotate("the gradient itself: no bound may fall below", (0.01, 1.0), xycoords=("axes fraction", "data"),
                xytext=(0, -11), textcoords="offset points", fontsize=8.5)  # fmt: skip
    ax.set(yscale="log", ylabel="bound / true gradient", xlabel="training iteration")
    ax.set_ylim(bottom=0.4)
    _training_axis(ax, max(iterations))
    ax.legend(ncols=3, loc="upper left", bbox_to_anchor=(0.0, 1.16), columnspacing=1.4)
    return fig


def _runs(rows: pd.DataFrame) -> list[tuple[int, pd.DataFrame]]:
    return [(int(seed), rows[rows["seed"] == seed]) for seed in sorted(rows["seed"].unique())]


def _pivot(rows: pd.DataFrame, values: str) -> pd.DataFrame:
    return rows.pivot(index="iteration", columns="input", values=values).sort_index()


def norm_profiles(rows: pd.DataFrame, seed: int, iterations: Sequence[int], cost: str = "cycle") -> Figure:
    """Fig. 5 A: gradient norm per input position at several iterations: relative to the newest input's, raw, error-free.

    Args:
        rows: from the experiment.
        seed: the run to show.
        iterations: the training iterations to show; the nearest snapshots are drawn.
        cost: which gradient; the third panel shows "gain".
    """
    chosen = rows[(rows["seed"] == seed) & (rows["cost"] == cost)]
    require(
        len(chosen) > 0, f"seed={seed}, cost={cost!r}", "a run and a cost in the rows", "Choose one that was measured."
    )
    there = np.array(sorted(int(i) for i in chosen["iteration"].unique()))
    shown = sorted({int(there[np.abs(there - i).argmin()]) for i in iterations})
    # The light end of the colour map would vanish on white.
    colours = plt.get_cmap(SEQUENTIAL)(np.linspace(0.0, 0.85, len(shown)))
    fig, axes = plt.subplots(1, 3, figsize=figure_size(2.9), sharex=True)
    gains = rows[(rows["seed"] == seed) & (rows["cost"] == "gain")]
    panels = (
        (chosen, "relative", "relative to newest"),
        (chosen, "norm", "raw"),
        (gains, "norm", "gain (no error in it)"),
    )
    for ax, (source, values, title) in zip(axes, panels, strict=True):
        table = _pivot(source, values)
        for colour, iteration in zip(colours, shown, strict=True):
            edge = iteration in (shown[0], shown[-1])
            ax.plot(table.columns, table.loc[iteration], color=colour, marker="o" if edge else None, ms=4, lw=2 if edge else 1.2,
                    label=f"{iteration:,}")  # fmt: skip
        ax.set(yscale="log", title=title, xticks=list(table.columns))
        if values == "relative" or source is gains:
            ax.axhline(1.0, color=MUTED, lw=0.9, ls="--", zorder=0)
    axes[0].set_ylabel("gradient norm at input $m$")
    axes[1].set_xlabel("input position $m$ (1 = oldest, farthest back)")
    handles, labels = axes[0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside right center", title="iteration", handlelength=1.2)
    return fig


def decay_and_eigenvalue(
    rows: pd.DataFrame, crossings: Mapping[int, float], highlight: int, cost: str = "cycle"
) -> Figure:
    """Fig. 5 B: decay rate (red) and largest |eigenvalue| (blue) over training; all seeds, one highlighted.

    Args:
        rows: from the experiment.
        crossings: seed → iteration at which its largest |eigenvalue| first reaches 1.
        highlight: the seed drawn thick, whose crossing is marked in both panels.
        cost: which gradient.
    """
    fig, (top, bottom) = plt.subplots(2, 1, figsize=figure_size(4.0), sharex=True)
    chosen = rows[(rows["cost"] == cost) & (rows["input"] == 1)].sort_values("iteration")
    for seed, run in _runs(chosen):
        thick = seed == highlight
        look = {"lw": 2.2 if thick else 1.0, "alpha": 1.0 if thick else 0.45, "zorder": 4 if thick else 3}
        top.plot(run["iteration"], run["decay_rate"], color=POSITIVE, **look)
        bottom.plot(run["iteration"], run["largest_eigenvalue"], color=NEGATIVE, **look)
        if not np.isnan(crossings[seed]):
            bottom.plot(crossings[seed], 1.0, "o", color=NEGATIVE, ms=6 if thick else 4, mec="white", mew=0.7, zorder=5)
            for ax in (top, bottom) if thick else ():
                ax.axvline(crossings[seed], color=MUTED, lw=1.0, ls=":", zorder=1)
    top.axhline(0.0, color=INK, lw=0.9, ls="--")
    bottom.axhline(1.0, color=INK, lw=0.9, ls="--")
    top.set_ylabel("decay rate\n(nats per step)", color=POSITIVE)
    bottom.set_ylabel(r"largest $|\lambda|$ of $W_{hh}$", color=NEGATIVE)
    bottom.set_xlabel("training iteration")
    _training_axis(bottom, int(chosen["iteration"].max()))
    if not np.isnan(crossings[highlight]):
        top.annotate(
            rf"$|\lambda|_{{\max}}$ reaches 1 (iteration {crossings[highlight]:.0f})",
            (crossings[highlight], 0.9),
            xycoords=("data", "axes fraction"),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
        )
    return fig


def decay_against_modulus(rows: pd.DataFrame, passing: pd.DataFrame) -> Figure:
    """Decay rate against the largest |eigenvalue|, every snapshot of every seed, with the rate -log|λ|.

    Args:
        rows: one line per snapshot and seed, with `decay_rate` and `largest_eigenvalue`; filled points.
        passing: the same of networks that were trained on one cycle; open points.
    """
    fig, ax = plt.subplots(figsize=figure_size(3.2, 0.8))
    moduli = pd.concat([rows, passing])["largest_eigenvalue"]
    modulus = np.linspace(moduli.min() * 0.98, moduli.max() * 1.01, 200)
    ax.plot(modulus, -np.log(modulus), color=INK, lw=1.4, label=r"$-\log|\lambda|_{\max}$")
    ax.axhline(0.0, color=MUTED, lw=0.8, ls="--", zorder=0)
    ax.axvline(1.0, color=MUTED, lw=0.8, ls="--", zorder=0)
    looks: tuple[dict[str, Any], ...] = (
        {"color": CATEGORICAL[0], "mew": 0},
        {"color": CATEGORICAL[1], "mfc": "none", "mew": 0.9},
    )
    for chosen, look, label in zip((rows, passing), looks, ("two cycles", "one cycle"), strict=True):
        ax.plot(chosen["largest_eigenvalue"], chosen["decay_rate"], "o", ms=3.8, alpha=0.75, label=label, **look)
    ax.set(xlabel=r"largest $|\lambda|$ of $W_{hh}$", ylabel="decay rate (nats per step)")
    ax.legend(loc="upper right")
    return fig


def directions(rows: pd.DataFrame, highlight: int, s: int) -> Figure:
    """Strongest and weakest gain of the oldest input, and the number of eigenvalues that persist, over training.

    Args:
        rows: from the experiment.
        s: length of the history; its multiples are marked.
        highlight: the seed drawn thick.
    """
    fig, (left, right) = plt.subplots(1, 2, figsize=figure_size(2.7))
    chosen = rows[(rows["cost"] == "gain") & (rows["input"] == 1)].sort_values("iteration")
    for seed, run in _runs(chosen):
        thick = seed == highlight
        look = {"lw": 2.2 if thick else 1.0, "alpha": 1.0 if thick else 0.45}
        left.plot(
            run["iteration"], run["strongest"], color=LEARNED, label="strongest direction" if thick else None, **look
        )
        left.plot(run["iteration"], run["weakest"], color=ACCENT, label="weakest direction" if thick else None, **look)
        right.plot(run["iteration"], run["persistent"], color=CATEGORICAL[2], **look)
    left.axhline(1.0, color=INK, lw=0.9, ls="--")
    left.set(yscale="log", ylabel="gain, oldest input to outputs", xlabel="training iteration")
    left.legend(loc="lower right")
    for n in range(1, int(chosen["persistent"].max()) // s + 1):
        right.axhline(n * s, color=MUTED, lw=0.8, ls="--", zorder=0)
        label = "$s$" if n == 1 else f"${n}s$"
        right.annotate(label, (0.5, n * s), xytext=(0, 2), textcoords="offset points", color=MUTED, fontsize=8.5)
    right.set(ylabel=r"eigenvalues with $|\lambda| > 0.9$", xlabel="training iteration")
    for ax in (left, right):
        _training_axis(ax, int(chosen["iteration"].max()))
    return fig


def cost_choices(rows: pd.DataFrame, names: Mapping[str, str]) -> Figure:
    """Decay rate over training for every cost: mean over seeds, with their range shaded.

    Args:
        rows: from the experiment.
        names: cost → how to call it in the legend, in the order of drawing.
    """
    fig, ax = plt.subplots(figsize=figure_size(2.8))
    for colour, (cost, name) in zip(CATEGORICAL, names.items(), strict=False):
        table = rows[(rows["cost"] == cost) & (rows["input"] == 1)].pivot(
            index="iteration", columns="seed", values="decay_rate"
        )
        ax.plot(table.index, table.mean(axis=1), color=colour, label=name)
        ax.fill_between(table.index, table.min(axis=1), table.max(axis=1), color=colour, alpha=0.15, lw=0)
    ax.axhline(0.0, color=INK, lw=0.9, ls="--")
    ax.set(ylabel="decay rate (nats per step)", xlabel="training iteration")
    _training_axis(ax, int(rows["iteration"].max()))
    ax.legend(loc="upper right")
    return fig
