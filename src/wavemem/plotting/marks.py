"""Marks that figures of several chapters share: reference lines, legends below, plain numbers on logarithmic axes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from wavemem.plotting.style import MUTED, figure_size


def legend_below(fig: Figure, axes: Iterable[Axes] | None = None, ncols: int | None = None, **look: Any) -> Legend:
    """One legend below the panels: each label once, in the order in which it first appears, in one row unless ncols says else.

    Args:
        fig: the figure.
        axes: whose labels; all of the figure's unless given.
        ncols: labels in a row.
        look: what else `Figure.legend` takes, for instance fontsize.
    """
    handles: dict[str, Artist] = {}
    for ax in fig.axes if axes is None else axes:
        for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    ncols = ncols or len(handles)
    return fig.legend(list(handles.values()), list(handles), loc="outside lower center", ncols=ncols, **look)


def level(ax: Axes, value: float, text: str) -> None:
    """A dashed horizontal line at a value of reference, with its name beside the axes."""
    ax.axhline(value, color=MUTED, lw=1.0, ls="--", zorder=1)
    ax.annotate(
        text,
        (1.0, value),
        xycoords=("axes fraction", "data"),
        xytext=(3, 0),
        textcoords="offset points",
        va="center",
        fontsize=8.5,
        color=MUTED,
        annotation_clip=False,
    )


def not_measured(xlabel: str = "", ylabel: str = "") -> Figure:
    """The empty axes of a figure whose measurement is not there."""
    fig, ax = plt.subplots(figsize=figure_size(1.6))
    ax.text(0.5, 0.5, "not measured yet", ha="center", va="center", color=MUTED, transform=ax.transAxes)
    ax.set(xlabel=xlabel, ylabel=ylabel, xticks=[], yticks=[])
    return fig


def plain_log(axis: Axis) -> None:
    """Plain numbers on a logarithmic axis: 1, 2, 5 and their tenfolds, only the powers of ten where it spans much."""
    low, high = axis.get_view_interval()
    axis.set_major_locator(LogLocator(subs=(1.0,) if high / low > 30 else (1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())
