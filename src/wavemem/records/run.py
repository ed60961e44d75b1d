"""Running an experiment and storing what it measured: the settings as typed, the measurement, the record.

A record's files are written to a hidden folder beside the final one, flushed to disk, and the folder renamed: whatever
happens, the whole record is there or nothing is.

Pieces are spread over processes (`wavemem.records.experiment.run_pieces` asks joblib for them): `side_by_side(8)` around a run
uses eight processes of this machine, `on_cluster("tcp://host:8786")` the workers of a Dask cluster (which must see the folder of
checkpoints). A worker that dies leaves its pieces to the others: the scheduler hands them out again, the claim on a checkpoint
ends with the process that held it, and whoever takes a piece over goes on where the checkpoint ends.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import hashlib
import inspect
import json
import os
import shutil
import textwrap
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from safetensors.torch import save

from wavemem.checks import Unusable, nearest
from wavemem.processes import sync
from wavemem.records.code import code_version, computing
from wavemem.records.experiment import Result, get_experiment, module_of
from wavemem.records.fields import fields_of
from wavemem.records.provenance import measure
from wavemem.records.store import (
    FORMAT,
    RECORD,
    ROWS,
    VERSION,
    WEIGHTS,
    Provenance,
    config_json,
    record_key,
    records_root,
)
from wavemem.training.checkpoint import locked, seconds_spent


def parse_settings(config: Any, settings: Sequence[str]) -> dict[str, Any]:
    """Read FIELD=VALUE and FIELD=VALUE,VALUE,... as a configuration's fields declare them.

    Args:
        config: the configuration (a dataclass instance) whose fields may be named.
        settings: as typed.

    Returns:
        Field → value.

    Raises:
        ValueError: a setting has no "=", names no field or one twice, or its value is not allowed.
    """
    fields = fields_of(type(config))
    read: dict[str, Any] = {}
    for setting in settings:
        name, equals, text = (part.strip() for part in setting.partition("="))
        if not equals or name not in fields:
            raise ValueError(
                f"setting {setting!r}; allowed: FIELD=VALUE with a field among {', '.join(fields)}. {nearest(name, fields)}"
            )
        if name in read:
            raise ValueError(f"setting {name} is given twice; allowed: once. Separate several values by commas.")
        read[name] = fields[name].read(text)
        fields[name].check(name, read[name])
    return read


def with_settings(config: Any, settings: Mapping[str, Any]) -> Any:
    """A configuration with some fields replaced.

    Raises:
        ValueError: there is no such field, or a value is not allowed.
    """
    fields = fields_of(type(config))
    for name in settings:
        if name not in fields:
            raise ValueError(f"setting {name!r}; allowed: {', '.join(fields)}. {nearest(name, fields)}")
    return dataclasses.replace(config, **settings)


def describe_settings(cls: type[Any], profiles: Sequence[str]) -> str:
    """The fields of a configuration class: what each may be, its value in every profile, and what the class says of it."""
    columns = {profile: cls.profile(profile) for profile in profiles}
    lines: list[str] = []
    for name, field in fields_of(cls).items():
        shown: dict[str, str] = {}
        for profile, config in columns.items():
            value = field.written(getattr(config, name))
            shown[value] = f"{shown[value]}, {profile}" if value in shown else profile
        lines += _wrapped(f"{name}: {field.words()}", 2)
        for value, where in shown.items():
            lines += _wrapped(f"{where}: {value or '(empty)'}", 6)
    return "\n".join([*lines, "", *(f"  {line}".rstrip() for line in (inspect.getdoc(cls) or "").splitlines())])


def _wrapped(text: str, indent: int) -> list[str]:
    first = " " * indent
    return textwrap.wrap(text, 110, initial_indent=first, subsequent_indent=first + "    ", break_on_hyphens=False)


class ExistingRecord(Unusable):
    """The record that would be written is there already."""


def _column_type(name: str, column: pd.Series) -> str:
    dtype = column.dtype
    if isinstance(dtype, np.dtype) and dtype.kind in "fiub":
        return str(dtype)
    if all(isinstance(value, str) for value in column):
        return "str"
    raise ValueError(
        f"column {name!r} of type {dtype}; allowed: floats, integers, booleans, or strings without gaps. "
        "Convert it (missing numbers are NaN in a float column)."
    )


def write_rows(path: Path, rows: pd.DataFrame) -> dict[str, str]:
    """Write a table as CSV that reads back bit for bit; returns the type of each column, needed to read it back.

    Raises:
        ValueError: column names that are not unique strings, or a column of another type.
    """
    names = list(rows.columns)
    if not names or any(not isinstance(n, str) for n in names) or len(set(names)) != len(names):
        raise ValueError(f"columns {names}; allowed: at least one column, unique names that are strings. Rename them.")
    types = {name: _column_type(name, rows[name]) for name in names}
    rows.to_csv(path, index=False, na_rep="nan", lineterminator="\n", encoding="utf-8")
    return types


def _describe(path: Path) -> dict[str, Any]:
    content = path.read_bytes()
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def _publish(draft: Path, target: Path, replace: bool) -> None:
    """Give a finished folder its name, whoever else does the same at this moment.

    Raises:
        ExistingRecord: another process was first, and its record is not to be replaced.
    """
    while True:
        try:
            draft.rename(target)
            return
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        if not replace:
            raise _existing(target)
        old = target.with_name(f".replaced-{target.name}-{uuid.uuid4().hex[:12]}")
        with contextlib.suppress(FileNotFoundError):  # another process has just moved it away
            target.rename(old)
            shutil.rmtree(old)


def _existing(target: Path) -> ExistingRecord:
    return ExistingRecord(
        f"record {target} exists; allowed: one record per configuration, seed, code and what computed it. "
        "Pass replace=True (--replace) to measure it again."
    )


def write(
    root: Path | str | None,
    experiment: str,
    config: Any,
    result: Result,
    provenance: Provenance,
    *,
    seed: int,
    code: str,
    replace: bool = False,
) -> Path:
    """Store a result; afterwards the whole record is there, or, if anything failed, nothing is.

    Args:
        root: folder of all records; None is the project's ``records/``.
        experiment: its name.
        config: what was run (dataclass instance).
        result: rows and weights.
        provenance: from `wavemem.records.provenance.measure`.
        seed: the seed that the experiment was run with.
        code: hash of the code used.
        replace: store again where a record of the same key exists.

    Returns:
        The record's folder.

    Raises:
        ValueError: the configuration or a column cannot be stored.
        ExistingRecord: the record exists and ``replace`` is False.
    """
    key = record_key(experiment, config, seed, code, provenance.computed)
    folder = records_root(root) / experiment
    target = folder / f"{provenance.profile}-{key}"
    if target.exists() and not replace:
        raise _existing(target)
    folder.mkdir(parents=True, exist_ok=True)
    draft = folder / f".writing-{target.name}-{os.getpid()}"
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir()
    try:
        columns = write_rows(draft / ROWS, result.rows)
        names = [ROWS]
        if result.weights:
            # Written here, not by safetensors: a full disk is then an error of the system, which names the file.
            (draft / WEIGHTS).write_bytes(
                save({k: v.detach().cpu().contiguous().clone() for k, v in result.weights.items()})
            )
            names.append(WEIGHTS)
        content = {
            "format": FORMAT,
            "version": VERSION,
            "experiment": experiment,
            "profile": provenance.profile,
            "key": key,
            "seed": seed,
            "config": config_json(config),
            "code": code,
            "provenance": dataclasses.asdict(provenance),
            "columns": columns,
            "files": {name: _describe(draft / name) for name in names},
        }
        (draft / RECORD).write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        for path in (*draft.iterdir(), draft):
            sync(path)
        _publish(draft, target, replace)
        sync(folder)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    return target


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
    config = with_settings(experiment.Config.profile(profile), settings or {})
    code = code_version(module_of(name))
    target = records_root(root) / name / f"{profile}-{record_key(name, config, seed, code, computing(device))}"
    if target.exists() and not replace:  # said before the hours of training, not after
        raise _existing(target)
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
    with contextlib.suppress(OSError), locked(running / ".users", wait=False) as alone:
        if alone:  # else another process still uses the checkpoints
            shutil.rmtree(running, ignore_errors=True)
    return target


@contextlib.contextmanager
def side_by_side(jobs: int) -> Iterator[None]:
    """Within the block pieces are divided among processes of this machine, each with one thread.

    Args:
        jobs: Number of processes; 1 leaves everything as it is.

    Raises:
        ValueError: If more than one is asked for and joblib is not installed.
    """
    if jobs == 1:
        yield
        return
    try:
        import joblib
    except ModuleNotFoundError:
        raise ValueError(
            f"jobs = {jobs} without joblib; allowed: 1. Install joblib, or start the same command several times."
        ) from None
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # what is left for this process is computed as the others compute
    try:
        with joblib.parallel_config(backend="loky", n_jobs=jobs, inner_max_num_threads=1):
            yield
    finally:
        torch.set_num_threads(before)


@contextlib.contextmanager
def on_cluster(scheduler: str, patience: float = 10.0) -> Iterator[None]:
    """Within the block pieces are done by the workers of a Dask cluster; results come back here.

    Args:
        scheduler: Address of the cluster's scheduler, e.g. "tcp://host:8786".
        patience: Seconds to wait for it, and then for a first worker.

    Raises:
        ValueError: If joblib or distributed is not installed, or nothing of the kind answers at the address.
    """
    try:
        import joblib
        from distributed import Client
    except ModuleNotFoundError:
        raise ValueError(
            f"scheduler = {scheduler!r} without joblib and distributed; allowed: none. Install wavemem[sweep], or start "
            "the same command several times."
        ) from None
    allowed = "the address of a running Dask scheduler, e.g. tcp://host:8786"
    try:
        client = Client(scheduler, timeout=patience, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"scheduler = {scheduler!r} ({type(error).__name__}); allowed: {allowed}. Start one: dask scheduler."
        ) from None
    with client:
        try:
            client.wait_for_workers(1, timeout=patience)
        except TimeoutError:
            raise ValueError(
                f"scheduler = {scheduler!r} has no workers; allowed: {allowed}, with workers. "
                f"Start some on machines that see this folder: dask worker {scheduler} --nthreads 1."
            ) from None
        with joblib.parallel_config(backend="dask", client=client):
            yield
