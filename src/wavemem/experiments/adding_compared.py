"""The adding task with every network at its best: how many runs solve it, how soon, and what becomes of the others.

Two networks, two starts each: as the paper starts and trains them (its Table 6), and as `wavemem.experiments.adding_search`
found best. Every contestant sees the same sequences, equally many in every update, and has the same number of updates; one
whose runs have all solved the task and kept it for `margin` updates stops there. Reduced: c = 16 rings, batches of 32.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final

import pandas as pd
import torch
from torch import Tensor

from wavemem.checks import one_of, require
from wavemem.experiments._adding_training import DIVERGED_MSE, FATES, Setting, fates, start, train
from wavemem.experiments.adding import BEST
from wavemem.experiments.copying import networks
from wavemem.records.experiment import PROFILES, Result
from wavemem.records.fields import Batch, Count, Items, OneOf, Runs, Size, Within, check_fields
from wavemem.streams import run_seeds
from wavemem.training.generic import FitConfig
from wavemem.training.pieces import work_through

__all__ = ["CONTESTANTS", "SEARCHED", "Config", "by_run", "networks", "run", "setting", "summarise"]

CONTESTANTS: Final = ("wRNN published", "wRNN searched", "iRNN published", "iRNN searched")

SEARCHED: Final = {  # without its type, whose name the reference could not tell from another module's
    "wRNN": {
        100: Setting(1.0, True, 3e-3, 1.0),
        200: Setting(1.0, True, 1e-3, 1.0),
        400: Setting(1.0, True, 1e-3, 1.0),
    },
    "iRNN": {
        100: Setting(0.1, False, 1e-3, 1.0),
        200: Setting(0.1, False, 1e-3, 1.0),
        400: Setting(0.1, False, 1e-4, 1.0),
    },
}
"""What the search found: model → T → setting. A length that was not searched takes the next shorter one's."""


@dataclass(frozen=True)
class Config:
    """Sizes and training.

    Attributes:
        contestants: among `CONTESTANTS`.
        lengths: lengths T of the sequences.
        runs: seeds, one number per length.
        updates: updates at most, one number per length.
        units, channels: n and c of the Wave-RNN, N of the iRNN.
        batch, test_batch: sequences per run and update, and of the test.
        log_every: updates between two rows, which is also how finely "solved" is resolved.
        margin: for how many updates a solved task has to stay solved, see `_adding_training.fates`.
    """

    PARTS: ClassVar = ("contestants", "lengths", "runs")

    contestants: tuple[Annotated[str, OneOf(CONTESTANTS)], ...] = CONTESTANTS
    lengths: tuple[Annotated[int, Within(2, 100_000)], ...] = (100, 200, 400)
    runs: Annotated[tuple[Runs, ...], Items(repeat=True)] = (5, 5, 3)
    updates: Annotated[tuple[Count, ...], Items(repeat=True)] = (1500, 2000, 2000)
    units: Size = 100
    channels: Size = 16
    batch: Batch = 32
    test_batch: Batch = 1000
    log_every: Count = 10
    margin: Count = 200

    def __post_init__(self) -> None:
        check_fields(self)
        require(
            min(len(self.runs), len(self.updates)) >= len(self.lengths),
            f"{len(self.runs)} numbers of runs and {len(self.updates)} of updates for {len(self.lengths)} lengths",
            "one of each per length",
            "Give runs and updates as many entries as lengths.",
        )

    @classmethod
    def profile(cls, name: str) -> Config:
        """The two sizes of the book.

        Args:
            name: "quick": the size of the committed record; a chapter trains a part of it live. "paper": the paper's network,
                lengths, batch and updates.

        Raises:
            ValueError: If there is no such profile.
        """
        one_of("profile", name, PROFILES)
        if name == "quick":
            return cls()
        return cls(lengths=(100, 200, 400, 700, 1000), runs=5 * (3,), updates=5 * (60_000,), channels=27, batch=128)


def setting(contestant: str, T: int) -> Setting:
    """How a contestant starts and is trained on sequences of T steps.

    Raises:
        ValueError: If there is no such contestant.
    """
    one_of("contestant", contestant, CONTESTANTS)
    model, kind = contestant.split()
    if kind == "searched":
        table = SEARCHED[model]
        return table[max((known for known in table if known <= T), default=min(table))]
    published = BEST[model]
    return Setting(None, True, *published[min((known for known in published if known >= T), default=max(published))])


