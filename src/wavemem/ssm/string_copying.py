"""String copying: transformers, Mamba, v-Wave Mamba, and the controls that the abstract does not have (v-Wave Figs. 1b, 2).

Every model reads packed contexts of strings that are to be said again and is trained on the answers alone, with one budget
of updates and contexts for all; the learning rate is each model's own, found with other seeds (`best_rates`). The models
differ in their blocks only. What each control is for:

| model | what it isolates |
|---|---|
| "ALiBi", "RoPE", "NoPE", "hard-ALiBi" | transformers, by what tells them positions |
| "Mamba" | register of n neurons at v = 1: the ordinary convolution |
| "v-Wave" | the abstract's proposal: n neurons, one learned velocity per channel |
| "v-Wave frozen" | the same velocity, not learned |
| "v = 0" | the register writes nothing: no token meets another in it |
| "no register" | one neuron at v = 1: each token alone |
| "Mamba n + 1" | equal parameters: one more neuron is one more number per channel, as the velocity is |
| "Mamba long" | v = 1, a register as long as the longest string and two more |
| "Mamba long (same states)" | the same, with so many selective states fewer that the layer keeps as many numbers as "Mamba" |
| "v-Wave long" | learned velocity in a register that is long enough without |
| "ring" | ours: no diffusion |
| "selective v" | ours: the velocity depends on the token |
| "S6 wave" | ours: register as in "Mamba", the wave on the selective state |
| "S6 wave (v = 0)" | the same with the wave stopped |
| "S4D" | no register: modes that turn and fade, one velocity each; nothing is selected |
| "H3" | register of n neurons at v = 1 before such modes, with products between them |

Protocol: the public code of Jelassi et al. (2024), with AdamW, weight decay, linear warm-up and decay; velocities do not decay.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, Any, ClassVar

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.func import functional_call

from wavemem.checks import one_of, require
from wavemem.kernels.compiled import own_threads
from wavemem.records.experiment import Configuration, Pieces, Result, Source, Where, resumable, under, weights_of
from wavemem.records.fields import Batch, Clip, Count, Decay, Items, OneOf, Rate, Runs, Size, Within
from wavemem.ssm.diagonal_ssm import h3_block, s4d_block
from wavemem.ssm.mamba import Mamba
from wavemem.ssm.string_tasks import StringTask, generated_scores, masked_loss, teacher_forced_scores
from wavemem.ssm.token_model import TokenModel
from wavemem.ssm.transformer import Position, Transformer
from wavemem.streams import run_seeds, stream
from wavemem.training.fit import FitConfig, LossFunction, fit

TRANSFORMERS: dict[str, Position] = {"ALiBi": "alibi", "RoPE": "rope", "NoPE": "none", "hard-ALiBi": "hard-alibi"}

FOUND: dict[str, dict[str, float]] = {
    "quick": {
        "ALiBi": 0.01,
        "RoPE": 0.01,
        "NoPE": 0.01,
        "hard-ALiBi": 0.01,
        "Mamba": 0.01,
        "v-Wave": 0.03,
        "v-Wave frozen": 0.03,
        "v = 0": 0.03,
        "no register": 0.03,
        "Mamba n + 1": 0.003,
        "Mamba long": 0.03,
        "Mamba long (same states)": 0.03,
        "v-Wave long": 0.03,
        "ring": 0.01,
        "selective v": 0.03,
        "S6 wave": 0.01,
        "S6 wave (v = 0)": 0.01,
        "S4D": 0.03,
        "H3": 0.01,
    },
    "narrow": {
        "ALiBi": 0.01,
        "RoPE": 0.01,
        "Mamba": 0.003,
        "v-Wave": 0.003,
        "Mamba long": 0.03,
        "v-Wave long": 0.03,
        "S6 wave": 0.003,
    },
    "paper": {},
}
"""Learning rates: the best of the search per size and model, by the mean loss of its seeds."""

MODELS = tuple(FOUND["quick"])
"""Names of all models that can be trained: those that were searched at the quick size."""

CHANGES = {
    "v-Wave frozen": "v-Wave",
    "v-Wave long": "v-Wave",
    "ring": "v-Wave",
    "selective v": "v-Wave",
    "v = 0": "v-Wave",
    "no register": "Mamba",
    "Mamba n + 1": "Mamba",
    "Mamba long (same states)": "Mamba long",
    "S6 wave (v = 0)": "S6 wave",
}
"""Which model a control changes: where its own learning rate was not searched it takes that model's."""

