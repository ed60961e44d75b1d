"""Small pieces of Markdown for the generated pages."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

__all__ = ["cell", "milliseconds", "number_table", "plain", "table"]


def cell(text: str) -> str:
    """Return text as it may stand in a cell of a table."""
    return text.replace("|", "\\|").replace("\n", " ").replace("$", "\\$")


def plain(text: object) -> str:
    """Return text that a machine or a run gave, so that it shows as it is wherever a line of Markdown may stand."""
    return re.sub(r"([\\`*_{}\[\]<>#|$~&!])", r"\\\1", " ".join(str(text).split()))


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table whose columns are aligned to the left."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def number_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table whose columns are aligned to the right."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---:|" * len(head)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def milliseconds(timing: Mapping[str, Any] | None) -> str:
    """Return a median with its quartiles in brackets; a dash for None."""
    if timing is None:
        return "–"
    median, lower, upper = (_short(float(timing[name])) for name in ("median", "lower", "upper"))
    return f"{median} ({lower}–{upper})"


def _short(value: float) -> str:
    """Three digits, or all before the point."""
    return f"{value:.3g}" if value < 999.5 else f"{value:.0f}"
