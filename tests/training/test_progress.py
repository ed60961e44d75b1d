"""Where a training reports how far it is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from wavemem.training.progress import Progress


def test_progress_goes_to_the_named_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "progress.jsonl"
    monkeypatch.setenv("WAVEMEM_PROGRESS_FILE", str(path))
    with Progress(10, "copying") as bar:
        for done in range(1, 11):
            bar.update(done, loss=0.5, accuracy=0.75)
    records = [json.loads(line) for line in path.read_text().splitlines()]
    assert 1 <= len(records) <= 3
    assert records[-1]["done"] == records[-1]["total"] == 10
    assert set(records[-1]) == {"label", "done", "total", "loss", "accuracy", "time"}
    assert capsys.readouterr() == ("", "")


def test_progress_without_terminal_prints_plain_lines(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("WAVEMEM_PROGRESS_FILE", raising=False)
    clock = iter(range(0, 1000, 6))
    monkeypatch.setattr("wavemem.training.progress.time.monotonic", lambda: float(next(clock)))
    with Progress(4, "copying") as bar:
        for done in range(1, 5):
            bar.update(done, loss=0.5)
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1].startswith("copying: 4/4, loss 0.5")
    assert 1 < len(lines) <= 4
    with Progress(4, "silent", enabled=False) as bar:
        bar.update(4)
    assert capsys.readouterr().err == ""