SHOWN = tuple(model for model in MODELS if model not in ("S4D", "H3"))
LIVE = (*TRANSFORMERS, "Mamba", "v-Wave", "Mamba long", "v-Wave long")
"""The models that chapters 19 and 20 train; the others are in the committed records."""


@dataclass(frozen=True)
class Config(Configuration):
    """Sizes and training.

    quick: strings of 4 to 10 of 16 letters, two layers of width 32, 900 updates, of which the book trains live the models that
    chapters take apart; paper: the protocol of Jelassi et al. for strings of up to 20 of 26 letters, at 4 layers of width 256
    (theirs: 12 of 1,024).

    Attributes:
        models: among `MODELS`.
        size: whose learning rates are taken: "quick", "narrow" (the paper's strings at width 64) or "paper".
        letters, shortest, longest, context: the task.
        width, layers, heads: D, blocks and (transformers) heads.
        n, N: neurons of the register, selective states per channel.
        velocity: initial velocity, of registers in neurons and of the selective state in positions per token.
        runs: seeds per model; see `wavemem.streams.run_seeds`.
        iterations, batch, warmup, weight_decay, clip: training.
        lr: learning rate of models whose own was not searched.
        rates: learning rates to search: every model is trained with each of them; empty for the ones found.
        tested: string lengths of the test.
        questions: strings per length.
        log_every: updates between two rows of the learning curves.
        keep_weights: whether the trained weights are returned.
    """

    PARTS: ClassVar = ("models", "runs", "rates", "tested", "log_every", "keep_weights")
    UNSTATED: ClassVar = "the abstract gives no sizes"
    PAPER: ClassVar = {
        # A register of 22 neurons leaves 16 states no room for the control with as many states.
        "models": tuple(model for model in SHOWN if model != "Mamba long (same states)"),
        "size": "paper",
        "letters": 26,
        "shortest": 5,
        "longest": 20,
        "context": 220,
        "width": 256,
        "layers": 4,
        "heads": 8,
        "iterations": 20_000,
        "warmup": 100,
        "batch": 64,
        "lr": 1e-3,
        "tested": (5, 10, 15, 20, 25, 30, 40),
        "questions": 200,
        "log_every": 50,
        "keep_weights": False,
    }
    LIVE: ClassVar = {"models": LIVE}

    models: tuple[Annotated[str, OneOf(MODELS)], ...] = SHOWN
    size: Annotated[str, OneOf(FOUND)] = "quick"
    letters: Annotated[int, Within(1, 26)] = 16
    shortest: Size = 4
    longest: Size = 10
    context: Size = 46
    width: Size = 32
    layers: Size = 2
    heads: Size = 4
    n: Size = 4
    N: Size = 16
    velocity: Annotated[float, Within(0, 1, above=True)] = 0.5
    runs: Runs = 3
    iterations: Count = 900
    batch: Batch = 32
    warmup: Annotated[int, Within(0, 1_000_000)] = 50
    weight_decay: Decay = 0.1
    clip: Clip = 1.0
    lr: Rate = 5e-3
    rates: Annotated[tuple[Rate, ...], Items(0)] = ()
    tested: tuple[Size, ...] = (4, 7, 10, 12, 15, 20)
    questions: Batch = 100
    log_every: Count = 10
    keep_weights: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        each = self.width // self.heads
        for model in self.models:
            divided = model not in TRANSFORMERS or each * self.heads == self.width
            require(
                divided, f"heads = {self.heads} at a width of {self.width}", "a divisor of width", "Choose another."
            )
            # What the other sizes leave a model does not depend on how wide it is: a narrow one is built in no time.
            width = self.heads * min(each, 4) if model in TRANSFORMERS else min(self.width, 4)
            build(self, model, [0], width, layers=1)

    @classmethod
    def narrow(cls) -> Config:
        """The paper profile's strings at 2 layers of width 64, for 1,000 updates of 8 contexts of 110: what two cores can repeat.

        As a command: `--profile paper`, and `--set` for each field in which the two differ.
        """
        return replace(
            cls.profile("paper"),
            models=("Mamba", "v-Wave", "Mamba long", "v-Wave long"),
            size="narrow",
            context=110,
            width=64,
            layers=2,
            heads=4,
            runs=5,
            iterations=1000,
            batch=8,
            questions=100,
            log_every=20,
        )

    def rate(self, model: str) -> float:
        """A model's learning rate: its own if it was searched at this size, or that of the model it changes, or `lr`."""
        found = FOUND[self.size]
        return found.get(model, found.get(CHANGES.get(model, model), self.lr))

    @property
    def long(self) -> int:
        """Neurons of the long registers: the letter to be said is `longest` steps back, and two more."""
        return self.longest + 2


