"""Which program serves a selective scan; what needs Triton itself is in test_selective_triton_interpreted.py."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch

from wavemem.kernels import selective_triton
from wavemem.kernels.selective_triton import (
    LARGEST,
    VARIABLE,
    choose_tile,
    require_triton,
    scan,
    scan_backward,
    use_triton,
)


def _problem(K: int = 2, B: int = 3, L: int = 4, E: int = 5, N: int = 6) -> dict[str, Any]:
    series, numbers = torch.zeros(K, B, L, E), torch.zeros(K, B, L, N)
    rows, state = torch.zeros(K, E), torch.ones(K, B, E, N)
    return {
        "u": series,
        "delta": series,
        "A": torch.zeros(K, E, N),
        "B": numbers,
        "C": numbers,
        "D": rows,
        "z": series,
        "delta_bias": rows,
        "h0": state,
    }


def test_tiles_hold_all_states_and_fill_their_threads() -> None:
    for states in range(1, LARGEST + 1):
        for channels in (1, 3, 16, 64, 100, 512):
            tile = choose_tile(channels, states)
            assert states <= tile.states <= max(1, 2 * states - 1)
            for size in (tile.states, tile.channels, tile.warps):
                assert size & (size - 1) == 0
            assert tile.channels <= 2 * channels - 1
            assert tile.states * tile.channels <= 8 * 32 * tile.warps


def test_other_numbers_of_states_are_refused() -> None:
    for states in (0, LARGEST + 1):
        with pytest.raises(ValueError, match="states"):
            choose_tile(4, states)
    with pytest.raises(ValueError, match="channels"):
        choose_tile(0, 4)


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


@pytest.mark.parametrize("name", ["delta", "A", "B", "C", "D", "z", "delta_bias", "h0"])
def test_wrong_arguments_are_named(name: str) -> None:
    right = _problem()
    for wrong in (right[name][:1], right[name].double()):
        with pytest.raises(ValueError, match=f"{name} "):
            scan(**{**right, name: wrong}, softplus=True, keep=True)
    kept = torch.zeros(2, 3, 1, 5, 6)
    others = {"kept": kept, "gy": right["u"], "gh": None}
    if name != "h0":
        with pytest.raises(ValueError, match=f"{name} "):
            scan_backward(**{**right, **others, name: right[name][:1]}, softplus=True)


def test_what_the_way_back_needs_is_named() -> None:
    right = {**_problem(), "kept": torch.zeros(2, 3, 1, 5, 6), "gy": torch.zeros(2, 3, 4, 5), "gh": None}
    with pytest.raises(ValueError, match="keep=True"):
        scan_backward(**{**right, "kept": None}, softplus=True)
    for name in ("kept", "gy", "h0"):
        with pytest.raises(ValueError, match="gh " if name == "h0" else f"{name} "):
            scan_backward(**{**right, ("gh" if name == "h0" else name): right[name][:, :2]}, softplus=True)
    with pytest.raises(ValueError, match="u "):
        scan(**{**_problem(), "u": torch.zeros(3)}, softplus=True, keep=False)


def test_nothing_to_do_needs_no_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selective_triton._CHOICE, "kernels", lambda: None)
    for sizes in ({"L": 0}, {"E": 0}, {"B": 0}):
        problem = _problem(**sizes)
        y, last, kept = scan(**problem, softplus=True, keep=True)
        assert y.shape == problem["u"].shape
        assert torch.equal(last, problem["h0"])
        found = scan_backward(**problem, kept=kept, gy=y, gh=2 * last, softplus=True)
        assert found.h0 is not None
        assert torch.equal(found.h0, 2 * last)
        assert torch.equal(found.A, torch.zeros_like(problem["A"]))
    y, last, kept = scan(**{**_problem(L=0), "h0": None}, softplus=True, keep=False)
    assert kept is None
    assert not last.any()


def test_importing_the_library_does_not_import_triton() -> None:
    code = "import sys, wavemem.kernels.selective_triton; assert 'triton' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
