"""What the papers claim and what became of it: a page, and the rows with which each chapter ends.

Both are made when the pages are assembled: the verdicts are current, and no chapter has to be executed for them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from wavemem.records.entries import SETTLED, STATUSES, Claim, Entry, Registry
from wavemem.records.registry import summary
from wavemem.records.report_page import PROOFS, cell, table
from wavemem.records.status import (
    Evidence,
    Gathered,
    Measurement,
    chapter_has_label,
    combined_status,
    deciding_measurement,
    entry_status,
    has_target,
    quantity_status,
)

NOT_EXECUTED = "not executed in this build"

_INTRODUCTION = """\
(page-claims)=
# Claims and verdicts

What the three papers say, in their own words, and what this book brings for or against it. The page is generated at every
build from the registry (`records/registry/claims-*.toml`): the words and the sentence of explanation are written there, the
verdicts, sizes and numbers are computed from the measurements and criteria of the {ref}`reproduction report <page-reproduction>`.

{count}

A verdict is one of the statuses that the report explains, or, where no measurement is needed, **holds** (derived, and checked
by a test) or **contradicted by the paper's own numbers**. *n* counts seeds. A claim of which some parts came out and others did
not is **partly** true; what was never tried is **not attempted**, however likely it is.
"""


@dataclass(frozen=True)
class Finding:
    """One piece of evidence for a claim.

    Args:
        entry: an entry of the registry.
        quantity: one of its quantities; empty: the entry has none.
        status: its status.
        measured: the measurement that decides, None if there is none.
    """

    entry: Entry
    quantity: str
    status: str
    measured: Measurement | None


def findings(claim: Claim, registry: Registry, found: Mapping[str, Evidence]) -> list[Finding]:
    """The evidence for a claim; an entry that is named whole stands for all its quantities.

    Raises:
        ValueError: it names an entry or a quantity that does not exist.
    """
    result = []
    for reference in claim.evidence:
        entry_id, _, wanted = reference.partition("#")
        entry = registry.entry(entry_id)
        have = found[entry_id]
        names = [entry.quantity(wanted).name] if wanted else [q.name for q in entry.quantities]
        result += [Finding(entry, n, quantity_status(entry, n, have), deciding_measurement(have, n)) for n in names]
        if not names:
            result.append(Finding(entry, "", entry_status(entry, have), None))
    return result


def verdict(claim: Claim, evidence: Sequence[Finding], executed: Collection[str]) -> str:
    """What is settled by proof stands; otherwise the status of the evidence together.

    Where no chapter that would measure it has been executed, nothing can be said.
    """
    if claim.settled:
        return claim.settled
    if evidence and not any(f.measured or f.entry.chapter in executed for f in evidence):
        return NOT_EXECUTED
    return combined_status({piece.status for piece in evidence} or {"not attempted"})


def _size_and_n(claim: Claim, evidence: Sequence[Finding]) -> list[tuple[str, str]]:
    """Pairs of a size in words and the number of seeds at it."""
    seeds: dict[str, set[int]] = {}
    for piece in evidence:
        if piece.measured is not None:
            seeds.setdefault(piece.measured.size.words(), set()).add(len(piece.measured.ours))
    if not seeds:
        return [("exact" if claim.settled else "not measured", "—")]
    order = ("paper's size", "reduced", "other data", "exact")
    spans = {size: sorted(seeds[size]) for size in sorted(seeds, key=order.index)}
    return [(size, f"{n[0]}" if len(n) == 1 else f"{n[0]} to {n[-1]}") for size, n in spans.items()]


def _words(claim: Claim) -> str:
    return f"“{cell(claim.words)}”"


def _chapters(claim: Claim, texts: Mapping[str, str], executed: Collection[str]) -> str:
    """Links to where a claim is tested, by the chapters' numbers."""
    links = []
    for place in claim.where:
        stem, _, label = place.partition("#")
        text = texts.get(stem, "")
        opening = re.search(r"^\((ch-[\w-]+)\)=", text, re.MULTILINE)
        ready = has_target(text, label) or (stem in executed and chapter_has_label(text, label))
        target = label if ready else opening.group(1) if opening else ""
        number = str(int(stem.split("-")[0]))
        links.append(f"{{ref}}`{number} <{target}>`" if target else number)
    return ", ".join(links)


def _measured(evidence: Sequence[Finding]) -> str:
    """The evidence in words: each piece where they are few, their statuses counted where they are many."""
    if len(evidence) > 3 and any(piece.measured for piece in evidence):
        counted = Counter(piece.status for piece in evidence)
        return f"Of {len(evidence)} quantities: {', '.join(f'{n} {status}' for status, n in counted.items())}."
    said = []
    for piece in evidence:
        if piece.measured is not None:
            unit = piece.entry.quantity(piece.quantity).unit
            said.append(f"*{cell(piece.quantity)}*: {summary(piece.measured.ours)}{f' {unit}' if unit else ''}")
    missing = [f"*{cell(piece.quantity)}*" for piece in evidence if piece.quantity and piece.measured is None]
    if said and missing:
        said.append(f"not measured: {', '.join(missing)}")
    return f"{'; '.join(said)}." if said else ""


