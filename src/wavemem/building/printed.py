"""A built site on paper: its pages joined into one document, in the order of its contents, which a browser prints.

What is folded on a page is not on paper: code that draws or prepares, and solutions, of which the title stays. Its style
is the print style of the pages, in ``book/_static/book.css``.
"""

from __future__ import annotations

import html
import posixpath
import re
from pathlib import Path
from typing import TYPE_CHECKING

from wavemem.building.doctor import BROWSER_NAMES, find_browser
from wavemem.building.layout import BuildError, write_atomically

if TYPE_CHECKING:
    from bs4 import BeautifulSoup, Tag

_FOLDED = "details.hide, div.solution > :not(.admonition-title), script, button, input, .figure-dark"
"""What is not printed: closed on a page, or only of use on a screen."""
_NAMING = ("for", "aria-labelledby", "aria-describedby")
_HEADINGS = ("h1", "h2", "h3", "h4", "h5")
_WIDTH = 665
"""Of the text on A4 between the margins that the print style sets, in CSS pixels."""
_NUMBER = '<div style="width: 100%; font: 8pt sans-serif; text-align: center"><span class="pageNumber"></span></div>'
_READY = """async () => {
  await window.MathJax?.startup?.promise;
  await document.fonts.ready;
  await Promise.all([...document.images].map(image => image.decode()));
}"""
_DOCUMENT = """\
<!DOCTYPE html>
<html lang="en" data-theme="light" data-mode="light">
<head>
<meta charset="utf-8">
<title>{title}</title>
{head}
</head>
<body class="book-on-paper">
<main class="bd-content"><div class="title-page"><h1>{title}</h1><p>{author}</p>
<p>Code and solutions that its pages fold are not printed.</p></div>
<nav class="book-contents" aria-label="Contents"><h1>Contents</h1>{contents}</nav>
{articles}
</main>
</body>
</html>
"""


def _read(file: Path) -> BeautifulSoup:
    from bs4 import BeautifulSoup

    if not file.is_file():
        raise BuildError(f"{file} is not there; build the pages that it belongs to first: make book, or make course")
    return BeautifulSoup(file.read_text(encoding="utf-8"), "html.parser")


def _place(page: str, link: str) -> str:
    """What a link on a page names, as seen from the top of the site."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(page), link.partition("?")[0]))


def _anchor(page: str, name: str = "") -> str:
    """The one id in the joined document of an id of a page; without one, of the page."""
    return f"{page.removesuffix('.html').replace('/', '-')}--{name}"


def _joined(article: Tag, page: str, pages: set[str], site: str, depth: int) -> Tag:
    """A page's article: ids that no other page has, links within the document, pictures from where they lie."""
    for folded in article.select(_FOLDED):
        folded.decompose()
    for closed in article.select("details"):
        closed["open"] = ""
    for element in article.find_all(True):
        if element.name in _HEADINGS:
            element["aria-level"] = str(depth + int(element.name[1]))
        if "id" in element.attrs and element.find_parent("svg") is None:  # what a drawing names, its style may name
            element["id"] = _anchor(page, str(element["id"]))
        for name in _NAMING:
            if name in element.attrs:
                said = element[name]
                element[name] = " ".join(
                    _anchor(page, one) for one in (said.split() if isinstance(said, str) else said)
                )
        element.attrs.pop("loading", None)  # nobody scrolls to a picture
        source, link = str(element.get("src", "")), str(element.get("href", ""))
        if source and not re.match(r"[a-z]+:", source):
            element["src"] = f"{site}/{_place(page, source)}"
        if element.name != "a" or not link or re.match(r"[a-z]+:", link):
            continue
        path, _, name = link.partition("#")
        target = _place(page, path) if path else page
        if target in pages:
            element["href"] = f"#{_anchor(target, name)}"
        else:  # a download, a listing of a source, the index
            del element["href"]
    article["id"] = _anchor(page)
    return article


def _head(home: BeautifulSoup, page: str, site: str) -> str:
    """What draws the pages: their styles, MathJax with its settings, and what fits equations and tables."""
    wanted = list(home.select('head link[rel="stylesheet"]'))
    wanted += [script for script in home.select("head script:not([src])") if "window.MathJax" in script.text]
    wanted += home.select('head script[src*="fit.js"], head script[src*="mathjax"]')
    for element in wanted:
        for name in ("href", "src"):
            if name in element.attrs:
                element[name] = f"{site}/{_place(page, str(element[name]))}"
    return "\n".join(map(str, wanted))


