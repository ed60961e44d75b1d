"""A project of two chapters: a registry, and results that the first of them left."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def plant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Make a project of files (below its root → text) and of what chapter 01-a measured of x:fig1's q, and go there."""

    def make(files: dict[str, str], ours: list[float | None], differs: str, note: str = "") -> Path:
        size = {"exact": False, "differs": [differs], "data": "", "records": []}
        row: dict[str, Any] = {"entry": "x:fig1", "quantity": "q", "ours": ours, "size": size, "note": note}
        results = json.dumps({"chapter": "01-a", "results": [row]})
        for name, text in {**files, "results/01-a.json": results}.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)
        monkeypatch.setenv("WAVEMEM_ROOT", str(tmp_path))
        return tmp_path

    return make
