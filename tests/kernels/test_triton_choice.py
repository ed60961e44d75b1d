"""Whether a Triton kernel serves a call: the environment, the device, the sizes, and what was seen on the device."""

from __future__ import annotations

import subprocess
import sys
import warnings
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from wavemem.kernels.triton_choice import Choice, agrees, full_precision

VARIABLE = "WAVEMEM_SOME_KERNEL"
CPU, GPU = torch.zeros(1), SimpleNamespace(device=torch.device("cuda", 0), dtype=torch.float32)


class InterpretedFunction:
    """What Triton's interpreter makes of a kernel."""


COMPILED, INTERPRETED = (
    SimpleNamespace(scan_forward=kernel, right_numbers=lambda *_: True) for kernel in (len, InterpretedFunction())
)


def _choice(kernels: object) -> Choice:
    choice = Choice(VARIABLE, "wavemem.kernels.nowhere", 6, "horses")
    choice.kernels = lambda: kernels
    return choice


def test_a_module_that_cannot_be_imported_is_no_module() -> None:
    assert Choice(VARIABLE, "wavemem.kernels.nowhere", 6, "horses").kernels() is None
    assert Choice(VARIABLE, "wavemem.streams", 6, "horses").kernels().__name__ == "wavemem.streams"


@pytest.mark.parametrize(
    ("wanted", "kernels", "tensor", "size", "outcome"),
    [
        ("auto", COMPILED, CPU, 6, False),
        ("auto", COMPILED, GPU, 6, True),
        ("auto", COMPILED, GPU, 7, False),
        ("auto", None, GPU, 6, False),
        ("torch", COMPILED, GPU, 6, False),
        ("triton", COMPILED, GPU, 6, True),
        ("triton", INTERPRETED, CPU, 6, True),
        ("triton", None, GPU, 6, "installed"),
        ("triton", COMPILED, CPU, 6, "tensors on cpu"),
        ("triton", COMPILED, GPU, 7, "7 horses; allowed: float32 and 1 to 6"),
        ("triton", INTERPRETED, CPU.double(), 6, "float64"),
        ("fast", COMPILED, CPU, 6, f"{VARIABLE}.*auto.*torch.*triton"),
    ],
)
def test_the_environment_chooses(
    monkeypatch: pytest.MonkeyPatch, wanted: str, kernels: Any, tensor: Any, size: int, outcome: bool | str
) -> None:
    monkeypatch.setenv(VARIABLE, wanted)
    if isinstance(outcome, bool):
        assert _choice(kernels).serves(tensor, size) == outcome
    else:
        with pytest.raises(ValueError, match=outcome):
            _choice(kernels).serves(tensor, size)
    monkeypatch.delenv(VARIABLE)
    assert _choice(kernels).serves(tensor, size) == (kernels is not None and tensor is GPU and size == 6)


def test_a_check_is_made_once_and_its_failure_is_told() -> None:
    asked: list[tuple[Any, ...]] = []

    def check(*sizes: Any) -> bool:
        asked.append(sizes)
        if sizes[1] == 16:
            raise RuntimeError(f"no driver on {sizes[0]}")
        return sizes[1:] == (4, 2)

    choice, device = _choice(SimpleNamespace(right_numbers=check)), torch.device("cpu")
    with pytest.warns(RuntimeWarning, match="differ from the reference"):
        assert not choice.right_on(device, 3)
    with pytest.warns(RuntimeWarning, match="RuntimeError: no driver on cpu"):
        assert not choice.right_on(device, 16)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not choice.right_on(device, 3)
        assert choice.right_on(device, 4, 2)
    assert asked == [(device, 3), (device, 16), (device, 4, 2)]


@pytest.mark.parametrize("error", [0.0, 0.01])
def test_results_and_gradients_are_compared(error: float) -> None:
    def scan(x: torch.Tensor, y: torch.Tensor) -> list[torch.Tensor]:
        return [x * y, y.sin() + error * (y - y.detach())]  # the error is in a gradient alone

    numbers = [torch.linspace(-1, 1, 5, dtype=torch.float64) + shift for shift in (0.0, 0.3)]
    with torch.inference_mode():
        assert agrees(scan, lambda x, y: [x * y, y.sin()], numbers, torch.device("cpu")) == (error == 0.0)


def test_precision_is_put_back() -> None:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        with full_precision():
            assert torch.get_float32_matmul_precision() == "highest"
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision(before)


def test_precision_set_by_pytorchs_newer_interface_is_put_back() -> None:
    """In a process of its own: the two interfaces cannot be used one after the other."""
    code = (
        "import torch; from wavemem.kernels.triton_choice import full_precision; products = torch.backends.cuda.matmul\n"
        "products.fp32_precision = 'tf32'\n"
        "with full_precision(): assert products.fp32_precision == 'ieee'\n"
        "assert products.fp32_precision == 'tf32'"
    )
    try:
        _ = torch.backends.cuda.matmul.fp32_precision
    except (AttributeError, RuntimeError):  # an older PyTorch has the older interface alone
        code = "import wavemem.kernels.triton_choice"
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)
