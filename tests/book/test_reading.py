"""What a reader does: search, unfold a solution, take a notebook along, open the site without a server."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from bs4 import BeautifulSoup
from playwright.sync_api import Page, expect

from wavemem.building.layout import Layout

RESULTS = "#search-results li a"


@pytest.mark.parametrize("term", ["Fibonacci", "upwind"])
def test_search_finds_a_term(page: Page, origin: str, term: str) -> None:
    page.goto(f"{origin}/search.html?q={term}")
    page.wait_for_selector(RESULTS)
    expect(page.locator("#search-results")).to_contain_text(re.compile("finished|found", re.IGNORECASE))
    found = page.eval_on_selector_all(RESULTS, "links => links.map(link => link.getAttribute('href'))")
    assert any("chapters/" in address for address in found), f"search.html?q={term}: no chapter among {found}"
    page.locator(RESULTS + "[href*='chapters/']").first.click()
    page.wait_for_url("**/chapters/**")
    assert term.lower() in page.locator("article").inner_text().lower(), f"{page.url} does not contain {term!r}"


def test_search_finds_nothing_for_nonsense(page: Page, origin: str) -> None:
    page.goto(f"{origin}/search.html?q=qwrtzpsdf")
    expect(page.locator("#search-results")).to_contain_text("did not match any documents")
    assert page.locator(RESULTS).count() == 0


def test_search_begins_on_any_page(page: Page, origin: str) -> None:
    page.goto(f"{origin}/book/intro.html")
    page.locator(".search-button, .search-button-field, input[type=search]").filter(visible=True).first.click()
    box = page.locator("input[name=q]").filter(visible=True).first
    box.fill("wave")
    box.press("Enter")
    page.wait_for_url("**/search.html?q=wave*")
    page.wait_for_selector(RESULTS)


def test_solutions_are_folded(page: Page, origin: str, numbered_chapter: str) -> None:
    page.goto(f"{origin}/{numbered_chapter}")
    exercises, solutions = page.locator("div.exercise"), page.locator("div.solution")
    count = exercises.count()
    assert 3 <= count <= 5, f"{numbered_chapter}: {count} exercises; expected: 3 to 5"
    assert solutions.count() == count, f"{numbered_chapter}: {count} exercises but {solutions.count()} solutions"
    for k in range(count):
        solution = solutions.nth(k)
        where = f"{numbered_chapter}: {solution.get_attribute('id')}"
        body, button = solution.locator("section").first, solution.locator("button.toggle-button").first
        expect(button, f"{where}: no button to unfold it").to_be_visible()
        expect(body, f"{where}: not folded when the page opens").not_to_be_visible()
        button.click()
        expect(body, f"{where}: does not unfold").to_be_visible()
        assert body.inner_text().strip(), f"{where}: empty"


def test_numbers_follow_the_chapter(site: Path, numbered_chapter: str) -> None:
    page = BeautifulSoup((site / numbered_chapter).read_text(encoding="utf-8"), "html.parser")
    (title,) = page.select("article h1")
    number = title.find(class_="section-number")
    assert number is not None, f"{numbered_chapter}: the title {title.get_text()!r} has no number"
    expected = number.get_text().strip().rstrip(".")
    for caption in page.select("figcaption .caption-number, .exercise .caption-number, .theorem .caption-number"):
        found = re.search(r"(\d+)\.\d+", caption.get_text())
        assert found is not None, f"{numbered_chapter}: {caption.get_text()!r} has no number of the form chapter.number"
        assert found.group(1) == expected, f"{numbered_chapter}: {caption.get_text()!r} in chapter {expected}"


def test_notebook_and_text_can_be_taken_along(site: Path, layout: Layout, chapter: str) -> None:
    page = BeautifulSoup((site / chapter).read_text(encoding="utf-8"), "html.parser")
    files = {
        Path(tag["href"]).name: site / "chapters" / tag["href"] for tag in page.select("article a.download[download]")
    }
    name = Path(chapter).stem
    assert {f"{name}.ipynb", f"{name}.md"} <= files.keys(), f"{chapter}: {list(files)}"
    for suffix in (".ipynb", ".md"):
        written = layout.source / "downloads" / f"{name}{suffix}"
        assert files[written.name].read_bytes() == written.read_bytes(), f"{chapter}: another {written.name}"


def test_site_works_from_a_folder(site: Path, page: Page) -> None:
    """Opened as a file, without a server: the formulas are drawn and the search finds a chapter."""
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    welcome = (site / "index.html").as_uri()
    page.goto(welcome)
    page.wait_for_url("**/book/intro.html")
    page.locator("nav.bd-links a[href*='chapters/']").first.click()
    page.wait_for_url("**/chapters/*.html")
    page.wait_for_selector("mjx-container")
    assert page.locator("article img").first.evaluate("image => image.decode().then(() => image.naturalWidth)") > 0
    assert not errors, f"{page.url} opened from a folder: {errors}"
    # The list of results comes from the index; only the excerpts under it need a server.
    page.goto((site / "search.html").as_uri() + "?q=upwind")
    page.wait_for_selector(RESULTS + "[href*='chapters/']")
