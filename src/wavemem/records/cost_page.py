"""The cost page: what training costs, generated from the committed measurements of `make bench` and `wavemem bench --gpu`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from wavemem.benchmarks.counts import growth
from wavemem.records.cost_linear import linear_section
from wavemem.records.cost_strings import strings_section
from wavemem.records.cost_waves import sections
from wavemem.records.markdown import milliseconds, number_table, plain

__all__ = ["render", "write"]

_HEAD = """\
(page-cost)=
# What training costs

Every number on this page was measured by `make bench`, which writes `elman.json`, `wave.json` and `strings.json` into
`records/bench`, or on a GPU by `wavemem bench --gpu`, which writes `elman-gpu.json` and so on (what TF32 changes also by
`wavemem bench --arithmetic`, which writes `elman-tf32.json`); the page is generated from these files.

## Elman networks
"""

_MEANING = """\
### How it is measured

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

### Where the time goes

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


def _timing(timing: Mapping[str, Any]) -> str:
    return f"{timing['median']:.1f} ({timing['lower']:.1f}–{timing['upper']:.1f})"


def _row(result: Mapping[str, Any]) -> list[str]:
    case = result["case"]
    return [
        *(str(case[name]) for name in ("threads", "N", "K", "s", "horizon")),
        *(_timing(result[name]) for name in ("loop", "ensemble", "products")),
        f"{result['speed_up']:.1f}",
        f"{result['over_products']:.2f}",
        "unknown" if result["others"] is None else f"{result['others']:.2f}",
    ]


_COLUMNS = (
    "threads",
    "N",
    "K",
    "s",
    "horizon",
    "loop",
    "ensemble",
    "products",
    "speed-up",
    "over products",
    "others",
)


_SIZES = {"K": "runs", "N": "hidden units", "s": "columns", "horizon": "output steps"}

_GPU_MEANING = """\
Products are float32 (IEEE) unless said otherwise. The device is waited for once per turn, not once per iteration.

loop
: as above, on the device, where `torch.nn.RNN` is cuDNN's; nothing in it reads a number back. *with TF32* lets cuDNN round
  its products to TensorFloat-32, as PyTorch does by default. At most eight runs are timed; the time of a loop is
  proportional to their number.

ensemble
: `wavemem.training.unattended`, all runs in one launch forward and one back.

over floor
: the ensemble's median over the shortest time that its operations (matrix products) or its bytes (every tensor once)
  allow on this device. *scans* is the same for the two launches of the loop over time alone.
"""


def _growth(results: Sequence[Mapping[str, Any]]) -> str:
    """Return a table of how the time of a whole iteration grows with each size."""
    rows = []
    for name, meaning in _SIZES.items():
        found = growth(results, name)
        if found is None:
            rows.append([f"{name} ({meaning})", "not measured", "", ""])
        else:
            span = f"{found['from']} → {found['to']}"
            rows.append([f"{name} ({meaning})", span, f"{found['ratio']:.1f}", f"{found['exponent']:.2f}"])
    text = (
        "How the ensemble's time for a whole iteration of all runs grows when one size grows and the others stay: the ratio "
        "of the times at both ends, and the exponent of the power law through them."
    )
    return text + "\n\n" + number_table(("size", "from → to", "time ratio", "exponent"), rows)


def _gpu_row(result: Mapping[str, Any]) -> list[str]:
    case, over = result["case"], result["scans_over_floor"]
    return [
        *(str(case[name]) for name in ("N", "K", "s", "horizon")),
        *(milliseconds(result[name]) for name in ("loop", "loop_tf32", "ensemble")),
        f"{result['speed_up']:.1f}",
        f"{result['over_floor']:.1f}",
        "–" if over is None else f"{over:.1f}",
        "unknown" if result["peak_bytes"] is None else f"{result['peak_bytes'] / 2**30:.2f}",
    ]


_GPU_COLUMNS = (
    "N",
    "K",
    "s",
    "horizon",
    "loop",
    "loop with TF32",
    "ensemble",
    "speed-up",
    "over floor",
    "scans over floor",
    "peak GiB",
)


def _angles(measured: Mapping[str, Any]) -> str:
    """Return what TF32 changes, with its heading."""
    angles = measured["angles"]
    settings, rows = angles["settings"], []
    for name, found in angles["precisions"].items():
        known = [value for value in found["angle_errors"] if value is not None]
        mean = f"{sum(known) / len(known):.4f}" if known else "none"
        accuracy = sum(found["accuracies"]) / len(found["accuracies"])
        change = max(found["changes"])
        rows.append([name, f"{len(known)} of {len(found['angle_errors'])}", mean, f"{accuracy:.4f}", f"{change:.1e}"])
    how = (
        f"Measured on {measured['measured']} on a CUDA device. "
        if angles["device"] == "cuda"
        else f"Measured on {measured['measured']} on the processor, where the factors of the recurrent product were rounded "
        "as tensor cores would get them: to 10 bits of mantissa for TF32, and as the sum of three such products for "
        "tf32x3. "
    )
    return (
        "#### What TF32 changes\n\n"
        + how
        + f"The same {settings['runs']} networks with N = {settings['N']} were trained on {settings['task']} "
        f"(s = {settings['s']}, d = {settings['d']}) for {settings['iterations']} iterations in each arithmetic of the "
        "recurrent product; the library uses the first, ieee. The angle error is the mean over the networks whose number of "
        f"eigenvalues of modulus above {settings['modulus']} is that of Φ; the change is the largest of an entry of W_hh "
        "against the first, which need not be one of the angles.\n\n"
        + number_table(("arithmetic", "networks compared", "angle error (rad)", "accuracy", "change"), rows)
    )


