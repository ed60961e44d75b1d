"""Figures of the chapter on the linear boundary: bases, one memory in two coordinates, gain, and trained spectra."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator
from numpy.typing import ArrayLike

from wavemem.checks import require
from wavemem.plotting.panels import complex_plane, draw_operator
from wavemem.plotting.style import (
    CATEGORICAL,
    DIVERGING,
    GRID,
    INK,
    LEARNED,
    MUTED,
    SEQUENTIAL,
    THEORY,
    figure_size,
)
from wavemem.substrate.basis import Basis

__all__ = [
    "gain_diagram",
    "learned_memory",
    "learned_spectra",
    "learning_curves",
    "operators",
    "two_coordinates",
    "vectors_and_covectors",
]


def _numbers(values: ArrayLike | torch.Tensor) -> np.ndarray:
    return np.asarray(values.detach().cpu() if isinstance(values, torch.Tensor) else values)


def _arrow(ax: Axes, to: np.ndarray, colour: str, label: str, offset: tuple[float, float], style: str = "-") -> None:
    ax.annotate(
        "",
        xy=(float(to[0]), float(to[1])),
        xytext=(0, 0),
        arrowprops={"arrowstyle": "-|>", "color": colour, "lw": 1.6, "ls": style, "shrinkA": 0, "shrinkB": 0},
    )
    ax.annotate(
        label, (float(to[0]), float(to[1])), xytext=offset, textcoords="offset points", color=colour, ha="center"
    )


def vectors_and_covectors(basis: Basis, v: torch.Tensor) -> Figure:
    """Two basis vectors of the plane, their covectors, and one vector read by them.

    Args:
        basis: a basis of the plane.
        v: the vector, shape (2,).

    Returns:
        Left: the vectors and v as the sum of its components along them. Right: the covectors, each perpendicular to the other
        basis vector.

    Raises:
        ValueError: if the basis is not one of the plane.
    """
    require(basis.N == 2 and basis.n == 2, f"{basis!r}", "two vectors of the plane", "Draw a 2 × 2 basis.")
    Psi, dual, w = _numbers(basis.Psi), _numbers(basis.dual), _numbers(v)
    components = _numbers(basis.components(v))
    fig, axes = plt.subplots(1, 2, figsize=figure_size(2.9), sharex=True, sharey=True)
    left, right = axes
    first, second = components[0] * Psi[:, 0], components[1] * Psi[:, 1]
    for along in (first, second):
        left.plot([along[0], w[0]], [along[1], w[1]], color=MUTED, lw=0.9, ls=(0, (4, 3)))
        left.plot([0, along[0]], [0, along[1]], color=GRID, lw=4, solid_capstyle="butt", zorder=0)
        left.plot(*along, "o", ms=3.5, color=MUTED)
    _arrow(left, w, INK, r"$|v\rangle$", (0, 5))
    names = (r"$|\psi_1\rangle$", r"$|\psi_2\rangle$")
    for ax, ink in ((left, CATEGORICAL[0]), (right, MUTED)):
        _arrow(ax, Psi[:, 0], ink, names[0], (10, -12))
        _arrow(ax, Psi[:, 1], ink, names[1], (17, -9))
    _arrow(right, dual[0], LEARNED, r"$\langle\psi^1|$", (16, -6))
    _arrow(right, dual[1], LEARNED, r"$\langle\psi^2|$", (-16, -2))
    for covector, other in ((dual[0], Psi[:, 1]), (dual[1], Psi[:, 0])):
        a, b = 0.14 * covector / np.linalg.norm(covector), 0.14 * other / np.linalg.norm(other)
        corner = np.stack([a, a + b, b])
        right.plot(corner[:, 0], corner[:, 1], color=INK, lw=0.8)
    left.set_title(rf"$|v\rangle = {components[0]:.1f}\,|\psi_1\rangle + {components[1]:.1f}\,|\psi_2\rangle$")
    right.set_title(r"$\langle\psi^\mu|\psi_\nu\rangle = \delta^\mu_\nu$")
    everything = np.concatenate([Psi.T, dual, w[None], first[None], second[None], np.zeros((1, 2))])
    low, high = everything.min(0) - 0.5, everything.max(0) + 0.3
    for ax in axes:
        ax.set_aspect("equal")
        ax.set_xlim(low[0], high[0])
        ax.set_ylim(low[1], high[1])
        ax.set_xlabel("neuron 1")
        for line in (ax.axhline, ax.axvline):
            line(0, color=GRID, lw=0.8, zorder=0)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.yaxis.set_major_locator(MaxNLocator(integer=True))
    left.set_ylabel("neuron 2")
    return fig


def _neuron_matrix(ax: Axes, W: ArrayLike | torch.Tensor, title: str) -> None:
    values = _numbers(W)
    top = float(np.abs(values).max())
    rows, columns = values.shape
    ax.imshow(values, cmap=DIVERGING, vmin=-top, vmax=top, aspect="equal", extent=(0.5, columns + 0.5, rows + 0.5, 0.5))
    ax.set_xlabel("from neuron")
    ax.set_ylabel("to neuron")
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    for spine in ax.spines.values():
        spine.set_visible(True)
    ax.set_title(title)


def operators(Phi: torch.Tensor, W: torch.Tensor, back: torch.Tensor, s: int, d: int) -> Figure:
    """One operator three times: on the substrate, among neurons, and read back in its basis.

    Args:
        Phi: (sd, sd) in standard coordinates.
        W: (N, N), the same among neurons.
        back: (sd, sd), W seen in its basis.
        s: columns.
        d: waves.

    Returns:
        Three panels.
    """
    fig, axes = plt.subplots(1, 3, figsize=figure_size(2.65))
    draw_operator(axes[0], Phi, s, d)
    axes[0].set_title(r"$\Phi$")
    _neuron_matrix(axes[1], W, r"$W_{hh} = \Psi\,\Phi\,\Psi^*$")
    draw_operator(axes[2], back, s, d)
    axes[2].set_title(r"$\Psi^* W_{hh} \Psi$")
    return fig


def _rows_in_time(ax: Axes, activity: np.ndarray, limit: float, groups: int, ylabel: str, s: int) -> None:
    time, rows = activity.shape
    ax.imshow(
        activity.T,
        origin="lower",
        aspect="auto",
        cmap=DIVERGING,
        vmin=-limit,
        vmax=limit,
        extent=(0.5, time + 0.5, 0.5, rows + 0.5),
    )
    for g in range(1, groups):
        ax.axhline(g * rows / groups + 0.5, color=INK, lw=0.7)
    ax.axvline(s + 0.5, color=INK, lw=0.9, ls=(0, (4, 3)))
    ax.set_xlabel("time $t$ (steps)")
    ax.set_ylabel(ylabel)
    ax.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    for spine in ax.spines.values():
        spine.set_visible(True)


def _waves(components: np.ndarray, s: int, d: int) -> np.ndarray:
    """Reorder flattened components (oldest column first) so that each wave's columns are neighbours."""
    return components.reshape(len(components), s, d).swapaxes(1, 2).reshape(len(components), s * d)


