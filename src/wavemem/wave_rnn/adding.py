"""The adding task: how soon the Wave-RNN and the network without waves find the solution (Wave-RNN Fig. 5, Tables 1, 7).

Trained as the public code does: Adam on the squared error of one output after the last step, batches of 128, with the
learning rates and clipping that the paper's grid search found (its Table 6). "Solved" is the first training batch with
an error of at most 0.05, looked for at every logged update.

`adding_compared` has every network at its best, too. How runs are trained and judged is here for `adding_search` as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, ClassVar, Final, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.func import functional_call

from wavemem.checks import one_of, require
from wavemem.kernels.compiled import own_threads
from wavemem.records.experiment import (
    Configuration,
    Experiment,
    Pieces,
    Result,
    Source,
    Where,
    resumable,
    under,
    weights_of,
)
from wavemem.records.fields import Batch, Count, Items, OneOf, Runs, Size, Within
from wavemem.streams import run_seeds, stream
from wavemem.training.ensemble import stack
from wavemem.training.fit import FitConfig, fit
from wavemem.wave_rnn.adding_task import BASELINE_MSE, SOLVED_MSE, AddingTask, adding_loss
from wavemem.wave_rnn.grids import best_of, best_settings, draw
from wavemem.wave_rnn.network import RecurrentNetwork, initialise, network_of

MODELS: Final = ("wRNN", "iRNN")

FATES: Final = ("solved", "lost", "diverged", "stalled")
"""What can become of a run; see `fates`."""

DIVERGED_MSE: Final = 10 * BASELINE_MSE
"""An error that has left the level of the constant by a factor of ten."""

Length = Annotated[int, Within(2, 100_000)]
"""T of the adding task."""


class Setting(NamedTuple):
    """How a network starts and is trained.

    Attributes:
        V_scale: size of its input weights, None for the published one.
        biases: whether its hidden units start with the random biases of the public code.
        lr: learning rate.
        clip: largest gradient norm.
    """

    V_scale: float | None
    biases: bool
    lr: float
    clip: float


TABLE_6: Final = (
    *best_settings("wRNN", 100, 27, (100, 1e-3, 100, "shift"), (200, 1e-4, 100, "shift"), (400, 1e-4, 1, "shift"),
                   (700, 1e-4, 100, "shift"), (1000, 1e-4, 10, "shift")),
    *best_settings("iRNN", 100, 1, (100, 1e-3, 1000, "identity"), (200, 1e-3, 100, "identity"), (400, 1e-3, 10, "identity"),
                   (700, 1e-4, 100, "identity"), (1000, 1e-3, 1, "identity")),
)  # fmt: skip
"""The paper's Table 6: the best settings of the adding task."""


def published(model: str, T: int) -> Setting:
    """How the paper starts and trains a model: lengths between those of its Table 6 take the next longer one's."""
    found = best_of(TABLE_6, model, T)
    return Setting(None, True, found.lr, found.clip)


def start(
    model: str, settings: Sequence[Setting], seeds: Sequence[int], units: int, channels: int = 1
) -> RecurrentNetwork:
    """Untrained networks, all seeds of a setting side by side: run i·len(seeds) + k has setting i and seed k.

    Args:
        model: "wRNN" (n = units, c = channels) or "iRNN" (N = units).
        settings: starts.
        seeds: one per run of a setting.
        units, channels: sizes.

    Raises:
        ValueError: If the model is unknown or a size is not allowed.
    """
    one_of("model", model, MODELS)
    begin = "shift" if model == "wRNN" else "identity"
    return stack(
        [
            initialise(model, seeds, units, channels, 2, 1, begin, V_scale=own.V_scale, biases=own.biases)
            for own in settings
        ]
    )


