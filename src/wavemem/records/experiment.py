"""What an experiment is: a configuration with named profiles, a run, a summary.

Each module in ``wavemem.experiments`` regenerates one figure or table family of the papers and has the three names of
:class:`Experiment`. Nothing has to be inherited: a module with the right names is an experiment.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, runtime_checkable

import pandas as pd
import torch
from torch import Tensor

from wavemem.records.errors import nearest

__all__ = ["PROFILES", "Configuration", "Experiment", "Result", "experiment_names", "get_experiment"]

PROFILES = ("quick", "paper")
"""Sizes that something can be measured at: those of a laptop and those of the papers."""


@dataclass(frozen=True)
class Result:
    """What one run of an experiment measured.

    Args:
        rows: one row per measurement, plain columns (floats, integers, booleans, strings).
        weights: named tensors worth keeping, e.g. the trained recurrent matrices; may be empty.
    """

    rows: pd.DataFrame
    weights: Mapping[str, Tensor] = field(default_factory=dict)


class Configuration(Protocol):
    """A frozen dataclass of plain values with named profiles; what its fields mean for the size is in `wavemem.records.sizes`."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @classmethod
    def profile(cls, name: str) -> Configuration:
        """The configuration called ``name`` ("quick" or "paper")."""
        ...


@runtime_checkable
class Experiment(Protocol):
    """The three names that a module in ``wavemem.experiments`` has."""

    Config: type[Configuration]

    def run(self, config: Any, seed: int, device: torch.device | str) -> Result:
        """Measure; the same configuration, seed and device give the same rows.

        Experiments that train for long take a further ``checkpoints: Path | None`` and go on from what is there.
        """
        ...

    def summarise(self, rows: pd.DataFrame) -> pd.DataFrame:
        """The table that the book shows, from the rows."""
        ...


def experiment_names() -> list[str]:
    """The experiments that exist, in alphabetical order (found by name, without importing them)."""
    try:
        package = importlib.import_module("wavemem.experiments")
    except ModuleNotFoundError:
        return []
    return sorted(m.name for m in pkgutil.iter_modules(package.__path__) if not m.name.startswith("_"))


def get_experiment(name: str) -> Experiment:
    """The module ``wavemem.experiments.<name>``.

    Raises:
        ValueError: there is no such experiment, or the module lacks ``Config``, ``run`` or ``summarise``.
    """
    names = experiment_names()
    if name not in names:
        raise ValueError(
            f"experiment {name!r} does not exist; allowed: {', '.join(names) or '(none)'}. {nearest(name, names)}"
        )
    module = importlib.import_module(f"wavemem.experiments.{name}")
    missing = [part for part in ("Config", "run", "summarise") if not hasattr(module, part)]
    if missing:
        raise ValueError(
            f"wavemem.experiments.{name} lacks {', '.join(missing)}; allowed: a module with Config, run and "
            "summarise. Add them, or call the module's own functions."
        )
    return module
