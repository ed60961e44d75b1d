"""The examination itself: on a page made wrong on purpose it names each fault, and on a page without faults it is silent."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Page

DARK_PICTURE = (
    "data:image/svg+xml,<svg xmlns='http://www.w3.org/2000/svg' width='90' height='90'>"
    "<rect width='90' height='90' fill='%23223'/></svg>"
)
LIGHT_PICTURE = DARK_PICTURE.replace("%23223", "white")
ALT = "A white square, as wide as it is high."

WRONG = f"""<article class="bd-article">
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
</article><button class="search-button">one</button><input type="search">"""

RIGHT = f"""<article class="bd-article">
  <p>black on white, and <code>\\(code\\)</code></p>
  <div style="overflow-x: auto"><div style="width: 3000px">wide, in a box that scrolls</div></div>
  <div style="display: none; color: #eee">hidden</div>
  <figure><img src="{LIGHT_PICTURE}" alt="{ALT}">
    <figcaption><span class="caption-text">A caption that says what is to be seen.</span></figcaption></figure>
</article><dialog><input type="search"></dialog><input type="search">"""


@pytest.fixture
def examined(page: Page, request: pytest.FixtureRequest, examination: str) -> dict[str, Any]:
    """What the examination says about a page given as text."""
    page.set_content(f"<html><body style='margin: 0'>{request.param}</body></html>")
    page.evaluate(examination)
    questions = ("contrast", "overflow", "darkFigures", "maths", "figures", "searchBoxes")
    return {what: page.evaluate("what => window.examine(what)", what) for what in questions}


def names(faults: list[str], *wanted: str) -> None:
    """Each fault is one of the elements wanted, and each of those is named."""
    assert len(faults) == len(wanted), faults
    for element in wanted:
        assert any(f"#{element}" in fault for fault in faults), f"{element} is not among {faults}"


@pytest.mark.parametrize("examined", [WRONG], indirect=True)
def test_faults_are_found(examined: dict[str, Any]) -> None:
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
    assert len(examined["searchBoxes"]) == 2


@pytest.mark.parametrize("examined", [RIGHT], indirect=True)
def test_a_good_page_has_no_fault(examined: dict[str, Any]) -> None:
    assert examined["contrast"] == []
    assert examined["overflow"]["faults"] == []
    assert examined["darkFigures"] == []
    assert examined["maths"] == {"unrendered": [], "errors": [], "raw": [], "formulas": 0}
    assert [examined["figures"][key] for key in ("broken", "alt", "caption", "loose")] == [[], [], [], []]
    assert len(examined["searchBoxes"]) == 1
