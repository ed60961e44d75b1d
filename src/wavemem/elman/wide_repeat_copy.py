"""Figs. 8 and 9: repeat copy of many short vectors, in networks with enough neurons and in networks with too few.

The paper shows two networks for 16 vectors of 5 dimensions. One has 5 eigenvalues at each of the 16 phases, 80 in all, and its
weights are those of a linear wave; the other has three or four at each, 63 in all, and its hidden state cannot be read as a wave
("non-linear variable memories"). The paper does not say what made the difference nor how many neurons they had. Here the
number of neurons is varied.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Final

import pandas as pd
import torch

from wavemem.checks import one_of
from wavemem.elman.network import ElmanEnsemble
from wavemem.elman.training import Training, evaluate, network_table, spectral, tidy, train_networks, weights_under
from wavemem.records.experiment import Pieces, Result, Source, Where, resumable
from wavemem.records.fields import Batch, Count, Rungs, Runs, Share, Size
from wavemem.streams import run_seeds
from wavemem.theory.hds import repeat_copy
from wavemem.theory.spectrum import complete_waves, phase_counts, theoretical_eigenvalues
from wavemem.training.curriculum import LadderCurriculum

CURVES: Final = ("horizon", "loss", "accuracy")
"""Of the batch of an update."""
FINAL: Final = (
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
"""What is measured on a trained network, see `run`."""


@dataclass(frozen=True)
class Config(Training):
    """Sizes and protocol: in "quick" 8 vectors of 2 dimensions; in "paper" 16 of 5, with N = 128, the paper's N for repeat copy,
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


def _train(config: Config, hidden_size: int, seed: int, where: Where) -> Result:
    """Train and measure the networks of one size."""
    task = repeat_copy(config.s, config.d)
    about = pd.DataFrame({"hidden_size": hidden_size, "seed": run_seeds(seed, config.runs)})
    seeds = about["seed"].tolist()
    ladder = LadderCurriculum(config.horizons, config.threshold)
    ensemble, trained = train_networks(
        config, task, hidden_size, seeds, ladder, where, f"N = {hidden_size}", log_every=config.log_every
    )
    accuracy = evaluate(ensemble, task, config.test_horizon, config.test_batches, config.batch, seeds)
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
        measured.append({"run": k, "iteration": config.iterations, **{name: found[name] for name in FINAL}})
    weights = weights_under(f"N{hidden_size}", ensemble.state_dict())
    return Result(tidy(trained.log, about, CURVES, measured), {**weights, "sizes": torch.tensor([config.s, config.d])})


@resumable
def run(config: Config, seed: int) -> Pieces:
    """Train repeat copy in networks of every size and measure them; one piece per size.

    Rows (hidden_size, seed, iteration, quantity, value): the learning curves and, at the last iteration, test_accuracy
    (share of right signs at `Config.test_horizon`), n_theory and n_learned (eigenvalues above `Config.modulus`),
    phase_min and phase_max (fewest and most of them at one of the s phases), whole_waves, modulus_min and modulus_max,
    angle_error (rad; NaN where the counts differ). Weights "N128 W_hh" and so on, see `network`, and `sizes` (s, d).
    """
    return {f"N{size}": partial(_train, config, size, seed) for size in config.hidden_sizes}


def network(source: Source, hidden_size: int, seed: int) -> ElmanEnsemble:
    """One trained network, on the CPU, as an ensemble of one.

    Args:
        source: from `run`, or from the store.
        hidden_size: its N.
        seed: its seed.

    Raises:
        ValueError: if there is no such network.
    """
    trained = source.rows[["hidden_size", "seed"]].drop_duplicates()
    one_of("hidden_size", hidden_size, sorted(int(n) for n in trained["hidden_size"].unique()))
    seeds = [int(own) for own in trained.loc[trained["hidden_size"] == hidden_size, "seed"]]
    one_of("seed", seed, seeds)
    k = seeds.index(seed)
    W_hh, W_uh, W_r = (source.weights[f"N{hidden_size} {key}"][k : k + 1] for key in ("W_hh", "W_uh", "W_r"))
    return ElmanEnsemble(W_hh, W_uh, W_r)


def by_network(rows: pd.DataFrame) -> pd.DataFrame:
    """One line per trained network: its size, its seed and what `FINAL` names.

    Raises:
        ValueError: if the rows lack the columns of `run`.
    """
    keys = ["hidden_size", "seed"]
    return network_table(rows, keys, FINAL).sort_values(keys, ascending=[False, True], ignore_index=True)


def summarise(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean over the seeds of every number of neurons, and the share of seeds whose count is Φ's."""
    table = by_network(rows)
    table["matching"] = (table["n_learned"] == table["n_theory"]).astype(float)
    grouped = table.drop(columns="seed").groupby("hidden_size", sort=False)
    return grouped.mean().reset_index()
