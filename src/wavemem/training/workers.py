"""Sharing the runs of an ensemble between the cores of a machine.

PyTorch's own threads split every small product between the cores and wait for each other at its end, hundreds of times in
an iteration. Independent runs need not wait: here each core works through a group of whole runs in a thread of its own,
with PyTorch kept to one core inside it (products and NumPy functions release the interpreter's lock).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from wavemem.kernels.elman_training import Workspace

__all__ = ["Workers", "plan_groups"]

Item = TypeVar("Item")
Result = TypeVar("Result")

_LARGEST_GROUP = 8
"""Runs per group at most: the weights and states of more do not fit a core's cache."""


_SMALLEST_PRODUCT = 2**20
"""Multiplications per step below which a group is not divided further: threads would mostly wait for the interpreter."""


def plan_groups(
    horizons: NDArray[np.int64], input_steps: int, workers: int, together: bool, product: int = _SMALLEST_PRODUCT
) -> list[list[int]]:
    """Divide the runs into groups that are computed as one.

    Runs of a group have the same horizon, so that no step is computed in vain; groups are no larger than a worker's
    fair share of the work. The largest come first.

    Args:
        horizons: Steps of the output phase per run, shape (K,).
        input_steps: Steps of the input phase.
        workers: Number of workers.
        together: Put all runs in one group whatever their horizons (on a GPU, where launching is what costs).
        product: Multiplications of one run's step, batch · N².

    Returns:
        Indices of the runs, group by group.
    """
    if together:
        return [list(range(len(horizons)))]
    smallest = -(-_SMALLEST_PRODUCT // product)
    costs = horizons + input_steps
    share = costs.sum() / workers
    groups: list[list[int]] = []
    for horizon in np.unique(horizons):
        runs = np.flatnonzero(horizons == horizon)
        pieces = -(-int(costs[runs].sum()) // max(int(np.ceil(share)), 1))
        pieces = max(min(pieces, len(runs) // smallest), -(-len(runs) // max(_LARGEST_GROUP, smallest)), 1)
        groups += [piece.tolist() for piece in np.array_split(runs, pieces)]
    return sorted(groups, key=lambda group: (-int(costs[group].sum()), group))


class Workers:
    """A pool of one thread per core, each with PyTorch kept to one core and a workspace of its own.

    With one thread everything runs in the caller's. Used as a context: PyTorch's number of threads is put back at the end.

    Args:
        count: Number of workers; by default PyTorch's number of threads.
    """

    def __init__(self, count: int | None = None) -> None:
        self._before = torch.get_num_threads()
        self.count = self._before if count is None else count
        self._local = threading.local()
        self._pool: ThreadPoolExecutor | None = None

    def __enter__(self) -> Workers:
        if self.count > 1:
            torch.set_num_threads(1)
            self._pool = ThreadPoolExecutor(self.count, "run", initializer=torch.set_num_threads, initargs=(1,))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None
            torch.set_num_threads(self._before)

    def workspace(self) -> Workspace:
        """Return the calling thread's memory."""
        if not hasattr(self._local, "workspace"):
            self._local.workspace = Workspace()
        workspace: Workspace = self._local.workspace
        return workspace

    def map(self, function: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
        """Apply a function to every item and return the results in the items' order."""
        if self._pool is None or len(items) == 1:
            return [function(item) for item in items]
        return list(self._pool.map(function, items))
