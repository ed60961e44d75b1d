"""Curricula: when horizons grow and shrink."""

from __future__ import annotations

import numpy as np
import pytest

from wavemem.training.curriculum import LadderCurriculum, MultiplicativeCurriculum


def test_ladder_steps_up_above_the_threshold_and_never_down() -> None:
    state = LadderCurriculum((10, 20, 40), threshold=(0.9, 0.98)).start(2)
    seen = []
    for value in (0.9, 0.95, 0.99, 0.5, float("nan"), 1.0, 1.0):  # 0.9 is not above the threshold
        state.update(np.full(2, value), [])
        seen.append(state.horizons.tolist())
    assert seen == [[10, 10], [20, 10], [40, 20], [40, 20], [40, 20], [40, 40], [40, 40]]


def test_multiplicative_curriculum_follows_the_early_loss() -> None:
    state = MultiplicativeCurriculum(10, 100, factor=1.2, threshold=3e-2, memory=0.0).start(2)
    good, bad = np.full(10, 1e-3), np.full(10, 1.0)
    state.update(np.ones(2), [good, bad])
    assert state.horizons.tolist() == [12, 10]
    for _ in range(20):
        state.update(np.ones(2), [np.concatenate([good, np.full(90, 5.0)]), bad])
    assert state.horizons.tolist() == [100, 10]
    state.update(np.ones(2), [bad, np.full(10, np.nan)])
    assert state.horizons.tolist() == [83, 10]


@pytest.mark.parametrize(
    ("memory", "losses", "horizons"),
    [
        (0.75, (0.25, 0.5, 5.0, 0.0, 0.5), [20, 40, 20, 10, 10]),  # rolling means 0.25, 0.3125, 1.48, 1.11, 0.96
        (0.0, (0.25, 0.5), [20, 10]),  # 0.5 is not below the threshold
    ],
)
def test_the_early_loss_is_a_rolling_mean(memory: float, losses: tuple[float, ...], horizons: list[int]) -> None:
    state, seen = MultiplicativeCurriculum(10, 100, factor=2.0, threshold=0.5, memory=memory).start(1), []
    for loss in losses:
        state.update(np.ones(1), [np.full(10, loss)])
        seen.append(int(state.horizons[0]))
    assert seen == horizons
