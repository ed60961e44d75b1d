"""Table 1: Elman networks on four tasks, and how far their spectra are from Φ's (TWM section 4.1, Table 1; Figs. 6, 7).

Networks without biases (TWM Eq. 9) are trained from random weights on T1 to T4, for every hidden size, L2 penalty and
curriculum threshold, over several seeds. Afterwards the eigenvalues of W_hh, the network's Jacobian at the origin, are
compared with those of Φ. The trained weights are kept: chapters 8 to 11 take them apart.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Protocol

import pandas as pd
import torch
from torch import Tensor

from wavemem.checks import one_of, positive_int, require
from wavemem.models.elman import ElmanEnsemble, Initialisation
from wavemem.records.experiment import PROFILES, Result
from wavemem.records.fields import Batch, Clip, Count, Decay, OneOf, Rate, Rungs, Runs, Share, Size, check_fields
from wavemem.streams import run_seeds
from wavemem.substrate.spectrum import angle_error, eigenvalues, theoretical_eigenvalues
from wavemem.tasks.hds import LinearHDS
from wavemem.tasks.selection import PAPER_TABLES, paper_task
from wavemem.training.curriculum import Curriculum, LadderCurriculum, MultiplicativeCurriculum
from wavemem.training.ensemble import TrainingConfig, evaluate, train
from wavemem.training.pieces import work_through

__all__ = ["CELL", "FINAL", "Config", "Networks", "Source", "cells", "networks", "run", "summarise"]

CELL = ("task", "hidden_size", "weight_decay", "threshold")
"""Columns of the rows that name a cell of the table (the paper merges the two thresholds)."""
CURVES = ("horizon", "loss", "accuracy", "grad_norm")
FINAL = (
    "test_accuracy",
    "n_theory",
    "n_learned",
    "modulus_min",
    "modulus_max",
    "angle_error",
    "angle_error_optimal",
    "modulus_error",
)
"""What is measured on a trained network, see `run`."""


@dataclass(frozen=True)
class Config:
    """Sizes and training protocol.

    Attributes:
        s, d: columns and waves of the tasks.
        tasks: among "T1" to "T4".
        hidden_sizes: numbers of neurons N.
        weight_decays: L2 penalties, as Adam's coupled weight decay.
        thresholds: accuracies that a step up the ladder needs; the paper keeps the better of two.
        runs: seeds per cell; see `wavemem.streams.run_seeds`.
        iterations, batch, lr, clip, init: as in `TrainingConfig` and `ElmanEnsemble.initialise`.
        curriculum: "ladder" (what produced the paper's table) or "multiplicative" (what its Table 2 describes; it has
            no use for `thresholds`).
        horizons: rungs of the ladder; the other curriculum runs from the first to the last.
        lr_drop_at: update after which the learning rate is divided by ten; None for never.
        test_batches: batches of the test, whose horizon is twice the last rung.
        modulus: eigenvalues of larger modulus are counted and compared.
        log_every: updates between two rows of the learning curves.
        weights_of: seeds per cell whose weights are kept, the first ones.
    """

    PARTS: ClassVar = ("tasks", "hidden_sizes", "weight_decays", "thresholds", "runs", "log_every", "weights_of")

    s: Size = 4
    d: Size = 4
    tasks: tuple[Annotated[str, OneOf(PAPER_TABLES)], ...] = ("T1", "T2", "T3", "T4")
    hidden_sizes: tuple[Size, ...] = (64,)
    weight_decays: tuple[Decay, ...] = (0.0, 1e-3)
    thresholds: tuple[Share, ...] = (0.98,)
    runs: Runs = 4
    iterations: Count = 3000
    batch: Batch = 64
    lr: Rate = 1e-3
    clip: Clip = 1.0
    init: Initialisation = "uniform"
    curriculum: Literal["ladder", "multiplicative"] = "ladder"
    horizons: Rungs = (10, 20, 40, 60)
    lr_drop_at: Count | None = None
    test_batches: Batch = 10
    modulus: Share = 0.9
    log_every: Count = 20
    weights_of: Runs = 5

    def __post_init__(self) -> None:
        check_fields(self)

    @property
    def test_horizon(self) -> int:
        """Steps of the output phase in the test: twice the longest of the training."""
        return 2 * self.horizons[-1]

    @property
    def grid(self) -> tuple[tuple[float, float], ...]:
        """(weight decay, threshold) of the cells of one task and hidden size, in the order of their runs."""
        return tuple((decay, threshold) for decay in self.weight_decays for threshold in self.thresholds)

    @classmethod
    def profile(cls, name: str) -> Config:
        """The two sizes of the book.

        Args:
            name: "quick": s = d = 4, one hidden size, L2 in {0, 1e-3}, one threshold, 4 seeds, 32 networks in minutes on
                two cores; "paper": all 960 networks of the paper's table, s = d = 8.

        Returns:
            The configuration.

        Raises:
            ValueError: if there is no such profile.
        """
        one_of("profile", name, PROFILES)
        if name == "quick":
            return cls()
        return cls(
            s=8,
            d=8,
            hidden_sizes=(64, 128),
            weight_decays=(0.0, 1e-3, 1e-1),
            thresholds=(0.90, 0.98),
            runs=20,
            iterations=20_000,
            horizons=(10, 20, 40, 60, 100),
            log_every=500,
        )


def _curriculum(config: Config) -> Curriculum:
    if config.curriculum == "multiplicative":
        return MultiplicativeCurriculum(config.horizons[0], config.horizons[-1])
    per_run = tuple(threshold for _, threshold in config.grid for _ in range(config.runs))
    return LadderCurriculum(config.horizons, per_run)


def _train(
    config: Config,
    name: str,
    hidden_size: int,
    seed: int,
    device: torch.device | str,
    progress: bool,
    path: Path | None,
) -> Result:
    """Train and measure all networks of one task and hidden size."""
    task = paper_task(name, config.s, config.d)
    cells = [(decay, threshold, own) for decay, threshold in config.grid for own in run_seeds(seed, config.runs)]
    seeds = [own for _, _, own in cells]
    ensemble = ElmanEnsemble.initialise(seeds, hidden_size, config.d, init=config.init, device=device)
    training = TrainingConfig(
        iterations=config.iterations,
        batch=config.batch,
        lr=config.lr,
        weight_decay=tuple(decay for decay, _, _ in cells),
        clip=config.clip,
        curriculum=_curriculum(config),
        lr_drop_at=config.lr_drop_at,
        log_every=config.log_every,
    )
    log = train(
        ensemble, task, training, seeds, progress=progress, label=f"{name}, N = {hidden_size}", checkpoint=path
    ).log
    accuracy = evaluate(
        ensemble, task, config.test_horizon, batches=config.test_batches, batch=config.batch, seeds=seeds
    )
    about = pd.DataFrame(cells, columns=["weight_decay", "threshold", "seed"])
    about.insert(0, "hidden_size", hidden_size)
    about.insert(0, "task", name)
    curves = (
        log.drop(columns="seed")
        .merge(about, left_on="run", right_index=True)
        .melt([*CELL, "seed", "iteration"], list(CURVES), var_name="quantity", value_name="value")
    )
    theory = theoretical_eigenvalues(task)
    final = []
    for k in range(ensemble.K):
        measured = {"test_accuracy": float(accuracy[k]), **_spectral(theory, ensemble.W_hh[k], config.modulus)}
        final += [
            {
                **about.iloc[k].to_dict(),
                "iteration": config.iterations,
                "quantity": quantity,
                "value": measured[quantity],
            }
            for quantity in FINAL
        ]
    rows = pd.concat([curves, pd.DataFrame(final)], ignore_index=True)
    rows["value"] = rows["value"].astype(float)
    kept = [i for i in range(ensemble.K) if i % config.runs < config.weights_of]
    weights = {
        f"{name} N{hidden_size} {key}": value.detach().cpu()[kept].clone()
        for key, value in ensemble.state_dict().items()
    }
    return Result(rows, weights)


def _spectral(theory: Tensor, W_hh: Tensor, modulus: float) -> dict[str, float]:
    """The final quantities that are read off a network's eigenvalues."""
    learned = eigenvalues(W_hh)
    greedy = angle_error(theory, learned, modulus=modulus)
    optimal = angle_error(theory, learned, modulus=modulus, assignment="optimal")
    moduli = learned.abs()[learned.abs() > modulus]
    return {
        "n_theory": float(greedy.n_theory),
        "n_learned": float(greedy.n_learned),
        "modulus_min": float(moduli.min()) if len(moduli) else float("nan"),
        "modulus_max": float(moduli.max()) if len(moduli) else float("nan"),
        "angle_error": greedy.error,
        "angle_error_optimal": optimal.error,
        "modulus_error": optimal.modulus_error,
    }


