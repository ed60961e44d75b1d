"""The copy task: Wave-RNN, network without waves, and what each part of the Wave-RNN does (Wave-RNN Figs. 3, 4; Table 4).

Every model learns to name ten symbols in their order after T blanks. The models of the ablation are the Wave-RNN without
the sparse start of V ("-V"), without the shift start of u ("-u": random, "dirac": standing still), without both, and the
dense network started from the shift Σ, with and without the sparse V. Learning rates and clipping are those that the
paper's grid search found (its Table 5), the ablations taking those of the model they change. The "searched" models have
the size of the input weights, the biases and the learning rate that our search found (`GRIDS`, `SEARCHED`), for Wave-RNN
and iRNN alike; the GRU, with as many weights, has a searched learning rate.

Trained as the public code does: Adam on the cross-entropy over all positions divided by the batch size, which the paper
plots as "MSE". A network is tested as it was at the update with the lowest loss on validation sequences, and once more at
the last update. Neither training nor validation sees the test's sequences; scores are in float64 from the outputs on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

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
from wavemem.records.fields import Batch, Blanks, Count, Items, OneOf, Rate, Runs, Size, Within
from wavemem.streams import run_seeds, stream
from wavemem.training.ensemble import stack
from wavemem.training.fit import FitConfig, fit
from wavemem.wave_rnn import grids
from wavemem.wave_rnn.copy_task import CopyScores, CopyTask, copy_loss, copy_scores, exact_recall, paper_loss
from wavemem.wave_rnn.grids import best_of, best_settings, draw
from wavemem.wave_rnn.network import PUBLISHED_SCALE, GatedRNN, RecurrentNetwork, initialise, network_of

ABLATIONS = ("wRNN -V", "wRNN -u", "wRNN dirac", "wRNN -V -u", "iRNN +Σ", "iRNN +Σ +V")
MODELS = ("wRNN", "iRNN", "iRNN large", "wRNN searched", "iRNN searched", "iRNN large searched", "GRU", *ABLATIONS)

PAPER_TEST_BATCH = 50
"""By how much the public code divides the cross-entropy of its tests."""


class Point(NamedTuple):
    """How a model starts and is trained.

    Attributes:
        lr: learning rate.
        clip: largest gradient norm; None for no clipping.
        start: of the recurrent weights.
        V_scale: size of the input weights; NaN for the GRU, whose start is PyTorch's.
        biases: whether hidden units start with random biases.
    """

    lr: float
    clip: float | None
    start: str
    V_scale: float
    biases: bool


class Grid(NamedTuple):
    """What is searched for a model; its points are all combinations."""

    scales: tuple[float, ...]
    biases: tuple[bool, ...]
    rates: tuple[float, ...]


GRIDS: dict[str, tuple[Grid, ...]] = {
    "wRNN": (
        Grid((0.3, 1.0, 3.0), (True, False), (3e-4, 1e-3, 3e-3)),
        Grid((3.0, 10.0, 30.0), (True, False), (3e-3, 1e-2, 3e-2)),
    ),
    "iRNN": (Grid((0.001, 0.01, 0.1, 0.3, 1.0, 3.0), (True, False), (3e-4, 1e-3, 3e-3)),),
    "GRU": (Grid((float("nan"),), (True,), (1e-3, 3e-3, 1e-2, 3e-2)), Grid((float("nan"),), (True,), (1e-1,))),
}
"""Our search at T = 10, with seeds of base 2: 1,200 updates, the point of lowest validation loss (`best`). Where the best
value of the first grid stood at its edge there is a second."""

SEARCHED: dict[str, tuple[float, float, bool]] = {
    "wRNN": (1e-2, 3.0, False),
    "iRNN": (1e-3, 1.0, False),
    "iRNN large": (1e-3, 1.0, False),
    "GRU": (3e-2, float("nan"), True),
}
"""What the search found: model → learning rate, size of the input weights, biases. The iRNN of 625 units was not searched:
it takes what was found for 100."""

TABLE_5 = (
    *best_settings("wRNN", 100, 6, (0, 1e-3, 1, "shift"), (10, 1e-3, 0, "shift"), (30, 1e-3, 0, "shift"),
                   (80, 1e-3, 1, "shift"), (480, 1e-4, 1, "shift")),
    *best_settings("iRNN", 100, 1, (0, 1e-3, 10, "uniform"), (10, 1e-3, 1, "identity"), (30, 1e-4, 1, "identity"),
                   (80, 1e-4, 1, "identity"), (480, 1e-4, 10, "identity")),
    *best_settings("iRNN", 625, 1, (0, 1e-3, 1, "uniform"), (10, 1e-4, 10, "identity"), (30, 1e-4, 1, "identity"),
                   (80, 1e-4, 1, "identity"), (480, 1e-4, 1, "identity")),
)  # fmt: skip
"""The paper's Table 5: the best settings of the copy task."""

