"""Table 1 cell by cell: the paper's numbers, read from the registry, beside ours.

The paper runs every configuration with two curriculum thresholds and keeps, per seed, the smaller error and the larger accuracy.
Where ours were run with two as well, that best of two stands beside the plain mean, which chooses nothing.

Source: Karuvally et al., ICML 2024, Table 1; how it was averaged is taken from the authors' recorded outputs.
"""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pandas as pd

from wavemem.checks import one_of
from wavemem.records.entries import load_registry
from wavemem.records.registry import judge
from wavemem.records.sizes import Size

__all__ = ["CELL", "best_of_thresholds", "paper_cells", "quantities", "table"]

CELL = ("task", "hidden_size", "weight_decay")
"""What names a cell of the paper's table; its thresholds are merged."""

_NAME = re.compile(r"(T\d), N = (\d+), L2 = ([0-9e.+-]+): (accuracy|angle error|seeds whose counts agree)")


def paper_cells(root: Path | str | None = None) -> pd.DataFrame:
    """The paper's Table 1.

    Args:
        root: folder of all records; None is the project's ``records/``.

    Returns:
        One line per cell: task, hidden_size, weight_decay, paper_accuracy, paper_error (rad; NaN where the paper prints —).
    """
    found: dict[tuple[str, int, float], dict[str, float]] = {}
    for quantity in load_registry(root).entry("twm:table1").quantities:
        match = _NAME.fullmatch(quantity.name)
        if match is None:
            continue
        task, size, decay, kind = match.groups()
        cell = found.setdefault((task, int(size), float(decay)), {"paper_accuracy": math.nan, "paper_error": math.nan})
        if kind != "seeds whose counts agree" and quantity.paper is not None:
            cell["paper_accuracy" if kind == "accuracy" else "paper_error"] = quantity.paper
    return pd.DataFrame([dict(zip(CELL, cell, strict=True)) | values for cell, values in found.items()])


def _checked(cells: pd.DataFrame) -> pd.DataFrame:
    for column in (*CELL, "threshold", "seed", "test_accuracy", "angle_error"):
        one_of("column", column, cells.columns)
    return cells


def best_of_thresholds(cells: pd.DataFrame) -> pd.DataFrame:
    """Per seed the smallest error and the largest accuracy over the thresholds, chosen independently, as the paper does.

    Args:
        cells: one line per network, from ``wavemem.experiments.table1.cells``.

    Returns:
        Columns of :data:`CELL`, seed, test_accuracy, angle_error (NaN where no threshold gave one).

    Raises:
        ValueError: if a column is missing.
    """
    grouped = _checked(cells).groupby([*CELL, "seed"], sort=False)
    return grouped.agg(test_accuracy=("test_accuracy", "max"), angle_error=("angle_error", "min")).reset_index()


def quantities(cells: pd.DataFrame) -> dict[str, list[float]]:
    """The registry's quantities that these networks measure: one value per seed, best of thresholds where there are several.

    Args:
        cells: one line per network, at s = d = 8.

    Returns:
        Name of a quantity of "twm:table1" → values, in the order of the seeds.

    Raises:
        ValueError: if a column is missing.
    """
    known = {quantity.name for quantity in load_registry().entry("twm:table1").quantities}
    result: dict[str, list[float]] = {}
    for (task, size, decay), own in best_of_thresholds(cells).groupby(list(CELL), sort=False):
        named = {match.groups()[:3]: name for name in known if (match := _NAME.fullmatch(name))}
        text = next((t for t in named if t[0] == task and int(t[1]) == size and float(t[2]) == decay), None)
        if text is None:
            continue
        cell = f"{text[0]}, N = {text[1]}, L2 = {text[2]}: "
        matching = own["angle_error"].notna().astype(float)
        for kind, values in (
            ("accuracy", own["test_accuracy"]),
            ("angle error", own["angle_error"]),
            ("seeds whose counts agree", matching),
        ):
            if cell + kind in known:
                result[cell + kind] = values.tolist()
    return result


def _spread(values: pd.Series) -> str:
    known = values.dropna()
    if len(known) == 0:
        return "—"
    mean = f"{known.mean():.4f}"
    return mean if len(known) == 1 else f"{mean} ± {known.std():.4f}"


def table(cells: pd.DataFrame, paper: bool = True) -> pd.DataFrame:
    """Table 1 as the book shows it.

    Args:
        cells: one line per network, from ``wavemem.experiments.table1.cells``.
        paper: with the paper's numbers and the status of each cell. Statuses need the paper's sizes.

    Returns:
        Index: the cell. Columns: networks, accuracy (mean), counts agree (share of networks whose count of eigenvalues is Φ's),
        angle error (rad, mean ± sd over those), best of two (error and accuracy as the paper averages them; a dash where one
        threshold was run) and, with ``paper``, the paper's error and accuracy and the status.

    Raises:
        ValueError: if a column is missing.
    """
    theirs = paper_cells().set_index(list(CELL)).to_dict("index")
    best = best_of_thresholds(cells).groupby(list(CELL), sort=False)
    measured = quantities(cells) if paper else {}
    entry = load_registry().entry("twm:table1")
    lines = {}
    for cell, own in cells.groupby(list(CELL), sort=False):
        task, size, decay = cell
        chosen = best.get_group(cell)
        several = own["threshold"].nunique() > 1
        line = {
            "networks": str(len(own)),
            "accuracy": f"{own['test_accuracy'].mean():.3f}",
            "counts agree": f"{own['angle_error'].notna().mean():.0%}",
            "angle error (rad)": _spread(own["angle_error"]),
            "best of two": f"{_spread(chosen['angle_error'])} ({chosen['test_accuracy'].mean():.3f})"
            if several
            else "—",
        }
        if paper:
            there = theirs.get(cell)
            error = "" if there is None else "—" if np.isnan(there["paper_error"]) else f"{there['paper_error']:g}"
            line["paper"] = "" if there is None else f"{error} ({there['paper_accuracy']:.2f})"
            prefix = f"{task}, N = {size}, L2 = "
            own_quantities = {
                name: values
                for name, values in measured.items()
                if name.startswith(prefix) and float(name[len(prefix) :].split(":")[0]) == decay
            }
            statuses = {
                name.split(": ")[1]: judge(entry.quantity(name), values, Size())[0]
                for name, values in own_quantities.items()
            }
            unique = set(statuses.values())
            line["status"] = (
                unique.pop() if len(unique) == 1 else "; ".join(f"{kind}: {found}" for kind, found in statuses.items())
            )
        lines[f"{task}, N = {size}, L2 = {decay:g}"] = line
    return pd.DataFrame.from_dict(lines, orient="index").rename_axis("cell")
