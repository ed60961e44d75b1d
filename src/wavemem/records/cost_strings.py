"""The string models' part of the cost page, generated from `records/bench/strings.json` and `strings-gpu.json`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from wavemem.records.markdown import milliseconds, number_table, plain

__all__ = ["FIGURE", "LIMIT", "by_length", "strings_section"]

FIGURE = "cost-strings.svg"
"""File that the page shows, beside it."""

LIMIT = 1.3
"""How many times as long as Mamba's a training step of v-Wave Mamba may take."""

_PARTS = ("training", "generation", "scan", "register")

_METHODS = {
    "reference": "loop",
    "chunked": "in chunks",
    "compiled": "compiled",
    "triton": "Triton",
    "conv1d": "conv1d (v = 1)",
    "shift": "shift (v = 1)",
    "fft": "Fourier",
}

_TRAINING = """\
A step is forward, loss, backward and an update by AdamW, on tokens that are already there; all models have the same width,
layers and vocabulary ({ref}`ch-copying-strings`). *Mamba* and *v-Wave* differ in the register alone, n neurons at v = 1 or at
learned velocities; the transformers in their positions, of which ALiBi adds a bias of one number per head, query and key.
*v-Wave / Mamba* is the ratio of the medians; *others* is the largest mean number of cores that other programs took, as above.
"""

_SCAN = """\
Forward and backward, with softplus, gate and D, of {tokens} tokens with E channels of N states each. *loop* is one step after
the other in PyTorch, *in chunks* several steps at once in PyTorch (`wavemem.kernels.selective_chunked`), *compiled* the
library's C. The floor is the longer of two times: of the operations that the equations need, at the rate of a large matrix
product, and of the bytes that every sequence has, each moved once (`wavemem.benchmarks.counts`). A dash: not measured, since
the loop would take too long (every step's gradient fills an array of the whole length) or there was no compiler. The last ratio
can fall below 1 only where the machine's rates were measured while it was busier than during the scan.
"""

_REGISTER = """\
Forward and backward, with bias and SiLU, of E channels with n neurons each. *conv1d* is PyTorch's own convolution, as in the
public code of Mamba, and *shift* the library's: both move at v = 1. The others have a velocity per channel, and its gradient:
the recurrence *compiled*, the closed form as a convolution by *Fourier* transform, and the plain *loop*.
"""

_GENERATION = """\
Milliseconds per symbol (of all sequences together), and bytes that are kept per sequence, after contexts of growing length.
A transformer keeps the keys and values of all tokens and reads all of them for every symbol.
"""


