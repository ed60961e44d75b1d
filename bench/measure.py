"""The one way to measure: contestants take turns within one process, and their medians are compared.

A machine's mood changes within minutes, and times from two runs say little about each other. So all contestants of a case
are timed in the same minutes, turn by turn, and what is reported is the ratio of their medians. A turn that other programs
disturbed is repeated for a while. Beside the times may stand a floor: what the case's operations take at the rate of a
large matrix product, or its bytes at the rate of a copy, both measured on the same machine in the same run.
"""

from __future__ import annotations

import datetime
import json
import os
import platform
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch

from wavemem.records.provenance import device_name

Contestant = Callable[[int], float]
"""Takes a number of iterations; does one more, to warm up, and returns the mean seconds of the others."""

Sizes = Mapping[str, int | str]
"""Name → value; "threads" are the cores to use on a processor."""

Row = dict[str, Any]
"""One number: table, sizes, contestant, quantity, value; for a time also quartiles, repetitions and others."""

QUIET = 0.05  # cores that other programs may take during a turn that counts
SLOW = 5.0  # seconds from which an iteration is measured once
FAILURES = (RuntimeError, ValueError, MemoryError, OSError)


@dataclass(frozen=True)
class Contest:
    """What a case lets compete, made for one device.

    Args:
        contestants: Name → what is timed, or the reason why it is left out.
        per: Times are divided by this: the runs of an iteration, or the symbols of a text.
        also: (contestant, quantity, value) of what is not a time. "operations" and "bytes" of "floor" make a floor.
    """

    contestants: Mapping[str, Contestant | str]
    per: int = 1
    also: Sequence[tuple[str, str, float | None]] = ()


@dataclass(frozen=True)
class Case:
    """One line of a table.

    Args:
        suite: The file that its numbers go to.
        table: The table in it.
        make: Takes the device and the sizes but for the threads; returns the contest.
        sizes: All sizes, with "threads".
        ratios: What is reported: name → the two whose medians are divided.
        devices: Where it is measured.
    """

    suite: str
    table: str
    make: Callable[..., Contest]
    sizes: Sizes
    ratios: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    devices: tuple[str, ...] = ("cpu", "cuda")

    @property
    def name(self) -> str:
        """Suite, table and sizes."""
        return f"{self.suite}/{self.table} " + " ".join(f"{key}={value}" for key, value in self.sizes.items())


def vary(base: Sizes, **values: Iterable[int]) -> Iterator[Sizes]:
    """Sizes of which one at a time is changed."""
    for name, each in values.items():
        for value in each:
            yield {**base, name: value}


def cases(
    suite: str,
    table: str,
    make: Callable[..., Contest],
    sizes: Iterable[Sizes],
    ratios: Mapping[str, tuple[str, str]] | None = None,
    devices: tuple[str, ...] = ("cpu", "cuda"),
) -> list[Case]:
    """The lines of one table: see `Case`."""
    return [Case(suite, table, make, one, ratios or {}, devices) for one in sizes]


def repeat(function: Callable[[], object]) -> Contestant:
    """Make a contestant of a function that does one iteration."""

    def turn(count: int) -> float:
        function()
        _wait()
        start = time.perf_counter()
        for _ in range(count):
            function()
        _wait()
        return (time.perf_counter() - start) / count

    return turn


def _wait() -> None:
    """Wait for a device that works on its own."""
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()


