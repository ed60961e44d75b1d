"""Execute one chapter in a process of its own, which :mod:`wavemem.processes` starts with the request's path.

The request names the paths and the parameters. The process leaves ``outcome.json`` beside the request: ``seconds``
and, if the chapter failed, a ``failure``. Only a chapter that executed to its end leaves ``published.ipynb``.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import time
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from wavemem.building.layout import write_atomically, write_json
from wavemem.building.notebooks import executable, plain, published

_START_TIMEOUT = 120
_TRACEBACK_LINES = 12


@dataclass(frozen=True)
class Failure:
    """Why a chapter did not execute.

    Attributes:
        chapter: The chapter's name.
        kind: "error", "dead kernel", "dead process", "time-out" or "stopped".
        message: The error in one line.
        cell: Number of the code cell, counted from 1 as in the text source; 0 if no cell was running.
        first_line: First line of that cell.
        traceback: Last lines of the traceback, if there is one.
        notebook: Path of the partly executed notebook, if there is one.
    """

    chapter: str
    kind: str
    message: str
    cell: int = 0
    first_line: str = ""
    traceback: str = ""
    notebook: str = ""

    def describe(self) -> str:
        """The report that the reader of a terminal gets."""
        lines = [f"chapter {self.chapter}: {self.kind}"]
        if self.cell:
            lines.append(f"  in code cell {self.cell}, which begins: {self.first_line}")
        lines.append(f"  {self.message}")
        if self.traceback:
            tail = plain(self.traceback).rstrip().split("\n")[-_TRACEBACK_LINES:]
            lines += ["    " + line for line in tail]
        if self.notebook:
            lines.append(f"  partly executed notebook: {self.notebook}")
        return "\n".join(lines)


def read_partial(path: Path) -> Any:
    """The partly executed notebook, or None if there is none or it was cut off in the middle of a write."""
    import nbformat

    try:
        return nbformat.read(str(path), as_version=4)
    except (OSError, ValueError, nbformat.reader.NotJSONError):
        return None


def running_cell(notebook: Any, index: int | None = None) -> tuple[int, str]:
    """Number and first line of the cell that was running when execution ended.

    Args:
        notebook: A notebook as papermill left it.
        index: Position of the cell if known; otherwise the last cell that papermill started.

    Returns:
        The number among the source's code cells (injected cells not counted) and the first line; ``(0, "")`` if no
        cell was running.
    """
    started = -1
    for position, cell in enumerate(notebook.cells):
        status = cell.metadata.get("papermill", {}).get("status", "pending")
        if cell.cell_type == "code" and status != "pending":
            started = position
    position = started if index is None else index
    if position < 0:
        return 0, ""
    number = 0
    for cell in notebook.cells[: position + 1]:
        tags = cell.metadata.get("tags", [])
        if cell.cell_type == "code" and not {"injected-parameters", "papermill-error-cell-tag"} & set(tags):
            number += 1
    lines = [line for line in notebook.cells[position].source.split("\n") if line.strip()]
    return number, lines[0] if lines else ""


def notebook_bytes(notebook: Any) -> bytes:
    """A notebook's bytes: UTF-8 JSON, keys sorted."""
    return (json.dumps(notebook, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()


def _papermill_failure(chapter: str, partial: Path, error: Exception) -> Failure:
    from nbclient.exceptions import CellTimeoutError, DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    shown = str(partial) if partial.is_file() else ""
    notebook = read_partial(partial)
    if isinstance(error, PapermillExecutionError):
        cell, first_line = _failed_cell(notebook, error.source)
        message = plain(f"{error.ename}: {error.evalue}")
        traceback = "\n".join(error.traceback or [])
        return Failure(chapter, "error", message, cell, first_line, traceback, shown)
    cell, first_line = running_cell(notebook) if notebook is not None else (0, "")
    kind, message = "error", f"{type(error).__name__}: {error}"
    if isinstance(error, CellTimeoutError):
        kind = "time-out"
        message = (
            "the cell took longer than its time limit (front matter: wavemem: {timeout: SECONDS}; make book TIMEOUT=…)"
        )
    elif isinstance(error, DeadKernelError):
        kind = "dead kernel"
        message = "the kernel died without a Python error: it ran out of memory, crashed in native code, or was killed"
    return Failure(chapter, kind, message, cell, first_line, "", shown)


def _failed_cell(notebook: Any, source: str) -> tuple[int, str]:
    for index, cell in enumerate(notebook.cells if notebook is not None else []):
        if cell.cell_type == "code" and cell.metadata.get("papermill", {}).get("exception"):
            return running_cell(notebook, index)
    return 0, source.strip().split("\n")[0]


def _own_kernel() -> type[Any]:
    """A manager of this environment's kernel, whatever kernels of that name are installed for the user."""
    from jupyter_client.kernelspec import KernelSpec
    from jupyter_client.manager import AsyncKernelManager

    start = [sys.executable, "-P", str(Path(__file__).with_name("kernel.py")), "-f", "{connection_file}"]

    class Manager(AsyncKernelManager):
        kernel_spec = KernelSpec(argv=start, display_name="Python 3", language="python")

    return Manager


def _ended_early(chapter: str, notebook: Any, partial: Path) -> Failure | None:
    """The failure of a cell that ended the chapter: papermill takes ``sys.exit(0)`` for success."""
    for index, cell in enumerate(notebook.cells):
        if cell.cell_type != "code" or "raises-exception" in cell.metadata.get("tags", []):
            continue
        errors = [output for output in cell.outputs if output.output_type == "error"]
        if errors or (cell.source.strip() and cell.execution_count is None):
            message = f"{errors[0].ename}: {errors[0].evalue}" if errors else "the cell was not executed"
            number, first_line = running_cell(notebook, index)
            return Failure(
                chapter, "error", f"{message} (the chapter did not reach its end)", number, first_line, "", str(partial)
            )
    return None


def execute(request: dict[str, Any]) -> dict[str, Any]:
    """Execute a chapter as the request says.

    Args:
        request: ``chapter``, ``source`` (text file), ``work`` (scratch folder), ``package`` (the folder that holds the
            package), ``parameters`` and ``timeout`` (seconds per cell, 0 for none).

    Returns:
        ``seconds`` and, if execution failed, ``failure``.
    """
    chapter, work = str(request["chapter"]), Path(request["work"])
    partial = work / f"{chapter}.ipynb"
    # The kernel imports the modules that the key was computed from, even where another copy is installed.
    os.environ["PYTHONPATH"] = request["package"]
    started = time.monotonic()
    try:
        import papermill

        notebook = executable(Path(request["source"]).read_text(encoding="utf-8"), chapter)
        done = papermill.execute_notebook(
            notebook,
            str(partial),
            parameters=request["parameters"],
            kernel_name="python3",
            kernel_manager_class=_own_kernel(),
            progress_bar=False,
            start_timeout=_START_TIMEOUT,
            execution_timeout=request["timeout"] or None,
        )
        early = _ended_early(chapter, done, partial)
        if early is not None:
            return {"seconds": time.monotonic() - started, "failure": asdict(early)}
        write_atomically(work / "published.ipynb", notebook_bytes(published(done)))
    except KeyboardInterrupt:
        failure = Failure(chapter, "stopped", "execution was interrupted", notebook=str(partial))
        return {"seconds": time.monotonic() - started, "failure": asdict(failure)}
    except Exception as error:
        return {
            "seconds": time.monotonic() - started,
            "failure": asdict(_papermill_failure(chapter, partial, error)),
        }
    return {"seconds": time.monotonic() - started}


def _stop(_signal: int, _frame: FrameType | None) -> None:
    # The client shuts its kernel down on the way out.
    raise KeyboardInterrupt


def main() -> int:
    """Entry point of the process; 0 if the chapter executed."""
    signal.signal(signal.SIGTERM, _stop)
    warnings.filterwarnings("ignore", message="Passed a NotebookNode")
    logging.basicConfig(level=logging.WARNING)
    os.environ.setdefault("PYDEVD_DISABLE_FILE_VALIDATION", "1")
    request_file = Path(sys.argv[1])
    request = json.loads(request_file.read_text(encoding="utf-8"))
    outcome = execute(request)
    write_json(request_file.with_name("outcome.json"), outcome)
    return 1 if "failure" in outcome else 0
