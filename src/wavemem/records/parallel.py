"""Spreading the pieces of an experiment over processes: `wavemem.records.experiment.run_pieces` asks joblib for them.

`side_by_side(8)` around a run uses eight processes of this machine, `on_cluster("tcp://host:8786")` the workers of a Dask
cluster (which must see the folder of checkpoints). A worker that dies leaves its pieces to the others: the scheduler hands
them out again, the claim on a checkpoint ends with the process that held it, and whoever takes a piece over goes on where the
checkpoint ends.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch


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
