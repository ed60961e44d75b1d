"""Which program serves a Wave-RNN's scan; what needs Triton itself is in test_wave_triton_interpreted.py."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from wavemem.kernels import wave_triton
from wavemem.kernels.wave_triton import (
    LARGEST,
    VARIABLE,
    choose_tile,
    kernel_choice,
    kernel_gradient,
    scan_deltas,
    scan_states,
    use_triton,
)


def test_tiles_hold_all_output_channels_and_fill_their_threads() -> None:
    for channels in range(1, LARGEST + 1):
        for units in (1, 7, 64, 100, 256, 1000):
            tile = choose_tile(channels, units)
            assert channels <= tile.out <= max(4, 2 * channels - 1)
            for size in (tile.out, tile.inputs, tile.places):
                assert size & (size - 1) == 0
            # Triton's product sums over 16 numbers at least; a thread holds 16 sums at most.
            assert tile.inputs >= 16 or not tile.dot
            assert tile.out * tile.places <= 16 * 32 * tile.warps
            assert tile.rows * units <= max(tile.places, units)
            assert (tile.rows + 1) * units > tile.places


def test_other_numbers_of_channels_are_refused() -> None:
    for channels in (0, LARGEST + 1):
        with pytest.raises(ValueError, match="channels"):
            choose_tile(channels, 10)
    with pytest.raises(ValueError, match="units"):
        choose_tile(4, 0)


def test_choice_by_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    u = torch.zeros(2, 4, 4, 3)
    monkeypatch.delenv(VARIABLE, raising=False)
    assert kernel_choice() == "auto"
    assert not use_triton(u)
    monkeypatch.setenv(VARIABLE, "torch")
    assert not use_triton(u)
    monkeypatch.setenv(VARIABLE, "fast")
    with pytest.raises(ValueError, match=f"{VARIABLE}.*auto.*torch.*triton"):
        use_triton(u)
    monkeypatch.setenv(VARIABLE, "triton")
    with pytest.raises(ValueError, match=VARIABLE):
        use_triton(u)
    monkeypatch.setattr(wave_triton, "_kernels", lambda: None)
    with pytest.raises(ValueError, match="installed"):
        use_triton(u)


def test_wrong_arguments_are_named() -> None:
    u, drive, h0 = torch.zeros(2, 4, 4, 3), torch.zeros(2, 5, 3, 4, 6), torch.zeros(2, 3, 4, 6)
    states = torch.zeros(2, 6, 3, 4, 6)
    with pytest.raises(ValueError, match="activation"):
        scan_states(u, drive, h0, "step")
    with pytest.raises(ValueError, match="drive"):
        scan_states(u, drive[0], h0, "relu")
    with pytest.raises(ValueError, match="u "):
        scan_states(u[:1], drive, h0, "relu")
    with pytest.raises(ValueError, match="h0"):
        scan_states(u, drive, h0[:, :2], "relu")
    with pytest.raises(ValueError, match="2 taps"):
        scan_states(u[..., :2], drive, h0, "relu")
    with pytest.raises(ValueError, match="3 taps on 0 units"):
        scan_states(u, drive[..., :0], h0[..., :0], "relu")
    with pytest.raises(ValueError, match=r"drive of torch\.float64"):
        scan_states(u, drive.double(), h0, "relu")
    with pytest.raises(ValueError, match="states"):
        scan_deltas(u, states[:, 1:], drive, "relu")
    with pytest.raises(ValueError, match="gradient of"):
        scan_deltas(u, states, drive.double(), "relu")
    with pytest.raises(ValueError, match="states"):
        kernel_gradient(drive, states[:, 1:], 3)
    with pytest.raises(ValueError, match="taps"):
        kernel_gradient(drive, states, 0)
    with pytest.raises(ValueError, match="4 taps"):
        kernel_gradient(drive, states, 4)


def test_nothing_to_do_needs_no_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wave_triton, "_kernels", lambda: None)
    u, drive, h0 = torch.zeros(2, 4, 4, 3), torch.zeros(2, 0, 3, 4, 6), torch.ones(2, 3, 4, 6)
    states = scan_states(u, drive, h0, "relu")
    assert torch.equal(states, h0[:, None])
    assert scan_deltas(u, states, drive, "relu").shape == drive.shape
    assert torch.equal(kernel_gradient(drive, states, 3), u)


def test_importing_the_library_does_not_import_triton() -> None:
    code = "import sys, wavemem.kernels.wave_triton; assert 'triton' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
