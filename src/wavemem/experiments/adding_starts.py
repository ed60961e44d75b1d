"""What makes the adding task easy to learn: one dense network, one optimiser, sixteen ways to start.

The paper compares a Wave-RNN with an iRNN; they differ in architecture (27 coupled rings, 2,700 units, against 100 dense
ones), in the recurrent start (shift against identity), in the input weights (one unit against all of them, weight 1 against
0.001) and in the biases. Here everything is the same dense network with the same number of weights, readouts and sequences, and
the four parts of the start are crossed: U, pattern of V, size of V, biases. (The paper has an ablation for the copy task,
Table 4, not for adding.)
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Final

import pandas as pd
import torch

from wavemem.checks import one_of, positive_int
from wavemem.experiments._adding_training import FATES, Setting, fates, train
from wavemem.models.identity_rnn import IdentityRNN, RecurrentStart
from wavemem.models.wave_rnn import PUBLISHED_SCALE, InputStart
from wavemem.records.experiment import PROFILES, Result
from wavemem.records.fields import Batch, Clip, Count, OneOf, Rate, Runs, Size, Within, check_fields
from wavemem.streams import run_seeds
from wavemem.training.generic import FitConfig

__all__ = ["STARTS", "Config", "Start", "by_network", "run", "start_networks", "summarise"]


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


STARTS: Final[dict[str, Start]] = {
    start.name: start
    for start in itertools.starmap(
        Start, itertools.product(("identity", "shift"), ("normal", "sparse"), (False, True), (False, True))
    )
}
"""Name → start. "identity, small normal V, biases" is the published iRNN, "shift, unit sparse V" a Wave-RNN of one ring that
may become any dense network."""


@dataclass(frozen=True)
class Config:
    """Sizes and protocol.

    Attributes:
        T: length of the sequences.
        units: N.
        starts: among `STARTS`.
        rates: learning rates; every start is trained with each.
        runs: networks per start and rate; see `wavemem.streams.run_seeds`.
        iterations, batch, clip: of the training; sequences depend on the seed alone.
        test_batch: sequences of the test.
        log_every: updates between two rows, and the resolution of "solved at".
        margin: for how many updates a solved task has to stay solved, see `_adding_training.fates`.
    """

    PARTS: ClassVar = ("starts", "runs")
    UNSTATED: ClassVar = "an experiment of ours"

    T: Annotated[int, Within(2, 100_000)] = 40
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

    def __post_init__(self) -> None:
        check_fields(self)

    @classmethod
    def profile(cls, name: str) -> Config:
        """The two sizes of the book.

        Args:
            name: "quick": T = N = 40, the size of the committed record, of which a chapter trains a part live; "paper":
                T = N = 100 with the paper's batch (the experiment is not in the paper).

        Raises:
            ValueError: if there is no such profile.
        """
        one_of("profile", name, PROFILES)
        if name == "quick":
            return cls()
        return cls(T=100, units=100, iterations=20_000, batch=128, log_every=100)


def start_networks(config: Config, seed: int, device: torch.device | str = "cpu") -> IdentityRNN:
    """The untrained networks: run (i·len(rates) + j)·runs + k has start i, rate j and the k-th seed."""
    seeds = run_seeds(seed, config.runs) * len(config.rates)
    N, drawn = config.units, []
    for name in config.starts:
        start = STARTS[name]
        network = IdentityRNN.initialise(
            seeds, N, 2, 1, U_init=start.U, V_init=start.V, V_scale=start.scale(N), device=device
        )
        parameters = network.parameters_dict()
        parameters["b_V"].zero_()
        if start.biases:  # sparse starts have none of their own: the same as the normal start of this seed
            parameters["b_V"] += IdentityRNN.initialise(seeds, N, 2, 1, device=device).b_V.detach()
        drawn.append(parameters)
    return IdentityRNN({name: torch.cat([part[name] for part in drawn]) for name in drawn[0]})


def run(
    config: Config,
    seed: int,
    device: torch.device | str = "cpu",
    progress: bool = True,
    checkpoints: Path | None = None,
) -> Result:
    """Train the networks of all starts side by side.

    Args:
        config: sizes and protocol.
        seed: the first seed; all starts use the same seeds, hence the same sequences.
        device: where to train.
        progress: whether to report progress.
        checkpoints: folder in which the training keeps its state; None keeps nothing.

    Returns:
        Rows (start, lr, seed, iteration, quantity, value): "train MSE" of the batch of that update, before it, and "test MSE".
        No weights are kept.

    Raises:
        ValueError: if the configuration or the seed is not usable.
    """
    positive_int("seed", seed, minimum=0)
    seeds = run_seeds(seed, config.runs)
    cells = [(start, lr) for start in config.starts for lr in config.rates]
    settings = [
        Setting(STARTS[start].scale(config.units), STARTS[start].biases, lr, config.clip) for start, lr in cells
    ]
    training = FitConfig(config.iterations, log_every=config.log_every)
    found, _ = train(
        start_networks(config, seed, device),
        config.T,
        settings,
        seeds,
        training,
        config.batch,
        config.test_batch,
        progress,
        f"adding from {len(cells)} starts",
        None if checkpoints is None else checkpoints / "starts",
    )
    named = pd.DataFrame(cells, columns=["start", "lr"]).loc[found["setting"]].reset_index(drop=True)
    rows = pd.concat([named, found.drop(columns="setting")], axis=1)
    return Result(rows)


def by_network(rows: pd.DataFrame, margin: int = Config.margin) -> pd.DataFrame:
    """One line per trained network: start, lr, seed, "solved at", "fate", "updates".

    Raises:
        ValueError: if the rows lack the columns of `run`.
    """
    for column in ("start", "lr", "seed", "quantity", "value"):
        one_of("column", column, rows.columns)
    return fates(rows, ["start", "lr"], margin)


def summarise(rows: pd.DataFrame, margin: int = Config.margin) -> pd.DataFrame:
    """One line per start, at the rate at which most of its networks solve the task and, of equals, the median is soonest.

    Returns:
        Columns U, V, size, biases, lr, networks, the number of each fate, "median" (updates until solved, of those that solved
        it and kept it; NaN where none did); sorted from the quickest to the slowest.
    """
    table = []
    for (name, lr), own in by_network(rows, margin).groupby(["start", "lr"], sort=False):
        start = STARTS[str(name)]
        line = {"U": start.U, "V": start.V, "size": "unit" if start.unit_size else "small", "biases": start.biases}
        counts = {fate: int((own["fate"] == fate).sum()) for fate in FATES}
        median = float(own.loc[own["fate"] == "solved", "solved at"].median())
        table.append({"start": name, **line, "lr": lr, "networks": len(own), **counts, "median": median})
    order = pd.DataFrame(table).sort_values(["solved", "median"], ascending=[False, True], kind="stable")
    return order.drop_duplicates("start").set_index("start")
