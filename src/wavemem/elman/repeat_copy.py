"""Repeat copy in networks with enough neurons and with too few (Figs. 8, 9), and from two initialisations (Figs. 12 to 14).

`wide_repeat_copy`: the paper shows two networks for 16 vectors of 5 dimensions. One has 5 eigenvalues at each of the 16 phases,
80 in all, and its weights are those of a linear wave; the other has three or four at each, 63 in all, and its hidden state cannot
be read as a wave ("non-linear variable memories"). The paper does not say what made the difference nor how many neurons they had.
Here the number of neurons is varied.

`initialisations`: does the initialisation leave a mark on the trained network (TWM appendix B.3)? Networks of the same sizes are
trained from weights drawn from U(−1/√N, 1/√N) or from N(0, 1/N). The paper makes two claims: that the eigenvalues end further
outside the unit circle after the second, and that networks with larger eigenvalues usually remember longer. So the eigenvalues
are measured before and after training, and the accuracy over many more steps than were trained.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, ClassVar, Final, get_args

import pandas as pd
import torch
from torch import Tensor

from wavemem.checks import one_of, require
from wavemem.elman.network import ElmanEnsemble, Initialisation
from wavemem.elman.training import (
    Training,
    accuracy_by_step,
    evaluate,
    network_table,
    spectral,
    tidy,
    train,
    weights_under,
)
from wavemem.records.experiment import Experiment, Pieces, Result, Source, Where, resumable
from wavemem.records.fields import Batch, Count, OneOf, Rungs, Runs, Share, Size
from wavemem.streams import run_seeds
from wavemem.theory.hds import LinearHDS, repeat_copy
from wavemem.theory.spectrum import complete_waves, eigenvalues, phase_counts, theoretical_eigenvalues
from wavemem.training.curriculum import LadderCurriculum
from wavemem.training.fit import FitResult

CURVES: Final = ("horizon", "loss", "accuracy")
"""Of the batch of an update."""
OF_SIZES: Final = (
    "test_accuracy",
    "n_theory",
    "n_learned",
    "phase_min",
    "phase_max",
    "whole_waves",
    "modulus_min",
    "modulus_max",
    "angle_error",
)
"""What `wide_repeat_copy` measures on a trained network, see `run_sizes`."""
OF_STARTS: Final = (
    "initial_radius",
    "radius",
    "mean_modulus",
    "n_theory",
    "n_learned",
    "above_one",
    "angle_error",
)
"""What `initialisations` reads off the eigenvalues, see `run_starts`."""


@dataclass(frozen=True)
class Sizes(Training):
    """Figs. 8 and 9: in "quick" 8 vectors of 2 dimensions; in "paper" 16 of 5, with N = 128, the paper's N for repeat copy,
    and N = 100, the same ratio to 80 as the 20 to 16 of "quick".

    Attributes:
        hidden_sizes: numbers of neurons N.
        threshold: accuracy that a step up the ladder of horizons needs.
        test_batches: batches of the test.
        modulus: eigenvalues of larger modulus are counted as persistent.
        log_every: updates between two rows of the learning curves.
    """

    PARTS: ClassVar = ("hidden_sizes", "runs", "log_every")
    PAPER: ClassVar = {
        "s": 16,
        "d": 5,
        "hidden_sizes": (128, 100),
        "runs": 2,
        "iterations": 20_000,
        "horizons": (16, 32, 64, 100),
        "log_every": 500,
    }

    s: Size = 8
    d: Size = 2
    runs: Runs = 6
    iterations: Count = 2000
    horizons: Rungs = (10, 20, 40)
    hidden_sizes: tuple[Size, ...] = (40, 20)
    threshold: Share = 0.98
    test_batches: Batch = 10
    modulus: Share = 0.9
    log_every: Count = 50


@dataclass(frozen=True)
class Starts(Training):
    """Figs. 12 to 14: in "quick" seconds; in "paper" s = 8, d = 4, N = 128 (its N for repeat copy; for these figures it names
    none), 20,000 iterations.

    Attributes:
        hidden_size: number of neurons N.
        inits: among "uniform" and "gaussian", see `ElmanEnsemble.initialise`.
        threshold: accuracy that a step up the ladder of horizons needs.
        test_horizons: steps of the output phase at which the accuracy is noted, increasing.
        test_batch: histories of the test.
        modulus: eigenvalues of larger modulus are counted as persistent.
        log_every: updates between two rows of the learning curves.
    """

    PARTS: ClassVar = ("inits", "runs", "log_every")
    PAPER: ClassVar = {
        "s": 8,
        "d": 4,
        "hidden_size": 128,
        "runs": 4,
        "iterations": 20_000,
        "horizons": (10, 20, 40, 60, 100),
        "test_horizons": (100, 200, 500, 1000, 3000),
        "test_batch": 256,
        "log_every": 500,
    }

    d: Size = 3
    runs: Runs = 6
    iterations: Count = 1500
    hidden_size: Size = 32
    inits: tuple[Annotated[Initialisation, OneOf(get_args(Initialisation))], ...] = get_args(Initialisation)
    threshold: Share = 0.98
    test_horizons: Rungs = (60, 120, 300, 1000, 3000)
    test_batch: Batch = 128
    modulus: Share = 0.9
    log_every: Count = 50

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            self.test_horizons[0] >= self.s,
            f"test_horizons = {self.test_horizons}",
            f"numbers of steps of at least one cycle (s = {self.s})",
            "Leave the shorter ones out.",
        )


def _trained(
    config: Sizes | Starts,
    about: Mapping[str, Any],
    hidden_size: int,
    seed: int,
    where: Where,
    label: str,
    init: Initialisation = "uniform",
    snapshots: tuple[int, ...] = (),
) -> tuple[LinearHDS, pd.DataFrame, ElmanEnsemble, FitResult]:
    """Train the networks of one size and initialisation; with the task, and one line about each of them."""
    task = repeat_copy(config.s, config.d)
    lines = pd.DataFrame({**about, "seed": run_seeds(seed, config.runs)})
    seeds, ladder = lines["seed"].tolist(), LadderCurriculum(config.horizons, config.threshold)
    ensemble = ElmanEnsemble.initialise(seeds, hidden_size, config.d, init, device=where.device)
    training = config.fit_config(log_every=config.log_every, snapshots=snapshots)
    trained = train(ensemble, task, training, seeds, ladder, config.batch, where.progress, label, where.checkpoint)
    return task, lines, ensemble, trained


def _train_size(config: Sizes, hidden_size: int, seed: int, where: Where) -> Result:
    about = {"hidden_size": hidden_size}
    task, lines, ensemble, trained = _trained(config, about, hidden_size, seed, where, f"N = {hidden_size}")
    accuracy = evaluate(ensemble, task, config.test_horizon, config.test_batches, config.batch, lines["seed"].tolist())
    theory = theoretical_eigenvalues(task)
    counts = phase_counts(ensemble.W_hh, config.s, config.modulus)
    waves = complete_waves(ensemble.W_hh, config.s, config.modulus)
    measured = []
    for k, W_hh in enumerate(ensemble.W_hh):
        found = {
            "test_accuracy": accuracy[k],
            **spectral(theory, W_hh, config.modulus),
            "phase_min": float(counts[k].min()),
            "phase_max": float(counts[k].max()),
            "whole_waves": float(waves[k]),
        }
        measured.append({"run": k, "iteration": config.iterations, **{name: found[name] for name in OF_SIZES}})
    weights = weights_under(f"N{hidden_size}", ensemble.state_dict())
    return Result(tidy(trained.log, lines, CURVES, measured), {**weights, "sizes": torch.tensor([config.s, config.d])})


@resumable
def run_sizes(config: Sizes, seed: int) -> Pieces:
    """Train repeat copy in networks of every size and measure them; one piece per size.

    Rows (hidden_size, seed, iteration, quantity, value): the learning curves and, at the last iteration, test_accuracy
    (share of right signs at `Sizes.test_horizon`), n_theory and n_learned (eigenvalues above `Sizes.modulus`),
    phase_min and phase_max (fewest and most of them at one of the s phases), whole_waves, modulus_min and modulus_max,
    angle_error (rad; NaN where the counts differ). Weights "N128 W_hh" and so on, see `network`, and `sizes` (s, d).
    """
    return {f"N{size}": partial(_train_size, config, size, seed) for size in config.hidden_sizes}


def network(source: Source, hidden_size: int, seed: int) -> ElmanEnsemble:
    """One trained network of `wide_repeat_copy`, on the CPU, as an ensemble of one.

    Args:
        source: from `run_sizes`, or from the store.
        hidden_size: its N.
        seed: its seed.

    Raises:
        ValueError: if there is no such network.
    """
    trained = source.rows[["hidden_size", "seed"]].drop_duplicates()
    one_of("hidden_size", hidden_size, sorted(int(n) for n in trained["hidden_size"].unique()))
    seeds = [int(own) for own in trained.loc[trained["hidden_size"] == hidden_size, "seed"]]
    k = seeds.index(one_of("seed", seed, seeds))
    W_hh, W_uh, W_r = (source.weights[f"N{hidden_size} {key}"][k : k + 1] for key in ("W_hh", "W_uh", "W_r"))
    return ElmanEnsemble(W_hh, W_uh, W_r)


def networks_by_size(rows: pd.DataFrame) -> pd.DataFrame:
    """One line per network of `wide_repeat_copy`: its size, its seed and what `OF_SIZES` names.

    Raises:
        ValueError: if the rows lack the columns of `run_sizes`.
    """
    keys = ["hidden_size", "seed"]
    return network_table(rows, keys, OF_SIZES).sort_values(keys, ascending=[False, True], ignore_index=True)


def _summarise_sizes(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean over the seeds of every number of neurons, and the share of seeds whose count is Φ's."""
    table = networks_by_size(rows)
    table["matching"] = (table["n_learned"] == table["n_theory"]).astype(float)
    grouped = table.drop(columns="seed").groupby("hidden_size", sort=False)
    return grouped.mean().reset_index()


