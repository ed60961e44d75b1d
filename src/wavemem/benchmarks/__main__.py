"""Run the benchmarks, print a table and keep the numbers: `python -m wavemem.benchmarks --out records/bench`."""

from __future__ import annotations

import datetime
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from wavemem.benchmarks.elman import Case, measure
from wavemem.benchmarks.machine import cores, describe

__all__ = ["main", "run", "run_arithmetic", "run_gpu", "run_linear", "run_strings", "run_wave"]

_HEAVY = 10**9
"""Multiply-adds from which an iteration of a Wave-RNN takes a noticeable part of a second: it is repeated less often."""


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


def run_wave(rounds: int, per_round: int, scaling: bool, patience: float, device: str = "cpu") -> dict[str, Any]:
    """Measure the Wave-RNN's named cases and, if asked for, the alternatives and how the times scale; print as they come.

    Args:
        rounds: How often the competitors take turns; a third as often for other sizes and for large cases.
        per_round: Iterations of each per turn; one for large cases.
        scaling: Whether to measure other sizes and alternatives.
        patience: Seconds for which a disturbed turn is repeated.
        device: "cpu" or "cuda".

    Raises:
        ValueError: If a number is not positive, or PyTorch finds no such device.
    """
    import torch

    from wavemem.benchmarks.wave import SCALING, TARGETS, WaveCase, alternatives, at_best_rate, measure, that_fits
    from wavemem.training.device import choose_device

    where = choose_device(device)
    processor = where.type == "cpu"
    print("milliseconds per iteration and run (medians)")
    print("threads     task    n    c  steps  batch    K  Conv1d loop       ours  speed-up  over floor")

    def often(case: WaveCase, share: int) -> tuple[int, int, float]:
        heavy = case.multiply_adds > _HEAVY and processor
        return max(2, rounds // (3 if heavy else share)), 1 if heavy else per_round, patience

    def line(case: WaveCase, share: int = 1) -> dict[str, Any]:
        result = measure(case, *often(case, share), str(where))
        print(
            f"{case.threads:7d} {case.task:>8s} {case.n:4d} {case.c:4d} {case.steps:6d} {case.batch:6d} {case.K:4d} "
            f"{result['loop']['median']:12.2f} {result['ours']['median']:10.2f} {result['speed_up']:9.2f} "
            f"{result['over_floor']:11.2f}",
            flush=True,
        )
        return result

    threads = sorted({min(2, cores()), 1}, reverse=True) if processor else [1]
    sizes = [replace(case, threads=used) for used in threads for case in TARGETS]
    if not processor:
        sizes = [replace(case, K=K) for case in sizes for K in (1, 3)]
    memory = None if processor else int(torch.cuda.get_device_properties(where).total_memory)
    sizes = [that_fits(case, memory) for case in sizes]
    headline = [line(case) for case in sizes]
    compared = [case for case in sizes if case.threads == threads[0] or case.multiply_adds <= _HEAVY]
    found = [alternatives(case, *often(case, 2)) for case in compared] if scaling and processor else []
    for result in found:
        known = {
            name: value["median"] for name, value in result.items() if isinstance(value, dict) and "median" in value
        }
        print(result["case"]["task"], ", ".join(f"{name} {value:.2f}" for name, value in known.items()), flush=True)
    others = [line(replace(case, threads=threads[0]), 3) for case in SCALING] if scaling else []
    all_of_them = at_best_rate([*headline, *found, *others])
    first, second = len(headline), len(headline) + len(found)
    return {
        "machine": describe() if processor else {**describe(), "gpu": torch.cuda.get_device_name(where)},
        "measured": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        "unit": "milliseconds per iteration and run",
        "headline": all_of_them[:first],
        "alternatives": all_of_them[first:second],
        "scaling": all_of_them[second:],
    }


def run_linear(lengths: tuple[int, ...]) -> dict[str, Any]:
    """Measure the linear Wave-RNN step by step and in parallel over time, on sequences of these lengths; print as they come."""
    from wavemem.benchmarks.wave_linear import run

    return run(lengths)


def run_strings(rounds: int, per_round: int, scaling: bool, patience: float, device: str = "cpu") -> dict[str, Any]:
    """Measure Mamba, v-Wave Mamba and transformers while they train and write, and the kernels; print as they come."""
    from wavemem.benchmarks.strings import run_strings as measured

    return measured(rounds, per_round, scaling, patience, device)


def run_arithmetic() -> dict[str, Any]:
    """Measure what TF32 changes: on a CUDA device, or imitated on the processor."""
    from wavemem.benchmarks.elman_gpu import angles_by_precision
    from wavemem.training.device import choose_device

    return {
        "machine": describe(),
        "measured": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        "angles": angles_by_precision(choose_device("auto")),
    }


def _keep(result: dict[str, Any], path: Path) -> None:
    """Write a file of measurements, all at once or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".json.part")
    temporary.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    os.replace(temporary, path)
    machine = result["machine"]
    print(f"on {machine.get('gpu', machine['processor'])}, {machine['cores']} cores, torch {machine['torch']}")
    print(f"written to {path}")


def main(
    out: Annotated[Path, typer.Option(help="Folder for the files, such as elman.json and strings.json.")] = Path(
        "records/bench"
    ),
    rounds: Annotated[int, typer.Option(min=1, help="How often the competitors take turns.")] = 9,
    per_round: Annotated[int, typer.Option(min=1, help="Iterations of each per turn.")] = 3,
    patience: Annotated[
        float, typer.Option(min=0, help="Seconds to repeat a turn that other programs disturb.")
    ] = 10.0,
    scaling: Annotated[bool, typer.Option(help="Measure other sizes too.")] = True,
    model: Annotated[
        Literal["all", "elman", "wave", "linear", "strings"],
        typer.Option(
            help="What to measure: all, Elman networks, Wave-RNNs, the linear Wave-RNN's path in parallel, or the "
            "models that copy strings (Mamba, v-Wave, transformers)."
        ),
    ] = "all",
    gpu: Annotated[
        bool, typer.Option("--gpu", help="Measure on the CUDA device instead, into files named …-gpu.json.")
    ] = False,
    arithmetic: Annotated[
        bool, typer.Option("--arithmetic", help="Measure what TF32 changes instead, into elman-tf32.json.")
    ] = False,
) -> None:
    """Time training against loops over torch.nn.RNN (Elman networks) and torch.nn.Conv1d (Wave-RNNs), and against floors;
    and Mamba and v-Wave Mamba against each other and against transformers."""
    if gpu:
        from wavemem.training.device import choose_device

        try:
            choose_device("cuda")
        except ValueError as error:
            raise typer.BadParameter(str(error), param_hint="--gpu") from error
    if arithmetic:
        _keep(run_arithmetic(), out / "elman-tf32.json")
        return
    if model in ("all", "elman"):
        if gpu:
            _keep(run_gpu(rounds, per_round, scaling), out / "elman-gpu.json")
        else:
            _keep(run(rounds, per_round, scaling, patience), out / "elman.json")
    if model in ("all", "linear") and not gpu:
        _keep(run_linear((100, 1_000, 10_000, 100_000) if scaling else (1_000,)), out / "wave-linear.json")
    if model in ("all", "wave"):
        name = "wave-gpu.json" if gpu else "wave.json"
        _keep(run_wave(rounds, per_round, scaling, patience, "cuda" if gpu else "cpu"), out / name)
    if model in ("all", "strings"):
        name = "strings-gpu.json" if gpu else "strings.json"
        _keep(run_strings(rounds, per_round, scaling, patience, "cuda" if gpu else "cpu"), out / name)


if __name__ == "__main__":
    typer.run(main)
