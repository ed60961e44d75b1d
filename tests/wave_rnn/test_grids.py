"""The search grids of the Wave-RNN paper as data."""

from __future__ import annotations

import pytest

from wavemem.wave_rnn.grids import MODELS, PAPER_GRIDS, TABLE_5, TABLE_6, TASKS, Grid, grid


@pytest.mark.parametrize(
    ("task", "model", "count"),
    [
        ("copy", "wRNN", 5 * 9),
        ("copy", "iRNN", 5 * 2 * 36),
        ("copy ablation", "wRNN", 4 * 54),
        ("copy ablation", "iRNN", 4 * 108),
        ("adding", "wRNN", 5 * 15),
        ("adding", "iRNN", 5 * 15),
        ("smnist", "wRNN", 48),
        ("smnist", "iRNN", 12),
        ("psmnist", "wRNN", 60),
        ("psmnist", "iRNN", 60),
        ("nscifar10", "wRNN", 6),
        ("nscifar10", "iRNN", 12),
    ],
)
def test_the_paper_s_grids_have_their_sizes(task: str, model: str, count: int) -> None:
    points = list(grid(task, model).points())
    assert len(points) == count
    assert len(set(points)) == count


def test_every_task_has_a_grid_for_both_models_and_no_two_points_a_name() -> None:
    assert set(PAPER_GRIDS) == {(task, model) for task in TASKS for model in MODELS}
    names = [point.name for each in PAPER_GRIDS.values() for point in each.points()]
    assert len(set(names)) == len(names)
    assert not any(set(name) & set(" /") for name in names)


@pytest.mark.parametrize(("task", "table"), [("copy", TABLE_5), ("adding", TABLE_6)])
def test_what_the_paper_found_best_is_a_point_of_its_grid(task: str, table: tuple) -> None:
    assert len(table) == (15 if task == "copy" else 10)
    for found in table:
        points = grid(task, found.model).points()
        same = [
            p for p in points if (p.T, p.units, p.channels, p.lr) == (found.T, found.units, found.channels, found.lr)
        ]
        assert any((p.clip, p.recurrent, p.activation) == (found.clip, found.recurrent, "relu") for p in same)


def test_a_part_of_a_grid() -> None:
    part = grid("copy", "iRNN").only(lengths=(0, 30), units=(100,), clips=())
    assert (part.lengths, part.units, part.clips) == ((0, 30), (100,), (0.0, 1.0, 10.0))
    with pytest.raises(ValueError, match=r"learning_rates = \(0\.5,\) for copy, iRNN; allowed: among \(0\.01"):
        part.only(learning_rates=(0.5,))
    with pytest.raises(ValueError, match="hyper-parameter"):
        part.only(momentum=(0.9,))


def test_unknown_or_empty_grids_are_refused() -> None:
    with pytest.raises(ValueError, match="task = 'sorting'; allowed: 'copy'"):
        grid("sorting", "wRNN")
    with pytest.raises(ValueError, match="model = 'LSTM'"):
        grid("copy", "LSTM")
    with pytest.raises(ValueError, match="clips of copy, wRNN is empty"):
        Grid("copy", "wRNN", clips=())
