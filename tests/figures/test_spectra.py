"""The pictures of spectra and fixed points show what they are given."""

from __future__ import annotations

from collections.abc import Iterator

import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest

from wavemem.figures import fixed_points, spectra
from wavemem.substrate.spectrum import theoretical_eigenvalues
from wavemem.tasks.selection import paper_task


@pytest.fixture(autouse=True)
def close_figures() -> Iterator[None]:
    yield
    plt.close("all")


@pytest.mark.parametrize("name", ["T1", "T2", "T3", "T4"])
def test_rays_count_every_eigenvalue_once(name: str) -> None:
    theory = theoretical_eigenvalues(paper_task(name, 4, 4), 0.9).numpy()
    found = spectra.rays(theory, 1.1 * theory * np.exp(0.02j))
    assert sum(n for _, n, _ in found) == len(theory)
    assert all(n == m for _, n, m in found)
    angles = [angle for angle, _, _ in found]
    assert angles == sorted(angles)
    assert min(np.diff(angles)) > 0.3


def test_rays_merge_across_minus_pi() -> None:
    theory = np.exp(1j * np.array([np.pi - 1e-7, -np.pi + 1e-7, 0.0]))
    assert [(n, m) for _, n, m in spectra.rays(theory, theory)] == [(1, 1), (2, 2)]
    with pytest.raises(ValueError, match="no theoretical eigenvalue"):
        spectra.rays(theory[:0], theory)


def test_counts_stand_at_the_rays() -> None:
    theory = np.array([1.0, 1.0, -1.0]) + 0j
    panel = spectra.Spectrum("T", theory, np.array([1.01, -1.01, 0.3]) + 0j)
    fig = spectra.task_spectra([[panel, panel], [panel]])
    texts = [text.get_text() for text in fig.axes[0].texts]
    assert texts == ["1/2", "1"]
    assert len(fig.axes) == 4
    with pytest.raises(ValueError, match="no panel"):
        spectra.task_spectra([[]])


def test_pairings_draw_one_chord_per_pair() -> None:
    theory = np.exp(2j * np.pi * np.arange(3) / 3)
    fig = spectra.pairings(theory, theory, {"a": np.stack([theory, theory], 1)})
    assert len(fig.axes[0].lines) == 2 + 3


def test_counts_by_threshold_keep_their_steps() -> None:
    moduli = np.linspace(0.5, 1.2, 8)
    fig = spectra.count_by_threshold(moduli, {"a": {"T1": np.ones(8)}, "b": {"T1": np.zeros(8)}})
    assert np.array_equal(fig.axes[0].lines[1].get_ydata(), np.ones(8))
    with pytest.raises(ValueError, match="no panel"):
        spectra.count_by_threshold(moduli, {})
    assert "not measured" in spectra.not_measured().axes[0].texts[0].get_text()


def test_one_neuron_marks_what_was_found() -> None:
    h = np.linspace(-1, 1, 11)
    panels = {"a": (np.tanh(2 * h), (np.tanh(2 * h) - h) ** 2 / 2)}
    fig = fixed_points.one_neuron(h, panels, {"a": ([(0.0, False), (0.9, True)], np.array([0.4]))})
    assert len(fig.axes[0].lines) == 2 + 3  # diagonal and map; two points and a slow one


def test_census_has_a_dot_per_network_and_a_bar_per_expectation() -> None:
    full = fixed_points.FixedPointPanel("T2", [np.array([0, 0, 1]), np.array([0, 1])], {0: 2, 1: 1}, [np.ones((2, 3))])
    empty = fixed_points.FixedPointPanel("T3", [np.array([10])], {10: 1}, [np.zeros((0, 3))])
    fig = fixed_points.fixed_point_census([full, empty])
    assert [bar.get_height() for bar in fig.axes[0].patches] == [2, 1]
    assert len(fig.axes[0].lines) == 2
    assert "no fixed point" in fig.axes[3].texts[0].get_text()
    with pytest.raises(ValueError, match="no panel"):
        fixed_points.fixed_point_census([])


def test_other_points_and_long_recall() -> None:
    theory = np.array([1.0, -1.0]) + 0j
    fig = fixed_points.at_the_origin_and_elsewhere({"a": (theory, 1.1 * theory), "b": (theory, 0.5 * theory)})
    assert len(fig.axes) == 2
    with pytest.raises(ValueError, match="no panel"):
        fixed_points.at_the_origin_and_elsewhere({})
    steps = np.array([1.0, 10.0, 100.0])
    live = fixed_points.LongRun("T1", steps, np.ones((2, 3)), np.zeros((2, 3)))
    stored = fixed_points.LongRun("T2", steps, np.ones((1, 3)), np.ones((1, 3)), stored=True)
    fig = fixed_points.long_recall([live, stored], tested=10)
    assert len(fig.axes[1].lines) == 1 + 3
    assert float(fig.axes[1].lines[1].get_ydata()[0]) == 1e-8  # exact zero has a place on a logarithmic axis
    assert [text.get_text() for text in fig.legends[0].get_texts()] == ["T1", "T2", "stored, s = d = 8"]
    with pytest.raises(ValueError, match="no run"):
        fixed_points.long_recall([], tested=10)
