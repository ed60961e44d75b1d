"""The built site, a server for it on this machine, a browser, and what the browser saw on each page.

Every page is loaded once; the tests then ask the record of that visit. JavaScript that looks at a page is in
``examine.js``.
"""

from __future__ import annotations

import http.server
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml
from playwright.sync_api import Browser, BrowserContext, Page, ViewportSize, sync_playwright

from wavemem.building.doctor import BROWSER_NAMES, find_browser
from wavemem.building.layout import Layout, find_root

LAYOUT = Layout(find_root(Path(__file__)))
NOT_BUILT = f"there is no site under {LAYOUT.site}: run `make book` first"
NO_BROWSER = "BROWSER TESTS SKIPPED: no Chromium found (install chromium or set WAVEMEM_CHROMIUM)"
# Start as root without a display, and without the browser's own requests to its maker.
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
# Whatever a page asks of another host fails without leaving this machine; the tests see that it asked.
ARGUMENTS += [
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]
EXAMINE = Path(__file__).with_name("examine.js")

Scheme = Literal["light", "dark"]
SCHEMES: tuple[Scheme, ...] = ("light", "dark")
VIEWS: dict[str, tuple[Scheme, ViewportSize]] = {
    f"{scheme}-{width}": (scheme, {"width": width, "height": height})
    for width, height in ((1400, 900), (390, 844))
    for scheme in SCHEMES
}
# Lists made by Sphinx, without prose: their links are checked, and that they load without an error.
LISTS = {"genindex.html", "py-modindex.html", "prf-prf.html", "search.html"}

skipped_for_want_of_a_browser = False


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
    sources = sorted(path.name for path in (LAYOUT.source / "chapters").glob("*.ipynb"))
    choices = {
        "any_page": all_pages(),
        "visited": visited_pages(),
        "page_name": [page for page in visited_pages() if page not in LISTS],
        "chapter": [page for page in visited_pages() if page.startswith("chapters/")],
        "numbered_chapter": [page for page in visited_pages() if page in numbered_pages()],
        "notebook_name": sources,
        "view": list(VIEWS),
    }
    for name, values in choices.items():
        if name in metafunc.fixturenames:
            metafunc.parametrize(name, values or ["no site"])


def pytest_unconfigure(config: pytest.Config) -> None:
    """Say last, where nobody overlooks it, that the pages were not examined."""
    if skipped_for_want_of_a_browser and not hasattr(config, "workerinput"):
        config.get_terminal_writer().line(NO_BROWSER, red=True, bold=True)


@pytest.fixture(scope="session")
def layout() -> Layout:
    """Where the book's files are."""
    return LAYOUT


@pytest.fixture(scope="session")
def site() -> Path:
    """The folder of the built site."""
    if not (LAYOUT.site / "index.html").is_file() or not any(page.startswith("chapters/") for page in all_pages()):
        pytest.fail(NOT_BUILT)
    return LAYOUT.site


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    """Serve files without a line per request."""

    def do_GET(self) -> None:
        """Answer; the icon that a browser asks every host for, whatever the page says, is no part of the site."""
        if self.path == "/favicon.ico":
            self.send_response(204)
            self.end_headers()
        else:
            super().do_GET()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="session")
def origin(site: Path) -> Iterator[str]:
    """Address of a server for the site, on this machine only."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=str(site))) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A headless Chromium; without one the tests are skipped, except in CI, where they fail."""
    global skipped_for_want_of_a_browser
    executable = find_browser()
    if executable is None:
        if os.environ.get("CI", "").lower() not in ("", "0", "false", "no"):
            named = os.environ.get("WAVEMEM_CHROMIUM")
            pytest.fail(
                f"no browser to examine the pages with, and CI is set; looked for {named or ', '.join(BROWSER_NAMES)}"
            )
        skipped_for_want_of_a_browser = True
        pytest.skip(NO_BROWSER)
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
        maths: See ``examine.js``.
        figures: See ``examine.js``.
        search_boxes: Visible boxes or buttons that begin a search, on a wide screen.
        views: For each of ``VIEWS``: theme, faults of contrast, of width, and of figures on dark ground.
    """

    errors: list[str] = field(default_factory=list)
    away: list[str] = field(default_factory=list)
    maths: dict[str, Any] = field(default_factory=dict)
    figures: dict[str, Any] = field(default_factory=dict)
    search_boxes: list[str] = field(default_factory=list)
    views: dict[str, dict[str, Any]] = field(default_factory=dict)


def listen(page: Page, origin: str, visit: Visit) -> None:
    """Note what goes wrong on a page, and every request that would leave the site."""
    inside = (origin + "/", "data:", "blob:")
    say, away = visit.errors.append, visit.away.append
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
    visit.figures = look(page, "figures")
    visit.maths = look(page, "maths")
    visit.search_boxes = look(page, "searchBoxes")
    for view, (scheme, size) in VIEWS.items():
        page.set_viewport_size(size)
        page.emulate_media(color_scheme=scheme)
        page.wait_for_function(f"document.documentElement.dataset.theme === '{scheme}'", timeout=10_000)
        visit.views[view] = {
            "contrast": look(page, "contrast"),
            "overflow": look(page, "overflow"),
            "figures": look(page, "darkFigures"),
        }
    page.close()
    return visit


class Visits(dict[str, Visit]):
    """Visits made so far: each page is loaded when it is first asked for."""

    def __init__(self, context: BrowserContext, origin: str) -> None:
        super().__init__()
        self.context, self.origin = context, origin

    def __missing__(self, name: str) -> Visit:
        """Make the visit."""
        self[name] = visit_page(self.context, self.origin, name)
        return self[name]


@pytest.fixture(scope="session")
def examination() -> str:
    """The script that looks at a page."""
    return EXAMINE.read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def visits(site: Path, browser: Browser, origin: str) -> Iterator[Visits]:
    """What the browser saw, page by page. The pages share its cache of files, but none knows a reader's earlier choices."""
    scheme, size = next(iter(VIEWS.values()))
    context = browser.new_context(viewport=size, color_scheme=scheme)
    context.add_init_script("localStorage.clear()")
    yield Visits(context, origin)
    context.close()


@pytest.fixture
def page(site: Path, browser: Browser) -> Iterator[Page]:
    """An empty page with a fresh profile and a wide window, for a test that acts as a reader does."""
    context = browser.new_context(viewport={"width": 1400, "height": 900}, color_scheme="light", accept_downloads=True)
    context.set_default_timeout(15_000)
    yield context.new_page()
    context.close()
