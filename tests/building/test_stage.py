"""The tree that Sphinx reads, and when the pages are built anew."""

from __future__ import annotations

import json
import subprocess
import types

import pytest
import yaml
from nbformat import v4

from wavemem.building import build, cache, site, stage
from wavemem.building.build import Order, build_book, serve, timings
from wavemem.building.chapters import discover
from wavemem.building.errors import BuildError, UsageError
from wavemem.building.key import chapter_key
from wavemem.building.notebooks import executable, published
from wavemem.building.paths import Parameters
from wavemem.building.schedule import Outcome
from wavemem.building.worker import serialised

QUICK = Parameters("quick", "cpu", 0)


@pytest.fixture
def book(toy, monkeypatch: pytest.MonkeyPatch):
    """Two chapters, the first of them executed; the pages that other parts write are left out."""
    monkeypatch.setattr(stage, "_mathjax", lambda: b"mathjax")
    monkeypatch.setattr(stage, "_generated_page", lambda module, write, layout, name: None)
    chapter = toy.chapter("01-first", "import wavemem.plain")
    toy.chapter("02-second", "x = 2")
    notebook = published(executable(chapter.text, chapter.name))
    notebook.cells[2].outputs = [v4.new_output("stream", name="stdout", text="measured\n")]
    cache.publish(
        toy.layout, QUICK, "01-first", chapter_key(chapter, toy.layout, QUICK), serialised(notebook), None, 12.4
    )
    return toy


def test_stage(book) -> None:
    layout = book.layout
    staged = stage.stage(layout, QUICK, discover(layout))
    assert staged.unexecuted == ["02-second"]
    assert staged.missing == ["book/absent"]
    toc = yaml.safe_load((layout.source / "_toc.yml").read_text())
    assert [entry["file"] for entry in toc["parts"][0]["chapters"]] == ["chapters/01-first", "pages/execution"]
    cells = json.loads((layout.source / "chapters/01-first.ipynb").read_text())["cells"]
    title = "".join(cells[0]["source"])
    assert title.startswith("# A chapter")
    assert "executed with profile `quick`" in title
    assert "wavemem book run 01-first" in "".join(cells[-1]["source"])
    assert any(output["text"] == "measured\n" for cell in cells for output in cell.get("outputs", []))
    other = (layout.source / "chapters/02-second.ipynb").read_text()
    assert "not executed in this build" in other
    assert (layout.source / "downloads/01-first.md").read_text() == discover(layout)[0].text
    assert "outputs" in (layout.source / "downloads/01-first.ipynb").read_text()
    assert "measured" not in (layout.source / "downloads/01-first.ipynb").read_text()
    page = (layout.source / "pages/execution.md").read_text()
    assert page.startswith("(page-execution)=\n")
    assert "| [](../chapters/01-first.ipynb) | 1 min | 12 s | 2 |" in page
    assert "| [](../chapters/02-second.ipynb) | 1 min | not executed | 0 |" in page


def test_claims_stand_after_the_summary_and_are_counted_on_the_welcome_page(
    book, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(path, results, records) -> dict[str, str]:
        path.write_text("all claims")
        return {"": "Of 3 claims.", "01-first": "## Claims\n\nrows", "02-second": "## Claims\n\nother rows"}

    page = types.SimpleNamespace(write=write)

    def generated(module, write_page, layout, name):
        if name != "claims.md":
            return None
        path = layout.build / name
        write_page(page, path)
        return path.read_bytes()

    monkeypatch.setattr(stage, "_generated_page", generated)
    layout = book.layout
    source = layout.notebooks / "02-second.md"
    source.write_text(source.read_text() + "\n## Summary\n\n- one\n\n## What to try\n\nA lot.\n")
    stage.stage(layout, QUICK, discover(layout))
    assert (layout.source / "pages/claims.md").read_text() == "all claims"
    assert (layout.source / "pages/claims-count.txt").read_text() == "Of 3 claims."

    def words(name: str) -> str:
        cells = json.loads((layout.source / "chapters" / name).read_text())["cells"]
        return "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")

    order = [words("02-second.ipynb").index(part) for part in ("- one", "other rows", "What to try", "Run it yourself")]
    assert order == sorted(order)
    without_summary = words("01-first.ipynb")
    assert without_summary.index("\nrows") < without_summary.index("Run it yourself")
    assert "other" not in without_summary


def test_staging_again_touches_only_what_changed(book) -> None:
    layout = book.layout
    first = stage.stage(layout, QUICK, discover(layout))
    (layout.source / "left-over").mkdir()
    (layout.source / "book" / "old.md").write_text("old")
    kept = (layout.source / "book/intro.md").stat().st_ino
    assert stage.stage(layout, QUICK, discover(layout)) == first
    assert not (layout.source / "left-over").exists()
    assert not (layout.source / "book/old.md").exists()
    assert (layout.source / "book/intro.md").stat().st_ino == kept
    (layout.root / "book/intro.md").write_text("# Changed\n")
    assert stage.stage(layout, QUICK, discover(layout)).digest != first.digest
    assert (layout.source / "book/intro.md").read_text() == "# Changed\n"