def _wave_labels(ax: Axes, s: int, d: int) -> None:
    ax.set_yticks([j * s + (s + 1) / 2 for j in range(d)], [f"wave {j + 1}" for j in range(d)])
    ax.tick_params(axis="y", length=0)


def two_coordinates(
    neurons: ArrayLike | torch.Tensor, components: ArrayLike | torch.Tensor, s: int, d: int, titles: tuple[str, str]
) -> Figure:
    """One episode of a memory in the coordinates of its neurons and in those of its basis.

    Args:
        neurons: (time, N).
        components: (time, sd), the same states in the basis, oldest column first.
        s: columns; the dashed line marks the end of the input phase.
        d: waves, drawn one above the other, each with column 1 at the bottom.
        titles: above the two panels.

    Returns:
        Two panels.
    """
    raw, waves = _numbers(neurons), _waves(_numbers(components), s, d)
    fig, axes = plt.subplots(1, 2, figsize=figure_size(2.9))
    _rows_in_time(axes[0], raw, float(np.abs(raw).max()), 1, "neuron", s)
    axes[0].yaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    # A lighter red and blue than the extremes of the map, so that lines stay visible on them.
    _rows_in_time(axes[1], waves, 1.6 * float(np.abs(waves).max()), d, "column 1 → s of each wave", s)
    _wave_labels(axes[1], s, d)
    for ax, title in zip(axes, titles, strict=True):
        ax.set_title(title)
    return fig


