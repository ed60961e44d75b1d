"""The tree that Sphinx reads, and when the pages are built anew."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest
import yaml
from nbformat import v4

from wavemem import cli
from wavemem.building import build, cache, generated, site, stage
from wavemem.building.build import Order, build_book, serve, timings
from wavemem.building.cache import chapter_key
from wavemem.building.chapters import discover
from wavemem.building.generated import BLOCKS
from wavemem.building.layout import BuildError, Parameters, UsageError
from wavemem.building.notebooks import executable, published
from wavemem.building.schedule import Outcome
from wavemem.building.worker import Failure, notebook_bytes
from wavemem.processes import claim

QUICK = Parameters("quick", "cpu", 0)


@pytest.fixture
def book(toy, monkeypatch: pytest.MonkeyPatch):
    """Two chapters, the first of them executed; the pages that other parts write are left out."""
    monkeypatch.setattr(stage, "_mathjax", lambda: b"mathjax")
    monkeypatch.setattr(stage, "generate", lambda layout, parameters: {})
    chapter = toy.chapter("01-first", "import wavemem.plain")
    toy.chapter("02-second", "x = 2")
    notebook = published(executable(chapter.text, chapter.name))
    notebook.cells[2].outputs = [v4.new_output("stream", name="stdout", text="measured\n")]
    cache.publish(
        toy.layout, QUICK, "01-first", chapter_key(chapter, toy.layout, QUICK), notebook_bytes(notebook), None, 12.4
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
    blocks = {"": "Of 3 claims.", "01-first": "## Claims\n\nrows", "02-second": "## Claims\n\nother rows"}
    pages = {"claims.md": b"all claims", BLOCKS: json.dumps(blocks).encode(), "welcome.svg": b"<svg>"}
    monkeypatch.setattr(stage, "generate", lambda layout, parameters: dict(pages))
    layout = book.layout
    source = layout.notebooks / "02-second.md"
    source.write_text(source.read_text() + "\n## Summary\n\n- one\n\n## What to try\n\nA lot.\n")
    stage.stage(layout, QUICK, discover(layout))
    assert (layout.source / "pages/claims.md").read_text() == "all claims"
    assert (layout.source / "book/welcome.svg").read_text() == "<svg>"
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
    monkeypatch.setattr(stage, "generate", lambda layout, parameters: {})
    toy = new_toy(tmp_path / ".hidden" / "toy")
    (toy.layout.root / "book" / ".draft.md").write_text("no")
    stage.stage(toy.layout, QUICK, [])
    assert [path.name for path in (toy.layout.source / "book").iterdir()] == ["intro.md"]


def test_pages_of_measurements_know_nothing_of_whoever_builds(toy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MPLBACKEND", "no such thing")
    monkeypatch.setenv("PYTHONSTARTUP", "/nowhere")
    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    (toy.layout.build / "pages").mkdir(parents=True)
    (toy.layout.build / "pages" / "left-over.md").touch()
    asked = []

    def run(command, **options):
        asked.append(options["env"])
        (options["cwd"] / "claims.md").write_text("x")
        return subprocess.CompletedProcess(command, int(len(asked) > 1), b"", b"why")

    monkeypatch.setattr(subprocess, "run", run)
    assert generated.generate(toy.layout, QUICK) == {"claims.md": b"x"}
    assert asked[0]["MPLBACKEND"] == "agg"
    assert "/nowhere" not in asked[0].values()
    with pytest.raises(BuildError, match="could not be written:\nwhy"):
        generated.generate(toy.layout, QUICK)


@pytest.fixture
def sphinx(book, monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Each run of Sphinx, with its strictness; it leaves two pages."""
    runs: list[bool] = []

    def run(layout, strict: bool, held: tuple[int, ...]):
        runs.append(strict)
        pages = layout.build / "site-new" / "html"
        (pages / "chapters").mkdir(parents=True, exist_ok=True)
        (pages / "index.html").write_text("<html>")
        (pages / "chapters" / "01-first.html").write_text("<html>")
        return pages

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
    damages = [
        lambda page: page.unlink(),
        lambda page: page.write_text(""),
        lambda page: page.write_text("<body>"),
        lambda page: page.with_name("other.html").write_text("<html>"),
        lambda page: shutil.rmtree(layout.site),
        lambda page: (layout.build / "site.json").write_text("{"),
        lambda page: (layout.build / "site.json").write_text("[]"),
    ]
    for damage in damages:
        damage(layout.site / "chapters" / "01-first.html")
        assert rebuilt()
        assert sorted(path.name for path in layout.site.rglob("*.html")) == ["01-first.html", "index.html"]
        assert (layout.site / "chapters" / "01-first.html").read_text() == "<html>"
        assert not rebuilt()
    assert sphinx == [False] * (3 + len(damages))


