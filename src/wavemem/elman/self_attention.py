"""Self-attention boundary against linear boundary and Elman network on look-up, and what one head can be taught (Eq. 8).

TWM section 3.2 proposes the self-attention boundary without an experiment; this one is the book's own. Three parts:

- ``look-up``: every model learns to predict the next vector of the look-up system while it is shown the true past, as
  language models are trained. It is then tested on the true past ("next"), and running freely, its own outputs being
  written into its memory ("free"), also with every output replaced by its signs ("free, signs").
- ``phases``: the same system in the paper's protocol: a history of s vectors, then an output phase without inputs.
- ``controls``: one step of four boundaries on four systems: which f can which boundary become?

All models see the same episodes: run k's data depend on its seed alone. Learning rates are chosen per model and part by the
mean accuracy over seeds on validation histories that are used for nothing else.

The models are functions of stacked parameters. Three are boundaries of a substrate, f: (K, B, s, d) → (K, B, d): one attention
head by content ("SBC") or with a learned bias by column ("SBC + position"), a matrix ("LBC"), and a layer of tanh neurons with
biases ("hidden layer"). The fourth, "Elman", has no substrate and must build its own (TWM Eq. 9). All but the hidden layer are
odd functions of the history, f(-h) = -f(h): they have no biases.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, ClassVar

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from wavemem.checks import one_of
from wavemem.elman.network import ElmanEnsemble
from wavemem.kernels.elman import elman_scan
from wavemem.records.experiment import Configuration, Pieces, Result, Where, resumable, under
from wavemem.records.fields import Batch, Count, Rate, Runs, Size, Steps, Within
from wavemem.streams import run_seeds, stream
from wavemem.theory.attention import LARGEST_D, LookupHDS, SelfAttentionBoundary, apply
from wavemem.theory.boundary import step
from wavemem.theory.hds import HDS, random_histories
from wavemem.theory.selection import paper_task
from wavemem.training.ensemble import draw_runs
from wavemem.training.fit import FitConfig, fit

MODELS = ("SBC", "SBC + position", "LBC", "hidden layer", "Elman")

CONTROLS = ("T1", "T2", "product", "look-up")
"""Systems of the third part."""


@dataclass(frozen=True)
class Config(Configuration):
    """Sizes and training of the three parts; "paper" has 20,000 iterations, the number with which its Table 1 was made.

    Attributes:
        s, d: columns and waves of the look-up system.
        hidden: neurons of the Elman network, and of the control with a hidden layer.
        seeds: independent runs per model and learning rate.
        batch: histories per run and iteration.
        horizon: vectors after the history that are predicted in training, with the true past before them.
        iterations: updates of part ``look-up``.
        lr_sbc, lr_lbc, lr_elman: learning rates tried in part ``look-up``; the best must not be at an edge.
        short_lr_sbc, short_lr_lbc, short_lr_elman, lr_layer: those of the two other parts.
        phase_horizon, phase_iterations: output phase and updates of part ``phases``.
        control_s, control_d, control_iterations: sizes and updates of part ``controls``.
        test_batch, test_horizon: histories per run of validation and test, and vectors after each.
        log_every: updates between two rows of a learning curve.
    """

    PARTS: ClassVar = ("seeds", "log_every")
    UNSTATED: ClassVar = "an experiment of ours: the paper trains no such network"
    PAPER: ClassVar = {
        "hidden": 128,
        "seeds": 5,
        "iterations": 20_000,
        "lr_sbc": (3e-3, 1e-2, 3e-2, 1e-1, 3e-1),
        "lr_lbc": (1e-4, 3e-4, 1e-3, 3e-3),
        "lr_elman": (3e-4, 1e-3, 3e-3, 1e-2, 3e-2),
        "short_lr_sbc": (1e-3, 3e-3, 1e-2, 3e-2),
        "short_lr_lbc": (1e-4, 3e-4, 1e-3, 3e-3),
        "short_lr_elman": (3e-4, 1e-3, 3e-3, 1e-2),
        "lr_layer": (1e-3, 3e-3, 1e-2),
        "phase_iterations": 20_000,
        "control_iterations": 5_000,
        "test_batch": 2_000,
        "log_every": 100,
    }

    s: Size = 8
    d: Annotated[int, Within(1, LARGEST_D)] = 8
    hidden: Size = 64
    seeds: Runs = 3
    batch: Batch = 64
    horizon: Steps = 16
    iterations: Count = 1200
    lr_sbc: tuple[Rate, ...] = (3e-2, 1e-1, 3e-1)
    lr_lbc: tuple[Rate, ...] = (3e-4, 1e-3, 3e-3)
    lr_elman: tuple[Rate, ...] = (3e-3, 1e-2, 3e-2)
    short_lr_sbc: tuple[Rate, ...] = (3e-3, 1e-2, 3e-2)
    short_lr_lbc: tuple[Rate, ...] = (3e-4, 1e-3, 3e-3)
    short_lr_elman: tuple[Rate, ...] = (1e-3, 3e-3, 1e-2)
    lr_layer: tuple[Rate, ...] = (3e-3, 1e-2)
    phase_horizon: Steps = 12
    phase_iterations: Count = 800
    control_s: Annotated[int, Within(2, 10_000)] = 4
    control_d: Annotated[int, Within(1, LARGEST_D)] = 4
    control_iterations: Count = 800
    test_batch: Batch = 400
    test_horizon: Steps = 32
    log_every: Count = 20

    def rates(self, model: str, part: str = "look-up") -> tuple[float, ...]:
        """The learning rates tried for a model in a part."""
        one_of("model", model, MODELS)
        if model == "hidden layer":
            return self.lr_layer
        sbc, lbc, elman = (
            (self.lr_sbc, self.lr_lbc, self.lr_elman)
            if part == "look-up"
            else (self.short_lr_sbc, self.short_lr_lbc, self.short_lr_elman)
        )
        return sbc if model.startswith("SBC") else lbc if model == "LBC" else elman


Parameters = Mapping[str, Tensor]


def initial(
    model: str, seeds: Sequence[int], s: int, d: int, hidden: int, device: torch.device | str = "cpu"
) -> dict[str, Tensor]:
    """Initial weights, one model per seed: every matrix from U(±1/√(its inputs)), PyTorch's default for a linear layer.

    Args:
        model: one of ``MODELS``.
        seeds: one seed per model; its weights depend on that alone.
        s: columns.
        d: waves.
        hidden: neurons of "Elman" and "hidden layer".
        device: where the weights shall live.

    Returns:
        Name → stacked weights (K, …).

    Raises:
        ValueError: if there is no such model.
    """
    one_of("model", model, MODELS)
    if model == "Elman":
        return ElmanEnsemble.initialise(seeds, hidden, d, device=device).state_dict()
    layer: dict[str, tuple[tuple[int, ...], int]] = {"F": ((d, s * d), s * d)}
    if model == "hidden layer":
        layer = {"W_1": ((hidden, s * d), s * d), "b_1": ((hidden,), s * d), "W_2": ((d, hidden), hidden)}
    elif model != "LBC":
        layer = dict.fromkeys(("W_K", "W_Q", "W_V"), ((d, d), d))

    def draw(generator: torch.Generator) -> dict[str, Tensor]:
        return {
            name: (2 * torch.rand(shape, generator=generator, dtype=torch.float64) - 1) / math.sqrt(inputs)
            for name, (shape, inputs) in layer.items()
        }

    weights = draw_runs(seeds, draw, torch.float32, device)
    if model == "SBC + position":
        weights["bias"] = torch.zeros(len(seeds), s, device=device)
    return weights


def boundary_of(model: str, parameters: Parameters) -> Callable[[Tensor], Tensor]:
    """The boundary f of a substrate model, from (K, …, s, d) to (K, …, d)."""
    if model == "LBC":
        return lambda h: apply(parameters["F"], h.flatten(-2))
    if model == "hidden layer":
        W_1, b_1, W_2 = (parameters[name] for name in ("W_1", "b_1", "W_2"))

        def layer(h: Tensor) -> Tensor:
            bias = b_1.reshape(b_1.shape[0], *(1,) * (h.ndim - 3), b_1.shape[1])
            return apply(W_2, torch.tanh(apply(W_1, h.flatten(-2)) + bias))

        return layer
    return SelfAttentionBoundary(parameters["W_K"], parameters["W_Q"], parameters["W_V"], bias=parameters.get("bias"))


def windows(u: Float[Tensor, "*batch s d"], future: Float[Tensor, "*batch T d"]) -> Float[Tensor, "*batch T s d"]:
    """The substrate's true states before each vector of ``future``: window t ends with the vector before future[t]."""
    s = u.shape[-2]
    return torch.cat([u, future[..., :-1, :]], dim=-2).unfold(-2, s, 1).mT