def join(site: Path) -> tuple[str, str]:
    """The pages of a built site as one document, as it has to lie beside the site's folder.

    Args:
        site: The folder of the pages.

    Returns:
        The book's title, and the document.

    Raises:
        BuildError: There is no site, or a page of its contents is missing.
    """
    first = _read(site / "index.html").select_one('meta[http-equiv="Refresh" i]')
    if first is None:
        raise BuildError(
            f"{site / 'index.html'} does not lead to a first page; give the folder of a built site: make book"
        )
    front = str(first["content"]).partition("url=")[2]
    home = _read(site / front)
    named = home.select_one(".logo__title")
    if named is None:
        raise BuildError(f"{site / front} does not say the book's title; give the folder of a built site: make book")
    title = named.get_text(strip=True)
    author = home.select_one(".component-author")
    # The contents beside a page; the caption of a part stands before its list.
    parts: list[tuple[str, dict[str, str]]] = [("", {front: title})]
    for listed in home.select("nav.bd-links ul.bd-sidenav"):
        above = listed.find_previous_sibling("p", class_="caption")
        entries = {_place(front, str(a["href"])): a.get_text() for a in listed.select("a[href]")}
        parts.append((above.get_text() if above else "", entries))
    pages = {page for _, entries in parts for page in entries}
    articles, contents = [], []
    for caption, entries in parts:
        if caption:
            articles.append(f'<div class="part-page"><h1>{html.escape(caption)}</h1></div>')
            contents.append(f"<p>{html.escape(caption)}</p>")
        for page in entries:
            article = (home if page == front else _read(site / page)).select_one("article.bd-article")
            if article is None:
                raise BuildError(
                    f"{site / page} has no article; give the folder of a site that make book or make course built"
                )
            articles.append(str(_joined(article, page, pages, site.name, depth=1 if caption else 0)))
        lines = (f'<li><a href="#{_anchor(page)}">{html.escape(text)}</a></li>' for page, text in entries.items())
        contents.append(f"<ul>{''.join(lines)}</ul>")
    document = _DOCUMENT.format(
        title=html.escape(title),
        author=html.escape(author.get_text(strip=True)) if author else "",
        head=_head(home, front, site.name),
        contents="\n".join(contents),
        articles="\n".join(articles),
    )
    return title, document


def print_site(site: Path) -> Path:
    """Print a built site.

    Args:
        site: The folder of the pages.

    Returns:
        The PDF, beside that folder, named after the book's title.

    Raises:
        BuildError: There is no site, no browser, or no playwright to work it with.
    """
    browser = find_browser()
    if browser is None:
        names = ", ".join(BROWSER_NAMES)
        raise BuildError(f"no browser to print with; install one of {names}, or set WAVEMEM_CHROMIUM=PATH")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError as error:
        raise BuildError("playwright, which works the browser, is not installed: pip install -e '.[test]'") from error
    site = site.resolve()
    title, joined = join(site)
    document = site.parent / f"{re.sub(r'[^a-z0-9]+', '-', title.lower()).strip('-') or 'book'}.html"
    target = document.with_suffix(".pdf")
    write_atomically(document, joined.encode())
    try:
        with sync_playwright() as playwright:
            arguments = ["--no-sandbox", "--disable-gpu", "--host-resolver-rules=MAP * ~NOTFOUND"]
            chromium = playwright.chromium.launch(executable_path=browser, args=arguments)
            page = chromium.new_page(color_scheme="light", viewport={"width": _WIDTH, "height": 900})
            page.set_default_timeout(0)
            page.emulate_media(media="print")
            page.goto(document.as_uri())
            page.evaluate(_READY)
            content = page.pdf(
                prefer_css_page_size=True,
                print_background=True,
                display_header_footer=True,
                header_template="<span></span>",
                footer_template=_NUMBER,
                outline=True,
                tagged=True,
            )
            chromium.close()
    finally:
        document.unlink()
    write_atomically(target, content)
    return target
