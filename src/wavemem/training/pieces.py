"""Working through the independent pieces of a long experiment, alone or with other processes.

Every piece is a training with a checkpoint of its own. A process that finds a piece in another's hands turns to the next
one and comes back later: so the same command started twice shares the work, and started again after a kill goes on.

Pieces run side by side where joblib's parallel interface says so: `side_by_side(8)` around the call uses eight processes of
this machine, `on_cluster("tcp://host:8786")` the workers of a Dask cluster (which must see the folder of checkpoints). A
worker that dies leaves its pieces to the others: the scheduler hands them out again, the claim on a checkpoint ends with
the process that held it, and whoever takes a piece over goes on where the checkpoint ends.
"""

from __future__ import annotations

import contextlib
import functools
import os
import signal
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

import torch

from wavemem.processes import watch_parent
from wavemem.training.checkpoint import claimed

Outcome = TypeVar("Outcome")


_watch_parent = functools.cache(watch_parent)


def _unless_claimed(piece: Callable[[Path | None], Outcome], path: Path, caller: int) -> tuple[Outcome] | None:
    """Run a piece, or return None if another process is at it; a process that the caller started ends with it."""
    if os.getppid() == caller:
        _watch_parent(caller, signal.SIGKILL)
    with claimed(path, wait=False) as mine:
        return (piece(path),) if mine else None


def _run_unclaimed(
    pieces: Mapping[str, Callable[[Path | None], Outcome]], paths: Mapping[str, Path]
) -> dict[str, tuple[Outcome] | None]:
    """Run the pieces that nobody else is at, by as many processes as joblib is configured for."""
    try:
        import joblib
    except ModuleNotFoundError:  # an optional dependency: pip install wavemem[sweep]
        count = 1
    else:
        # A cluster does the work even where it offers a single process: that is why it was named.
        elsewhere = hasattr(joblib.parallel.get_active_backend()[0], "client")
        count = len(pieces) + 1 if elsewhere else min(joblib.effective_n_jobs(), len(pieces))
    if count <= 1:
        return {name: _unless_claimed(piece, paths[name], os.getpid()) for name, piece in pieces.items()}
    # One by one and all at once: a process that comes late, or is left when another dies, finds something to do.
    several = joblib.Parallel(batch_size=1, pre_dispatch="all")
    found = several(joblib.delayed(_unless_claimed)(piece, paths[name], os.getpid()) for name, piece in pieces.items())
    return dict(zip(pieces, found, strict=True))


@contextlib.contextmanager
def side_by_side(jobs: int) -> Iterator[None]:
    """Within the block pieces are divided among processes of this machine, each with one thread.

    Args:
        jobs: Number of processes; 1 leaves everything as it is.

    Raises:
        ValueError: If more than one is asked for and joblib is not installed.
    """
    if jobs == 1:
        yield
        return
    try:
        import joblib
    except ModuleNotFoundError:
        raise ValueError(
            f"jobs = {jobs} without joblib; allowed: 1. Install joblib, or start the same command several times."
        ) from None
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # what is left for this process is computed as the others compute
    try:
        with joblib.parallel_config(backend="loky", n_jobs=jobs, inner_max_num_threads=1):
            yield
    finally:
        torch.set_num_threads(before)


@contextlib.contextmanager
def on_cluster(scheduler: str, patience: float = 10.0) -> Iterator[None]:
    """Within the block pieces are done by the workers of a Dask cluster; results come back here.

    Args:
        scheduler: Address of the cluster's scheduler, e.g. "tcp://host:8786".
        patience: Seconds to wait for it, and then for a first worker.

    Raises:
        ValueError: If joblib or distributed is not installed, or nothing of the kind answers at the address.
    """
    try:
        import joblib
        from distributed import Client
    except ModuleNotFoundError:
        raise ValueError(
            f"scheduler = {scheduler!r} without joblib and distributed; allowed: none. Install wavemem[sweep], or start "
            "the same command several times."
        ) from None
    allowed = "the address of a running Dask scheduler, e.g. tcp://host:8786"
    try:
        client = Client(scheduler, timeout=patience, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"scheduler = {scheduler!r} ({type(error).__name__}); allowed: {allowed}. Start one: dask scheduler."
        ) from None
    with client:
        try:
            client.wait_for_workers(1, timeout=patience)
        except TimeoutError:
            raise ValueError(
                f"scheduler = {scheduler!r} has no workers; allowed: {allowed}, with workers. "
                f"Start some on machines that see this folder: dask worker {scheduler} --nthreads 1."
            ) from None
        with joblib.parallel_config(backend="dask", client=client):
            yield


def run_pieces(
    pieces: Mapping[str, Callable[[Path | None], Outcome]], folder: Path | str | None = None
) -> dict[str, Outcome]:
    """Run every piece once and return what they return.

    Args:
        pieces: Name → function of the path of its checkpoint (None where there is no folder). A name is used as a file
            name. A piece whose checkpoint is complete is expected to return at once.
        folder: Where the checkpoints are; None runs the pieces in order, in this process, without any.

    Returns:
        Name → outcome, in the order of `pieces`.
    """
    if folder is None:
        return {name: piece(None) for name, piece in pieces.items()}
    paths = {name: Path(folder) / f"{name}.safetensors" for name in pieces}
    outcomes: dict[str, Outcome] = {}
    for name, found in _run_unclaimed(pieces, paths).items():
        if found is None:
            with claimed(paths[name]):
                outcomes[name] = pieces[name](paths[name])
        else:
            outcomes[name] = found[0]
    return outcomes