def too_large(needed: int, device: torch.device) -> str:
    """Why something that takes so many bytes is left out; empty if three quarters of the free memory hold it."""
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else psutil.virtual_memory().available
    return f"needs {needed / 2**30:.0f} GiB of {free / 2**30:.0f} that are free" if needed > 0.75 * free else ""


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def _on(threads: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _busy() -> tuple[float, float, float]:
    """Seconds so far: all processors busy, this process busy, the clock."""
    times = psutil.cpu_times()
    idle = sum(getattr(times, name, 0.0) for name in ("idle", "iowait", "guest", "guest_nice"))
    return sum(times) - idle, time.process_time(), time.monotonic()


def undisturbed(contestant: Contestant, count: int, patience: float) -> tuple[float, float]:
    """Repeat a turn until other programs left it alone, for so many seconds at most.

    Returns:
        The seconds of the least disturbed turn, and the mean number of cores that others took during it.
    """
    end = time.monotonic() + patience
    turns: list[tuple[float, float]] = []
    while not turns or (time.monotonic() < end and min(turns)[0] > QUIET):
        before = _busy()
        seconds = contestant(count)
        busy, own, clock = np.subtract(_busy(), before)
        turns.append((max(0.0, float(busy - own)) / max(float(clock), 1e-9), seconds))
    others, seconds = min(turns)
    return seconds, others


def _compete(contest: Contest, device: torch.device, rounds: int, limit: float, patience: float) -> list[Row]:
    """Let the contestants take turns, for `rounds` turns or some `limit` seconds; one row each, and notes on failures."""
    first: dict[str, float] = {}
    quick: dict[str, Contestant] = {}
    rows: list[Row] = []
    for name, contestant in contest.contestants.items():
        try:
            if isinstance(contestant, str):
                raise ValueError(contestant)
            if device.type == "cuda":
                torch.cuda.reset_peak_memory_stats(device)
            first[name] = contestant(1)
        except FAILURES as error:
            note = f"{type(error).__name__}: {error}"
            rows.append({"contestant": name, "quantity": "ms", "value": None, "note": note})
            continue
        if first[name] <= SLOW:
            quick[name] = contestant
        if device.type == "cuda":
            peak = torch.cuda.max_memory_allocated(device)
            rows.append({"contestant": name, "quantity": "peak bytes", "value": peak})
    once = sum(first[name] for name in quick)
    count = 3 if once < 1 else 1
    turns = max(2, min(rounds, int(limit / max((count + 1) * once, 1e-9))))
    taken = {name: [] if name in quick else [(seconds, 0.0)] for name, seconds in first.items()}
    for _ in range(turns):
        for name, contestant in quick.items():
            taken[name].append(undisturbed(contestant, count, patience))
    for name, found in taken.items():
        seconds, others = np.array(found).T
        lower, median, upper = (np.percentile(seconds, [25, 50, 75]) * 1e3 / contest.per).tolist()
        quartiles = {"lower": lower, "upper": upper, "repetitions": len(found), "others": float(others.max())}
        rows.append({"contestant": name, "quantity": "ms", "value": median, **quartiles})
    return rows


def measure(
    case: Case, device: torch.device, rounds: int = 9, limit: float = 30.0, patience: float = 10.0
) -> tuple[int, list[Row]]:
    """Measure one case.

    Args:
        case: What.
        device: Where.
        rounds: How often the contestants take turns.
        limit: Seconds that all turns may take, about; there are two at least. What takes too long has one.
        patience: Seconds for which a turn is repeated while other programs take processor time.

    Returns:
        The threads it ran on (those asked for, or fewer where there are fewer), and its rows. A contestant that is left
        out or fails has a row with the value None and a note.
    """
    threads = min(int(case.sizes["threads"]), cores()) if device.type == "cpu" else 1
    sizes = {name: value for name, value in case.sizes.items() if name != "threads"}
    with _on(threads):
        try:
            contest = case.make(device, **sizes)
        except FAILURES as error:
            contest = Contest({"all": f"{type(error).__name__}: {error}"})
        rows = _compete(contest, device, rounds, limit, patience)
    rows += [{"contestant": name, "quantity": what, "value": value} for name, what, value in contest.also]
    return threads, [{"table": case.table, **sizes, "threads": threads, **row} for row in rows]


def rates(device: torch.device, threads: int) -> tuple[float, float]:
    """Operations per second of a large float32 product, and bytes per second of a copy (read and written)."""
    size = 2048 if device.type == "cpu" else 8192
    a, b, out = torch.randn(3, size, size, device=device).unbind()
    with _on(threads):
        product = min(repeat(lambda: torch.mm(a, b, out=out))(2) for _ in range(2))
        copy = min(repeat(lambda: out.copy_(a))(2) for _ in range(2))
    return 2.0 * size**3 / product, 2.0 * a.nbytes / copy


def with_ratios(case: Case, rows: Sequence[Row], rate: tuple[float, float]) -> list[Row]:
    """Add the floor at these rates, and the ratios that the case reports."""
    needed = {row["quantity"]: row["value"] for row in rows if row["contestant"] == "floor"}
    medians = {row["contestant"]: row["value"] for row in rows if row["quantity"] == "ms"}
    same = {name: value for name, value in rows[0].items() if name == "table" or name in case.sizes} if rows else {}
    more: list[Row] = []
    if needed:
        medians["floor"] = max(needed["operations"] / rate[0], needed.get("bytes", 0) / rate[1]) * 1e3
        more.append({**same, "contestant": "floor", "quantity": "ms", "value": medians["floor"]})
    for name, (over, under) in case.ratios.items():
        if medians.get(over) is not None and medians.get(under) is not None:
            ratio = medians[over] / medians[under]
            more.append({**same, "contestant": f"{over} / {under}", "quantity": name, "value": ratio})
    return [*rows, *more]


def _say(case: Case, rows: Iterable[Row]) -> None:
    print(case.name)
    for row in rows:
        value, note = row["value"], row.get("note", "")
        print(
            f"  {row['contestant']:24s} {row['quantity']:24s} {note if value is None else format(value, '.4g')}",
            flush=True,
        )


def run(cases: Iterable[Case], device: torch.device, **settings: float) -> dict[str, Any]:
    """Measure cases, print their numbers as they come, and return what a file holds.

    Args:
        cases: All of one suite.
        device: Where.
        settings: See `measure`.

    Returns:
        "machine": its name, cores, versions and best rates by number of threads; "measured": the date; "rows".
    """
    best: dict[int, tuple[float, float]] = {}
    measured = []
    for case in cases:
        if device.type in case.devices:
            threads, rows = measure(case, device, **settings)  # type: ignore[arg-type]
            seen = (best.get(threads, (0.0, 0.0)), rates(device, threads))
            best[threads] = max(seen[0][0], seen[1][0]), max(seen[0][1], seen[1][1])
            measured.append((case, threads, rows))
            _say(case, with_ratios(case, rows, best[threads]))
    machine = {
        "processor": device_name("cpu").removesuffix(" (CPU)"),
        **({"gpu": device_name(device)} if device.type == "cuda" else {}),
        "cores": cores(),
        "system": platform.system(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "vectors": torch.backends.cpu.get_cpu_capability(),
        "rates": {
            str(t): {"operations per second": ops, "bytes per second": moved} for t, (ops, moved) in best.items()
        },
    }
    date = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d")
    rows = [row for case, threads, found in measured for row in with_ratios(case, found, best[threads])]
    return {"machine": machine, "measured": date, "rows": rows}


def write(path: Path, measured: Mapping[str, Any]) -> None:
    """Write a file of measurements, one row a line, all at once or not at all."""
    head = json.dumps({name: value for name, value in measured.items() if name != "rows"}, indent=1).removesuffix("\n}")
    rows = ",\n".join("  " + json.dumps(row, ensure_ascii=False) for row in measured["rows"])
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".json.part")
    temporary.write_text(f'{head},\n "rows": [\n{rows}\n ]\n}}\n', encoding="utf-8")
    os.replace(temporary, path)
