"""The training loop: K independent models with stacked parameters, on any loss, each with an Adam of its own.

The gradient is autograd's, unless the loss function brings its own: a kernel that sweeps forward and back by itself, as
`wavemem.kernels.elman` does, has nothing to gain from a recorded graph.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from tqdm import tqdm

from wavemem.checks import one_of, positive_int, require, shape_is
from wavemem.training.checkpoint import Checkpoint, Saved, digest

LossFunction = Callable[
    [dict[str, Tensor], int],
    Tensor | tuple[Tensor, dict[str, Tensor]] | tuple[Tensor, dict[str, Tensor], Sequence[Tensor]],
]
"""Takes the parameters, each (K, …), and the number of updates done so far; returns losses (K,), or those and a
dictionary of further values (K,) for the log, or those and a gradient for every parameter, which autograd then need not find."""


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
        milestones: Numbers of updates after which all learning rates are multiplied by `gamma`.
        gamma: See `milestones`; both as in `torch.optim.lr_scheduler.MultiStepLR`.
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
    milestones: tuple[int, ...] = ()
    gamma: float = 0.1
    decoupled: bool = False
    no_decay: tuple[str, ...] = ()
    schedule: Literal["constant", "linear"] = "constant"
    warmup: int = 0
    keep: str = ""

    def __post_init__(self) -> None:
        positive_int("iterations", self.iterations)
        positive_int("log_every", self.log_every)
        positive_int("warmup", self.warmup, minimum=0)
        one_of("schedule", self.schedule, ("constant", "linear"))
        require(self.gamma >= 0, f"gamma = {self.gamma}", "numbers >= 0", "Give the factor of a drop.")
        require(
            all(0 <= n <= self.iterations for n in self.snapshots),
            f"snapshots = {self.snapshots}",
            f"numbers of updates from 0 to iterations = {self.iterations}",
            "Leave the others out or train longer.",
        )

    def rate(self, update: int) -> float:
        """By what the learning rates are multiplied at an update, counted from 1; without `milestones`."""
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
        parameters: The trained parameters, detached.
        log: One row per model and logged iteration: iteration (number of the update, from 1), run, loss, grad_norm (before
            clipping), finite (False once the model's loss or gradient was not finite; its parameters are frozen from then
            on), and the loss function's further values. Values are those before the update.
        snapshots: Number of updates → parameters on the CPU.
        best: Where the value `FitConfig.keep` was lowest; None without it.
    """

    parameters: dict[str, Tensor]
    log: pd.DataFrame
    snapshots: dict[int, dict[str, Tensor]]
    best: Best | None = None


def per_run(name: str, value: float | Sequence[float], K: int) -> Float[Tensor, " K"]:
    """Return one float64 value per run, from one number or K of them.

    Raises:
        ValueError: If there are neither one nor K values, or one of them is negative or not finite.
    """
    values = torch.as_tensor(value, dtype=torch.float64).reshape(-1)
    require(len(values) in (1, K), f"{name} has {len(values)} values", f"one, or one per run ({K})", "Match the runs.")
    fine = bool((torch.isfinite(values) & (values >= 0)).all())
    require(fine, f"{name} = {values.tolist()}", "finite numbers >= 0", "Correct the value.")
    return values.expand(K).clone()


