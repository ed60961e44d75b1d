"""Grid searches of the Wave-RNN paper (Appendix B; Tables 5, 6): every point trained over several seeds, chosen on validation.

Every point of a grid is a piece of its own: it has a checkpoint, can be done by any process of this machine or any worker of
a cluster, and goes on where it was when whoever did it dies. A setting is chosen by the mean over its seeds of the error on
validation sequences, never by test sequences and never by its luckiest seed; what it scores on test sequences is looked up
afterwards.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np
import pandas as pd
import torch

from wavemem.checks import one_of, positive_int, require
from wavemem.experiments._wave_trials import Effort, train_setting
from wavemem.records.experiment import PROFILES, Result
from wavemem.records.fields import Batch, Blanks, Count, Items, OneOf, Rate, Runs, Size, Within, check_fields
from wavemem.streams import run_seeds
from wavemem.training.grids import MODELS, TASKS, Grid, Setting, grid
from wavemem.training.pieces import work_through

__all__ = ["FAMILY", "POINT", "Config", "best", "points", "run", "scores", "summarise"]

POINT = tuple(field.name for field in dataclasses.fields(Setting))
"""Columns of the rows that name a point of a grid."""
FAMILY = ("task", "model", "T", "units")
"""Columns within which the best point is sought, as in the paper's tables."""


@dataclass(frozen=True)
class Config:
    """Which parts of the grids, and how long to train.

    Attributes:
        tasks: among `TASKS` of `wavemem.training.grids`.
        models: "wRNN", "iRNN" or both.
        lengths: only these T; empty for all of the grid. A grid without any of them is left out.
        units: only these sizes; empty for all. A grid without any of them is left out.
        learning_rates, clips: only these; empty for all.
        small: units of a network, in the place of the grid's; 0 for the grid's own. For trying things out.
        small_channels: channels of the small Wave-RNN.
        runs: seeds per point; see `wavemem.streams.run_seeds`.
        iterations, batch, held_out, epochs, evaluations, memory, symbols: see `Effort`.
    """

    PARTS: ClassVar = ("tasks", "models", "lengths", "units", "learning_rates", "clips", "runs")

    tasks: tuple[Annotated[str, OneOf(TASKS)], ...] = ("copy",)
    models: tuple[Annotated[str, OneOf(MODELS)], ...] = MODELS
    lengths: Annotated[tuple[Blanks, ...], Items(0)] = ()
    units: Annotated[tuple[Size, ...], Items(0)] = ()
    learning_rates: Annotated[tuple[Rate, ...], Items(0)] = ()
    clips: Annotated[tuple[Annotated[float, Within(0, 1e9)], ...], Items(0)] = ()
    small: Annotated[int, Within(0, 10_000)] = 0
    small_channels: Size = 2
    runs: Runs = 3
    iterations: Count = 60_000
    batch: Batch = 128
    held_out: Batch = 1024
    epochs: Annotated[int, Within(0, 1_000_000)] = 0
    evaluations: Count = 60
    memory: Size = 10
    symbols: Size = 8

    def __post_init__(self) -> None:
        check_fields(self)
        points(self)

    @classmethod
    def profile(cls, name: str) -> Config:
        """The two sizes of the book.

        Args:
            name: "quick": a part of the copy task's grid with small networks and three symbols; "paper": the grids of the
                copy and adding tasks. Parts of it, or the grids of images, are chosen by settings, for instance
                `--set tasks=adding --set models=wRNN --set lengths=100` or `--set tasks=psmnist`.

        Returns:
            The configuration.

        Raises:
            ValueError: if there is no such profile.
        """
        one_of("profile", name, PROFILES)
        if name == "paper":
            return cls(tasks=("copy", "copy ablation", "adding"))
        return cls(
            lengths=(0,),
            learning_rates=(1e-2, 1e-3),
            clips=(0.0, 1.0),
            small=20,
            runs=2,
            iterations=400,
            batch=32,
            held_out=256,
            evaluations=8,
            memory=3,
            symbols=4,
        )


def _grid(config: Config, task: str, model: str) -> Grid | None:
    """The wanted part of a grid; None if it has none of the lengths or sizes that are asked for."""
    whole = grid(task, model)
    for wanted, there in ((config.lengths, whole.lengths), (config.units, whole.units)):
        if wanted and not set(wanted) & set(there):
            return None
    part = whole.only(
        lengths=config.lengths, units=config.units, learning_rates=config.learning_rates, clips=config.clips
    )
    if config.small:
        channels = config.small_channels if model == "wRNN" else 1
        part = dataclasses.replace(part, units=(config.small,), channels=channels)
    return part


