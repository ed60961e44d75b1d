"""The reproduction report: a page of the book that is generated from the registry and from what was measured."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from wavemem.records.entries import STATUSES, Entry, Paper, Quantity, Registry, number
from wavemem.records.registry import summary
from wavemem.records.sizes import Size
from wavemem.records.status import (
    Evidence,
    Gathered,
    deciding_measurement,
    entry_status,
    is_mathematics,
    quantity_status,
)

PROOFS = ("equation", "theorem", "algorithm")

_INTRODUCTION = """\
(page-reproduction)=
# Reproduction report

This page is generated at every build from the registry of everything that the three papers number (`records/registry/`)
and from what the chapters measured when they were executed, on live runs and on the committed records of larger ones. No
number and no status on it is typed.

How a status comes about
: **reproduced**: an equation is derived in a chapter and checked by a test; a measured quantity meets its criterion at the
  paper's size: every setting that it depends on equals the paper's.
: **partly**: some seeds meet the criterion and others do not, or only some of an entry's quantities came out.
: **at reduced size**: the criterion holds, and something is smaller or shorter than in the paper; what, is said.
: **on other data**: the criterion holds on images or strings that stand in the place of the paper's.
: **corrected**: false as printed; the right form is derived and a test checks it, on the errata page.
: **refuted**: a test shows that it is false.
: **not reproduced**: it was measured and no seed meets the criterion, or the mean misses it.
: **not attempted**: nothing in the book treats it yet.
: **text not available**: we know its number and not what it shows.

