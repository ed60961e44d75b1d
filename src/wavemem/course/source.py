"""A problem set's one source: a text notebook from which the students' stub and nbgrader's notebook are cut.

What a cell is stands in its metadata:

``given``
    code that everyone has; the first one names the instance.
``answer: ID``
    code to be written: what stands between ``### BEGIN SOLUTION`` and ``### END SOLUTION`` is cut.
``check: ID`` and ``hidden: ID``, with ``points``
    code that asks for the answer and asserts; a hidden one is never released.
``written: ID``, with ``points``
    model answer and rubric of a question that stands in the Markdown cell above it; cut whole.
``problem: ID``, with ``minutes`` and ``level``
    the heading of a problem.

Imports nothing of PyTorch: nbgrader's environment reads it too.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import nbformat

KINDS: Final = ("given", "answer", "check", "hidden", "written", "problem")
STUB: Final = "raise NotImplementedError"
_SOLUTION = re.compile(r"^([ \t]*)### BEGIN SOLUTION\n.*?^[ \t]*### END SOLUTION$", re.DOTALL | re.MULTILINE)
_HINT = re.compile(r"^(:{3,}|`{3,})\{hint\}\s*(.*?)\n(.*?)^\1$", re.DOTALL | re.MULTILINE)


def kind(cell: Any) -> str:
    """What a cell is, one of `KINDS`; empty for prose and code without a part to play."""
    return next((name for name in KINDS if name in cell.metadata), "")


def name(cell: Any) -> str:
    """The id of a cell."""
    return str(cell.metadata[kind(cell)])


def _faults(cells: list[Any]) -> Iterator[str]:
    names = [name(cell) for cell in cells if kind(cell) not in ("", "given", "problem")]
    yield from (f"the id {one!r} stands twice" for one in sorted(set(names)) if names.count(one) > 1)
    for cell in cells:
        what = kind(cell)
        wanted = {"problem": ("minutes", "level"), "check": ("points",), "hidden": ("points",), "written": ("points",)}
        for field in wanted.get(what, ()):
            if not isinstance(cell.metadata.get(field), int) or cell.metadata[field] < 1:
                yield f"{what} {name(cell)!r} has {field} = {cell.metadata.get(field)!r}"
        if what == "answer" and not _SOLUTION.search(cell.source):
            yield f"answer {name(cell)!r} has no ### BEGIN SOLUTION … ### END SOLUTION"


def read(path: Path) -> Any:
    """The notebook of a source.

    Raises:
        ValueError: It has ids twice, points or minutes that are no whole numbers from 1, or an answer with nothing to cut.
    """
    import jupytext  # nbgrader's environment has none

    notebook = jupytext.read(path)
    faults = list(_faults(notebook.cells))
    if faults:
        raise ValueError(
            f"{path}: {'; '.join(faults)}; allowed: see the head of wavemem/course/source.py. Change the source."
        )
    return notebook


def for_reading(notebook: Any, year: int) -> Any:
    """The notebook with points, minutes and level under each problem, hints that unfold anywhere, and the year's instances."""
    notebook = copy.deepcopy(notebook)
    heads = [index for index, cell in enumerate(notebook.cells) if kind(cell) == "problem"]
    for index, after in zip(heads, [*heads[1:], len(notebook.cells)], strict=True):
        cell = notebook.cells[index]
        points = sum(part.metadata.get("points", 0) for part in notebook.cells[index:after])
        line = f"*{points} points · about {cell.metadata['minutes']} minutes · level {cell.metadata['level']} of 3*"
        title, _, rest = cell.source.partition("\n")
        cell.source = f"{title}\n\n{line}\n{rest}"
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = _HINT.sub(r"<details><summary>Hint</summary>\n\n\3\n</details>", cell.source)
        elif kind(cell) == "given":
            cell.source = re.sub(r"\byear=0\b", f"year={year}", cell.source)
    return notebook


def stub(notebook: Any) -> Any:
    """What a student begins with: no solution, no model answer, no hidden test."""
    notebook = copy.deepcopy(notebook)
    notebook.cells = [cell for cell in notebook.cells if kind(cell) != "hidden"]
    for cell in notebook.cells:
        cell.source = _SOLUTION.sub(rf"\1{STUB}", cell.source)
        if kind(cell) == "written":
            cell.source = "*Your answer.*"
    return notebook


def for_a_page(notebook: Any, with_answers: bool, wrong: Mapping[str, str]) -> Any:
    """The notebook as a page of a course's book.

    Args:
        notebook: The set, see :func:`for_reading`.
        with_answers: Whether the page is for those who mark: with solutions, hidden tests, model answers and rubrics.
        wrong: Name and text of answers that have to fail, for those.
    """
    notebook = copy.deepcopy(notebook) if with_answers else stub(notebook)
    for cell in notebook.cells:
        if kind(cell) in ("check", "hidden"):
            points = cell.metadata["points"]
            said = f"{kind(cell)}: {name(cell)}, {points} point{'s' if points > 1 else ''}"
            cell.source = f"# {said}\n{cell.source}"
    if with_answers:
        parts = [f"### {name}\n\n```python\n{text.strip()}\n```" for name, text in wrong.items()]
        intro = (
            "## Where students fail\n\nEach of these answers fails the tests that its first line names, and no other."
        )
        notebook.cells.append(nbformat.v4.new_markdown_cell("\n\n".join([intro, *parts])))
    return notebook


def for_nbgrader(notebook: Any) -> Any:
    """The notebook as nbgrader's ``generate_assignment`` reads it."""
    notebook = copy.deepcopy(notebook)
    for number, cell in enumerate(notebook.cells):
        what = kind(cell)
        marks: dict[str, Any] = {
            "grade": what in ("check", "hidden", "written"),
            "solution": what in ("answer", "written"),
        }
        marks |= {"locked": not marks["solution"], "schema_version": 3, "task": False}
        marks["grade_id"] = name(cell) if what not in ("", "given", "problem") else f"cell-{number}"
        if marks["grade"]:
            marks["points"] = cell.metadata["points"]
        if what == "hidden":
            cell.source = f"### BEGIN HIDDEN TESTS\n{cell.source}\n### END HIDDEN TESTS"
        cell.metadata["nbgrader"] = marks
    return notebook
