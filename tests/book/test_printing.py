"""A page as a browser prints it: light, as wide as paper, without what is there for a screen, solutions closed."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page

PAGES = ["chapters/04-linear-boundary.html", "chapters/09-visible-waves.html", "pages/reproduction.html"]
# What a page shows; words that are only heard are no place of their own.
SHOWN = """() => {
  const FRAME = "nav, button, .bd-sidebar, .bd-header-article, footer, .headerlink";
  const seen = element => element.checkVisibility() && element.getBoundingClientRect().height > 0;
  const named = e => `${e.tagName}.${e.className.baseVal ?? e.className}: ${e.textContent.trim().slice(0, 60)}`;
  const all = selector => [...document.querySelectorAll(selector)].filter(seen).length;
  const right = document.querySelector("article").getBoundingClientRect().right + 1;
  const wide = [...document.querySelectorAll("article *")].filter(e => seen(e) && e.getBoundingClientRect().right > right);
  return {
    theme: document.documentElement.dataset.theme,
    frame: [...document.querySelectorAll(FRAME)].filter(seen).map(named),
    solutions: all("div.solution > :not(.admonition-title)"),
    heading: all("h1"),
    titles: all("div.solution > .admonition-title"),
    folded: all("details.hide"),
    dark: all(".figure-dark"),
    light: all(".figure-light"),
    wide: wide.map(named),
  };
}"""


@pytest.mark.parametrize("name", PAGES)
def test_print(page: Page, origin: str, name: str) -> None:
    page.emulate_media(color_scheme="dark")
    page.goto(f"{origin}/{name}")
    page.evaluate("async () => { if (window.MathJax) await MathJax.startup.promise; await document.fonts.ready; }")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    assert page.evaluate("toggleOpenOnPrint") == "false"
    solutions = page.locator("div.solution").count()
    # What the browser's own command does, with the page left to look at.
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    page.emulate_media(media="print")
    page.set_viewport_size({"width": 665, "height": 900})
    shown = page.evaluate(SHOWN)
    assert shown.pop("light") == page.locator(".figure-light").count()
    nothing = {"frame": [], "solutions": 0, "folded": 0, "dark": 0, "wide": []}
    assert shown == {"theme": "light", "heading": 1, "titles": solutions} | nothing
    page.emulate_media(media="screen", color_scheme="dark")
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    assert page.evaluate("document.querySelector('.on-paper')") is None
