"""The figure on the first page: one memory seen among its neurons and seen in its waves.

Nothing in it is drawn by hand. A repeat-copy memory (TWM Eq. 29) is built in a random orthonormal basis, is shown a
picture of digits column by column, and then runs on its own; its states are read twice.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

import torch
from jaxtyping import Float
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from wavemem.checks import positive_int, require
from wavemem.plotting.style import DIVERGING, INK, figure_size, use_book_style
from wavemem.streams import stream
from wavemem.substrate.basis import Basis, random_basis
from wavemem.substrate.repeat_copy import repeat_copy_weights

__all__ = ["digit_history", "draw", "memory_states", "write"]

# Five columns by seven rows; a set bit is a dark pixel, the highest bit the leftmost one.
_GLYPHS: Final = {
    "0": (14, 17, 19, 21, 25, 17, 14),
    "1": (4, 12, 4, 4, 4, 4, 14),
    "2": (14, 17, 1, 2, 4, 8, 31),
    "3": (31, 2, 4, 2, 1, 17, 14),
    "4": (2, 6, 10, 18, 31, 2, 2),
    "5": (31, 16, 30, 1, 1, 17, 14),
    "6": (6, 8, 16, 30, 17, 17, 14),
    "7": (31, 1, 2, 4, 8, 8, 8),
    "8": (14, 17, 17, 14, 17, 17, 14),
    "9": (14, 17, 17, 15, 1, 2, 12),
}
_DIMENSIONS: Final = 8  # seven rows of a glyph and one empty row
_WIDTH: Final = 6  # five columns of a glyph and one empty column


def digit_history(digits: str) -> Float[Tensor, "s d"]:
    """A history that spells digits: vector i is the i-th column of pixels, +1 where the ink is, -1 elsewhere.

    Args:
        digits: what to spell, e.g. "315".

    Returns:
        The history, s = 6 · len(digits) vectors of d = 8 dimensions, leftmost column first (the oldest vector).

    Raises:
        ValueError: there is no digit, or a character is not one.
    """
    require(
        bool(digits) and all(c in _GLYPHS for c in digits),
        got=f"digits = {digits!r}",
        allowed="a string of the characters 0 to 9",
        fix="Spell something with digits.",
    )
    u = -torch.ones(_WIDTH * len(digits), _DIMENSIONS, dtype=torch.float64)
    for place, digit in enumerate(digits):
        for row, bits in enumerate(_GLYPHS[digit]):
            for column in range(5):
                if bits >> (4 - column) & 1:
                    u[place * _WIDTH + column, row] = 1.0
    return u


def memory_states(u: Float[Tensor, "s d"], basis: Basis, steps: int) -> Float[Tensor, "steps n"]:
    """Run h(t) = W_hh h(t-1) + W_uh u(t) from zero (TWM Eqs. 7 and 29), inputs during the first s steps.

    Args:
        u: the history to store, oldest vector first.
        basis: s·d basis vectors.
        steps: how many steps to run, at least s.

    Returns:
        The states h(1) .. h(steps) in the coordinates of the neurons.

    Raises:
        ValueError: steps < s.
    """
    s, d = u.shape
    positive_int("steps", steps, minimum=s)
    W_hh, W_uh, _ = repeat_copy_weights(s, d, basis)
    h = torch.zeros(basis.N, dtype=u.dtype)
    states = []
    for t in range(steps):
        h = W_hh @ h
        if t < s:
            h = h + W_uh @ u[t]
        states.append(h)
    return torch.stack(states)


def _image(ax: Axes, values: Tensor, limit: float, aspect: Literal["equal", "auto"]) -> None:
    # Raw pixels, not resampled: the browser scales them, and the file does not depend on the resolution.
    ax.imshow(
        values.numpy(), cmap=DIVERGING, vmin=-limit, vmax=limit, aspect=aspect, interpolation="none", origin="upper"
    )


def draw(digits: str = "315", seed: int = 0, cycles: int = 4) -> Figure:
    """Draw the states of one memory in the neurons' coordinates (left) and in the wave basis (right).

    Args:
        digits: what the memory is shown.
        seed: of the random orthonormal basis.
        cycles: how many times the pattern passes the substrate.

    Raises:
        ValueError: no digits, or fewer than one cycle.
    """
    positive_int("cycles", cycles)
    u = digit_history(digits)
    s, d = u.shape
    basis = random_basis(s * d, stream(seed, "welcome figure"), kind="orthogonal")
    states = memory_states(u, basis, cycles * s)
    waves = basis.components(states)  # (time, s·d), column by column of the substrate
    # Group the rows by wave, newest column on top, so that each wave is a band that activity crosses downwards.
    bands = waves.unflatten(-1, (s, d)).flip(-2).transpose(-1, -2).flatten(-2)
    use_book_style()
    figure, axes = plt.subplots(2, 2, figsize=figure_size(4.6), height_ratios=[2.6, 1])
    for column, (over_time, snapshot, title) in enumerate(
        (
            (states, states[s - 1].reshape(d, s), f"the states of {s * d} neurons"),
            (bands, waves[s - 1].reshape(s, d).T, "the same states in the wave basis"),
        )
    ):
        top, bottom = axes[0, column], axes[1, column]
        _image(top, over_time.T, 1.6, "auto")
        _image(bottom, snapshot, 1.6, "equal")
        top.set_title(title)
        top.set_xlabel("time step")
        top.axvline(s - 0.5, color=INK, linewidth=0.8, linestyle=(0, (4, 3)))
        bottom.set_title("at the dashed line, as 8 × " + str(s))
        bottom.set_xticks([])
        bottom.set_yticks([])
    axes[0, 0].set_ylabel("neuron")
    axes[0, 1].set_ylabel("wave")
    axes[0, 1].set_yticks([(j + 0.5) * s - 0.5 for j in range(d)], [str(j + 1) for j in range(d)])
    axes[0, 1].tick_params(axis="y", length=0)
    for j in range(1, d):
        axes[0, 1].axhline(j * s - 0.5, color="white", linewidth=1.0)
    return figure


def write(path: Path | str, digits: str = "315", seed: int = 0) -> None:
    """Draw the figure and write it as SVG; the same arguments give the same bytes.

    Args:
        path: where to; the folder is made.
        digits: what the memory is shown.
        seed: of the random basis.

    Raises:
        ValueError: the path does not end in .svg, or there are no digits.
    """
    target = Path(path)
    require(target.suffix == ".svg", got=f"path = {target.name}", allowed="a name ending in .svg", fix="Rename it.")
    figure = draw(digits, seed)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(target, metadata={"Date": None})
    finally:
        plt.close(figure)
