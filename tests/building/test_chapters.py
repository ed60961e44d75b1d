"""Chapters found, read, chosen and made into notebooks; executed ones without traces of the moment."""

from __future__ import annotations

import jupytext
import nbformat
import pytest
from nbformat import v4

from wavemem.building.chapters import code_cells, discover, executable, front_matter, plain, published, select
from wavemem.building.layout import BuildError, Parameters, UsageError, find_root


def test_discovered_in_the_order_of_their_numbers(toy) -> None:
    toy.chapter("10-last", "x = 1", settings="")
    toy.chapter("02-second", "x = 1", settings="title: Second, number: 7, records: [a, b], timeout: 5")
    (toy.layout.notebooks / "notes.md").write_text("no chapter")
    second, last = discover(toy.layout)
    assert (second.name, second.number, last.name, last.number) == ("02-second", 2, "10-last", 10)
    assert (second.title, second.records, second.timeout) == ("Second", ("a", "b"), 5)
    assert (last.title, last.records, last.timeout) == ("10-last", (), 900)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("01-x", b"---\nwavemem: {timeout: soon}\n---\n", "timeout in the front matter is 'soon'; allowed: a whole"),
        ("01-x", b"---\nwavemem: {records: a}\n---\n", "records in the front matter is 'a'; allowed: a list"),
        ("01-x", b"---\nwavemem: 3\n---\n", "'wavemem' in the front matter is 3; allowed: a mapping"),
        ("01-x", b"---\n- a\n---\n", "has no 'wavemem'"),
        ("01-x", b"---\na: [\n---\n", "not valid YAML"),
        ("01-x", b"---\njupytext: {}\n---\n", "has no 'wavemem'.*keep 'notebook_metadata_filter: wavemem'"),
        ("01-x", b"# Title\n", "has no 'wavemem'"),
        ("1b-x", b"", "begins with its number"),
        ("7-x", b"---\nwavemem:\n---\n", "07-a and 7-x share a number"),
        ("01-x", "# Ü".encode("utf-16"), r"01-x\.md: not UTF-8 \(byte \d+\); save it as UTF-8"),
        ("01-x", "# Ü".encode("latin-1"), r"01-x\.md: not UTF-8 \(byte 2\); save it as UTF-8"),
    ],
)
def test_what_is_no_chapter_is_refused_by_name(toy, name: str, text: bytes, message: str) -> None:
    toy.chapter("07-a", "x = 1")
    toy.source(name).write_bytes(text)
    with pytest.raises(BuildError, match=message):
        discover(toy.layout)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_line_ends_and_byte_order_marks_change_nothing(toy, end: str, mark: str) -> None:
    chapter = toy.chapter("01-x", "x = 1", settings="title: Ü, records: [a]")
    toy.source("01-x").write_bytes((mark + chapter.text.replace("\n", end)).encode())
    assert discover(toy.layout) == [chapter]


@pytest.mark.parametrize(
    ("wanted", "names"),
    [
        (" , ", ["01-one", "02-two", "10-one", "12-twelve"]),
        ("02,", ["02-two"]),
        ("12 1", ["01-one", "12-twelve"]),
        ("twelve, 01-o", ["01-one", "12-twelve"]),
        ("notebooks/02-two.md", ["02-two"]),
        ("10-", ["10-one"]),
        ("one", "ambiguous chapter 'one'; available: 01-one, 02-two, "),
        ("3", "unknown chapter '3'; available: 01-one, 02-two, "),
        ("1,99", "unknown chapter '99'"),
        ("three", "unknown chapter 'three'"),
        ("1²", "unknown chapter '1²'"),
    ],
)
def test_select(toy, wanted: str, names: list[str] | str) -> None:
    for name in ("01-one", "02-two", "10-one", "12-twelve"):
        toy.chapter(name, "x = 1")
    chapters = discover(toy.layout)
    if isinstance(names, list):
        assert [chapter.name for chapter in select(chapters, wanted)] == names
    else:
        with pytest.raises(UsageError, match=names):
            select(chapters, wanted)


def test_code_cells_without_their_options() -> None:
    text = (
        "```{code-cell} ipython3\n:tags: [a]\n:name: b\n\nx = 1\n```\n\n"
        "```python\nnot = 'a cell'\n```\n\n"
        "~~~{code-cell}\n---\ntags: [hide-input]\n---\ny = '''\n```\n'''\n~~~\n\n"
        "Words\n````{code-cell} ipython3\nz = 1\n`````\n"
    )
    assert [cell.source for cell in code_cells(text)] == ["x = 1", "y = '''\n```\n'''", "z = 1"]


