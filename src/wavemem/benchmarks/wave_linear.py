"""How the time of a linear Wave-RNN grows with the length of its sequence: step by step, and in parallel over time.

All competitors compute the outputs after every step and the gradients of all weights. They take turns within one process,
shortest sequence first; medians are compared. `python -m wavemem.benchmarks.wave_linear` writes `wave-linear.json`.
"""

from __future__ import annotations

import datetime
import json
import math
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from torch import Tensor

from wavemem.benchmarks.machine import Bystanders, describe
from wavemem.checks import positive_int
from wavemem.kernels.wave import wave_outputs, wave_scan_reference
from wavemem.kernels.wave_linear import wave_linear_outputs
from wavemem.streams import stream

__all__ = ["METHODS", "LinearCase", "main", "measure", "network", "run"]


@dataclass(frozen=True)
class LinearCase:
    """One size to measure.

    Args:
        n: Units of a ring.
        c: Channels.
        d: Inputs.
        o: Outputs.
        batch: Sequences.
        threads: Cores to use.
    """

    n: int = 100
    c: int = 6
    d: int = 2
    o: int = 1
    batch: int = 1
    threads: int = 1


def network(case: LinearCase, T: int) -> tuple[Tensor, ...]:
    """Return u, V, b, W, b_y and inputs: shifts with weak couplings between channels, slightly damped."""
    g = stream(0, f"linear wave {case.n} {case.c}")
    u = torch.zeros(1, case.c, case.c, 3)
    u[:, range(case.c), range(case.c), 2] = 0.99
    u += 0.002 * torch.randn(u.shape, generator=g)
    V = torch.zeros(1, case.c, case.n, case.d)
    V[:, :, 0] = 1.0
    W = torch.randn(1, case.o, case.c * case.n, generator=g) / math.sqrt(case.c * case.n)
    inputs = torch.randn(T, 1, case.batch, case.d, generator=stream(0, f"inputs {T}"))
    return u, V.flatten(1, 2), torch.zeros(1, case.c * case.n), W, torch.zeros(1, case.o), inputs


def _loop(u: Tensor, V: Tensor, b: Tensor, W: Tensor, b_y: Tensor, inputs: Tensor) -> Tensor:
    states = wave_scan_reference(u, V, b, inputs, activation="linear")
    return states.flatten(3) @ W.mT + b_y[:, None]


METHODS: dict[str, Callable[..., Tensor]] = {
    "loop": _loop,
    "compiled": lambda *a: wave_outputs(*a, every_step=True, activation="linear"),
    "scan": lambda *a: wave_linear_outputs(*a, every_step=True, method="scan"),
    "convolution": lambda *a: wave_linear_outputs(*a, every_step=True, method="convolution"),
}
"""Competitor → outputs: `conv1d` step by step, the library's kernel step by step, and the two parallel paths."""


def _once(method: str, arguments: tuple[Tensor, ...]) -> tuple[float, Tensor]:
    """Seconds of one forward and backward pass, and the outputs."""
    weights = [a.clone().requires_grad_() for a in arguments[:-1]]
    start = time.perf_counter()
    y = METHODS[method](*weights, arguments[-1])
    torch.autograd.grad(y.square().mean(), weights)
    return time.perf_counter() - start, y.detach()


def measure(case: LinearCase, T: int, rounds: int = 5, slow: float = 5.0) -> dict[str, Any]:
    """Measure every competitor at one length.

    Args:
        case: The sizes.
        T: Steps of the sequence.
        rounds: Repetitions; a competitor that took longer than `slow` seconds is not repeated.
        slow: See rounds.

    Returns:
        The case, T, per competitor the median, quartiles (milliseconds) and repetitions, the largest difference of its
        outputs from those of the scan in double precision relative to the largest output ("error"), and "others", the mean
        number of cores that other programs took (None where the system does not tell).

    Raises:
        ValueError: If a number is not positive.
    """
    positive_int("T", T)
    positive_int("rounds", rounds)
    positive_int("threads", case.threads)
    arguments = network(case, T)
    before = torch.get_num_threads()
    torch.set_num_threads(case.threads)
    bystanders = Bystanders()
    try:
        with torch.no_grad():
            exact = wave_linear_outputs(*(a.double() for a in arguments), every_step=True, method="scan")
        scale = float(exact.abs().max())
        seconds: dict[str, list[float]] = {name: [] for name in METHODS}
        errors: dict[str, float] = {}
        for turn in range(rounds):
            for name, taken in seconds.items():
                if turn and min(taken) > slow:
                    continue
                if not turn and T <= 10_000:
                    _once(name, arguments)  # compiles and warms up
                duration, y = _once(name, arguments)
                taken.append(duration)
                errors[name] = float((y.double() - exact).abs().max()) / scale
    finally:
        torch.set_num_threads(before)
    result: dict[str, Any] = {"case": asdict(case), "T": T}
    for name, taken in seconds.items():
        lower, median, upper = (float(v) * 1e3 for v in np.percentile(taken, [25, 50, 75]))
        result[name] = {
            "median": median,
            "lower": lower,
            "upper": upper,
            "repetitions": len(taken),
            "error": errors[name],
        }
    result["others"] = bystanders.cores_taken()
    return result


def run(
    lengths: tuple[int, ...] = (100, 1_000, 10_000, 100_000), rounds: int = 5, case: LinearCase | None = None
) -> dict[str, Any]:
    """Measure all lengths, print a line for each, and return what the file holds."""
    case = LinearCase() if case is None else case
    print("milliseconds per forward and backward pass (medians)")
    print("      T" + "".join(f"{name:>14s}" for name in METHODS) + "   cores of others")
    results = []
    for T in lengths:
        result = measure(case, T, rounds)
        results.append(result)
        others = "unknown" if result["others"] is None else f"{result['others']:.2f}"
        print(f"{T:7d}" + "".join(f"{result[name]['median']:14.2f}" for name in METHODS) + f"{others:>18s}", flush=True)
    return {
        "machine": describe(),
        "measured": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        "unit": "milliseconds per forward and backward pass",
        "lengths": results,
    }


def main(
    out: Annotated[Path, typer.Option(help="Folder for wave-linear.json.")] = Path("records/bench"),
    rounds: Annotated[int, typer.Option(min=1, help="Repetitions.")] = 5,
    longest: Annotated[
        int, typer.Option(min=1, help="The longest sequence; shorter ones are powers of ten.")
    ] = 100_000,
) -> None:
    """Time the linear Wave-RNN step by step and in parallel over time."""
    lengths = tuple(10**k for k in range(2, 9) if 10**k < longest)
    result = run((*lengths, longest), rounds)
    out.mkdir(parents=True, exist_ok=True)
    path = out / "wave-linear.json"
    temporary = path.with_suffix(".json.part")
    temporary.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    os.replace(temporary, path)
    print(f"written to {path}")


if __name__ == "__main__":
    typer.run(main)
