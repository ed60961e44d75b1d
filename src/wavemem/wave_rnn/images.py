"""Images pixel by pixel: Wave-RNN, network without waves, gated networks (Wave-RNN Figs. 2, 6, 7, 8; Tables 2, 3, 7).

Every model sees images step by step (`wavemem.wave_rnn.image_tasks`) and names their class after the last step. Trained
with Adam on the cross-entropy, with the learning rate divided now and then, in epochs that each visit the training images
in a new order.
A seed has its order of images whichever model it trains; the last, incomplete batch of an epoch is left out. Every few updates
the accuracy on the validation and on the test images is noted; the score of a network is its test accuracy at the time of
its best validation accuracy, as in the paper.

`image_search` searches the learning rate, the size of the input weights and the biases of the small digits, alike for every
model. The setting with the largest best validation accuracy (mean over seeds) wins. As long as it lies at an edge of what was
tried in its rate or its scale, the next value beyond the edge is tried, all else equal: no winner is at an edge. No test image
is looked at, and the seeds serve no other purpose.

Data sets are looked for in the folder that the environment variable WAVEMEM_DATA names, see `wavemem.wave_rnn.image_files`.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from typing import Annotated, Any, ClassVar, Final

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from wavemem.checks import one_of, require
from wavemem.records.experiment import (
    Configuration,
    Experiment,
    Pieces,
    Result,
    Rounds,
    Source,
    Where,
    resumable,
    under,
    weights_of,
)
from wavemem.records.fields import Count, Items, OneOf, Runs, Size, Within
from wavemem.streams import run_seeds, stream
from wavemem.training.ensemble import stack
from wavemem.training.fit import FitConfig, fit
from wavemem.wave_rnn.grids import neighbour
from wavemem.wave_rnn.image_tasks import KINDS, STAND_INS, SequentialImages
from wavemem.wave_rnn.network import GatedRNN, IdentityRNN, WaveRNN, network_of

Network = WaveRNN | IdentityRNN | GatedRNN

MODELS: Final = ("wRNN", "wRNN searched", "iRNN", "iRNN searched", "wRNN + MLP", "LSTM", "GRU")
"""The first and the third start as published, the searched ones with the input weights and biases that a search chose."""


@dataclass(frozen=True)
class Setting:
    """How a model is made and trained on a task.

    Attributes:
        units: n of the Wave-RNN, N of the others.
        channels: c of the Wave-RNN.
        lr: learning rate.
        clip: largest gradient norm; 0 for no clipping.
        batch: images per update.
        epochs: how often the training images are visited.
        drop: (epochs, factor): the learning rate is divided by the factor after every so many epochs.
        V_scale, biases: the start, as in `wavemem.wave_rnn.network.WaveRNN.initialise`; None and True are the published one.
    """

    units: int
    channels: int = 1
    lr: float = 1e-3
    clip: float = 0.0
    batch: int = 128
    epochs: int = 120
    drop: tuple[int, float] | None = (100, 10.0)
    V_scale: float | None = None
    biases: bool = True


EPOCHS: Final = 60
"""Epochs in which all models are compared on the small digits."""


def _digits(more: int) -> dict[str, Setting]:
    """Small digits; networks without waves go on to `more` times as many epochs.

    Learning rates and starts are those that `image_search` found on the permuted digits.
    """
    small = partial(Setting, clip=1.0, batch=64, epochs=EPOCHS, drop=None)
    dense = partial(small, 64, epochs=more * EPOCHS)
    return {
        "wRNN": small(32, 8, lr=3e-3),
        "wRNN searched": small(32, 8, lr=1e-3, V_scale=10.0),
        "iRNN": dense(lr=3e-2),
        "iRNN searched": dense(lr=3e-3, V_scale=3.0),
        "wRNN + MLP": small(32, 8, lr=3e-3),
        "LSTM": small(32, lr=1e-2),
        "GRU": small(32, lr=3e-2),
    }


_NOISY: Final = {
    "wRNN": Setting(256, 16, lr=1e-4, batch=256, epochs=250),
    "iRNN": Setting(529, lr=1e-5, batch=256, epochs=250),
}
SETTINGS: Final[dict[str, dict[str, Setting]]] = {
    "sdigits": _digits(3),
    "psdigits": _digits(3),
    "nsdigits": _digits(1),
    "smnist": {
        "wRNN": Setting(256, 16, lr=1e-4, clip=1.0),
        "iRNN": Setting(256, lr=1e-4),
        "wRNN + MLP": Setting(256, 16, lr=1e-4, clip=1.0),
    },
    "psmnist": {
        "wRNN": Setting(256, 16, lr=1e-4, clip=100.0),
        "iRNN": Setting(256, lr=1e-4, clip=1000.0, epochs=250),
        "wRNN + MLP": Setting(256, 16, lr=1e-4, clip=100.0),
    },
    "nscifar10": _NOISY,
    "nscifar10-jpeg": _NOISY,
}
"""Task → model → setting. Those of the paper's tasks are the ones that its Appendix B marks in its search ranges; where the
text has lost the mark they are those of the public code's defaults."""


