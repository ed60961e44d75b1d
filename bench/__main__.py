"""Measure what the book's computations cost: `python -m bench`, or some of it: `python -m bench elman/headline strings`."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path
from typing import Annotated

import typer

from bench import elman, strings, wave
from bench.measure import run, write
from wavemem.checks import choose_device

CASES = sorted([*elman.CASES, *wave.CASES, *strings.CASES], key=lambda case: case.suite)


def main(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="How the names of the cases begin, such as strings or elman/headline; all by default."),
    ] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda; files of the latter are named …-gpu.json.")] = "cpu",
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for the files; by default records/bench, to which only whole suites are written."),
    ] = None,
    rounds: Annotated[int, typer.Option(min=2, help="How often the contestants take turns.")] = 9,
    limit: Annotated[float, typer.Option(min=0, help="Seconds that a case's turns may take, about.")] = 30.0,
    patience: Annotated[float, typer.Option(min=0, help="Seconds to repeat a turn that others disturb.")] = 10.0,
) -> None:
    """Time the book's computations, each against what one would write first and against floors, within one run."""
    try:
        where = choose_device(device)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--device") from error
    wanted = [case for case in CASES if where.type in case.devices]
    for name in names or ():
        if not any(case.name.startswith(name) for case in wanted):
            available = ", ".join(dict.fromkeys(case.name.split()[0] for case in wanted))
            raise typer.BadParameter(f"no case's name begins with {name!r} on {where.type}; there are {available}")
    for suite, group in groupby(wanted, lambda case: case.suite):
        whole = list(group)
        chosen = [case for case in whole if not names or case.name.startswith(tuple(names))]
        if not chosen:
            continue
        measured = run(chosen, where, rounds=rounds, limit=limit, patience=patience)
        machine = measured["machine"]
        print(f"on {machine.get('gpu', machine['processor'])}, {machine['cores']} cores, torch {machine['torch']}")
        if out is not None or chosen == whole:
            folder = Path(__file__).resolve().parents[1] / "records" / "bench" if out is None else out
            path = folder / f"{suite}{'-gpu' if where.type == 'cuda' else ''}.json"
            write(path, measured)
            print(f"written to {path}")
        else:
            print(f"not written: only a part of {suite} was measured; --out names a folder for it")


if __name__ == "__main__":
    typer.run(main)
