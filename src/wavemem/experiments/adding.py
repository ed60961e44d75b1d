"""The adding task: how soon the Wave-RNN and the network without waves find the solution (Wave-RNN Fig. 5, Tables 1, 7).

Trained as the public code does: Adam on the squared error of one output after the last step, batches of 128, with the
learning rates and clipping that the paper's grid search found (its Table 6). "Solved" is the first training batch with
an error of at most 0.05, looked for at every logged update.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, ClassVar

import pandas as pd
import torch
from torch import Tensor

from wavemem.checks import one_of
from wavemem.experiments._adding_training import MODELS, Setting, train
from wavemem.experiments.copying import networks
from wavemem.models.identity_rnn import IdentityRNN
from wavemem.models.recurrent import RecurrentNetwork
from wavemem.models.wave_rnn import WaveRNN
from wavemem.records.experiment import PROFILES, Result
from wavemem.records.fields import Batch, Count, OneOf, Runs, Size, Within, check_fields
from wavemem.streams import run_seeds
from wavemem.tasks.adding import SOLVED_MSE
from wavemem.training.generic import FitConfig
from wavemem.training.pieces import work_through

__all__ = ["BEST", "MODELS", "Config", "initial", "networks", "run", "solved_at", "summarise"]

BEST: dict[str, dict[int, tuple[float, float]]] = {
    "wRNN": {100: (1e-3, 100), 200: (1e-4, 100), 400: (1e-4, 1), 700: (1e-4, 100), 1000: (1e-4, 10)},
    "iRNN": {100: (1e-3, 1000), 200: (1e-3, 100), 400: (1e-3, 10), 700: (1e-4, 100), 1000: (1e-3, 1)},
}
"""The paper's Table 6: model → T → learning rate, largest gradient norm."""


@dataclass(frozen=True)
class Config:
    """Sizes and training.

    Attributes:
        models: among `MODELS`.
        lengths: lengths T of the sequences.
        units, channels: n and c of the Wave-RNN.
        dense_units: N of the network without waves.
        runs: seeds per model and length; see `wavemem.streams.run_seeds`.
        iterations, dense_iterations: updates of the Wave-RNN and of the network without waves.
        batch, test_batch: sequences per run and update, and of the test.
        log_every: updates between two rows of the learning curves, which is also how finely "solved" is resolved.
    """

    PARTS: ClassVar = ("models", "lengths", "runs")

    models: tuple[Annotated[str, OneOf(MODELS)], ...] = MODELS
    lengths: tuple[Annotated[int, Within(2, 100_000)], ...] = (100,)
    units: Size = 100
    channels: Size = 16
    dense_units: Size = 100
    runs: Runs = 3
    iterations: Count = 400
    dense_iterations: Count = 2000
    batch: Batch = 64
    test_batch: Batch = 1000
    log_every: Count = 10

    def __post_init__(self) -> None:
        check_fields(self)

    @classmethod
    def profile(cls, name: str) -> Config:
        """The two sizes of the book.

        Args:
            name: "quick": T = 100, fewer channels, half the batch, fewer updates; "paper": the paper's.

        Returns:
            The configuration.

        Raises:
            ValueError: If there is no such profile.
        """
        one_of("profile", name, PROFILES)
        if name == "quick":
            return cls()
        return cls(
            lengths=(100, 200, 400, 700, 1000),
            channels=27,
            iterations=60_000,
            dense_iterations=60_000,
            batch=128,
        )

    def setting(self, model: str, T: int) -> tuple[float, float]:
        """Learning rate and clipping; lengths between the paper's take the next longer one's."""
        table = BEST[model]
        lr, clip = table[min((known for known in table if known >= T), default=max(table))]
        return lr, clip


def initial(config: Config, model: str, seeds: Sequence[int]) -> RecurrentNetwork:
    """A model as training starts it, one run per seed.

    Raises:
        ValueError: If the model is unknown.
    """
    one_of("model", model, MODELS)
    if model == "wRNN":
        return WaveRNN.initialise(seeds, config.units, config.channels, 2, 1)
    return IdentityRNN.initialise(seeds, config.dense_units, 2, 1)