def run(
    config: Config,
    seed: int,
    device: torch.device | str = "cpu",
    progress: bool = True,
    checkpoints: Path | None = None,
) -> Result:
    """Train every network of the table and measure it.

    Args:
        config: sizes and protocol.
        seed: seed of the first run of every cell; the others follow.
        device: where to train.
        progress: whether to report progress.
        checkpoints: folder in which the trainings keep their state, one file per task and hidden size; several processes
            that are given the same folder share the work. None keeps nothing.

    Returns:
        Rows (task, hidden_size, weight_decay, threshold, seed, iteration, quantity, value): the learning curves (horizon in
        steps, loss, batch accuracy, gradient norm before clipping) and, at the last iteration, test_accuracy (share of right
        signs), n_theory and n_learned (eigenvalues above `Config.modulus`), modulus_min and modulus_max (over those
        learned), angle_error (rad, greedy pairing as in the paper), angle_error_optimal and modulus_error (of the optimal
        pairing); the errors are NaN where the counts differ. Weights "T1 N64 W_hh" and so on, see `networks`, and
        `sizes` (s, d).

    Raises:
        ValueError: if the configuration or the seed is not usable.
    """
    positive_int("seed", seed, minimum=0)
    pieces: dict[str, Callable[[Path | None], Result]] = {
        f"{name}-N{hidden_size}": partial(_train, config, name, hidden_size, seed, device, progress)
        for hidden_size in config.hidden_sizes
        for name in config.tasks
    }
    results = work_through(pieces, checkpoints)
    weights = {key: value for result in results.values() for key, value in result.weights.items()}
    weights["sizes"] = torch.tensor([config.s, config.d])
    return Result(pd.concat([result.rows for result in results.values()], ignore_index=True), weights)


