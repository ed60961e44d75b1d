"""What a log and a terminal show."""

from __future__ import annotations

import io
from pathlib import Path

from wavemem.building.progress import Display, last_status, status_text


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_last_status_is_the_last_complete_line(tmp_path: Path) -> None:
    file = tmp_path / "progress.jsonl"
    assert last_status(file) is None
    file.write_text('{"done": 1}\n{"done": 2}\n{"do')
    assert last_status(file) == {"done": 2}
    file.write_text('{"done": 3}\nnoise\n[4]\n')
    assert last_status(file) == {"done": 3}
    file.write_text("x" * 10_000 + '\n{"done": 5}\n')
    assert last_status(file) == {"done": 5}


def test_status_text() -> None:
    assert status_text(None) == ""
    status = {"label": "T1", "done": 12, "total": 40, "loss": 0.01234, "accuracy": 0.98765}
    assert status_text(status) == "T1 12/40, loss 0.0123, accuracy 0.988"
    assert status_text({"loss": None}) == "training ?/?"


def test_a_log_gets_lines() -> None:
    stream = io.StringIO()
    display = Display(2, stream, interval=0.0)
    display.say("01-a: not executed yet")
    display.running({"01-a": "T1 1/2, loss 0.5", "02-b": ""})
    display.running({})
    display.finished("01-a: executed in 3 s")
    display.running({"02-b": ""})
    display.close()
    lines = stream.getvalue().splitlines()
    assert lines[0] == "01-a: not executed yet"
    assert lines[1].endswith("0/2 chapters; 01-a: T1 1/2, loss 0.5; 02-b")
    assert lines[2] == "01-a: executed in 3 s"
    assert lines[3].endswith("1/2 chapters; 02-b")
    assert len(lines) == 4


def test_a_log_is_not_flooded() -> None:
    stream = io.StringIO()
    display = Display(1, stream, interval=3600.0)
    for _ in range(100):
        display.running({"01-a": "T1 1/2"})
    assert stream.getvalue() == ""


def test_a_terminal_gets_a_bar() -> None:
    stream = Terminal()
    display = Display(2, stream)
    display.running({"01-a": "T1 1/2"})
    display.finished("01-a: executed in 3 s")
    display.close()
    shown = stream.getvalue()
    assert "chapters 1/2" in shown
    assert "T1 1/2" in shown
    assert "01-a: executed in 3 s" in shown