def _train_start(config: Starts, init: Initialisation, seed: int, where: Where) -> Result:
    about = {"init": init}
    task, lines, ensemble, trained = _trained(
        config, about, config.hidden_size, seed, where, init, init, snapshots=(0,)
    )
    initial: Tensor = trained.snapshots[0]["W_hh"]
    seeds = lines["seed"].tolist()
    right = accuracy_by_step(ensemble, task, config.test_horizons[-1], seeds, config.test_batch).mean(-1)
    theory = theoretical_eigenvalues(task)
    measured = []
    for k, W_hh in enumerate(ensemble.W_hh):
        found = {
            "initial_radius": float(eigenvalues(initial[k]).abs().max()),
            **spectral(theory, W_hh, config.modulus),
        }
        measured.append({"run": k, "at": config.iterations, **{name: found[name] for name in OF_STARTS}})
        for t in config.test_horizons:
            up_to, last = float(right[:t, k].mean()), float(right[t - config.s : t, k].mean())
            measured.append({"run": k, "at": t, "test_accuracy": up_to, "last_cycle": last})
    rows = tidy(trained.log.rename(columns={"iteration": "at"}), lines, CURVES, measured, ("at",))
    return Result(rows, {**weights_under(init, ensemble.state_dict()), f"{init} initial W_hh": initial})


