"""Where a number comes from: the commit, the machine, the versions and what the measurement cost.

A number without its provenance is not a record. Two questions are answered apart: *which code* (a hash of the source files that
the experiment's module imports, so that a change elsewhere in the library does not disown the record) and *which
state of the project* (the git commit and whether the tree differed from it).
"""

from __future__ import annotations

import contextlib
import datetime
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path

import torch

from wavemem.kernels.compiled import in_use, processor
from wavemem.records.code import computing
from wavemem.records.store import Provenance

_PACKAGE = Path(__file__).resolve().parents[1]  # src/wavemem
_LIBRARIES = ("torch", "numpy", "scipy", "pandas", "safetensors", "triton")


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


def device_name(device: torch.device | str) -> str:
    """The processor or GPU by its commercial name, e.g. "NVIDIA H200" or "AMD EPYC 7B13 (CPU)"."""
    kind = torch.device(device)
    if kind.type == "cuda":
        return torch.cuda.get_device_name(kind)
    models = [line.split(":", 1)[1].strip() for line in processor().splitlines() if line.startswith("model name")]
    return f"{models[0] if models else platform.processor() or platform.machine()} (CPU)"


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
        # What was measured a moment ago changes nothing that is measured next.
        changed = git("status", "--porcelain", "--untracked-files=all", "--", ".", ":(exclude,glob)records/*/*-*/**")
        return git("rev-parse", "HEAD"), bool(changed)
    except (OSError, subprocess.SubprocessError):
        return "unknown", True


def _peak_memory_mib(device: torch.device) -> float:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10  # macOS counts bytes, Linux KiB


@contextlib.contextmanager
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
