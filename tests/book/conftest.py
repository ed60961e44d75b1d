"""The built site, a server for it on this machine, a browser, and what the browser saw on each page.

Every page is loaded once; the tests then ask the record of that visit. JavaScript that looks at a page is in
``examine.js``.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page, ViewportSize, sync_playwright

from wavemem.building.doctor import BROWSER_NAMES, find_browser
from wavemem.building.layout import Layout, find_root
from wavemem.processes import child_command

LAYOUT = Layout(find_root(Path(__file__)))
# Start as root without a display, and without the browser's own requests to its maker.
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
# Whatever a page asks of another host fails without leaving this machine; the tests see that it asked.
ARGUMENTS += [
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]
EXAMINE = Path(__file__).with_name("examine.js")
# Outlines of formulas and the colours of code: many thousands of elements to look at, with nothing to violate.
WITHOUT_DETAILS = """() => {
  for (const drawing of document.querySelectorAll("mjx-container > svg")) drawing.replaceChildren();
  for (const words of document.querySelectorAll("mjx-assistive-mml")) words.textContent = "formula";
  for (const code of document.querySelectorAll("pre, code, .sig")) code.textContent = code.textContent;
}"""
# Contrast is judged by examine.js.
AXE = {
    "resultTypes": ["violations"],
    "runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"],
    "rules": {"color-contrast": {"enabled": False}},
    "preload": False,
}
# After a change of size: what watches sizes has acted, and what it did is drawn.
FRAMES = "async () => { for (let k = 0; k < 4; k++) await new Promise(done => requestAnimationFrame(done)); }"

VIEWS: dict[str, tuple[str, ViewportSize]] = {
    f"{scheme}-{width}": (scheme, {"width": width, "height": height})
    for width, height in ((1300, 900), (390, 844))
    for scheme in ("light", "dark")
}
# Lists made by Sphinx, without prose: their links are checked, and that they load without an error.
LISTS = {"genindex.html", "py-modindex.html", "prf-prf.html", "search.html"}


def all_pages() -> list[str]:
    """Every page of the site, relative to its folder, without the theme's own fragments."""
    found = (path.relative_to(LAYOUT.site).as_posix() for path in LAYOUT.site.rglob("*.html"))
    return sorted(page for page in found if not page.startswith("_static/"))


def visited_pages() -> list[str]:
    """The pages that the browser opens: all but the source listings and the redirection at the top."""
    return [page for page in all_pages() if not page.startswith("_modules/") and page != "index.html"]


def numbered_pages() -> set[str]:
    """The chapters of the numbered parts of the contents; one in the reference has neither number nor as many exercises."""
    parts = yaml.safe_load((LAYOUT.root / "_toc.yml").read_text(encoding="utf-8"))["parts"]
    return {f"{entry['file']}.html" for part in parts if part.get("numbered") for entry in part["chapters"]}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test per page. Without a site one test remains, and the fixture ``site`` fails it."""
    choices = {
        "any_page": all_pages(),
        "visited": visited_pages(),
        "page_name": [page for page in visited_pages() if page not in LISTS],
        "chapter": [page for page in visited_pages() if page.startswith("chapters/")],
        "numbered_chapter": [page for page in visited_pages() if page in numbered_pages()],
        "notebook_name": sorted(path.name for path in (LAYOUT.source / "chapters").glob("*.ipynb")),
        "view": list(VIEWS),
    }
    for name, values in choices.items():
        if name in metafunc.fixturenames:
            metafunc.parametrize(name, values or ["no site"])


@pytest.fixture(scope="session")
def layout() -> Layout:
    """Where the book's files are."""
    return LAYOUT


@pytest.fixture(scope="session")
def site() -> Path:
    """The folder of the built site."""
    if not (LAYOUT.site / "index.html").is_file() or not any(page.startswith("chapters/") for page in all_pages()):
        pytest.fail(f"there is no site under {LAYOUT.site}: run `make book` first")
    return LAYOUT.site


