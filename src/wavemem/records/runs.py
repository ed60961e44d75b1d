"""Trainings that chapters share within a build, and the committed records of an experiment.

A training that chapters share is done once per build. Its folder is named by a hash of the configuration, the seed and the
code, like a record, so that a chapter can never meet networks that other code trained. Whoever comes first trains; the
numbers do not depend on who it was.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from wavemem.records.code import code_version, computing
from wavemem.records.experiment import Result, get_experiment, module_of
from wavemem.records.sizes import allows, differences
from wavemem.records.store import Record, find, record_key, working_root


def runs_root() -> Path:
    """The folder of shared trainings: named by WAVEMEM_RUNS, or `_build/runs` in the project, or in the working folder."""
    named = os.environ.get("WAVEMEM_RUNS")
    return Path(named) if named else working_root() / "_build" / "runs"


def shared_run(name: str, config: Any, seed: int = 0, device: torch.device | str = "cpu") -> Result:
    """Run an experiment, or read what an earlier call with the same configuration, seed and code trained.

    Processes that ask for the same trainings at the same time share the work.

    Args:
        name: an experiment whose ``run`` takes ``checkpoints``.
        config: its configuration.
        seed: the first seed.
        device: where to train.

    Returns:
        What the experiment's ``run`` returns, the same numbers whether trained now or before.

    Raises:
        ValueError: unknown experiment, or its ``run`` is not usable with this configuration.
        CheckpointError: a stored training is damaged; the message says which file to move away.
    """
    experiment = get_experiment(name)
    module = module_of(name)
    # By its module: `wavemem book run --force` removes the trainings of the modules that a chapter imports.
    key = record_key(name, config, seed, code_version(module), computing(device))
    folder = runs_root() / f"{module.rpartition('.')[2]}-{key}"
    return experiment.run(config, seed, device, checkpoints=folder)


def recorded(
    name: str, profile: str = "paper", root: Path | str | None = None, *, also: Mapping[str, Any] | None = None
) -> list[Record]:
    """The committed records that were measured by a profile's protocol, oldest first; maybe none.

    A record belongs to a protocol by its configuration, not by its name: all fields that do not choose a part of the
    experiment (``PARTS`` of its ``Config``) equal the profile's.

    Args:
        name: the experiment.
        profile: "quick" or "paper".
        root: folder of all records; None is the project's ``records/``.
        also: other values that a field may have beside the profile's, one or a list of them, e.g.
            ``{"iterations": [20_000, 30_000]}``. `wavemem.records.registry.report` says of such records what differs.

    Raises:
        ValueError: unknown experiment, or ``also`` names no field of its configuration.
    """
    return [record for record in find(root, name, profile) if allows(record, profile, also or {})]


def costs(profile: str = "paper", root: Path | str | None = None) -> pd.DataFrame:
    """What the committed records took, whatever their protocol.

    Args:
        profile: "quick" or "paper", whose name the records have.
        root: folder of all records; None is the project's ``records/``.

    Returns:
        One line per record, by experiment and time: experiment, differs (field → value, for every field in which it is not the
        whole of the profile), seeds (how many), seconds (wall time), MiB (peak memory), machine.
    """
    lines = []
    for record in find(root, profile=profile):
        there = differences(get_experiment(record.experiment).Config, record.config, profile, parts=True)
        lines.append(
            {
                "experiment": record.experiment,
                "differs": {name: have for name, (have, _) in there.items() if name in record.config},
                "seeds": len(record.provenance.seeds),
                "seconds": record.provenance.wall_seconds,
                "MiB": record.provenance.peak_memory_mib,
                "machine": record.provenance.device,
            }
        )
    columns = ["experiment", "differs", "seeds", "seconds", "MiB", "machine"]
    return pd.DataFrame(lines, columns=columns).sort_values(["experiment", "seconds"], ignore_index=True)
