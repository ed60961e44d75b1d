"""Skeletons: each is made in a copy of the book, and used as what it is."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import nbformat
import pytest
import yaml

from wavemem.building import skeletons
from wavemem.building.chapters import discover, executable, executed_cells
from wavemem.building.layout import Layout, UsageError, write_atomically
from wavemem.building.skeletons import KINDS, new
from wavemem.building.stage import contents
from wavemem.cli import main
from wavemem.course import source
from wavemem.course.judge import judge

ROOT = Path(__file__).resolve().parents[2]
LONG = "word" * 6


def copied(root: Path) -> Path:
    """What skeletons are made from and added to."""
    for name in ("src/wavemem", "tools/skeletons", "notebooks", "book"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("_toc.yml", "course.toml", "pyproject.toml"):
        shutil.copy(ROOT / name, root / name)
    return root


@pytest.fixture
def book(tmp_path: Path) -> Path:
    return copied(tmp_path / "book")


def texts(root: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}


def python(root: Path, *arguments: object) -> str:
    """What Python prints with the copy's library, away from this process."""
    variables = os.environ | {"PYTHONPATH": str(root / "src"), "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, *map(str, arguments)]
    done = subprocess.run(command, cwd=root, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_modules_pass_ruff_and_their_own_tests(book: Path) -> None:
    """With the longest name that is allowed, and in every folder, which decides where an import stands."""
    made: list[Path] = []
    for kind, name, part in [("task", LONG, ""), ("model", "x", "elman"), ("experiment", "of_ours", "ssm")]:
        made += new(book, kind, name, part).files
    tests = [path for path in made if "tests" in path.parts]
    for kind, name, part in [("task", "x", "ssm"), ("model", LONG, "ssm"), ("experiment", LONG, "elman")]:
        made += new(book, kind, name, part).files
    python(book, "-m", "ruff", "check", "--no-cache", *made, "src/wavemem/experiments.py")
    python(book, "-m", "ruff", "format", "--no-cache", "--check", *made, "src/wavemem/experiments.py")
    found = python(book, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests)
    assert re.search(r"^\d+ passed", found, re.MULTILINE), found
    said = python(book, "-m", "wavemem.cli", "run", "of_ours", "--records", "records", "--device", "cpu")
    assert "delay" in said
    assert list((book / "records" / "of_ours").glob("quick*"))


def test_a_chapter_is_found_and_executed(book: Path) -> None:
    before = (book / "_toc.yml").read_text(encoding="utf-8")
    made = new(book, "chapter", "my-chapter", "II")
    chapter = discover(Layout(book))[-1]
    assert {book / "notebooks" / f"{chapter.name}.md"} == made.files.keys()
    assert re.fullmatch(r"\d\d-my-chapter", chapter.name)
    assert chapter.title == "My chapter"
    contents(Layout(book), discover(Layout(book)))
    after = (book / "_toc.yml").read_text(encoding="utf-8")
    assert after.replace(f"      - file: chapters/{chapter.name}\n", "") == before
    parts = yaml.safe_load(after)["parts"]
    assert [part["caption"][:7] for part in parts if part["chapters"][-1]["file"].endswith("my-chapter")] == ["Part II"]
    assert f"\n**{chapter.number}** {{ref}}`ch-my-chapter`" in (book / "book" / "intro.md").read_text(encoding="utf-8")
    assert f"the pages print the number in its name, {chapter.number}; its place" in made.following

    cells = [cell.source for cell in executed_cells(executable(chapter.text, chapter.name).cells)]
    script = book / "chapter.py"
    stub = f'from wavemem.course.exercises import check\nassert check("{chapter.number}.1", lambda d: math.log(0.5, d)).right'
    wrong = f'assert not check("{chapter.number}.1", lambda d: 1 / d).right'
    script.write_text("\n".join(["import matplotlib\nmatplotlib.use('agg')", *cells, stub, wrong]), encoding="utf-8")
    python(book, script)


def test_what_is_asked_of_all_is_fulfilled(book: Path) -> None:
    """The tests that look at every chapter, experiment and problem set, those that start kernels apart."""
    for name in ("tests", "course", "records/registry"):
        shutil.copytree(ROOT / name, book / name, ignore=shutil.ignore_patterns("__pycache__"))
    new(book, "chapter", "our-own", "III")
    new(book, "experiment", "our_own")
    new(book, "problem", "our-own")
    files = (
        f"tests/{name}.py" for name in ("records/test_every_experiment", "book/test_notebooks", "book/test_summaries")
    )
    asked = (
        "our_own or test_the_map",
        "our-own and (72 or science or library or typed or exercise)",
        "our-own and (whole or holds)",
    )
    found = python(
        book,
        *("-m", "pytest", "-q", "-p", "no:cacheprovider", *files, "tests/course", "-k", " or ".join(asked)),
    )
    assert re.search(r"^1[2-9] passed", found, re.MULTILINE), found


def test_a_chapter_with_a_number_of_its_own(book: Path) -> None:
    new(book, "chapter", "57-far")
    new(book, "chapter", "next", "I")
    assert [chapter.name for chapter in discover(Layout(book))][-2:] == ["57-far", "58-next"]


def test_a_problem_set_is_read_cut_and_judged(book: Path) -> None:
    file, wrong = new(book, "problem", "ps9-leak").files
    assert [path.relative_to(book / "course").parts[0] for path in (file, wrong)] == ["problems", "wrong"]
    whole = source.for_reading(source.read(file), 2028)
    hidden = {source.name(cell) for cell in whole.cells if source.kind(cell) == "hidden"}
    text = nbformat.writes(source.stub(whole))
    assert "NotImplementedError" in text
    assert "ages" not in text
    assert set(judge(whole, whole, "ada").values()) == {""}
    answer = next(cell for cell in whole.cells if source.kind(cell) == "answer" and source.name(cell) == "leak")
    answer.source = wrong.read_text(encoding="utf-8")
    named = set(answer.source.split("\n")[0].removeprefix("# fails:").split())
    found = judge(whole, whole, "ada")
    assert hidden <= {test for test, error in found.items() if error} == named


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_overwritten(kind: str, book: Path) -> None:
    new(book, kind, "mine")
    before = texts(book)
    name = next((path.stem for path in (book / "notebooks").glob("*-mine.md")), "mine")
    with pytest.raises(UsageError, match=r"is there already|which .* has"):
        new(book, kind, name)
    assert texts(book) == before


@pytest.mark.parametrize("writes", [1, 2, 3])
def test_nothing_half_written_is_left(writes: int, book: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before, done = texts(book), iter(range(writes))

    def until_full(path: Path, data: bytes) -> None:
        if next(done, None) is None:
            monkeypatch.undo()
            raise OSError("no space left")
        write_atomically(path, data)

    monkeypatch.setattr(skeletons, "write_atomically", until_full)
    with pytest.raises(OSError, match="no space left"):
        new(book, "chapter", "mine")
    assert texts(book) == before


WRONG: Iterable[tuple[str, str, str, str]] = [
    ("chapters", "mine", "", "unknown kind 'chapters'; available: chapter, task"),
    ("task", "Mine", "", "task 'Mine'; allowed: .* small letters"),
    ("task", "my-task", "", "'_' between words"),
    ("model", "lambda", "", "no word of Python's own"),
    ("model", LONG + "x", "", "up to 24"),
    ("model", "../mine", "", "allowed"),
    ("task", "mine", "III", "unknown part 'III'; available: elman, wave_rnn, ssm"),
    ("experiment", "copying_grid", "", "an experiment 'copying_grid' is there already"),
    ("chapter", "22_mine", "", "'-' between words"),
    ("chapter", "22-", "", "allowed"),
    ("chapter", "mine\n", "", "allowed"),
    ("chapter", "01-mine", "", "chapter number 1, which 01-histories has"),
    ("chapter", "100-mine", "", "from 1 to 99"),
    ("chapter", "mine", "V", "unknown part 'V'; available: I, II, III, IV"),
    ("problem", "mine", "0", "unknown part '0'"),
    ("problem", "My set", "", "problem set 'My set'; allowed"),
]


@pytest.mark.parametrize(("kind", "name", "part", "says"), WRONG)
def test_bad_names_are_told_what_is_allowed(kind: str, name: str, part: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        new(ROOT, kind, name, part)


@pytest.mark.parametrize(
    ("file", "change", "kind"),
    [
        ("_toc.yml", lambda text: text.replace("      - file", "      -  file"), "chapter"),
        ("src/wavemem/experiments.py", lambda text: text.replace("    ", "  "), "experiment"),
    ],
)
def test_a_list_in_another_form_is_left_alone(file: str, change: Callable[[str], str], kind: str, book: Path) -> None:
    path = book / file
    path.write_text(change(path.read_text(encoding="utf-8")), encoding="utf-8")
    before = texts(book)
    with pytest.raises(UsageError, match="allowed: the form that the book has"):
        new(book, kind, "mine")
    assert texts(book) == before


def test_a_welcome_page_of_ones_own_is_left_alone(book: Path) -> None:
    (book / "book" / "intro.md").write_text("# Welcome\n", encoding="utf-8")
    made = new(book, "chapter", "mine")
    assert book / "book" / "intro.md" not in made.changed
    assert "say in book/intro.md what the chapter is about and which it needs" in made.following


def test_problem_sets_in_a_folder_beside_the_book(
    book: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (book / "course.toml").write_text(f"year = 2028\nproblems = '{book.parent / 'own/problems'}'\n", encoding="utf-8")
    monkeypatch.chdir(book)
    monkeypatch.setattr(sys, "argv", ["wavemem", "new", "problem", "mine"])
    for said in ("wrote   ../own/problems/mine.md\nwrote   ../own/wrong/mine/one-age.py\n", "mine.md, ../own/wrong/"):
        with pytest.raises(SystemExit):
            main()
        assert said in "".join(capsys.readouterr())


def test_the_command_says_what_it_wrote(
    book: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(book)
    monkeypatch.setattr(sys, "argv", ["wavemem", "new", "experiment", "mine"])
    with pytest.raises(SystemExit) as stopped:
        main()
    said = capsys.readouterr().out
    assert not stopped.value.code
    for line in (
        "wrote   src/wavemem/wave_rnn/mine.py",
        "changed src/wavemem/experiments.py",
        "  .venv/bin/wavemem run mine",
    ):
        assert line in said
