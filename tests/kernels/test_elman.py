"""The Elman scan against its plain reference, torch.nn.RNN and finite differences."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from wavemem.kernels.elman import Activation, elman_scan, elman_scan_reference

Arguments = tuple[Tensor, Tensor, Tensor, Tensor]


def _arguments(K: int, N: int, d: int, S: int, B: int, dtype: torch.dtype = torch.float64) -> Arguments:
    generator = torch.Generator().manual_seed(0)

    def drawn(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()

    W_hh = (drawn(K, N, N).detach() / N**0.5).requires_grad_()
    return W_hh, drawn(K, N, d), drawn(S, K, B, d), drawn(K, B, N)


@pytest.mark.parametrize("activation", ["tanh", "linear"])
@pytest.mark.parametrize("K", [1, 3])
@pytest.mark.parametrize("steps", [None, 9])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-4)])
def test_scan_equals_reference(
    activation: Activation, K: int, steps: int | None, dtype: torch.dtype, tolerance: float
) -> None:
    arguments = _arguments(K, N=6, d=2, S=4, B=5, dtype=dtype)
    ours = elman_scan(*arguments, steps=steps, activation=activation)
    reference = elman_scan_reference(*arguments, steps=steps, activation=activation)
    torch.testing.assert_close(ours, reference, rtol=tolerance, atol=tolerance)
    weight = torch.randn(ours.shape, generator=torch.Generator().manual_seed(1), dtype=dtype)
    for mine, theirs in zip(
        torch.autograd.grad((ours * weight).sum(), arguments),
        torch.autograd.grad((reference * weight).sum(), arguments),
        strict=True,
    ):
        assert float((mine - theirs).norm() / theirs.norm()) < tolerance


@pytest.mark.parametrize("activation", ["tanh", "linear"])
def test_gradcheck(activation: Activation) -> None:
    arguments = _arguments(2, N=4, d=2, S=2, B=3)

    def scan(W_hh: Tensor, W_uh: Tensor, inputs: Tensor, h0: Tensor) -> Tensor:
        return elman_scan(W_hh, W_uh, inputs, h0, steps=4, activation=activation)

    assert torch.autograd.gradcheck(scan, arguments)


def test_scan_equals_torch_rnn_with_gradients() -> None:
    W_hh, W_uh, inputs, _ = _arguments(1, N=6, d=2, S=7, B=5)
    rnn = torch.nn.RNN(2, 6, bias=False, dtype=torch.float64)
    with torch.no_grad():
        rnn.weight_hh_l0.copy_(W_hh[0])
        rnn.weight_ih_l0.copy_(W_uh[0])
    expected, _ = rnn(inputs[:, 0])
    ours = elman_scan(W_hh, W_uh, inputs)[:, 0]
    torch.testing.assert_close(ours, expected)
    mine = torch.autograd.grad(ours.square().sum(), (W_hh, W_uh))
    theirs = torch.autograd.grad(expected.square().sum(), (rnn.weight_hh_l0, rnn.weight_ih_l0))
    for left, right in zip(mine, theirs, strict=True):
        torch.testing.assert_close(left[0], right)


def test_zero_suffix_equals_zero_inputs() -> None:
    W_hh, W_uh, inputs, h0 = _arguments(2, N=5, d=2, S=3, B=4)
    padded = torch.cat([inputs, torch.zeros(4, *inputs.shape[1:], dtype=inputs.dtype)])
    torch.testing.assert_close(elman_scan(W_hh, W_uh, inputs, h0, steps=7), elman_scan(W_hh, W_uh, padded, h0))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"activation": "relu"}, "activation"),
        ({"steps": 2}, "steps"),
        ({"h0": torch.zeros(2, 4, 9)}, "h0"),
        ({"inputs": torch.zeros(3, 1, 4, 2)}, "inputs"),
        ({"W_uh": torch.zeros(2, 9, 2)}, "W_uh"),
        ({"W_hh": torch.zeros(2, 5, 6)}, "W_hh"),
    ],
)
def test_wrong_arguments_are_named(change: dict[str, object], message: str) -> None:
    W_hh, W_uh, inputs, h0 = (x.detach() for x in _arguments(2, N=5, d=2, S=3, B=4))
    arguments: dict[str, object] = {"W_hh": W_hh, "W_uh": W_uh, "inputs": inputs, "h0": h0, **change}
    with pytest.raises(ValueError, match=message):
        elman_scan(**arguments)
