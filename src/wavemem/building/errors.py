"""What can go wrong while building, told apart by who can mend it."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["BuildError", "UsageError", "choose"]


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
