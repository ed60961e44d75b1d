"""Words changed alone: nothing is executed, and only the pages that show them are built; these are those of a whole build."""

from __future__ import annotations

import json
import re
from difflib import unified_diff

import pytest
from nbformat import v4

from wavemem.building import cache, site
from wavemem.building.cache import chapter_key, compare
from wavemem.building.chapters import as_executed, discover, executable, notebook_bytes, published
from wavemem.building.layout import BuildError, Parameters

QUICK = Parameters("quick", "cpu", 0)
CELL = """---
mystnb: {figure: {name: fig-one, caption: "A figure."}, image: {alt: A square.}}
tags: [hide-input]
---
draw()"""
DRAWING = '<svg xmlns="http://www.w3.org/2000/svg" width="9pt" height="9pt"><title>%s</title></svg>'
FIRST = """
(ch-first)=
# The first

Words and an array of words.

```{prf:theorem} Small
:label: thm-small
It is small.
```

(eq-first)=

$$
x = 1 \\tag{1}
$$

## A section

```{exercise} Try it
:label: ex-first
Do.
```
"""
SECOND = """
(ch-second)=
# The second

See {ref}`ch-first`, {ref}`the equation <eq-first>`, {prf:ref}`thm-small`, {ref}`ex-first`, {numref}`fig-one`, {ref}`fig-one`,
{cite:p}`elman1990finding` and {term}`wave`.
"""
PAGES = {
    "intro": "# Welcome\n\nBegin with {ref}`ch-first`.\n",
    "glossary": "# Glossary\n\n```{glossary}\nwave\n  What moves.\n```\n",
    "api": "# Reference\n\n```{eval-rst}\n.. automodule:: wavemem.processes\n```\n",
    "bibliography": "# Bibliography\n\n```{bibliography}\n```\n",
}


def execute(toy, drawing: str = "one") -> None:
    """Publish the chapters as if they had been executed."""
    for chapter in discover(toy.layout):
        notebook = published(executable(chapter.text, chapter.name))
        for cell in notebook.cells:
            if cell.source == "draw()":
                cell.outputs = [v4.new_output("display_data", data={"image/svg+xml": DRAWING % drawing})]
        key = chapter_key(chapter, toy.layout, QUICK)
        cache.publish(toy.layout, QUICK, chapter.name, key, notebook_bytes(notebook), None, 1.0)


def rewrite(toy, name: str, old: str, new: str) -> None:
    """Change a chapter's words."""
    text = toy.source(name).read_text()
    assert old in text
    toy.source(name).write_text(text.replace(old, new))


@pytest.fixture
def book(dressed):
    """Two chapters that refer to one another, with the settings of the real book."""
    toy, root = dressed, dressed.layout.root
    for name, text in PAGES.items():
        (root / "book" / f"{name}.md").write_text(text)
    files = [
        "chapters/01-first",
        "chapters/02-second",
        "pages/execution",
        "book/glossary",
        "book/api",
        "book/bibliography",
    ]
    part = {"caption": "One", "numbered": True, "chapters": [{"file": file} for file in files]}
    toc = {"format": "jb-book", "root": "book/intro", "parts": [part]}
    (root / "_toc.yml").write_text(json.dumps(toc))
    for name, text in (("01-first", FIRST), ("02-second", SECOND)):
        chapter = toy.chapter(name, CELL if name == "01-first" else "x = 1")
        toy.source(name).write_text(chapter.text.replace("\n# A chapter\n", text))
    execute(toy)
    return toy


def differing(a: dict[str, bytes], b: dict[str, bytes]) -> dict[str, list[str]]:
    """The pages and other files that differ, and the lines in which they do."""
    return {
        name: list(unified_diff(*(files.get(name, b"").decode(errors="replace").split("\n") for files in (a, b)), n=0))[
            2:20
        ]
        for name in sorted(a.keys() | b.keys())
        if a.get(name) != b.get(name)
    }


def build(book) -> dict[str, bytes]:
    """Build the site; its files."""
    site.build_site(book.layout, QUICK, discover(book.layout))
    files = (path for path in book.layout.site.rglob("*") if path.is_file())
    return {path.relative_to(book.layout.site).as_posix(): path.read_bytes() for path in files}


def head(page: bytes) -> dict[str, str]:
    """What a page says of itself, for those who link to it."""
    found = re.findall(r'<meta (?:name|property)="((?:og|twitter):[^"]+|description)" content="([^"]*)"', page.decode())
    return dict(found)


