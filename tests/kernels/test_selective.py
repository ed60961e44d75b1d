"""The selective scan: every way to compute it, in its outputs and in the gradient of every argument."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from wavemem.kernels import selective_chunked, selective_cpu
from wavemem.kernels.compiled import compiler
from wavemem.kernels.selective import (
    SelectiveMethod,
    selective_scan,
    selective_scan_reference,
    selective_step,
)

compiled = pytest.mark.skipif(compiler() is None, reason="no C compiler")
Problem = dict[str, Tensor]

SIZES = [  # K B L E N: vectors that are not full, several groups of channels, several chunks of time, every width of N
    (1, 1, 1, 1, 1),
    (2, 3, 37, 5, 3),
    (3, 2, 64, 16, 16),
    (1, 2, 100, 33, 12),
    (2, 1, 70, 70, 31),
    (1, 3, 33, 130, 4),
]
METHODS: list[Any] = [pytest.param("compiled", marks=compiled), "chunked"]


def drawn(K: int, B: int, L: int, E: int, N: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Problem:
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    problem = {
        "u": draw(K, B, L, E),
        "delta": draw(K, B, L, E),
        "A": -torch.exp(draw(K, E, N)),
        "B": draw(K, B, L, N),
        "C": draw(K, B, L, N),
        "D": draw(K, E),
        "z": draw(K, B, L, E),
        "delta_bias": draw(K, E) - 1,
        "h0": draw(K, B, E, N),
    }
    return {name: value.to(dtype) for name, value in problem.items()}


def results(problem: Problem, method: SelectiveMethod, softplus: bool = True) -> Problem:
    """Outputs, last state and gradients for fixed weights of both."""
    own = {name: value.clone().requires_grad_() for name, value in problem.items()}
    y, h = selective_scan(**own, softplus=softplus, method=method)
    generator = torch.Generator().manual_seed(1)
    weights = [torch.randn(t.shape, generator=generator, dtype=torch.float64).to(t) for t in (y, h)]
    gradients = torch.autograd.grad((y * weights[0]).sum() + (h * weights[1]).sum(), list(own.values()))
    return {"y": y.detach(), "h": h.detach(), **dict(zip(own, gradients, strict=True))}


def assert_agree(ours: Problem, theirs: Problem, tolerance: float) -> None:
    assert ours.keys() == theirs.keys()
    for name, mine in ours.items():
        assert mine.shape == theirs[name].shape, name
        scale = max(float(theirs[name].abs().max()), 1e-3)
        if name in ("A", "D", "delta_bias"):  # sums over time, whose terms round and may cancel
            scale = max(scale, float(theirs["delta"].abs().sum((1, 2)).max()))
        torch.testing.assert_close(mine.double(), theirs[name], rtol=0, atol=tolerance * scale, msg=lambda m: name + m)  # noqa: B023


def without(problem: Problem, *names: str) -> Problem:
    return {name: value for name, value in problem.items() if name not in names}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("sizes", SIZES)
def test_single_precision_equals_the_float64_loop(sizes: tuple[int, ...], method: SelectiveMethod) -> None:
    problem = drawn(*sizes, dtype=torch.float32)
    theirs = results({name: value.double() for name, value in problem.items()}, "reference")
    assert_agree(results(problem, method), theirs, 3e-6)


@pytest.mark.parametrize("sizes", SIZES)
def test_segments_of_time_equal_the_loop_in_double_precision(
    sizes: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = drawn(*sizes)
    theirs = results(problem, "reference")
    assert_agree(results(problem, "chunked"), theirs, 1e-13)
    monkeypatch.setitem(selective_chunked._NUMBERS, "cpu", 1)  # as short segments as there are
    assert_agree(results(problem, "chunked"), theirs, 1e-13)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("softplus", [False, True])
@pytest.mark.parametrize("absent", [(), ("D",), ("z",), ("delta_bias",), ("h0",), ("D", "z", "delta_bias", "h0")])
def test_every_option_alone_and_none_of_them(absent: tuple[str, ...], softplus: bool, method: SelectiveMethod) -> None:
    problem = without(drawn(2, 2, 40, 20, 6, dtype=torch.float32), *absent)
    if not softplus:
        problem["delta"] = problem["delta"].abs()
        if "delta_bias" in problem:
            problem["delta_bias"] = problem["delta_bias"].abs()
    theirs = results({name: value.double() for name, value in problem.items()}, "reference", softplus)
    assert_agree(results(problem, method, softplus), theirs, 3e-6)


@settings(max_examples=30, deadline=None)
@given(K=st.integers(1, 2), L=st.integers(1, 6), E=st.integers(1, 3), N=st.integers(1, 3), seed=st.integers(0, 10_000))
def test_the_recurrence_written_out(K: int, L: int, E: int, N: int, seed: int) -> None:
    p = drawn(K, 2, L, E, N, seed)
    y, states = selective_scan_reference(**p, softplus=True)
    for k in range(K):
        for b in range(2):
            for e in range(E):
                h = p["h0"][k, b, e].clone()
                for t in range(L):
                    d = torch.log1p(torch.exp(p["delta"][k, b, t, e] + p["delta_bias"][k, e]))
                    u, z = p["u"][k, b, t, e], p["z"][k, b, t, e]
                    h = torch.exp(d * p["A"][k, e]) * h + d * p["B"][k, b, t] * u
                    out = (p["C"][k, b, t] @ h + p["D"][k, e] * u) * z / (1 + torch.exp(-z))
                    torch.testing.assert_close(states[t, k, b, e], h)
                    torch.testing.assert_close(y[k, b, t, e], out)


@pytest.mark.parametrize("absent", [(), ("D", "z", "delta_bias")])
def test_step_after_step_equals_the_scan(absent: tuple[str, ...]) -> None:
    problem = without(drawn(2, 3, 21, 18, 4, dtype=torch.float32), *absent)
    whole, last = selective_scan(**problem, softplus=True)
    h = problem.pop("h0")
    for t in range(21):
        now = {name: value if value.shape[1:2] != (3,) else value[:, :, t] for name, value in problem.items()}
        y, h = selective_step(**now, softplus=True, h=h)
        torch.testing.assert_close(y, whole[:, :, t], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(h, last, rtol=1e-5, atol=1e-5)


@compiled
def test_the_number_of_threads_changes_no_bit(same_with_any_threads: Callable[..., None]) -> None:
    problem = drawn(2, 3, 55, 140, 6, dtype=torch.float32)
    same_with_any_threads(lambda: list(results(problem, "compiled").values()))


@pytest.mark.parametrize("method", METHODS)
def test_extreme_steps_overflow_nowhere(method: SelectiveMethod) -> None:
    problem = drawn(1, 2, 50, 9, 4, dtype=torch.float32)
    problem["delta"] = 60 * problem["delta"]
    problem["z"] = 60 * problem["z"]
    problem["A"] = 20 * problem["A"]
    theirs = results({name: value.double() for name, value in problem.items()}, "reference")
    assert_agree(results(problem, method), theirs, 1e-5)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["u", "delta", "z"])
def test_not_a_number_stays_not_a_number(name: str, method: SelectiveMethod) -> None:
    problem = drawn(1, 1, 5, 4, 2, dtype=torch.float32)
    problem[name][0, 0, 2, 1] = float("nan")
    y, _ = selective_scan(**problem, softplus=True, method=method)
    assert bool(y[0, 0, 2, 1].isnan())
    assert not bool(y[0, 0, :2].isnan().any())
    assert not bool(y[0, 0, :, 2].isnan().any())


@pytest.mark.parametrize("method", METHODS)
def test_gradient_of_the_last_state_alone(method: SelectiveMethod) -> None:
    problem = drawn(1, 2, 9, 4, 2, dtype=torch.float32)
    u = problem["u"].requires_grad_()
    _, h = selective_scan(**problem, softplus=True, method=method)
    _, expected = selective_scan(**problem, softplus=True, method="reference")
    ours, theirs = torch.autograd.grad(h.sum(), u)[0], torch.autograd.grad(expected.sum(), u)[0]
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


@compiled
def test_the_exponential_of_the_kernel_is_accurate() -> None:
    steps = torch.linspace(0, 80, 4001)
    ones = torch.ones(1, 1, 1, 1)
    _, h = selective_scan(
        0 * steps.view(1, 1, 1, -1),
        steps.view(1, 1, 1, -1),
        -torch.ones(1, 4001, 1),
        ones,
        ones,
        h0=torch.ones(1, 1, 4001, 1),
        method="compiled",
    )
    exact = torch.exp(-steps.double())
    error = (h[0, 0, :, 0].double() - exact).abs() / exact
    # The power of two is rounded twice (A in units of ln 2, then times Δ); the rest is two units in the last place.
    assert bool((error <= 2.0**-24 * (2 * steps.double() + 4)).all())


def test_without_a_compiler_segments_of_time_serve(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wavemem.kernels.compiled.load_library", lambda _name: None)
    problem = drawn(1, 2, 12, 5, 3, dtype=torch.float32)
    assert not selective_cpu.COMPILED.serves(problem["u"])
    assert torch.equal(selective_scan(**problem)[0], selective_scan(**problem, method="chunked")[0])
    with pytest.raises(ValueError, match="C compiler"):
        selective_scan(**problem, method="compiled")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"u": torch.zeros(2, 3, 4)}, "u has shape"),
        ({"u": torch.zeros(1, 2, 0, 5), "delta": torch.zeros(1, 2, 0, 5)}, "not empty"),
        ({"u": torch.zeros(1, 2, 3, 5, dtype=torch.int64)}, "floating-point"),
        ({"delta": torch.zeros(1, 2, 3, 4)}, "delta has shape"),
        ({"A": torch.zeros(1, 4, 2)}, "A has shape"),
        ({"A": torch.zeros(1, 5, 0)}, "N = 0"),
        ({"B": torch.zeros(1, 2, 3, 3)}, "B has shape"),
        ({"C": torch.zeros(1, 2, 4, 2)}, "C has shape"),
        ({"D": torch.zeros(5)}, "D has shape"),
        ({"z": torch.zeros(1, 2, 3, 1)}, "z has shape"),
        ({"delta_bias": torch.zeros(2, 5)}, "delta_bias has shape"),
        ({"h0": torch.zeros(1, 2, 2, 5)}, "h0 has shape"),
        ({"C": torch.zeros(1, 2, 3, 2, dtype=torch.float64)}, "C holds torch.float64"),
        ({"method": "fast"}, "method = 'fast'"),
    ],
)
def test_bad_arguments(change: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = drawn(1, 2, 3, 5, 2, dtype=torch.float32)
    with pytest.raises(ValueError, match=message):
        selective_scan(**(arguments | change))


def test_bad_arguments_of_a_step_and_of_the_compiled_kernel() -> None:
    problem = drawn(1, 2, 1, 5, 2, dtype=torch.float64)
    with pytest.raises(ValueError, match="float32"):
        selective_scan(**problem, method="compiled")
    h = problem.pop("h0")
    now = {name: value if value.shape[1:2] != (2,) else value[:, :, 0] for name, value in problem.items()}
    selective_step(**now, h=h)
    bad = {"u": problem["u"], "C": now["C"][..., :1], "z": now["z"][:, :1], "h": h[:, :1]}
    for name, value in bad.items():
        with pytest.raises(ValueError, match=f"{name}0? has shape"):
            selective_step(**(now | {"h": h, name: value}))
    with pytest.raises(ValueError, match=r"[Tt]riton|float64"):
        selective_scan(**problem, method="triton")
