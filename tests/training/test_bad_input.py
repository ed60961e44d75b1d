"""What the training loop, its curricula and its readings cannot work with is named."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from wavemem.records.comparisons import at_least_times, learning_speed, smoothed
from wavemem.training.curriculum import LadderCurriculum, MultiplicativeCurriculum, fixed_horizon
from wavemem.training.fit import EnsembleAdam, FitConfig, fit


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: EnsembleAdam([torch.zeros(2, 3), torch.zeros(3, 3)]), "one K"),
        (lambda: EnsembleAdam([torch.zeros(2, 3)], lr=-1.0), "lr"),
        (lambda: EnsembleAdam([torch.zeros(2, 3)], weight_decay=(1.0, 1.0, 1.0)), "weight_decay"),
        (lambda: fit({}, lambda p, i: p["x"], FitConfig(1)), "parameters"),
        (lambda: fit({"x": torch.ones(2)}, lambda p, i: p["x"].sum(), FitConfig(1), progress=False), r"shape \(\)"),
        (lambda: FitConfig(0), "iterations"),
        (lambda: FitConfig(1, snapshots=(2,)), "snapshots"),
        (lambda: FitConfig(6, gamma=-1.0), "gamma"),
        (lambda: FitConfig(5, schedule="cosine"), "schedule"),  # type: ignore[arg-type]
        (lambda: FitConfig(5, warmup=-1), "warmup"),
        (lambda: LadderCurriculum((20, 10)), "horizons"),
        (lambda: fixed_horizon(0), "horizons"),
        (lambda: LadderCurriculum(threshold=(0.9, 0.9)).start(3), "threshold"),
        (lambda: MultiplicativeCurriculum(factor=1.0), "factor"),
        (lambda: MultiplicativeCurriculum(memory=1.0), "memory"),
        (lambda: MultiplicativeCurriculum(smallest=10, largest=5), "largest"),
        (lambda: learning_speed([1, 2], [1.0], 1.0), "allowed"),
        (lambda: learning_speed([2, 1], [1.0, 1.0], 1.0), "allowed"),
        (lambda: learning_speed([1, 2], [1.0, 1.0], 0.0), "allowed"),
        (lambda: learning_speed([1, 2], [1.0, 1.0], 1.0, above=0.1, below=0.9), "allowed"),
        (lambda: learning_speed([1, 2], [1.0, 1.0], 1.0, window=0), "allowed"),
        (lambda: smoothed([]), "allowed"),
        (lambda: at_least_times(1, 2, 0), "allowed"),
    ],
)
def test_bad_input_is_explained(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
