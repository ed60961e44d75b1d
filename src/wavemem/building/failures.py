"""What is said when a chapter does not execute: which cell, which error, and where to look."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

__all__ = ["Failure", "plain", "read_partial", "running_cell"]

_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_TRACEBACK_LINES = 12


def plain(text: str) -> str:
    """Text without terminal colours."""
    return _ANSI.sub("", text)


@dataclass(frozen=True)
class Failure:
    """Why a chapter did not execute.

    Attributes:
        chapter: The chapter's name.
        kind: "error", "dead kernel", "dead process", "time-out" or "stopped".
        message: The error in one line.
        cell: Number of the code cell, counted from 1 as in the text source; 0 if no cell was running.
        first_line: First line of that cell.
        traceback: Last lines of the traceback, if there is one.
        notebook: Path of the partly executed notebook, if there is one.
    """

    chapter: str
    kind: str
    message: str
    cell: int = 0
    first_line: str = ""
    traceback: str = ""
    notebook: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)

    def describe(self) -> str:
        """The report that the reader of a terminal gets."""
        lines = [f"chapter {self.chapter}: {self.kind}"]
        if self.cell:
            lines.append(f"  in code cell {self.cell}, which begins: {self.first_line}")
        lines.append(f"  {self.message}")
        if self.traceback:
            tail = plain(self.traceback).rstrip().split("\n")[-_TRACEBACK_LINES:]
            lines += ["    " + line for line in tail]
        if self.notebook:
            lines.append(f"  partly executed notebook: {self.notebook}")
        return "\n".join(lines)


def read_partial(path: Path) -> Any:
    """The partly executed notebook, or None if there is none or it was cut off in the middle of a write."""
    import nbformat

    try:
        return nbformat.read(str(path), as_version=4)
    except (OSError, ValueError, nbformat.reader.NotJSONError):
        return None


def running_cell(notebook: Any, index: int | None = None) -> tuple[int, str]:
    """Number and first line of the cell that was running when execution ended.

    Args:
        notebook: A notebook as papermill left it.
        index: Position of the cell if known; otherwise the last cell that papermill started.

    Returns:
        The number among the source's code cells (injected cells not counted) and the first line; ``(0, "")`` if no
        cell was running.
    """
    started = -1
    for position, cell in enumerate(notebook.cells):
        status = cell.metadata.get("papermill", {}).get("status", "pending")
        if cell.cell_type == "code" and status != "pending":
            started = position
    position = started if index is None else index
    if position < 0:
        return 0, ""
    number = 0
    for cell in notebook.cells[: position + 1]:
        tags = cell.metadata.get("tags", [])
        if cell.cell_type == "code" and not {"injected-parameters", "papermill-error-cell-tag"} & set(tags):
            number += 1
    lines = [line for line in notebook.cells[position].source.split("\n") if line.strip()]
    return number, lines[0] if lines else ""
