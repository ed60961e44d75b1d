"""The grid of velocities and register lengths: its rows, what the runs share, resumption, stored networks."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pandas as pd
import pytest
import torch

from wavemem.records.experiment import Result
from wavemem.ssm.string_spans import Config, cells, initial, orderings, run, summarise, velocities

TINY = replace(
    Config.profile("quick"),
    registers=(2, 5),
    velocities=(0.4, 1.0),
    learned_registers=(2,),
    learned_velocities=(0.3, 0.6),
    letters=5,
    lengths=(3, 4),
    context=24,
    test_lengths=(4, 6),
    test_size=6,
    width=8,
    states=4,
    runs=2,
    iterations=6,
    batch=3,
    log_every=2,
)


@pytest.fixture(scope="module")
def result() -> Result:
    return run(TINY, 3, "cpu", progress=False)


def test_every_cell_and_seed_is_there_once(result: Result) -> None:
    table = cells(result.rows)
    found = sorted(map(tuple, table[["register", "velocity", "learned", "seed"]].to_numpy().tolist()))
    frozen = [(n, v, False, s) for n in (2, 5) for v in (0.4, 1.0) for s in (3000, 3001)]
    assert found == sorted(frozen + [(2, v, True, s) for v in (0.3, 0.6) for s in (3000, 3001)])
    columns = {"characters 4", "strings 6", "mean loss", "updates to half", "velocity mean", "velocity moved"}
    assert columns <= set(table.columns)
    curve = result.rows[result.rows["quantity"] == "loss"]
    assert sorted(set(curve["iteration"])) == [1, 2, 4, 6]
    assert len(summarise(result.rows)) == 6


def test_frozen_velocities_stay_and_learned_ones_move(result: Result) -> None:
    table = cells(result.rows)
    frozen, learned = table[~table["learned"]], table[table["learned"]]
    assert (frozen["velocity moved"] == 0).all()
    assert (frozen["velocity mean"] - frozen["velocity"]).abs().max() < 1e-6
    assert (learned["velocity moved"] > 0).all()


def test_runs_of_one_seed_differ_in_the_velocity_alone() -> None:
    network = initial(TINY, 5, False, [3, 4])
    for name, value in network.named_parameters():
        assert torch.equal(value[:2], value[2:]), name
        assert not name.endswith("theta")
    assert network.velocities()[:2].unique().tolist() == pytest.approx([0.4])
    assert torch.equal(network.velocities()[2:], torch.ones_like(network.velocities()[2:]))


def test_stored_velocities_are_those_of_the_rows(result: Result) -> None:
    found = velocities(TINY, result, 2)
    assert found.shape == (2, 2, 2 * 2 * 8)  # starts, seeds, layers × channels
    table = cells(result.rows)
    table = table[table["learned"]].sort_values(["velocity", "seed"])
    assert found.mean(-1).flatten().tolist() == pytest.approx(table["velocity mean"].tolist(), abs=1e-6)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Config(registers=(), learned_registers=()), "no cells"),
        (lambda: Config(context=20), "at least 23"),
        (lambda: velocities(TINY, Result(pd.DataFrame()), 5), "n = 5"),
    ],
)
def test_bad_input_is_explained(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_an_explanation_that_only_tells_rows_apart_is_found_out() -> None:
    """Loss falls with the neurons, and rises with reach within each row: over all cells reach looks right, within rows wrong."""
    grid = [(n, v) for n in (2, 4, 8) for v in (0.25, 0.5, 1.0)]
    cells = pd.DataFrame(
        [{"register": n, "velocity": v, "seed": s, "mean loss": 10 / n - 0.1 * v} for n, v in grid for s in (0, 1)]
    )
    table = orderings(cells, 2, (4, 10))
    assert table.loc["neurons", "all cells"] == pytest.approx(3 / math.sqrt(10))  # nine cells in three ties of three
    assert table.loc["neurons", "within columns"] == pytest.approx(1)
    assert math.isnan(table.loc["neurons", "within rows"])
    assert table.loc["reach", "all cells"] > 0
    assert table.loc["reach", "within rows"] == pytest.approx(-1)
    assert table.loc["slower velocity", "n = 4"] == pytest.approx(-1)