@pytest.fixture(scope="session")
def origin(site: Path) -> Iterator[str]:
    """Address at which a reader's own command serves the site, on this machine only."""
    command = child_command("wavemem.cli:main", "book", "serve", "--port", "0")
    with subprocess.Popen(
        command, cwd=LAYOUT.root, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as server:
        yield server.stdout.readline().partition("/  (")[0]
        server.terminate()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A headless Chromium; without one the tests are skipped, except in CI, where they fail."""
    executable = find_browser()
    if executable is None:
        if os.environ.get("CI", "").lower() not in ("", "0", "false", "no"):
            named = os.environ.get("WAVEMEM_CHROMIUM")
            pytest.fail(
                f"no browser to examine the pages with, and CI is set; looked for {named or ', '.join(BROWSER_NAMES)}"
            )
        pytest.skip("BROWSER TESTS SKIPPED: no Chromium found (install chromium or set WAVEMEM_CHROMIUM)")
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=executable, args=ARGUMENTS)
        yield launched
        launched.close()


@dataclass
class Visit:
    """What one visit to a page showed.

    Attributes:
        errors: Page errors, console errors and answers other than success.
        away: Addresses asked for that are not on this site.
        seen: What ``examine.js`` says of maths, figures and search boxes, on a wide screen.
        views: What it says of contrast, of widths and of the figures' ground, for each of ``VIEWS``.
        violations: What axe calls serious or critical.
    """

    errors: list[str] = field(default_factory=list)
    away: list[str] = field(default_factory=list)
    seen: dict[str, Any] = field(default_factory=dict)
    views: dict[str, dict[str, Any]] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)


def listen(page: Page, origin: str, visit: Visit) -> None:
    """Note what goes wrong on a page, and every request that would leave the site."""
    inside = (origin + "/", "data:", "blob:")
    away = visit.away.append

    def say(fault: str) -> None:
        # The icon that a browser asks every host for, whatever the page says, is no part of the site.
        if f"{origin}/favicon.ico" not in fault:
            visit.errors.append(fault)

    page.on("request", lambda request: None if request.url.startswith(inside) else away(request.url[:200]))
    page.on("requestfailed", lambda request: say(f"failed request: {request.url[:200]}"))
    page.on("response", lambda answer: say(f"{answer.status}: {answer.url}") if answer.status >= 400 else None)
    page.on("console", lambda m: say(f"console: {m.text} ({m.location['url']})") if m.type == "error" else None)
    page.on("pageerror", lambda error: say(f"page error: {error}"))


def settle(page: Page) -> None:
    """Wait until the formulas are drawn, and make every later change of style instantaneous."""
    page.evaluate("async () => { if (window.MathJax) await MathJax.startup.promise; await document.fonts.ready; }")
    page.add_style_tag(content="*, *::before, *::after { transition: none !important; animation: none !important; }")
    page.evaluate(EXAMINE.read_text(encoding="utf-8"))


def accessibility(page: Page) -> list[str]:
    """What axe calls serious or critical: the rule, how many elements, the first of them."""
    page.evaluate(WITHOUT_DETAILS)
    return [
        f"{rule['id']} ({len(rule['nodes'])}): {rule['help']}: {rule['nodes'][0]['html'][:150]}"
        for rule in Axe().run(page, options=AXE).response["violations"]
        if rule["impact"] in ("serious", "critical")
    ]


def look(page: Page, what: str) -> Any:
    """One of the questions of ``examine.js``."""
    return page.evaluate("what => window.examine(what)", what)


def visit_page(context: BrowserContext, origin: str, name: str) -> Visit:
    """Load a page and look at it in every view."""
    visit = Visit()
    page = context.new_page()
    listen(page, origin, visit)
    page.goto(f"{origin}/{name}", wait_until="load")
    settle(page)
    visit.seen = {what: look(page, what) for what in ("figures", "maths", "searchBoxes")}
    for view, (scheme, size) in VIEWS.items():
        page.set_viewport_size(size)
        page.emulate_media(color_scheme=scheme)
        page.wait_for_function(f"document.documentElement.dataset.theme === '{scheme}'", timeout=10_000)
        page.evaluate(FRAMES)
        visit.views[view] = {what: look(page, what) for what in ("contrast", "overflow", "boxes", "grounds")}
    # The last view is dark, and narrow: what has to scroll is most there.
    visit.seen["figures"]["inks"] = look(page, "inks")
    visit.violations = accessibility(page)
    page.close()
    return visit


@pytest.fixture(scope="session")
def visit(site: Path, browser: Browser, origin: str) -> Iterator[Callable[[str], Visit]]:
    """What the browser saw on a page, which it loads when it is first asked for.

    The pages share its cache of files, but none knows a reader's earlier choices.
    """
    scheme, size = next(iter(VIEWS.values()))
    context = browser.new_context(viewport=size, color_scheme=scheme)
    context.add_init_script("localStorage.clear()")
    yield cache(partial(visit_page, context, origin))
    context.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """An empty page with a fresh profile and a wide window, for a test that acts as a reader does."""
    context = browser.new_context(viewport={"width": 1400, "height": 900}, color_scheme="light", accept_downloads=True)
    context.set_default_timeout(15_000)
    yield context.new_page()
    context.close()


@pytest.fixture(scope="session")
def violations() -> Callable[[Page], list[str]]:
    """What finds serious violations of accessibility."""
    return accessibility
