"""The store of measured results: one folder per record, written whole or not at all.

Layout: ``records/<experiment>/<profile>-<key>/{record.json, rows.csv, weights.safetensors}``. The key hashes the
configuration, the seeds asked for, the code the experiment uses and the data it read, so that a record can always be
matched with what would make it again. ``record.json`` holds the provenance and the length and hash of the other files.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import hashlib
import json
import math
import os
import re
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from safetensors.torch import load_file, save
from torch import Tensor

from wavemem.checks import Unusable, nearest
from wavemem.records.experiment import PROFILES, Result, module_of
from wavemem.records.provenance import Provenance, code_version

FORMAT = "wavemem record"
VERSION = 1
_RECORD, _ROWS, _WEIGHTS = "record.json", "rows.csv", "weights.safetensors"
_NAME = re.compile(r"[a-z][a-z0-9_]*")


class RecordError(Unusable):
    """A record cannot be used; the message says which, why, and what to do."""


class MissingRecord(RecordError):
    """No record of that experiment and profile is there."""


class DamagedRecord(RecordError):
    """A record is incomplete or its files are not the ones that were written."""


def _damaged(problem: str) -> DamagedRecord:
    return DamagedRecord(
        f"{problem}; allowed: the record as it was written. Restore it (git checkout; git may have changed line ends) "
        "or measure again."
    )


class ExistingRecord(RecordError):
    """The record that would be written is there already."""


class ForeignRecord(RecordError):
    """A folder holds something that this library did not write, or wrote in another format."""


def project_root() -> Path:
    """The folder that holds ``records/registry``: named by WAVEMEM_ROOT, or above the working folder or the sources.

    Raises:
        ValueError: none of them holds it.
    """
    named = os.environ.get("WAVEMEM_ROOT")
    starts = [Path(named)] if named else [Path.cwd(), *Path.cwd().parents, *Path(__file__).resolve().parents]
    for folder in starts:
        if (folder / "records" / "registry").is_dir():
            return folder
    raise ValueError(
        f"no folder records/registry in or above {named or Path.cwd()}; allowed: a checkout of the book. "
        "Run inside it, or set WAVEMEM_ROOT to it."
    )


def records_root(root: Path | str | None = None) -> Path:
    """``root`` as a path; None is the project's ``records/``."""
    return project_root() / "records" if root is None else Path(root)


def config_json(config: Any) -> dict[str, Any]:
    """A configuration as plain JSON values.

    Args:
        config: a dataclass instance of plain values: numbers, strings, booleans, None, tuples of them, dataclasses.

    Raises:
        ValueError: it is not a dataclass instance, or a field holds something else.
    """
    if not dataclasses.is_dataclass(config) or isinstance(config, type):
        raise ValueError(
            f"configuration of type {type(config).__name__}; allowed: an instance of a dataclass. "
            "Build one, e.g. with Config.profile('quick')."
        )

    def plain(value: Any, where: str) -> Any:
        if dataclasses.is_dataclass(value):
            return {f.name: plain(getattr(value, f.name), f.name) for f in dataclasses.fields(value)}
        if isinstance(value, list | tuple):
            return [plain(v, f"{where}[{i}]") for i, v in enumerate(value)]
        if value is None or isinstance(value, bool | int | str):
            return value
        if isinstance(value, float) and math.isfinite(value):
            return value
        raise ValueError(
            f"configuration field {where} = {value!r}; allowed: finite numbers, strings, booleans, "
            "None and tuples of them. Store large or random things as weights or rows."
        )

    plain_config: dict[str, Any] = plain(config, "")
    return plain_config


