"""Searches of hyper-parameters: the Wave-RNN paper's grids (Keller et al., ICLR 2024, Appendix B), and the edges of ours.

The grids of a task are data beside it: `wavemem.wave_rnn.copying.PAPER_GRIDS`, `wavemem.wave_rnn.adding_search.PAPER_GRIDS`.
Every point of a grid is trained over several seeds, as a piece of its own: it has a checkpoint, can be done by any process
of this machine or any worker of a cluster, and goes on where it was when whoever did it dies. A setting is chosen by the
mean over its seeds of the error on validation sequences, never by test sequences and never by its luckiest seed; what it
scores on test sequences is looked up afterwards.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, Protocol

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.func import functional_call

from wavemem.checks import one_of, require
from wavemem.records.experiment import Configuration, Pieces, Result, Where, resumable
from wavemem.records.fields import Batch, Blanks, Count, Items, Rate, Runs, Size, Within
from wavemem.streams import run_seeds, stream
from wavemem.training.fit import FitConfig, fit
from wavemem.wave_rnn.network import initialise


@dataclass(frozen=True)
class Setting:
    """One point of a grid.

    Attributes:
        task, model: what learns what.
        T: length of the task.
        units, channels: size; the iRNN has one channel.
        lr: Adam's learning rate.
        clip: largest gradient norm; 0 for no clipping. For the copy task it acts on the gradient of the paper's own loss,
            which is the cross-entropy divided by the size of the batch.
        recurrent: how the recurrent weights begin: "shift", "dirac", "uniform" (wRNN); "identity", "uniform", "shift" (iRNN).
        inputs: how the input weights begin: "sparse" or "normal".
        activation: "relu" or "tanh".
    """

    task: str
    model: str
    T: int
    units: int
    channels: int
    lr: float
    clip: float
    recurrent: str
    inputs: str
    activation: str = "relu"

    @property
    def name(self) -> str:
        """A file name that no other point of any grid has."""
        size = f"T{self.T}-n{self.units}x{self.channels}-lr{self.lr:g}-clip{self.clip:g}"
        return f"{self.task.replace(' ', '-')}-{self.model}-{size}-{self.recurrent}-{self.inputs}-{self.activation}"


Grid = Mapping[str, tuple[Any, ...]]
"""Fields of `Setting` → values that are tried; the points are all combinations, the first field varying slowest."""

POINT = tuple(field.name for field in dataclasses.fields(Setting))
"""Columns of the rows that name a point of a grid."""
FAMILY = ("task", "model", "T", "units")
"""Columns within which the best point is sought, as in the paper's tables."""


class Best(NamedTuple):
    """A setting that the paper reports as the best of its grid."""

    model: str
    units: int
    channels: int
    T: int
    lr: float
    clip: float
    recurrent: str


def best_settings(model: str, units: int, channels: int, *columns: tuple[int, float, float, str]) -> tuple[Best, ...]:
    """The part of a table that is about one size of a model: T, learning rate, clip and start of the recurrent weights."""
    return tuple(Best(model, units, channels, *column) for column in columns)


def best_of(table: Sequence[Best], model: str, T: int, units: int = 100) -> Best:
    """The setting of a model that a table of the paper has for T, or for the next longer of its lengths."""
    known = {best.T: best for best in table if (best.model, best.units) == (model, units)}
    return known[min((length for length in known if length >= T), default=max(known))]


