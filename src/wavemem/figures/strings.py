"""Figures of string copying: packed contexts, limits, attention, learning curves, rates, lengths, costs.

Each function takes measured arrays, or rows of `wavemem.experiments.string_copying`, and returns the figure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FixedFormatter, FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullLocator
from numpy.typing import NDArray

from wavemem.checks import require
from wavemem.plotting.style import ACCENT, CATEGORICAL, INK, LEARNED, MUTED, SEQUENTIAL, THEORY, figure_size
from wavemem.records.comparisons import mean_interval
from wavemem.training.learning_speed import smoothed

__all__ = [
    "COLOURS",
    "attention",
    "bits",
    "contexts",
    "costs",
    "learning_curves",
    "lengths",
    "limits",
    "searched_rates",
    "speeds",
]

Floats = NDArray[np.float64]

COLOURS: dict[str, str] = {
    "ALiBi": ACCENT,
    "RoPE": CATEGORICAL[5],
    "NoPE": CATEGORICAL[4],
    "hard-ALiBi": CATEGORICAL[6],
    "Mamba": CATEGORICAL[2],
    "v-Wave": LEARNED,
    "Mamba long": CATEGORICAL[3],
    "v-Wave long": CATEGORICAL[4],
    "Mamba long (same states)": CATEGORICAL[6],
    "v-Wave frozen": CATEGORICAL[3],
    "Mamba n + 1": CATEGORICAL[5],
    "v = 0": CATEGORICAL[6],
    "no register": CATEGORICAL[4],
    "ring": CATEGORICAL[3],
    "selective v": CATEGORICAL[4],
    "S6 wave": CATEGORICAL[5],
    "S6 wave (v = 0)": CATEGORICAL[6],
    "S4D": CATEGORICAL[4],
    "H3": CATEGORICAL[5],
}
"""Model → colour, one for both chapters; controls that never share a panel may share one."""

_STYLES = {"RoPE": (0, (4, 1.2)), "NoPE": (0, (1, 1)), "hard-ALiBi": (0, (3, 1, 1, 1))}


def _look(model: str) -> dict[str, Any]:
    return {"color": COLOURS.get(model, INK), "ls": _STYLES.get(model, "-")}


def _plain(ax: Axes) -> None:
    """Numbers instead of powers of ten on a logarithmic vertical axis that spans little."""
    low, high = ax.get_ylim()
    few = high / low > 30
    ax.yaxis.set_major_locator(LogLocator(subs=(1.0,) if few else (1.0, 2.0, 5.0)))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.yaxis.set_minor_locator(NullLocator())


def _known(models: Sequence[str], present: set[str]) -> list[str]:
    kept = [model for model in models if model in present]
    require(len(kept) > 0, f"rows of {sorted(present)}", ", ".join(models), "Pass rows of these models.")
    return kept


def contexts(rows: Sequence[tuple[str, str, Sequence[bool]]]) -> Figure:
    """Packed contexts, letter by letter; what the loss counts is filled.

    Args:
        rows: title, text of a context, and which of its characters the loss counts.
    """
    longest = max(len(text) for _, text, _ in rows)
    fig, axes = plt.subplots(len(rows), 1, figsize=figure_size(0.52 * len(rows) + 0.1), squeeze=False)
    for ax, (title, text, counted) in zip(axes[:, 0], rows, strict=True):
        for i, (character, counts) in enumerate(zip(text, counted, strict=True)):
            ax.add_patch(
                Rectangle((i - 0.5, -0.5), 1, 1, fc=LEARNED if counts else "#eef1f4", ec="white", lw=0.8, alpha=0.9)
            )
            colour = "white" if counts else (MUTED if character in "$|." else INK)
            ax.text(i, 0, character, ha="center", va="center", fontsize=8, color=colour, family="monospace")
        ax.set(xlim=(-0.5, longest - 0.5), ylim=(-0.5, 0.5), xticks=[], yticks=[])
        ax.set_title(title, fontsize=9)
        for side in ax.spines.values():
            side.set_visible(False)
    return fig


def limits(
    looked_up: Mapping[int, tuple[Floats, Floats, Floats]], states: Mapping[str, tuple[Floats, Floats]]
) -> Figure:
    """Left: strings got wrong by looking n letters up. Right: the most strings that a state can get right.

    Args:
        looked_up: n → lengths, measured share of wrong strings, bound.
        states: label → lengths, bound on the share of right strings.
    """
    fig, (left, right) = plt.subplots(1, 2, figsize=figure_size(2.6))
    for (n, (lengths_, wrong, bound)), colour in zip(looked_up.items(), CATEGORICAL, strict=False):
        left.plot(lengths_, np.where(wrong > 0, wrong, np.nan), "o", color=colour, ms=3.6)
        left.plot(lengths_, bound, color=colour, lw=1.1)
        at = np.flatnonzero(bound < 0.7)
        place = int(at[-1]) if len(at) else 0
        left.annotate(
            f"n = {n}", (lengths_[place], bound[place]), xytext=(3, -9), textcoords="offset points", color=colour
        )
    left.set(xscale="log", yscale="log", ylim=(8e-4, 1.6), xlabel="length L", ylabel="share of strings wrong")
    left.set_title("looking up the last n letters")
    for (label, (lengths_, bound)), colour in zip(states.items(), CATEGORICAL, strict=False):
        right.plot(lengths_, bound, color=colour, label=label)
    right.set(xscale="log", ylim=(-0.03, 1.06), xlabel="length L", ylabel="share right, at most")
    right.set_title("a state of b bits")
    right.legend(title="b", fontsize=8, title_fontsize=8.5)
    return fig


def attention(panels: Sequence[tuple[str, Floats]], text: str, first: int, right: Sequence[int]) -> Figure:
    """What tokens of an answer look at: one panel per head, with the place where the next letter stands.

    Args:
        panels: title, weights (reading token, token read) of the whole text.
        text: the tokens.
        first: the first token of those that are shown reading, the bar before the answer.
        right: for every reading token shown, the place of the letter that is to be said next.
    """
    fig, axes = plt.subplots(1, len(panels), figsize=figure_size(2.5), sharey=True, squeeze=False)
    rows = range(first, first + len(right))
    image = None
    for ax, (title, weights) in zip(axes[0], panels, strict=True):
        shown = weights[first : first + len(right)]
        image = ax.imshow(shown, cmap=SEQUENTIAL, vmin=0, vmax=1, aspect="auto")
        ax.plot(right, range(len(right)), "o", mfc="none", mec=LEARNED, ms=7, mew=1.2)
        ax.set_xticks(range(len(text)), list(text), fontsize=7, family="monospace")
        ax.tick_params(length=0)
        ax.set_title(title, fontsize=9)
        ax.set_xlabel("token read")
    axes[0, 0].set_yticks(range(len(right)), [text[i] for i in rows], fontsize=7, family="monospace")
    axes[0, 0].set_ylabel("reading token")
    if image is not None:
        fig.colorbar(image, ax=axes[0].tolist(), label="weight", shrink=0.9)
    return fig


def _band(ax: Axes, x: Floats, curves: Floats, model: str, log: bool, span: tuple[float, float]) -> None:
    """Mean over seeds with Student's 95 % interval; in logarithms where the axis is logarithmic. Seeds as thin lines."""
    values = np.log(np.clip(curves, 1e-8, None)) if log else curves
    found = [mean_interval(column) for column in values.T]
    ends = np.array([[each.low, each.high] for each in found])
    mean = np.array([each.mean for each in found])
    if log:
        mean, ends = np.exp(mean), np.exp(np.clip(ends, -30, 30))
    low, high = np.clip(ends[:, 0], *span), np.clip(ends[:, 1], *span)
    ax.fill_between(x, low, high, color=COLOURS.get(model, INK), alpha=0.16, lw=0)
    for curve in curves:
        ax.plot(x, curve, color=COLOURS.get(model, INK), lw=0.5, alpha=0.55)
    ax.plot(x, mean, lw=1.7, label=model, **_look(model))


