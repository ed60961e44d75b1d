"""A small training loop for any ensemble of K models with stacked parameters and a differentiable loss."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from wavemem.checks import one_of, positive_int
from wavemem.training.checkpoint import Checkpoint, Saved, digest
from wavemem.training.optimiser import EnsembleAdam
from wavemem.training.progress import Progress

__all__ = ["Best", "FitConfig", "FitResult", "LossFunction", "fit"]

LossFunction = Callable[[dict[str, Tensor], int], Tensor | tuple[Tensor, dict[str, Tensor]]]
"""Takes the parameters, each (K, …), and the number of updates done so far; returns losses (K,), or those and a
dictionary of further values (K,) for the log."""


@dataclass(frozen=True)
class FitConfig:
    """How `fit` trains.

    Args:
        iterations: Number of updates.
        lr: Adam's learning rate, one or one per model.
        weight_decay: Coupled L2 penalty, or decoupled decay, one or one per model.
        clip: Largest gradient norm, one or one per model; None for no clipping.
        log_every: Every how many updates a row per model is logged; the first and the last are always.
        snapshots: Numbers of updates after which the parameters are kept; 0 keeps the initial ones.
        lr_drop: (updates, factor): after every so many updates all learning rates are divided by the factor.
        decoupled: Whether the weight decay is AdamW's, taken off the parameters themselves.
        no_decay: Parameters whose names end in one of these do not decay.
        schedule: "constant", or "linear": down to 0 at the end.
        warmup: Updates over which the learning rates rise in proportion to their number; the last has the full rate.
        keep: Name of one of the loss function's further values: each run's parameters are kept where it was lowest.
    """

    iterations: int
    lr: float | tuple[float, ...] = 1e-3
    weight_decay: float | tuple[float, ...] = 0.0
    clip: float | tuple[float, ...] | None = 1.0
    log_every: int = 50
    snapshots: tuple[int, ...] = ()
    lr_drop: tuple[int, float] | None = None
    decoupled: bool = False
    no_decay: tuple[str, ...] = ()
    schedule: Literal["constant", "linear"] = "constant"
    warmup: int = 0
    keep: str = ""

    def __post_init__(self) -> None:
        for name in ("iterations", "log_every"):
            value = getattr(self, name)
            if value < 1:
                raise ValueError(f"{name} is {value}; allowed: integers >= 1. Correct the configuration.")
        one_of("schedule", self.schedule, ("constant", "linear"))
        positive_int("warmup", self.warmup, minimum=0)
        wrong = [n for n in self.snapshots if not 0 <= n <= self.iterations]
        if wrong:
            raise ValueError(
                f"snapshots are asked for after {wrong} updates; allowed: 0 to iterations = {self.iterations}. "
                "Leave these out or train longer."
            )
        if self.lr_drop is not None and (self.lr_drop[0] < 1 or not self.lr_drop[1] > 0):
            raise ValueError(
                f"lr_drop is {self.lr_drop}; allowed: (updates >= 1, factor > 0), or None. Correct the configuration."
            )

    def rate(self, update: int) -> float:
        """By what the learning rates are multiplied at an update, counted from 1; without `lr_drop`."""
        if update <= self.warmup:
            return update / self.warmup
        if self.schedule == "constant":
            return 1.0
        return (self.iterations + 1 - update) / (self.iterations + 1 - max(self.warmup, 1))


@dataclass(frozen=True)
class Best:
    """Each run where a value was lowest.

    Args:
        value: The lowest value, (K,), float64; infinite where there was none.
        updates: Number of updates done then, (K,).
        parameters: Parameters then, (K, …).
    """

    value: Float[Tensor, " K"]
    updates: Int[Tensor, " K"]
    parameters: dict[str, Tensor]

    @classmethod
    def none_yet(cls, parameters: Mapping[str, Tensor], K: int) -> Best:
        """Before anything was seen."""
        device = next(iter(parameters.values())).device
        value = torch.full((K,), torch.inf, dtype=torch.float64, device=device)
        kept = {name: tensor.detach().clone() for name, tensor in parameters.items()}
        return cls(value, torch.zeros(K, dtype=torch.int64, device=device), kept)

    @torch.no_grad()
    def update(self, value: Float[Tensor, " K"], updates: int, parameters: Mapping[str, Tensor]) -> None:
        """Keep the runs whose value is lower than ever before; in place."""
        value = value.detach().to(self.value)
        better = value < self.value
        self.value[better] = value[better]
        self.updates[better] = updates
        for name, tensor in self.parameters.items():
            tensor[better] = parameters[name].detach()[better]

    def tensors(self) -> dict[str, Tensor]:
        """All of it under one name each, for a checkpoint."""
        return {"value": self.value, "updates": self.updates, **{f"of {n}": t for n, t in self.parameters.items()}}


@dataclass(frozen=True)
class FitResult:
    """What `fit` leaves.

    Args:
        parameters: The trained parameters, detached; the ones passed in are unchanged.
        log: One row per model and logged iteration: iteration (from 1), run, loss, grad_norm, finite, and the loss
            function's further values. Values are those before the update.
        snapshots: Number of updates → parameters on the CPU.
        best: Where the value `FitConfig.keep` was lowest; None without it.
    """

    parameters: dict[str, Tensor]
    log: pd.DataFrame
    snapshots: dict[int, dict[str, Tensor]]
    best: Best | None = None


def _identity(
    parameters: Mapping[str, Tensor], config: FitConfig, label: str, streams: Sequence[torch.Generator]
) -> dict[str, Any]:
    """What determines the numbers of a training, except for the loss function, for which the label stands."""
    return {
        "label": label,
        "config": dataclasses.asdict(config),
        "initial parameters": digest(parameters),
        "streams": digest({str(i): generator.get_state() for i, generator in enumerate(streams)}),
    }


@torch.no_grad()
def _restore(
    saved: Saved | None,
    trained: Mapping[str, Tensor],
    optimiser: EnsembleAdam,
    streams: Sequence[torch.Generator],
    rows: list[dict[str, Any]],
    snapshots: dict[int, dict[str, Tensor]],
    best: Best | None,
) -> int:
    """Put everything back as it was saved; the number of updates done then."""
    if saved is None:
        return 0
    parts: dict[str, dict[str, Tensor]] = {}
    for name, value in saved.tensors.items():
        part, _, rest = name.partition("/")
        parts.setdefault(part, {})[rest] = value
    for name, value in trained.items():
        value.copy_(parts["parameters"][name])
    optimiser.restore(parts["optimiser"])
    for i, generator in enumerate(streams):
        generator.set_state(parts["stream"][str(i)])
    for name, value in parts.get("snapshot", {}).items():
        iteration, _, own = name.partition("/")
        snapshots.setdefault(int(iteration), {})[own] = value
    for name, value in best.tensors().items() if best is not None else ():
        value.copy_(parts["best"][name])
    rows += saved.state["rows"]
    return int(saved.state["iteration"])


def fit(
    parameters: Mapping[str, Float[Tensor, "K ..."]],
    loss_fn: LossFunction,
    config: FitConfig,
    progress: bool = True,
    label: str = "training",
    checkpoint: Path | str | None = None,
    streams: Sequence[torch.Generator] = (),
    enough: Callable[[Sequence[Mapping[str, Any]]], bool] | None = None,
) -> FitResult:
    """Minimise K losses, each over its own slice of the stacked parameters, with one Adam per model.

    The models must not influence each other: entry k of the loss may depend on slice k of the parameters only.

    With a checkpoint, the same call after a kill goes on where the file was last written, and returns what an
    uninterrupted call returns, provided that the loss draws its random numbers from `streams` and remembers nothing else.

    Args:
        parameters: Name → initial values of shape (K, …).
        loss_fn: See `LossFunction`.
        config: How to train.
        progress: Whether to report progress.
        label: What the progress report calls this training.
        checkpoint: File that keeps the state of the training; None keeps nothing.
        streams: The generators that the loss function draws from.
        enough: Looks at all rows of the log after each logged update; the training ends where it says True.

    Returns:
        Trained parameters, log and snapshots.

    Raises:
        ValueError: If the parameters do not share K, or the losses are not of shape (K,).
        CheckpointError: If the checkpoint is damaged, belongs to another training, or cannot be written.
    """
    if not parameters:
        raise ValueError("parameters is empty; allowed: at least one tensor of shape (K, …). Name what to train.")
    trained = {name: value.detach().clone().requires_grad_(True) for name, value in parameters.items()}
    exempt = [i for i, name in enumerate(trained) if config.no_decay and name.endswith(config.no_decay)]
    optimiser = EnsembleAdam(
        list(trained.values()), config.lr, config.weight_decay, config.clip, config.decoupled, exempt
    )
    K = optimiser.K
    rows: list[dict[str, Any]] = []

    def snapshot() -> dict[str, Tensor]:
        return {name: value.detach().cpu().clone() for name, value in trained.items()}

    snapshots = {0: snapshot()} if 0 in config.snapshots else {}
    best = Best.none_yet(trained, K) if config.keep else None
    keeper, done = None, 0
    if checkpoint is not None:
        keeper = Checkpoint(checkpoint, _identity(parameters, config, label, streams))
        done = _restore(keeper.load(), trained, optimiser, streams, rows, snapshots, best)
    with Progress(config.iterations, label, enabled=progress) as bar:
        for iteration in range(done + 1, config.iterations + 1):
            result = loss_fn(trained, iteration - 1)
            losses, further = result if isinstance(result, tuple) else (result, {})
            if tuple(losses.shape) != (K,):
                raise ValueError(
                    f"the loss function returned shape {tuple(losses.shape)}; allowed: one loss per model, ({K},). "
                    "Average over everything but the first axis."
                )
            gradients = torch.autograd.grad(losses.sum(), list(trained.values()), allow_unused=True)
            losses = losses.detach()
            if best is not None and config.keep in further:
                best.update(further[config.keep], iteration - 1, trained)
            filled = [
                torch.zeros_like(p) if g is None else g.clone()
                for p, g in zip(trained.values(), gradients, strict=True)
            ]
            norms = optimiser.step(filled, losses, config.rate(iteration))
            if config.lr_drop is not None and iteration % config.lr_drop[0] == 0:
                optimiser.scale_lr(1.0 / config.lr_drop[1])
            logged = iteration == 1 or iteration == config.iterations or iteration % config.log_every == 0
            if logged:
                for k in range(K):
                    row = {
                        "iteration": iteration,
                        "run": k,
                        "loss": float(losses[k]),
                        "grad_norm": float(norms[k]),
                        "finite": bool(optimiser.alive[k]),
                    }
                    row.update({name: float(value.detach()[k]) for name, value in further.items()})
                    rows.append(row)
            mean = float(losses.mean())
            accuracy = float(further["accuracy"].detach().mean()) if "accuracy" in further else None
            bar.update(iteration, loss=mean, accuracy=accuracy)
            if iteration in config.snapshots:
                snapshots[iteration] = snapshot()
            last = iteration == config.iterations or (enough is not None and logged and enough(rows))
            if keeper is not None and (last or keeper.due()):
                keeper.save(
                    {
                        **{f"parameters/{name}": value for name, value in trained.items()},
                        **{f"optimiser/{name}": value for name, value in optimiser.state().items()},
                        **{f"stream/{i}": generator.get_state() for i, generator in enumerate(streams)},
                        **{f"snapshot/{i}/{name}": v for i, kept in snapshots.items() for name, v in kept.items()},
                        **{f"best/{name}": value for name, value in (best.tensors() if best else {}).items()},
                    },
                    {"iteration": config.iterations if last else iteration, "rows": rows},
                )
            if last:
                break
    final = {name: value.detach() for name, value in trained.items()}
    return FitResult(final, pd.DataFrame(rows), snapshots, best)
