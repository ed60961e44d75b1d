"""The rules of `wavemem.training.curriculum` on tensors of a device, so that a training need not wait to apply them."""

from __future__ import annotations

from typing import Protocol

import torch
from jaxtyping import Float, Int
from torch import Tensor

from wavemem.training.curriculum import CurriculumState, _Fixed, _Ladder, _Multiplicative

__all__ = ["DeviceCurriculum", "on_device"]


class DeviceCurriculum(Protocol):
    """The horizons of K runs and the rule that moves them, on a device."""

    horizons: Int[Tensor, " K"]
    """Steps of the output phase of each run at the coming iteration."""

    def update(self, accuracy: Float[Tensor, " K"], loss_by_step: Float[Tensor, "horizon K"]) -> None:
        """Take in one iteration, both float64; steps after a run's horizon are not looked at."""

    def settle(self) -> None:
        """Bring the state back into the `CurriculumState` that this one was made from; waits for the device."""


class _DeviceFixed:
    def __init__(self, state: _Fixed, device: torch.device) -> None:
        self.horizons = torch.from_numpy(state.horizons).to(device)

    def update(self, accuracy: Tensor, loss_by_step: Tensor) -> None:
        return

    def settle(self) -> None:
        return


class _DeviceLadder:
    def __init__(self, state: _Ladder, device: torch.device) -> None:
        self._state = state
        self._ladder = torch.from_numpy(state.ladder).to(device)
        self._threshold = torch.from_numpy(state.threshold).to(device)
        self._rung = torch.from_numpy(state.rung).to(device)
        self.horizons = self._ladder[self._rung]

    def update(self, accuracy: Tensor, loss_by_step: Tensor) -> None:
        self._rung = (self._rung + (accuracy > self._threshold)).clamp(max=len(self._ladder) - 1)
        self.horizons = self._ladder[self._rung]

    def settle(self) -> None:
        self._state.restore({"rung": self._rung.cpu().numpy()})


class _DeviceMultiplicative:
    def __init__(self, state: _Multiplicative, device: torch.device) -> None:
        self._state = state
        arrays = state.state()
        self._exact = torch.from_numpy(arrays["exact"]).to(device)
        self._rolling = torch.from_numpy(arrays["rolling"]).to(device)
        self.horizons = torch.from_numpy(state.horizons).to(device)

    def update(self, accuracy: Tensor, loss_by_step: Tensor) -> None:
        settings = self._state.settings
        early = loss_by_step[: settings.smallest].t()
        finite = torch.isfinite(early).all(1)
        # NaN stands for an average that has not begun.
        averaged = settings.memory * self._rolling + (1.0 - settings.memory) * early
        now = torch.where(torch.isnan(self._rolling), early, averaged)
        self._rolling = torch.where(finite[:, None], now, self._rolling)
        low = now.mean(1) < settings.threshold
        moved = torch.where(low, self._exact * settings.factor, self._exact * (1.0 / settings.factor))
        moved = moved.clamp(settings.smallest, settings.largest)
        self._exact = torch.where(finite, moved, self._exact)
        self.horizons = torch.floor(self._exact + 1e-9).to(torch.int64)

    def settle(self) -> None:
        self._state.restore({"exact": self._exact.cpu().numpy(), "rolling": self._rolling.cpu().numpy()})


def on_device(state: CurriculumState, device: torch.device) -> DeviceCurriculum | None:
    """Return the same rule in the same state on a device; None for a rule that this module does not know."""
    if isinstance(state, _Fixed):
        return _DeviceFixed(state, device)
    if isinstance(state, _Ladder):
        return _DeviceLadder(state, device)
    if isinstance(state, _Multiplicative):
        return _DeviceMultiplicative(state, device)
    return None
