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

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ClassVar, Protocol

import pandas as pd
import torch
from torch import Tensor

from wavemem.checks import one_of, require
from wavemem.experiments._string_models import CHANGES, FOUND, MODELS, TRANSFORMERS, build_model
from wavemem.experiments._string_training import Training, train
from wavemem.models.mamba import Mamba
from wavemem.models.token_model import TokenModel
from wavemem.models.wave_mamba import WaveMamba
from wavemem.records.experiment import PROFILES, Result
from wavemem.records.fields import Batch, Clip, Count, Decay, Items, OneOf, Rate, Runs, Size, Within, check_fields
from wavemem.streams import run_seeds
from wavemem.tasks.strings import StringTask
from wavemem.training.pieces import work_through

__all__ = [
    "CHANGES",
    "FOUND",
    "MODELS",
    "NARROW",
    "Config",
    "best_rates",
    "build",
    "networks",
    "run",
    "summarise",
    "task",
]

SHOWN = tuple(model for model in MODELS if model not in ("S4D", "H3"))
LIVE = (*TRANSFORMERS, "Mamba", "v-Wave", "Mamba long", "v-Wave long")
"""The models that chapters 19 and 20 train; the others are in the committed records."""


@dataclass(frozen=True)
class Config:
    """Sizes and training.

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
        check_fields(self)
        each = self.width // self.heads
        for model in self.models:
            divided = model not in TRANSFORMERS or each * self.heads == self.width
            require(
                divided, f"heads = {self.heads} at a width of {self.width}", "a divisor of width", "Choose another."
            )
            # What the other sizes leave a model does not depend on how wide it is: a narrow one is built in no time.
            width = self.heads * min(each, 4) if model in TRANSFORMERS else min(self.width, 4)
            sizes = (task(self).vocabulary, width, 1)
            build_model(model, [0], sizes, self.heads, self.n, self.N, self.long, self.velocity)

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

    @classmethod
    def profile(cls, name: str) -> Config:
        """The two sizes of the book.

        Args:
            name: "quick": strings of 4 to 10 of 16 letters, two layers of width 32, 900 updates; "paper": the protocol of
                Jelassi et al. for strings of up to 20 of 26 letters, at 4 layers of width 256 (theirs: 12 of 1,024).

        Returns:
            The configuration.

        Raises:
            ValueError: If there is no such profile.
        """
        one_of("profile", name, PROFILES)
        if name == "quick":
            return cls()
        return cls(
            # A register of 22 neurons leaves 16 states no room for the control with as many states.
            models=tuple(model for model in SHOWN if model != "Mamba long (same states)"),
            size="paper",
            letters=26,
            shortest=5,
            longest=20,
            context=220,
            width=256,
            layers=4,
            heads=8,
            iterations=20_000,
            warmup=100,
            batch=64,
            lr=1e-3,
            tested=(5, 10, 15, 20, 25, 30, 40),
            questions=200,
            log_every=50,
            keep_weights=False,
        )

    def rate(self, model: str) -> float:
        """A model's learning rate: its own if it was searched at this size, or that of the model it changes, or `lr`."""
        found = FOUND[self.size]
        return found.get(model, found.get(CHANGES.get(model, model), self.lr))

    @classmethod
    def live(cls, name: str) -> Config:
        """What the book trains while it is built: of "quick" the models that chapters take apart; records have the others.

        Args:
            name: as in `profile`.

        Raises:
            ValueError: If there is no such profile.
        """
        whole = cls.profile(name)
        return whole if name == "paper" else replace(whole, models=LIVE)

    @property
    def long(self) -> int:
        """Neurons of the long registers: the letter to be said is `longest` steps back, and two more."""
        return self.longest + 2

    @property
    def training(self) -> Training:
        """What all models have in common."""
        return Training(
            task(self),
            self.iterations,
            self.batch,
            self.warmup,
            self.weight_decay,
            self.clip,
            self.log_every,
            self.tested,
            self.questions,
        )


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


