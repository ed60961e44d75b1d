"""Skeletons of what a contributor adds: they run, have a test, and are there to be changed.

They lie in ``tools/skeletons/``. What has to be named is called "skeleton" there, in the spelling that the place asks for, and a
number or a part NN.
"""

from __future__ import annotations

import keyword
import os
import re
from dataclasses import dataclass
from pathlib import Path

import yaml

from wavemem.building.chapters import discover
from wavemem.building.editions import numbered
from wavemem.building.layout import Layout, UsageError, choose, write_atomically
from wavemem.building.stage import contents
from wavemem.course.commands import settings

KINDS = ("chapter", "task", "model", "experiment", "problem")
PACKAGES = ("elman", "wave_rnn", "ssm")
"""Folders of the library for a task, a model or an experiment."""
_LONGEST = 24
_IMPORTS = re.compile(r"(?:^from wavemem\S* import .*\n)+", re.MULTILINE)


@dataclass(frozen=True)
class Written:
    """What `new` does: files that are new, files with a line or more added, and what comes next."""

    files: dict[Path, str]
    changed: dict[Path, str]
    following: str


def new(root: Path, kind: str, name: str, part: str = "") -> Written:
    """Write a skeleton, and add to the lists what they need to know of it; nothing is overwritten.

    Args:
        root: Top of the book.
        kind: One of `KINDS`.
        name: Of a chapter and of a problem set: words with hyphens between them, in front of a chapter's its number where it is
            not to be the next one. Of all else: a name of a Python module, with low lines between its words.
        part: Of a chapter and of a problem set: a Roman number, the last one by default. Of all else: one of `PACKAGES`,
            "wave_rnn" by default.

    Raises:
        UsageError: There is no such kind or part, the name is not allowed or is taken, or a list is not written in the form in
            which a line can be added. Nothing has been written then.
    """
    if choose("kind", kind, KINDS) == "chapter":
        found = _chapter(root, name, part)
    elif kind == "problem":
        found = _problem(root, name, part)
    else:
        found = _module(root, kind, name, part)
    taken = [os.path.relpath(file, root) for file in found.files if file.exists()]
    if taken:
        raise UsageError(f"{', '.join(taken)} is there already; allowed: a name that is free. Nothing was written")
    before = {file: file.read_bytes() for file in found.changed}
    try:
        for file, text in (found.files | found.changed).items():
            write_atomically(file, text.encode())
    except BaseException:  # a full disk, or somebody who thought better of it
        for file in found.files:
            file.unlink(missing_ok=True)
        for file, content in before.items():
            if file.read_bytes() != content:
                write_atomically(file, content)
        raise
    return found


def _checked(kind: str, name: str, between: str, example: str) -> str:
    fits = re.fullmatch(rf"[a-z][a-z0-9]*({between}[a-z0-9]+)*", name) and len(name) <= _LONGEST
    if not fits or keyword.iskeyword(name):
        raise UsageError(
            f"{kind} {name!r}; allowed: up to {_LONGEST} small letters and digits, a letter first, {between!r} between words and "
            f"no word of Python's own. Call it, for example, {example}"
        )
    return name


def _filled(root: Path, template: str, name: str, title: str, **others: str) -> str:
    words = {"skeleton": name, "Skeleton": title} | others
    text = (root / "tools" / "skeletons" / template).read_text(encoding="utf-8")
    text = re.sub("|".join(map(re.escape, sorted(words, key=len, reverse=True))), lambda found: words[found[0]], text)
    return _IMPORTS.sub(lambda block: "".join(sorted(block[0].splitlines(True))), text)


def _module(root: Path, kind: str, name: str, part: str) -> Written:
    package = choose("part", part or "wave_rnn", PACKAGES)
    name = _checked(kind, name, "_", "delayed_sum")
    title = "".join(word.capitalize() for word in name.split("_"))
    own = {"wavemem.wave_rnn.skeleton": f"wavemem.{package}.{name}"}
    module, test = f"src/wavemem/{package}/{name}.py", f"tests/{package}/test_{name}.py"
    files = {
        root / module: _filled(root, f"{kind}.py", name, title),
        root / test: _filled(root, f"{kind}_test.py", name, title, **own),
    }
    run = f".venv/bin/python -m pytest {test}"
    if kind == "task":
        return Written(files, {}, f"say in {module} what is shown and asked, and in {test} what must hold\n{run}")
    if kind == "model":
        models = "tests/training/test_ensemble.py"
        return Written(
            files, {}, f"write {module}, and its slow loop in {test}\n{run}\nadd a Model to MODELS in {models}"
        )
    listed = root / "src" / "wavemem" / "experiments.py"
    text = listed.read_text(encoding="utf-8")
    entries = re.search(r'(?<=^EXPERIMENTS = \{\n)(?:    "\w+": "[\w.]+",\n)+(?=\}$)', text, re.MULTILINE)
    if entries is None:
        raise UsageError(f"{listed} has no EXPERIMENTS with one entry a line; allowed: the form that the book has")
    if f'"{name}":' in entries[0]:
        raise UsageError(f"an experiment {name!r} is there already; allowed: a name that is free. Nothing was written")
    lines = sorted([*entries[0].splitlines(True), f'    "{name}": "wavemem.{package}.{name}",\n'])
    text = text[: entries.start()] + "".join(lines) + text[entries.end() :]
    every = f".venv/bin/python -m pytest tests/records/test_every_experiment.py -k {name}"
    tried = f".venv/bin/wavemem run {name} --records _build/records"
    return Written(files, {listed: text}, f"write {module}\n{run}\n{every}\n{tried}")


