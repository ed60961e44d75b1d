"""Execute chapters side by side, each in a process of its own, and publish those that reach their end."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from wavemem.building import cache
from wavemem.building.chapters import Chapter
from wavemem.building.errors import BuildError, UsageError
from wavemem.building.failures import Failure, read_partial, running_cell
from wavemem.building.key import Key, chapter_key
from wavemem.building.paths import Layout, Parameters, write_json
from wavemem.building.progress import Display, last_status, status_text

__all__ = ["Outcome", "execute_chapters", "kernel_environment"]

_POLL = 0.2
_DEFAULT_SECONDS = 60.0


@dataclass(frozen=True)
class Outcome:
    """What became of the chapters that a build was asked for.

    Attributes:
        seconds: Execution time of each chapter, whether executed now or before.
        executed: Names of those executed now.
        failures: Those that failed.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    executed: list[str] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)


@dataclass
class _Job:
    chapter: Chapter
    key: Key
    work: Path
    process: subprocess.Popen[bytes]
    lock: contextlib.ExitStack
    started: float


def kernel_environment(layout: Layout, work: Path, chapter: str, threads: int) -> dict[str, str]:
    """Environment of a chapter's process and kernel: fixed threads, no personal settings, where to report to.

    The number of threads does not depend on how many chapters run at a time, since it can change the last digits of
    what they compute.
    """
    environment = dict(os.environ)
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS"):
        environment[name] = str(threads)
    # Threads that spin while they wait make a shared core many times slower.
    environment["OMP_WAIT_POLICY"] = "PASSIVE"
    environment.update(
        WAVEMEM_CHAPTER=chapter,
        WAVEMEM_ROOT=str(layout.root),
        WAVEMEM_RUNS=str(layout.build / "runs"),
        WAVEMEM_RESULTS_DIR=str(work / "results"),
        WAVEMEM_PROGRESS_FILE=str(work / "progress.jsonl"),
        # The kernel of this environment, not one of the same name in the user's folder, and default settings.
        JUPYTER_PREFER_ENV_PATH="1",
        JUPYTER_CONFIG_DIR=str(work / "jupyter"),
        IPYTHONDIR=str(work / "ipython"),
        MPLCONFIGDIR=str(layout.build / "matplotlib"),
        PYTHONHASHSEED="0",
        PYTHONWARNINGS="default",
        PYDEVD_DISABLE_FILE_VALIDATION="1",
        CUBLAS_WORKSPACE_CONFIG=":4096:8",
    )
    environment.pop("MPLBACKEND", None)
    return environment