Network = RecurrentNetwork | GatedRNN


@dataclass(frozen=True)
class Config(Configuration):
    """Sizes and training: quick has the paper's networks, half its batch, 1,200 of its 60,000 updates and one learning rate.

    Attributes:
        models: among `MODELS`.
        lengths: numbers of blanks T for "wRNN", "iRNN" and "iRNN large".
        ablation_lengths: the same for the other models.
        units, channels: n and c of the Wave-RNN.
        dense_units, large_units: N of "iRNN" (and its ablations) and of "iRNN large".
        gated_units: N of the GRU; at 57 it has as many weights as the Wave-RNN and the iRNN.
        runs: seeds per model and T; see `wavemem.streams.run_seeds`.
        iterations, batch: updates, sequences per run and update.
        test_batch, validation_batch: sequences of the test and of the validation.
        log_every: updates between two rows of the learning curves.
        validate_every: updates between two looks at the validation.
        lr: one learning rate instead of the paper's, or None; searched models keep their own.
        search: train every model at all points of its first, second, … grid in `GRIDS`; 0 is no search.
    """

    PARTS: ClassVar = (
        "models",
        "lengths",
        "ablation_lengths",
        "runs",
        "log_every",
        "validate_every",
        "validation_batch",
    )
    PAPER: ClassVar = {
        "models": MODELS,
        "lengths": (0, 10, 30, 80, 480),
        "ablation_lengths": (0, 10, 30, 80),
        "iterations": 60_000,
        "batch": 128,
        "test_batch": 1000,
        "validation_batch": 500,
        "log_every": 100,
        "validate_every": 100,
        "lr": None,
    }
    # Chapter 13 takes these apart; records of five seeds decide.
    LIVE: ClassVar = {"models": ("wRNN", "iRNN", "wRNN dirac", "iRNN +Σ"), "runs": 1}

    models: tuple[Annotated[str, OneOf(MODELS)], ...] = ("wRNN", "iRNN", "iRNN searched", *ABLATIONS)
    lengths: Annotated[tuple[Blanks, ...], Items(0)] = (0, 10, 30)
    ablation_lengths: Annotated[tuple[Blanks, ...], Items(0)] = (10,)
    units: Size = 100
    channels: Size = 6
    dense_units: Size = 100
    large_units: Size = 625
    gated_units: Size = 57
    runs: Runs = 3
    iterations: Count = 1200
    batch: Batch = 64
    test_batch: Batch = 500
    validation_batch: Batch = 200
    log_every: Count = 20
    validate_every: Count = 40
    lr: Rate | None = 1e-3
    search: Annotated[int, Within(0, max(map(len, GRIDS.values())))] = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        for model in self.models:
            one_of(f"search of {model!r}", self.search, range(len(GRIDS.get(model, ())) + 1))
        require(
            len(self.jobs) > 0,
            f"no lengths for {', '.join(self.models)}",
            "at least one model with a length",
            "Fill lengths (wRNN, iRNN, iRNN large) or ablation_lengths (the others).",
        )

    @property
    def jobs(self) -> tuple[tuple[str, int], ...]:
        """(model, T) that are trained."""
        return tuple(
            (model, T)
            for model in self.models
            for T in (self.lengths if model in ("wRNN", "iRNN", "iRNN large") else self.ablation_lengths)
        )

    def setting(self, model: str, T: int) -> Point:
        """How a model starts and is trained at a length.

        The lengths between those of the paper's table take the next longer one's.
        """
        base = model.removesuffix(" searched")
        kind, units = "wRNN" if model.startswith("wRNN") else "iRNN", 625 if model.startswith("iRNN large") else 100
        best = best_of(TABLE_5, kind, T, units)
        if model == "GRU" or model.endswith("searched"):
            lr, scale, biases = SEARCHED[base]
            return Point(lr, best.clip or None, "shift" if kind == "wRNN" else "identity", scale, biases)
        starts = {"wRNN -u": "normal", "wRNN -V -u": "normal", "wRNN dirac": "dirac"}
        start = "shift" if model.startswith("iRNN +Σ") else starts.get(model, best.recurrent)
        lr = best.lr if self.lr is None else self.lr
        return Point(lr, best.clip or None, start, PUBLISHED_SCALE[_entrance(model)], True)

    def points(self, model: str, T: int) -> tuple[Point, ...]:
        """The settings that are trained side by side: the model's own, or its whole grid."""
        own = self.setting(model, T)
        if not self.search:
            return (own,)
        scales, biases, rates = GRIDS[model][self.search - 1]
        return tuple(
            own._replace(lr=lr, biases=has, V_scale=scale) for lr, has, scale in product(rates, biases, scales)
        )


