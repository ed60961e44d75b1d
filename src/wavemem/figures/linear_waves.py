"""Figures of the linear Wave-RNN: its modes, its kernel in time, and what it remembers."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import torch
from jaxtyping import Complex, Float
from matplotlib.figure import Figure
from torch import Tensor

from wavemem.plotting.style import CATEGORICAL, INK, LEARNED, MUTED, figure_size

__all__ = ["kernel_in_time", "memory_by_lag", "modes_in_the_plane"]


def modes_in_the_plane(panels: Mapping[str, Complex[Tensor, "n c"]]) -> Figure:
    """Eigenvalues of several recurrences in the complex plane, with the unit circle and the n-th roots of unity.

    Args:
        panels: title → eigenvalues by spatial frequency and channel.
    """
    fig, axes = plt.subplots(1, len(panels), figsize=figure_size(2.3), sharex=True, sharey=True, squeeze=False)
    angle = np.linspace(0, 2 * np.pi, 300)
    for ax, (title, values) in zip(axes[0], panels.items(), strict=True):
        n = values.shape[0]
        roots = np.exp(2j * np.pi * np.arange(n) / n)
        ax.plot(np.cos(angle), np.sin(angle), color=MUTED, lw=0.8)
        ax.plot(roots.real, roots.imag, "o", mfc="none", mec=INK, ms=6, mew=0.8, label=f"{n}-th roots of unity")
        found = values.flatten().numpy()
        ax.plot(found.real, found.imag, "o", color=LEARNED, ms=3, label=r"eigenvalues of $\hat U(m)$")
        ax.set(title=title, aspect="equal", xticks=(-1, 0, 1), yticks=(-1, 0, 1), xlabel="real")
    axes[0, 0].set_ylabel("imaginary")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside lower center", ncols=2)
    return fig


def kernel_in_time(
    kernels: Mapping[str, Float[Tensor, " lags"]], recurrences: Mapping[str, Float[Tensor, " lags"]]
) -> Figure:
    """K(τ) from powers of the spectral blocks (line) and from stepping through the recurrence (points).

    Args:
        kernels: title → K(τ).
        recurrences: title → response of the recurrence to a unit input.
    """
    fig, axes = plt.subplots(1, len(kernels), figsize=figure_size(2.3), sharey=True, squeeze=False)
    for ax, (title, values) in zip(axes[0], kernels.items(), strict=True):
        ax.vlines(np.arange(len(values)), 0, values.numpy(), color=CATEGORICAL[0], lw=1.6, label=r"$K(\tau)$")
        other = recurrences[title].numpy()
        ax.plot(np.arange(len(other)), other, "o", ms=2.6, color=LEARNED, label="recurrence, step by step")
        ax.axhline(0, color=MUTED, lw=0.7)
        ax.set(title=title, xlabel=r"lag $\tau$ (steps)")
    axes[0, 0].set_ylabel("response to a unit input")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside upper center", ncols=2)
    return fig


def memory_by_lag(panels: Mapping[str, Mapping[str, Float[Tensor, " lags"]]], n: int) -> Figure:
    """Share of an input's variance that the state still tells, by its age.

    Args:
        panels: title → name of the network → R² for lag 0, 1, ….
        n: size of the ring, marked at every turn.
    """
    fig, axes = plt.subplots(1, len(panels), figsize=figure_size(2.8), sharey=True, squeeze=False)
    for ax, (title, curves) in zip(axes[0], panels.items(), strict=True):
        longest = max(len(values) for values in curves.values())
        for turn in range(n, longest + 1, n):
            ax.axvline(turn - 0.5, color=MUTED, lw=0.8, ls=":", zorder=0)
        for i, (colour, (name, values)) in enumerate(zip(CATEGORICAL, curves.items(), strict=False)):
            ax.plot(
                np.arange(len(values)),
                torch.as_tensor(values).numpy(),
                color=colour,
                marker="os^D"[i % 4],
                ms=5 - i,
                label=name,
            )
        ax.set(title=title, xlabel="age of the input (steps)", ylim=(-0.04, 1.06))
    axes[0, 0].set_ylabel(r"$R^2$ of the best linear readout")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside lower center", ncols=4)
    return fig
