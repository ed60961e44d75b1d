"""How well a few weights learn to name what was shown some steps ago: say here what is measured, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import pandas as pd
import torch
from torch import Tensor

from wavemem.records.experiment import Configuration, Pieces, Result, Where, resumable, under
from wavemem.records.fields import Batch, Count, Rate, Runs, Steps
from wavemem.streams import run_seeds, stream
from wavemem.training.fit import FitConfig, fit


@dataclass(frozen=True)
class Config(Configuration):
    """Sizes of the experiment; the defaults are the profile "quick".

    Attributes:
        delays: how many steps ago the number was shown that has to be named; one training each.
        window: weights of a run; it sees this many steps.
        runs: runs of each training; see `wavemem.streams.run_seeds`.
        iterations, batch, lr: of the training.
    """

    PAPER: ClassVar = {"iterations": 2000, "runs": 10}  # the fields in which the papers' sizes differ
    PARTS: ClassVar = ("delays", "runs")
    UNSTATED: ClassVar = "an experiment of ours"  # leave it out if a paper gives the sizes

    delays: tuple[Steps, ...] = (1, 3)
    window: Steps = 4
    runs: Runs = 3
    iterations: Count = 200
    batch: Batch = 32
    lr: Rate = 0.03


def _train(config: Config, delay: int, seeds: Sequence[int], where: Where) -> Result:
    """One training of all runs; put a model and a task in the place of the weights and the loss."""
    draws = [torch.randn(config.window, generator=stream(seed, "weights")) for seed in seeds]
    data = [stream(seed, "data") for seed in seeds]

    def loss(parameters: dict[str, Tensor], done: int) -> Tensor:
        length = max(config.window, delay + 1)
        shown = torch.stack([torch.randn(config.batch, length, generator=own) for own in data]).to(where.device)
        said = torch.einsum("kbt,kt->kb", shown[..., -config.window :], parameters["w"])
        return (said - shown[..., -1 - delay]).square().mean(1)

    training = FitConfig(config.iterations, config.lr, log_every=config.iterations)
    start = {"w": torch.stack(draws).to(where.device)}
    fitted = fit(start, loss, training, where.progress, f"delay {delay}", where.checkpoint, data)
    log = fitted.log[fitted.log["iteration"].isin([1, config.iterations])]
    rows = pd.DataFrame(
        {
            "delay": delay,
            "seed": [seeds[run] for run in log["run"]],
            "iteration": log["iteration"].to_numpy(),
            "quantity": "loss",
            "value": log["loss"].to_numpy(),
        }
    )
    return Result(rows, under(f"delay {delay}", fitted.parameters))


@resumable
def run(config: Config, seed: int) -> Pieces:
    """Train for every delay.

    Rows (delay, seed, iteration, quantity, value): the "loss" at the first and the last update. Weights
    "delay <delay>/w", stacked over the runs.
    """
    seeds = run_seeds(seed, config.runs)
    return {f"delay {delay}": partial(_train, config, delay, seeds) for delay in config.delays}


def summarise(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean loss over the runs, by delay, before training and after it."""
    return rows.pivot_table(index="delay", columns="iteration", values="value", aggfunc="mean")
