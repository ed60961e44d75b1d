"""The prose pages: what they tell a reader to type works, what they cite and define exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from wavemem.records.entries import load_registry

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted((ROOT / "book").glob("*.md"))
TEXTS = {path.stem: path.read_text(encoding="utf-8") for path in [*PAGES, *sorted((ROOT / "notebooks").glob("*.md"))]}


def bibliography() -> dict[str, str]:
    text = (ROOT / "book" / "references.bib").read_text(encoding="utf-8")
    return dict(re.findall(r"^@\w+\{([^,]+),(.*?)^\}", text, re.MULTILINE | re.DOTALL))


def test_every_citation_is_in_the_bibliography() -> None:
    keys = set(bibliography())
    for name, text in TEXTS.items():
        for group in re.findall(r"\{cite:\w+\}`([^`]+)`", text):
            for key in group.split(","):
                assert key.strip() in keys, f"{key} in {name}"
    for paper in load_registry().papers:
        assert paper.citation in keys


def test_every_reference_is_complete() -> None:
    for key, body in bibliography().items():
        for field in ("title", "author", "year"):
            assert re.search(rf"^\s*{field}\s*=", body, re.MULTILINE), f"{key} lacks {field}"


@pytest.mark.parametrize("page", [p.stem for p in PAGES])
def test_every_page_has_its_target_and_one_title(page: str) -> None:
    target = "page-welcome" if page == "intro" else f"page-{page}"
    assert TEXTS[page].startswith(f"({target})=\n# ")
    outside_code = re.sub(r"^```.*?^```", "", TEXTS[page], flags=re.MULTILINE | re.DOTALL)
    assert len(re.findall(r"^# ", outside_code, re.MULTILINE)) == 1


def test_python_on_the_pages_parses_and_imports() -> None:
    for page in PAGES:
        for code in re.findall(r"^```python\n(.*?)^```", TEXTS[page.stem], re.MULTILINE | re.DOTALL):
            tree = ast.parse(code)
            imports = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
            exec(compile(ast.Module(imports, []), page.name, "exec"), {})


def test_glossary_is_in_alphabetical_order() -> None:
    terms = re.findall(r"^([^\s:(#].*)\n  \S", TEXTS["glossary"], re.MULTILINE)
    assert len(terms) > 30
    folded = [re.sub(r"[^a-z]", "", term.lower()) for term in terms]
    assert folded == sorted(folded)
