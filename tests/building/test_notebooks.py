"""Text to notebook, and an executed notebook without the traces of its execution."""

from __future__ import annotations

import pytest
from nbformat import v4

from wavemem.building.layout import BuildError
from wavemem.building.notebooks import executable, published
from wavemem.building.worker import Failure, plain, read_partial, running_cell


def test_executable_numbers_its_cells(toy) -> None:
    chapter = toy.chapter("01-first", "x = 1", "y = 2")
    notebook = executable(chapter.text, chapter.name)
    assert [cell.id for cell in notebook.cells] == [f"cell-{index:03d}" for index in range(len(notebook.cells))]
    assert [cell.source for cell in notebook.cells if cell.cell_type == "code"][1:] == ["x = 1", "y = 2"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [("seed = 0", "", "does not set seed"), ("[parameters]", "[else]", "no code cell is tagged 'parameters'")],
)
def test_parameters_are_required(toy, old: str, new: str, message: str) -> None:
    chapter = toy.chapter("01-first", "x = 1")
    with pytest.raises(BuildError, match=message):
        executable(chapter.text.replace(old, new), chapter.name)


def test_published_removes_what_differs() -> None:
    cell = v4.new_code_cell("show()")
    cell.metadata.update(
        papermill={"duration": 1.0}, execution={"iopub.status.busy": "2026"}, tags=["injected-parameters"]
    )
    cell.outputs = [
        v4.new_output("stream", name="stdout", text="\x1b[31mred\x1b[0m at "),
        v4.new_output("stream", name="stdout", text="0x7f00deadbeef\n"),
        v4.new_output("stream", name="stderr", text="other"),
        v4.new_output(
            "display_data", data={"text/html": '<style id="T_1a2b3_row0">', "text/plain": "<A at 0x1234567>"}
        ),
        v4.new_output("stream", name="stdout", text="after"),
    ]
    notebook = v4.new_notebook(cells=[cell, v4.new_markdown_cell("# T")], metadata={"papermill": {}})

    published(notebook)

    assert "papermill" not in notebook.metadata
    assert dict(cell.metadata) == {"tags": ["injected-parameters", "remove-cell"]}
    texts = [output.get("text") for output in cell.outputs]
    assert texts == ["red at 0x…\n", "other", None, "after"]
    assert cell.outputs[2].data == {"text/html": '<style id="T_cell_000_row0">', "text/plain": "<A at 0x…>"}
    once = str(notebook)
    assert str(published(notebook)) == once


def test_running_cell_counts_as_the_text_does() -> None:
    def cell(source: str, status: str, *tags: str):
        made = v4.new_code_cell(source)
        made.metadata.update(papermill={"status": status}, tags=list(tags))
        return made

    notebook = v4.new_notebook(
        cells=[
            v4.new_markdown_cell("# T"),
            cell("p = 1", "completed", "parameters"),
            cell("p = 2", "completed", "injected-parameters"),
            cell("\n\nwork()\nmore()", "running"),
            cell("later()", "pending"),
        ]
    )
    assert running_cell(notebook) == (2, "work()")
    assert running_cell(notebook, 4) == (3, "later()")
    assert running_cell(v4.new_notebook(cells=[cell("a", "pending")])) == (0, "")


def test_partial_notebooks_may_be_broken(tmp_path) -> None:
    file = tmp_path / "x.ipynb"
    assert read_partial(file) is None
    file.write_text('{"cells": [')
    assert read_partial(file) is None


def test_describe_keeps_the_end_of_a_long_traceback() -> None:
    failure = Failure("01-x", "error", "E: e", traceback="\n".join(f"\x1b[1mline {n}\x1b[0m" for n in range(50)))
    lines = failure.describe().split("\n")
    assert lines[0] == "chapter 01-x: error"
    assert lines[-1] == "    line 49"
    assert len(lines) < 20
    assert plain("\x1b[1;31mA\x1b[0m") == "A"
