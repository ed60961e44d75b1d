"""How Elman networks are trained and tested on a history-dependent system: K independent runs, each with its own data and
curriculum; and how the experiments of Parts I and II note what they measure of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Complex, Float
from numpy.typing import NDArray
from torch import Tensor

from wavemem.checks import one_of, positive_int, require
from wavemem.elman.network import ElmanEnsemble
from wavemem.kernels.compiled import own_threads
from wavemem.kernels.elman import loss_and_gradients
from wavemem.records.experiment import Configuration
from wavemem.records.fields import Batch, Clip, Count, Rate, Rungs, Runs, Size
from wavemem.streams import stream
from wavemem.theory.hds import HDS, LinearHDS, accuracy, random_histories
from wavemem.theory.spectrum import angle_error, eigenvalues
from wavemem.training.checkpoint import digest
from wavemem.training.curriculum import Curriculum, LadderCurriculum
from wavemem.training.fit import FitConfig, FitResult, fit

_COLUMNS = ["iteration", "run", "seed", "horizon", "loss", "accuracy", "grad_norm", "finite"]


def train(
    ensemble: ElmanEnsemble,
    task: HDS,
    config: FitConfig,
    seeds: Sequence[int],
    curriculum: Curriculum | None = None,
    batch: int = 64,
    progress: bool = True,
    label: str = "training",
    checkpoint: Path | str | None = None,
    on_log: Callable[[Sequence[Mapping[str, Any]]], bool | None] | None = None,
    checkpoint_every: float = 30.0,
) -> FitResult:
    """Train the runs of an ensemble, independently of each other, as `wavemem.training.fit.fit` does.

    The loss is the mean squared error of the output phase only. Run k's data come from a stream that depends on
    seeds[k] alone.

    Args:
        ensemble: The networks; they have the trained weights afterwards.
        task: The history-dependent system whose continuation the networks learn.
        config: How to train; but for the number of iterations the defaults are the protocol that produced TWM Table 1.
        seeds: One seed per run.
        curriculum: The horizon of the output phase; by default the ladder that produced TWM Table 1.
        batch: Histories per run and iteration.
        progress, label, checkpoint, on_log, checkpoint_every: As in `fit`.

    Returns:
        Trained weights, log and snapshots. Columns of the log: iteration, run, seed, horizon, loss, accuracy (both of the
        batch of that update, before it), grad_norm, finite.

    Raises:
        ValueError: If the ensemble, the task and the seeds do not fit together.
        CheckpointError: If the checkpoint is damaged, belongs to another training, or cannot be written.
    """
    _check(ensemble, task, seeds)
    positive_int("batch", batch)
    curriculum = LadderCurriculum() if curriculum is None else curriculum
    schedule = curriculum.start(ensemble.K)
    generators = [stream(seed, "data") for seed in seeds]

    def loss(weights: dict[str, Tensor], _: int) -> tuple[Tensor, dict[str, Tensor], Sequence[Tensor]]:
        """Draw a batch for every run, sweep forward and back, and move the horizons."""
        W_hh, W_uh, W_r = (weights[name].detach() for name in ("W_hh", "W_uh", "W_r"))
        horizons = schedule.horizons
        u, own = _histories(generators, batch, task, W_hh), torch.from_numpy(horizons)
        targets = task.targets(u, int(horizons.max()))
        found = loss_and_gradients(W_hh, W_uh, W_r, u, targets, ensemble.activation, own)
        # Each run's mean is taken over its own steps alone; after them there are zeros.
        errors, right = found.loss_by_step.double().cpu(), found.accuracy_by_step.double().cpu()
        losses, share = errors.sum(0) / own, right.sum(0) / own
        schedule.update(share.numpy(), [errors[:steps, k].numpy() for k, steps in enumerate(horizons.tolist())])
        return losses.to(W_hh.device), {"horizon": own, "accuracy": share}, found.gradients

    identity = {
        "task": [task.name, task.s, task.d, digest({"F": task.F}) if isinstance(task, LinearHDS) else ""],
        "seeds": list(seeds),
        "batch": batch,
        "curriculum": repr(curriculum),
        "activation": ensemble.activation,
        "device": ensemble.W_hh.device.type,
    }
    with own_threads():
        result = fit(
            ensemble.state_dict(),
            loss,
            config,
            progress,
            label,
            checkpoint,
            generators,
            on_log,
            schedule.state(),
            identity,
            checkpoint_every,
        )
    ensemble.load_state_dict(result.parameters)
    result.log["seed"] = [seeds[k] for k in result.log["run"]]
    return FitResult(result.parameters, result.log[_COLUMNS], result.snapshots, result.best)


def _histories(generators: Sequence[torch.Generator], batch: int, task: HDS, like: Tensor) -> Float[Tensor, "K B s d"]:
    """Draw every run's histories from its own stream, on the CPU, then move them together."""
    drawn = [random_histories(batch, task.s, task.d, generator, dtype=like.dtype) for generator in generators]
    return torch.stack(drawn).to(like.device)