def _entrance(model: str) -> Any:
    """How the input weights of a model begin."""
    sparse = "-V" not in model if model.startswith("wRNN") else "+V" in model
    return "sparse" if sparse else "normal"


def initial(config: Config, model: str, T: int, seeds: Sequence[int], point: Point | None = None) -> Network:
    """A model as training starts it, one run per seed.

    Args:
        config: sizes.
        model: among `MODELS`.
        T: blanks.
        seeds: one per run.
        point: how it starts; the model's own setting by default.

    Raises:
        ValueError: If the model is unknown.
    """
    one_of("model", model, MODELS)
    categories = CopyTask(T).categories
    point = point or config.setting(model, T)
    if model == "GRU":
        return GatedRNN.initialise(seeds, config.gated_units, categories, categories, "GRU")
    how: dict[str, Any] = {"V_init": _entrance(model), "V_scale": point.V_scale, "biases": point.biases}
    dense = config.large_units if model.startswith("iRNN large") else config.dense_units
    units = config.units if model.startswith("wRNN") else dense
    return initialise(model, seeds, units, config.channels, categories, categories, point.start, **how)


def _train(config: Config, model: str, T: int, points: Sequence[Point], seeds: Sequence[int], where: Where) -> Result:
    """Train and test one model at one length, all seeds of a point side by side."""
    task, S, device = CopyTask(T), len(points), where.device
    network = stack([initial(config, model, T, seeds, point) for point in points]).to(device)
    generators = [stream(seed, f"copying/{T}/training") for seed in seeds]
    held_out = {
        name: draw(task, size, [stream(seed, f"copying/{T}/{name}") for seed in seeds], device, S)
        for name, size in (("validation", config.validation_batch), ("test", config.test_batch))
    }

    @torch.no_grad()
    def scores(parameters: Mapping[str, Tensor], name: str) -> CopyScores:
        inputs, targets = held_out[name]
        return copy_scores(functional_call(network, dict(parameters), (inputs,), {"every_step": True}), targets)

    def loss(parameters: dict[str, Tensor], done: int) -> tuple[Tensor, dict[str, Tensor]]:
        inputs, targets = draw(task, config.batch, generators, device, S)
        logits = functional_call(network, parameters, (inputs,), {"every_step": True})
        further = {}
        if (done + 1) % config.log_every == 0 or done == 0:
            further["recall"] = exact_recall(logits.detach(), targets)
        if done % config.validate_every == 0:
            further["validation"] = scores(parameters, "validation").cross_entropy
        return paper_loss(logits, targets), further

    rates = tuple(point.lr for point in points for _ in seeds)
    settings = FitConfig(
        config.iterations, lr=rates, clip=points[0].clip, log_every=config.log_every, keep="validation"
    )
    label = f"copying T = {T}, {model}"
    with own_threads():
        trained = fit(network.state_dict(), loss, settings, where.progress, label, where.checkpoint, generators)
        best = trained.best
        assert best is not None
        best.update(scores(trained.parameters, "validation").cross_entropy, config.iterations, trained.parameters)
        ends = {"": scores(best.parameters, "test"), "last ": scores(trained.parameters, "test")}
    names = [
        {"model": model, "T": T, "lr": point.lr, "V_scale": point.V_scale, "biases": point.biases, "seed": seed}
        for point in points
        for seed in seeds
    ]
    rows: list[dict[str, Any]] = []

    def note(k: Any, iteration: Any, values: Mapping[str, Any]) -> None:
        at = {**names[int(k)], "iteration": int(iteration)}
        rows.extend({**at, "quantity": quantity, "value": float(value)} for quantity, value in values.items())

    for entry in trained.log.to_dict("records") if not config.search else ():
        seen = {"train loss": entry["loss"], "train recall": entry["recall"], "gradient": entry["grad_norm"]}
        note(entry["run"], entry["iteration"], seen)
    for k in range(len(names)):
        for kind, end in ends.items():
            found = {
                "cross-entropy": end.cross_entropy[k],
                "test loss": end.cross_entropy[k] / PAPER_TEST_BATCH,
                "recall": end.recall[k],
                "symbol accuracy": end.symbol_accuracy[k],
            }
            at = config.iterations if kind else best.updates[k]
            note(k, at, {kind + quantity: value for quantity, value in found.items()})
        size = {"parameters": network.parameter_count(biases=False), "state": network.hidden}
        note(k, best.updates[k], {"validation loss": best.value[k], **size})
    # The weights of N = 625 are 1.6 MB per run, and no figure needs them.
    kept = {} if config.search or model.startswith("iRNN large") else under(f"{model}/T{T}", best.parameters)
    return Result(pd.DataFrame(rows), kept)


