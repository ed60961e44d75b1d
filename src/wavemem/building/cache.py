"""Executed chapters kept between builds: what they depend on, when one still holds, how a new one takes its place."""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import platform
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from wavemem.building.chapters import CHAPTER_FILES, Chapter, code_cells, executed_cells
from wavemem.building.layout import KEYED, Layout, Parameters, digest, write_atomically, write_json
from wavemem.kernels import compiled
from wavemem.records.code import closure
from wavemem.records.provenance import device_name
from wavemem.records.registry import fingerprint

KEY_PACKAGES = (
    "torch",
    "numpy",
    "scipy",
    "pandas",
    "safetensors",
    "matplotlib",
    "seaborn",
    "jaxtyping",
    "ipykernel",
    "ipython",
    "matplotlib-inline",
    "myst-nb",
    "jupytext",
    "papermill",
    "nbformat",
)
"""Distributions whose installed version can change an executed chapter, whatever the constraints file says."""

_HEEDED = frozenset({"parameters", "raises-exception"})
"""The tags that change what is executed; all other options of a cell are about its page."""

_READ = "read "
"""How the names of ingredients begin that no import line and no front matter tells of, but that a chapter was seen to read."""


def moments(files: Iterable[Path]) -> dict[Path, tuple[int, ...]]:
    """When each file was last changed: a change that is taken back leaves its content alone, but not this."""
    found: dict[Path, tuple[int, ...]] = {}
    for file in files:
        with contextlib.suppress(OSError):
            status = file.stat()
            found[file] = (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    return found


def altered(before: Mapping[Path, tuple[int, ...]], after: Mapping[Path, tuple[int, ...]]) -> list[str]:
    """Files that were changed between two looks at their moments."""
    return sorted(file.as_posix() for file in before.keys() | after.keys() if before.get(file) != after.get(file))


@dataclass(frozen=True)
class Key:
    """A chapter's key.

    Attributes:
        ingredients: What it is made of, by name.
        moments: When the files among the ingredients were last changed; no part of the key.
    """

    ingredients: dict[str, str]
    moments: dict[Path, tuple[int, ...]] = field(default_factory=dict, compare=False)

    def changes(self, previous: Mapping[str, str]) -> list[str]:
        """Names of the ingredients that differ from those of an earlier key."""
        names = sorted(self.ingredients.keys() | previous.keys())
        return [name for name in names if self.ingredients.get(name) != previous.get(name)]

    @property
    def read(self) -> list[str]:
        """Files that are ingredients because the chapter was seen to read them, relative to the top of the book."""
        return [name.removeprefix(_READ) for name in self.ingredients if name.startswith(_READ)]

    def touched(self, before: Key) -> list[str]:
        """What was changed since an earlier key was made, even where all is as it was by now."""
        return altered(before.moments, self.moments) or self.changes(before.ingredients)


def installed_versions() -> dict[str, str]:
    """Version of Python and of each of ``KEY_PACKAGES``; "absent" for one that is not installed."""
    versions = {"python": platform.python_version()}
    for name in KEY_PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "absent"
    return versions


def files_in(folder: Path) -> list[Path]:
    """The files below a folder, without what is hidden (such as what is being measured at this moment) or compiled."""
    odd = (".", "__pycache__")
    found = (path for path in folder.rglob("*") if path.is_file())
    return sorted(path for path in found if not any(part.startswith(odd) for part in path.relative_to(folder).parts))


def folder_digest(folder: Path, pattern: str = "*") -> str:
    """Hash of the files in a folder, by path and content."""
    found = (path for path in folder.rglob(pattern) if path.is_file())
    return digest({path.relative_to(folder).as_posix(): digest(path.read_bytes()) for path in found})


def installed() -> list[str]:
    """This Python and everything that is installed, with versions, from the names of the folders that say so."""
    return [sys.version, *sorted(found.name for place in sys.path for found in Path(place).glob("*.*-info"))]


def noted(path: Path) -> list[str]:
    """The words of a file; none where there is no file."""
    return path.read_text(encoding="utf-8", errors="replace").split() if path.is_file() else []


def _machine(parameters: Parameters, modules: Iterable[str], threads: int) -> dict[str, str]:
    """What else can change the last digits of a number: the machine, and what is asked of it."""
    found = {"processor": compiled.processor()} | {name: os.environ[name] for name in KEYED if name in os.environ}
    if threads != 1:
        found["threads"] = str(threads)
    if parameters.device == "cuda" and torch.cuda.is_available():
        found["GPU"] = device_name("cuda")
    if compiled.__name__ in modules:
        found["compiled kernels"] = " ".join(compiled.in_use())
    return found


def read_files(layout: Layout, notes: Path, key: Key) -> list[str]:
    """Files of the book that a kernel noted as read and not written, and that its chapter's key does not hold.

    What is hidden, generated or installed is no source, and the registry's entries are in the key by their content.
    """
    lines = notes.read_text(encoding="utf-8", errors="replace").splitlines() if notes.is_file() else []
    written = {line[2:] for line in lines if line.startswith("w ")}
    apart = [layout.build, layout.root / "records" / "registry", Path(sys.prefix)]
    known = key.moments.keys() - {layout.root / name for name in key.read}
    found = set()
    for name in {line[2:] for line in lines if line.startswith("r ")} - written:
        path = Path(name)
        if path.parent.name == "__pycache__":
            path = path.parents[1] / f"{path.name.partition('.')[0]}.py"
        inside = path.relative_to(layout.root)
        odd = any(part.startswith(".") or part.endswith(".egg-info") for part in inside.parts)
        if not odd and path not in known and not any(folder in path.parents for folder in apart):
            found.add(inside.as_posix())
    return sorted(found)


def chapter_key(
    chapter: Chapter, layout: Layout, parameters: Parameters, threads: int = 1, read: Iterable[str] = ()
) -> Key:
    """Collect what a chapter's execution depends on.

    The ingredients are the chapter's code cells (not its words, nor what a cell says about its page), every module of the
    package that it imports (see :mod:`wavemem.records.code`), every file that lies beside the notebooks and every Python
    file at the top of the book, the parameters, the machine, the number of threads if it is not 1, the locked and the
    installed versions, the record folders that its front matter names, if it reports to the registry, the criteria of the
    entries that its code names, and what it was seen to ``read``.
    """
    # Other chapters, and what an editor keeps beside a chapter under its name, are nobody's data.
    texts = {path.stem for path in layout.notebooks.glob(CHAPTER_FILES)}
    data = [path for path in (*files_in(layout.notebooks), *layout.root.glob("*.py")) if path.stem not in texts]
    own = [path.read_text(encoding="utf-8", errors="replace") for path in data if path.suffix == ".py"]
    cells = executed_cells(code_cells(chapter.text, chapter.name))
    code = [cell.source for cell in cells]
    tags = [sorted(_HEEDED & set(cell.metadata.get("tags", []))) for cell in cells]
    modules = closure([*code, *own], layout.package)
    files = {f"module {name}": file for name, file in modules.items()}
    for name in chapter.records:
        data += files_in(layout.root / "records" / name)
    files |= {f"data {file.relative_to(layout.root).as_posix()}": file for file in data}
    files |= {f"{_READ}{name}": layout.root / name for name in read}
    constraints = layout.root / "constraints.txt"
    if constraints.is_file():
        files["constraints.txt"] = constraints
    # First the moments: whatever changes from here on is noticed at the end.
    key = Key({"code cells": digest([code, tags])}, moments(files.values()))
    ingredients = key.ingredients
    ingredients |= {name: digest(file.read_bytes()) if file.is_file() else "absent" for name, file in files.items()}
    ingredients |= {f"parameter {name}": str(setting) for name, setting in asdict(parameters).items()}
    ingredients |= {f"version {name}": version for name, version in installed_versions().items()}
    ingredients |= _machine(parameters, modules, threads)
    if "wavemem.records.registry" in modules and (layout.root / "records" / "registry").is_dir():
        # The entries that the chapter names, not the files: a link filled in elsewhere re-executes nothing.
        ingredients["registry entries"] = fingerprint("\n".join(code), layout.root / "records")
    return key


@dataclass(frozen=True)
class Entry:
    """One published chapter.

    Attributes:
        notebook: The executed notebook.
        ingredients: What it was made from, see :class:`Key`.
        seconds: How long its execution took.
    """

    notebook: Path
    ingredients: dict[str, str]
    seconds: float


def _files(layout: Layout, parameters: Parameters, chapter: str) -> tuple[Path, Path, Path]:
    folder = layout.chapters(parameters)
    return folder / f"{chapter}.ipynb", folder / f"{chapter}.key.json", layout.results(parameters) / f"{chapter}.json"


def look_up(layout: Layout, parameters: Parameters, chapter: str) -> Entry | None:
    """The published notebook of a chapter, current or not; None if there is none or it is damaged."""
    notebook, key_file, results = _files(layout, parameters, chapter)
    try:
        content: dict[str, Any] = json.loads(key_file.read_text(encoding="utf-8"))
        whole = digest(notebook.read_bytes()) == content["notebook"]
        if content["results"] is not None:
            whole = whole and digest(results.read_bytes()) == content["results"]
        return Entry(notebook, content["ingredients"], content["seconds"]) if whole else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def compare(
    chapter: Chapter, layout: Layout, parameters: Parameters, threads: int = 1
) -> tuple[Entry | None, Key, str]:
    """The published notebook of a chapter, the key of today, and in a few words what differs; empty if it is current."""
    entry = look_up(layout, parameters, chapter.name)
    if entry is None:
        return None, chapter_key(chapter, layout, parameters, threads), "not executed yet"
    key = chapter_key(chapter, layout, parameters, threads, Key(entry.ingredients).read)
    changes = key.changes(entry.ingredients)
    more = f" and {len(changes) - 3} more" if len(changes) > 3 else ""
    return entry, key, f"changed: {', '.join(changes[:3])}{more}" if changes else ""


def publish(
    layout: Layout,
    parameters: Parameters,
    chapter: str,
    key: Key,
    notebook: bytes,
    results: bytes | None,
    seconds: float,
) -> None:
    """Put an executed notebook in the place of the former one.

    The key is written last and holds the hash of the other files: killed at any moment, this leaves the former
    notebook, or one that :func:`look_up` does not accept, never a half.
    """
    notebook_file, key_file, results_file = _files(layout, parameters, chapter)
    if results is not None:
        write_atomically(results_file, results)
    else:
        results_file.unlink(missing_ok=True)
    write_atomically(notebook_file, notebook)
    content = {
        "ingredients": key.ingredients,
        "notebook": digest(notebook),
        "results": None if results is None else digest(results),
        "seconds": round(seconds, 2),
    }
    write_json(key_file, content)
