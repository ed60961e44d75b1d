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

__all__ = ["main", "run"]


def _line(result: dict[str, Any]) -> str:
    case = result["case"]
    return (
        f"{case['threads']:7d} {case['N']:5d} {case['K']:4d} {case['horizon']:8d} "
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
        "threads     N    K  horizon  nn.RNN loop   ensemble  speed-up  bare products  over products  cores of others"
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


def main(
    out: Annotated[Path, typer.Option(help="Folder for elman.json.")] = Path("records/bench"),
    rounds: Annotated[int, typer.Option(min=1, help="How often the competitors take turns.")] = 9,
    per_round: Annotated[int, typer.Option(min=1, help="Iterations of each per turn.")] = 3,
    patience: Annotated[
        float, typer.Option(min=0, help="Seconds to repeat a turn that other programs disturb.")
    ] = 10.0,
    scaling: Annotated[bool, typer.Option(help="Measure other sizes too.")] = True,
) -> None:
    """Time an iteration of Elman training against a loop over torch.nn.RNN and against its bare matrix products."""
    result = run(rounds, per_round, scaling, patience)
    out.mkdir(parents=True, exist_ok=True)
    path = out / "elman.json"
    temporary = path.with_suffix(".json.part")
    temporary.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    os.replace(temporary, path)
    print(
        f"on {result['machine']['processor']}, {result['machine']['cores']} cores, torch {result['machine']['torch']}"
    )
    print(f"written to {path}")


if __name__ == "__main__":
    typer.run(main)
