"""A chapter's summary says what its results say: no number and no verdict in it is typed.

Refused in a summary, outside mathematics, roles and code: decimals, percentages, powers of ten, whole numbers of two digits and
more, shares ("seven of eight", glued or not), and the words of a verdict. Single digits, years, lengths of sequences (in steps,
blanks or letters: they are chosen) and the numbers of equations, figures and the like may stand. A share or a verdict is one text
that `Verdict.say` made; when the chapter has been executed it is compared with the chapter's results.
"""

from __future__ import annotations

import ast
import dataclasses
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from wavemem.building.chapters import code_cells
from wavemem.building.layout import Layout
from wavemem.building.stage import SUMMARY
from wavemem.records.entries import load_registry
from wavemem.records.registry import Said, judge, phrase, verdicts
from wavemem.records.sizes import Size
from wavemem.records.status import Measurement, measurements

CHAPTERS = {path.stem: path for path in sorted((Path(__file__).resolve().parents[2] / "notebooks").glob("*.md"))}
NUMBER = r"one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|fifteen|sixteen|twenty|thirty|\d+"
SHARE = re.compile(
    rf"\b(?:{NUMBER}|none|GLUED) (?:out )?of (?:the |its |these |those )?(?:{NUMBER}|GLUED)\b", re.IGNORECASE
)
WORDS = re.compile(
    r"\b(?:reproduc(?:es?|ed)|refut\w+|contradict\w*|confirm\w*|disprov\w+|not attempted|at reduced size|on other data)\b",
    re.IGNORECASE,
)
TYPED = re.compile(r"\d/\d|\d*\.\d+|\d+(?:,\d{3})+|\d+ ?(?:%|per cent)|\d[eE][+-−]?\d|10[⁻⁰¹²³⁴-⁹]|\d{2,}")
LISTED = r"\d+[\d.]*(?:(?:, | and | to |–)\d+[\d.]*)*"
NAMED = re.compile(
    rf"\b(?:Eqs?\.|Figs?\.|Tables?|Theorems?|Thm\.|[Ss]ections?|Parts?|App\.|Appendix|[Cc]hapters?|Exercises?) [A-Z]?\.?{LISTED}"
    r"|\b(?:19[5-9]|20[0-2])\d\b|\b[A-Za-z]+-?\d+\b|\b\d[\d,]* (?:steps|blanks|letters)\b"
)
ROLE = re.compile(r"\{(?P<role>[\w:-]+)\}`(?P<body>[^`]*)`")
MATHS = re.compile(r"\$\$.*?\$\$|\$[^$\n]+\$", re.DOTALL)


def summary_of(text: str) -> str:
    """The section with the heading of a summary, up to the next one."""
    opening = re.search(rf"^{SUMMARY}", text, re.MULTILINE)
    assert opening, "no section '## What we now know' or '## Summary'"
    return re.split(r"^## ", text[opening.end() :], maxsplit=1, flags=re.MULTILINE)[0]


def glued_names(summary: str) -> list[str]:
    """What a summary glues in."""
    found = ROLE.finditer(summary)
    return [match["body"].split(":")[0] for match in found if match["role"].startswith("glue")]


