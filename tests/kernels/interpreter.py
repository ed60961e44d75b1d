"""A process in which Triton interprets: takes calls from its standard input, carries them out, writes back the results.

Triton decides when it is first imported whether it compiles or interprets, so that the tests' own process must not do both.
Messages are a length in eight bytes and what `torch.save` makes of a dictionary of tensors, numbers and strings.
"""

from __future__ import annotations

import importlib
import io
import os
import subprocess
import sys
import traceback
import warnings
from typing import IO, Any

import torch
from torch import Tensor


def send(stream: IO[bytes], message: dict[str, Any]) -> None:
    """Write one message."""
    memory = io.BytesIO()
    torch.save(message, memory)
    stream.write(len(memory.getvalue()).to_bytes(8, "little") + memory.getvalue())
    stream.flush()


def receive(stream: IO[bytes]) -> dict[str, Any] | None:
    """Read one message; None at the end."""
    head = stream.read(8)
    return torch.load(io.BytesIO(stream.read(int.from_bytes(head, "little")))) if head else None


class Interpreter:
    """The process, as its caller sees it."""

    def __init__(self) -> None:
        chosen = {f"WAVEMEM_{name}_KERNEL": "triton" for name in ("ELMAN", "SELECTIVE", "WAVE")}
        environment = {**os.environ, "TRITON_INTERPRET": "1", **chosen}
        self._process = subprocess.Popen(
            [sys.executable, "-W", "error", __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
        )

    def call(self, name: str, /, **arguments: Any) -> Any:
        """Call one of the functions below and return its result."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        send(self._process.stdin, {"name": name, "arguments": arguments})
        answer = receive(self._process.stdout)
        assert answer is not None, "the interpreting process ended"
        assert "error" not in answer, answer["error"]
        return answer["result"]

    @staticmethod
    def here(name: str, /, **arguments: Any) -> Any:
        """The same in this process, in which nothing is interpreted."""
        return globals()[name](**arguments)

    def close(self) -> None:
        """End the process."""
        self._process.communicate(timeout=30)


def flat(found: Any) -> list[Tensor]:
    """The tensors of a result, however it is made up of tuples."""
    return [found] if isinstance(found, Tensor) else [tensor for part in found for tensor in flat(part)]


def function(path: str) -> Any:
    """`module:function`, both below `wavemem`."""
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(f"wavemem.{module}"), name)


def results(path: str, **arguments: Any) -> list[Tensor]:
    """What a function returns."""
    return flat(function(path)(**arguments))


def differentiate(path: str, weights: list[Tensor], **arguments: Any) -> tuple[list[Tensor], dict[str, Tensor]]:
    """What a function returns, and the gradients of a weighted sum of it with respect to every tensor."""
    leaves = {name: value.requires_grad_() for name, value in arguments.items() if isinstance(value, Tensor)}
    found = flat(function(path)(**arguments))
    gradients = torch.autograd.grad(found, list(leaves.values()), weights)
    return [value.detach() for value in found], dict(zip(leaves, gradients, strict=True))


def train(K: int, N: int, s: int, d: int, iterations: int) -> dict[str, Any]:
    """Train a small ensemble and return its weights and its log."""
    from wavemem.elman.network import ElmanEnsemble
    from wavemem.elman.training import train
    from wavemem.theory.hds import repeat_copy
    from wavemem.training.curriculum import LadderCurriculum
    from wavemem.training.fit import FitConfig

    ensemble = ElmanEnsemble.initialise(range(K), N, d)
    config = FitConfig(iterations, log_every=1)
    result = train(ensemble, repeat_copy(s, d), config, range(K), LadderCurriculum((2, 3, 5), 0.55), 6, progress=False)
    log = {name: torch.tensor(result.log[name].to_numpy()) for name in ("horizon", "loss", "accuracy", "grad_norm")}
    return {"W_hh": ensemble.W_hh.detach(), "log": log}


def check(name: str, sizes: tuple[int, ...], wrong: str) -> tuple[bool, list[str]]:
    """What the check on a device finds when one of the functions of `NAME_triton` is wrong, and the warnings."""
    from wavemem.kernels.triton_choice import Choice

    kernels = importlib.import_module(f"wavemem.kernels.{name}_triton")
    right = getattr(kernels, wrong, None)

    def spoilt(*arguments: Any, **options: Any) -> Any:
        found = right(*arguments, **options)
        return found * 1.01 if isinstance(found, Tensor) else (found[0] * 1.01, *found[1:])

    choice = Choice("VARIABLE", kernels.__name__, 1, "horses")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        if right is not None:
            setattr(kernels, wrong, spoilt)
        found = [choice.right_on(torch.device("cpu"), *sizes) for _ in range(2)]
        if right is not None:
            setattr(kernels, wrong, right)
    assert found[0] == found[1]
    return found[0], [str(warning.message) for warning in caught]


def refuse(name: str, size: int, dtype: str) -> list[str]:
    """The messages with which a call is refused: by the environment's choice, and by name."""
    choice, messages = function(f"kernels.{name}:TRITON"), []
    for ask in (choice.serves, choice.demand):
        try:
            ask(torch.zeros(1, dtype=getattr(torch, dtype)), size)
            messages.append("")
        except ValueError as error:
            messages.append(str(error))
    return messages


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)  # fills what is not initialised with NaN
    while (asked := receive(sys.stdin.buffer)) is not None:
        try:
            send(sys.stdout.buffer, {"result": globals()[asked["name"]](**asked["arguments"])})
        except Exception:
            send(sys.stdout.buffer, {"error": traceback.format_exc()})