def _train(
    config: Config, model: str, T: int, seeds: Sequence[int], device: torch.device, progress: bool, path: Path | None
) -> tuple[pd.DataFrame, dict[str, Tensor]]:
    """Train and test one model at one length: rows and weights."""
    network = initial(config, model, seeds).to(device)
    lr, clip = config.setting(model, T)
    iterations = config.iterations if model == "wRNN" else config.dense_iterations
    training = FitConfig(iterations, log_every=config.log_every)
    setting, label = Setting(None, True, lr, clip), f"adding T = {T}, {model}"
    found, parameters = train(
        network, T, [setting], seeds, training, config.batch, config.test_batch, progress, label, path
    )
    sizes = pd.DataFrame({"seed": seeds}).assign(
        iteration=iterations, quantity="parameters", value=float(network.parameter_count())
    )
    rows = pd.concat([found, sizes], ignore_index=True).assign(model=model, T=T)
    rows = rows[["model", "T", "seed", "iteration", "quantity", "value"]]
    return rows, {f"{model}/T{T}/{name}": value.cpu() for name, value in parameters.items()}


def run(
    config: Config,
    seed: int,
    device: torch.device | str,
    progress: bool = True,
    checkpoints: Path | None = None,
) -> Result:
    """Train both models at every length.

    Args:
        config: Sizes.
        seed: The first run's seed; the others follow.
        device: Where to compute.
        progress: Whether to report progress.
        checkpoints: Folder from which a run that was stopped goes on, and which processes may share; None for none.

    Returns:
        Rows (model, T, seed, iteration, quantity, value): "train MSE" along the training, at its end "test MSE" and
        "parameters" (without biases). Weights "<model>/T<T>/<name>", stacked over seeds.
    """
    device = torch.device(device)
    seeds = run_seeds(seed, config.runs)
    pieces: dict[str, Callable[[Path | None], tuple[pd.DataFrame, dict[str, Tensor]]]] = {
        f"{model}-T{T}": partial(_train, config, model, T, seeds, device, progress)
        for model in config.models
        for T in config.lengths
    }
    done = work_through(pieces, checkpoints)
    rows = pd.concat([new for new, _ in done.values()], ignore_index=True)
    return Result(rows, {name: value for _, kept in done.values() for name, value in kept.items()})


def solved_at(rows: pd.DataFrame, threshold: float = SOLVED_MSE) -> pd.DataFrame:
    """The first logged update with a training error of at most the threshold, for every model, length and seed.

    Returns:
        One line per model, T and seed: "iteration" (nan where it never happened) and "updates", how many there were.
    """
    curves = rows[rows["quantity"] == "train MSE"]
    table = []
    for (model, T, seed), group in curves.groupby(["model", "T", "seed"], sort=False):
        below = group[group["value"] <= threshold]["iteration"]
        first = float(below.min()) if len(below) else float("nan")
        table.append(
            {"model": model, "T": T, "seed": seed, "iteration": first, "updates": int(group["iteration"].max())}
        )
    return pd.DataFrame(table)


def summarise(rows: pd.DataFrame) -> pd.DataFrame:
    """One line per model and T: parameters, medians of the test error and of the update that solved it, how many did, n.

    The median test error is that of all runs, the solving update that of those which solved it: no run that diverged or never
    learned is averaged with others.
    """
    solved = solved_at(rows)
    tested = rows[rows["quantity"] == "test MSE"]
    counted = rows[rows["quantity"] == "parameters"]
    table = []
    for (model, T), group in tested.groupby(["model", "T"], sort=False):
        own = solved[(solved["model"] == model) & (solved["T"] == T)]
        size = counted[(counted["model"] == model) & (counted["T"] == T)]["value"]
        table.append(
            {
                "model": model,
                "T": T,
                "parameters": int(size.iloc[0]),
                "median test MSE": float(group["value"].fillna(float("inf")).median()),
                "solved at": float(own["iteration"].median()),
                "solved": int(own["iteration"].notna().sum()),
                "updates": int(own["updates"].max()),
                "n": len(group),
            }
        )
    return pd.DataFrame(table)