*Mathematics* is what is derived, constructed or drawn, *measurements* what trained networks were asked. *Ours* is the
mean ± standard deviation over n seeds, with the size it was measured at; of several, the one at the paper's size decides,
and a committed record before a live run. A criterion stands beside each number, with when it was fixed and what the
trivial predictor scores, which has to fail it; the reason for it is in the registry. Tests that a status relies on are
run by `make test`; a book whose tests fail is not published.
"""


def cell(text: str) -> str:
    """Text as it may stand in a cell of a table."""
    return text.replace("|", "\\|").replace("\n", " ").replace("$", "\\$")


def plain(text: object) -> str:
    """Text that a machine or a run gave, so that it shows as it is wherever a line of Markdown may stand."""
    return re.sub(r"([\\`*_{}\[\]<>#|$~&!])", r"\\\1", " ".join(str(text).split()))


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table whose columns are aligned to the left."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def _link(entry: Entry, found: Evidence) -> str:
    return f"{{ref}}`{entry.name} <{entry.label}>`" if found.linkable else entry.name


def _code(entry: Entry) -> str:
    module, _, symbol = entry.code.partition(":")
    short = f"{module.rsplit('.', 1)[-1]}.{symbol}"
    return f"{{py:obj}}`{short} <{module}.{symbol}>`" if symbol else ""


def _test(entry: Entry) -> str:
    return f"`{entry.test.split('::', 1)[1]}`" if "::" in entry.test else ""


def _shown(entry: Entry, found: Evidence) -> str:
    """Which test shows what is false in it."""
    name = (entry.shown_by or entry.test).rpartition("::")[2]
    return f"false as printed by `{name}`" if entry.verdict in ("corrected", "refuted") and found.shown else ""


def _sizes(entry: Entry, found: Evidence) -> dict[Size, str]:
    """The sizes that an entry was measured at and their names; where several are reduced, with a number each."""
    sizes = dict.fromkeys(m.size for q in entry.quantities for m in found.measured.get(q.name, ()))
    several = Counter(size.words() for size in sizes)
    named: dict[Size, str] = {}
    for size in sizes:
        word = size.words()
        if several[word] > 1:
            word += f" ({1 + sum(name.startswith(word) for name in named.values())})"
        named[size] = word
    return named


def _ours(name: str, unit: str, found: Evidence, sizes: Mapping[Size, str]) -> str:
    """Every measurement of a quantity, the one that decides first."""
    first = deciding_measurement(found, name)
    return "<br>".join(
        f"{summary(m.ours)}{f' {unit}' if unit else ''}, {sizes[m.size]}"
        for m in sorted(found.measured[name], key=lambda m: m is not first)
    )


def _criterion(quantity: Quantity) -> str:
    parts = [quantity.criterion()]
    if quantity.trivial is not None:
        parts.append(
            f"{quantity.trivial_by}: {'undetermined' if math.isnan(quantity.trivial) else number(quantity.trivial)}"
        )
    if quantity.fixed:
        parts.append(f"fixed {quantity.fixed}")
    return cell("; ".join(parts))


def _counts(registry: Registry, statuses: Mapping[str, str]) -> str:
    """How many entries of each paper have which status, of what is mathematics and of what was measured."""
    parts = []
    counted = [e for e in registry.entries if not e.empty]
    for mathematics, kind in ((True, "mathematics"), (False, "measurements")):
        own = [e for e in counted if is_mathematics(e) is mathematics]
        columns = [[statuses[e.id] for e in own if e.paper == paper.key] for paper in registry.papers]
        columns.append([statuses[e.id] for e in own])
        rows = [[status, *(str(of.count(status)) for of in columns)] for status in STATUSES if status in columns[-1]]
        rows.append(["**entries**", *(f"**{len(of)}**" for of in columns)])
        parts.append(table([kind, *(paper.short for paper in registry.papers), "together"], rows))
    return "\n".join(parts)


def _measured_entry(entry: Entry, found: Evidence, status: str) -> str:
    where = []
    if found.code:
        where.append(f"Code: {_code(entry)}")
    if found.test:
        where.append(f"Test: {_test(entry)}")
    if _shown(entry, found):
        where.append(_shown(entry, found).capitalize())
    if entry.experiment:
        where.append(f"Experiment: `{entry.experiment}`")
    lines = [
        f"({entry.target})=",
        f"### {entry.name}: {cell(entry.title)}",
        "",
        f"Status: **{status}**. In the book: {_link(entry, found)}.",
    ]
    lines += ["", " · ".join(where)] if where else []
    lines += ["", cell(entry.note)] if entry.note else []
    done = [q for q in entry.quantities if found.measured.get(q.name)]
    rest = [q for q in entry.quantities if not found.measured.get(q.name)]
    sizes = _sizes(entry, found)
    if done:
        rows = [
            [
                cell(q.name),
                cell(q.paper_value()) or "—",
                cell(_ours(q.name, q.unit, found, sizes)),
                _criterion(q),
                f"**{quantity_status(entry, q.name, found)}**",
            ]
            for q in done
        ]
        lines += ["", table(["quantity", "paper", "ours", "criterion", "status"], rows)]
        notes = dict.fromkeys(m.note for q in done for m in found.measured[q.name] if m.note)
        lines += [f"- {plain(note)}" for note in notes]
        lines += [
            f"- {name}"
            + (
                f", {'records' if len(size.records) > 1 else 'record'} {', '.join(size.records)}"
                if size.records
                else ""
            )
            + (f": {cell(size.details())}" if size.details() else "")
            for size, name in sizes.items()
            if size.details() or size.records
        ]
    if rest:
        rows = [[cell(q.name), cell(q.paper_value()) or "—", _criterion(q)] for q in rest]
        lines += [
            "",
            f":::{{dropdown}} Not attempted yet: {len(rest)} of {len(entry.quantities)}",
            "",
            table(["quantity", "paper", "criterion"], rows),
            ":::",
        ]
    return "\n".join(lines) + "\n"


def _note(entry: Entry) -> str:
    return f" *{cell(entry.note)}*" if entry.note else ""


def _proof_item(entry: Entry, found: Evidence, status: str) -> str:
    """One equation as an item of a list, which a narrow screen can wrap."""
    parts = [f"- {_link(entry, found)}, **{status}**: {cell(entry.title)}."]
    links = [f"Code {_code(entry)}"] if found.code else []
    links += [f"checked by {_test(entry)}"] if found.test else []
    links += [_shown(entry, found)] if _shown(entry, found) else []
    if links:
        sentence = ", ".join(links)
        parts.append(f"{sentence[0].upper()}{sentence[1:]}.")
    return " ".join(parts) + _note(entry)


def _paper_section(paper: Paper, registry: Registry, found: Mapping[str, Evidence], statuses: Mapping[str, str]) -> str:
    entries = [e for e in registry.of_paper(paper.key) if not e.empty]
    empty = [e for e in registry.of_paper(paper.key) if e.empty]
    parts = [
        f"## {paper.short}",
        "",
        f"*{paper.title}* {{cite:p}}`{paper.citation}`. {paper.note}".rstrip(),
        "",
    ]
    untreated = ("not attempted", "text not available")
    treated = [e for e in entries if statuses[e.id] not in untreated]
    proofs = [e for e in treated if e.kind in PROOFS and not found[e.id].measured]
    if proofs:
        parts += [f"### {paper.short}: equations, theorems and algorithms", ""]
        parts += [*(_proof_item(e, found[e.id], statuses[e.id]) for e in proofs), ""]
    parts += [_measured_entry(e, found[e.id], statuses[e.id]) for e in treated if e not in proofs]
    for status in untreated:
        rest = [e for e in entries if statuses[e.id] == status]
        if rest:
            parts += [f"### {paper.short}: {status}", ""]
            parts += [*(f"- {e.name}: {cell(e.title)}.{_note(e)}" for e in rest), ""]
    if empty:
        names = ", ".join(f"{e.name} ({cell(e.note)})" for e in empty)
        parts += [f"Numbers that the paper prints without content, not counted: {names}", ""]
    return "\n".join(parts)


def render(gathered: Gathered) -> str:
    """The page as MyST Markdown, from what `wavemem.records.status.gather` found."""
    registry, found = gathered.registry, gathered.found
    statuses = {e.id: entry_status(e, found[e.id]) for e in registry.entries if not e.empty}
    sections = [
        _paper_section(paper, registry, found, statuses) for paper in registry.papers if registry.of_paper(paper.key)
    ]
    left_out = [gathered.left_out, ""] if gathered.left_out else []
    return "\n".join([_INTRODUCTION, "## Summary", "", *left_out, _counts(registry, statuses), *sections])
