"""The chapters as they stand in ``notebooks/``: found, chosen, and made into notebooks to execute and to publish.

An executed notebook carries traces of its execution: timings, random cell ids, where a stream of text happened to be
cut, memory addresses. All of them are removed here, so that the same command writes the same bytes twice.
"""

from __future__ import annotations

import copy
import functools
import json
import re
from collections import Counter
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from wavemem.building.layout import BuildError, Layout, Parameters, UsageError

CHAPTER_FILES = "[0-9]*-*.md"
"""The chapters among the files of their folder."""

PARAMETERS = tuple(field.name for field in fields(Parameters))
_FRONT_MATTER = re.compile(r"\A---[ \t]*\n(.*?)\n---[ \t]*\n", re.DOTALL)
_OPENED_CELL = re.compile(r"^[\s>]*(`{3,}|~{3,}|:{3,})\s*\{code-cell\}.*", re.IGNORECASE | re.MULTILINE)
"""What a writer means as a code cell, whether or not jupytext takes it for one."""
_FOLDED = frozenset({"hide-cell", "hide-input", "remove-cell", "remove-input", "parameters"})
SOLUTION = re.compile(r"^(`{3,}|:{3,}|~{3,})\{solution\}.*?^\1[ \t]*$", re.DOTALL | re.MULTILINE)
"""The solution of an exercise, from fence to fence."""
_SKIPPED = "skip-execution"  # nbclient's tag for what a reader executes, and no build
_DISPLAYED = re.compile(r"\$\$.+?\$\$", re.DOTALL)
_PROOF = re.compile(r"^(?:`{3,}|:{3,})\{prf:proof\}", re.MULTILINE)
_ADDRESS = re.compile(r"\b0x[0-9a-fA-F]{6,}\b")
_STYLER = re.compile(r"\bT_[0-9a-f]{5}(?=[_\"' ])")
_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


@dataclass(frozen=True)
class Chapter:
    """One chapter's text source and what its front matter declares.

    Attributes:
        name: File name without suffix, e.g. ``04-linear-boundary``.
        text: The content of the file.
        title: Title in the front matter, or the name.
        records: Folders under ``records/`` whose measurements the chapter shows.
        timeout: Seconds that one cell may take in the quick profile.
    """

    name: str
    text: str
    title: str
    records: tuple[str, ...]
    timeout: int

    @property
    def number(self) -> int:
        """Chapter number, from the file name."""
        return int(self.name.split("-", 1)[0])

    @property
    def minutes(self) -> int:
        """How long one reads it, to five minutes.

        An estimate: 200 words of prose a minute, as such texts are read; 4 s for a line of code, which says as much as a line
        of prose; 20 s for a displayed equation, whose symbols one looks up; and 3 min for a proof, beside its words and
        equations, to go its steps oneself. What is folded (code, solutions) does not count.
        """
        cells = parsed(self.text, self.name).cells
        prose = SOLUTION.sub("", "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown"))
        words = sum(any(map(str.isalpha, word)) for word in _DISPLAYED.sub("", prose).split())
        shown = [c.source for c in cells if c.cell_type == "code" and not _FOLDED & set(c.metadata.get("tags", []))]
        lines = sum(bool(line.strip()) for source in shown for line in source.splitlines())
        minutes = words / 200 + lines / 15 + len(_DISPLAYED.findall(prose)) / 3 + 3 * len(_PROOF.findall(prose))
        return max(5, 5 * round(minutes / 5))


def front_matter(text: str, where: str) -> Any:
    """Parse the YAML block at the top of a text notebook; None if there is none or it is empty."""
    match = _FRONT_MATTER.match(text)
    try:
        return yaml.safe_load(match.group(1)) if match else None
    except yaml.YAMLError as error:
        raise BuildError(f"{where}: the front matter is not valid YAML: {error}") from error