class Task(Protocol):
    """A task whose sequences are drawn as they are needed."""

    def batch(self, size: int, generator: torch.Generator, device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
        """Inputs (T, batch, d) and targets (…, batch)."""
        ...


class Learned(NamedTuple):
    """What the networks of a grid learn: a task, their inputs and outputs, the loss that is minimised, the error that counts.

    Both take outputs and targets, of every step or of the last, and return one number per run.
    """

    task: Task
    inputs: int
    outputs: int
    every_step: bool
    loss: Callable[[Tensor, Tensor], Tensor]
    error: Callable[[Tensor, Tensor], Tensor]


def draw(
    task: Task, size: int, generators: Sequence[torch.Generator], device: torch.device | str = "cpu", settings: int = 1
) -> tuple[Tensor, Tensor]:
    """One batch per generator, inputs (T, K, batch, d) and targets (…, K, batch), the same again for each setting."""
    drawn = [task.batch(size, generator, device) for generator in generators] * settings
    return torch.stack([inputs for inputs, _ in drawn], 1), torch.stack([targets for _, targets in drawn], -2)


@dataclass(frozen=True)
class GridConfig(Configuration, ABC):
    """Which part of the paper's grid of a task, and how long to train; the same for every point.

    Attributes:
        models: "wRNN", "iRNN" or both.
        lengths, units, learning_rates, clips: only these; empty for all. A model's grid without any of them is left out.
        small: units of a network, in the place of the grid's; 0 for the grid's own. For trying things out.
        small_channels: channels of the small Wave-RNN.
        runs: seeds per point; see `wavemem.streams.run_seeds`.
        iterations, batch: updates and sequences per run and update.
        held_out: sequences for validation, and as many for the test.
        evaluations: how often during a training validation and test are looked at.
    """

    PARTS: ClassVar[tuple[str, ...]] = ("models", "lengths", "units", "learning_rates", "clips", "runs")
    PAPER: ClassVar[Mapping[str, Any]] = {
        "lengths": (),
        "learning_rates": (),
        "clips": (),
        "small": 0,
        "runs": 3,
        "iterations": 60_000,
        "batch": 128,
        "held_out": 1024,
        "evaluations": 60,
    }

    models: tuple[Literal["wRNN", "iRNN"], ...] = ("wRNN", "iRNN")
    lengths: Annotated[tuple[Blanks, ...], Items(0)] = ()
    units: Annotated[tuple[Size, ...], Items(0)] = ()
    learning_rates: Annotated[tuple[Rate, ...], Items(0)] = (1e-2, 1e-3)
    clips: Annotated[tuple[Annotated[float, Within(0, 1e9)], ...], Items(0)] = (0.0, 1.0)
    small: Annotated[int, Within(0, 10_000)] = 20
    small_channels: Size = 2
    runs: Runs = 2
    iterations: Count = 300
    batch: Batch = 32
    held_out: Batch = 256
    evaluations: Count = 8

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            len(self.points) > 0,
            ", ".join(f"{name} = {getattr(self, name)}" for name in ("lengths", "units", "learning_rates", "clips")),
            "; ".join(f"{model}: {grid}" for (_, model), grid in self.paper_grids.items()),
            "Name values of one grid, or leave them out for all.",
        )

    @property
    @abstractmethod
    def paper_grids(self) -> Mapping[tuple[str, str], Grid]:
        """(Task, model) → the paper's grid."""

    @abstractmethod
    def learned(self, T: int) -> Learned:
        """What is learned at a length."""

    @property
    def points(self) -> list[Setting]:
        """The points that are asked for, task by task and model by model."""
        asked = {"T": self.lengths, "units": self.units, "lr": self.learning_rates, "clip": self.clips}
        found: list[Setting] = []
        for (task, model), grid in self.paper_grids.items():
            axes = {name: tuple(v for v in grid[name] if v in (asked.get(name) or grid[name])) for name in grid}
            if self.small and axes["units"]:
                axes |= {"units": (self.small,), "channels": (self.small_channels if model == "wRNN" else 1,)}
            if model in self.models:
                found += [Setting(task, model, **dict(zip(axes, own, strict=True))) for own in product(*axes.values())]
        return found