class EnsembleAdam:
    """Adam (Kingma & Ba, 2015) run by run: equal to `torch.optim.Adam` and `clip_grad_norm_` on each run alone.

    The gradient norm of a run is taken over all its parameters and clipped as in `torch.nn.utils.clip_grad_norm_`;
    weight decay is then added to the gradient (the coupled L2 of `torch.optim.Adam`), or taken off the parameter itself
    (`decoupled`: Loshchilov & Hutter, 2019, equal to `torch.optim.AdamW`).

    A run whose loss or gradient norm is not finite is frozen: from then on its parameters keep their last values. Other
    runs are not touched by it.

    Args:
        parameters: Tensors of shape (K, …); updated in place.
        lr: Learning rate, one or one per run.
        weight_decay: Coupled L2 penalty or decoupled decay, one or one per run.
        clip: Largest gradient norm, one or one per run; None leaves gradients as they are.
        decoupled: Whether the decay is decoupled from the gradient.
        exempt: Positions of parameters that do not decay.

    Raises:
        ValueError: If the parameters do not share K or a value is not allowed.
    """

    BETAS: Final = (0.9, 0.999)
    """Decay of the two moments."""
    EPS: Final = 1e-8
    """Added to the root of the second moment."""

    def __init__(
        self,
        parameters: Sequence[Tensor],
        lr: float | Sequence[float] = 1e-3,
        weight_decay: float | Sequence[float] = 0.0,
        clip: float | Sequence[float] | None = 1.0,
        decoupled: bool = False,
        exempt: Collection[int] = (),
    ) -> None:
        self.parameters = [parameter.detach() for parameter in parameters]
        first = {tuple(parameter.shape[:1]) for parameter in self.parameters}
        one = len(first) == 1 and () not in first
        require(one, f"parameters have first axes {sorted(first)}", "(K, …) with one K", "Stack the runs first.")
        self.K = self.parameters[0].shape[0]
        device = self.parameters[0].device
        self.lr = per_run("lr", lr, self.K).to(device)
        self.weight_decay = per_run("weight_decay", weight_decay, self.K).to(device)
        self.clip = None if clip is None else per_run("clip", clip, self.K).to(device)
        self.decoupled = decoupled
        self.exempt = frozenset(exempt)
        self.steps = torch.tensor(0)
        self.alive: Bool[Tensor, " K"] = torch.ones(self.K, dtype=torch.bool, device=device)
        self._decay = bool((self.weight_decay > 0).any())
        # On a device, to look whether all runs are alive would wait for it.
        self._looks = device.type == "cpu"
        self._mean = [torch.zeros_like(parameter) for parameter in self.parameters]
        self._square = [torch.zeros_like(parameter) for parameter in self.parameters]

    def state(self) -> dict[str, Tensor]:
        """Everything that changes while training but the parameters, in place: moments, rates, and which runs are alive."""
        moments = {f"mean {i}": value for i, value in enumerate(self._mean)}
        moments |= {f"square {i}": value for i, value in enumerate(self._square)}
        return {**moments, "lr": self.lr, "alive": self.alive, "steps": self.steps}

    @torch.no_grad()
    def step(
        self, gradients: Sequence[Tensor], losses: Float[Tensor, " K"] | None = None, factor: float = 1.0
    ) -> Float[Tensor, " K"]:
        """Update all parameters once.

        Args:
            gradients: One per parameter, of the same shapes. Changed in place.
            losses: The runs' losses, used only to freeze runs whose loss is not finite.
            factor: By what all learning rates are multiplied in this update alone.

        Returns:
            Gradient norms before clipping, shape (K,).
        """
        self.steps += 1
        steps = int(self.steps)
        beta1, beta2 = self.BETAS
        norms = torch.stack([torch.linalg.vector_norm(g.reshape(self.K, -1), dim=1) for g in gradients])
        norms = torch.linalg.vector_norm(norms, dim=0).double()
        finite = torch.isfinite(norms)
        if losses is not None:
            finite &= torch.isfinite(losses)
        self.alive &= finite
        scale = torch.ones_like(norms) if self.clip is None else (self.clip / (norms + 1e-6)).clamp(max=1.0)
        lr = self.lr * factor
        rate = lr / (1.0 - beta1**steps)
        correction = (1.0 - beta2**steps) ** 0.5
        if not self._looks or not bool(self.alive.all()):
            for gradient in gradients:
                gradient.masked_fill_(~self.alive.view((self.K,) + (1,) * (gradient.ndim - 1)), 0.0)
            scale = torch.where(self.alive, scale, 0.0)
            rate = torch.where(self.alive, rate, 0.0)
        # A run that is frozen keeps its parameters.
        kept = 1.0 - torch.where(self.alive, lr, 0.0) * self.weight_decay if self.decoupled else None
        moments = zip(self.parameters, gradients, self._mean, self._square, strict=True)
        for i, (p, g, mean, square) in enumerate(moments):
            shape = (self.K,) + (1,) * (p.ndim - 1)
            g.mul_(scale.to(g.dtype).view(shape))
            if self._decay and i not in self.exempt:
                if kept is not None:
                    p.mul_(kept.to(p.dtype).view(shape))
                else:
                    g.addcmul_(p, self.weight_decay.to(g.dtype).view(shape))
            mean.lerp_(g, 1.0 - beta1)
            square.mul_(beta2).addcmul_(g, g, value=1.0 - beta2)
            denominator = square.sqrt().div_(correction).add_(self.EPS)
            p.sub_(mean.div(denominator).mul_(rate.to(g.dtype).view(shape)))
        return norms