def next_vectors(
    model: str, parameters: Parameters, u: Float[Tensor, "K batch s d"], future: Float[Tensor, "K batch T d"]
) -> Float[Tensor, "K batch T d"]:
    """Predictions of ``future``, each from the true past before it.

    The substrate holds the last s vectors; the Elman network has read all of them, one after the other.
    """
    if model != "Elman":
        return boundary_of(model, parameters)(windows(u, future))
    shown = torch.cat([u, future[..., :-1, :]], dim=-2).permute(2, 0, 1, 3)
    states = elman_scan(parameters["W_hh"], parameters["W_uh"], shown)[u.shape[-2] - 1 :]
    return torch.einsum("tkbn,kdn->kbtd", states, parameters["W_r"])


def free_run(
    model: str,
    parameters: Parameters,
    u: Float[Tensor, "K batch s d"],
    horizon: int,
    signs: bool = False,
    silent: bool = False,
) -> Float[Tensor, "K batch horizon d"]:
    """What a model produces after the history u when nobody corrects it.

    A substrate writes its outputs into column s. The Elman network is given its own output as the next input, or,
    where ``silent``, zeros: the output phase of the paper, in which its first output follows one silent step.

    Args:
        model: one of ``MODELS``.
        parameters: its stacked weights.
        u: histories.
        horizon: steps.
        signs: replace every output by its signs before it is written or read in.
        silent: the Elman network receives zeros.
    """
    outputs = []
    if model != "Elman":
        h, f = u, boundary_of(model, parameters)
        for _ in range(horizon):
            h = step(h, f)
            outputs.append(h[..., -1, :])
            if signs:
                h = torch.cat([h[..., :-1, :], h[..., -1:, :].sign()], dim=-2)
        return torch.stack(outputs, dim=-2)
    W_hh, W_uh, W_r = (parameters[name] for name in ("W_hh", "W_uh", "W_r"))
    shown = u.permute(2, 0, 1, 3)
    if silent:
        states = elman_scan(W_hh, W_uh, shown, steps=u.shape[-2] + horizon)[u.shape[-2] :]
        return torch.einsum("tkbn,kdn->kbtd", states, W_r)
    state = elman_scan(W_hh, W_uh, shown)[-1]
    for t in range(horizon):
        y = apply(W_r, state)
        outputs.append(y)
        if t < horizon - 1:
            read = y.sign() if signs else y
            state = elman_scan(W_hh, W_uh, read.unsqueeze(0), h0=state)[-1]
    return torch.stack(outputs, dim=-2)