def train_setting(config: GridConfig, setting: Setting, seeds: Sequence[int], where: Where) -> Result:
    """Train the networks of one point of a grid, several seeds side by side, and score them on data not trained on.

    Validation and test sequences are the same for all seeds and all points of a task; those of the training depend on the
    seed alone. Rows as of `search`.
    """
    learned, device = config.learned(setting.T), where.device
    task, sizes = learned.task, (learned.inputs, learned.outputs)
    how: Any = {"V_init": setting.inputs, "activation": setting.activation, "device": device}
    start = initialise(setting.model, seeds, setting.units, setting.channels, *sizes, setting.recurrent, **how)
    generators = [stream(seed, f"sweep, {setting.task}, T = {setting.T}") for seed in seeds]
    parts = [min(config.batch, config.held_out - done) for done in range(0, config.held_out, config.batch)]
    held_out = {}
    for name in ("validation", "test"):
        generator = stream(0, f"sweep, {task}, {name}")
        held_out[name] = [task.batch(size, generator, device) for size in parts]
    every = max(1, config.iterations // config.evaluations)

    def outputs(parameters: dict[str, Tensor], inputs: Tensor) -> Tensor:
        result: Tensor = functional_call(start, parameters, (inputs,), {"every_step": learned.every_step})
        return result

    @torch.no_grad()
    def errors(parameters: dict[str, Tensor], name: str) -> Tensor:
        counts = torch.tensor(parts, dtype=torch.float64)
        found = [learned.error(outputs(parameters, x).double(), y).cpu() for x, y in held_out[name]]
        return (torch.stack(found) * counts[:, None]).sum(0) / counts.sum()

    def loss(parameters: dict[str, Tensor], done: int) -> tuple[Tensor, dict[str, Tensor]]:
        inputs, targets = draw(task, config.batch, generators, device)
        seen = {}
        if done == 0 or (done + 1) % every == 0 or done + 1 == config.iterations:
            seen = {name: errors(parameters, name) for name in held_out}
        return learned.loss(outputs(parameters, inputs), targets), seen

    training = FitConfig(config.iterations, setting.lr, clip=setting.clip or None, log_every=every)
    initial = start.state_dict()
    log = fit(initial, loss, training, where.progress, setting.name, where.checkpoint, generators).log
    log["iteration"] -= 1  # values of a row are those before its update
    log["seed"] = log["run"].map(dict(enumerate(seeds)))
    log = log.rename(columns={"loss": "train", "grad_norm": "gradient"})
    rows = log.melt(["seed", "iteration"], ["train", "gradient", "validation", "test"], "quantity", "value")
    return Result(rows.assign(**dataclasses.asdict(setting))[[*POINT, *rows.columns]])


@resumable
def search(config: GridConfig, seed: int) -> Pieces:
    """Train every point of a grid.

    Rows (`POINT`, seed, iteration (updates done), quantity, value): "train" is the loss that is minimised, "gradient" its norm
    before clipping, "validation" and "test" the errors on held-out sequences, in float64. No weights are kept.
    """
    seeds = run_seeds(seed, config.runs)
    return {point.name: partial(train_setting, config, point, seeds) for point in config.points}


def scores(rows: pd.DataFrame) -> pd.DataFrame:
    """One line per network: its lowest validation error, when that was, and the test error at that time.

    Args:
        rows: from `search`.

    Returns:
        Columns `POINT`, seed, iteration, validation, test. Errors that are not finite count as infinite.

    Raises:
        ValueError: if the rows lack a column of `search`.
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
    test = {name: ("test", how) for name, how in (("test", "mean"), ("test_sd", "std"), ("lowest_test", "min"))}
    grouped = scores(rows).groupby(list(POINT), sort=False)
    table = grouped.agg(seeds=("seed", "count"), validation=("validation", "mean"), **test).reset_index()
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


def neighbour(value: float, direction: int) -> float:
    """The neighbour of a value among …, 0.1, 0.3, 1, 3, 10, …"""
    ladder = [m * 10.0**k for k in range(-8, 6) for m in (1, 3)]
    at = min(range(len(ladder)), key=lambda i: abs(ladder[i] / value - 1))
    return float(f"{ladder[at + direction]:.6g}")


def at_edge(tried: pd.DataFrame, chosen: pd.DataFrame) -> pd.DataFrame:
    """Which of the chosen values are the least or the largest of several that were tried for the model and the length.

    Args:
        tried: columns model, T, V_scale, lr; one line or more per point of a search.
        chosen: one line per model and T.

    Returns:
        `chosen` with the columns "V_scale at an edge" and "lr at an edge".
    """
    chosen = chosen.copy()
    for name in ("V_scale", "lr"):
        ends = chosen.merge(tried.groupby(["model", "T"])[name].agg(["min", "max"]).reset_index(), on=["model", "T"])
        outer = (ends[name] == ends["min"]) | (ends[name] == ends["max"])
        chosen[f"{name} at an edge"] = outer & (ends["min"] < ends["max"])
    return chosen
