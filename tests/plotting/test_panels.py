"""The pictures of a substrate show what they are given, in the papers' numbering."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from wavemem.plotting.panels import complex_plane, draw_operator, space_time, spectrum_image
from wavemem.theory.readings import spectrum_2d
from wavemem.theory.selection import paper_task


def test_space_time_has_time_along_x_and_column_one_at_the_bottom() -> None:
    activity = torch.tensor([[1.0, -3.0], [0.0, 2.0], [0.5, 0.0]])
    _, ax = plt.subplots()
    image = space_time(ax, activity, start=5)
    assert np.array_equal(np.asarray(image.get_array()), activity.T.numpy())
    assert image.get_extent() == [4.5, 7.5, 0.5, 2.5]
    assert image.origin == "lower"
    assert image.get_clim() == (-3.0, 3.0)
    assert list(ax.get_yticks()) == [1, 2]
    space_time(ax, torch.randn(9, 23), colorbar=True)
    assert list(ax.get_yticks()) == [1, 5, 10, 15, 20, 23]
    assert space_time(ax, np.array([[1.0, 4.0]]), signed=False).get_clim() == (1.0, 4.0)
    with pytest.raises(ValueError, match="activity has shape"):
        space_time(ax, np.zeros((2, 3, 4)))


@pytest.mark.parametrize(
    ("side", "keep", "lines", "names", "ticks"),
    [
        (12, None, [2.5, 5.5, 8.5], "1 2 3 4", [1, 4, 7, 10]),
        (14, None, [2.5, 5.5, 8.5, 11.5], "1 2 3 4 ⊥", [1, 4, 7, 10, 12.5]),
        (4, [1, 3, 4, 11], [0.5, 2.5], "1 2 4", [0, 1.5, 3]),
        (6, [1, 3, 4, 11], [0.5, 2.5, 3.5], "1 2 4 ⊥", [0, 1.5, 3, 4.5]),
    ],
)
def test_operator_is_symmetric_in_colour_and_lined_by_columns(
    side: int, keep: list[int] | None, lines: list[float], names: str, ticks: list[float]
) -> None:
    _, ax = plt.subplots()
    image = draw_operator(ax, torch.eye(side) / 2, s=4, d=3, keep=keep, colorbar=True)
    assert image.get_clim() == (-0.5, 0.5)
    upright = [line.get_xdata()[0] for line in ax.lines if line.get_xdata()[0] == line.get_xdata()[1]]
    assert sorted(upright) == lines
    for axis in (ax.xaxis, ax.yaxis):
        assert list(axis.get_ticklocs()) == ticks
        assert " ".join(label.get_text() for label in axis.get_ticklabels()) == names


def test_a_boundary_has_rows_of_dimensions() -> None:
    _, ax = plt.subplots()
    draw_operator(ax, paper_task("T1", 4, 3).F, 4, 3, limit=2.0)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["1", "2", "3"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("from column $i$", "to dimension $j$")
    with pytest.raises(ValueError, match="real"):
        draw_operator(ax, np.eye(2) * 1j, 1, 2)


def test_complex_plane_shows_both_spectra() -> None:
    theory = np.exp(2j * np.pi * np.arange(4) / 4)
    _, ax = plt.subplots()
    for marks in complex_plane(ax, theory, 1.5 * theory):
        assert len(marks.get_offsets()) == 4
    assert ax.get_xlim()[1] >= 1.5
    with pytest.raises(ValueError, match="neither"):
        complex_plane(ax)


def test_spectrum_image_marks_velocities() -> None:
    spectrum = spectrum_2d(torch.randn(12, 8))
    _, ax = plt.subplots()
    image = spectrum_image(ax, spectrum, velocities=(1.0,), colorbar=True)
    assert np.asarray(image.get_array()).shape == spectrum.magnitude.shape
    assert len(ax.lines) == 2
