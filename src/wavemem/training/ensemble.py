"""Training K independent Elman runs on a history-dependent system, each with its own data, curriculum and optimiser."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from wavemem.checks import positive_int, require
from wavemem.kernels.elman import loss_and_gradients, use_triton
from wavemem.kernels.threads import own_threads
from wavemem.models.elman import ElmanEnsemble
from wavemem.streams import stream
from wavemem.tasks.episodes import accuracy, random_histories
from wavemem.tasks.hds import HDS
from wavemem.training.curriculum import Curriculum, CurriculumState, LadderCurriculum
from wavemem.training.device_curriculum import on_device
from wavemem.training.optimiser import EnsembleAdam
from wavemem.training.progress import Progress
from wavemem.training.resume import TrainingCheckpoint
from wavemem.training.unattended import Measured, UnattendedLoop

__all__ = ["TrainingConfig", "TrainingResult", "evaluate", "train"]


@dataclass(frozen=True)
class TrainingConfig:
    """How an ensemble is trained; the defaults are the protocol that produced TWM Table 1, with fewer iterations.

    Args:
        iterations: Number of updates.
        batch: Histories per run and iteration.
        lr: Adam's learning rate, one or one per run.
        weight_decay: Adam's coupled L2 penalty, one or one per run.
        clip: Largest gradient norm, one or one per run; None for no clipping.
        curriculum: The horizon of the output phase.
        lr_drop_at: Number of updates after which the learning rate is multiplied by `lr_drop_factor`; None for never.
        lr_drop_factor: See `lr_drop_at`.
        log_every: Every how many updates a row per run is logged; the first and the last are always.
        snapshots: Numbers of updates after which the weights are kept; 0 keeps the initial ones.
    """

    iterations: int
    batch: int = 64
    lr: float | tuple[float, ...] = 1e-3
    weight_decay: float | tuple[float, ...] = 0.0
    clip: float | tuple[float, ...] | None = 1.0
    curriculum: Curriculum = field(default_factory=LadderCurriculum)
    lr_drop_at: int | None = None
    lr_drop_factor: float = 0.1
    log_every: int = 50
    snapshots: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for name in ("iterations", "batch", "log_every"):
            positive_int(name, getattr(self, name))
        require(
            all(0 <= n <= self.iterations for n in self.snapshots),
            f"snapshots = {self.snapshots}",
            f"numbers of updates from 0 to iterations = {self.iterations}",
            "Leave the others out or train longer.",
        )
        if self.lr_drop_at is not None:
            positive_int("lr_drop_at", self.lr_drop_at)


@dataclass(frozen=True)
class TrainingResult:
    """What a training leaves.

    Args:
        ensemble: The trained ensemble (the object that was passed in, changed in place).
        log: One row per run and logged iteration: iteration (number of the update, from 1), run, seed, horizon, loss,
            accuracy, grad_norm (before clipping), finite (False once the run's loss or gradient was not finite; its
            weights are frozen from then on). Loss and accuracy are of the batch of that update, before it.
        snapshots: Number of updates → state dictionary of the ensemble on the CPU.
    """

    ensemble: ElmanEnsemble
    log: pd.DataFrame
    snapshots: dict[int, dict[str, Tensor]]


def _histories(
    generators: Sequence[torch.Generator], batch: int, s: int, d: int, like: Tensor
) -> Float[Tensor, "K B s d"]:
    """Draw every run's histories from its own stream, on the CPU, then move them together."""
    drawn = [random_histories(batch, s, d, generator, dtype=like.dtype) for generator in generators]
    return torch.stack(drawn).to(like.device)


def _check(ensemble: ElmanEnsemble, task: HDS, seeds: Sequence[int]) -> None:
    require(
        ensemble.d == task.d,
        f"an ensemble with d = {ensemble.d}",
        f"the task's d = {task.d}",
        "Initialise the ensemble with the task's number of dimensions.",
    )
    require(
        len(seeds) == ensemble.K, f"{len(seeds)} seeds", f"one per run ({ensemble.K})", "Give as many seeds as runs."
    )


@dataclass(frozen=True)
class _Batch:
    """One iteration of all runs: losses (K,), accuracies (K,), errors by step, stacked gradients."""

    losses: Tensor
    accuracy: NDArray[np.float64]
    loss_by_step: list[NDArray[np.float64]]
    gradients: tuple[Tensor, Tensor, Tensor]


