"""A project of two chapters: a registry, and results that the first of them left."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

FILES = {
    "records/registry/x.toml": (
        '[paper]\nkey = "x"\ntitle = "t"\nshort = "X"\ncitation = "c"\n'
        '[[entry]]\nid = "x:eq1"\nkind = "equation"\ntitle = "first"\nchapter = "01-a"\nlabel = "x-eq-1"\n'
        'code = "wavemem.records.store:find"\ntest = "tests/t.py::test_eq1"\n'
        '[[entry]]\nid = "x:fig1"\nkind = "figure"\ntitle = "drawn | $5"\nchapter = "01-a"\nlabel = "fig-a"\n'
        '[[entry.quantity]]\nname = "q"\nunit = "rad"\npaper = 1.0\nwithin = 0.5\nwhy = "w"\nfixed = "before the run"\n'
        '[[entry.quantity]]\nname = "r"\nat_most = 1\nwhy = "w"\npaper_text = "small"\n'
        '[[entry]]\nid = "x:table1"\nkind = "table"\ntitle = "later"\n'
    ),
    "records/registry/claims-x.toml": (
        '[[claim]]\nid = "x:a"\nwords = "w"\nplace = "p"\nwhere = ["01-a#fig-a", "02-b"]\nwhy = "y."\n'
        'evidence = ["x:fig1#q"]\n'
        '[[claim]]\nid = "x:b"\nwords = "true | $5"\nplace = "p"\nwhere = ["02-b"]\nwhy = "Proved."\n'
        'settled = "holds"\ntest = "tests/t.py::test_b"\n'
    ),
    "tests/t.py": "def test_eq1() -> None: ...\n",
    "notebooks/01-a.md": "(ch-a)=\n# A\n\n(x-eq-1)=\n\n$$ x $$\n\nfigure: {name: fig-a}\n",
    "notebooks/02-b.md": "(ch-b)=\n# B\n",
}
MEASURED: dict[str, Any] = {
    "entry": "x:fig1",
    "quantity": "q",
    "ours": [1.2, 1.4, None],
    "size": {"exact": False, "differs": ["d 4 instead of 8"], "data": "", "records": []},
    "note": "n = 3 runs",
}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The project's root; wavemem looks there."""
    results = json.dumps({"chapter": "01-a", "results": [MEASURED]})
    for name, text in {**FILES, "results/01-a.json": results}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setenv("WAVEMEM_ROOT", str(tmp_path))
    return tmp_path
