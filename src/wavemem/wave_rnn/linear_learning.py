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
from typing import Annotated, ClassVar, Final

import pandas as pd
import torch

from wavemem.checks import one_of
from wavemem.kernels.wave import WaveActivation
from wavemem.records.experiment import (
    Configuration,
    Pieces,
    Result,
    Rounds,
    Source,
    Where,
    resumable,
    under,
    weights_of,
)
from wavemem.records.fields import Batch, Blanks, Clip, Count, Rate, Runs, Size, Within
from wavemem.streams import run_seeds, stream
from wavemem.training.fit import FitConfig, fit
from wavemem.wave_rnn.copy_task import CopyTask, copy_loss, exact_recall
from wavemem.wave_rnn.image_search import neighbour
from wavemem.wave_rnn.network import WaveRNN
from wavemem.wave_rnn.wave_learning import pass_of, recall_loss
from wavemem.wave_rnn.wave_readings import state_response

ACTIVATIONS: Final[dict[str, WaveActivation]] = {"rectified": "relu", "linear": "linear"}
"""Name → σ."""
FLOOR: Final = 1e-9
"""Losses are told apart down to this."""


@dataclass(frozen=True)
class Config(Configuration):
    """Sizes and training, those of `wavemem.wave_rnn.wave_learning` unless said otherwise; the same for both profiles.

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


def _train(config: Config, name: str, rates: tuple[float, ...], seeds: list[int], part: str, where: Where) -> Result:
    """Train one network per rate and seed; the weights of those that are tested are kept."""
    task = CopyTask(config.T, config.memory, config.symbols)
    width, every = task.categories, seeds * len(rates)
    network = WaveRNN.initialise(
        every, config.units, config.channels, width, width, activation=ACTIVATIONS[name], device=where.device
    )
    generators = [stream(own, "data") for own in every]
    training = FitConfig(
        config.iterations, tuple(lr for lr in rates for _ in seeds), clip=config.clip, log_every=config.iterations
    )
    loss = recall_loss(network, task, config.batch, generators)
    fitted = fit(
        network.state_dict(),
        loss,
        training,
        where.progress,
        f"{name}, {part}",
        where.checkpoint,
        generators,
    )
    network.load_state_dict(fitted.parameters)
    held_out = task.batch(config.tests, stream(seeds[0], f"linear learning, {part}"), where.device)
    with torch.no_grad():
        logits = network(held_out.inputs, every_step=True).double()
        losses = copy_loss(logits, held_out.targets)
        right = exact_recall(logits, held_out.targets, config.memory)
        probes = held_out.inputs[:, :64]
        longer = torch.cat([probes, probes[-1:].expand(3 * config.units, -1, -1)])
        response = state_response(network, longer, config.memory, stream(seeds[0], "linear learning, disturbance"))
    rows = []
    for k in range(network.K):
        measured = {"loss": float(losses[k]), "right": float(right[k]), **pass_of(response[k])}
        at = {"activation": name, "part": part, "lr": rates[k // len(seeds)], "seed": every[k]}
        rows += [{**at, "quantity": quantity, "value": value} for quantity, value in measured.items()]
    return Result(pd.DataFrame(rows), under(name, fitted.parameters) if part == "test" else {})


def _losses(rows: pd.DataFrame) -> pd.Series:
    """Logarithm of the geometric mean of the held-out losses by rate; what diverged is infinitely bad.

    Losses below `FLOOR` count as that: there they measure how large the outputs are, no more what is remembered.
    """
    own = rows[rows["quantity"] == "loss"]
    return own["value"].fillna(math.inf).clip(lower=FLOOR).map(math.log).groupby(own["lr"]).mean().sort_index()


@resumable
def run(config: Config, seed: int) -> Rounds:
    """Search the learning rate of both kinds, then train fresh networks with it.

    The fresh networks have the base seed, the search has the next.

    Rows (activation, part, lr, seed, quantity, value), the part being "search" or "test". Quantities: "loss" on held-out
    sequences, "right" (share of them recalled without a mistake), and of the response to a disturbance "travel", "gain",
    "travelling", "recirculating" (`wavemem.wave_rnn.wave_readings.ring_pass`). Weights
    "<activation>/<parameter>" of the fresh networks, stacked.
    """
    searching, fresh = run_seeds(seed + 1, config.search_runs), run_seeds(seed, config.runs)

    def piece(name: str, rates: tuple[float, ...], seeds: list[int], part: str) -> Pieces:
        label = f"{name}-{part}-{'-'.join(f'{lr:g}' for lr in rates)}"
        return {label: partial(_train, config, name, rates, seeds, part)}

    for name in ACTIVATIONS:
        found: list[Result] = []
        rates = tuple(config.rates)
        while rates:
            found += yield piece(name, rates, searching, "search")
            losses = _losses(pd.concat([one.rows for one in found]))
            tried = [float(lr) for lr in losses.index]
            best = tried[int(losses.to_numpy().argmin())]
            rates = tuple(neighbour(best, d) for d, end in ((-1, tried[0]), (1, tried[-1])) if best == end)
        yield piece(name, (best,), fresh, "test")


def networks(source: Source, name: str) -> WaveRNN:
    """The fresh networks of a kind, from a result or a record.

    Raises:
        ValueError: If there is no such kind.
    """
    return WaveRNN(weights_of(source, one_of("name", name, ACTIVATIONS)), ACTIVATIONS[name])


def summarise(rows: pd.DataFrame) -> pd.DataFrame:
    """Loss (geometric mean), mean share recalled and share of networks with a wave, by kind, part and rate."""
    table = rows.pivot(index=["activation", "part", "lr", "seed"], columns="quantity", values="value").reset_index()
    grouped = table.assign(loss=table["loss"].clip(lower=FLOOR).map(math.log)).groupby(
        ["activation", "part", "lr"], sort=False
    )
    found = grouped[["loss", "right", "travelling", "recirculating"]].mean()
    return found.assign(loss=found["loss"].map(math.exp), n=grouped.size()).reset_index()