@resumable
def run(config: Config, seed: int) -> Pieces:
    """Train every model at its lengths.

    Rows (model, T, lr, V_scale, biases, seed, iteration, quantity, value). Along the training: "train loss" (the paper's
    quantity), "train recall" and "gradient" (norm before clipping). Of the network at the update (its iteration) with the lowest
    "validation loss": "cross-entropy" (nats per position), "test loss" (divided by 50 as in the public code's tests), "recall"
    (share of sequences without a mistake), "symbol accuracy"; the same with "last " of the network after the last update;
    "parameters" (without biases) and "state" (numbers kept from step to step). Weights "<model>/T<T>/<name>" of the former,
    stacked over seeds. A search has the ends alone, without weights.

    Records of before the validation was kept have the last update's scores under the plain names.
    """
    seeds = run_seeds(seed, config.runs)
    pieces = {}
    for model, T in config.jobs:
        points = config.points(model, T)
        for lr in sorted({point.lr for point in points}):
            name = f"{model}-T{T}" + (f"-lr{lr:g}" if config.search else "")
            pieces[name] = partial(_train, config, model, T, [point for point in points if point.lr == lr], seeds)
    return pieces


def networks(source: Source, model: str, T: int) -> Network:
    """The trained networks of one model and length, one run per seed.

    Raises:
        ValueError: If they are not there.
    """
    return network_of(weights_of(source, f"{model}/T{T}"))


KEYS = ("model", "T", "lr", "V_scale", "biases")
"""Columns that name a setting; records of before the search have the first two."""


