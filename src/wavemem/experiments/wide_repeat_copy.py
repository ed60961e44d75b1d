"""Figs. 8 and 9: repeat copy of many short vectors, in networks with enough neurons and in networks with too few.

The paper shows two networks for 16 vectors of 5 dimensions. One has 5 eigenvalues at each of the 16 phases, 80 in all, and its
weights are those of a linear wave; the other has three or four at each, 63 in all, and its hidden state cannot be read as a wave
("non-linear variable memories"). The paper does not say what made the difference nor how many neurons they had. Here the
number of neurons is varied.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar, Final, Protocol

import pandas as pd
import torch
from torch import Tensor

from wavemem.checks import one_of, positive_int
from wavemem.models.elman import ElmanEnsemble
from wavemem.records.experiment import PROFILES, Result
from wavemem.records.fields import Batch, Clip, Count, Rate, Rungs, Runs, Share, Size, check_fields
from wavemem.streams import run_seeds
from wavemem.substrate.compression import phase_counts
from wavemem.substrate.spectrum import angle_error, eigenvalues, theoretical_eigenvalues
from wavemem.substrate.whole_waves import complete_waves
from wavemem.tasks.hds import repeat_copy
from wavemem.training.curriculum import LadderCurriculum
from wavemem.training.ensemble import TrainingConfig, evaluate, train
from wavemem.training.pieces import work_through

__all__ = ["CURVES", "FINAL", "Config", "Source", "by_network", "network", "run", "summarise"]

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
class Config:
    """Sizes and protocol.

    Attributes:
        s, d: columns and waves of repeat copy.
        hidden_sizes: numbers of neurons N.
        runs: seeds per N; see `wavemem.streams.run_seeds`.
        iterations, batch, lr, clip: as in `TrainingConfig`; no weight decay.
        horizons, threshold: the ladder of training horizons; the test is at twice the last.
        test_batches: batches of the test.
        modulus: eigenvalues of larger modulus are counted as persistent.
        log_every: updates between two rows of the learning curves.
    """

    PARTS: ClassVar = ("hidden_sizes", "runs", "log_every")

    s: Size = 8
    d: Size = 2
    hidden_sizes: tuple[Size, ...] = (40, 20)
    runs: Runs = 6
    iterations: Count = 2000
    batch: Batch = 64
    lr: Rate = 1e-3
    clip: Clip = 1.0
    horizons: Rungs = (10, 20, 40)
    threshold: Share = 0.98
    test_batches: Batch = 10
    modulus: Share = 0.9
    log_every: Count = 50

    def __post_init__(self) -> None:
        check_fields(self)

    @property
    def test_horizon(self) -> int:
        """Steps of the output phase in the test."""
        return 2 * self.horizons[-1]

    @classmethod
    def profile(cls, name: str) -> Config:
        """The two sizes of the book.

        Args:
            name: "quick": 8 vectors of 2 dimensions, six seeds per size, seconds; "paper": 16 of 5, two seeds, with N = 128 (the
                paper's N for repeat copy) and N = 100, the same ratio to 80 as the 20 to 16 of "quick".

        Returns:
            The configuration.

        Raises:
            ValueError: if there is no such profile.
        """
        one_of("profile", name, PROFILES)
        if name == "quick":
            return cls()
        return cls(
            s=16,
            d=5,
            hidden_sizes=(128, 100),
            runs=2,
            iterations=20_000,
            horizons=(16, 32, 64, 100),
            log_every=500,
        )


def _train(
    config: Config, hidden_size: int, seed: int, device: torch.device | str, progress: bool, path: Path | None
) -> Result:
    """Train and measure the networks of one size."""
    task = repeat_copy(config.s, config.d)
    seeds = run_seeds(seed, config.runs)
    ensemble = ElmanEnsemble.initialise(seeds, hidden_size, config.d, device=device)
    training = TrainingConfig(
        iterations=config.iterations,
        batch=config.batch,
        lr=config.lr,
        clip=config.clip,
        curriculum=LadderCurriculum(config.horizons, config.threshold),
        log_every=config.log_every,
    )
    log = train(ensemble, task, training, seeds, progress=progress, label=f"N = {hidden_size}", checkpoint=path).log
    curves = log.melt(["seed", "iteration"], list(CURVES), var_name="quantity", value_name="value")
    accuracy = evaluate(ensemble, task, config.test_horizon, config.test_batches, config.batch, seeds)
    theory = theoretical_eigenvalues(task)
    counts = phase_counts(ensemble.W_hh, config.s, config.modulus)
    waves = complete_waves(ensemble.W_hh, config.s, config.modulus)
    final = []
    for k, own in enumerate(seeds):
        learned = eigenvalues(ensemble.W_hh[k])
        error = angle_error(theory, learned, modulus=config.modulus)
        moduli = learned.abs()[learned.abs() > config.modulus]
        measured = {
            "test_accuracy": float(accuracy[k]),
            "n_theory": float(error.n_theory),
            "n_learned": float(error.n_learned),
            "phase_min": float(counts[k].min()),
            "phase_max": float(counts[k].max()),
            "whole_waves": float(waves[k]),
            "modulus_min": float(moduli.min()) if len(moduli) else float("nan"),
            "modulus_max": float(moduli.max()) if len(moduli) else float("nan"),
            "angle_error": error.error,
        }
        final += [(own, config.iterations, quantity, measured[quantity]) for quantity in FINAL]
    rows = pd.concat([curves, pd.DataFrame(final, columns=list(curves.columns))], ignore_index=True)
    rows["value"] = rows["value"].astype(float)
    rows.insert(0, "hidden_size", hidden_size)
    weights = {f"N{hidden_size} {key}": value.detach().cpu().clone() for key, value in ensemble.state_dict().items()}
    return Result(rows, weights)


def run(
    config: Config,
    seed: int,
    device: torch.device | str = "cpu",
    progress: bool = True,
    checkpoints: Path | None = None,
) -> Result:
    """Train repeat copy in networks of every size and measure them.

    Args:
        config: sizes and protocol.
        seed: seed of the first run of every size; the others follow.
        device: where to train.
        progress: whether to report progress.
        checkpoints: folder in which the trainings keep their state, one file per size; None keeps nothing.

    Returns:
        Rows (hidden_size, seed, iteration, quantity, value): the learning curves and, at the last iteration, test_accuracy
        (share of right signs at `Config.test_horizon`), n_theory and n_learned (eigenvalues above `Config.modulus`),
        phase_min and phase_max (fewest and most of them at one of the s phases), whole_waves, modulus_min and modulus_max,
        angle_error (rad; NaN where the counts differ). Weights "N128 W_hh" and so on, see `network`, and `sizes` (s, d).

    Raises:
        ValueError: if the configuration or the seed is not usable.
    """
    positive_int("seed", seed, minimum=0)
    pieces: dict[str, Callable[[Path | None], Result]] = {
        f"N{hidden_size}": partial(_train, config, hidden_size, seed, device, progress)
        for hidden_size in config.hidden_sizes
    }
    results = work_through(pieces, checkpoints)
    weights = {key: value for result in results.values() for key, value in result.weights.items()}
    weights["sizes"] = torch.tensor([config.s, config.d])
    return Result(pd.concat([result.rows for result in results.values()], ignore_index=True), weights)


class Source(Protocol):
    """Anything with the rows and weights of `run`: its result, or a record of it."""

    @property
    def rows(self) -> pd.DataFrame:
        """See `run`."""

    @property
    def weights(self) -> Mapping[str, Tensor]:
        """See `run`."""


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
    for column in ("hidden_size", "seed", "quantity", "value"):
        one_of("column", column, rows.columns)
    final = rows[rows["quantity"].isin(FINAL)]
    table = final.pivot(index=["hidden_size", "seed"], columns="quantity", values="value")[list(FINAL)]
    table.columns.name = None
    return table.reset_index().sort_values(["hidden_size", "seed"], ascending=[False, True], ignore_index=True)


def summarise(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean over the seeds of every number of neurons, and the share of seeds whose count is Φ's."""
    table = by_network(rows)
    table["matching"] = (table["n_learned"] == table["n_theory"]).astype(float)
    grouped = table.drop(columns="seed").groupby("hidden_size", sort=False)
    return grouped.mean().reset_index()
