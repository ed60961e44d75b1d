"""Where the project's records and chapters are."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["project_root", "records_root"]


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
