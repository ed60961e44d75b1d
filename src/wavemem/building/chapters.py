"""The chapters as they stand in ``notebooks/``: discovery, front matter, selection."""

from __future__ import annotations

import copy
import functools
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from wavemem.building.layout import BuildError, Layout, UsageError

CHAPTER_FILES = "[0-9]*-*.md"
"""The chapters among the files of their folder."""

_FRONT_MATTER = re.compile(r"\A---[ \t]*\n(.*?)\n---[ \t]*\n", re.DOTALL)
_OPENED_CELL = re.compile(r"^[\s>]*(`{3,}|~{3,}|:{3,})\s*\{code-cell\}.*", re.IGNORECASE | re.MULTILINE)
"""What a writer means as a code cell, whether or not jupytext takes it for one."""


@dataclass(frozen=True)
class Chapter:
    """One chapter's text source and what its front matter declares.

    Attributes:
        name: File name without suffix, e.g. ``04-linear-boundary``.
        source: The text file.
        text: Its content.
        title: Title in the front matter, or the name.
        minutes: Reading time in minutes, 0 if not declared.
        records: Folders under ``records/`` whose measurements the chapter shows.
        timeout: Seconds that one cell may take in the quick profile.
    """

    name: str
    source: Path
    text: str
    title: str
    minutes: int = 0
    records: tuple[str, ...] = ()
    timeout: int = 900

    @property
    def number(self) -> int:
        """Chapter number, from the file name."""
        return int(self.name.split("-", 1)[0])


def front_matter(text: str, where: str) -> dict[str, Any]:
    """Parse the YAML block at the top of a text notebook; empty if there is none."""
    match = _FRONT_MATTER.match(text)
    if match is None:
        return {}
    try:
        content = yaml.safe_load(match.group(1))
    except yaml.YAMLError as error:
        raise BuildError(f"{where}: the front matter is not valid YAML: {error}") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise BuildError(f"{where}: the front matter is a {type(content).__name__}, not a mapping")
    return content


@functools.lru_cache(maxsize=64)
def _parsed(text: str) -> Any:
    from jupytext import reads
    from jupytext.myst import MystMetadataParsingError

    try:
        notebook = reads(text, fmt="md:myst")
    except (MystMetadataParsingError, yaml.YAMLError) as error:
        raise ValueError(f"cannot be read as a MyST text notebook: {error}") from error
    for cell in notebook.cells:
        stray = _OPENED_CELL.search(cell.source)
        if stray is None:
            continue
        words = stray.group().strip()
        if cell.cell_type == "code":
            raise ValueError(f"the code cell before {words!r} is not closed: {cell.source[:60]!r}")
        line = text[: text.index(words)].count("\n") + 1
        raise ValueError(
            f"line {line}: {words!r} is never executed; a code cell begins at the left margin, with ```{{code-cell}}, "
            "inside nothing else"
        )
    return notebook


def _named(text: str, where: str) -> Any:
    try:
        return _parsed(text)
    except ValueError as error:
        raise BuildError(f"{where}: {error}") from error


def parse(text: str, where: str) -> Any:
    """The cells of a MyST text notebook, as jupytext reads them; a copy of the caller's own.

    Raises:
        BuildError: If it cannot be read, or holds a code cell that would not be executed.
    """
    return copy.deepcopy(_named(text, where))


def code_cells(text: str, where: str = "the chapter") -> list[str]:
    """Source of each code cell of a MyST text notebook, without its option lines."""
    return [cell.source for cell in _named(text, where).cells if cell.cell_type == "code"]


def _read(path: Path) -> Chapter:
    """One chapter from its text file, whatever its line ends and with or without a byte order mark."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise BuildError(f"{path.name}: not UTF-8 (byte {error.start}); save it as UTF-8") from error
    number = path.stem.split("-", 1)[0]
    if not number.isdecimal():
        raise BuildError(f"{path.name}: a chapter's name begins with its number and a hyphen, e.g. 04-name.md")
    header = front_matter(text, path.name)
    if "wavemem" not in header:
        raise BuildError(
            f"{path.name}: the front matter has no 'wavemem' (title, minutes, records). If an editor dropped it: restore "
            "it, and keep 'notebook_metadata_filter: wavemem' under 'jupytext', as the other chapters do"
        )
    settings = header["wavemem"] or {}
    if not isinstance(settings, dict):
        raise BuildError(f"{path.name}: 'wavemem' in the front matter is {settings!r}; allowed: a mapping")
    for name, kind in (("minutes", int), ("timeout", int), ("records", list)):
        if name in settings and not isinstance(settings[name], kind):
            allowed = "a list of folder names" if kind is list else "a whole number"
            raise BuildError(f"{path.name}: {name} in the front matter is {settings[name]!r}; allowed: {allowed}")
    return Chapter(
        name=path.stem,
        source=path,
        text=text,
        title=str(settings.get("title", path.stem)),
        minutes=settings.get("minutes", 0),
        records=tuple(map(str, settings.get("records", ()))),
        timeout=settings.get("timeout", 900),
    )


def discover(layout: Layout) -> list[Chapter]:
    """All chapters, in the order of their numbers.

    Raises:
        BuildError: If a front matter cannot be read or two chapters share a number.
    """
    found: dict[int, Chapter] = {}
    for path in sorted(layout.notebooks.glob(CHAPTER_FILES)):
        chapter = _read(path)
        if chapter.number in found:
            raise BuildError(f"chapters {found[chapter.number].name} and {chapter.name} share a number")
        found[chapter.number] = chapter
    return [found[number] for number in sorted(found)]


def select(chapters: list[Chapter], wanted: str | None) -> list[Chapter]:
    """Chapters named in a list such as ``"4,06 02-wave-equation"``; all of them if nothing is named.

    Args:
        chapters: The chapters that exist.
        wanted: Names, numbers or unambiguous beginnings of names, separated by commas or blanks.

    Raises:
        UsageError: If a name fits no chapter, or more than one.
    """
    words = [word for word in re.split(r"[,\s]+", wanted or "") if word]
    if not words:
        return list(chapters)
    available = ", ".join(chapter.name for chapter in chapters) or "none"
    picked: set[str] = set()
    for word in words:
        stem = word.removesuffix(".md").removeprefix("notebooks/")
        if stem.isdecimal():
            fits = [chapter for chapter in chapters if chapter.number == int(stem)]
        else:
            fits = [chapter for chapter in chapters if chapter.name == stem]
            fits = fits or [c for c in chapters if c.name.startswith(stem) or c.name.split("-", 1)[1] == stem]
        if len(fits) != 1:
            problem = "unknown chapter" if not fits else "ambiguous chapter"
            raise UsageError(f"{problem} {word!r}; available: {available}")
        picked.add(fits[0].name)
    return [chapter for chapter in chapters if chapter.name in picked]
