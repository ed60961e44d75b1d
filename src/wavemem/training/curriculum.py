"""Curricula: how long the output phase is at each iteration, run by run (TWM App. B.2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["Curriculum", "CurriculumState", "FixedHorizon", "LadderCurriculum", "MultiplicativeCurriculum"]


class CurriculumState(Protocol):
    """The horizons of K runs and the rule that moves them."""

    horizons: NDArray[np.int64]
    """Steps of the output phase of each run at the coming iteration, shape (K,)."""

    def update(self, accuracy: NDArray[np.float64], loss_by_step: Sequence[NDArray[np.float64]]) -> None:
        """Take in one iteration: the runs' accuracies, shape (K,), and each run's mean squared error at every step."""

    def state(self) -> dict[str, NDArray[Any]]:
        """Everything that changes while training, as arrays."""

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Go on from a state that `state` returned."""


class Curriculum(Protocol):
    """A recipe for the training horizon."""

    @property
    def largest(self) -> int:
        """The longest horizon that can occur."""

    def start(self, K: int) -> CurriculumState:
        """Return the state of K runs that have not trained yet."""


def _positive_horizons(horizons: Sequence[int]) -> None:
    if len(horizons) == 0 or any(horizon < 1 for horizon in horizons):
        raise ValueError(f"horizons are {tuple(horizons)}; allowed: integers >= 1. Give at least one step.")


def _thresholds(threshold: float | Sequence[float], K: int) -> NDArray[np.float64]:
    values = np.atleast_1d(np.asarray(threshold, dtype=np.float64))
    if values.size not in (1, K):
        raise ValueError(f"threshold has {values.size} values; allowed: one, or one per run ({K}). Match the runs.")
    return np.broadcast_to(values, (K,)).copy()


@dataclass
class _Fixed:
    horizons: NDArray[np.int64]

    def update(self, accuracy: NDArray[np.float64], loss_by_step: Sequence[NDArray[np.float64]]) -> None:
        return

    def state(self) -> dict[str, NDArray[Any]]:
        return {}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        return


@dataclass(frozen=True)
class FixedHorizon:
    """The same horizon from first to last iteration.

    Args:
        horizon: Steps of the output phase.
    """

    horizon: int

    def __post_init__(self) -> None:
        _positive_horizons((self.horizon,))

    @property
    def largest(self) -> int:
        """The horizon."""
        return self.horizon

    def start(self, K: int) -> CurriculumState:
        """Return the state of K runs."""
        return _Fixed(np.full(K, self.horizon, dtype=np.int64))


@dataclass
class _Ladder:
    ladder: NDArray[np.int64]
    threshold: NDArray[np.float64]
    rung: NDArray[np.int64]
    horizons: NDArray[np.int64]

    def update(self, accuracy: NDArray[np.float64], loss_by_step: Sequence[NDArray[np.float64]]) -> None:
        # NaN compares as False: a run that failed stays where it is.
        self.rung = np.minimum(self.rung + (accuracy > self.threshold), len(self.ladder) - 1)
        self.horizons = self.ladder[self.rung]

    def state(self) -> dict[str, NDArray[Any]]:
        return {"rung": self.rung}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        self.rung = state["rung"].copy()
        self.horizons = self.ladder[self.rung]


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
        _positive_horizons(self.horizons)
        if any(after <= before for before, after in zip(self.horizons, self.horizons[1:], strict=False)):
            raise ValueError(f"horizons are {self.horizons}; allowed: an increasing sequence. Sort them.")

    @property
    def largest(self) -> int:
        """The last rung."""
        return self.horizons[-1]

    def start(self, K: int) -> CurriculumState:
        """Return the state of K runs on the first rung."""
        rung = np.zeros(K, dtype=np.int64)
        ladder = np.asarray(self.horizons, dtype=np.int64)
        return _Ladder(ladder, _thresholds(self.threshold, K), rung, ladder[rung])


@dataclass
class _Multiplicative:
    settings: MultiplicativeCurriculum
    rolling: list[NDArray[np.float64] | None]
    exact: NDArray[np.float64]
    horizons: NDArray[np.int64]

    def update(self, accuracy: NDArray[np.float64], loss_by_step: Sequence[NDArray[np.float64]]) -> None:
        settings = self.settings
        for k, losses in enumerate(loss_by_step):
            early = np.asarray(losses[: settings.smallest], dtype=np.float64)
            if not np.isfinite(early).all():
                continue
            before = self.rolling[k]
            keep = settings.memory
            now = early if before is None else keep * before + (1.0 - keep) * early
            self.rolling[k] = now
            factor = settings.factor if now.mean() < settings.threshold else 1.0 / settings.factor
            self.exact[k] = min(max(self.exact[k] * factor, settings.smallest), settings.largest)
        self._round()

    def _round(self) -> None:
        self.horizons = np.floor(self.exact + 1e-9).astype(np.int64)

    def state(self) -> dict[str, NDArray[Any]]:
        # NaN stands for a run whose average has not begun.
        empty = np.full(self.settings.smallest, np.nan)
        return {"exact": self.exact, "rolling": np.stack([empty if r is None else r for r in self.rolling])}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        self.exact = state["exact"].copy()
        self.rolling = [None if np.isnan(row).any() else row.copy() for row in state["rolling"]]
        self._round()


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
        _positive_horizons((self.smallest, self.largest))
        if self.largest < self.smallest:
            raise ValueError(f"largest is {self.largest}; allowed: at least smallest = {self.smallest}. Exchange them.")
        if not self.factor > 1.0:
            raise ValueError(f"factor is {self.factor}; allowed: numbers > 1. The paper has 1.2.")
        if not 0.0 <= self.memory < 1.0:
            raise ValueError(f"memory is {self.memory}; allowed: 0 <= memory < 1. Give the weight of the past.")

    def start(self, K: int) -> CurriculumState:
        """Return the state of K runs at the smallest horizon."""
        exact = np.full(K, float(self.smallest))
        return _Multiplicative(self, [None] * K, exact, np.full(K, self.smallest, dtype=np.int64))
