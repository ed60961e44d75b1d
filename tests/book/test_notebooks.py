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


def text(value: str | list[str]) -> str:
    """Text of a notebook, which may be stored as lines."""
    return value if isinstance(value, str) else "".join(value)


@pytest.fixture
def cells(site: Path, layout: Layout, notebook_name: str) -> dict[str, Cell]:
    """The code cells of one executed chapter, by where to look: numbered from 1 as the error messages of the build do."""
    content = json.loads((layout.source / "chapters" / notebook_name).read_text(encoding="utf-8"))
    code = enumerate((cell for cell in content["cells"] if cell["cell_type"] == "code"), start=1)
    return {f"{notebook_name}, cell {k} ({text(cell['source']).partition(chr(10))[0]!r})": cell for k, cell in code}


def outputs(cell: Cell) -> Iterator[tuple[str, str]]:
    """Kind and text of everything that a cell left behind, images aside."""
    for output in cell["outputs"]:
        if "text" in output:
            yield output["name"], text(output["text"])
        for kind, value in output.get("data", {}).items():
            if kind.startswith(("text/", "application/json")):
                yield kind, text(value) if isinstance(value, str | list) else json.dumps(value)


def test_every_figure_is_described_and_every_description_has_a_figure(
    notebook_name: str, cells: dict[str, Cell]
) -> None:
    figures = 0
    for where, cell in cells.items():
        images = sum(any(kind.startswith("image/") for kind in output.get("data", {})) for output in cell["outputs"])
        said = cell["metadata"].get("mystnb", {})
        if images or "figure" in said:
            figures += images
            figure, image = said.get("figure", {}), said.get("image", {})
            assert images == 1, f"{where}: {images} figures in a cell; a caption fits one"
            assert re.fullmatch(r"fig-[a-z0-9-]+", figure.get("name", "")), (
                f"{where}: figure name {figure.get('name')!r}"
            )
            assert len(figure.get("caption", "")) >= 20, f"{where}: caption {figure.get('caption')!r}"
            assert len(image.get("alt", "")) >= 20, f"{where}: alternative text {image.get('alt')!r}"
    assert figures, f"{notebook_name}: no figure"


def test_figure_names_are_unique(site: Path, layout: Layout) -> None:
    owners: dict[str, str] = {}
    for path in sorted((layout.source / "chapters").glob("*.ipynb")):
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            name = cell["metadata"].get("mystnb", {}).get("figure", {}).get("name")
            if name is not None:
                assert name not in owners, f"{path.name}: the figure {name} is also in {owners[name]}"
                owners[name] = path.name


def test_executed_in_order_without_errors(notebook_name: str, cells: dict[str, Cell]) -> None:
    counts = [cell["execution_count"] for cell in cells.values() if text(cell["source"]).strip()]
    assert None not in counts, f"{notebook_name}: {counts.count(None)} cells were not executed"
    assert counts == sorted(counts), f"{notebook_name}: cells executed out of order: {counts}"
    for where, cell in cells.items():
        complaints = [value[:300] for kind, value in outputs(cell) if kind == "stderr"]
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
                found = bare.search(text(output.get("text", data.get("text/plain", ""))))
                assert found is None, f"{where} shows {found.group()!r}"
