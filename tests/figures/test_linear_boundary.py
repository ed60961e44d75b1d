"""Figures of the chapter on the linear boundary: panels, what they show, and refusals."""

from __future__ import annotations

from collections.abc import Iterator

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch

from wavemem.figures import linear_boundary as figures
from wavemem.substrate.basis import Basis, standard_basis
from wavemem.substrate.boundary import repeat_copy_phi


@pytest.fixture(autouse=True)
def _close_figures() -> Iterator[None]:
    with mpl.rc_context({"figure.constrained_layout.use": True}):
        yield
    plt.close("all")


def test_vectors_and_covectors() -> None:
    basis = Basis(torch.tensor([[1.0, 0.6], [0.2, 1.0]], dtype=torch.float64))
    fig = figures.vectors_and_covectors(basis, torch.tensor([1.9, 1.3], dtype=torch.float64))
    assert len(fig.axes) == 2
    with pytest.raises(ValueError, match="two vectors of the plane"):
        figures.vectors_and_covectors(standard_basis(3), torch.zeros(3))


def test_operators_and_learned_memory() -> None:
    Phi = repeat_copy_phi(3, 2)
    assert len(figures.operators(Phi, Phi, Phi, 3, 2).axes) == 3
    neurons, components = torch.randn(12, 9), torch.randn(12, 6)
    assert len(figures.learned_memory(Phi, neurons, components, 3, 2, "matrix").axes) == 3


def test_two_coordinates_stack_the_waves() -> None:
    s, d, time = 3, 2, 5
    components = torch.arange(float(time * s * d)).reshape(time, s * d)
    fig = figures.two_coordinates(torch.zeros(time, 6) + 1, components, s, d, ("a", "b"))
    image = np.asarray(fig.axes[1].images[0].get_array())
    # Rows of the picture: wave 1's columns 1..s, then wave 2's; entry k = i·d + j of the flattened state.
    assert image[:, 0].tolist() == [0, 2, 4, 1, 3, 5]


def test_gain_diagram_has_one_map_per_case_and_an_amplitude() -> None:
    gains, steps = (0.9, 1.0, 1.1), (4, 8)
    cases = {"a": torch.rand(3, 2), "b": torch.rand(3, 2)}
    fig = figures.gain_diagram(cases, gains, steps, torch.rand(3), ([1.0, 1.1], [0.0, 0.3]))
    assert len(fig.axes) == 4  # two maps, the amplitude, the colour bar


def test_learning_curves_draw_every_seed() -> None:
    rows = pd.DataFrame(
        [
            (seed, iteration, quantity, value)
            for seed in (0, 1)
            for iteration in (1, 50)
            for quantity, value in (("loss", 0.5), ("accuracy", 0.6), ("horizon", 10 if iteration == 1 else 20))
        ],
        columns=["seed", "iteration", "quantity", "value"],
    )
    fig = figures.learning_curves(rows)
    assert [len(ax.lines) for ax in fig.axes] == [2, 2, 2]


def test_learned_spectra_magnify_the_large_eigenvalues() -> None:
    theory = torch.linalg.eigvals(repeat_copy_phi(4, 1))
    learned = torch.cat([1.01 * theory * torch.exp(torch.tensor(1e-3j)), torch.tensor([0.1 + 0j])])
    fig = figures.learned_spectra(theory, {5: learned, 6: learned}, multiplicity=1)
    offsets = np.asarray(fig.axes[2].collections[0].get_offsets())
    np.testing.assert_allclose(offsets[:, 0], 1.0, atol=1e-6)  # milliradians
    np.testing.assert_allclose(offsets[:, 1], 1.01, atol=1e-6)
