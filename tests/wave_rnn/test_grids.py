"""Grid searches: the paper's grids, every point of which is trained and chosen on validation; the edges of ours."""

from __future__ import annotations

import dataclasses
from itertools import product

import pandas as pd
import pytest
import torch

from wavemem.records.experiment import Result
from wavemem.wave_rnn import adding, adding_search, copying
from wavemem.wave_rnn.grids import POINT, Best, at_edge, best, neighbour, scores, search, summarise

TINY = copying.GridConfig(
    learning_rates=(1e-2, 1e-3), clips=(0.0,), small=8, iterations=12, batch=8, held_out=20, evaluations=4, memory=2
)
PAPER = {**copying.PAPER_GRIDS, **adding_search.PAPER_GRIDS}


def test_the_paper_s_grids_have_their_sizes_and_no_two_points_a_name() -> None:
    counts = {name: len(list(product(*grid.values()))) for name, grid in PAPER.items()}
    assert list(counts.values()) == [5 * 9, 5 * 2 * 36, 4 * 54, 4 * 108, 5 * 15, 5 * 15]
    configs = (copying.GridConfig.profile("paper"), adding_search.GridConfig.profile("paper"))
    names = [point.name for config in configs for point in config.points]
    assert len(set(names)) == len(names) == sum(counts.values())
    assert not any(set(name) & set(" /") for name in names)


@pytest.mark.parametrize(("task", "table"), [("copy", copying.TABLE_5), ("adding", adding.TABLE_6)])
def test_what_the_paper_found_best_is_a_point_of_its_grid(task: str, table: tuple[Best, ...]) -> None:
    assert len(table) == (15 if task == "copy" else 10)
    for found in table:
        grid = PAPER[task, found.model]
        wanted = {**found._asdict(), "activation": "relu"}
        assert all(wanted[name] in values for name, values in grid.items() if name != "inputs")


@pytest.fixture(scope="module")
def tiny() -> Result:
    return search(TINY, 3, progress=False)


def test_every_point_is_trained_and_scored_on_the_same_sequences(tiny: Result) -> None:
    counts = tiny.rows.groupby(list(POINT))["seed"].agg(["nunique", "count"])
    assert len(counts) == len(TINY.points) == 2 + 8
    assert (counts["nunique"] == 2).all()
    assert (counts["count"] == 2 * 4 * 5).all()  # seeds, quantities, looks: at the start and four times after it
    assert sorted(tiny.rows["seed"].unique()) == [3000, 3001]
    assert not tiny.rows.duplicated([*POINT, "seed", "iteration", "quantity"]).any()
    start = tiny.rows.query("iteration == 0 and quantity == 'test' and model == 'wRNN'")
    assert start.groupby("seed")["value"].nunique().tolist() == [1, 1]  # before training the points are equal


def test_a_point_s_numbers_depend_on_neither_the_other_points_nor_the_other_seeds(tiny: Result) -> None:
    alone = search(dataclasses.replace(TINY, models=("wRNN",), learning_rates=(1e-3,), runs=1), 3, progress=False).rows
    same = tiny.rows.query("model == 'wRNN' and lr == 1e-3 and seed == 3000")
    keys = ["quantity", "iteration"]
    one, other = (torch.tensor(rows.sort_values(keys)["value"].to_numpy()) for rows in (alone, same))
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_adding_and_the_ablation_are_trained_too() -> None:
    few = {"learning_rates": (1e-3,), "runs": 1, "iterations": 2}
    ablation = dataclasses.replace(TINY, tasks=("copy ablation",), lengths=(10,), **few)
    rows = search(ablation, 0, progress=False).rows
    assert set(rows["recurrent"]) == {"shift", "dirac", "uniform", "identity"}
    assert rows["value"].notna().all()
    rows = search(adding_search.GridConfig(clips=(0.0,), small=8, batch=8, held_out=20, **few), 0, progress=False).rows
    assert (set(rows["task"]), set(rows["T"])) == ({"adding"}, {100})
    assert rows["value"].notna().all()


def _rows(numbers: dict[float, list[tuple[float, float]]]) -> pd.DataFrame:
    """Rows of a family whose points differ in the learning rate: lr → (validation, test) of each seed at two times."""
    setting = dataclasses.asdict(TINY.points[0])
    return pd.DataFrame(
        {**setting, "lr": lr, "seed": seed, "iteration": iteration, "quantity": name, "value": value + worse}
        for lr, seeds in numbers.items()
        for seed, (validation, test) in enumerate(seeds)
        for iteration, worse in ((10, 2.0), (20, 0.0), (30, 1.0))
        for name, value in {"train": 0.0, "validation": validation, "test": test}.items()
    )


def test_the_best_setting_is_chosen_on_validation_and_by_the_mean_over_seeds() -> None:
    lucky = [(0.1, 0.001), (9.0, 9.0)]  # the luckiest run of all on validation and on test
    steady = [(1.0, 1.5), (2.0, 2.5)]
    failed = [(float("nan"), 0.01), (0.2, 0.01)]
    rows = _rows({1e-2: lucky, 1e-3: steady, 1e-4: failed})
    chosen = best(rows).iloc[0]
    assert chosen[["lr", "validation", "test", "points"]].tolist() == [1e-3, 1.5, 2.0, 3]
    assert chosen["lowest_test"] == 0.001  # told, not used
    table = summarise(rows)
    assert table["lr"].tolist() == [1e-3, 1e-2, 1e-4]
    assert table["validation"].tolist() == [1.5, 4.55, float("inf")]
    assert set(scores(rows)["iteration"]) == {20, 10}  # stopped where validation is lowest; a failed run anywhere


def test_of_equal_settings_the_first_is_chosen_and_of_equal_times_the_earlier() -> None:
    rows = _rows({1e-4: [(1.0, 3.0), (1.0, 5.0)], 1e-3: [(1.0, 1.0), (1.0, 2.0)], 1e-2: [(0.5, 9.0), (2.0, 9.0)]})
    rows.loc[(rows["iteration"] == 30) & (rows["quantity"] == "validation"), "value"] -= 1.0  # as low as at 20
    assert set(scores(rows)["iteration"]) == {20}
    table = summarise(rows)
    found = table[["rank", "validation", "lr", "seeds"]].to_numpy().tolist()
    assert found == [[1, 1.0, 1e-4, 2], [2, 1.0, 1e-3, 2], [3, 1.25, 1e-2, 2]]
    assert table["test_sd"].iloc[0] == pytest.approx(2**0.5)


def test_a_grid_without_the_units_that_are_asked_for_is_left_out() -> None:
    assert {(p.model, p.units) for p in dataclasses.replace(TINY, small=0, units=(625,)).points} == {("iRNN", 625)}


def test_neighbours_on_the_ladder_and_edges_of_what_was_tried() -> None:
    assert [neighbour(3.0, 1), neighbour(1e-3, -1)] == [10.0, 3e-4]
    points = product(["iRNN"], [10], [0.1, 1.0, 3.0], [1e-3, 3e-3])
    tried = pd.DataFrame(points, columns=["model", "T", "V_scale", "lr"])
    for scale, lr, edges in ((1.0, 1e-3, [False, True]), (3.0, 3e-3, [True, True])):
        chosen = tried[(tried["V_scale"] == scale) & (tried["lr"] == lr)]
        found = at_edge(tried, chosen.reset_index(drop=True))
        assert found[["V_scale at an edge", "lr at an edge"]].iloc[0].tolist() == edges
    one = tried[tried["lr"] == 1e-3]  # a single rate has no edge
    assert not at_edge(one, one.head(1))["lr at an edge"].any()