def examine_addresses(made: dict[str, bytes]) -> None:
    """Pages lead to the repository, and say where they are."""
    first = made["chapters/01-first.html"]
    for name in ("chapters/01-first.html", "chapters/02-second.html", "pages/execution.html", "genindex.html"):
        assert f'rel="canonical" href="https://some.github.io/waves/{name}"'.encode() in made[name]
    said = head(first)
    assert said["description"] == said["og:description"] == "Words and an array of words."
    assert said["og:image"] == "https://some.github.io/waves/previews/chapters/01-first.png"
    assert "previews/chapters/01-first.png" in made
    assert said["og:image:alt"] == "A square."
    assert "og:image" not in head(made["chapters/02-second.html"])  # nor has the first page a figure
    assert b"/edit/main/notebooks/01-first.md" in first
    assert b'src="../_static/images/logo_colab.png"' in first
    assert b"/edit/" not in made["pages/execution.html"]
    assert head(made["index.html"]) == head(made["book/intro.html"]) != {}
    assert b"url=book/intro.html" in made["index.html"]
    pages = re.findall(r"<loc>https://some.github.io/waves/(.*?)</loc>", made["sitemap.xml"].decode())
    assert pages == sorted(name for name in made if re.match(r"(book|chapters|pages)/.*html$", name))


def test_a_book_without_an_address_names_none(book) -> None:
    made = build(book)
    for name in (name for name in made if name.endswith(".html") and not name.startswith("_")):
        assert not re.search(rb'github\.com|mybinder|colab|rel="canonical"|"(?:og|twitter):', made[name]), name
    assert not [name for name in made if name.startswith(("sitemap", "previews"))]
    assert head(made["chapters/01-first.html"]) == {"description": "Words and an array of words."}


def test_pages_built_one_by_one_are_those_of_a_whole_build(book, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REPOSITORY", "https://github.com/some/waves")

    def written() -> set[str]:
        return {path.name for path in (book.layout.site / "chapters").iterdir() if path.stat().st_mtime_ns > moment}

    def compare_with_whole_build(made: dict[str, bytes]) -> None:
        (book.layout.build / "site.txt").unlink()
        whole = build(book)
        assert differing(made, whole) == {}

    before = build(book)
    examine_addresses(before)
    moment = max(path.stat().st_mtime_ns for path in book.layout.site.rglob("*"))
    rewrite(book, "01-first", "Words and an array", "Words, and a list")
    after = build(book)
    assert written() == {"01-first.html"}
    assert b"Words, and a list" in after["chapters/01-first.html"]
    found = differing(before, after)
    assert {name for name in found if name.endswith(".html")} == {"chapters/01-first.html"}, found
    compare_with_whole_build(after)
    rewrite(book, "01-first", "# The first", "# The very first")
    rewrite(book, "01-first", "A figure.", "A changed figure.")
    rewrite(
        book, "01-first", "```{prf:theorem} Small", "```{prf:theorem} Before\nOne more.\n```\n\n```{prf:theorem} Small"
    )
    execute(book, "two")
    after = build(book)
    for text in (b"The very first", b"A changed figure.", b"Theorem 1.2"):
        assert text in after["chapters/02-second.html"]
    compare_with_whole_build(after)
    # A page with a warning is not taken for good because the next change is another page's.
    rewrite(book, "01-first", "Words, and", "Words {ref}`to-nothing` and")
    for _ in range(2):
        with pytest.raises(BuildError, match="to-nothing"):
            build(book)
        assert b"Words, and a list" in (book.layout.site / "chapters" / "01-first.html").read_bytes()
        rewrite(book, "02-second", "See", "Do See")


def test_words_and_captions_execute_nothing_and_are_shown(book) -> None:
    (chapter, _) = discover(book.layout)
    for old, new, differs in (
        ("Words and", "Words, and", ""),
        ("A figure.", "A figure, changed.", ""),
        ("[hide-input]", "[hide-cell]", ""),
        ("# The first", "# Another", ""),
        ("[hide-cell]", "[hide-cell, raises-exception]", "changed: code cells"),
        ("draw()", "draw(1)", "changed: code cells"),
    ):
        rewrite(book, "01-first", old, new)
        (chapter, _) = discover(book.layout)
        entry, _, said = compare(chapter, book.layout, QUICK)
        assert said == differs, new
        shown = as_executed(chapter, v4.reads(entry.notebook.read_text()))
        current = "draw(1)" not in chapter.text
        assert any("# Another" in cell.source for cell in shown.cells) == ("# Another" in chapter.text and current)
        (figure,) = [cell for cell in shown.cells if cell.source == "draw()"]
        assert figure.outputs[0].data["image/svg+xml"] == DRAWING % "one"
        caption = "A figure, changed." if "figure, changed" in chapter.text and current else "A figure."
        assert figure.metadata.mystnb.figure.caption == caption
