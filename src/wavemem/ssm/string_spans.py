"""How far a register reaches, or how fast its wave is: string copying over a grid of velocities and register lengths.

Every model is `wavemem.ssm.mamba`, trained as in `wavemem.ssm.string_copying`; two things vary. The
number of neurons n is fixed per cell, and the velocity v either stays where it is put (*frozen*) or starts there and is
learned, one per channel. All velocities and seeds of one n are one ensemble, so that the runs of one seed share their
initial weights and their training strings and differ in nothing but v.

Rows: `register` (n), `velocity` (where it started), `learned`, `seed`, `iteration`, `length`, `quantity`, `value`.
Quantities: "loss" and "characters while training"; at the end "characters" and "strings" (generated; shares right) and
"teacher-forced characters", "mean loss" (of the
logged training losses: small if a run learns early), "updates to half" (first logged update from which on the loss stays
below half of what guessing costs; NaN if there is none), "velocity mean", "velocity sd" and "velocity moved" (root mean
square over channels and layers).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, ClassVar

import numpy as np
import pandas as pd
from jaxtyping import Float
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor

from wavemem.checks import require
from wavemem.kernels.compiled import own_threads
from wavemem.records.experiment import Configuration, Pieces, Result, Source, Where, resumable
from wavemem.records.fields import Batch, Clip, Count, Decay, Items, Rate, Runs, Size, Velocity, Within
from wavemem.ssm import string_copying
from wavemem.ssm.mamba import Mamba
from wavemem.ssm.register_span import coverage, reach
from wavemem.ssm.string_copying import context_loss, fit_config, rows_of, steady_below, task
from wavemem.ssm.string_tasks import guessing_loss
from wavemem.streams import run_seeds
from wavemem.training.fit import fit


@dataclass(frozen=True)
class Config(Configuration):
    """Sizes and training.

    quick: six frozen cells and three learned ones, two seeds, 300 updates; paper: the full grid at the same size of model and
    task, three seeds, 450 updates.

    Attributes:
        registers: numbers of neurons n.
        velocities: frozen velocities, in (0, 1].
        learned_registers, learned_velocities: cells whose velocity is learned, and where it starts.
        letters, lengths, context: of the strings.
        test_lengths, test_size: strings of the tests.
        width, layers, states: D, number of blocks, N.
        runs: seeds per cell; see `wavemem.streams.run_seeds`.
        iterations, batch, lr, weight_decay, warmup, clip: of the training; one learning rate for all cells, the one that the
            search of `string_copying` found for the register of 4 neurons at v = 1.
        log_every: updates between two rows of the learning curves.
    """

    PARTS: ClassVar = (
        "registers",
        "velocities",
        "learned_registers",
        "learned_velocities",
        "test_lengths",
        "runs",
        "log_every",
    )
    UNSTATED: ClassVar = "an experiment of ours"
    PAPER: ClassVar = {
        "registers": (2, 4, 6, 8, 12),
        "velocities": (0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.97, 1.0),
        "learned_registers": (4, 12),
        "learned_velocities": (0.2, 0.35, 0.5, 0.65, 0.8, 0.95),
        "test_lengths": (4, 7, 10, 12, 15),
        "test_size": 300,
        "runs": 3,
        "iterations": 450,
    }

    registers: Annotated[tuple[Size, ...], Items(0)] = (4, 6)
    velocities: Annotated[tuple[Velocity, ...], Items(0)] = (0.3, 0.6, 1.0)
    learned_registers: Annotated[tuple[Size, ...], Items(0)] = (4,)
    learned_velocities: Annotated[tuple[Velocity, ...], Items(0)] = (0.3, 0.6, 0.9)
    letters: Annotated[int, Within(1, 26)] = 16
    lengths: tuple[Size, Size] = (4, 10)
    context: Size = 46
    test_lengths: tuple[Size, ...] = (10,)
    test_size: Batch = 200
    width: Size = 32
    layers: Size = 2
    states: Size = 16
    runs: Runs = 2
    iterations: Count = 300
    batch: Batch = 32
    lr: Rate = 1e-2
    weight_decay: Decay = 0.1
    warmup: Annotated[int, Within(0, 1_000_000)] = 50
    clip: Clip = 1.0
    log_every: Count = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        require(len(self.jobs) > 0, "no cells", "at least one n and one velocity", "Fill registers and velocities.")
        self.copying()

    def copying(self) -> string_copying.Config:
        """Strings, training and tests of every cell, which are those of `string_copying`."""
        shortest, longest = self.lengths
        return string_copying.Config(
            models=("v-Wave",),
            letters=self.letters,
            shortest=shortest,
            longest=longest,
            context=self.context,
            iterations=self.iterations,
            batch=self.batch,
            warmup=self.warmup,
            weight_decay=self.weight_decay,
            clip=self.clip,
            tested=self.test_lengths,
            questions=self.test_size,
            log_every=self.log_every,
        )

    @property
    def jobs(self) -> tuple[tuple[int, bool], ...]:
        """(n, learned) of every ensemble."""
        frozen = tuple((n, False) for n in self.registers if self.velocities)
        return frozen + tuple((n, True) for n in self.learned_registers if self.learned_velocities)


def _velocities(config: Config, learned: bool) -> tuple[float, ...]:
    return config.learned_velocities if learned else config.velocities


def initial(config: Config, n: int, learned: bool, seeds: Sequence[int]) -> Mamba:
    """One ensemble as training starts it: runs ordered by velocity, then seed."""
    speeds = _velocities(config, learned)
    return Mamba.initialise(
        [seed for _ in speeds for seed in seeds],
        task(config.copying()).vocabulary,
        config.width,
        config.layers,
        n=n,
        N=config.states,
        register="wave",
        velocity=[v for v in speeds for _ in seeds],
        learn_velocity=learned,
    )


def _train(config: Config, n: int, learned: bool, seeds: Sequence[int], where: Where) -> Result:
    """Train and test one ensemble."""
    cells = [(v, seed) for v in _velocities(config, learned) for seed in seeds]
    names = [{"register": n, "velocity": v, "learned": learned, "seed": seed} for v, seed in cells]
    network, copying = initial(config, n, learned, seeds).to(where.device), config.copying()
    before = network.velocities().double()
    loss, streams = context_loss(copying, network, [seed for _, seed in cells])
    training, label = fit_config(copying, [config.lr] * len(cells)), f"strings, n = {n}"
    with own_threads():
        trained = fit(network.state_dict(), loss, training, where.progress, label, where.checkpoint, streams)
    network.load_state_dict(trained.parameters)
    after, half, quantities = network.velocities().double(), guessing_loss(task(copying)) / 2, []
    for k in range(len(cells)):
        own = trained.log[trained.log["run"] == k]
        quantities.append(
            {
                "mean loss": float(own["loss"].mean()),
                "updates to half": steady_below(own["iteration"].tolist(), own["loss"].tolist(), half),
                "velocity mean": float(after[k].mean()),
                "velocity sd": float(after[k].std()),
                "velocity moved": float((after[k] - before[k]).square().mean().sqrt()),
            }
        )
    weights = {f"learned/n{n}/velocities": after.float().cpu()} if learned else {}
    return Result(rows_of(copying, network, names, trained.log, quantities), weights)


@resumable
def run(config: Config, seed: int) -> Pieces:
    """Train every cell; the weights are the learned velocities, "learned/n<n>/velocities" (runs, layers, E)."""
    seeds = run_seeds(seed, config.runs)
    return {
        f"n{n}-{'learned' if learned else 'frozen'}": partial(_train, config, n, learned, seeds)
        for n, learned in config.jobs
    }


def velocities(config: Config, source: Source, n: int) -> Float[Tensor, "starts seeds channels"]:
    """Velocity of every channel of every layer after training, where velocities were learned.

    Args:
        config: what was trained.
        source: a result or a record of it.
        n: neurons.

    Raises:
        ValueError: If no velocities were learned with this n.
    """
    found = source.weights.get(f"learned/n{n}/velocities")
    known = ", ".join(name.split("/")[1] for name in source.weights) or "(none)"
    require(found is not None, f"n = {n}", known, "Choose a register whose velocities were learned.")
    assert found is not None
    return found.flatten(1).unflatten(0, (len(config.learned_velocities), -1))


def cells(rows: pd.DataFrame) -> pd.DataFrame:
    """One line per cell and seed: the final quantities as columns, scores at the longest string of training or test.

    Returns:
        Columns register, velocity, learned, seed, and one per quantity; "characters" and "strings" once per length, named
        "characters 10" and so on.
    """
    final = rows[~rows["quantity"].isin(["loss", "characters while training"])].copy()
    name = final["quantity"].where(final["length"] == 0, final["quantity"] + " " + final["length"].astype(str))
    final["quantity"] = name
    keys = ["register", "velocity", "learned", "seed"]
    table = final.pivot(index=keys, columns="quantity", values="value").reset_index()
    table.columns.name = None
    return table


def summarise(rows: pd.DataFrame) -> pd.DataFrame:
    """Means over seeds of every cell."""
    table = cells(rows).drop(columns="seed")
    return table.groupby(["learned", "register", "velocity"], as_index=False).mean()


def orderings(cells: pd.DataFrame, layers: int, lengths: tuple[int, int], by: str = "mean loss") -> pd.DataFrame:
    """How well each explanation orders frozen cells: rank correlations over all of them, within rows, within columns.

    Over all cells an explanation can be right because it tells long registers from short ones. Whether it is right about
    the *velocity* is seen where the number of neurons is held (within rows), and about the neurons where the velocity is.

    Args:
        cells: from `cells` or `summarise`, frozen ones only; seeds are averaged first.
        layers: registers in a row.
        lengths: shortest and longest string.
        by: column that is small where learning is early.

    Returns:
        One line per explanation ("slower velocity", "reach", "coverage", "neurons") and columns "all cells", "n = …" for
        every row, "within rows" and "within columns" (means of the rows' and columns' own). Each is Spearman's correlation,
        turned so that 1 is never wrong about which of two cells learns earlier; NaN where the explanation says nothing.
    """
    means = cells.groupby(["register", "velocity"], as_index=False)[by].mean()
    pairs = [(int(n), float(v)) for n, v in zip(means["register"], means["velocity"], strict=True)]
    explained = {
        "slower velocity": -means["velocity"].to_numpy(),
        "reach": np.array([reach(n, v, layers) for n, v in pairs]),
        "coverage": np.array([coverage(n, v, lengths, layers) for n, v in pairs]),
        "neurons": means["register"].to_numpy(),
    }
    early = -means[by].to_numpy()
    rows = {f"n = {n}": (means["register"] == n).to_numpy() for n in sorted(set(means["register"]))}
    columns = [(means["velocity"] == v).to_numpy() for v in sorted(set(means["velocity"]))]

    def rank(says: NDArray[np.float64], where: NDArray[np.bool_]) -> float:
        told, found = says[where], early[where]
        if len(set(told)) < 2 or len(set(found)) < 2:
            return math.nan
        return float(stats.spearmanr(told, found).statistic)

    def mean(values: list[float]) -> float:
        known = [value for value in values if not math.isnan(value)]
        return float(np.mean(known)) if known else math.nan

    table = {}
    for name, says in explained.items():
        own = {row: rank(says, where) for row, where in rows.items()}
        across = mean([rank(says, where) for where in columns])
        whole = rank(says, np.ones(len(means), dtype=bool))
        table[name] = {"all cells": whole, **own, "within rows": mean(list(own.values())), "within columns": across}
    return pd.DataFrame(table).T
