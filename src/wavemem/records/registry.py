"""The comparison with the papers: a measured number beside the paper's, with a status that is computed.

A chapter calls :func:`report` where it has measured something that the registry lists. The call says in a line how many criteria
are met and, while the book is being built, notes the numbers for the reproduction report. What was measured is handed over as a
configuration or a record, and whether that is the paper's size is computed from it (`wavemem.records.sizes`).
"""

from __future__ import annotations

import hashlib
import html
import json
import math
import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from wavemem.records.entries import Entry, Quantity, load_registry, number
from wavemem.records.sizes import Size, size_of


@dataclass(frozen=True)
class Verdict:
    """One quantity measured and judged.

    Args:
        entry: id of the registry's entry.
        quantity: its name.
        ours: one value per seed; NaN where it could not be determined.
        size: what it was measured on.
        status: one of :data:`STATUSES`.
        passed: how many seeds meet the criterion.
        paper: the paper's number or words.
        note: what the chapter says about how it was measured.
    """

    entry: str
    quantity: str
    ours: tuple[float, ...]
    size: Size
    status: str
    passed: int
    paper: str
    note: str = ""

    def say(self, form: str) -> Said:
        """A number or word of this verdict for a sentence: ``glue("agree", verdict.say("{passed} of {n}"))``.

        Args:
            form: a format string over ``status``, ``passed``, ``n``, ``mean``, ``low``, ``high`` and ``paper``; the
                numbers may have a format, e.g. "{mean:.2f}". Undetermined seeds count in ``n`` and in nothing else.

        Raises:
            ValueError: the form names something else, or asks for a number where every seed is undetermined.
        """
        return Said(phrase(form, self.status, self.passed, self.ours, self.paper), self.entry, self.quantity, form)


@dataclass(frozen=True)
class Said:
    """What :meth:`Verdict.say` returns: a text that takes along, when it is glued, which verdict it is of.

    The tests of the built book follow it back: a sentence must say what the chapter's results say.
    """

    text: str
    entry: str
    quantity: str
    form: str

    def __str__(self) -> str:
        return self.text

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, str], dict[str, dict[str, str]]]:
        source = {"entry": self.entry, "quantity": self.quantity, "form": self.form}
        return {"text/plain": self.text}, {"wavemem": source}


def phrase(form: str, status: str, passed: int, ours: Sequence[float], paper: str = "") -> str:
    """Fill in a form of :meth:`Verdict.say`."""
    known = [v for v in ours if not math.isnan(v)]
    parts: dict[str, Any] = {"status": status, "passed": passed, "n": len(ours), "paper": paper}
    if known:
        parts |= {"mean": float(np.mean(known)), "low": min(known), "high": max(known)}
    try:
        return re.sub(r"-(?=\d)", "−", form.format(**parts))
    except (KeyError, IndexError, ValueError) as error:
        raise ValueError(
            f"form {form!r} cannot be filled in ({error}); allowed: {', '.join(f'{{{p}}}' for p in parts)}, numbers "
            "with a format such as {mean:.2f}. Name one of these."
        ) from None


def summary(values: Sequence[float]) -> str:
    """Mean ± sample standard deviation (n); undetermined values are counted, not averaged."""
    known = [v for v in values if not math.isnan(v)]
    n = len(values)
    missing = f", {n - len(known)} undetermined" if len(known) < n else ""
    if not known:
        return f"— (n = {n}, all undetermined)"
    mean = float(np.mean(known))
    if len(known) == 1:
        return f"{number(mean, 4)} (n = {n}{missing})"
    return f"{number(mean, 4)} ± {number(float(np.std(known, ddof=1)), 2)} (n = {n}{missing})"


def judge(quantity: Quantity, values: Sequence[float], size: Size) -> tuple[str, int]:
    """Status of a measurement and the number of seeds that meet the criterion.

    When the criterion holds (in the mean if it is about the mean and every seed is determined, otherwise in the required
    share of the seeds), the status follows from the size: "reproduced", "at reduced size" or "on other data". "partly"
    when it fails but some seed meets it, "not reproduced" when none does.
    """
    passed = sum(quantity.holds(value) for value in values)
    of_mean = quantity.of == "mean"
    met = quantity.holds(float(np.mean(values))) if of_mean else passed >= quantity.share * len(values) - 1e-9
    return (size.status if met else "partly" if passed else "not reproduced"), passed


def _values(ours: Any, name: str) -> tuple[float, ...]:
    """One float per seed from a number, list, array or tensor."""
    if hasattr(ours, "detach"):
        ours = ours.detach().cpu().numpy()
    try:
        array = np.asarray([[]] if ours is None else ours, dtype=float)
    except (TypeError, ValueError):
        raise ValueError(
            f"ours for {name!r} is {ours!r}; allowed: a number, or one number per seed. "
            "Pass plain numbers, NaN where a seed has none."
        ) from None
    if array.ndim > 1 or array.size == 0:
        raise ValueError(
            f"ours for {name!r} has shape {array.shape}; allowed: one number per seed, at least one. "
            "Reduce it to one value per seed."
        )
    if np.isinf(array).any():
        raise ValueError(
            f"ours for {name!r} holds an infinite value; allowed: finite numbers, NaN where a seed has none. "
            "Give NaN for a run that diverged and say so in the note."
        )
    return tuple(float(v) for v in array.reshape(-1))


