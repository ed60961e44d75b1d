"""Running an experiment by name, sharing its trainings within a build, and finding its committed records.

A training that chapters share is done once per build. Its folder is named by a hash of the configuration, the seed and the
code, like a record, so that a chapter can never meet networks that other code trained. Whoever comes first trains; the
numbers do not depend on who it was.
"""

from __future__ import annotations

import contextlib
import inspect
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from wavemem.records.experiment import Result, get_experiment, module_of
from wavemem.records.fields import with_settings
from wavemem.records.provenance import code_version, computing, measure
from wavemem.records.sizes import allows
from wavemem.records.store import (
    ExistingRecord,
    Record,
    check_names,
    existing,
    find,
    project_root,
    record_key,
    records_root,
    write,
)
from wavemem.training.checkpoint import locked, seconds_spent


def run_experiment(
    name: str,
    profile: str = "quick",
    seed: int = 0,
    device: torch.device | str = "cpu",
    root: Path | str | None = None,
    replace: bool = False,
    settings: Mapping[str, Any] | None = None,
) -> Path:
    """Run an experiment and store what it measured.

    An experiment whose ``run`` takes ``checkpoints`` keeps its trainings' state in a hidden folder beside the records
    until its own record is written: killed at any moment, the same call goes on from there.

    Args:
        name: the experiment.
        profile: "quick" or "paper".
        seed: first seed; an experiment of several runs derives theirs from it.
        device: where to run, e.g. "cpu" or "cuda".
        root: folder of all records; None is the project's ``records/``.
        replace: measure again what is already stored.
        settings: fields of the profile's configuration to replace, for instance to run a part of it.

    Returns:
        The record's folder.

    Raises:
        ValueError: unknown experiment, profile or setting, or the record exists and ``replace`` is False.
        CheckpointError: a checkpoint of this very run cannot be read or written; nothing is lost.
    """
    experiment = get_experiment(name)
    check_names(name, profile)
    config = with_settings(experiment.Config.profile(profile), settings or {})
    code = code_version(module_of(name))
    target = records_root(root) / name / f"{profile}-{record_key(name, config, seed, code, computed=computing(device))}"
    if target.exists() and not replace:  # said before the hours of training, not after
        raise existing(target)
    resumes = "checkpoints" in inspect.signature(experiment.run).parameters
    running = target.with_name(f".running-{target.name}")
    with locked(running / ".users", shared=True), measure(profile, [seed], device) as provenance:
        result = experiment.run(config, seed, device, **({"checkpoints": running} if resumes else {}))
        spent = seconds_spent(running)
    # What earlier or other processes trained belongs to the measurement's cost.
    provenance.wall_seconds = max(provenance.wall_seconds, spent)
    if "seed" in result.rows:
        provenance.seeds = tuple(sorted(int(value) for value in result.rows["seed"].unique()))
    with contextlib.suppress(ExistingRecord):  # another process worked on the same pieces and was done first
        write(root, name, config, result, provenance, seed=seed, code=code, replace=replace)
    _remove_unused(running)
    return target


def _remove_unused(running: Path) -> None:
    """Remove the checkpoints of a finished run unless another process is still using them."""
    with contextlib.suppress(OSError), locked(running / ".users", wait=False) as alone:
        if alone:
            shutil.rmtree(running, ignore_errors=True)


def runs_root() -> Path:
    """The folder of shared trainings: named by WAVEMEM_RUNS, or `_build/runs` in the project."""
    named = os.environ.get("WAVEMEM_RUNS")
    return Path(named) if named else project_root() / "_build" / "runs"


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
    code = code_version(module)
    # By its module: `wavemem book run --force` removes the trainings of the modules that a chapter imports.
    folder = (
        runs_root() / f"{module.rpartition('.')[2]}-{record_key(name, config, seed, code, computed=computing(device))}"
    )
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
