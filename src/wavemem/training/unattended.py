"""Training iterations on a CUDA device during which the processor never waits for it.

A kernel launch costs the processor microseconds and the device works through a queue of them; but every number that the
processor asks for empties the queue first. Here horizons, curricula, losses and accuracies stay on the device, histories
are drawn ahead of time by other threads and copied while the device is busy, and numbers are fetched only when a row of
the log or a checkpoint is due. The protocol is that of `wavemem.training.ensemble`: the same histories from the same
streams, the same curriculum, the same updates.

Every iteration has the curriculum's longest horizon: how many steps are needed is not known on the processor. The scan of
a run ends at its own horizon all the same; only the products over all steps, which are a small part, are computed in full.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from wavemem.checks import require
from wavemem.kernels.elman import loss_and_gradients
from wavemem.models.elman import ElmanEnsemble
from wavemem.tasks.hds import HDS
from wavemem.training.device_curriculum import DeviceCurriculum
from wavemem.training.optimiser import EnsembleAdam

__all__ = ["Ahead", "Measured", "UnattendedLoop"]

_AHEAD = 3
"""Batches drawn before they are needed."""


@dataclass(frozen=True)
class Measured:
    """One iteration of all runs, as lists of Python numbers."""

    horizons: list[int]
    losses: list[float]
    accuracy: list[float]
    norms: list[float]
    alive: list[bool]


class Ahead:
    """Draws the histories of coming iterations in a thread of its own, run by run from its stream.

    The runs' generators are left alone; `settle` puts them where they would be had they been used directly.

    Args:
        generators: One per run.
        batch, s, d: Sizes of a batch of histories.
        pinned: Whether to put batches into page-locked memory, from which a device copies by itself.
        count: Batches that will be taken.
        threads: Threads that share the runs between them.
    """

    def __init__(
        self,
        generators: Sequence[torch.Generator],
        batch: int,
        s: int,
        d: int,
        pinned: bool,
        count: int,
        threads: int = 4,
    ) -> None:
        self._generators = generators
        self._own = [torch.Generator().set_state(generator.get_state()) for generator in generators]
        self._shape = (batch, s, d)
        self._pinned = pinned
        self._states: list[Tensor] | None = None
        self._queue: queue.Queue[tuple[Tensor, list[Tensor]] | BaseException] = queue.Queue(_AHEAD)
        self._end = threading.Event()
        self._threads = threads
        self._thread = threading.Thread(target=self._work, args=(count,), name="histories", daemon=True)
        self._thread.start()

    def _draw(self, pool: ThreadPoolExecutor) -> tuple[Tensor, list[Tensor]]:
        bits = torch.empty((len(self._own), *self._shape), dtype=torch.int64)

        def some(first: int) -> None:
            for k in range(first, len(self._own), self._threads):
                torch.randint(0, 2, self._shape, generator=self._own[k], out=bits[k])

        list(pool.map(some, range(self._threads)))
        states = [generator.get_state() for generator in self._own]
        signs = bits.to(torch.int8).mul_(2).sub_(1)
        return (signs.pin_memory() if self._pinned else signs), states

    def _hand_over(self, item: tuple[Tensor, list[Tensor]] | BaseException) -> bool:
        """Put something into the queue; False if nobody wants it any more."""
        while not self._end.is_set():
            try:
                self._queue.put(item, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def _work(self, count: int) -> None:
        try:
            with ThreadPoolExecutor(self._threads) as pool:
                for _ in range(count):
                    if not self._hand_over(self._draw(pool)):
                        return
            self._hand_over(
                ValueError(f"{count} batches were taken; allowed: no more. Ask for more of them at the start.")
            )
        except BaseException as error:  # handed to the thread that waits for the batch
            self._hand_over(error)

    def take(self) -> Tensor:
        """Return the next batch, int8 of shape (K, batch, s, d).

        Raises:
            ValueError: If all batches were taken.
        """
        drawn = self._queue.get()
        if isinstance(drawn, BaseException):
            raise drawn
        self._states = drawn[1]
        return drawn[0]

    def settle(self) -> None:
        """Put the runs' generators where they are after the batches that were taken."""
        if self._states is not None:
            for generator, state in zip(self._generators, self._states, strict=True):
                generator.set_state(state)

    def close(self) -> None:
        """End the thread."""
        self._end.set()
        self._thread.join()


