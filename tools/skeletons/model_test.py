"""Model skeleton: against a slow loop, in outputs and gradients, and in training."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.func import functional_call

from wavemem.streams import stream
from wavemem.training.fit import FitConfig, fit
from wavemem.wave_rnn.skeleton import SkeletonRNN


def slow(net: SkeletonRNN, x: Tensor) -> Tensor:
    """The equation, run by run, sequence by sequence and unit by unit."""
    T, K, B, d = x.shape
    N, answers = net.U.shape[1], []
    for k in range(K):
        for b in range(B):
            h = [torch.zeros((), dtype=x.dtype)] * N
            for t in range(T):
                drive = [net.b[k, i] + sum(net.V[k, i, j] * x[t, k, b, j] for j in range(d)) for i in range(N)]
                h = [torch.tanh(drive[i] + sum(net.U[k, i, j] * h[j] for j in range(N))) for i in range(N)]
            answers.append(net.W[k] @ torch.stack(h))
    return torch.stack(answers).unflatten(0, (K, B))


def test_outputs_and_gradients_are_those_of_a_slow_loop() -> None:
    net = SkeletonRNN.initialise([0, 1], 3, 2, 2, dtype=torch.float64)
    x = torch.randn(4, 2, 3, 2, generator=stream(0, "data"), dtype=torch.float64)
    with torch.no_grad():
        net.b.normal_(generator=stream(0, "biases"))
    weight = torch.linspace(0.5, 1.5, 2, dtype=torch.float64)
    found, wanted = net(x), slow(net, x)
    torch.testing.assert_close(found, wanted)
    names, parameters = zip(*net.named_parameters(), strict=True)
    pairs = [torch.autograd.grad((y * weight).sum(), parameters) for y in (found, wanted)]
    for name, ours, theirs in zip(names, *pairs, strict=True):
        torch.testing.assert_close(ours, theirs, msg=lambda text, name=name: f"{name}: {text}")


def test_a_run_depends_on_its_own_seed_and_inputs_alone() -> None:
    together, alone = (SkeletonRNN.initialise(seeds, 4, 1, 1) for seeds in ([3, 4], [4]))
    x = torch.randn(5, 2, 3, 1, generator=stream(0, "data"))
    torch.testing.assert_close(together(x)[1:], alone(x[:, 1:]))


def test_it_learns() -> None:
    """To say the number of the last but one step."""
    net, data = SkeletonRNN.initialise([0, 1], 12, 1, 1), stream(0, "data")

    def loss(parameters: dict[str, Tensor], done: int) -> Tensor:
        x = torch.rand(3, 2, 16, 1, generator=data)
        return (functional_call(net, parameters, (x,)) - x[-2]).square().mean((1, 2))

    log = fit(net.state_dict(), loss, FitConfig(150, lr=0.01), progress=False).log
    before, after = (log[log["iteration"] == update]["loss"].max() for update in (1, 150))
    assert math.isfinite(before)
    assert after < 0.2 * before


def test_bad_input() -> None:
    with pytest.raises(ValueError, match=r"units = 0; allowed: a whole number, 1 or larger"):
        SkeletonRNN.initialise([0], 0, 1, 1)
    with pytest.raises(ValueError, match="seeds is empty"):
        SkeletonRNN.initialise([], 3, 1, 1)
    with pytest.raises(ValueError, match="inputs has shape"):
        SkeletonRNN.initialise([0], 3, 1, 1)(torch.zeros(4, 1, 2, 5))
