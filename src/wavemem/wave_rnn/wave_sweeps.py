"""Grid searches of the Wave-RNN paper (Appendix B; Tables 5, 6): every point trained over several seeds, chosen on validation.

Every point of a grid is a piece of its own: it has a checkpoint, can be done by any process of this machine or any worker of
a cluster, and goes on where it was when whoever did it dies. A setting is chosen by the mean over its seeds of the error on
validation sequences, never by test sequences and never by its luckiest seed; what it scores on test sequences is looked up
afterwards.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, ClassVar, Self

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.func import functional_call

from wavemem.checks import one_of, require
from wavemem.records.experiment import PROFILES, Configuration, Pieces, Result, Where, resumable
from wavemem.records.fields import Batch, Blanks, Count, Items, OneOf, Rate, Runs, Size, Within
from wavemem.streams import run_seeds, stream
from wavemem.training.fit import FitConfig, fit
from wavemem.wave_rnn.adding_task import AddingTask, adding_loss
from wavemem.wave_rnn.copy_task import CopyTask, copy_loss, paper_loss
from wavemem.wave_rnn.grids import EPOCHS, MODELS, TASKS, Grid, Setting, grid
from wavemem.wave_rnn.image_tasks import SequentialImages
from wavemem.wave_rnn.network import IdentityRNN, RecurrentNetwork, WaveRNN

POINT = tuple(field.name for field in dataclasses.fields(Setting))
"""Columns of the rows that name a point of a grid."""
FAMILY = ("task", "model", "T", "units")
"""Columns within which the best point is sought, as in the paper's tables."""
EFFORT = ("iterations", "batch", "held_out", "epochs", "evaluations", "memory", "symbols")
"""Fields of a configuration that say how a point is trained."""
QUICK: dict[str, Any] = {
    "lengths": (0,),
    "learning_rates": (1e-2, 1e-3),
    "clips": (0.0, 1.0),
    "small": 20,
    "runs": 2,
    "iterations": 300,
    "batch": 32,
    "held_out": 256,
    "evaluations": 8,
    "memory": 3,
    "symbols": 4,
}
"""The profile "quick"."""


