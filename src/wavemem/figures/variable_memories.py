"""Drawings of variable memories: weights seen in the basis of the waves, and hidden states read in it (TWM Figs. 3, 4, 7-11).

The functions that take axes are building blocks for any chapter; `basis_comparison`, `pollution_panels`, `decoding_over_time`
and `quality_by_cell` are whole figures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from numpy.typing import ArrayLike, NDArray

from wavemem.checks import require
from wavemem.plotting.style import CATEGORICAL, DIVERGING, INK, MUTED, figure_size
from wavemem.substrate.memories import VariableMemories

__all__ = [
    "basis_comparison",
    "decoding_over_time",
    "input_against_boundary",
    "memories_over_time",
    "neurons_over_time",
    "operator_in_basis",
    "pollution_panels",
    "quality_by_cell",
]


def _array(values: ArrayLike | torch.Tensor) -> NDArray[Any]:
    return values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)


def _column_edges(keep: Sequence[int] | torch.Tensor, d: int) -> tuple[list[float], list[float], list[str]]:
    """Where a column of the substrate ends among the kept entries, where its middle is, and its number (1 = oldest)."""
    columns = np.asarray(keep) // d
    edges = [float(k) - 0.5 for k in range(1, len(columns)) if columns[k] != columns[k - 1]]
    present = sorted(set(columns.tolist()))
    middles = [float(np.flatnonzero(columns == i).mean()) for i in present]
    return edges, middles, [str(i + 1) for i in present]


def operator_in_basis(
    ax: Axes,
    matrix: ArrayLike | torch.Tensor,
    memories: VariableMemories,
    *,
    limit: float | None = None,
    colorbar: bool = False,
    title: str = "",
) -> AxesImage:
    """A matrix among the kept entries of a substrate, red +, blue −, with a line between the columns (Figs. 4, 7, 8 A).

    Args:
        ax: Axes to draw on.
        matrix: from `memories.operator(W)`, `memories.theory(Phi)` or `memories.full_operator(W)`; what exceeds the kept
            entries is the complement, set off by a heavier line and marked ⊥.
        memories: says which entries the rows and columns are.
        limit: largest |value| of the colours; taken from the matrix unless given.
        colorbar: draw a colour bar.
        title: of the axes.

    Returns:
        The image.

    Raises:
        ValueError: if the matrix is not square or smaller than the number of kept entries.
    """
    values = _array(matrix)
    m = memories.m
    require(
        values.ndim == 2 and values.shape[0] == values.shape[1] >= m,
        f"a matrix of shape {values.shape}",
        f"a square one of side {m} or more",
        "Pass memories.operator(W) or memories.full_operator(W).",
    )
    top = limit if limit is not None else float(np.abs(values).max()) or 1.0
    image = ax.imshow(values, cmap=DIVERGING, vmin=-top, vmax=top, interpolation="nearest", aspect="equal")
    edges, middles, names = _column_edges(memories.keep, memories.d)
    for draw in (ax.axvline, ax.axhline):
        for edge in edges:
            draw(edge, color=MUTED, lw=0.5, alpha=0.7)
        if values.shape[0] > m:
            draw(m - 0.5, color=INK, lw=1.0)
    if values.shape[0] > m:
        middles, names = [*middles, (m + values.shape[0] - 1) / 2], [*names, "⊥"]
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_ticks(middles, names)
        axis.set_tick_params(length=0)
    ax.set_xlabel("from column $i$")
    ax.set_ylabel("to column $i$")
    for spine in ax.spines.values():
        spine.set_visible(True)
    if title:
        ax.set_title(title)
    if colorbar:
        ax.figure.colorbar(image, ax=ax, label="weight", pad=0.02, fraction=0.05)
    return image


def _over_time(ax: Axes, rows: NDArray[Any], limit: float, input_steps: int | None, start: int) -> AxesImage:
    image = ax.imshow(
        rows,
        aspect="auto",
        interpolation="nearest",
        cmap=DIVERGING,
        vmin=-limit,
        vmax=limit,
        extent=(start - 0.5, start + rows.shape[1] - 0.5, rows.shape[0] - 0.5, -0.5),
    )
    if input_steps is not None:
        ax.axvline(start + input_steps - 0.5, color=INK, lw=1.2, ls="--")
    ax.set_xlabel("step $t$")
    for spine in ax.spines.values():
        spine.set_visible(True)
    return image


def neurons_over_time(
    ax: Axes,
    states: ArrayLike | torch.Tensor,
    *,
    input_steps: int | None = None,
    limit: float = 1.0,
    start: int = 1,
    title: str = "",
) -> AxesImage:
    """The hidden state as it is, one row per neuron (Figs. 3 A, 8-11 C).

    Args:
        ax: Axes to draw on.
        states: (time, N) of one episode.
        input_steps: length of the input phase; a dashed line marks its end.
        limit: largest |value| of the colours.
        start: number of the first step.
        title: of the axes.

    Returns:
        The image.

    Raises:
        ValueError: if the states are not (time, N).
    """
    values = _array(states)
    require(
        values.ndim == 2,
        f"states of shape {values.shape}",
        "(time, N)",
        "Choose one run and one history: states[:, k, b].",
    )
    image = _over_time(ax, values.T, limit, input_steps, start)
    ax.set_ylabel("neuron")
    if title:
        ax.set_title(title)
    return image


def memories_over_time(
    ax: Axes,
    content: ArrayLike | torch.Tensor,
    *,
    normalise: bool = False,
    limit: float | None = None,
    input_steps: int | None = None,
    start: int = 1,
    colorbar: bool = False,
    title: str = "",
) -> AxesImage:
    """What the substrate holds over time, column s (newest) at the top, so that waves run downwards (Figs. 3 B, 8-11 D).

    Within a column the dimensions 1 … d follow one another downwards. Entries that were dropped (NaN) are left grey.

    Args:
        ax: Axes to draw on.
        content: (time, s, d) from `VariableMemories.substrate(h)` or `true_histories`.
        normalise: divide every entry by its standard deviation over time, as the authors did for their figures.
        limit: largest |value| of the colours; 1.5 unless given.
        input_steps: length of the input phase; a dashed line marks its end.
        start: number of the first step.
        colorbar: draw a colour bar.
        title: of the axes.

    Returns:
        The image.

    Raises:
        ValueError: if the content is not (time, s, d).
    """
    values = _array(content)
    require(
        values.ndim == 3,
        f"content of shape {values.shape}",
        "(time, s, d)",
        "Choose one history: memories.substrate(states[:, k, b]).",
    )
    time, s, d = values.shape
    if normalise:
        deviation = values.std(axis=0, keepdims=True)
        values = values / np.where(deviation > 0, deviation, 1.0)
    rows = values[:, ::-1].reshape(time, s * d).T
    ax.set_facecolor("#c9ccd1")
    image = _over_time(ax, rows, 1.5 if limit is None else limit, input_steps, start)
    for i in range(1, s):
        ax.axhline(i * d - 0.5, color=MUTED, lw=0.5, alpha=0.8)
    ax.set_yticks([(i + 0.5) * d - 0.5 for i in range(s)], [str(s - i) for i in range(s)])
    ax.yaxis.set_tick_params(length=0)
    ax.set_ylabel("column $i$")
    if title:
        ax.set_title(title)
    if colorbar:
        ax.figure.colorbar(image, ax=ax, label="content", pad=0.02, fraction=0.05)
    return image


def basis_comparison(
    theory: torch.Tensor, estimates: Mapping[str, tuple[VariableMemories, torch.Tensor]], limit: float = 1.5
) -> Figure:
    """Φ and one operator per estimate of the basis, side by side on the same colours.

    Args:
        theory: Φ on the kept entries.
        estimates: title → (memories, operator); a title is broken after a comma.
        limit: largest |value| of the colours.
    """
    fig, axes = plt.subplots(1, 1 + len(estimates), figsize=figure_size(2.2), sharey=True)
    first = next(iter(estimates.values()))[0]
    image = operator_in_basis(axes[0], theory, first, limit=limit, title="$\\Phi$")
    for ax, (title, (memories, matrix)) in zip(axes[1:], estimates.items(), strict=True):
        image = operator_in_basis(ax, matrix, memories, limit=limit, title=title.replace(", ", ",\n"))
        ax.set_ylabel("")
    fig.colorbar(image, ax=axes, label="weight", pad=0.01, fraction=0.03, aspect=13, shrink=0.62)
    return fig


def pollution_panels(panels: Mapping[str, tuple[torch.Tensor, Sequence[int] | torch.Tensor]], s: int, d: int) -> Figure:
    """The coordinates of a power iteration's vectors in the true basis, with the entries that a task keeps marked.

    Args:
        panels: title → (matrix (s·d, s·d) whose column is the estimate of one entry, kept entries).
        s: columns of the substrate.
        d: dimensions.
    """
    fig, axes = plt.subplots(1, len(panels), figsize=figure_size(2.5), sharey=True)
    ticks = [(i + 0.5) * d - 0.5 for i in range(s)]
    top = max(float(matrix.abs().max()) for matrix, _ in panels.values())
    image = None
    for ax, (title, (matrix, keep)) in zip(np.atleast_1d(axes), panels.items(), strict=True):
        # A logarithmic scale of both signs would hide zeros; the square root keeps 1 visible beside the largest.
        values = np.sign(_array(matrix)) * np.sqrt(np.abs(_array(matrix)))
        image = ax.imshow(
            values, cmap=DIVERGING, vmin=-np.sqrt(top), vmax=np.sqrt(top), interpolation="nearest", aspect="equal"
        )
        for i in range(1, s):
            for draw in (ax.axvline, ax.axhline):
                draw(i * d - 0.5, color=MUTED, lw=0.5, alpha=0.7)
        dropped = sorted(set(range(s * d)) - {int(k) for k in keep})
        for k in dropped:
            ax.axvspan(k - 0.5, k + 0.5, color="#9aa0a8", alpha=0.45, lw=0)
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_ticks(ticks, [str(i + 1) for i in range(s)])
            axis.set_tick_params(length=0)
        ax.set(title=title, xlabel="estimate of column $i$")
        for spine in ax.spines.values():
            spine.set_visible(True)
    np.atleast_1d(axes)[0].set_ylabel("true column it points to")
    if image is not None:
        levels = [v for v in (-4, -1, 0, 1, 4, 16) if abs(v) <= top]
        bar = fig.colorbar(image, ax=axes, label="component", pad=0.01, fraction=0.03, aspect=14, shrink=0.72)
        bar.set_ticks([float(np.sign(v) * np.sqrt(abs(v))) for v in levels], labels=[str(v) for v in levels])
    return fig


def decoding_over_time(panels: Mapping[str, Mapping[str, Sequence[NDArray[np.floating]]]], s: int) -> Figure:
    """Mean squared error of the decoded past at each step, one panel per task, one line per network.

    Args:
        panels: title → name of the estimate → one (time,) array per network.
        s: length of the input phase.
    """
    fig, axes = plt.subplots(1, len(panels), figsize=figure_size(2.7), sharey=True)
    for ax, (title, curves) in zip(np.atleast_1d(axes), panels.items(), strict=True):
        for i, (name, runs) in enumerate(curves.items()):
            steps = np.arange(1, len(runs[0]) + 1)
            for k, run in enumerate(runs):
                ax.plot(steps, run, color=CATEGORICAL[i], lw=1.1, alpha=0.75, label=name if k == 0 else None)
        ax.axvline(s + 0.5, color=INK, lw=1.0, ls="--")
        ax.axhline(1.0, color=MUTED, lw=0.8, ls=":")
        ax.set(title=title, xlabel="step $t$", yscale="log")
    first = np.atleast_1d(axes)[0]
    first.set_ylabel("error of the decoded past")
    handles, labels = first.get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    return fig


def input_against_boundary(panels: Mapping[str, tuple[NDArray[np.floating], NDArray[np.floating]]]) -> Figure:
    """Strength of an input and of what the boundary wrote beside it, over the steps since, one panel per task.

    Args:
        panels: title → (input, boundary), each (networks, s), from `written_by_inputs_and_boundary` in
            `wavemem.substrate.basis_quality`.
    """
    fig, axes = plt.subplots(1, len(panels), figsize=figure_size(2.5), sharey=True)
    for ax, (title, pair) in zip(np.atleast_1d(axes), panels.items(), strict=True):
        for values, colour, name in zip(
            pair, (CATEGORICAL[0], CATEGORICAL[1]), ("input $u(t)$", "boundary's $F x(t-1)$"), strict=True
        ):
            for k, run in enumerate(values):
                ax.plot(
                    range(len(run)), run, color=colour, lw=1.2, marker="o", ms=3, alpha=0.75, label=None if k else name
                )
        ax.axhline(1.0, color=INK, lw=1.0, ls="--", label="linear network (both)")
        ax.axhline(0.0, color=MUTED, lw=0.8)
        ax.set(title=title, xlabel="steps since $t$", xticks=range(values.shape[1]))
    first = np.atleast_1d(axes)[0]
    first.set_ylabel("strength in the column\nwhere it should be")
    handles, labels = first.get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    return fig


def quality_by_cell(
    cells: pd.DataFrame, quantities: Mapping[str, str], estimates: Mapping[str, str], *, log: Sequence[str] = ()
) -> Figure:
    """Every network's value of several quantities, grouped by task and L2, one colour per estimate.

    Args:
        cells: long rows with columns task, weight_decay, seed, estimate, quantity, value.
        quantities: quantity → label of its panel, in order.
        estimates: estimate → name in the legend, in order.
        log: quantities on a logarithmic axis.
    """
    groups = list(cells[["task", "weight_decay"]].drop_duplicates().itertuples(index=False, name=None))
    fig, axes = plt.subplots(len(quantities), 1, figsize=figure_size(1.65 * len(quantities) + 0.5), sharex=True)
    width = 0.8 / len(estimates)
    for ax, (quantity, label) in zip(np.atleast_1d(axes), quantities.items(), strict=True):
        for g, (task, decay) in enumerate(groups):
            if g % 2:
                ax.axvspan(g - 0.5, g + 0.5, color=MUTED, alpha=0.08, lw=0)
            for e, estimate in enumerate(estimates):
                chosen = cells[
                    (cells["task"] == task)
                    & (cells["weight_decay"] == decay)
                    & (cells["estimate"] == estimate)
                    & (cells["quantity"] == quantity)
                ]
                values = chosen.sort_values("seed")["value"].to_numpy()
                centre = g - 0.4 + (e + 0.5) * width
                spread = np.linspace(-0.3, 0.3, len(values)) * width if len(values) > 1 else np.zeros(len(values))
                ax.plot(centre + spread, values, "o", color=CATEGORICAL[e], ms=3, mew=0)
                if len(values):
                    ax.plot(
                        [centre - 0.4 * width, centre + 0.4 * width], [values.mean()] * 2, color=CATEGORICAL[e], lw=1.6
                    )
        ax.set_ylabel(label)
        if quantity in log:
            ax.set_yscale("log")
    last = np.atleast_1d(axes)[-1]
    last.set_xlim(-0.5, len(groups) - 0.5)
    last.set_xticks(range(len(groups)), [f"{task}\n$L_2$ = {decay:g}" for task, decay in groups])
    marks = [
        Line2D([], [], color=CATEGORICAL[e], marker="o", ms=4, lw=1.6, label=name)
        for e, name in enumerate(estimates.values())
    ]
    fig.legend(handles=marks, loc="outside upper center", ncols=len(marks), columnspacing=1.2, handlelength=1.4)
    return fig
