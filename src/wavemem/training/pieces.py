"""Working through the independent pieces of a long experiment, alone or with other processes.

Every piece is a training with a checkpoint of its own. A process that finds a piece in another's hands turns to the next
one and comes back later: so the same command started twice shares the work, and started again after a kill goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from wavemem.training.checkpoint import claimed

__all__ = ["work_through"]

Outcome = TypeVar("Outcome")


def work_through(
    pieces: Mapping[str, Callable[[Path | None], Outcome]], folder: Path | str | None = None
) -> dict[str, Outcome]:
    """Run every piece once and return what they return.

    Args:
        pieces: Name → function of the path of its checkpoint (None where there is no folder). A name is used as a file
            name. A piece whose checkpoint is complete is expected to return at once.
        folder: Where the checkpoints are; None runs the pieces in order without any.

    Returns:
        Name → outcome, in the order of `pieces`.
    """
    if folder is None:
        return {name: piece(None) for name, piece in pieces.items()}
    done: dict[str, Outcome] = {}
    for wait in (False, True):
        for name, piece in pieces.items():
            if name in done:
                continue
            path = Path(folder) / f"{name}.safetensors"
            with claimed(path, wait=wait) as mine:
                if mine:
                    done[name] = piece(path)
    return {name: done[name] for name in pieces}
