"""Figs. 12 to 14: does the initialisation leave a mark on the trained network (TWM appendix B.3)?

Networks of the same sizes are trained on repeat copy from weights drawn from U(−1/√N, 1/√N) or from N(0, 1/N). The paper
makes two claims: that the eigenvalues end further outside the unit circle after the second, and that networks with larger
eigenvalues usually remember longer. So the eigenvalues are measured before and after training, and the accuracy over many
more steps than were trained.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, ClassVar, Final

import pandas as pd
import torch

from wavemem.checks import one_of, positive_int, require
from wavemem.models.elman import ElmanEnsemble
from wavemem.records.experiment import PROFILES, Result
from wavemem.records.fields import Batch, Clip, Count, OneOf, Rate, Rungs, Runs, Share, Size, check_fields
from wavemem.streams import run_seeds
from wavemem.substrate.spectrum import angle_error, eigenvalues, theoretical_eigenvalues
from wavemem.tasks.hds import LinearHDS, repeat_copy
from wavemem.training.curriculum import LadderCurriculum
from wavemem.training.ensemble import TrainingConfig, train
from wavemem.training.generalisation import accuracy_by_step
from wavemem.training.pieces import work_through

__all__ = ["CURVES", "FINAL", "INITS", "Config", "by_network", "run", "summarise"]

INITS: Final = ("uniform", "gaussian")
"""The two initialisations, see `ElmanEnsemble.initialise`."""
CURVES: Final = ("horizon", "loss", "accuracy")
"""Of the batch of an update."""
FINAL: Final = (
    "initial_radius",
    "radius",
    "mean_modulus",
    "n_theory",
    "n_learned",
    "above_one",
    "angle_error",
)
"""What is read off the eigenvalues, see `run`."""


@dataclass(frozen=True)
class Config:
    """Sizes and protocol.

    Attributes:
        s, d: columns and waves of repeat copy.
        hidden_size: number of neurons N.
        inits: among "uniform" and "gaussian".
        runs: seeds per initialisation; see `wavemem.streams.run_seeds`.
        iterations, batch, lr, clip: as in `TrainingConfig`; no weight decay.
        horizons, threshold: the ladder of training horizons.
        test_horizons: steps of the output phase at which the accuracy is noted, increasing.
        test_batch: histories of the test.
        modulus: eigenvalues of larger modulus are counted as persistent.
        log_every: updates between two rows of the learning curves.
    """

    PARTS: ClassVar = ("inits", "runs", "log_every")

    s: Size = 4
    d: Size = 3
    hidden_size: Size = 32
    inits: tuple[Annotated[str, OneOf(INITS)], ...] = INITS
    runs: Runs = 6
    iterations: Count = 1500
    batch: Batch = 64
    lr: Rate = 1e-3
    clip: Clip = 1.0
    horizons: Rungs = (10, 20, 40, 60)
    threshold: Share = 0.98
    test_horizons: Rungs = (60, 120, 300, 1000, 3000)
    test_batch: Batch = 128
    modulus: Share = 0.9
    log_every: Count = 50

    def __post_init__(self) -> None:
        check_fields(self)
        require(
            self.test_horizons[0] >= self.s,
            f"test_horizons = {self.test_horizons}",
            f"numbers of steps of at least one cycle (s = {self.s})",
            "Leave the shorter ones out.",
        )

    @classmethod
    def profile(cls, name: str) -> Config:
        """The two sizes of the book.

        Args:
            name: "quick": s = 4, d = 3, six seeds each, seconds; "paper": s = 8, d = 4, N = 128 (the paper's N for repeat
                copy; for these figures it names none), 20,000 iterations.

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
            d=4,
            hidden_size=128,
            runs=4,
            iterations=20_000,
            horizons=(10, 20, 40, 60, 100),
            test_horizons=(100, 200, 500, 1000, 3000),
            test_batch=256,
            log_every=500,
        )


def _measure(
    config: Config, task: LinearHDS, ensemble: ElmanEnsemble, initial: torch.Tensor, k: int
) -> dict[str, float]:
    learned = eigenvalues(ensemble.W_hh[k])
    moduli = learned.abs()
    lasting = moduli[moduli > config.modulus]
    error = angle_error(theoretical_eigenvalues(task), learned, modulus=config.modulus)
    return {
        "initial_radius": float(eigenvalues(initial[k]).abs().max()),
        "radius": float(moduli.max()),
        "mean_modulus": float(lasting.mean()) if len(lasting) else float("nan"),
        "n_theory": float(error.n_theory),
        "n_learned": float(error.n_learned),
        "above_one": float((moduli > 1).sum()),
        "angle_error": error.error,
    }


