"""The look that every figure of the book shares: sizes, colours, and a vector output that never changes by itself.

And what figures of several chapters share: legends below, plain numbers on logarithmic axes, empty axes.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any, Final

import matplotlib
import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from cycler import cycler
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from wavemem.plotting.tables import table

TEXT_WIDTH: Final = 7.2
"""Width of the text block in inches: a figure this wide is printed at its own size."""

INK: Final = "#1f2430"
"""Text, axes and anything that must simply be readable."""
MUTED: Final = "#6b7280"
"""Reference lines and secondary annotations; still 4.8 : 1 against white."""
GRID: Final = "#dfe3e8"

POSITIVE: Final = "#c0392b"
"""Positive entries and activity, as red is used in the papers' drawings of boundary operators."""
NEGATIVE: Final = "#2166ac"
"""Negative entries and activity."""
THEORY: Final = "#1f2430"
"""What an equation predicts (drawn as lines and open markers)."""
LEARNED: Final = "#c25400"
"""What training found (drawn as filled markers); 4.6 : 1 against white, so that labels can have it."""
ACCENT: Final = "#0072b2"
"""A single series that is neither of the above."""

# Okabe and Ito's colours, darkened to 3 : 1 against white, in an order whose first members differ in lightness and in hue.
CATEGORICAL: Final = ("#0072b2", LEARNED, "#009e73", "#cc79a7", "#6f5600", "#2f9bd6", "#4d4d4d")
"""Colours of unordered series; distinguishable with any common colour-vision deficiency."""

MODEL_COLOURS: Final = {
    "wRNN": LEARNED,
    "wRNN searched": LEARNED,
    "iRNN": ACCENT,
    "iRNN searched": ACCENT,
    "wRNN + MLP": CATEGORICAL[2],
    "LSTM": CATEGORICAL[3],
    "GRU": CATEGORICAL[6],
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
"""Colours of the models of Parts III and IV: one start of a network has the colour of the other, and a broken line.

Controls that never share a panel may share one.
"""

DIVERGING: Final = "RdBu_r"
"""Colour map of signed activity: red above zero, blue below; set symmetric limits."""
SEQUENTIAL: Final = "viridis"
"""Colour map of magnitudes."""


def figure_size(height: float, fraction: float = 1.0) -> tuple[float, float]:
    """Size of a figure that fills a fraction of the text block.

    Args:
        height: Height in inches.
        fraction: Share of ``TEXT_WIDTH`` that the figure takes, in (0, 1].

    Returns:
        ``(width, height)`` in inches.

    Raises:
        ValueError: If the height is not positive or the fraction lies outside (0, 1].
    """
    if not height > 0:
        raise ValueError(f"height = {height!r}; allowed: a positive number of inches. Pass e.g. 2.6.")
    if not 0 < fraction <= 1:
        raise ValueError(f"fraction = {fraction!r}; allowed: 0 < fraction <= 1. Leave it out for the full width.")
    return (TEXT_WIDTH * fraction, height)


def _settings() -> Any:
    return {
        "figure.figsize": figure_size(2.8),
        "figure.facecolor": "white",
        "figure.dpi": 120,
        "figure.constrained_layout.use": True,
        "savefig.facecolor": "white",
        "axes.prop_cycle": cycler(color=CATEGORICAL),
        "axes.edgecolor": INK,
        "axes.labelcolor": INK,
        "axes.titlecolor": INK,
        "axes.titlesize": 10,
        "axes.titlelocation": "left",
        "axes.labelsize": 9.5,
        "axes.linewidth": 0.8,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.axisbelow": True,
        "font.family": "sans-serif",
        # The face that matplotlib itself ships: the same outlines on every machine.
        "font.sans-serif": ["DejaVu Sans"],
        "font.size": 9.5,
        "grid.color": GRID,
        "grid.linewidth": 0.7,
        "image.cmap": SEQUENTIAL,
        "image.interpolation": "nearest",
        "legend.fontsize": 9,
        "legend.frameon": False,
        "lines.linewidth": 1.6,
        "lines.markersize": 5,
        "text.color": INK,
        "xtick.color": INK,
        "ytick.color": INK,
        "xtick.labelsize": 9,
        "ytick.labelsize": 9,
        # Glyphs as outlines need no font on the reader's machine; a fixed salt makes element ids repeatable.
        "svg.fonttype": "path",
        "svg.hashsalt": "wavemem",
    }


def use_book_style() -> None:
    """Set the book's figure style for everything drawn afterwards.

    Inside IPython the inline figures also become SVG without a creation date, so that two executions of a chapter
    write the same bytes, and data frames are shown by :func:`~wavemem.plotting.tables.table`. Outside IPython only
    matplotlib's settings are touched, and IPython is not imported.
    """
    sns.set_theme(context="paper", style="ticks", palette=list(CATEGORICAL))
    matplotlib.rcParams.update(_settings())
    ipython = sys.modules.get("IPython")
    shell = ipython and ipython.get_ipython()
    if shell is not None:
        shell.display_formatter.formatters["text/html"].for_type(pd.DataFrame, table)
        from matplotlib_inline.backend_inline import set_matplotlib_formats

        set_matplotlib_formats("svg", metadata={"Date": None})


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
