"""The pictures of a substrate show what they are given, in the papers' numbering."""

from __future__ import annotations

from collections.abc import Iterator

import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from wavemem.plotting.panels import complex_plane, draw_operator, space_time, spectrum_image
from wavemem.theory.boundary import repeat_copy_phi
from wavemem.theory.readings import spectrum_2d


@pytest.fixture(autouse=True)
def close_figures() -> Iterator[None]:
    yield
    plt.close("all")


def test_space_time_has_time_along_x_and_column_one_at_the_bottom() -> None:
    activity = torch.tensor([[1.0, -3.0], [0.0, 2.0], [0.5, 0.0]])
    _, ax = plt.subplots()
    image = space_time(ax, activity, start=5)
    assert np.array_equal(np.asarray(image.get_array()), activity.T.numpy())
    assert image.get_extent() == [4.5, 7.5, 0.5, 2.5]
    assert image.origin == "lower"
    assert image.get_clim() == (-3.0, 3.0)
    assert [tick for tick in ax.get_yticks() if 1 <= tick <= 2] == [1, 2]


def test_space_time_of_magnitudes_uses_their_range() -> None:
    _, ax = plt.subplots()
    assert space_time(ax, np.array([[1.0, 4.0]]), signed=False).get_clim() == (1.0, 4.0)
    with pytest.raises(ValueError, match="one run and one channel"):
        space_time(ax, np.zeros((2, 3, 4)))


def test_operator_is_symmetric_in_colour_and_lined_by_columns() -> None:
    s, d = 4, 3
    _, ax = plt.subplots()
    image = draw_operator(ax, repeat_copy_phi(s, d), s, d)
    assert image.get_clim() == (-1.0, 1.0)
    lines = sorted(
        {float(np.asarray(line.get_xdata())[0]) for line in ax.lines if line.get_xdata()[0] == line.get_xdata()[1]}
    )
    assert lines == [2.5, 5.5, 8.5]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["1", "2", "3", "4"]
    with pytest.raises(ValueError, match="real"):
        draw_operator(ax, np.eye(2) * 1j, 1, 2)


def test_complex_plane_shows_both_spectra() -> None:
    theory = np.exp(2j * np.pi * np.arange(4) / 4)
    _, ax = plt.subplots()
    rings, dots = complex_plane(ax, theory, 1.5 * theory)
    assert rings is not None
    assert dots is not None
    assert len(rings.get_offsets()) == len(dots.get_offsets()) == 4
    assert ax.get_xlim()[1] >= 1.5
    with pytest.raises(ValueError, match="neither"):
        complex_plane(ax)


def test_spectrum_image_marks_velocities() -> None:
    spectrum = spectrum_2d(torch.randn(12, 8))
    _, ax = plt.subplots()
    image = spectrum_image(ax, spectrum, velocities=(1.0,))
    assert np.asarray(image.get_array()).shape == spectrum.magnitude.shape
    assert len(ax.lines) == 2
