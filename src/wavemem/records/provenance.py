"""Where a measurement came from: code, machine, versions, time and memory.

A number without this is not a record. Two questions are answered apart: *which code* (a hash of the source files that
the experiment's module imports, so that a change elsewhere in the library does not disown the record) and *which
state of the project* (the git commit and whether the tree differed from it).
"""

from __future__ import annotations

import datetime
import hashlib
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from wavemem.imports import closure, module_file
from wavemem.kernels.compiled import in_use

_PACKAGE = Path(__file__).resolve().parents[1]  # src/wavemem
_LIBRARIES = ("torch", "numpy", "scipy", "pandas", "safetensors", "triton")


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
        computed: what the numbers depend on beside code and data, see :func:`computing`; empty in records from before it was
            noted.
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

    def to_json(self) -> dict[str, Any]:
        """Plain values for ``record.json``."""
        return {**asdict(self), "seeds": list(self.seeds)}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Provenance:
        """The inverse of :meth:`to_json`.

        Raises:
            ValueError: a field is missing or unknown.
        """
        names = {f.name for f in fields(cls)}
        if set(data) | {"computed"} != names:
            odd = ", ".join(sorted((set(data) | {"computed"}) ^ names))
            raise ValueError(
                f"provenance fields missing or unknown: {odd}; allowed: {', '.join(sorted(names))}. "
                "Write the record again with this version of wavemem."
            )
        return cls(**{**data, "seeds": tuple(data["seeds"])})


def versions() -> dict[str, str]:
    """Versions of Python and of the libraries that numbers depend on; those not installed are left out.

    Kernels that are compiled on the machine have no version: they have the hash of what they were compiled from, and by.
    """
    found = {"python": platform.python_version(), "compiled kernels": ", ".join(in_use()) or "none"}
    for name in _LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def computing(device: torch.device | str) -> dict[str, Any]:
    """What can change a measurement's digits on one machine: kind of device, threads, compiled kernels or not."""
    return {"device": torch.device(device).type, "threads": torch.get_num_threads(), "compiled": bool(in_use())}


def device_name(device: torch.device | str) -> str:
    """The processor or GPU by its commercial name, e.g. "NVIDIA H200" or "AMD EPYC 7B13 (CPU)"."""
    kind = torch.device(device)
    if kind.type == "cuda":
        return torch.cuda.get_device_name(kind)
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
        models = [line.split(":", 1)[1].strip() for line in text.splitlines() if line.startswith("model name")]
    except OSError:
        models = []
    name = models[0] if models else platform.processor() or platform.machine()
    return f"{name} (CPU)"


def git_state(folder: Path | None = None) -> tuple[str, bool]:
    """Commit and whether the tree differs from it; ("unknown", True) where git is missing or the project is no repository.

    Args:
        folder: the project's folder; None is the one that holds ``src/wavemem``. A repository around it is not its own.
    """
    where = (folder or _PACKAGE.parents[1]).resolve()

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(where), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=20).stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")).resolve() != where:
            return "unknown", True
        return git("rev-parse", "HEAD"), bool(git("status", "--porcelain"))
    except (OSError, subprocess.SubprocessError):
        return "unknown", True


def code_version(*modules: str) -> str:
    """Hash (16 hexadecimal digits) of the sources of modules and of all of wavemem that they import, directly or not.

    The search is static: files are parsed, not run. Hashed are each file's path inside wavemem and its content.

    Args:
        modules: dotted names such as ``wavemem.elman.table1``.

    Raises:
        ValueError: a module is not part of wavemem.
    """
    root = _PACKAGE.parent
    for name in modules:
        if name.partition(".")[0] != "wavemem" or module_file(root, name) is None:
            raise ValueError(f"module {name!r}; allowed: a module of wavemem. Give its dotted name.")
    digest = hashlib.sha256()
    for path in sorted(closure((f"import {name}" for name in modules), root).values()):
        digest.update(path.relative_to(_PACKAGE).as_posix().encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]


def _peak_memory_mib(device: torch.device) -> float:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10  # macOS counts bytes, Linux KiB


@contextmanager
def measure(profile: str, seeds: Sequence[int], device: torch.device | str) -> Iterator[Provenance]:
    """Time a measurement; the yielded provenance is complete when the block ends.

    Args:
        profile: "quick" or "paper".
        seeds: seeds of the runs; may be replaced inside the block once they are known.
        device: where the measurement runs.

    Yields:
        A :class:`Provenance` whose wall time and peak memory are filled in at the end of the block.
    """
    where = torch.device(device)
    commit, dirty = git_state()
    result = Provenance(
        profile=profile,
        seeds=tuple(int(seed) for seed in seeds),
        device=device_name(where),
        commit=commit,
        dirty=dirty,
        started=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        threads=torch.get_num_threads(),
        versions=versions(),
        computed=computing(where),
    )
    if where.type == "cuda":
        torch.cuda.reset_peak_memory_stats(where)
    begin = time.perf_counter()
    try:
        yield result
    finally:
        if where.type == "cuda":
            torch.cuda.synchronize(where)
        result.wall_seconds = time.perf_counter() - begin
        result.peak_memory_mib = _peak_memory_mib(where)
