"""Every link of the registry leads somewhere: labels in chapters, code that imports, tests that exist."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path

import pytest
from sphinx.pycode import ModuleAnalyzer

from wavemem.building.stage import write_reference
from wavemem.records.entries import Entry, load_registry
from wavemem.records.experiment import experiment_names
from wavemem.records.status import chapter_has_label, symbol_exists, test_exists

ROOT = Path(__file__).resolve().parents[2]
CHAPTERS = {path.stem: path.read_text(encoding="utf-8") for path in sorted((ROOT / "notebooks").glob("*.md"))}
IN_THE_BOOK = [entry for entry in load_registry().entries if entry.chapter]
NUMBERS = {
    "01-histories": [1],
    "02-wave-equation": [2, 3, *range(19, 25)],
    "03-fibonacci": [4, 5, *range(26, 29)],
    "04-linear-boundary": [6, 7, 9, 18, 25, *range(29, 39)],
    "05-self-attention-boundary": [8],
    "06-gradient-bounds": [10, 11, 13, 14, 15, 16],
}


@pytest.mark.parametrize("entry", IN_THE_BOOK, ids=lambda e: e.id)
def test_links_of_an_entry(entry: Entry) -> None:
    assert entry.chapter in CHAPTERS
    assert chapter_has_label(CHAPTERS[entry.chapter], entry.label), f"{entry.label} is not in {entry.chapter}"
    if entry.kind in ("equation", "theorem", "algorithm"):
        assert entry.code, "an equation in the book has code"
        assert entry.test, "an equation in the book has a test"
    if entry.code:
        assert symbol_exists(entry.code), entry.code
    if entry.test:
        assert test_exists(ROOT, entry.test), entry.test
    if entry.shown_by:
        assert test_exists(ROOT, entry.shown_by), entry.shown_by
    assert entry.experiment in ("", *experiment_names())


def test_every_equation_of_this_part_is_in_its_chapter() -> None:
    treated = {entry.id: entry.chapter for entry in IN_THE_BOOK}
    for chapter, numbers in NUMBERS.items():
        for number in numbers:
            assert treated.get(f"twm:eq{number}") == chapter, f"twm:eq{number}"
    assert treated.get("twm:thm3.1") == "02-wave-equation"


def test_every_equation_target_in_a_chapter_is_in_the_registry() -> None:
    labels = {entry.label for entry in IN_THE_BOOK}
    for name, text in CHAPTERS.items():
        for label in re.findall(r"^\((twm-(?:eq|thm)-[\w-]+)\)=\s*$", text, re.MULTILINE):
            assert label in labels, f"{label} in {name}"


def test_every_reported_quantity_exists_and_every_measured_entry_is_reported() -> None:
    reported = set()
    for name, text in CHAPTERS.items():
        for block in re.findall(r"^```\{code-cell\}[^\n]*\n(.*?)^```\s*$", text, re.MULTILINE | re.DOTALL):
            code = re.sub(
                r"\A---\n.*?\n---\n", "", re.sub(r"^:\w+:.*\n", "", block, flags=re.MULTILINE), flags=re.DOTALL
            )
            for node in ast.walk(ast.parse(code)):
                if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "report":
                    first = node.args[0] if node.args else None
                    if isinstance(first, ast.Constant):
                        entry = load_registry().entry(str(first.value))  # raises for an unknown id
                        reported.add(entry.id)
                        if len(node.args) > 1 and isinstance(node.args[1], ast.Constant):
                            entry.quantity(str(node.args[1].value))
                    else:
                        reported.add(f"{name}: computed")
    wanted = {e.id for e in IN_THE_BOOK if e.quantities}
    missing = {i for i in wanted - reported if f"{load_registry().entry(i).chapter}: computed" not in reported}
    assert not missing


def test_the_library_reference_lists_every_public_module(tmp_path: Path) -> None:
    source = ROOT / "src"
    write_reference(tmp_path / "api.md", source / "wavemem")
    page = (tmp_path / "api.md").read_text(encoding="utf-8")
    documented = re.findall(r"^\.\. automodule:: (\S+)$", page, re.MULTILINE)
    assert len(documented) == len(set(documented)) > 50
    for name in documented:
        assert importlib.import_module(name).__doc__
    assert {"wavemem.checks", "wavemem.kernels.wave"} <= set(documented)
    assert not any(part.startswith("_") for name in documented for part in name.split("."))


def test_the_source_pages_of_the_reference_can_be_made() -> None:
    """Sphinx lists a module that it cannot read, and links to a page that it does not make."""
    source = Path(__file__).resolve().parents[2] / "src"
    for path in sorted(source.rglob("*.py")):
        ModuleAnalyzer.for_file(str(path), ".".join(path.relative_to(source).with_suffix("").parts)).find_tags()
