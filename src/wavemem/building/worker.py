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
from typing import Any

import nbformat

from wavemem.building.chapters import executable, notebook_bytes, plain, published
from wavemem.building.layout import write_atomically, write_json

_START_TIMEOUT = 120
_TRACEBACK_LINES = 12


@dataclass(frozen=True)
class Failure:
    """Why a chapter did not execute.

    Attributes:
        chapter: The chapter's name.
        kind: "error", "dead kernel", "dead process", "time-out", "stopped" or "changed while it ran".
        message: The error in one line.
        traceback: Last lines of the traceback, if there is one.
        cell: Number of the code cell, counted from 1 as in the text source; 0 if no cell was running.
        first_line: First line of that cell.
        notebook: Path of the partly executed notebook, if there is one.
    """

    chapter: str
    kind: str
    message: str
    traceback: str = ""
    cell: int = 0
    first_line: str = ""
    notebook: str = ""

    def describe(self) -> str:
        """The report that the reader of a terminal gets."""
        lines = [f"chapter {self.chapter}: {self.kind}"]
        if self.cell:
            lines.append(f"  in code cell {self.cell}, which begins: {self.first_line}")
        lines.append(f"  {self.message}")
        if self.traceback:
            lines += ["    " + line for line in plain(self.traceback).rstrip().split("\n")[-_TRACEBACK_LINES:]]
        if self.notebook:
            lines.append(f"  partly executed notebook: {self.notebook}")
        return "\n".join(lines)


def stopped_at(partial: Path) -> dict[str, Any]:
    """Where execution stopped, as the last fields of a failure; nothing where papermill wrote no whole notebook.

    The cell is the one that papermill started last. It is counted as in the source, without the injected cell.
    """
    try:
        notebook = nbformat.read(str(partial), as_version=4)
    except (OSError, ValueError):
        return {}
    found: dict[str, Any] = {"notebook": str(partial)}
    number = 0
    for cell in notebook.cells:
        if cell.cell_type == "code" and "injected-parameters" not in cell.metadata.get("tags", []):
            number += 1
            # Not its status: where a kernel died or a cell took too long, papermill calls the later cells completed.
            if cell.metadata.get("papermill", {}).get("start_time"):
                found |= {"cell": number, "first_line": cell.source.strip().partition("\n")[0]}
    return found


def _end(notebook: Any) -> str:
    """What ended a chapter early that papermill takes for executed, as it does with ``sys.exit(0)``; empty if nothing."""
    for cell in notebook.cells:
        if cell.cell_type == "code" and "raises-exception" not in cell.metadata.get("tags", []):
            for output in cell.outputs:
                if output.output_type == "error":
                    return f"{output.ename}: {output.evalue} (the chapter did not reach its end)"
    return ""


def _execute(work: Path, request: dict[str, Any]) -> Failure | None:
    """Execute a chapter and leave what is to be published.

    Args:
        work: scratch folder, with the chapter's text in ``source.md``.
        request: ``chapter``, ``package`` (the folder that holds the package), ``parameters`` and ``timeout`` (seconds per
            cell, 0 for none).
    """
    import papermill
    from jupyter_client.kernelspec import KernelSpec
    from jupyter_client.manager import AsyncKernelManager
    from nbclient.exceptions import CellTimeoutError, DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    start = [sys.executable, "-P", str(Path(__file__).with_name("kernel.py")), "-f", "{connection_file}"]

    class OwnKernel(AsyncKernelManager):
        """This environment's kernel, whatever kernels of that name are installed for the user."""

        kernel_spec = KernelSpec(argv=start, display_name="Python 3", language="python")

    chapter = str(request["chapter"])
    partial = work / f"{chapter}.ipynb"
    # The kernel imports the modules that the key was computed from, even where another copy is installed.
    os.environ["PYTHONPATH"] = request["package"]
    kind, traceback = "error", ""
    try:
        done = papermill.execute_notebook(
            executable((work / "source.md").read_text(encoding="utf-8"), chapter),
            str(partial),
            parameters=request["parameters"],
            kernel_name="python3",
            kernel_manager_class=OwnKernel,
            progress_bar=False,
            start_timeout=_START_TIMEOUT,
            execution_timeout=request["timeout"] or None,
        )
        message = _end(done)
        if not message:
            write_atomically(work / "published.ipynb", notebook_bytes(published(done)))
            return None
    except KeyboardInterrupt:
        kind, message = "stopped", "execution was interrupted"
    except PapermillExecutionError as error:
        message, traceback = plain(f"{error.ename}: {error.evalue}"), "\n".join(error.traceback or [])
    except CellTimeoutError:
        kind = "time-out"
        message = (
            "the cell took longer than its time limit (front matter: wavemem: {timeout: SECONDS}; make book TIMEOUT=…)"
        )
    except DeadKernelError:
        kind = "dead kernel"
        message = "the kernel died without a Python error: it ran out of memory, crashed in native code, or was killed"
    except Exception as error:
        message = f"{type(error).__name__}: {error}"
    return Failure(chapter, kind, message, traceback, **stopped_at(partial))


def main() -> int:
    """Entry point of the process; 0 if the chapter executed."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the client shuts its kernel down on the way out
    warnings.filterwarnings("ignore", message="Passed a NotebookNode")
    logging.basicConfig(level=logging.WARNING)
    request_file = Path(sys.argv[1])
    started = time.monotonic()
    failure = _execute(request_file.parent, json.loads(request_file.read_text(encoding="utf-8")))
    outcome: dict[str, Any] = {"seconds": time.monotonic() - started}
    if failure is not None:
        outcome["failure"] = asdict(failure)
    write_json(request_file.with_name("outcome.json"), outcome)
    return 0 if failure is None else 1
