"""Chapters as they stand in the folder: found, read, chosen."""

from __future__ import annotations

import pytest

from wavemem.building.chapters import code_cells, discover, front_matter, parse, select
from wavemem.building.layout import BuildError, Parameters, UsageError, find_root


def test_discovered_in_the_order_of_their_numbers(toy) -> None:
    toy.chapter("10-last", "x = 1")
    toy.chapter("02-second", "x = 1", settings="title: Second, minutes: 7, records: [a, b], timeout: 5")
    (toy.layout.notebooks / "notes.md").write_text("no chapter")
    found = discover(toy.layout)
    assert [(chapter.name, chapter.number) for chapter in found] == [("02-second", 2), ("10-last", 10)]
    second = found[0]
    assert (second.title, second.minutes, second.records, second.timeout) == ("Second", 7, ("a", "b"), 5)
    assert found[1].title == "10-last"


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("01-x", "---\nwavemem: {minutes: soon}\n---\n", "minutes in the front matter is 'soon'; allowed: a whole"),
        ("01-x", "---\nwavemem: {records: a}\n---\n", "records in the front matter is 'a'; allowed: a list"),
        ("01-x", "---\nwavemem: 3\n---\n", "'wavemem' in the front matter is 3; allowed: a mapping"),
        ("01-x", "---\n- a\n---\n", "the front matter is a list, not a mapping"),
        ("01-x", "---\na: [\n---\n", "not valid YAML"),
        ("01-x", "---\njupytext: {}\n---\n", "has no 'wavemem'.*keep 'notebook_metadata_filter: wavemem'"),
        ("01-x", "# Title\n", "has no 'wavemem'"),
        ("1b-x", "", "begins with its number"),
    ],
)
def test_bad_front_matter(toy, name: str, text: str, message: str) -> None:
    (toy.layout.notebooks / f"{name}.md").write_text(text)
    with pytest.raises(BuildError, match=message):
        discover(toy.layout)


def test_two_chapters_of_one_number(toy) -> None:
    toy.chapter("01-a", "x = 1")
    (toy.layout.notebooks / "1-b.md").write_text("---\nwavemem:\n---\n")
    with pytest.raises(BuildError, match="01-a and 1-b share a number"):
        discover(toy.layout)


def test_no_front_matter() -> None:
    assert front_matter("# Title\n", "x") == {}
    assert front_matter("---\n---\n# Title\n", "x") == {}


@pytest.mark.parametrize(
    ("wanted", "names"),
    [
        (None, ["01-one", "02-two", "12-twelve"]),
        ("", ["01-one", "02-two", "12-twelve"]),
        (" , ", ["01-one", "02-two", "12-twelve"]),
        ("2", ["02-two"]),
        ("02,", ["02-two"]),
        ("12 1", ["01-one", "12-twelve"]),
        ("twelve, 01-o", ["01-one", "12-twelve"]),
        ("notebooks/02-two.md", ["02-two"]),
    ],
)
def test_select(toy, wanted: str | None, names: list[str]) -> None:
    for name in ("01-one", "02-two", "12-twelve"):
        toy.chapter(name, "x = 1")
    assert [chapter.name for chapter in select(discover(toy.layout), wanted)] == names


@pytest.mark.parametrize("wanted", ["3", "three", "1,99", "1²"])
def test_unknown_chapters(toy, wanted: str) -> None:
    for name in ("01-one", "02-two"):
        toy.chapter(name, "x = 1")
    with pytest.raises(UsageError, match=r"unknown chapter '.*'; available: 01-one, 02-two"):
        select(discover(toy.layout), wanted)


def test_ambiguous_chapter(toy) -> None:
    for name in ("10-one", "11-two"):
        toy.chapter(name, "x = 1")
    chapters = discover(toy.layout)
    assert [chapter.name for chapter in select(chapters, "10-")] == ["10-one"]
    toy.chapter("12-one", "x = 1")
    with pytest.raises(UsageError, match="ambiguous chapter 'one'"):
        select(discover(toy.layout), "one")


def test_code_cells_without_their_options() -> None:
    text = (
        "```{code-cell} ipython3\n:tags: [a]\n:name: b\n\nx = 1\n```\n\n"
        "```python\nnot = 'a cell'\n```\n\n"
        "~~~{code-cell}\n---\ntags: [hide-input]\n---\ny = '''\n```\n'''\n~~~\n\n"
        "Words\n````{code-cell} ipython3\nz = 1\n`````\n"
    )
    assert code_cells(text) == ["x = 1", "y = '''\n```\n'''", "z = 1"]


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
    assert code_cells(_CELL) == ["import os"]
    with pytest.raises(BuildError, match=f"^01-x.*{message}"):
        code_cells(text, "01-x")


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_line_ends_and_byte_order_marks_change_nothing(toy, end: str, mark: str) -> None:
    plain = toy.chapter("01-x", "x = 1", settings="title: Ü, records: [a]")
    plain.source.write_bytes((mark + plain.text.replace("\n", end)).encode())
    assert discover(toy.layout) == [plain]


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
def test_another_encoding_is_refused_by_name(toy, encoding: str) -> None:
    plain = toy.chapter("01-x", "x = 1", settings="title: Ü")
    plain.source.write_bytes(plain.text.encode(encoding))
    with pytest.raises(BuildError, match=r"01-x\.md: not UTF-8 \(byte \d+\); save it as UTF-8"):
        discover(toy.layout)


def test_jupytext_writes_a_chapter_back_without_loss(real, toy) -> None:
    import jupytext
    import nbformat

    for chapter in discover(real):
        notebook = parse(chapter.text, chapter.name)
        # What JupyterLab adds before it saves.
        notebook.metadata["language_info"] = {"name": "python", "file_extension": ".py"}
        for cell in notebook.cells:
            cell.metadata["trusted"] = True
            if cell.cell_type == "code":
                cell.update(execution_count=3, outputs=[nbformat.v4.new_output("stream", text="said")])
        as_json = nbformat.reads(nbformat.writes(notebook), as_version=4)
        (toy.layout.notebooks / f"{chapter.name}.md").write_text(jupytext.writes(as_json, fmt="md:myst"))
    for before, after in zip(discover(real), discover(toy.layout), strict=True):
        for name in ("name", "title", "minutes", "records", "timeout"):
            assert getattr(after, name) == getattr(before, name), before.name
        headers = [front_matter(chapter.text, chapter.name) for chapter in (before, after)]
        for header in headers:
            header["jupytext"]["text_representation"] = ...  # the writer adds its version
        assert headers[0] == headers[1]
        cells = [
            [(cell.cell_type, cell.source, cell.metadata) for cell in parse(chapter.text, chapter.name).cells]
            for chapter in (before, after)
        ]
        assert cells[0] == cells[1], before.name


def test_parameters() -> None:
    assert Parameters("paper", "cuda", 3).variant == "paper-cuda-seed3"
    for arguments in (("slow", "cpu", 0), ("quick", "tpu", 0)):
        with pytest.raises(UsageError, match="available: "):
            Parameters(*arguments)
    with pytest.raises(UsageError, match="seed is -1; allowed: 0"):
        Parameters("quick", "cpu", -1)


def test_find_root(toy, tmp_path) -> None:
    assert find_root(toy.layout.notebooks) == toy.layout.root
    with pytest.raises(UsageError, match="no book here"):
        find_root(tmp_path)