def verdicts(
    entry_id: str,
    quantity: str | None = None,
    ours: Any = None,
    *,
    quantities: Mapping[str, Any] | None = None,
    measured: Any,
    note: str = "",
) -> list[Verdict]:
    """What :func:`report` shows, as objects; same arguments and errors."""
    entry = load_registry().entry(entry_id)
    if (quantity is None) == (quantities is None):
        raise ValueError(
            "report needs one quantity with ours=…, or quantities={name: values}; allowed: exactly one of "
            f"them. {entry_id} has: {'; '.join(q.name for q in entry.quantities) or '(none)'}."
        )
    given: Mapping[str, Any] = quantities if quantities is not None else {str(quantity): ours}
    result = []
    for name, found in given.items():
        wanted = entry.quantity(name)
        values = _values(found, name)
        size = size_of(measured.get(name) if isinstance(measured, Mapping) else measured, wanted.depends)
        if size.exact != wanted.exact:
            raise ValueError(
                f"{entry_id}, {name!r}: measured = {size.words()}, exact = {str(wanted.exact).lower()} in the registry; allowed: "
                "EXACT for what is marked `exact = true`, a configuration or record for all else. Change one of them."
            )
        status, passed = judge(wanted, values, size)
        result.append(
            Verdict(
                entry_id,
                name,
                values,
                size,
                status,
                passed,
                wanted.paper_value(),
                note,
            )
        )
    return result


@dataclass(frozen=True)
class Report:
    """What a chapter shows of its verdicts on an entry: one line, which leads to the numbers in the report."""

    entry: Entry
    verdicts: tuple[Verdict, ...]

    def __str__(self) -> str:
        missed = [v for v in self.verdicts if v.status in ("partly", "not reproduced")]
        sizes = ", ".join(dict.fromkeys(v.size.words() for v in self.verdicts))
        text = f"{len(self.verdicts) - len(missed)} of {len(self.verdicts)} criteria met ({sizes})"
        if missed:
            words = (f"{v.quantity} ({v.passed} of {len(v.ours)})" if v.passed else v.quantity for v in missed)
            text += f"; not met: {'; '.join(words)}"
        return f"{self.entry.name}, {self.entry.title}: {text}"

    __repr__ = __str__

    def _repr_html_(self) -> str:
        link = f'<a href="../pages/reproduction.html#{self.entry.target}">{html.escape(self.entry.name)}</a>'
        return f'<p class="wavemem-report">{link}{html.escape(str(self).removeprefix(self.entry.name))}.</p>'


_started: set[Path] = set()  # results files begun by this process: a fresh execution starts a fresh file


def _note_down(found: Iterable[Verdict]) -> None:
    """Append to the chapter's results file, if the book is being built; a repeated quantity replaces the earlier one."""
    folder, chapter = os.environ.get("WAVEMEM_RESULTS_DIR"), os.environ.get("WAVEMEM_CHAPTER")
    if not folder:
        return
    if not chapter:
        raise ValueError(
            "WAVEMEM_RESULTS_DIR is set but WAVEMEM_CHAPTER is not; allowed: both or none. "
            "Set WAVEMEM_CHAPTER to the notebook's stem."
        )
    path = Path(folder) / f"{chapter}.json"
    old = json.loads(path.read_text(encoding="utf-8"))["results"] if path in _started and path.is_file() else []
    _started.add(path)
    fresh = [asdict(v) for v in found]
    # Through JSON and back: tuples become lists, as in the rows that are read.
    fresh = json.loads(json.dumps(fresh))
    kept = [r for r in old if not any(all(r[k] == f[k] for k in ("entry", "quantity", "size")) for f in fresh)]
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    # NaN is written as null: JSON has no NaN, and other programs read this file too.
    for row in fresh:
        row["ours"] = [None if math.isnan(v) else v for v in row["ours"]]
    draft.write_text(
        json.dumps({"chapter": chapter, "results": kept + fresh}, indent=1, ensure_ascii=False) + "\n",
        encoding="utf-8",
    )
    draft.replace(path)


def report(
    entry_id: str,
    quantity: str | None = None,
    ours: Any = None,
    *,
    quantities: Mapping[str, Any] | None = None,
    measured: Any,
    note: str = "",
) -> None:
    """Judge what was measured by the registry's criteria, note it down for the report, and say in a line what came of it.

    Args:
        entry_id: an id of the registry, e.g. "twm:fig5".
        quantity: name of one of its quantities.
        ours: the measured values, one per seed (number, sequence, array or tensor); NaN where undetermined.
        quantities: instead of ``quantity`` and ``ours``: several at once, as a mapping of names to values.
        measured: what the values come from: the configuration of a live run, a record, a list of these, or :data:`EXACT` for
            what the registry marks as exact; a mapping gives each quantity its own.
        note: one sentence on how it was measured, for the report.

    Raises:
        ValueError: unknown id or quantity, values that are not one number per seed, or something measured that is no
            configuration and no record.
    """
    found = verdicts(entry_id, quantity, ours, quantities=quantities, measured=measured, note=note)
    _note_down(found)
    line = Report(load_registry().entry(entry_id), tuple(found))
    ipython = sys.modules.get("IPython")
    if ipython is not None and ipython.get_ipython() is not None:
        from IPython.display import display

        display(line)
    else:
        print(line)


def fingerprint(text: str, root: Path | str | None = None) -> str:
    """Hash of what :func:`report` reads from the registry for the entries that a chapter names.

    A change in it makes the lines that the chapter shows stale; a change of another entry, or of a link, does not.

    Args:
        text: the chapter's source.
        root: folder of all records; None is the project's ``records/``.
    """
    named = [e for e in load_registry(root).entries if f'"{e.id}"' in text or f"'{e.id}'" in text]
    unread = ("why", "fixed", "trivial", "trivial_by")
    read = [
        (e.id, e.title, [{k: v for k, v in asdict(q).items() if k not in unread} for q in e.quantities]) for e in named
    ]
    return hashlib.sha256(json.dumps(read, sort_keys=True).encode()).hexdigest()[:16]
