"""Working through the independent pieces of a long experiment, alone or with other processes.

Every piece is a training with a checkpoint of its own. A process that finds a piece in another's hands turns to the next
one and comes back later: so the same command started twice shares the work, and started again after a kill goes on.

Pieces run side by side where joblib's parallel interface says so: `joblib.parallel_config(backend="loky", n_jobs=8)` around
the call uses eight processes of this machine, `joblib.parallel_config("dask")` the workers of a Dask cluster (which must
see the folder of checkpoints).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

from wavemem.training.checkpoint import claimed

__all__ = ["side_by_side", "work_through"]

Outcome = TypeVar("Outcome")


def _unless_claimed(piece: Callable[[Path | None], Outcome], path: Path) -> tuple[Outcome] | None:
    """Run a piece, or return None if another process is at it."""
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
        count = min(joblib.effective_n_jobs(), len(pieces))
    if count == 1:
        return {name: _unless_claimed(piece, paths[name]) for name, piece in pieces.items()}
    found = joblib.Parallel()(joblib.delayed(_unless_claimed)(piece, paths[name]) for name, piece in pieces.items())
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
    with joblib.parallel_config(backend="loky", n_jobs=jobs, inner_max_num_threads=1):
        yield


def work_through(
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
