"""The figure on the first page: one memory seen among its neurons and seen in its waves.

Nothing in it is drawn by hand but the picture that is stored. A repeat-copy memory (TWM Eq. 29) in a random orthonormal basis
is shown the picture column by column and then runs on its own; its states are read twice.
"""

from __future__ import annotations

from pathlib import Path

import torch
from jaxtyping import Float
from matplotlib import pyplot as plt
from torch import Tensor

from wavemem.plotting.style import DIVERGING, INK, figure_size, use_book_style
from wavemem.streams import stream
from wavemem.theory.basis import Basis, random_basis
from wavemem.theory.boundary import repeat_copy_weights

_PICTURE = """
#####...#...#####.
...#...##...#.....
..#.....#...####..
...#....#.......#.
....#...#.......#.
#...#...#...#...#.
.###...###...###..
..................
"""


def memory() -> tuple[Float[Tensor, "s d"], Basis, Float[Tensor, "time n"]]:
    """What is stored, the basis of the memory, and the states of its neurons over four cycles (TWM Eqs. 7 and 29)."""
    rows = [[1.0 if pixel == "#" else -1.0 for pixel in row] for row in _PICTURE.split()]
    u = torch.tensor(rows, dtype=torch.float64).T
    s, d = u.shape
    basis = random_basis(s * d, stream(0, "welcome figure"), kind="orthogonal")
    W_hh, W_uh, _ = repeat_copy_weights(s, d, basis)
    h = torch.zeros(s * d, dtype=u.dtype)
    states = []
    for t in range(4 * s):
        h = W_hh @ h + (W_uh @ u[t] if t < s else 0)
        states.append(h)
    return u, basis, torch.stack(states)


def write(path: Path) -> None:
    """Draw the states in the neurons' coordinates (left) and in the wave basis (right), and write SVG: always the same bytes."""
    u, basis, states = memory()
    s, d = u.shape
    waves = basis.components(states)  # (time, s·d), column by column of the substrate
    # Group the rows by wave, newest column on top, so that each wave is a band that activity crosses downwards.
    bands = waves.unflatten(-1, (s, d)).flip(-2).transpose(-1, -2).flatten(-2)
    use_book_style()
    figure, axes = plt.subplots(2, 2, figsize=figure_size(4.6), height_ratios=[2.6, 1])
    # Raw pixels, not resampled: the browser scales them, and the file does not depend on the resolution.
    look = {"cmap": DIVERGING, "vmin": -1.6, "vmax": 1.6, "interpolation": "none"}
    for (top, bottom), over_time, snapshot, title in (
        (axes[:, 0], states, states[s - 1].reshape(d, s), f"the states of {s * d} neurons"),
        (axes[:, 1], bands, waves[s - 1].reshape(s, d).T, "the same states in the wave basis"),
    ):
        top.imshow(over_time.T.numpy(), aspect="auto", **look)
        top.set(title=title, xlabel="time step")
        top.axvline(s - 0.5, color=INK, linewidth=0.8, linestyle=(0, (4, 3)))
        bottom.imshow(snapshot.numpy(), **look)
        bottom.set(title=f"at the dashed line, as {d} × {s}", xticks=[], yticks=[])
    axes[0, 0].set_ylabel("neuron")
    axes[0, 1].set_ylabel("wave")
    axes[0, 1].set_yticks([(j + 0.5) * s - 0.5 for j in range(d)], range(1, d + 1))
    axes[0, 1].tick_params(axis="y", length=0)
    for j in range(1, d):
        axes[0, 1].axhline(j * s - 0.5, color="white", linewidth=1.0)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
