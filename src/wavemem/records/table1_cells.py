"""Table 1 cell by cell: the paper's numbers, read from the registry, beside ours.

The paper runs every configuration with two curriculum thresholds and keeps, per seed, the smaller error and the larger accuracy.
Where ours were run with two as well, that best of two stands beside the plain mean, which chooses nothing.

Source: Karuvally et al., ICML 2024, Table 1; how it was averaged is taken from the authors' recorded outputs.
"""

from __future__ import annotations

import math
import re
from typing import Any

import pandas as pd

from wavemem.checks import one_of
from wavemem.records.entries import Quantity, load_registry
from wavemem.records.registry import judge
from wavemem.records.sizes import Size

CELL = ("task", "hidden_size", "weight_decay")
"""What names a cell of the paper's table; its thresholds are merged."""

_NAME = re.compile(r"(T\d), N = (\d+), L2 = ([0-9e.+-]+): (accuracy|angle error|seeds whose counts agree)")


def _quantities_by_cell() -> dict[tuple[Any, ...], dict[str, Quantity]]:
    """The registry's quantities of each cell: accuracy, angle error, seeds whose counts agree."""
    found: dict[tuple[Any, ...], dict[str, Quantity]] = {}
    for quantity in load_registry().entry("twm:table1").quantities:
        if match := _NAME.fullmatch(quantity.name):
            task, size, decay, kind = match.groups()
            found.setdefault((task, int(size), float(decay)), {})[kind] = quantity
    return found


def _printed(quantity: Quantity | None) -> float:
    return math.nan if quantity is None or quantity.paper is None else quantity.paper


def paper_cells() -> pd.DataFrame:
    """The paper's Table 1.

    Returns:
        One line per cell: task, hidden_size, weight_decay, paper_accuracy, paper_error (rad; NaN where the paper prints —).
    """
    rows = [
        (*cell, _printed(kinds.get("accuracy")), _printed(kinds.get("angle error")))
        for cell, kinds in _quantities_by_cell().items()
    ]
    return pd.DataFrame(rows, columns=[*CELL, "paper_accuracy", "paper_error"])


def best_of_thresholds(cells: pd.DataFrame) -> pd.DataFrame:
    """Per seed the smallest error and the largest accuracy over the thresholds, chosen independently, as the paper does.

    Args:
        cells: one line per network, from ``wavemem.elman.table1.cells``.

    Returns:
        Columns of :data:`CELL`, seed, test_accuracy, angle_error (NaN where no threshold gave one).

    Raises:
        ValueError: if a column is missing.
    """
    for column in (*CELL, "threshold", "seed", "test_accuracy", "angle_error"):
        one_of("column", column, cells.columns)
    grouped = cells.groupby([*CELL, "seed"], sort=False)
    return grouped.agg(test_accuracy=("test_accuracy", "max"), angle_error=("angle_error", "min")).reset_index()


def _measured(best: pd.DataFrame) -> dict[str, list[float]]:
    """What the networks of one cell say on each kind of quantity."""
    return {
        "accuracy": best["test_accuracy"].tolist(),
        "angle error": best["angle_error"].tolist(),
        "seeds whose counts agree": best["angle_error"].notna().astype(float).tolist(),
    }


def quantities(cells: pd.DataFrame) -> dict[str, list[float]]:
    """The registry's quantities that these networks measure: one value per seed, best of thresholds where there are several.

    Args:
        cells: one line per network, at s = d = 8.

    Returns:
        Name of a quantity of "twm:table1" → values, in the order of the seeds.

    Raises:
        ValueError: if a column is missing.
    """
    known = _quantities_by_cell()
    return {
        known[cell][kind].name: values
        for cell, own in best_of_thresholds(cells).groupby(list(CELL), sort=False)
        for kind, values in _measured(own).items()
        if kind in known.get(cell, {})
    }


def _spread(values: pd.Series) -> str:
    known = values.dropna()
    if len(known) == 0:
        return "—"
    mean = f"{known.mean():.4f}"
    return mean if len(known) == 1 else f"{mean} ± {known.std():.4f}"


def table(cells: pd.DataFrame, paper: bool = True) -> pd.DataFrame:
    """Table 1 as the book shows it.

    Args:
        cells: one line per network, from ``wavemem.elman.table1.cells``.
        paper: with the paper's numbers and the status of each cell. Statuses need the paper's sizes.

    Returns:
        Index: the cell. Columns: networks, accuracy (mean), counts agree (share of networks whose count of eigenvalues is Φ's),
        angle error (rad, mean ± sd over those), best of two (error and accuracy as the paper averages them; a dash where one
        threshold was run) and, with ``paper``, the paper's error and accuracy and the status.

    Raises:
        ValueError: if a column is missing.
    """
    best = best_of_thresholds(cells).groupby(list(CELL), sort=False)
    known = _quantities_by_cell()
    lines = {}
    for cell, own in cells.groupby(list(CELL), sort=False):
        task, size, decay = cell
        chosen = best.get_group(cell)
        several = own["threshold"].nunique() > 1
        best_of_two = f"{_spread(chosen['angle_error'])} ({chosen['test_accuracy'].mean():.3f})"
        line = {
            "networks": str(len(own)),
            "accuracy": f"{own['test_accuracy'].mean():.3f}",
            "counts agree": f"{own['angle_error'].notna().mean():.0%}",
            "angle error (rad)": _spread(own["angle_error"]),
            "best of two": best_of_two if several else "—",
        }
        if paper:
            kinds = known.get(cell, {})
            error, accuracy = _printed(kinds.get("angle error")), _printed(kinds.get("accuracy"))
            line["paper"] = f"{'—' if math.isnan(error) else f'{error:g}'} ({accuracy:.2f})" if kinds else ""
            statuses = {
                kind: judge(kinds[kind], values, Size())[0]
                for kind, values in _measured(chosen).items()
                if kind in kinds
            }
            told = [f"{kind}: {status}" for kind, status in statuses.items()]
            line["status"] = next(iter(statuses.values())) if len(set(statuses.values())) == 1 else "; ".join(told)
        lines[f"{task}, N = {size}, L2 = {decay:g}"] = line
    return pd.DataFrame.from_dict(lines, orient="index").rename_axis("cell")