def _why(claim: Claim, evidence: Sequence[Finding], shown: Collection[str]) -> str:
    """The sentence, the numbers, the test and the rows of the report that they are in."""
    fixed = dict.fromkeys(f.entry.quantity(f.quantity).fixed for f in evidence if f.measured)
    parts = [cell(claim.why), _measured(evidence)]
    if any(fixed):
        parts.append(f"Criteria fixed {'; '.join(cell(when or 'at a time not noted') for when in fixed)}.")
    entries = dict.fromkeys(piece.entry for piece in evidence if piece.entry.id in shown)
    if entries:
        names = [f"{{ref}}`{'this claim' if e.kind == 'claim' else e.name} <{e.target}>`" for e in entries]
        parts.append(f"Report: {', '.join(names)}.")
    if claim.test:
        parts.append(f"Test: `{claim.test.split('::', 1)[1]}`.")
    return "<br>".join(part for part in parts if part)


def count(verdicts: Iterable[str]) -> str:
    """A sentence that counts verdicts."""
    counted = Counter(verdicts)
    order = ("holds", *STATUSES, *SETTLED, NOT_EXECUTED)
    said = ", ".join(f"{word} {counted[word]}" for word in dict.fromkeys(order) if counted[word])
    return f"**{sum(counted.values())} claims**, by verdict: {said}."


def _counted(gathered: Gathered, verdicts: Iterable[str]) -> str:
    return f"{count(verdicts)} {gathered.left_out}".rstrip()


def render(gathered: Gathered) -> str:
    """The page as MyST Markdown, from what `wavemem.records.status.gather` found."""
    registry, found, texts, executed = gathered.registry, gathered.found, gathered.texts, gathered.executed
    # Entries that nothing was measured for have no place of their own in the report.
    shown = {e.id for e in registry.entries if e.kind not in PROOFS and any(found[e.id].measured.values())}
    verdicts, sections = [], []
    for paper in registry.papers:
        rows = []
        for claim in registry.claims_of(paper.key):
            evidence = findings(claim, registry, found)
            verdicts.append(verdict(claim, evidence, executed))
            sizes = "; ".join(size if n == "—" else f"{size}, n = {n}" for size, n in _size_and_n(claim, evidence))
            rows.append(
                [
                    f"{_words(claim)} ({cell(claim.place)})",
                    f"**{verdicts[-1]}**",
                    f"Ch. {_chapters(claim, texts, executed)}; {sizes}",
                    _why(claim, evidence, shown),
                ]
            )
        sections += (
            []
            if not rows
            else [
                f"## {paper.short}: what it claims",
                "",
                f"*{paper.title}* {{cite:p}}`{paper.citation}`.",
                "",
                ":::::{div} claims-table",
                table(["claim", "verdict", "tested", "why"], rows),
                ":::::",
                "",
            ]
        )
    return "\n".join([_INTRODUCTION.replace("{count}", _counted(gathered, verdicts)), *sections])


def _chapter_rows(gathered: Gathered, chapter: str) -> str:
    """The rows with which a chapter ends; empty if it tests no claim."""
    registry, found, executed = gathered.registry, gathered.found, gathered.executed
    short = {paper.key: paper.short for paper in registry.papers}
    rows = []
    for claim in registry.claims:
        if chapter not in (place.split("#")[0] for place in claim.where):
            continue
        evidence = findings(claim, registry, found)
        sizes = _size_and_n(claim, evidence)
        rows.append(
            [
                f"{short[claim.paper]}: {_words(claim)}",
                f"**{verdict(claim, evidence, executed)}**",
                "; ".join(n for _, n in sizes),
                "; ".join(size for size, _ in sizes),
            ]
        )
    if not rows:
        return ""
    return "\n".join(
        [
            "## The papers' claims",
            "",
            "What this chapter has to say about them, with what other chapters measured; why, and the numbers, on the "
            "{ref}`page of all claims <page-claims>`.",
            "",
            ":::::{div} claims-table claims-rows",
            table(["claim", "verdict", "n", "size"], rows),
            ":::::",
        ]
    )


def blocks(gathered: Gathered) -> dict[str, str]:
    """What other pages show: the rows of each chapter by its stem, and under "" a sentence that counts the verdicts."""
    registry, found, executed = gathered.registry, gathered.found, gathered.executed
    verdicts = [verdict(claim, findings(claim, registry, found), executed) for claim in registry.claims]
    return {"": _counted(gathered, verdicts)} | {stem: _chapter_rows(gathered, stem) for stem in gathered.texts}
