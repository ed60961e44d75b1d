"""Figures of the chapter on visible waves: panels, what they show, and refusals."""

from __future__ import annotations

from collections.abc import Iterator

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from wavemem.figures import hidden_waves as figures
from wavemem.models.elman import ElmanEnsemble
from wavemem.streams import stream
from wavemem.substrate import travel
from wavemem.substrate.basis import random_basis
from wavemem.substrate.boundary import phi_in_basis
from wavemem.substrate.readings import spectrum_2d
from wavemem.substrate.spectrum import eigenvalues, reduced_basis
from wavemem.substrate.variable_memories import VariableMemories, algorithm_1
from wavemem.tasks.digits import digit_history
from wavemem.tasks.episodes import random_histories
from wavemem.tasks.selection import paper_task


@pytest.fixture(autouse=True)
def _close_figures() -> Iterator[None]:
    with mpl.rc_context({"figure.constrained_layout.use": True}):
        yield
    plt.close("all")


def designed(name: str, s: int, d: int, N: int) -> ElmanEnsemble:
    """A memory in an orthonormal basis, small enough for tanh to be nearly linear."""
    basis = random_basis(s * d, stream(0, "figures"), "orthogonal", N=N)
    W = phi_in_basis(paper_task(name, s, d).Phi(), basis)
    newest = basis.block(s - 1, d)
    return ElmanEnsemble(W[None], 1e-3 * newest[None], basis.dual_block(s - 1, d)[None]).double()


def portrait(name: str, s: int, d: int, N: int, u: torch.Tensor, steps: int) -> figures.Portrait:
    net = designed(name, s, d, N)
    W, W_r = net.W_hh[0].detach(), net.W_r[0].detach()
    histories = torch.cat([u[None], random_histories(32, s, d, stream(1, "u"), torch.float64)])
    with torch.no_grad():
        h = net.states(histories.movedim(1, 0)[:, None], steps=steps)[:, 0]
    keep = reduced_basis(paper_task(name, s, d).Phi()).keep
    noise = torch.randn(200, N, generator=stream(2, "noise"), dtype=torch.float64)
    memories = algorithm_1(W, W_r, s, keep, states=noise, components=3)
    content = travel.standardised(memories.substrate(h[:, 0]), memories.substrate(h), skip=s)
    return figures.Portrait(memories, W, paper_task(name, s, d).Phi(), h[:, 0], content)


def test_digits_stand_in_every_column_of_a_designed_network() -> None:
    u = digit_history("315", 8, 8, torch.float64)
    made = portrait("T1", 8, 8, 80, u, 24)
    # After every cycle the substrate holds the drawing, in units of the deviation of ±1 histories.
    for step in (8, 16, 24):
        assert bool((torch.sign(made.content[step - 1]) == u).all())
    # The newest column is written in the order of the drawing, the next one a step later.
    for age in range(3):
        assert bool((torch.sign(made.content[age : age + 8, 7 - age]) == u).all())
    fig = figures.two_bases(u, made.neurons, made.content)
    assert [len(ax.images) for ax in fig.axes] == [1, 1, 1]


def test_film() -> None:
    made = portrait("T1", 4, 4, 20, digit_history("4", 4, 4, torch.float64), 12)
    fig = figures.film(made.neurons, made.content, (2, 4, 9), s=4)
    assert len(fig.axes) == 6
    assert fig.axes[0].get_title() == "step 2 (input)"
    with pytest.raises(ValueError, match="1 to 12"):
        figures.film(made.neurons, made.content, (2, 13), s=4)


@pytest.mark.parametrize("name", ["T1", "T3"])
def test_four_panels(name: str) -> None:
    made = portrait(name, 4, 4, 24, digit_history("4", 4, 4, torch.float64), 16)
    assert made.memories.complement is not None
    plain = figures.four_panels(made)
    rich = figures.four_panels(made, u=digit_history("4", 4, 4), F=paper_task(name, 4, 4).F)
    for fig, axes in ((plain, 5), (rich, 7)):
        assert len(fig.axes) == axes
        fig.canvas.draw()
    counts = [text.get_text() for ax in plain.axes for text in ax.texts]
    assert sum(int(count) for count in counts) == int((eigenvalues(made.Phi).abs() > 0.9).sum())


def test_operators_and_grid_with_a_gap() -> None:
    made = portrait("T2", 4, 4, 24, digit_history("4", 4, 4, torch.float64), 16)
    network = (made.memories, made.W_hh, made.Phi)
    assert len(figures.operators_beside_theory({"T2": network, "again": network}).axes) == 5
    fig = figures.operator_grid({"T2": [("seed 0", made.memories, made.W_hh), None], "T3": [None, None]})
    assert [text.get_text() for ax in fig.axes for text in ax.texts] == ["not measured yet"] * 3
    assert len(figures.operator_grid({"T2": [None]}).axes) == 1


def test_direction_counts() -> None:
    theory = eigenvalues(paper_task("T1", 4, 3).Phi())
    learned = torch.cat([1.02 * theory * torch.exp(torch.tensor(0.01j)), torch.tensor([0.3 + 0.1j])])
    counts = figures.direction_counts(theory, learned)
    assert [(expected, found) for _, expected, found in counts] == [(3, 3)] * 4
    np.testing.assert_allclose([angle for angle, _, _ in counts], np.arange(4) * np.pi / 2, atol=1e-3)
    assert figures.direction_counts(0.1 * theory, learned) == []


def test_strips_of_numbers() -> None:
    groups = {"T1": {"a": [0.1, 0.2], "b": [float("nan")]}, "T2": {"a": [1.0], "b": []}}
    assert len(figures.shares({"left": groups, "right": groups}).axes) == 2
    assert len(figures.readings_by_basis({"one": groups, "two": groups}).axes) == 2
    lines = {"T1": {"a": np.ones((2, 9)), "b": np.zeros(9)}, "T2": {"a": [[0.5] * 9], "b": [[0.1] * 9]}}
    assert len(figures.agreement_over_time(lines, s=4).axes) == 2


def test_spectra_and_whereabouts() -> None:
    activity = torch.randn(8, 5, 3, 4, generator=stream(0, "activity"), dtype=torch.float64)
    fig = figures.spectra({"one": (spectrum_2d(activity), 0.25), "two": (spectrum_2d(activity.flip(-1)), 0.9)})
    assert fig.axes[1].get_title().endswith("90 % on the line")
    fig = figures.whereabouts({"a": torch.eye(3), "b": torch.zeros(3, 3)})
    assert [len(ax.texts) for ax in fig.axes[:2]] == [9, 9]


def test_a_portrait_without_complement_is_drawn() -> None:
    made = portrait("T1", 4, 4, 24, digit_history("4", 4, 4, torch.float64), 16)
    bare = VariableMemories(made.memories.Psi, made.memories.keep, 4, 4)
    assert figures.four_panels(figures.Portrait(bare, made.W_hh, made.Phi, made.neurons, made.content)).axes
