"""The start and the rate with which each network learns the adding task best, searched alike for both; and what makes it easy.

The published comparison starts the iRNN with input weights N(0, 0.001²) and the Wave-RNN with weights of 1. Here the size of
the input weights, the presence of random biases and the learning rate are searched for both, at T = 100 over a full grid, and
for longer sequences the rates once more for the two best starts of the iRNN and the best of the Wave-RNN. Reduced: c = 16 rings
of the Wave-RNN, batches of 32. The seeds serve for nothing else: `wavemem.wave_rnn.adding.adding_compared` tests what was
found with others. `adding_starts` takes the starts apart.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Annotated, Any, ClassVar, Final, Literal

import pandas as pd
import torch

from wavemem.checks import one_of, require
from wavemem.records.experiment import Configuration, Experiment, Pieces, Result, Rounds, Where, resumable
from wavemem.records.fields import Batch, Clip, Count, Items, OneOf, Rate, Runs, Scale, Size
from wavemem.streams import run_seeds
from wavemem.training.ensemble import stack
from wavemem.wave_rnn import grids
from wavemem.wave_rnn.adding import FATES, Length, Setting, fates, outcomes, start, train
from wavemem.wave_rnn.adding_task import AddingTask, adding_loss
from wavemem.wave_rnn.network import PUBLISHED_SCALE, IdentityRNN, InputStart, RecurrentStart

CELL = ("model", "T", "V_scale", "biases", "lr")
"""Columns that name a point of the grids."""


@dataclass(frozen=True)
class Config(Configuration):
    """Grids and sizes: quick is the committed record's, twenty minutes of one core; paper has the paper's network and updates.

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
        margin: for how many updates a solved task has to stay solved, see `wavemem.wave_rnn.adding.fates`.
    """

    PARTS: ClassVar = ("models", "wave_lengths", "runs", "wave_runs")
    UNSTATED: ClassVar = "an experiment of ours"
    PAPER: ClassVar = {
        "channels": 27,
        "batch": 128,
        "test_batch": 1000,
        "dense_updates": 3 * (60_000,),
        "wave_updates": 60_000,
    }

    models: tuple[Literal["iRNN", "wRNN"], ...] = ("iRNN", "wRNN")
    lengths: tuple[Length, ...] = (100, 200, 400)
    wave_lengths: Annotated[tuple[Length, ...], Items(0)] = ()
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
        super().__post_init__()
        require(
            len(self.dense_updates) >= len(self.lengths),
            f"{len(self.dense_updates)} numbers of updates for {len(self.lengths)} lengths",
            "one number of updates per length",
            "Give dense_updates as many entries as lengths.",
        )
        for T in self.wave_lengths:
            one_of("wave_lengths", T, self.lengths[1:])


def _train_points(
    config: Config, model: str, T: int, points: Sequence[Setting], seeds: Sequence[int], where: Where
) -> Result:
    """The points of one model, length and start as one ensemble."""
    short = model == "wRNN" and config.lengths[0] == T
    updates = config.wave_updates if short else config.dense_updates[config.lengths.index(T)]
    names = [{"model": model, "T": T, **point._asdict()} for point in points]
    network = start(model, points, seeds, config.units, config.channels)
    return Result(train(config, network, T, updates, points, names, seeds, where).rows)


@resumable
def run(config: Config, seed: int) -> Rounds:
    """Train every point of the grids, then the best starts on longer sequences.

    Rows (`CELL`, clip, seed, iteration, quantity, value): "train MSE" and, at the end, "test MSE". No weights are kept.
    """
    seeds = {"iRNN": run_seeds(seed, config.runs), "wRNN": run_seeds(seed, config.wave_runs)}

    def pieces(model: str, T: int, starts: Iterable[tuple[float, bool]], rates: Sequence[float]) -> Pieces:
        return {
            f"{model}-T{T}-V{scale:g}-{'biases' if biases else 'none'}": partial(
                _train_points, config, model, T, [Setting(scale, biases, lr, config.clip) for lr in rates], seeds[model]
            )
            for scale, biases in starts
        }

    tried = {"iRNN": (config.dense_scales, config.rates), "wRNN": (config.wave_scales, config.wave_rates)}
    short = {}
    for model in config.models:
        scales, rates = tried[model]
        short[model] = yield pieces(model, config.lengths[0], product(scales, (True, False)), rates)
    longer = {"iRNN": (config.finalists, config.lengths[1:]), "wRNN": (1, config.wave_lengths)}
    for model, found in short.items():
        finalists, lengths = longer[model]
        ranked = summarise(pd.concat([part.rows for part in found]), config.margin)[["V_scale", "biases"]]
        starts = list(ranked.drop_duplicates().head(finalists).itertuples(index=False, name=None))
        for T in lengths:
            yield pieces(model, T, starts, config.long_rates)


def summarise(rows: pd.DataFrame, margin: int = Config.margin) -> pd.DataFrame:
    """One line per point, the best of its model and length first.

    A point is better if a larger share of its seeds solved the task and kept it (`fates`); of equals, if the median number of
    updates until then is smaller; of equals, if its rate is.

    Returns:
        Columns `CELL`, "solved" (share of seeds), "lost", "diverged", "stalled", "median" (updates, of those that solved; NaN if
        none did), "n".
    """
    table = outcomes(fates(rows, CELL, margin), CELL)
    table[list(FATES)] = table[list(FATES)].div(table["n"], axis=0)
    order = ["model", "T", "solved", "median", "lr"]
    ascending = [name != "solved" for name in order]
    table = table[[*CELL, *FATES, "median", "n"]].sort_values(order, ascending=ascending, kind="stable")
    return table.reset_index(drop=True)


def best(rows: pd.DataFrame, margin: int = Config.margin) -> pd.DataFrame:
    """The chosen point of every model and length: the first line of `summarise`."""
    return summarise(rows, margin).groupby(["model", "T"], sort=False).head(1).reset_index(drop=True)


@dataclass(frozen=True)
class Start:
    """How a network starts.

    Attributes:
        U: recurrent weights, "identity" or "shift".
        V: input weights, "normal": into all units, "sparse": into unit 0.
        unit_size: whether every input's weights have length 1 (its root mean square, if normal: N(0, 1/N)); else the length
            that the iRNN's have as published, 0.001·√N.
        biases: whether the random input biases of the iRNN's public code, U(-1/√2, 1/√2), are there; else 0.
    """

    U: RecurrentStart
    V: InputStart
    unit_size: bool
    biases: bool

    @property
    def name(self) -> str:
        """For instance "identity, small normal V, biases"."""
        size = "unit" if self.unit_size else "small"
        return f"{self.U}, {size} {self.V} V" + (", biases" if self.biases else "")

    def scale(self, units: int) -> float:
        """`V_scale` of a network of N units."""
        length = 1.0 if self.unit_size else PUBLISHED_SCALE["normal"] * units**0.5
        return length if self.V == "sparse" else length / units**0.5


_CROSSED: tuple[Any, ...] = (("identity", "shift"), ("normal", "sparse"), (False, True), (False, True))
STARTS: Final[dict[str, Start]] = {own.name: own for own in itertools.starmap(Start, product(*_CROSSED))}
"""Name → start. "identity, small normal V, biases" is the published iRNN, "shift, unit sparse V" a Wave-RNN of one ring that
may become any dense network."""


@dataclass(frozen=True)
class StartsConfig(Configuration):
    """What makes the adding task easy to learn: one dense network, one optimiser, sixteen ways to start.

    The paper compares a Wave-RNN with an iRNN; they differ in architecture (27 coupled rings, 2,700 units, against 100 dense
    ones), in the recurrent start (shift against identity), in the input weights (one unit against all of them, weight 1 against
    0.001) and in the biases. Here everything is the same dense network with the same number of weights, readouts and sequences,
    and the four parts of the start are crossed: U, pattern of V, size of V, biases. (The paper has an ablation for the copy
    task, Table 4, not for adding.) quick: T = N = 40, the size of the committed record; paper: T = N = 100 and the paper's batch.

    Attributes:
        T: length of the sequences.
        units: N.
        starts: among `STARTS`.
        rates: learning rates; every start is trained with each.
        runs: networks per start and rate; see `wavemem.streams.run_seeds`.
        iterations, batch, clip: of the training; sequences depend on the seed alone.
        test_batch: sequences of the test.
        log_every: updates between two rows, and the resolution of "solved at".
        margin: for how many updates a solved task has to stay solved, see `wavemem.wave_rnn.adding.fates`.
    """

    PARTS: ClassVar = ("starts", "runs")
    UNSTATED: ClassVar = "an experiment of ours"
    PAPER: ClassVar = {"T": 100, "units": 100, "iterations": 20_000, "batch": 128, "log_every": 100}

    T: Length = 40
    units: Size = 40
    starts: tuple[Annotated[str, OneOf(STARTS)], ...] = tuple(STARTS)
    rates: tuple[Rate, ...] = (1e-3, 3e-3, 1e-2)
    runs: Runs = 8
    iterations: Count = 1300
    batch: Batch = 64
    clip: Clip = 1.0
    test_batch: Batch = 1000
    log_every: Count = 10
    margin: Count = 200


def start_networks(config: StartsConfig, seed: int, device: torch.device | str = "cpu") -> IdentityRNN:
    """The untrained networks: run (i·len(rates) + j)·runs + k has start i, rate j and the k-th seed."""
    seeds = run_seeds(seed, config.runs) * len(config.rates)
    N, drawn = config.units, []
    for name in config.starts:
        start = STARTS[name]
        network = IdentityRNN.initialise(
            seeds, N, 2, 1, U_init=start.U, V_init=start.V, V_scale=start.scale(N), device=device
        )
        biases = network.state_dict()["b_V"].zero_()
        if start.biases:  # sparse starts have none of their own: the same as the normal start of this seed
            biases += IdentityRNN.initialise(seeds, N, 2, 1, device=device).b_V.detach()
        drawn.append(network)
    return stack(drawn)


def _train_starts(config: StartsConfig, seed: int, where: Where) -> Result:
    cells = [(name, lr) for name in config.starts for lr in config.rates]
    settings = [Setting(STARTS[name].scale(config.units), STARTS[name].biases, lr, config.clip) for name, lr in cells]
    names, seeds = [{"start": name, "lr": lr} for name, lr in cells], run_seeds(seed, config.runs)
    network = start_networks(config, seed, where.device)
    return Result(train(config, network, config.T, config.iterations, settings, names, seeds, where).rows)


@resumable
def _run_starts(config: StartsConfig, seed: int) -> Pieces:
    """Train the networks of all starts side by side; all use the same seeds, hence the same sequences.

    Rows (start, lr, seed, iteration, quantity, value): "train MSE" of the batch of that update, before it, and "test MSE".
    No weights are kept.
    """
    return {"starts": partial(_train_starts, config, seed)}


def _summarise_starts(rows: pd.DataFrame, margin: int = StartsConfig.margin) -> pd.DataFrame:
    """One line per start, at the rate at which most of its networks solve the task and, of equals, the median is soonest.

    Returns:
        Columns U, V, size, biases, lr, networks, the number of each fate, "median" (updates until solved, of those that solved
        it and kept it; NaN where none did); sorted from the quickest to the slowest.
    """
    table = outcomes(fates(rows, ["start", "lr"], margin), ["start", "lr"]).rename(columns={"n": "networks"})
    starts = [
        {"start": name, "U": own.U, "V": own.V, "size": "unit" if own.unit_size else "small", "biases": own.biases}
        for name, own in STARTS.items()
    ]
    table = table.merge(pd.DataFrame(starts), on="start")[[*starts[0], "lr", "networks", *FATES, "median"]]
    order = table.sort_values(["solved", "median"], ascending=[False, True], kind="stable")
    return order.drop_duplicates("start").set_index("start")


adding_starts = Experiment(StartsConfig, _run_starts, _summarise_starts)

_ADDING: dict[str, tuple[Any, ...]] = {
    "T": (100, 200, 400, 700, 1000),
    "units": (100,),
    "channels": (27,),
    "lr": (1e-2, 1e-3, 1e-4),
    "clip": (0.0, 1.0, 10.0, 100.0, 1000.0),
}
PAPER_GRIDS: Final[dict[tuple[str, str], grids.Grid]] = {
    ("adding", "wRNN"): _ADDING | {"recurrent": ("shift",), "inputs": ("sparse",)},
    ("adding", "iRNN"): _ADDING | {"channels": (1,), "recurrent": ("identity",), "inputs": ("normal",)},
}
"""(Task, model) → the paper's grid (Appendix B)."""


@dataclass(frozen=True)
class GridConfig(grids.GridConfig):
    """The paper's grid search on the adding task: which part of it, and how long to train.

    quick: small networks and the shortest sequences; paper: all of it, or a part such as `--set lengths=100`.
    """

    lengths: Annotated[tuple[Length, ...], Items(0)] = (100,)

    @property
    def paper_grids(self) -> dict[tuple[str, str], grids.Grid]:
        """(Task, model) → the paper's grid."""
        return PAPER_GRIDS

    def learned(self, T: int) -> grids.Learned:
        """The adding task."""
        return grids.Learned(AddingTask(T), 2, 1, False, adding_loss, adding_loss)


adding_grid = Experiment(GridConfig, grids.search, grids.summarise)