def _check(ensemble: ElmanEnsemble, task: HDS, seeds: Sequence[int]) -> None:
    require(
        ensemble.d == task.d and len(seeds) == ensemble.K,
        f"an ensemble of {ensemble.K} networks with d = {ensemble.d}, {len(seeds)} seeds",
        f"d = {task.d} as the task has, one seed per network",
        "Give the task that these networks are made for, and a seed for each.",
    )


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
        u = _histories(generators, batch, task, ensemble.W_hh)
        target = task.targets(u, horizon).permute(2, 0, 1, 3)
        y = ensemble(u.permute(2, 0, 1, 3), steps=task.s + horizon)[task.s :]
        total += accuracy(y, target, per=1).cpu().numpy()
    return total / batches


@torch.no_grad()
def accuracy_by_step(
    ensemble: ElmanEnsemble, task: HDS, horizon: int, seeds: Sequence[int], batch: int = 256, stretch: int = 100
) -> Float[Tensor, "horizon K d"]:
    """Share of right signs at every step of the output phase, far beyond the horizon of the training if need be.

    An output of exactly 0, which is what a network without any memory ends with, counts as a guess: one half.

    Args:
        ensemble: The networks.
        task: What they were trained on.
        horizon: Steps of the output phase.
        seeds: One per run, for the test histories; these are not those of the training.
        batch: Histories per run.
        stretch: Steps that are held in memory at a time.

    Returns:
        float64 on the CPU. For repeat copy step t (from 0) asks for vector t mod s of the history.

    Raises:
        ValueError: If the ensemble, the task and the seeds do not fit together.
    """
    _check(ensemble, task, seeds)
    horizon, stretch = positive_int("horizon", horizon), positive_int("stretch", stretch)
    u = _histories([stream(seed, "generalisation") for seed in seeds], batch, task, ensemble.W_hh)
    target = task.targets(u, horizon).permute(2, 0, 1, 3)
    silence = torch.zeros_like(u[:, :, 0])[None]
    h = ensemble.states(u.permute(2, 0, 1, 3))[-1]
    right = []
    for first in range(0, horizon, stretch):
        steps = min(stretch, horizon - first)
        states = ensemble.states(silence, h0=h, steps=steps)
        agreement = torch.sign(ensemble.outputs(states) * target[first : first + steps])
        right.append((0.5 + 0.5 * agreement).double().mean(dim=2).cpu())
        h = states[-1]
    return torch.cat(right)


