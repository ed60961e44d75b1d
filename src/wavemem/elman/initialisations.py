"""Figs. 12 to 14: does the initialisation leave a mark on the trained network (TWM appendix B.3)?

Networks of the same sizes are trained on repeat copy from weights drawn from U(−1/√N, 1/√N) or from N(0, 1/N). The paper
makes two claims: that the eigenvalues end further outside the unit circle after the second, and that networks with larger
eigenvalues usually remember longer. So the eigenvalues are measured before and after training, and the accuracy over many
more steps than were trained.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Annotated, ClassVar, Final

import pandas as pd

from wavemem.checks import require
from wavemem.elman.training import (
    Training,
    accuracy_by_step,
    network_table,
    spectral,
    tidy,
    train_networks,
    weights_under,
)
from wavemem.records.experiment import Pieces, Result, Where, resumable
from wavemem.records.fields import Batch, Count, OneOf, Rungs, Runs, Share, Size
from wavemem.streams import run_seeds
from wavemem.theory.hds import repeat_copy
from wavemem.theory.spectrum import eigenvalues, theoretical_eigenvalues
from wavemem.training.curriculum import LadderCurriculum

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
class Config(Training):
    """Sizes and protocol: in "quick" seconds; in "paper" s = 8, d = 4, N = 128 (its N for repeat copy; for these figures it names
    none), 20,000 iterations.

    Attributes:
        hidden_size: number of neurons N.
        inits: among "uniform" and "gaussian".
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
    inits: tuple[Annotated[str, OneOf(INITS)], ...] = INITS
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


def _train(config: Config, init: str, seed: int, where: Where) -> Result:
    """Train and measure the networks of one initialisation."""
    task = repeat_copy(config.s, config.d)
    about = pd.DataFrame({"init": init, "seed": run_seeds(seed, config.runs)})
    seeds = about["seed"].tolist()
    ensemble, trained = train_networks(
        config,
        task,
        config.hidden_size,
        seeds,
        LadderCurriculum(config.horizons, config.threshold),
        where,
        init,
        "gaussian" if init == "gaussian" else "uniform",
        log_every=config.log_every,
        snapshots=(0,),
    )
    initial = trained.snapshots[0]["W_hh"]
    right = accuracy_by_step(ensemble, task, config.test_horizons[-1], seeds, config.test_batch).mean(-1)
    theory = theoretical_eigenvalues(task)
    measured = []
    for k, W_hh in enumerate(ensemble.W_hh):
        found = {
            "initial_radius": float(eigenvalues(initial[k]).abs().max()),
            **spectral(theory, W_hh, config.modulus),
        }
        measured.append({"run": k, "at": config.iterations, **{name: found[name] for name in FINAL}})
        for t in config.test_horizons:
            up_to, last = float(right[:t, k].mean()), float(right[t - config.s : t, k].mean())
            measured.append({"run": k, "at": t, "test_accuracy": up_to, "last_cycle": last})
    rows = tidy(trained.log.rename(columns={"iteration": "at"}), about, CURVES, measured, ("at",))
    return Result(rows, {**weights_under(init, ensemble.state_dict()), f"{init} initial W_hh": initial})


@resumable
def run(config: Config, seed: int) -> Pieces:
    """Train networks from both initialisations, with the same seeds and hence the same histories, and measure them.

    Rows (init, seed, at, quantity, value). Learning curves (`CURVES`): `at` is the iteration. After training, `at` being
    the last iteration: initial_radius and radius (largest modulus before and after), mean_modulus (over the persistent
    ones), n_theory and n_learned (eigenvalues above `Config.modulus`), above_one, angle_error (rad; NaN where the counts
    differ). For every test horizon `at`: test_accuracy (share of right signs up to it) and last_cycle (in the s steps before
    it). Weights "uniform W_hh", "uniform initial W_hh" and so on.
    """
    return {init: partial(_train, config, init, seed) for init in config.inits}


def by_network(rows: pd.DataFrame) -> pd.DataFrame:
    """One line per trained network.

    Returns:
        Columns init, seed, those of `FINAL`, and "test_accuracy at T" and "last_cycle at T" for every test horizon T.

    Raises:
        ValueError: if the rows lack the columns of `run`.
    """
    final = rows[~rows["quantity"].isin(CURVES)].copy()
    tested = final["quantity"].isin(("test_accuracy", "last_cycle"))
    final.loc[tested, "quantity"] += " at " + final.loc[tested, "at"].astype(int).astype(str)
    return network_table(final, ["init", "seed"], list(dict.fromkeys(final["quantity"])))


def summarise(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean and standard deviation over the seeds, one line per quantity, one pair of columns per initialisation."""
    table = by_network(rows).drop(columns="seed").groupby("init", sort=False)
    mean, sd = table.mean().T, table.std().T
    return (
        pd.concat({"mean": mean, "sd": sd}, axis=1).swaplevel(axis=1).sort_index(axis=1, level=0, sort_remaining=False)
    )
