"""How many operations a training iteration needs and how many bytes it must move: the floor of its time."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from wavemem.checks import positive_int, require

__all__ = [
    "Ceilings",
    "Counts",
    "Sizes",
    "fitted_growth",
    "floor_seconds",
    "growth",
    "iteration_counts",
    "scan_counts",
    "selective_scan_counts",
    "wave_multiply_adds",
]


class Sizes(Protocol):
    """Sizes of an iteration: hidden units, runs, batch, length and dimensions of the history, output steps."""

    @property
    def N(self) -> int: ...
    @property
    def K(self) -> int: ...
    @property
    def batch(self) -> int: ...
    @property
    def s(self) -> int: ...
    @property
    def d(self) -> int: ...
    @property
    def horizon(self) -> int: ...


@dataclass(frozen=True)
class Counts:
    """Floating-point operations of matrix products (a multiplication and an addition are two), and bytes moved."""

    operations: int
    bytes: int

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.operations + other.operations, self.bytes + other.bytes)


@dataclass(frozen=True)
class Ceilings:
    """What a device can do at most, measured: operations per second of large products, bytes per second of a copy."""

    operations_per_second: float
    bytes_per_second: float


def scan_counts(sizes: Sizes, item: int = 4) -> Counts:
    """Count the two loops over time alone, with the recurrent matrix read once per run.

    Forward, a step multiplies a batch of states with W_hh (2 B N² operations), reads its drive during the input phase and
    writes the state. Back, every step but the last multiplies likewise; the state and, in the output phase, what the loss
    sends are read, and δ is written.

    Args:
        sizes: Sizes of the iteration.
        item: Bytes of a number.
    """
    K, B, N, T = sizes.K, sizes.batch, sizes.N, sizes.s + sizes.horizon
    entries = K * B * N
    operations = 2 * entries * N * (T + T - 1)
    moved = entries * (sizes.s + T) + entries * (T + sizes.horizon + T) + 2 * K * N * N
    return Counts(operations, item * moved)


def iteration_counts(sizes: Sizes, item: int = 4) -> Counts:
    """Count a whole iteration: the loops over time, drives, readout and its way back, weight gradients, and Adam.

    The products outside the loops read and write each of their tensors once. Adam reads weight, gradient and two moments
    and writes weight and moments.

    Args:
        sizes: Sizes of the iteration.
        item: Bytes of a number.
    """
    K, B, N, d, s, H = sizes.K, sizes.batch, sizes.N, sizes.d, sizes.s, sizes.horizon
    T = s + H
    states, outputs, inputs = K * B * N, K * B * d * H, K * B * d * s
    drive = Counts(2 * inputs * N, item * (inputs + K * N * d + s * states))
    readout = Counts(2 * outputs * N, item * (H * states + K * N * d + 2 * outputs))
    sent = Counts(2 * outputs * N, item * (outputs + K * N * d + H * states))
    recurrent = Counts(2 * T * states * N, item * (2 * T * states + K * N * N))
    rest = Counts(2 * (inputs + outputs) * N, item * ((s + H) * states + inputs + outputs + 2 * K * N * d))
    adam = Counts(0, item * 7 * K * (N * N + 2 * N * d))
    return scan_counts(sizes, item) + drive + readout + sent + recurrent + rest + adam


def floor_seconds(counts: Counts, ceilings: Ceilings) -> float:
    """Return the time below which a device with these ceilings cannot be: arithmetic or memory, whichever is longer.

    Raises:
        ValueError: If a ceiling is not a positive number.
    """
    for name in ("operations_per_second", "bytes_per_second"):
        value = getattr(ceilings, name)
        require(
            math.isfinite(value) and value > 0, f"{name} = {value}", "a positive number", "Measure the device first."
        )
    return max(counts.operations / ceilings.operations_per_second, counts.bytes / ceilings.bytes_per_second)


def wave_multiply_adds(n: int, c: int, k: int, steps: int, batch: int, active: int, outputs: int, read: int) -> int:
    """Count the multiply-adds of a Wave-RNN's iteration, forward and backward, from h(0) = 0.

    The recurrence costs batch · n c² k per step but the first, and as much again for δ and for the gradient of u. Inputs are
    multiplied forward and in the gradient of V; the readout forward, in its gradient and on the way back. Activations,
    biases and the loss are not counted.

    Args:
        n: Units of a ring.
        c: Channels.
        k: Taps.
        steps: Length of the sequences.
        batch: Sequences.
        active: Entries of an input that are not zero (1 if it is one-hot).
        outputs: Dimension of the outputs.
        read: Steps with an output.

    Raises:
        ValueError: If a size is not a positive whole number.
    """
    for name, value in {"n": n, "c": c, "k": k, "steps": steps, "batch": batch, "active": active}.items():
        positive_int(name, value)
    recurrence = 3 * (steps - 1) * batch * n * c * c * k
    drive = 2 * steps * batch * n * c * active
    readout = 3 * read * batch * n * c * outputs
    return recurrence + drive + readout


_EXPONENTIAL = 16
"""Operations of a vectorised exponential: range reduction, and a polynomial of degree 6 by multiply-adds."""


def selective_scan_counts(K: int, batch: int, length: int, channels: int, states: int, item: int = 4) -> Counts:
    """Count the selective scan with gate and D, forward and backward, with the states recomputed for the way back.

    Per number of a state and step: forward the decay Δ A and its exponential, its product with the state, what the input
    adds (two), and its part of the output (two); back the same again without the output, and then its part of what the loss
    sends (two), of the gradients of B, C, u, Δ and A (two each) and two products with the decay. An exponential counts as
    sixteen operations. What is done once per channel and step (softplus, gate, D) is not counted; it is N times rarer.

    Every sequence is read or written once forward (u, Δ, z, y; B, C) and once back (u, Δ, z, the gradients of y, u, Δ
    and z; B, C and their gradients). States never touch the memory.

    Args:
        K: Runs.
        batch: Sequences per run.
        length: Steps.
        channels: E.
        states: N.
        item: Bytes of a number.

    Raises:
        ValueError: If a size is not a positive whole number.
    """
    for name, value in {"K": K, "batch": batch, "length": length, "channels": channels, "states": states}.items():
        positive_int(name, value)
    again = 1 + _EXPONENTIAL + 1 + 2
    steps = K * batch * length
    operations = steps * channels * states * ((again + 2) + (again + 2 + 5 * 2 + 2))
    moved = steps * ((4 + 7) * channels + (2 + 4) * states) + 4 * K * channels * states
    return Counts(operations, item * moved)


def fitted_growth(results: Sequence[Mapping[str, Any]], name: str, timing: str) -> dict[str, float] | None:
    """Fit a power law to the time of a whole iteration over the cases that differ in one size and nothing else.

    Least squares on logarithms. The cases are chosen as in `growth`.

    Returns:
        smallest and largest size, number of sizes, exponent, and "residual", the largest factor between a time and the
        fit; None unless two sizes were measured.
    """
    times = _times(results, name, timing)
    if len(times) < 2:
        return None
    x, y = ([math.log(value) for value in values] for values in (times, times.values()))
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    exponent = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True)) / sum((a - mean_x) ** 2 for a in x)
    away = max(abs(b - mean_y - exponent * (a - mean_x)) for a, b in zip(x, y, strict=True))
    return {"from": min(times), "to": max(times), "sizes": len(times), "exponent": exponent, "residual": math.exp(away)}


def _times(results: Sequence[Mapping[str, Any]], name: str, timing: str) -> dict[int, float]:
    """Size → milliseconds of an iteration of all runs, of the largest group of cases that differ in that size alone."""
    groups: dict[tuple[tuple[str, Any], ...], dict[int, float]] = {}
    for result in results:
        case = result["case"]
        key = tuple(sorted((k, v) for k, v in case.items() if k != name))
        groups.setdefault(key, {})[int(case[name])] = float(result[timing]["median"]) * int(case["K"])
    return max(groups.values(), key=len, default={})


def growth(results: Sequence[Mapping[str, Any]], name: str, timing: str = "ensemble") -> dict[str, float] | None:
    """Return how the time of a whole iteration grows with one size, over the cases that differ in nothing else.

    Args:
        results: Measurements with a "case" and timings in milliseconds per run.
        name: The size, a field of the case.
        timing: Whose time.

    Returns:
        smallest and largest size measured, the ratio of the two times, and the exponent of the power law through both;
        None unless two sizes of at least one otherwise equal case were measured. Of several such groups the one with the
        most sizes counts.
    """
    times = _times(results, name, timing)
    if len(times) < 2:
        return None
    low, high = min(times), max(times)
    ratio = times[high] / times[low]
    return {"from": low, "to": high, "ratio": ratio, "exponent": math.log(ratio) / math.log(high / low)}