def gain_diagram(
    accuracy: Mapping[str, ArrayLike | torch.Tensor],
    gains: Sequence[float],
    steps: Sequence[int],
    amplitude: ArrayLike | torch.Tensor,
    predicted: tuple[ArrayLike | torch.Tensor, ArrayLike | torch.Tensor],
) -> Figure:
    """Accuracy over gain and time for several bases, and the amplitude at which the state settles.

    Args:
        accuracy: title → (gain, step) share of right signs.
        gains: factors on W_hh, increasing.
        steps: time since the end of the input phase (steps), one per column of the accuracies.
        amplitude: root mean square of the state's entries before gain and squashing, one per gain.
        predicted: (gains, amplitudes) by theory.

    Returns:
        One heat map per entry of `accuracy`, and a panel of amplitudes.
    """
    n = len(accuracy)
    fig, axes = plt.subplots(1, n + 1, figsize=figure_size(3.1), width_ratios=[*[1.0] * n, 0.95])
    ticks = [k for k, g in enumerate(gains) if k % 2 == 0 or g == 1.0]
    for ax, (title, values) in zip(axes[:n], accuracy.items(), strict=True):
        image = ax.imshow(_numbers(values), origin="lower", aspect="auto", cmap=SEQUENTIAL, vmin=0.5, vmax=1.0)
        ax.set_title(title)
        ax.set_xticks(range(len(steps)), [str(t) for t in steps], rotation=90)
        ax.set_yticks(ticks, [])
        ax.axhline(list(gains).index(1.0), color="white", lw=0.8, ls=(0, (2, 3)))
    axes[0].set_yticks(ticks, [f"{gains[k]:g}" for k in ticks])
    axes[0].set_ylabel("gain $g$")
    axes[n // 2].set_xlabel("steps after the input phase")
    colorbar = fig.colorbar(image, ax=axes[:n], location="bottom", pad=0.02, aspect=40, fraction=0.05)
    colorbar.set_label("share of right signs")
    last = axes[n]
    last.plot(_numbers(predicted[0]), _numbers(predicted[1]), color=THEORY, lw=1.2, label="predicted")
    last.plot(gains, _numbers(amplitude), "o", ms=4, color=LEARNED, label="measured")
    last.set_xlabel("gain $g$")
    last.set_title("amplitude (r.m.s.)")
    last.set_ylim(0, 1)
    last.legend(loc="lower right", handlelength=1.4)
    return fig


def learning_curves(rows: pd.DataFrame) -> Figure:
    """Loss, batch accuracy and training horizon of every run.

    Args:
        rows: seed, iteration, quantity, value; from `wavemem.experiments.repeat_copy.run`.

    Returns:
        Three panels, one line per seed.
    """
    fig, axes = plt.subplots(1, 3, figsize=figure_size(2.5), sharex=True)
    labels = {
        "loss": "loss (mean squared error)",
        "accuracy": "share of right signs",
        "horizon": "training horizon (steps)",
    }
    for ax, (quantity, label) in zip(axes, labels.items(), strict=True):
        curves = rows[rows["quantity"] == quantity]
        for colour, (seed, own) in zip(CATEGORICAL * 10, curves.groupby("seed"), strict=False):
            style = {"drawstyle": "steps-post"} if quantity == "horizon" else {}
            ax.plot(own["iteration"], own["value"], color=colour, lw=1.1, label=f"seed {seed}", **style)
        ax.set_title(label)
        ax.set_xlabel("iteration")
        ax.xaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))
    axes[0].set_yscale("log")
    axes[0].yaxis.set_minor_locator(NullLocator())
    rungs = sorted(rows.loc[rows["quantity"] == "horizon", "value"].unique())
    axes[2].set_yticks(rungs, [f"{int(r)}" for r in rungs])
    if rows["seed"].nunique() <= 8:
        axes[2].legend(loc="lower right")
    return fig