class UnattendedLoop:
    """The iterations of `wavemem.training.ensemble.train`, queued on a device.

    Args:
        ensemble: The networks, on the device.
        task: What they learn.
        optimiser: Of the networks' parameters.
        curriculum: The rule, on the device.
        largest: The longest horizon that can occur.
        generators: Of the runs' data, on the CPU.
        batch: Histories per run and iteration.
        iterations: How often `step` will be called.

    Raises:
        ValueError: If the curriculum's longest horizon is less than one step.
    """

    def __init__(
        self,
        ensemble: ElmanEnsemble,
        task: HDS,
        optimiser: EnsembleAdam,
        curriculum: DeviceCurriculum,
        largest: int,
        generators: Sequence[torch.Generator],
        batch: int,
        iterations: int,
    ) -> None:
        require(largest >= 1, f"largest = {largest}", "1 or more", "Give the curriculum at least one step.")
        self._ensemble, self._task, self._optimiser = ensemble, task, optimiser
        self._curriculum, self._largest = curriculum, largest
        pinned = ensemble.W_hh.device.type == "cuda"
        self._ahead = Ahead(generators, batch, task.s, task.d, pinned, iterations)
        self._last: tuple[Tensor, ...] | None = None
        self._seen: tuple[float | None, float | None] = (None, None)

    def step(self) -> None:
        """Queue one iteration: a batch, forward, back, the update, the curriculum."""
        self._advance(self._ahead.take())

    @torch.no_grad()
    def _advance(self, signs: Tensor) -> None:
        ensemble, horizons = self._ensemble, self._curriculum.horizons
        W_hh, W_uh, W_r = (p.detach() for p in (ensemble.W_hh, ensemble.W_uh, ensemble.W_r))
        u = signs.to(W_hh.device, non_blocking=True).to(W_hh.dtype)
        targets = self._task.targets(u, self._largest)
        result = loss_and_gradients(W_hh, W_uh, W_r, u, targets, ensemble.activation, horizons)
        own = torch.arange(self._largest, device=W_hh.device)[:, None] < horizons
        errors = _within(result.loss_by_step, own)
        losses = errors.sum(0) / horizons
        accuracy = _within(result.accuracy_by_step, own).sum(0) / horizons
        norms = self._optimiser.step(result.gradients, losses)
        self._last = (horizons, losses, accuracy, norms, self._optimiser.alive)
        self._curriculum.update(accuracy, errors)

    def measured(self) -> Measured:
        """Fetch what the last iteration measured; waits for the device.

        Raises:
            ValueError: If there was none.
        """
        require(self._last is not None, "no iteration so far", "one or more", "Call step first.")
        assert self._last is not None
        horizons, losses, accuracy, norms, alive = self._last
        numbers = torch.stack([horizons.double(), losses, accuracy, norms, alive.double()]).tolist()
        losses_seen, accuracy_seen = numbers[1], numbers[2]
        self._seen = sum(losses_seen) / len(losses_seen), sum(accuracy_seen) / len(accuracy_seen)
        return Measured(
            [int(value) for value in numbers[0]],
            losses_seen,
            accuracy_seen,
            numbers[3],
            [bool(value) for value in numbers[4]],
        )

    def glance(self) -> tuple[float | None, float | None]:
        """Return the runs' mean loss and accuracy as last fetched by `measured`; does not wait."""
        return self._seen

    def settle(self) -> None:
        """Bring the curriculum's state and the runs' generators where they are now; waits for the device."""
        self._curriculum.settle()
        self._ahead.settle()

    def close(self) -> None:
        """End the thread that draws histories."""
        self._ahead.close()


def _within(by_step: Float[Tensor, "horizon K"], own: Tensor) -> Float[Tensor, "horizon K"]:
    """Return a measurement as float64, with 0 after a run's own steps, whatever it was there."""
    return torch.where(own, by_step.double(), 0.0)
