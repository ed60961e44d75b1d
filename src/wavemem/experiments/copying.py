"""The copy task: Wave-RNN, network without waves, and what each part of the Wave-RNN does (Wave-RNN Figs. 3, 4; Table 4).

Every model learns to name ten symbols in their order after T blanks. The models of the ablation are the Wave-RNN without
the sparse start of V ("-V"), without the shift start of u ("-u": random, "dirac": standing still), without both, and the
dense network started from the shift Σ, with and without the sparse V. Learning rates and clipping are those that the
paper's grid search found (its Table 5), the ablations taking those of the model they change.

Trained as the public code does: Adam on the cross-entropy over all positions divided by the batch size, which the paper
plots as "MSE". Tests use one batch that no training sees, in float64 from the outputs on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import pandas as pd
import torch
from torch import Tensor
from torch.func import functional_call

from wavemem.checks import one_of, positive_int, require
from wavemem.kernels.wave_cpu import own_threads
from wavemem.models.identity_rnn import IdentityRNN
from wavemem.models.recurrent import RecurrentNetwork
from wavemem.models.wave_rnn import WaveRNN
from wavemem.records.experiment import PROFILES, Result
from wavemem.streams import run_seeds, stream
from wavemem.tasks.copying import CopyTask, copy_scores, exact_recall, paper_loss
from wavemem.training.generic import FitConfig, fit
from wavemem.training.pieces import work_through

__all__ = ["ABLATIONS", "BEST", "MODELS", "PAPER_TEST_BATCH", "Config", "initial", "networks", "run", "summarise"]

ABLATIONS = ("wRNN -V", "wRNN -u", "wRNN dirac", "wRNN -V -u", "iRNN +Σ", "iRNN +Σ +V")
MODELS = ("wRNN", "iRNN", "iRNN large", *ABLATIONS)

PAPER_TEST_BATCH = 50
"""By how much the public code divides the cross-entropy of its tests."""

BEST: dict[str, dict[int, tuple[float, float, str]]] = {
    "wRNN": {
        0: (1e-3, 1, "shift"),
        10: (1e-3, 0, "shift"),
        30: (1e-3, 0, "shift"),
        80: (1e-3, 1, "shift"),
        480: (1e-4, 1, "shift"),
    },
    "iRNN": {
        0: (1e-3, 10, "uniform"),
        10: (1e-3, 1, "identity"),
        30: (1e-4, 1, "identity"),
        80: (1e-4, 1, "identity"),
        480: (1e-4, 10, "identity"),
    },
    "iRNN large": {
        0: (1e-3, 1, "uniform"),
        10: (1e-4, 10, "identity"),
        30: (1e-4, 1, "identity"),
        80: (1e-4, 1, "identity"),
        480: (1e-4, 1, "identity"),
    },
}
"""The paper's Table 5: model → T → learning rate, largest gradient norm (0: no clipping), start of the recurrent weights."""


