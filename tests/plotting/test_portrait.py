"""A network in the basis of its memories is drawn with every entry where its number says."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pytest
import torch

from wavemem.elman import variable_memories as travel
from wavemem.elman.digits import digit_history
from wavemem.elman.network import ElmanEnsemble
from wavemem.plotting import portrait as drawing
from wavemem.streams import stream
from wavemem.theory.basis import random_basis
from wavemem.theory.boundary import phi_in_basis
from wavemem.theory.hds import random_histories
from wavemem.theory.selection import paper_task
from wavemem.theory.spectrum import eigenvalues, reduced_basis


def test_memories_over_time_put_the_newest_column_on_top() -> None:
    s, d = 3, 2
    _, ax = plt.subplots()
    content = torch.zeros(5, s, d)
    content[2, s - 1, 1] = 1.0
    content[3, 0, 0] = torch.nan
    drawing.memories_over_time(ax, content)
    shown = ax.images[0].get_array()
    assert shown.shape == (s * d, 5)
    assert shown[1, 2] == 1.0  # newest column, second dimension
    assert [t.get_text() for t in ax.get_yticklabels()] == ["3", "2", "1"]
    assert ax.lines[0].get_xdata()[0] == s + 0.5


def designed(name: str, s: int, d: int, N: int, u: torch.Tensor, steps: int) -> drawing.Portrait:
    """A memory in an orthonormal basis, small enough for tanh to be nearly linear, that was shown u."""
    task = paper_task(name, s, d)
    basis = random_basis(s * d, stream(0, "figures"), "orthogonal", N=N)
    W, W_r = phi_in_basis(task.Phi(), basis), basis.dual_block(s - 1, d)
    net = ElmanEnsemble(W[None], 1e-3 * basis.block(s - 1, d)[None], W_r[None]).double()
    histories = torch.cat([u[None], random_histories(32, s, d, stream(1, "u"), torch.float64)])
    with torch.no_grad():
        h = net.states(histories.movedim(1, 0)[:, None], steps=steps)[:, 0]
    noise = torch.randn(200, N, generator=stream(2, "noise"), dtype=torch.float64)
    found = travel.algorithm_1(W.double(), W_r.double(), s, reduced_basis(task.Phi()).keep, states=noise, components=3)
    content = travel.standardised(found.substrate(h[:, 0]), found.substrate(h), skip=s)
    return drawing.Portrait(found.full_operator(W.double()), found.keep, W.double(), task.Phi(), h[:, 0], content)


def test_digits_stand_in_every_column_of_a_designed_network() -> None:
    u = digit_history("315", 8, 8, torch.float64)
    made = designed("T1", 8, 8, 80, u, 24)
    # After every cycle the substrate holds the drawing, in units of the deviation of ±1 histories.
    for step in (8, 16, 24):
        assert bool((torch.sign(made.content[step - 1]) == u).all())
    # The newest column is written in the order of the drawing, the next one a step later.
    for age in range(3):
        assert bool((torch.sign(made.content[age : age + 8, 7 - age]) == u).all())


@pytest.mark.parametrize("name", ["T1", "T3"])
def test_four_panels(name: str) -> None:
    u = digit_history("4", 4, 4, torch.float64)
    made = designed(name, 4, 4, 24, u, 16)
    assert len(made.operator) > len(made.keep)
    plain = drawing.four_panels(made, u)
    for fig, axes in ((plain, 6), (drawing.four_panels(made, u, F=paper_task(name, 4, 4).F), 7)):
        assert len(fig.axes) == axes
        fig.canvas.draw()
    counts = [text.get_text() for ax in plain.axes for text in ax.texts]
    assert sum(int(count) for count in counts) == int((eigenvalues(made.Phi).abs() > 0.9).sum())
