"""tools/compare: what counts as a different output of a chapter."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import pytest

TOOL = runpy.run_path(str(Path(__file__).resolve().parents[2] / "tools" / "compare"))


def shown(kind: str, text: str, glued: str = "") -> dict[str, Any]:
    prefix = "application/papermill.record/" if glued else ""
    metadata = {"scrapbook": {"name": glued}} if glued else {}
    return {"output_type": "display_data", "data": {prefix + kind: text}, "metadata": metadata}


def notebook(folder: Path, *found: dict[str, Any], name: str = "01-a.ipynb") -> Path:
    folder.mkdir(exist_ok=True)
    cells = [{"cell_type": "code", "outputs": [output]} for output in found]
    (folder / name).write_text(json.dumps({"cells": cells}), encoding="utf-8")
    return folder


TABLE = shown("text/html", "<td>loss</td><td>0.1250</td>")
NUMBERED = [shown("text/plain", str(n)) for n in range(4)]


@pytest.mark.parametrize(
    ("before", "after", "tolerance", "equal", "outputs"),
    [
        ([TABLE], [TABLE], 0.0, 1, 1),
        ([TABLE], [shown("text/html", "<td>loss</td><td>0.1251</td>")], 0.0, 0, 1),
        ([TABLE], [shown("text/html", "<td>loss</td><td>0.1251</td>")], 1e-3, 1, 1),
        ([TABLE], [shown("text/html", "<td>error</td><td>0.1250</td>")], 1e-3, 0, 1),
        ([TABLE], [shown("text/plain", "<td>loss</td><td>0.1250</td>")], 1e-3, 0, 1),
        ([TABLE], [TABLE, TABLE], 0.0, 1, 2),
        ([TABLE, TABLE], [TABLE], 0.0, 1, 2),
        ([shown("text/plain", "1,234", "n")], [shown("text/plain", "1,235", "n")], 0.0, 0, 1),
        ([shown("text/plain", "3", "n")], [shown("text/plain", "3", "m")], 0.0, 0, 1),
        ([shown("text/plain", "-0.5", "n")], [shown("text/plain", "0.5", "n")], 0.1, 0, 1),
        ([shown("image/svg+xml", "<svg d='M 1.0'/>")], [shown("image/svg+xml", "<svg d='M 1.1'/>")], 0.0, 0, 1),
        (NUMBERED, [NUMBERED[0], TABLE, *NUMBERED[1:]], 0.0, 4, 5),  # a new one does not shift the others
    ],
)
def test_outputs_are_compared(
    tmp_path: Path, capsys, before, after, tolerance: float, equal: int, outputs: int
) -> None:
    folders = notebook(tmp_path / "before", *before), notebook(tmp_path / "after", *after)
    assert TOOL["compare"](*folders, tolerance) is (equal == outputs)
    assert f"{equal} of {outputs} outputs equal" in capsys.readouterr().out


def test_a_missing_chapter_is_different(tmp_path: Path) -> None:
    before, after = notebook(tmp_path / "before", TABLE), notebook(tmp_path / "after", TABLE)
    notebook(after, TABLE, name="02-b.ipynb")
    assert not TOOL["compare"](before, after, 0.0)
    (tmp_path / "empty").mkdir()
    assert not TOOL["compare"](tmp_path / "empty", tmp_path / "empty", 0.0)