@dataclass(frozen=True)
class Job:
    """A model of one size on one task.

    Attributes:
        task, model: see `wavemem.wave_rnn.images.Config`.
        setting: its size, its start, and how it is trained.
    """

    task: str
    model: str
    setting: Setting

    @property
    def name(self) -> str:
        """A name for files and weights."""
        return f"{self.task}/{self.model}/{self.setting.units}x{self.setting.channels}"

    @property
    def together(self) -> tuple[object, ...]:
        """Jobs that agree in this have the same shapes and are trained in one ensemble."""
        s = self.setting
        return (self.task, self.model.removesuffix(" searched"), s.units, s.channels, s.clip, s.batch, s.epochs, s.drop)


WAVES: Final = ("wRNN", "wRNN searched")
DENSE: Final = ("iRNN", "iRNN searched")
"""Models with and without waves that are compared: the published start and the searched one."""


@dataclass(frozen=True)
class Config(Configuration):
    """What to train.

    quick: digits of 8 × 8 pixels, a quarter of an hour on one core; paper: MNIST and CIFAR-10 with the sizes of the paper. The
    defaults are the protocol of the committed record: base seed 1, which no search used. The book trains live permuted digits,
    two seeds and a third of the epochs, at one size.

    Attributes:
        tasks: among `wavemem.wave_rnn.image_tasks.KINDS`.
        models: among `MODELS`; a task trains those that `SETTINGS` has for it.
        further: models that are trained on one task only.
        further_task: which.
        size_task: the task, if it is trained at all, on which further sizes are tried (Fig. 7), or None.
        wave_sizes: (n, c) of these Wave-RNNs.
        dense_sizes: N of these networks without waves.
        size_epochs: epochs of the further sizes; None are the settings'.
        runs: seeds; see `wavemem.streams.run_seeds`.
        epochs: a number of epochs for all, instead of the settings'.
        log_every: updates between two rows of the curves; None takes an epoch.
    """

    PARTS: ClassVar = (
        "tasks",
        "models",
        "further",
        "further_task",
        "size_task",
        "wave_sizes",
        "dense_sizes",
        "runs",
        "log_every",
    )
    OTHER_DATA: ClassVar = {"tasks": STAND_INS, "size_task": STAND_INS}
    PAPER: ClassVar = {
        "tasks": ("smnist", "psmnist", "nscifar10"),
        "models": ("wRNN", "iRNN", "wRNN + MLP"),
        "further": (),
        "size_task": "psmnist",
        "wave_sizes": tuple((n, c) for n in (16, 36, 64, 144) for c in (1, 4, 16, 32)),
        "dense_sizes": (64, 144, 529),
        "size_epochs": None,
        "log_every": None,
    }
    LIVE: ClassVar = {"tasks": ("psdigits",), "further": (), "size_task": None, "runs": 2, "epochs": EPOCHS // 3}

    tasks: tuple[Annotated[str, OneOf(KINDS)], ...] = ("psdigits", "sdigits", "nsdigits")
    models: Annotated[tuple[Annotated[str, OneOf(MODELS)], ...], Items(0)] = (
        "wRNN",
        "wRNN searched",
        "iRNN",
        "iRNN searched",
    )
    further: Annotated[tuple[Annotated[str, OneOf(MODELS)], ...], Items(0)] = ("wRNN + MLP", "LSTM", "GRU")
    further_task: Annotated[str, OneOf(KINDS)] = "psdigits"
    size_task: Annotated[str, OneOf(KINDS)] | None = "psdigits"
    wave_sizes: Annotated[tuple[tuple[Size, Size], ...], Items(0)] = ((8, 1), (16, 1), (16, 2), (16, 4), (32, 4))
    dense_sizes: Annotated[tuple[Size, ...], Items(0)] = (16, 32)
    size_epochs: Count | None = EPOCHS
    runs: Runs = 5
    epochs: Count | None = None
    log_every: Count | None = 54

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            len(self.jobs) > 0,
            f"no settings of {', '.join(self.models) or 'no models'} for {', '.join(self.tasks)}",
            "; ".join(f"{task}: {', '.join(SETTINGS[task])}" for task in self.tasks),
            "Name models that have settings for a task.",
        )

    @property
    def jobs(self) -> tuple[Job, ...]:
        """What is trained: every model on its tasks, then the further sizes."""
        found = []
        for task in self.tasks:
            for model in (*self.models, *(self.further if task == self.further_task else ())):
                if model in SETTINGS[task]:
                    found.append(Job(task, model, SETTINGS[task][model]))
        if self.size_task is not None and self.size_task in self.tasks:
            dense = tuple((N, 1) for N in self.dense_sizes)
            sizes = dict.fromkeys(WAVES, self.wave_sizes) | dict.fromkeys(DENSE, dense)
            for model in (m for m in sizes if m in self.models):
                base = SETTINGS[self.size_task][model]
                base = replace(base, epochs=self.size_epochs or base.epochs)
                found += [Job(self.size_task, model, replace(base, units=n, channels=c)) for n, c in sizes[model]]
        if self.epochs is not None:
            found = [replace(job, setting=replace(job.setting, epochs=self.epochs)) for job in found]
        return tuple(dict.fromkeys(found))


