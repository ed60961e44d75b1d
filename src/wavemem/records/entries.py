"""The registry's entries: every equation, figure and table of the three papers, read from ``records/registry/*.toml``.

One file per paper, one ``[[entry]]`` per numbered thing, one ``[[entry.quantity]]`` per number or property in it that
can be measured. The fields are explained in ``records/README.md``.
"""

from __future__ import annotations

import math
import re
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from wavemem.checks import nearest
from wavemem.records.store import records_root

STATUSES = (
    "reproduced",
    "partly",
    "at reduced size",
    "on other data",
    "corrected",
    "refuted",
    "not reproduced",
    "not attempted",
    "text not available",
)
"""What can be said of an entry, in the order in which the report counts them."""

DECLARED = ("corrected", "refuted", "text not available")
"""Statuses that an entry of the registry names itself: they are shown by a test, or are no statement about a result."""

KINDS = {
    "equation": "Eq.",
    "theorem": "Theorem",
    "algorithm": "Algorithm",
    "figure": "Fig.",
    "table": "Table",
    "claim": "Claim",
}

SETTLED = ("holds", "corrected", "refuted", "contradicted by the paper's own numbers")
"""Verdicts on claims that need no measurement."""

_T = TypeVar("_T")
_ID = re.compile(r"[a-z]+:[a-z0-9.-]+")


def number(value: float, digits: int = 6) -> str:
    """A number for reading: significant digits, a true minus sign, no trailing zeros."""
    return f"{value:.{digits}g}".replace("-", "−")


@dataclass(frozen=True)
class Quantity:
    """Something in an entry that is measured, and the criterion that says whether it came out.

    Args:
        name: what it is, unique in its entry.
        unit: its unit, empty if it has none.
        paper: the paper's number, if it gives one.
        paper_text: what the paper says where it gives no number.
        at_least, at_most: bounds on ours.
        within: largest distance from ``paper``.
        within_factor: largest ratio to ``paper``, either way.
        of: "seeds" tests every seed, "mean" their mean.
        share: share of the seeds that must pass where ``of`` is "seeds".
        exact: it is mathematics carried out; nothing is trained.
        depends: names or patterns of the only fields of the experiment's configuration that count when its size is compared with
            the paper's; those that start with "!" are taken out. Empty: all fields count that choose no part.
        why: why these bounds.
        fixed: when the criterion was fixed, relative to the run that it judges.
        trivial: what the trivial predictor scores: it must fail the criterion. NaN where it leaves the value undetermined.
        trivial_by: which predictor that is.
    """

    name: str
    unit: str = ""
    paper: float | None = None
    paper_text: str = ""
    at_least: float | None = None
    at_most: float | None = None
    within: float | None = None
    within_factor: float | None = None
    of: str = "seeds"
    share: float = 1.0
    exact: bool = False
    depends: tuple[str, ...] = ()
    why: str = ""
    fixed: str = ""
    trivial: float | None = None
    trivial_by: str = ""

    def criterion(self) -> str:
        """The criterion in words, e.g. "every seed: ≤ 0.001 rad"."""
        unit = f" {self.unit}" if self.unit else ""
        parts = []
        if self.at_least is not None and self.at_most is not None:
            low, high = number(self.at_least), number(self.at_most)
            parts.append(f"{low}{unit}" if low == high else f"{low} to {high}{unit}")
        elif self.at_least is not None:
            parts.append(f"≥ {number(self.at_least)}{unit}")
        elif self.at_most is not None:
            parts.append(f"≤ {number(self.at_most)}{unit}")
        if self.within is not None:
            parts.append(f"within {number(self.within)}{unit} of the paper")
        if self.within_factor is not None:
            parts.append(f"within a factor {self.within_factor:g} of the paper")
        who = "mean" if self.of == "mean" else "every seed" if self.share == 1 else f"{self.share:.0%} of seeds"
        return f"{who}: {', '.join(parts)}"

    def paper_value(self) -> str:
        """The paper's number with its unit, or its words."""
        if self.paper is None:
            return self.paper_text
        return f"{number(self.paper)}{f' {self.unit}' if self.unit else ''}"

    def holds(self, value: float) -> bool:
        """Whether one value meets the bounds; NaN (undetermined) does not."""
        checks = [not math.isnan(value)]
        if self.at_least is not None:
            checks.append(value >= self.at_least)
        if self.at_most is not None:
            checks.append(value <= self.at_most)
        if self.paper is not None and self.within is not None:
            # A value typed with the paper's own digits must not fail by rounding.
            checks.append(abs(value - self.paper) <= self.within * (1 + 1e-9))
        if self.paper is not None and self.within_factor is not None:
            low, high = sorted((self.paper / self.within_factor, self.paper * self.within_factor))
            checks.append(low <= value <= high)
        return all(checks)