PROGRESS_FILE_VARIABLE = "WAVEMEM_PROGRESS_FILE"
"""Name of the environment variable that holds the path of the progress file."""

_FILE_INTERVAL = 1.0
_LINE_INTERVAL = 10.0


class Progress:
    """Reports how far a loop is, with its loss and accuracy.

    Three ways, chosen when the object is made: the file named by the environment variable WAVEMEM_PROGRESS_FILE, if
    set (JSON lines, at most about one a second, nothing printed); a tqdm bar, if standard error is a terminal; else a
    plain line about every ten seconds, which a log can hold.

    Args:
        total: Number of steps of the loop.
        label: What is being done, a few words.
        enabled: With False nothing is reported anywhere.
    """

    def __init__(self, total: int, label: str, enabled: bool = True) -> None:
        self.total, self.label, self.enabled = total, label, enabled
        self._path = os.environ.get(PROGRESS_FILE_VARIABLE) if enabled else None
        terminal = enabled and self._path is None and sys.stderr.isatty()
        self._bar = tqdm(total=total, desc=label, dynamic_ncols=True) if terminal else None
        self._done = 0
        self._values: dict[str, float] = {}
        self._start = time.monotonic()
        # A file has its first line at once, a log after the first interval.
        self._last = self._start if self._path is None else float("-inf")

    def update(self, done: int, loss: float | None = None, accuracy: float | None = None) -> None:
        """Say that `done` steps of the total are done, and what loss and accuracy were last measured."""
        if not self.enabled:
            return
        if loss is not None:
            self._values["loss"] = float(loss)
        if accuracy is not None:
            self._values["accuracy"] = float(accuracy)
        if self._bar is not None:
            self._bar.update(done - self._done)
            if self._values:
                self._bar.set_postfix({name: f"{value:.4g}" for name, value in self._values.items()}, refresh=False)
        self._done = done
        if self._bar is None:
            interval = _LINE_INTERVAL if self._path is None else _FILE_INTERVAL
            if time.monotonic() - self._last >= interval:
                self._write()

    def close(self) -> None:
        """Report the last state and finish."""
        if not self.enabled:
            return
        if self._bar is not None:
            self._bar.close()
        elif self._path is not None or self._last > self._start:
            # A loop too short to have printed a line prints none at its end either.
            self._write()
        self.enabled = False

    def _write(self) -> None:
        self._last = time.monotonic()
        if self._path is not None:
            record = {
                "label": self.label,
                "done": self._done,
                "total": self.total,
                "loss": self._values.get("loss"),
                "accuracy": self._values.get("accuracy"),
                "time": time.time(),
            }
            # One write call in append mode: lines of several processes do not mix.
            with open(self._path, "a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")
            return
        values = "".join(f", {name} {value:.4g}" for name, value in self._values.items())
        elapsed = self._last - self._start
        print(f"{self.label}: {self._done}/{self.total}{values} ({elapsed:.0f} s)", file=sys.stderr, flush=True)

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()


