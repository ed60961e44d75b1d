"""The tree that Sphinx reads, when the pages are built anew, and what the commands for the book make of it."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest
import yaml
from nbformat import v4
from typer.testing import CliRunner

from wavemem import cli
from wavemem.building import cache, layout, schedule, site, stage
from wavemem.building.cache import chapter_key
from wavemem.building.chapters import discover, executable, notebook_bytes, published
from wavemem.building.layout import BuildError, Parameters, UsageError
from wavemem.processes import claim

QUICK = Parameters("quick", "cpu", 0)


@pytest.fixture
def book(toy, monkeypatch: pytest.MonkeyPatch):
    """Two chapters, the first of them executed; the pages that other parts write are left out."""
    monkeypatch.setattr(stage, "_mathjax", lambda: b"mathjax")
    monkeypatch.setattr(stage, "generate", lambda *_: {})
    chapter = toy.chapter("01-first", "import wavemem.plain")
    toy.chapter("02-second", "x = 2")
    notebook = published(executable(chapter.text, chapter.name))
    notebook.cells[3].outputs = [v4.new_output("stream", name="stdout", text="measured\n")]
    key = chapter_key(chapter, toy.layout, QUICK)
    cache.publish(toy.layout, QUICK, "01-first", key, notebook_bytes(notebook), None, 12.4)
    monkeypatch.chdir(toy.layout.root)
    return toy


def staged(book) -> stage.Staged:
    return stage.stage(book.layout, QUICK, discover(book.layout))


def words(book, name: str) -> str:
    """The prose of an assembled chapter."""
    cells = json.loads((book.layout.source / "chapters" / f"{name}.ipynb").read_text())["cells"]
    return "\n".join(cell["source"] for cell in cells if cell["cell_type"] == "markdown")


def test_stage(book) -> None:
    made, source = staged(book), book.layout.source
    assert (made.unexecuted, made.missing) == (["02-second"], ["book/absent"])
    toc = yaml.safe_load((source / "_toc.yml").read_text())
    assert [entry["file"] for entry in toc["parts"][0]["chapters"]] == ["chapters/01-first", "pages/execution"]
    prose = words(book, "01-first")
    assert prose.startswith(
        "# A chapter\n\n:::{div} chapter-facts\n5 minutes' read · executed with profile `quick` · dev"
    )
    assert prose.index("Words") < prose.index("wavemem book run 01-first")
    assert '"measured\\n"' in (source / "chapters/01-first.ipynb").read_text()
    assert "not executed in this build" in words(book, "02-second")
    assert (source / "downloads/01-first.md").read_text() == discover(book.layout)[0].text
    plain = (source / "downloads/01-first.ipynb").read_text()
    assert "outputs" in plain
    assert "measured" not in plain
    assert "This is the notebook of chapter 1 of *Toy*." in plain
    page = (source / "pages/execution.md").read_text()
    assert page.startswith("(page-execution)=\n")
    assert "| [](../chapters/01-first.ipynb) | 5 min | 12 s | 2 |\n" in page
    assert "| [](../chapters/02-second.ipynb) | 5 min | not executed | 0 |\n| All | 10 min | 12 s |  |\n" in page


def test_claims_stand_after_the_summary(book, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = {"": "Of 3 claims.", "01-first": "## Claims\n\nrows", "02-second": "## Claims\n\nother rows"}
    pages = {"claims.md": b"all claims", stage.BLOCKS: json.dumps(blocks).encode(), "welcome.svg": b"<svg>"}
    monkeypatch.setattr(stage, "generate", lambda *_: dict(pages))
    with book.source("02-second").open("a") as file:
        file.write("\n## Summary\n\n- one\n\n## What to try\n\nA lot.\n")
    staged(book)
    written = ("pages/claims.md", "book/welcome.svg", "pages/claims-count.txt")
    assert [(book.layout.source / name).read_text() for name in written] == ["all claims", "<svg>", "Of 3 claims."]
    prose = words(book, "02-second")
    order = [prose.index(part) for part in ("- one", "other rows", "What to try", "Run it yourself")]
    assert order == sorted(order)
    without_summary = words(book, "01-first")
    assert without_summary.index("\nrows") < without_summary.index("Run it yourself")
    assert "other" not in without_summary


def test_the_address_stands_where_a_reader_copies_it(
    book, real: layout.Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (real.root / "book" / "how-to-use.md").read_text()
    assert "git clone <address of your copy>\ncd <the folder>\n" in text
    (book.layout.root / "book" / "how-to-use.md").write_text(text)
    settings, source = book.layout.root / "_config.yml", book.layout.source
    settings.write_text("title: Toy  # as it is\nrepository: {branch: year-2028}\n")
    staged(book)
    assert (source / "book/how-to-use.md").read_text() == text
    assert (source / "_config.yml").read_text() == settings.read_text()
    monkeypatch.setenv("REPOSITORY", "git@github.com:some/waves.git")
    staged(book)
    assert "git clone https://github.com/some/waves\ncd waves\n" in (source / "book/how-to-use.md").read_text()
    told = yaml.safe_load((source / "_config.yml").read_text())
    assert told["sphinx"]["config"] == {
        "wavemem_repository": "https://github.com/some/waves",
        "wavemem_branch": "year-2028",
    }
    assert told["html"]["baseurl"] == "https://some.github.io/waves/"
    monkeypatch.setenv("REPOSITORY", "")
    settings.write_text("html: {baseurl: 'https://waves.example.org/'}\n")
    monkeypatch.setenv("BOOK_URL", "")
    staged(book)
    assert yaml.safe_load((source / "_config.yml").read_text())["html"] == {"baseurl": ""}
    book.layout = layout.Layout(book.layout.root, layout.Edition("student"))
    monkeypatch.setenv("REPOSITORY", "https://github.com/some/waves")
    staged(book)
    assert (book.layout.source / "book/how-to-use.md").read_text() == text


def test_staging_again_touches_only_what_changed(book) -> None:
    source = book.layout.source
    first = staged(book)
    (source / "left-over").mkdir()
    (source / "book" / "old.md").write_text("old")
    kept = (source / "book/intro.md").stat().st_ino
    assert staged(book) == first
    assert not (source / "left-over").exists()
    assert not (source / "book/old.md").exists()
    assert (source / "book/intro.md").stat().st_ino == kept
    (book.layout.root / "book/intro.md").write_text("# Changed\n")
    assert staged(book).digest != first.digest
    assert (source / "book/intro.md").read_text() == "# Changed\n"


def test_a_hidden_folder_above_the_book_hides_nothing(book, tmp_path) -> None:
    book.layout = layout.Layout(book.layout.root.rename(tmp_path / ".hidden"))
    (book.layout.root / "book" / ".draft.md").write_text("no")
    staged(book)
    assert [path.name for path in (book.layout.source / "book").iterdir()] == ["intro.md"]


def test_pages_of_measurements_are_made_apart_when_what_they_are_made_from_changes(
    toy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MPLBACKEND", "/nowhere")
    pages, results, chapter = toy.layout.build / "pages", toy.layout.results(QUICK), toy.chapter("01-first", "x = 1")
    for folder in (pages, results):
        folder.mkdir(parents=True)
    (pages / "left-over.md").touch()
    codes = [0]

    def run(command, **options):
        assert options["env"]["MPLBACKEND"] == "agg"
        (options["cwd"] / "claims.md").write_text("x")
        return subprocess.CompletedProcess(command, codes.pop(), "", "why")

    monkeypatch.setattr(subprocess, "run", run)

    def words(new: str) -> None:
        toy.source(chapter.name).write_text(chapter.text.replace("Words.", new))

    assert stage.generate(toy.layout, QUICK) == {"claims.md": b"x"}
    words("Words, and words.")
    assert stage.generate(toy.layout, QUICK) == {"claims.md": b"x"}
    for change in (
        lambda: words("(sec-01-a)=\n## A\n"),
        lambda: (results / "01-first.json").write_text("{}"),
        lambda: toy.module("wavemem.plain", "X = 2\n"),
        lambda: (toy.layout.build / "pages.txt").write_text("{"),
    ):
        change()
        codes[:] = [0, 1]
        with pytest.raises(BuildError, match="could not be written:\nwhy"):
            stage.generate(toy.layout, QUICK)
        for _ in range(2):
            assert stage.generate(toy.layout, QUICK) == {"claims.md": b"x"}
        assert codes == []
    (pages / "claims.md").write_text("y")
    codes.append(0)
    assert stage.generate(toy.layout, QUICK) == {"claims.md": b"x"}


@pytest.fixture
def sphinx(book, monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Each run of Sphinx: whether it went on from the last; it leaves two pages."""
    runs: list[bool] = []

    def run(layout, strict: bool, held: tuple[int, ...], go_on: bool):
        runs.append(go_on)
        pages = layout.build / "sphinx" / "html"
        (pages / "chapters").mkdir(parents=True, exist_ok=True)
        (pages / "index.html").write_text("<html>")
        (pages / "chapters" / "01-first.html").write_text("<html>")
        return pages

    monkeypatch.setattr(site, "_run_sphinx", run)
    return runs