@dataclass(frozen=True)
class Entry:
    """A numbered equation, figure or table of a paper and where the book treats it.

    Args:
        id: e.g. "twm:eq6".
        kind: one of :data:`KINDS`.
        title: what it is, in our words.
        chapter: stem of the notebook that treats it; empty if none does yet.
        label: its reference target in that chapter.
        code: "module:symbol" in wavemem.
        test: "path::function" below the project.
        experiment: name in `wavemem.experiments`; empty if none is needed.
        note: what a reader should know about the comparison.
        illustration: a drawing without data, reproduced when it is drawn.
        verdict: "corrected" (false as printed, derived right), "refuted" (shown to be false) or "text not available". Empty: the
            status is computed.
        shown_by: "path::function" of the test that shows what is false in it, where that is not ``test``.
        fixed, trivial_by: what the quantities say that do not say it themselves.
        empty: the paper prints the number with nothing beside it, so there is nothing to reproduce.
        quantities: what is measured.
    """

    id: str
    kind: str
    title: str
    chapter: str = ""
    label: str = ""
    code: str = ""
    test: str = ""
    experiment: str = ""
    note: str = ""
    illustration: bool = False
    verdict: str = ""
    shown_by: str = ""
    fixed: str = ""
    trivial_by: str = ""
    empty: bool = False
    quantities: tuple[Quantity, ...] = ()

    @property
    def paper(self) -> str:
        """Short name of the paper: the part of the id before the colon."""
        return self.id.split(":")[0]

    @property
    def name(self) -> str:
        """How the paper calls it: "Eq. 6", "Theorem 3.1", "Table 1"; unnumbered ones by the name in their id."""
        if self.kind == "claim":
            return "Claim"
        tail = self.id.split(":")[1]
        number = tail.lstrip("abcdefghijklmnopqrstuvwxyz").lstrip(".")
        return f"{KINDS[self.kind]} {number or tail.split('.')[-1]}"

    @property
    def target(self) -> str:
        """Its reference target in the reproduction report."""
        return f"report-{self.id.replace(':', '-').replace('.', '-')}"

    def quantity(self, name: str) -> Quantity:
        """The quantity of that name.

        Raises:
            ValueError: there is none; the message lists the nearest.
        """
        names = [q.name for q in self.quantities]
        if name not in names:
            raise ValueError(
                f"{self.id} has no quantity {name!r}; allowed: {'; '.join(names) or '(none)'}. "
                f"{nearest(name, names)} Quantities are added in records/registry/{self.paper}.toml."
            )
        return self.quantities[names.index(name)]


@dataclass(frozen=True)
class Paper:
    """One of the three papers.

    Args:
        key: prefix of its entries' ids.
        title: its title.
        short: how the book calls it.
        citation: key in book/references.bib.
        note: which parts of it the registry lists, where that needs saying.
        order: place among the papers.
    """

    key: str
    title: str
    short: str
    citation: str
    note: str = ""
    order: int = 0


@dataclass(frozen=True)
class Claim:
    """Something that a paper says, in its own words, and what the book brings for or against it.

    Args:
        id: e.g. "twm:any-history".
        words: the paper's words, "…" where some are left out.
        place: where it says them.
        where: the chapters that test it: "stem" or "stem#label".
        why: one sentence of ours on what decides; it holds whatever is measured, and names no measured number.
        evidence: what the verdict is computed from: ids of entries, or "id#quantity".
        settled: one of :data:`SETTLED`, where a proof or the paper's own numbers decide; rests on ``test``.
        test: "path::function" that shows it.
    """

    id: str
    words: str
    place: str
    where: tuple[str, ...]
    why: str
    evidence: tuple[str, ...] = ()
    settled: str = ""
    test: str = ""

    @property
    def paper(self) -> str:
        """Short name of the paper: the part of the id before the colon."""
        return self.id.split(":")[0]


@dataclass(frozen=True)
class Registry:
    """All entries and claims of all papers."""

    papers: tuple[Paper, ...]
    entries: tuple[Entry, ...]
    claims: tuple[Claim, ...] = ()

    def entry(self, entry_id: str) -> Entry:
        """The entry with that id.

        Raises:
            ValueError: there is none; the message lists the nearest.
        """
        for entry in self.entries:
            if entry.id == entry_id:
                return entry
        ids = [entry.id for entry in self.entries]
        raise ValueError(
            f"registry entry {entry_id!r} does not exist; allowed: the ids in records/registry/*.toml. "
            f"{nearest(entry_id, ids)}"
        )

    def of_paper(self, key: str) -> list[Entry]:
        """The entries of one paper, in the file's order."""
        return [entry for entry in self.entries if entry.paper == key]

    def claims_of(self, key: str) -> list[Claim]:
        """The claims of one paper, in the file's order."""
        return [claim for claim in self.claims if claim.paper == key]


def _build(kind: type[_T], table: dict[str, Any], where: str) -> _T:
    try:
        return kind(**table)
    except TypeError as error:
        raise ValueError(f"{where}: {error}; allowed: the fields of {kind.__name__}. See records/README.md.") from None


