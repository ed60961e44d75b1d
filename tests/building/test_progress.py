"""What a log and a terminal show."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from wavemem.building.progress import Display, last_status
from wavemem.training.fit import Progress


def test_last_status_is_the_last_complete_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "progress.jsonl"
    assert last_status(file) == ""
    monkeypatch.setenv("WAVEMEM_PROGRESS_FILE", str(file))
    with Progress(40, "T1") as progress:
        progress.update(3)
        assert last_status(file) == "T1 3/40"
        progress.update(12, loss=0.01234, accuracy=0.98765)
    with file.open("a") as handle:
        handle.write('{"do')
    assert last_status(file) == "T1 12/40, loss 0.0123, accuracy 0.988"
    file.write_text("x" * 10_000 + "\n" + file.read_text())
    assert last_status(file) == "T1 12/40, loss 0.0123, accuracy 0.988"


def _shown(stream: io.StringIO, interval: float) -> str:
    display = Display(2, stream, interval)
    display.say("01-a: not executed yet")
    for _ in range(2):
        display.running({"01-a": "T1 1/2, loss 0.5", "02-b": ""})
    display.running({})
    display.finished("01-a: executed in 3 s")
    display.close()
    return stream.getvalue()


def test_a_log_gets_lines_and_is_not_flooded() -> None:
    first, *rest, last = _shown(io.StringIO(), 0.0).splitlines()
    assert (first, last) == ("01-a: not executed yet", "01-a: executed in 3 s")
    assert [line.split("] ")[1] for line in rest] == ["0/2 chapters; 01-a: T1 1/2, loss 0.5; 02-b"] * 2
    assert _shown(io.StringIO(), 3600.0).splitlines() == [first, last]


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: True)
    shown = _shown(stream, 0.0)
    for part in ("chapters 1/2", "T1 1/2", "01-a: not executed yet", "01-a: executed in 3 s"):
        assert part in shown