def fit(
    parameters: Mapping[str, Float[Tensor, "K ..."]],
    loss_fn: LossFunction,
    config: FitConfig,
    progress: bool = True,
    label: str = "training",
    checkpoint: Path | str | None = None,
    streams: Sequence[torch.Generator] = (),
    on_log: Callable[[Sequence[Mapping[str, Any]]], bool | None] | None = None,
    state: Mapping[str, Tensor] | None = None,
    identity: Mapping[str, Any] | None = None,
    checkpoint_every: float = 30.0,
) -> FitResult:
    """Minimise K losses, each over its own slice of the stacked parameters, with one Adam per model.

    The models must not influence each other: entry k of the loss may depend on slice k of the parameters only.

    With a checkpoint, the same call after a kill goes on where the file was last written, and returns what an
    uninterrupted call returns, bit for bit, provided that the loss draws its random numbers from `streams` and remembers
    nothing but `state`; a finished training is read from it.

    Args:
        parameters: Name → initial values of shape (K, …); they are left unchanged.
        loss_fn: See `LossFunction`.
        config: How to train.
        progress: Whether to report progress.
        label: What the progress report calls this training.
        checkpoint: File that keeps the state of the training; None keeps nothing.
        streams: The generators that the loss function draws from.
        on_log: Called with all rows of the log after each logged update; the training ends where it returns True.
        state: Tensors that the loss function changes in place, such as a curriculum's.
        identity: What else determines the numbers; a checkpoint with another identity is refused.
        checkpoint_every: Seconds between two saves, at least.

    Raises:
        ValueError: If the parameters do not share K, or the losses are not of shape (K,).
        CheckpointError: If the checkpoint is damaged, belongs to another training, or cannot be written.
    """
    require(bool(parameters), "no parameters", "at least one tensor of shape (K, …)", "Name what to train.")
    trained = {name: value.detach().clone().requires_grad_(True) for name, value in parameters.items()}
    exempt = [i for i, name in enumerate(trained) if config.no_decay and name.endswith(config.no_decay)]
    optimiser = EnsembleAdam(
        list(trained.values()), config.lr, config.weight_decay, config.clip, config.decoupled, exempt
    )
    best = Best.none_yet(trained, optimiser.K) if config.keep else None
    rows: list[dict[str, Any]] = []
    snapshots = {0: _copied(trained)} if 0 in config.snapshots else {}
    keeper, done = None, 0
    if checkpoint is not None:
        changing = {
            "parameters": trained,
            "optimiser": optimiser.state(),
            "state": state or {},
            "best": best.tensors() if best else {},
        }
        flat = {f"{part}/{name}": value for part, own in changing.items() for name, value in own.items()}
        about = {"label": label, "config": dataclasses.asdict(config), **(identity or {})}
        keeper = Checkpoint(checkpoint, {**about, **_start(parameters, streams)}, checkpoint_every)
        done = _restore(keeper.load(), flat, streams, rows, snapshots)
    with Progress(config.iterations, label, enabled=progress) as bar:
        for iteration in range(done + 1, config.iterations + 1):
            losses, further, gradients = _measure(loss_fn, trained, iteration - 1, optimiser.K)
            if best is not None and config.keep in further:
                best.update(further[config.keep], iteration - 1, trained)
            norms = optimiser.step(gradients, losses, config.rate(iteration))
            if iteration in config.milestones:
                optimiser.lr.mul_(config.gamma)
            if iteration in config.snapshots:
                snapshots[iteration] = _copied(trained)
            last = iteration == config.iterations
            if iteration == 1 or last or iteration % config.log_every == 0:
                rows += _rows(iteration, {"loss": losses, "grad_norm": norms, "finite": optimiser.alive, **further})
                last = (on_log is not None and bool(on_log(rows))) or last
            accuracy = float(further["accuracy"].detach().mean()) if "accuracy" in further else None
            bar.update(iteration, float(losses.mean()), accuracy)
            if keeper is not None and (last or keeper.due()):
                # A training that ended early is as complete as any other.
                reached = config.iterations if last else iteration
                columns = list(pd.DataFrame(rows))
                keeper.save({**flat, **_history(streams, rows, snapshots)}, {"iteration": reached, "columns": columns})
            if last:
                break
    final = {name: value.detach() for name, value in trained.items()}
    return FitResult(final, pd.DataFrame(rows), snapshots, best)


