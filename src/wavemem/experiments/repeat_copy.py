"""Elman ensembles on repeat copy (T1) and what their spectra share with Φ (TWM section 4.1, Table 1, row T1; chapter 4).

Networks without biases (TWM Eq. 9) are trained on T1 from random weights. Afterwards the eigenvalues of W_hh are compared with
those of Φ (Eq. 29). W_hh is the Jacobian of the network at the origin, because tanh'(0) = 1 and the origin is a fixed point of
a network without biases; no other point is linearised here.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pandas as pd
import torch

from wavemem.checks import one_of
from wavemem.models.elman import ElmanEnsemble, Initialisation
from wavemem.records.experiment import PROFILES, Result
from wavemem.records.fields import Batch, Clip, Count, Decay, Rate, Rungs, Runs, Share, Size, check_fields
from wavemem.streams import run_seeds
from wavemem.substrate.spectrum import angle_error, eigenvalues, theoretical_eigenvalues
from wavemem.tasks.selection import paper_task
from wavemem.training.curriculum import LadderCurriculum
from wavemem.training.ensemble import TrainingConfig, evaluate, train

__all__ = ["Config", "run", "summarise", "trained"]

CURVES = ("horizon", "loss", "accuracy", "grad_norm")
FINAL = ("test_accuracy", "n_theory", "n_learned", "modulus_min", "modulus_max", "angle_error")


@dataclass(frozen=True)
class Config:
    """Sizes and training protocol.

    Attributes:
        s, d: columns and waves of the task.
        hidden_size: neurons N of each network.
        runs: independent networks; run k of base seed b has seed b·runs + k.
        iterations: updates.
        batch, lr, weight_decay, clip, init: as in `TrainingConfig` and `ElmanEnsemble.initialise`.
        horizons, threshold: the curriculum's rungs (steps) and the batch accuracy that a step up needs.
        test_batches: batches of the test, whose horizon is twice the last rung.
        modulus: eigenvalues of larger modulus are counted and compared.
        log_every: updates between two rows of the learning curve.
    """

    PARTS: ClassVar = ("runs", "log_every")

    s: Size = 4
    d: Size = 4
    hidden_size: Size = 64
    runs: Runs = 4
    iterations: Count = 4000
    batch: Batch = 64
    lr: Rate = 1e-3
    weight_decay: Decay = 0.0
    clip: Clip = 1.0
    init: Initialisation = "uniform"
    horizons: Rungs = (10, 20, 40, 60, 100)
    threshold: Share = 0.98
    test_batches: Batch = 10
    modulus: Share = 0.9
    log_every: Count = 20

    def __post_init__(self) -> None:
        check_fields(self)

    @property
    def test_horizon(self) -> int:
        """Steps of the output phase in the test: twice the longest of the training."""
        return 2 * self.horizons[-1]

    @classmethod
    def profile(cls, name: str) -> Config:
        """The two sizes of the book.

        Args:
            name: "quick": s = d = 4, N = 64, 4,000 iterations, 4 runs; "paper": s = d = 8, N = 128, 20,000 iterations,
                20 runs, the sizes of Table 1.

        Returns:
            The configuration.

        Raises:
            ValueError: if there is no such profile.
        """
        one_of("profile", name, PROFILES)
        if name == "quick":
            return cls()
        return cls(s=8, d=8, hidden_size=128, runs=20, iterations=20_000, log_every=100)


def run(
    config: Config,
    seed: int,
    device: torch.device | str = "cpu",
    progress: bool = True,
    checkpoints: Path | None = None,
) -> Result:
    """Train the ensemble, test it at twice the training horizon and compare its spectra with Φ's.

    Args:
        config: sizes and protocol.
        seed: base seed, see `wavemem.streams.run_seeds`.
        device: where to train.
        progress: whether to report progress.
        checkpoints: folder in which the training keeps its state; None keeps nothing.

    Returns:
        Rows (seed, iteration, quantity, value): the learning curves (horizon in steps, loss, batch accuracy, gradient norm before
        clipping) and, at the last iteration, test_accuracy (share of right signs), n_theory and n_learned (eigenvalues above
        `Config.modulus`), modulus_min and modulus_max (over those), angle_error (rad; NaN where the counts differ).
        Weights W_hh (K, N, N), W_uh (K, N, d), W_r (K, d, N).

    Raises:
        ValueError: if the configuration or the seed is not usable.
    """
    seeds = run_seeds(seed, config.runs)
    task = paper_task("T1", config.s, config.d)
    ensemble = ElmanEnsemble.initialise(seeds, config.hidden_size, config.d, init=config.init, device=device)
    training = TrainingConfig(
        iterations=config.iterations,
        batch=config.batch,
        lr=config.lr,
        weight_decay=config.weight_decay,
        clip=config.clip,
        curriculum=LadderCurriculum(config.horizons, config.threshold),
        log_every=config.log_every,
    )
    path = None if checkpoints is None else checkpoints / "T1.safetensors"
    log = train(ensemble, task, training, seeds, progress=progress, label="T1", checkpoint=path).log
    curves = log.melt(["seed", "iteration"], list(CURVES), var_name="quantity", value_name="value")

    accuracy = evaluate(
        ensemble, task, config.test_horizon, batches=config.test_batches, batch=config.batch, seeds=seeds
    )
    theory = theoretical_eigenvalues(task)
    final = []
    for k, own_seed in enumerate(seeds):
        learned = eigenvalues(ensemble.W_hh[k])
        comparison = angle_error(theory, learned, modulus=config.modulus)
        kept = learned.abs()[learned.abs() > config.modulus]
        values = (
            float(accuracy[k]),
            comparison.n_theory,
            comparison.n_learned,
            float(kept.min()) if len(kept) else float("nan"),
            float(kept.max()) if len(kept) else float("nan"),
            comparison.error,
        )
        final += [(own_seed, config.iterations, name, float(value)) for name, value in zip(FINAL, values, strict=True)]
    rows = pd.concat([curves, pd.DataFrame(final, columns=curves.columns)], ignore_index=True)
    rows["value"] = rows["value"].astype(float)
    weights = {name: value.detach().cpu().clone() for name, value in ensemble.state_dict().items()}
    return Result(rows=rows, weights=weights)


def summarise(rows: pd.DataFrame) -> pd.DataFrame:
    """One line per seed: what the network reached, and when its curriculum reached the last horizon.

    Args:
        rows: from `run`.

    Returns:
        Index seed; columns test_accuracy, n_theory, n_learned, modulus_min, modulus_max, angle_error, last_horizon_from
        (first logged iteration at the largest horizon that any run reached; NaN if this run did not).

    Raises:
        ValueError: if the rows lack the columns of `run`.
    """
    for column in ("seed", "iteration", "quantity", "value"):
        one_of("column", column, rows.columns)
    table = rows[rows["quantity"].isin(FINAL)].pivot(index="seed", columns="quantity", values="value")[list(FINAL)]
    horizon = rows[rows["quantity"] == "horizon"]
    last = horizon[horizon["value"] == horizon["value"].max()].groupby("seed")["iteration"].min()
    table["last_horizon_from"] = last.reindex(table.index)
    table.columns.name = None
    return table.astype({"n_theory": int, "n_learned": int})


def trained(result: Result, activation: str = "tanh") -> ElmanEnsemble:
    """The ensemble whose weights a result holds.

    Args:
        result: from `run` or from the store.
        activation: "tanh" (as trained), or "linear" for its linearisation at the origin.

    Returns:
        The ensemble, on the CPU.

    Raises:
        ValueError: if the activation is unknown.
    """
    one_of("activation", activation, ("tanh", "linear"))
    w = result.weights
    return ElmanEnsemble(w["W_hh"], w["W_uh"], w["W_r"], activation="tanh" if activation == "tanh" else "linear")
