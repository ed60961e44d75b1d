"""Training networks on the adding task, many settings and seeds at once, and what became of each of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.func import functional_call

from wavemem.checks import one_of
from wavemem.kernels.wave_cpu import own_threads
from wavemem.models.identity_rnn import IdentityRNN
from wavemem.models.recurrent import RecurrentNetwork
from wavemem.models.wave_rnn import WaveRNN
from wavemem.streams import stream
from wavemem.tasks.adding import BASELINE_MSE, SOLVED_MSE, AddingTask, adding_loss
from wavemem.training.generic import FitConfig, fit

__all__ = ["DIVERGED_MSE", "FATES", "MODELS", "Setting", "fates", "start", "train"]

MODELS: Final = ("wRNN", "iRNN")

FATES: Final = ("solved", "lost", "diverged", "stalled")
"""What can become of a run; see `fates`."""

DIVERGED_MSE: Final = 10 * BASELINE_MSE
"""An error that has left the level of the constant by a factor of ten."""


class Setting(NamedTuple):
    """How a network starts and is trained.

    Attributes:
        V_scale: size of its input weights, None for the published one.
        biases: whether its hidden units start with the random biases of the public code.
        lr: learning rate.
        clip: largest gradient norm.
    """

    V_scale: float | None
    biases: bool
    lr: float
    clip: float


def start(
    model: str, settings: Sequence[Setting], seeds: Sequence[int], units: int, channels: int = 1
) -> RecurrentNetwork:
    """Untrained networks, all seeds of a setting side by side: run i·len(seeds) + k has setting i and seed k.

    Args:
        model: "wRNN" (n = units, c = channels) or "iRNN" (N = units).
        settings: starts.
        seeds: one per run of a setting.
        units, channels: sizes.

    Raises:
        ValueError: If the model is unknown or a size is not allowed.
    """
    one_of("model", model, MODELS)
    drawn = []
    for setting in settings:
        own = {"V_scale": setting.V_scale, "biases": setting.biases}
        if model == "wRNN":
            drawn.append(WaveRNN.initialise(seeds, units, channels, 2, 1, **own).parameters_dict())  # type: ignore[arg-type]
        else:
            drawn.append(IdentityRNN.initialise(seeds, units, 2, 1, **own).parameters_dict())  # type: ignore[arg-type]
    stacked = {name: torch.cat([part[name] for part in drawn]) for name in drawn[0]}
    return WaveRNN(stacked) if model == "wRNN" else IdentityRNN(stacked)


def _batches(task: AddingTask, size: int, generators: Sequence[torch.Generator], device: torch.device) -> Any:
    drawn = [task.batch(size, generator, device) for generator in generators]
    return torch.stack([b.inputs for b in drawn], 1), torch.stack([b.targets for b in drawn])


def train(
    network: RecurrentNetwork,
    T: int,
    settings: Sequence[Setting],
    seeds: Sequence[int],
    training: FitConfig,
    batch: int,
    test_batch: int,
    progress: bool = True,
    label: str = "adding",
    checkpoint: Path | None = None,
    margin: int | None = None,
) -> tuple[pd.DataFrame, dict[str, Tensor]]:
    """Train an ensemble of settings × seeds and test it. All settings of a seed see the same sequences.

    Args:
        network: from `start`, where it shall be trained.
        T: length of the sequences.
        settings, seeds: those of the network; rates and clips are taken from the settings.
        training: updates, and how often they are logged.
        batch, test_batch: sequences per run and update, and of the test.
        progress, label, checkpoint: as in `fit`.
        margin: end the training when every run was solved at least so many updates ago, or has frozen; None: never.

    Returns:
        Rows (setting, seed, iteration, quantity, value), the setting by its number: "train MSE" along the training, and at
        its end "test MSE"; and the trained parameters.
    """
    device, task, S = network.V.device, AddingTask(T), len(settings)
    generators = [stream(seed, f"adding/{T}/training") for seed in seeds]

    def loss(parameters: dict[str, Tensor], done: int) -> Tensor:
        x, y = _batches(task, batch, generators, device)
        return adding_loss(functional_call(network, parameters, (x.repeat(1, S, 1, 1),)), y.repeat(S, 1))

    solved: dict[int, int] = {}

    def enough(rows: Sequence[Mapping[str, Any]]) -> bool:
        latest = rows[-network.K :]
        for row in rows if len(solved) == 0 else latest:
            if row["loss"] <= SOLVED_MSE:
                solved.setdefault(row["run"], row["iteration"])
        settled = [row for row in latest if row["iteration"] - solved.get(row["run"], np.inf) >= (margin or 0)]
        return len(settled) + sum(not row["finite"] and row["run"] not in solved for row in latest) == network.K

    training = FitConfig(
        training.iterations,
        lr=tuple(setting.lr for setting in settings for _ in seeds),
        clip=tuple(setting.clip for setting in settings for _ in seeds),
        log_every=training.log_every,
    )
    with own_threads():
        fitted = fit(
            network.parameters_dict(),
            loss,
            training,
            progress,
            label,
            checkpoint,
            generators,
            None if margin is None else enough,
        )
    log, count = fitted.log, len(seeds)
    rows = pd.DataFrame(
        {
            "setting": log["run"] // count,
            "seed": [seeds[k] for k in log["run"] % count],
            "iteration": log["iteration"],
            "quantity": "train MSE",
            "value": log["loss"].astype(float),
        }
    )
    trained = type(network).from_parameters(fitted.parameters)
    with torch.no_grad():
        x, y = _batches(task, test_batch, [stream(s, f"adding/{T}/test") for s in seeds], device)
        errors = adding_loss(trained(x.repeat(1, S, 1, 1)).double(), y.repeat(S, 1).double()).tolist()
    tests = pd.DataFrame(
        {
            "setting": [k // count for k in range(len(errors))],
            "seed": [seeds[k % count] for k in range(len(errors))],
            "iteration": int(log["iteration"].max()),
            "quantity": "test MSE",
            "value": errors,
        }
    )
    return pd.concat([rows, tests], ignore_index=True), fitted.parameters


def fates(rows: pd.DataFrame, keys: Sequence[str], margin: int, threshold: float = SOLVED_MSE) -> pd.DataFrame:
    """What became of every run, from its training errors.

    A run is *solved* if a logged error is at most the threshold and the median of the last five logged errors within
    `margin` updates of the first such one is so, too; *lost* if only the first holds. Of the others, one has *diverged* if its
    last logged error is not finite or above `DIVERGED_MSE`, and *stalled* otherwise. What happens later than `margin` updates
    after the task was first solved does not count, so that a run which is trained on has no disadvantage.

    Args:
        rows: with the columns `keys`, seed, iteration, quantity, value.
        keys: columns that tell the settings apart.
        margin: updates.
        threshold: error at which the task counts as solved.

    Returns:
        One line per setting and seed: `keys`, seed, "solved at" (NaN where it never was), "fate", "updates".
    """
    curves = rows[rows["quantity"] == "train MSE"]
    table = []
    for name, run in curves.groupby([*keys, "seed"], sort=False, dropna=False):
        own = run.sort_values("iteration")
        at, errors = own["iteration"].to_numpy(), own["value"].to_numpy(dtype=float)
        below = np.flatnonzero(errors <= threshold)
        first = float(at[below[0]]) if len(below) else float("nan")
        if len(below):
            late = errors[(at >= first) & (at <= first + margin)][-5:]
            fate = "solved" if np.median(np.nan_to_num(late, nan=np.inf)) <= threshold else "lost"
        else:
            fate = "stalled" if errors[-1] <= DIVERGED_MSE else "diverged"  # NaN is not <= anything
        line = dict(zip([*keys, "seed"], name, strict=True))
        table.append({**line, "solved at": first, "fate": fate, "updates": int(at[-1])})
    return pd.DataFrame(table)
