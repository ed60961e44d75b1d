"""Table 1: Elman networks on four tasks, and how far their spectra are from Φ's (TWM section 4.1, Table 1; Figs. 6, 7).

Networks without biases (TWM Eq. 9) are trained from random weights on T1 to T4, for every hidden size, L2 penalty and
curriculum threshold, over several seeds. Afterwards the eigenvalues of W_hh are compared with those of Φ (Eq. 29): W_hh is the
Jacobian of the network at the origin, because tanh'(0) = 1 and the origin is a fixed point of a network without biases. The
trained weights are kept: chapters 8 to 11 take them apart.

`repeat_copy` is the row T1 of the table with one penalty and one threshold (chapter 4).
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import partial
from typing import Annotated, ClassVar, Literal

import pandas as pd
import torch

from wavemem.checks import require
from wavemem.elman.network import ElmanEnsemble, Initialisation
from wavemem.elman.training import Training, evaluate, network_table, spectral, tidy, train, weights_under
from wavemem.records.experiment import Experiment, Pieces, Result, Source, Where, resumable
from wavemem.records.fields import Batch, Count, Decay, OneOf, Rungs, Runs, Share, Size
from wavemem.streams import run_seeds
from wavemem.theory.hds import LinearHDS
from wavemem.theory.selection import PAPER_TABLES, paper_task
from wavemem.theory.spectrum import angle_error, eigenvalues, theoretical_eigenvalues
from wavemem.training.curriculum import Curriculum, LadderCurriculum, MultiplicativeCurriculum

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
REPEAT_COPY_FINAL = FINAL[:6]


@dataclass(frozen=True)
class Config(Training):
    """Sizes and training protocol: in "quick" 32 networks in minutes on two cores; in "paper" all 960 of the table.

    Attributes:
        tasks: among "T1" to "T4".
        hidden_sizes: numbers of neurons N.
        weight_decays: L2 penalties, as Adam's coupled weight decay.
        thresholds: accuracies that a step up the ladder needs; the paper keeps the better of two.
        init: as in `ElmanEnsemble.initialise`.
        curriculum: "ladder" (what produced the paper's table) or "multiplicative" (what its Table 2 describes; it has
            no use for `thresholds`, and runs from the first to the last of the horizons).
        lr_drop_at: update after which the learning rate is divided by ten; None for never.
        test_batches: batches of the test.
        modulus: eigenvalues of larger modulus are counted and compared.
        log_every: updates between two rows of the learning curves.
        weights_of: seeds per cell whose weights are kept, the first ones.
    """

    PARTS: ClassVar = ("tasks", "hidden_sizes", "weight_decays", "thresholds", "runs", "log_every", "weights_of")
    PAPER: ClassVar = {
        "s": 8,
        "d": 8,
        "hidden_sizes": (64, 128),
        "weight_decays": (0.0, 1e-3, 1e-1),
        "thresholds": (0.90, 0.98),
        "runs": 20,
        "iterations": 20_000,
        "horizons": (10, 20, 40, 60, 100),
        "log_every": 500,
    }

    tasks: tuple[Annotated[str, OneOf(PAPER_TABLES)], ...] = ("T1", "T2", "T3", "T4")
    hidden_sizes: tuple[Size, ...] = (64,)
    weight_decays: tuple[Decay, ...] = (0.0, 1e-3)
    thresholds: tuple[Share, ...] = (0.98,)
    init: Initialisation = "uniform"
    curriculum: Literal["ladder", "multiplicative"] = "ladder"
    lr_drop_at: Count | None = None
    test_batches: Batch = 10
    modulus: Share = 0.9
    log_every: Count = 20
    weights_of: Runs = 5


def _train(config: Config, name: str, hidden_size: int, seed: int, where: Where) -> Result:
    """Train and measure all networks of one task and hidden size."""
    task = paper_task(name, config.s, config.d)
    about = pd.DataFrame(
        [
            (name, hidden_size, decay, threshold, own)
            for decay in config.weight_decays
            for threshold in config.thresholds
            for own in run_seeds(seed, config.runs)
        ],
        columns=[*CELL, "seed"],
    )
    seeds = about["seed"].tolist()
    curriculum: Curriculum = LadderCurriculum(config.horizons, tuple(about["threshold"].tolist()))
    if config.curriculum == "multiplicative":
        curriculum = MultiplicativeCurriculum(config.horizons[0], config.horizons[-1])
    ensemble = ElmanEnsemble.initialise(seeds, hidden_size, config.d, config.init, device=where.device)
    training = config.fit_config(
        weight_decay=tuple(about["weight_decay"].tolist()),
        milestones=() if config.lr_drop_at is None else (config.lr_drop_at,),
        log_every=config.log_every,
    )
    label = f"{name}, N = {hidden_size}"
    trained = train(ensemble, task, training, seeds, curriculum, config.batch, where.progress, label, where.checkpoint)
    accuracy = evaluate(ensemble, task, config.test_horizon, config.test_batches, config.batch, seeds)
    theory = theoretical_eigenvalues(task)
    measured = []
    for k, W_hh in enumerate(ensemble.W_hh):
        optimal = angle_error(theory, eigenvalues(W_hh), modulus=config.modulus, assignment="optimal")
        found = {
            "test_accuracy": accuracy[k],
            **spectral(theory, W_hh, config.modulus),
            "angle_error_optimal": optimal.error,
            "modulus_error": optimal.modulus_error,
        }
        measured.append({"run": k, "iteration": config.iterations, **{name: found[name] for name in FINAL}})
    kept = [k for k in range(ensemble.K) if k % config.runs < config.weights_of]
    weights = weights_under(f"{name} N{hidden_size}", ensemble.state_dict(), kept)
    return Result(tidy(trained.log, about, CURVES, measured), {**weights, "sizes": torch.tensor([config.s, config.d])})


@resumable
def run(config: Config, seed: int) -> Pieces:
    """Train every network of the table and measure it; one piece per task and hidden size.

    Rows (task, hidden_size, weight_decay, threshold, seed, iteration, quantity, value): the learning curves (horizon in
    steps, loss, batch accuracy, gradient norm before clipping) and, at the last iteration, test_accuracy (share of right
    signs), n_theory and n_learned (eigenvalues above `Config.modulus`), modulus_min and modulus_max (over those
    learned), angle_error (rad, greedy pairing as in the paper), angle_error_optimal and modulus_error (of the optimal
    pairing); the errors are NaN where the counts differ. Weights "T1 N64 W_hh" and so on, see `networks`, and
    `sizes` (s, d).
    """
    return {
        f"{name}-N{hidden_size}": partial(_train, config, name, hidden_size, seed)
        for hidden_size in config.hidden_sizes
        for name in config.tasks
    }


def cells(rows: pd.DataFrame) -> pd.DataFrame:
    """One line per trained network: its cell, its seed and what was measured at the end.

    Raises:
        ValueError: if the rows lack the columns of `run`.
    """
    return network_table(rows, [*CELL, "seed"], FINAL).astype({"n_theory": int, "n_learned": int})


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


@dataclass(frozen=True)
class RepeatCopyConfig(Training):
    """Elman networks on repeat copy (T1) and what their spectra share with Φ: the row T1 of Table 1, or small.

    Attributes:
        hidden_size: neurons N of each network.
        weight_decay, init, threshold, test_batches, modulus, log_every: as in `Config`.
    """

    PARTS: ClassVar = ("runs", "log_every")
    PAPER: ClassVar = {"s": 8, "d": 8, "hidden_size": 128, "runs": 20, "iterations": 20_000, "log_every": 100}

    iterations: Count = 4000
    horizons: Rungs = (10, 20, 40, 60, 100)
    hidden_size: Size = 64
    weight_decay: Decay = 0.0
    init: Initialisation = "uniform"
    threshold: Share = 0.98
    test_batches: Batch = 10
    modulus: Share = 0.9
    log_every: Count = 20


def _train_repeat_copy(config: RepeatCopyConfig, seed: int, where: Where) -> Result:
    own = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    size, decay, threshold = (own.pop(name) for name in ("hidden_size", "weight_decay", "threshold"))
    cell = Config(**own, hidden_sizes=(size,), weight_decays=(decay,), thresholds=(threshold,), weights_of=config.runs)
    trained = _train(cell, "T1", size, seed, where)
    rows = trained.rows.drop(columns=list(CELL))
    weights = {name.removeprefix(f"T1 N{size} "): value for name, value in trained.weights.items() if name != "sizes"}
    return Result(rows[rows["quantity"].isin((*CURVES, *REPEAT_COPY_FINAL))].reset_index(drop=True), weights)


@resumable
def _run_repeat_copy(config: RepeatCopyConfig, seed: int) -> Pieces:
    return {"T1": partial(_train_repeat_copy, config, seed)}


def _summarise_repeat_copy(rows: pd.DataFrame) -> pd.DataFrame:
    """One line per seed: what the network reached, and last_horizon_from: the first logged iteration at the largest horizon
    that any run reached (NaN if this run did not)."""
    table = network_table(rows, ["seed"], REPEAT_COPY_FINAL).set_index("seed")
    horizon = rows[rows["quantity"] == "horizon"]
    last = horizon[horizon["value"] == horizon["value"].max()].groupby("seed")["iteration"].min()
    table["last_horizon_from"] = last.reindex(table.index)
    return table.astype({"n_theory": int, "n_learned": int})


repeat_copy = Experiment(RepeatCopyConfig, _run_repeat_copy, _summarise_repeat_copy)