def control_tasks(s: int, d: int) -> dict[str, HDS]:
    """The systems of the third part: repeat copy, T2, the product of the two newest vectors (s >= 2), and look-up."""
    product = HDS(s, d, lambda h: h[..., -1, :] * h[..., -2, :], name="product")
    tasks = (paper_task("T1", s, d), paper_task("T2", s, d), product, LookupHDS(s, d))
    return dict(zip(CONTROLS, tasks, strict=True))


def _histories(generators: Sequence[torch.Generator], batch: int, s: int, d: int, device: torch.device) -> Tensor:
    return torch.stack([random_histories(batch, s, d, g, device=device) for g in generators])


def _share(y: Tensor, target: Tensor, axes: tuple[int, ...]) -> Tensor:
    return ((y > 0) == (target > 0)).double().mean(axes)


def _train_and_test(
    config: Config, part: str, task_name: str, model: str, seeds: Sequence[int], where: Where
) -> Result:
    """One model on one system: all seeds and learning rates as one ensemble."""
    device = where.device
    tasks = control_tasks(config.control_s, config.control_d)
    task = tasks[task_name] if part == "controls" else LookupHDS(config.s, config.d)
    s, d = task.s, task.d
    tried = config.rates(model, part)
    rates = [lr for lr in tried for _ in seeds]
    runs = [seed for _ in tried for seed in seeds]
    horizon, iterations = {
        "look-up": (config.horizon, config.iterations),
        "phases": (config.phase_horizon, config.phase_iterations),
        "controls": (1, config.control_iterations),
    }[part]
    data = [stream(seed, "data") for seed in runs]

    def output(p: dict[str, Tensor], u: Tensor, target: Tensor) -> Tensor:
        if part == "phases":
            return free_run(model, p, u, target.shape[-2], silent=True)
        return next_vectors(model, p, u, target)

    def loss(p: dict[str, Tensor], _: int) -> tuple[Float[Tensor, " K"], dict[str, Tensor]]:
        u = _histories(data, config.batch, s, d, device)
        target = task.targets(u, horizon)
        y = output(p, u, target)
        return (y - target).square().mean((1, 2, 3)), {"accuracy": _share(y, target, (1, 2, 3))}

    start = initial(model, runs, s, d, config.hidden, device)
    result = fit(
        start,
        loss,
        FitConfig(iterations, lr=tuple(rates), log_every=config.log_every),
        where.progress,
        f"{part}: {model}, {task_name}",
        where.checkpoint,
        data,
    )
    rows: list[dict[str, Any]] = []

    def note(k: int, step: int, quantity: str, value: float) -> None:
        about = {"part": part, "task": task_name, "model": model, "seed": runs[k], "lr": rates[k]}
        rows.append({**about, "step": step, "quantity": quantity, "value": value})

    def add(quantity: str, values: Tensor, first: int = 1) -> None:
        for k, series in enumerate(values.reshape(len(runs), -1).tolist()):
            for t, value in enumerate(series):
                note(k, first + t, quantity, value)

    for entry in result.log.to_dict("records"):
        for name in ("accuracy", "loss"):
            note(int(entry["run"]), int(entry["iteration"]), f"training {name}", float(entry[name]))
    p = result.parameters
    with torch.no_grad():
        for purpose in ("validation", "test"):
            u = _histories([stream(seed, purpose) for seed in runs], config.test_batch, s, d, device)
            target = task.targets(u, horizon if purpose == "validation" or part == "controls" else config.test_horizon)
            y = output(p, u, target)
            if purpose == "validation":
                add("validation", _share(y, target, (1, 2, 3)), first=0)
                continue
            add("free" if part == "phases" else "next", _share(y, target, (1, 3)))
            if part == "look-up":
                for quantity, signs in (("free", False), ("free, signs", True)):
                    y = free_run(model, p, u, target.shape[-2], signs=signs)
                    add(quantity, _share(y, target, (1, 3)))
                    if not signs:
                        add("distance from ±1", (y.abs() - 1).abs().double().mean((1, 3)))
    add("parameters", torch.full((len(runs), 1), float(sum(value[0].numel() for value in p.values()))), first=0)
    return Result(pd.DataFrame(rows), under(f"{part}/{task_name}/{model}", p))


