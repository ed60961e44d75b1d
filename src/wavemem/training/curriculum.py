"""Curricula: how long the output phase is at each iteration, run by run (TWM App. B.2)."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wavemem.checks import require
from wavemem.training.fit import per_run


@dataclass
class _Ladder:
    """The horizons of K runs on the ladder, and the rule that moves them."""

    ladder: NDArray[np.int64]
    threshold: NDArray[np.float64]
    rung: NDArray[np.int64]

    @property
    def horizons(self) -> NDArray[np.int64]:
        """Steps of the output phase of each run at the coming iteration, shape (K,)."""
        return self.ladder[self.rung]

    def update(self, accuracy: NDArray[np.float64], loss_by_step: Sequence[NDArray[np.float64]]) -> None:
        """Take in one iteration: the runs' accuracies, shape (K,), and each run's mean squared error at every step."""
        # NaN compares as False: a run that failed stays where it is.
        np.minimum(self.rung + (accuracy > self.threshold), len(self.ladder) - 1, out=self.rung)

    def state(self) -> dict[str, Tensor]:
        """Everything that changes while training; `update` changes these tensors in place."""
        return {"rung": torch.from_numpy(self.rung)}


@dataclass(frozen=True)
class LadderCurriculum:
    """Horizons stepped up, never down, when a batch's accuracy exceeds a threshold (what produced TWM Table 1).

    Args:
        horizons: The rungs, in increasing order.
        threshold: Share of right signs that a batch must exceed; one, or one per run.
    """

    horizons: tuple[int, ...] = (10, 20, 40, 60, 100)
    threshold: float | tuple[float, ...] = 0.98

    def __post_init__(self) -> None:
        rising = all(before < after for before, after in itertools.pairwise((0, *self.horizons)))
        known = rising and len(self.horizons) > 0
        require(known, f"horizons = {self.horizons}", "an increasing sequence of integers >= 1", "Sort them.")

    def start(self, K: int) -> _Ladder:
        """Return the state of K runs on the first rung."""
        ladder = np.asarray(self.horizons, dtype=np.int64)
        return _Ladder(ladder, per_run("threshold", self.threshold, K).numpy(), np.zeros(K, dtype=np.int64))


def fixed_horizon(horizon: int) -> LadderCurriculum:
    """The same number of steps of the output phase from first to last iteration: a ladder of one rung."""
    return LadderCurriculum((horizon,))


@dataclass
class _Multiplicative:
    """The same of the other curriculum; `rolling` averages the first losses, (K, smallest), NaN where it has not begun."""

    settings: MultiplicativeCurriculum
    rolling: NDArray[np.float64]
    exact: NDArray[np.float64]

    @property
    def horizons(self) -> NDArray[np.int64]:
        return np.floor(self.exact + 1e-9).astype(np.int64)

    def update(self, accuracy: NDArray[np.float64], loss_by_step: Sequence[NDArray[np.float64]]) -> None:
        settings = self.settings
        for k, losses in enumerate(loss_by_step):
            early = np.asarray(losses[: settings.smallest], dtype=np.float64)
            if not np.isfinite(early).all():
                continue
            own, keep = self.rolling[k], settings.memory
            own[:] = early if np.isnan(own).any() else keep * own + (1.0 - keep) * early
            factor = settings.factor if own.mean() < settings.threshold else 1.0 / settings.factor
            self.exact[k] = min(max(self.exact[k] * factor, settings.smallest), settings.largest)

    def state(self) -> dict[str, Tensor]:
        return {"exact": torch.from_numpy(self.exact), "rolling": torch.from_numpy(self.rolling)}


@dataclass(frozen=True)
class MultiplicativeCurriculum:
    """Horizon times γ while the early loss is below a threshold, divided by γ while it is above (TWM App. B.2, Table 2).

    The paper keeps "a rolling average of the loss by timestep" and compares it for t ≤ H_min with ε = 3e-2. It does not
    say over how long the average rolls nor how the steps are joined; here it is an exponential average and the mean
    over the first H_min steps.

    Args:
        smallest: H_min, where the horizon starts.
        largest: H_max.
        factor: γ.
        threshold: ε, on the mean squared error.
        memory: Weight of the past in the rolling average, 0 ≤ memory < 1.
    """

    smallest: int = 10
    largest: int = 100
    factor: float = 1.2
    threshold: float = 3e-2
    memory: float = 0.9

    def __post_init__(self) -> None:
        horizons, fine = f"smallest = {self.smallest}, largest = {self.largest}", 1 <= self.smallest <= self.largest
        require(fine, horizons, "1 <= smallest <= largest", "Give the shortest and the longest horizon.")
        require(self.factor > 1.0, f"factor = {self.factor}", "numbers > 1", "The paper has 1.2.")
        require(0.0 <= self.memory < 1.0, f"memory = {self.memory}", "0 <= memory < 1", "Give the weight of the past.")

    def start(self, K: int) -> _Multiplicative:
        """Return the state of K runs at the smallest horizon."""
        return _Multiplicative(self, np.full((K, self.smallest), np.nan), np.full(K, float(self.smallest)))


Curriculum = LadderCurriculum | MultiplicativeCurriculum
