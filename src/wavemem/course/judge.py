"""Judge a submission: its answers run in one kernel, the tests in another, which only asks.

Whatever a student's code does to ``torch.allclose`` or to the test's names, it does in its own kernel. Imports nothing of
PyTorch: nbgrader's environment reads it too.
"""

from __future__ import annotations

from typing import Any

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import DeadKernelError
from nbclient.util import ensure_async, run_sync

from wavemem.course.source import kind, name

SECONDS = 180
"""How long one cell of a submission may run: an experiment trains in it."""


class WrongKernelError(RuntimeError):
    """The kernel is not one in which the book's library runs: nothing was judged, and no one has 0 points for it."""


def _client(kernel: str) -> NotebookClient:
    return NotebookClient(
        nbformat.v4.new_notebook(),
        kernel_name=kernel,
        timeout=SECONDS,
        allow_errors=True,
        interrupt_on_timeout=True,
        error_on_timeout={"ename": "TimeoutError", "evalue": f"longer than {SECONDS} s", "traceback": []},
    )


def _run(client: NotebookClient, code: str) -> str:
    """Execute code; what went wrong, empty if nothing did."""
    cell = nbformat.v4.new_code_cell(code)
    client.nb.cells.append(cell)
    try:
        client.execute_cell(cell, len(client.nb.cells) - 1)
    except DeadKernelError:
        return "the kernel died"
    return next((f"{out.ename}: {out.evalue}" for out in cell.outputs if out.output_type == "error"), "")


def _alive(client: NotebookClient) -> bool:
    return client.km is not None and bool(run_sync(ensure_async)(client.km.is_alive()))


def judge(submission: Any, source: Any, student: str, kernel: str = "python3") -> dict[str, str]:
    """What is wrong with each graded answer, by the id of its test; empty where nothing is.

    Of the submission only what the student was to write is used: what is given and what tests comes from the source.

    Args:
        submission: The student's notebook.
        source: The problem set, see :mod:`wavemem.course.source`, of the year in question.
        student: Whose it is: their instance is judged, whatever name the submission gives.
        kernel: Name of the book's kernel.

    Raises:
        WrongKernelError: What is given does not run in that kernel.
    """
    who = f"student = {student!r}"
    begin = "from wavemem.course import instance as _instance\n_instance.connect({!r})"
    given = {name(cell): cell.source for cell in source.cells if kind(cell) == "given"}
    tests = {name(cell): cell.source for cell in source.cells if kind(cell) in ("check", "hidden")}
    found = {}
    theirs, ours = _client(kernel), _client(kernel)
    with theirs.setup_kernel(), ours.setup_kernel():
        assert theirs.km is not None
        for code in (begin.format(theirs.km.connection_file), who, *given.values()):
            if error := _run(ours, code):
                raise WrongKernelError(
                    f"what is given does not run in the kernel {kernel!r}: {error}; allowed: the kernel of the book's "
                    f"environment. Nothing was judged. It was:\n{code}"
                )
        for cell in submission.cells:
            if cell.cell_type != "code" or kind(cell) in ("check", "hidden"):
                continue
            if not _alive(theirs):
                break
            _run(theirs, f"{who}\n{given.get(name(cell), '')}" if kind(cell) == "given" else cell.source)
        for test, code in tests.items():
            found[test] = _run(ours, code) if _alive(theirs) else "the submission has ended its kernel"
            if "takes longer than" in found[test] and _alive(theirs):
                run_sync(ensure_async)(theirs.km.interrupt_kernel())
    return found
