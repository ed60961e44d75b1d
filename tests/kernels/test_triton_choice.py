"""Whether a Triton kernel serves a call: the environment, the device, the sizes, and what was seen on the device."""

from __future__ import annotations

import subprocess
import sys
import warnings
from types import SimpleNamespace

import pytest
import torch

from wavemem.kernels.triton_choice import Choice, full_precision

VARIABLE = "WAVEMEM_SOME_KERNEL"


class InterpretedFunction:
    """What Triton's interpreter makes of a kernel."""


def _choice(monkeypatch: pytest.MonkeyPatch, kernels: object, wanted: str | None = None) -> Choice:
    choice = Choice(VARIABLE, "wavemem.kernels.nowhere", "scan")
    if wanted is None:
        monkeypatch.delenv(VARIABLE, raising=False)
    else:
        monkeypatch.setenv(VARIABLE, wanted)
    choice.kernels = lambda: kernels
    return choice


def _serves(choice: Choice, tensor: object, fits: bool = True) -> bool:
    return choice.serves(tensor, fits, "seven horses", "six", lambda _: True)


def test_a_module_that_cannot_be_imported_is_no_module() -> None:
    assert Choice(VARIABLE, "wavemem.kernels.nowhere", "scan").kernels() is None
    assert Choice(VARIABLE, "wavemem.kernels.compiled", "load_library").kernels().__name__ == "wavemem.kernels.compiled"


def test_the_environment_chooses(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.zeros(1)
    gpu = SimpleNamespace(device=torch.device("cuda", 0))
    compiled, interpreted = SimpleNamespace(scan=len), SimpleNamespace(scan=InterpretedFunction())
    assert not _serves(_choice(monkeypatch, compiled), cpu)
    assert _serves(_choice(monkeypatch, compiled), gpu)
    assert not _serves(_choice(monkeypatch, compiled), gpu, fits=False)
    assert not _serves(_choice(monkeypatch, None), gpu)
    assert not _serves(_choice(monkeypatch, compiled, "torch"), gpu)
    assert _serves(_choice(monkeypatch, compiled, "triton"), gpu)
    assert _serves(_choice(monkeypatch, interpreted, "triton"), cpu)
    for kernels, tensor, fits, reason in (
        (None, gpu, True, "installed"),
        (compiled, cpu, True, "tensors on cpu"),
        (compiled, gpu, False, "seven horses; allowed: six"),
    ):
        with pytest.raises(ValueError, match=reason):
            _serves(_choice(monkeypatch, kernels, "triton"), tensor, fits)
    with pytest.raises(ValueError, match=f"{VARIABLE}.*auto.*torch.*triton"):
        _serves(_choice(monkeypatch, compiled, "fast"), cpu)


def test_a_check_is_made_once_and_its_failure_is_told() -> None:
    choice = Choice(VARIABLE, "wavemem.kernels.nowhere", "scan")
    device, asked = torch.device("cpu"), []

    def wrong(where: torch.device) -> bool:
        asked.append(where)
        return False

    def broken(where: torch.device) -> bool:
        raise RuntimeError(f"no driver on {where}")

    with pytest.warns(RuntimeWarning, match="differ from the reference"):
        assert not choice.right_on(device, wrong)
    with pytest.warns(RuntimeWarning, match="RuntimeError: no driver on cpu"):
        assert not choice.right_on(device, broken, key=16)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not choice.right_on(device, wrong)
        assert choice.right_on(device, lambda _: True, key=4)
    assert asked == [device]


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
