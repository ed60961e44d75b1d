"""Figures of the chapter on a wave in a network: waves against bumps (Wave-RNN, Fig. 1), the ring, its initialisations.

Units are numbered from 0, as in the code: unit 0 is where inputs enter, and positive velocity leads towards smaller numbers,
round from unit 0 to unit n − 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray

from wavemem.checks import require
from wavemem.plotting.style import CATEGORICAL, DIVERGING, INK, MUTED, figure_size

__all__ = [
    "accuracy_by_age",
    "gradients_through_time",
    "modes",
    "ring_activity",
    "shares_over_time",
    "signals_wave_bump",
]

Floats = NDArray[np.float64]
_DASHES: tuple[str | tuple[int, tuple[int, ...]], ...] = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (7, 2)))


def _array(values: ArrayLike) -> Floats:
    return np.asarray(values, dtype=np.float64)


def _shade(colour: str) -> LinearSegmentedColormap:
    """White to one channel's colour."""
    return LinearSegmentedColormap.from_list(f"white to {colour}", ["white", colour])


def _frame(ax: Axes) -> None:
    for spine in ax.spines.values():
        spine.set_visible(True)


def signals_wave_bump(
    signals: ArrayLike, wave: ArrayLike, bump: ArrayLike, from_wave: ArrayLike, from_bump: ArrayLike
) -> Figure:
    """Fig. 1: binary signals, the wave field they leave on rings, the bumps they leave; and what the last states say.

    Args:
        signals: (time, channel) zeros and ones.
        wave: (time, channel, n) activity of the rings after every step.
        bump: (time, channel) heights of the static bumps.
        from_wave: (channel, time) onsets read from the last wave state: rings around the signal.
        from_bump: (channel, time) onsets guessed from the last bumps: crosses.

    Raises:
        ValueError: If the arrays do not belong together.
    """
    x, field, height = _array(signals), _array(wave), _array(bump)
    read, guess = (np.asarray(found, dtype=bool) for found in (from_wave, from_bump))
    T, c = x.shape
    require(
        field.ndim == 3
        and field.shape[:2] == (T, c)
        and height.shape == (T, c)
        and read.shape == guess.shape == (c, T),
        f"signals {x.shape}, wave {field.shape}, bump {height.shape}, readings {read.shape} and {guess.shape}",
        "(time, channel), (time, channel, n), (time, channel), (channel, time) twice",
        "Use the states of the same signals.",
    )
    n = field.shape[-1]
    fig, (top, middle, bottom) = plt.subplots(
        3, 1, figsize=figure_size(5.6), sharex=True, height_ratios=(1.1, 2.0, 1.0)
    )
    steps = np.arange(1, T + 1)
    for k in range(c):
        colour, base = CATEGORICAL[k % len(CATEGORICAL)], c - 1 - k
        top.bar(steps, 0.62 * x[:, k], bottom=base, width=0.9, color=colour)
        for found, y, marker, face in ((read[k], 0.80, "o", "none"), (guess[k], 0.80, "x", colour)):
            top.scatter(
                steps[found],
                np.full(found.sum(), base + y),
                s=26 if marker == "o" else 16,
                marker=marker,
                lw=1.1,
                **({"facecolors": "none", "edgecolors": INK} if face == "none" else {"color": INK}),
            )
        # One band per ring, unit 0 at the top of its band, so that activity falls away from where it entered.
        turned = np.roll(field[:, k], -1, axis=1).T  # units 1, …, n − 1, 0
        middle.imshow(
            turned,
            origin="lower",
            aspect="auto",
            cmap=_shade(colour),
            vmin=0,
            vmax=1,
            interpolation="nearest",
            extent=(0.5, T + 0.5, base * (n + 2), base * (n + 2) + n),
        )
        profile = np.exp(-0.5 * (np.linspace(-3, 3, n) / 0.8) ** 2)
        bottom.imshow(
            np.outer(profile, height[:, k]),
            origin="lower",
            aspect="auto",
            cmap=_shade(colour),
            vmin=0,
            vmax=height.max() if height.max() > 0 else 1,
            interpolation="nearest",
            extent=(0.5, T + 0.5, base * (n + 2), base * (n + 2) + n),
        )
        bottom.text(T + 1, base * (n + 2) + n / 2, f"{height[-1, k]:.0f}", color=colour, va="center", fontsize=9)
    middle.set_ylim(-1, c * (n + 2) - 1)
    bottom.set_ylim(-1, c * (n + 2) - 1)
    top.set_ylim(-0.1, c)
    top.set_title("input signals;  ○ read from the last wave state,  × guessed from the last bumps")
    middle.set_title(f"wave field: {c} rings of {n} units, inputs enter at the top of each band")
    bottom.set_title("static bumps: as many units, one bump per channel (right: its height at the end)")
    names = [str(k + 1) for k in range(c)]
    top.set_yticks([c - 1 - k + 0.4 for k in range(c)], names)
    for ax in (middle, bottom):
        ax.set_yticks([(c - 1 - k) * (n + 2) + n / 2 for k in range(c)], names)
    for ax in (top, middle, bottom):
        ax.set_ylabel("channel")
        ax.tick_params(axis="y", length=0)
        ax.set_xlim(0.5, T + 2.2)
    bottom.set_xlabel("time (steps)")
    return fig


