"""How the experiments of Parts I and II train Elman networks, and how they note what they measure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from jaxtyping import Complex, Float
from torch import Tensor

from wavemem.checks import one_of
from wavemem.elman.network import ElmanEnsemble, Initialisation
from wavemem.records.experiment import Configuration, Where
from wavemem.records.fields import Batch, Clip, Count, Rate, Rungs, Runs, Size
from wavemem.theory.hds import HDS
from wavemem.theory.spectrum import angle_error, eigenvalues
from wavemem.training.curriculum import Curriculum
from wavemem.training.ensemble import train
from wavemem.training.generic import FitConfig, FitResult


@dataclass(frozen=True)
class Training(Configuration):
    """What all experiments with Elman networks have.

    Attributes:
        s, d: columns and waves of the task.
        runs: seeds per setting; see `wavemem.streams.run_seeds`.
        iterations, batch, lr, clip: as in `FitConfig` and `wavemem.training.ensemble.train`.
        horizons: rungs of the curriculum, in steps of the output phase; the test is at twice the last.
    """

    s: Size = 4
    d: Size = 4
    runs: Runs = 4
    iterations: Count = 3000
    batch: Batch = 64
    lr: Rate = 1e-3
    clip: Clip = 1.0
    horizons: Rungs = (10, 20, 40, 60)

    @property
    def test_horizon(self) -> int:
        """Steps of the output phase in the test: twice the longest of the training."""
        return 2 * self.horizons[-1]


def train_networks(
    config: Training,
    task: HDS,
    hidden_size: int,
    seeds: Sequence[int],
    curriculum: Curriculum,
    where: Where,
    label: str,
    init: Initialisation = "uniform",
    **settings: Any,
) -> tuple[ElmanEnsemble, FitResult]:
    """Draw one network per seed and train it; `settings` are further fields of `FitConfig`, or replace the configuration's."""
    ensemble = ElmanEnsemble.initialise(seeds, hidden_size, config.d, init=init, device=where.device)
    training = FitConfig(**{"iterations": config.iterations, "lr": config.lr, "clip": config.clip, **settings})
    result = train(ensemble, task, training, seeds, curriculum, config.batch, where.progress, label, where.checkpoint)
    return ensemble, result


def spectral(theory: Complex[Tensor, " n"], W_hh: Float[Tensor, "N N"], modulus: float) -> dict[str, float]:
    """What is read off a network's eigenvalues, of which those of larger modulus than `modulus` are counted.

    Returns:
        n_theory and n_learned (how many are counted), modulus_min, modulus_max and mean_modulus (over those learned), radius
        (largest of all), above_one (how many are outside the unit circle), angle_error (rad, greedy pairing as in the
        paper); NaN where nothing is counted or the counts differ.
    """
    learned = eigenvalues(W_hh)
    moduli = learned.abs()
    lasting = moduli[moduli > modulus]
    error = angle_error(theory, learned, modulus=modulus)
    some = len(lasting) > 0
    return {
        "n_theory": float(error.n_theory),
        "n_learned": float(error.n_learned),
        "modulus_min": float(lasting.min()) if some else float("nan"),
        "modulus_max": float(lasting.max()) if some else float("nan"),
        "mean_modulus": float(lasting.mean()) if some else float("nan"),
        "radius": float(moduli.max()),
        "above_one": float((moduli > 1).sum()),
        "angle_error": error.error,
    }


def tidy(
    log: pd.DataFrame,
    about: pd.DataFrame,
    curves: Sequence[str],
    measured: Sequence[Mapping[str, Any]],
    at: Sequence[str] = ("iteration",),
) -> pd.DataFrame:
    """Rows of a result: the learning curves, one quantity after the other, then what was measured, in its order.

    Args:
        log: from `train_networks`.
        about: one line per run: its setting and its seed.
        curves: columns of the log that are kept.
        measured: "run", the columns `at`, and quantities.
        at: what says when something was measured.

    Returns:
        The columns of `about`, those of `at`, quantity, value.
    """
    keys = ["run", *at]
    curve = log.melt(keys, list(curves), var_name="quantity", value_name="value")
    final = [
        {**{key: line[key] for key in keys}, "quantity": quantity, "value": value}
        for line in measured
        for quantity, value in line.items()
        if quantity not in keys
    ]
    rows = pd.concat([curve, pd.DataFrame(final)], ignore_index=True)
    return about.loc[rows.pop("run")].reset_index(drop=True).join(rows).astype({"value": float})


def by_network(rows: pd.DataFrame, keys: Sequence[str], quantities: Sequence[str]) -> pd.DataFrame:
    """One line per trained network, which the columns `keys` tell apart: these, and the quantities measured at the end.

    Raises:
        ValueError: if the rows lack a column.
    """
    for column in (*keys, "quantity", "value"):
        one_of("column", column, rows.columns)
    final = rows[rows["quantity"].isin(quantities)]
    table = final.pivot(index=list(keys), columns="quantity", values="value")[list(quantities)]
    table.columns.name = None
    return table.reset_index()


def weights_under(
    name: str, tensors: Mapping[str, Tensor], which: slice | Sequence[int] = slice(None)
) -> dict[str, Tensor]:
    """Weights of a result, called "<name> <own name>", of some of the runs."""
    return {f"{name} {own}": value.detach().cpu()[which].clone() for own, value in tensors.items()}