def rebuilt(book) -> bool:
    return site.build_site(book.layout, QUICK, discover(book.layout), strict=False)[1]


def test_pages_are_built_only_when_something_changed(book, sphinx: list[bool]) -> None:
    layout = book.layout
    assert rebuilt(book)
    assert not rebuilt(book)
    damages = [
        lambda page: (layout.root / "book/intro.md").write_text("# Changed\n"),
        lambda page: (layout.root / "_config.yml").write_text("title: Other\n"),
        lambda page: book.module("wavemem.plain", "X = 3\n"),  # documented in the reference pages
        lambda page: page.unlink(),
        lambda page: page.write_text(""),
        lambda page: page.write_text("<body>"),
        lambda page: page.with_name("other.html").write_text("<html>"),
        lambda page: shutil.rmtree(layout.site),
        lambda page: (layout.build / "site.txt").write_text("{"),
        lambda page: (layout.build / "site.txt").write_text("[]"),
    ]
    for damage in damages:
        damage(layout.site / "chapters" / "01-first.html")
        assert rebuilt(book)
        assert sorted(path.name for path in layout.site.rglob("*.html")) == ["01-first.html", "index.html"]
        assert (layout.site / "chapters" / "01-first.html").read_text() == "<html>"
        assert not rebuilt(book)
    assert sphinx == [False, True, *[False] * (len(damages) - 1)]


