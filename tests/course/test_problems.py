"""Every problem set, tried: its solution for several students, its stub, and the wrong answers that must fail."""

from __future__ import annotations

import ast
import copy
import re
from pathlib import Path
from typing import Any

import nbformat
import pytest

from wavemem.course import source
from wavemem.course.judge import WrongKernelError, judge
from wavemem.course.source import kind, name

COURSE = Path(__file__).resolve().parents[2] / "course"
SETS = sorted(path.stem for path in (COURSE / "problems").glob("*.md"))
WRONG = sorted(path.relative_to(COURSE / "wrong").with_suffix("").as_posix() for path in COURSE.glob("wrong/*/*.py"))


def notebook(which: str, year: int = 2028) -> Any:
    return source.for_reading(source.read(COURSE / "problems" / f"{which}.md"), year)


def graded(notebook: Any) -> set[str]:
    return {name(cell) for cell in notebook.cells if kind(cell) in ("check", "hidden")}


def only(notebook: Any, wanted: set[str]) -> Any:
    """What is given, and of the problems those in which one of these cells stands."""
    kept: list[Any] = []
    section: list[Any] = []
    for cell in [*notebook.cells, nbformat.v4.new_markdown_cell(metadata={"problem": "end"})]:
        if kind(cell) == "problem":
            names = {name(part) for part in section if kind(part) not in ("", "given")}
            first = not any(kind(part) == "problem" for part in section)
            kept += section if first or names & wanted else []
            section = []
        section.append(cell)
    return nbformat.v4.new_notebook(cells=kept, metadata=notebook.metadata)


def with_answers(notebook: Any, answers: str) -> Any:
    """The solution, with these functions in the place of its own; all else in the answers is executed before them."""
    notebook, tree = copy.deepcopy(notebook), ast.parse(answers)
    functions = {
        node.name: ast.get_source_segment(answers, node) for node in tree.body if isinstance(node, ast.FunctionDef)
    }
    rest = [ast.get_source_segment(answers, node) for node in tree.body if not isinstance(node, ast.FunctionDef)]
    for cell in notebook.cells:
        if kind(cell) == "answer":
            for node in reversed(ast.parse(cell.source).body):
                if isinstance(node, ast.FunctionDef) and node.name in functions:
                    lines = cell.source.split("\n")
                    lines[node.lineno - 1 : node.end_lineno] = [str(functions.pop(node.name))]
                    cell.source = "\n".join(lines)
    assert not functions, f"the solution has no {', '.join(functions)}"
    place = next(i for i, cell in enumerate(notebook.cells) if kind(cell) == "problem")
    notebook.cells.insert(place, nbformat.v4.new_code_cell("\n".join(map(str, rest))))
    return notebook


@pytest.mark.parametrize("which", SETS)
def test_a_source_is_whole(which: str) -> None:
    found = notebook(which)
    answers = {name(cell) for cell in found.cells if kind(cell) == "answer"}
    assert "name" in answers
    assert sum(kind(cell) == "written" for cell in found.cells) >= 2
    for cell in found.cells:
        if kind(cell) == "written":
            rubric = cell.source.split("**Rubric.**")[1]
            points = sum(map(int, re.findall(r"\b(\d)(?: points?)?:", rubric)))
            assert points == cell.metadata["points"], f"the rubric of {name(cell)} gives {points}"
    named = {
        test for path in COURSE.glob(f"wrong/{which}/*.py") for test in path.read_text().split("\n")[0].split()[2:]
    }
    assert {name(cell) for cell in found.cells if kind(cell) == "hidden"} <= named, (
        "a hidden test that no wrong answer fails"
    )


@pytest.mark.parametrize("which", SETS)
def test_a_stub_holds_nothing_of_the_solution(which: str) -> None:
    whole = notebook(which)
    text = nbformat.writes(source.stub(whole))
    for cell in whole.cells:
        solution = re.search(r"### BEGIN SOLUTION\n(.*?)### END", cell.source, re.DOTALL)
        secret = cell.source if kind(cell) in ("hidden", "written") else solution[1] if solution else ""
        for line in filter(lambda line: len(line) > 25, map(str.strip, secret.split("\n"))):
            assert line not in text


@pytest.mark.parametrize("which", SETS)
def test_a_stub_fails_every_test_with_not_implemented(which: str) -> None:
    whole = notebook(which)
    found = judge(source.stub(whole), whole, "nobody")
    assert found.keys() == graded(whole)
    for error in found.values():
        assert re.search("NotImplementedError|NameError", error), error


@pytest.mark.parametrize("student", ["ada", "emmy", "sofia", "maryam", "grace"])
@pytest.mark.parametrize("which", SETS)
def test_a_solution_passes_for_every_student(which: str, student: str) -> None:
    whole = notebook(which)
    assert judge(whole, whole, student) == dict.fromkeys(graded(whole), "")


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_answer_fails_what_it_names(wrong: str) -> None:
    text = (COURSE / "wrong" / f"{wrong}.py").read_text(encoding="utf-8")
    named = set(text.split("\n")[0].removeprefix("# fails:").split())
    part = only(notebook(wrong.split("/")[0]), named)
    found = judge(with_answers(part, text), part, "ada")
    assert {test for test, error in found.items() if error} == named, found


def test_the_guide_says_what_each_wrong_answer_shows() -> None:
    listed, which = [], ""
    for line in (COURSE / "README.md").read_text(encoding="utf-8").split("\n"):
        if cells := re.match(r"\| (?:`([\w-]+)`)? ?\| `([\w-]+)` \| .+ \|$", line):
            which = cells[1] or which
            listed.append(f"{which}/{cells[2]}")
    assert sorted(listed) == WRONG


def test_a_kernel_without_the_library_is_no_zero(tmp_path: Path) -> None:
    whole = only(notebook(SETS[0]), set())
    broken = copy.deepcopy(whole)
    next(cell for cell in broken.cells if kind(cell) == "given").source = "import there_is_no_such_library"
    with pytest.raises(WrongKernelError, match="Nothing was judged"):
        judge(whole, broken, "ada")


def test_another_year_is_another_instance() -> None:
    sources = [[cell.source for cell in notebook(SETS[0], year).cells] for year in (2028, 2029)]
    assert [a == b for a, b in zip(*sources, strict=True)].count(False) == 1
