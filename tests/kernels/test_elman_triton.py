"""Which program serves an Elman scan; what needs Triton itself is in test_elman_triton_interpreted.py."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from wavemem.kernels import elman_triton
from wavemem.kernels.elman import elman_scan
from wavemem.kernels.elman_triton import (
    LARGEST,
    VARIABLE,
    choose_tile,
    full_precision,
    kernel_choice,
    recurrence_precision,
    scan_deltas,
    scan_states,
    use_triton,
)


def test_tiles_hold_the_matrix() -> None:
    for N in range(1, LARGEST + 1):
        tile = choose_tile(N)
        assert N <= tile.width <= max(16, 2 * N - 1)
        assert tile.width & (tile.width - 1) == 0
        # 64 registers per thread at most for the matrix.
        assert tile.width**2 <= 64 * 32 * tile.warps
        assert choose_tile(N, "tf32").rows >= 16


def test_other_sizes_and_precisions_are_refused() -> None:
    for N in (0, LARGEST + 1):
        with pytest.raises(ValueError, match="hidden units"):
            choose_tile(N)
    with pytest.raises(ValueError, match="precision"):
        choose_tile(8, "half")
    with pytest.raises(ValueError, match="precision"), recurrence_precision("half"):
        pass


def test_precision_is_put_back() -> None:
    with recurrence_precision("tf32"):
        assert elman_triton._precision == "tf32"
    assert elman_triton._precision == "ieee"
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
        "import torch; from wavemem.kernels.elman_triton import full_precision; products = torch.backends.cuda.matmul\n"
        "products.fp32_precision = 'tf32'\n"
        "with full_precision(): assert products.fp32_precision == 'ieee'\n"
        "assert products.fp32_precision == 'tf32'"
    )
    try:
        _ = torch.backends.cuda.matmul.fp32_precision
    except (AttributeError, RuntimeError):  # an older PyTorch has the older interface alone
        code = "import wavemem.kernels.elman_triton"
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


def test_choice_by_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    weights = torch.zeros(2, 4, 4)
    monkeypatch.delenv(VARIABLE, raising=False)
    assert kernel_choice() == "auto"
    assert not use_triton(weights)
    monkeypatch.setenv(VARIABLE, "torch")
    assert not use_triton(weights)
    monkeypatch.setenv(VARIABLE, "fast")
    with pytest.raises(ValueError, match=f"{VARIABLE}.*auto.*torch.*triton"):
        elman_scan(weights, torch.zeros(2, 4, 1), torch.zeros(3, 2, 5, 1))
    monkeypatch.setenv(VARIABLE, "triton")
    with pytest.raises(ValueError, match=VARIABLE):
        elman_scan(weights, torch.zeros(2, 4, 1), torch.zeros(3, 2, 5, 1))
    monkeypatch.setattr(elman_triton, "_kernels", lambda: None)
    with pytest.raises(ValueError, match="installed"):
        use_triton(weights)


def test_wrong_shapes_are_named() -> None:
    W, drive, sequence = torch.zeros(2, 4, 4), torch.zeros(2, 3, 5, 4), torch.zeros(2, 6, 5, 4)
    lengths = torch.full((2,), 5, dtype=torch.int32)
    with pytest.raises(ValueError, match="drive"):
        scan_states(W, drive[:, :, :, :3], sequence, lengths)
    with pytest.raises(ValueError, match="W_hh"):
        scan_states(W[:1], drive, sequence, lengths)
    with pytest.raises(ValueError, match="contiguous"):
        scan_states(W, drive, sequence.double(), lengths)
    with pytest.raises(ValueError, match="delta"):
        scan_deltas(W, sequence, sequence, lengths)
    with pytest.raises(ValueError, match="contiguous"):
        scan_deltas(W, sequence, torch.zeros(2, 5, 4, 5).mT, lengths)
    with pytest.raises(ValueError, match="lengths"):
        scan_deltas(W, sequence, sequence[:, 1:], lengths[:1])


def test_importing_the_library_does_not_import_triton() -> None:
    code = "import sys, wavemem.training.ensemble; assert 'triton' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
