"""The fused loss and gradients against autograd through the plain reference."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from wavemem.kernels import elman_training
from wavemem.kernels.elman import Activation, elman_scan_reference
from wavemem.kernels.elman_training import Workspace, loss_and_gradients

Weights = tuple[Tensor, Tensor, Tensor]


def _problem(K: int, N: int, B: int, s: int, d: int, H: int, dtype: torch.dtype) -> tuple[Weights, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)

    def drawn(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=dtype)

    weights = drawn(K, N, N) / N**0.5, drawn(K, N, d) / 3, drawn(K, d, N) / N**0.5
    return weights, drawn(K, B, s, d).sign(), drawn(K, B, H, d).sign()


def _reference(
    weights: Weights, u: Tensor, y: Tensor, activation: Activation, horizons: Tensor
) -> tuple[Tensor, Tensor, Weights]:
    W_hh, W_uh, W_r = (w.double().requires_grad_() for w in weights)
    s, H = u.shape[2], y.shape[2]
    inputs, goal = u.double().permute(2, 0, 1, 3), y.double().permute(2, 0, 1, 3)
    states = elman_scan_reference(W_hh, W_uh, inputs, steps=s + H, activation=activation)[s:]
    out = torch.einsum("tkbn,kdn->tkbd", states, W_r)
    inside = (torch.arange(H)[:, None] < horizons).double()
    by_step = (out - goal).square().mean((2, 3)) * inside
    right = (out * goal > 0).double().mean((2, 3)) * inside
    W = torch.autograd.grad((by_step.sum(0) / horizons).sum(), (W_hh, W_uh, W_r))
    return by_step.detach(), right, (W[0], W[1], W[2])


@pytest.mark.parametrize("activation", ["tanh", "linear"])
@pytest.mark.parametrize("block", [1, 2**21])
@pytest.mark.parametrize(
    ("K", "grouped", "dtype", "tolerance"),
    [
        (1, False, torch.float64, 1e-12),
        (3, False, torch.float64, 1e-12),
        (3, False, torch.float32, 1e-4),
        (3, True, torch.float32, 1e-4),
    ],
)
def test_sweep_equals_reference(
    monkeypatch: pytest.MonkeyPatch,
    activation: Activation,
    block: int,
    K: int,
    grouped: bool,
    dtype: torch.dtype,
    tolerance: float,
) -> None:
    # A block of one step, and one larger than the whole horizon.
    monkeypatch.setattr(elman_training, "_BLOCK_BYTES", block)
    grouped = grouped and elman_training.grouped_pays(torch.zeros(2, 128, 128))
    weights, u, y = _problem(K, N=10, B=5, s=3, d=2, H=7, dtype=dtype)
    horizons = torch.tensor([7, 4, 2][:K])
    result = loss_and_gradients(*weights, u, y, activation, horizons, grouped=grouped)
    loss, accuracy, gradients = _reference(weights, u, y, activation, horizons)
    torch.testing.assert_close(result.loss_by_step.double(), loss, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(result.accuracy_by_step.double(), accuracy, rtol=1e-6, atol=1e-6)
    for mine, theirs in zip(result.gradients, gradients, strict=True):
        assert float((mine - theirs).norm() / theirs.norm()) < tolerance


@pytest.mark.parametrize("K", [1, 2])
def test_sweep_equals_reference_at_the_size_of_the_books_networks(K: int) -> None:
    weights, u, y = _problem(K, N=128, B=16, s=4, d=4, H=20, dtype=torch.float32)
    _, _, gradients = _reference(weights, u, y, "tanh", torch.tensor([20] * K))
    for mine, theirs in zip(loss_and_gradients(*weights, u, y).gradients, gradients, strict=True):
        assert float((mine - theirs).norm() / theirs.norm()) < 1e-4


def test_memory_is_reused_and_does_not_leak_into_results() -> None:
    workspace = Workspace()
    weights, u, y = _problem(2, N=10, B=5, s=3, d=2, H=9, dtype=torch.float32)
    first = loss_and_gradients(*weights, u, y, workspace=workspace)
    kept = [gradient.clone() for gradient in first.gradients]
    address = workspace.take("states", (1,), u).data_ptr()
    workspace.take("states", (5,), u).fill_(float("nan"))
    again = loss_and_gradients(*weights, u[:, :, :, :], y[:, :, :4], workspace=workspace)
    assert bool(torch.isfinite(again.loss_by_step).all())
    assert workspace.take("states", (1,), u).data_ptr() == address
    for before, after in zip(kept, first.gradients, strict=True):
        assert torch.equal(before, after)


def test_wrong_shapes_are_named() -> None:
    weights, u, y = _problem(2, N=10, B=5, s=3, d=2, H=9, dtype=torch.float32)
    with pytest.raises(ValueError, match="targets"):
        loss_and_gradients(*weights, u, y[:1])
    with pytest.raises(ValueError, match="W_r"):
        loss_and_gradients(weights[0], weights[1], weights[2].mT, u, y)
