"""What a measurement of speed was made on."""

from __future__ import annotations

import os
import platform
import time
from pathlib import Path

import numpy as np
import torch

__all__ = ["Bystanders", "cores", "describe", "processor"]


class Bystanders:
    """How much processor time other programs took between two moments.

    PyTorch's own threads wait for each other after every small product, so that a program that takes one of two cores
    slows them down not by half but tenfold. A comparison must know.
    """

    def __init__(self) -> None:
        self._start = self._read()

    @staticmethod
    def _read() -> tuple[float, float, float] | None:
        """Seconds: all processors busy, this process busy, and the clock; None where the system does not tell."""
        try:
            fields = Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0].split()[1:9]
            ticks = os.sysconf("SC_CLK_TCK")
        except (OSError, AttributeError, ValueError):
            return None
        user, nice, system, _idle, _wait, *interrupts = (int(field) for field in fields)
        return (user + nice + system + sum(interrupts)) / ticks, time.process_time(), time.monotonic()

    def cores_taken(self) -> float | None:
        """Return the mean number of cores that others kept busy since this object was made, or None if unknown."""
        now = self._read()
        if now is None or self._start is None:
            return None
        busy, own, clock = (after - before for after, before in zip(now, self._start, strict=True))
        return max(0.0, (busy - own) / max(clock, 1e-9))


def processor() -> str:
    """Return the processor's own name for itself."""
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()


def cores() -> int:
    """Return the number of cores this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity is not None else (os.cpu_count() or 1)


def describe() -> dict[str, str | int]:
    """Return processor, cores, system and versions, for the record of a measurement."""
    return {
        "processor": processor(),
        "cores": cores(),
        "system": platform.system(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "vectors": torch.backends.cpu.get_cpu_capability(),
    }
