"""What makes the adding task easy to learn: one dense network, one optimiser, five ways to start.

The paper compares a Wave-RNN with an iRNN; they differ in architecture (27 coupled rings, 2,700 units, against 100 dense
ones), in the recurrent start (shift against identity), in the input weights (one unit against small random ones) and in the
biases. Here everything is the same dense network with the same number of weights, readouts and sequences, and only the start
of the recurrent weights U, of the input weights V and of the biases changes. (The paper has this ablation for the copy
task, Table 4, not for adding.)
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pandas as pd
import torch
from torch import Tensor
from torch.func import functional_call

from wavemem.checks import one_of, positive_int, require
from wavemem.models.identity_rnn import IdentityRNN, RecurrentStart
from wavemem.models.wave_rnn import InputStart
from wavemem.records.experiment import PROFILES, Result
from wavemem.streams import run_seeds, stream
from wavemem.tasks.adding import SOLVED_MSE, AddingTask, adding_loss
from wavemem.training.generic import FitConfig, fit

__all__ = ["STARTS", "Config", "Start", "by_network", "networks", "run", "start_networks", "summarise"]


@dataclass(frozen=True)
class Start:
    """How a network starts.

    Attributes:
        U: recurrent weights, "identity" or "shift".
        V: input weights, "normal" N(0, 0.001²) or "sparse", 1 into unit 0.
        biases: whether the biases that the public code draws at random are kept; else all but the readout's are 0.
    """

    U: RecurrentStart
    V: InputStart
    biases: bool


STARTS: Final[dict[str, Start]] = {
    "iRNN as published": Start("identity", "normal", True),
    "identity, normal V": Start("identity", "normal", False),
    "identity, sparse V": Start("identity", "sparse", False),
    "shift, normal V": Start("shift", "normal", False),
    "shift, sparse V": Start("shift", "sparse", False),
}
"""Name → start. The last is a Wave-RNN of one ring that may become any dense network."""


@dataclass(frozen=True)
class Config:
    """Sizes and protocol.

    Attributes:
        T: length of the sequences.
        units: N.
        starts: among `STARTS`.
        runs: networks per start; see `wavemem.streams.run_seeds`.
        iterations, batch, lr, clip: of the training; sequences depend on the seed alone.
        test_batch: sequences of the test.
        log_every: updates between two rows, and the resolution of "solved iteration".
    """

    T: int = 40
    units: int = 40
    starts: tuple[str, ...] = tuple(STARTS)
    runs: int = 4
    iterations: int = 1300
    batch: int = 64
    lr: float = 3e-3
    clip: float = 1.0
    test_batch: int = 1000
    log_every: int = 10

    def __post_init__(self) -> None:
        positive_int("runs", self.runs)
        require(len(self.starts) > 0, "starts is empty", "at least one of " + "; ".join(STARTS), "Name one.")
        for start in self.starts:
            one_of("start", start, STARTS)

    @classmethod
    def profile(cls, name: str) -> Config:
        """The two sizes of the book.

        Args:
            name: "quick": T = N = 40, seconds; "paper": T = N = 100 with the paper's batch and learning rate (the experiment
                is not in the paper).

        Raises:
            ValueError: if there is no such profile.
        """
        one_of("profile", name, PROFILES)
        if name == "quick":
            return cls()
        return cls(T=100, units=100, iterations=20_000, batch=128, lr=1e-3, log_every=100)


def start_networks(config: Config, seed: int, device: torch.device | str = "cpu") -> IdentityRNN:
    """The untrained networks: run i·runs + k is start i with seed `seed + k`."""
    seeds = run_seeds(seed, config.runs)
    drawn = []
    for name in config.starts:
        start = STARTS[name]
        network = IdentityRNN.initialise(seeds, config.units, 2, 1, U_init=start.U, V_init=start.V, device=device)
        parameters = network.parameters_dict()
        if not start.biases:
            parameters["b_V"].zero_()
            parameters["b_U"].zero_()
        drawn.append(parameters)
    return IdentityRNN({name: torch.cat([part[name] for part in drawn]) for name in drawn[0]})


def run(
    config: Config,
    seed: int,
    device: torch.device | str = "cpu",
    progress: bool = True,
    checkpoints: Path | None = None,
) -> Result:
    """Train the networks of all starts side by side.

    Args:
        config: sizes and protocol.
        seed: the first seed; all starts use the same seeds, hence the same sequences.
        device: where to train.
        progress: whether to report progress.
        checkpoints: folder in which the training keeps its state; None keeps nothing.

    Returns:
        Rows (start, seed, iteration, quantity, value): "train MSE" of the batch of that update, before it; at the last
        iteration "test MSE", and "solved iteration", the first logged one whose train MSE is at most 0.05 (NaN: never).
        Weights "<start>/<parameter>", (runs, …), after training.

    Raises:
        ValueError: if the configuration or the seed is not usable.
    """
    positive_int("seed", seed, minimum=0)
    task, seeds = AddingTask(config.T), run_seeds(seed, config.runs)
    start = start_networks(config, seed, device)
    generators = [stream(own, f"adding, T = {config.T}, training") for own in seeds]

    def loss(parameters: dict[str, Tensor], _: int) -> Tensor:
        drawn = [task.batch(config.batch, generator) for generator in generators]
        inputs = torch.stack([batch.inputs for batch in drawn], 1).repeat(1, len(config.starts), 1, 1).to(device)
        targets = torch.stack([batch.targets for batch in drawn]).repeat(len(config.starts), 1).to(device)
        outputs: Tensor = functional_call(start, parameters, (inputs,))
        return adding_loss(outputs, targets)

    training = FitConfig(config.iterations, config.lr, clip=config.clip, log_every=config.log_every)
    label = f"adding from {len(config.starts)} starts"
    path = None if checkpoints is None else checkpoints / "starts"
    fitted = fit(start.parameters_dict(), loss, training, progress, label, path, generators)
    log = fitted.log
    log["start"] = [config.starts[k // config.runs] for k in log["run"]]
    log["seed"] = [seeds[k % config.runs] for k in log["run"]]
    solved = log[log["loss"] <= SOLVED_MSE].groupby("run")["iteration"].min()
    test = task.batch(config.test_batch, stream(seed, f"adding, T = {config.T}, test"))
    with torch.no_grad():
        outputs = IdentityRNN(fitted.parameters).outputs(test.inputs.to(device))
        errors = adding_loss(outputs.double(), test.targets.double().to(device))
    final = []
    for k in range(start.K):
        own = (config.starts[k // config.runs], seeds[k % config.runs], config.iterations)
        final.append((*own, "test MSE", float(errors[k])))
        final.append((*own, "solved iteration", float(solved.get(k, float("nan")))))
    columns = ["start", "seed", "iteration", "quantity", "value"]
    curves = log.rename(columns={"loss": "value"}).assign(quantity="train MSE")[columns]
    rows = pd.concat([curves, pd.DataFrame(final, columns=columns)], ignore_index=True)
    weights = {
        f"{name}/{parameter}": value[i * config.runs : (i + 1) * config.runs].detach().cpu().clone()
        for i, name in enumerate(config.starts)
        for parameter, value in fitted.parameters.items()
    }
    return Result(rows, weights)


def networks(result: Result, start: str) -> IdentityRNN:
    """The trained networks of one start.

    Raises:
        ValueError: if the result has no such start.
    """
    names = list(dict.fromkeys(name.split("/")[0] for name in result.weights))
    one_of("start", start, names)
    return IdentityRNN(
        {name.split("/")[1]: value for name, value in result.weights.items() if name.split("/")[0] == start}
    )


def by_network(rows: pd.DataFrame) -> pd.DataFrame:
    """One line per trained network: start, seed, "solved iteration", "test MSE".

    Raises:
        ValueError: if the rows lack the columns of `run`.
    """
    for column in ("start", "seed", "quantity", "value"):
        one_of("column", column, rows.columns)
    final = rows[rows["quantity"] != "train MSE"]
    order = list(dict.fromkeys(final["start"]))
    table = final.pivot(index=["start", "seed"], columns="quantity", values="value")
    table.columns.name = None
    return table.reindex(order, level=0).reset_index()[["start", "seed", "solved iteration", "test MSE"]]


def summarise(rows: pd.DataFrame) -> pd.DataFrame:
    """One line per start: networks, how many solved the task, median iteration of those, range of the test error."""
    table = by_network(rows).groupby("start", sort=False)
    return pd.DataFrame(
        {
            "networks": table.size(),
            "solved": table["solved iteration"].count(),
            "median iteration": table["solved iteration"].median(),
            "least test MSE": table["test MSE"].min(),
            "largest test MSE": table["test MSE"].max(),
        }
    )
