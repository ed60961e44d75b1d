"""The executed chapters that the pages are made from: figures described, nothing on standard error, no path of this machine."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from wavemem.building.layout import Layout

Cell = dict[str, Any]


@pytest.fixture
def cells(site: Path, layout: Layout, notebook_name: str) -> list[tuple[int, Cell]]:
    """The code cells of one executed chapter, numbered from 1 as the error messages of the build do."""
    content = json.loads((layout.source / "chapters" / notebook_name).read_text(encoding="utf-8"))
    return list(enumerate((cell for cell in content["cells"] if cell["cell_type"] == "code"), start=1))


def text(value: str | list[str]) -> str:
    """Text of a notebook, which may be stored as lines."""
    return value if isinstance(value, str) else "".join(value)


def outputs(cell: Cell) -> Iterator[tuple[str, str]]:
    """Kind and text of everything that a cell left behind, images aside."""
    for output in cell["outputs"]:
        if "text" in output:
            yield output["name"], text(output["text"])
        for kind, value in output.get("data", {}).items():
            if kind.startswith(("text/", "application/json")):
                yield kind, text(value) if isinstance(value, str | list) else json.dumps(value)


def first_line(cell: Cell) -> str:
    """Where to look."""
    return text(cell["source"]).split("\n", 1)[0]


def images(cell: Cell) -> int:
    """Number of pictures that a cell shows."""
    return sum(any(kind.startswith("image/") for kind in output.get("data", {})) for output in cell["outputs"])


def test_every_figure_is_described(notebook_name: str, cells: list[tuple[int, Cell]]) -> None:
    drawn = [(k, cell) for k, cell in cells if images(cell)]
    assert drawn, f"{notebook_name}: no figure"
    for k, cell in drawn:
        where = f"{notebook_name}, cell {k} ({first_line(cell)!r})"
        assert images(cell) == 1, f"{where}: {images(cell)} figures in one cell; a caption fits one"
        said = cell["metadata"].get("mystnb", {})
        figure, image = said.get("figure", {}), said.get("image", {})
        assert re.fullmatch(r"fig-[a-z0-9-]+", figure.get("name", "")), f"{where}: figure name {figure.get('name')!r}"
        assert len(figure.get("caption", "")) >= 20, f"{where}: caption {figure.get('caption')!r}"
        assert len(image.get("alt", "")) >= 20, f"{where}: alternative text {image.get('alt')!r}"


def test_every_described_cell_shows_a_figure(notebook_name: str, cells: list[tuple[int, Cell]]) -> None:
    for k, cell in cells:
        if "figure" in cell["metadata"].get("mystnb", {}):
            assert images(cell) == 1, f"{notebook_name}, cell {k} ({first_line(cell)!r}): a caption but no figure"


def test_figure_names_are_unique(site: Path, layout: Layout) -> None:
    owners: dict[str, str] = {}
    for path in sorted((layout.source / "chapters").glob("*.ipynb")):
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            name = cell["metadata"].get("mystnb", {}).get("figure", {}).get("name")
            if name is not None:
                assert name not in owners, f"{path.name}: the figure {name} is also in {owners[name]}"
                owners[name] = path.name


def test_nothing_on_standard_error(notebook_name: str, cells: list[tuple[int, Cell]]) -> None:
    for k, cell in cells:
        for kind, value in outputs(cell):
            assert kind != "stderr", (
                f"{notebook_name}, cell {k} ({first_line(cell)!r}) wrote on standard error: {value[:300]}"
            )
        failed = [output["ename"] for output in cell["outputs"] if output["output_type"] == "error"]
        assert not failed, f"{notebook_name}, cell {k} ({first_line(cell)!r}): {failed}"


def test_every_cell_was_executed_in_order(notebook_name: str, cells: list[tuple[int, Cell]]) -> None:
    counts = [cell["execution_count"] for _, cell in cells if text(cell["source"]).strip()]
    assert None not in counts, f"{notebook_name}: {counts.count(None)} cells were not executed"
    assert counts == sorted(counts), f"{notebook_name}: cells executed out of order: {counts}"


def test_no_path_of_this_machine(notebook_name: str, layout: Layout, cells: list[tuple[int, Cell]]) -> None:
    local = re.compile("|".join(map(re.escape, (str(layout.root), sys.prefix, str(Path.home()) + "/", "/ipykernel_"))))
    for k, cell in cells:
        for _, value in outputs(cell):
            found = local.search(value)
            assert found is None, f"{notebook_name}, cell {k} ({first_line(cell)!r}): {value[found.start() :][:120]!r}"


def test_no_bare_object_is_printed(notebook_name: str, cells: list[tuple[int, Cell]]) -> None:
    bare = re.compile(r"<(Axes|Figure|matplotlib|function|module|[\w.]+ object at 0x)[^>]*>|0x[0-9a-f]{8,}")
    for k, cell in cells:
        for output in cell["outputs"]:
            data = output.get("data", {})
            shown = text(output.get("text", "")) if "text" in output else text(data.get("text/plain", ""))
            # Beside a picture or a table the plain text is a substitute that no page shows.
            if "text" in output or not any(kind.startswith(("image/", "text/html")) for kind in data):
                found = bare.search(shown)
                assert found is None, f"{notebook_name}, cell {k} ({first_line(cell)!r}) shows {found.group()!r}"
