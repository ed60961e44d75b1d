"""The commands ``wavemem course``: nbgrader called with a course's sources, year and kernel."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tomllib
from dataclasses import dataclass, replace
from pathlib import Path

import nbformat

from wavemem.building.address import online
from wavemem.building.chapters import notebook_bytes, published
from wavemem.building.editions import numbered
from wavemem.building.layout import BuildError, Edition, Layout, UsageError, choose
from wavemem.building.stage import contents
from wavemem.course import source

TOOLS = ".venv-nbgrader"
_CONFIG = """\
c = get_config()
c.CourseDirectory.course_id = {course!r}
c.ClearSolutions.code_stub = {{"python": {stub!r}}}
c.ClearSolutions.text_stub = "*Your answer.*"
c.OverwriteCells.add_missing_cells = True
c.Autograde.autograde_preprocessors = ["wavemem.course._nbgrader.Judge"] + [
    f"nbgrader.preprocessors.{{name}}" for name in ("LimitOutput", "SaveAutoGrades", "AssignLatePenalties", "CheckCellMetadata")
]
c.GenerateFeedback.preprocessors = [
    "wavemem.course._nbgrader.Conceal", "nbgrader.preprocessors.GetGrades", "nbconvert.preprocessors.CSSHTMLHeaderPreprocessor"
]
"""


@dataclass(frozen=True)
class Course:
    """What ``course.toml`` says.

    Attributes:
        year: Every year has its own instances of the problems.
        problems: Folder of the sources of the problem sets.
        edition: What the course's book holds.
    """

    year: int
    problems: Path
    edition: Edition


def settings(root: Path) -> Course:
    """Read ``course.toml``; all but the year may be left out.

    Raises:
        UsageError: It is not there, or asks for something that does not exist; the message says what does.
    """
    file = root / "course.toml"
    try:
        found = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{file} cannot be read ({error}); allowed: TOML. Copy it from the book.") from None

    def wrong(name: str, allowed: str) -> UsageError:
        got = repr(found[name]) if name in found else "not given"
        return UsageError(f"{file.name}: {name} is {got}; allowed: {allowed}")

    allowed = ("title", "year", "parts", "edition", "problems", "full_book")
    for name in found:
        if name not in allowed:
            raise UsageError(f"{file.name}: {name!r} is no setting of a course; allowed: {', '.join(allowed)}")
    if type(found.get("year")) is not int or found["year"] < 1:
        raise wrong("year", "a whole number above 0, which makes this year's instances of the problems")
    for name in ("title", "problems"):
        text = found.get(name, "text")
        if not isinstance(text, str) or not text.strip() or not text.isprintable():
            raise wrong(name, "text in one line")
    kinds = ("full", "student", "instructor")
    if found.get("edition", "full") not in kinds:
        raise wrong("edition", ", ".join(kinds))
    have = list(numbered(contents(Layout(root), []).get("parts", [])))
    parts = found.get("parts", have)
    if not isinstance(parts, list) or not parts or any(part not in have for part in parts):
        raise wrong("parts", f"a list of one or more of {', '.join(map(repr, have))}")
    address = found["full_book"] if "full_book" in found else online(root)
    if not isinstance(address, str) or not re.fullmatch(r"(https?://[^\s?#<>\"']+)?", address):
        raise wrong("full_book", "where the full book is published, such as 'https://OWNER.github.io/NAME/', or ''")
    chosen = tuple(part for part in have if part in parts)
    edition = Edition(
        found.get("edition", "full"),
        None if len(chosen) == len(have) else chosen,
        found.get("title", ""),
        address and f"{address.rstrip('/')}/",
    )
    return Course(found["year"], root / found.get("problems", "course/problems"), edition)


def with_problems(root: Path) -> Edition:
    """The edition that ``course.toml`` asks for, with a page for each problem set of its parts.

    The full edition shows none. Where the folder of the sources is missing, as in a public copy, no edition does.

    Raises:
        UsageError: As :func:`settings` does.
        ValueError: As :func:`wavemem.course.source.read` does.
    """
    course = settings(root)
    found = []
    for file in sorted(course.problems.glob("*.md")) if course.edition.kind != "full" else ():
        notebook = source.read(file)
        part = notebook.metadata["course"]["part"]
        if course.edition.parts is None or part in course.edition.parts:
            wrong = {
                path.stem: path.read_text() for path in sorted(course.problems.parent.glob(f"wrong/{file.stem}/*.py"))
            }
            answers = course.edition.kind == "instructor"
            page = source.for_a_page(source.for_reading(notebook, course.year), answers, wrong)
            found.append((file.stem, notebook_bytes(published(page))))
    return replace(course.edition, problems=tuple(found))


def nbgrader(root: Path, *arguments: str) -> None:
    """Run nbgrader from its own environment in the course's folder.

    Raises:
        UsageError: It is not installed.
        BuildError: It failed.
    """
    program = root / TOOLS / "bin" / "nbgrader"
    if not program.is_file():
        raise UsageError(f"no {program}; allowed: an environment of its own for nbgrader. Make it: make course-tools")
    folder = root / "_build" / "course"
    variables = os.environ | {
        "PYTHONPATH": str(root / "src"),
        "PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}",
    }
    done = subprocess.run([str(program), *arguments], cwd=folder, env=variables, check=False)
    if done.returncode != 0:
        raise BuildError(
            f"nbgrader {' '.join(arguments)} failed; what it says stands above. Nothing was graded that failed."
        )


def release(root: Path, which: str) -> Path:
    """Cut a problem set's student version from its source; the folder to hand out."""
    course, folder = settings(root), root / "_build" / "course"
    problems = sorted(path.stem for path in course.problems.glob("*.md"))
    file = course.problems / f"{choose('problem set', which, problems)}.md"
    notebook = source.for_nbgrader(source.for_reading(source.read(file), course.year))
    notebook.metadata["kernelspec"] = {"display_name": "wavemem", "language": "python", "name": "wavemem"}
    target = folder / "source" / which
    target.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, target / f"{which}.ipynb")
    config = _CONFIG.format(course=f"waves-{course.year}", stub=source.STUB)
    (folder / "nbgrader_config.py").write_text(config, encoding="utf-8")
    nbgrader(root, "generate_assignment", which, "--create", "--force")
    return folder / "release" / which


def grade(root: Path, which: str) -> Path:
    """Grade what lies in ``submitted/STUDENT/SET`` and is new there; the table of grades."""
    folder = root / "_build" / "course"
    handed_in = list((folder / "submitted").glob(f"*/{which}/*.ipynb"))
    if not handed_in:
        raise UsageError(
            f"nothing in {folder / 'submitted'}; allowed: STUDENT/{which}/{which}.ipynb. Put what was handed in there."
        )
    for file in handed_in:  # nbgrader by itself skips what is handed in again
        graded = folder / "autograded" / file.relative_to(folder / "submitted")
        if graded.is_file() and file.stat().st_ctime > graded.stat().st_mtime:
            shutil.rmtree(graded.parent)
    nbgrader(root, "autograde", which)
    nbgrader(root, "export")
    return folder / "grades.csv"


def feedback(root: Path, which: str) -> Path:
    """Write each student's feedback; the folder in which it lies."""
    nbgrader(root, "generate_feedback", which, "--force")
    return root / "_build" / "course" / "feedback"
