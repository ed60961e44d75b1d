"""Competitors take turns within one process, so that a machine's changing mood meets all of them; medians are compared."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from wavemem.benchmarks.machine import Bystanders
from wavemem.checks import positive_int

__all__ = ["Timing", "compare", "durations", "take_turns", "undisturbed"]

_QUIET = 0.05
"""Cores that others may take on average during a turn that counts."""


@dataclass(frozen=True)
class Timing:
    """Milliseconds per iteration and run: median, quartiles and number of repetitions."""

    median: float
    lower: float
    upper: float
    repetitions: int

    @classmethod
    def of(cls, seconds: list[float], K: int) -> Timing:
        """Summarise durations of whole iterations of K runs."""
        lower, median, upper = (float(v) * 1e3 / K for v in np.percentile(seconds, [25, 50, 75]))
        return cls(median, lower, upper, len(seconds))


def durations(function: Callable[[], object], count: int, wait: Callable[[], object] | None = None) -> list[float]:
    """Call once to warm up, then `count` times with a clock.

    Args:
        function: What is timed.
        count: Number of timed calls.
        wait: Called before each reading of the clock; waits for a device that works on its own.
    """
    pause = wait or (lambda: None)
    function()
    pause()
    seconds = []
    for _ in range(count):
        start = time.perf_counter()
        function()
        pause()
        seconds.append(time.perf_counter() - start)
    return seconds


def undisturbed(turn: Callable[[], list[float]], patience: float) -> tuple[list[float], float | None]:
    """Repeat a turn until other programs left it alone, for `patience` seconds at most; the least disturbed one counts.

    Returns:
        Its durations, and the mean number of cores that others took during it (None where the system does not tell).
    """
    end = time.monotonic() + patience
    best: tuple[list[float], float | None] | None = None
    while best is None or (time.monotonic() < end and best[1] is not None and best[1] > _QUIET):
        others = Bystanders()
        seconds = turn()
        taken = others.cores_taken()
        if best is None or best[1] is None or (taken is not None and taken < best[1]):
            best = seconds, taken
    return best


def take_turns(
    turns: Mapping[str, Callable[[], list[float]]], rounds: int, patience: float
) -> tuple[dict[str, list[float]], float | None]:
    """Let every competitor have its turn, `rounds` times over.

    Args:
        turns: Competitor → a function that returns durations in seconds.
        rounds: How often all take turns.
        patience: Seconds for which a turn is repeated while other programs take processor time; 0 for never.

    Returns:
        The durations of each, and the largest mean number of cores that other programs took during one of the turns (None
        where the system does not tell).

    Raises:
        ValueError: If `rounds` is not positive.
    """
    seconds: dict[str, list[float]] = {name: [] for name in turns}
    others: list[float | None] = []
    for _ in range(positive_int("rounds", rounds)):
        for name, turn in turns.items():
            found, taken = undisturbed(turn, patience)
            seconds[name] += found
            others.append(taken)
    known = [taken for taken in others if taken is not None]
    return seconds, max(known) if len(known) == len(others) else None


def compare(
    competitors: Mapping[str, Callable[[], object]],
    rounds: int,
    per_round: int = 1,
    patience: float = 0.0,
    slow: float = 2.0,
    wait: Callable[[], object] | None = None,
    K: int = 1,
) -> dict[str, Any]:
    """Time competitors of very different speed in turns; those whose first call takes too long are not called again.

    Args:
        competitors: Name → what is timed.
        rounds: How often they take turns.
        per_round: Calls of each per turn (after one to warm up).
        patience: See `take_turns`.
        slow: Seconds beyond which the first call, which warms up and compiles, is the measurement.
        wait: See `durations`.
        K: Runs: times are per run.

    Returns:
        "times": name → a `Timing` as a dictionary; "others": the largest mean number of cores that other programs took
        during a turn that counts (None where the system does not tell).

    Raises:
        ValueError: If a number is not positive.
    """
    positive_int("rounds", rounds)
    positive_int("per_round", per_round)
    pause = wait or (lambda: None)
    seconds: dict[str, list[float]] = {}
    taken: list[float | None] = []
    for name, competitor in competitors.items():
        bystanders, start = Bystanders(), time.perf_counter()
        competitor()
        pause()
        first = time.perf_counter() - start
        if first > slow:
            seconds[name] = [first]
            taken.append(bystanders.cores_taken())
    turns = {name: _turn(c, per_round, wait) for name, c in competitors.items() if name not in seconds}
    if turns:
        found, others = take_turns(turns, rounds, patience)
        seconds |= found
        taken.append(others)
    known = [value for value in taken if value is not None]
    return {
        "times": {name: asdict(Timing.of(seconds[name], K)) for name in competitors},
        "others": max(known) if known and len(known) == len(taken) else None,
    }


def _turn(competitor: Callable[[], object], count: int, wait: Callable[[], object] | None) -> Callable[[], list[float]]:
    return lambda: durations(competitor, count, wait)
