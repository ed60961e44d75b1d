"""Figures of training: episodes, learning curves, curricula at equal cost, what is learned when, and the spread over seeds.

Each function takes measured arrays, or the rows of `wavemem.experiments.table1` or `wavemem.experiments.curricula`, and
returns the figure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator
from numpy.typing import NDArray

from wavemem.checks import require
from wavemem.plotting.style import CATEGORICAL, DIVERGING, INK, MUTED, SEQUENTIAL, figure_size

__all__ = [
    "accuracy_by_output",
    "accuracy_by_step",
    "beyond_the_horizon",
    "curricula_race",
    "eigenvalues_arriving",
    "episode",
    "learning_curves",
    "seed_spread",
]

Floats = NDArray[np.floating]

CURRICULUM_STYLES = {
    "ladder": {"color": CATEGORICAL[0], "ls": "-", "label": "ladder"},
    "multiplicative": {"color": CATEGORICAL[1], "ls": "-", "label": "multiplicative"},
    "longest": {"color": CATEGORICAL[2], "ls": "--", "label": "fixed, last rung"},
    "shortest": {"color": CATEGORICAL[3], "ls": "--", "label": "fixed, first rung"},
    "cycle": {"color": CATEGORICAL[6], "ls": ":", "label": "fixed, $s$ steps"},
}
"""Colour, line and name of the schedules of `wavemem.experiments.curricula`."""


def _decay_name(decay: float) -> str:
    if decay == 0:
        return "L2 = 0"
    power = np.log10(decay)
    return f"L2 = $10^{{{power:.0f}}}$" if abs(power - round(power)) < 1e-9 else f"L2 = {decay:g}"


def episode(inputs: Floats, target: Floats, outputs: Mapping[str, Floats], s: int) -> Figure:
    """One episode: what goes in, what is asked for, and what comes out at several moments of the training.

    Args:
        inputs: (time, d), zero in the output phase.
        target: (horizon, d), of the output phase.
        outputs: name → (time, d).
        s: steps of the input phase.
    """
    time, d = inputs.shape
    asked = np.full((time, d), np.nan)
    asked[s:] = target
    rows = {"input $u(t)$": inputs, "target": asked, **outputs}
    fig, axes = plt.subplots(len(rows), 1, figsize=figure_size(0.55 * len(rows) + 0.75), sharex=True)
    for ax, (name, values) in zip(axes, rows.items(), strict=True):
        image = ax.imshow(
            values.T, cmap=DIVERGING, vmin=-1.25, vmax=1.25, aspect="auto", extent=(0.5, time + 0.5, d + 0.5, 0.5)
        )
        ax.axvline(s + 0.5, color=INK, lw=1.4)
        ax.set_yticks([])
        ax.set_ylabel(name, rotation=0, ha="right", va="center")
        if values is asked:
            ax.text((s + 1) / 2, (d + 1) / 2, "not charged", ha="center", va="center", fontsize=8.5)
    ticks = [1, s, *(s + k for k in range(s, time - s + 1, s))]
    axes[-1].xaxis.set_major_locator(FixedLocator(ticks))
    axes[-1].set_xlabel("step $t$ (line: end of the input phase)")
    fig.colorbar(image, ax=list(axes), shrink=0.6, ticks=[-1, 0, 1], pad=0.02)
    return fig


def _curve(rows: pd.DataFrame, quantity: str, index: str = "iteration") -> pd.DataFrame:
    chosen = rows[rows["quantity"] == quantity]
    require(len(chosen) > 0, f"quantity {quantity!r}", f"{sorted(set(rows['quantity']))}", "Draw what was measured.")
    return chosen.pivot(index=index, columns="seed", values="value").sort_index()


def learning_curves(rows: pd.DataFrame | None, floors: Mapping[str, float] | None = None) -> Figure:
    """Horizon, accuracy and loss of every network of Table 1 over training: one column per task, one line per seed.

    Args:
        rows: of `wavemem.experiments.table1`, of one hidden size; None draws a frame that says so.
        floors: task → the smallest loss of a linear network at the first rung, marked where it is not zero.
    """
    if rows is None:
        fig, ax = plt.subplots(figsize=figure_size(1.0))
        ax.set(xticks=[], yticks=[])
        ax.text(0.5, 0.5, "not measured yet", ha="center", va="center", color=MUTED, transform=ax.transAxes)
        return fig
    tasks = sorted(set(rows["task"]))
    decays = sorted(set(rows["weight_decay"]))
    fig, axes = plt.subplots(3, len(tasks), figsize=figure_size(4.6), sharex=True, sharey="row", squeeze=False)
    drawn = {"horizon": "horizon", "accuracy": "batch accuracy", "loss": "loss"}
    for column, task in enumerate(tasks):
        for row, quantity in enumerate(drawn):
            ax = axes[row, column]
            for colour, decay in zip(CATEGORICAL, decays, strict=False):
                own = rows[(rows["task"] == task) & (rows["weight_decay"] == decay)]
                # One line per network: thresholds are further networks of the same seed.
                for i, (_, of_threshold) in enumerate(own.groupby("threshold")):
                    table = _curve(of_threshold, quantity)
                    for j, seed in enumerate(table):
                        ax.plot(table.index, table[seed], color=colour, lw=1.0, alpha=0.75,
                                label=_decay_name(decay) if i == j == 0 else None)  # fmt: skip
            if quantity == "loss":
                ax.set_yscale("log")
                floor = (floors or {}).get(task, 0.0)
                if floor > 0:
                    ax.axhline(floor, color=INK, lw=1.0, ls="--", label="smallest loss of a linear network")
            if row == 0:
                ax.set_title(task)
    for row, name in enumerate(drawn.values()):
        axes[row, 0].set_ylabel(name)
    for ax in axes[-1]:
        _iterations_log(ax, int(rows["iteration"].max()))
        ax.set_xlabel("update")
    by_name = {
        name: handle
        for ax in (axes[0, 0], axes[-1, -1])
        for handle, name in zip(*ax.get_legend_handles_labels(), strict=True)
    }
    fig.legend(by_name.values(), by_name.keys(), loc="outside lower center", ncols=len(by_name))
    return fig


def _iterations_log(ax: Axes, last: int, first: int = 20) -> None:
    """Updates on a logarithmic axis with few, plain labels."""
    ax.set_xscale("log")
    ticks = [t for t in (10, 100, 1000, 10_000, 100_000) if first <= t <= last]
    ax.xaxis.set_major_locator(FixedLocator(ticks))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    ax.set_xlim(first, last)


def curricula_race(rows: pd.DataFrame, budget: float) -> Figure:
    """Horizon and test accuracy against the time steps spent: line = mean over seeds, shading = range.

    Args:
        rows: of `wavemem.experiments.curricula`.
        budget: where the horizontal axis, which is logarithmic, ends.
    """
    tasks = list(dict.fromkeys(rows["task"]))
    fig, axes = plt.subplots(2, len(tasks), figsize=figure_size(4.0), sharex=True, sharey="row", squeeze=False)
    grid = np.geomspace(budget / 200, budget, 240)
    for column, task in enumerate(tasks):
        for name, style in CURRICULUM_STYLES.items():
            own = rows[(rows["task"] == task) & (rows["curriculum"] == name)]
            for row, quantity in enumerate(("horizon", "test_accuracy")):
                # Runs spend at different rates: put them on one grid of steps.
                runs = [run.sort_values("steps") for _, run in own[own["quantity"] == quantity].groupby("seed")]
                if not runs:
                    continue
                values = np.stack([np.interp(grid, run["steps"], run["value"], right=np.nan) for run in runs])
                ax = axes[row, column]
                ax.plot(grid, values.mean(0), color=style["color"], ls=style["ls"], label=style["label"])
                ax.fill_between(grid, values.min(0), values.max(0), color=style["color"], alpha=0.13, lw=0)
        axes[0, column].set_title(task)
        axes[1, column].axhline(0.5, color=MUTED, lw=0.8, ls=":")
        axes[1, column].set_xlabel("time steps spent, $\\sum (s + H_n)$")
        _iterations_log(axes[1, column], int(budget), int(budget / 200))
    axes[0, 0].set_ylabel("training horizon $H_n$")
    axes[1, 0].set_ylabel("test accuracy")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside lower center", ncols=len(labels), columnspacing=1.2, handlelength=1.8)
    return fig


def eigenvalues_arriving(
    rows: pd.DataFrame,
    expected: Mapping[str, int],
    floors: Mapping[str, tuple[float, float]] | None = None,
    curriculum: str = "ladder",
) -> Figure:
    """Loss and horizon, and below them the number of lasting eigenvalues, over training: one line per seed.

    Args:
        rows: of `wavemem.experiments.curricula`.
        expected: task → number of lasting eigenvalues of its Φ.
        floors: task → the smallest losses of a linear network at the first and at the last rung; shaded if not zero.
        curriculum: the schedule shown.
    """
    fig, axes = plt.subplots(2, len(expected), figsize=figure_size(3.9), sharex=True, squeeze=False)
    for column, (task, count) in enumerate(expected.items()):
        own = rows[(rows["task"] == task) & (rows["curriculum"] == curriculum)]
        loss, lasting, horizon = (_curve(own, name) for name in ("loss", "lasting", "horizon"))
        top, bottom = axes[:, column]
        for colour, seed in zip(CATEGORICAL, loss, strict=False):
            top.plot(loss.index, loss[seed], color=colour, lw=1.1, label=f"seed {seed}")
            bottom.plot(lasting.index, lasting[seed], color=colour, marker="o", ms=2.5, lw=1.1)
            climbed = horizon.index[1:][np.diff(horizon[seed].to_numpy()) > 0]
            top.plot(climbed, loss[seed][climbed], "^", color=colour, ms=5.5, mec="white", mew=0.6, zorder=4)
        low, high = (floors or {}).get(task, (0.0, 0.0))
        if high > 0:
            top.axhspan(low, high, color=MUTED, alpha=0.25, lw=0)
            top.annotate("smallest loss of\na linear network", (0.98, high), xycoords=("axes fraction", "data"),
                         xytext=(0, 3), textcoords="offset points", ha="right", fontsize=8.5)  # fmt: skip
        top.set(yscale="log", title=task)
        bottom.axhline(count, color=INK, lw=1.0, ls="--")
        bottom.annotate(rf"$\Phi$ has {count}", (0.02, count), xycoords=("axes fraction", "data"), xytext=(0, 3),
                        textcoords="offset points", fontsize=8.5)  # fmt: skip
        bottom.set_ylim(-0.5, max(count, float(lasting.max().max())) * 1.18)
        bottom.set_xlabel("update")
        bottom.set_xlim(0, loss.index.max())
        bottom.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes[0, 0].set_ylabel("loss")
    axes[1, 0].set_ylabel(r"eigenvalues with $|\lambda| > 0.9$")
    axes[0, 0].plot([], [], "^", color=MUTED, ms=5.5, label="next rung")
    axes[0, 0].legend(loc="upper right")
    return fig


def accuracy_by_step(panels: Mapping[str, tuple[Sequence[int], Floats, Floats]]) -> Figure:
    """Accuracy at every output step over training, with the horizon that was trained at each moment.

    Args:
        panels: title → (updates of the marks, (marks, steps) accuracies, (marks,) training horizons).
    """
    fig, axes = plt.subplots(1, len(panels), figsize=figure_size(2.9), squeeze=False)
    for ax, (title, (updates, values, horizons)) in zip(axes[0], panels.items(), strict=True):
        steps = values.shape[1]
        image = ax.imshow(values, cmap=SEQUENTIAL, vmin=0.5, vmax=1.0, aspect="auto", origin="lower",
                          extent=(0.5, steps + 0.5, updates[0], updates[-1]))  # fmt: skip
        ax.step(horizons, updates, where="pre", color="white", lw=2.6)
        ax.step(horizons, updates, where="pre", color=CATEGORICAL[1], lw=1.5)
        ax.set(title=title, xlabel="output step", xlim=(0.5, steps + 0.5))
        ax.yaxis.set_major_locator(MaxNLocator(4))
        ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes[0, 0].set_ylabel("update")
    fig.colorbar(image, ax=list(axes[0]), label="accuracy", shrink=0.9)
    return fig


def accuracy_by_output(
    updates: Sequence[int], panels: Mapping[str, Floats], lags: Mapping[str, Sequence[int]]
) -> Figure:
    """Accuracy of every output over training: line = mean over seeds, shading = range, colour = lag.

    Args:
        updates: of the marks.
        panels: task → (marks, seeds, d) accuracies.
        lags: task → how many steps back each output looks.
    """
    fig, axes = plt.subplots(1, len(panels), figsize=figure_size(2.7), sharey=True, squeeze=False)
    longest = max(max(own) for own in lags.values())
    colours = plt.get_cmap(SEQUENTIAL)(np.linspace(0.85, 0.0, longest))
    for ax, (task, values) in zip(axes[0], panels.items(), strict=True):
        named: set[int] = set()
        for j, lag in enumerate(lags[task]):
            colour = colours[lag - 1]
            # Lines of one lag differ in dash only.
            dash = "-" if lag not in named else (0, (4, 1 + j))
            ax.plot(
                updates,
                values[:, :, j].mean(1),
                color=colour,
                ls=dash,
                label=f"lag {lag}" if lag not in named else None,
            )
            ax.fill_between(updates, values[:, :, j].min(1), values[:, :, j].max(1), color=colour, alpha=0.13, lw=0)
            named.add(lag)
        ax.axhline(0.5, color=MUTED, lw=0.8, ls=":")
        ax.set(title=task, xlabel="update", xlim=(0, updates[-1]))
        ax.legend(loc="lower right", frameon=True, framealpha=1.0, edgecolor="white")
    axes[0, 0].set_ylabel("accuracy of one output")
    return fig


def beyond_the_horizon(curves: Mapping[tuple[str, float], tuple[Floats, Floats]], trained: int, cycle: int) -> Figure:
    """Share of wrong signs and size of the outputs far beyond the training horizon, averaged over cycles of the task.

    Args:
        curves: (task, L2 penalty) → (steps, networks) of wrong signs, the same of the mean |y|; entry i is step i + 1.
        trained: the longest training horizon.
        cycle: steps to average over.
    """
    fig, (left, right) = plt.subplots(1, 2, figsize=figure_size(2.9))
    tasks = sorted({task for task, _ in curves})
    means = {}
    for key, (wrong, size) in curves.items():
        whole = len(wrong) // cycle
        means[key] = [np.asarray(v[: whole * cycle]).reshape(whole, cycle, -1).mean(1) for v in (wrong, size)]
    floor = min((wrong[wrong > 0].min() for wrong, _ in means.values() if (wrong > 0).any()), default=1e-3)
    for (task, decay), (wrong, size) in means.items():
        steps = cycle * np.arange(1, len(wrong) + 1)
        look = {"color": CATEGORICAL[tasks.index(task) % len(CATEGORICAL)], "ls": "-" if decay == 0 else "--"}
        # Zero has no place on a logarithmic axis: draw it on the floor.
        left.plot(steps, np.maximum(wrong.mean(1), floor / 4), lw=1.4, **look)
        right.plot(steps, size.mean(1), lw=1.4, label=f"{task}, {_decay_name(decay)}", **look)
        right.fill_between(steps, size.min(1), size.max(1), color=look["color"], alpha=0.1, lw=0)
    for ax in (left, right):
        ax.axvline(trained, color=INK, lw=1.0, ls=":")
        ax.set_xlabel("output step")
        _iterations_log(ax, steps[-1], cycle)
    left.set(yscale="log", ylabel="share of wrong signs", ylim=(floor / 6, 1))
    left.annotate("none wrong", (cycle * 1.1, floor / 4), xytext=(0, 3), textcoords="offset points", fontsize=8.5)
    left.annotate("longest training\nhorizon", (trained, 0.8), xytext=(-4, 0), textcoords="offset points", ha="right",
                  va="top", fontsize=8.5)  # fmt: skip
    right.set_ylabel("mean $|y|$")
    handles, labels = right.get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside lower center", ncols=4, columnspacing=1.2)
    return fig


def seed_spread(table: pd.DataFrame, quantities: Mapping[str, str], best: str | None = None) -> Figure:
    """Every seed of every cell: one panel per quantity, one row of points per cell.

    Args:
        table: one line per network, with columns task, weight_decay and the quantities.
        quantities: column → label of its axis.
        best: a column of errors for which the mean over seeds and the expected better of two are marked as well.
    """
    cells = list(table.groupby(["task", "weight_decay"], sort=True))
    fig, axes = plt.subplots(1, len(quantities), figsize=figure_size(0.24 * len(cells) + 1.35), sharey=True)
    for ax, (column, label) in zip(np.atleast_1d(axes), quantities.items(), strict=True):
        for y, (_, own) in enumerate(cells):
            values = own[column].dropna().to_numpy()
            colour = CATEGORICAL[0] if (own["weight_decay"] == 0).all() else CATEGORICAL[1]
            ax.plot(values, np.full(len(values), y), "o", ms=4.5, color=colour, alpha=0.7, mew=0)
            if column == best and len(values) > 1:
                pairs = [min(a, b) for i, a in enumerate(values) for b in values[i + 1 :]]
                ax.plot(values.mean(), y, "|", ms=11, mew=1.8, color=INK, label="mean" if y == 0 else None)
                ax.plot(np.mean(pairs), y, "<", ms=6, color=INK, mfc="white", mew=1.0, zorder=4,
                        label="better of two" if y == 0 else None)  # fmt: skip
        ax.set_xlabel(label)
        ax.grid(axis="y")
        if column == best:
            ax.set_xscale("log")
            ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, handlelength=1.0, columnspacing=1.0)
        else:
            ax.xaxis.set_major_locator(MaxNLocator(4))
    first = np.atleast_1d(axes)[0]
    first.set_yticks(
        range(len(cells)),
        [f"{own['task'].iloc[0]}, {_decay_name(float(own['weight_decay'].iloc[0]))}" for _, own in cells],
    )
    first.invert_yaxis()
    return fig
