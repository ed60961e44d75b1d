"""The papers' claims: where they lead, their verdicts, and the pages that show them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from wavemem.records.claims_page import (
    NOT_EXECUTED,
    Finding,
    _measured,
    _size_and_n,
    blocks,
    count,
    findings,
    render,
    verdict,
)
from wavemem.records.entries import Claim, Entry, Quantity, Registry, load_registry
from wavemem.records.sizes import Size
from wavemem.records.status import Evidence, Measurement, chapter_has_label, gather, test_exists

ROOT = Path(__file__).resolve().parents[2]
CHAPTERS = {path.stem: path.read_text(encoding="utf-8") for path in sorted((ROOT / "notebooks").glob("*.md"))}
CLAIMS = load_registry().claims
REDUCED = Size(differs=("s 4 instead of 8",))


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda c: c.id)
def test_every_claim_leads_somewhere(claim: Claim) -> None:
    assert claim.where, "a claim is tested in a chapter, or will be"
    for place in claim.where:
        stem, _, label = place.partition("#")
        assert stem in CHAPTERS
        assert not label or chapter_has_label(CHAPTERS[stem], label), f"{label} is not in {stem}"
    findings(claim, load_registry(), dict.fromkeys((e.id for e in load_registry().entries), Evidence()))  # they exist
    assert not claim.test or test_exists(ROOT, claim.test), claim.test


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda c: c.id)
def test_the_sentence_of_explanation_names_no_measured_number_and_no_verdict(claim: Claim) -> None:
    assert claim.why.endswith(".")
    assert len(re.findall(r"[.!?](?:\s|$)", claim.why)) == 1, "one sentence"
    prose = re.sub(r"\b(?:Table|Fig\.|Eq\.|chapter) \d+|\b[A-Z]+-?\d+\b", "", claim.why)
    assert not re.search(r"\d\.\d|\d ?%|\d{2,}", prose), prose
    assert not re.search(r"\b(?:reproduced|refuted|confirmed|contradicted|not attempted)\b", prose), prose


def test_every_paper_makes_claims() -> None:
    registry = load_registry()
    assert sum(len(registry.claims_of(paper.key)) for paper in registry.papers) == len(CLAIMS)
    assert all(registry.claims_of(paper.key) for paper in registry.papers)


FIGURE = Entry(
    "x:fig1", "figure", "t", chapter="01-a", quantities=(Quantity("q", at_least=1), Quantity("r", unit="s", at_most=1))
)


def judged(claim: Claim, *measured: Measurement, executed: tuple[str, ...] = ("01-a",)) -> str:
    registry = Registry((), (FIGURE,), (claim,))
    found = {FIGURE.id: Evidence(measured={m.quantity: [m] for m in measured})}
    return verdict(claim, findings(claim, registry, found), executed)


def measured(quantity: str, *values: float, size: Size = REDUCED) -> Measurement:
    return Measurement("x:fig1", quantity, values, size)


def claimed(*evidence: str, settled: str = "") -> Claim:
    return Claim("x:a", "words", "place", ("01-a",), "why.", evidence, settled, "t" if settled else "")


def test_verdicts_come_from_evidence() -> None:
    assert judged(claimed("x:fig1#q"), measured("q", 2, 3)) == "at reduced size"
    assert judged(claimed("x:fig1#q"), measured("q", 2, 3, size=Size())) == "reproduced"
    assert judged(claimed("x:fig1#q"), measured("q", 2, 0)) == "partly"
    assert judged(claimed("x:fig1#q"), measured("q", 0, 0)) == "not reproduced"
    assert judged(claimed("x:fig1#q")) == "not attempted"
    assert judged(claimed("x:fig1#q"), executed=()) == NOT_EXECUTED
    assert judged(claimed()) == judged(claimed(), executed=()) == "not attempted"
    assert judged(claimed("x:fig1"), measured("q", 2)) == "partly", "an entry stands for all its quantities"
    assert judged(claimed("x:fig1"), measured("q", 2), measured("r", 0)) == "at reduced size"
    assert judged(claimed("x:fig1#q", settled="refuted"), measured("q", 2)) == "refuted"


def test_sizes_seeds_and_missing_quantities_are_told() -> None:
    def found(*measurements: Measurement, repeat: int = 1) -> list[Finding]:
        measured = {m.quantity: [m] for m in measurements}
        claim = claimed(*["x:fig1"] * repeat)
        return findings(claim, Registry((), (FIGURE,), (claim,)), {FIGURE.id: Evidence(measured=measured)})

    several = found(measured("q", 2, 3), measured("r", 0, 0, 0, 0))
    assert _size_and_n(claimed("x:fig1"), several) == [("reduced", "2 to 4")]
    mixed = found(measured("q", 2, 3), measured("r", 0, size=Size()))
    assert _size_and_n(claimed("x:fig1"), mixed) == [("paper's size", "1"), ("reduced", "2")]
    assert _size_and_n(claimed("x:fig1"), found()) == [("not measured", "—")]
    assert _size_and_n(claimed("x:fig1", settled="holds"), found()) == [("exact", "—")]
    assert _measured(found(measured("r", 0))) == "*r*: 0 (n = 1) s; not measured: *q*."
    assert _measured(found(measured("q", 2), measured("r", 0))) == "*q*: 2 (n = 1); *r*: 0 (n = 1) s."
    assert _measured(found()) == ""
    many = found(measured("q", 2), repeat=2)
    assert _measured(many) == "Of 4 quantities: 2 at reduced size, 2 not attempted."
    assert _measured(many[:3]).startswith("*q*: 2 (n = 1); *q*")


@pytest.mark.parametrize("reference", ["x:fig2", "x:fig1#s"])
def test_evidence_that_does_not_exist_is_refused(reference: str) -> None:
    with pytest.raises(ValueError, match=r"no quantity|does not exist"):
        judged(claimed(reference))


def test_the_page_and_the_rows_say_what_was_measured(project: Path) -> None:
    gathered = gather(project / "results")
    text, shown = render(gathered), blocks(gathered)
    assert text.startswith("(page-claims)=\n# ")
    assert shown[""] == "**2 claims**, by verdict: holds 1, partly 1." == count(["partly", "holds"])
    assert shown[""] in text
    first, second = (line for line in text.splitlines() if line.startswith("| “"))
    assert "**partly** | Ch. {ref}`1 <fig-a>`, {ref}`2 <ch-b>`; reduced, n = 3 |" in first
    measured = "y.<br>*q*: 1.3 ± 0.14 (n = 3, 1 undetermined) rad.<br>Criteria fixed before the run.<br>"
    assert f"{measured}Report: {{ref}}`Fig. 1 <report-x-fig1>`." in first
    assert "“true \\| \\$5” (p) | **holds** | Ch. {ref}`2 <ch-b>`; exact | Proved.<br>Test: `test_b`." in second
    assert "| X: “w” | **partly** | 3 | reduced |" in shown["01-a"]
    assert "| X: “true \\| \\$5” | **holds** | — | exact |" in shown["02-b"]
    assert NOT_EXECUTED in blocks(gather())["01-a"]
    assert "Report:" not in render(gather()), "no link to rows that the report does not have"
