"""Self-attention boundary against linear boundary and Elman network on look-up, and what one head can be taught (Eq. 8).

TWM section 3.2 proposes the self-attention boundary without an experiment; this one is the book's own. Three parts:

- ``look-up``: every model learns to predict the next vector of the look-up system while it is shown the true past, as
  language models are trained. It is then tested on the true past ("next"), and running freely, its own outputs being
  written into its memory ("free"), also with every output replaced by its signs ("free, signs").
- ``phases``: the same system in the paper's protocol: a history of s vectors, then an output phase without inputs.
- ``controls``: one step of four boundaries on four systems: which f can which boundary become?

All models see the same episodes: run k's data depend on its seed alone. Learning rates are chosen per model and part by the
mean accuracy over seeds on validation histories that are used for nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ClassVar

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from wavemem.checks import one_of, positive_int
from wavemem.experiments._boundaries import MODELS, free_run, initial, next_vectors, parameter_count
from wavemem.records.experiment import PROFILES, Result
from wavemem.records.fields import Batch, Count, Rate, Runs, Size, Steps, Within, check_fields
from wavemem.streams import run_seeds, stream
from wavemem.tasks.episodes import random_histories
from wavemem.tasks.hds import HDS
from wavemem.tasks.lookup import LARGEST_D, LookupHDS
from wavemem.tasks.selection import paper_task
from wavemem.training.generic import FitConfig, fit
from wavemem.training.pieces import work_through

__all__ = ["CONTROLS", "Config", "at_chosen_lr", "control_tasks", "run", "summarise"]

CONTROLS = ("T1", "T2", "product", "look-up")
"""Systems of the third part."""


@dataclass(frozen=True)
class Config:
    """Sizes and training of the three parts.

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

    def __post_init__(self) -> None:
        check_fields(self)

    @classmethod
    def profile(cls, name: str) -> Config:
        """The two sizes of the book.

        Args:
            name: "quick": the defaults; "paper": N = 128, five seeds, wider grids, 20,000 iterations, the number with
                which the paper's Table 1 was made.

        Returns:
            The configuration.

        Raises:
            ValueError: if there is no such profile.
        """
        one_of("profile", name, PROFILES)
        if name == "quick":
            return cls()
        return cls(
            hidden=128,
            seeds=5,
            iterations=20_000,
            lr_sbc=(3e-3, 1e-2, 3e-2, 1e-1, 3e-1),
            lr_lbc=(1e-4, 3e-4, 1e-3, 3e-3),
            lr_elman=(3e-4, 1e-3, 3e-3, 1e-2, 3e-2),
            short_lr_sbc=(1e-3, 3e-3, 1e-2, 3e-2),
            short_lr_lbc=(1e-4, 3e-4, 1e-3, 3e-3),
            short_lr_elman=(3e-4, 1e-3, 3e-3, 1e-2),
            lr_layer=(1e-3, 3e-3, 1e-2),
            phase_iterations=20_000,
            control_iterations=5_000,
            test_batch=2_000,
            log_every=100,
        )

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


def control_tasks(s: int, d: int) -> dict[str, HDS]:
    """The systems of the third part: repeat copy, T2, the product of the two newest vectors, and look-up.

    Raises:
        ValueError: if a size is not a positive whole number, or s is 1 (a product needs two vectors).
    """
    s, d = positive_int("s", s, minimum=2), positive_int("d", d)
    product = HDS(s, d, lambda h: h[..., -1, :] * h[..., -2, :], name="product")
    tasks = (paper_task("T1", s, d), paper_task("T2", s, d), product, LookupHDS(s, d))
    return dict(zip(CONTROLS, tasks, strict=True))


def _histories(generators: Sequence[torch.Generator], batch: int, s: int, d: int, device: torch.device) -> Tensor:
    return torch.stack([random_histories(batch, s, d, g, device=device) for g in generators])


def _share(y: Tensor, target: Tensor, axes: tuple[int, ...]) -> Tensor:
    return ((y > 0) == (target > 0)).double().mean(axes)


def _rows(
    log: pd.DataFrame, columns: dict[str, Any], seeds: Sequence[int], rates: Sequence[float]
) -> list[dict[str, Any]]:
    rows = []
    for entry in log.to_dict("records"):
        k = int(entry["run"])
        base = {**columns, "seed": seeds[k], "lr": rates[k], "step": int(entry["iteration"])}
        rows += [{**base, "quantity": f"training {name}", "value": float(entry[name])} for name in ("accuracy", "loss")]
    return rows


def _train_and_test(
    config: Config,
    part: str,
    task_name: str,
    model: str,
    seeds: Sequence[int],
    device: torch.device,
    checkpoint: Path | None,
) -> tuple[list[dict[str, Any]], dict[str, Tensor]]:
    """One model on one system: all seeds and learning rates as one ensemble. Rows, and the trained parameters."""
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
        label=f"{part}: {model}, {task_name}",
        checkpoint=checkpoint,
        streams=data,
    )
    columns = {"part": part, "task": task_name, "model": model}
    rows = _rows(result.log, columns, runs, rates)

    def add(quantity: str, values: Tensor, first: int = 1) -> None:
        for k, series in enumerate(values.reshape(len(runs), -1).tolist()):
            rows.extend(
                {**columns, "seed": runs[k], "lr": rates[k], "step": first + t, "quantity": quantity, "value": value}
                for t, value in enumerate(series)
            )

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
    add("parameters", torch.full((len(runs), 1), float(parameter_count(p))), first=0)
    return rows, {f"{part}/{task_name}/{model}/{name}": value for name, value in p.items()}


def run(config: Config, seed: int, device: torch.device | str, checkpoints: Path | None = None) -> Result:
    """Train and test everything.

    Args:
        config: sizes.
        seed: see `wavemem.streams.run_seeds`.
        device: where to train.
        checkpoints: folder in which the trainings keep their state, one file each; None keeps nothing.

    Returns:
        Rows (part, task, model, seed, lr, step, quantity, value): learning curves ("training accuracy", "training loss" by
        iteration), "validation", "next", "free", "free, signs" (share of right signs by step of the horizon, from 1),
        "distance from ±1" (mean of ||output| - 1| when running freely) and "parameters"; and the trained weights, stacked over
        learning rates (outer) and seeds (inner).
    """
    device = torch.device(device)
    seeds = run_seeds(seed, config.seeds)
    jobs = [(part, "look-up", model) for part in ("look-up", "phases") for model in ("SBC", "LBC", "Elman")]
    models = ("SBC", "SBC + position", "LBC", "hidden layer")
    jobs += [("controls", name, model) for name in CONTROLS for model in models]
    pieces: dict[str, Callable[[Path | None], tuple[list[dict[str, Any]], dict[str, Tensor]]]] = {
        f"{part}-{name}-{model}": partial(_train_and_test, config, part, name, model, seeds, device)
        for part, name, model in jobs
    }
    done = work_through(pieces, checkpoints)
    rows = [row for new, _ in done.values() for row in new]
    return Result(pd.DataFrame(rows), {name: value for _, trained in done.values() for name, value in trained.items()})


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
