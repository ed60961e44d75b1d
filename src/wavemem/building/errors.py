"""What can go wrong while building, told apart by who can mend it."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterable, Iterator

__all__ = ["BuildError", "UsageError", "choose", "refusals_said"]

_REFUSALS = (errno.EACCES, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.ENOSPC, errno.ENOTDIR, errno.EPERM, errno.EROFS)


class UsageError(ValueError):
    """The command was given something that does not exist; the message is one line that lists what does."""


class BuildError(RuntimeError):
    """The book could not be built; the message says what to look at."""


def choose(kind: str, given: str, available: Iterable[str]) -> str:
    """Return ``given`` if it is among the available names.

    Args:
        kind: What is being chosen, for the message: "profile", "device", …
        given: The name that was asked for.
        available: The names that exist.

    Raises:
        UsageError: If the name does not exist; the message lists those that do.
    """
    names = list(available)
    if given not in names:
        raise UsageError(f"unknown {kind} {given!r}; available: {', '.join(names) or 'none'}")
    return given


@contextlib.contextmanager
def refusals_said() -> Iterator[None]:
    """Make one line of what the file system refuses: a full disk, a folder that may not be written to.

    Raises:
        BuildError: In place of such an ``OSError``.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _REFUSALS:
            raise
        where = f"{error.filename}: " if error.filename else ""
        advice = (
            "everything is written below _build/ in the book's folder: make room there, or build a copy of your own"
        )
        raise BuildError(f"{where}{error.strerror}; {advice}") from error
