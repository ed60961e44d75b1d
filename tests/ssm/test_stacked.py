"""Layers of K models side by side: each run is what PyTorch's own layer would be."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from wavemem.ssm.token_model import RMSNorm, StackedEmbedding, StackedLinear, draw_uniform, generators


def test_linear_is_torch_linear_run_by_run() -> None:
    layer = StackedLinear.draw(generators((3, 4), "test"), 5, 7)
    x = torch.randn(2, 3, 4, 5, dtype=torch.float64)
    for k in range(2):
        assert layer.bias is not None
        expected = nn.functional.linear(x[k], layer.weight[k], layer.bias[k])
        torch.testing.assert_close(layer(x)[k], expected)
    without = StackedLinear.draw(generators((3,), "test"), 5, 7, bias=False)
    torch.testing.assert_close(without(x[:1])[0], x[0] @ without.weight[0].mT)
    assert float(without.weight.detach().abs().max()) <= 5**-0.5


def test_embedding_looks_up_each_runs_own_table() -> None:
    table = StackedEmbedding.draw(generators((0, 1), "test"), 6, 3)
    tokens = torch.randint(6, (2, 4, 5))
    for k in range(2):
        torch.testing.assert_close(table(tokens)[k], table.weight[k][tokens[k]])


def test_norm_is_torchs_with_one_gain_per_run() -> None:
    norm = RMSNorm(2, 4)
    with torch.no_grad():
        norm.gain.copy_(torch.rand(2, 4))
    x = torch.randn(2, 3, 5, 4, dtype=torch.float64)
    for k in range(2):
        own = nn.RMSNorm(4, eps=norm.eps, dtype=torch.float64)
        own.weight = nn.Parameter(norm.gain[k].detach().clone())
        torch.testing.assert_close(norm(x)[k], own(x[k]))


def test_weights_depend_on_the_runs_own_seed_alone() -> None:
    alone = draw_uniform(generators((7,), "weights"), (3, 2), 0.5)
    among = draw_uniform(generators((1, 7, 2), "weights"), (3, 2), 0.5)
    assert torch.equal(alone[0], among[1])
    assert float(among.abs().max()) <= 0.5


def test_layers_say_what_does_not_fit() -> None:
    draws = generators((0, 1), "test")
    layer = StackedLinear.draw(draws, 5, 7)
    with pytest.raises(ValueError, match="x has shape"):
        layer(torch.zeros(3, 4, 5))
    with pytest.raises(ValueError, match="bias"):
        StackedLinear(torch.zeros(2, 7, 5), torch.zeros(2, 6))
    with pytest.raises(ValueError, match="tokens"):
        StackedEmbedding.draw(draws, 6, 3)(torch.zeros(3, 4, dtype=torch.int64))
    with pytest.raises(ValueError, match="x has shape"):
        RMSNorm(2, 4)(torch.zeros(2, 3, 5))
    with pytest.raises(ValueError, match="seeds"):
        generators((), "test")
    with pytest.raises(ValueError, match="outputs"):
        StackedLinear.draw(draws, 5, 0)