def _train(
    config: Config, init: str, seed: int, device: torch.device | str, progress: bool, path: Path | None
) -> Result:
    """Train and measure the networks of one initialisation."""
    task = repeat_copy(config.s, config.d)
    seeds = run_seeds(seed, config.runs)
    ensemble = ElmanEnsemble.initialise(
        seeds, config.hidden_size, config.d, init="gaussian" if init == "gaussian" else "uniform", device=device
    )
    initial = ensemble.W_hh.detach().cpu().clone()
    training = TrainingConfig(
        iterations=config.iterations,
        batch=config.batch,
        lr=config.lr,
        clip=config.clip,
        curriculum=LadderCurriculum(config.horizons, config.threshold),
        log_every=config.log_every,
    )
    log = train(ensemble, task, training, seeds, progress=progress, label=f"{init}", checkpoint=path).log
    curves = log.rename(columns={"iteration": "at"}).melt(
        ["seed", "at"], list(CURVES), var_name="quantity", value_name="value"
    )
    right = accuracy_by_step(ensemble, task, config.test_horizons[-1], seeds, config.test_batch).mean(-1)
    final = []
    for k, own in enumerate(seeds):
        measured = _measure(config, task, ensemble, initial, k)
        final += [(own, config.iterations, quantity, measured[quantity]) for quantity in FINAL]
        for t in config.test_horizons:
            final.append((own, t, "test_accuracy", float(right[:t, k].mean())))
            final.append((own, t, "last_cycle", float(right[t - config.s : t, k].mean())))
    rows = pd.concat([curves, pd.DataFrame(final, columns=list(curves.columns))], ignore_index=True)
    rows["value"] = rows["value"].astype(float)
    rows.insert(0, "init", init)
    weights = {f"{init} {key}": value.detach().cpu().clone() for key, value in ensemble.state_dict().items()}
    return Result(rows, {**weights, f"{init} initial W_hh": initial})


def run(
    config: Config,
    seed: int,
    device: torch.device | str = "cpu",
    progress: bool = True,
    checkpoints: Path | None = None,
) -> Result:
    """Train networks from both initialisations and measure them.

    Args:
        config: sizes and protocol.
        seed: seed of the first run of each initialisation; both use the same seeds, hence the same training histories.
        device: where to train.
        progress: whether to report progress.
        checkpoints: folder in which the trainings keep their state, one file per initialisation; None keeps nothing.

    Returns:
        Rows (init, seed, at, quantity, value). Learning curves (`CURVES`): `at` is the iteration. After training, `at` being
        the last iteration: initial_radius and radius (largest modulus before and after), mean_modulus (over the persistent
        ones), n_theory and n_learned (eigenvalues above `Config.modulus`), above_one, angle_error (rad; NaN where the counts
        differ). For every test horizon `at`: test_accuracy (share of right signs up to it) and last_cycle (in the s steps before
        it). Weights "uniform W_hh", "uniform initial W_hh" and so on.

    Raises:
        ValueError: if the configuration or the seed is not usable.
    """
    positive_int("seed", seed, minimum=0)
    pieces: dict[str, Callable[[Path | None], Result]] = {
        init: partial(_train, config, init, seed, device, progress) for init in config.inits
    }
    results = work_through(pieces, checkpoints)
    weights = {key: value for result in results.values() for key, value in result.weights.items()}
    return Result(pd.concat([result.rows for result in results.values()], ignore_index=True), weights)


def by_network(rows: pd.DataFrame) -> pd.DataFrame:
    """One line per trained network.

    Returns:
        Columns init, seed, those of `FINAL`, and "test_accuracy at T" and "last_cycle at T" for every test horizon T.

    Raises:
        ValueError: if the rows lack the columns of `run`.
    """
    for column in ("init", "seed", "at", "quantity", "value"):
        one_of("column", column, rows.columns)
    final = rows[~rows["quantity"].isin(CURVES)].copy()
    tested = final["quantity"].isin(("test_accuracy", "last_cycle"))
    final.loc[tested, "quantity"] += " at " + final.loc[tested, "at"].astype(int).astype(str)
    order = list(dict.fromkeys(final["quantity"]))
    table = final.pivot(index=["init", "seed"], columns="quantity", values="value")[order]
    table.columns.name = None
    return table.reset_index()


def summarise(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean and standard deviation over the seeds, one line per quantity, one pair of columns per initialisation."""
    table = by_network(rows).drop(columns="seed").groupby("init", sort=False)
    mean, sd = table.mean().T, table.std().T
    return (
        pd.concat({"mean": mean, "sd": sd}, axis=1).swaplevel(axis=1).sort_index(axis=1, level=0, sort_remaining=False)
    )
