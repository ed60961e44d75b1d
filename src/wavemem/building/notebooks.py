"""From a chapter's text to a notebook that can be executed, and from an executed one to one that can be published.

An executed notebook carries traces of its execution: timings, random cell ids, where a stream of text happened to be
cut, memory addresses. All of them are removed here, so that the same command writes the same bytes twice.
"""

from __future__ import annotations

import re
from typing import Any

from wavemem.building.chapters import parse
from wavemem.building.layout import BuildError

PARAMETER_NAMES = ("profile", "device", "seed")

_ADDRESS = re.compile(r"\b0x[0-9a-fA-F]{6,}\b")
_STYLER = re.compile(r"\bT_[0-9a-f]{5}(?=[_\"' ])")
_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_HIDDEN_TAGS = {"parameters", "injected-parameters"}


def plain(text: str) -> str:
    """Text without terminal colours."""
    return _ANSI.sub("", text)


def parameter_cell(notebook: Any, name: str) -> Any:
    """The cell tagged ``parameters``.

    Raises:
        BuildError: If there is none, or it does not set each of the three parameters.
    """
    for cell in notebook.cells:
        if cell.cell_type == "code" and "parameters" in cell.metadata.get("tags", []):
            missing = [p for p in PARAMETER_NAMES if not re.search(rf"^{p}\s*[:=]", cell.source, re.MULTILINE)]
            if missing:
                raise BuildError(f"{name}: the cell tagged 'parameters' does not set {', '.join(missing)}")
            return cell
    raise BuildError(f"{name}: no code cell is tagged 'parameters'; it has to set {', '.join(PARAMETER_NAMES)}")


def executable(text: str, name: str) -> Any:
    """Parse a MyST text notebook and give its cells ids that depend on their position alone."""
    notebook = parse(text, name)
    parameter_cell(notebook, name)
    _number_cells(notebook)
    return notebook


def _number_cells(notebook: Any) -> None:
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    for index, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{index:03d}"


def _tidy(content: str, cell_id: str) -> str:
    content = _ADDRESS.sub("0x…", content)
    return _STYLER.sub(f"T_{cell_id.replace('-', '_')}", content)


def _outputs(cell: Any) -> list[Any]:
    """Outputs with neighbouring streams joined and traces of the moment removed."""
    kept: list[Any] = []
    for output in cell.outputs:
        if output.output_type == "stream":
            if kept and kept[-1].output_type == "stream" and kept[-1].name == output.name:
                kept[-1].text += output.text
            else:
                kept.append(output)
        else:
            kept.append(output)
    for output in kept:
        if output.output_type == "stream":
            output.text = _tidy(plain(output.text), cell.id)
        for mime in ("text/plain", "text/html"):
            if isinstance(output.get("data", {}).get(mime), str):
                output.data[mime] = _tidy(output.data[mime], cell.id)
    return kept


def published(notebook: Any) -> Any:
    """Strip an executed notebook of everything that differs between two executions; changes it in place."""
    notebook.metadata.pop("papermill", None)
    _number_cells(notebook)
    for cell in notebook.cells:
        for trace in ("papermill", "execution", "ExecuteTime"):
            cell.metadata.pop(trace, None)
        tags = list(cell.metadata.get("tags", []))
        if _HIDDEN_TAGS & set(tags) and "remove-cell" not in tags:
            tags.append("remove-cell")
        if tags:
            cell.metadata["tags"] = tags
        if cell.cell_type == "code":
            cell.outputs = _outputs(cell)
    return notebook
