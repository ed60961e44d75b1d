"""What can go wrong with records, and the wording of it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["DamagedRecord", "ExistingRecord", "ForeignRecord", "MissingRecord", "RecordError", "Unusable", "nearest"]


class Unusable(ValueError):
    """Something outside the program, a file, a folder or a network, is not as it has to be; the message says what to do."""


class RecordError(Unusable):
    """A record cannot be used; the message says which, why, and what to do."""


class MissingRecord(RecordError):
    """No record of that experiment and profile is there."""


class DamagedRecord(RecordError):
    """A record is incomplete or its files are not the ones that were written."""


class ExistingRecord(RecordError):
    """The record that would be written is there already."""


class ForeignRecord(RecordError):
    """A folder holds something that this library did not write, or wrote in another format."""


def nearest(name: str, names: Iterable[str], n: int = 4) -> str:
    """A sentence that lists the ``names`` most like ``name``; empty if there are none."""
    options = list(names)
    close = difflib.get_close_matches(name, options, n=n, cutoff=0.0)
    return f"Nearest: {', '.join(repr(c) for c in close)}." if close else ""
