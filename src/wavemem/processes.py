"""What processes owe each other: an end with whoever started them, and locks, where the file system offers any.

Run as a file, ``python processes.py PARENT MODULE:FUNCTION ARGUMENTS…`` calls a function in a process that ends with its
parent. Only the standard library is used here.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import functools
import importlib
import logging
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import IO, Any

_PR_SET_PDEATHSIG = 1
_POLL, _PATIENCE = 1.0, 15.0
_logger = logging.getLogger(__name__)


def sync(path: Path) -> None:
    """Wait until a file, or a folder's list of files, is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def watch_parent(parent: int, by: signal.Signals = signal.SIGTERM) -> None:
    """Start a thread that looks once a second whether this process's parent is alive, and else ends this process.

    Args:
        parent: The parent's process id, as the parent knew it: it may be gone already.
        by: The signal to end with; one that has no effect is followed by SIGKILL.
    """

    def look() -> None:
        while os.getppid() == parent:
            time.sleep(_POLL)
        os.kill(os.getpid(), by)
        time.sleep(_PATIENCE)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=look, name="parent", daemon=True).start()


def end_with_parent(parent: int, by: signal.Signals = signal.SIGTERM) -> None:
    """Have this process ended when its parent ends, which cannot ask for it when it is killed.

    Linux does so at once, but also at the end of the parent's thread that started this process: use `watch_parent` where that
    may be any. See there for the arguments.
    """
    with contextlib.suppress(OSError, AttributeError):  # not Linux
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, by)
    watch_parent(parent, by)


@functools.cache
def _say_there_are_none(folder: str, reason: str) -> None:
    _logger.warning(
        "the file system of %s offers no locks (%s): nothing here tells two commands apart, start one at a time",
        folder,
        reason,
    )


def lock(file: IO[Any], shared: bool = False, wait: bool = False) -> bool:
    """Lock an open file until its last holder closes it.

    A file system without locks is said once, by a warning of this module's logger, and not waited for.

    Returns:
        False if another process holds it, else True.
    """
    folder = os.path.dirname(os.path.abspath(file.name))
    try:
        import fcntl

        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
    except ModuleNotFoundError:
        _say_there_are_none(folder, "not a Unix")
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return False
        _say_there_are_none(folder, error.strerror or str(error))
    return True


def claim(path: Path) -> tuple[IO[str] | None, str]:
    """Claim what a lock file stands for, until the last process that was given the file closes it.

    Returns:
        The open file, or None if somebody else has the claim; and the process id of who made the claim before.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.open("a+")
    file.seek(0)
    holder = file.read().strip() or "unknown"
    if not lock(file):
        file.close()
        return None, holder
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()
    return file, holder


def child_command(entry: str, *arguments: str) -> list[str]:
    """Command of a process that calls MODULE:FUNCTION and ends with this one."""
    return [sys.executable, "-P", __file__, str(os.getpid()), entry, *arguments]


def _main() -> None:
    parent, entry, *rest = sys.argv[1:]
    end_with_parent(int(parent))
    sys.argv = [entry, *rest]
    module, function = entry.split(":")
    sys.exit(getattr(importlib.import_module(module), function)())


if __name__ == "__main__":
    _main()
