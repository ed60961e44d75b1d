"""The examination itself: on a page made wrong on purpose it names each fault, and nothing of what is right there."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Page

DARK_PICTURE = (
    "data:image/svg+xml,<svg xmlns='http://www.w3.org/2000/svg' width='90' height='90'>"
    "<rect width='90' height='90' fill='%23223'/></svg>"
)
LIGHT_PICTURE = DARK_PICTURE.replace("%23223", "white")
ALT = "A white square, as wide as it is high."

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
  <p>black on white, and <code>\\(code\\)</code></p>
  <div style="overflow-x: auto"><div style="width: 3000px">wide, in a box that scrolls</div></div>
  <div style="display: none; color: #eee">hidden</div>
  <figure><img src="{LIGHT_PICTURE}" alt="{ALT}">
    <figcaption><span class="caption-text">A caption that says what is to be seen.</span></figcaption></figure>
</article><dialog><input type="search"></dialog><button class="search-button">one</button><input type="search">"""


def names(faults: list[str], *wanted: str) -> None:
    """Each fault is one of the elements wanted, and each of those is named."""
    assert len(faults) == len(wanted), faults
    for element in wanted:
        assert any(f"#{element}" in fault for fault in faults), f"{element} is not among {faults}"


def test_faults_are_found_and_nothing_else(page: Page) -> None:
    page.set_content(f"<html><body style='margin: 0'>{PAGE}</body></html>")
    page.evaluate(Path(__file__).with_name("examine.js").read_text(encoding="utf-8"))
    questions = ("contrast", "overflow", "darkFigures", "maths", "figures", "searchBoxes")
    examined = {what: page.evaluate("what => window.examine(what)", what) for what in questions}
    names(examined["contrast"], "pale", "faint", "tinted")
    names(examined["overflow"]["faults"], "wide")
    assert examined["overflow"]["scrollWidth"] > examined["overflow"]["width"]
    names(examined["darkFigures"], "fig-dark")
    names(examined["maths"]["raw"], "raw", "role")
    names(examined["maths"]["unrendered"], "undrawn")
    names(examined["figures"]["broken"], "gone")
    names(examined["figures"]["alt"], "fig-dark")
    names(examined["figures"]["caption"], "fig-dark")
    names(examined["figures"]["loose"], "loose")
    assert (examined["maths"]["errors"], examined["maths"]["formulas"], len(examined["searchBoxes"])) == ([], 0, 2)
