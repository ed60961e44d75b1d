"""The cost page: what training costs, generated from the committed measurements of `make bench`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["render", "write"]

_HEAD = """\
(page-cost)=
# What training costs

Every number on this page was measured by `make bench`, which writes `records/bench/elman.json`; the page is generated from
that file.
"""

_MEANING = """\
## How it is measured

One iteration draws a batch of histories and their targets, runs the network through the input phase and the horizon,
compares, differentiates, clips the gradient and updates the weights with Adam. Three programs take turns within one
process, and medians over all repetitions are compared. A turn during which other programs took processor time is
repeated for some seconds, and the least disturbed one counts; *others* is the largest mean number of cores they still
took during a turn that counts.

nn.RNN loop
: one `torch.nn.RNN` without biases, one `torch.nn.Linear`, one `torch.optim.Adam` per run, run after run, on all threads:
  the program one would write first.

ensemble
: `wavemem.training.ensemble.train` on all runs at once. It gives the same losses and gradients; the tests compare both.

bare products
: only the matrix products of an iteration, by PyTorch's batched product, with the runs shared between the cores as in
  the training. A training that spends nothing on anything else, with these products, would take that long. A ratio
  below 1 is possible: where it is faster the training takes its products from oneDNN, with the weights packed once per
  iteration.

Networks start from an orthogonal recurrent matrix, so that the activity neither dies out nor saturates over the horizon.

speed-up
: the loop's median over the ensemble's.

over products
: the ensemble's median over that of the bare products: the distance to the floor.

## Where the time goes

A step of the loop over `nn.RNN` is a small product, a hyperbolic tangent, and bookkeeping for the backward pass, and every
step's weight gradient is a product of its own. The ensemble's scan

- writes the states into memory that is kept from one iteration to the next, and keeps nothing else;
- multiplies the inputs with their weights once, before the scan, and not at all in the output phase, where they are zero;
- takes each weight gradient as one product over a block of steps while their states are in the cache;
- takes the tangent from NumPy, whose vectorised version is many times faster than PyTorch's on some processors;
- gives each core whole runs to work through, in a thread of its own, instead of splitting every product between the
  cores and waiting for both at its end;
- clips and updates all runs together.
"""


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---:|" * len(head)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def _timing(timing: Mapping[str, Any]) -> str:
    return f"{timing['median']:.1f} ({timing['lower']:.1f}–{timing['upper']:.1f})"


def _row(result: Mapping[str, Any]) -> list[str]:
    case = result["case"]
    return [
        *(str(case[name]) for name in ("threads", "N", "K", "horizon")),
        *(_timing(result[name]) for name in ("loop", "ensemble", "products")),
        f"{result['speed_up']:.1f}",
        f"{result['over_products']:.2f}",
        "unknown" if result["others"] is None else f"{result['others']:.2f}",
    ]


_COLUMNS = (
    "threads",
    "N",
    "K",
    "horizon",
    "loop",
    "ensemble",
    "products",
    "speed-up",
    "over products",
    "others",
)


def render(measured: Mapping[str, Any] | None) -> str:
    """Return the page's text.

    Args:
        measured: The content of `records/bench/elman.json`, or None where there is none.

    Returns:
        A MyST page labelled `page-cost`.

    Raises:
        ValueError: If the measurements lack a field.
    """
    if measured is None:
        return _HEAD + "\nNo measurement is stored with this copy of the book. `make bench` makes one.\n\n" + _MEANING
    try:
        machine = measured["machine"]
        headline: Sequence[Mapping[str, Any]] = measured["headline"]
        case = headline[0]["case"]
        where = (
            f"Measured on {measured['measured']} on a machine with {machine['cores']} cores "
            f"({machine['processor']}, {machine['vectors']}), Python {machine['python']}, torch {machine['torch']}, "
            f"NumPy {machine['numpy']}. Times are milliseconds per iteration and run: the median, with the quartiles of "
            f"{headline[0]['ensemble']['repetitions']} iterations in brackets. Histories have s = {case['s']} vectors of "
            f"d = {case['d']} dimensions, the batch is {case['batch']}; K is the number of runs."
        )
        parts = [_HEAD, where, "", _table(_COLUMNS, map(_row, headline)), ""]
        if measured["scaling"]:
            parts += [
                "## How it scales",
                "",
                "One size at a time is changed; the quartiles are of fewer iterations than above. More runs share what a "
                "call costs, so that the time per run falls with K; a single small network gains least. Products grow "
                "with N², everything else with N.",
                "",
                _table(_COLUMNS, map(_row, measured["scaling"])),
                "",
            ]
    except (KeyError, IndexError, TypeError) as error:
        raise ValueError(
            f"the benchmark's file lacks {error}; allowed: what `make bench` of this version writes. Run `make bench` again."
        ) from error
    return "\n".join([*parts, _MEANING])


def write(path: Path, bench_dir: Path) -> None:
    """Write the cost page.

    Args:
        path: The page to write.
        bench_dir: The folder that holds `elman.json`; where it is missing the page says so.

    Raises:
        ValueError: If the file is not what `make bench` writes.
    """
    source = Path(bench_dir) / "elman.json"
    measured: Mapping[str, Any] | None = None
    if source.exists():
        try:
            measured = json.loads(source.read_text(encoding="utf-8"))
        except json.JSONDecodeError as error:
            raise ValueError(
                f"{source.name} is not JSON ({error}); allowed: what `make bench` writes. Run it again."
            ) from error
    Path(path).write_text(render(measured), encoding="utf-8")
