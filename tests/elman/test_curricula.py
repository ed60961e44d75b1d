"""The comparison of schedules: its rows, its costs, its summary, and the protocol that the book says it follows."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch

from wavemem.elman import table1
from wavemem.elman.curricula import CURRICULA, CURVES, MEASURED, Config, ensemble_at, run, summarise
from wavemem.elman.network import ElmanEnsemble
from wavemem.elman.training import evaluate
from wavemem.records.experiment import Result
from wavemem.theory.selection import paper_task
from wavemem.training.curriculum import MultiplicativeCurriculum

TINY = Config(
    s=2,
    d=2,
    hidden_size=8,
    runs=2,
    budget=90,
    control_budget=40,
    iterations=8,
    batch=4,
    horizons=(3, 5, 7),
    threshold=0.4,
    marks=4,
    test_batches=1,
)


@pytest.fixture(scope="module")
def tiny() -> Result:
    return run(TINY, seed=1, progress=False)


def test_every_schedule_is_measured_at_every_mark(tiny: Result) -> None:
    assert list(tiny.rows.columns) == ["task", "curriculum", "seed", "iteration", "steps", "quantity", "value"]
    assert set(tiny.rows["quantity"]) == {*CURVES, *MEASURED}
    for task, names in (("T1", CURRICULA), ("T2", TINY.curricula)):
        own = tiny.rows[tiny.rows["task"] == task]
        assert set(own["curriculum"]) == set(names)
        for name in names:
            marks = own[(own["curriculum"] == name) & (own["quantity"] == "lasting") & (own["seed"] == 1000)]
            assert marks["iteration"].tolist() == list(TINY.updates_at_marks(name))


def test_schedules_spend_what_they_say(tiny: Result) -> None:
    for (_, name), own in tiny.rows.groupby(["task", "curriculum"]):
        horizons = own[own["quantity"] == "horizon"]
        for _, of_run in horizons.groupby("seed"):
            # Every update is in the rows of so short a training: the sum can be made here.
            assert of_run["steps"].tolist() == (of_run["value"] + TINY.s).cumsum().tolist()
        fixed = {"longest": TINY.horizons[-1], "shortest": TINY.horizons[0], "cycle": TINY.s}.get(str(name))
        if fixed is not None:
            assert set(horizons["value"]) == {fixed}
            limit = TINY.budget if name == "longest" else TINY.control_budget
            assert limit - (TINY.s + fixed) < horizons["steps"].max() <= limit
    assert tiny.rows[(tiny.rows["quantity"] == "horizon")]["value"].max() == TINY.horizons[-1]
    # All of them start from the same weights and histories.
    start = tiny.rows.query("iteration == 0 and quantity == 'test_accuracy'")
    first = tiny.rows.query("iteration == 1 and quantity == 'loss' and curriculum in ('ladder', 'multiplicative')")
    for own in (start, first):
        assert (own.groupby(["task", "seed"])["value"].nunique() == 1).all()


def test_kept_weights_are_those_that_were_measured(tiny: Result) -> None:
    marks = tiny.weights["T1 ladder iterations"].tolist()
    fresh = ElmanEnsemble.initialise([1000, 1001], 8, 2)
    assert torch.equal(ensemble_at(tiny, "T1", 0).W_hh, fresh.W_hh)
    last = ensemble_at(tiny, "T1", len(marks) - 1)
    right = evaluate(last, paper_task("T1", 2, 2), TINY.test_horizon, 1, TINY.batch, [1000, 1001])
    query = f"task == 'T1' and curriculum == 'ladder' and quantity == 'test_accuracy' and iteration == {marks[-1]}"
    rows = tiny.rows.query(query)
    np.testing.assert_array_equal(rows.sort_values("seed")["value"], right)
    with pytest.raises(ValueError, match="longest"):
        ensemble_at(tiny, "T1", 0, "longest")


def test_the_summary_finds_when_a_level_is_reached_for_good() -> None:
    n = np.arange(5)
    about = {"task": "T1", "curriculum": "ladder", "seed": 0, "iteration": n, "steps": 10 * n}
    measured = {"test_accuracy": [0.5, 0.99, 0.7, 0.98, 1.0], "lasting": n, "modulus_max": 1, "angle_error": 0}
    rows = pd.DataFrame({**about, **measured}).melt([*about], var_name="quantity")
    line = summarise(rows).iloc[0]
    assert (line["steps_to_level"], line["updates"], line["steps"], line["lasting"]) == (30.0, 4, 40, 4)
    early = summarise(rows, budget=25).iloc[0]
    assert (early["steps"], early["test_accuracy"]) == (20, 0.7)
    assert np.isnan(early["steps_to_level"])
    assert summarise(rows, level=0.4).iloc[0]["steps_to_level"] == 0
    with pytest.raises(ValueError, match="column"):
        summarise(rows.drop(columns="steps"))


def test_b2_the_multiplicative_curriculum_is_a_switch_worked_by_the_first_steps() -> None:
    rule = MultiplicativeCurriculum()  # App. B.2: 10 to 100, factor 1.2, 0.03
    state = rule.start(1)
    updates = 0
    while state.horizons[0] < 100:
        # Right in the first ten steps and wrong in all the others.
        losses = np.r_[np.full(10, 0.01), np.ones(90)][: state.horizons[0]]
        state.update(np.array([0.5]), [losses])
        updates += 1
    assert updates == 13  # 1.2 ** 12 < 10 < 1.2 ** 13


def test_the_paper_profile_of_table_1_differs_from_table_2_only_where_the_book_says() -> None:
    table2 = {"s": 8, "d": 8, "batch": 64, "lr": 1e-3, "clip": 1.0, "iterations": 45_000, "lr_drop_at": 36_000}
    ours = dataclasses.asdict(table1.Config.profile("paper"))
    assert {name for name, value in table2.items() if ours[name] != value} == {"iterations", "lr_drop_at"}
    assert (ours["iterations"], ours["lr_drop_at"], ours["curriculum"]) == (20_000, None, "ladder")
    assert 128 in ours["hidden_sizes"]
    assert ours["horizons"][-1] == 100
