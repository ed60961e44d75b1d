"""Running an experiment by name and storing what it measured; an interrupted run goes on where it was."""

from __future__ import annotations

import contextlib
import inspect
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from wavemem.records.errors import ExistingRecord
from wavemem.records.experiment import get_experiment
from wavemem.records.places import records_root
from wavemem.records.provenance import code_version, computing, measure
from wavemem.records.settings import with_settings
from wavemem.records.store import check_names, existing, record_key, write
from wavemem.training.checkpoint import locked, seconds_spent

__all__ = ["run_experiment"]


def run_experiment(
    name: str,
    profile: str = "quick",
    seed: int = 0,
    device: torch.device | str = "cpu",
    root: Path | str | None = None,
    replace: bool = False,
    settings: Mapping[str, Any] | None = None,
) -> Path:
    """Run ``wavemem.experiments.<name>`` and store what it measured.

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
    code = code_version(f"wavemem.experiments.{name}")
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