@pytest.mark.parametrize("revert", [False, True])
def test_pages_of_sources_that_changed_meanwhile_are_not_kept(
    book, sphinx: list[bool], monkeypatch: pytest.MonkeyPatch, revert: bool
) -> None:
    layout = book.layout
    site.build_site(layout, QUICK, discover(layout), strict=False)
    before = (layout.site / "index.html").stat().st_ino
    quiet = site._run_sphinx

    def run(layout, strict, held):
        file = book.module("wavemem.plain", "X = 4\n")
        if revert:
            file.write_text("X = 3\n")
        return quiet(layout, strict, held)

    book.module("wavemem.plain", "X = 3\n")
    monkeypatch.setattr(site, "_run_sphinx", run)
    with pytest.raises(
        BuildError, match=r"changed while the pages were built: .*plain\.py; run the same command again"
    ):
        site.build_site(layout, QUICK, discover(layout), strict=False)
    assert (layout.site / "index.html").stat().st_ino == before
    monkeypatch.setattr(site, "_run_sphinx", quiet)
    assert site.build_site(layout, QUICK, discover(layout), strict=False).rebuilt


def test_two_builds_make_the_pages_one_after_the_other(book, sphinx: list[bool], capsys) -> None:
    layout = book.layout
    claimed, _ = claim(layout.build / "site.lock")
    assert claimed is not None
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(site.build_site, layout, QUICK, discover(layout), False)
        with pytest.raises(TimeoutError):
            other.result(1.0)
        assert sphinx == []
        claimed.close()
        assert other.result(60.0).rebuilt
    assert f"another build makes the pages (process {os.getpid()})" in capsys.readouterr().err


def test_a_chapter_that_the_contents_do_not_name_is_said_before_any_work(book, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "execute", None)
    with pytest.raises(
        UsageError, match=r"_toc.yml does not name 02-second; [\s\S]*\n      - file: chapters/02-second"
    ):
        build_book(book.layout, Order(device="cpu"))
    for text in ("- a\n", "parts: [{chapters: [x]}]\n", "a: [\n"):
        (book.layout.root / "_toc.yml").write_text(text)
        with pytest.raises(BuildError, match="no table of contents"):
            build_book(book.layout, Order(device="cpu"))


def test_what_the_file_system_refuses_is_one_line(book, sphinx: list[bool]) -> None:
    shutil.rmtree(book.layout.build)
    book.layout.build.write_text("a file")
    with pytest.raises(OSError, match="Not a directory") as caught:
        build_book(book.layout, Order(device="cpu", chapters="1"), lenient=True)
    line, status = cli._explained(caught.value) or ("", 0)
    assert (re.search(r"_build\S*: Not a directory\. ", line) is not None, status) == (True, 1)


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
    assert first[0].executed == second[0].executed == []
    assert first[1] is not None
    assert second[1] is not None
    assert (first[1].rebuilt, second[1].rebuilt) == (True, False)
    assert timings(second[0])[0].split() == ["01-first", "12.4", "s", "up", "to", "date"]


def test_a_failure_builds_no_pages(book, sphinx: list[bool], monkeypatch: pytest.MonkeyPatch) -> None:
    failure = Failure("02-second", "error", "E: e")
    monkeypatch.setattr(build, "execute_chapters", lambda *arguments: Outcome({}, [], [failure]))
    assert build_book(book.layout, Order(device="cpu"), lenient=True) == (Outcome({}, [], [failure]), None)
    assert sphinx == []


def test_sphinx_s_complaints_are_passed_on(book, monkeypatch: pytest.MonkeyPatch) -> None:
    done = subprocess.CompletedProcess([], 1, "", "a.md:3: WARNING: no such reference\nother\n")
    monkeypatch.setattr(site, "_jupyter_book", lambda *arguments: done)
    book.layout.site.mkdir(parents=True)
    with pytest.raises(BuildError, match=r"1 warnings or errors .*\n  a.md:3: WARNING: no such reference$"):
        site._run_sphinx(book.layout, True)
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

    def run(layout, output, options, held):
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
