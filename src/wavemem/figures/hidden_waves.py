"""Figures of trained networks seen in the basis of their memories: weights, spectra, hidden states.

For Figs. 3, 4, 7, 8, 10 and 11 of Karuvally et al., ICML 2024, and for the readings that go with them.

The panels themselves are drawn by `wavemem.figures.variable_memories` and `wavemem.plotting.panels`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from wavemem.checks import require
from wavemem.figures.variable_memories import memories_over_time, neurons_over_time, operator_in_basis
from wavemem.plotting.panels import complex_plane, draw_operator, spectrum_image
from wavemem.plotting.style import CATEGORICAL, DIVERGING, INK, MUTED, SEQUENTIAL, figure_size
from wavemem.substrate.memories import VariableMemories
from wavemem.substrate.readings import Spectrum2D
from wavemem.substrate.spectrum import eigenvalues

__all__ = [
    "Portrait",
    "agreement_over_time",
    "direction_counts",
    "film",
    "four_panels",
    "operator_grid",
    "operators_beside_theory",
    "readings_by_basis",
    "shares",
    "spectra",
    "two_bases",
    "whereabouts",
]


def _array(values: ArrayLike | torch.Tensor) -> NDArray[np.float64]:
    return np.asarray(values.detach().cpu() if isinstance(values, torch.Tensor) else values, dtype=np.float64)


def _contrast(neurons: NDArray[np.float64]) -> float:
    """Colour limit that all but the largest hundredth of the activity stays below: a pale panel would hide what is in it."""
    return float(np.quantile(np.abs(neurons), 0.99)) or 1.0


def _drawing(ax: Axes, u: ArrayLike | torch.Tensor, title: str = "") -> None:
    """A history or the content of a substrate, column 1 on the left and dimension 1 at the top."""
    values = _array(u)
    ax.imshow(values.T, cmap=DIVERGING, vmin=-1.5, vmax=1.5, interpolation="nearest", aspect="equal")
    s, d = values.shape
    for k in range(1, s):
        ax.axvline(k - 0.5, color="white", lw=0.6)
    for k in range(1, d):
        ax.axhline(k - 0.5, color="white", lw=0.6)
    ax.set_xticks([0, s - 1], ["1", str(s)])
    ax.set_yticks([])
    for spine in ax.spines.values():
        spine.set_visible(True)
    if title:
        ax.set_title(title, fontsize=9)


def two_bases(
    u: ArrayLike | torch.Tensor, neurons: ArrayLike | torch.Tensor, content: ArrayLike | torch.Tensor
) -> Figure:
    """Fig. 3: the drawn input, the same states among the neurons (A) and in the basis of the memories (B).

    Args:
        u: (s, d) the history that is shown to the network.
        neurons: (time, N) hidden states.
        content: (time, s, d) the same states on the substrate, standardised.
    """
    s = _array(u).shape[0]
    fig, (small, left, right) = plt.subplots(1, 3, figsize=figure_size(5.6), width_ratios=(0.5, 1.0, 1.7))
    _drawing(small, u, "input")
    small.set_xlabel("step of the\ninput phase")
    small.set_ylabel("dimension")
    h = _array(neurons)
    neurons_over_time(left, h, input_steps=s, limit=_contrast(h), title="A  basis of the neurons")
    memories_over_time(right, content, input_steps=s, title="B  basis of the memories")
    return fig


def film(
    neurons: ArrayLike | torch.Tensor, content: ArrayLike | torch.Tensor, steps: Sequence[int], *, s: int
) -> Figure:
    """Single steps of the animation side by side: the neurons above, the substrate below.

    Args:
        neurons: (time, N).
        content: (time, s, d), standardised.
        steps: which, counted from 1.
        s: length of the input phase.
    """
    h, x = _array(neurons), _array(content)
    require(
        min(steps) >= 1 and max(steps) <= len(h), f"steps {list(steps)}", f"1 to {len(h)}", "Choose steps that exist."
    )
    across, strong = int(np.ceil(np.sqrt(h.shape[1]))), _contrast(h)
    height = 2.35 if x.shape[2] > x.shape[1] / 2 else 1.9
    fig, axes = plt.subplots(2, len(steps), figsize=figure_size(height), squeeze=False)
    for (top, bottom), t in zip(axes.T, steps, strict=True):
        square = np.full(across * -(-h.shape[1] // across), np.nan)
        square[: h.shape[1]] = h[t - 1]
        top.imshow(square.reshape(-1, across), cmap=DIVERGING, vmin=-strong, vmax=strong, interpolation="nearest")
        top.set(xticks=[], yticks=[])
        for spine in top.spines.values():
            spine.set_visible(True)
        top.set_title(f"step {t}" + (" (input)" if t <= s else ""), fontsize=8.5)
        _drawing(bottom, x[t - 1])
    axes[0, 0].set_ylabel("neurons", fontsize=9)
    axes[1, 0].set_ylabel("memories", fontsize=9)
    return fig


def operators_beside_theory(
    panels: Mapping[str, tuple[VariableMemories, torch.Tensor, torch.Tensor]], limit: float = 1.5
) -> Figure:
    """Fig. 4: per task what the theory has (left) and what the network has (right), in the same basis and colours.

    Args:
        panels: title → (memories, recurrent weights, Φ).
        limit: largest |value| of the colours.
    """
    fig, axes = plt.subplots(1, 2 * len(panels), figsize=figure_size(2.35), squeeze=False)
    for k, (title, (memories, W, Phi)) in enumerate(panels.items()):
        left, right = axes[0, 2 * k], axes[0, 2 * k + 1]
        operator_in_basis(left, memories.theory(Phi), memories, limit=limit, title=rf"{title}: $\Phi$")
        operator_in_basis(
            right, memories.operator(W), memories, limit=limit, title=rf"{title}: $\Psi^\dagger W_{{hh}}\Psi$"
        )
        right.set_ylabel("")
        if k:
            left.set_ylabel("")
    fig.colorbar(axes[0, 0].images[0], ax=axes, label="weight", pad=0.01, fraction=0.03, aspect=16)
    return fig


def operator_grid(
    rows: Mapping[str, Sequence[tuple[str, VariableMemories, torch.Tensor] | None]], limit: float = 1.5
) -> Figure:
    """Fig. 7: the weights of several networks per task in the basis of their memories.

    Args:
        rows: task → one (title, memories, recurrent weights) per network, or None where none was measured.
        limit: largest |value| of the colours.
    """
    across = max(len(networks) for networks in rows.values())
    fig, axes = plt.subplots(len(rows), across, figsize=figure_size(1.78 * len(rows) + 0.1), squeeze=False)
    image = None
    for r, (task, networks) in enumerate(rows.items()):
        for c in range(across):
            ax, network = axes[r, c], networks[c] if c < len(networks) else None
            if network is None:
                ax.set(xticks=[], yticks=[])
                ax.text(0.5, 0.5, "not measured yet", transform=ax.transAxes, ha="center", va="center", fontsize=8.5)
                continue
            title, memories, W = network
            image = operator_in_basis(ax, memories.operator(W), memories, limit=limit)
            ax.set_title(title, fontsize=8.5)
            ax.set_xlabel("from column $i$" if r == len(rows) - 1 else "", fontsize=8.5)
            ax.set_ylabel(f"{task}\nto column $i$" if c == 0 else "", fontsize=8.5)
            ax.tick_params(labelsize=7)
    if image is not None:
        fig.colorbar(image, ax=axes, label="weight", pad=0.01, fraction=0.025, aspect=30)
    return fig


def direction_counts(
    theory: ArrayLike | torch.Tensor, learned: ArrayLike | torch.Tensor, modulus: float = 0.9
) -> list[tuple[float, int, int]]:
    """How many eigenvalues above a modulus lie in each direction that the theory has.

    Args:
        theory: eigenvalues of Φ.
        learned: eigenvalues of the network; each counts for the nearest direction.
        modulus: smaller ones are left out.

    Returns:
        (angle in radians, number in theory, number learned), by angle.
    """
    expected, found = (np.asarray(v.detach().cpu() if isinstance(v, torch.Tensor) else v) for v in (theory, learned))
    expected, found = expected[np.abs(expected) > modulus], found[np.abs(found) > modulus]
    # -π and π are one direction, and eigenvalues of a multiple root scatter by rounding.
    angles = np.round(np.mod(np.angle(expected) + 1e-6, 2 * np.pi), 4)
    directions, numbers = np.unique(angles, return_counts=True)
    if len(directions) == 0:
        return []
    distance = np.abs(np.angle(np.exp(1j * (np.angle(found)[:, None] - directions[None, :]))))
    nearest = distance.argmin(axis=1)
    return [
        (float(a), int(n), int((nearest == k).sum())) for k, (a, n) in enumerate(zip(directions, numbers, strict=True))
    ]


@dataclass(frozen=True)
class Portrait:
    """What `four_panels` draws of one network.

    Attributes:
        memories: the basis, with its complement if that shall be seen.
        W_hh: recurrent weights (N, N).
        Phi: the task's operator.
        neurons: (time, N) one episode.
        content: (time, s, d) the same, standardised.
    """

    memories: VariableMemories
    W_hh: torch.Tensor
    Phi: torch.Tensor
    neurons: torch.Tensor
    content: torch.Tensor


def four_panels(
    portrait: Portrait, *, limit: float = 1.5, u: ArrayLike | torch.Tensor | None = None, F: torch.Tensor | None = None
) -> Figure:
    """Figs. 8, 10, 11: A weights in the basis of the memories, B spectrum, C neurons, D memories over time.

    Args:
        portrait: the network.
        limit: largest |weight| of the colours of A.
        u: the drawn input, shown beside D, or None.
        F: the task's boundary, shown above B, or None.
    """
    p = portrait
    fig = plt.figure(figsize=figure_size(6.1))
    parts: Any = fig.subfigures(2, 1, height_ratios=(1.0, 1.05))
    top, bottom = parts[0], parts[1]
    if F is None:
        a, b = top.subplots(1, 2, width_ratios=(1.1, 1.0))
    else:
        grid = top.add_gridspec(2, 2, width_ratios=(1.1, 1.0), height_ratios=(1.0, 3.2))
        a, b = top.add_subplot(grid[:, 0]), top.add_subplot(grid[1, 1])
        boundary = top.add_subplot(grid[0, 1])
        draw_operator(boundary, F, p.memories.s, p.memories.d, limit=1.0)
        boundary.set_title("boundary $f$: output $j$ from columns", fontsize=8.5)
        boundary.set(xlabel="", ylabel="$j$", yticks=[])
    image = operator_in_basis(a, p.memories.full_operator(p.W_hh), p.memories, limit=limit)
    a.set_title("A  weights among memories and ⊥")
    top.colorbar(image, ax=a, label="weight", pad=0.02, fraction=0.045)
    theory, learned = eigenvalues(p.Phi), eigenvalues(p.W_hh)
    complex_plane(b, theory[theory.abs() > 0.9], learned, legend=False)
    reach = max(1.0, float(learned.abs().max()))
    for angle, expected, found in direction_counts(theory, learned):
        b.text(
            1.2 * reach * np.cos(angle), 1.2 * reach * np.sin(angle), f"{found}", ha="center", va="center", fontsize=8,
            color=INK if found == expected else CATEGORICAL[1],
            bbox={"boxstyle": "round,pad=0.15", "fc": "white", "ec": MUTED, "lw": 0.6},
        )  # fmt: skip
    b.set_xlim(-1.42 * reach, 1.42 * reach)
    b.set_ylim(-1.42 * reach, 1.42 * reach)
    b.set_title("B  eigenvalues, counted by direction")
    s = p.memories.s
    widths = (1.0, 1.0) if u is None else (1.0, 1.0, 0.32)
    axes = bottom.subplots(1, len(widths), width_ratios=widths)
    h = _array(p.neurons)
    neurons_over_time(axes[0], h, input_steps=s, limit=_contrast(h), title="C  basis of the neurons")
    memories_over_time(axes[1], p.content, input_steps=s, title="D  basis of the memories")
    if u is not None:
        _drawing(axes[2], u, "input")
    return fig


def agreement_over_time(panels: Mapping[str, Mapping[str, ArrayLike]], s: int) -> Figure:
    """Correlation of the decoded content with the true history at every step: one line per network.

    Args:
        panels: task → name of the group → (networks, time).
        s: length of the input phase.
    """
    fig, axes = plt.subplots(1, len(panels), figsize=figure_size(2.5), sharey=True, squeeze=False)
    for ax, (task, groups) in zip(axes[0], panels.items(), strict=True):
        for colour, (name, runs) in zip(CATEGORICAL, groups.items(), strict=False):
            values = np.atleast_2d(np.asarray(runs, dtype=np.float64))
            for k, run in enumerate(values):
                ax.plot(
                    np.arange(1, len(run) + 1), run, color=colour, lw=1.1, alpha=0.8, label=name if k == 0 else None
                )
        ax.axvline(s + 0.5, color=INK, lw=1.0, ls="--")
        ax.axhline(1.0, color=MUTED, lw=0.8, ls=":")
        ax.set(title=task, xlabel="step $t$")
    axes[0, 0].set_ylabel("correlation with the truth")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    return fig


def _strip(ax: Axes, groups: Mapping[str, Mapping[str, Sequence[float]]]) -> None:
    """One dot per network: groups along x, one colour per inner name, NaN left out."""
    names = list(next(iter(groups.values())))
    width = 0.8 / len(names)
    for g, inner in enumerate(groups.values()):
        if g % 2:
            ax.axvspan(g - 0.5, g + 0.5, color=MUTED, alpha=0.08, lw=0)
        for e, name in enumerate(names):
            values = np.asarray(inner[name], dtype=np.float64)
            centre = g - 0.4 + (e + 0.5) * width
            spread = np.linspace(-0.3, 0.3, len(values)) * width if len(values) > 1 else np.zeros(len(values))
            ax.plot(centre + spread, values, "o", color=CATEGORICAL[e], ms=3.2, mew=0, label=name if g == 0 else None)
    ax.set_xlim(-0.5, len(groups) - 0.5)
    ax.set_xticks(range(len(groups)), list(groups))


def shares(panels: Mapping[str, Mapping[str, Mapping[str, Sequence[float]]]]) -> Figure:
    """Share of the operator's weight where the theory has it: one dot per network.

    Args:
        panels: which columns → task → kind of network → one share per network.
    """
    fig, axes = plt.subplots(1, len(panels), figsize=figure_size(2.6), sharey=True, squeeze=False)
    for ax, (title, groups) in zip(axes[0], panels.items(), strict=True):
        _strip(ax, groups)
        ax.set_title(title)
    axes[0, 0].set_ylabel("share of the squared weight")
    axes[0, 0].set_ylim(-0.03, 1.05)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    return fig


def readings_by_basis(panels: Mapping[str, Mapping[str, Mapping[str, Sequence[float]]]]) -> Figure:
    """Several readings of the hidden state, each over tasks, in different bases: one dot per network.

    Args:
        panels: label of the reading → task → basis → one number per network.
    """
    fig, axes = plt.subplots(len(panels), 1, figsize=figure_size(1.65 * len(panels) + 0.5), sharex=True, squeeze=False)
    for ax, (label, groups) in zip(axes[:, 0], panels.items(), strict=True):
        _strip(ax, groups)
        ax.axhline(1.0, color=MUTED, lw=0.8, ls=":", zorder=0)
        ax.axhline(0.0, color=MUTED, lw=0.8, zorder=0)
        ax.set_ylabel(label)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside upper center", ncols=len(labels), columnspacing=1.2)
    return fig


def spectra(panels: Mapping[str, tuple[Spectrum2D, float]]) -> Figure:
    """Two-dimensional spectra of the same states in several bases, with the line of velocity 1.

    Args:
        panels: title → (spectrum, share of the power on the line).
    """
    fig, axes = plt.subplots(1, len(panels), figsize=figure_size(2.7), sharey=True, squeeze=False)
    top = max(float(spectrum.magnitude.max()) for spectrum, _ in panels.values())
    for ax, (title, (spectrum, share)) in zip(axes[0], panels.items(), strict=True):
        image = spectrum_image(ax, spectrum, velocities=(1.0,), log=False)
        image.set_clim(0.0, top)
        ax.set_title(f"{title}\n{100 * share:.0f} % on the line", fontsize=9)
        if ax is not axes[0, 0]:
            ax.set_ylabel("")
        ax.set_xlabel("spatial frequency\n(cycles / column)")
    fig.colorbar(axes[0, 0].images[0], ax=axes, label="magnitude", pad=0.01, fraction=0.03, aspect=18)
    return fig


def whereabouts(panels: Mapping[str, ArrayLike | torch.Tensor]) -> Figure:
    """Which column holds which input after the input phase, in several bases.

    Args:
        panels: title → (columns, inputs) mean |correlation| over dimensions and networks.
    """
    fig, axes = plt.subplots(1, len(panels), figsize=figure_size(2.4), sharey=True, squeeze=False)
    for ax, (title, values) in zip(axes[0], panels.items(), strict=True):
        table = _array(values)
        ax.imshow(table, cmap=SEQUENTIAL, vmin=0.0, vmax=1.0, interpolation="nearest")
        for (i, m), value in np.ndenumerate(table):
            ax.text(m, i, f"{value:.2f}", ha="center", va="center", fontsize=8, color=INK if value > 0.6 else "white")
        ax.set(title=title, xlabel="input $m$")
        ax.set_xticks(range(table.shape[1]), [str(k + 1) for k in range(table.shape[1])])
        ax.set_yticks(range(table.shape[0]), [str(k + 1) for k in range(table.shape[0])])
    axes[0, 0].set_ylabel("column $i$")
    fig.colorbar(axes[0, 0].images[0], ax=axes, label="|correlation|", pad=0.01, fraction=0.03, aspect=18)
    return fig
