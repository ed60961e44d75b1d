"""Progress of a training: a bar on a terminal, lines in a log, or a file that another process reads."""

from __future__ import annotations

import json
import os
import sys
import time
from types import TracebackType

from tqdm import tqdm

PROGRESS_FILE_VARIABLE = "WAVEMEM_PROGRESS_FILE"
"""Name of the environment variable that holds the path of the progress file."""

_FILE_INTERVAL = 1.0
_LINE_INTERVAL = 10.0


class Progress:
    """Reports how far a loop is, with its loss and accuracy.

    Three ways, chosen when the object is made: the file named by the environment variable WAVEMEM_PROGRESS_FILE, if
    set (JSON lines, at most about one a second, nothing printed); a tqdm bar, if standard error is a terminal; else a
    plain line about every ten seconds, which a log can hold.

    Args:
        total: Number of steps of the loop.
        label: What is being done, a few words.
        enabled: With False nothing is reported anywhere.
    """

    def __init__(self, total: int, label: str, enabled: bool = True) -> None:
        self.total, self.label, self.enabled = total, label, enabled
        self._path = os.environ.get(PROGRESS_FILE_VARIABLE) if enabled else None
        terminal = enabled and self._path is None and sys.stderr.isatty()
        self._bar = tqdm(total=total, desc=label, dynamic_ncols=True) if terminal else None
        self._done = 0
        self._values: dict[str, float] = {}
        self._start = time.monotonic()
        # A file has its first line at once, a log after the first interval.
        self._last = self._start if self._path is None else float("-inf")

    def update(self, done: int, loss: float | None = None, accuracy: float | None = None) -> None:
        """Say that `done` steps of the total are done, and what loss and accuracy were last measured."""
        if not self.enabled:
            return
        if loss is not None:
            self._values["loss"] = float(loss)
        if accuracy is not None:
            self._values["accuracy"] = float(accuracy)
        if self._bar is not None:
            self._bar.update(done - self._done)
            if self._values:
                self._bar.set_postfix({name: f"{value:.4g}" for name, value in self._values.items()}, refresh=False)
        self._done = done
        if self._bar is None:
            interval = _LINE_INTERVAL if self._path is None else _FILE_INTERVAL
            if time.monotonic() - self._last >= interval:
                self._write()

    def close(self) -> None:
        """Report the last state and finish."""
        if not self.enabled:
            return
        if self._bar is not None:
            self._bar.close()
        elif self._path is not None or self._last > self._start:
            # A loop too short to have printed a line prints none at its end either.
            self._write()
        self.enabled = False

    def _write(self) -> None:
        self._last = time.monotonic()
        if self._path is not None:
            record = {
                "label": self.label,
                "done": self._done,
                "total": self.total,
                "loss": self._values.get("loss"),
                "accuracy": self._values.get("accuracy"),
                "time": time.time(),
            }
            # One write call in append mode: lines of several processes do not mix.
            with open(self._path, "a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")
            return
        values = "".join(f", {name} {value:.4g}" for name, value in self._values.items())
        elapsed = self._last - self._start
        print(f"{self.label}: {self._done}/{self.total}{values} ({elapsed:.0f} s)", file=sys.stderr, flush=True)

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
