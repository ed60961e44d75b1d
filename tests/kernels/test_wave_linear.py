"""The linear Wave-RNN in parallel over time against stepping through it, in outputs and gradients."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import get_args

import pytest
import torch
from torch import Tensor

from wavemem.kernels.wave_linear import Method, spectral_blocks, wave_kernel, wave_linear_outputs, wave_linear_scan
from wavemem.streams import stream

Arguments = tuple[Tensor, ...]


def step_by_step(u: Tensor, V: Tensor, b: Tensor, inputs: Tensor, h0: Tensor | None = None) -> Tensor:
    """The recurrence as it is written, tap by tap with `torch.roll`."""
    c, k = u.shape[1], u.shape[3]
    h = inputs.new_zeros(*inputs.shape[1:3], c, V.shape[1] // c) if h0 is None else h0
    states = []
    for x in inputs:
        following = (torch.einsum("krd,kbd->kbr", V, x) + b.unsqueeze(1)).unflatten(-1, (c, -1))
        for j in range(k):
            following = following + torch.einsum("koi,kbiv->kbov", u[..., j], torch.roll(h, k // 2 - j, -1))
        h = following
        states.append(h)
    return torch.stack(states)


def stepped_outputs(
    u: Tensor, V: Tensor, b: Tensor, W: Tensor, b_y: Tensor, inputs: Tensor, every_step: bool
) -> Tensor:
    states = step_by_step(u, V, b, inputs)
    y = torch.einsum("tkbr,kor->tkbo", states.flatten(3), W) + b_y.unsqueeze(1)
    return y if every_step else y[-1]


def problem(
    T: int, n: int, c: int = 2, k: int = 3, K: int = 2, B: int = 2, d: int = 3, o: int = 2, seed: int = 0
) -> Arguments:
    """Random arguments u, V, b, W, b_y, inputs whose waves neither die at once nor grow much."""
    g = stream(seed, f"{T} {n} {c} {k}")

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=g, dtype=torch.float64)

    u = 0.1 / math.sqrt(c) * draw(K, c, c, k)
    u[:, range(c), range(c), -1] += 0.75
    return u, draw(K, c * n, d), draw(K, c * n), draw(K, o, c * n), draw(K, o), draw(T, K, B, d)


def with_gradients(call: Callable[..., Tensor], arguments: Arguments) -> list[Tensor]:
    """What a function returns, and the gradients of a fixed random sum of it."""
    own = [a.clone().requires_grad_() for a in arguments]
    found = call(*own)
    weight = torch.randn(found.shape, generator=stream(1, "weight"), dtype=torch.float64)
    # One step does not yet go round: nothing depends on u.
    return [found.detach(), *torch.autograd.grad((found * weight).sum(), own, materialize_grads=True)]


def same(ours: Tensor, reference: Tensor, tolerance: float) -> None:
    assert ours.shape == reference.shape
    torch.testing.assert_close(ours, reference, rtol=0.0, atol=tolerance * float(reference.detach().abs().max()))


SIZES = [(1, 8, 3, 3), (2, 7, 2, 5), (3, 1, 2, 3), (17, 9, 1, 3), (100, 12, 3, 3), (400, 5, 2, 7), (2000, 8, 2, 3)]


@pytest.mark.parametrize(("T", "n", "c", "k"), SIZES)
def test_states_and_gradients_are_those_of_the_recurrence(T: int, n: int, c: int, k: int) -> None:
    u, V, b, _, _, *rest = problem(T, n, c, k)
    ours, theirs = (with_gradients(scan, (u, V, b, *rest)) for scan in (wave_linear_scan, step_by_step))
    for mine, reference in zip(ours, theirs, strict=True):
        same(mine, reference, 1e-9)


@pytest.mark.parametrize("every_step", [True, False])
@pytest.mark.parametrize(("T", "n", "c", "k"), SIZES)
def test_outputs_and_gradients_are_those_of_the_recurrence(T: int, n: int, c: int, k: int, every_step: bool) -> None:
    arguments = problem(T, n, c, k)
    theirs = with_gradients(partial(stepped_outputs, every_step=every_step), arguments)
    for method in get_args(Method):
        ours = with_gradients(partial(wave_linear_outputs, every_step=every_step, method=method), arguments)
        for mine, reference in zip(ours, theirs, strict=True):
            same(mine, reference, 1e-9)


@pytest.mark.parametrize("method", get_args(Method))
def test_float32_over_thousands_of_steps(method: Method) -> None:
    """Tolerance of single precision: 2e-5 of the largest output after 4,000 steps of a lossless wave."""
    arguments = list(problem(4000, 16, c=1, K=1, B=1, d=1, o=1))
    arguments[0] = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64).view(1, 1, 1, 3)
    single = [a.float() for a in arguments]
    found = wave_linear_outputs(*single, every_step=True, method=method)
    assert found.dtype == torch.float32
    same(found.double(), stepped_outputs(*(a.double() for a in single), every_step=True), 2e-5)


def test_defective_blocks_need_no_eigenvectors() -> None:
    """Two channels, the second of which feeds the first: every block is a Jordan block and grows like t."""
    arguments = list(problem(300, 6, c=2, K=1))
    u = torch.zeros(1, 2, 2, 3, dtype=torch.float64)
    u[0, 0, 0, 2] = u[0, 1, 1, 2] = u[0, 0, 1, 2] = 1.0
    _, V, b, _, _, inputs = arguments
    eigenvectors = torch.linalg.eig(spectral_blocks(u, 6)[0, 1]).eigenvectors
    assert float(torch.linalg.cond(eigenvectors)) > 1e7
    same(wave_linear_scan(u, V, b, inputs), step_by_step(u, V, b, inputs), 1e-9)


def test_the_shift_has_the_roots_of_unity() -> None:
    n = 12
    shift = torch.zeros(1, 1, 1, 3, dtype=torch.float64)
    shift[..., 2] = 1.0
    blocks = spectral_blocks(shift, n, every=True)[0, :, 0, 0]
    roots = torch.exp(2j * math.pi * torch.arange(n, dtype=torch.float64) / n)
    torch.testing.assert_close(blocks, roots, rtol=0, atol=1e-15)


def test_blocks_are_the_matrix_of_the_recurrence_in_the_fourier_basis() -> None:
    n, c = 7, 3
    u = problem(1, n, c, 5, K=1)[0]
    zeros = torch.zeros(1, c * n, 1, dtype=torch.float64)
    basis = torch.eye(c * n, dtype=torch.float64).view(1, c * n, c, n)
    inputs = torch.zeros(1, 1, c * n, 1, dtype=torch.float64)
    matrix = step_by_step(u, zeros, zeros[..., 0], inputs, basis)[0, 0].flatten(1).T
    found = torch.linalg.eigvals(spectral_blocks(u, n, every=True)[0]).flatten()
    for eigenvalue in torch.linalg.eigvals(matrix):
        assert float((found - eigenvalue).abs().min()) < 1e-9


def test_the_kernel_is_the_response_to_a_unit_input() -> None:
    T, n = 50, 9
    u, V, b, W, b_y, inputs = problem(T, n)
    kernel = wave_kernel(u, V, W, T)
    for j in range(inputs.shape[-1]):
        impulse = torch.zeros_like(inputs[:, :, :1])
        impulse[0, ..., j] = 1.0
        expected = stepped_outputs(u, V, 0 * b, W, 0 * b_y, impulse, every_step=True)[:, :, 0]
        same(kernel[..., j].transpose(0, 1), expected, 1e-9)
    with pytest.raises(ValueError, match="length"):
        wave_kernel(u, V, W, 0)


def test_biases_may_be_left_out() -> None:
    u, V, b, W, b_y, inputs = problem(20, 5)
    zero = wave_linear_outputs(u, V, 0 * b, W, 0 * b_y, inputs, every_step=True)
    same(wave_linear_outputs(u, V, None, W, None, inputs, every_step=True), zero, 1e-12)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"u": torch.zeros(2, 2, 2, 4)}, "odd"),
        ({"V": torch.zeros(2, 9, 3)}, "multiple"),
        ({"W": torch.zeros(2, 2, 4)}, "W has shape"),
        ({"b": torch.zeros(2, 3)}, "b has shape"),
        ({"b_y": torch.zeros(2, 5)}, "b_y has shape"),
        ({"inputs": torch.zeros(0, 2, 2, 3)}, "not empty"),
        ({"method": "fast"}, "method"),
    ],
)
def test_bad_input_is_refused(change: dict[str, object], message: str) -> None:
    names = ("u", "V", "b", "W", "b_y", "inputs")
    arguments: dict[str, object] = dict(zip(names, problem(5, 5), strict=True))
    change = {name: value.double() if isinstance(value, torch.Tensor) else value for name, value in change.items()}
    with pytest.raises(ValueError, match=message):
        wave_linear_outputs(**(arguments | change), every_step=True)
