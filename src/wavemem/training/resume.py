"""Keeping the whole state of an ensemble's training in a checkpoint, and going on from it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from wavemem.models.elman import ElmanEnsemble
from wavemem.tasks.hds import HDS, LinearHDS
from wavemem.training.checkpoint import Checkpoint, digest
from wavemem.training.curriculum import CurriculumState
from wavemem.training.optimiser import EnsembleAdam

__all__ = ["TrainingCheckpoint"]

_COLUMNS: dict[str, torch.dtype] = {
    "iteration": torch.int64,
    "run": torch.int64,
    "horizon": torch.int64,
    "loss": torch.float64,
    "accuracy": torch.float64,
    "grad_norm": torch.float64,
    "finite": torch.bool,
}
"""Columns of the log that a checkpoint keeps; `seed` follows from `run`."""


def _identity(ensemble: ElmanEnsemble, task: HDS, config: Any, seeds: Sequence[int]) -> dict[str, Any]:
    """What determines the numbers of a training."""
    settings = {"config": {**dataclasses.asdict(config), "curriculum": repr(config.curriculum)}}
    start = digest(ensemble.state_dict())
    rule = digest({"F": task.F}) if isinstance(task, LinearHDS) else ""
    return {
        **settings,
        "task": [task.name, task.s, task.d, rule],
        "seeds": list(seeds),
        "activation": ensemble.activation,
        "initial weights": start,
        "device": ensemble.W_hh.device.type,
    }


class TrainingCheckpoint:
    """Writes and reads everything that changes while an ensemble is trained.

    Args:
        path: The file.
        every: Seconds between two saves, at least.
        ensemble: The networks, not trained yet: their initial weights are part of the identity.
        task: What they are trained on.
        config: The training's configuration, a dataclass with a `curriculum`.
        seeds: One per run.
        optimiser: Of the training.
        generators: Of the runs' data.
        curriculum: Of the training.
    """

    def __init__(
        self,
        path: Path | str,
        every: float,
        ensemble: ElmanEnsemble,
        task: HDS,
        config: Any,
        seeds: Sequence[int],
        optimiser: EnsembleAdam,
        generators: Sequence[torch.Generator],
        curriculum: CurriculumState,
    ) -> None:
        self._file = Checkpoint(path, _identity(ensemble, task, config, seeds), every)
        self._ensemble, self._seeds, self._last = ensemble, list(seeds), int(config.iterations)
        self._optimiser, self._generators, self._curriculum = optimiser, generators, curriculum

    def restore(self, rows: list[dict[str, Any]], snapshots: dict[int, dict[str, Tensor]]) -> int:
        """Put everything back as it was when the file was written; fill the log and the snapshots.

        Returns:
            The number of updates done; 0 if there is no checkpoint.

        Raises:
            CheckpointError: The file cannot be used.
        """
        saved = self._file.load()
        if saved is None:
            return 0
        parts: dict[str, dict[str, Tensor]] = {}
        for name, value in saved.tensors.items():
            part, _, rest = name.partition("/")
            parts.setdefault(part, {})[rest] = value
        self._ensemble.load_state_dict(parts["weights"])
        self._optimiser.restore(parts["optimiser"])
        self._curriculum.restore({name: value.numpy() for name, value in parts.get("curriculum", {}).items()})
        for generator, state in zip(self._generators, parts["data"]["streams"], strict=True):
            generator.set_state(state.clone())
        columns = {name: parts["log"][name].tolist() for name in _COLUMNS}
        for values in zip(*columns.values(), strict=True):
            row = dict(zip(columns, values, strict=True))
            # The order of the columns in a fresh log.
            rows.append({"iteration": row.pop("iteration"), "run": row["run"], "seed": self._seeds[row["run"]], **row})
        for name, value in parts.get("snapshot", {}).items():
            iteration, _, weight = name.partition("/")
            snapshots.setdefault(int(iteration), {})[weight] = value
        return int(saved.state["iteration"])

    def due(self, iteration: int) -> bool:
        """Whether to save after an update: the last save is old enough, or the training is complete."""
        return iteration >= self._last or self._file.due()

    def save(self, iteration: int, rows: Sequence[dict[str, Any]], snapshots: dict[int, dict[str, Tensor]]) -> None:
        """Write the checkpoint after an update.

        Raises:
            CheckpointError: It cannot be written; the previous one is still there.
        """
        tensors: dict[str, Tensor] = {f"weights/{name}": value for name, value in self._ensemble.state_dict().items()}
        tensors |= {f"optimiser/{name}": value for name, value in self._optimiser.state().items()}
        tensors |= {f"curriculum/{name}": torch.from_numpy(v) for name, v in self._curriculum.state().items()}
        tensors["data/streams"] = torch.stack([generator.get_state() for generator in self._generators])
        for name, dtype in _COLUMNS.items():
            tensors[f"log/{name}"] = torch.tensor([row[name] for row in rows], dtype=dtype)
        for number, weights in snapshots.items():
            tensors |= {f"snapshot/{number}/{name}": value for name, value in weights.items()}
        self._file.save(tensors, {"iteration": iteration})