@torch.no_grad()
def _iterate(
    ensemble: ElmanEnsemble,
    task: HDS,
    batch: int,
    generators: Sequence[torch.Generator],
    horizons: NDArray[np.int64],
) -> _Batch:
    """Draw a batch for every run, run it forward and back, and gather what was measured."""
    W_hh, W_uh, W_r = (parameter.detach() for parameter in (ensemble.W_hh, ensemble.W_uh, ensemble.W_r))
    u = _histories(generators, batch, task.s, ensemble.d, W_hh)
    targets, own = task.targets(u, int(horizons.max())), torch.from_numpy(horizons)
    result = loss_and_gradients(W_hh, W_uh, W_r, u, targets, ensemble.activation, own)
    # Each run's mean is taken over its own steps alone; after them there are zeros.
    errors, right = result.loss_by_step.double().cpu(), result.accuracy_by_step.double().cpu()
    by_step = [errors[:steps, k].numpy() for k, steps in enumerate(horizons.tolist())]
    losses, accuracy = errors.sum(0) / own, (right.sum(0) / own).numpy()
    return _Batch(losses.to(W_hh.device), accuracy, by_step, result.gradients)


class _AttendedLoop:
    """Iterations whose numbers the processor looks at, one after the other, to choose the next horizons."""

    def __init__(
        self,
        ensemble: ElmanEnsemble,
        task: HDS,
        optimiser: EnsembleAdam,
        curriculum: CurriculumState,
        generators: Sequence[torch.Generator],
        batch: int,
    ) -> None:
        self._ensemble, self._task, self._optimiser, self._curriculum = ensemble, task, optimiser, curriculum
        self._generators, self._size = generators, batch

    def step(self) -> None:
        """Do one iteration."""
        self._horizons = self._curriculum.horizons.copy()
        self._batch = _iterate(self._ensemble, self._task, self._size, self._generators, self._horizons)
        self._norms = self._optimiser.step(self._batch.gradients, self._batch.losses)
        self._curriculum.update(self._batch.accuracy, self._batch.loss_by_step)

    def measured(self) -> Measured:
        """Return what the last iteration measured."""
        return Measured(
            self._horizons.tolist(),
            self._batch.losses.tolist(),
            self._batch.accuracy.tolist(),
            self._norms.tolist(),
            self._optimiser.alive.tolist(),
        )

    def glance(self) -> tuple[float, float]:
        """Return the runs' mean loss and accuracy of the last iteration."""
        return float(self._batch.losses.mean()), float(self._batch.accuracy.mean())

    def settle(self) -> None:
        """Nothing is elsewhere."""

    def close(self) -> None:
        """Nothing is open."""


def _never_waits(ensemble: ElmanEnsemble) -> bool:
    """Whether to queue iterations on the device instead of looking at each: where one launch does the loop over time."""
    return ensemble.W_hh.device.type == "cuda" and use_triton(ensemble.W_hh)


def _snapshot(ensemble: ElmanEnsemble) -> dict[str, Tensor]:
    return {name: value.detach().cpu().clone() for name, value in ensemble.state_dict().items()}


def _rows(iteration: int, seeds: Sequence[int], measured: Measured) -> list[dict[str, Any]]:
    """Return the rows of the log, one per run."""
    return [
        {
            "iteration": iteration,
            "run": k,
            "seed": seeds[k],
            "horizon": measured.horizons[k],
            "loss": measured.losses[k],
            "accuracy": measured.accuracy[k],
            "grad_norm": measured.norms[k],
            "finite": measured.alive[k],
        }
        for k in range(len(seeds))
    ]