@pytest.mark.parametrize("revert", [False, True])
def test_pages_of_sources_that_changed_meanwhile_are_not_kept(
    book, sphinx: list[bool], monkeypatch: pytest.MonkeyPatch, revert: bool
) -> None:
    assert rebuilt(book)
    before = (book.layout.site / "index.html").stat().st_ino
    quiet = site._run_sphinx

    def run(*arguments):
        file = book.module("wavemem.plain", "X = 4\n")
        if revert:
            file.write_text("X = 3\n")
        return quiet(*arguments)

    book.module("wavemem.plain", "X = 3\n")
    monkeypatch.setattr(site, "_run_sphinx", run)
    with pytest.raises(BuildError, match=r"changed while the pages were built: .*plain\.py; run the same command"):
        rebuilt(book)
    assert (book.layout.site / "index.html").stat().st_ino == before
    monkeypatch.setattr(site, "_run_sphinx", quiet)
    assert rebuilt(book)


def test_two_builds_make_the_pages_one_after_the_other(book, sphinx: list[bool], capsys) -> None:
    claimed, _ = claim(book.layout.build / "site.lock")
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(rebuilt, book)
        with pytest.raises(TimeoutError):
            other.result(1.0)
        assert sphinx == []
        claimed.close()
        assert other.result(60.0)
    assert f"another build makes the pages (process {os.getpid()})" in capsys.readouterr().err


