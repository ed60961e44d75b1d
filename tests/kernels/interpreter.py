"""A process in which Triton interprets: takes calls from its standard input, carries them out, writes back the results.

Triton decides when it is first imported whether it compiles or interprets, so that the tests' own process must not do both.
Messages are a length in eight bytes and what `torch.save` makes of a dictionary of tensors, numbers and strings.
"""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
import traceback
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

    def call(self, name: str, **arguments: Any) -> dict[str, Any]:
        """Call one of the functions below and return its result."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        send(self._process.stdin, {"name": name, "arguments": arguments})
        answer = receive(self._process.stdout)
        assert answer is not None, "the interpreting process ended"
        assert "error" not in answer, answer["error"]
        return answer

    def close(self) -> None:
        """End the process."""
        self._process.communicate(timeout=30)


def sweep(**arguments: Any) -> dict[str, Any]:
    """Call `loss_and_gradients` in memory that holds NaN."""
    from wavemem.kernels.elman import loss_and_gradients

    torch.use_deterministic_algorithms(True)  # fills what is not initialised
    try:
        return loss_and_gradients(**arguments)._asdict()
    finally:
        torch.use_deterministic_algorithms(False)


def scan(weight: Tensor, **arguments: Any) -> dict[str, Any]:
    """Call `elman_scan` and differentiate the weighted sum of its states."""
    from wavemem.kernels.elman import elman_scan

    tensors = [value.requires_grad_() for value in arguments.values() if isinstance(value, Tensor)]
    states = elman_scan(**arguments)
    return {"states": states.detach(), "gradients": torch.autograd.grad((states * weight).sum(), tensors)}


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


def refuse(N: int, dtype: str) -> dict[str, Any]:
    """Return the message with which a shape is refused."""
    from wavemem.kernels.elman import use_triton

    try:
        use_triton(torch.zeros(1, N, N, dtype=getattr(torch, dtype)))
    except ValueError as error:
        return {"message": str(error)}
    return {"message": ""}


def check(N: int, wrong: bool) -> dict[str, Any]:
    """Return what the check on a device finds."""
    from unittest.mock import patch

    from wavemem.kernels import elman_triton

    with patch.object(elman_triton, "scan_deltas", lambda *_: None) if wrong else contextlib.nullcontext():
        return {"found": elman_triton.right_numbers(torch.device("cpu"), N)}


def wave(u: Tensor, drive: Tensor, h0: Tensor, gradient: Tensor, activation: Any) -> dict[str, Any]:
    """Call the three functions of `wavemem.kernels.wave_triton`, in the order in which a training does."""
    from wavemem.kernels.wave_triton import kernel_gradient, scan_deltas, scan_states

    states = scan_states(u, drive, h0, activation)
    delta = scan_deltas(u, states, gradient, activation)
    return {"states": states, "delta": delta, "u": kernel_gradient(delta, states, u.shape[3])}


def wave_network(weight: Tensor, every_step: bool, activation: Any, **arguments: Tensor) -> dict[str, Any]:
    """Call `wave_outputs` and differentiate the weighted sum of its outputs with respect to everything."""
    from wavemem.kernels.wave import wave_outputs

    tensors = {name: value.requires_grad_() for name, value in arguments.items()}
    outputs = wave_outputs(**tensors, every_step=every_step, activation=activation)
    gradients = torch.autograd.grad((outputs * weight).sum(), list(tensors.values()))
    return {"outputs": outputs.detach(), **dict(zip(tensors, gradients, strict=True))}


def check_wave(channels: int, taps: int, wrong: str) -> dict[str, Any]:
    """Return what the Wave-RNN's check on a device finds when one of the functions is wrong, and its warning."""
    import warnings

    from wavemem.kernels import wave_triton

    right = getattr(wave_triton, wrong, None)
    if right is not None:
        setattr(wave_triton, wrong, lambda *arguments: right(*arguments) * 1.01)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = wave_triton._gives_the_right_numbers.__wrapped__(torch.device("cpu"), channels, taps)
    if right is not None:
        setattr(wave_triton, wrong, right)
    return {"found": found, "warnings": [str(warning.message) for warning in caught]}