def _quantity(table: dict[str, Any], where: str) -> Quantity:
    quantity = _build(Quantity, {**table, "depends": tuple(table.get("depends", ()))}, where)
    bounds = (quantity.at_least, quantity.at_most, quantity.within, quantity.within_factor)
    if all(bound is None for bound in bounds):
        raise ValueError(
            f"{where}: quantity {quantity.name!r} has no criterion; allowed: at_least, at_most, within or "
            "within_factor. A status is computed, so there must be something to compute it from."
        )
    if quantity.paper is None and (quantity.within is not None or quantity.within_factor is not None):
        raise ValueError(
            f"{where}: quantity {quantity.name!r} is compared with a paper value that is not given; "
            "allowed: `within` and `within_factor` beside `paper`. Use at_least or at_most."
        )
    if quantity.of not in ("seeds", "mean") or not 0 < quantity.share <= 1:
        raise ValueError(
            f"{where}: quantity {quantity.name!r} has of={quantity.of!r}, share={quantity.share}; "
            "allowed: of seeds|mean, 0 < share <= 1. Change it."
        )
    if quantity.trivial is not None and quantity.holds(quantity.trivial):
        raise ValueError(
            f"{where}: the criterion of {quantity.name!r} is met by the trivial predictor ({quantity.trivial_by or 'unnamed'}: "
            f"{number(quantity.trivial)}); allowed: a criterion that it fails. Change the bounds or the quantity."
        )
    return quantity


def _claim(table: dict[str, Any], where: str) -> Claim:
    lists: dict[str, Any] = {name: tuple(table[name]) for name in ("where", "evidence") if name in table}
    claim = _build(Claim, {**table, **lists}, where)
    if not _ID.fullmatch(claim.id) or claim.settled not in ("", *SETTLED) or bool(claim.settled) != bool(claim.test):
        raise ValueError(
            f"{where}: id {claim.id!r}, settled {claim.settled!r}, test {claim.test!r}; allowed: ids 'paper:…', settled "
            f"{', '.join(SETTLED)}, each with the test that shows it. Leave both out and the verdict is computed."
        )
    return claim


def _read(path: Path) -> tuple[list[Paper], list[Entry], list[Claim]]:
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path} is not TOML ({error}); allowed: see records/README.md. Correct the line.") from None
    claims = [_claim(table, f"{path.name} {table.get('id', '(no id)')}") for table in content.get("claim", [])]
    papers = [_build(Paper, content["paper"], f"{path.name} [paper]")] if "paper" in content else []
    entries = []
    for table in content.get("entry", []):
        where = f"{path.name} {table.get('id', '(no id)')}"
        own = {name: table[name] for name in ("fixed", "trivial_by") if name in table}
        quantities = tuple(_quantity({**own, **q}, where) for q in table.pop("quantity", []))
        entry = _build(Entry, {**table, "quantities": quantities}, where)
        keys = [paper.key for paper in papers]
        if not _ID.fullmatch(entry.id) or entry.paper not in keys or entry.kind not in KINDS:
            raise ValueError(
                f"{where}: id {entry.id!r}, kind {entry.kind!r}; allowed: ids that start with the key of the file's paper, "
                f"{keys}, and kinds {', '.join(KINDS)}. Change it."
            )
        unproved = entry.verdict in ("corrected", "refuted") and not (entry.shown_by or entry.test)
        if entry.verdict not in ("", *DECLARED) or unproved:
            raise ValueError(
                f"{where}: verdict {entry.verdict!r}, test {entry.test!r}; allowed: {', '.join(DECLARED)}, the first "
                "two with the test that shows it. Leave it out and the status is computed."
            )
        names = [q.name for q in quantities]
        if len(set(names)) != len(names):
            raise ValueError(f"{where}: quantities {names}; allowed: each name once. Rename one.")
        entries.append(entry)
    return papers, entries, claims


@cache
def _load(files: tuple[Path, ...], _stamps: tuple[int, ...]) -> Registry:
    read = [([], [], []), *map(_read, files)]  # there may be no file
    papers, entries, claims = ([one for part in parts for one in part] for parts in zip(*read, strict=True))
    ids = [entry.id for entry in entries] + [claim.id for claim in claims]
    twice = sorted({i for i in ids if ids.count(i) > 1})
    if twice:
        raise ValueError(f"registry ids {', '.join(twice)} occur twice; allowed: each id once. Rename one.")
    return Registry(tuple(sorted(papers, key=lambda p: p.order)), tuple(entries), tuple(claims))


def load_registry(root: Path | str | None = None) -> Registry:
    """Read the registry.

    Args:
        root: folder of all records; None is the project's ``records/``.

    Raises:
        ValueError: a file is not TOML, has unknown or missing fields, or an id twice.
    """
    files = tuple(sorted((records_root(root) / "registry").glob("*.toml")))
    return _load(files, tuple(path.stat().st_mtime_ns for path in files))