NARROW: dict[str, Any] = {
    "size": "narrow",
    "width": 64,
    "layers": 2,
    "heads": 4,
    "batch": [8, 16],
    "iterations": [400, 700, 1_000, 2_000],
    "questions": [50, 100],
    "longest": 300,
    "context": [110, 620],
}
"""Other values than the "paper" profile's that chapters show, for `recorded`: width 64, and strings of up to 300 letters."""


def task(config: Config) -> StringTask:
    """The task that a configuration trains."""
    return StringTask("copy", config.letters, (config.shortest, config.longest), config.context)


def _settings(config: Config) -> dict[str, dict[str, Any]]:
    """The arguments of `Mamba.initialise` that make the models with a register."""
    n, N, long = config.n, config.N, config.long
    wave: dict[str, Any] = {"register": "wave", "velocity": config.velocity}
    return {
        "Mamba": {},
        "v-Wave": wave,
        "v-Wave frozen": wave | {"learn_velocity": False},
        "v = 0": wave | {"velocity": 0.0, "learn_velocity": False},
        "no register": {"n": 1},
        "Mamba n + 1": {"n": n + 1},
        "Mamba long": {"n": long},
        "Mamba long (same states)": {"n": long, "N": N - (long - n)},
        "v-Wave long": wave | {"n": long},
        "ring": wave | {"register": "ring"},
        "selective v": wave | {"register": "selective"},
        "S6 wave": {"state_velocity": config.velocity},
        "S6 wave (v = 0)": {"state_velocity": 0.0, "learn_state_velocity": False},
    }


def build(
    config: Config, model: str, seeds: Sequence[int], width: int | None = None, layers: int | None = None
) -> TokenModel:
    """A model as training starts it, one run per seed.

    Args:
        config: sizes.
        model: among `MODELS`.
        seeds: one per run.
        width, layers: others than the configuration's.

    Raises:
        ValueError: If the model is unknown, or the sizes leave it nothing.
    """
    one_of("model", model, MODELS)
    n, N, width, layers = config.n, config.N, width or config.width, layers or config.layers
    vocabulary = task(config).vocabulary
    if model in TRANSFORMERS:
        return Transformer.initialise(seeds, vocabulary, width, layers, config.heads, TRANSFORMERS[model])
    if model in ("S4D", "H3"):
        block = partial(s4d_block, modes=N) if model == "S4D" else partial(h3_block, neurons=n, modes=N)
        return TokenModel.draw(seeds, "strings/weights", vocabulary, width, layers, partial(block, width=width))
    settings = {"n": n, "N": N} | _settings(config)[model]
    require(
        settings["N"] > 0,
        f"N = {N} states beside a register of {settings['n']} neurons",
        f"N > {settings['n'] - n}",
        "Give the model more states, or leave this control out.",
    )
    return Mamba.initialise(seeds, vocabulary, width, layers, **settings)


