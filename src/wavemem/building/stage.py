"""Assemble the tree that Sphinx reads: prose as it is, chapters as executed, pages made from measurements.

Assembling instead of building in place keeps the text sources out of Sphinx's sight (a label in both a text notebook
and its executed twin would be defined twice), and lets every chapter carry the facts of its own execution.
"""

from __future__ import annotations

import copy
import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from typing import Any

import yaml

from wavemem.building import cache
from wavemem.building.chapters import Chapter
from wavemem.building.generated import BLOCKS, execution_page, generate
from wavemem.building.layout import BuildError, Layout, Parameters, write_atomically
from wavemem.building.notebooks import executable, published
from wavemem.building.worker import notebook_bytes

SUMMARY = r"## (?:What we now know|Summary)\s*$"
"""The heading of a chapter's summary."""

_MATHJAX = "tex-svg-full.js"


@dataclass(frozen=True)
class Staged:
    """An assembled tree.

    Attributes:
        digest: Hash over every path and content in it.
        missing: Pages that the table of contents names and that do not exist.
        unexecuted: Chapters shown without their outputs.
    """

    digest: str
    missing: list[str]
    unexecuted: list[str]


class _Tree:
    """Files to be, written only where they differ from what is there."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}

    def add(self, path: str, content: bytes | str) -> None:
        self.files[path] = content.encode() if isinstance(content, str) else content

    def add_folder(self, folder: Path, below: str) -> None:
        for file in sorted(folder.rglob("*")):
            inside = file.relative_to(folder)
            if file.is_file() and not any(part.startswith((".", "__pycache__")) for part in inside.parts):
                self.add(f"{below}/{inside.as_posix()}", file.read_bytes())

    def write(self, target: Path) -> None:
        for file in sorted(target.rglob("*"), reverse=True):
            if file.is_dir() and not any(file.iterdir()):
                file.rmdir()
            elif file.is_file() and file.relative_to(target).as_posix() not in self.files:
                file.unlink()
        for path, content in self.files.items():
            file = target / path
            if not file.is_file() or file.read_bytes() != content:
                write_atomically(file, content)

    def digest(self) -> str:
        whole = hashlib.sha256()
        for path in sorted(self.files):
            whole.update(f"{path}\0{hashlib.sha256(self.files[path]).hexdigest()}\0".encode())
        return whole.hexdigest()


def _mathjax() -> bytes:
    """The MathJax bundle that the book extra installs."""
    try:
        packaged = files("sphinx-mathjax-offline") or []
    except PackageNotFoundError:
        packaged = []
    for file in packaged:
        if file.name == _MATHJAX and "mathjax" in file.parts:
            return Path(str(file.locate())).read_bytes()
    raise BuildError("no MathJax to put beside the pages; install the book's tools: pip install -e '.[book]'")


def _facts(chapter: Chapter, parameters: Parameters, executed: bool) -> str:
    """The line under a chapter's title."""
    parts = [f"{chapter.minutes} minutes' read"] if chapter.minutes else []
    if executed:
        parts.append(f"executed with profile `{parameters.profile}`")
        parts.append(f"device `{parameters.device}`, seed `{parameters.seed}`")
    else:
        parts.append("not executed in this build")
    return f":::{{div}} chapter-facts\n{' · '.join(parts)}\n:::"


def _footer(chapter: Chapter, parameters: Parameters) -> str:
    """The box at a chapter's end: how to run it, and its files."""
    name = chapter.name
    return (
        ":::{div} chapter-run\n"
        "**Run it yourself.** "
        f"`wavemem book run {name} --profile {parameters.profile}` executes this chapter. "
        f"Its files: {{download}}`notebook <../downloads/{name}.ipynb>`, "
        f"{{download}}`text source <../downloads/{name}.md>`.\n"
        ":::"
    )


def _insert(notebook: Any, heading: str, text: str, before: str = "") -> bool:
    """Put text under a heading, at once or in front of the next line of its cell that matches; whether it was found."""
    for cell in notebook["cells"]:
        if cell["cell_type"] != "markdown":
            continue
        source = cell["source"] if isinstance(cell["source"], str) else "".join(cell["source"])
        lines = source.split("\n")
        title = next((index for index, line in enumerate(lines) if re.match(heading, line)), None)
        if title is not None:
            rest = range(title + 1, len(lines)) if before else ()
            place = next((i for i in rest if re.match(before, lines[i])), len(lines) if before else title + 1)
            lines[place:place] = ["", text, ""]
            cell["source"] = "\n".join(lines)
            return True
    return False