def _piece(
    config: Config, contestant: str, place: int, seed: int, device: torch.device, progress: bool, path: Path | None
) -> tuple[pd.DataFrame, dict[str, Tensor]]:
    """One contestant at one length."""
    T, seeds, own = (
        config.lengths[place],
        run_seeds(seed, config.runs[place]),
        setting(contestant, config.lengths[place]),
    )
    network = start(contestant.split()[0], [own], seeds, config.units, config.channels).to(device)
    training = FitConfig(config.updates[place], log_every=config.log_every)
    sizes, label = (config.batch, config.test_batch), f"adding T = {T}, {contestant}"
    found, parameters = train(network, T, [own], seeds, training, *sizes, progress, label, path, config.margin)
    last = int(found["iteration"].max())
    counts = {"parameters": network.parameter_count(), "state": network.hidden}
    extra = [
        {"seed": own_seed, "iteration": last, "quantity": quantity, "value": float(count)}
        for own_seed in seeds
        for quantity, count in counts.items()
    ]
    rows = pd.concat([found, pd.DataFrame(extra)], ignore_index=True).assign(contestant=contestant, T=T)
    weights = {f"{contestant}/T{T}/{name}": value.cpu() for name, value in parameters.items()}
    return rows[["contestant", "T", "seed", "iteration", "quantity", "value"]], weights


def run(
    config: Config,
    seed: int,
    device: torch.device | str = "cpu",
    progress: bool = True,
    checkpoints: Path | None = None,
) -> Result:
    """Train every contestant at every length.

    Args:
        config: sizes.
        seed: the base seed; another than the search's.
        device: where to train.
        progress: whether to report progress.
        checkpoints: folder from which a run that was stopped goes on, and which processes may share; None for none.

    Returns:
        Rows (contestant, T, seed, iteration, quantity, value): "train MSE" along the training, and at its end "test MSE",
        "parameters" (without biases) and "state" (numbers kept from step to step). Weights "<contestant>/T<T>/<name>".
    """
    device = torch.device(device)
    pieces: dict[str, Callable[[Path | None], tuple[pd.DataFrame, dict[str, Tensor]]]] = {
        f"{contestant.replace(' ', '_')}-T{T}": partial(_piece, config, contestant, place, seed, device, progress)
        for place, T in enumerate(config.lengths)
        for contestant in config.contestants
    }
    done = work_through(pieces, checkpoints).values()
    weights = {name: value for _, kept in done for name, value in kept.items()}
    return Result(pd.concat([rows for rows, _ in done], ignore_index=True), weights)


def by_run(rows: pd.DataFrame, margin: int = Config.margin) -> pd.DataFrame:
    """One line per run: contestant, T, seed, "solved at", "fate", "updates", "test MSE".

    A run whose gradient has overflowed is frozen, and its error on the last training batch can look harmless: one that stalled
    with a test error above `DIVERGED_MSE` has diverged. (This was added after the first records were seen.)
    """
    table = fates(rows, ["contestant", "T"], margin)
    tests = rows[rows["quantity"] == "test MSE"].rename(columns={"value": "test MSE"})
    table = table.merge(tests[["contestant", "T", "seed", "test MSE"]], on=["contestant", "T", "seed"])
    overflown = (table["fate"] == "stalled") & ~(table["test MSE"] <= DIVERGED_MSE)
    return table.assign(fate=table["fate"].mask(overflown, "diverged"))


def summarise(rows: pd.DataFrame, margin: int = Config.margin) -> pd.DataFrame:
    """One line per contestant and length.

    Returns:
        Columns contestant, T, parameters, state, n, the number of runs of each fate, "median" (updates until solved, of those
        that solved it and kept it), "median test MSE" (of all runs: one that diverged does not move it).
    """
    runs, table = by_run(rows, margin), []
    for (contestant, T), own in runs.groupby(["contestant", "T"], sort=False):
        of = rows[(rows["contestant"] == contestant) & (rows["T"] == T)]
        line: dict[str, Any] = {"contestant": contestant, "T": T}
        for quantity in ("parameters", "state"):
            line[quantity] = int(of.loc[of["quantity"] == quantity, "value"].iloc[0])
        line["n"] = len(own)
        line |= {fate: int((own["fate"] == fate).sum()) for fate in FATES}
        line["median"] = float(own.loc[own["fate"] == "solved", "solved at"].median())
        line["median test MSE"] = float(own["test MSE"].fillna(float("inf")).median())
        table.append(line)
    return pd.DataFrame(table)