def points(config: Config) -> list[Setting]:
    """The points that a configuration asks for, task by task and model by model.

    Raises:
        ValueError: if there is none, or a value is in none of the grids asked for.
    """
    found = [_grid(config, task, model) for task in config.tasks for model in config.models]
    chosen = [point for part in found if part is not None for point in part.points()]
    require(
        bool(chosen),
        f"lengths = {config.lengths}, units = {config.units} for {', '.join(config.tasks)}",
        "lengths and sizes of the grids in wavemem.training.grids",
        "Name others, or leave them out for all.",
    )
    return chosen


def run(
    config: Config,
    seed: int,
    device: torch.device | str = "cpu",
    progress: bool = True,
    checkpoints: Path | None = None,
) -> Result:
    """Train every point of the grids.

    Args:
        config: which points and how long.
        seed: the first seed of every point.
        device: where to train.
        progress: whether to report progress.
        checkpoints: folder in which the trainings keep their state, one file per point; several processes that are given
            the same folder share the work. None keeps nothing.

    Returns:
        Rows (`POINT`, seed, iteration, quantity, value), see `train_setting`. No weights are kept.

    Raises:
        ValueError: if the configuration or the seed is not usable.
    """
    positive_int("seed", seed, minimum=0)
    fields = [field.name for field in dataclasses.fields(Effort)]
    effort = Effort(**{name: getattr(config, name) for name in fields})
    seeds = run_seeds(seed, config.runs)
    chosen = points(config)
    pieces: dict[str, Callable[[Path | None], pd.DataFrame]] = {
        point.name: partial(train_setting, point, effort, tuple(seeds), str(device), progress) for point in chosen
    }
    results = work_through(pieces, checkpoints)
    parts = [results[point.name].assign(**dataclasses.asdict(point)) for point in chosen]
    rows = pd.concat(parts, ignore_index=True)[[*POINT, "seed", "iteration", "quantity", "value"]]
    return Result(rows)


def scores(rows: pd.DataFrame) -> pd.DataFrame:
    """One line per network: its lowest validation error, when that was, and the test error at that time.

    Args:
        rows: from `run`.

    Returns:
        Columns `POINT`, seed, iteration, validation, test. Errors that are not finite count as infinite.

    Raises:
        ValueError: if the rows lack a column of `run`.
    """
    for column in (*POINT, "seed", "iteration", "quantity", "value"):
        one_of("column", column, rows.columns)
    looked = rows[rows["quantity"].isin(("validation", "test"))]
    wide = looked.pivot(index=[*POINT, "seed", "iteration"], columns="quantity", values="value").reset_index()
    wide.columns.name = None
    for name in ("validation", "test"):
        wide[name] = wide[name].where(np.isfinite(wide[name]), np.inf)
    order = wide.sort_values(["validation", "iteration"], kind="stable")
    return order.groupby([*POINT, "seed"], sort=False).head(1).sort_values([*POINT, "seed"]).reset_index(drop=True)


def summarise(rows: pd.DataFrame) -> pd.DataFrame:
    """One line per point of the grids, the best of its family first.

    Returns:
        Columns `POINT`, seeds, validation (mean over seeds), test (mean), test_sd, lowest_test (of the point's luckiest seed,
        by which nothing is chosen), rank (1 is the family's best by the mean validation error; of equals the first of the grid).
    """
    by_point = scores(rows).groupby(list(POINT), sort=False)
    table = pd.DataFrame(
        {
            "seeds": by_point["seed"].count(),
            "validation": by_point["validation"].mean(),
            "test": by_point["test"].mean(),
            "test_sd": by_point["test"].std(),
            "lowest_test": by_point["test"].min(),
        }
    ).reset_index()
    table["rank"] = table.groupby(list(FAMILY))["validation"].rank(method="first").astype(int)
    return table.sort_values([*FAMILY, "rank"]).reset_index(drop=True)


def best(rows: pd.DataFrame) -> pd.DataFrame:
    """The chosen setting of every family: the point of lowest mean validation error.

    Returns:
        The lines of `summarise` with rank 1, with a column points (size of the family's grid) and with lowest_test over the
        *whole* family: what choosing the luckiest run on test data would have reported.
    """
    table = summarise(rows)
    chosen = table[table["rank"] == 1].set_index(list(FAMILY)).drop(columns="rank")
    family = table.groupby(list(FAMILY))
    chosen["points"] = family.size()
    chosen["lowest_test"] = family["lowest_test"].min()
    return chosen.reset_index()