def build(config: Config, model: str, seeds: Sequence[int]) -> TokenModel:
    """A model as training starts it, one run per seed.

    Raises:
        ValueError: If the model is unknown, or the sizes leave it nothing.
    """
    sizes = (task(config).vocabulary, config.width, config.layers)
    return build_model(model, seeds, sizes, config.heads, config.n, config.N, config.long, config.velocity)


def _train(
    config: Config, model: str, seeds: Sequence[int], device: torch.device, progress: bool, path: Path | None
) -> tuple[list[dict[str, Any]], dict[str, Tensor]]:
    """Train and test one model: rows and weights."""
    tried = config.rates or (config.rate(model),)
    rates = [rate for rate in tried for _ in seeds]
    test_seed, seeds = seeds[0], list(seeds) * len(tried)
    labels = {"model": model}
    before = build(config, model, seeds)
    rows, trained = train(
        partial(build, config, model), config.training, seeds, rates, test_seed, labels, device, progress, path
    )
    for k, seed in enumerate(seeds):
        at = {"model": model, "seed": seed, "lr": rates[k], "iteration": config.iterations, "length": 0}
        values = {
            "parameters": float(trained.parameter_count()),
            "states": float(trained.state_count(2 * config.longest + 3)),
        }
        if isinstance(trained, Mamba) and isinstance(before, Mamba):
            moved, start = trained.velocities()[k].double(), before.velocities()[k].double()
            values["velocity"] = float(moved.mean())
            values["velocity, smallest"], values["velocity, largest"] = float(moved.min()), float(moved.max())
            values["velocity, change"] = float((moved - start).abs().mean())
        if isinstance(trained, WaveMamba) and model.startswith("S6"):
            values["state velocity"] = float(trained.state_velocities()[k].double().mean())
        rows += [{**at, "quantity": quantity, "value": value} for quantity, value in values.items()]
    if config.rates or not config.keep_weights:
        return rows, {}
    return rows, {f"{model}/{name}": value.cpu() for name, value in trained.parameters_dict().items()}


def run(
    config: Config,
    seed: int,
    device: torch.device | str,
    progress: bool = True,
    checkpoints: Path | None = None,
) -> Result:
    """Train every model and test it.

    Args:
        config: Sizes.
        seed: The first run's seed; the others follow.
        device: Where to compute.
        progress: Whether to report progress.
        checkpoints: Folder from which a run that was stopped goes on, and which processes may share; None for none.

    Returns:
        Rows (model, seed, lr, iteration, length, quantity, value): along the training "loss" (nats per answered character,
        length 0) and "characters while training"; at its end, for every tested length, "characters" and "strings" (shares
        right when the model answers by itself) and "teacher-forced characters"; and "parameters", "states" (numbers kept
        per sequence after the longest example), "velocity" (mean over channels and layers, with "smallest", "largest" and
        "change", the mean absolute change by training) and "state velocity". Weights "<model>/<name>", stacked over seeds;
        none of a search.
    """
    device = torch.device(device)
    seeds = run_seeds(seed, config.runs)
    pieces: dict[str, Callable[[Path | None], tuple[list[dict[str, Any]], dict[str, Tensor]]]] = {
        model.replace(" ", "_"): partial(_train, config, model, seeds, device, progress) for model in config.models
    }
    done = work_through(pieces, checkpoints)
    rows = [row for new, _ in done.values() for row in new]
    weights = {name: value for _, kept in done.values() for name, value in kept.items()}
    return Result(pd.DataFrame(rows), weights)


class Source(Protocol):
    """A result or a record."""

    @property
    def weights(self) -> Mapping[str, Tensor]:
        """Named tensors."""
        ...


def networks(source: Source, config: Config, model: str) -> TokenModel:
    """The trained models of one name, one run per seed.

    Raises:
        ValueError: If they are not there, or were trained with another configuration.
    """
    prefix = f"{model}/"
    parameters = {name[len(prefix) :]: value for name, value in source.weights.items() if name.startswith(prefix)}
    require(
        len(parameters) > 0,
        f"no weights of model {model!r}",
        ", ".join(sorted({name.split("/", 1)[0] for name in source.weights})) or "none in this source",
        "Choose one of these.",
    )
    K = len(next(iter(parameters.values())))
    return build(config, model, list(range(K))).load(parameters)


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