@resumable
def run_starts(config: Starts, seed: int) -> Pieces:
    """Train networks from both initialisations, with the same seeds and hence the same histories, and measure them.

    Rows (init, seed, at, quantity, value). Learning curves (`CURVES`): `at` is the iteration. After training, `at` being
    the last iteration: initial_radius and radius (largest modulus before and after), mean_modulus (over the persistent
    ones), n_theory and n_learned (eigenvalues above `Starts.modulus`), above_one, angle_error (rad; NaN where the counts
    differ). For every test horizon `at`: test_accuracy (share of right signs up to it) and last_cycle (in the s steps before
    it). Weights "uniform W_hh", "uniform initial W_hh" and so on.
    """
    return {init: partial(_train_start, config, init, seed) for init in config.inits}


def networks_by_start(rows: pd.DataFrame) -> pd.DataFrame:
    """One line per network of `initialisations`.

    Returns:
        Columns init, seed, those of `OF_STARTS`, and "test_accuracy at T" and "last_cycle at T" for every test horizon T.

    Raises:
        ValueError: if the rows lack the columns of `run_starts`.
    """
    final = rows[~rows["quantity"].isin(CURVES)].copy()
    tested = final["quantity"].isin(("test_accuracy", "last_cycle"))
    final.loc[tested, "quantity"] += " at " + final.loc[tested, "at"].astype(int).astype(str)
    return network_table(final, ["init", "seed"], list(dict.fromkeys(final["quantity"])))


def _summarise_starts(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean and standard deviation over the seeds, one line per quantity, one pair of columns per initialisation."""
    table = networks_by_start(rows).drop(columns="seed").groupby("init", sort=False)
    mean, sd = table.mean().T, table.std().T
    return (
        pd.concat({"mean": mean, "sd": sd}, axis=1).swaplevel(axis=1).sort_index(axis=1, level=0, sort_remaining=False)
    )


wide_repeat_copy = Experiment(Sizes, run_sizes, _summarise_sizes)
initialisations = Experiment(Starts, run_starts, _summarise_starts)
