"""Every link, anchor, image, script and style sheet of every page leads somewhere on this site."""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

from bs4 import BeautifulSoup

from wavemem.building.address import online, repository

EXTERNAL = ("http", "https", "mailto")
# What a page fetches by itself, in contrast to what a reader may follow.
FETCHED = ("img", "script", "iframe", "source", "video", "audio", "link")


@cache
def parsed(path: Path) -> BeautifulSoup:
    """A page's elements."""
    return BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")


@cache
def anchors(path: Path) -> frozenset[str]:
    """The targets that a link into this page may name."""
    page = parsed(path)
    named = {tag["name"] for tag in page.find_all("a", attrs={"name": True})}
    return frozenset(named | {tag["id"] for tag in page.find_all(id=True)})


def fault(site: Path, page: Path, address: str, fetched: bool) -> str | None:
    """What is wrong with an address on a page, or None."""
    parts = urlsplit(address)
    if parts.scheme == "data" or (parts.scheme in EXTERNAL and not fetched):
        return None
    if parts.scheme or parts.netloc:
        return "leads to another host"
    if parts.path.startswith("/"):
        return "begins with '/', which breaks when the site is opened from a folder"
    target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
    if not target.is_relative_to(site.resolve()):
        return "leads out of the site"
    if target.is_dir():
        target /= "index.html"
    if not target.is_file():
        return "no such file"
    fragment = unquote(parts.fragment)
    if fragment and not fetched and target.suffix == ".html" and fragment not in anchors(target):
        return f"no element with this id in {target.relative_to(site)}"
    return None


def test_links_resolve(site: Path, any_page: str) -> None:
    path = (site / any_page).resolve()
    links = [(tag, "href", False) for tag in parsed(path).find_all(["a", "area"], href=True)]
    for key in ("src", "href"):
        found = parsed(path).find_all(FETCHED, attrs={key: True})
        links += [(tag, key, tag.get("rel") != ["canonical"]) for tag in found]
    faults = []
    for tag, key, fetched in links:
        found = fault(site.resolve(), path, tag[key], fetched)
        if found:
            text = " ".join(tag.get_text().split())[:60]
            faults.append(f"<{tag.name} {key}={tag[key]!r}> «{text}»: {found}")
    unique = list(dict.fromkeys(faults))
    assert not unique, f"{any_page}: {len(unique)} links lead nowhere\n  " + "\n  ".join(unique[:12])


def test_images_of_style_sheets_are_on_the_site(site: Path, any_page: str) -> None:
    styles = [tag.get_text() for tag in parsed(site / any_page).find_all("style")]
    styles += [tag["style"] for tag in parsed(site / any_page).find_all(style=True)]
    outside = [style[:80] for style in styles if "url(http" in style or "@import" in style]
    assert not outside, f"{any_page}: styles that fetch from another host: {outside}"


def test_buttons_and_previews_are_there_where_there_is_an_address_and_only_there(site: Path, page_name: str) -> None:
    page, root = parsed(site / page_name), site.parents[1]
    assert bool(page.select(".dropdown-source-buttons")) == bool(repository(root))
    found = [bool(page.select(what)) for what in ("link[rel=canonical]", 'meta[property="og:image"]')]
    assert found == [bool(online(root))] * 2
    (about,) = page.select("meta[name=description]")
    assert 20 < len(about["content"]) < 400, about


def test_pages_do_not_name_this_machine(site: Path, any_page: str) -> None:
    text = (site / any_page).read_text(encoding="utf-8")
    for path in {str(site.parents[1]), sys.prefix, f"{Path.home()}/", "/ipykernel_"}:
        at = text.find(path)
        assert at < 0, f"{any_page}: names the path {path} of this machine: …{text[max(0, at - 80) : at + 120]}…"


def test_every_chapter_is_in_the_contents(site: Path, chapter: str) -> None:
    navigation = parsed(site / "book/intro.html").find("nav", class_="bd-links")
    listed = [tag["href"] for tag in navigation.find_all("a", href=True)]
    assert f"../{chapter}" in listed, f"book/intro.html: the contents do not list {chapter}: {listed}"
