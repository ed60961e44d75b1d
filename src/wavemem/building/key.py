"""The cache key of a chapter: everything that its executed notebook depends on."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import platform
from dataclasses import dataclass
from pathlib import Path

from wavemem.building.chapters import Chapter, code_cells
from wavemem.building.paths import Layout, Parameters
from wavemem.imports import closure
from wavemem.records.registry import fingerprint

__all__ = ["KEY_PACKAGES", "Key", "chapter_key", "installed_versions"]

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

_REGISTRY_MODULE = "wavemem.records.registry"


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@dataclass(frozen=True)
class Key:
    """A chapter's key and the named ingredients that it is made of."""

    ingredients: dict[str, str]

    @property
    def value(self) -> str:
        """The hash of all ingredients."""
        return _digest(json.dumps(self.ingredients, sort_keys=True).encode())

    def changes(self, previous: dict[str, str]) -> list[str]:
        """Names of the ingredients that differ from those of an earlier key."""
        names = sorted(self.ingredients.keys() | previous.keys())
        return [name for name in names if self.ingredients.get(name) != previous.get(name)]


def installed_versions() -> dict[str, str]:
    """Version of Python and of each of ``KEY_PACKAGES``; "absent" for one that is not installed."""
    versions = {"python": platform.python_version()}
    for name in KEY_PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "absent"
    return versions


def _data_files(folder: Path) -> list[Path]:
    found = (path for path in folder.rglob("*") if path.is_file())
    # What is being measured at this moment stands in hidden folders.
    return sorted(path for path in found if not any(part.startswith(".") for part in path.relative_to(folder).parts))


def chapter_key(chapter: Chapter, layout: Layout, parameters: Parameters, threads: int = 1) -> Key:
    """Collect what a chapter's execution depends on.

    The ingredients are the chapter's text, every module of the package that it imports (see
    :mod:`wavemem.imports`), the parameters, the number of threads if it is not 1, the locked and the installed
    versions, the record folders that its front matter names and, if it reports to the registry, the criteria of the
    entries that it names.
    """
    ingredients = {"chapter text": _digest(chapter.text.encode())}
    modules = closure(code_cells(chapter.text), layout.package)
    for name, file in modules.items():
        ingredients[f"module {name}"] = _digest(file.read_bytes())
    for name, setting in parameters.as_dict().items():
        ingredients[f"parameter {name}"] = str(setting)
    if threads != 1:
        ingredients["threads"] = str(threads)
    constraints = layout.root / "constraints.txt"
    ingredients["constraints.txt"] = _digest(constraints.read_bytes()) if constraints.is_file() else "absent"
    for name, version in installed_versions().items():
        ingredients[f"version {name}"] = version
    folders = [layout.root / "records" / name for name in chapter.records]
    if _REGISTRY_MODULE in modules and (layout.root / "records" / "registry").is_dir():
        # The entries that the chapter names, not the files: a link filled in elsewhere re-executes nothing.
        ingredients["registry entries"] = fingerprint(chapter.text, layout.root / "records")
    for folder in folders:
        for file in _data_files(folder):
            ingredients[f"data {file.relative_to(layout.root).as_posix()}"] = _digest(file.read_bytes())
    return Key(ingredients)