def context_loss(
    config: Config, network: TokenModel, seeds: Sequence[int]
) -> tuple[LossFunction, list[torch.Generator]]:
    """The loss that is trained, and the generators of its contexts; runs of one seed see the same.

    Beside the loss per answered character it returns the share of characters that are right, where it is logged.
    """
    device, strings, distinct = network.embedding.weight.device, task(config), sorted(set(seeds))
    streams = [stream(seed, "strings/training") for seed in distinct]
    which = torch.tensor([distinct.index(seed) for seed in seeds])

    def loss(parameters: dict[str, Tensor], done: int) -> tuple[Tensor, dict[str, Tensor]]:
        batches = [strings.batch(config.batch, generator) for generator in streams]
        inputs, targets, mask = (torch.stack(part)[which].to(device) for part in zip(*batches, strict=True))
        logits = functional_call(network, parameters, (inputs,))
        further = {}
        if (done + 1) % config.log_every == 0 or done == 0:
            right = (logits.detach().argmax(-1) == targets) & mask
            further["characters"] = right.sum((1, 2)) / mask.sum((1, 2))
        return masked_loss(logits, targets, mask), further

    return loss, streams


def fit_config(config: Config, rates: Sequence[float]) -> FitConfig:
    """AdamW with linear warm-up and linear decay, one learning rate per run."""
    return FitConfig(
        config.iterations,
        lr=tuple(rates),
        weight_decay=config.weight_decay,
        clip=config.clip,
        log_every=config.log_every,
        decoupled=True,
        # The velocities would be drawn towards v = 1/2, the state's towards 0, and the modes of S4D away from where they start.
        no_decay=("theta", "speed", "log_decay", "frequency", "log_step"),
        schedule="linear",
        warmup=config.warmup,
    )


@torch.no_grad()
def rows_of(
    config: Config,
    network: TokenModel,
    names: Sequence[Mapping[str, Any]],
    log: pd.DataFrame,
    quantities: Sequence[Mapping[str, float]],
) -> pd.DataFrame:
    """Rows (names, iteration, length, quantity, value) of one ensemble: its training, its tests, and what else was measured.

    Args:
        config: with the tests; every run is asked the same strings, which no training sees.
        network: the trained models.
        names: columns of every run, among them its seed.
        log: of the training.
        quantities: what was measured of every run at the end.
    """
    rows = []
    for entry in log.to_dict("records"):
        at = {**names[int(entry["run"])], "iteration": int(entry["iteration"]), "length": 0}
        rows.append({**at, "quantity": "loss", "value": float(entry["loss"])})
        if entry.get("characters") == entry.get("characters"):  # not where it was not computed
            rows.append({**at, "quantity": "characters while training", "value": float(entry["characters"])})
    device, end = network.embedding.weight.device, {"iteration": config.iterations}
    for length in config.tested:
        drawn = task(config).questions(length, config.questions, stream(names[0]["seed"], f"strings/test/{length}"))
        asked = drawn._replace(prompts=drawn.prompts.to(device), answers=drawn.answers.to(device))
        said, forced = generated_scores(network, asked), teacher_forced_scores(network, asked)
        # Whole strings are right or wrong alike in both: the first mistake follows right characters.
        scores = {
            "characters": said.characters,
            "strings": said.strings,
            "teacher-forced characters": forced.characters,
        }
        for quantity, values in scores.items():
            at = {**end, "length": length, "quantity": quantity}
            rows += [{**own, **at, "value": value} for own, value in zip(names, values.tolist(), strict=True)]
    for own, found in zip(names, quantities, strict=True):
        rows += [{**own, **end, "length": 0, "quantity": name, "value": value} for name, value in found.items()]
    return pd.DataFrame(rows)


def _train(config: Config, model: str, seeds: Sequence[int], where: Where) -> Result:
    """Train and test one model, at every rate of a search."""
    tried = config.rates or (config.rate(model),)
    names = [{"model": model, "seed": seed, "lr": rate} for rate in tried for seed in seeds]
    network = build(config, model, list(seeds) * len(tried)).to(where.device)
    start = network.velocities() if isinstance(network, Mamba) else None
    loss, streams = context_loss(config, network, list(seeds) * len(tried))
    training, label = fit_config(config, [rate for rate in tried for _ in seeds]), f"strings, {model}"
    with own_threads():
        trained = fit(network.state_dict(), loss, training, where.progress, label, where.checkpoint, streams)
    network.load_state_dict(trained.parameters)
    quantities = []
    for k in range(len(names)):
        values = {
            "parameters": float(network.parameter_count()),
            "states": float(network.state_count(2 * config.longest + 3)),
        }
        if isinstance(network, Mamba) and start is not None:
            moved = network.velocities()[k].double()
            values["velocity"] = float(moved.mean())
            values["velocity, smallest"], values["velocity, largest"] = float(moved.min()), float(moved.max())
            values["velocity, change"] = float((moved - start[k].double()).abs().mean())
            if model.startswith("S6"):
                values["state velocity"] = float(network.state_velocities()[k].double().mean())
        quantities.append(values)
    kept = {} if config.rates or not config.keep_weights else under(model, network.state_dict())
    return Result(rows_of(config, network, names, trained.log, quantities), kept)


