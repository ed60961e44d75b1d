"""Where the book's sources lie and where its generated files go.

Everything generated lives under ``_build/``, which git ignores::

    _build/chapters/<variant>/NN-name.ipynb      executed chapter, published whole or not at all
    _build/chapters/<variant>/NN-name.key.json   what it was made from
    _build/results/<variant>/NN-name.json        what the chapter measured, for the reproduction report
    _build/scratch/<variant>/NN-name/               scratch of a running or failed execution
    _build/source/                               the tree that Sphinx reads, assembled from the above
    _build/html/                                 the site

A *variant* is one choice of the parameters, so that a look at another profile does not throw the first away.
"""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from wavemem.building.errors import UsageError, choose

__all__ = ["DEVICES", "PROFILES", "Layout", "Parameters", "find_root", "write_atomically", "write_json"]

PROFILES = ("quick", "paper")
DEVICES = ("auto", "cpu", "cuda")


@dataclass(frozen=True)
class Parameters:
    """The papermill parameters that every chapter takes."""

    profile: str = "quick"
    device: str = "cpu"
    seed: int = 0

    def __post_init__(self) -> None:
        choose("profile", self.profile, PROFILES)
        choose("device", self.device, DEVICES)
        if self.seed < 0:
            raise UsageError(f"seed is {self.seed}; allowed: 0 or a larger integer")

    @property
    def variant(self) -> str:
        """Folder name of this choice."""
        return f"{self.profile}-{self.device}-seed{self.seed}"

    def as_dict(self) -> dict[str, Any]:
        """The parameters as papermill injects them."""
        return asdict(self)


@dataclass(frozen=True)
class Layout:
    """Paths of one copy of the book."""

    root: Path

    @property
    def notebooks(self) -> Path:
        """Text sources of the chapters."""
        return self.root / "notebooks"

    @property
    def package(self) -> Path:
        """The folder that holds the package ``wavemem``."""
        return self.root / "src"

    @property
    def build(self) -> Path:
        """Everything generated."""
        return self.root / "_build"

    @property
    def source(self) -> Path:
        """The assembled tree that Sphinx reads."""
        return self.build / "source"

    @property
    def site(self) -> Path:
        """The finished pages."""
        return self.build / "html"

    def chapters(self, parameters: Parameters) -> Path:
        """Executed chapters of one variant."""
        return self.build / "chapters" / parameters.variant

    def results(self, parameters: Parameters) -> Path:
        """What the chapters of one variant measured."""
        return self.build / "results" / parameters.variant

    def work(self, parameters: Parameters, chapter: str) -> Path:
        """Scratch folder of one chapter's execution."""
        return self.build / "scratch" / parameters.variant / chapter


def find_root(start: Path | None = None) -> Path:
    """Find the top of the book: the folder with ``_toc.yml`` and ``notebooks/``.

    Args:
        start: Where to begin; the current folder by default. Its parents are searched too, then, for the default,
            the copy that this package was installed from.

    Raises:
        UsageError: If there is no book above ``start``.
    """
    candidates = [(start or Path.cwd()).resolve()]
    candidates += candidates[0].parents
    if start is None:
        candidates.append(Path(__file__).resolve().parents[3])
    for folder in candidates:
        if (folder / "_toc.yml").is_file() and (folder / "notebooks").is_dir():
            return folder
    raise UsageError(f"no book here: neither {candidates[0]} nor a folder above it holds _toc.yml and notebooks/")


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file so that a reader sees the old one or the new one, whatever happens in between."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as handle:
            handle.write(data)
            handle.flush()
            os.fsync(handle.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_json(path: Path, content: Any) -> None:
    """Write JSON atomically, keys sorted."""
    write_atomically(path, (json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode())