def test_a_hidden_folder_above_the_book_hides_nothing(tmp_path, new_toy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "_mathjax", lambda: b"mathjax")
    monkeypatch.setattr(stage, "_generated_page", lambda module, write, layout, name: None)
    toy = new_toy(tmp_path / ".hidden" / "toy")
    (toy.layout.root / "book" / ".draft.md").write_text("no")
    stage.stage(toy.layout, QUICK, [])
    assert [path.name for path in (toy.layout.source / "book").iterdir()] == ["intro.md"]


def test_generated_pages(toy) -> None:
    written = stage._generated_page(
        "wavemem.building.errors", lambda module, path: path.write_text(module.__name__), toy.layout, "x.md"
    )
    assert written == b"wavemem.building.errors"
    assert stage._generated_page("wavemem.absent", lambda module, path: None, toy.layout, "x.md") is None


@pytest.fixture
def sphinx(book, monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Each run of Sphinx, with its strictness; it leaves a page."""
    runs: list[bool] = []

    def run(layout, strict: bool) -> None:
        runs.append(strict)
        layout.site.mkdir(parents=True, exist_ok=True)
        (layout.site / "index.html").write_text("<html>")

    monkeypatch.setattr(site, "_run_sphinx", run)
    return runs


def test_pages_are_built_only_when_something_changed(book, sphinx: list[bool]) -> None:
    layout = book.layout

    def rebuilt() -> bool:
        return site.build_site(layout, QUICK, discover(layout), strict=False).rebuilt

    assert rebuilt()
    assert not rebuilt()
    (layout.root / "book/intro.md").write_text("# Changed\n")
    assert rebuilt()
    book.module("wavemem.plain", "X = 3\n")  # documented in the reference pages
    assert rebuilt()
    (layout.site / "index.html").unlink()
    assert rebuilt()
    (layout.build / "site.json").write_text("{")
    assert rebuilt()
    assert sphinx == [False] * 5


def test_a_whole_book_lacks_nothing(book, sphinx: list[bool]) -> None:
    with pytest.raises(BuildError, match="not executed: book/absent, 02-second"):
        site.build_site(book.layout, QUICK, discover(book.layout), strict=True)
    assert sphinx == []


def test_a_second_build_executes_nothing_and_builds_nothing(
    book, sphinx: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subprocess, "Popen", None)
    order = Order(device="cpu", chapters="1")
    first, second = build_book(book.layout, order), build_book(book.layout, order)
    assert first.outcome.executed == second.outcome.executed == []
    assert first.site is not None
    assert second.site is not None
    assert (first.site.rebuilt, second.site.rebuilt) == (True, False)
    assert timings(second.outcome)[0].split() == ["01-first", "12.4", "s", "up", "to", "date"]


def test_a_failure_builds_no_pages(book, sphinx: list[bool], monkeypatch: pytest.MonkeyPatch) -> None:
    failure = build.Failure("02-second", "error", "E: e")
    monkeypatch.setattr(build, "execute_chapters", lambda *arguments: Outcome({}, [], [failure]))
    built = build_book(book.layout, Order(device="cpu"))
    assert (built.site, built.failures, sphinx) == (None, [failure], [])


def test_sphinx_s_complaints_are_passed_on(book, monkeypatch: pytest.MonkeyPatch) -> None:
    done = subprocess.CompletedProcess([], 1, "", "a.md:3: WARNING: no such reference\nother\n")
    monkeypatch.setattr(site, "_jupyter_book", lambda *arguments: done)
    book.layout.site.mkdir(parents=True)
    with pytest.raises(BuildError, match=r"1 warnings or errors .*\n  a.md:3: WARNING: no such reference$"):
        site._run_sphinx(book.layout, strict=True)
    assert book.layout.site.is_dir()
    assert (book.layout.build / "site.log").read_text().startswith("a.md:3")


def test_broken_links(book, monkeypatch: pytest.MonkeyPatch) -> None:
    layout = book.layout
    with pytest.raises(BuildError, match="build the book first"):
        site.broken_links(layout)
    stage.stage(layout, QUICK, discover(layout))
    links = [
        {"filename": "a.md", "lineno": 3, "status": status, "uri": f"https://example.org/{status}", "info": "why"}
        for status in ("working", "broken", "redirected", "timeout")
    ]

    def run(layout, output, options):
        assert options == ["--builder", "linkcheck"]
        report = output / "_build" / "linkcheck" / "output.json"
        report.parent.mkdir(parents=True)
        report.write_text("\n".join(map(json.dumps, links)))
        return subprocess.CompletedProcess([], 1, "", "")

    monkeypatch.setattr(site, "_jupyter_book", run)
    assert site.broken_links(layout) == [
        "a.md:3: https://example.org/broken: why",
        "a.md:3: https://example.org/timeout: why",
    ]
    monkeypatch.setattr(site, "_jupyter_book", lambda *arguments: subprocess.CompletedProcess([], 2, "", "no Sphinx"))
    with pytest.raises(BuildError, match="no Sphinx"):
        site.broken_links(layout)


def test_serving_needs_a_site_and_a_port(toy) -> None:
    with pytest.raises(BuildError, match="build it first"):
        serve(toy.layout.site, 0)
    with pytest.raises(UsageError, match="port is 70000; allowed: 0 to 65535"):
        serve(toy.layout.site, 70000)
