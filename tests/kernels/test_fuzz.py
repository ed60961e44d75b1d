"""Every public kernel against its plain loop, as a careless caller would call it.

Shapes, number formats, layouts in memory, the process's default format, modes of autograd, results that are kept, calls in a
row and calls from two threads are drawn; nothing of that may change a number.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from wavemem.kernels.elman import elman_scan, elman_scan_reference
from wavemem.kernels.register import causal_convolution, register_scan, register_scan_reference
from wavemem.kernels.selective import selective_scan, selective_scan_reference
from wavemem.kernels.wave import wave_final_state, wave_outputs, wave_scan, wave_scan_reference
from wavemem.kernels.wave_linear import wave_linear_scan

Sizes = tuple[int, int, int, int]  # K runs, T steps, B entries, n neurons


@dataclass(frozen=True)
class Kernel:
    """A public call, the loop that it must agree with, and arguments for both."""

    call: Callable[..., Tensor]
    loop: Callable[..., Tensor]
    arguments: Callable[[Sizes], list[tuple[int, ...]]]
    unit: tuple[int, ...] = ()  # arguments that lie in [0, 1]
    repeated: tuple[int, ...] = ()  # matrices applied at every step: kept from amplifying what is rounded


def _convolution(x: Tensor, kernel: Tensor) -> Tensor:
    out = torch.zeros_like(x)
    for lag in range(min(kernel.shape[-1], x.shape[2])):
        out[:, :, lag:] = out[:, :, lag:] + kernel[:, None, None, :, lag] * x[:, :, : x.shape[2] - lag]
    return out


def _outputs(every: bool) -> Callable[..., Tensor]:
    def loop(u: Tensor, V: Tensor, b: Tensor, W: Tensor, b_y: Tensor, x: Tensor) -> Tensor:
        read = wave_scan_reference(u, V, b, x).flatten(3) @ W.mT + b_y[:, None]
        return read if every else read[-1]

    return loop


def _wave(sizes: Sizes) -> list[tuple[int, ...]]:
    K, T, B, n = sizes
    return [(K, 2, 2, 3), (K, 2 * n, 3), (K, 2 * n), (T, K, B, 3)]


def _read(sizes: Sizes) -> list[tuple[int, ...]]:
    u, V, b, x = _wave(sizes)
    return [u, V, b, (sizes[0], 4, V[1]), (sizes[0], 4), x]


def _selective(sizes: Sizes) -> list[tuple[int, ...]]:
    K, T, B, n = sizes
    return [(K, B, T, 3), (K, B, T, 3), (K, 3, n), (K, B, T, n), (K, B, T, n), (K, 3), (K, B, T, 3), (K, 3)]


def _elman(sizes: Sizes) -> list[tuple[int, ...]]:
    K, T, B, n = sizes
    N = n * n  # on both sides of the kernel's widths
    return [(K, N, N), (K, N, 3), (T, K, B, 3)]


def _register(sizes: Sizes) -> list[tuple[int, ...]]:
    K, T, B, n = sizes
    return [(K, B, T, 5), (K, 5, n), (K, 5), (K, 5)]


KERNELS = {
    "wave_scan": Kernel(wave_scan, wave_scan_reference, _wave),
    "wave_final_state": Kernel(wave_final_state, lambda *a: wave_scan_reference(*a)[-1], _wave),
    "wave_outputs": Kernel(lambda *a: wave_outputs(*a, every_step=False), _outputs(False), _read),
    "wave_outputs, every step": Kernel(lambda *a: wave_outputs(*a, every_step=True), _outputs(True), _read),
    "wave_linear_scan": Kernel(wave_linear_scan, lambda *a: wave_scan_reference(*a, activation="linear"), _wave),
    "elman_scan": Kernel(elman_scan, elman_scan_reference, _elman, repeated=(0,)),
    "selective_scan": Kernel(
        lambda *a: selective_scan(*a, softplus=True)[0],
        lambda *a: selective_scan_reference(*a, softplus=True)[0],
        _selective,
    ),
    "register_scan": Kernel(register_scan, lambda *a: register_scan_reference(*a)[0], _register, unit=(2,)),
    "causal_convolution": Kernel(causal_convolution, _convolution, lambda s: [(s[0], s[2], s[1], 3), (s[0], 3, s[3])]),
}

DIFFERENTIABLE_ONCE = ("wave_linear_scan", "selective_scan", "register_scan")
"""In float64, where the others take their plain path."""

LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "dense": lambda x: x.contiguous(),
    "transposed": lambda x: x.transpose(0, -1).contiguous().transpose(0, -1),
    "every other": lambda x: x.repeat_interleave(2, -1)[..., ::2],
    "half of a wider one": lambda x: torch.cat([x, x], -1)[..., : x.shape[-1]],
    "offset": lambda x: torch.cat([x[:1], x])[1:],
    "lazy sign": lambda x: torch._neg_view(-x),
    "imaginary part": lambda x: torch.complex(x, -x).conj().imag,
}


@contextlib.contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def draw(kernel: Kernel, sizes: Sizes, seed: int, dtype: torch.dtype) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    drawn = []
    for i, shape in enumerate(kernel.arguments(sizes)):
        value = torch.randn(shape, generator=generator, dtype=torch.float64) * 0.4
        value = value / shape[-1] ** 0.5 if i in kernel.repeated else value
        drawn.append((value.sigmoid() if i in kernel.unit else value).to(dtype))
    return drawn


def close(found: Tensor, wanted: Tensor) -> None:
    """Alike up to rounding, which is as large as the largest value allows: a wave that grows rounds in all its sums."""
    loose = 2e-4 if found.dtype == torch.float32 else 1e-9
    scale = wanted.abs().max().clamp(min=1.0)
    torch.testing.assert_close(found.double() / scale, wanted / scale, rtol=loose, atol=loose)


SIZES = st.tuples(st.integers(1, 3), st.integers(1, 40), st.integers(1, 40), st.integers(2, 9))
DTYPES = st.sampled_from([torch.float32, torch.float64])
DEFAULTS = st.sampled_from([torch.float32, torch.float64, torch.bfloat16, torch.float16])


@pytest.mark.parametrize("name", KERNELS)
@settings(max_examples=12, deadline=None)
@given(SIZES, st.integers(0, 10**6), DTYPES, DEFAULTS, st.sampled_from(sorted(LAYOUTS)), st.data())
def test_outputs_and_gradients_are_those_of_the_loop(
    name: str, sizes: Sizes, seed: int, dtype: torch.dtype, default: torch.dtype, layout: str, data: st.DataObject
) -> None:
    kernel = KERNELS[name]
    plain = draw(kernel, sizes, seed, dtype)
    exact = [value.double().requires_grad_() for value in plain]
    wanted = kernel.loop(*exact)
    weight = torch.randn(wanted.shape, generator=torch.Generator().manual_seed(seed + 1), dtype=torch.float64)
    gradients = torch.autograd.grad((wanted * weight).sum(), exact)
    chosen = data.draw(st.lists(st.booleans(), min_size=len(plain), max_size=len(plain)), label="differentiated")
    with default_dtype(default):
        given_ = [LAYOUTS[layout](value).detach().requires_grad_(on) for value, on in zip(plain, chosen, strict=True)]
        kept = kernel.call(*given_)
        assert kept.dtype == dtype
        before = kept.detach().clone()
        other = kernel.call(*draw(kernel, sizes, seed + 2, dtype))  # a call in a row, of the same size
        assert torch.equal(kept.detach(), before)
        if any(chosen):
            leaves = [value for value in given_ if value.requires_grad]
            found = torch.autograd.grad((kept * weight.to(dtype)).sum(), leaves)
            kernel.call(*draw(kernel, sizes, seed + 3, dtype))
            assert torch.equal(kept.detach(), before)  # kept beyond the backward pass
            for mine, exact_one in zip(found, [g for g, on in zip(gradients, chosen, strict=True) if on], strict=True):
                close(mine, exact_one)
        del other
    close(before, wanted.detach())


@pytest.mark.parametrize("name", KERNELS)
def test_modes_of_autograd_and_threads_change_no_number(name: str) -> None:
    kernel, sizes = KERNELS[name], (2, 12, 5, 4)
    many = [draw(kernel, sizes, seed, torch.float32) for seed in range(6)]
    wanted = [kernel.loop(*(value.double() for value in one)) for one in many]
    with torch.inference_mode():
        inferred = [kernel.call(*one) for one in many]
    parameters = [[torch.nn.Parameter(value) for value in one] for one in many]
    with torch.no_grad():
        silent = [kernel.call(*one) for one in parameters]
    trained = [kernel.call(*one) for one in parameters]
    with ThreadPoolExecutor(2) as pool:
        threaded = list(pool.map(lambda one: kernel.call(*one), many * 5))
    for results in (inferred, silent, trained, threaded[:6], threaded[-6:]):
        for found, exact in zip(results, wanted, strict=True):
            close(found.detach().clone(), exact)
    assert not any(result.requires_grad for result in (*inferred, *silent))


@pytest.mark.parametrize("name", KERNELS)
def test_second_derivatives_are_right_or_refused(name: str) -> None:
    kernel = KERNELS[name]
    given_ = [value.requires_grad_() for value in draw(kernel, (1, 3, 2, 3), 0, torch.float64)]
    exact = [value.detach().clone().requires_grad_() for value in given_]

    def curvature(call: Callable[..., Tensor], values: list[Tensor]) -> list[Tensor]:
        first = torch.autograd.grad(call(*values).square().sum() + call(*values).sum(), values, create_graph=True)
        penalty = torch.stack([g.square().sum() for g in first]).sum()
        return list(torch.autograd.grad(penalty, values))

    if name in DIFFERENTIABLE_ONCE:
        with pytest.raises(RuntimeError, match="second derivatives"):
            curvature(kernel.call, given_)
    else:
        for mine, right in zip(curvature(kernel.call, given_), curvature(kernel.loop, exact), strict=True):
            torch.testing.assert_close(mine, right, rtol=1e-6, atol=1e-8)


BAD: dict[str, Callable[[Tensor], Any]] = {
    "another float": lambda x: x.double(),
    "half": lambda x: x.half(),
    "whole numbers": lambda x: x.long(),
    "complex": lambda x: x.to(torch.complex64),
    "no memory": lambda x: x.to("meta"),
    "sparse": lambda x: x.to_sparse(),
}


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("kind", BAD)
def test_one_argument_of_another_kind_is_refused_by_name(name: str, kind: str) -> None:
    kernel = KERNELS[name]
    plain = draw(kernel, (2, 4, 3, 4), 0, torch.float32)
    for i in range(len(plain)):
        changed = [BAD[kind](value) if j == i else value for j, value in enumerate(plain)]
        with pytest.raises(ValueError, match="allowed: "):
            kernel.call(*changed)
