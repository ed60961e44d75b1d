"""Grid searches: every point of a grid is trained, chosen on validation, and goes on after a kill."""

from __future__ import annotations

import dataclasses

import pandas as pd
import pytest
import torch

from wavemem.records.experiment import Result, Where
from wavemem.records.run import parse_settings, with_settings
from wavemem.wave_rnn import wave_sweeps
from wavemem.wave_rnn.wave_sweeps import POINT, Config, best, points, run, scores, summarise, train_setting

TINY = Config(
    lengths=(0,), learning_rates=(1e-2, 1e-3), clips=(0.0,), small=8, runs=2, iterations=12, batch=8, held_out=20,
    evaluations=4, memory=2, symbols=3,
)  # fmt: skip


@pytest.fixture(scope="module")
def tiny() -> Result:
    return run(TINY, 3, progress=False)


def test_every_point_is_trained_and_scored_on_the_same_sequences(tiny: Result) -> None:
    chosen = points(TINY)
    assert len(chosen) == 2 + 8
    counts = tiny.rows.groupby(list(POINT))["seed"].agg(["nunique", "count"])
    assert len(counts) == len(chosen)
    assert (counts["nunique"] == 2).all()
    assert (counts["count"] == 2 * 4 * 5).all()  # seeds, quantities, looks: at the start and four times after it
    assert sorted(tiny.rows["seed"].unique()) == [3000, 3001]
    assert not tiny.rows.duplicated([*POINT, "seed", "iteration", "quantity"]).any()
    start = tiny.rows[
        (tiny.rows["iteration"] == 0) & (tiny.rows["quantity"] == "test") & (tiny.rows["model"] == "wRNN")
    ]
    assert start.groupby("seed")["value"].nunique().tolist() == [
        1,
        1,
    ]  # before training the points of a model are equal


def test_a_point_s_numbers_depend_on_neither_the_other_points_nor_the_other_seeds(tiny: Result) -> None:
    alone = run(dataclasses.replace(TINY, models=("wRNN",), learning_rates=(1e-3,), runs=1), 3, progress=False).rows
    same = tiny.rows[(tiny.rows["model"] == "wRNN") & (tiny.rows["lr"] == 1e-3) & (tiny.rows["seed"] == 3000)]
    keys = ["quantity", "iteration"]
    one, other = (rows.sort_values(keys)["value"].to_numpy() for rows in (alone, same))
    torch.testing.assert_close(torch.tensor(one), torch.tensor(other), rtol=1e-4, atol=1e-6)


def test_adding_and_the_ablation_are_trained_too() -> None:
    config = dataclasses.replace(
        TINY, tasks=("adding", "copy ablation"), lengths=(10, 100), runs=1, iterations=2, learning_rates=(1e-3,)
    )
    rows = run(config, 0, progress=False).rows
    assert set(rows["task"]) == {"adding", "copy ablation"}
    assert set(rows[rows["task"] == "adding"]["T"]) == {100}
    assert set(rows[rows["task"] == "copy ablation"]["recurrent"]) == {"shift", "dirac", "uniform", "identity"}
    assert rows["value"].notna().all()


def test_images_are_searched_with_drops_of_the_learning_rate() -> None:
    config = dataclasses.replace(
        TINY, tasks=("nsdigits",), models=("wRNN",), learning_rates=(1e-3,), clips=(), epochs=2, evaluations=2, runs=2
    )
    rows = run(config, 0, progress=False).rows
    assert set(rows["T"]) == {0}
    assert rows["iteration"].max() == 2 * (1200 // 32) - 1
    errors = rows[rows["quantity"].isin(("validation", "test"))]["value"]
    assert errors.between(0, 1).all()
    validation = rows[rows["quantity"] == "validation"]["value"] * 197
    torch.testing.assert_close(torch.tensor(validation.to_numpy()), torch.tensor(validation.round().to_numpy()))


def test_a_rate_that_drops_learns_less() -> None:
    setting = points(dataclasses.replace(TINY, tasks=("sdigits",), models=("wRNN",)))[0]
    config = dataclasses.replace(TINY, epochs=2, evaluations=2)
    last = []
    for rate in (1.0, 1e9):
        changed = dataclasses.replace(setting, drop_rate=rate, drop_epoch=1)
        rows = train_setting(config, changed, [0], Where(torch.device("cpu"))).rows
        last.append(rows[rows["quantity"] == "train"]["value"].to_numpy())
    assert last[0][0] == last[1][0]
    assert last[0][-1] != last[1][-1]


def _rows(numbers: dict[float, list[tuple[float, float]]]) -> pd.DataFrame:
    """Rows of a family whose points differ in the learning rate: lr → (validation, test) of each seed at two times."""
    setting = dataclasses.asdict(points(TINY)[0])
    rows = []
    for lr, seeds in numbers.items():
        for seed, (validation, test) in enumerate(seeds):
            for iteration, worse in ((10, 2.0), (20, 0.0), (30, 1.0)):
                values = {"train": 0.0, "validation": validation + worse, "test": test + worse}
                rows += [
                    {**setting, "lr": lr, "seed": seed, "iteration": iteration, "quantity": name, "value": value}
                    for name, value in values.items()
                ]
    return pd.DataFrame(rows)


def test_the_best_setting_is_chosen_on_validation_and_by_the_mean_over_seeds() -> None:
    lucky = [(0.1, 0.001), (9.0, 9.0)]  # the luckiest run of all on validation and on test
    steady = [(1.0, 1.5), (2.0, 2.5)]
    failed = [(float("nan"), 0.01), (0.2, 0.01)]
    rows = _rows({1e-2: lucky, 1e-3: steady, 1e-4: failed})
    chosen = best(rows).iloc[0]
    assert chosen["lr"] == 1e-3
    assert (chosen["validation"], chosen["test"], chosen["points"]) == (1.5, 2.0, 3)
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
    assert table["rank"].tolist() == [1, 2, 3]
    assert table["validation"].tolist() == [1.0, 1.0, 1.25]
    assert table["lr"].tolist() == [1e-4, 1e-3, 1e-2]
    assert table["seeds"].tolist() == [2, 2, 2]
    assert table["test_sd"].iloc[0] == pytest.approx(2**0.5)
    assert best(rows)["lr"].tolist() == [1e-4]


def test_parts_of_the_grids_can_be_named_on_the_command_line() -> None:
    paper = Config.profile("paper")
    assert len(points(paper)) == 45 + 360 + 216 + 432 + 75 + 75
    chosen = with_settings(
        paper, parse_settings(paper, ["tasks=adding", "models=wRNN", "lengths=100,400", "learning_rates=0.001"])
    )
    assert len(points(chosen)) == 2 * 5
    assert {point.units for point in points(dataclasses.replace(paper, units=(625,)))} == {625}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"lengths": (7,)}, "lengths = \\(7,\\)"),
        ({"clips": (3.0,)}, "clips = \\(3.0,\\) for copy, wRNN"),
    ],
)
def test_what_cannot_be_searched_is_refused(change: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        points(dataclasses.replace(TINY, **change))
    with pytest.raises(ValueError, match="column"):
        scores(pd.DataFrame({"value": [1.0]}))


def test_the_quick_sweep_is_small() -> None:
    quick = Config.profile("quick")
    assert len(points(quick)) == 20
    assert quick.iterations * quick.runs * len(points(quick)) <= 20_000
    assert wave_sweeps.FAMILY == ("task", "model", "T", "units")
