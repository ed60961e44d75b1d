"""The commands ``wavemem course``: nbgrader called with a course's sources, year and kernel."""

from __future__ import annotations

import os
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import nbformat

from wavemem.building.layout import BuildError, UsageError, choose
from wavemem.course import source

TOOLS = ".venv-nbgrader"
_CONFIG = """\
c = get_config()
c.CourseDirectory.course_id = {course!r}
c.ClearSolutions.code_stub = {{"python": {stub!r}}}
c.ClearSolutions.text_stub = "*Your answer.*"
c.OverwriteCells.add_missing_cells = True
c.Autograde.autograde_preprocessors = ["wavemem.course.grader.Judge"] + [
    f"nbgrader.preprocessors.{{name}}" for name in ("LimitOutput", "SaveAutoGrades", "AssignLatePenalties", "CheckCellMetadata")
]
c.GenerateFeedback.preprocessors = [
    "wavemem.course.grader.Conceal", "nbgrader.preprocessors.GetGrades", "nbconvert.preprocessors.CSSHTMLHeaderPreprocessor"
]
"""


def settings(root: Path) -> dict[str, Any]:
    """What ``course.toml`` says.

    Raises:
        UsageError: It is not there, or says no year.
    """
    file = root / "course.toml"
    try:
        found = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{file} cannot be read ({error}); allowed: TOML. Copy it from the book.") from None
    if not isinstance(found.get("year"), int):
        raise ValueError(
            f"{file}: year = {found.get('year')!r}; allowed: a whole number. It makes this year's instances."
        )
    return found


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
    problems = root / course.get("problems", "course/problems")
    file = problems / f"{choose('problem set', which, sorted(path.stem for path in problems.glob('*.md')))}.md"
    notebook = source.for_nbgrader(source.for_reading(source.read(file), course["year"]))
    notebook.metadata["kernelspec"] = {"display_name": "wavemem", "language": "python", "name": "wavemem"}
    target = folder / "source" / which
    target.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, target / f"{which}.ipynb")
    config = _CONFIG.format(course=f"waves-{course['year']}", stub=source.STUB)
    (folder / "nbgrader_config.py").write_text(config, encoding="utf-8")
    nbgrader(root, "generate_assignment", which, "--create", "--force")
    return folder / "release" / which


def grade(root: Path, which: str) -> Path:
    """Grade what lies in ``submitted/STUDENT/SET``; the table of grades."""
    folder = root / "_build" / "course"
    if not any((folder / "submitted").glob(f"*/{which}/*.ipynb")):
        raise UsageError(
            f"nothing in {folder / 'submitted'}; allowed: STUDENT/{which}/{which}.ipynb. Put what was handed in there."
        )
    nbgrader(root, "autograde", which)
    nbgrader(root, "export")
    return folder / "grades.csv"


def feedback(root: Path, which: str) -> Path:
    """Write each student's feedback; the folder in which it lies."""
    nbgrader(root, "generate_feedback", which, "--force")
    return root / "_build" / "course" / "feedback"