def faults(text: str) -> list[str]:
    """What is typed in a chapter's summary and must not be."""
    summary = summary_of(text)
    prose = ROLE.sub(lambda match: "GLUED" if match["role"].startswith("glue") else "REF", summary)
    prose = re.sub(r"`[^`]*`", "CODE", re.sub(r"\]\([^)]*\)", "]", prose))
    found = [f"a decimal in {maths}" for maths in MATHS.findall(prose) if re.search(r"\d\.\d", maths)]
    prose = re.sub(r"\s+", " ", NAMED.sub("NAMED", MATHS.sub("MATHS", prose)))
    found += [f"a share: {match.group()!r}" for match in SHARE.finditer(prose)]
    found += [f"a word of a verdict: {match.group()!r}" for match in WORDS.finditer(prose)]
    found += [
        f"a typed number: {prose[max(match.start() - 20, 0) : match.end() + 12]!r}" for match in TYPED.finditer(prose)
    ]
    names = glued_names(summary)
    for cell in code_cells(text):
        for node in ast.walk(ast.parse(re.sub(r"^[%!].*$", "", cell.source, flags=re.MULTILINE))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "glue" and len(node.args) > 1:
                name, value = node.args[:2]
                if isinstance(name, ast.Constant) and isinstance(value, ast.Constant) and name.value in names:
                    typed = str(value.value)
                    if re.search(r"\d", typed) or WORDS.search(typed) or SHARE.search(typed):
                        found.append(f"a constant glued as {name.value!r}: {typed!r}")
    return found


def misquotations(summary: str, outputs: Iterable[dict[str, Any]], results: Iterable[Measurement]) -> list[str]:
    """Shares and verdicts in an executed summary that are not what the results say."""
    glued = {o["metadata"]["scrapbook"]["name"]: o for o in outputs if "scrapbook" in o.get("metadata", {})}
    found = []
    for name in glued_names(summary):
        if name not in glued:
            found.append(f"{name}: no cell glues it")
            continue
        output = glued[name]
        text = next("".join(value) for kind, value in output["data"].items() if kind.endswith("text/plain")).strip(
            "'\""
        )
        source = output["metadata"].get("wavemem")
        if source is None:
            if SHARE.search(text) or WORDS.search(text):
                found.append(f"{name}: {text!r} is a share or a verdict, and not from Verdict.say")
            continue
        quantity = load_registry().entry(source["entry"]).quantity(source["quantity"])
        ours = [m for m in results if (m.entry, m.quantity) == (source["entry"], source["quantity"])]
        right = [phrase(source["form"], *judge(quantity, m.ours, m.size), m.ours, quantity.paper_value()) for m in ours]
        if text not in right:
            found.append(f"{name}: {text!r}, but the results say {', '.join(map(repr, right)) or 'nothing'}")
    return found


@pytest.mark.parametrize("name", CHAPTERS)
def test_nothing_measured_is_typed(name: str) -> None:
    found = faults(CHAPTERS[name].read_text(encoding="utf-8"))
    assert not found, "\n".join([f"the summary of {name} types", *found])


def test_an_executed_summary_says_what_the_results_say(site: Path, layout: Layout, notebook_name: str) -> None:
    notebook = json.loads((layout.source / "chapters" / notebook_name).read_text(encoding="utf-8"))
    name = notebook_name.removesuffix(".ipynb")
    first = "".join(next(cell["source"] for cell in notebook["cells"] if cell["cell_type"] == "markdown"))
    variant = re.search(r"profile `(\w+)` · device `(\w+)`, seed `(\d+)`", first)
    assert variant, f"{name} was not executed"
    results = layout.build / "results" / "{}-{}-seed{}".format(*variant.groups())
    outputs = [output for cell in notebook["cells"] for output in cell.get("outputs", ())]
    found = misquotations(summary_of(CHAPTERS[name].read_text(encoding="utf-8")), outputs, measurements(results))
    assert not found, "\n".join([f"the summary of {name} says", *found])


def chapter(summary: str, code: str = "") -> str:
    return f"# A\n\n```{{code-cell}} ipython3\n{code}\n```\n\n## Summary\n\n{summary}\n\n## What to try\n\nTry 0.97.\n"


@pytest.mark.parametrize(
    ("summary", "fault"),
    [
        ("It is right in 0.97 of the cases.", "a typed number"),
        ("It is right in 97 % of them.", "a typed number"),
        ("After 1,200 updates it is right.", "a typed number"),
        ("An error of 1e-5 is left.", "a typed number"),
        ("An error of 10⁻⁵ is left.", "a typed number"),
        ("All 16 seeds agree.", "a typed number"),
        ("A gain of $0.68 \\pm 0.42$ is left.", "a decimal"),
        ("It happens in seven of eight seeds.", "a share"),
        ("It happens in 3 of the 4 seeds.", "a share"),
        ("{glue:text}`k` of {glue:text}`n` networks agree.", "a share"),
        ("So the claim is reproduced.", "a word of a verdict"),
        ("This refutes it.", "a word of a verdict"),
        ("It is {glue:text}`k`.", "a constant glued as 'k'"),
    ],
)
def test_what_is_typed_is_found(summary: str, fault: str) -> None:
    found = faults(chapter(summary, 'glue("k", 0.97, display=False)'))
    assert any(fault in one for one in found), found


@pytest.mark.parametrize(
    "summary",
    [
        "At velocity 1, and in T2–T4, {ref}`Eq. 38 <x>` and Eqs. 20–24 hold for Theorem 13.2 of 1992 and CIFAR-10.",
        "The bound is $1 - \\ell/s$ and the rate {glue:text}`rate:.2f`; {glue:text}`agree` networks have it, `x = 0.5`.",
        "One of its parts is corrected, partly, at 400 steps and with 100,000 blanks.",
    ],
)
def test_theory_references_and_glued_numbers_may_stand(summary: str) -> None:
    assert faults(chapter(summary, 'glue("agree", verdict.say("{passed} of {n}"), display=False)')) == []


ENTRY, QUANTITY = "twm:fig5", "decay rate after crossing, relative to start"


def glued(name: str, value: Any) -> dict[str, Any]:
    """An output as `glue` leaves it in an executed notebook."""
    data, metadata = value._repr_mimebundle_() if isinstance(value, Said) else ({"text/plain": repr(value)}, {})
    prefix = "application/papermill.record/"
    metadata = {**metadata, "scrapbook": {"name": name, "mime_prefix": prefix}}
    return {"data": {prefix + kind: text for kind, text in data.items()}, "metadata": metadata}


def test_a_share_or_verdict_that_the_results_do_not_have_is_found() -> None:
    summary = "{glue:text}`agree` networks agree: {glue:text}`word`."
    size = Size(differs=("s 4 instead of 8",))
    said = verdicts(ENTRY, QUANTITY, [0.01, 0.02, 5.0], measured=size)[0]
    outputs = [glued("agree", said.say("{passed} of {n}")), glued("word", said.say("{status}")), glued("other", 3)]
    row = Measurement(ENTRY, QUANTITY, (0.01, 0.02, 5.0), size)
    assert misquotations(summary, outputs, [row]) == []
    assert len(misquotations(summary, outputs, [])) == 2, "it was not reported"
    changed = dataclasses.replace(row, ours=(0.01, 5.0, 5.0))
    assert misquotations(summary, outputs, [changed]) == ["agree: '2 of 3', but the results say '1 of 3'"]
    better = dataclasses.replace(row, ours=(0.01, 0.02, 0.03))
    assert len(misquotations(summary, outputs, [better])) == 2
    outputs = [glued("agree", "3 of 3"), glued("word", "not reproduced")]
    assert [one.split(" is ")[0] for one in misquotations(summary, outputs, [row])] == [
        "agree: '3 of 3'",
        "word: 'not reproduced'",
    ]
