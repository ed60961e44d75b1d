"""The status of every entry of the registry, from what can be looked up: chapters, code, tests, measurements."""

from __future__ import annotations

import ast
import json
import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from wavemem.records.entries import Entry, Registry, load_registry
from wavemem.records.registry import judge
from wavemem.records.sizes import Size
from wavemem.records.store import project_root


@dataclass(frozen=True)
class Measurement:
    """Values for one quantity, as a chapter reported them.

    Args:
        entry: id of the registry's entry.
        quantity: its name.
        ours: one value per seed, NaN where undetermined.
        size: what it was measured on.
        note: what the chapter says about how it was measured.
    """

    entry: str
    quantity: str
    ours: tuple[float, ...]
    size: Size
    note: str = ""


@dataclass(frozen=True)
class Evidence:
    """What exists for an entry.

    Args:
        chapter: the chapter is part of the book that is being built.
        label: its reference target stands in the chapter.
        linkable: pages can refer to the target: a figure's exists only once its chapter has been executed.
        code: the code symbol can be imported.
        test: the test function exists.
        shown: the test function exists that shows what is false in it.
        measured: the measurements, by quantity.
    """

    chapter: bool = False
    label: bool = False
    linkable: bool = False
    code: bool = False
    test: bool = False
    shown: bool = False
    measured: Mapping[str, Sequence[Measurement]] = field(default_factory=dict)


def has_target(text: str, label: str) -> bool:
    """Whether a chapter's source holds the MyST target ``(label)=``, to which any page can refer."""
    return bool(label) and bool(re.search(rf"^\({re.escape(label)}\)=\s*$", text, re.MULTILINE))


def chapter_has_label(text: str, label: str) -> bool:
    """Whether a chapter's source defines what any page can refer to: a MyST target, or the name of a figure.

    The label of a theorem is none: it has a role of its own.
    """
    name = re.escape(label)
    field = rf"(?:\bname|:name):\s*[\"']?{name}[\"']?\s*(?:[,}}]|$)"
    return has_target(text, label) or (bool(label) and bool(re.search(field, text, re.MULTILINE)))


def symbol_exists(code: str) -> bool:
    """Whether "module:symbol" can be imported; the symbol may be dotted (a method)."""
    module, _, symbol = code.partition(":")
    if not module or not symbol:
        return False
    try:
        found: Any = import_module(module)
        for part in symbol.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError):
        return False
    return True


@cache
def _functions(path: Path, _stamp: int) -> frozenset[str]:
    names = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.ClassDef):
            names.update(f"{node.name}::{part.name}" for part in node.body if isinstance(part, ast.FunctionDef))
    return frozenset(names)


def test_exists(root: Path, test: str) -> bool:
    """Whether "path::function" (or "path::Class::method") is defined below the project."""
    name, _, function = test.partition("::")
    path = root / name
    return bool(function) and path.is_file() and function in _functions(path, path.stat().st_mtime_ns)


test_exists.__test__ = False  # type: ignore[attr-defined]  # pytest must not collect it


def measurements(results_dir: Path | None, without: Collection[str] = ()) -> list[Measurement]:
    """What the executed chapters reported: of their own live runs, and of the committed records that they read.

    Args:
        results_dir: the folder of the chapters' JSON files; None if no chapter was executed.
        without: chapters that do not count.

    Raises:
        ValueError: a results file is not what :func:`wavemem.records.registry.report` writes.
    """
    found = []
    for path in sorted(results_dir.glob("*.json")) if results_dir is not None and results_dir.is_dir() else []:
        if path.stem in without:
            continue
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            for row in content["results"]:
                ours = tuple(math.nan if v is None else float(v) for v in row["ours"])
                found.append(Measurement(row["entry"], row["quantity"], ours, Size.from_json(row["size"]), row["note"]))
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise ValueError(
                f"{path} is not a chapter's results ({error!r}); allowed: files written by report(). "
                "Execute the chapter again."
            ) from None
    return found


def evidence(
    registry: Registry,
    root: Path,
    chapters: Mapping[str, str],
    measured: Sequence[Measurement],
    executed: Collection[str] = (),
) -> dict[str, Evidence]:
    """What exists for each entry.

    Args:
        registry: all entries.
        root: the project's folder, below which tests are looked up.
        chapters: source text of each chapter that the book contains, by stem.
        measured: from :func:`measurements`.
        executed: chapters whose outputs are in the book.

    Returns:
        Evidence by entry id.
    """
    result = {}
    for entry in registry.entries:
        ours: dict[str, list[Measurement]] = {}
        for m in measured:
            # A results file may be older than the registry: what is no longer listed is not shown.
            if m.entry == entry.id and any(q.name == m.quantity for q in entry.quantities):
                ours.setdefault(m.quantity, []).append(m)
        text = chapters.get(entry.chapter, "")
        label = chapter_has_label(text, entry.label)
        result[entry.id] = Evidence(
            chapter=entry.chapter in chapters,
            label=label,
            linkable=has_target(text, entry.label) or (label and entry.chapter in executed),
            code=symbol_exists(entry.code),
            test=test_exists(root, entry.test),
            shown=test_exists(root, entry.shown_by or entry.test),
            measured=ours,
        )
    return result