def train(
    config: Any,
    network: RecurrentNetwork,
    T: int,
    updates: int,
    settings: Sequence[Setting],
    names: Sequence[Mapping[str, Any]],
    seeds: Sequence[int],
    where: Where,
    margin: int | None = None,
) -> Result:
    """Train an ensemble of settings × seeds and test it. All settings of a seed see the same sequences.

    Args:
        config: of an experiment: `batch` and `test_batch` sequences, `log_every` updates between two rows.
        network: from `start`.
        T: length of the sequences.
        updates: how long to train.
        settings, seeds: those of the network; rates and clips are taken from the settings.
        names: columns that tell the settings apart, one mapping per setting.
        where: as in `Where`.
        margin: end the training when every run was solved at least so many updates ago, or has frozen; None: never.

    Returns:
        Rows (names, seed, iteration, quantity, value): "train MSE" along the training, and at its end "test MSE"; and the
        trained parameters.
    """
    device, task, S, count = where.device, AddingTask(T), len(settings), len(seeds)
    network = network.to(device)
    generators = [stream(seed, f"adding/{T}/training") for seed in seeds]

    def loss(parameters: dict[str, Tensor], done: int) -> Tensor:
        inputs, targets = draw(task, config.batch, generators, device, S)
        return adding_loss(functional_call(network, parameters, (inputs,)), targets)

    solved: dict[int, int] = {}

    def enough(rows: Sequence[Mapping[str, Any]]) -> bool:
        latest = rows[-network.K :]
        for row in rows if len(solved) == 0 else latest:
            if row["loss"] <= SOLVED_MSE:
                solved.setdefault(row["run"], row["iteration"])
        settled = [row for row in latest if row["iteration"] - solved.get(row["run"], np.inf) >= (margin or 0)]
        return len(settled) + sum(not row["finite"] and row["run"] not in solved for row in latest) == network.K

    runs = [own for own in settings for _ in seeds]
    rates, clips = tuple(own.lr for own in runs), tuple(own.clip for own in runs)
    training = FitConfig(updates, lr=rates, clip=clips, log_every=config.log_every)
    label = "adding " + ", ".join(f"{name} {value}" for name, value in names[0].items())
    start, on_log = network.state_dict(), None if margin is None else enough
    with own_threads():
        fitted = fit(start, loss, training, where.progress, label, where.checkpoint, generators, on_log)
    network.load_state_dict(fitted.parameters)
    test, log = [stream(seed, f"adding/{T}/test") for seed in seeds], fitted.log
    with torch.no_grad():
        inputs, targets = draw(task, config.test_batch, test, device, S)
        errors = adding_loss(network(inputs).double(), targets.double()).tolist()
    curves = {"run": log["run"], "iteration": log["iteration"], "quantity": "train MSE", "value": log["loss"]}
    tests = {"run": range(len(errors)), "iteration": log["iteration"].max(), "quantity": "test MSE", "value": errors}
    rows = pd.concat([pd.DataFrame(curves), pd.DataFrame(tests)], ignore_index=True)
    run = rows.pop("run")
    rows.insert(0, "seed", [seeds[k] for k in run % count])
    named = pd.DataFrame(names).loc[run // count].reset_index(drop=True)
    return Result(pd.concat([named, rows], axis=1), fitted.parameters)


def _train_one(
    config: Any,
    column: str,
    name: str,
    T: int,
    own: Setting,
    seeds: Sequence[int],
    sizes: tuple[int, int],
    updates: int,
    where: Where,
    counted: Sequence[str] = ("parameters",),
    margin: int | None = None,
) -> Result:
    """Train and test one model at one length, sizes being n and c, or N and 1; its numbers of parameters and states are rows."""
    network, names = start(name.split()[0], [own], seeds, *sizes), {column: name, "T": T}
    trained = train(config, network, T, updates, [own], [names], seeds, where, margin)
    at, counts = trained.rows["iteration"].max(), {"parameters": network.parameter_count(), "state": network.hidden}
    further = [
        {**names, "seed": seed, "iteration": at, "quantity": each, "value": float(counts[each])}
        for seed in seeds
        for each in counted
    ]
    rows = pd.concat([trained.rows, pd.DataFrame(further)], ignore_index=True)
    return Result(rows, under(f"{name}/T{T}", trained.weights))


@dataclass(frozen=True)
class Config(Configuration):
    """Sizes and training: quick: T = 100, fewer channels, half the batch, fewer updates; paper: the paper's.

    Attributes:
        models: among `MODELS`.
        lengths: lengths T of the sequences.
        units, channels: n and c of the Wave-RNN.
        dense_units: N of the network without waves.
        runs: seeds per model and length; see `wavemem.streams.run_seeds`.
        iterations, dense_iterations: updates of the Wave-RNN and of the network without waves.
        batch, test_batch: sequences per run and update, and of the test.
        log_every: updates between two rows, which is also how finely "solved" is resolved.
    """

    PARTS: ClassVar = ("models", "lengths", "runs")
    PAPER: ClassVar = {
        "lengths": (100, 200, 400, 700, 1000),
        "channels": 27,
        "iterations": 60_000,
        "dense_iterations": 60_000,
        "batch": 128,
    }

    models: tuple[Annotated[str, OneOf(MODELS)], ...] = MODELS
    lengths: tuple[Length, ...] = (100,)
    units: Size = 100
    channels: Size = 16
    dense_units: Size = 100
    runs: Runs = 3
    iterations: Count = 400
    dense_iterations: Count = 2000
    batch: Batch = 64
    test_batch: Batch = 1000
    log_every: Count = 10


@resumable
def run(config: Config, seed: int) -> Pieces:
    """Train both models at every length.

    Rows (model, T, seed, iteration, quantity, value): "train MSE" along the training, at its end "test MSE" and "parameters"
    (without biases). Weights "<model>/T<T>/<name>", stacked over seeds.
    """
    seeds = run_seeds(seed, config.runs)
    sizes = {"wRNN": (config.units, config.channels), "iRNN": (config.dense_units, 1)}
    updates = {"wRNN": config.iterations, "iRNN": config.dense_iterations}
    return {
        f"{model}-T{T}": partial(
            _train_one, config, "model", model, T, published(model, T), seeds, sizes[model], updates[model]
        )
        for model in config.models
        for T in config.lengths
    }


def networks(source: Source, name: str, T: int) -> RecurrentNetwork:
    """The trained networks of one model or contestant at one length, one run per seed.

    Raises:
        ValueError: If they are not there.
    """
    return network_of(weights_of(source, f"{name}/T{T}"))  # type: ignore[return-value]


def fates(rows: pd.DataFrame, keys: Sequence[str], margin: int = 200) -> pd.DataFrame:
    """What became of every run, from its training errors.

    A run is *solved* if a logged error is at most `SOLVED_MSE` and the median of the last five logged errors within
    `margin` updates of the first such one is so, too; *lost* if only the first holds. Of the others, one has *diverged* if its
    last logged error is not finite or above `DIVERGED_MSE`, and *stalled* otherwise. What happens later than `margin` updates
    after the task was first solved does not count, so that a run which is trained on has no disadvantage.

    Args:
        rows: with the columns `keys`, seed, iteration, quantity, value.
        keys: columns that tell the settings apart.
        margin: updates.

    Returns:
        One line per setting and seed: `keys`, seed, "solved at" (NaN where it never was), "fate", "updates".
    """
    curves = rows[rows["quantity"] == "train MSE"]
    table = []
    for name, run in curves.groupby([*keys, "seed"], sort=False, dropna=False):
        own = run.sort_values("iteration")
        at, errors = own["iteration"].to_numpy(), own["value"].to_numpy(dtype=float)
        below = np.flatnonzero(errors <= SOLVED_MSE)
        first = float(at[below[0]]) if len(below) else float("nan")
        if len(below):
            late = errors[(at >= first) & (at <= first + margin)][-5:]
            fate = "solved" if np.median(np.where(np.isnan(late), np.inf, late)) <= SOLVED_MSE else "lost"
        else:
            fate = "stalled" if errors[-1] <= DIVERGED_MSE else "diverged"  # NaN is not <= anything
        line = dict(zip([*keys, "seed"], name, strict=True))
        table.append({**line, "solved at": first, "fate": fate, "updates": int(at[-1])})
    return pd.DataFrame(table)


def outcomes(runs: pd.DataFrame, keys: Sequence[str]) -> pd.DataFrame:
    """One line per setting: `keys`, "n", the number of runs of each fate, "median" (updates until solved, of those that did)."""
    table = []
    for values, own in runs.groupby(list(keys), sort=False):
        counts = {fate: int((own["fate"] == fate).sum()) for fate in FATES}
        median = float(own.loc[own["fate"] == "solved", "solved at"].median())
        table.append({**dict(zip(keys, values, strict=True)), "n": len(own), **counts, "median": median})
    return pd.DataFrame(table)


def summarise(rows: pd.DataFrame) -> pd.DataFrame:
    """One line per model and T: parameters, medians of the test error and of the update that solved it, how many did, n.

    The median test error is that of all runs, the solving update that of those which solved it: no run that diverged or never
    learned is averaged with others.
    """
    keys = ["model", "T"]
    first = fates(rows, keys).groupby(keys, sort=False)
    tests = rows[rows["quantity"] == "test MSE"].fillna({"value": np.inf}).groupby(keys, sort=False)["value"]
    sizes = rows[rows["quantity"] == "parameters"].groupby(keys, sort=False)["value"]
    columns = {
        "parameters": sizes.first().astype(int),
        "median test MSE": tests.median(),
        "solved at": first["solved at"].median(),
        "solved": first["solved at"].count(),
        "updates": first["updates"].max(),
        "n": tests.size(),
    }
    return pd.DataFrame(columns).reset_index()


CONTESTANTS: Final = ("wRNN published", "wRNN searched", "iRNN published", "iRNN searched")

SEARCHED: Final = {  # without its type, whose name the reference could not tell from another module's
    "wRNN": {
        100: Setting(1.0, True, 3e-3, 1.0),
        200: Setting(1.0, True, 1e-3, 1.0),
        400: Setting(1.0, True, 1e-3, 1.0),
    },
    "iRNN": {
        100: Setting(0.1, False, 1e-3, 1.0),
        200: Setting(0.1, False, 1e-3, 1.0),
        400: Setting(0.1, False, 1e-4, 1.0),
    },
}
"""What the search found: model → T → setting. A length that was not searched takes the next shorter one's."""


@dataclass(frozen=True)
class ComparedConfig(Configuration):
    """The adding task with every network at its best: how many runs solve it, how soon, and what becomes of the others.

    Two networks, two starts each: as the paper starts and trains them, and as `wavemem.wave_rnn.adding_search` found best.
    Every contestant sees the same sequences, equally many in every update, and has the same number of updates; one whose runs
    have all solved the task and kept it for `margin` updates stops there. quick: c = 16 rings, batches of 32; paper: the
    paper's network, lengths, batch and updates.

    Attributes:
        contestants: among `CONTESTANTS`.
        lengths: lengths T of the sequences.
        runs: seeds, one number per length.
        updates: updates at most, one number per length.
        units, channels: n and c of the Wave-RNN, N of the iRNN.
        batch, test_batch: sequences per run and update, and of the test.
        log_every: updates between two rows, which is also how finely "solved" is resolved.
        margin: for how many updates a solved task has to stay solved, see `fates`.
    """

    PARTS: ClassVar = ("contestants", "lengths", "runs")
    PAPER: ClassVar = {
        "lengths": (100, 200, 400, 700, 1000),
        "runs": 5 * (3,),
        "updates": 5 * (60_000,),
        "channels": 27,
        "batch": 128,
    }

    contestants: tuple[Annotated[str, OneOf(CONTESTANTS)], ...] = CONTESTANTS
    lengths: tuple[Length, ...] = (100, 200, 400)
    runs: Annotated[tuple[Runs, ...], Items(repeat=True)] = (5, 5, 3)
    updates: Annotated[tuple[Count, ...], Items(repeat=True)] = (1500, 2000, 2000)
    units: Size = 100
    channels: Size = 16
    batch: Batch = 32
    test_batch: Batch = 1000
    log_every: Count = 10
    margin: Count = 200

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            min(len(self.runs), len(self.updates)) >= len(self.lengths),
            f"{len(self.runs)} numbers of runs and {len(self.updates)} of updates for {len(self.lengths)} lengths",
            "one of each per length",
            "Give runs and updates as many entries as lengths.",
        )