@functools.lru_cache(maxsize=64)
def parsed(text: str, where: str) -> Any:
    """The notebook of a MyST text notebook, shared by all who ask: not to be changed.

    Raises:
        BuildError: If it cannot be read, or holds a code cell that would not be executed.
    """
    from jupytext import reads
    from jupytext.myst import MystMetadataParsingError

    try:
        notebook = reads(text, fmt="md:myst")
    except (MystMetadataParsingError, yaml.YAMLError) as error:
        raise BuildError(f"{where}: cannot be read as a MyST text notebook: {error}") from error
    for cell in notebook.cells:
        stray = _OPENED_CELL.search(cell.source)
        if stray is None:
            continue
        words = stray.group().strip()
        if cell.cell_type == "code":
            raise BuildError(f"{where}: the code cell before {words!r} is not closed: {cell.source[:60]!r}")
        line = text[: text.index(words)].count("\n") + 1
        raise BuildError(
            f"{where}: line {line}: {words!r} is never executed; a code cell begins at the left margin, with "
            "```{code-cell}, inside nothing else"
        )
    return notebook


def code_cells(text: str, where: str = "the chapter") -> list[Any]:
    """The code cells of a MyST text notebook.

    Raises:
        BuildError: If it cannot be read, or holds a code cell that would not be executed.
    """
    return [cell for cell in parsed(text, where).cells if cell.cell_type == "code"]


def executed_cells(cells: list[Any]) -> list[Any]:
    """The code cells that a build executes: all but the beginnings of answers, which are for a reader to go on with."""
    return [cell for cell in cells if cell.cell_type == "code" and _SKIPPED not in cell.metadata.get("tags", [])]