def learned_spectra(
    theory: torch.Tensor, learned: Mapping[int, torch.Tensor], multiplicity: int = 1, modulus: float = 0.9
) -> Figure:
    """Eigenvalues of up to four runs' W_hh over those of Φ, and a magnified view of the large ones.

    Args:
        theory: complex eigenvalues of Φ.
        learned: seed → complex eigenvalues; the first four are drawn.
        multiplicity: how many theoretical eigenvalues coincide at each ring, for the legend.
        modulus: eigenvalues above it are magnified.

    Returns:
        Above, one complex plane per seed; below, for each eigenvalue above the modulus, its angle measured from the nearest
        theoretical one and its modulus.
    """
    chosen = list(learned.items())[:4]
    exact = _numbers(theory)
    fig, axes = plt.subplots(
        2, len(chosen), figsize=figure_size(3.9), squeeze=False, sharey="row", height_ratios=[1.35, 1]
    )
    for k, (seed, values) in enumerate(chosen):
        plane, near = axes[0, k], axes[1, k]
        drawn = complex_plane(plane, theory, values, limit=1.25, legend=False)
        plane.set_title(f"seed {seed}")
        plane.set_xticks([-1, 0, 1])
        plane.set_yticks([-1, 0, 1])
        z = _numbers(values)
        z = z[np.abs(z) > modulus]
        quotient = np.angle(z[:, None] / exact[None, :])
        deviation = np.take_along_axis(quotient, np.abs(quotient).argmin(1)[:, None], 1)[:, 0]
        near.axhline(1, color=MUTED, lw=0.8)
        near.axvline(0, color=MUTED, lw=0.8)
        near.scatter(1e3 * deviation, np.abs(z), s=13, color=LEARNED, alpha=0.75, linewidths=0)
        span = max(2.0, 1.2e3 * float(np.abs(deviation).max(initial=0.0)))
        near.set_xlim(-span, span)
        near.set_xlabel("angle from ring (mrad)")
        if k:
            plane.set_ylabel("")
    axes[1, 0].set_ylabel(r"modulus $|\lambda|$")
    low, high = axes[1, 0].get_ylim()
    axes[1, 0].set_ylim(min(low, 0.996), max(high, 1.014))
    fig.legend(
        [marks for marks in drawn if marks is not None],
        [rf"eigenvalues of $\Phi$ ({multiplicity} at each ring)", r"eigenvalues of the learned $W_{hh}$"],
        loc="outside lower center",
        ncols=2,
    )
    return fig


def learned_memory(
    matrix: torch.Tensor, neurons: torch.Tensor, components: torch.Tensor, s: int, d: int, matrix_title: str
) -> Figure:
    """A trained network read in a basis: its weights, and one episode in both coordinates.

    Args:
        matrix: (sd, sd), W_hh seen in the basis.
        neurons: (time, N) states of one episode.
        components: (time, sd), the same states in the basis.
        s: columns.
        d: waves.
        matrix_title: above the first panel.

    Returns:
        Three panels.
    """
    fig, axes = plt.subplots(1, 3, figsize=figure_size(2.7), width_ratios=[1.0, 1.1, 1.1])
    draw_operator(axes[0], matrix, s, d, limit=1.0)
    axes[0].set_title(matrix_title)
    raw, waves = _numbers(neurons), _waves(_numbers(components), s, d)
    _rows_in_time(axes[1], raw, float(np.abs(raw).max()), 1, "neuron", s)
    axes[1].set_title("its neurons")
    # Colours saturate above the stored amplitude: the transients of the input phase may be larger.
    _rows_in_time(axes[2], waves, 1.6 * float(np.abs(waves[2 * s :]).mean()), d, "", s)
    _wave_labels(axes[2], s, d)
    axes[2].set_title("in the basis")
    return fig