def learning_curves(
    sources: Mapping[str, pd.DataFrame], models: Sequence[str], start: Mapping[str, float], window: int = 5
) -> Figure:
    """The abstract's Figs. 1b and 2: training loss, mean over seeds with a 95 % band, one panel per source.

    Args:
        sources: title → rows of the experiment.
        models: which to draw, where they are there.
        start: title → loss of guessing, drawn dashed with a tenth of it.
        window: logged values in the running mean.
    """
    require(len(sources) > 0, "no sources", "rows of one measurement or more", "Pass what was measured.")
    fig, axes = plt.subplots(1, len(sources), figsize=figure_size(3.1), squeeze=False)
    for ax, (title, rows) in zip(axes[0], sources.items(), strict=True):
        curves = rows[rows["quantity"] == "loss"]
        lowest = start[title]
        for model in _known(models, set(curves["model"])):
            table = curves[curves["model"] == model].pivot_table(index="seed", columns="iteration", values="value")
            finite = table.to_numpy(dtype=np.float64)
            finite = finite[np.isfinite(finite).all(1)]
            if not len(finite):  # every run of this model failed
                continue
            values = np.stack([smoothed(run, window) for run in finite])
            lowest = min(lowest, float(np.exp(np.log(np.clip(values, 1e-8, None)).mean(0)).min()))
            span = (lowest / 4, 3 * start[title])
            _band(ax, table.columns.to_numpy(dtype=np.float64), values, model, True, span)
        for share, label in ((1.0, "guessing"), (0.1, "a tenth")):
            ax.axhline(share * start[title], color=MUTED, ls="--", lw=0.9)
            ax.annotate(
                label, (1, share * start[title]), xycoords=("axes fraction", "data"), xytext=(-2, 2),
                textcoords="offset points", ha="right", fontsize=8, color=MUTED,
            )  # fmt: skip
        ax.set(yscale="log", xlabel="update", ylim=(lowest / 3, 2 * start[title]))
        ax.set_title(title)
    axes[0, 0].set_ylabel("loss (nats per character)")
    handles: dict[str, Artist] = {}
    for ax in axes[0]:
        for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    fig.legend(list(handles.values()), list(handles), loc="outside lower center", ncols=len(handles))
    return fig


