"""The kernel of a chapter: this environment's, with nobody's settings; run as a file, ``python -P kernel.py -f FILE``.

What a chapter imports comes from the copy of the package that PYTHONPATH names, which need not be the one that this file
is in: hence no import of wavemem here.
"""

from __future__ import annotations

import logging
import os
import runpy
import signal
import sys
from pathlib import Path
from typing import Any


def note_files(folder: str, notes: Path) -> None:
    """From now on note every file below a folder that Python opens: "r" or "w" and the path, once each, line by line."""
    target = os.open(notes, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    below, seen = os.path.join(folder, ""), {(os.path.abspath(__file__), False)}

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event != "open":
            return
        name, _, flags = arguments
        if not isinstance(name, str | os.PathLike) or not isinstance(flags, int):
            return
        path = os.path.abspath(os.fsdecode(name))
        writes = bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
        if path.startswith(below) and (path, writes) not in seen:
            seen.add((path, writes))
            os.write(target, f"{'w' if writes else 'r'} {path}\n".encode(errors="surrogateescape"))

    sys.addaudithook(hook)


def main() -> None:
    """Start the kernel in an empty folder, then move to the book's."""
    processes = runpy.run_path(str(Path(__file__).parents[1] / "processes.py"))
    processes["end_with_parent"](int(os.environ["JPY_PARENT_PID"]), signal.SIGKILL)
    # It reads its settings when it is imported, from the working folder first; and where it takes its time to list the
    # fonts, it says so on standard error, which is part of the page from here on.
    import matplotlib.font_manager  # noqa: F401
    from ipykernel.kernelapp import IPKernelApp
    from IPython.core.application import ENV_CONFIG_DIRS, SYSTEM_CONFIG_DIRS

    root = Path(os.environ["WAVEMEM_ROOT"])
    os.chdir(root)
    note_files(str(root), Path(os.environ["WAVEMEM_FILES_FILE"]))
    # Last: a file beside the notebooks can be imported, but takes no library's place.
    sys.path += [str(root / "notebooks"), str(root)]
    ENV_CONFIG_DIRS.clear()
    SYSTEM_CONFIG_DIRS.clear()
    # The build speaks for the library; what it writes to standard error here would be part of the page.
    logging.getLogger("wavemem").addHandler(logging.NullHandler())
    IPKernelApp.launch_instance([*sys.argv[1:], "--HistoryManager.enabled=False"])


if __name__ == "__main__":
    main()