@dataclass(frozen=True)
class Config(Configuration):
    """Which parts of the grids, and how long to train; the same for every point.

    quick: a part of the copy task's grid with small networks and three symbols; paper: the grids of the copy and adding tasks.
    Parts of it, or the grids of images, are chosen by settings, for instance `--set tasks=adding --set lengths=100` or
    `--set tasks=psmnist`.

    Attributes:
        tasks: among `TASKS` of `wavemem.wave_rnn.grids`.
        models: "wRNN", "iRNN" or both.
        lengths: only these T; empty for all of the grid. A grid without any of them is left out.
        units: only these sizes; empty for all. A grid without any of them is left out.
        learning_rates, clips: only these; empty for all.
        small: units of a network, in the place of the grid's; 0 for the grid's own. For trying things out.
        small_channels: channels of the small Wave-RNN.
        runs: seeds per point; see `wavemem.streams.run_seeds`.
        iterations, batch: updates and sequences per run and update, for the copy and the adding task.
        held_out: sequences of theirs for validation, and as many for the test.
        epochs: passes through the training images; 0 for as many as the paper's.
        evaluations: how often during a training validation and test are looked at.
        memory, symbols: of the copy task.
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
        super().__post_init__()
        points(self)

    @classmethod
    def profile(cls, name: str) -> Self:
        """The configuration called "quick" or "paper"; the defaults are the paper's, too, but for the tasks.

        Raises:
            ValueError: if there is no such profile.
        """
        one_of("profile", name, PROFILES)
        return cls(tasks=("copy", "copy ablation", "adding")) if name == "paper" else cls(**QUICK)


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
        "lengths and sizes of the grids in wavemem.wave_rnn.grids",
        "Name others, or leave them out for all.",
    )
    return chosen


Sequences = tuple[Tensor, Tensor]
"""Inputs (T, batch, d), and targets with the sequences last."""


class _Drawn:
    """The copy and the adding task, whose sequences are drawn as they are needed."""

    def __init__(self, setting: Setting, config: Config) -> None:
        self._task: CopyTask | AddingTask
        self.every_step = setting.task != "adding"
        if self.every_step:
            self._task = CopyTask(setting.T, config.memory, config.symbols)
            self.size = (self._task.categories, self._task.categories)
        else:
            self._task, self.size = AddingTask(setting.T), (2, 1)
        self._config, self.updates = config, config.iterations

    def batch(self, done: int, seed: int, generator: torch.Generator) -> Sequences:
        return self._task.batch(self._config.batch, generator)

    def held_out(self, name: str) -> list[Sequences]:
        generator = stream(0, f"sweep, {self._task}, {name}")
        left = self._config.held_out
        parts: list[Sequences] = []
        while left > 0:
            parts.append(self._task.batch(min(left, self._config.batch), generator))
            left -= self._config.batch
        return parts

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return paper_loss(outputs, targets) if self.every_step else adding_loss(outputs, targets)

    def error(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return copy_loss(outputs.double(), targets) if self.every_step else adding_loss(outputs.double(), targets)


class _Images:
    """Images shown piece by piece, in a new order in every epoch."""

    every_step = False

    def __init__(self, setting: Setting, config: Config) -> None:
        self._images = SequentialImages(setting.task)
        epochs, self._batch = EPOCHS[setting.task]
        self.steps = len(self._images.train) // self._batch
        self.updates = self.steps * (config.epochs or epochs)
        self.size = (self._images.d, self._images.classes)

    def batch(self, done: int, seed: int, generator: torch.Generator) -> Sequences:
        epoch, step = divmod(done, self.steps)
        order = _order(len(self._images.train), seed, epoch)
        return self._sequences(self._images.train[order[step * self._batch : (step + 1) * self._batch]])

    def held_out(self, name: str) -> list[Sequences]:
        chosen: Tensor = getattr(self._images, name)
        return [self._sequences(part) for part in chosen.split(500)]

    def _sequences(self, indices: Tensor) -> Sequences:
        return self._images.sequence(indices), self._images.labels[indices]

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        chosen = targets.expand(outputs.shape[:-1]).unsqueeze(-1)
        return -outputs.log_softmax(-1).gather(-1, chosen).squeeze(-1).mean(-1)

    def error(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return (outputs.argmax(-1) != targets).double().mean(-1)


@functools.lru_cache(maxsize=64)
def _order(count: int, seed: int, epoch: int) -> Tensor:
    """The order of the training images in an epoch of a run."""
    return torch.randperm(count, generator=stream(seed, f"sweep, epoch {epoch}"))


def _network(
    setting: Setting, inputs: int, outputs: int, seeds: Sequence[int], device: torch.device
) -> RecurrentNetwork:
    """The untrained networks of a point, one per seed."""
    common: dict[str, Any] = {"units": setting.units, "inputs": inputs, "outputs": outputs, "device": device}
    common |= {"V_init": setting.inputs, "activation": setting.activation}
    if setting.model == "wRNN":
        return WaveRNN.initialise(seeds, channels=setting.channels, u_init=setting.recurrent, **common)  # type: ignore[arg-type]
    return IdentityRNN.initialise(seeds, U_init=setting.recurrent, **common)  # type: ignore[arg-type]


def train_setting(config: Config, setting: Setting, seeds: Sequence[int], where: Where) -> Result:
    """Train the networks of one point of a grid, several seeds side by side, and score them on data not trained on.

    Validation and test sequences are the same for all seeds and all points of a task; those of the training depend on the
    seed alone. Rows as of `run`.
    """
    work = _Images(setting, config) if setting.task in EPOCHS else _Drawn(setting, config)
    start, device = _network(setting, *work.size, seeds, where.device), where.device
    generators = [stream(seed, f"sweep, {setting.task}, T = {setting.T}") for seed in seeds]
    held_out = {name: work.held_out(name) for name in ("validation", "test")}
    every = max(1, work.updates // config.evaluations)

    def outputs(parameters: dict[str, Tensor], inputs: Tensor) -> Tensor:
        result: Tensor = functional_call(start, parameters, (inputs.to(device),), {"every_step": work.every_step})
        return result

    @torch.no_grad()
    def errors(parameters: dict[str, Tensor], name: str) -> Tensor:
        parts = held_out[name]
        counts = torch.tensor([inputs.shape[1] for inputs, _ in parts], dtype=torch.float64)
        found = [work.error(outputs(parameters, inputs), targets.to(device)).cpu() for inputs, targets in parts]
        return (torch.stack(found) * counts[:, None]).sum(0) / counts.sum()

    def loss(parameters: dict[str, Tensor], done: int) -> tuple[Tensor, dict[str, Tensor]]:
        drawn = [work.batch(done, seed, generator) for seed, generator in zip(seeds, generators, strict=True)]
        inputs = torch.stack([x for x, _ in drawn], 1)
        targets = torch.stack([y for _, y in drawn], -2).to(device)
        seen = {}
        if done == 0 or (done + 1) % every == 0 or done + 1 == work.updates:
            seen = {name: errors(parameters, name) for name in held_out}
        return work.loss(outputs(parameters, inputs), targets), seen

    every_drop = setting.drop_epoch * getattr(work, "steps", 1)
    drops = tuple(range(every_drop, work.updates + 1, every_drop)) if every_drop else ()
    training = FitConfig(
        work.updates,
        setting.lr,
        clip=setting.clip or None,
        log_every=every,
        milestones=drops,
        gamma=1 / setting.drop_rate,
    )
    label = setting.name + " " + " ".join(f"{name}={getattr(config, name)}" for name in EFFORT)
    log = fit(start.state_dict(), loss, training, where.progress, label, where.checkpoint, generators).log
    log["iteration"] -= 1  # values of a row are those before its update
    log["seed"] = log["run"].map(dict(enumerate(seeds)))
    log = log.rename(columns={"loss": "train", "grad_norm": "gradient"})
    rows = log.melt(["seed", "iteration"], ["train", "gradient", "validation", "test"], "quantity", "value")
    return Result(rows.assign(**dataclasses.asdict(setting))[[*POINT, *rows.columns]])


@resumable
def run(config: Config, seed: int) -> Pieces:
    """Train every point of the grids.

    Rows (`POINT`, seed, iteration (updates done), quantity, value): "train" is the loss that is minimised, "gradient" its norm
    before clipping, "validation" and "test" the errors on held-out sequences, in float64. No weights are kept.
    """
    seeds = run_seeds(seed, config.runs)
    return {point.name: partial(train_setting, config, point, seeds) for point in points(config)}


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