def searched_rates(table: pd.DataFrame, models: Sequence[str]) -> Figure:
    """The search for learning rates: final loss of every seed at every rate, the chosen rate ringed.

    Args:
        table: columns model, lr, seed, loss, chosen (bool); empty if there was no search.
        models: the panels.
    """
    if not len(table):
        fig, ax = plt.subplots(figsize=figure_size(1.0))
        ax.axis("off")
        ax.annotate("no search is committed for this size", (0.5, 0.5), ha="center", color=MUTED)
        return fig
    models = _known(models, set(table["model"]))
    fig, axes = plt.subplots(1, len(models), figsize=figure_size(2.1), sharey=True, sharex=True, squeeze=False)
    rates = np.sort(table["lr"].unique())
    for ax, model in zip(axes[0], models, strict=True):
        own = table[table["model"] == model]
        mean = own.groupby("lr")["loss"].mean()
        ax.plot(mean.index, mean, lw=1.2, **_look(model))
        ax.plot(own["lr"], own["loss"], "o", color=COLOURS.get(model, INK), ms=3, alpha=0.7)
        best = own[own["chosen"]]["lr"].unique()
        ax.plot(best, mean.loc[best], "o", mfc="none", mec=INK, ms=9)
        ax.set(xscale="log", yscale="log", xlabel="learning rate")
        ax.set_title(model, fontsize=9)
        ax.xaxis.set_major_locator(FixedLocator(rates.tolist()))
        ax.xaxis.set_major_formatter(FixedFormatter([f"{rate:g}" for rate in rates]))
        ax.xaxis.set_minor_locator(NullLocator())
        ax.tick_params(axis="x", labelrotation=60, labelsize=7.5)
    _plain(axes[0, 0])
    axes[0, 0].set_ylabel("final loss")
    return fig


def speeds(panels: Sequence[tuple[str, Mapping[str, Floats], bool]]) -> Figure:
    """Readings of learning curves, a dot per seed and a bar at their mean; seeds without a reading are in the grey strip.

    Args:
        panels: label of the axis, model → one value per seed (NaN where there is none), whether the axis is logarithmic.
    """
    fig, axes = plt.subplots(1, len(panels), figsize=figure_size(2.3), squeeze=False)
    for ax, (label, values, log) in zip(axes[0], panels, strict=True):
        finite = np.concatenate([v[np.isfinite(v)] for v in values.values()])
        positive = finite[finite > 0] if log else finite
        low, high = (float(positive.min()), float(positive.max())) if len(positive) else (0.5, 1.0)
        reach = (high / low) ** 0.12 if log and high > low else 1.15
        pad = 0.12 * (high - low) or 0.1 * abs(high) or 0.1
        bottom, top = (low / reach, high * reach) if log else (min(low - pad, 0.0), high + pad)
        strip = bottom / (top / bottom) ** 0.16 if log else bottom - 0.16 * (top - bottom)
        if log:
            ax.set_yscale("log")
        ax.axhspan(strip, bottom, color="#eef1f4", lw=0, zorder=0)
        nowhere = (strip * bottom) ** 0.5 if log else (strip + bottom) / 2
        for place, (model, seeds) in enumerate(values.items()):
            colour, there = COLOURS.get(model, INK), np.isfinite(seeds)
            spread = place + (np.arange(len(seeds)) - (len(seeds) - 1) / 2) * 0.16
            ax.plot(spread[there], seeds[there], "o", color=colour, ms=4.5)
            ax.plot(spread[~there], np.full((~there).sum(), nowhere), "o", mfc="none", mec=colour, ms=4.5)
            if there.any():
                mean = float(np.exp(np.log(seeds[there]).mean()) if log else seeds[there].mean())
                ax.plot([place - 0.32, place + 0.32], [mean, mean], color=colour, lw=1.4, alpha=0.7)
        ax.set(ylim=(strip, top), xlim=(-0.6, len(values) - 0.4))
        if log:
            _plain(ax)
        ax.set_xticks(range(len(values)), list(values), rotation=30, ha="right")
        ax.set_title(label, fontsize=9)
        ax.annotate(
            "never", (len(values) - 0.45, nowhere), ha="right", va="center", fontsize=7.5, color=MUTED
        )  # fmt: skip
    return fig


