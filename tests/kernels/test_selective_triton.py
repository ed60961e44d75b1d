"""Which program serves a selective scan; what needs Triton itself is in test_selective_triton_interpreted.py."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from wavemem.kernels import selective_triton
from wavemem.kernels.selective_triton import LARGEST, VARIABLE, choose_tile, require_triton, use_triton


def test_tiles_hold_all_states_and_fill_their_threads() -> None:
    for states in range(1, LARGEST + 1):
        for channels in (1, 3, 16, 64, 100, 512):
            tile = choose_tile(channels, states)
            assert states <= tile.states <= max(1, 2 * states - 1)
            for size in (tile.states, tile.channels, tile.warps):
                assert size & (size - 1) == 0
            assert tile.channels <= 2 * channels - 1
            assert tile.states * tile.channels <= 8 * 32 * tile.warps


def test_choice_by_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    u = torch.zeros(1, 2, 3, 4)
    monkeypatch.delenv(VARIABLE, raising=False)
    assert not use_triton(u, 16)
    monkeypatch.setenv(VARIABLE, "torch")
    assert not use_triton(u, 16)
    monkeypatch.setenv(VARIABLE, "fast")
    with pytest.raises(ValueError, match=f"{VARIABLE}.*auto.*torch.*triton"):
        use_triton(u, 16)
    monkeypatch.setenv(VARIABLE, "triton")
    with pytest.raises(ValueError, match=VARIABLE):
        use_triton(u, 16)
    monkeypatch.setattr(selective_triton._CHOICE, "kernels", lambda: None)
    for ask in (use_triton, require_triton):
        with pytest.raises(ValueError, match="installed"):
            ask(u, 16)


def test_importing_the_library_does_not_import_triton() -> None:
    code = "import sys, wavemem.kernels.selective_triton; assert 'triton' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
