"""Drawings of variable memories show every entry where its number says."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch

from wavemem.figures import variable_memories as figures
from wavemem.substrate.memories import VariableMemories
from wavemem.tasks.selection import paper_task

S, D = 3, 2


def memories(keep: list[int] | None = None) -> VariableMemories:
    kept = torch.tensor(keep if keep is not None else list(range(S * D)))
    return VariableMemories(torch.eye(8, dtype=torch.float64)[:, kept], kept, S, D)


def test_operator_has_a_line_between_columns_and_a_place_for_the_complement() -> None:
    fig, (left, right) = plt.subplots(1, 2)
    Phi = paper_task("T1", S, D).Phi()
    image = figures.operator_in_basis(left, Phi, memories(), limit=2.0, title="Φ", colorbar=True)
    assert image.get_clim() == (-2.0, 2.0)
    assert [t.get_text() for t in left.get_xticklabels()] == ["1", "2", "3"]
    assert sorted({float(line.get_xdata()[0]) for line in left.lines if line.get_xdata()[0] > 1}) == [1.5, 3.5]
    some = memories([1, 2, 3, 5])
    figures.operator_in_basis(right, torch.zeros(6, 6), some)
    assert [t.get_text() for t in right.get_xticklabels()] == ["1", "2", "3", "⊥"]
    assert list(right.get_xticks()) == [0.0, 1.5, 3.0, 4.5]
    with pytest.raises(ValueError, match="square"):
        figures.operator_in_basis(left, torch.zeros(2, 2), some)
    plt.close(fig)


def test_memories_over_time_put_the_newest_column_on_top() -> None:
    fig, ax = plt.subplots()
    content = torch.full((5, S, D), 0.0)
    content[2, S - 1, 1] = 1.0
    content[3, 0, 0] = float("nan")
    shown = figures.memories_over_time(ax, content, input_steps=3, colorbar=True, title="x").get_array()
    assert shown.shape == (S * D, 5)
    assert shown[1, 2] == 1.0  # newest column, second dimension
    assert [t.get_text() for t in ax.get_yticklabels()] == ["3", "2", "1"]
    scaled = figures.memories_over_time(ax, 10 * content.nan_to_num(), normalise=True).get_array()
    assert np.isclose(np.abs(scaled).max(), 1 / np.std([0, 0, 1, 0, 0]))
    with pytest.raises(ValueError, match=r"\(time, s, d\)"):
        figures.memories_over_time(ax, content[0])
    plt.close(fig)


def test_neurons_over_time_is_one_row_per_neuron() -> None:
    fig, ax = plt.subplots()
    assert figures.neurons_over_time(ax, np.zeros((5, 8)), input_steps=2, title="h").get_array().shape == (8, 5)
    assert ax.lines[0].get_xdata()[0] == 2.5
    with pytest.raises(ValueError, match=r"\(time, N\)"):
        figures.neurons_over_time(ax, np.zeros((5, 2, 8)))
    plt.close(fig)


def test_whole_figures() -> None:
    Phi = paper_task("T1", S, D).Phi()
    first = figures.basis_comparison(Phi, {"a": (memories(), Phi), "b": (memories(), -Phi)})
    assert len(first.axes) == 4
    second = figures.pollution_panels({"T1": (torch.eye(6), range(6)), "F": (-4 * torch.eye(6), [0, 1])}, S, D)
    assert len(second.axes) == 3
    third = figures.decoding_over_time({"T1": {"a": [np.ones(5), np.ones(5)], "b": [np.ones(5)]}}, s=2)
    assert len(third.axes[0].lines) == 3 + 2
    rows = [
        {"task": t, "weight_decay": w, "seed": k, "estimate": e, "quantity": q, "value": 1.0 + k}
        for t in ("T1", "T2")
        for w in (0.0, 1e-3)
        for k in range(2)
        for e in ("a", "b")
        for q in ("x", "y")
    ]
    fourth = figures.quality_by_cell(pd.DataFrame(rows), {"x": "X", "y": "Y"}, {"a": "A", "b": "B"}, log=["y"])
    assert fourth.axes[1].get_yscale() == "log"
    assert [t.get_text().split("\n")[0] for t in fourth.axes[1].get_xticklabels()] == ["T1", "T1", "T2", "T2"]
    fifth = figures.input_against_boundary({"T2": (np.ones((2, 4)), np.zeros((2, 4)))})
    assert len(fifth.axes[0].lines) == 2 * 2 + 2
    for fig in (first, second, third, fourth, fifth):
        fig.canvas.draw()
        plt.close(fig)