def _gpu(measured: Mapping[str, Any] | None, arithmetic: Mapping[str, Any] | None) -> list[str]:
    """Return the GPU's part of the page, in lines."""
    head = ["### On a GPU", ""]
    try:
        if measured is None:
            none = "Not measured: no GPU was at hand. `wavemem bench --gpu` measures where PyTorch finds one."
            return [*head, none, "", *([] if arithmetic is None else [_angles(arithmetic), ""])]
        machine, ceilings = measured["machine"], measured["ceilings"]
        waits = measured["waits"]
        where = (
            f"Measured on {measured['measured']} on {plain(machine['gpu'])}, torch {machine['torch']}. Its ceilings, measured in "
            f"the same run: {ceilings['operations_per_second'] / 1e12:.1f} · 10¹² operations per second in float32, "
            f"{ceilings['tf32_operations_per_second'] / 1e12:.1f} · 10¹² in TF32, "
            f"{ceilings['bytes_per_second'] / 1e12:.2f} · 10¹² bytes per second. Times are milliseconds per iteration and "
            "run, medians with quartiles. "
            + ("" if waits is None else f"PyTorch waited for the device {waits} times in five iterations.")
        )
        parts = [*head, where, "", number_table(_GPU_COLUMNS, map(_gpu_row, measured["headline"])), ""]
        if measured["scaling"]:
            parts += [number_table(_GPU_COLUMNS, map(_gpu_row, measured["scaling"])), ""]
            parts += [_growth([*measured["headline"], *measured["scaling"]]), ""]
        return [*parts, _GPU_MEANING, _angles(measured), ""]
    except (KeyError, IndexError, TypeError) as error:
        raise ValueError(
            f"the GPU benchmark's file lacks {error}; allowed: what `wavemem bench --gpu` or `wavemem bench --arithmetic` of "
            "this version writes. Run it again."
        ) from error


def render(
    measured: Mapping[str, Any] | None,
    gpu: Mapping[str, Any] | None = None,
    arithmetic: Mapping[str, Any] | None = None,
    wave: Mapping[str, Any] | None = None,
    wave_gpu: Mapping[str, Any] | None = None,
) -> str:
    """Return the page's text.

    Args:
        measured: The content of `records/bench/elman.json`, or None where there is none.
        gpu: The content of `records/bench/elman-gpu.json`, or None where there is none.
        arithmetic: The content of `records/bench/elman-tf32.json`, or None; shown where there is no measurement on a GPU.
        wave: The content of `records/bench/wave.json`, or None where there is none.
        wave_gpu: The content of `records/bench/wave-gpu.json`, or None where there is none.

    Returns:
        A MyST page labelled `page-cost`.

    Raises:
        ValueError: If the measurements lack a field.
    """
    waves = sections(wave, wave_gpu)
    if measured is None:
        none = "\nNo measurement is stored with this copy of the book. `make bench` makes one.\n\n"
        return _HEAD + none + "\n".join([*_gpu(gpu, arithmetic), _MEANING, *waves])
    try:
        machine = measured["machine"]
        headline: Sequence[Mapping[str, Any]] = measured["headline"]
        case = headline[0]["case"]
        where = (
            f"Measured on {measured['measured']} on a machine with {machine['cores']} cores "
            f"({plain(machine['processor'])}, {plain(machine['vectors'])}), Python {machine['python']}, "
            f"torch {machine['torch']}, NumPy {machine['numpy']}. "
            f"Times are milliseconds per iteration and run: the median, with the quartiles of "
            f"{headline[0]['ensemble']['repetitions']} iterations in brackets. Histories have s = {case['s']} vectors of "
            f"d = {case['d']} dimensions, the batch is {case['batch']}; K is the number of runs."
        )
        parts = [_HEAD, where, "", number_table(_COLUMNS, map(_row, headline)), ""]
        if measured["scaling"]:
            parts += [
                "### How it scales",
                "",
                "One size at a time is changed; the quartiles are of fewer iterations than above. More runs share what a "
                "call costs, so that the time per run falls with K; a single small network gains least. Products grow "
                "with N², everything else with N.",
                "",
                number_table(_COLUMNS, map(_row, measured["scaling"])),
                "",
                _growth([*headline, *measured["scaling"]]),
                "",
            ]
    except (KeyError, IndexError, TypeError) as error:
        raise ValueError(
            f"the benchmark's file lacks {error}; allowed: what `make bench` of this version writes. Run `make bench` again."
        ) from error
    return "\n".join([*parts, *_gpu(gpu, arithmetic), _MEANING, *waves])


_FILES = ("elman", "elman-gpu", "elman-tf32", "wave", "wave-gpu")


def _stored(source: Path) -> Mapping[str, Any] | None:
    """Read a file of measurements; None where there is none."""
    if not source.exists():
        return None
    try:
        measured: Mapping[str, Any] = json.loads(source.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{source.name} is not JSON ({error}); allowed: what `make bench` writes. Run it again."
        ) from error
    return measured


def write(path: Path, bench_dir: Path) -> None:
    """Write the cost page.

    Args:
        path: The page to write.
        bench_dir: The folder that holds what the benchmarks write; the page says what is missing.

    Raises:
        ValueError: If a file is not what the benchmarks write.
    """
    folder = Path(bench_dir)
    text = render(*(_stored(folder / f"{name}.json") for name in _FILES))
    strings = strings_section(*(_stored(folder / f"{name}.json") for name in ("strings", "strings-gpu")))
    text = "\n".join([text, *linear_section(_stored(folder / "wave-linear.json")), *strings])
    Path(path).write_text(text, encoding="utf-8")
