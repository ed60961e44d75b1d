"""Figures of chapter 18: registers whose waves move at any velocity, and what they remember."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from jaxtyping import Float
from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator, ScalarFormatter
from torch import Tensor

from wavemem.checks import require
from wavemem.plotting.style import CATEGORICAL, DIVERGING, INK, LEARNED, MUTED, SEQUENTIAL, figure_size

__all__ = [
    "beyond_one",
    "capacities",
    "memories_by_age",
    "neuron_pulses",
    "ring_and_register",
    "smooth_inputs",
    "valleys",
    "velocity_for_a_need",
    "waves_in_registers",
]


def _shades(count: int) -> list[tuple[float, ...]]:
    """Colours of an ordered series, dark to light, all readable on white."""
    return [tuple(c) for c in plt.get_cmap(SEQUENTIAL)(np.linspace(0.0, 0.82, count))]


def neuron_pulses(
    panels: Mapping[str, Float[Tensor, "n length"]],
    neurons: Sequence[int],
    limits: Mapping[str, Float[Tensor, "n length"]],
    limit_name: str,
) -> Figure:
    """Share of an input in some neurons of a register, by its age, one panel per velocity.

    Args:
        panels: title → pulses k_j(τ).
        neurons: Which rows to draw.
        limits: title → a limiting form of the same pulses, drawn dashed where given.
        limit_name: What the dashed lines are.
    """
    fig, axes = plt.subplots(2, 2, figsize=figure_size(3.9), squeeze=False)
    for ax, (title, k) in zip(axes.flat, panels.items(), strict=True):
        for colour, j in zip(_shades(len(neurons)), neurons, strict=True):
            values = k[j].numpy()
            tau = np.arange(len(values))
            ax.vlines(tau, 0, values, color=colour, lw=1.0, alpha=0.5)
            ax.plot(tau, values, "o", color=colour, ms=2.2, label=f"neuron {j}")
            mean = float((values * tau).sum())
            ax.plot([mean], [0], marker="^", ms=6, color=colour, clip_on=False, zorder=3)
            if title in limits:
                ax.plot(tau, limits[title][j].numpy(), color=INK, lw=0.9, ls="--", label=limit_name)
        ax.set(title=title, ylim=(0, None), xlim=(-0.7, k.shape[1] - 0.3))
        ax.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    for ax in axes[1]:
        ax.set_xlabel(r"age of the input $\tau$ (steps)")
    for ax in axes[:, 0]:
        ax.set_ylabel(r"$k_j(\tau)$")
    handles: dict[str, Artist] = {}
    for ax in axes.flat:
        for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    fig.legend(list(handles.values()), list(handles), loc="outside upper center", ncols=len(handles))
    return fig


def waves_in_registers(panels: Mapping[str, tuple[Float[Tensor, "time n"], float]], columns: int = 3) -> Figure:
    """Space-time pictures of registers that read the same input; the input enters at the bottom.

    Args:
        panels: title → (activity, velocity); the dashed line has that slope.
        columns: Panels per row.
    """
    rows = -(-len(panels) // columns)
    fig, axes = plt.subplots(
        rows, columns, figsize=figure_size(1.75 * rows + 0.2), squeeze=False, sharex=True, sharey=True
    )
    for ax, (title, (activity, v)) in zip(axes.flat, panels.items(), strict=False):
        values = activity.numpy()
        time, n = values.shape
        limit = float(np.quantile(np.abs(values), 0.985))
        ax.imshow(
            values.T,
            origin="lower",
            aspect="auto",
            cmap=DIVERGING,
            vmin=-limit,
            vmax=limit,
            extent=(-0.5, time - 0.5, -0.5, n - 0.5),
        )
        start = time * 0.3
        ax.plot([start, start + (n - 1) / v], [0, n - 1], color=INK, lw=1.0, ls="--")
        ax.set(title=title, xlim=(-0.5, time - 0.5), ylim=(-0.5, n - 0.5), yticks=(0, n // 2, n - 1))
        for spine in ax.spines.values():
            spine.set_visible(True)
    for ax in axes.flat[len(panels) :]:
        ax.set_visible(False)
    for ax in axes[-1]:
        ax.set_xlabel("time (steps)")
    for ax in axes[:, 0]:
        ax.set_ylabel("neuron $j$")
    return fig


def beyond_one(
    gains: Mapping[float, tuple[Float[Tensor, " n"], Float[Tensor, " n"]]],
    responses: Mapping[str, Float[Tensor, " length"]],
) -> Figure:
    """What velocities above 1 do: largest possible activity by neuron, and one neuron's response.

    Args:
        gains: v → (measured, predicted) sums of |k_j|.
        responses: name → k_j(τ) of one neuron; drawn relative to its largest value, which the legend gives.
    """
    fig, (left, right) = plt.subplots(1, 2, figsize=figure_size(2.7))
    colours = (MUTED, *CATEGORICAL)
    for colour, (v, (measured, predicted)) in zip(colours, gains.items(), strict=False):
        j = np.arange(len(measured))
        left.plot(j, predicted.numpy(), color=colour, lw=1.2)
        left.plot(j, measured.numpy(), "o", ms=3.5, color=colour, label=f"v = {v:g}")
    left.set(yscale="log", xlabel="neuron $j$", ylabel=r"$\sum_\tau |k_j(\tau)|$", title="largest activity")
    left.xaxis.set_major_locator(MaxNLocator(integer=True))
    left.legend(loc="upper left")
    for colour, (name, values) in zip((MUTED, CATEGORICAL[1]), responses.items(), strict=True):
        largest = float(values.abs().max())
        text = f"{name}, largest {largest:.3g}"
        right.plot(
            np.arange(len(values)), (values / largest).numpy(), marker="o", ms=2.6, lw=1.0, color=colour, label=text
        )
    right.axhline(0, color=INK, lw=0.6)
    right.set(
        xlabel=r"age of the input $\tau$ (steps)",
        ylabel=r"$k_j(\tau)$ / largest",
        title="response of the last neuron",
        ylim=(-1.1, 1.75),
    )
    right.legend(loc="upper left")
    return fig


def memories_by_age(
    panels: Mapping[str, Mapping[float, Float[Tensor, " ages"]]],
    n: int,
    theory: Mapping[float, Float[Tensor, " ages"]] | None = None,
) -> Figure:
    """R² of the best linear readout by the input's age, one curve per velocity.

    Args:
        panels: title → v → R².
        n: Number of neurons, marked by a dotted line.
        theory: v → R² of the long-register law, dashed in the first panel.
    """
    fig, axes = plt.subplots(1, len(panels), figsize=figure_size(2.9), sharey=True, squeeze=False)
    for number, (ax, (title, curves)) in enumerate(zip(axes[0], panels.items(), strict=True)):
        ax.axvline(n - 0.5, color=MUTED, lw=0.8, ls=":", zorder=0)
        for colour, (v, values) in zip(_shades(len(curves)), curves.items(), strict=True):
            tau = np.arange(len(values))
            ax.plot(tau, values.numpy(), color=colour, marker="o", ms=2.2, lw=1.0, label=f"v = {v:g}")
            if theory is not None and number == 0:
                ax.plot(tau, theory[v].numpy(), color=INK, lw=0.9, ls="--", label="long register")
        ax.set(title=title, xlabel=r"age of the input $\tau$ (steps)", ylim=(-0.03, 1.05))
    axes[0, 0].set_ylabel(r"$R^2(\tau)$")
    handles: dict[str, Artist] = {}
    for handle, label in zip(*axes[0, 0].get_legend_handles_labels(), strict=True):
        handles.setdefault(label, handle)
    if "long register" in handles:
        handles["long register"] = handles.pop("long register")
    fig.legend(list(handles.values()), list(handles), loc="outside upper center", ncols=len(handles))
    return fig


def capacities(
    v: Float[Tensor, " many"],
    by_noise: Mapping[float, tuple[Float[Tensor, " many"], Float[Tensor, " many"]]],
    sizes: Sequence[int],
    by_size: Mapping[str, tuple[Float[Tensor, " sizes"], Float[Tensor, " sizes"]]],
    n: int,
) -> Figure:
    """Capacity over velocity for several noises, and over the number of neurons at fixed noise.

    Args:
        v: Velocities of the left panel.
        by_noise: σ → (exact, estimate) over v.
        sizes: Numbers of neurons of the right panel.
        by_size: name → (exact, estimate) over sizes.
        n: Neurons of the left panel, dotted: what they hold without noise.
    """
    fig, (left, right) = plt.subplots(1, 2, figsize=figure_size(2.9))
    for colour, (noise, (exact, estimate)) in zip(CATEGORICAL, by_noise.items(), strict=False):
        left.plot(v.numpy(), exact.numpy(), color=colour, label=f"σ = {noise:g}")
        left.plot(v.numpy(), estimate.numpy(), color=colour, lw=0.9, ls="--")
    left.axhline(n, color=MUTED, lw=0.8, ls=":", zorder=0)
    left.set(xlabel="velocity $v$", ylabel=r"capacity $\sum_\tau R^2(\tau)$", ylim=(0, n + 0.9), xlim=(0, 1.02))
    left.legend(loc="lower right", ncols=2)
    for colour, (name, (exact, estimate)) in zip(CATEGORICAL, by_size.items(), strict=False):
        right.plot(sizes, exact.numpy(), "o-", ms=4, color=colour, label=name)
        right.plot(sizes, estimate.numpy(), color=colour, lw=0.9, ls="--")
    right.set(xscale="log", yscale="log", xlabel="neurons $n$", ylabel="capacity")
    for axis, ticks in ((right.xaxis, sizes), (right.yaxis, (4, 8, 16, 32, 64, 128, 256))):
        axis.set_major_locator(FixedLocator(list(ticks)))
        axis.set_major_formatter(ScalarFormatter())
        axis.set_minor_locator(NullLocator())
    right.legend(loc="upper left")
    return fig


def velocity_for_a_need(
    v: Float[Tensor, " many"], panels: Mapping[str, Mapping[int, Float[Tensor, " many"]]], n: int
) -> Figure:
    """How well a register serves several needs, over its velocity, with the best velocity marked.

    Args:
        v: Velocities.
        panels: title of the need → span L → how well it is served, 0 to 1.
        n: Number of neurons.
    """
    fig, axes = plt.subplots(1, len(panels), figsize=figure_size(2.7), sharey=True, squeeze=False)
    for ax, (title, curves) in zip(axes[0], panels.items(), strict=True):
        for colour, (span, values) in zip(_shades(len(curves)), curves.items(), strict=True):
            found = values.numpy()
            ax.plot(v.numpy(), found, color=colour, label=f"L = {span}")
            best = int(found.argmax())
            ax.plot([float(v[best])], [found[best]], "o", color=colour, ms=6, mec="white", clip_on=False, zorder=4)
        ax.set(title=title, xlabel="velocity $v$", ylim=(-0.03, 1.05), xlim=(0, 1.03))
    axes[0, 0].set_ylabel(r"$R^2$")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside upper center", ncols=len(labels), title=f"n = {n} neurons")
    return fig


def smooth_inputs(
    v: Float[Tensor, " many"],
    served: Mapping[float, Float[Tensor, " many"]],
    by_age: Mapping[str, Float[Tensor, " ages"]],
    n: int,
) -> Figure:
    """Memory of correlated inputs: over velocity for several correlations, and by age for one.

    Args:
        v: Velocities of the left panel.
        served: correlation ρ → mean R² of the last inputs, over v.
        by_age: name → R² by age.
        n: Number of neurons.
    """
    fig, (left, right) = plt.subplots(1, 2, figsize=figure_size(2.8), sharey=True)
    for shade, (rho, values) in zip(_shades(len(served)), served.items(), strict=True):
        left.plot(v.numpy(), values.numpy(), color=shade, marker="o", ms=3, label=f"ρ = {rho:g}")
    left.set(xlabel="velocity $v$", ylabel=r"$R^2$", ylim=(-0.03, 1.05), title=f"mean over the last {2 * n} inputs")
    left.legend(loc="lower center", ncols=2)
    right.axvline(n - 0.5, color=MUTED, lw=0.8, ls=":", zorder=0)
    for colour, (name, values) in zip(CATEGORICAL, by_age.items(), strict=False):
        right.plot(np.arange(len(values)), values.numpy(), color=colour, marker="o", ms=2.4, lw=1.0, label=name)
    right.set(xlabel=r"age of the input $\tau$ (steps)", title="by age")
    right.legend(loc="upper right")
    return fig


def ring_and_register(
    pulses: Mapping[str, Float[Tensor, " length"]], memory: Mapping[str, Float[Tensor, " ages"]], n: int
) -> Figure:
    """One neuron's pulse on a ring, in a register and in an all-pass chain; and what each remembers.

    Args:
        pulses: name → k_j(τ) of one neuron.
        memory: name → R² by age.
        n: Number of neurons.
    """
    fig, (left, right) = plt.subplots(1, 2, figsize=figure_size(2.9))
    for colour, (name, values) in zip(CATEGORICAL, pulses.items(), strict=False):
        left.plot(np.arange(len(values)), values.numpy(), color=colour, marker="o", ms=2.4, lw=1.0, label=name)
    left.axhline(0, color=INK, lw=0.6)
    left.set(xlabel=r"age of the input $\tau$ (steps)", ylabel=r"$k_j(\tau)$", title="one neuron", ylim=(None, 1.75))
    left.legend(loc="upper left")
    right.axvline(n - 0.5, color=MUTED, lw=0.8, ls=":", zorder=0)
    for colour, (name, values) in zip(CATEGORICAL, memory.items(), strict=False):
        right.plot(np.arange(len(values)), values.numpy(), color=colour, lw=1.2, label=name)
    right.set(xlabel=r"age of the input $\tau$ (steps)", ylabel=r"$R^2(\tau)$", ylim=(-0.03, 1.05), title="memory")
    right.legend(loc="upper right")
    return fig


def valleys(
    v: Float[Tensor, " many"],
    loss: Mapping[int, Float[Tensor, " many"]],
    resting: Mapping[int, Float[Tensor, " found"]],
    trained: Mapping[int, tuple[Float[Tensor, " starts"], Float[Tensor, " starts"], Float[Tensor, " starts"]]],
) -> Figure:
    """Error over velocity with the best readout, and where training went, one column per age.

    Args:
        v: Velocities of the curves.
        loss: age τ → 1 − R²(τ) over v.
        resting: age τ → velocities of the minima.
        trained: age τ → initial velocities, final velocities and final losses.
    """
    require(set(loss) == set(trained), f"ages {sorted(loss)} and {sorted(trained)}", "the same", "Give both for each.")
    fig, axes = plt.subplots(
        2, len(loss), figsize=figure_size(4.3), sharex=True, sharey="row", squeeze=False, height_ratios=(1.2, 1)
    )
    for column, (age, values) in enumerate(loss.items()):
        top, bottom = axes[:, column]
        first, last, final = (x.numpy() for x in trained[age])
        top.plot(v.numpy(), values.numpy(), color=INK, lw=1.2, label="best readout for this $v$")
        top.plot(last, final, "o", color=LEARNED, ms=4.5, mec="white", mew=0.5, label="after training")
        top.set(title=rf"age $\tau = {age}$", ylim=(0, 1.06))
        for x in resting[age].tolist():
            bottom.axvline(x, color=MUTED, lw=0.9, ls=":", zorder=0)
            top.axvline(x, color=MUTED, lw=0.9, ls=":", zorder=0)
        for a, b, row in zip(first, last, np.arange(len(first)), strict=True):
            bottom.plot([a, b], [row, row], color=LEARNED, lw=1.0)
            bottom.plot([a], [row], "|", color=LEARNED, ms=6)
            bottom.plot([b], [row], "o", color=LEARNED, ms=4, mec="white", mew=0.5)
        bottom.set(xlabel="velocity $v$", xlim=(0, 1.02), yticks=[])
    axes[0, 0].set_ylabel(r"error $1 - R^2(\tau)$")
    axes[1, 0].set_ylabel("start ( | ) to end ( • )")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside upper center", ncols=2)
    return fig
