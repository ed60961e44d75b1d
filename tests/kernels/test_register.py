"""The register: every method against the float64 loop, that loop against the recurrence written out, and the closed form."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from wavemem.kernels import compiled, register
from wavemem.kernels.compiled import compiler
from wavemem.kernels.register import (
    binomial_shares,
    causal_convolution,
    check_velocity,
    register_kernel,
    register_scan,
    register_scan_reference,
    register_scan_with_state,
    register_states,
    register_step,
)

needs_compiler = pytest.mark.skipif(compiler() is None, reason="no C compiler")
X, C, V, H = torch.zeros(1, 2, 4), torch.zeros(1, 4, 3), torch.zeros(1, 4), torch.zeros(1, 2, 4, 3)


def drawn(sizes: tuple[int, ...], velocity: str, start: bool = True, seed: int = 0) -> dict[str, Tensor]:
    """Arguments in float64: velocities per channel, per step, all 1, or with channels at exactly 0 and 1."""
    K, B, L, E, n = sizes
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    v = torch.rand(K, E, generator=generator, dtype=torch.float64)
    if velocity == "one":
        v = torch.ones_like(v)
    elif velocity == "limits":
        v[:, 0], v[:, -1] = 1.0, 0.0
    elif velocity == "steps":
        v = torch.rand(K, B, L, E, generator=generator, dtype=torch.float64)
    values = {"x": normal(K, B, L, E), "C": normal(K, E, n), "v": v, "bias": normal(K, E)}
    return {**values, "h0": normal(K, B, E, n)} if start else values


def outcome(
    scan: Callable[..., tuple[Tensor, ...]], values: dict[str, Tensor], frozen: tuple[str, ...] = ()
) -> list[Tensor]:
    """Outputs, and gradients of a fixed random sum of them with respect to everything that is not frozen."""
    own = {name: value.clone().requires_grad_(name not in frozen) for name, value in values.items()}
    found = scan(**own)
    total = torch.zeros((), dtype=torch.float64)
    for index, y in enumerate(found):
        weight = torch.randn(y.shape, generator=torch.Generator().manual_seed(index), dtype=torch.float64)
        total = total + (y.double() * weight).sum()
    gradients = torch.autograd.grad(total, [own[name] for name in own if name not in frozen])
    return [tensor.detach().double() for tensor in (*found, *gradients)]


def assert_near(found: list[Tensor], expected: list[Tensor], tolerance: float) -> None:
    for mine, theirs in zip(found, expected, strict=True):
        assert mine.shape == theirs.shape
        torch.testing.assert_close(mine, theirs, rtol=0, atol=tolerance * max(float(theirs.abs().max()), 1e-3))


def reference(silu: bool) -> Callable[..., tuple[Tensor, Tensor]]:
    def scan(**values: Tensor) -> tuple[Tensor, Tensor]:
        y, states = register_scan_reference(**values, silu=silu)
        return y, states[-1]

    return scan


def with_state(method: Any, silu: bool) -> Callable[..., tuple[Tensor, Tensor]]:
    return lambda **values: register_scan_with_state(**values, silu=silu, method=method)


SIZES = [
    (1, 2, 7, 16, 1),
    (2, 3, 45, 37, 2),
    (1, 1, 130, 33, 3),
    (2, 2, 9, 64, 4),
    (1, 2, 31, 5, 5),
    (1, 1, 1, 1, 6),
    (1, 1, 140, 18, 12),
    (1, 2, 20, 3, 64),
]


@pytest.mark.parametrize("silu", [False, True])
@pytest.mark.parametrize("start", [False, True])
@pytest.mark.parametrize("velocity", ["channels", "one", "limits", "steps"])
@pytest.mark.parametrize("sizes", SIZES)
def test_every_method_equals_the_float64_loop(sizes: tuple[int, ...], velocity: str, start: bool, silu: bool) -> None:
    values = drawn(sizes, velocity, start)
    expected = outcome(reference(silu), values)
    single = {name: value.float() for name, value in values.items()}
    double = {name: value.float().double() for name, value in values.items()}  # the same rounded velocities
    rounded = outcome(reference(silu), double)
    assert_near(outcome(with_state("auto", silu), single), rounded, 1e-5)
    assert_near(outcome(with_state("auto", silu), values), expected, 1e-10)
    assert_near(outcome(with_state("parallel", silu), values), expected, 1e-10)
    if velocity != "steps":
        assert_near(outcome(with_state("fft", silu), values), expected, 1e-10)
        assert_near(outcome(with_state("fft", silu), single), rounded, 2e-4 if silu else 1e-4)


@pytest.mark.parametrize("silu", [False, True])
@pytest.mark.parametrize("sizes", [*SIZES, (1, 2, 250, 32, 4), (1, 1, 210, 20, 100)])
def test_velocity_1_that_is_not_learned_is_a_direct_sum(sizes: tuple[int, ...], silu: bool) -> None:
    values = drawn(sizes, "one")

    def outputs(method: Any) -> Callable[..., tuple[Tensor]]:
        return lambda **own: (register_scan(**own, silu=silu, method=method),)

    expected = outcome(lambda **own: (register_scan_reference(**own, silu=silu)[0],), values, frozen=("v",))
    single = {name: value.float() for name, value in values.items()}
    assert_near(outcome(outputs("auto"), single, frozen=("v",)), expected, 1e-5)
    assert_near(outcome(outputs("shift"), single, frozen=("v",)), expected, 1e-5)
    assert_near(outcome(outputs("shift"), values, frozen=("v",)), expected, 1e-11)
    assert_near(outcome(outputs("auto"), values, frozen=("v",)), expected, 1e-11)
    moved = outcome(with_state("auto", silu), single, frozen=("v",))  # something is sent to the last state as well
    assert_near(moved, outcome(reference(silu), values, frozen=("v",)), 1e-5)


@pytest.mark.parametrize("n", [1, 4, 7])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_at_velocity_1_the_register_is_a_depthwise_convolution(n: int, dtype: torch.dtype) -> None:
    K, B, L, E = 2, 3, 19, 21
    values = drawn((K, B, L, E, n), "one", start=False)
    x, C, v, bias = (value.to(dtype) for value in values.values())
    rows = torch.nn.functional.pad(x.permute(1, 0, 3, 2).reshape(B, K * E, L), (n - 1, 0))
    weight = C.flip(-1).reshape(K * E, 1, n)
    theirs = torch.nn.functional.conv1d(rows, weight, bias.flatten(), groups=K * E)
    theirs = theirs.view(B, K, E, L).permute(1, 0, 3, 2)
    for method in ("auto", "fft", "shift", "reference"):
        ours = register_scan(x, C, v, bias, method=method)
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5 if dtype == torch.float32 else 1e-12)


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(1, 5),
    L=st.integers(1, 6),
    v=st.floats(0, 1),
    seed=st.integers(0, 10_000),
)
def test_the_recurrence_written_out(n: int, L: int, v: float, seed: int) -> None:
    values = drawn((1, 1, L, 1, n), "channels", seed=seed)
    values["v"] = torch.full((1, 1), v, dtype=torch.float64)
    h = values["h0"][0, 0, 0].tolist()
    outputs = []
    for t in range(L):
        entering = [float(values["x"][0, 0, t, 0]), *h[:-1]]
        h = [(1 - v) * old + v * new for old, new in zip(h, entering, strict=True)]
        outputs.append(sum(c * old for c, old in zip(values["C"][0, 0].tolist(), h, strict=True)))
    expected = torch.tensor(outputs, dtype=torch.float64) + values["bias"][0, 0]
    for method in ("reference", "fft", "auto"):
        y, last = register_scan_with_state(**values, method=method)
        torch.testing.assert_close(y[0, 0, :, 0], expected, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(last[0, 0, 0], torch.tensor(h, dtype=torch.float64), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("velocity", ["channels", "one", "steps"])
def test_stepping_equals_the_scan(velocity: str) -> None:
    values = {name: value.float() for name, value in drawn((2, 3, 50, 9, 4), velocity).items()}
    whole = register_scan(**values, silu=True)
    states = register_states(values["x"], values["v"], 4, values["h0"])
    h = values["h0"]
    for t in range(50):
        v = values["v"] if values["v"].dim() == 2 else values["v"][:, :, t]
        y, h = register_step(values["x"][:, :, t], values["C"], v, values["bias"], h, silu=True)
        torch.testing.assert_close(y, whole[:, :, t], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(h, states[t], rtol=1e-5, atol=1e-5)
    without = register_step(values["x"][:, :, 0], values["C"], v, None, h)[0]
    torch.testing.assert_close(
        torch.nn.functional.silu(without + values["bias"][:, None]),
        register_step(values["x"][:, :, 0], values["C"], v, values["bias"], h, silu=True)[0],
    )


@needs_compiler
@pytest.mark.parametrize("velocity", ["channels", "one", "steps"])
def test_the_number_of_threads_changes_no_bit(
    velocity: str, monkeypatch: pytest.MonkeyPatch, same_with_any_threads: Callable[..., None]
) -> None:
    monkeypatch.setattr(register, "_WORTH_A_THREAD", 0)
    values = {name: value.float() for name, value in drawn((2, 5, 40, 50, 4), velocity).items()}
    frozen = ("v",) if velocity == "one" else ()
    same_with_any_threads(lambda: outcome(with_state("compiled", True), values, frozen))


def test_runs_and_batch_entries_do_not_influence_each_other() -> None:
    values = {name: value.float() for name, value in drawn((3, 4, 12, 40, 4), "channels").items()}
    whole = register_scan(**values, silu=True)
    alone = {name: value[1:2] for name, value in values.items()}
    alone |= {"x": alone["x"][:, 2:3], "h0": alone["h0"][:, 2:3]}
    assert torch.equal(whole[1:2, 2:3], register_scan(**alone, silu=True))


def test_silu_of_large_numbers_is_finite() -> None:
    x = torch.tensor([-1e30, -200.0, -88.5, -1.0, 0.0, 1.0, 88.5, 200.0, 1e30]).view(1, 1, 9, 1).requires_grad_()
    one = torch.ones(1, 1)
    for v in (one, torch.full((1, 1, 9, 1), 1.0)):
        y = register_scan(x, one[..., None], v, silu=True)
        torch.testing.assert_close(y, torch.nn.functional.silu(x), rtol=1e-6, atol=1e-30)
        gradient = torch.autograd.grad(y.sum(), x)[0]
        expected = torch.autograd.grad(torch.nn.functional.silu(x).sum(), x)[0]
        torch.testing.assert_close(gradient, expected, rtol=1e-5, atol=1e-30)


def test_not_a_number_stays_in_its_sequence() -> None:
    values = {name: value.float() for name, value in drawn((1, 2, 9, 20, 4), "channels").items()}
    values["x"][0, 0, 3, 5] = float("nan")
    y = register_scan(**values, silu=True)
    assert bool(y[0, 0, 3:, 5].isnan().all())
    assert bool(y[0, 1].isfinite().all())
    assert int(y.isnan().sum()) == 6


def test_one_run_whose_velocity_is_lost_does_not_stop_the_others() -> None:
    values = {name: value.float() for name, value in drawn((2, 1, 5, 3, 2), "channels").items()}
    values["v"][0] = float("nan")
    y = register_scan(**values)
    assert bool(y[0].isnan().all())
    assert bool(y[1].isfinite().all())


def test_without_a_compiler_the_plain_path_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    values = {name: value.float() for name, value in drawn((2, 2, 23, 9, 4), "limits").items()}
    expected = outcome(with_state("auto", True), values)
    at_one = drawn((2, 2, 23, 9, 4), "one")
    monkeypatch.setattr(compiled, "load_library", lambda _name: None)
    assert not register.COMPILED.serves(values["x"])
    assert_near(outcome(with_state("auto", True), values), expected, 1e-4)
    shifted = outcome(with_state("auto", True), at_one, frozen=("v",))
    assert_near(shifted, outcome(reference(True), at_one, frozen=("v",)), 1e-11)
    with pytest.raises(ValueError, match="C compiler"):
        register_scan(**values, method="compiled")


def changed(**change: Any) -> Tensor:
    """The scan of sound arguments, of which some are others."""
    values = {name: value.float() for name, value in drawn((1, 2, 6, 4, 3), "channels").items()}
    return register_scan(**{**values, **change})


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: changed(x=torch.zeros(1, 2, 3)), "x has shape"),
        (lambda: changed(x=torch.zeros(1, 2, 0, 4)), "Pass something"),
        (lambda: changed(C=torch.zeros(1, 5, 3)), "C has shape"),
        (lambda: changed(C=torch.zeros(1, 4, 0), h0=None), "reads no neuron"),
        (lambda: changed(v=torch.zeros(1, 5)), "v has shape"),
        (lambda: changed(v=torch.zeros(1, 2, 4)), "v has shape"),
        (lambda: changed(v=torch.full((1, 4), 1.01)), "sigmoid"),
        (lambda: changed(v=torch.full((1, 4), -0.1)), "0 to 1 neurons per step"),
        (lambda: changed(bias=torch.zeros(4)), "bias has shape"),
        (lambda: changed(h0=torch.zeros(1, 2, 3, 4)), "h0 has shape"),
        (lambda: changed(method="magic"), "method"),
        (lambda: changed(v=torch.zeros(1, 2, 6, 4), method="fft"), "changes from step to step"),
        (lambda: changed(x=torch.zeros(1, 2, 6, 4, dtype=torch.float64), method="compiled"), "float32"),
        (lambda: register_step(torch.zeros(1, 2, 3, 4), C, V, None, H), "x has shape"),
        (lambda: register_step(X, C[:, :2], V, None, H), "C has shape"),
        (lambda: register_step(X, C, torch.zeros(3), None, H), "v has shape"),
        (lambda: register_step(X, C, V, torch.zeros(4), H), "bias has shape"),
        (lambda: register_step(X, C, V, None, torch.zeros(1, 2, 3, 4)), "h has shape"),
        (lambda: register_states(torch.zeros(1, 1, 2, 3), torch.zeros(1, 3), 0), "n = 0"),
        (lambda: register_kernel(torch.zeros(2, 3), V, 4), "C has shape"),
        (lambda: register_kernel(C, V[:, :2], 4), "v has shape"),
        (lambda: register_kernel(C[..., :0], V, 4), "reads no neuron"),
        (lambda: register_kernel(C, V + 2, 4), "0 to 1"),
        (lambda: register_kernel(C, V, 0), "length = 0"),
        (lambda: binomial_shares(torch.zeros(3), 2, 4), "v has shape"),
        (lambda: binomial_shares(V, 0, 4), "n = 0"),
        (lambda: causal_convolution(torch.zeros(2, 3, 4), C), "x has shape"),
        (lambda: causal_convolution(torch.zeros(2, 3, 4, 5), C), "kernel has shape"),
        (lambda: causal_convolution(torch.zeros(2, 3, 4, 5), torch.zeros(2, 5, 0)), "not empty"),
    ],
)
def test_bad_input_is_refused(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


@needs_compiler
def test_numbers_too_small_for_a_normal_float_are_flushed_within_the_kernel_only() -> None:
    tiny = torch.full((4,), 1e-39)
    impulse = torch.zeros(1, 1, 21, 16)
    impulse[:, :, 0] = 1.0
    readout = torch.zeros(1, 16, 20)
    readout[..., -1] = 1.0
    y = register_scan(impulse, readout, torch.full((1, 16), 0.01), method="compiled")  # 1e-40 and 2e-39 at the end
    assert float(y.abs().max()) < torch.finfo(torch.float32).tiny
    assert bool((tiny * 1.0 > 0).all())  # PyTorch's own arithmetic is what it was


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(1, 12),
    length=st.integers(1, 30),
    v=st.one_of(st.floats(0, 1), st.sampled_from([0.0, 1.0, 1e-12, 1 - 1e-12, 0.5])),
    seed=st.integers(0, 1000),
)
def test_kernel_is_the_impulse_response(n: int, length: int, v: float, seed: int) -> None:
    C = normal(2, 3, n, seed=seed).requires_grad_()
    speed = torch.full((2, 3), v, dtype=torch.float64, requires_grad=True)
    impulse, weight = torch.zeros(2, 1, length, 3, dtype=torch.float64), normal(2, 3, length, seed=seed + 1)
    impulse[:, :, 0] = 1
    closed, loop = register_kernel(C, speed, length), register_scan_reference(impulse, C, speed)[0][:, 0].mT
    torch.testing.assert_close(closed, loop, rtol=1e-10, atol=1e-12)
    ours, theirs = (torch.autograd.grad((found * weight).sum(), (C, speed)) for found in (closed, loop))
    for mine, right in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, right, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("length", [1, 3, 5, 20_000])
def test_at_velocity_1_the_kernel_is_the_readout(dtype: torch.dtype, length: int) -> None:
    C = normal(1, 2, 5).to(dtype).requires_grad_()
    v = torch.ones(1, 2, dtype=dtype, requires_grad=True)
    kernel = register_kernel(C, v, length)
    shown = min(length, 5)
    torch.testing.assert_close(
        kernel[..., :shown], C[..., :shown], rtol=0, atol=2e-7 if dtype == torch.float32 else 1e-13
    )
    assert float(kernel[..., 5:].detach().abs().sum()) == 0.0
    gradients = torch.autograd.grad(kernel.square().sum(), (C, v))
    assert all(bool(gradient.isfinite().all()) for gradient in gradients)


def test_long_and_wide_kernels_stay_finite() -> None:
    C = normal(1, 3, 64).requires_grad_()
    v = torch.tensor([[1e-6, 0.37, 1 - 1e-9]], dtype=torch.float64, requires_grad=True)
    kernel = register_kernel(C, v, 20_000)
    assert bool(kernel.isfinite().all())
    assert all(bool(found.isfinite().all()) for found in torch.autograd.grad(kernel.square().sum(), (C, v)))
    # Whatever enters either is in the register or has left it: the shares of the last neuron's loss sum to 1.
    shares = binomial_shares(v.detach(), 64, 20_000)
    torch.testing.assert_close((v.detach() * shares[:, :, -1].sum(-1))[0, 1:], torch.ones(2, dtype=torch.float64))


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    C, v = normal(2, 3, 7).requires_grad_(), torch.rand(2, 3, dtype=torch.float64).requires_grad_()
    found = []
    for size in (2**22, 1):
        monkeypatch.setattr(register, "_BLOCK", size)
        kernel = register_kernel(C, v, 12)
        found.append([kernel, *torch.autograd.grad(kernel.square().sum(), (C, v))])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-13)


def test_velocities_are_looked_at() -> None:
    assert check_velocity(torch.ones(2, 3))
    assert not check_velocity(torch.tensor([[1.0, 0.999]]))
    assert not check_velocity(torch.tensor([[float("nan")]]))
    assert check_velocity(torch.ones(0, 3))
    with pytest.raises(ValueError, match=r"from 0\.5 to 1\.5"):
        check_velocity(torch.tensor([[0.5, 1.5]]))


def written_out(x: Tensor, kernel: Tensor) -> Tensor:
    y = torch.zeros_like(x)
    for t in range(x.shape[2]):
        for lag in range(min(kernel.shape[2], t + 1)):
            y[:, :, t] = y[:, :, t] + kernel[:, None, :, lag] * x[:, :, t - lag]
    return y


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("L", "lags"), [(1, 1), (1, 5), (7, 3), (20, 8), (20, 9), (33, 33), (16, 40)])
def test_convolution_is_the_sum(way: str, L: int, lags: int, dtype: torch.dtype) -> None:
    x, kernel = normal(2, 3, L, 5).requires_grad_(), normal(2, 5, lags, seed=1).requires_grad_()
    weight = normal(2, 3, L, 5, seed=2)
    expected = written_out(x, kernel)
    gradients = torch.autograd.grad((expected * weight).sum(), (x, kernel))
    own = x.detach().to(dtype).requires_grad_(), kernel.detach().to(dtype).requires_grad_()
    found = causal_convolution(*own)
    found_gradients = torch.autograd.grad((found * weight).sum(), own)
    tolerance: dict[str, Any] = {"rtol": 1e-4, "atol": 1e-4} if dtype == torch.float32 else {}
    torch.testing.assert_close(found.double(), expected, **tolerance)
    for mine, theirs in zip(found_gradients, gradients, strict=True):
        torch.testing.assert_close(mine.double(), theirs, **tolerance)


@given(st.integers(1, 10_000))
def test_transforms_are_long_enough(least: int) -> None:
    size = register._good_size(least)
    assert least <= size <= max(1, 2 * least - 1)