def _with_frame(notebook: Any, facts: str, claims: str, footer: str) -> Any:
    """A copy of a notebook with a line under its title, the papers' claims after its summary and a box at its end."""
    framed = copy.deepcopy(notebook)
    _insert(framed, "# ", facts)
    ends = [footer]
    if claims and not _insert(framed, SUMMARY, claims, before="## "):
        ends.insert(0, claims)
    for name, text in zip(("chapter-claims", "chapter-footer")[-len(ends) :], ends, strict=True):
        framed["cells"].append({"cell_type": "markdown", "id": name, "metadata": {}, "source": text})
    return framed


def contents(layout: Layout) -> dict[str, Any]:
    """The table of contents.

    Raises:
        BuildError: If it cannot be read.
    """
    file = layout.root / "_toc.yml"
    try:
        toc = yaml.safe_load(file.read_text(encoding="utf-8"))
        for part in toc.get("parts", []):
            _ = [entry["file"] for entry in part.get("chapters", [])]
    except (yaml.YAMLError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise BuildError(f"{file} is no table of contents of parts with chapters: {error}") from error
    return dict(toc)


def unlisted(layout: Layout, chapters: list[Chapter]) -> list[str]:
    """Names of the chapters that the table of contents does not name."""
    entries = [entry["file"] for part in contents(layout).get("parts", []) for entry in part.get("chapters", [])]
    return [chapter.name for chapter in chapters if f"chapters/{chapter.name}" not in entries]


def _prune(toc: dict[str, Any], exists: Callable[[str], bool]) -> tuple[dict[str, Any], list[str]]:
    """The table of contents without entries that have no file, and the entries left out."""
    missing: list[str] = []
    kept = copy.deepcopy(toc)
    for part in kept.get("parts", []):
        for entry in list(part.get("chapters", [])):
            if not exists(entry["file"]):
                missing.append(entry["file"])
                part["chapters"].remove(entry)
    kept["parts"] = [part for part in kept.get("parts", []) if part.get("chapters")]
    return kept, missing


def stage(layout: Layout, parameters: Parameters, chapters: list[Chapter]) -> Staged:
    """Assemble ``_build/source``.

    Args:
        layout: Where the book lies.
        parameters: Which variant of the executed chapters to take.
        chapters: All chapters of the book; one that was never executed is included without outputs.
    """
    tree = _Tree()
    tree.add("_config.yml", (layout.root / "_config.yml").read_bytes())
    tree.add_folder(layout.root / "book", "book")
    tree.add(f"static/mathjax/{_MATHJAX}", _mathjax())
    pages = generate(layout, parameters)
    blocks: dict[str, str] = json.loads(pages.pop(BLOCKS, b"{}"))
    if "" in blocks:
        tree.add("pages/claims-count.txt", blocks[""])
    for name, content in pages.items():
        tree.add(f"book/{name}" if name == "welcome.svg" else f"pages/{name}", content)
    unexecuted = []
    entries = {}
    for chapter in chapters:
        plain = executable(chapter.text, chapter.name)
        entry = cache.look_up(layout, parameters, chapter.name)
        if entry is None:
            unexecuted.append(chapter.name)
            notebook = published(copy.deepcopy(plain))
        else:
            entries[chapter.name] = entry
            notebook = json.loads(entry.notebook.read_text(encoding="utf-8"))
        facts, footer = _facts(chapter, parameters, entry is not None), _footer(chapter, parameters)
        framed = _with_frame(notebook, facts, blocks.get(chapter.name, ""), footer)
        tree.add(f"chapters/{chapter.name}.ipynb", notebook_bytes(framed))
        tree.add(f"downloads/{chapter.name}.ipynb", notebook_bytes(plain))
        tree.add(f"downloads/{chapter.name}.md", chapter.text)
    tree.add("pages/execution.md", execution_page(chapters, entries, parameters))
    stems = {str(Path(path).with_suffix("")) for path in tree.files}
    kept, missing = _prune(contents(layout), lambda name: name in stems)
    tree.add("_toc.yml", yaml.safe_dump(kept, sort_keys=False))
    tree.write(layout.source)
    return Staged(tree.digest(), missing, unexecuted)