def refuse_wave(channels: int, dtype: str) -> dict[str, Any]:
    """Return the message with which a Wave-RNN is refused."""
    from wavemem.kernels.wave_triton import use_triton

    try:
        use_triton(torch.zeros(1, channels, channels, 3, dtype=getattr(torch, dtype)))
    except ValueError as error:
        return {"message": str(error)}
    return {"message": ""}


def selective(softplus: bool, gradient: Tensor, gradient_last: Tensor | None, **given: Any) -> dict[str, Any]:
    """Call `scan` and `scan_backward` of `wavemem.kernels.selective_triton`; arguments are named as in `Given`."""
    from wavemem.kernels.selective_chunked import Given
    from wavemem.kernels.selective_triton import scan, scan_backward

    problem = Given(**given)
    y, last, kept = scan(problem, softplus=softplus, keep=True)
    assert kept is not None
    found = scan_backward(problem, kept, gradient, gradient_last, softplus=softplus)
    without, same, nothing = scan(problem, softplus=softplus, keep=False)
    assert nothing is None
    unkept = without.equal(y) and same.equal(last)
    return {"y": y, "last": last, "unkept": unkept, **dict(zip(Given._fields, found, strict=True))}


def selective_network(weight: Tensor, **given: Any) -> dict[str, Any]:
    """Call `selective_scan` and differentiate the weighted sum of its outputs with respect to everything."""
    from unittest.mock import patch

    from wavemem.kernels import selective_triton
    from wavemem.kernels.selective import selective_scan

    tensors = {name: value.requires_grad_() for name, value in given.items() if isinstance(value, Tensor)}
    with (
        patch.object(selective_triton, "scan", wraps=selective_triton.scan) as forward,
        patch.object(selective_triton, "scan_backward", wraps=selective_triton.scan_backward) as back,
    ):
        y = selective_scan(**given)
        gradients = torch.autograd.grad((y * weight).sum(), list(tensors.values()))
    calls = forward.call_count + back.call_count
    return {"y": y.detach(), "launches": calls, **dict(zip(tensors, gradients, strict=True))}


def check_selective(states: int, wrong: str) -> dict[str, Any]:
    """Return what the selective scan's check on a device finds when one of the functions is wrong, and its warning."""
    import warnings

    from wavemem.kernels import selective_triton
    from wavemem.kernels.triton_choice import Choice

    right = getattr(selective_triton, wrong, None)
    if right is not None:

        def spoilt(*arguments: Any, **options: Any) -> Any:
            first, *others = right(*arguments, **options)
            return (first * 1.01, *others)

        setattr(selective_triton, wrong, spoilt)
    choice = Choice(selective_triton.VARIABLE, "wavemem.kernels._selective_triton_kernels", "scan_forward")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(2):
            device = torch.device("cpu")
            found = choice.right_on(device, lambda where: selective_triton._right_numbers(where, states), states)
    if right is not None:
        setattr(selective_triton, wrong, right)
    return {"found": found, "warnings": [str(warning.message) for warning in caught]}


def refuse_selective(states: int, dtype: str) -> dict[str, Any]:
    """Return the messages with which a selective scan is refused: by the environment's choice, and by name."""
    from wavemem.kernels.selective_triton import require_triton, use_triton

    messages = []
    for ask in (use_triton, require_triton):
        try:
            ask(torch.zeros(1, 1, 1, 1, dtype=getattr(torch, dtype)), states)
            messages.append("")
        except ValueError as error:
            messages.append(str(error))
    return {"messages": messages}


if __name__ == "__main__":
    torch.set_num_threads(1)
    functions = {"sweep": sweep, "scan": scan, "train": train, "refuse": refuse, "check": check}
    functions |= {"wave": wave, "wave_network": wave_network, "check_wave": check_wave, "refuse_wave": refuse_wave}
    functions |= {"selective": selective, "selective_network": selective_network}
    functions |= {"check_selective": check_selective, "refuse_selective": refuse_selective}
    while (asked := receive(sys.stdin.buffer)) is not None:
        try:
            send(sys.stdout.buffer, functions[asked["name"]](**asked["arguments"]))
        except Exception:
            send(sys.stdout.buffer, {"error": traceback.format_exc()})