def build(*options: str):
    """`wavemem book build` at the top of the toy."""
    return CliRunner().invoke(cli.app, ["book", "build", "--device", "cpu", *options])


def test_a_chapter_that_the_contents_do_not_name_is_said_before_any_work(book, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedule, "execute_chapters", None)
    assert isinstance(build("--lenient").exception, TypeError)  # went on to the work
    said = build().exception
    assert isinstance(said, UsageError)
    assert re.match(r"_toc.yml does not name 02-second; [\s\S]*\n      - file: chapters/02-second$", str(said))
    for text in ("- a\n", "parts: [{chapters: [x]}]\n", "a: [\n"):
        (book.layout.root / "_toc.yml").write_text(text)
        said = build().exception
        assert isinstance(said, BuildError)
        assert "no table of contents" in str(said)


def test_a_second_build_does_nothing(book, sphinx: list[bool], monkeypatch: pytest.MonkeyPatch) -> None:
    """Of some chapters; a whole book has to lack nothing."""
    with pytest.raises(BuildError, match="not executed: book/absent, 02-second"):
        site.build_site(book.layout, QUICK, discover(book.layout), strict=True)
    monkeypatch.setattr(subprocess, "Popen", None)
    for state in ("(built)", "(up to date)"):
        said = build("--chapters", "1").stdout
        assert state in said
        assert re.search(r"01-first +12\.4 s   up to date\n", said)
        assert "left out, no such page: book/absent\nshown without outputs, not executed: 02-second\n" in said
        served = shlex.split(re.findall(r"^serve: (.*?)   then ", said, re.MULTILINE)[0])
        assert served[-5:-1] == ["--bind", "127.0.0.1", "--directory", str(book.layout.site)]
    assert sphinx == [False]


@pytest.mark.parametrize("code", [0, 1])
def test_sphinx_s_complaints_are_passed_on(book, monkeypatch: pytest.MonkeyPatch, capsys, code: int) -> None:
    def run(layout, output, options, held):
        assert options == ["--warningiserror", "--keep-going"]
        for name in ("html", ".doctrees"):
            (output / "_build" / name).mkdir(parents=True)
        return subprocess.CompletedProcess([], code, "", "\x1b[91mWARNING: no such reference\x1b[39m\nother\n")

    monkeypatch.setattr(site, "_jupyter_book", run)
    book.layout.site.mkdir(parents=True)
    if code:
        with pytest.raises(BuildError, match=r"1 warnings or errors .*\n  WARNING: no such reference$"):
            site._run_sphinx(book.layout, True, (), False)
    else:
        pages = site._run_sphinx(book.layout, True, (), False)
        assert (pages / ".nojekyll").is_file()
        assert not (pages.parent / ".doctrees").exists()
        assert "1 warnings while building the pages" in capsys.readouterr().err
    assert book.layout.site.is_dir()
    assert (book.layout.build / "site.log").read_text().startswith("WARNING")


def test_broken_links(book, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BuildError, match="build the book first"):
        site.broken_links(book.layout)
    staged(book)
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
    done = CliRunner().invoke(cli.app, ["book", "links"])
    assert done.exit_code == 1
    assert done.stdout == "a.md:3: https://example.org/broken: why\na.md:3: https://example.org/timeout: why\n"
    monkeypatch.setattr(site, "_jupyter_book", lambda *arguments: subprocess.CompletedProcess([], 2, "", "no Sphinx"))
    with pytest.raises(BuildError, match="no Sphinx"):
        site.broken_links(book.layout)


def test_serving_needs_a_site_and_a_port(book) -> None:
    with pytest.raises(BuildError, match="build it first"):
        site.serve(book.layout.site, 0)