def record_key(
    experiment: str,
    config: Any,
    seed: int = 0,
    code: str = "",
    data: str = "",
    computed: Mapping[str, Any] | None = None,
) -> str:
    """Twelve hexadecimal digits that identify what would make the record again.

    Args:
        experiment: its name.
        config: the configuration (dataclass instance).
        seed: the seed the experiment was run with.
        code: hash of the code, see :func:`wavemem.records.provenance.code_version`.
        data: hash of the data that was read; empty if none was.
        computed: what it is computed with, see :func:`wavemem.records.provenance.computing`; None for records from before it
            was noted.
    """
    identity: dict[str, Any] = {
        "experiment": experiment,
        "config": config_json(config),
        "seed": seed,
        "code": code,
        "data": data,
    }
    if computed:
        identity["computed"] = dict(computed)
    text = json.dumps(identity, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


_KINDS = {"f": "float", "i": "int", "u": "int", "b": "bool"}


def _column_type(name: str, column: pd.Series) -> str:
    dtype = column.dtype
    if isinstance(dtype, np.dtype) and dtype.kind in _KINDS:
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


def read_rows(path: Path, types: dict[str, str]) -> pd.DataFrame:
    """Read a table written by :func:`write_rows`.

    Args:
        path: the CSV file.
        types: what :func:`write_rows` returned.

    Raises:
        ValueError: the columns are not those of ``types``.
    """
    text = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8")
    if list(text.columns) != list(types):
        raise ValueError(f"{path} has columns {list(text.columns)}; allowed: {list(types)}. Restore the file.")
    columns: dict[str, pd.Series] = {}
    for name, kind in types.items():
        values = text[name]
        if kind == "str":
            columns[name] = values
        elif kind == "bool":
            columns[name] = values == "True"
        else:
            columns[name] = pd.Series(values.to_numpy(dtype=str).astype(np.dtype(kind)))
    return pd.DataFrame(columns)


@dataclass(frozen=True)
class Record:
    """One stored measurement; rows and weights are read, and checked, when first asked for."""

    path: Path
    experiment: str
    profile: str
    key: str
    seed: int
    config: dict[str, Any]
    code: str
    data: str
    provenance: Provenance
    columns: dict[str, str]
    files: dict[str, dict[str, Any]]

    def _checked(self, name: str) -> Path:
        path, expected = self.path / name, self.files[name]
        if not path.is_file():
            raise _damaged(f"record {self.path} has no {name}")
        content = path.read_bytes()
        if len(content) != expected["bytes"] or hashlib.sha256(content).hexdigest() != expected["sha256"]:
            raise _damaged(f"{path} has {len(content)} bytes that are not the {expected['bytes']} bytes written")
        return path

    @cached_property
    def rows(self) -> pd.DataFrame:
        """The measurements, bit for bit as they were written."""
        return read_rows(self._checked(_ROWS), self.columns)

    @cached_property
    def weights(self) -> dict[str, Tensor]:
        """The stored tensors, on the CPU; empty if none were stored."""
        return load_file(str(self._checked(_WEIGHTS))) if _WEIGHTS in self.files else {}


def _describe(path: Path) -> dict[str, Any]:
    content = path.read_bytes()
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


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
            raise existing(target)
        old = target.with_name(f".replaced-{target.name}-{uuid.uuid4().hex[:12]}")
        with contextlib.suppress(FileNotFoundError):  # another process has just moved it away
            target.rename(old)
            shutil.rmtree(old)


def existing(target: Path) -> ExistingRecord:
    """The error that says so."""
    return ExistingRecord(
        f"record {target} exists; allowed: one record per configuration, seed, code, data and what computed it. "
        "Pass replace=True (--replace) to measure it again."
    )


def check_names(experiment: str, profile: str) -> None:
    """Whether a folder can be named after an experiment and a profile.

    Raises:
        ValueError: one of the names is not allowed.
    """
    if not _NAME.fullmatch(experiment):
        raise ValueError(f"experiment {experiment!r}; allowed: lower-case letters, digits, underscores. Rename it.")
    if profile not in PROFILES:
        raise ValueError(f"profile {profile!r}; allowed: {', '.join(PROFILES)}. {nearest(profile, PROFILES)}")


def write(
    root: Path | str | None,
    experiment: str,
    config: Any,
    result: Result,
    provenance: Provenance,
    *,
    seed: int = 0,
    code: str | None = None,
    data: str = "",
    replace: bool = False,
) -> Path:
    """Store a result; afterwards the whole record is there, or, if anything failed, nothing is.

    The files are written to a hidden folder beside the final one, flushed to disk, and the folder renamed.

    Args:
        root: folder of all records; None is the project's ``records/``.
        experiment: its name.
        config: what was run (dataclass instance).
        result: rows and weights.
        provenance: from :func:`wavemem.records.provenance.measure`.
        seed: the seed the experiment was run with.
        code: hash of the code used; None computes it from the experiment's module.
        data: hash of the data read, if any.
        replace: store again where a record of the same key exists.

    Returns:
        The record's folder.

    Raises:
        ValueError: a name, the configuration or a column cannot be stored, or the record exists and ``replace`` is False.
    """
    check_names(experiment, provenance.profile)
    code = code_version(module_of(experiment)) if code is None else code
    key = record_key(experiment, config, seed, code, data, provenance.computed)
    folder = records_root(root) / experiment
    target = folder / f"{provenance.profile}-{key}"
    if target.exists() and not replace:
        raise existing(target)
    folder.mkdir(parents=True, exist_ok=True)
    draft = folder / f".writing-{target.name}-{os.getpid()}"
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir()
    try:
        columns = write_rows(draft / _ROWS, result.rows)
        names = [_ROWS]
        if result.weights:
            # Written here, not by safetensors: a full disk is then an error of the system, which names the file.
            (draft / _WEIGHTS).write_bytes(
                save({k: v.detach().cpu().contiguous().clone() for k, v in result.weights.items()})
            )
            names.append(_WEIGHTS)
        content = {
            "format": FORMAT,
            "version": VERSION,
            "experiment": experiment,
            "profile": provenance.profile,
            "key": key,
            "seed": seed,
            "config": config_json(config),
            "code": code,
            "data": data,
            "provenance": provenance.to_json(),
            "columns": columns,
            "files": {name: _describe(draft / name) for name in names},
        }
        (draft / _RECORD).write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        for path in (*draft.iterdir(), draft):
            _sync(path)
        _publish(draft, target, replace)
        _sync(folder)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    return target


def open_record(path: Path | str) -> Record:
    """Read one record's description.

    Raises:
        DamagedRecord: ``record.json`` is missing or cut short.
        ForeignRecord: it is not a record of this library, or of another version of the format.
    """
    path = Path(path)
    file = path / _RECORD
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise _damaged(f"{path} has no {_RECORD}") from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise _damaged(f"{file} is cut short or not JSON ({error})") from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ForeignRecord(
            f"{file} is not a wavemem record; allowed: folders written by wavemem.records.store. "
            "Move the folder out of records/."
        )
    if content.get("version") != VERSION:
        raise ForeignRecord(
            f"{file} has format version {content.get('version')!r}; allowed: {VERSION}. "
            "Read it with the version of wavemem that wrote it, or measure again."
        )
    try:
        fields = {
            name: content[name]
            for name in ("experiment", "profile", "key", "seed", "config", "code", "data", "columns", "files")
        }
        return Record(path=path, provenance=Provenance.from_json(content["provenance"]), **fields)
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(f"{file} lacks or mangles a field ({error})") from None


def find(root: Path | str | None = None, experiment: str | None = None, profile: str | None = None) -> list[Record]:
    """The records that are there, oldest first; drafts of interrupted writes are not records.

    Args:
        root: folder of all records; None is the project's ``records/``.
        experiment: only this one.
        profile: only this one.

    Raises:
        DamagedRecord, ForeignRecord: a folder that should be a record is none.
    """
    base = records_root(root)
    if not base.is_dir():
        return []
    found = []
    for folder in sorted(p for p in base.iterdir() if p.is_dir() and (experiment is None or p.name == experiment)):
        for path in sorted(folder.iterdir()):
            kind = path.name.split("-")[0]
            if path.is_dir() and kind in PROFILES and (profile is None or kind == profile):
                found.append(open_record(path))
    return sorted(found, key=lambda r: (r.provenance.started, r.path.name))


def load(root: Path | str | None, experiment: str, profile: str = "paper", key: str | None = None) -> Record:
    """The newest record of an experiment in a profile, or the one with a given key; its files are checked.

    Raises:
        MissingRecord: there is none.
        DamagedRecord, ForeignRecord: it cannot be used.
    """
    check_names(experiment, profile)
    records = [r for r in find(root, experiment, profile) if key is None or r.key == key]
    if not records:
        there = sorted({f"{r.experiment} ({r.profile}, key {r.key})" for r in find(root)})
        raise MissingRecord(
            f"no {profile} record of {experiment}{f' with key {key}' if key else ''}; "
            f"allowed: {'; '.join(there) or 'no record has been measured yet'}. "
            f"Measure it: wavemem run {experiment} --profile {profile}"
        )
    record = records[-1]
    for name in record.files:
        record._checked(name)
    return record
