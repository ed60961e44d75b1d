"""The reproduction report: statuses from evidence, links only to what exists, equal pages from equal inputs."""

from __future__ import annotations

import dataclasses
import html
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from wavemem.records.entries import Entry, Quantity, load_registry
from wavemem.records.report_page import plain, render
from wavemem.records.sizes import EXACT, Size
from wavemem.records.status import (
    Evidence,
    Measurement,
    chapter_has_label,
    entry_status,
    evidence,
    gather,
    measurements,
    quantity_status,
    symbol_exists,
    test_exists,
)


def test_labels_are_found_in_every_form_a_chapter_uses() -> None:
    text = "(twm-eq-6)=\n\n$$ x $$\n\nfigure: {name: fig-a, caption: x}\n"
    text += "```{exercise}\n:label: ex-1\n```\n  name: fig-b\n"
    for label in ("twm-eq-6", "fig-a", "fig-b"):
        assert chapter_has_label(text, label)
    for label in ("twm-eq-60", "twm-eq", "fig", "x", "", "ex-1"):  # a block is not reached by a plain reference
        assert not chapter_has_label(text, label)


def test_code_and_tests_are_looked_up() -> None:
    root = Path(__file__).resolve().parents[2]
    here = "tests/records/test_report_page.py"
    assert symbol_exists("wavemem.records.store:Record.rows")
    assert not symbol_exists("wavemem.records.store:nothing")
    assert not symbol_exists("wavemem.nothing:x")
    assert not symbol_exists("")
    assert test_exists(root, f"{here}::test_code_and_tests_are_looked_up")
    assert not test_exists(root, f"{here}::test_nothing")
    assert not test_exists(root, "tests/none.py::f")
    assert not test_exists(root, "")


SIZES = {
    "paper": Size(),
    "exact": EXACT,
    "reduced": Size(differs=("d 4 instead of 8",)),
    "other": Size(data="digits for letters"),
    "record": Size(differs=("d 6 instead of 8",), records=("0123",)),
}


def measured(size: str, *values: float) -> Measurement:
    return Measurement("x:fig1", "q", values, SIZES[size])


def test_entry_statuses() -> None:
    equation = Entry("x:eq1", "equation", "t", chapter="c")
    whole = Evidence(chapter=True, label=True, code=True, test=True)
    assert entry_status(equation, whole) == "reproduced"
    for missing in ("label", "code", "test"):
        lacking = dataclasses.replace(whole, **{missing: False})
        assert entry_status(equation, lacking) == "partly"
    assert entry_status(equation, Evidence()) == "not attempted"
    figure = Entry(
        "x:fig1", "figure", "t", chapter="c", quantities=(Quantity("q", at_most=1), Quantity("r", at_most=1))
    )
    assert entry_status(figure, whole) == "not attempted"

    def of(q: list[Measurement], r: list[Measurement]) -> str:
        return entry_status(figure, dataclasses.replace(whole, measured={"q": q, "r": r}))

    assert of([measured("reduced", 0)], []) == "partly"
    assert of([measured("reduced", 2)], []) == "not reproduced"
    assert of([measured("reduced", 2)], [measured("paper", 0)]) == "partly"
    assert of([measured("paper", 0)], [measured("paper", 0)]) == "reproduced"
    assert of([measured("paper", 0)], [measured("reduced", 0)]) == "at reduced size"  # the weakest size
    assert of([measured("other", 0)], [measured("reduced", 0)]) == "on other data"
    # The paper's size decides where it was measured, and among reduced ones a committed record.
    assert of([measured("paper", 0)], [measured("reduced", 0), measured("paper", 2)]) == "partly"
    assert of([measured("paper", 0)], [measured("reduced", 2), measured("record", 0)]) == "at reduced size"
    assert of([measured("paper", 0)], [measured("other", 2), measured("reduced", 0)]) == "at reduced size"
    drawing = Entry("x:fig2", "figure", "t", chapter="c", illustration=True)
    assert entry_status(drawing, whole) == "reproduced"
    assert entry_status(dataclasses.replace(drawing, illustration=False), whole) == "partly"
    wrong = dataclasses.replace(equation, verdict="corrected")
    assert entry_status(wrong, dataclasses.replace(whole, shown=True)) == "corrected"
    assert entry_status(wrong, whole) == "partly"
    assert (
        entry_status(Entry("x:fig3", "figure", "t", verdict="text not available"), Evidence()) == "text not available"
    )


def test_only_measurements_of_listed_quantities_count(project: Path) -> None:
    """A results file may be older than the registry: what it measured under another name shows nowhere."""
    registry = load_registry(project / "records")
    found = [
        Measurement("x:fig1", "q", (1.0,), Size()),
        Measurement("x:fig1", "renamed since", (1.0,), Size()),
        Measurement("x:table1", "q", (1.0,), Size()),
    ]
    measured = {i: dict(e.measured) for i, e in evidence(registry, project, {}, found).items()}
    assert measured == {"x:eq1": {}, "x:fig1": {"q": [found[0]]}, "x:table1": {}}
    figure = registry.entry("x:fig1"), evidence(registry, project, {}, found)["x:fig1"]
    assert [quantity_status(figure[0], name, figure[1]) for name in "qr"] == ["reproduced", "not attempted"]


def test_page_shows_values_statuses_and_existing_links_only(project: Path) -> None:
    text = render(gather(project / "results"))
    assert text.startswith("(page-reproduction)=\n# ")
    assert "{ref}`Eq. 1 <x-eq-1>`" in text
    assert "{ref}`Fig. 1 <fig-a>`" in text
    assert "{py:obj}`store.find <wavemem.records.store.find>`" in text
    assert "`test_eq1`" in text
    assert "1.3 ± 0.14 (n = 3, 1 undetermined) rad, reduced" in text
    assert "- reduced: d 4 instead of 8" in text
    assert "n = 3 runs" in text
    assert "drawn \\| \\$5" in text
    assert "Not attempted yet: 1 of 2" in text
    assert "- Table 1: later." in text
    assert (
        "| mathematics | X | together |\n|---|---|---|\n| reproduced | 1 | 1 |\n| **entries** | **1** | **1** |" in text
    )
    assert "| partly | 1 | 1 |\n| not attempted | 1 | 1 |\n| **entries** | **2** | **2** |" in text
    assert render(gather(project / "results")) == text


def test_a_figure_of_a_chapter_that_was_not_executed_is_not_linked(project: Path) -> None:
    assert "{ref}`Eq. 1 <x-eq-1>`" in render(gather())
    assert "fig-a" not in render(gather())


def test_bad_inputs_are_named(project: Path) -> None:
    (project / "results" / "01-a.json").write_text('{"results": [{}]}')
    with pytest.raises(ValueError, match=r"01-a\.json"):
        measurements(project / "results")


@pytest.mark.parametrize(
    "text",
    ["a|b", "<script>alert(1)</script>", "*x* _y_ `z`", "[a](b)", "{cite}`x`", "$x$ \\", "a\n\n# b", "![](x)", "&amp;"],
)
def test_what_a_run_says_is_shown_as_it_is(text: str) -> None:
    page = MarkdownIt("commonmark").enable("table").render(f"- {plain(text)}\n")
    assert page == f"<ul>\n<li>{' '.join(html.escape(text).split())}</li>\n</ul>\n"