def train(
    ensemble: ElmanEnsemble,
    task: HDS,
    config: TrainingConfig,
    seeds: Sequence[int],
    progress: bool = True,
    on_log: Callable[[int, list[dict[str, Any]]], None] | None = None,
    label: str = "training",
    checkpoint: Path | str | None = None,
    checkpoint_every: float = 30.0,
) -> TrainingResult:
    """Train the runs of an ensemble, independently of each other.

    The loss is the mean squared error of the output phase only. Run k's data come from a stream that depends on
    seeds[k] alone. With a checkpoint, the same call after a kill goes on where the file was last written, and returns
    what an uninterrupted call returns, bit for bit; a finished training is read from it.

    Args:
        ensemble: The networks; changed in place.
        task: The history-dependent system whose continuation the networks learn.
        config: How to train.
        seeds: One seed per run.
        progress: Whether to report progress.
        on_log: Called with the iteration and its rows whenever rows are logged.
        label: What the progress report calls this training.
        checkpoint: File that keeps the state of the training; None keeps nothing.
        checkpoint_every: Seconds between two saves, at least.

    Returns:
        The trained ensemble, its log and its snapshots.

    Raises:
        ValueError: If the ensemble, the task and the seeds do not fit together.
        CheckpointError: If the checkpoint is damaged, belongs to another training, or cannot be written.
    """
    _check(ensemble, task, seeds)
    K = ensemble.K
    parameters = [ensemble.W_hh, ensemble.W_uh, ensemble.W_r]
    optimiser = EnsembleAdam(parameters, config.lr, config.weight_decay, config.clip)
    generators = [stream(seed, "data") for seed in seeds]
    curriculum = config.curriculum.start(K)
    rows: list[dict[str, Any]] = []
    snapshots = {0: _snapshot(ensemble)} if 0 in config.snapshots else {}
    keeper = None
    first = 1
    if checkpoint is not None:
        keeper = TrainingCheckpoint(
            checkpoint, checkpoint_every, ensemble, task, config, seeds, optimiser, generators, curriculum
        )
        first += keeper.restore(rows, snapshots)
    remote = on_device(curriculum, ensemble.W_hh.device) if _never_waits(ensemble) else None
    with Progress(config.iterations, label, enabled=progress) as bar, own_threads():
        loop: _AttendedLoop | UnattendedLoop
        if remote is None:
            loop = _AttendedLoop(ensemble, task, optimiser, curriculum, generators, config.batch)
        else:
            left, longest = config.iterations + 1 - first, config.curriculum.largest
            loop = UnattendedLoop(ensemble, task, optimiser, remote, longest, generators, config.batch, left)
        with closing(loop):
            for iteration in range(first, config.iterations + 1):
                loop.step()
                if iteration == 1 or iteration == config.iterations or iteration % config.log_every == 0:
                    new = _rows(iteration, seeds, loop.measured())
                    rows += new
                    if on_log is not None:
                        on_log(iteration, new)
                bar.update(iteration, *loop.glance())
                if iteration == config.lr_drop_at:
                    optimiser.scale_lr(config.lr_drop_factor)
                if iteration in config.snapshots:
                    snapshots[iteration] = _snapshot(ensemble)
                if keeper is not None and keeper.due(iteration):
                    loop.settle()
                    keeper.save(iteration, rows, snapshots)
    return TrainingResult(ensemble, pd.DataFrame(rows), snapshots)


@torch.no_grad()
def evaluate(
    ensemble: ElmanEnsemble,
    task: HDS,
    horizon: int,
    batches: int = 10,
    batch: int = 64,
    seeds: Sequence[int] | None = None,
) -> NDArray[np.float64]:
    """Return every run's share of right signs over the whole output phase; an output of exactly 0 counts half.

    Args:
        ensemble: The networks.
        task: The history-dependent system.
        horizon: Steps of the output phase (the paper tests at 200, twice its training horizon).
        batches: Batches to average over.
        batch: Histories per batch.
        seeds: One seed per run for the test histories, which are never those of the training; by default 0 … K - 1.

    Returns:
        Accuracies of shape (K,).

    Raises:
        ValueError: If the ensemble, the task and the seeds do not fit together.
    """
    seeds = range(ensemble.K) if seeds is None else seeds
    _check(ensemble, task, seeds)
    horizon, batches = positive_int("horizon", horizon), positive_int("batches", batches)
    generators = [stream(seed, "test") for seed in seeds]
    total = np.zeros(ensemble.K)
    for _ in range(batches):
        u = _histories(generators, batch, task.s, task.d, ensemble.W_hh)
        target = task.targets(u, horizon).permute(2, 0, 1, 3)
        y = ensemble(u.permute(2, 0, 1, 3), steps=task.s + horizon)[task.s :]
        total += accuracy(y, target, per=1).cpu().numpy()
    return total / batches