@dataclass(frozen=True)
class Config:
    """Sizes and training.

    Attributes:
        models: among `MODELS`.
        lengths: numbers of blanks T for "wRNN", "iRNN" and "iRNN large".
        ablation_lengths: the same for the ablations that are among the models.
        units, channels: n and c of the Wave-RNN.
        dense_units, large_units: N of "iRNN" (and its ablations) and of "iRNN large".
        runs: seeds per model and T; see `wavemem.streams.run_seeds`.
        iterations, batch: updates, sequences per run and update.
        test_batch: sequences of the test.
        log_every: updates between two rows of the learning curves.
        lr: one learning rate instead of the paper's, or None.
    """

    models: tuple[str, ...] = ("wRNN", "iRNN", *ABLATIONS)
    lengths: tuple[int, ...] = (0, 10, 30)
    ablation_lengths: tuple[int, ...] = (10,)
    units: int = 100
    channels: int = 6
    dense_units: int = 100
    large_units: int = 625
    runs: int = 3
    iterations: int = 1200
    batch: int = 64
    test_batch: int = 500
    log_every: int = 20
    lr: float | None = 1e-3

    def __post_init__(self) -> None:
        for model in self.models:
            one_of("models", model, MODELS)
        for name in ("runs", "iterations", "batch", "test_batch", "log_every"):
            positive_int(name, getattr(self, name))
        require(len(self.models) > 0, "models is empty", ", ".join(MODELS), "Name at least one model.")

    @classmethod
    def profile(cls, name: str) -> Config:
        """The two sizes of the book.

        Args:
            name: "quick": the paper's networks, half its batch, 1,200 of its 60,000 updates and one learning rate;
                "paper": its sizes, lengths, settings and number of updates.

        Returns:
            The configuration.

        Raises:
            ValueError: If there is no such profile.
        """
        one_of("profile", name, PROFILES)
        if name == "quick":
            return cls()
        return cls(
            models=MODELS,
            lengths=(0, 10, 30, 80, 480),
            ablation_lengths=(0, 10, 30, 80),
            iterations=60_000,
            batch=128,
            test_batch=1000,
            log_every=100,
            lr=None,
        )

    @property
    def jobs(self) -> tuple[tuple[str, int], ...]:
        """(model, T) that are trained."""
        return tuple(
            (model, T) for model in self.models for T in (self.ablation_lengths if model in ABLATIONS else self.lengths)
        )

    def setting(self, model: str, T: int) -> tuple[float, float | None, str]:
        """Learning rate, clipping and start of the recurrent weights of a model at a length.

        The lengths between those of the paper's table take the next longer one's.
        """
        table = BEST.get(model, BEST["wRNN" if model.startswith("wRNN") else "iRNN"])
        at = min((known for known in table if known >= T), default=max(table))
        lr, clip, start = table[at]
        starts = {"wRNN -u": "normal", "wRNN -V -u": "normal", "wRNN dirac": "dirac"}
        start = "shift" if model.startswith("iRNN +Σ") else starts.get(model, start)
        return (lr if self.lr is None else self.lr), (clip or None), start


def initial(config: Config, model: str, T: int, seeds: Sequence[int]) -> RecurrentNetwork:
    """A model as training starts it, one run per seed.

    Raises:
        ValueError: If the model is unknown.
    """
    one_of("model", model, MODELS)
    categories = CopyTask(T).categories
    start: Any = config.setting(model, T)[2]
    if model.startswith("wRNN"):
        return WaveRNN.initialise(
            seeds,
            config.units,
            config.channels,
            categories,
            categories,
            u_init=start,
            V_init="normal" if "-V" in model else "sparse",
        )
    units = config.large_units if model == "iRNN large" else config.dense_units
    V_init: Any = "sparse" if "+V" in model else "normal"
    return IdentityRNN.initialise(seeds, units, categories, categories, U_init=start, V_init=V_init)


def _batches(task: CopyTask, size: int, generators: Sequence[torch.Generator], device: torch.device) -> Any:
    drawn = [task.batch(size, generator, device) for generator in generators]
    return torch.stack([b.inputs for b in drawn], 1), torch.stack([b.targets for b in drawn], 1)


def _train(
    config: Config, model: str, T: int, seeds: Sequence[int], device: torch.device, progress: bool, path: Path | None
) -> tuple[list[dict[str, Any]], dict[str, Tensor]]:
    """Train and test one model at one length: rows and weights."""
    task, network = CopyTask(T), initial(config, model, T, seeds).to(device)
    lr, clip, _ = config.setting(model, T)
    generators = [stream(seed, f"copying/{T}/training") for seed in seeds]

    def loss(parameters: dict[str, Tensor], done: int) -> tuple[Tensor, dict[str, Tensor]]:
        x, y = _batches(task, config.batch, generators, device)
        logits = functional_call(network, parameters, (x,), {"every_step": True})
        logged = (done + 1) % config.log_every == 0 or done == 0
        further = {"recall": exact_recall(logits.detach(), y)} if logged else {}
        return paper_loss(logits, y), further

    settings = FitConfig(config.iterations, lr=lr, clip=clip, log_every=config.log_every)
    label = f"copying T = {T}, {model}"
    with own_threads():
        trained = fit(network.parameters_dict(), loss, settings, progress, label, checkpoint=path, streams=generators)
    base = {"model": model, "T": T}
    rows = []
    for entry in trained.log.to_dict("records"):
        at = {**base, "seed": seeds[int(entry["run"])], "iteration": int(entry["iteration"])}
        rows.append({**at, "quantity": "train loss", "value": float(entry["loss"])})
        rows.append({**at, "quantity": "train recall", "value": float(entry.get("recall", float("nan")))})
    network = type(network).from_parameters(trained.parameters)
    with torch.no_grad():
        x, y = _batches(task, config.test_batch, [stream(s, f"copying/{T}/test") for s in seeds], device)
        scores = copy_scores(network(x, every_step=True), y)
    for k, seed in enumerate(seeds):
        at = {**base, "seed": seed, "iteration": config.iterations}
        loss_value = float(scores.cross_entropy[k])
        for quantity, value in {
            "cross-entropy": loss_value,
            "test loss": loss_value / PAPER_TEST_BATCH,
            "recall": float(scores.recall[k]),
            "symbol accuracy": float(scores.symbol_accuracy[k]),
            "parameters": float(network.parameter_count()),
        }.items():
            rows.append({**at, "quantity": quantity, "value": value})
    weights = {f"{model}/T{T}/{name}": value.cpu() for name, value in network.parameters_dict().items()}
    return rows, weights


