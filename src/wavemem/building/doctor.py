"""Check the set-up: versions, device, threads, disk, browser, tools of the book."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

BROWSER_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

_PYTHONS = ((3, 11), (3, 13))
_DISK_NEEDED = 5.8
_DISK_LEAST = 0.5


@dataclass(frozen=True)
class Finding:
    """One line of the report: "ok", "note" (works, but differs) or "fail", about what, in which words."""

    state: str
    subject: str
    text: str


def locked_versions(constraints: Path) -> dict[str, str]:
    """Name and version of each pin in a constraints file that holds for this Python and platform."""
    from packaging.requirements import InvalidRequirement, Requirement

    pins = {}
    for line in constraints.read_text(encoding="utf-8").splitlines():
        try:  # PyTorch has no hash, so its pin stands in a comment
            pin = Requirement(line.removeprefix("# ").rstrip(" \\"))
        except InvalidRequirement:
            continue
        if str(pin.specifier).startswith("==") and (pin.marker is None or pin.marker.evaluate()):
            pins[pin.name] = next(iter(pin.specifier)).version
    return pins


def _installed(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _python() -> Finding:
    text = f"{platform.python_version()} at {sys.executable}"
    first, last = (".".join(map(str, version)) for version in _PYTHONS)
    if sys.version_info < _PYTHONS[0]:
        return Finding("fail", "python", f"{text}; needed: {first} to {last}")
    if sys.version_info[:2] > _PYTHONS[1]:
        return Finding("note", "python", f"{text}; newer than the book is tested with ({first} to {last})")
    return Finding("ok", "python", text)


def _packages(subject: str, extra: str, advice: str, vital: bool) -> Finding:
    """Whether what wavemem, or an extra of it, asks for is installed."""
    lines = importlib.metadata.requires("wavemem") or []
    names = [re.split(r"[^\w.-]", line)[0] for line in lines if line.partition("extra == ")[2].strip("'\" )") == extra]
    missing = [name for name in names if _installed(name) is None]
    if missing:
        return Finding("fail" if vital else "note", subject, f"not installed: {', '.join(missing)}; {advice}")
    return Finding("ok", subject, ", ".join(f"{name} {_installed(name)}" for name in names))


def _constraints(root: Path | None) -> Finding:
    file = root / "constraints.txt" if root else None
    if file is None or not file.is_file():
        return Finding("note", "versions", "no constraints.txt here to compare with")
    pins = locked_versions(file)
    differing = []
    for name, wanted in sorted(pins.items()):
        have = _installed(name)
        if have is not None and have.split("+")[0] != wanted.split("+")[0]:
            differing.append(f"{name} {have} (locked: {wanted})")
    if differing:
        text = f"{len(differing)} differ from constraints.txt: " + ", ".join(differing[:6])
        return Finding("note", "versions", text + (" …" if len(differing) > 6 else ""))
    return Finding("ok", "versions", f"all installed packages are as in constraints.txt ({len(pins)} pins)")


def _torch() -> list[Finding]:
    try:
        import torch
    except (ImportError, OSError) as error:
        return [
            Finding("fail", "device", f"PyTorch does not load ({error}); make book installs it, or pip install -e .")
        ]
    found = f"cuda: {torch.cuda.get_device_name(0)}; cpu" if torch.cuda.is_available() else "cpu (no CUDA device found)"
    limit = os.environ.get("OMP_NUM_THREADS")
    text = f"{torch.get_num_threads()} for PyTorch on {os.cpu_count()} cores"
    return [
        Finding("ok", "device", found),
        Finding("ok", "threads", text + (f"; OMP_NUM_THREADS={limit}" if limit else "")),
    ]


def _kernels() -> Finding:
    from wavemem.kernels.compiled import LIBRARIES, cache_folder, compiler, load_library

    slower = "networks train several times slower (Wave-RNNs four to six, Mamba about nine)"
    command = compiler()
    if command is None:
        return Finding("note", "kernels", f"no C compiler (cc, gcc, clang): {slower}")
    if any(load_library(name) is None for name in LIBRARIES):
        return Finding("note", "kernels", f"{command} did not compile them: {slower}")
    return Finding("ok", "kernels", f"compiled by {command}, kept in {cache_folder()}")


def _disk(folder: Path) -> Finding:
    free = shutil.disk_usage(folder).free / 1e9
    text = f"{free:.1f} GB free at {folder}"
    if free < _DISK_LEAST:
        return Finding("fail", "disk", f"{text}; executing the chapters needs {_DISK_LEAST} GB: make room")
    if free < _DISK_NEEDED:
        return Finding("note", "disk", f"{text}; a fresh environment needs {_DISK_NEEDED} GB, 3 GB with a CPU PyTorch")
    return Finding("ok", "disk", text)


def find_browser() -> str | None:
    """Path of a Chromium or Chrome: what ``WAVEMEM_CHROMIUM`` names, else the first on the search path."""
    named = os.environ.get("WAVEMEM_CHROMIUM")
    if named:
        return shutil.which(named)
    return next((path for path in map(shutil.which, BROWSER_NAMES) if path), None)


def _browser() -> Finding:
    found = find_browser()
    if found is None:
        advice = "the tests of the built pages need chromium or google-chrome on the path, or WAVEMEM_CHROMIUM=PATH"
        return Finding("note", "browser", f"none found; {advice}")
    return Finding("ok", "browser", found)


def examine(root: Path | None) -> list[Finding]:
    """All findings, in the order in which they matter.

    Args:
        root: Top of the book, or None where the library is used without it.
    """
    findings = [_python(), _packages("library", "", "pip install -e .", vital=True)]
    findings += [_constraints(root), *_torch(), _kernels()]
    # Where there is a book, its tools are needed; the library alone does without.
    findings.append(_packages("book", "book", "make book installs it, or pip install -e '.[book]'", root is not None))
    findings += [_browser(), _disk(root or Path.cwd())]
    return findings