def executable(text: str, where: str) -> Any:
    """The notebook of a MyST text notebook, its cells with ids that depend on their position among their kind alone.

    Raises:
        BuildError: If it cannot be read, or no cell tagged ``parameters`` sets each of the three.
    """
    notebook = copy.deepcopy(parsed(text, where))
    tagged = [cell.source for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    if not tagged:
        raise BuildError(f"{where}: no code cell is tagged 'parameters'; it has to set {', '.join(PARAMETERS)}")
    missing = [name for name in PARAMETERS if not re.search(rf"^{name}\s*[:=]", tagged[0], re.MULTILINE)]
    if missing:
        raise BuildError(f"{where}: the cell tagged 'parameters' does not set {', '.join(missing)}")
    _number_cells(notebook)
    return notebook


def _number_cells(notebook: Any) -> None:
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    counts: Counter[str] = Counter()
    for cell in notebook.cells:
        cell["id"] = f"{cell.cell_type}-{counts[cell.cell_type]:03d}"
        counts[cell.cell_type] += 1


def plain(text: str) -> str:
    """Text without terminal colours."""
    return _ANSI.sub("", text)


def _outputs(cell: Any) -> list[Any]:
    """Outputs with neighbouring streams joined and traces of the moment removed."""

    def tidy(content: str) -> str:
        return _STYLER.sub(f"T_{cell.id.replace('-', '_')}", _ADDRESS.sub("0x…", content))

    kept: list[Any] = []
    for output in cell.outputs:
        if output.output_type == "stream" and kept and kept[-1].get("name") == output.name:
            kept[-1].text += output.text
        else:
            kept.append(output)
    for output in kept:
        if output.output_type == "stream":
            output.text = tidy(plain(output.text))
        for mime in {"text/plain", "text/html"} & output.get("data", {}).keys():
            output.data[mime] = tidy(output.data[mime])
    return kept


def published(notebook: Any) -> Any:
    """Strip an executed notebook of everything that differs between two executions; changes it in place."""
    notebook.metadata.pop("papermill", None)
    _number_cells(notebook)
    for cell in notebook.cells:
        for trace in ("papermill", "execution"):
            cell.metadata.pop(trace, None)
        tags = list(cell.metadata.get("tags", []))
        if {"parameters", "injected-parameters"} & set(tags) and "remove-cell" not in tags:
            cell.metadata["tags"] = [*tags, "remove-cell"]
        if cell.cell_type == "code":
            cell.outputs = _outputs(cell)
    return notebook


def as_executed(chapter: Chapter, executed: Any) -> Any:
    """A chapter's words and options of today with the outputs of its execution.

    Where today's code is another, the executed notebook as it is: outputs stand under the code that made them.
    """
    notebook = published(executable(chapter.text, chapter.name))
    done = [c for c in executed.cells if "injected-parameters" not in c.metadata.get("tags", [])]
    pairs = [executed_cells(cells) for cells in (notebook.cells, done)]
    if [cell.source for cell in pairs[0]] != [cell.source for cell in pairs[1]]:
        return executed
    for cell, made in zip(*pairs, strict=True):
        cell.outputs, cell.execution_count = made.outputs, made.execution_count
    notebook.metadata.update({k: v for k, v in executed.metadata.items() if k == "language_info"})
    return notebook


def notebook_bytes(notebook: Any) -> bytes:
    """A notebook's bytes: UTF-8 JSON, keys sorted."""
    return (json.dumps(notebook, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()


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
    if not isinstance(header, dict) or "wavemem" not in header:
        raise BuildError(
            f"{path.name}: the front matter has no 'wavemem' (title, records). If an editor dropped it: restore "
            "it, and keep 'notebook_metadata_filter: wavemem' under 'jupytext', as the other chapters do"
        )
    given = header["wavemem"] or {}
    if not isinstance(given, dict):
        raise BuildError(f"{path.name}: 'wavemem' in the front matter is {given!r}; allowed: a mapping")
    settings: dict[str, Any] = {"title": path.stem, "records": [], "timeout": 900} | given
    for name, kind in (("timeout", int), ("records", list)):
        if not isinstance(settings[name], kind):
            allowed = "a list of folder names" if kind is list else "a whole number"
            raise BuildError(f"{path.name}: {name} in the front matter is {settings[name]!r}; allowed: {allowed}")
    records = tuple(map(str, settings["records"]))
    return Chapter(path.stem, text, str(settings["title"]), records, settings["timeout"])


def discover(layout: Layout) -> list[Chapter]:
    """All chapters, in the order of their numbers.

    Raises:
        BuildError: If a front matter cannot be read or two chapters share a number.
        UsageError: If there are none.
    """
    found: dict[int, Chapter] = {}
    for path in sorted(layout.notebooks.glob(CHAPTER_FILES)):
        chapter = _read(path)
        if chapter.number in found:
            raise BuildError(f"chapters {found[chapter.number].name} and {chapter.name} share a number")
        found[chapter.number] = chapter
    if not found:
        raise UsageError(f"no chapters in {layout.notebooks}")
    return [found[number] for number in sorted(found)]


def select(chapters: list[Chapter], wanted: str) -> list[Chapter]:
    """Chapters named in a list such as ``"4,06 02-wave-equation"``; all of them if nothing is named.

    Args:
        chapters: The chapters that exist.
        wanted: Names, numbers or unambiguous beginnings of names, separated by commas or blanks.

    Raises:
        UsageError: If a name fits no chapter, or more than one.
    """
    words = [word for word in re.split(r"[,\s]+", wanted) if word]
    if not words:
        return list(chapters)
    picked: set[str] = set()
    for word in words:
        stem = word.removesuffix(".md").removeprefix("notebooks/")
        if stem.isdecimal():
            fits = [chapter for chapter in chapters if chapter.number == int(stem)]
        else:
            fits = [chapter for chapter in chapters if chapter.name == stem]
            fits = fits or [c for c in chapters if c.name.startswith(stem) or c.name.split("-", 1)[1] == stem]
        if len(fits) != 1:
            available = ", ".join(chapter.name for chapter in chapters)
            raise UsageError(f"{'ambiguous' if fits else 'unknown'} chapter {word!r}; available: {available}")
        picked.add(fits[0].name)
    return [chapter for chapter in chapters if chapter.name in picked]