def setting(contestant: str, T: int) -> Setting:
    """How a contestant starts and is trained on sequences of T steps.

    Raises:
        ValueError: If there is no such contestant.
    """
    one_of("contestant", contestant, CONTESTANTS)
    model, kind = contestant.split()
    if kind == "searched":
        table = SEARCHED[model]
        return table[max((known for known in table if known <= T), default=min(table))]
    return published(model, T)


@resumable
def _run_compared(config: ComparedConfig, seed: int) -> Pieces:
    """Train every contestant at every length.

    Rows (contestant, T, seed, iteration, quantity, value): "train MSE" along the training, and at its end "test MSE",
    "parameters" (without biases) and "state" (numbers kept from step to step). Weights "<contestant>/T<T>/<name>".
    """
    return {
        f"{contestant}-T{T}": partial(
            _train_one,
            config,
            "contestant",
            contestant,
            T,
            setting(contestant, T),
            run_seeds(seed, runs),
            (config.units, config.channels),
            updates,
            counted=("parameters", "state"),
            margin=config.margin,
        )
        for T, runs, updates in zip(config.lengths, config.runs, config.updates, strict=False)
        for contestant in config.contestants
    }


def by_run(rows: pd.DataFrame, margin: int = ComparedConfig.margin) -> pd.DataFrame:
    """One line per run: contestant, T, seed, "solved at", "fate", "updates", "test MSE".

    A run whose gradient has overflowed is frozen, and its error on the last training batch can look harmless: one that stalled
    with a test error above `DIVERGED_MSE` has diverged. (This was added after the first records were seen.)
    """
    table = fates(rows, ["contestant", "T"], margin)
    tests = rows[rows["quantity"] == "test MSE"].rename(columns={"value": "test MSE"})
    table = table.merge(tests[["contestant", "T", "seed", "test MSE"]], on=["contestant", "T", "seed"])
    overflown = (table["fate"] == "stalled") & ~(table["test MSE"] <= DIVERGED_MSE)
    return table.assign(fate=table["fate"].mask(overflown, "diverged"))


def _summarise_compared(rows: pd.DataFrame, margin: int = ComparedConfig.margin) -> pd.DataFrame:
    """One line per contestant and length.

    Returns:
        Columns contestant, T, parameters, state, n, the number of runs of each fate, "median" (updates until solved, of those
        that solved it and kept it), "median test MSE" (of all runs: one that diverged does not move it).
    """
    keys, runs = ["contestant", "T"], by_run(rows, margin)
    sizes = rows[rows["quantity"].isin(("parameters", "state"))]
    sizes = sizes.pivot_table(index=keys, columns="quantity", values="value", aggfunc="first").astype(int)
    tests = runs.fillna({"test MSE": np.inf}).groupby(keys)["test MSE"].median().rename("median test MSE")
    table = outcomes(runs, keys).join(sizes, on=keys).join(tests, on=keys)
    return table[[*keys, "parameters", "state", "n", *FATES, "median", "median test MSE"]]


adding_compared = Experiment(ComparedConfig, _run_compared, _summarise_compared)
