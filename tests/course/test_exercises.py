"""The chapters' exercises: what can be checked, and the code in the solutions."""

from __future__ import annotations

import ast
import contextlib
import io
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from wavemem.building.chapters import code_cells, executed_cells
from wavemem.course.exercises import _CHECKS, check

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"
CHAPTERS = sorted(NOTEBOOKS.glob("[0-9]*.md"))
_EXERCISE = re.compile(r"^`{3,}\{exercise\}.*\n:label: (\S+)", re.MULTILINE)
_SOLUTION = re.compile(r"^(`{3,})\{solution\} (\S+)\n(.*?)^\1$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_STUB = re.compile(r"^```\{code-cell\} ipython3\n:tags: \[skip-execution\]\n\n?(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture(autouse=True)
def _default_dtype() -> Iterator[None]:
    before = torch.get_default_dtype()
    yield
    torch.set_default_dtype(before)


def numbers(text: str, chapter: int) -> dict[str, str]:
    """Label of an exercise → its number on the page."""
    return {label: f"{chapter}.{k}" for k, label in enumerate(_EXERCISE.findall(text), 1)}


def imported(text: str) -> dict[str, Any]:
    """What a chapter's imports bring, the short names beside them, and its parameters."""
    names: dict[str, Any] = {"profile": "quick", "device": "cpu", "seed": 0}
    for cell in executed_cells(code_cells(text)):
        nodes = ast.parse(cell.source).body
        if isinstance(nodes[0], ast.Import | ast.ImportFrom):
            for node in nodes:
                short = isinstance(node, ast.Assign) and isinstance(node.value, ast.Attribute)
                line = ast.unparse(node)
                if short or isinstance(node, ast.Import | ast.ImportFrom) or "set_default_dtype" in line:
                    exec(line, names)
    return names


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_a_chapter_has_an_exercise_to_check_with_its_stub_below_it(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    known = numbers(text, int(path.stem[:2]))
    found = set()
    for stub in _STUB.finditer(text):
        label = _EXERCISE.findall(text[: stub.start()])[-1]
        assert f'check("{known[label]}", ' in stub[1], f"{label} is Exercise {known[label]}"
        names: dict[str, Any] = {}
        exec(stub[1].rpartition("\ncheck(")[0], names)
        answer = names[re.search(r"^check\(\S+ (\w+)\)$", stub[1], re.MULTILINE)[1]]  # type: ignore[index]
        assert repr(check(known[label], answer)).endswith("not written yet")
        found.add(known[label])
    assert found == {number for number in _CHECKS if number.startswith(f"{int(path.stem[:2])}.")}


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_the_code_in_solutions_runs_and_answers_the_exercise(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    known, names = numbers(text, int(path.stem[:2])), imported(text)
    stubs = {match[1]: match[2] for match in re.finditer(r'^check\("([\d.]+)", (\w+)\)$', text, re.MULTILINE)}
    for _, label, body in _SOLUTION.findall(text):
        names_here = dict(names)
        for code in _CODE.findall(body):
            with contextlib.redirect_stdout(io.StringIO()), torch.random.fork_rng():
                exec(code, names_here)
        if known[label] in stubs:
            verdict = check(known[label], names_here.get(stubs[known[label]]))
            assert verdict.right, verdict


def test_a_wrong_answer_is_told_apart_from_an_error() -> None:
    assert "not right" in repr(check("4.1", lambda epsilon, eta: torch.tensor([eta, eta / epsilon])))
    assert "stops with" in repr(check("4.1", lambda epsilon: 0))
    assert not check("4.1", None).right


def test_an_exercise_that_is_not_there() -> None:
    with pytest.raises(ValueError, match=r"'4\.99' cannot be checked; allowed: .*4\.1"):
        check("4.99", None)


def powers(row: Tensor, W: Tensor, count: int, first: int) -> Tensor:
    """Rows R W^t for t = first, first + 1, …"""
    return torch.cat([row @ torch.linalg.matrix_power(W, t) for t in range(first, first + count)])


WRONG: list[tuple[str, Callable[..., Any], str]] = [
    ("1.3", lambda s, d: ([*range(d)], [-1] * d), r"s = 8, d = 8.* after \[16, 32"),  # many loops
    ("1.3", lambda s, d: ([d - 1, *range(d - 1)], [-1] * d), r"s = 8.* \[64, 128\]"),  # right for odd d
    ("2.4", lambda A, b, age: (torch.linalg.matrix_power(A, age) @ b).square().sum(), "age 0 for a random A"),  # no C
    ("2.4", lambda A, b, age: 1.0, "age 4 for the shift"),  # nothing ever leaves
    ("3.3", lambda W, R, H: torch.linalg.pinv(powers(R, W, len(H), 0)) @ H, "response at step 1"),
    ("3.3", lambda W, R, H: torch.linalg.solve(powers(R, W, len(W), 1), H), "stops with"),  # for T = s alone
]


@pytest.mark.parametrize(("number", "answer", "says"), WRONG)
def test_a_wrong_answer_is_told_what_is_off(number: str, answer: Callable[..., Any], says: str) -> None:
    verdict = check(number, answer)
    assert not verdict.right
    assert re.search(says, verdict.what), verdict
