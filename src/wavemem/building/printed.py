"""The whole book as one PDF: the built pages joined into one document, which a browser prints.

What is folded on a page is not on paper: code cells that draw or prepare, and solutions, of which the title stays.
"""

from __future__ import annotations

import copy
import html
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from wavemem.building.doctor import find_browser
from wavemem.building.layout import BuildError, write_atomically

_FOLDED = "details.hide, div.solution > section, .headerlink, .copybtn, .chapter-run, script, style, button, input"
"""What a printed page does without: what is closed on the screen, and what only a screen can use."""
_NAMING = ("for", "aria-labelledby", "aria-describedby")
_FOOT = '<div style="width: 100%; font: 8pt sans-serif; text-align: center"><span class="pageNumber"></span></div>'
_DOCUMENT = """\
<!DOCTYPE html>
<html lang="en" data-theme="light" data-mode="light">
<head>
<meta charset="utf-8">
<title>{title}</title>
{head}
</head>
<body class="book-on-paper">
<main class="bd-content"><div class="title-page"><h1>{title}</h1><p>{author}</p></div>
<nav class="book-contents" aria-label="Contents"><h1>Contents</h1>{contents}</nav>
{articles}
</main>
</body>
</html>
"""


def _order(toc: Path) -> Iterator[tuple[str, list[str]]]:
    """The parts of an assembled tree's table of contents: caption and pages."""
    contents = yaml.safe_load(toc.read_text(encoding="utf-8"))
    yield "", [contents["root"]]
    for part in contents.get("parts", []):
        yield part.get("caption", ""), [entry["file"] for entry in part["chapters"]]


def _anchor(page: str, name: str = "") -> str:
    """The one id in the joined document of an id of a page; without one, of the page."""
    return f"{page.replace('/', '-')}--{name}"


def _joined(soup: Any, page: str, pages: set[str], site: str) -> Any:
    """A page's article: ids that no other page has, links within the document, pictures from where they lie."""
    article = soup.select_one("article.bd-article")
    for folded in article.select(_FOLDED):
        folded.decompose()
    for closed in article.select("details"):
        closed["open"] = ""
    here = posixpath.dirname(page)
    for element in article.find_all(True):
        if "id" in element.attrs:
            element["id"] = _anchor(page, element["id"])
        for name in _NAMING:
            if name in element.attrs:
                named = element[name].split() if isinstance(element[name], str) else element[name]
                element[name] = " ".join(_anchor(page, one) for one in named)
        element.attrs.pop("loading", None)  # nobody scrolls to a picture
        source = element.get("src", "")
        if source and "://" not in source and not source.startswith("data:"):
            element["src"] = posixpath.join(site, posixpath.normpath(posixpath.join(here, source)))
        link = element.get("href", "")
        if element.name != "a" or re.match(r"[a-z]+:", link):
            continue
        path, _, name = link.partition("#")
        target = posixpath.normpath(posixpath.join(here, path)).removesuffix(".html") if path else page
        if target in pages:
            element["href"] = f"#{_anchor(target, name)}"
        else:  # a download, a source listing, the index
            del element["href"]
    article["id"] = _anchor(page)
    return article


def join(site: Path, toc: Path, title: str, author: str, folder: Path) -> str:
    """The pages of a site as one document.

    Args:
        site: The built pages.
        toc: The table of contents that they were built from.
        title: The book's.
        author: Whose it is.
        folder: Where the document will lie; what it shows is named from there.

    Raises:
        BuildError: A page of the contents is not there.
    """
    from bs4 import BeautifulSoup

    parts = list(_order(toc))
    pages = {page for _, names in parts for page in names}
    here = posixpath.relpath(site.as_posix(), folder.as_posix())
    head, articles, contents = "", [], []
    for caption, names in parts:
        entries = []
        if caption:
            articles.append(f'<div class="part-page"><h1>{html.escape(caption)}</h1></div>')
        for page in names:
            file = site / f"{page}.html"
            if not file.is_file():
                raise BuildError(f"{file} is not there; build the pages that it belongs to first: make book")
            soup = BeautifulSoup(file.read_text(encoding="utf-8"), "html.parser")
            if not head and soup.head:
                needed = [s for s in soup.head.select("script:not([src])") if "MathJax" in s.text]
                needed += soup.head.select('link[rel="stylesheet"], script[src*="mathjax"]')
                for element in needed:
                    for name in ("href", "src"):
                        if name in element.attrs:
                            path = posixpath.normpath(posixpath.join(posixpath.dirname(page), str(element[name])))
                            element[name] = posixpath.join(here, path.partition("?")[0])
                head = "\n".join(map(str, needed))
            article = _joined(soup, page, pages, here)
            heading = copy.copy(article.find("h1"))
            entries.append(f'<li><a href="#{_anchor(page)}">{heading.get_text()}</a></li>')
            articles.append(str(article))
        contents.append(f"<p>{html.escape(caption)}</p><ul>{''.join(entries)}</ul>")
    words = {"title": html.escape(title), "author": html.escape(author)}
    return _DOCUMENT.format(head=head, contents="\n".join(contents), articles="\n".join(articles), **words)


def print_book(site: Path, source: Path, target: Path) -> None:
    """Print a built site.

    Args:
        site: The built pages.
        source: The assembled tree that they were built from.
        target: The PDF.

    Raises:
        BuildError: There is no site, no browser, or no playwright to work it with.
    """
    toc, settings = source / "_toc.yml", source / "_config.yml"
    if not (site / "index.html").is_file() or not toc.is_file():
        raise BuildError(f"no pages in {site}; build them first: make book")
    browser = find_browser()
    if browser is None:
        raise BuildError("no browser to print with; install chromium or google-chrome, or set WAVEMEM_CHROMIUM=PATH")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        raise BuildError("no playwright to work the browser with; install it: pip install -e '.[test]'") from None
    said = yaml.safe_load(settings.read_text(encoding="utf-8"))
    document = target.with_suffix(".html")
    joined = join(site.resolve(), toc, said["title"], said["author"], document.parent.resolve())
    write_atomically(document, joined.encode())
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=browser, args=["--no-sandbox", "--disable-gpu", "--allow-file-access-from-files"]
        )
        page = chromium.new_page(color_scheme="light")
        page.set_default_timeout(600_000)
        page.emulate_media(media="print")
        page.goto(document.resolve().as_uri())
        page.evaluate("async () => { await MathJax.startup.promise; await document.fonts.ready; }")
        content = page.pdf(
            prefer_css_page_size=True,
            print_background=True,
            display_header_footer=True,
            header_template="<span></span>",
            footer_template=_FOOT,
            outline=True,
            tagged=True,
        )
        chromium.close()
    write_atomically(target, content)
    document.unlink()
