"""The Wave-RNN's scan: compiled kernel against the plain loop over `conv1d`, and that loop against Eq. 3 written out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from wavemem.kernels.compiled import compiler
from wavemem.kernels.wave import WaveActivation, wave_final_state, wave_outputs, wave_scan

compiled = pytest.mark.skipif(compiler() is None, reason="no C compiler")


def drawn(
    K: int, c: int, n: int, k: int, d: int, o: int, T: int, B: int, seed: int = 0, dtype: torch.dtype = torch.float32
) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)

    parameters = {
        "u": draw(K, c, c, k) / (c * k) ** 0.5,
        "V": draw(K, c * n, d),
        "b": 0.3 * draw(K, c * n),
        "W": draw(K, o, c * n) / (c * n) ** 0.5,
        "b_y": draw(K, o),
    }
    return parameters, draw(T, K, B, d), draw(K, B, c, n)


def evaluate(what: str, parameters: dict[str, Tensor], x: Tensor, h0: Tensor, activation: WaveActivation) -> Tensor:
    recurrence = [parameters[name] for name in ("u", "V", "b")]
    if what == "states":
        return wave_scan(*recurrence, x, h0, activation=activation)
    if what == "last":
        return wave_final_state(*recurrence, x, h0, activation=activation)
    return wave_outputs(**parameters, inputs=x, h0=h0, every_step=what == "every", activation=activation)


def results(
    what: str, parameters: dict[str, Tensor], x: Tensor, h0: Tensor, activation: WaveActivation
) -> list[Tensor]:
    own = {name: value.clone().requires_grad_() for name, value in parameters.items()}
    y = evaluate(what, own, x, h0, activation)
    weight = torch.randn(y.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(y)
    used = [own[name] for name in (("u", "V", "b") if what in ("states", "last") else own)]
    return [y.detach(), *torch.autograd.grad((y * weight).sum(), used)]


@pytest.mark.parametrize("activation", ["relu", "tanh", "linear"])
@pytest.mark.parametrize("what", ["states", "last", "outputs", "every"])
@pytest.mark.parametrize(
    "sizes",  # K c n k d o T B: blocks of every size, several runs, odd batches, no halo, a halo as long as the ring
    [
        (1, 6, 10, 3, 10, 10, 7, 32),
        (2, 5, 7, 5, 3, 13, 9, 40),
        (3, 13, 1, 1, 4, 2, 70, 5),
        (2, 27, 8, 3, 2, 1, 5, 33),
        (1, 1, 4, 1, 1, 3, 1, 64),
        (1, 16, 2, 5, 1, 3, 6, 1),
    ],
)
def test_compiled_kernel_equals_the_float64_loop(sizes: tuple[int, ...], what: str, activation: WaveActivation) -> None:
    parameters, x, h0 = drawn(*sizes)
    ours = results(what, parameters, x, h0, activation)
    double = {name: value.double() for name, value in parameters.items()}
    theirs = results(what, double, x.double(), h0.double(), activation)
    for mine, reference in zip(ours, theirs, strict=True):
        assert mine.shape == reference.shape
        scale = float(reference.abs().max())
        torch.testing.assert_close(mine.double(), reference, rtol=0, atol=3e-5 * max(scale, 1e-3))


@pytest.mark.parametrize("activation", ["relu", "tanh", "linear"])
def test_gradients_of_inputs_and_initial_state_take_the_plain_path(activation: WaveActivation) -> None:
    parameters, x, h0 = drawn(2, 2, 5, 3, 2, 1, 3, 2, dtype=torch.float64)
    x.requires_grad_()
    h0.requires_grad_()

    def scan(x: Tensor, h0: Tensor) -> Tensor:
        return wave_scan(parameters["u"], parameters["V"], parameters["b"], x, h0, activation=activation)

    assert torch.autograd.gradcheck(scan, (x, h0))
    single = {name: value.float() for name, value in parameters.items()}
    start = h0.detach().float().requires_grad_()
    y = wave_outputs(**single, inputs=x.detach().float(), h0=start, every_step=False, activation=activation)
    assert torch.autograd.grad(y.sum(), start)[0].abs().sum() > 0


def test_runs_and_batch_entries_do_not_influence_each_other() -> None:
    parameters, x, h0 = drawn(3, 4, 6, 3, 2, 2, 8, 37)
    whole = wave_outputs(**parameters, inputs=x, h0=h0, every_step=True)
    one = {name: value[1:2] for name, value in parameters.items()}
    alone = wave_outputs(**one, inputs=x[:, 1:2, :5], h0=h0[1:2, :5], every_step=True)
    assert torch.equal(whole[:, 1:2, :5], alone)


@compiled
def test_the_number_of_threads_changes_no_bit(same_with_any_threads: Callable[..., None]) -> None:
    parameters, x, h0 = drawn(2, 6, 9, 3, 3, 4, 6, 70)
    same_with_any_threads(lambda: results("every", parameters, x, h0, "relu"))


@compiled
def test_memory_of_states_is_used_again_only_after_the_backward_pass() -> None:
    parameters, x, h0 = drawn(1, 3, 8, 3, 2, 2, 5, 32)
    own = {name: value.clone().requires_grad_() for name, value in parameters.items()}
    first = evaluate("every", own, x, h0, "relu")
    second = evaluate("every", own, 2 * x, h0, "relu")
    expected = torch.autograd.grad(evaluate("every", own, x, h0, "relu").sum(), own["u"])[0]
    torch.autograd.grad(second.sum(), own["u"], retain_graph=True)
    assert torch.equal(torch.autograd.grad(first.sum(), own["u"])[0], expected)
    with pytest.raises(RuntimeError, match="second time"):
        torch.autograd.grad(second.sum(), own["u"])


def test_not_a_number_stays_not_a_number() -> None:
    parameters, x, h0 = drawn(1, 2, 5, 3, 2, 2, 3, 4)
    x[0, 0, 0, 0] = float("nan")
    y = wave_outputs(**parameters, inputs=x, h0=h0, every_step=False)
    assert bool(y[0, 0].isnan().all())
    assert bool(y[0, 1:].isfinite().all())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"u": torch.zeros(1, 2, 2, 2)}, "odd"),
        ({"u": torch.zeros(1, 2, 3, 3)}, "u has shape"),
        ({"V": torch.zeros(1, 7, 2)}, "multiple of 2"),
        ({"u": torch.zeros(1, 2, 2, 21)}, "hold half its kernel"),
        ({"b": torch.zeros(1, 3)}, "b has shape"),
        ({"inputs": torch.zeros(4, 1, 3, 5)}, "inputs has shape"),
        ({"inputs": torch.zeros(0, 1, 3, 2)}, "not empty"),
        ({"h0": torch.zeros(1, 3, 2, 4)}, "h0 has shape"),
        ({"activation": "sigmoid"}, "activation"),
        ({"W": torch.zeros(1, 2, 3)}, "W has shape"),
        ({"b_y": torch.zeros(1, 5)}, "b_y has shape"),
    ],
)
def test_bad_input_is_refused(change: dict[str, Any], message: str) -> None:
    parameters, x, h0 = drawn(1, 2, 5, 3, 2, 2, 4, 3)
    arguments: dict[str, Any] = {**parameters, "inputs": x, "h0": h0, "every_step": True}
    with pytest.raises(ValueError, match=message):
        wave_outputs(**{**arguments, **change})
