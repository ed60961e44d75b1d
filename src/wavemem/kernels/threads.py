"""The threads of the compiled kernels: how many there are, and how a call's tasks are divided between them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import torch

_OWN: list[int] = []  # threads of the blocks of `own_threads` that are entered, the innermost last


@contextlib.contextmanager
def own_threads() -> Iterator[None]:
    """Within the block the kernel has PyTorch's threads to itself, and PyTorch keeps to one.

    PyTorch's threads wait for their next operation by spinning, on the very cores that the kernel's threads need; what is
    left to PyTorch in an iteration is small. Where PyTorch has one thread nothing changes. Not for several Python threads.
    """
    before = torch.get_num_threads()
    _OWN.append(_OWN[-1] if _OWN else before)
    torch.set_num_threads(1)
    try:
        yield
    finally:
        _OWN.pop()
        torch.set_num_threads(before)


def share(call: Callable[[int, int], int], tasks: int) -> None:
    """Divide the tasks between PyTorch's number of threads, or that of `own_threads`; ctypes gives up the lock meanwhile."""
    threads = min(_OWN[-1] if _OWN else torch.get_num_threads(), tasks)
    if threads == 1:
        failed = [call(0, tasks)]
    else:
        cuts = [tasks * i // threads for i in range(threads + 1)]
        with ThreadPoolExecutor(threads - 1) as pool:
            others = [pool.submit(call, cuts[i], cuts[i + 1]) for i in range(1, threads)]
            failed = [call(cuts[0], cuts[1]), *(other.result() for other in others)]
    if any(failed):
        raise MemoryError("the compiled kernel got no memory for one time step")
