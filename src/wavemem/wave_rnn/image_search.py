"""The settings of the small digits: learning rate, size of the input weights and biases, searched alike for every model.

Every model is trained on one task with each setting of its grid, a few seeds each, for the same number of epochs. The setting
with the largest best validation accuracy (mean over seeds) wins. As long as it lies at an edge of what was tried in its rate or
its scale, the next value beyond the edge is tried, all else equal: no winner is at an edge. No test image is looked at, and the
seeds serve no other purpose.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from typing import Annotated, Any, ClassVar, Final

import pandas as pd

from wavemem.checks import one_of, require
from wavemem.records.experiment import Configuration, Result, Rounds, Where, resumable
from wavemem.records.fields import Count, OneOf, Runs, Within
from wavemem.streams import run_seeds
from wavemem.wave_rnn.image_tasks import KINDS, STAND_INS
from wavemem.wave_rnn.images import SETTINGS, Job, train

QUANTITY: Final = "best validation accuracy"


@dataclass(frozen=True)
class Grid:
    """What is tried first.

    Attributes:
        scales: sizes of the input weights; None where the start has no such number.
        biases: whether the public code's random biases are kept.
        rates: learning rates.
        published: the scale of the published start, which has biases; None where there is but one start.
        floor: no smaller scale than this is asked for.
    """

    scales: tuple[float | None, ...] = (None,)
    biases: tuple[bool, ...] = (True,)
    rates: tuple[float, ...] = (1e-3, 3e-3, 1e-2)
    published: float | None = None
    floor: float = 0.0


GRIDS: Final[dict[str, Grid]] = {
    "iRNN": Grid((0.001, 0.1, 0.3, 1.0, 3.0, 10.0), (True, False), published=0.001, floor=0.001),
    "wRNN": Grid((0.3, 1.0, 3.0), (True, False), published=1.0),
    "wRNN + MLP": Grid(rates=(3e-4, 1e-3, 3e-3)),
    "LSTM": Grid(),
    "GRU": Grid(),
}
"""Model → grid."""


@dataclass(frozen=True)
class Config(Configuration):
    """What to search; the same for both profiles: the paper's tasks have the paper's settings.

    Attributes:
        task: among `wavemem.wave_rnn.image_tasks.KINDS`.
        models: among `GRIDS`.
        runs: seeds per setting; see `wavemem.streams.run_seeds`.
        epochs: for every model.
        log_every: updates between two looks at the validation images.
        rounds: how often a grid may be widened.
    """

    PARTS: ClassVar = ("models", "runs", "log_every", "rounds")
    OTHER_DATA: ClassVar = {"task": STAND_INS}
    UNSTATED: ClassVar = "a search of ours"

    task: Annotated[str, OneOf(KINDS)] = "psdigits"
    models: tuple[Annotated[str, OneOf(GRIDS)], ...] = tuple(GRIDS)
    runs: Runs = 3
    epochs: Count = 40
    log_every: Count = 54
    rounds: Annotated[int, Within(0, 100)] = 8

    def __post_init__(self) -> None:
        super().__post_init__()
        for model in self.models:
            one_of("models", model, [name for name in GRIDS if name in SETTINGS[self.task]])


def _table(rows: pd.DataFrame, model: str, published: bool = False) -> pd.DataFrame:
    """Mean over seeds by setting, the smaller rate and scale first."""
    one_of("model", model, GRIDS)
    own = rows[(rows["model"] == model) & (rows["quantity"] == QUANTITY)]
    if published and GRIDS[model].published is not None:
        own = own[(own["V_scale"] == GRIDS[model].published) & own["biases"].astype(bool)]
    require(len(own) > 0, f"no rows of {model}", ", ".join(sorted(set(rows["model"]))), "Choose one of these.")
    table = own.groupby(["lr", "V_scale", "biases"], dropna=False)["value"].mean().reset_index()
    return table.sort_values(["lr", "V_scale", "biases"], ignore_index=True)


def best(rows: pd.DataFrame, model: str, published: bool = False) -> dict[str, Any]:
    """The winner of a model: lr, V_scale (None where there is no choice) and biases.

    Args:
        rows: from `run`.
        model: among `GRIDS`.
        published: whether to choose among the learning rates of the published start only.

    Raises:
        ValueError: if there is no such model, or the rows do not have it.
    """
    table = _table(rows, model, published)
    found = table.iloc[int(table["value"].to_numpy().argmax())]
    scale = None if pd.isna(found["V_scale"]) else float(found["V_scale"])
    return {"lr": float(found["lr"]), "V_scale": scale, "biases": bool(found["biases"])}


def at_edge(rows: pd.DataFrame, model: str) -> list[dict[str, Any]]:
    """Settings to be tried because a winner, of all starts or of the published one, lies at an edge; empty if none does."""
    wanted: list[dict[str, Any]] = []
    for published in (False, True):
        winner = best(rows, model, published)
        for name, other in (("lr", "V_scale"), ("V_scale", "lr")):
            if winner[name] is None or (published and name == "V_scale"):
                continue
            line = _table(rows, model)
            line = line[line["biases"] == winner["biases"]]
            line = line if winner[other] is None else line[line[other] == winner[other]]
            if winner[name] >= line[name].max():
                wanted.append(winner | {name: neighbour(winner[name], +1)})
            if winner[name] <= line[name].min() and not (name == "V_scale" and winner[name] <= GRIDS[model].floor):
                wanted.append(winner | {name: neighbour(winner[name], -1)})
    return [setting for i, setting in enumerate(wanted) if setting not in wanted[:i]]


def neighbour(value: float, direction: int) -> float:
    """The neighbour of a value among …, 0.1, 0.3, 1, 3, 10, …"""
    ladder = [m * 10.0**k for k in range(-8, 6) for m in (1, 3)]
    at = min(range(len(ladder)), key=lambda i: abs(ladder[i] / value - 1))
    return float(f"{ladder[at + direction]:.6g}")


def _train(jobs: Sequence[Job], seeds: list[int], log_every: int, number: int, where: Where) -> Result:
    rows = train(jobs, seeds, log_every, where).rows.assign(round=number)
    columns = ["task", "model", "lr", "V_scale", "biases", "round", "seed", "quantity", "value"]
    return Result(rows.loc[rows["quantity"] == QUANTITY, columns])


@resumable
def run(config: Config, seed: int) -> Rounds:
    """Search the settings of every model.

    Rows (task, model, lr, V_scale, biases, round, seed, quantity, value), the quantity being "best validation accuracy" in
    [0, 1]; a V_scale of NaN is the published one. No weights.
    """
    seeds, found = run_seeds(seed, config.runs), []
    wanted: dict[str, list[dict[str, Any]]] = {
        model: [
            {"lr": lr, "V_scale": scale, "biases": biases}
            for lr, scale, biases in product(GRIDS[model].rates, GRIDS[model].scales, GRIDS[model].biases)
        ]
        for model in config.models
    }
    for number in range(config.rounds + 1):
        pieces = {}
        for model, settings in wanted.items():
            known = replace(SETTINGS[config.task][model], epochs=config.epochs, drop=None)
            for lr in sorted({setting["lr"] for setting in settings}):
                jobs = [Job(config.task, model, replace(known, **s)) for s in settings if s["lr"] == lr]
                pieces[f"{number}-{model}-{lr:g}"] = partial(_train, jobs, seeds, config.log_every, number)
        found += yield pieces
        rows = pd.concat([part.rows for part in found], ignore_index=True)
        wanted = {model: at_edge(rows, model) for model in config.models}
        wanted = {model: settings for model, settings in wanted.items() if settings}
        if not wanted:
            break


def summarise(rows: pd.DataFrame) -> pd.DataFrame:
    """Best validation accuracy in per cent, mean and standard deviation over seeds, one line per setting."""
    grouped = rows.groupby(["model", "V_scale", "biases", "lr"], dropna=False, sort=False)["value"]
    table = grouped.agg(["mean", "std", "count"]).reset_index()
    table[["mean", "std"]] *= 100
    return table.rename(columns={"mean": "validation accuracy", "std": "sd", "count": "n"})
