"""Execute chapters side by side, each in a process of its own, and publish those that reach their end."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO

from wavemem.building import cache
from wavemem.building.cache import Key, chapter_key, read_files
from wavemem.building.chapters import Chapter
from wavemem.building.layout import Layout, Parameters, clean_environment, write_json
from wavemem.building.progress import Display, last_status
from wavemem.building.worker import Failure, stopped_at
from wavemem.processes import child_command, claim
from wavemem.records.experiment import experiment_names, module_of

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

    def timings(self) -> str:
        """One line per chapter: how long it took, and whether it was executed now."""
        states = {name: "executed now" if name in self.executed else "up to date" for name in sorted(self.seconds)}
        return "\n".join(f"  {name:32} {self.seconds[name]:7.1f} s   {state}" for name, state in states.items())


@dataclass
class _Job:
    chapter: Chapter
    key: Key
    work: Path
    process: subprocess.Popen[bytes]
    claimed: IO[str]
    started: float = field(default_factory=time.monotonic)


def kernel_environment(layout: Layout, work: Path, chapter: str, threads: int) -> dict[str, str]:
    """Environment of a chapter's process and kernel: a clean one, and where to read, to write and to report to."""
    return clean_environment(threads) | {
        "WAVEMEM_CHAPTER": chapter,
        "WAVEMEM_ROOT": str(layout.root),
        "WAVEMEM_RUNS": str(layout.build / "runs"),
        "WAVEMEM_RESULTS_DIR": str(work / "results"),
        "WAVEMEM_FILES_FILE": str(work / "files.txt"),
        "WAVEMEM_PROGRESS_FILE": str(work / "progress.jsonl"),
        "JUPYTER_CONFIG_DIR": str(work / "jupyter"),
        "JUPYTER_DATA_DIR": str(work / "jupyter"),
        "JUPYTER_RUNTIME_DIR": str(work / "jupyter"),
        "IPYTHONDIR": str(work / "ipython"),
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
        "MPLCONFIGDIR": str(layout.build / "matplotlib"),
        "PYTHONWARNINGS": "default",
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
    }


def _start(
    chapter: Chapter, layout: Layout, parameters: Parameters, threads: int, timeout: int | None, claimed: int
) -> subprocess.Popen[bytes]:
    """Start the process that executes a chapter; it holds the claim, a file descriptor, as long as it lives."""
    work = layout.work(parameters, chapter.name)
    shutil.rmtree(work, ignore_errors=True)
    (work / "results").mkdir(parents=True)
    # The kernel executes the text that the key was computed from, even if the file changes meanwhile.
    (work / "source.md").write_text(chapter.text, encoding="utf-8")
    request = {
        "chapter": chapter.name,
        "package": str(layout.package),
        "parameters": asdict(parameters),
        "timeout": timeout if timeout is not None else chapter.timeout if parameters.profile == "quick" else 0,
    }
    write_json(work / "request.json", request)
    with (work / "log.txt").open("wb") as log:
        return subprocess.Popen(
            child_command("wavemem.building.worker:main", str(work / "request.json")),
            # No file of the book's folder is taken for a setting.
            cwd=work,
            env=kernel_environment(layout, work, chapter.name, threads),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            # Whoever finds this build killed waits until its chapter has ended too.
            pass_fds=(claimed,),
        )


