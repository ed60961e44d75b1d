"""What is graded again: what has been handed in again."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from wavemem.building.layout import UsageError
from wavemem.course import commands


def handed(root: Path, folder: str, student: str) -> Path:
    file = root / "_build/course" / folder / student / "ps1" / "ps1.ipynb"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("{}", encoding="utf-8")
    return file


def test_what_was_handed_in_again_is_graded_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    called = []
    monkeypatch.setattr(commands, "nbgrader", lambda root, *arguments: called.append(arguments))
    for student, graded_at in {"again": 1, "once": 4e9}.items():
        handed(tmp_path, "submitted", student)
        os.utime(handed(tmp_path, "autograded", student), (graded_at, graded_at))
    handed(tmp_path, "submitted", "new")
    assert commands.grade(tmp_path, "ps1") == tmp_path / "_build/course/grades.csv"
    left = [path.parent.parent.name for path in tmp_path.glob("_build/course/autograded/*/*/*")]
    assert left == ["once"]
    assert called == [("autograde", "ps1"), ("export",)]


def test_nothing_to_grade_says_where_it_belongs(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"STUDENT/ps1/ps1\.ipynb"):
        commands.grade(tmp_path, "ps1")