@contextlib.contextmanager
def _locked(path: Path, chapter: str) -> Iterator[int]:
    """Hold a chapter's lock and give its file descriptor; the operating system releases it with its last holder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            handle.seek(0)
            holder = handle.read().strip() or "unknown"
            message = f"chapter {chapter} is being executed by another build (process {holder}); wait for it to end"
            raise UsageError(message) from None
        handle.truncate(0)
        handle.write(str(os.getpid()))
        handle.flush()
        yield handle.fileno()


def _start(
    chapter: Chapter, key: Key, layout: Layout, parameters: Parameters, threads: int, timeout: int | None
) -> _Job:
    work = layout.work(parameters, chapter.name)
    lock = contextlib.ExitStack()
    held = lock.enter_context(_locked(work.with_name(f"{chapter.name}.lock"), chapter.name))
    shutil.rmtree(work, ignore_errors=True)
    (work / "results").mkdir(parents=True)
    # The kernel executes the text that the key was computed from, even if the file changes meanwhile.
    source = work / "source.md"
    source.write_text(chapter.text, encoding="utf-8")
    limit = timeout if timeout is not None else (chapter.timeout if parameters.profile == "quick" else 0)
    request = {
        "chapter": chapter.name,
        "source": str(source),
        "work": str(work),
        "root": str(layout.root),
        "package": str(layout.package),
        "parameters": parameters.as_dict(),
        "timeout": limit,
    }
    write_json(work / "request.json", request)
    with (work / "log.txt").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "wavemem.building.worker", str(work / "request.json")],
            cwd=layout.root,
            env=kernel_environment(layout, work, chapter.name, threads),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            # Whoever finds this build killed waits until its chapter has ended too.
            pass_fds=(held,),
        )
    return _Job(chapter, key, work, process, lock, time.monotonic())


def _collect(job: _Job, layout: Layout, parameters: Parameters) -> Failure | float:
    """Publish what a finished process left; the failure, or the seconds that it took."""
    name = job.chapter.name
    partial = job.work / f"{name}.ipynb"
    try:
        outcome = json.loads((job.work / "outcome.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        log = (job.work / "log.txt").read_text(encoding="utf-8", errors="replace")
        code = job.process.returncode
        reason = f"the process that executes it was killed by signal {-code}" if code < 0 else f"exit status {code}"
        notebook = read_partial(partial)
        cell, first_line = running_cell(notebook) if notebook is not None else (0, "")
        return Failure(name, "dead process", reason, cell, first_line, log, str(partial) if partial.is_file() else "")
    if "failure" in outcome:
        return Failure(**outcome["failure"])
    results_file = job.work / "results" / f"{name}.json"
    results = results_file.read_bytes() if results_file.is_file() else None
    notebook = (job.work / "published.ipynb").read_bytes()
    cache.publish(layout, parameters, name, job.key, notebook, results, outcome["seconds"])
    shutil.rmtree(job.work, ignore_errors=True)
    return float(outcome["seconds"])


def _stop(jobs: list[_Job]) -> None:
    for job in jobs:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(job.process.pid, signal.SIGTERM)
    deadline = time.monotonic() + 15
    for job in jobs:
        with contextlib.suppress(subprocess.TimeoutExpired):
            job.process.wait(max(0.1, deadline - time.monotonic()))
        if job.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(job.process.pid, signal.SIGKILL)
            job.process.wait()
        job.lock.close()


def _forget_trainings(runs: Path, keys: Sequence[Key]) -> None:
    """Remove the shared trainings of the experiments that these chapters import, and no others."""
    names = {ingredient for key in keys for ingredient in key.ingredients if ".experiments." in ingredient}
    imported = {name.rpartition(".")[2] for name in names}
    for folder in runs.glob("*-*-*"):  # <experiment>-<key>-<device>
        if folder.name.rsplit("-", 2)[0] in imported:
            shutil.rmtree(folder, ignore_errors=True)


def execute_chapters(
    chapters: list[Chapter],
    layout: Layout,
    parameters: Parameters,
    jobs: int = 1,
    force: bool = False,
    timeout: int | None = None,
    threads: int = 1,
    display: Display | None = None,
) -> Outcome:
    """Execute those of the chapters whose published notebook is not current.

    A chapter that fails does not stop the others.

    Args:
        chapters: The chapters wanted.
        layout: Where the book lies.
        parameters: Profile, device and seed; the device already chosen, not "auto".
        jobs: How many chapters run at a time.
        force: Execute even what is current, and train anew what these chapters share with each other or with others.
        timeout: Seconds that one cell may take, 0 for no limit; each chapter's own limit if None.
        threads: Threads that each chapter gets, whatever ``jobs`` is.
        display: Where to show progress; standard error by default.

    Raises:
        UsageError: If ``jobs`` or ``threads`` is not positive, or another build is executing one of the chapters.
        BuildError: If a parameter is left to be chosen.
    """
    for name, number in (("JOBS", jobs), ("THREADS", threads)):
        if number < 1:
            raise UsageError(f"{name} is {number}; allowed: a positive integer")
    if parameters.device == "auto":
        raise BuildError("the device has to be chosen before chapters are executed")
    outcome = Outcome()
    waiting: list[tuple[float, Chapter, Key]] = []
    lines = []
    for chapter in chapters:
        key = chapter_key(chapter, layout, parameters, threads)
        entry = cache.look_up(layout, parameters, chapter.name)
        if entry is not None and cache.is_current(entry, key) and not force:
            outcome.seconds[chapter.name] = entry.seconds
            continue
        waiting.append((entry.seconds if entry else _DEFAULT_SECONDS, chapter, key))
        lines.append(f"{chapter.name}: {'forced' if entry and cache.is_current(entry, key) else cache.why(entry, key)}")
    if not waiting:
        return outcome
    if force:
        _forget_trainings(layout.build / "runs", [key for _, _, key in waiting])
    # Longest first, so that no long chapter starts when the others have ended.
    waiting.sort(key=lambda item: (item[0], item[1].name))
    shown = display or Display(len(waiting))
    for line in lines:
        shown.say(line)
    running: list[_Job] = []
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                _, chapter, key = waiting.pop()
                running.append(_start(chapter, key, layout, parameters, threads, timeout))
            time.sleep(_POLL)
            for job in [job for job in running if job.process.poll() is not None]:
                running.remove(job)
                name = job.chapter.name
                result = _collect(job, layout, parameters)
                job.lock.close()
                if isinstance(result, Failure):
                    outcome.failures.append(result)
                    shown.finished(f"{name}: FAILED after {time.monotonic() - job.started:.0f} s")
                else:
                    outcome.seconds[name] = result
                    outcome.executed.append(name)
                    shown.finished(f"{name}: executed in {result:.0f} s")
            shown.running({job.chapter.name: status_text(last_status(job.work / "progress.jsonl")) for job in running})
    finally:
        _stop(running)
        shown.close()
    return outcome