def initial(job: Job, task: SequentialImages, seeds: list[int]) -> Network:
    """The networks of a job before training, one run per seed."""
    s = job.setting
    how: dict[str, Any] = {"units": s.units, "inputs": task.d, "outputs": task.classes}
    if job.model in ("LSTM", "GRU"):
        return GatedRNN.initialise(seeds, **how, cell=job.model)  # type: ignore[arg-type]
    how |= {"V_scale": s.V_scale, "biases": s.biases}
    if job.model in DENSE:
        return IdentityRNN.initialise(seeds, **how)
    return WaveRNN.initialise(
        seeds, channels=s.channels, readout="mlp" if job.model == "wRNN + MLP" else "linear", **how
    )


@functools.lru_cache(maxsize=64)
def _order(count: int, seed: int, epoch: int) -> Tensor:
    """The order in which a run visits the training images in an epoch."""
    return torch.randperm(count, generator=stream(seed, f"images, epoch {epoch}"))


def _shown(task: SequentialImages, seeds: Sequence[int], batch: int, done: int) -> Tensor:
    """Which images each run sees in an update, (K, batch): a function of the number of updates done."""
    epoch, at = divmod(done, len(task.train) // batch)
    orders = torch.stack([_order(len(task.train), seed, epoch) for seed in seeds])
    return task.train[orders[:, at * batch : (at + 1) * batch].to(task.train.device)]


@torch.no_grad()
def _accuracy(network: Network, parameters: Mapping[str, Tensor], task: SequentialImages, part: Tensor) -> Tensor:
    right = torch.zeros(network.K, dtype=torch.float64, device=part.device)
    for indices in part.split(1000):
        logits = functional_call(network, dict(parameters), (task.sequence(indices),))
        right += (logits.argmax(-1) == task.labels[indices]).sum(-1)
    return right / len(part)


def train(jobs: Sequence[Job], seeds: list[int], log_every: int | None, where: Where) -> Result:
    """Train and test networks of one shape as one ensemble; every job has all seeds, and each seed its order of images.

    Args:
        jobs: that agree in `Job.together`.
        seeds: one per run.
        log_every: as in `Config`.
        where: as in `Where`.

    Returns:
        Rows and weights as in `run`.
    """
    job, setting, S = jobs[0], jobs[0].setting, len(seeds)
    task = SequentialImages(job.task, device=where.device)
    network = stack([initial(own, task, seeds) for own in jobs]).to(where.device)
    per_epoch = len(task.train) // setting.batch
    updates, every = per_epoch * setting.epochs, log_every or per_epoch

    def loss(parameters: dict[str, Tensor], done: int) -> tuple[Tensor, dict[str, Tensor]]:
        indices = _shown(task, seeds, setting.batch, done)
        x = task.sequence(indices.flatten()).unflatten(1, indices.shape).repeat(1, len(jobs), 1, 1)
        labels = task.labels[indices].repeat(len(jobs), 1)
        logits = functional_call(network, parameters, (x,))
        losses = cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none").view(labels.shape).mean(1)
        further = {}
        if done == 0 or (done + 1) % every == 0 or done + 1 == updates:
            further["accuracy"] = (logits.detach().argmax(-1) == labels).double().mean(1)
            further["validation"] = _accuracy(network, parameters, task, task.validation)
            further["test"] = _accuracy(network, parameters, task, task.test)
        return losses, further

    epochs, rate = setting.drop or (updates, 1.0)
    drops = tuple(range(epochs * per_epoch, updates + 1, epochs * per_epoch))
    rates = tuple(own.setting.lr for own in jobs for _ in seeds)
    fitted = fit(
        network.state_dict(),
        loss,
        FitConfig(updates, rates, clip=setting.clip or None, log_every=every, milestones=drops, gamma=1 / rate),
        where.progress,
        f"images {', '.join(own.name for own in jobs)}, {setting.epochs} epochs",
        where.checkpoint,
    )
    looks: list[tuple[int, int, dict[str, float]]] = []
    for entry in fitted.log.to_dict("records"):  # its values are those before the update
        seen = {"train loss": entry["loss"], "train accuracy": entry["accuracy"]}
        seen |= {"validation accuracy": entry["validation"], "test accuracy": entry["test"]}
        looks.append((entry["run"], entry["iteration"] - 1, seen))
    last = (_accuracy(network, fitted.parameters, task, part).tolist() for part in (task.validation, task.test))
    for k, (validation, test) in enumerate(zip(*last, strict=True)):
        end = {"validation accuracy": validation, "test accuracy": test}
        best = max([*(seen for run, _, seen in looks if run == k), end], key=lambda seen: seen["validation accuracy"])
        chosen = {"final test accuracy": best["test accuracy"], "best validation accuracy": best["validation accuracy"]}
        looks.append((k, updates, end | chosen))
    rows: list[dict[str, Any]] = []
    weights: dict[str, Tensor] = {}
    for i, own in enumerate(jobs):
        s = own.setting
        named = {
            "task": own.task,
            "data": task.name,
            "model": own.model,
            "units": s.units,
            "channels": s.channels,
            "parameters": network.parameter_count(),
            "lr": s.lr,
            "V_scale": math.nan if s.V_scale is None else s.V_scale,
            "biases": s.biases,
        }
        for k, iteration, seen in (look for look in looks if look[0] // S == i):
            at = {**named, "seed": seeds[k % S], "iteration": int(iteration), "epoch": iteration / per_epoch}
            rows += [{**at, "quantity": quantity, "value": float(value)} for quantity, value in seen.items()]
        weights |= under(own.name, {name: value[i * S : (i + 1) * S] for name, value in fitted.parameters.items()})
    return Result(pd.DataFrame(rows), weights)


@resumable
def run(config: Config, seed: int) -> Pieces:
    """Train every model on its tasks.

    Rows (task, data, model, units, channels, parameters, lr, V_scale, biases, seed, iteration, epoch, quantity, value); a V_scale
    of NaN is the published one. Along the training, the iteration being the number of updates done: "train loss" and "train
    accuracy" (of the batch that comes next), "validation accuracy", "test accuracy". At its end also "best validation accuracy"
    and "final test accuracy", the test accuracy at the time of the former (the earliest, if there are several). Accuracies lie in
    [0, 1]; parameters are counted without biases, but for the gated networks. Weights "<task>/<model>/<units>x<channels>/<name>"
    after the last update, stacked over seeds.
    """
    seeds = run_seeds(seed, config.runs)
    stacks: dict[tuple[object, ...], list[Job]] = {}
    for job in config.jobs:
        stacks.setdefault(job.together, []).append(job)
    return {jobs[0].name: partial(train, jobs, seeds, config.log_every) for jobs in stacks.values()}


def _job(task: str, model: str, units: int | None = None, channels: int | None = None) -> Job:
    """A job of `SETTINGS`, or the same at another size."""
    own = SETTINGS[one_of("task", task, SETTINGS)][one_of("model", model, SETTINGS[task])]
    return Job(task, model, replace(own, units=units or own.units, channels=channels or own.channels))


def networks(source: Source, task: str, model: str, units: int | None = None, channels: int | None = None) -> Network:
    """The trained networks of one job, one run per seed.

    Args:
        source: what `run` returned, or a record of it.
        task, model: which.
        units, channels: the size; None takes that of `SETTINGS`.

    Raises:
        ValueError: if they are not there.
    """
    return network_of(weights_of(source, _job(task, model, units, channels).name))


def _of(
    rows: pd.DataFrame, task: str, model: str, units: int | None = None, channels: int | None = None
) -> pd.DataFrame:
    """The rows of one job."""
    own = _job(task, model, units, channels).setting
    wanted = {"task": task, "model": model, "units": own.units, "channels": own.channels}
    return rows[np.logical_and.reduce([rows[column] == value for column, value in wanted.items()])]


def scores(
    rows: pd.DataFrame,
    task: str,
    model: str,
    units: int | None = None,
    channels: int | None = None,
    epochs: int | None = None,
) -> pd.Series:
    """Test accuracy at the best validation accuracy in per cent, by seed; empty if the job is not among the rows.

    Args:
        rows: from `run`.
        task, model, units, channels: as in `networks`.
        epochs: how much of the training counts; None is all of it.
    """
    own = _of(rows, task, model, units, channels)
    own = own[own["epoch"] <= (math.inf if epochs is None else epochs)]
    both = ["validation accuracy", "test accuracy"]
    table = own[own["quantity"].isin(both)].pivot(index=["seed", "iteration"], columns="quantity", values="value")
    table = table.reindex(columns=both).reset_index()
    table = table.sort_values(["seed", "validation accuracy", "iteration"], ascending=[True, False, True])
    found = table.drop_duplicates("seed").set_index("seed")["test accuracy"]
    return 100 * found.astype(float)


def updates_to(rows: pd.DataFrame, task: str, model: str, level: float) -> pd.Series:
    """Updates until the validation accuracy is first seen at a level, by seed; NaN if it never is.

    Args:
        rows: from `run`.
        task, model: which; of the size that `SETTINGS` names.
        level: accuracy in [0, 1].
    """
    curve = _of(rows, task, model)
    curve = curve[curve["quantity"] == "validation accuracy"]
    reached = curve[curve["value"] >= level].groupby("seed")["iteration"].min()
    return reached.reindex(sorted(curve["seed"].unique())).astype(float)


def summarise(rows: pd.DataFrame, epochs: int | None = None) -> pd.DataFrame:
    """Test accuracy in per cent, mean and standard deviation over seeds, one line per task, model and size.

    Args:
        rows: from `run`.
        epochs: as in `scores`.
    """
    sizes = ["task", "data", "model", "units", "channels", "parameters"]
    lines = []
    for line in rows[sizes].drop_duplicates().to_dict("records"):
        task, _, model, units, channels, _ = line.values()
        found = scores(rows, task, model, units, channels, epochs)
        state = units * channels * (2 if model == "LSTM" else 1)
        lines.append({**line, "state": state, "test accuracy": found.mean(), "sd": found.std(), "n": len(found)})
    return pd.DataFrame(lines)


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
class SearchConfig(Configuration):
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
    own = rows[(rows["model"] == model) & (rows["quantity"] == "best validation accuracy")]
    if published and GRIDS[model].published is not None:
        own = own[(own["V_scale"] == GRIDS[model].published) & own["biases"].astype(bool)]
    require(len(own) > 0, f"no rows of {model}", ", ".join(sorted(set(rows["model"]))), "Choose one of these.")
    table = own.groupby(["lr", "V_scale", "biases"], dropna=False)["value"].mean().reset_index()
    return table.sort_values(["lr", "V_scale", "biases"], ignore_index=True)


def best(rows: pd.DataFrame, model: str, published: bool = False) -> dict[str, Any]:
    """The winner of a model: lr, V_scale (None where there is no choice) and biases.

    Args:
        rows: from `image_search`.
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


def _train_searched(jobs: Sequence[Job], seeds: list[int], log_every: int, number: int, where: Where) -> Result:
    rows = train(jobs, seeds, log_every, where).rows.assign(round=number)
    columns = ["task", "model", "lr", "V_scale", "biases", "round", "seed", "quantity", "value"]
    return Result(rows.loc[rows["quantity"] == "best validation accuracy", columns])


@resumable
def _run_search(config: SearchConfig, seed: int) -> Rounds:
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
                pieces[f"{number}-{model}-{lr:g}"] = partial(_train_searched, jobs, seeds, config.log_every, number)
        found += yield pieces
        rows = pd.concat([part.rows for part in found], ignore_index=True)
        wanted = {model: settings for model in config.models if (settings := at_edge(rows, model))}
        if not wanted:
            break


def _summarise_search(rows: pd.DataFrame) -> pd.DataFrame:
    """Best validation accuracy in per cent, mean and standard deviation over seeds, one line per setting."""
    grouped = rows.groupby(["model", "V_scale", "biases", "lr"], dropna=False, sort=False)["value"]
    table = grouped.agg(["mean", "std", "count"]).reset_index()
    table[["mean", "std"]] *= 100
    return table.rename(columns={"mean": "validation accuracy", "std": "sd", "count": "n"})


image_search = Experiment(SearchConfig, _run_search, _summarise_search)