def by_length(results: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the measurements of training with equally many tokens in ever longer sequences, of which there are most."""
    groups: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for result in results:
        case = result["case"]
        sizes = tuple(sorted((k, v) for k, v in case.items() if k not in ("length", "batch")))
        groups.setdefault((case["length"] * case["batch"], sizes), []).append(result)
    most: list[Mapping[str, Any]] = max(groups.values(), key=lambda group: len(group), default=[])
    return sorted(most, key=lambda result: result["case"]["length"])


def _names(results: Sequence[Mapping[str, Any]]) -> list[str]:
    """All competitors, in the order in which they were measured."""
    return list(dict.fromkeys(name for result in results for name in result["times"]))


def _others(result: Mapping[str, Any]) -> str:
    return "unknown" if result["others"] is None else f"{result['others']:.2f}"


def _disturbed(results: Sequence[Mapping[str, Any]]) -> str:
    """A warning, where other programs took a noticeable share of the processor."""
    most = max((result["others"] or 0.0 for result in results), default=0.0)
    if most < 0.2:
        return ""
    return f" The machine was not quiet: other programs took up to {most:.1f} cores, so that times are longer than they need be."


def _list(parts: Sequence[str]) -> str:
    return " and ".join(parts) if len(parts) < 3 else ", ".join(parts[:-1]) + ", and " + parts[-1]


def _factor(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:.0f}"


def _growth(results: Sequence[Mapping[str, Any]], size: str, what: str) -> str:
    """Say how each competitor's time changed from the smallest to the largest size at which it was measured."""
    parts = []
    for name in _names(results):
        known = [result for result in results if name in result["times"]]
        first, last = known[0], known[-1]
        if first is last:
            continue
        factor = last["times"][name]["median"] / first["times"][name]["median"]
        until = "" if last is results[-1] else f" (up to {last['case'][size]:,})"
        parts.append(f"{_factor(factor)} times the time for {name}{until}")
    if not parts:
        return ""
    span = f"{results[0]['case'][size]:,} to {results[-1]['case'][size]:,}"
    return f"From {span} {what}: {_list(parts)}."


def _overtaken(results: Sequence[Mapping[str, Any]]) -> str:
    """Say from which length on the transformer with ALiBi takes longer than Mamba."""
    known = [result for result in results if {"Mamba", "ALiBi"} <= set(result["times"])]
    if not known:
        return ""
    slower = [result["times"]["ALiBi"]["median"] > result["times"]["Mamba"]["median"] for result in known]
    if not slower[-1]:
        return f" At {known[-1]['case']['length']:,} tokens, ALiBi's step is not the longer one."
    first = len(slower) - next((i for i, longer in enumerate(reversed(slower)) if not longer), len(slower))
    return f" From {known[first]['case']['length']:,} tokens on, ALiBi's step takes longer than Mamba's."


def _left_out(results: Sequence[Mapping[str, Any]]) -> str:
    parts = [
        f"{name} at {result['case']['length']:,} tokens (some {needed / 2**30:.0f} GiB)"
        for result in results
        for name, needed in result["left_out"].items()
    ]
    return f" Left out, since the memory would not have held it: {_list(parts)}." if parts else ""


def _training(results: Sequence[Mapping[str, Any]]) -> list[str]:
    names = _names(results)
    rows = []
    for result in results:
        case = result["case"]
        sizes = [f"{case['length']:,}", *(str(case[name]) for name in ("batch", "K", "n", "threads"))]
        times = [milliseconds(result["times"].get(name)) for name in names]
        rows.append([*sizes, *times, f"{result['ratio']:.2f}", _others(result)])
    columns = ("tokens", "batch", "K", "n", "threads", *names, "v-Wave / Mamba", "others")
    case, largest = results[0]["case"], max(result["ratio"] for result in results)
    within = sum(result["ratio"] <= LIMIT for result in results)
    shape = f"width {case['width']}, {case['layers']} layers, N = {case['states']}, {case['heads']} heads"
    counts = _list([f"{name} {count:,}" for name, count in results[0]["parameters"].items()])
    said = (
        f"Times are milliseconds per step and run, medians with quartiles; {shape}. Parameters of a run: {counts}. A step of "
        f"v-Wave takes {results[0]['ratio']:.2f} times as long as one of Mamba in the first row, and at most {largest:.2f} times "
        f"in any; the library's aim, {LIMIT} times at most, is met in {within} of {len(results)} rows."
    )
    series = by_length(results)
    grown = (
        _growth(series, "length", "tokens per sequence, with equally many tokens per step") if len(series) > 1 else ""
    )
    after = grown + (_overtaken(series) if grown else "") + _left_out(results)
    return [_TRAINING, said, "", number_table(columns, rows), "", *([after, ""] if after else [])]


def _generation(results: Sequence[Mapping[str, Any]]) -> list[str]:
    names = _names(results)
    rows = []
    for result in results:
        kept = [f"{result['bytes'][name]:,}" for name in names]
        times = [milliseconds(result["times"][name]) for name in names]
        rows.append([f"{result['case']['context']:,}", *times, *kept, _others(result)])
    columns = ("context", *(f"{name}, ms" for name in names), *(f"{name}, bytes" for name in names), "others")
    case = results[0]["case"]
    where = f"{case['batch']} sequences, {case['threads']} thread{'s' if case['threads'] > 1 else ''}."
    after = _growth(results, "context", "tokens of context") if len(results) > 1 else ""
    if after:
        first, last = results[0]["bytes"], results[-1]["bytes"]
        same = [name for name in names if first[name] == last[name]]
        more = [f"{_factor(last[name] / first[name])} times for {name}" for name in names if name not in same]
        after += f" What is kept stays the same for {_list(same)}" if same else " What is kept grows for all"
        after += f", and grows to {_list(more)}." if more else "."
    head = ["#### Generating", "", _GENERATION.strip() + " " + where, "", number_table(columns, rows), ""]
    return [*head, *([after, ""] if after else [])]


def _kernel(results: Sequence[Mapping[str, Any]], size: str, over_floor: bool) -> str:
    """A table of one kernel's times by every method."""
    names = _names(results)
    rows = []
    for result in results:
        case = result["case"]
        sizes = [
            f"{case['length']:,}",
            str(case["batch"]),
            str(case["channels"]),
            str(case[size]),
            str(case["threads"]),
        ]
        floor = [f"{result['floor']:.3g}", f"{result['over_floor']:.2f}"] if over_floor else []
        rows.append([*sizes, *(milliseconds(result["times"].get(name)) for name in names), *floor, _others(result)])
    letter = "N" if size == "states" else "n"
    titles = [*(_METHODS.get(name, name) for name in names), *(["floor", "fastest over floor"] if over_floor else [])]
    columns = ("L", "batch", "E", letter, "threads", *titles, "others")
    return number_table(columns, rows)


def _kernels(measured: Mapping[str, Any]) -> list[str]:
    parts: list[str] = []
    if measured["scan"]:
        ceilings, case = measured["ceilings"], measured["scan"][0]["case"]
        rates = (
            f"The machine's rates, measured in the same run: {ceilings['operations_per_second'] / 1e9:,.0f} · 10⁹ operations and "
            f"{ceilings['bytes_per_second'] / 1e9:,.0f} · 10⁹ bytes per second."
        )
        text = _SCAN.format(tokens=f"{case['length'] * case['batch']:,}").strip()
        parts += ["#### The selective scan", "", f"{text} {rates}", "", _kernel(measured["scan"], "states", True), ""]
    if measured["register"]:
        parts += ["#### The register", "", _REGISTER, _kernel(measured["register"], "n", False), ""]
    return parts


def _gpu(measured: Mapping[str, Any] | None) -> list[str]:
    head = ["### Copying strings on a GPU", ""]
    if measured is None:
        none = "Not measured: no GPU was at hand. `wavemem bench --gpu --model strings` measures where there is one."
        return [*head, none, ""]
    parts = [*head, f"Measured on {measured['measured']} on {plain(measured['machine']['gpu'])}.", ""]
    parts += _training(measured["training"]) + _generation(measured["generation"]) + _kernels(measured)
    both = [r for r in measured["scan"] if {"triton", "chunked"} <= set(r["times"])]
    if both:
        faster = [r["times"]["chunked"]["median"] / r["times"]["triton"]["median"] for r in both]
        parts += [
            f"The Triton kernel is {_factor(min(faster))} to {_factor(max(faster))} times as fast as the scan in PyTorch in "
            "chunks. Gu & Dao (2024, Section 4.5) report of `mamba_ssm`'s kernel, on an A100, that it is up to 20 to 40 times as "
            "fast as a standard scan in PyTorch.",
            "",
        ]
    return parts


def strings_section(measured: Mapping[str, Any] | None, gpu: Mapping[str, Any] | None = None) -> list[str]:
    """Return the part's lines.

    Args:
        measured: The content of `strings.json`, or None where there is none.
        gpu: The content of `strings-gpu.json`, or None where there is none.

    Raises:
        ValueError: If the measurements lack a field.
    """
    head = ["## Models that copy strings", ""]
    try:
        if measured is None:
            none = "No measurement is stored with this copy of the book. `wavemem bench --model strings` makes one."
            return [*head, none, "", *_gpu(gpu)]
        machine = measured["machine"]
        where = (
            f"Measured on {measured['measured']} on a machine with {machine['cores']} cores ({plain(machine['processor'])}, "
            f"{plain(machine['vectors'])}), torch {machine['torch']}."
            + _disturbed([result for part in _PARTS for result in measured[part]])
        )
        parts = [*head, where, ""]
        if len(by_length(measured["training"])) > 1 and len(measured["generation"]) > 1:
            parts += [
                f"```{{figure}} {FIGURE}",
                ":alt: Three curves per model over the length, on logarithmic axes - a training step, a generated symbol, and "
                "the bytes kept per sequence",
                "",
                "A training step of equally many tokens in ever longer sequences; the time of a generated symbol and the memory "
                "kept per sequence after ever longer contexts. The numbers are in the tables below.",
                "```",
                "",
            ]
        parts += ["### Training", "", *_training(measured["training"]), *_generation(measured["generation"])]
        return [*parts, *_kernels(measured), *_gpu(gpu)]
    except (KeyError, IndexError, TypeError) as error:
        raise ValueError(
            f"the string models' benchmark file lacks {error}; allowed: what `wavemem bench --model strings` of this version "
            "writes. Run it again."
        ) from error