@dataclass(frozen=True)
class Training(Configuration):
    """What all experiments with Elman networks have.

    Attributes:
        s, d: columns and waves of the task.
        runs: seeds per setting; see `wavemem.streams.run_seeds`.
        iterations, batch, lr, clip: as in `FitConfig` and `wavemem.elman.training.train`.
        horizons: rungs of the curriculum, in steps of the output phase; the test is at twice the last.
    """

    s: Size = 4
    d: Size = 4
    runs: Runs = 4
    iterations: Count = 3000
    batch: Batch = 64
    lr: Rate = 1e-3
    clip: Clip = 1.0
    horizons: Rungs = (10, 20, 40, 60)

    @property
    def test_horizon(self) -> int:
        """Steps of the output phase in the test: twice the longest of the training."""
        return 2 * self.horizons[-1]

    def fit_config(self, **settings: Any) -> FitConfig:
        """How to train, with further fields of `FitConfig`, or others in place of these."""
        return FitConfig(**{"iterations": self.iterations, "lr": self.lr, "clip": self.clip, **settings})


def spectral(theory: Complex[Tensor, " n"], W_hh: Float[Tensor, "N N"], modulus: float) -> dict[str, float]:
    """What is read off a network's eigenvalues, of which those of larger modulus than `modulus` are counted.

    Returns:
        n_theory and n_learned (how many are counted), modulus_min, modulus_max and mean_modulus (over those learned), radius
        (largest of all), above_one (how many are outside the unit circle), angle_error (rad, greedy pairing as in the
        paper); NaN where nothing is counted or the counts differ.
    """
    learned = eigenvalues(W_hh)
    moduli = learned.abs()
    lasting = moduli[moduli > modulus]
    error = angle_error(theory, learned, modulus=modulus)
    some = len(lasting) > 0
    return {
        "n_theory": float(error.n_theory),
        "n_learned": float(error.n_learned),
        "modulus_min": float(lasting.min()) if some else float("nan"),
        "modulus_max": float(lasting.max()) if some else float("nan"),
        "mean_modulus": float(lasting.mean()) if some else float("nan"),
        "radius": float(moduli.max()),
        "above_one": float((moduli > 1).sum()),
        "angle_error": error.error,
    }


def tidy(
    log: pd.DataFrame,
    about: pd.DataFrame,
    curves: Sequence[str],
    measured: Sequence[Mapping[str, Any]],
    at: Sequence[str] = ("iteration",),
) -> pd.DataFrame:
    """Rows of a result: the learning curves, one quantity after the other, then what was measured, in its order.

    Args:
        log: from `train`.
        about: one line per run: its setting and its seed.
        curves: columns of the log that are kept.
        measured: "run", the columns `at`, and quantities.
        at: what says when something was measured.

    Returns:
        The columns of `about`, those of `at`, quantity, value.
    """
    keys = ["run", *at]
    curve = log.melt(keys, list(curves), var_name="quantity", value_name="value")
    final = [
        {**{key: line[key] for key in keys}, "quantity": quantity, "value": value}
        for line in measured
        for quantity, value in line.items()
        if quantity not in keys
    ]
    rows = pd.concat([curve, pd.DataFrame(final)], ignore_index=True)
    return about.loc[rows.pop("run")].reset_index(drop=True).join(rows).astype({"value": float})


def network_table(rows: pd.DataFrame, keys: Sequence[str], quantities: Sequence[str]) -> pd.DataFrame:
    """One line per trained network, which the columns `keys` tell apart: these, and the quantities measured at the end.

    Raises:
        ValueError: if the rows lack a column.
    """
    for column in (*keys, "quantity", "value"):
        one_of("column", column, rows.columns)
    final = rows[rows["quantity"].isin(quantities)]
    table = final.pivot(index=list(keys), columns="quantity", values="value")[list(quantities)]
    table.columns.name = None
    return table.reset_index()


def weights_under(
    name: str, tensors: Mapping[str, Tensor], which: slice | Sequence[int] = slice(None)
) -> dict[str, Tensor]:
    """Weights of a result, called "<name> <own name>", of some of the runs."""
    return {f"{name} {own}": value.detach().cpu()[which].clone() for own, value in tensors.items()}