def lengths(rows: pd.DataFrame, models: Sequence[str], trained: tuple[int, int]) -> Figure:
    """Characters and whole strings right by length, written by the models themselves, with 95 % bands over seeds.

    Args:
        rows: rows of the experiment.
        models: which to draw, where they are there.
        trained: shortest and longest trained length, shaded.
    """
    models = _known(models, set(rows["model"]))
    fig, axes = plt.subplots(1, 2, figsize=figure_size(2.8), sharey=True)
    for ax, (quantity, title) in zip(axes, (("characters", "characters"), ("strings", "whole strings")), strict=True):
        ax.axvspan(*trained, color="#eef1f4", lw=0, zorder=0)
        for model in models:
            own = rows[(rows["model"] == model) & (rows["length"] > 0)]
            table = own[own["quantity"] == quantity].pivot_table(index="seed", columns="length", values="value")
            x = table.columns.to_numpy(dtype=np.float64)
            _band(ax, x, table.to_numpy(dtype=np.float64), model, False, (0.0, 1.0))
            if quantity == "characters":
                forced = own[own["quantity"] == "teacher-forced characters"].groupby("length")["value"].mean()
                ax.plot(forced.index, forced, "x", color=COLOURS.get(model, INK), ms=4.5, mew=1.1)
        ax.set(xlabel="length of the string", ylim=(-0.03, 1.04))
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.set_title(title)
    axes[0].set_ylabel("share right")
    handles, labels = axes[1].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    return fig


def bits(measured: Mapping[str, tuple[Floats, Floats]], needed: float, letters: int, length: int) -> Figure:
    """Strings right when what was kept of the string is rounded to fewer and fewer bits, and the most that fits.

    Args:
        measured: model → total bits (points,), share of strings right (seeds, points).
        needed: bits of one string.
        letters: size of the alphabet.
        length: letters of the strings.
    """
    fig, ax = plt.subplots(figsize=figure_size(2.6, 0.85))
    for model, (total, right) in measured.items():
        for run in right:
            ax.plot(total, run, color=COLOURS.get(model, INK), lw=0.5, alpha=0.6)
        ax.plot(total, right.mean(0), marker="o", ms=4, label=model, **_look(model))
    ax.axvspan(needed / 30, needed, color="#eef1f4", lw=0, zorder=0)
    grid = np.linspace(needed - 12, needed, 60)
    ax.plot(grid, 2.0 ** (grid - needed), color=THEORY, lw=1.2)
    ax.annotate(
        f"too few bits for {length}\nletters out of {letters}", (needed / 25, 0.5), fontsize=8, color=MUTED, va="center"
    )
    ax.set(xscale="log", xlim=(needed / 30, None), ylim=(-0.03, 1.05))
    ax.set(xlabel="bits kept of the string", ylabel="strings right")
    ax.legend(fontsize=8.5)
    return fig


def costs(contexts_: Floats, table: Mapping[str, tuple[Floats, Floats]], example: float) -> Figure:
    """Multiplications per generated token, and numbers kept, as the context grows.

    Args:
        contexts_: tokens in the context.
        table: model → multiplications, numbers kept.
        example: a context to mark, the longest example that training shows.
    """
    fig, axes = plt.subplots(1, 2, figsize=figure_size(2.6))
    for ax, title, which in zip(axes, ("multiplications per token", "numbers kept"), (0, 1), strict=True):
        for model, found in table.items():
            wide = 3.4 if model == "Mamba" else 1.5  # v-Wave's line lies on it
            ax.plot(contexts_, found[which], label=model, lw=wide, alpha=0.6 if wide > 2 else 1.0, **_look(model))
        ax.axvline(example, color=THEORY, ls=":", lw=1.0)
        ax.set(xscale="log", yscale="log", xlabel="tokens in the context")
        ax.set_title(title)
    axes[0].legend(fontsize=8.5)
    return fig
