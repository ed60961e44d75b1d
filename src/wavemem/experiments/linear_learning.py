"""Does a Wave-RNN have to rectify to learn? The copy task of chapter 16 with and without the rectifier.

The paper writes that "linear recurrence may be an equivalently useful property" and trains none. Here both networks have the same
sizes, starts, sequences and number of updates; each has its own learning rate, found on seeds that serve no other purpose: the
one with the lowest loss on held-out sequences (geometric mean over seeds). As long as it is the largest or the smallest one
tried, the next one is tried as well. Then fresh networks are trained with it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final

import pandas as pd
import torch
from torch import Tensor

from wavemem.checks import one_of, positive_int
from wavemem.experiments.image_search import neighbour
from wavemem.experiments.wave_learning import pass_of, recall_loss
from wavemem.kernels.wave import WaveActivation
from wavemem.models.wave_rnn import WaveRNN
from wavemem.records.experiment import PROFILES, Result
from wavemem.records.fields import Batch, Blanks, Clip, Count, Rate, Runs, Size, Within, check_fields
from wavemem.streams import run_seeds, stream
from wavemem.substrate.wave_readings import state_response
from wavemem.tasks.copying import CopyTask, copy_loss, exact_recall
from wavemem.training.generic import FitConfig, fit
from wavemem.training.pieces import work_through

__all__ = ["ACTIVATIONS", "Config", "networks", "run", "summarise"]

ACTIVATIONS: Final[dict[str, WaveActivation]] = {"rectified": "relu", "linear": "linear"}
"""Name → σ."""
FLOOR: Final = 1e-9
"""Losses are told apart down to this."""


@dataclass(frozen=True)
class Config:
    """Sizes and training, those of `wavemem.experiments.wave_learning` unless said otherwise.

    Attributes:
        T, memory, symbols: the copy task.
        units, channels: n and c.
        runs: fresh networks of each kind; see `wavemem.streams.run_seeds`.
        iterations, batch, clip: of every training.
        rates: learning rates tried first.
        search_runs: networks per rate, of the base seed after the fresh ones'.
        tests: held-out sequences, for the search and for the test; both have their own.
    """

    PARTS: ClassVar = ("runs", "rates", "search_runs")
    UNSTATED: ClassVar = "the paper trains no linear network"

    T: Blanks = 5
    memory: Size = 5
    symbols: Size = 4
    units: Annotated[int, Within(4, 10_000)] = 24
    channels: Size = 6
    runs: Runs = 5
    iterations: Count = 2000
    batch: Batch = 32
    clip: Clip = 1.0
    rates: tuple[Rate, ...] = (1e-3, 3e-3, 1e-2)
    search_runs: Runs = 3
    tests: Batch = 1000

    def __post_init__(self) -> None:
        check_fields(self)

    @classmethod
    def profile(cls, name: str) -> Config:
        """The same for both profiles: the paper trains no linear network.

        Raises:
            ValueError: If there is no such profile.
        """
        one_of("profile", name, PROFILES)
        return cls()


def _train(
    config: Config, name: str, rates: tuple[float, ...], seeds: list[int], part: str, device: torch.device | str,
    progress: bool, path: Path | None,
) -> tuple[pd.DataFrame, dict[str, Tensor]]:  # fmt: skip
    """Train one network per rate and seed: rows, and the weights of the first rate."""
    task = CopyTask(config.T, config.memory, config.symbols)
    width, every = task.categories, seeds * len(rates)
    network = WaveRNN.initialise(
        every, config.units, config.channels, width, width, activation=ACTIVATIONS[name], device=device
    )
    generators = [stream(own, "data") for own in every]
    training = FitConfig(
        config.iterations, tuple(lr for lr in rates for _ in seeds), clip=config.clip, log_every=config.iterations
    )
    fitted = fit(
        network.parameters_dict(), recall_loss(network, task, config.batch, generators), training, progress,
        f"{name}, {part}", checkpoint=path, streams=generators,
    )  # fmt: skip
    trained = WaveRNN.from_parameters(fitted.parameters, ACTIVATIONS[name])
    held_out = task.batch(config.tests, stream(seeds[0], f"linear learning, {part}"), device)
    with torch.no_grad():
        logits = trained(held_out.inputs, every_step=True).double()
        losses = copy_loss(logits, held_out.targets)
        right = exact_recall(logits, held_out.targets, config.memory)
        probes = held_out.inputs[:, :64]
        longer = torch.cat([probes, probes[-1:].expand(3 * config.units, -1, -1)])
        response = state_response(trained, longer, config.memory, stream(seeds[0], "linear learning, disturbance"))
    rows = []
    for k in range(trained.K):
        measured = {"loss": float(losses[k]), "right": float(right[k]), **pass_of(response[k])}
        at = {"activation": name, "part": part, "lr": rates[k // len(seeds)], "seed": every[k]}
        rows += [{**at, "quantity": quantity, "value": value} for quantity, value in measured.items()]
    weights = {f"{name}/{key}": value[: len(seeds)].cpu() for key, value in fitted.parameters.items()}
    return pd.DataFrame(rows), weights


def _losses(rows: pd.DataFrame) -> pd.Series:
    """Logarithm of the geometric mean of the held-out losses by rate; what diverged is infinitely bad.

    Losses below `FLOOR` count as that: there they measure how large the outputs are, no more what is remembered.
    """
    own = rows[rows["quantity"] == "loss"]
    return own["value"].fillna(math.inf).clip(lower=FLOOR).map(math.log).groupby(own["lr"]).mean().sort_index()


def run(
    config: Config,
    seed: int,
    device: torch.device | str = "cpu",
    progress: bool = True,
    checkpoints: Path | None = None,
) -> Result:
    """Search the learning rate of both kinds, then train fresh networks with it.

    Args:
        config: sizes and training.
        seed: the base seed of the fresh networks; the search has the next.
        device: where to train.
        progress: whether to report progress.
        checkpoints: folder in which the trainings keep their state; None keeps nothing.

    Returns:
        Rows (activation, part, lr, seed, quantity, value), the part being "search" or "test". Quantities: "loss" on held-out
        sequences, "right" (share of them recalled without a mistake), and of the response to a disturbance "travel", "gain",
        "travelling", "recirculating" (`wavemem.substrate.wave_readings.ring_pass`). Weights
        "<activation>/<parameter>" of the fresh networks, stacked.

    Raises:
        ValueError: If the configuration or the seed is not usable.
    """
    positive_int("seed", seed, minimum=0)
    searching, fresh = run_seeds(seed + 1, config.search_runs), run_seeds(seed, config.runs)
    tables: list[pd.DataFrame] = []
    weights: dict[str, Tensor] = {}

    def piece(name: str, rates: tuple[float, ...], seeds: list[int], part: str) -> Any:
        label = f"{name}-{part}-{'-'.join(f'{lr:g}' for lr in rates)}"
        return work_through({label: partial(_train, config, name, rates, seeds, part, device, progress)}, checkpoints)[
            label
        ]

    for name in ACTIVATIONS:
        found, rates = pd.DataFrame(), tuple(config.rates)
        while rates:
            found = pd.concat([found, piece(name, rates, searching, "search")[0]], ignore_index=True)
            losses = _losses(found)
            tried = [float(lr) for lr in losses.index]
            best = tried[int(losses.to_numpy().argmin())]
            rates = tuple(neighbour(best, d) for d, end in ((-1, tried[0]), (1, tried[-1])) if best == end)
        tested, own = piece(name, (best,), fresh, "test")
        tables += [found, tested]
        weights |= own
    return Result(pd.concat(tables, ignore_index=True), weights)


def networks(result: Any, name: str) -> WaveRNN:
    """The fresh networks of a kind, from a result or a record.

    Raises:
        ValueError: If there is no such kind.
    """
    one_of("name", name, ACTIVATIONS)
    parameters = {
        key.removeprefix(f"{name}/"): value for key, value in result.weights.items() if key.startswith(f"{name}/")
    }
    return WaveRNN.from_parameters(parameters, ACTIVATIONS[name])


def summarise(rows: pd.DataFrame) -> pd.DataFrame:
    """Loss (geometric mean), mean share recalled and share of networks with a wave, by kind, part and rate."""
    table = rows.pivot(index=["activation", "part", "lr", "seed"], columns="quantity", values="value").reset_index()
    grouped = table.assign(loss=table["loss"].clip(lower=FLOOR).map(math.log)).groupby(
        ["activation", "part", "lr"], sort=False
    )
    found = grouped[["loss", "right", "travelling", "recirculating"]].mean()
    return found.assign(loss=found["loss"].map(math.exp), n=grouped.size()).reset_index()