_CELL = "```{code-cell} ipython3\nimport os\n```\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (_CELL.replace("```", ":::"), "line 1: ':::{code-cell} ipython3' is never executed"),
        ("\n" + _CELL.replace("``` ", "```").replace("```{", "``` {"), "line 2: .* is never executed"),
        (_CELL.replace("{code", "{Code"), "never executed"),
        ("- item\n\n  " + _CELL.replace("\n", "\n  "), "line 3: .* at the left margin"),
        ("> " + _CELL.replace("\n", "\n> "), "line 1: '> .* is never executed"),
        ("    " + _CELL.replace("\n", "\n    "), "never executed"),
        ("````{note}\n" + _CELL + "````\n", "line 2: .* inside nothing else"),
        ("<!--\n" + _CELL + "-->\n", "line 2: "),
        (_CELL.removesuffix("```\n") + "\nWords\n\n" + _CELL, "is not closed: 'import os"),
        (_CELL.replace("import", ":tags: [a\nimport"), "cannot be read"),
        (_CELL.replace("import", "---\ntags: [a]\nimport"), "cannot be read"),
    ],
)
def test_a_cell_that_would_not_be_executed_is_refused_by_name(text: str, message: str) -> None:
    with pytest.raises(BuildError, match=f"^01-x.*{message}"):
        code_cells(text, "01-x")


def test_jupytext_writes_a_chapter_back_without_loss(real, toy) -> None:
    before = discover(real)
    for chapter in before:
        notebook = executable(chapter.text, chapter.name)
        # What JupyterLab adds before it saves.
        notebook.metadata["language_info"] = {"name": "python", "file_extension": ".py"}
        for cell in notebook.cells:
            cell.metadata["trusted"] = True
            if cell.cell_type == "code":
                cell.update(execution_count=3, outputs=[v4.new_output("stream", text="said")])
        as_json = nbformat.reads(nbformat.writes(notebook), as_version=4)
        toy.source(chapter.name).write_text(jupytext.writes(as_json, fmt="md:myst"))

    def seen(chapter) -> list[object]:
        header = front_matter(chapter.text, chapter.name)
        header["jupytext"]["text_representation"] = ...  # the writer adds its version
        cells = [(c.cell_type, c.source, c.metadata) for c in executable(chapter.text, chapter.name).cells]
        return [chapter.name, chapter.title, chapter.records, chapter.timeout, header, cells]

    for old, new in zip(before, discover(toy.layout), strict=True):
        assert seen(old) == seen(new)


def test_parameters_and_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    def chosen(device: str) -> str:
        return Parameters(device=device).on_this_machine().device

    assert Parameters("paper", "cuda", 3).variant == "paper-cuda-seed3"
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert chosen("auto") == chosen("cpu") == "cpu"
    with pytest.raises(UsageError, match=r"device is 'cuda'; allowed here: auto, cpu\. PyTorch finds no CUDA device"):
        chosen("cuda")
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert chosen("auto") == chosen("cuda") == "cuda"


def test_find_root(toy, tmp_path) -> None:
    assert find_root(toy.layout.notebooks) == toy.layout.root
    with pytest.raises(UsageError, match="no book here"):
        find_root(tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [("seed = 0", "", "does not set seed"), ("[parameters]", "[else]", "no code cell is tagged 'parameters'")],
)
def test_executable_numbers_its_cells_and_has_parameters(toy, old: str, new: str, message: str) -> None:
    text = toy.chapter("01-first", "x = 1", "y = 2").text
    notebook = executable(text, "01-first")
    assert [cell.id for cell in notebook.cells][:4] == ["markdown-000", "code-000", "markdown-001", "code-001"]
    assert [cell.source for cell in notebook.cells if cell.cell_type == "code"][1:] == ["x = 1", "y = 2"]
    with pytest.raises(BuildError, match=message):
        executable(text.replace(old, new), "01-first")


def test_published_removes_what_differs() -> None:
    def said(text: str, name: str = "stdout"):
        return v4.new_output("stream", name=name, text=text)

    shown = {"text/html": '<style id="T_1a2b3_row0">', "text/plain": "<A at 0x1234567>", "image/png": "0x1234567"}
    cell = v4.new_code_cell("show()")
    cell.metadata.update(papermill={"duration": 1.0}, execution={"iopub": "2026"}, tags=["injected-parameters"])
    cell.outputs = [said("\x1b[31mred\x1b[0m at "), said("0x7f00deadbeef\n"), said("other", "stderr")]
    cell.outputs += [v4.new_output("display_data", data=shown), said("after")]
    notebook = v4.new_notebook(cells=[cell, v4.new_markdown_cell("# T")], metadata={"papermill": {}})

    published(notebook)

    assert "papermill" not in notebook.metadata
    assert dict(cell.metadata) == {"tags": ["injected-parameters", "remove-cell"]}
    assert [output.get("text") for output in cell.outputs] == ["red at 0x…\n", "other", None, "after"]
    tidy = {"text/html": '<style id="T_code_000_row0">', "text/plain": "<A at 0x…>", "image/png": "0x1234567"}
    assert cell.outputs[2].data == tidy
    once = str(notebook)
    assert str(published(notebook)) == once
    assert plain("\x1b[1;31mA\x1b[0m") == "A"