def _curves(ax: Axes, x: Floats, curves: Mapping[str, ArrayLike], legend: bool = True) -> None:
    """Lines in the book's colours and distinct dashes; with (seeds, x) the mean and the range over seeds."""
    for i, (name, values) in enumerate(curves.items()):
        y = np.atleast_2d(_array(values))
        colour = CATEGORICAL[i % len(CATEGORICAL)]
        ax.plot(x, y.mean(0), color=colour, ls=_DASHES[i % len(_DASHES)], label=name)
        if len(y) > 1:
            ax.fill_between(x, y.min(0), y.max(0), color=colour, alpha=0.15, lw=0)
    if legend:
        ax.legend(fontsize=8.5)


def shares_over_time(
    curves: Mapping[str, ArrayLike], marks: Mapping[str, float] | None = None, ylabel: str = "share read right"
) -> Figure:
    """Shares between 0 and 1 against the time step, one line per system (mean and range over seeds).

    Args:
        curves: name → (steps,) or (seeds, steps), for steps 1, 2, ….
        marks: name → step of a vertical line.
        ylabel: What is shared.
    """
    fig, ax = plt.subplots(figsize=figure_size(2.6))
    steps = np.arange(1.0, np.atleast_2d(_array(next(iter(curves.values())))).shape[1] + 1)
    _curves(ax, steps, curves, legend=False)
    for name, step in (marks or {}).items():
        ax.axvline(step, color=MUTED, lw=0.9, ls=":")
        ax.annotate(name, (step, 1.04), xytext=(3, 0), textcoords="offset points", color=MUTED, fontsize=8.5)
    ax.set(xlabel="time (steps)", ylabel=ylabel, ylim=(-0.03, 1.12), xlim=(1, steps[-1]))
    ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=8.5)
    return fig


def accuracy_by_age(
    ages: Sequence[int], panels: Mapping[str, Mapping[str, ArrayLike]], limits: Mapping[str, Mapping[str, float]]
) -> Figure:
    """Share of inputs read right against their age, one panel per noise level.

    Args:
        ages: Ages in steps.
        panels: title → system → (ages,) shares.
        limits: title → system → age at which theory expects the reading to fail; a small triangle on the axis.
    """
    fig, axes = plt.subplots(1, len(panels), figsize=figure_size(2.8), sharey=True)
    for ax, (title, curves) in zip(np.atleast_1d(axes), panels.items(), strict=True):
        _curves(ax, _array(ages), curves, legend=False)
        for i, name in enumerate(curves):
            limit = limits.get(title, {}).get(name)
            if limit is not None and limit <= max(ages):
                ax.plot([limit], [0.42], marker="^", color=CATEGORICAL[i], ms=7, clip_on=False)
        ax.axhline(0.5, color=MUTED, lw=0.8, ls=":")
        ax.set(title=title, xlabel="age (steps)", ylim=(0.4, 1.03))
    first = np.atleast_1d(axes)[0]
    first.set_ylabel("bits read right")
    handles, names = first.get_legend_handles_labels()
    fig.legend(handles, names, loc="outside lower center", ncols=len(names), fontsize=8.5)
    return fig


