"""The cost page's figure: how training, generating and memory of the string models grow with the length."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from wavemem.checks import require
from wavemem.plotting.style import CATEGORICAL, figure_size, use_book_style
from wavemem.records.cost_strings import by_length

__all__ = ["draw", "write"]

_MARKERS = ("o", "s", "^", "v", "D")


def _curves(axes: Axes, results: Sequence[Mapping[str, Any]], names: Sequence[str], size: str, quantity: str) -> None:
    lengths = [result["case"][size] for result in results]
    for i, name in enumerate(names):
        known = [
            (length, result["bytes"][name] / 2**10 if quantity == "bytes" else result["times"][name]["median"])
            for length, result in zip(lengths, results, strict=True)
            if name in result["times"]
        ]
        if not known:
            continue
        # Models that cost the same lie on one another: the later ones are drawn thinner, with smaller markers.
        thin = 2.4 - 1.6 * i / max(1, len(names) - 1)
        look: dict[str, Any] = {
            "color": CATEGORICAL[i % 7],
            "marker": _MARKERS[i % 5],
            "markersize": max(3.0, 7 - 1.2 * i),
        }
        axes.plot(*zip(*known, strict=True), linewidth=thin, label=name, **look)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(lengths, [f"{length:,}" for length in lengths], rotation=45, ha="right")
    axes.xaxis.set_minor_locator(NullLocator())


def draw(measured: Mapping[str, Any]) -> Figure:
    """Draw the three panels.

    Args:
        measured: The content of `strings.json`.

    Raises:
        ValueError: If the measurements lack a field.
    """
    use_book_style()
    try:
        figure, (train, write_, keep) = plt.subplots(1, 3, figsize=figure_size(2.9))
        training, generation = by_length(measured["training"]), measured["generation"]
        names = list(dict.fromkeys(name for result in (*training, *generation) for name in result["times"]))
        _curves(train, training, names, "length", "times")
        _curves(write_, generation, names, "context", "times")
        _curves(keep, generation, names, "context", "bytes")
    except (KeyError, IndexError, TypeError) as error:
        plt.close("all")
        raise ValueError(
            f"the string models' benchmark file lacks {error}; allowed: what `wavemem bench --model strings` of this version "
            "writes. Run it again."
        ) from error
    for axes, title, x, y in (
        (train, "training step", "tokens per sequence", "milliseconds"),
        (write_, "one symbol", "tokens of context", "milliseconds"),
        (keep, "kept per sequence", "tokens of context", "KiB"),
    ):
        axes.set(title=title, xlabel=x, ylabel=y)
    handles, labels = train.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels))
    return figure


def write(path: Path | str, source: Path | str) -> None:
    """Draw what a file of measurements holds and write it as SVG; the same file gives the same bytes.

    Args:
        path: Where to; the folder is made.
        source: `records/bench/strings.json`.

    Raises:
        ValueError: If the path does not end in .svg, or the source is not what the benchmark writes.
    """
    target, origin = Path(path), Path(source)
    require(target.suffix == ".svg", f"path = {target.name}", "a name ending in .svg", "Rename it.")
    try:
        measured = json.loads(origin.read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError) as error:
        raise ValueError(
            f"{origin.name} cannot be read ({error}); allowed: what `wavemem bench --model strings` writes. Run it."
        ) from error
    figure = draw(measured)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(target, metadata={"Date": None})
    finally:
        plt.close(figure)
