"""Each page as a reader sees it: no error, nothing asked of another host, formulas, figures, both themes, both widths."""

from __future__ import annotations

from typing import Any

import pytest


def report(page: str, faults: list[str], what: str) -> None:
    """Fail with the page and the elements at fault."""
    if faults:
        shown = "\n  ".join(faults[:12])
        more = f"\n  … and {len(faults) - 12} more" if len(faults) > 12 else ""
        pytest.fail(f"{page}: {what} ({len(faults)})\n  {shown}{more}", pytrace=False)


def test_no_error(visits: Any, visited: str) -> None:
    report(visited, visits.of(visited).errors, "errors while loading")


def test_no_request_leaves_the_machine(visits: Any, visited: str) -> None:
    report(visited, visits.of(visited).away, "requests to other hosts")


def test_formulas_are_drawn(visits: Any, visited: str) -> None:
    maths = visits.of(visited).maths
    report(visited, maths["errors"], "formulas that MathJax could not read")
    report(visited, maths["unrendered"], "formulas that were not drawn")
    report(visited, maths["raw"], "text that shows its markup")


def test_chapters_have_formulas_and_figures(visits: Any, chapter: str) -> None:
    visit = visits.of(chapter)
    assert visit.maths["formulas"] > 0, f"{chapter}: no formula"
    assert visit.figures["count"] > 0, f"{chapter}: no figure"


def test_images_load(visits: Any, visited: str) -> None:
    report(visited, visits.of(visited).figures["broken"], "images that do not load")


def test_images_have_alternative_text(visits: Any, page_name: str) -> None:
    report(
        page_name,
        visits.of(page_name).figures["alt"],
        "images whose alternative text is missing or under 20 characters",
    )


def test_figures_have_captions(visits: Any, visited: str) -> None:
    figures = visits.of(visited).figures
    report(visited, figures["caption"], "figures without a caption")
    report(visited, figures["loose"], "images of a code cell that are in no figure")


def test_one_search_box(visits: Any, visited: str) -> None:
    boxes = visits.of(visited).search_boxes
    # The page of search results has its own box in the text, beside the one in the sidebar.
    allowed = 2 if visited == "search.html" else 1
    assert 1 <= len(boxes) <= allowed, f"{visited}: {len(boxes)} search boxes to be seen at 1400 px: {boxes}"


def test_contrast(visits: Any, page_name: str, view: str) -> None:
    report(page_name, visits.of(page_name).views[view]["contrast"], f"text with a contrast below 4.5:1 ({view})")


def test_no_sideways_scrolling(visits: Any, page_name: str, view: str) -> None:
    seen = visits.of(page_name).views[view]["overflow"]
    report(page_name, seen["faults"], f"elements wider than the window ({view})")
    assert seen["scrollWidth"] <= seen["width"] + 1, (
        f"{page_name}: the document is {seen['scrollWidth']} px wide in a window of {seen['width']} px ({view})"
    )


def test_figures_stay_on_light_ground(visits: Any, page_name: str, view: str) -> None:
    report(page_name, visits.of(page_name).views[view]["figures"], f"figures without a light background ({view})")
