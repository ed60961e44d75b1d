"""The store of measured results: one folder per record, written whole or not at all.

Layout: ``records/<experiment>/<profile>-<key>/{record.json, rows.csv, weights.safetensors}``. The key hashes the
configuration, the seed, the code that the experiment uses and what computed it, so that a record can always be matched with
what would make it again. ``record.json`` holds the provenance and the length and hash of the other files. Records are written
by `wavemem.records.run`.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from safetensors.torch import load_file
from torch import Tensor

from wavemem.checks import Unusable
from wavemem.records.experiment import PROFILES

FORMAT = "wavemem record"
VERSION = 1
RECORD, ROWS, WEIGHTS = "record.json", "rows.csv", "weights.safetensors"


class DamagedRecord(Unusable):
    """A record is incomplete or its files are not the ones that were written."""


def _damaged(problem: str) -> DamagedRecord:
    return DamagedRecord(
        f"{problem}; allowed: the record as it was written. Restore it (git checkout; git may have changed line ends) "
        "or measure again."
    )


class ForeignRecord(Unusable):
    """A folder holds something that this library did not write, or wrote in another format."""


_PACKAGED = Path(__file__).resolve().parents[1] / "committed"
"""Holds a link to ``records/``, and in an installed library a copy of it."""


def project_root() -> Path:
    """The folder that holds ``records/registry``: named by WAVEMEM_ROOT, or above the working folder or the sources.

    Where there is none, as for a library that was installed from elsewhere, it is a folder of the library that holds a copy,
    to be read only.

    Raises:
        ValueError: WAVEMEM_ROOT names another folder, or the copy was left out of the library.
    """
    named = os.environ.get("WAVEMEM_ROOT")
    above = [Path.cwd(), *Path.cwd().parents, *Path(__file__).resolve().parents, _PACKAGED]
    for folder in [Path(named)] if named else above:
        if (folder / "records" / "registry").is_dir():
            return folder
    raise ValueError(
        f"no folder records/registry in or above {named or Path.cwd()}; allowed: a checkout of the book. "
        "Run inside it, or set WAVEMEM_ROOT to it."
    )


def working_root() -> Path:
    """The folder below which something may be written: `project_root`, or the working folder where that is the library's."""
    root = project_root()
    return Path.cwd() if root == _PACKAGED else root


def records_root(root: Path | str | None = None) -> Path:
    """``root`` as a path; None is the project's ``records/``."""
    return project_root() / "records" if root is None else Path(root)


def config_json(config: Any) -> dict[str, Any]:
    """A configuration as plain JSON values; tuples become lists.

    Raises:
        ValueError: a field holds a number that is not finite.
    """
    plain: dict[str, Any] = json.loads(json.dumps(asdict(config), allow_nan=False))
    return plain


def record_key(experiment: str, config: Any, seed: int, code: str, computed: Mapping[str, Any]) -> str:
    """Twelve hexadecimal digits that identify what would make the record again.

    Args:
        experiment: its name.
        config: the configuration (dataclass instance).
        seed: the seed the experiment was run with.
        code: hash of the code, see `wavemem.records.code.code_version`.
        computed: what it is computed with, see `wavemem.records.code.computing`.
    """
    identity = {
        "experiment": experiment,
        "config": config_json(config),
        "seed": seed,
        "code": code,
        "computed": computed,
    }
    text = json.dumps(identity, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


@dataclass
class Provenance:
    """Everything that is kept beside a record's numbers.

    Args:
        profile: "quick" or "paper".
        seeds: the seeds of the runs that were measured.
        device: the machine's processor or GPU by name.
        commit: git commit, or "unknown" outside a repository.
        dirty: the tree differed from the commit.
        started: UTC time, ISO 8601.
        wall_seconds: duration of the measurement.
        peak_memory_mib: peak resident memory of the process, or of the GPU's allocator when one was used.
        threads: threads that torch used on the CPU.
        versions: Python and library versions.
        computed: what the digits depend on beside the code, see `wavemem.records.code.computing`; empty in records from before
            it was noted.
    """

    profile: str
    seeds: tuple[int, ...]
    device: str
    commit: str = "unknown"
    dirty: bool = True
    started: str = ""
    wall_seconds: float = float("nan")
    peak_memory_mib: float = float("nan")
    threads: int = 1
    versions: dict[str, str] = field(default_factory=dict)
    computed: dict[str, Any] = field(default_factory=dict)


def read_rows(path: Path, types: dict[str, str]) -> pd.DataFrame:
    """Read a table written by `wavemem.records.run.write_rows`.

    Args:
        path: the CSV file.
        types: what it returned: the type of each column.

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
        return read_rows(self._checked(ROWS), self.columns)

    @cached_property
    def weights(self) -> dict[str, Tensor]:
        """The stored tensors, on the CPU; empty if none were stored."""
        return load_file(str(self._checked(WEIGHTS))) if WEIGHTS in self.files else {}


def open_record(path: Path | str) -> Record:
    """Read one record's description.

    Raises:
        DamagedRecord: ``record.json`` is missing or cut short.
        ForeignRecord: it is not a record of this library, or of another version of the format.
    """
    path = Path(path)
    file = path / RECORD
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise _damaged(f"{path} has no {RECORD}") from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise _damaged(f"{file} is cut short or not JSON ({error})") from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ForeignRecord(
            f"{file} is not a wavemem record; allowed: folders written by `wavemem run`. "
            "Move the folder out of records/."
        )
    if content.get("version") != VERSION:
        raise ForeignRecord(
            f"{file} has format version {content.get('version')!r}; allowed: {VERSION}. "
            "Read it with the version of wavemem that wrote it, or measure again."
        )
    try:
        described = {
            name: content[name]
            for name in ("experiment", "profile", "key", "seed", "config", "code", "columns", "files")
        }
        about = content["provenance"]
        return Record(path=path, provenance=Provenance(**{**about, "seeds": tuple(about["seeds"])}), **described)
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
    kinds = PROFILES if profile is None else (profile,)
    paths = records_root(root).glob(f"{experiment or '*'}/*")
    found = [open_record(path) for path in paths if path.is_dir() and path.name.split("-")[0] in kinds]
    return sorted(found, key=lambda r: (r.provenance.started, r.path.name))