@dataclass(frozen=True)
class Gathered:
    """What the generated pages are made from.

    Args:
        registry: all entries and claims.
        found: what exists for each entry.
        texts: source of each chapter of the book, by stem.
        executed: chapters whose outputs are in the book.
        left_out: a sentence about what an edition leaves out; empty if nothing.
    """

    registry: Registry
    found: Mapping[str, Evidence]
    texts: Mapping[str, str]
    executed: Collection[str]
    left_out: str = ""


def _without(
    registry: Registry, gone: Mapping[str, str], measured: Collection[tuple[str, str]]
) -> tuple[Registry, str]:
    """The registry of an edition, and a sentence about what it lacks.

    It keeps an entry that a chapter left out treats, or measures too, with the quantities that others measured, and the claims
    that are tested by what it keeps alone.
    """
    entries, less = [], set()
    for entry in registry.entries:
        treated = entry.chapter in gone
        touched = treated or any(re.search(rf"{re.escape(entry.id)}(?![\w.])", text) for text in gone.values())
        quantities = tuple(q for q in entry.quantities if (entry.id, q.name) in measured or not touched)
        if treated or quantities != entry.quantities:
            lacking = [q.name for q in entry.quantities if treated or q not in quantities]
            less |= {entry.id, *(f"{entry.id}#{name}" for name in lacking)}
        if quantities or not (entry.quantities or treated):
            entries.append(replace(entry, quantities=quantities))
    claims = [
        claim
        for claim in registry.claims
        if less.isdisjoint(claim.evidence) and not all(place.split("#")[0] in gone for place in claim.where)
    ]
    missing = len(registry.entries) - len(entries), len(registry.claims) - len(claims)
    said = "Left out, with the parts of the book that treat them: {} entries of the registry and {} claims."
    return replace(registry, entries=tuple(entries), claims=tuple(claims)), said.format(*missing)


def gather(results_dir: Path | None = None, records_dir: Path | None = None, without: Collection[str] = ()) -> Gathered:
    """Read the registry, the chapters and what they measured.

    Args:
        results_dir: folder of the chapters' JSON files (WAVEMEM_RESULTS_DIR while executing); None: none were executed.
        records_dir: folder of all records; None is the project's ``records/``.
        without: chapters that an edition leaves out.

    Raises:
        ValueError: the registry, a record or a results file cannot be read.
    """
    root = project_root()
    texts = {path.stem: path.read_text(encoding="utf-8") for path in sorted((root / "notebooks").glob("*.md"))}
    gone = {name: texts.pop(name) for name in without}
    measured = measurements(results_dir, without)
    registry, left_out = load_registry(records_dir), ""
    if gone:
        registry, left_out = _without(registry, gone, {(m.entry, m.quantity) for m in measured})
    executed = {path.stem for path in results_dir.glob("*.json")} - gone.keys() if results_dir else set()
    found = evidence(registry, root, texts, measured, executed)
    return Gathered(registry, found, texts, executed, left_out)


def deciding_measurement(found: Evidence, name: str) -> Measurement | None:
    """The measurement that a quantity's status rests on: at the paper's size before reduced ones, those before other data, and
    among equals a committed record before a live run; None if there is none."""
    order = {"reproduced": 0, "at reduced size": 1, "on other data": 2}
    ours = sorted(found.measured.get(name, ()), key=lambda m: (order[m.size.status], not m.size.records))
    return ours[0] if ours else None


def quantity_status(entry: Entry, name: str, found: Evidence) -> str:
    """Status of one quantity, from the measurement that decides."""
    ours = deciding_measurement(found, name)
    return "not attempted" if ours is None else judge(entry.quantity(name), ours.ours, ours.size)[0]


def is_mathematics(entry: Entry) -> bool:
    """Whether an entry is something derived, constructed or drawn, in contrast to something measured on trained networks."""
    if entry.quantities:
        return all(quantity.exact for quantity in entry.quantities)
    return entry.kind in ("equation", "theorem", "algorithm") or entry.illustration


def combined_status(statuses: set[str]) -> str:
    """The status of several quantities."""
    if len(statuses) == 1:
        return next(iter(statuses))
    if statuses <= {"reproduced", "at reduced size", "on other data"}:
        return "on other data" if "on other data" in statuses else "at reduced size"
    return "not reproduced" if statuses == {"not reproduced", "not attempted"} else "partly"


def entry_status(entry: Entry, found: Evidence) -> str:
    """Status of an entry.

    What the registry declares (`Entry.verdict`) stands if the chapter and the test that shows it exist. With quantities: that
    of all of them; where all came out, the weakest of their sizes; "partly" where they differ otherwise. Without: an
    equation, theorem or algorithm is reproduced when a chapter contains it and a test checks it, an illustration when a
    chapter draws it; a figure or table without anything measured is at most "partly".
    """
    if entry.verdict == "text not available":
        return entry.verdict
    if entry.verdict:
        return entry.verdict if found.chapter and found.label and found.shown else "partly"
    if entry.quantities:
        return combined_status({quantity_status(entry, q.name, found) for q in entry.quantities})
    if not entry.chapter or not found.chapter:
        return "not attempted"
    if entry.kind in ("equation", "theorem", "algorithm"):
        return "reproduced" if found.label and found.test and found.code else "partly"
    return "reproduced" if found.label and entry.illustration else "partly"