def _part(root: Path, part: str) -> tuple[str, list[str]]:
    """A part's Roman number, and the chapters of the numbered parts up to its end."""
    parts = numbered(contents(Layout(root), []).get("parts", []))
    part = choose("part", part or next(reversed(parts), ""), parts)
    upto = list(parts)[: list(parts).index(part) + 1]
    return part, [Path(entry["file"]).name for one in upto for entry in parts[one]["chapters"]]


def _chapter(root: Path, name: str, part: str) -> Written:
    numbered_so = re.match(r"(\d+)-", name)
    number, start = (numbered_so[1], numbered_so.end()) if numbered_so else ("", 0)
    words = _checked("chapter", name[start:], "-", "my-chapter or 22-my-chapter")
    taken = {chapter.number: chapter.name for chapter in discover(Layout(root))}
    k = int(number or max(taken) + 1)
    if k in taken or not 0 < k < 100:
        raise UsageError(
            f"chapter number {k}{f', which {taken[k]} has' if k in taken else ''}; allowed: one from 1 to 99 that is free"
        )
    part, before = _part(root, part)
    stem, title = f"{k:02}-{words}", words.replace("-", " ").capitalize()
    fill = {
        "NN.1": f"{k}.1",
        "number: NN": f"number: {k}",
        "**NN**": f"**{k}**",
        "chapter NN": f"chapter {k}",
        "NN": f"{k:02}",
    }
    listed, welcome = root / "_toc.yml", root / "book" / "intro.md"
    checks = root / "src" / "wavemem" / "course" / "exercises.py"

    text = listed.read_text(encoding="utf-8")
    last = f"      - file: chapters/{before[-1]}\n" if before else ""
    head, found, rest = text.partition(last) if last else (text, "", "")
    text = f"{head}{found}      - file: chapters/{stem}\n{rest}"
    changed = {
        listed: text,
        checks: checks.read_text(encoding="utf-8") + _filled(root, "exercise.txt", words, title, **fill),
    }
    try:
        entries = numbered(yaml.safe_load(text)["parts"])[part]["chapters"]
    except yaml.YAMLError:
        entries = []
    if not found or entries[-1:] != [{"file": f"chapters/{stem}"}]:
        raise UsageError(
            f"{listed}: no line of Part {part} to put chapters/{stem} under; allowed: the form that the book has"
        )

    following = [f"write notebooks/{stem}.md, and what its exercise checks at the end of {checks.relative_to(root)}"]
    page, entry = welcome.read_text(encoding="utf-8"), None
    if before and before[-1].split("-")[0].isdecimal():
        entry = re.search(
            rf"^\*\*{int(before[-1].split('-')[0])}\*\* .*?\*Needs .*?\.\*\n", page, re.MULTILINE | re.DOTALL
        )
    if entry is None:
        following.append("say in book/intro.md what the chapter is about and which it needs, and draw it on the map")
    else:
        changed[welcome] = page[: entry.end()] + _filled(root, "intro.txt", words, title, **fill) + page[entry.end() :]
        following.append("say in book/intro.md, where its entry stands, what it is about, and draw it on the map")
    place = len(before) + 1
    if place != k:
        following.append(
            f"the pages print the number in its name, {k}; its place among the numbered parts is {place}: for numbers in order "
            "rename it, and rename what lies behind it (CONTRIBUTING.md, A chapter)"
        )
    following += [
        f'.venv/bin/python -m pytest tests/book/test_summaries.py tests/course/test_exercises.py -k "{stem}"',
        f'.venv/bin/python -m pytest tests/book/test_notebooks.py -k "map or ({stem} and not ipynb)"',
        f".venv/bin/wavemem book run {k}",
        "make book",
    ]
    return Written(
        {root / "notebooks" / f"{stem}.md": _filled(root, "chapter.md", words, title, **fill)},
        changed,
        "\n".join(following),
    )


def _problem(root: Path, name: str, part: str) -> Written:
    folder, name = settings(root).problems, _checked("problem set", name, "-", "ps5-leak")
    part, _ = _part(root, part)
    files = {
        folder / f"{name}.md": _filled(root, "problem.md", name, name.replace("-", " ").capitalize(), NN=part),
        folder.parent / "wrong" / name / "one-age.py": _filled(root, "wrong.py", name, name),
    }
    following = [
        "write the problems; every hidden test needs a wrong answer that fails it, whose first line names it",
        f".venv/bin/python -m pytest tests/course/test_problems.py -k {name}",
        f".venv/bin/wavemem course release {name}",
    ]
    return Written(files, {}, "\n".join(following))
