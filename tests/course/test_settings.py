"""What a lecturer writes into course.toml, right and wrong, and the book that it makes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from wavemem import cli
from wavemem.building import schedule, site
from wavemem.building.chapters import Chapter
from wavemem.building.layout import Edition, Layout, UsageError
from wavemem.building.stage import Staged
from wavemem.course.commands import Course, settings


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A book of three parts with a chapter each, a fourth chapter in its reference, and one that stands nowhere."""
    (tmp_path / "notebooks").mkdir()
    for name in ("01-a", "02-b", "03-c", "04-d", "05-e"):
        (tmp_path / "notebooks" / f"{name}.md").write_text("---\nwavemem: {title: t}\n---\n# T\n")
    captions = {"Part I: One": "01-a", "Part II: Two": "02-b", "Part III: Three": "03-c", "Reference": "04-d"}
    parts = [{"caption": caption, "chapters": [{"file": f"chapters/{name}"}]} for caption, name in captions.items()]
    (tmp_path / "_toc.yml").write_text(json.dumps({"format": "jb-book", "root": "book/intro", "parts": parts}))
    monkeypatch.delenv("REPOSITORY", raising=False)
    monkeypatch.delenv("BOOK_URL", raising=False)
    return tmp_path


def written(root: Path, text: str) -> Course:
    (root / "course.toml").write_text(text, encoding="utf-8")
    return settings(root)


def test_all_but_the_year_may_be_left_out(root: Path) -> None:
    assert written(root, "year = 2028\n") == Course(2028, root / "course/problems", Edition())
    text = 'title = "Waves"\nyear = 1\nparts = ["III", "I"]\nedition = "student"\nproblems = "../own"\n'
    edition = Edition("student", ("I", "III"), "Waves")
    assert written(root, text) == Course(1, root / "../own", edition)
    assert written(root, 'year = 1\nparts = ["II", "I", "III"]\n').edition.parts is None


def test_the_full_book_s_address_is_the_copy_s_or_what_is_said(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REPOSITORY", "https://github.com/somebody/waves")
    assert written(root, "year = 1\n").edition.full_book == "https://somebody.github.io/waves/"
    assert written(root, 'year = 1\nfull_book = ""\n').edition.full_book == ""
    assert (
        written(root, 'year = 1\nfull_book = "https://example.org/b"\n').edition.full_book == "https://example.org/b/"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"year is not given; allowed: a whole number above 0"),
        ("year = true", r"year is True; allowed: a whole number"),
        ("year = 0", r"year is 0; allowed"),
        ('year = "2028"', r"year is '2028'; allowed"),
        ('year = 1\nparts = ["I", "V"]', r"parts is \['I', 'V'\]; allowed: a list of one or more of 'I', 'II', 'III'"),
        ("year = 1\nparts = []", r"parts is \[\]; allowed"),
        ("year = 1\nparts = [1]", r"parts is \[1\]; allowed"),
        ('year = 1\nparts = [["I"]]', r"parts is \[\['I'\]\]; allowed"),
        ('year = 1\nparts = "I"', r"parts is 'I'; allowed"),
        ('year = 1\nedition = "teacher"', r"edition is 'teacher'; allowed: full, student, instructor"),
        ("year = 1\nedition = []", r"edition is \[\]; allowed: full, student, instructor"),
        ('year = 1\ntitle = ""', r"title is ''; allowed: text in one line"),
        ('year = 1\ntitle = "a\\nb"', r"title is 'a\\nb'; allowed: text in one line"),
        ("year = 1\nproblems = 3", r"problems is 3; allowed: text in one line"),
        (
            'year = 1\nfull_book = "example.org"',
            r"full_book is 'example.org'; allowed: where the full book is published",
        ),
        ("year = 1\nfull_book = 1", r"full_book is 1; allowed: where"),
        (
            "year = 1\npart = 1",
            r"'part' is no setting of a course; allowed: title, year, parts, edition, problems, full_book",
        ),
        ("year = ", r"cannot be read .*; allowed: TOML"),
    ],
)
def test_what_does_not_exist_is_refused_in_one_line(root: Path, text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as refused:
        written(root, text)
    assert "\n" not in str(refused.value)


def test_no_file_no_course(root: Path) -> None:
    with pytest.raises(UsageError, match=r"course\.toml cannot be read"):
        settings(root)


def test_the_book_s_own_file_asks_for_the_book_as_it_is() -> None:
    edition = settings(Path(__file__).resolve().parents[2]).edition
    assert (edition.kind, edition.parts) == ("full", None)


def test_course_site_executes_only_what_it_has(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "course.toml").write_text('year = 2028\nparts = ["I", "III"]\nedition = "student"\n')
    monkeypatch.chdir(root)
    asked: list[Any] = []

    def execute(chapters: list[Chapter], *_: Any) -> schedule.Outcome:
        asked.append([chapter.name for chapter in chapters])
        return schedule.Outcome()

    def build(layout: Layout, parameters: Any, chapters: list[Chapter], strict: bool) -> tuple[Staged, bool]:
        asked.append((layout.edition, len(chapters), strict))
        return Staged("", "", [], []), True

    monkeypatch.setattr(schedule, "execute_chapters", execute)
    monkeypatch.setattr(site, "build_site", build)
    done = CliRunner().invoke(cli.app, ["course", "site", "--device", "cpu"])
    assert done.exit_code == 0, done.output
    assert asked == [["01-a", "03-c", "04-d"], (Edition("student", ("I", "III")), 5, True)]
    assert str(root / "_build" / "course" / "student-I-III" / "html" / "index.html") in done.output
