"""Figures of the copy task: what is asked, rings that copy, learning curves, outputs, and what a network keeps apart.

Each function takes measured arrays, or rows of `wavemem.experiments.copying`, and returns the figure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from numpy.typing import NDArray

from wavemem.checks import require
from wavemem.plotting.style import ACCENT, CATEGORICAL, INK, LEARNED, MUTED, SEQUENTIAL, THEORY, figure_size

__all__ = [
    "COLOURS",
    "bump_ladder",
    "crosstalk",
    "displacements",
    "learning_curves",
    "loss_and_gain",
    "network_outputs",
    "rings",
    "spikes",
    "tasks",
]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

COLOURS: dict[str, str] = {
    "wRNN": LEARNED,
    "iRNN": ACCENT,
    "iRNN large": CATEGORICAL[5],
    "wRNN searched": LEARNED,
    "iRNN searched": CATEGORICAL[2],
    "GRU": MUTED,
    "wRNN -V": CATEGORICAL[3],
    "wRNN -u": CATEGORICAL[2],
    "wRNN dirac": CATEGORICAL[4],
    "wRNN -V -u": CATEGORICAL[6],
    "iRNN +Σ": CATEGORICAL[2],
    "iRNN +Σ +V": CATEGORICAL[3],
}
"""Model → colour."""


def _symbols() -> ListedColormap:
    """Colours of the categories: the blank pale, eight symbols, the delimiter dark."""
    steps = plt.get_cmap(SEQUENTIAL)(np.linspace(0.12, 1.0, 8))
    return ListedColormap([(0.93, 0.94, 0.95, 1.0), *map(tuple, steps), (0.12, 0.14, 0.19, 1.0)])


def tasks(sequences: Sequence[tuple[str, Ints, Ints]]) -> Figure:
    """Sequences of the task as rows of coloured squares with their categories.

    Args:
        sequences: title, categories shown (length,), categories due (length,).
    """
    fig, axes = plt.subplots(len(sequences), 1, figsize=figure_size(1.0 * len(sequences) + 0.3), squeeze=False)
    longest = max(len(shown) for _, shown, _ in sequences)
    for ax, (title, shown, due) in zip(axes[:, 0], sequences, strict=True):
        both = np.stack([shown, due])
        ax.imshow(both, cmap=_symbols(), vmin=0, vmax=9, aspect="auto", extent=(-0.5, len(shown) - 0.5, 1.5, -0.5))
        for row, values in enumerate(both):
            for t, value in enumerate(values):
                if value:
                    pale = 0 < value < 5 or value == 9
                    ax.text(t, row, str(value), ha="center", va="center", fontsize=7.5, color="white" if pale else INK)
        ax.set_yticks([0, 1], ["shown", "due"])
        ax.set(title=title, xlim=(-0.5, longest - 0.5), xticks=range(0, longest, 5))
        for side in ax.spines.values():
            side.set_visible(False)
        ax.tick_params(length=0)
    axes[-1, 0].set_xlabel("step")
    return fig


def rings(panels: Sequence[tuple[str, Floats, int, int, Floats | None]]) -> Figure:
    """Activity of hand-written rings over time, with the unit that the readout looks at.

    Args:
        panels: title, activity (time, unit) of the ring that holds symbols, the unit that is read, the step of the
            delimiter, and the activity of the ring that carries the delimiter's pulse, or None.
    """
    fig, axes = plt.subplots(1, len(panels), figsize=figure_size(2.9), width_ratios=[len(p[1]) for p in panels])
    for ax, (title, activity, unit, delimiter, pulse) in zip(np.atleast_1d(axes), panels, strict=True):
        time, n = activity.shape
        ax.imshow(activity.T, cmap=_symbols(), vmin=0, vmax=9, origin="lower", aspect="auto", interpolation="nearest")
        ax.axhline(unit, color=LEARNED, lw=1.0, alpha=0.9)
        ax.plot(
            np.arange(delimiter, time), np.full(time - delimiter, unit), "s", ms=3.6, mfc="none", mec=LEARNED, mew=1.1
        )
        ax.axvline(delimiter - 0.5, color=INK, lw=0.9, ls=":")
        if pulse is not None:
            at, where = np.nonzero(pulse > 0.5)
            ax.plot(at, where, ".", color=INK, ms=3)
        ax.set(title=title, xlabel="step", ylim=(-0.5, n - 0.5))
    np.atleast_1d(axes)[0].set_ylabel("unit of the ring")
    return fig


def bump_ladder(distance: Floats, conditions: Mapping[str, Floats], references: Mapping[str, float]) -> Figure:
    """How hard it is to tell m times apart, against the distance from the identity.

    Args:
        distance: ε.
        conditions: number of symbols → condition numbers (ε, draws).
        references: name → condition number that does not depend on ε; two of them.
    """
    fig, ax = plt.subplots(figsize=figure_size(2.7, 0.8))
    for colour, (label, values) in zip(CATEGORICAL, conditions.items(), strict=False):
        ax.plot(distance, np.exp(np.log(values).mean(1)), color=colour, marker="o", ms=3.5, label=label)
    places = (("--", 0, -11, "left"), (":", -1, 3, "right"))
    for (style, at, up, side), (label, value) in zip(places, references.items(), strict=True):
        ax.axhline(value, color=INK, lw=1.1, ls=style)
        ax.annotate(label, (distance[at], value), xytext=(0, up), textcoords="offset points", fontsize=8.5, ha=side)
    ax.set(xscale="log", yscale="log", xlabel="distance from the identity, ε", ylabel="condition number")
    ax.set_ylim(bottom=0.05)
    ax.legend(title="symbols to keep")
    return fig


def learning_curves(
    sources: Mapping[str, pd.DataFrame],
    lengths: Sequence[int],
    models: Sequence[str],
    lines: Mapping[str, Mapping[int, float]],
    batches: Mapping[str, int],
) -> Figure:
    """Fig. 3: the paper's loss over training, one row of panels per source, one panel per T, one line per seed.

    Args:
        sources: what the rows are → rows of `wavemem.experiments.copying`.
        lengths: T of the panels.
        models: which to draw.
        lines: label → T → cross-entropy, drawn across.
        batches: what the rows are → size of a batch, by which the lines are divided.
    """
    require(len(sources) > 0, "no sources", "rows of one measurement or more", "Pass what was measured.")
    shape = (len(sources), len(lengths))
    fig, axes = plt.subplots(*shape, figsize=figure_size(0.6 + 2.1 * shape[0]), sharey="row", squeeze=False)
    for row, (title, rows) in enumerate(sources.items()):
        curves = rows[(rows["quantity"] == "train loss") & rows["model"].isin(models)]
        for ax, T in zip(axes[row], lengths, strict=True):
            for (model, _), run in curves[curves["T"] == T].groupby(["model", "seed"], sort=False):
                seen = model in {line.get_label() for line in ax.get_lines()}
                ax.plot(
                    run["iteration"],
                    run["value"].clip(lower=1e-14),
                    color=COLOURS[str(model)],
                    lw=0.9,
                    alpha=0.85,
                    label=None if seen else model,
                )
            if not ax.get_lines():
                ax.annotate("not measured yet", (0.5, 0.5), xycoords="axes fraction", ha="center", color=MUTED)
            for style, (label, values) in zip(("--", ":"), lines.items(), strict=False):
                ax.axhline(values[T] / batches[title], color=INK, lw=1.0, ls=style, label=label)
            ax.set(yscale="log", title=f"T = {T}" if row == 0 else "", xlabel="update" if row == shape[0] - 1 else "")
        axes[row, 0].set_ylabel(f"{title}\nloss / batch")
    handles: dict[str, Artist] = {}
    for ax in axes.flat:
        for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    fig.legend(list(handles.values()), list(handles), loc="outside lower center", ncols=len(handles))
    return fig


def spikes(runs: Mapping[int, tuple[Ints, Floats]], last: Mapping[int, float], lost: Mapping[float, Floats]) -> Figure:
    """Losses that jump up during training, and what a test after the last update loses by it.

    Args:
        runs: seed → updates, training loss.
        last: seed → test loss after the last update.
        lost: learning rate → decades between the test after the last update and at the best validation, one per network.
    """
    fig, (left, right) = plt.subplots(1, 2, figsize=figure_size(2.7), width_ratios=[2, 1])
    for colour, (seed, (at, losses)) in zip(CATEGORICAL, runs.items(), strict=False):
        left.plot(at, losses, color=colour, lw=0.8)
        left.plot(at[-1], last[seed], "X", color=colour, ms=8, mec=INK, clip_on=False)
    left.set(yscale="log", xlabel="update", ylabel="loss, in units of the test")
    for place, values in enumerate(lost.values()):
        right.plot(np.full(len(values), place) + np.linspace(-0.2, 0.2, len(values)), values, "o", color=LEARNED, ms=4)
    right.set(xlabel="learning rate", ylabel="decades lost at the last update", ylim=(-0.3, None))
    right.set_xticks(range(len(lost)), [f"{lr:g}" for lr in lost], rotation=45)
    return fig


def network_outputs(due: Mapping[int, Ints], said: Mapping[int, Mapping[str, Floats]], last: int = 20) -> Figure:
    """Fig. 4: what is due and how probable each network holds each category, over the last steps.

    Args:
        due: T → categories due, (length,).
        said: T → model → probabilities (length, categories).
        last: how many of the last steps are drawn.
    """
    models = list(next(iter(said.values())))
    fig, axes = plt.subplots(
        1 + len(models), len(due), figsize=figure_size(0.7 + 1.15 * (1 + len(models))), sharex="col", squeeze=False
    )
    for column, (T, target) in enumerate(due.items()):
        steps = np.arange(len(target))[-last:]
        extent = (steps[0] - 0.5, steps[-1] + 0.5, -0.5, 9.5)
        shown = {"due": np.eye(10)[target], **said[T]}
        for row, (name, probabilities) in enumerate(shown.items()):
            ax = axes[row, column]
            ax.imshow(
                probabilities[-last:].T, cmap="Greys", vmin=0, vmax=1, origin="lower", aspect="auto", extent=extent
            )
            if row:
                ax.plot(steps, target[-last:], "o", ms=3.6, mfc="none", mec=COLOURS[name], mew=0.9)
            ax.set_yticks([0, 4, 8])
            if column == 0:
                ax.set_ylabel(name)
        axes[0, column].set_title(f"T = {T}")
        axes[-1, column].set_xlabel("step")
    return fig


def crosstalk(matrices: Mapping[str, Floats]) -> Figure:
    """Which shown symbol moves which answer: one panel per model.

    Args:
        matrices: title → (shown, due) mean change of an answer's logits, relative to the largest of its row of panels.
    """
    fig, axes = plt.subplots(1, len(matrices), figsize=figure_size(2.5), sharey=True)
    image = None
    for ax, (title, matrix) in zip(np.atleast_1d(axes), matrices.items(), strict=True):
        m = len(matrix)
        image = ax.imshow(matrix / matrix.max(), cmap=SEQUENTIAL, vmin=0, vmax=1, extent=(0.5, m + 0.5, m + 0.5, 0.5))
        ax.set(xlabel="answer", xticks=[1, m // 2, m], yticks=[1, m // 2, m])
        ax.set_title(title, fontsize=9)
    np.atleast_1d(axes)[0].set_ylabel("symbol changed")
    if image is not None:
        fig.colorbar(image, ax=axes, label="change / largest", shrink=0.9)
    return fig


def displacements(profiles: Mapping[int, Floats], predicted: Mapping[int, int]) -> Figure:
    """Correlation between readout and displaced input pattern, one panel per T, one line per seed.

    Args:
        profiles: T → (seeds, n).
        predicted: T → the displacement that theory wants.
    """
    fig, axes = plt.subplots(1, len(profiles), figsize=figure_size(2.3), sharey=True)
    for ax, (T, values) in zip(np.atleast_1d(axes), profiles.items(), strict=True):
        for seed, run in enumerate(values):
            ax.plot(run, color=LEARNED, lw=0.9, alpha=0.5 + 0.5 * (seed == 0))
        ax.axvline(predicted[T], color=THEORY, ls="--", lw=1.0, zorder=0)
        ax.annotate(
            f"T + 10 = {predicted[T]}", (predicted[T], 0.9), xycoords=("data", "axes fraction"), xytext=(4, 0),
            textcoords="offset points", va="top", fontsize=8.5,
        )  # fmt: skip
        ax.set(title=f"T = {T}", xlabel="displacement in units")
    np.atleast_1d(axes)[0].set_ylabel("correlation")
    return fig


def loss_and_gain(gains: Floats, losses: Mapping[str, Floats], step: float) -> Figure:
    """The paper's loss of trained networks whose readout is multiplied by a number, in double and single precision.

    Args:
        gains: factors.
        losses: label → (gains, seeds).
        step: the smallest loss above zero that single precision knows.
    """
    fig, ax = plt.subplots(figsize=figure_size(2.7, 0.8))
    for (label, values), colour, marker in zip(losses.items(), (MUTED, LEARNED), (None, "o"), strict=False):
        for seed in range(values.shape[1]):
            drawn = np.where(values[:, seed] > 0, values[:, seed], step / 10)
            ax.plot(
                gains, drawn, color=colour, marker=marker, ms=4, lw=1.4, alpha=0.8, label=label if seed == 0 else None
            )
    ax.axhline(step, color=INK, ls="--", lw=1.0)
    ax.annotate(
        "one step of single precision", (gains[0], step), xytext=(0, 4), textcoords="offset points", fontsize=8.5
    )
    ax.set(yscale="log", xlabel="factor on the readout", ylabel="test loss / batch")
    ax.legend()
    return fig
