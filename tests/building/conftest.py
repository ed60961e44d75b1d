"""A small copy of the book's tree, with chapters and a package of its own."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from wavemem.building import stage
from wavemem.building.chapters import Chapter, discover
from wavemem.building.layout import Layout

_HEAD = """---
jupytext: {notebook_metadata_filter: wavemem, text_representation: {extension: .md, format_name: myst}}
kernelspec: {display_name: Python 3, language: python, name: python3}
wavemem: {%s}
---

# A chapter

```{code-cell} ipython3
:tags: [parameters]

profile = "quick"
device = "cpu"
seed = 0
```
"""


@dataclass
class Toy:
    """A tree that Layout understands."""

    layout: Layout

    def module(self, name: str, source: str) -> Path:
        """Write a module of the package; packages on the way get an empty file."""
        path = self.layout.package.joinpath(*name.split(".")).with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        for folder in [*path.relative_to(self.layout.package).parents][:-1]:
            (self.layout.package / folder / "__init__.py").touch()
        path.write_text(source, encoding="utf-8")
        return path

    def source(self, chapter: str) -> Path:
        """The text file of a chapter."""
        return self.layout.notebooks / f"{chapter}.md"

    def chapter(self, name: str, *cells: str, settings: str = "") -> Chapter:
        """Write a chapter whose code cells, after that of the parameters, are given."""
        text = _HEAD % settings
        for cell in cells:
            text += f"\nWords.\n\n```{{code-cell}} ipython3\n{cell}\n```\n"
        self.source(name).write_text(text, encoding="utf-8")
        return next(chapter for chapter in discover(self.layout) if chapter.name == name)


def make_toy(root: Path) -> Toy:
    """An empty book."""
    toy = Toy(Layout(root))
    toy.layout.notebooks.mkdir(parents=True)
    (root / "book").mkdir()
    (root / "book" / "intro.md").write_text("# Welcome\n", encoding="utf-8")
    (root / "_config.yml").write_text("title: Toy\n", encoding="utf-8")
    (root / "_toc.yml").write_text(
        "format: jb-book\nroot: book/intro\nparts:\n  - caption: One\n    chapters:\n      - file: chapters/01-first\n"
        "      - file: pages/execution\n      - file: book/absent\n",
        encoding="utf-8",
    )
    (root / "constraints.txt").write_text("numpy==2.0.0\n", encoding="utf-8")
    toy.module("wavemem.plain", "X = 1\n")
    return toy


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Toy:
    """An empty book without an address in a fresh folder, whose name a shell would not take for one word."""
    for name in ("REPOSITORY", "BOOK_URL"):
        monkeypatch.delenv(name, raising=False)
    return make_toy(tmp_path / "two words; $(touch here)")


@pytest.fixture(scope="session")
def new_toy() -> Callable[[Path], Toy]:
    """How fixtures of a wider scope make theirs."""
    return make_toy


@pytest.fixture(scope="session")
def real() -> Layout:
    """This copy of the book, only to be read."""
    return Layout(Path(__file__).resolve().parents[2])


@pytest.fixture
def dressed(toy: Toy, real: Layout, monkeypatch: pytest.MonkeyPatch) -> Toy:
    """The small copy with the settings and styles of the real book, and with no generated page."""
    monkeypatch.setattr(stage, "_mathjax", lambda: b"mathjax")
    monkeypatch.setattr(stage, "generate", lambda *_: {})
    root = toy.layout.root
    shutil.copytree(real.root / "book" / "_static", root / "book" / "_static")
    for name in ("_config.yml", "book/references.bib"):
        shutil.copy(real.root / name, root / name)
    return toy