def _collect(job: _Job, layout: Layout, parameters: Parameters, threads: int) -> Failure | float:
    """Publish what a finished process left; the failure, or the seconds that it took."""
    name, work, code = job.chapter.name, job.work, job.process.returncode
    try:
        outcome = json.loads((work / "outcome.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        log = (work / "log.txt").read_text(encoding="utf-8", errors="replace")
        reason = f"the process that executes it was killed by signal {-code}" if code < 0 else f"exit status {code}"
        return Failure(name, "dead process", reason, log, **stopped_at(work / f"{name}.ipynb"))
    if "failure" in outcome:
        return Failure(**outcome["failure"])
    touched = chapter_key(job.chapter, layout, parameters, threads, job.key.read).touched(job.key)
    if touched:
        return Failure(name, "changed while it ran", f"{', '.join(touched)}; not published: run the same command again")
    reported = work / "results" / f"{name}.json"
    results = reported.read_bytes() if reported.is_file() else None
    notebook = (work / "published.ipynb").read_bytes()
    key = chapter_key(job.chapter, layout, parameters, threads, read_files(layout, work / "files.txt", job.key))
    cache.publish(layout, parameters, name, key, notebook, results, outcome["seconds"])
    shutil.rmtree(work, ignore_errors=True)
    return float(outcome["seconds"])


def _stop(jobs: list[_Job]) -> None:
    for job in jobs:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(job.process.pid, signal.SIGTERM)
    deadline = time.monotonic() + 15
    for job in jobs:
        try:
            job.process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            os.killpg(job.process.pid, signal.SIGKILL)
            job.process.wait()
        job.claimed.close()


def _forget_trainings(runs: Path, key: Key) -> None:
    """Remove the shared trainings of the experiments that a chapter imports, and no others."""
    modules = {ingredient.rpartition(" ")[2] for ingredient in key.ingredients}
    for name in experiment_names():
        for folder in runs.glob(f"{name}-*") if module_of(name) in modules else ():  # see wavemem.records.runs
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

    A chapter that fails does not stop the others. One that another build is executing is waited for, while there is
    nothing else to do, and not executed again.

    Args:
        chapters: The chapters wanted.
        layout: Where the book lies.
        parameters: Profile, device and seed; the device already chosen, not "auto".
        jobs: How many chapters run at a time.
        force: Execute even what is current, and train anew what these chapters share with each other or with others.
        timeout: Seconds that one cell may take, 0 for no limit; each chapter's own limit if None.
        threads: Threads that each chapter gets, whatever ``jobs`` is.
        display: Where to show progress; standard error by default.
    """
    outcome = Outcome()
    waiting: list[tuple[float, Chapter]] = []
    lines = []
    for chapter in chapters:
        entry, key, differs = cache.compare(chapter, layout, parameters, threads)
        if entry is not None and not differs and not force:
            outcome.seconds[chapter.name] = entry.seconds
            continue
        waiting.append((entry.seconds if entry else _DEFAULT_SECONDS, chapter))
        lines.append(f"{chapter.name}: {differs or 'forced'}")
        if force:
            _forget_trainings(layout.build / "runs", key)
    if not waiting:
        return outcome
    # Longest first, so that no long chapter starts when the others have ended.
    queue = [chapter for _, chapter in sorted(waiting, key=lambda item: (item[0], item[1].name), reverse=True)]
    shown = display or Display(len(queue))
    for line in lines:
        shown.say(line)
    running: list[_Job] = []
    said: set[str] = set()
    try:
        while queue or running:
            for chapter in list(queue):
                if len(running) == jobs:
                    break
                name, work = chapter.name, layout.work(parameters, chapter.name)
                claimed, holder = claim(work.with_name(f"{name}.lock"))
                if claimed is None:
                    if name not in said:
                        shown.say(f"{name}: another build executes it (process {holder}); waiting for it to end")
                    said.add(name)
                    continue
                queue.remove(chapter)
                # The sources may have changed since, and another build may have been here.
                entry, key, differs = cache.compare(chapter, layout, parameters, threads)
                if entry is not None and not differs and not force:
                    claimed.close()
                    outcome.seconds[name] = entry.seconds
                    shown.finished(f"{name}: executed by another build")
                    continue
                process = _start(chapter, layout, parameters, threads, timeout, claimed.fileno())
                running.append(_Job(chapter, key, work, process, claimed))
            time.sleep(_POLL)
            for job in [job for job in running if job.process.poll() is not None]:
                name = job.chapter.name
                running.remove(job)
                with job.claimed:
                    result = _collect(job, layout, parameters, threads)
                if isinstance(result, Failure):
                    outcome.failures.append(result)
                    shown.finished(f"{name}: FAILED after {time.monotonic() - job.started:.0f} s")
                else:
                    outcome.seconds[name] = result
                    outcome.executed.append(name)
                    shown.finished(f"{name}: executed in {result:.0f} s")
            shown.running({job.chapter.name: last_status(job.work / "progress.jsonl") for job in running})
    finally:
        _stop(running)
        shown.close()
    return outcome
