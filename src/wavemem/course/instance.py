"""What a problem set's cells call: the student's own instance, and the way to an answer.

In a student's notebook :func:`ask` evaluates where it stands. While grading it is called in another process, which trusts nothing
that a student's code may have changed, and what it asks is evaluated in the student's kernel.
"""

from __future__ import annotations

import sys
import tempfile
import zlib
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Shaped
from safetensors.torch import load_file, save_file
from torch import Tensor

_connection: Any = None
SECONDS = 60
"""How long an answer may take while it is graded."""

_QUESTION = """\
def _answer(given, place, expression):
    import torch
    from safetensors.torch import load_file, save_file
    inputs = load_file(given)
    inputs.pop("", None)
    names = dict(globals()) | inputs
    value = eval(expression, names)
    save_file({{"answer": torch.as_tensor(value).detach().clone().contiguous()}}, place)
_answer({given!r}, {place!r}, {expression!r})
del _answer
"""


def instance(problem_set: str, student: str, year: int) -> int:
    """The seed of a student's own instance of a problem set: another for each student and each year.

    Raises:
        ValueError: No student is named.
    """
    if not student.strip():
        raise ValueError(f"student = {student!r}; allowed: the name under which you hand in. Fill in the cell above.")
    return zlib.crc32(f"{year}/{problem_set}/{student.strip()}".encode())


def ask(expression: str, **inputs: Shaped[Tensor, ...]) -> Shaped[Tensor, ...]:
    """The value of an expression in the notebook's names, as a tensor.

    Args:
        expression: Python, e.g. "dual(Psi)".
        inputs: Tensors under the names that the expression has for them.

    Raises:
        AssertionError: The student's code fails, is not there, or takes longer than `SECONDS`.
    """
    if _connection is None:
        return torch.as_tensor(eval(expression, vars(sys.modules["__main__"]) | inputs))
    with tempfile.TemporaryDirectory() as folder:
        given, place = Path(folder, "given"), Path(folder, "answer")
        save_file({name: value.contiguous() for name, value in inputs.items()} | {"": torch.zeros(1)}, given)
        code = _QUESTION.format(given=str(given), place=str(place), expression=expression)
        try:
            reply = _connection.execute_interactive(
                code, store_history=False, timeout=SECONDS, stop_on_error=False, output_hook=lambda _: None
            )
        except TimeoutError:
            raise AssertionError(f"{expression} takes longer than {SECONDS} s") from None
        content = reply["content"]
        if content["status"] != "ok":
            raise AssertionError(f"{expression} ends with {content.get('ename')}: {content.get('evalue')}")
        if not place.is_file():
            raise AssertionError(f"{expression} gave no answer")
        return load_file(place)["answer"]


def connect(connection_file: str) -> None:
    """From now on, ask the kernel that this file describes."""
    from jupyter_client.blocking.client import BlockingKernelClient

    global _connection
    _connection = BlockingKernelClient(connection_file=connection_file)
    _connection.load_connection_file()
    _connection.start_channels()
    _connection.wait_for_ready(timeout=SECONDS)
