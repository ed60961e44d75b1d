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


@pytest.mark.parametrize(
    ("part", "kind", "what"),
    [
        ("maths", "errors", "formulas that MathJax could not read"),
        ("maths", "unrendered", "formulas that were not drawn"),
        ("maths", "raw", "text that shows its markup"),
        ("figures", "broken", "images that do not load"),
        ("figures", "alt", "images whose alternative text is missing or under 20 characters"),
        ("figures", "caption", "figures without a caption"),
        ("figures", "loose", "images of a code cell that are in no figure"),
        ("figures", "inks", "colours of figures that lose their contrast in the dark"),
    ],
)
def test_formulas_and_figures(visit: Any, visited: str, part: str, kind: str, what: str) -> None:
    report(visited, visit(visited).seen[part][kind], what)


def test_loads_without_error_and_without_leaving_the_machine(visit: Any, visited: str) -> None:
    report(visited, visit(visited).errors, "errors while loading")
    report(visited, visit(visited).away, "requests to other hosts")


def test_chapters_have_formulas_and_figures(visit: Any, chapter: str) -> None:
    assert visit(chapter).seen["maths"]["formulas"] > 0, f"{chapter}: no formula"
    assert visit(chapter).seen["figures"]["count"] > 0, f"{chapter}: no figure"


def test_one_search_box(visit: Any, visited: str) -> None:
    boxes = visit(visited).seen["searchBoxes"]
    # The page of search results has its own box in the text, beside the one in the sidebar.
    allowed = 2 if visited == "search.html" else 1
    assert 1 <= len(boxes) <= allowed, f"{visited}: {len(boxes)} search boxes to be seen at 1300 px: {boxes}"


def test_views(visit: Any, page_name: str, view: str) -> None:
    seen = visit(page_name).views[view]
    report(page_name, seen["contrast"], f"text with a contrast below 4.5:1 ({view})")
    report(page_name, seen["overflow"]["faults"], f"elements wider than the window ({view})")
    report(page_name, seen["grounds"], f"figures on the other theme's ground ({view})")
    width, allowed = seen["overflow"]["scrollWidth"], seen["overflow"]["width"] + 1
    assert width <= allowed, f"{page_name}: the document is {width} px wide in a window of {allowed - 1} px ({view})"


def test_nothing_is_wider_than_its_place(visit: Any, page_name: str, view: str) -> None:
    report(page_name, visit(page_name).views[view]["boxes"], f"code, tables, equations or figures cut off ({view})")


def test_accessible(visit: Any, page_name: str) -> None:
    report(page_name, visit(page_name).violations, "serious violations of accessibility")
