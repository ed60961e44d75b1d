"""Run the benchmarks, print a table and keep the numbers: `python -m wavemem.benchmarks --out records/bench`."""

from __future__ import annotations

import datetime
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from wavemem.benchmarks.elman import Case, measure
from wavemem.benchmarks.machine import cores, describe

__all__ = ["main", "run", "run_arithmetic", "run_gpu"]


def _line(result: dict[str, Any]) -> str:
    case = result["case"]
    return (
        f"{case['threads']:7d} {case['N']:5d} {case['K']:4d} {case['s']:3d} {case['horizon']:8d} "
        f"{result['loop']['median']:12.2f} {result['ensemble']['median']:10.2f} {result['speed_up']:9.2f} "
        f"{result['products']['median']:14.2f} {result['over_products']:14.2f} "
        f"{'unknown' if result['others'] is None else format(result['others'], '.2f'):>16s}"
    )


def run(rounds: int, per_round: int, scaling: bool, patience: float) -> dict[str, Any]:
    """Measure the named cases and, if asked for, how the times scale; print as they come."""
    both = min(2, cores())
    targets = [Case(N=N, threads=threads) for threads in sorted({both, 1}, reverse=True) for N in (128, 64)]
    print("milliseconds per iteration and run (medians)")
    print(
        "threads     N    K   s  horizon  nn.RNN loop   ensemble  speed-up  bare products  over products  cores of others"
    )
    headline = []
    for case in targets:
        headline.append(measure(case, rounds, per_round, patience))
        print(_line(headline[-1]), flush=True)
    sizes = []
    if scaling:
        base = Case(N=64, threads=both)
        wanted = [replace(base, N=N) for N in (32, 64, 128, 256)]
        wanted += [replace(base, K=K) for K in (1, 2, 4, 16)]
        wanted += [replace(base, s=s) for s in (2, 4, 16)]
        wanted += [replace(base, horizon=horizon) for horizon in (10, 40, 200)]
        for case in wanted:
            sizes.append(measure(case, max(2, rounds // 3), per_round, patience))
            print(_line(sizes[-1]), flush=True)
    return {
        "machine": describe(),
        "measured": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        "unit": "milliseconds per iteration and run",
        "headline": headline,
        "scaling": sizes,
    }


def run_gpu(rounds: int, per_round: int, scaling: bool) -> dict[str, Any]:
    """Measure on the CUDA device: ceilings, the named cases, how the times scale, and what TF32 changes; print as they come.

    Raises:
        ValueError: If PyTorch finds no CUDA device.
    """
    import torch

    from wavemem.benchmarks.counts import Ceilings
    from wavemem.benchmarks.elman_gpu import (
        SCALING,
        TARGETS,
        angles_by_precision,
        measure_ceilings,
        measure_on,
        waits_of,
    )
    from wavemem.training.device import choose_device

    device = choose_device("cuda")
    measured = measure_ceilings(device)
    ceilings = Ceilings(measured["operations_per_second"], measured["bytes_per_second"])
    print("milliseconds per iteration and run (medians)")
    print("    N    K   s  horizon  nn.RNN loop   ensemble  speed-up  over floor")

    def line(case: Case) -> dict[str, Any]:
        result = measure_on(device, case, ceilings, rounds, per_round)
        print(
            f"{case.N:5d} {case.K:4d} {case.s:3d} {case.horizon:8d} {result['loop']['median']:12.4f} "
            f"{result['ensemble']['median']:10.4f} {result['speed_up']:9.1f} {result['over_floor']:11.1f}",
            flush=True,
        )
        return result

    return {
        "machine": {**describe(), "gpu": torch.cuda.get_device_name(device)},
        "measured": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        "unit": "milliseconds per iteration and run",
        "ceilings": measured,
        "waits": waits_of(device, TARGETS[0]),
        "headline": [line(case) for case in TARGETS],
        "scaling": [line(case) for case in SCALING] if scaling else [],
        "angles": angles_by_precision(device),
    }


def run_arithmetic() -> dict[str, Any]:
    """Measure what TF32 changes: on a CUDA device, or imitated on the processor."""
    from wavemem.benchmarks.elman_gpu import angles_by_precision
    from wavemem.training.device import choose_device

    return {
        "machine": describe(),
        "measured": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        "angles": angles_by_precision(choose_device("auto")),
    }


def main(
    out: Annotated[Path, typer.Option(help="Folder for elman.json.")] = Path("records/bench"),
    rounds: Annotated[int, typer.Option(min=1, help="How often the competitors take turns.")] = 9,
    per_round: Annotated[int, typer.Option(min=1, help="Iterations of each per turn.")] = 3,
    patience: Annotated[
        float, typer.Option(min=0, help="Seconds to repeat a turn that other programs disturb.")
    ] = 10.0,
    scaling: Annotated[bool, typer.Option(help="Measure other sizes too.")] = True,
    gpu: Annotated[
        bool, typer.Option("--gpu", help="Measure on the CUDA device instead, into elman-gpu.json.")
    ] = False,
    arithmetic: Annotated[
        bool, typer.Option("--arithmetic", help="Measure what TF32 changes instead, into elman-tf32.json.")
    ] = False,
) -> None:
    """Time an iteration of Elman training against a loop over torch.nn.RNN and against its bare matrix products."""
    if gpu:
        from wavemem.training.device import choose_device

        try:
            choose_device("cuda")
        except ValueError as error:
            raise typer.BadParameter(str(error), param_hint="--gpu") from error
    if arithmetic:
        result, name = run_arithmetic(), "elman-tf32.json"
    elif gpu:
        result, name = run_gpu(rounds, per_round, scaling), "elman-gpu.json"
    else:
        result, name = run(rounds, per_round, scaling, patience), "elman.json"
    out.mkdir(parents=True, exist_ok=True)
    path = out / name
    temporary = path.with_suffix(".json.part")
    temporary.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    os.replace(temporary, path)
    machine = result["machine"]
    print(f"on {machine.get('gpu', machine['processor'])}, {machine['cores']} cores, torch {machine['torch']}")
    print(f"written to {path}")


if __name__ == "__main__":
    typer.run(main)