@resumable
def run(config: Config, seed: int) -> Pieces:
    """Train and test everything.

    Rows (part, task, model, seed, lr, step, quantity, value): learning curves ("training accuracy", "training loss" by
    iteration), "validation", "next", "free", "free, signs" (share of right signs by step of the horizon, from 1),
    "distance from ±1" (mean of ||output| - 1| when running freely) and "parameters". The trained weights are stacked over
    learning rates (outer) and seeds (inner).
    """
    seeds = run_seeds(seed, config.seeds)
    jobs = [(part, "look-up", model) for part in ("look-up", "phases") for model in ("SBC", "LBC", "Elman")]
    models = ("SBC", "SBC + position", "LBC", "hidden layer")
    jobs += [("controls", name, model) for name in CONTROLS for model in models]
    return {
        f"{part}-{name}-{model}": partial(_train_and_test, config, part, name, model, seeds)
        for part, name, model in jobs
    }


def at_chosen_lr(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of each model at the learning rate with the best mean validation accuracy on its part and task."""
    keys = ["part", "task", "model"]
    validation = rows[rows["quantity"] == "validation"]
    means = validation.groupby([*keys, "lr"], sort=True)["value"].mean().reset_index()
    best = means.loc[means.groupby(keys)["value"].idxmax(), [*keys, "lr"]]
    return rows.merge(best, on=[*keys, "lr"], how="inner")


def summarise(rows: pd.DataFrame) -> pd.DataFrame:
    """Accuracy of every model on the test histories at its chosen learning rate, mean ± sd over seeds.

    Returns:
        One row per part, task, model and quantity ("next", "free", "free, signs"): lr, parameters, accuracy at the first step
        and over all steps (mean, sd over seeds), n.
    """
    chosen = at_chosen_lr(rows)
    tests = chosen[chosen["quantity"].isin(["next", "free", "free, signs"])]
    counted = chosen[chosen["quantity"] == "parameters"]
    sizes = {(row["part"], row["task"], row["model"]): int(row["value"]) for row in counted.to_dict("records")}
    table = []
    for (part, task, model, quantity), group in tests.groupby(["part", "task", "model", "quantity"], sort=False):
        per_seed = group.groupby("seed")["value"].mean()
        first = group[group["step"] == 1].groupby("seed")["value"].mean()
        table.append(
            {
                "part": part,
                "task": task,
                "model": model,
                "quantity": quantity,
                "lr": float(group["lr"].iloc[0]),
                "parameters": sizes[(str(part), str(task), str(model))],
                "first": first.mean(),
                "first sd": first.std(ddof=1) if len(first) > 1 else float("nan"),
                "mean": per_seed.mean(),
                "sd": per_seed.std(ddof=1) if len(per_seed) > 1 else float("nan"),
                "n": len(per_seed),
            }
        )
    return pd.DataFrame(table)
