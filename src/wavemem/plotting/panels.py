"""Pictures of a substrate: its activity in space and time, its spectrum, its operators and their eigenvalues.

Every function draws on the axes it is given and returns the artist a caption or colour bar may need. Positions are
numbered as in the papers, column 1 (oldest) to column s (newest), whatever the code's indices are.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.colors import LogNorm, Normalize
from matplotlib.image import AxesImage
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray

from wavemem.checks import require, shape_is
from wavemem.plotting.style import DIVERGING, INK, LEARNED, MUTED, SEQUENTIAL, THEORY
from wavemem.theory.readings import Spectrum2D


def _array(values: ArrayLike | torch.Tensor) -> NDArray[Any]:
    if isinstance(values, torch.Tensor):
        values = values.detach().to("cpu").resolve_conj().numpy()
    return np.asarray(values)


def space_time(
    ax: Axes,
    activity: ArrayLike | torch.Tensor,
    *,
    signed: bool = True,
    limit: float | None = None,
    start: int = 0,
    colorbar: bool = False,
    label: str = "activity",
) -> AxesImage:
    """Space-time picture: time along x, the column of the substrate along y, activity as colour.

    A wave that travels from column s to column 1 falls from the upper left to the lower right, one column per step at ν = 1.

    Args:
        ax: Axes to draw on.
        activity: (time, position) of one channel and one run.
        signed: Diverging colours, symmetric about zero; otherwise sequential colours from the least to the largest value.
        limit: Largest |value| of the colours (or the largest value); taken from the activity unless given.
        start: Time of the first row.
        colorbar: Draw a colour bar beside the axes.
        label: Label of the colour bar.

    Returns:
        The image.

    Raises:
        ValueError: If the activity is not a (time, position) array.
    """
    values = _array(activity)
    shape_is("activity", values, ("time", "position"))
    time, position = values.shape
    top = limit if limit is not None else float(np.nanmax(np.abs(values) if signed else values))
    low = -top if signed else float(np.nanmin(values))
    image = ax.imshow(
        values.T,
        origin="lower",
        aspect="auto",
        interpolation="nearest",
        cmap=DIVERGING if signed else SEQUENTIAL,
        vmin=low,
        vmax=top if top > low else low + 1.0,
        extent=(start - 0.5, start + time - 0.5, 0.5, position + 0.5),
    )
    ax.set(xlabel="time (steps)", ylabel="column $i$")
    ax.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    if position <= 9:
        ax.set_yticks(range(1, position + 1))
    else:
        ax.set_yticks([1, *range(5, position - 1, max(5, 5 * round(position / 25))), position])
    ax.spines[:].set_visible(True)
    if colorbar:
        ax.figure.colorbar(image, ax=ax, label=label, pad=0.02, fraction=0.05)
    return image


def spectrum_image(
    ax: Axes, spectrum: Spectrum2D, *, velocities: tuple[float, ...] = (), log: bool = True, colorbar: bool = False
) -> AxesImage:
    """Two-dimensional spectrum: spatial frequency along x, temporal along y, magnitude as colour.

    Args:
        ax: Axes to draw on.
        spectrum: From `wavemem.theory.readings.spectrum_2d`.
        velocities: Lines temporal = ν · spatial to draw (wrapped at the Nyquist frequency), one per velocity.
        log: Logarithmic colours over at most four decades.
        colorbar: Draw a colour bar beside the axes.

    Returns:
        The image.
    """
    magnitude = spectrum.magnitude
    top = float(magnitude.max())
    positive = magnitude[magnitude > 0]
    norm: Normalize
    if log and positive.size:
        low = max(float(positive.min()), top * 1e-4)
        norm = LogNorm(low, top if top > low else low * 10)
    else:
        norm = Normalize(0.0, top if top > 0 else 1.0)
    step_k, step_w = 1 / len(spectrum.spatial), 1 / len(spectrum.temporal)
    image = ax.imshow(
        np.clip(magnitude, norm.vmin, None),
        origin="lower",
        aspect="auto",
        interpolation="nearest",
        cmap=SEQUENTIAL,
        norm=norm,
        extent=(
            spectrum.spatial[0] - step_k / 2,
            spectrum.spatial[-1] + step_k / 2,
            spectrum.temporal[0] - step_w / 2,
            spectrum.temporal[-1] + step_w / 2,
        ),
    )
    limits = ax.get_xlim(), ax.get_ylim()
    for velocity in velocities:
        k = np.linspace(-0.5, 0.5, 801)
        w = (velocity * k + 0.5) % 1.0 - 0.5
        w[1:][np.abs(np.diff(w)) > 0.5] = np.nan
        ax.plot(k, w, color="white", lw=2.2, alpha=0.8)
        ax.plot(k, w, color=INK, lw=1.0, ls=(0, (4, 3)))
    ax.set(xlim=limits[0], ylim=limits[1])
    ax.set(xlabel="spatial frequency (cycles / column)", ylabel="temporal frequency\n(cycles / step)")
    if colorbar:
        label = "magnitude / shuffled" if spectrum.normalised else "magnitude"
        ax.figure.colorbar(image, ax=ax, label=label, pad=0.02, fraction=0.05)
    return image


def draw_operator(
    ax: Axes,
    matrix: ArrayLike | torch.Tensor,
    s: int,
    d: int,
    *,
    keep: ArrayLike | torch.Tensor | None = None,
    limit: float | None = None,
    colorbar: bool = False,
) -> AxesImage:
    """A matrix that acts on the flattened substrate (TWM Table 1, top; Figs. 4, 7, 8 A): red +, blue −, no colour 0.

    Lines separate the columns of the substrate.

    Args:
        ax: Axes to draw on.
        matrix: (d, s·d) boundary operator, or a square operator among the entries of the substrate; what it has beyond these,
            the complement, is set off by a heavier line and marked ⊥.
        s: Number of columns.
        d: Number of dimensions.
        keep: Which entries of the substrate the operator acts on, in increasing order; all unless given.
        limit: Largest |value| of the colours; taken from the matrix unless given.
        colorbar: Draw a colour bar beside the axes.

    Returns:
        The image.

    Raises:
        ValueError: If the matrix is not two-dimensional or holds complex numbers.
    """
    values = _array(matrix)
    require(
        values.ndim == 2 and not np.iscomplexobj(values),
        f"a matrix of shape {values.shape} and type {values.dtype}",
        "a real matrix (rows, columns)",
        "Draw real and imaginary parts separately.",
    )
    rows, columns = values.shape
    top = limit if limit is not None else float(np.nanmax(np.abs(values))) if values.size else 1.0
    top = top if top > 0 else 1.0
    image = ax.imshow(values, cmap=DIVERGING, vmin=-top, vmax=top, interpolation="nearest", aspect="equal")
    column = np.arange(s * d) // d if keep is None else _array(keep) // d
    m = len(column)
    # Lines are kept light: the grid is a help for counting, the entries are the message.
    for side, axis, draw in ((columns, ax.xaxis, ax.axvline), (rows, ax.yaxis, ax.axhline)):
        if side < m:
            axis.set_ticks(range(side), [str(j + 1) for j in range(side)])
            axis.set_tick_params(length=2)
            continue
        for edge in np.flatnonzero(np.diff(column)) + 0.5:
            draw(edge, color=MUTED, lw=0.5, alpha=0.7)
        present = np.unique(column)
        ticks, names = [np.flatnonzero(column == i).mean() for i in present], [str(i + 1) for i in present]
        if s > 12:  # two digits side by side would touch
            names = [name if i % 3 == 0 else "" for i, name in zip(present, names, strict=True)]
        if side > m:
            draw(m - 0.5, color=INK, lw=1.0)
            ticks, names = [*ticks, (m + side - 1) / 2], [*names, "⊥"]
        axis.set_ticks(ticks, names)
        axis.set_tick_params(length=0)
    ax.set_xlabel("from column $i$" if columns >= m else "from entry")
    ax.set_ylabel("to column $i$" if rows >= m else "to dimension $j$")
    ax.spines[:].set_visible(True)
    if colorbar:
        ax.figure.colorbar(image, ax=ax, label="weight", pad=0.02, fraction=0.05)
    return image


def complex_plane(
    ax: Axes,
    theory: ArrayLike | torch.Tensor | None = None,
    learned: ArrayLike | torch.Tensor | None = None,
    *,
    limit: float | None = None,
    labels: tuple[str, str] = ("theory", "learned"),
    legend: bool = True,
) -> tuple[PathCollection | None, PathCollection | None]:
    """Eigenvalues in the complex plane with the unit circle: theory as open rings, learned as filled dots.

    Args:
        ax: Axes to draw on.
        theory: Complex numbers of any shape, or None.
        learned: Complex numbers of any shape, or None.
        limit: Half width of the axes; enough for all values and the unit circle unless given.
        labels: Names of the two in the legend.
        legend: Draw the legend.

    Returns:
        The two collections of markers (None for one not given).

    Raises:
        ValueError: If neither is given.
    """
    require(
        theory is not None or learned is not None,
        "neither theory nor learned eigenvalues",
        "at least one of them",
        "Pass the eigenvalues of Phi, of W_hh, or both.",
    )
    angle = np.linspace(0, 2 * np.pi, 361)
    ax.plot(np.cos(angle), np.sin(angle), color=MUTED, lw=0.8, zorder=1)
    for line in (ax.axhline, ax.axvline):
        line(0, color=MUTED, lw=0.4, alpha=0.6, zorder=0)
    largest = 1.0
    drawn: list[PathCollection | None] = []
    dots: dict[str, Any] = {"s": 13, "color": LEARNED, "alpha": 0.75, "linewidths": 0, "zorder": 3}
    rings: dict[str, Any] = {"s": 46, "facecolors": "none", "edgecolors": THEORY, "lw": 1.0, "zorder": 4}
    for values, label, look in ((learned, labels[1], dots), (theory, labels[0], rings)):
        z = _array([] if values is None else values).ravel()
        largest = max(largest, float(np.abs(z).max(initial=0.0)))
        drawn.append(None if values is None else ax.scatter(z.real, z.imag, label=label, **look))
    half = limit if limit is not None else 1.12 * largest
    ax.set(xlim=(-half, half), ylim=(-half, half), aspect="equal", xlabel=r"Re $\lambda$", ylabel=r"Im $\lambda$")
    if legend and theory is not None and learned is not None:
        ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), handletextpad=0.3)
    return drawn[1], drawn[0]
