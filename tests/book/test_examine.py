"""The examination itself: on a page made wrong on purpose it names each fault, and nothing of what is right there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from playwright.sync_api import Page

DARK_PICTURE = (
    "data:image/svg+xml,<svg xmlns='http://www.w3.org/2000/svg' width='90' height='90'>"
    "<rect width='90' height='90' fill='%23223'/></svg>"
)
LIGHT_PICTURE = DARK_PICTURE.replace("%23223", "white")
ALT = "A white square, as wide as it is high."
SQUARE = "<rect x='40' y='40' width='9' height='9' style='fill: %23767676'/></svg>"
DRAWING, TWIN = (picture.replace("</svg>", SQUARE) for picture in (LIGHT_PICTURE, DARK_PICTURE))

PAGE = f"""<article class="bd-article">
  <p id="pale" style="color: #999">pale text</p>
  <p id="faint" style="opacity: 0.5">faint text</p>
  <p id="tinted" style="background: rgba(0, 0, 0, 0.6)">black on a half transparent ground</p>
  <div id="wide" style="width: 3000px">wide</div>
  <figure id="fig-dark"><img src="{DARK_PICTURE}" alt="short"></figure>
  <div class="cell_output"><img id="loose" src="{LIGHT_PICTURE}" alt="{ALT}"></div>
  <img id="gone" src="data:image/png;base64,AAAA" alt="{ALT}">
  <p id="raw">An unread \\(formula\\).</p>
  <span class="math" id="undrawn">x</span>
  <p id="role">see {{ref}}`target`</p>
  <pre id="code" style="width: 9em; overflow-x: auto">a line that goes on beyond its box</pre>
  <div class="pst-scrollable-table-container" style="width: 3em; overflow-x: auto"><table id="table"><td>heading</table></div>
  <div class="math" id="left" style="width: 9em; overflow-x: auto; display: flex; flex-direction: row-reverse">
    <mjx-container style="min-width: 20em"><svg width="320"><g data-mml-node="math"><rect width="320" height="9"/></g></svg>
    </mjx-container></div>
  <p>black on white, and <code>\\(code\\)</code></p>
  <div style="overflow-x: auto"><div style="width: 3000px">wide, in a box that scrolls</div></div>
  <div style="display: none; color: #eee">hidden</div>
  <pre>short</pre><div class="cell_output"><div class="output"><table><th>q</th></table></div></div>
  <figure><img src="{LIGHT_PICTURE}" alt="{ALT}">
    <figcaption><span class="caption-text">A caption that says what is to be seen.</span></figcaption></figure>
</article><dialog><input type="search"></dialog><button class="search-button">one</button><input type="search">"""


def names(faults: list[str], *wanted: str) -> None:
    """Each fault is one of the elements wanted, and each of those is named."""
    assert len(faults) == len(wanted), faults
    for element in wanted:
        assert any(f"#{element}" in fault for fault in faults), f"{element} is not among {faults}"


def look(page: Page, body: str, *questions: str) -> dict[str, Any]:
    """What the examination says of a page with this body."""
    page.set_content(f"<html><body style='margin: 0'>{body}</body></html>")
    page.evaluate(Path(__file__).with_name("examine.js").read_text(encoding="utf-8"))
    return {what: page.evaluate("what => window.examine(what)", what) for what in questions}


def test_faults_are_found_and_nothing_else(page: Page) -> None:
    examined = look(page, PAGE, "contrast", "overflow", "boxes", "grounds", "inks", "maths", "figures", "searchBoxes")
    names(examined["contrast"], "pale", "faint", "tinted")
    names(examined["overflow"]["faults"], "wide")
    assert examined["overflow"]["scrollWidth"] > examined["overflow"]["width"]
    names(examined["boxes"], "code", "table", "left", "left")
    names(examined["grounds"], "fig-dark")
    assert examined["inks"] == []
    names(examined["maths"]["raw"], "raw", "role")
    names(examined["maths"]["unrendered"], "undrawn")
    names(examined["figures"]["broken"], "gone")
    names(examined["figures"]["alt"], "fig-dark")
    names(examined["figures"]["caption"], "fig-dark")
    names(examined["figures"]["loose"], "loose")
    assert (examined["maths"]["errors"], examined["maths"]["formulas"], len(examined["searchBoxes"])) == ([], 1, 2)


def test_faults_of_figures_in_the_dark_are_found(page: Page) -> None:
    twins = {"fig-right": TWIN, "fig-dim": TWIN.replace("767676", "444444"), "fig-less": DARK_PICTURE}
    figures = "".join(
        f'<figure id="{name}"><img class="figure-light" style="display: none" src="{DRAWING}">'
        f'<img class="figure-dark" src="{twin}"></figure>'
        for name, twin in twins.items()
    )
    article = f'<article class="bd-article" style="background: #121212">{figures}<img id="white" src="{LIGHT_PICTURE}"></article>'
    examined = look(page, article, "grounds", "inks")
    names(examined["grounds"], "white")
    names(examined["inks"], "fig-dim", "fig-less")


def test_a_violation_of_accessibility_is_found(page: Page, violations: Callable[[Page], list[str]]) -> None:
    body = '<main><h1>Title</h1><img src="data:,"><button></button><p style="color: #999">pale</p></main>'
    page.set_content(f'<html lang="en"><title>Page</title>{body}')
    assert sorted(fault.split()[0] for fault in violations(page)) == ["button-name", "image-alt"]
