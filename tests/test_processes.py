"""Processes that end with their parent, and locks where there may be none."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from wavemem import processes
from wavemem.processes import child_command, claim, lock

PARENT = """
import subprocess, sys, time
from wavemem.processes import child_command
subprocess.Popen(COMMAND)
print("started", flush=True)
time.sleep(600)
"""
AS_IT_IS = "child_command('signal:pause')"
THREAD_ALONE = "import wavemem.processes as p; p.ctypes = None; p.end_with_parent = p.watch_parent; p._main()"
WITHOUT_PRCTL = f"[sys.executable, '-c', {THREAD_ALONE!r}] + {AS_IT_IS}[3:]"


@pytest.mark.parametrize("by", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize("command", [AS_IT_IS, WITHOUT_PRCTL], ids=["as it is", "without prctl"])
def test_a_process_ends_with_its_parent(by: signal.Signals, command: str) -> None:
    program = [sys.executable, "-c", PARENT.replace("COMMAND", command)]
    with subprocess.Popen(program, stdout=subprocess.PIPE) as parent:
        assert parent.stdout.readline() == b"started\n"
        parent.send_signal(by)
        # The child holds the other end too: nothing more comes only once it is gone.
        assert parent.stdout.read() == b""


def test_a_process_whose_parent_is_gone_already_ends() -> None:
    command = child_command("signal:pause")
    command[3] = "1"
    assert subprocess.run(command, check=False).returncode == -signal.SIGTERM


def test_a_claim_has_one_holder(tmp_path: Path) -> None:
    path = tmp_path / "new" / "x.lock"
    first, before = claim(path)
    assert (first is not None, before) == (True, "unknown")
    assert claim(path) == (None, str(os.getpid()))
    with path.open() as other:
        assert not lock(other)
        assert not lock(other, shared=True)
    first.close()
    with path.open() as one, path.open() as two:
        assert lock(one, shared=True)
        assert lock(two, shared=True)
        assert not lock(two)


@pytest.mark.parametrize("reason", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
@pytest.mark.parametrize("wait", [False, True])
def test_a_file_system_without_locks_is_said_once_and_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, reason: int, wait: bool
) -> None:
    def refuse(_file: object, _kind: int) -> None:
        raise OSError(reason, os.strerror(reason))

    (tmp_path / "x.lock").write_text("4321")  # of a process that is long gone
    monkeypatch.setattr(fcntl, "flock", refuse)
    processes._say_there_are_none.cache_clear()
    with caplog.at_level(logging.WARNING):
        for name in ("x.lock", "y.lock"):
            held, _ = claim(tmp_path / name)
            assert lock(held, wait=wait)
            held.close()
    assert [record.getMessage() for record in caplog.records] == [
        f"the file system of {tmp_path} offers no locks ({os.strerror(reason)}): nothing here tells two commands apart, "
        "start one at a time"
    ]
