"""Executed chapters kept between builds: when one still holds, and how a new one takes its place."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wavemem.building.key import READ, Key
from wavemem.building.paths import Layout, Parameters, write_atomically, write_json

__all__ = ["Entry", "is_current", "look_up", "publish", "read_by", "why"]


@dataclass(frozen=True)
class Entry:
    """One published chapter.

    Attributes:
        notebook: The executed notebook.
        key: Hash of what it was made from.
        ingredients: What it was made from, by name.
        seconds: How long its execution took.
        results: The measurements that it reported, or None if it reported none.
    """

    notebook: Path
    key: str
    ingredients: dict[str, str]
    seconds: float
    results: Path | None


def _files(layout: Layout, parameters: Parameters, chapter: str) -> tuple[Path, Path, Path]:
    folder = layout.chapters(parameters)
    return folder / f"{chapter}.ipynb", folder / f"{chapter}.key.json", layout.results(parameters) / f"{chapter}.json"


def look_up(layout: Layout, parameters: Parameters, chapter: str) -> Entry | None:
    """The published notebook of a chapter, current or not; None if there is none or it is damaged."""
    notebook, key_file, results = _files(layout, parameters, chapter)
    try:
        content: dict[str, Any] = json.loads(key_file.read_text(encoding="utf-8"))
        whole = hashlib.sha256(notebook.read_bytes()).hexdigest() == content["notebook"]
        reported = content["results"]
        if reported is not None:
            whole = whole and hashlib.sha256(results.read_bytes()).hexdigest() == reported
        entry = Entry(
            notebook, content["key"], content["ingredients"], content["seconds"], results if reported else None
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return entry if whole else None


def read_by(entry: Entry | None) -> tuple[str, ...]:
    """Files that a chapter was seen to read when it was executed, see :func:`wavemem.building.key.read_files`."""
    names = entry.ingredients if entry is not None else {}
    return tuple(name.removeprefix(READ) for name in names if name.startswith(READ))


def is_current(entry: Entry | None, key: Key) -> bool:
    """Whether a published notebook was made from exactly these ingredients."""
    return entry is not None and entry.key == key.value


def why(entry: Entry | None, key: Key) -> str:
    """In a few words, why a chapter has to be executed."""
    if entry is None:
        return "not executed yet"
    changes = key.changes(entry.ingredients)
    shown = ", ".join(changes[:3])
    return f"changed: {shown}" + (f" and {len(changes) - 3} more" if len(changes) > 3 else "")


def publish(
    layout: Layout,
    parameters: Parameters,
    chapter: str,
    key: Key,
    notebook: bytes,
    results: bytes | None,
    seconds: float,
) -> Entry:
    """Put an executed notebook in the place of the former one.

    The key is written last and holds the hash of the other files: killed at any moment, this leaves the former
    notebook, or one that :func:`look_up` does not accept, never a half.
    """
    notebook_file, key_file, results_file = _files(layout, parameters, chapter)
    if results is not None:
        write_atomically(results_file, results)
    elif results_file.is_file():
        results_file.unlink()
    write_atomically(notebook_file, notebook)
    took = round(seconds, 2)
    content = {
        "key": key.value,
        "ingredients": key.ingredients,
        "notebook": hashlib.sha256(notebook).hexdigest(),
        "results": hashlib.sha256(results).hexdigest() if results is not None else None,
        "seconds": took,
    }
    write_json(key_file, content)
    return Entry(notebook_file, key.value, key.ingredients, took, results_file if results else None)
