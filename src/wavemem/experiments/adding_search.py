"""The start and the rate with which each network learns the adding task best, searched alike for both.

The published comparison starts the iRNN with input weights N(0, 0.001²) and the Wave-RNN with weights of 1. Here the size of
the input weights, the presence of random biases and the learning rate are searched for both, at T = 100 over a full grid, and
for longer sequences the rates once more for the two best starts of the iRNN and the best of the Wave-RNN. Reduced: c = 16 rings
of the Wave-RNN, batches of 32. The seeds serve for nothing else: `wavemem.experiments.adding_compared` tests what was found
with others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import pandas as pd
import torch

from wavemem.checks import one_of, require
from wavemem.experiments._adding_training import FATES, Setting, fates, start, train
from wavemem.records.experiment import PROFILES, Result
from wavemem.records.fields import Batch, Clip, Count, Items, Rate, Runs, Scale, Size, Within, check_fields
from wavemem.streams import run_seeds
from wavemem.training.generic import FitConfig
from wavemem.training.pieces import work_through

__all__ = ["CELL", "Config", "at_edge", "best", "run", "summarise"]

CELL = ("model", "T", "V_scale", "biases", "lr")
"""Columns that name a point of the grids."""


@dataclass(frozen=True)
class Config:
    """Grids and sizes.

    Attributes:
        models: among "wRNN" and "iRNN".
        lengths: T; the first has the full grid, the others the iRNN's `finalists` best starts of it with the `long_rates`.
        wave_lengths: those of the others at which the Wave-RNN's best start is tried with the `long_rates`, too.
        dense_scales, wave_scales: sizes of the input weights; the published ones, 0.001 and 1, are among them.
        rates, wave_rates, long_rates: learning rates of the iRNN and the Wave-RNN, and of both on longer sequences.
        finalists: starts of the iRNN that go on to longer sequences.
        units, channels: n and c of the Wave-RNN, N of the iRNN.
        runs, wave_runs: seeds per point, of the iRNN and of the Wave-RNN (ten times as costly).
        dense_updates: updates, one number per length.
        wave_updates: updates of the Wave-RNN on the first length.
        batch, test_batch: sequences per run and update, and of the test.
        clip: largest gradient norm, of all points.
        log_every: updates between two rows.
        margin: for how many updates a solved task has to stay solved, see `_adding_training.fates`.
    """

    PARTS: ClassVar = ("models", "wave_lengths", "runs", "wave_runs")
    UNSTATED: ClassVar = "an experiment of ours"

    models: tuple[Literal["iRNN", "wRNN"], ...] = ("iRNN", "wRNN")
    lengths: tuple[Annotated[int, Within(2, 100_000)], ...] = (100, 200, 400)
    wave_lengths: Annotated[tuple[Annotated[int, Within(2, 100_000)], ...], Items(0)] = ()
    dense_scales: tuple[Scale, ...] = (0.001, 0.03, 0.1, 0.3, 1.0, 3.0)
    wave_scales: tuple[Scale, ...] = (0.3, 1.0, 3.0)
    rates: tuple[Rate, ...] = (3e-4, 1e-3, 3e-3, 1e-2)
    wave_rates: tuple[Rate, ...] = (1e-3, 3e-3, 1e-2)
    long_rates: tuple[Rate, ...] = (1e-4, 3e-4, 1e-3)
    finalists: Size = 2
    units: Size = 100
    channels: Size = 16
    runs: Runs = 3
    wave_runs: Runs = 2
    dense_updates: Annotated[tuple[Count, ...], Items(repeat=True)] = (500, 1000, 1000)
    wave_updates: Count = 250
    batch: Batch = 32
    test_batch: Batch = 500
    clip: Clip = 1.0
    log_every: Count = 10
    margin: Count = 200

    def __post_init__(self) -> None:
        check_fields(self)
        require(
            len(self.dense_updates) >= len(self.lengths),
            f"{len(self.dense_updates)} numbers of updates for {len(self.lengths)} lengths",
            "one number of updates per length",
            "Give dense_updates as many entries as lengths.",
        )
        for T in self.wave_lengths:
            one_of("wave_lengths", T, self.lengths[1:])

    @classmethod
    def profile(cls, name: str) -> Config:
        """The two sizes of the book.

        Args:
            name: "quick": the size of the committed record, about twenty minutes of one core; "paper": the paper's network, batch
                and updates.

        Raises:
            ValueError: If there is no such profile.
        """
        one_of("profile", name, PROFILES)
        if name == "quick":
            return cls()
        many = 60_000
        return cls(channels=27, batch=128, test_batch=1000, dense_updates=(many, many, many), wave_updates=many)


def _piece(
    config: Config,
    model: str,
    T: int,
    points: Sequence[Setting],
    seed: int,
    device: torch.device,
    progress: bool,
    path: Path | None,
) -> pd.DataFrame:
    """The points of one model, length and start as one ensemble."""
    seeds = run_seeds(seed, config.wave_runs if model == "wRNN" else config.runs)
    network = start(model, points, seeds, config.units, config.channels).to(device)
    short = model == "wRNN" and config.lengths[0] == T
    updates = config.wave_updates if short else config.dense_updates[config.lengths.index(T)]
    training = FitConfig(updates, log_every=config.log_every)
    label = f"search, {model}, T = {T}"
    rows, _ = train(
        network, T, points, seeds, training, config.batch, config.test_batch, progress, label, checkpoint=path
    )
    named = pd.DataFrame([point._asdict() for point in points]).loc[rows["setting"]].reset_index(drop=True)
    return pd.concat([named, rows.drop(columns="setting")], axis=1).assign(model=model, T=T)


def run(
    config: Config,
    seed: int,
    device: torch.device | str = "cpu",
    progress: bool = True,
    checkpoints: Path | None = None,
) -> Result:
    """Train every point of the grids, then the best starts on longer sequences.

    Args:
        config: grids and sizes.
        seed: the base seed.
        device: where to train.
        progress: whether to report progress.
        checkpoints: folder from which a run that was stopped goes on, and which processes may share; None for none.

    Returns:
        Rows (`CELL`, clip, seed, iteration, quantity, value): "train MSE" and, at the end, "test MSE". No weights are kept.
    """
    device, first = torch.device(device), config.lengths[0]
    grids = {"iRNN": (config.dense_scales, config.rates), "wRNN": (config.wave_scales, config.wave_rates)}

    def pieces(model: str, T: int, starts: Iterable[tuple[float, bool]], rates: Sequence[float]) -> list[pd.DataFrame]:
        found: dict[str, Callable[[Path | None], pd.DataFrame]] = {}
        for scale, biases in starts:
            points = [Setting(scale, biases, lr, config.clip) for lr in rates]
            name = f"{model}-T{T}-V{scale:g}-{'biases' if biases else 'none'}"
            found[name] = partial(_piece, config, model, T, points, seed, device, progress)
        return list(work_through(found, checkpoints).values())

    parts = {}
    for model in config.models:
        scales, rates = grids[model]
        parts[model] = pieces(model, first, product(scales, (True, False)), rates)
    rows = [part for found in parts.values() for part in found]
    longer = {"iRNN": (config.finalists, config.lengths[1:]), "wRNN": (1, config.wave_lengths)}
    for model, found in parts.items():
        finalists, lengths = longer[model]
        ranked = summarise(pd.concat(found), config.margin).drop_duplicates(["V_scale", "biases"])
        starts = list(ranked[["V_scale", "biases"]].head(finalists).itertuples(index=False, name=None))
        for T in lengths:
            rows += pieces(model, T, starts, config.long_rates)
    return Result(pd.concat(rows, ignore_index=True)[[*CELL, "clip", "seed", "iteration", "quantity", "value"]])


def summarise(rows: pd.DataFrame, margin: int = Config.margin) -> pd.DataFrame:
    """One line per point, the best of its model and length first.

    A point is better if a larger share of its seeds solved the task and kept it (`fates`); of equals, if the median number of
    updates until then is smaller; of equals, if its rate is.

    Returns:
        Columns `CELL`, "solved" (share of seeds), "lost", "diverged", "stalled", "median" (updates, of those that solved; NaN if
        none did), "n".
    """
    runs = fates(rows, CELL, margin)
    table = []
    for cell, own in runs.groupby(list(CELL), sort=False):
        line: dict[str, Any] = dict(zip(CELL, cell, strict=True))
        line |= {fate: float((own["fate"] == fate).mean()) for fate in FATES}
        line["median"] = float(own.loc[own["fate"] == "solved", "solved at"].median())
        table.append(line | {"n": len(own)})
    order = pd.DataFrame(table).assign(worse=lambda t: -t["solved"])
    order = order.sort_values(["model", "T", "worse", "median", "lr"], kind="stable")
    return order.drop(columns="worse").reset_index(drop=True)


def best(rows: pd.DataFrame, margin: int = Config.margin) -> pd.DataFrame:
    """The chosen point of every model and length: the first line of `summarise`."""
    return summarise(rows, margin).groupby(["model", "T"], sort=False).head(1).reset_index(drop=True)


def at_edge(rows: pd.DataFrame, margin: int = Config.margin) -> pd.DataFrame:
    """The chosen points and whether their scale and their rate is the least or the largest that was tried."""
    chosen = best(rows, margin)
    for name in ("V_scale", "lr"):
        tried = rows.groupby(["model", "T"])[name].agg(["min", "max"]).reset_index()
        ends = chosen.merge(tried, on=["model", "T"])
        outer = (ends[name] == ends["min"]) | (ends[name] == ends["max"])
        chosen[f"{name} at an edge"] = outer & (ends["min"] < ends["max"])
    return chosen
