"""The CUDA kernels of the selective scan, carried out by Triton's interpreter, against the float64 reference; and compiled."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from wavemem.kernels.selective import selective_scan_reference
from wavemem.kernels.selective_triton import REGISTERS, STEPS, choose_tile

NAMES = ("u", "delta", "A", "B", "C", "D", "z", "delta_bias", "h0")


def _relative(mine: Tensor, theirs: Tensor) -> float:
    return float((mine.double() - theirs).norm() / theirs.norm().clamp(min=1e-6))


def _problem(seed: int, K: int, B: int, L: int, E: int, N: int, without: tuple[str, ...] = ()) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(seed)

    def drawn(*shape: int) -> Tensor:
        return 2 * torch.rand(shape, generator=generator) - 1

    series, numbers = (K, B, L, E), (K, B, L, N)
    found = {
        "u": drawn(*series),
        "delta": drawn(*series),
        "A": -torch.exp(drawn(K, E, N)),
        "B": drawn(*numbers),
        "C": drawn(*numbers),
        "D": drawn(K, E),
        "z": 3 * drawn(*series),
        "delta_bias": drawn(K, E),
        "h0": drawn(K, B, E, N),
    }
    return {name: None if name in without else value for name, value in found.items()}


def _reference(problem: dict[str, Any], softplus: bool) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    """Leaves in float64, outputs and last state by the naive loop."""
    exact = {name: None if x is None else x.double().requires_grad_() for name, x in problem.items()}
    y, states = selective_scan_reference(**exact, softplus=softplus)
    leaves = {name: x for name, x in exact.items() if x is not None}
    return leaves, y, states[-1] if len(states) else leaves["h0"]


def _check(interpreter: Any, problem: dict[str, Any], softplus: bool, last_too: bool) -> None:
    leaves, y, last = _reference(problem, softplus)
    generator = torch.Generator().manual_seed(1)
    gradient = 2 * torch.rand(y.shape, generator=generator) - 1
    gradient_last = 2 * torch.rand(last.shape, generator=generator) - 1 if last_too else None
    mine = interpreter.call("selective", softplus=softplus, gradient=gradient, gradient_last=gradient_last, **problem)
    loss = (y * gradient).sum() + (0.0 if gradient_last is None else (last * gradient_last).sum())
    assert mine["unkept"]
    assert _relative(mine["y"], y.detach()) < 1e-5
    assert _relative(mine["last"], last.detach()) < 1e-5
    for name, expected in zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True):
        assert _relative(mine[name], expected) < 1e-5, name
    assert all((mine[name] is None) == (problem[name] is None) for name in NAMES)


SIZES = st.fixed_dictionaries(
    {
        "K": st.integers(1, 2),
        "B": st.integers(1, 2),
        "L": st.integers(1, STEPS + 3),
        "E": st.integers(1, 9),
        "N": st.integers(1, 9),
        "seed": st.integers(0, 2**16),
        "without": st.sets(st.sampled_from(["D", "z", "delta_bias", "h0"])).map(lambda names: tuple(sorted(names))),
    }
)


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sizes=SIZES, softplus=st.booleans(), last_too=st.booleans())
@example(
    sizes={"K": 2, "B": 2, "L": 2 * STEPS + 1, "E": 5, "N": 3, "seed": 0, "without": ()}, softplus=True, last_too=True
)
@example(
    sizes={"K": 1, "B": 1, "L": 3, "E": 70, "N": 4, "seed": 1, "without": ("D", "h0")}, softplus=True, last_too=False
)
def test_outputs_and_gradients_equal_the_float64_reference(
    interpreter: Any, sizes: dict[str, Any], softplus: bool, last_too: bool
) -> None:
    _check(interpreter, _problem(**sizes), softplus, last_too)


@pytest.mark.parametrize(("E", "N"), [(20, 16), (5, 64)])
def test_sizes_of_the_books_networks(interpreter: Any, E: int, N: int) -> None:
    _check(interpreter, _problem(3, K=1, B=2, L=8, E=E, N=N), True, True)


def test_extreme_step_sizes_and_gates_stay_exact(interpreter: Any) -> None:
    problem = _problem(4, K=1, B=1, L=6, E=4, N=2)
    problem["delta"] = torch.tensor([-60.0, -9.0, -3.4, 0.0, 9.0, 60.0])[None, None, :, None].expand(1, 1, 6, 4).clone()
    problem["z"] = torch.tensor([60.0, -60.0, 9.0, -9.0, 0.0, 1.0])[None, None, :, None].expand(1, 1, 6, 4).clone()
    _check(interpreter, problem, True, True)


def test_numbers_that_are_not_finite_stay_in_their_run_and_sequence(interpreter: Any) -> None:
    problem = _problem(2, K=2, B=3, L=4, E=3, N=2)
    problem["u"][1, 2, 1, 0] = float("nan")
    gradient = torch.ones_like(problem["u"])
    mine = interpreter.call("selective", softplus=True, gradient=gradient, gradient_last=None, **problem)
    wrong = mine["y"].isnan()
    assert wrong[1, 2, 1:, 0].all()
    assert int(wrong.sum()) == 3
    assert bool(mine["A"][0].isfinite().all())
    assert bool(mine["A"][1, 0].isnan().all())
    assert bool(mine["A"][1, 1:].isfinite().all())


def test_the_check_on_a_device_finds_right_and_wrong_numbers(interpreter: Any) -> None:
    assert interpreter.call("check_selective", states=3, wrong="") == {"found": True, "warnings": []}
    for name in ("scan", "scan_backward"):
        found = interpreter.call("check_selective", states=3, wrong=name)
        assert not found["found"]
        (warning,) = found["warnings"]
        assert "differ from the reference" in warning
    broken = interpreter.call("check_selective", states=0, wrong="")
    assert not broken["found"]
    assert "ValueError" in broken["warnings"][0]


@pytest.mark.parametrize("method", ["auto", "triton"])
def test_the_librarys_scan_uses_the_kernels(interpreter: Any, method: str) -> None:
    problem = _problem(5, K=2, B=1, L=5, E=3, N=2)
    weight = torch.rand(problem["u"].shape, generator=torch.Generator().manual_seed(2))
    mine = interpreter.call("selective_network", weight=weight, softplus=True, method=method, **problem)
    leaves, y, _ = _reference(problem, True)
    assert mine["launches"] == 2
    assert _relative(mine["y"], y.detach()) < 1e-5
    expected = torch.autograd.grad((y * weight).sum(), list(leaves.values()))
    for name, theirs in zip(leaves, expected, strict=True):
        assert _relative(mine[name], theirs) < 1e-5, name


def test_what_does_not_fit_is_refused(interpreter: Any) -> None:
    assert interpreter.call("refuse_selective", states=256, dtype="float32")["messages"] == ["", ""]
    for message in interpreter.call("refuse_selective", states=257, dtype="float32")["messages"]:
        assert "states of 257 numbers" in message
    for message in interpreter.call("refuse_selective", states=6, dtype="float64")["messages"]:
        assert "float64" in message


def test_kernels_compile_and_keep_to_their_registers(compiled: Any) -> None:
    flags = dict.fromkeys(("HAS_D", "HAS_Z", "HAS_BIAS", "SOFTPLUS"), True)
    cases = []
    for N in (1, 16, 256):
        tile = choose_tile(512, N)
        constants = {"CHANNELS": tile.channels, "STATES": tile.states, "STEPS": STEPS, **flags}
        common = {
            "module": "wavemem.kernels._selective_triton_kernels",
            "warps": tile.warps,
            "kinds": dict.fromkeys(("B", "L", "E", "N", "CHUNKS", "BLOCKS"), "i32"),
        }
        forward = {**constants, "HAS_H0": True, "KEEP": True}
        cases.append({**common, "kernel": "scan_forward", "constants": forward})
        options = {"maxnreg": REGISTERS}
        back = {**constants, "HAS_LAST": True}
        cases.append({**common, "kernel": "scan_back", "constants": back, "options": options})
    found = compiled(cases)
    assert len(found) == 12
    for built in found:
        assert built["spilt"] == 0, built
        assert built["shared"] <= 4096, built
        # Twelve groups of threads at least fit on a multiprocessor of 65536 registers.
        assert 12 * 32 * built["registers"] <= 65536, built
        if built["kernel"] == "scan_back":
            assert built["ptx"].count("bar.sync") >= 2, "no barrier between writing and reading a chunk's states"