def summarise(rows: pd.DataFrame) -> pd.DataFrame:
    """Final test scores, one line per setting: parameters and state, then mean, and standard deviation over seeds, n.

    The losses are averaged geometrically (a mean would be that of the worst seed), the rest arithmetically.
    """
    keys = [name for name in KEYS if name in rows]
    sizes, losses = ("parameters", "state"), ("test loss", "last test loss", "validation loss")
    shares = ("cross-entropy", "recall", "symbol accuracy")
    ends = rows[rows["quantity"].isin((*sizes, *losses, *shares))]
    wide = ends.groupby([*keys, "seed", "quantity"], sort=False, dropna=False)["value"].first().unstack().reset_index()
    table = []
    for values, group in wide.groupby(keys, sort=False, dropna=False):
        line = dict(zip(keys, values, strict=True))
        line |= {name: int(group[name].iloc[0]) for name in sizes if name in group}
        for name in (name for name in losses if name in group):
            logs = np.log10(group[name].clip(lower=1e-300))
            line |= {name: 10.0 ** logs.mean()} | ({"decades sd": logs.std()} if name == "test loss" else {})
        table.append({**line, **{name: group[name].mean() for name in shares}, "n": len(group)})
    return pd.DataFrame(table)


def best(rows: pd.DataFrame) -> pd.DataFrame:
    """The point of lowest validation loss of each model and length (geometric mean over seeds), from a search."""
    table = summarise(rows)
    return table.loc[table.groupby(["model", "T"])["validation loss"].idxmin()].reset_index(drop=True)


_COPY: dict[str, tuple[Any, ...]] = {
    "T": (0, 10, 30, 80, 480),
    "units": (100,),
    "channels": (6,),
    "lr": (1e-2, 1e-3, 1e-4),
    "clip": (0.0, 1.0, 10.0),
}
_ABLATED = _COPY | {"T": (0, 10, 30, 80)}
_BOTH, _DENSE = {"inputs": ("normal", "sparse")}, {"channels": (1,), "activation": ("relu", "tanh")}
PAPER_GRIDS: dict[tuple[str, str], grids.Grid] = {
    ("copy", "wRNN"): _COPY | {"recurrent": ("shift",), "inputs": ("sparse",)},
    ("copy", "iRNN"): _COPY
    | {"units": (100, 625), "recurrent": ("identity", "uniform"), "inputs": ("normal",)}
    | _DENSE,
    ("copy ablation", "wRNN"): _ABLATED | {"recurrent": ("dirac", "uniform", "shift")} | _BOTH,
    ("copy ablation", "iRNN"): _ABLATED | {"recurrent": ("identity", "uniform", "shift")} | _BOTH | _DENSE,
}
"""(Task, model) → the paper's grid (Appendix B)."""


@dataclass(frozen=True)
class GridConfig(grids.GridConfig):
    """The paper's grid search on the copy task: which part of it, and how long to train.

    quick: a part with small networks and three symbols; paper: the grids of the task and of its ablation, for instance
    `--set tasks=copy --set lengths=10`.

    Attributes:
        tasks: "copy", "copy ablation" or both.
        memory, symbols: of the copy task.
    """

    PARTS: ClassVar = ("tasks", *grids.GridConfig.PARTS)
    PAPER: ClassVar = {**grids.GridConfig.PAPER, "tasks": ("copy", "copy ablation"), "memory": 10, "symbols": 8}

    lengths: Annotated[tuple[Blanks, ...], Items(0)] = (0,)
    tasks: tuple[Literal["copy", "copy ablation"], ...] = ("copy",)
    memory: Size = 3
    symbols: Size = 4

    @property
    def paper_grids(self) -> dict[tuple[str, str], grids.Grid]:
        """(Task, model) → the paper's grid."""
        return {key: grid for key, grid in PAPER_GRIDS.items() if key[0] in self.tasks}

    def learned(self, T: int) -> grids.Learned:
        """The copy task; what is minimised is the paper's loss."""
        task = CopyTask(T, self.memory, self.symbols)
        return grids.Learned(task, task.categories, task.categories, True, paper_loss, copy_loss)


copying_grid = Experiment(GridConfig, grids.search, grids.summarise)
