"""The CUDA kernels of the Elman scan, carried out by Triton's interpreter, against the float64 reference; and compiled."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from wavemem.elman.network import ElmanEnsemble
from wavemem.elman.training import train
from wavemem.kernels.elman import LARGEST, elman_scan_reference
from wavemem.kernels.elman_triton import choose_tile
from wavemem.theory.hds import repeat_copy
from wavemem.training.curriculum import LadderCurriculum
from wavemem.training.fit import FitConfig


def _relative(mine: Tensor, theirs: Tensor) -> float:
    return float((mine.double() - theirs).norm() / theirs.norm().clamp(min=1e-6))


def _drawn(generator: torch.Generator, *shape: int) -> Tensor:
    """Numbers between -1 and 1: where tanh saturates, 1 - h² has no digits in float32, whoever computes it."""
    return 2 * torch.rand(shape, generator=generator) - 1


SIZES = st.fixed_dictionaries(
    {
        "K": st.integers(1, 3),
        "B": st.integers(1, 6),
        "s": st.integers(1, 4),
        "d": st.integers(1, 4),
        "N": st.integers(1, 40),
        "seed": st.integers(0, 2**16),
        "activation": st.sampled_from(["tanh", "linear"]),
    }
)
DRAW = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@DRAW
@given(sizes=SIZES, horizons=st.lists(st.integers(1, 6), min_size=3, max_size=3))
def test_sweep_equals_the_float64_reference(interpreter: Any, sizes: dict[str, Any], horizons: list[int]) -> None:
    K, B, s, d, N = (sizes[name] for name in ("K", "B", "s", "d", "N"))
    steps = torch.tensor(horizons[:K])
    H = int(steps.max())
    generator = torch.Generator().manual_seed(sizes["seed"])
    weights = {
        "W_hh": _drawn(generator, K, N, N) / N**0.5,
        "W_uh": _drawn(generator, K, N, d) / d,
        "W_r": _drawn(generator, K, d, N) / N**0.5,
    }
    u, targets = _drawn(generator, K, B, s, d).sign(), _drawn(generator, K, B, H, d).sign()
    ours = interpreter.call(
        "sweep", **weights, u=u, targets=targets, activation=sizes["activation"], horizons=None if K == 1 else steps
    )

    W_hh, W_uh, W_r = (w.double().requires_grad_() for w in weights.values())
    states = elman_scan_reference(
        W_hh, W_uh, u.double().permute(2, 0, 1, 3), steps=s + H, activation=sizes["activation"]
    )[s:]
    y, goal = torch.einsum("tkbn,kdn->tkbd", states, W_r), targets.double().permute(2, 0, 1, 3)
    counts = (torch.arange(H)[:, None] < steps).double()
    loss = (y - goal).square().mean((2, 3)) * counts
    right = (y * goal > 0).double().mean((2, 3)) * counts
    assert _relative(ours["loss_by_step"], loss.detach()) < 1e-4
    torch.testing.assert_close(ours["accuracy_by_step"].double(), right, rtol=1e-6, atol=1e-6)
    expected = torch.autograd.grad((loss.sum(0) / steps).sum(), (W_hh, W_uh, W_r))
    for mine, theirs in zip(ours["gradients"], expected, strict=True):
        assert _relative(mine, theirs) < 1e-4


@DRAW
@given(sizes=SIZES, quiet=st.integers(0, 3))
def test_scan_and_its_gradients_equal_the_float64_reference(
    interpreter: Any, sizes: dict[str, Any], quiet: int
) -> None:
    K, B, S, d, N = (sizes[name] for name in ("K", "B", "s", "d", "N"))
    generator = torch.Generator().manual_seed(sizes["seed"])
    arguments = {
        "W_hh": _drawn(generator, K, N, N) / N**0.5,
        "W_uh": _drawn(generator, K, N, d) / d,
        "inputs": _drawn(generator, S, K, B, d),
        "h0": _drawn(generator, K, B, N),
    }
    options = {"steps": S + quiet, "activation": sizes["activation"]}
    weight = _drawn(generator, S + quiet, K, B, N)
    ours = interpreter.call("scan", weight=weight, **arguments, **options)
    exact = [value.double().requires_grad_() for value in arguments.values()]
    states = elman_scan_reference(*exact, **options)
    assert _relative(ours["states"], states.detach()) < 1e-4
    expected = torch.autograd.grad((states * weight).sum(), exact)
    for mine, theirs in zip(ours["gradients"], expected, strict=True):
        assert _relative(mine, theirs) < 1e-4


@pytest.mark.parametrize("N", [64, 128])
def test_sizes_of_the_books_networks(interpreter: Any, N: int) -> None:
    generator = torch.Generator().manual_seed(1)
    W_hh = torch.linalg.qr(_drawn(generator, 2, N, N))[0]
    inputs, weight = _drawn(generator, 8, 2, 6, 8), _drawn(generator, 28, 2, 6, N)
    W_uh, h0 = _drawn(generator, 2, N, 8), torch.zeros(2, 6, N)
    arguments = {"W_hh": W_hh, "W_uh": W_uh, "inputs": inputs, "h0": h0}
    ours = interpreter.call("scan", weight=weight, steps=28, **arguments)
    exact = [value.double().requires_grad_() for value in arguments.values()]
    states = elman_scan_reference(*exact, steps=28)
    assert _relative(ours["states"], states.detach()) < 1e-4
    for mine, theirs in zip(ours["gradients"], torch.autograd.grad((states * weight).sum(), exact), strict=True):
        assert _relative(mine, theirs) < 1e-4


def test_numbers_that_are_not_finite_stay_in_their_run(interpreter: Any) -> None:
    generator = torch.Generator().manual_seed(2)
    W_hh = _drawn(generator, 2, 8, 8)
    W_hh[1] = float("nan")
    arguments = {
        "W_hh": W_hh,
        "W_uh": _drawn(generator, 2, 8, 2),
        "W_r": _drawn(generator, 2, 2, 8),
        "u": _drawn(generator, 2, 5, 2, 2).sign(),
        "targets": _drawn(generator, 2, 5, 4, 2).sign(),
    }
    result = interpreter.call("sweep", **arguments, horizons=torch.tensor([2, 4]))
    assert bool(torch.isfinite(result["loss_by_step"][:, 0]).all())
    assert bool(torch.isnan(result["loss_by_step"][:, 1]).all())
    assert all(bool(torch.isfinite(gradient[0]).all()) for gradient in result["gradients"])


def test_training_follows_the_same_course(interpreter: Any) -> None:
    sizes = {"K": 3, "N": 8, "s": 2, "d": 2, "iterations": 12}
    ours = interpreter.call("train", **sizes)
    ensemble = ElmanEnsemble.initialise(range(3), 8, 2)
    config = FitConfig(12, log_every=1)
    log = train(ensemble, repeat_copy(2, 2), config, range(3), LadderCurriculum((2, 3, 5), 0.55), 6, progress=False).log
    assert log["horizon"].nunique() > 1
    for name, column in ours["log"].items():
        torch.testing.assert_close(column, torch.tensor(log[name].to_numpy()), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(ours["W_hh"], ensemble.W_hh.detach(), rtol=1e-3, atol=1e-3)


def test_what_does_not_fit_is_refused(interpreter: Any) -> None:
    assert interpreter.call("refuse", N=128, dtype="float32")["message"] == ""
    assert "128 hidden units" not in interpreter.call("refuse", N=129, dtype="float32")["message"]
    assert "129 hidden units" in interpreter.call("refuse", N=129, dtype="float32")["message"]
    assert "float64" in interpreter.call("refuse", N=8, dtype="float64")["message"]


def test_the_check_on_a_device_finds_right_and_wrong_numbers(interpreter: Any) -> None:
    assert interpreter.call("check", N=11, wrong=False)["found"]
    assert not interpreter.call("check", N=32, wrong=True)["found"]


def test_tiles_hold_the_matrix() -> None:
    for N in range(1, LARGEST + 1):
        tile = choose_tile(N)
        assert N <= tile.width <= max(16, 2 * N - 1)
        # 64 registers per thread at most for the matrix.
        assert tile.width**2 <= 64 * 32 * tile.warps


def test_kernels_compile_and_their_matrix_stays_in_registers(compiled: Any) -> None:
    tile = choose_tile(128)
    shared = {
        "module": "wavemem.kernels.elman_triton",
        "warps": tile.warps,
        "constants": {"N": 128, "WIDTH": tile.width, "ROWS": tile.rows, "TANH": True},
        "kinds": {"lengths": "*i32", "B": "i32", "S": "i32", "QUIET": "i32", "T": "i32"},
    }
    found = compiled([{**shared, "kernel": kernel} for kernel in ("scan_forward", "scan_back")])
    assert len(found) == 4
    for built in found:
        assert built["spilt"] == 0, built
        # Two programs at least fit on a multiprocessor of 65536 registers.
        assert 2 * built["registers"] * built["threads"] <= 65536, built