def run(
    config: Config,
    seed: int,
    device: torch.device | str,
    progress: bool = True,
    checkpoints: Path | None = None,
) -> Result:
    """Train every model at its lengths.

    Args:
        config: Sizes.
        seed: The first run's seed; the others follow.
        device: Where to compute.
        progress: Whether to report progress.
        checkpoints: Folder from which a run that was stopped goes on, and which processes may share; None for none.

    Returns:
        Rows (model, T, seed, iteration, quantity, value): "train loss" (the paper's quantity) and "train recall" along the
        training, and at its end "cross-entropy" (nats per position), "test loss" (divided by 50 as in the public code's
        tests), "recall" (share of sequences without a mistake), "symbol accuracy" and "parameters" (without biases). Weights
        "<model>/T<T>/<name>", stacked over seeds.
    """
    device = torch.device(device)
    seeds = run_seeds(seed, config.runs)
    pieces: dict[str, Callable[[Path | None], tuple[list[dict[str, Any]], dict[str, Tensor]]]] = {
        f"{model.replace(' ', '_')}-T{T}": partial(_train, config, model, T, seeds, device, progress)
        for model, T in config.jobs
    }
    done = work_through(pieces, checkpoints)
    rows = [row for new, _ in done.values() for row in new]
    weights = {name: value for _, kept in done.values() for name, value in kept.items()}
    # The weights of N = 625 are 1.6 MB per run, and no figure needs them.
    return Result(pd.DataFrame(rows), {n: v for n, v in weights.items() if not n.startswith("iRNN large")})


class Source(Protocol):
    """A result or a record."""

    @property
    def weights(self) -> Mapping[str, Tensor]:
        """Named tensors."""
        ...


def networks(source: Source, model: str, T: int) -> RecurrentNetwork:
    """The trained networks of one model and length, one run per seed.

    Raises:
        ValueError: If they are not there.
    """
    prefix = f"{model}/T{T}/"
    parameters = {name[len(prefix) :]: value for name, value in source.weights.items() if name.startswith(prefix)}
    require(
        len(parameters) > 0,
        f"no weights of model {model!r} at T = {T}",
        ", ".join(sorted({name.rsplit("/", 1)[0] for name in source.weights})) or "none in this source",
        "Choose one of these.",
    )
    kind: type[RecurrentNetwork] = WaveRNN if model.startswith("wRNN") else IdentityRNN
    return kind.from_parameters(parameters)


def summarise(rows: pd.DataFrame) -> pd.DataFrame:
    """Final test scores, one line per model and T: parameters, then mean, and standard deviation over seeds, n.

    The test loss is averaged geometrically (its mean would be that of the worst seed), the rest arithmetically.
    """
    final = rows[rows["quantity"].isin(["test loss", "cross-entropy", "recall", "symbol accuracy", "parameters"])]
    wide = final.pivot_table(index=["model", "T", "seed"], columns="quantity", values="value", sort=False).reset_index()
    table = []
    for (model, T), group in wide.groupby(["model", "T"], sort=False):
        logs = group["test loss"].clip(lower=1e-300).map(lambda value: torch.tensor(value).double().log10().item())
        table.append(
            {
                "model": model,
                "T": T,
                "parameters": int(group["parameters"].iloc[0]),
                "test loss": 10.0 ** logs.mean(),
                "decades sd": logs.std(ddof=1) if len(group) > 1 else float("nan"),
                "cross-entropy": group["cross-entropy"].mean(),
                "recall": group["recall"].mean(),
                "symbol accuracy": group["symbol accuracy"].mean(),
                "n": len(group),
            }
        )
    return pd.DataFrame(table)