def cells(rows: pd.DataFrame) -> pd.DataFrame:
    """One line per trained network: its cell, its seed and what was measured at the end.

    Raises:
        ValueError: if the rows lack the columns of `run`.
    """
    for column in (*CELL, "seed", "quantity", "value"):
        one_of("column", column, rows.columns)
    final = rows[rows["quantity"].isin(FINAL)]
    table = final.pivot(index=[*CELL, "seed"], columns="quantity", values="value")[list(FINAL)]
    table.columns.name = None
    return table.reset_index().astype({"n_theory": int, "n_learned": int})


def summarise(rows: pd.DataFrame) -> pd.DataFrame:
    """The table: one line per cell, over its seeds.

    Returns:
        Columns seeds, accuracy (mean), matching (share of seeds whose number of eigenvalues is Φ's), error and error_sd (rad,
        over the seeds that match; NaN if none does), all_match (whether the paper would print a number).
    """
    grouped = cells(rows).groupby(list(CELL), sort=False)
    table = pd.DataFrame(
        {
            "seeds": grouped["seed"].count(),
            "accuracy": grouped["test_accuracy"].mean(),
            "matching": grouped["angle_error"].apply(lambda errors: float(errors.notna().mean())),
            "error": grouped["angle_error"].mean(),
            "error_sd": grouped["angle_error"].std(),
        }
    )
    table["all_match"] = table["matching"] == 1.0
    return table.reset_index()


class Source(Protocol):
    """Anything with the rows and weights of `run`: its result, or a record of it."""

    @property
    def rows(self) -> pd.DataFrame:
        """See `run`."""

    @property
    def weights(self) -> Mapping[str, Tensor]:
        """See `run`."""


@dataclass(frozen=True)
class Networks:
    """Trained networks of one task and hidden size.

    Attributes:
        task: what they were trained on.
        ensemble: the K networks, on the CPU.
        seeds, weight_decays, thresholds: of each of them.
    """

    task: LinearHDS
    ensemble: ElmanEnsemble
    seeds: tuple[int, ...]
    weight_decays: tuple[float, ...]
    thresholds: tuple[float, ...]


def networks(
    source: Source,
    task: str,
    hidden_size: int | None = None,
    weight_decay: float | None = None,
    threshold: float | None = None,
) -> Networks:
    """The trained networks that a result or a record keeps.

    Args:
        source: from `run`, or from the store.
        task: "T1" to "T4".
        hidden_size: N; may be left out where there is only one.
        weight_decay: only these; all by default.
        threshold: only these; all by default.

    Raises:
        ValueError: if there are no such networks.
    """
    final = source.rows[source.rows["quantity"] == "test_accuracy"]
    present = final[final["task"] == task]
    sizes = sorted({int(size) for size in present["hidden_size"]})
    require(
        len(present) > 0 and (hidden_size in sizes or (hidden_size is None and len(sizes) == 1)),
        f"task = {task!r}, hidden_size = {hidden_size}",
        f"tasks {sorted(set(final['task']))}, hidden sizes {sizes}",
        "Name networks that were trained.",
    )
    size = sizes[0] if hidden_size is None else hidden_size
    stored = {key: source.weights[f"{task} N{size} {key}"] for key in ("W_hh", "W_uh", "W_r")}
    # In the order of training; the first seeds of every cell are kept.
    own = present[present["hidden_size"] == size]
    by_cell = own.groupby(["weight_decay", "threshold"], sort=False)
    own = own[by_cell.cumcount() < len(stored["W_hh"]) // by_cell.ngroups].reset_index(drop=True)
    wanted = own[
        (own["weight_decay"] == (own["weight_decay"] if weight_decay is None else weight_decay))
        & (own["threshold"] == (own["threshold"] if threshold is None else threshold))
    ]
    require(
        len(wanted) > 0,
        f"weight_decay = {weight_decay}, threshold = {threshold}",
        f"(weight decay, threshold) among {list(by_cell.groups)}",
        "Name networks that were trained.",
    )
    s, d = (int(number) for number in source.weights["sizes"])
    chosen = wanted.index.tolist()
    return Networks(
        paper_task(task, s, d),
        ElmanEnsemble(stored["W_hh"][chosen], stored["W_uh"][chosen], stored["W_r"][chosen]),
        tuple(int(seed) for seed in wanted["seed"]),
        tuple(float(decay) for decay in wanted["weight_decay"]),
        tuple(float(limit) for limit in wanted["threshold"]),
    )
