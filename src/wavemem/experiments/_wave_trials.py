"""Training networks at one point of a search grid, several seeds side by side, and scoring them on data not trained on."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pandas as pd
import torch
from torch import Tensor
from torch.func import functional_call

from wavemem.models.identity_rnn import IdentityRNN
from wavemem.models.recurrent import RecurrentNetwork
from wavemem.models.wave_rnn import WaveRNN
from wavemem.streams import stream
from wavemem.tasks.adding import AddingTask, adding_loss
from wavemem.tasks.copying import CopyTask, copy_loss, paper_loss
from wavemem.tasks.images import SequentialImages
from wavemem.training.generic import FitConfig, fit
from wavemem.training.grids import EPOCHS, Setting

__all__ = ["Effort", "network", "train_setting"]

Sequences = tuple[Tensor, Tensor]
"""Inputs (T, batch, d), and targets with the sequences last."""


@dataclass(frozen=True)
class Effort:
    """How long to train and how much to test; the same for every point of a grid.

    Attributes:
        iterations, batch: updates and sequences per run and update, for the copy and the adding task.
        held_out: sequences of theirs for validation, and as many for the test.
        epochs: passes through the training images; 0 for as many as the paper's.
        evaluations: how often during a training validation and test are looked at.
        memory, symbols: of the copy task.
    """

    iterations: int
    batch: int
    held_out: int
    epochs: int
    evaluations: int
    memory: int = 10
    symbols: int = 8


class _Work(Protocol):
    """What is learnt, for networks of all tasks alike."""

    @property
    def size(self) -> tuple[int, int]:
        """Dimensions of an input and of an output."""

    @property
    def every_step(self) -> bool:
        """Whether the outputs of every step count, or those of the last."""

    @property
    def updates(self) -> int:
        """How many updates a training has."""

    def batch(self, done: int, seed: int, generator: torch.Generator) -> Sequences:
        """What a run sees after so many updates; a function of the seed, and of the generator or the number of updates."""

    def held_out(self, name: str) -> list[Sequences]:
        """The parts of the validation or test set."""

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """What training minimises, (K,)."""

    def error(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """What validation and test measure, (K,), a mean over sequences; less is better."""


class _Drawn:
    """The copy and the adding task, whose sequences are drawn as they are needed."""

    def __init__(self, setting: Setting, effort: Effort) -> None:
        self._task: CopyTask | AddingTask
        self.every_step = setting.task != "adding"
        if self.every_step:
            self._task = CopyTask(setting.T, effort.memory, effort.symbols)
            self.size = (self._task.categories, self._task.categories)
        else:
            self._task, self.size = AddingTask(setting.T), (2, 1)
        self._effort, self.updates = effort, effort.iterations

    def batch(self, done: int, seed: int, generator: torch.Generator) -> Sequences:
        return self._task.batch(self._effort.batch, generator)

    def held_out(self, name: str) -> list[Sequences]:
        generator = stream(0, f"sweep, {self._task}, {name}")
        left = self._effort.held_out
        parts: list[Sequences] = []
        while left > 0:
            parts.append(self._task.batch(min(left, self._effort.batch), generator))
            left -= self._effort.batch
        return parts

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return paper_loss(outputs, targets) if self.every_step else adding_loss(outputs, targets)

    def error(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return copy_loss(outputs.double(), targets) if self.every_step else adding_loss(outputs.double(), targets)


class _Images:
    """Images shown piece by piece, in a new order in every epoch."""

    every_step = False

    def __init__(self, setting: Setting, effort: Effort) -> None:
        self._images = SequentialImages(setting.task)
        epochs, self._batch = EPOCHS[setting.task]
        self.steps = len(self._images.train) // self._batch
        self.updates = self.steps * (effort.epochs or epochs)
        self.size = (self._images.d, self._images.classes)

    def batch(self, done: int, seed: int, generator: torch.Generator) -> Sequences:
        epoch, step = divmod(done, self.steps)
        order = _order(len(self._images.train), seed, epoch)
        return self._sequences(self._images.train[order[step * self._batch : (step + 1) * self._batch]])

    def held_out(self, name: str) -> list[Sequences]:
        chosen: Tensor = getattr(self._images, name)
        return [self._sequences(part) for part in chosen.split(500)]

    def _sequences(self, indices: Tensor) -> Sequences:
        return self._images.sequence(indices), self._images.labels[indices]

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        chosen = targets.expand(outputs.shape[:-1]).unsqueeze(-1)
        return -outputs.log_softmax(-1).gather(-1, chosen).squeeze(-1).mean(-1)

    def error(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return (outputs.argmax(-1) != targets).double().mean(-1)


@functools.lru_cache(maxsize=64)
def _order(count: int, seed: int, epoch: int) -> Tensor:
    """The order of the training images in an epoch of a run."""
    return torch.randperm(count, generator=stream(seed, f"sweep, epoch {epoch}"))


def network(
    setting: Setting, inputs: int, outputs: int, seeds: Sequence[int], device: torch.device | str = "cpu"
) -> RecurrentNetwork:
    """The untrained networks of a point, one per seed.

    Raises:
        ValueError: if the point's names do not suit its model.
    """
    common: dict[str, Any] = {"units": setting.units, "inputs": inputs, "outputs": outputs, "device": device}
    common |= {"V_init": setting.inputs, "activation": setting.activation}
    if setting.model == "wRNN":
        return WaveRNN.initialise(seeds, channels=setting.channels, u_init=setting.recurrent, **common)  # type: ignore[arg-type]
    return IdentityRNN.initialise(seeds, U_init=setting.recurrent, **common)  # type: ignore[arg-type]


def train_setting(
    setting: Setting,
    effort: Effort,
    seeds: Sequence[int],
    device: torch.device | str = "cpu",
    progress: bool = True,
    path: Path | None = None,
) -> pd.DataFrame:
    """Train the networks of one point of a grid.

    Validation and test sequences are the same for all seeds and all points of a task; those of the training depend on the
    seed alone.

    Args:
        setting: the point.
        effort: how long.
        seeds: one per network.
        device: where to train.
        progress: whether to report progress.
        path: checkpoint; None keeps none.

    Returns:
        Rows seed, iteration (updates done), quantity, value. "train" is the loss that is minimised, "gradient" its norm
        before clipping, "validation" and "test" the errors on held-out sequences, in float64.
    """
    work: _Work = _Images(setting, effort) if setting.task in EPOCHS else _Drawn(setting, effort)
    start = network(setting, *work.size, seeds, device)
    generators = [stream(seed, f"sweep, {setting.task}, T = {setting.T}") for seed in seeds]
    held_out = {name: work.held_out(name) for name in ("validation", "test")}
    every = max(1, work.updates // effort.evaluations)

    def outputs(parameters: dict[str, Tensor], inputs: Tensor) -> Tensor:
        result: Tensor = functional_call(start, parameters, (inputs.to(device),), {"every_step": work.every_step})
        return result

    @torch.no_grad()
    def errors(parameters: dict[str, Tensor], name: str) -> Tensor:
        parts = held_out[name]
        counts = torch.tensor([inputs.shape[1] for inputs, _ in parts], dtype=torch.float64)
        found = [work.error(outputs(parameters, inputs), targets.to(device)).cpu() for inputs, targets in parts]
        return (torch.stack(found) * counts[:, None]).sum(0) / counts.sum()

    def loss(parameters: dict[str, Tensor], done: int) -> tuple[Tensor, dict[str, Tensor]]:
        drawn = [work.batch(done, seed, generator) for seed, generator in zip(seeds, generators, strict=True)]
        inputs = torch.stack([x for x, _ in drawn], 1)
        targets = torch.stack([y for _, y in drawn], -2).to(device)
        seen = {}
        if done == 0 or (done + 1) % every == 0 or done + 1 == work.updates:
            seen = {name: errors(parameters, name) for name in held_out}
        return work.loss(outputs(parameters, inputs), targets), seen

    drop = (setting.drop_epoch * getattr(work, "steps", 1), setting.drop_rate) if setting.drop_epoch else None
    config = FitConfig(work.updates, setting.lr, clip=setting.clip or None, log_every=every, lr_drop=drop)
    label = setting.name + " " + " ".join(f"{k}={v}" for k, v in dataclasses.asdict(effort).items())
    log = fit(start.parameters_dict(), loss, config, progress, label, path, generators).log
    log["iteration"] -= 1  # values of a row are those before its update
    log["seed"] = log["run"].map(dict(enumerate(seeds)))
    log = log.rename(columns={"loss": "train", "grad_norm": "gradient"})
    return log.melt(["seed", "iteration"], ["train", "gradient", "validation", "test"], "quantity", "value")