def _measure(
    loss_fn: LossFunction, parameters: dict[str, Tensor], done: int, K: int
) -> tuple[Tensor, dict[str, Tensor], list[Tensor]]:
    """Return losses, further values and gradients, which are the caller's to change."""
    result = loss_fn(parameters, done)
    losses, further = (result[0], result[1]) if isinstance(result, tuple) else (result, {})
    shape_is("what the loss function returned", losses, (K,))
    if isinstance(result, tuple) and len(result) == 3:
        return losses, further, list(result[2])
    found = torch.autograd.grad(losses.sum(), list(parameters.values()), allow_unused=True)
    pairs = zip(parameters.values(), found, strict=True)
    return losses.detach(), further, [torch.zeros_like(p) if g is None else g.clone() for p, g in pairs]


def _copied(parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().cpu().clone() for name, value in parameters.items()}


def _rows(iteration: int, measured: Mapping[str, Tensor]) -> list[dict[str, Any]]:
    """Return the rows of the log, one per run, from values (K,)."""
    columns = {name: value.detach().tolist() for name, value in measured.items()}
    by_run = zip(*columns.values(), strict=True)
    return [{"iteration": iteration, "run": k, **dict(zip(columns, own, strict=True))} for k, own in enumerate(by_run)]


def _start(parameters: Mapping[str, Tensor], streams: Sequence[torch.Generator]) -> dict[str, str]:
    """Return what a training starts from, as hashes; for the loss function its label stands."""
    begin = {str(i): generator.get_state() for i, generator in enumerate(streams)}
    return {"initial parameters": digest(parameters), "streams": digest(begin)}


def _history(
    streams: Sequence[torch.Generator], rows: Sequence[Mapping[str, Any]], snapshots: Mapping[int, Mapping[str, Tensor]]
) -> dict[str, Tensor]:
    """Return what a checkpoint holds besides the tensors that change in place."""
    log = pd.DataFrame(rows)
    return {
        **{f"stream/{i}": generator.get_state() for i, generator in enumerate(streams)},
        **{f"log/{name}": torch.from_numpy(log[name].to_numpy().copy()) for name in log},
        **{f"snapshot/{i}/{name}": value for i, kept in snapshots.items() for name, value in kept.items()},
    }


@torch.no_grad()
def _restore(
    saved: Saved | None,
    changing: Mapping[str, Tensor],
    streams: Sequence[torch.Generator],
    rows: list[dict[str, Any]],
    snapshots: dict[int, dict[str, Tensor]],
) -> int:
    """Put everything back as it was saved; return the number of updates done then."""
    if saved is None:
        return 0
    for name, value in changing.items():
        value.copy_(saved.tensors[name])
    for i, generator in enumerate(streams):
        generator.set_state(saved.tensors[f"stream/{i}"])
    log = {}
    for path, value in saved.tensors.items():
        part, _, name = path.partition("/")
        if part == "log":
            log[name] = value.numpy()
        elif part == "snapshot":
            number, _, own = name.partition("/")
            snapshots.setdefault(int(number), {})[own] = value
    rows += pd.DataFrame(log)[saved.state["columns"]].to_dict("records")
    return int(saved.state["iteration"])
