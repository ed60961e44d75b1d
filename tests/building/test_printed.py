"""The book on paper: pages joined into one document, and one print of it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from bs4 import BeautifulSoup

from wavemem.building.doctor import find_browser
from wavemem.building.layout import BuildError
from wavemem.building.printed import join, print_book

PAGE = """<html><head><link rel="stylesheet" href="../_static/book.css?v=1">
<script>window.MathJax = {{}}</script><script defer src="../_static/mathjax.js?v=2"></script><script>other()</script></head>
<body><nav>side bar</nav><article class="bd-article"><section id="top"><h1>{title}</h1>
<p id="said" aria-describedby="top"><a href="#top">up</a> <a href="{other}#said">there</a> <a href="{other}">whole</a>
<a href="../_downloads/x.ipynb">file</a> <a href="https://example.org/">out</a></p>
<details class="admonition hide above-input"><summary>Show code</summary>DRAWING</details>
<details><summary>More</summary>UNFOLDED</details>
<div class="solution dropdown admonition"><p class="admonition-title">Solution to Exercise 1</p><section>SECRET</section></div>
<img src="../_images/a.svg" loading="lazy"></section></article></body></html>"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    source, site = tmp_path / "source", tmp_path / "html"
    source.mkdir()
    toc = {"root": "book/intro", "parts": [{"caption": "Part I: <waves>", "chapters": [{"file": "chapters/01-a"}]}]}
    (source / "_toc.yml").write_text(yaml.safe_dump(toc))
    (source / "_config.yml").write_text(yaml.safe_dump({"title": "Waves & more", "author": "us"}))
    for page, other in (("book/intro", "../chapters/01-a.html"), ("chapters/01-a", "../book/intro.html")):
        file = site / f"{page}.html"
        file.parent.mkdir(parents=True)
        file.write_text(PAGE.format(title=page, other=other))
    (site / "index.html").touch()
    (site / "_static").mkdir()
    (site / "_static" / "mathjax.js").write_text("window.MathJax.startup = {promise: Promise.resolve()}")
    (site / "_images").mkdir()
    (site / "_images" / "a.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>')
    return site


def test_every_link_leads_somewhere_and_no_id_comes_twice(site: Path) -> None:
    soup = BeautifulSoup(join(site, site.parent / "source" / "_toc.yml", "Waves", "us", site.parent), "html.parser")
    names = [element["id"] for element in soup.select("[id]")]
    assert sorted(names) == sorted(set(names))
    links = [a["href"] for a in soup.select("a[href]")]
    assert {link[1:] for link in links if link.startswith("#")} <= set(names)
    assert [link for link in links if not link.startswith("#")] == ["https://example.org/"] * 2
    assert soup.select_one("#chapters-01-a--said")["aria-describedby"] == "chapters-01-a--top"
    assert [a["href"] for a in soup.select("#chapters-01-a--said a[href]")][:3] == [
        *("#chapters-01-a--top", "#book-intro--said", "#book-intro--")
    ]


def test_what_is_folded_is_not_on_paper(site: Path) -> None:
    text = join(site, site.parent / "source" / "_toc.yml", "Waves", "us", site.parent)
    assert not re.search("SECRET|DRAWING|side bar|other\\(\\)", text)
    assert text.count("Solution to Exercise 1") == 2
    soup = BeautifulSoup(text, "html.parser")
    assert all(details.has_attr("open") for details in soup.select("details"))
    assert "Part I: &lt;waves&gt;" in text


def test_files_are_named_from_where_the_document_lies(site: Path) -> None:
    soup = BeautifulSoup(join(site, site.parent / "source" / "_toc.yml", "Waves", "us", site.parent), "html.parser")
    for name in [soup.link["href"], *(image["src"] for image in soup.select("img"))]:
        assert name.startswith("html/_"), name
    assert not soup.select("img[loading]")
    assert [script.get("src") for script in soup.head.select("script")] == [None, "html/_static/mathjax.js"]


def test_a_page_that_is_not_there(site: Path) -> None:
    (site / "chapters" / "01-a.html").unlink()
    with pytest.raises(BuildError, match=r"01-a\.html is not there; build"):
        print_book(site, site.parent / "source", site.parent / "book.pdf")


def test_no_site_and_no_browser(site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BuildError, match="no pages in"):
        print_book(tmp_path / "nowhere", site.parent / "source", tmp_path / "book.pdf")
    monkeypatch.setenv("WAVEMEM_CHROMIUM", "no-such-browser")
    with pytest.raises(BuildError, match="no browser to print with; install"):
        print_book(site, site.parent / "source", tmp_path / "book.pdf")
    assert not (tmp_path / "book.pdf").exists()


@pytest.mark.skipif(find_browser() is None, reason="no Chromium")
def test_a_print_is_a_pdf_and_leaves_nothing_beside_it(site: Path) -> None:
    target = site.parent / "book.pdf"
    print_book(site, site.parent / "source", target)
    content = target.read_bytes()
    assert content.startswith(b"%PDF-")
    assert b"/Outlines" in content
    assert not target.with_suffix(".html").exists()
