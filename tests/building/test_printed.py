"""The pages of a site as one document, and that document on paper."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import pytest
from bs4 import BeautifulSoup

from wavemem.building.doctor import find_browser
from wavemem.building.layout import BuildError, find_root
from wavemem.building.printed import join, print_site

PAGE = """\
<html><head><title>{title} — Waves &amp; more</title>
<link rel="stylesheet" href="../_static/book.css?v=1"/>
<script>window.MathJax = {{}}</script><script src="../_static/buttons.js"></script></head><body>
<a class="logo" href="#"><p class="title logo__title">Waves &amp; more</p></a>
<nav class="bd-links"><p class="caption"><span>Part I: First</span></p>
<ul class="nav bd-sidenav"><li><a href="../{chapter}">1. One</a></li></ul></nav>
<article class="bd-article"><section id="top"><h1>{title}</h1>{text}</section></article>
<footer><p class="component-author">By nobody</p></footer></body></html>
"""
INTRO = """\
<h2 id="part">A part</h2><svg><marker id="tip"></marker></svg>
<p><a href="../chapters/one.html">one</a> <a href="../chapters/one.html#part">its part</a> <a href="#part">here</a>
<a href="../_downloads/one.ipynb">download</a> <a href="https://example.org/">elsewhere</a></p>"""
CHAPTER = """\
<h2 id="part">Another part</h2><p><a href="../book/intro.html">back</a></p>
<img class="figure-light" src="../_images/wave.svg" alt="a wave" loading="lazy"/>
<img class="figure-dark" src="../_images/wave-dark.svg" alt="a wave"/>
<details class="admonition hide"><summary>Show</summary><pre>folded code</pre></details><pre>code to read</pre>
<div class="exercise admonition" id="e" aria-labelledby="part e">
<p class="admonition-title">Exercise 1</p><p>A question?</p></div>
<div class="solution dropdown admonition" id="s"><p class="admonition-title">Solution to <a href="#e">Exercise 1</a></p>
<section><p>The answer.</p></section><p>More answer.</p></div>"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A front page and a chapter."""
    made = tmp_path / "html"
    for folder in ("book", "chapters", "_images", "_static"):
        (made / folder).mkdir(parents=True)
    (made / "index.html").write_text('<meta http-equiv="Refresh" content="0; url=book/intro.html" />\n')
    shutil.copy(find_root(Path(__file__)) / "book/_static/book.css", made / "_static")
    (made / "_images/wave.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>')
    for name, title, text in (("book/intro", "Welcome", INTRO), ("chapters/one", "One", CHAPTER)):
        (made / f"{name}.html").write_text(PAGE.format(title=title, text=text, chapter="chapters/one.html"))
    return made


def test_pages_become_one_document(site: Path) -> None:
    title, text = join(site)
    document = BeautifulSoup(text, "html.parser")
    assert title == document.title.text == "Waves & more"
    levels = [(e.text, e.get("aria-level")) for e in document.select("h1, h2")]
    assert levels == [
        *(("Waves & more", None), ("Contents", None), ("Welcome", "1"), ("A part", "2")),
        *(("Part I: First", None), ("One", "2"), ("Another part", "3")),
    ]
    ids = [e["id"] for e in document.select("[id]")]
    assert len(ids) == len(set(ids)) > 6
    links = [a["href"] for a in document.select("a[href]")]
    assert "https://example.org/" in links
    inside = [link for link in links if link != "https://example.org/"]
    assert len(inside) == 7
    assert {link.removeprefix("#") for link in inside} <= set(ids)
    assert document.select_one(".exercise")["aria-labelledby"] == "chapters-one--part chapters-one--e"
    assert "href" not in next(a for a in document.select("a") if a.text == "download").attrs


def test_what_is_folded_is_left_out(site: Path) -> None:
    document = BeautifulSoup(join(site)[1], "html.parser")
    words = document.body.text
    assert "Solution to Exercise 1" in words
    assert "code to read" in words
    assert not re.search("answer|folded code|Show", words)
    (picture,) = document.select("img")
    assert (site.parent / picture["src"]).is_file()
    assert "loading" not in picture.attrs
    assert [e.get("src", e.text) for e in document.select("script")] == ["window.MathJax = {}"]
    assert (site.parent / document.select_one("link")["href"]).is_file()


@pytest.mark.parametrize("page", ["index.html", "book/intro.html", "chapters/one.html"])
def test_a_page_that_is_missing_is_named(site: Path, page: str) -> None:
    (site / page).unlink()
    with pytest.raises(BuildError, match=f"{page} is not there; build"):
        join(site)


def test_a_folder_that_is_no_built_site_is_named(site: Path) -> None:
    (site / "chapters/one.html").write_text("<html></html>")
    with pytest.raises(BuildError, match=r"one\.html has no article; give"):
        join(site)
    (site / "book/intro.html").write_text("<html></html>")
    with pytest.raises(BuildError, match="does not say the book's title; give"):
        join(site)
    (site / "index.html").write_text("<html></html>")
    with pytest.raises(BuildError, match="does not lead to a first page; give"):
        join(site)


def test_what_is_needed_is_said(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAVEMEM_CHROMIUM", "no-such-browser")
    with pytest.raises(BuildError, match=r"install one of chromium.*or set WAVEMEM_CHROMIUM"):
        print_site(site)
    monkeypatch.setenv("WAVEMEM_CHROMIUM", sys.executable)
    monkeypatch.setitem(sys.modules, "playwright.sync_api", None)
    with pytest.raises(BuildError, match=r"playwright.*pip install -e '\.\[test\]'"):
        print_site(site)


@pytest.mark.skipif(find_browser() is None, reason="no browser")
def test_print(site: Path) -> None:
    printed = print_site(site)
    assert printed == site.parent / "waves-more.pdf"
    assert sorted(path.name for path in site.parent.iterdir()) == ["html", "waves-more.pdf"]
    content = printed.read_bytes()
    assert content.startswith(b"%PDF")
    assert len(re.findall(rb"/Type /Page\b", content)) == 5
    assert re.findall(rb"/Title \(([^)]*)\)", content).count(b"Another part") == 1  # in the outline
    assert content.count(b"/Subtype /Link") == 8
