"""What the reader of a terminal or of a log sees while chapters execute."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any, TextIO

from tqdm import tqdm

_TAIL = 4096


def last_status(path: Path) -> str:
    """The last complete line of a training's progress file, in words: ``T1 1200/4000, loss 0.012, accuracy 0.980``."""
    try:
        with path.open("rb") as handle:
            handle.seek(max(0, path.stat().st_size - _TAIL))
            status = json.loads(handle.read().split(b"\n")[-2])
    except (OSError, IndexError):
        return ""
    parts = [f"{status['label']} {status['done']}/{status['total']}"]
    for name, form in (("loss", ".3g"), ("accuracy", ".3f")):
        if status[name] is not None:
            parts.append(f"{name} {status[name]:{form}}")
    return ", ".join(parts)


class Display:
    """One bar over chapters on a terminal; plain lines, one every ``interval`` seconds, anywhere else."""

    def __init__(self, total: int, stream: TextIO | None = None, interval: float = 15.0) -> None:
        self._stream = stream if stream is not None else sys.stderr
        self._interval, self._total, self._done = interval, total, 0
        self._started = self._spoken = time.monotonic()
        self._bar: tqdm[Any] | None = None
        if self._stream.isatty():
            layout = "{desc} {n_fmt}/{total_fmt} |{bar:20}| {elapsed}{postfix}"
            self._bar = tqdm(total=total, desc="chapters", file=self._stream, bar_format=layout, dynamic_ncols=True)

    def say(self, line: str) -> None:
        """Print a line above the bar."""
        if self._bar is not None:
            self._bar.write(line, file=self._stream)
        else:
            print(line, file=self._stream, flush=True)

    def running(self, states: dict[str, str]) -> None:
        """Show what each running chapter is doing; call as often as you like."""
        texts = [f"{name}: {state}" if state else name for name, state in states.items()]
        now = time.monotonic()
        if self._bar is not None:
            self._bar.set_postfix_str(" · ".join(texts))
        elif texts and now - self._spoken >= self._interval:
            self._spoken = now
            self.say(f"[{now - self._started:5.0f} s] {self._done}/{self._total} chapters; " + "; ".join(texts))

    def finished(self, line: str) -> None:
        """One chapter ended."""
        self._done += 1
        self.say(line)
        if self._bar is not None:
            self._bar.update(1)

    def close(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.set_postfix_str("")
            self._bar.close()
