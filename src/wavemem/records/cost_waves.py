"""The Wave-RNN's part of the cost page, generated from `records/bench/wave.json` and `wave-gpu.json`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from wavemem.benchmarks.counts import fitted_growth
from wavemem.records.markdown import milliseconds, number_table, plain

__all__ = ["sections"]

_MEANING = """\
One iteration is forward, loss and backward on a batch that is already there; there is no optimiser in it.

Conv1d loop
: run after run, and step after step a `torch.nn.Linear` for the input, a `torch.nn.Conv1d` with circular padding and a
  ReLU, in the form of the paper's Appendix B; the copy task reads out after every step, the images after the last.

ours
: `wavemem.models.wave_rnn.WaveRNN`, all runs at once, by `wavemem.kernels.wave`. Losses and gradients are the same, which
  the tests check.

over floor
: the median of *ours* over the time that the bare arithmetic takes: the multiply-adds of an iteration, counted, at the
  best rate at which as many cores multiplied large square matrices in between. Activations, biases, the
  loss, and laying arrays out come on top, as does everything that memory makes wait.
"""

_ALTERNATIVES = """\
What else could compute a step on a processor, measured in the same way: one `conv1d` per step with the runs as groups
(*convolution*), one batched product over every unit's window of neighbours (*windows*), one batched product with the whole
matrix of the ring (*matrix*; not at 4096 units). They too take the inputs' share for all steps at once; autograd
differentiates them. The library compiles its step (*ours*) and falls back to the first where there is no compiler.
"""

_COLUMNS = (
    "threads",
    "task",
    "n",
    "c",
    "steps",
    "batch",
    "K",
    "Conv1d loop",
    "ours",
    "speed-up",
    "over floor",
    "others",
)
_SIZES = {"steps": "steps", "n": "units of a ring", "c": "channels", "K": "runs", "batch": "sequences"}


def _sizes(case: Mapping[str, Any]) -> list[str]:
    return [str(case[name]) for name in _COLUMNS[:7]]


def _others(result: Mapping[str, Any]) -> str:
    return "unknown" if result["others"] is None else f"{result['others']:.2f}"


def _row(result: Mapping[str, Any]) -> list[str]:
    timings = [milliseconds(result[name]) for name in ("loop", "ours")]
    return [
        *_sizes(result["case"]),
        *timings,
        f"{result['speed_up']:.1f}",
        f"{result['over_floor']:.2f}",
        _others(result),
    ]


def _disturbed(results: Sequence[Mapping[str, Any]]) -> str:
    """A warning, where other programs took a noticeable share of the processor."""
    most = max((result["others"] or 0.0 for result in results), default=0.0)
    if most < 0.2:
        return ""
    return (
        f" The machine was not quiet: other programs took up to {most:.1f} cores, so that every time is longer than it need "
        "be, and what is measured against the floor, whose rate is the best that was seen, looks worse than it is."
    )


def _alternatives(results: Sequence[Mapping[str, Any]]) -> str:
    ways = ("ours", "convolution", "windows", "matrix")
    rows = [[*_sizes(r["case"]), *(milliseconds(r.get(way)) for way in ways), _others(r)] for r in results]
    return number_table((*_COLUMNS[:7], *ways, "others"), rows)


def _growth(results: Sequence[Mapping[str, Any]]) -> str:
    rows = []
    for name, meaning in _SIZES.items():
        row = [f"{name} ({meaning})"]
        for timing in ("ours", "loop"):
            found = fitted_growth(results, name, timing)
            if found is None:
                row += ["not measured", "", ""]
            else:
                row += [f"{found['from']} → {found['to']}"] if timing == "ours" else []
                row += [f"{found['exponent']:.2f}", f"{found['residual']:.2f}"]
        rows.append(row[:6])
    text = (
        "Exponents of power laws fitted to the time of an iteration of all runs, when one size grows and the others stay; "
        "beside each the largest factor between a measured time and the fit. The multiply-adds of the recurrence grow with "
        "exponents 1 in steps, n, K and batch, and 2 in c."
    )
    return text + "\n\n" + number_table(("size", "from → to", "ours", "factor", "Conv1d loop", "factor"), rows)


def _gpu(measured: Mapping[str, Any] | None) -> list[str]:
    head = ["### The Wave-RNN on a GPU", ""]
    if measured is None:
        return [
            *head,
            "Not measured: no GPU was at hand. `wavemem bench --gpu --model wave` measures where there is one.",
            "",
        ]
    machine = measured["machine"]
    rows = [[*_row(r)[1:8], milliseconds(r.get("loop_tf32")), *_row(r)[8:-1]] for r in measured["headline"]]
    columns = (*_COLUMNS[1:8], "loop with TF32", *_COLUMNS[8:-1])
    gpu = plain(machine["gpu"])
    where = f"Measured on {measured['measured']} on {gpu}, torch {machine['torch']}; float32 unless said otherwise."
    parts = [*head, where, "", number_table(columns, rows), ""]
    return [*parts, _growth([*measured["headline"], *measured["scaling"]]), ""] if measured["scaling"] else parts


def sections(measured: Mapping[str, Any] | None, gpu: Mapping[str, Any] | None = None) -> list[str]:
    """Return the part's lines.

    Args:
        measured: The content of `wave.json`, or None where there is none.
        gpu: The content of `wave-gpu.json`, or None where there is none.

    Raises:
        ValueError: If the measurements lack a field.
    """
    head = ["## The Wave-RNN", ""]
    try:
        if measured is None:
            none = "No measurement is stored with this copy of the book. `make bench` makes one, `records/bench/wave.json`."
            return [*head, none, "", _MEANING, *_gpu(gpu)]
        machine, headline = measured["machine"], measured["headline"]
        where = (
            f"Measured on {measured['measured']} on a machine with {machine['cores']} cores ({plain(machine['processor'])}, "
            f"{plain(machine['vectors'])}), torch {machine['torch']}, at the paper's sizes: the copy task with T = "
            f"{headline[0]['case']['steps'] - 20}, and permuted sequential MNIST; the paper's batch is 128. Times are "
            "milliseconds per iteration and run, medians with quartiles." + _disturbed(headline)
        )
        parts = [*head, where, "", number_table(_COLUMNS, map(_row, headline)), "", _MEANING]
        if measured["alternatives"]:
            parts += [_ALTERNATIVES, _alternatives(measured["alternatives"]), ""]
        if measured["scaling"]:
            parts += [number_table(_COLUMNS, map(_row, measured["scaling"])), ""]
            parts += [_growth([*headline, *measured["scaling"]]), ""]
        return [*parts, *_gpu(gpu)]
    except (KeyError, IndexError, TypeError) as error:
        raise ValueError(
            f"the Wave-RNN's benchmark file lacks {error}; allowed: what `make bench` or `wavemem bench --gpu` of this version "
            "writes. Run it again."
        ) from error
