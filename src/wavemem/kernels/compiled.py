"""Kernels written in C: compiled once on this machine, for this processor, and loaded.

A compiler is not required. Where there is none (or it refuses the source) the callers take their PyTorch path, and
`wavemem doctor` says so. The library is kept in a cache folder under a name that hashes the source, the options, the
compiler and the processor, so that none of them can change without it being compiled again.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

__all__ = ["cache_folder", "compiler", "load_library"]

# Contraction to fused multiply-adds is fixed by the options, so one processor always gives one result.
_OPTIONS = ("-O3", "-std=gnu11", "-ffp-contract=fast", "-fno-math-errno", "-fno-trapping-math", "-shared", "-fPIC")
_TARGETS = ("-march=native", "-mcpu=native", "")


def cache_folder() -> Path:
    """Where compiled kernels are kept: WAVEMEM_CACHE, else `wavemem` in the user's cache folder."""
    named = os.environ.get("WAVEMEM_CACHE")
    if named:
        return Path(named)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "wavemem"


def compiler() -> str | None:
    """Path of the C compiler: CC, else cc, gcc or clang; None where there is none or WAVEMEM_COMPILE=0 forbids it."""
    if os.environ.get("WAVEMEM_COMPILE", "1") == "0":
        return None
    for name in (os.environ.get("CC"), "cc", "gcc", "clang"):
        found = shutil.which(name) if name else None
        if found:
            return found
    return None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    wanted = ("model name", "flags", "Features", "CPU part")
    return "\n".join(sorted({line for line in lines if line.startswith(wanted)}))


def _compile(command: str, source: Path, target: Path) -> bool:
    """Compile into `target`, which appears whole or not at all; True if it worked."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        built = Path(folder) / target.name
        for machine in _TARGETS:
            options = [*_OPTIONS, *([machine] if machine else [])]
            result = subprocess.run(
                [command, *options, "-o", str(built), str(source), "-lm"], capture_output=True, check=False
            )
            if result.returncode == 0:
                os.replace(built, target)
                return True
    return False


@functools.cache
def load_library(name: str) -> ctypes.CDLL | None:
    """Compile `wavemem/kernels/<name>.c` where necessary and load it.

    Args:
        name: The file's name without its ending.

    Returns:
        The library, or None where it cannot be had: no compiler, no folder to write to, or source refused.
    """
    source = Path(__file__).with_name(f"{name}.c")
    command = compiler()
    if command is None:
        return None
    try:
        version = subprocess.run([command, "--version"], capture_output=True, check=False).stdout
        parts = (source.read_bytes(), " ".join((*_OPTIONS, *_TARGETS)).encode(), version, _processor().encode())
        key = hashlib.sha256(b"\0".join(parts)).hexdigest()[:20]
        target = cache_folder() / f"{name.lstrip('_')}-{key}.so"
        if not target.exists() and not _compile(command, source, target):
            return None
        return ctypes.CDLL(str(target))
    except OSError:  # no permission to write or to load
        return None
