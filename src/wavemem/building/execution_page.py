"""The page that tells what each chapter's execution took."""

from __future__ import annotations

from collections.abc import Mapping

from wavemem.building.cache import Entry
from wavemem.building.chapters import Chapter
from wavemem.building.key import installed_versions
from wavemem.building.paths import Parameters

__all__ = ["execution_page"]


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.1f} min"


def execution_page(chapters: list[Chapter], entries: Mapping[str, Entry], parameters: Parameters) -> str:
    """MyST text of the page.

    Args:
        chapters: All chapters of the book.
        entries: The published notebook of each executed one, by name.
        parameters: The variant that the pages show.
    """
    rows = []
    for chapter in chapters:
        entry = entries.get(chapter.name)
        took = _duration(entry.seconds) if entry else "not executed"
        modules = sum(name.startswith("module ") for name in entry.ingredients) if entry else 0
        rows.append(f"| [](../chapters/{chapter.name}.ipynb) | {chapter.minutes} min | {took} | {modules} |")
    total = _duration(sum(entry.seconds for entry in entries.values()))
    versions = ", ".join(f"{name} {version}" for name, version in installed_versions().items())
    lines = [
        "(page-execution)=",
        "# How long the chapters take",
        "",
        f"Every chapter of this copy was executed with profile `{parameters.profile}`, device `{parameters.device}` and "
        f"seed `{parameters.seed}`. The times are wall-clock times of whole chapters, from the start of a kernel to its "
        "end, with chapters running side by side where the machine has the cores. The last column counts the modules of "
        "`wavemem` that a chapter imports, directly or through one another: a change in one of these, and in no other, "
        "makes the next build execute the chapter again.",
        "",
        "| Chapter | Reading | Execution | Modules |",
        "| :-- | --: | --: | --: |",
        *rows,
        f"| All | {sum(chapter.minutes for chapter in chapters)} min | {total} |  |",
        "",
        f"Versions: {versions}.",
        "",
    ]
    return "\n".join(lines)
