"""The chapters as written, and as executed: more science than plumbing to be seen, figures described, no complaint."""

from __future__ import annotations

import ast
import pkgutil
import re
from collections import Counter
from pathlib import Path
from typing import Any

import jupytext
import nbformat
import pytest

from wavemem.building.chapters import code_cells
from wavemem.building.layout import Layout

Cell = dict[str, Any]
CHAPTERS = sorted((Path(__file__).resolve().parents[2] / "notebooks").glob("[0-9]*.md"))
PAGES = [*CHAPTERS, *sorted((CHAPTERS[0].parents[1] / "book").glob("*.md"))]
PLUMBING = {
    *("plt", "fig", "ax", "axs", "axes", "sns", "figure_size", "legend_below", "plain_log", "not_measured"),
    *("DataFrame", "HTML", "Markdown", "display", "print", "pivot", "rename", "style", "to_frame"),
    *("glue", "report", "verdicts"),
}


def is_plumbing(statement: ast.AST) -> bool:
    """Whether a statement imports, draws, shows a table, glues or reports."""
    nodes = list(ast.walk(statement))
    names = {node.id for node in nodes if isinstance(node, ast.Name)}
    names |= {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    return isinstance(statement, (ast.Import, ast.ImportFrom)) or bool(names & PLUMBING)


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_more_science_than_plumbing_is_to_be_seen(path: Path) -> None:
    lines: Counter[bool] = Counter()
    for cell in jupytext.read(path, fmt="md:myst").cells:
        open_ = not any(tag.startswith(("hide-", "remove-", "parameters")) for tag in cell.metadata.get("tags", ()))
        for node in ast.walk(ast.parse(cell.source)) if cell.cell_type == "code" and open_ else ():
            if isinstance(node, ast.stmt) and not hasattr(node, "body"):
                lines[is_plumbing(node)] += (node.end_lineno or node.lineno) - node.lineno + 1
    assert lines[True] < lines[False], f"{path.name}: {lines[True]} lines of plumbing, {lines[False]} of science"


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_code_is_at_most_72_columns_wide(path: Path) -> None:
    options = r"(?:---\n(?s:.*?)^---\n|(?::.*\n)*)"
    fenced = rf"^ *```(?:\{{code-cell\}}.*\n{options}|(?:python|bash)\n)((?s:.*?))^ *```"
    blocks = re.findall(fenced, path.read_text(encoding="utf-8"), re.MULTILINE)
    wide = [line for block in blocks for line in block.splitlines() if len(line) > 72]
    assert not wide, "\n".join([f"{path.name}: {len(wide)} lines of code have more than 72 columns", *wide])


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_what_is_imported_from_the_library_is_there(path: Path) -> None:
    for cell in code_cells(path.read_text(encoding="utf-8"), path.name):
        for node in ast.walk(ast.parse(cell.source)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("wavemem"):
                exec(f"from {node.module} import {', '.join(name.name for name in node.names)}", {})


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_names_of_the_library_in_sentences_are_there(path: Path) -> None:
    for name in set(re.findall(r"`(wavemem(?:\.\w+)+)`", path.read_text(encoding="utf-8"))):
        assert pkgutil.resolve_name(name), name


def test_the_map_shows_what_the_chapters_say_that_they_need() -> None:
    """Arrows of the welcome page, without those that a longer way replaces, and its words, beside the chapters' boxes."""
    texts = {int(path.stem[:2]): path.read_text(encoding="utf-8") for path in CHAPTERS}
    home = {label: k for k, text in texts.items() for label in re.findall(r"^\(([\w.-]+)\)=$", text, re.MULTILINE)}
    needs: dict[int, set[int]] = {}
    before: dict[int, set[int]] = {}
    for k, text in texts.items():
        box = re.search(r"^:class: needs\n(.*?)^:::", text, re.MULTILINE | re.DOTALL)
        assert box, f"chapter {k} has no box with the class 'needs' under its opening paragraph"
        labels = re.findall(r"\{\w+\}`(?:[^`<]*<)?([\w.-]+)>?`", box[1])
        needs[k] = {home[label] for label in labels if label in home} - {k}
        before[k] = needs[k].union(*(before[one] for one in needs[k]))
    direct = {(one, k) for k, of in needs.items() for one in of if not any(one in before[other] for other in of)}
    page = (CHAPTERS[0].parents[1] / "book" / "intro.md").read_text(encoding="utf-8")
    arrows = {(int(one), int(k)) for one, k in re.findall(r'id="map-(\d+)-(\d+)"', page)}
    assert arrows == direct, f"to draw: {direct - arrows}, to rub out: {arrows - direct}"
    words = dict(re.findall(r"^\*\*(\d+)\*\* .*?\*Needs (.*?)\.\*", page, re.MULTILINE | re.DOTALL))
    assert {int(k): {int(one) for one in re.findall(r"\d+", said)} for k, said in words.items()} == needs


@pytest.fixture
def cells(site: Path, layout: Layout, notebook_name: str) -> dict[str, Cell]:
    """The code cells of one executed chapter, by where to look: numbered from 1 as the error messages of the build do."""
    content = nbformat.read(layout.source / "chapters" / notebook_name, as_version=4)
    code = enumerate((cell for cell in content["cells"] if cell["cell_type"] == "code"), start=1)
    return {f"{notebook_name}, cell {k} ({cell['source'].partition(chr(10))[0]!r})": cell for k, cell in code}


def test_every_figure_has_a_name_and_every_description_a_figure(cells: dict[str, Cell]) -> None:
    """Caption and alternative text are looked at on the page."""
    for where, cell in cells.items():
        images = sum(any(kind.startswith("image/") for kind in output.get("data", {})) for output in cell["outputs"])
        said = cell["metadata"].get("mystnb", {})
        if images or "figure" in said:
            name = said.get("figure", {}).get("name", "")
            assert images == 1, f"{where}: {images} figures in a cell; a caption fits one"
            assert re.fullmatch(r"fig-[a-z0-9-]+", name), f"{where}: figure name {name!r}"


def test_executed_in_order_without_errors(notebook_name: str, cells: dict[str, Cell]) -> None:
    left = [cell for cell in cells.values() if "skip-execution" in cell["metadata"].get("tags", [])]
    assert not any(cell["outputs"] or cell["execution_count"] for cell in left)  # a reader's, who begins there
    counts = [cell["execution_count"] for cell in cells.values() if cell["source"].strip() and cell not in left]
    assert None not in counts, f"{notebook_name}: {counts.count(None)} cells were not executed"
    assert counts == sorted(counts), f"{notebook_name}: cells executed out of order: {counts}"
    for where, cell in cells.items():
        complaints = [output["text"][:300] for output in cell["outputs"] if output.get("name") == "stderr"]
        assert not complaints, f"{where} wrote on standard error: {complaints}"
        failed = [output["ename"] for output in cell["outputs"] if output["output_type"] == "error"]
        assert not failed, f"{where}: {failed}"


def test_no_bare_object_is_printed(cells: dict[str, Cell]) -> None:
    bare = re.compile(r"<(Axes|Figure|matplotlib|function|module|[\w.]+ object at 0x)[^>]*>|0x[0-9a-f]{8,}")
    for where, cell in cells.items():
        for output in cell["outputs"]:
            data = output.get("data", {})
            # Beside a picture or a table the plain text is a substitute that no page shows.
            if not any(kind.startswith(("image/", "text/html")) for kind in data):
                found = bare.search(output.get("text", data.get("text/plain", "")))
                assert found is None, f"{where} shows {found.group()!r}"
