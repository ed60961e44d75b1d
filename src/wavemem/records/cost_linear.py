"""The linear Wave-RNN's part of the cost page, generated from `records/bench/wave-linear.json`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from wavemem.records.markdown import milliseconds, number_table, plain

__all__ = ["linear_section"]

_NAMES = {
    "loop": "Conv1d loop",
    "compiled": "compiled step",
    "scan": "scan in chunks",
    "convolution": "convolution",
}

_MEANING = """\
Without a non-linearity a Wave-RNN is a convolution in time ({ref}`ch-wave-learning`). All four compute the outputs after every
step of one sequence and the gradients of all weights. *Conv1d loop* and *compiled step* (`wavemem.kernels.wave`) go step by
step; *scan in chunks* and *convolution* (`wavemem.kernels.wave_linear`) are parallel over time. *Error* is the largest
difference of an output of the convolution, in single precision, from the scan in double precision, relative to the largest
output; *others* as above. The exponent is that of a power law between the two longest sequences.
"""


def linear_section(measured: Mapping[str, Any] | None) -> list[str]:
    """Return the part's lines.

    Args:
        measured: The content of `wave-linear.json`, or None where there is none.

    Raises:
        ValueError: If the measurements lack a field.
    """
    head = ["### The linear Wave-RNN, in parallel over time", ""]
    if measured is None:
        none = (
            "No measurement is stored with this copy of the book. `python -m wavemem.benchmarks.wave_linear` makes one."
        )
        return [*head, none, ""]
    try:
        lines, machine = measured["lengths"], measured["machine"]
        case = lines[0]["case"]
        where = (
            f"Measured on {measured['measured']} on {plain(machine['processor'])}, torch {machine['torch']}, {case['threads']} "
            f"thread: n = {case['n']}, c = {case['c']}, {case['d']} inputs, {case['o']} output, batch {case['batch']}. Times are "
            "milliseconds for a forward and a backward pass, medians with quartiles."
        )
        rows = []
        for line in lines:
            others = "unknown" if line["others"] is None else f"{line['others']:.2f}"
            error = f"{line['convolution']['error']:.0e}"
            rows.append([f"{line['T']:,}", *(milliseconds(line[name]) for name in _NAMES), error, others])
        if len(lines) > 1:
            before, after = lines[-2], lines[-1]
            span = math.log(after["T"] / before["T"])
            exponents = [f"{math.log(after[name]['median'] / before[name]['median']) / span:.2f}" for name in _NAMES]
            rows.append(["exponent", *exponents, "", ""])
        return [*head, where, "", number_table(("T", *_NAMES.values(), "error", "others"), rows), "", _MEANING]
    except (KeyError, IndexError, TypeError) as error:
        raise ValueError(
            f"the linear Wave-RNN's benchmark file lacks {error}; allowed: what `python -m wavemem.benchmarks.wave_linear` of "
            "this version writes. Run it again."
        ) from error