def modes(
    frequency: ArrayLike,
    gain: Mapping[str, ArrayLike],
    velocity: Mapping[str, ArrayLike],
    power: Mapping[str, ArrayLike],
    floor: float,
) -> Figure:
    """The kernel by spatial frequency: gain per step, phase velocity, and what is left of a pulse over time.

    Args:
        frequency: Cycles per unit, up to 1/2.
        gain: name → |û|.
        velocity: name → phase velocity in units per step, relative to ν.
        power: name → share of a pulse's power after 1, 2, … steps.
        floor: 1/n, what a ring cannot lose.
    """
    fig, (left, middle, right) = plt.subplots(1, 3, figsize=figure_size(2.7))
    _curves(left, _array(frequency), gain, legend=False)
    _curves(middle, _array(frequency), velocity, legend=False)
    steps = np.arange(1.0, len(_array(next(iter(power.values())))) + 1)
    _curves(right, steps, power, legend=False)
    right.axhline(floor, color=MUTED, lw=0.9, ls=":")
    right.annotate("$1/n$", (steps[0], floor), xytext=(0, 3), textcoords="offset points", color=MUTED)
    left.set(title="gain per step", xlabel="cycles per unit", ylim=(-0.03, 1.06))
    middle.set(title=r"phase velocity / $\nu$", xlabel="cycles per unit")
    right.set(title="power left of a pulse", xlabel="steps", xscale="log", yscale="log")
    right.set_yticks([1, 0.1], ["1", "0.1"])
    right.minorticks_off()
    handles, names = left.get_legend_handles_labels()
    fig.legend(handles, names, loc="outside lower center", ncols=len(names))
    return fig


def ring_activity(
    panels: Mapping[str, ArrayLike], columns: int = 0, limits: Mapping[str, float] | None = None, height: float = 1.9
) -> Figure:
    """Space-time pictures of rings: time to the right, unit 0 at the bottom, red positive and blue negative.

    Args:
        panels: title → (time, n) activity after steps 1, 2, ….
        columns: Panels per row (all in one row by default).
        limits: title → largest |value| of the colours; each panel's own maximum by default.
        height: Height of a row in inches.
    """
    columns = columns or len(panels)
    rows = -(-len(panels) // columns)
    fig, axes = plt.subplots(rows, columns, figsize=figure_size(height * rows), sharex=True, sharey=True, squeeze=False)
    for ax in axes.flat[len(panels) :]:
        ax.set_visible(False)
    for ax, (title, values) in zip(axes.flat, panels.items(), strict=False):
        activity = _array(values)
        require(
            activity.ndim == 2,
            f"activity of shape {activity.shape} in the panel {title!r}",
            "(time, n)",
            "Choose one run and one channel.",
        )
        T, n = activity.shape
        top = (limits or {}).get(title, float(np.abs(activity).max()))
        top = top if top > 0 else 1.0
        ax.imshow(
            activity.T,
            origin="lower",
            aspect="auto",
            cmap=DIVERGING,
            vmin=-top,
            vmax=top,
            interpolation="nearest",
            extent=(0.5, T + 0.5, -0.5, n - 0.5),
        )
        ax.set_title(title, fontsize=9)
        ax.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
        ax.yaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))
        _frame(ax)
    for ax in axes[-1]:
        ax.set_xlabel("time (steps)")
    for ax in axes[:, 0]:
        ax.set_ylabel("unit")
    return fig


def gradients_through_time(
    steps: Sequence[int], gains: Mapping[str, ArrayLike], ranks: Mapping[str, ArrayLike], most: int
) -> Figure:
    """Left: mean gain of ∂h(T)/∂h(0); right: how many input steps the state tells apart.

    Args:
        steps: T.
        gains: name → (seeds, steps) root-mean-square singular value, 0 where all paths are shut.
        ranks: name → (seeds, steps).
        most: The number of units of a ring, which no rank along one input can pass.
    """
    fig, (left, right) = plt.subplots(1, 2, figsize=figure_size(3.0))
    x = _array(steps)
    floor = 1e-12
    clipped = {name: np.clip(_array(values), floor, None) for name, values in gains.items()}
    _curves(left, x, clipped, legend=False)
    left.set(yscale="log", xlabel="steps back", title="gain of the gradient", ylim=(floor / 3, 30))
    _curves(right, x, ranks, legend=False)
    right.axhline(most, color=MUTED, lw=0.9, ls=":")
    right.annotate("$n$", (x[0], most), xytext=(2, 3), textcoords="offset points", color=MUTED)
    right.set(xlabel="length of the history (steps)", title="input steps told apart", ylim=(0, 1.2 * most))
    handles, names = left.get_legend_handles_labels()
    fig.legend(handles, names, loc="outside lower center", ncols=3, fontsize=8.5)
    return fig