@resumable
def run(config: Config, seed: int) -> Pieces:
    """Train every model and test it.

    Rows (model, seed, lr, iteration, length, quantity, value): along the training "loss" (nats per answered character, length 0)
    and "characters while training"; at its end, for every tested length, "characters" and "strings" (shares right when the model
    answers by itself) and "teacher-forced characters"; and "parameters", "states" (numbers kept per sequence after the longest
    example), "velocity" (mean over channels and layers, with "smallest", "largest" and "change", the mean absolute change by
    training) and "state velocity". Weights "<model>/<name>", stacked over seeds; none of a search.
    """
    seeds = run_seeds(seed, config.runs)
    return {model: partial(_train, config, model, seeds) for model in config.models}


def networks(source: Source, config: Config, model: str) -> TokenModel:
    """The trained models of one name, one run per seed.

    Raises:
        ValueError: If they are not there, or were trained with another configuration.
    """
    parameters = weights_of(source, model)
    K = len(next(iter(parameters.values())))
    network = build(config, model, list(range(K)))
    network.load_state_dict(parameters)
    return network


def _final_loss(rows: pd.DataFrame) -> float:
    """Mean over seeds of the mean loss of the last tenth of the learning curve; infinite where a run failed."""
    curve = rows[rows["quantity"] == "loss"]
    late = curve[curve["iteration"] > 0.9 * curve["iteration"].max()]
    value = float(late.groupby("seed")["value"].mean().mean(skipna=False))
    return value if value == value else float("inf")


def best_rates(rows: pd.DataFrame) -> dict[str, float]:
    """Every model's best learning rate in a search: the smallest final loss, averaged over the search's seeds."""
    best: dict[str, tuple[float, float]] = {}
    for model, lr in rows[["model", "lr"]].drop_duplicates().itertuples(index=False):
        loss = _final_loss(rows[(rows["model"] == model) & (rows["lr"] == lr)])
        if model not in best or loss < best[model][0]:
            best[model] = (loss, float(lr))
    return {model: lr for model, (_, lr) in best.items()}


def steady_below(iterations: Sequence[int], losses: Sequence[float], threshold: float) -> float:
    """First iteration from which on all losses lie below a threshold; NaN if the last one does not."""
    below = np.asarray(losses, dtype=np.float64) < threshold
    if len(below) == 0 or not below[-1]:
        return float("nan")
    above = np.flatnonzero(~below)
    return float(iterations[0 if len(above) == 0 else int(above[-1]) + 1])


def summarise(rows: pd.DataFrame) -> pd.DataFrame:
    """One line per model and learning rate: sizes, velocities, and means over seeds of final loss and scores, with n.

    The final loss is the mean of the last tenth of the learning curve; scores have the tested length in their names.
    """
    table = []
    for model, lr in rows[["model", "lr"]].drop_duplicates().itertuples(index=False):
        group = rows[(rows["model"] == model) & (rows["lr"] == lr)]
        entry: dict[str, Any] = {"model": model, "lr": float(lr), "final loss": _final_loss(group)}
        for quantity in ("parameters", "states", "velocity", "velocity, change", "state velocity"):
            found = group[group["quantity"] == quantity]["value"]
            entry[quantity] = float(found.mean()) if len(found) else float("nan")
        for length in sorted(set(group["length"]) - {0}):
            for quantity in ("characters", "strings"):
                found = group[(group["quantity"] == quantity) & (group["length"] == length)]["value"]
                entry[f"{quantity} at {length}"] = float(found.mean())
        entry["n"] = int(group["seed"].nunique())
        table.append(entry)
    return pd.DataFrame(table)
