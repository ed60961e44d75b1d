"""A trained network in the basis of its memories: its weights, its states over time, and the four panels of TWM, Figs. 8, 10, 11.

Colours are red for + and blue for −. Weights are drawn up to 1.5, memories (standardised) too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from wavemem.plotting.panels import complex_plane, draw_operator
from wavemem.plotting.style import CATEGORICAL, DIVERGING, INK, MUTED, figure_size
from wavemem.theory.spectrum import counts_by_direction, eigenvalues

_LIMIT = 1.5


def draw_history(ax: Axes, u: Float[Tensor, "s d"]) -> None:
    """A history or the content of a substrate, column 1 on the left and dimension 1 at the top."""
    s, d = u.shape
    ax.imshow(u.T.numpy(), cmap=DIVERGING, vmin=-_LIMIT, vmax=_LIMIT, interpolation="nearest", aspect="equal")
    for draw, count in ((ax.axvline, s), (ax.axhline, d)):
        for k in range(1, count):
            draw(k - 0.5, color="white", lw=0.6)
    ax.set_xticks([0, s - 1], ["1", str(s)])
    ax.set_yticks([])
    ax.spines[:].set_visible(True)


def _over_time(ax: Axes, rows: Float[Tensor, "row time"], limit: float, s: int) -> None:
    entries, time = rows.shape
    ax.imshow(
        rows.numpy(),
        aspect="auto",
        interpolation="nearest",
        cmap=DIVERGING,
        vmin=-limit,
        vmax=limit,
        extent=(0.5, time + 0.5, entries - 0.5, -0.5),
    )
    ax.axvline(s + 0.5, color=INK, lw=1.2, ls="--")
    ax.set_xlabel("step $t$")
    ax.spines[:].set_visible(True)


def neurons_over_time(ax: Axes, h: Float[Tensor, "time N"], s: int) -> None:
    """The hidden state as it is, one row per neuron; a dashed line ends the input phase of s steps (TWM Figs. 3 A, 8-11 C).

    All but the largest hundredth of the activity stays below the darkest colours, which would leave the rest pale.
    """
    _over_time(ax, h.T, float(np.quantile(h.abs().numpy(), 0.99)) or 1.0, s)
    ax.set_ylabel("neuron")


def memories_over_time(ax: Axes, content: Float[Tensor, "time s d"]) -> None:
    """What the substrate holds over time, column s (newest) at the top, so that waves run downwards (TWM Figs. 3 B, 8-11 D).

    Within a column the dimensions 1 … d follow one another downwards. Entries that were dropped (NaN) are left grey. A dashed
    line ends the input phase, of as many steps as there are columns.
    """
    _, s, d = content.shape
    ax.set_facecolor("#c9ccd1")
    _over_time(ax, content.flip(1).flatten(1).T, _LIMIT, s)
    for i in range(1, s):
        ax.axhline(i * d - 0.5, color=MUTED, lw=0.5, alpha=0.8)
    ax.set_yticks([(i + 0.5) * d - 0.5 for i in range(s)], [str(s - i) for i in range(s)])
    ax.yaxis.set_tick_params(length=0)
    ax.set_ylabel("column $i$")


@dataclass(frozen=True)
class Portrait:
    """What `four_panels` draws of one network, n' of whose n = s·d memories are kept.

    Attributes:
        operator: recurrent weights among the kept memories and, if they shall be seen, c directions beside them.
        keep: which entries of the substrate are kept.
        W_hh: recurrent weights.
        Phi: the task's operator.
        neurons: the hidden states of one episode.
        content: the same on the substrate, standardised.
    """

    operator: Float[Tensor, "n'+c n'+c"]
    keep: Int[Tensor, " n'"]
    W_hh: Float[Tensor, "N N"]
    Phi: Float[Tensor, "n n"]
    neurons: Float[Tensor, "time N"]
    content: Float[Tensor, "time s d"]


def four_panels(p: Portrait, u: Float[Tensor, "s d"], F: Float[Tensor, "d n"] | None = None) -> Figure:
    """TWM Figs. 8, 10, 11: A weights in the basis of the memories, B spectrum, C neurons, D memories over time.

    Args:
        p: the network.
        u: the history that it was shown, drawn beside D.
        F: the task's boundary, drawn above B, or None.
    """
    s, d = u.shape
    fig = plt.figure(figsize=figure_size(6.1))
    parts: Any = fig.subfigures(2, 1, height_ratios=(1.0, 1.05))
    if F is None:
        a, b = parts[0].subplots(1, 2, width_ratios=(1.1, 1.0))
    else:
        grid = parts[0].add_gridspec(2, 2, width_ratios=(1.1, 1.0), height_ratios=(1.0, 3.2))
        a, b = parts[0].add_subplot(grid[:, 0]), parts[0].add_subplot(grid[1, 1])
        boundary = parts[0].add_subplot(grid[0, 1])
        draw_operator(boundary, F, s, d, limit=_LIMIT)
        boundary.set_title("boundary $f$: output $j$ from columns", fontsize=8.5)
        boundary.set(xlabel="", ylabel="$j$", yticks=[])
    image = draw_operator(a, p.operator, s, d, keep=p.keep, limit=_LIMIT)
    a.set_title("A  weights among memories and ⊥")
    parts[0].colorbar(image, ax=a, label="weight", pad=0.02, fraction=0.045)
    theory, learned = eigenvalues(p.Phi), eigenvalues(p.W_hh)
    theory, lasting = theory[theory.abs() > 0.9], learned[learned.abs() > 0.9]
    complex_plane(b, theory, learned, legend=False)
    reach = max(1.0, float(learned.abs().max()))
    counts = counts_by_direction(theory.numpy(), lasting.numpy())
    crowded = len(counts) > 20  # then smaller, without boxes, and every other one further out
    for k, (angle, expected, found) in enumerate(counts):
        radius = reach * ((1.14, 1.31)[k % 2] if crowded else 1.2)
        b.text(
            radius * np.cos(angle),
            radius * np.sin(angle),
            f"{found}",
            ha="center",
            va="center",
            fontsize=6.5 if crowded else 8,
            color=INK if found == expected else CATEGORICAL[1],
            bbox=None if crowded else {"boxstyle": "round,pad=0.15", "fc": "white", "ec": MUTED, "lw": 0.6},
        )
    b.set(xlim=(-1.42 * reach, 1.42 * reach), ylim=(-1.42 * reach, 1.42 * reach))
    b.set_title("B  eigenvalues, counted by direction")
    left, right, shown = parts[1].subplots(1, 3, width_ratios=(1.0, 1.0, 0.32))
    neurons_over_time(left, p.neurons, s)
    left.set_title("C  basis of the neurons")
    memories_over_time(right, p.content)
    right.set_title("D  basis of the memories")
    draw_history(shown, u)
    shown.set_title("input", fontsize=9)
    return fig
