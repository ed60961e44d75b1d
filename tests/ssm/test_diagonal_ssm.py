"""The diagonal SSM: its recurrence, its convolution and the continuous system behind them are one."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.linalg import expm

from wavemem.ssm.diagonal_ssm import DiagonalBlock, DiagonalSSM, powers, spectrum
from wavemem.ssm.token_model import StackedEmbedding, StackedLinear, TokenModel, generators


def layer(seeds=(0, 1), width=3, modes=5, kind="lin") -> DiagonalSSM:
    return DiagonalSSM.draw(generators(seeds, "test"), width, modes, kind)


def inputs(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.parametrize("kind", ["lin", "inv"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-11), (torch.float32, 1e-5)])
def test_recurrence_is_convolution(kind, dtype, tolerance) -> None:
    ssm = layer(width=4, modes=8, kind=kind).to(dtype)
    x = inputs(2, 3, 96, 4).to(dtype)
    for parameter in ssm.parameters():
        parameter.requires_grad_(False)
    h, out = ssm.start(3), []
    for t in range(96):
        y, h = ssm.step(x[:, :, t], h)
        out.append(y)
    whole = ssm(x)
    scale = float(whole.abs().max())
    assert float((torch.stack(out, 2) - whole).abs().max()) < tolerance * scale
    first, middle = ssm.prefill(x[:, :, :40], ssm.start(3))
    second, last = ssm.prefill(x[:, :, 40:], middle)
    assert float((torch.cat([first, second], 2) - whole).abs().max()) < tolerance * scale
    assert float((last - h).abs().max()) < tolerance * float(h.abs().max())
    torch.testing.assert_close(ssm.states(x)[-1], h)


def test_zero_order_hold_is_the_continuous_system() -> None:
    """The matrix exponential of the joint system of state and held input knows nothing of our formula."""
    ssm = layer(seeds=(3,), width=2, modes=3)
    for parameter in ssm.parameters():
        parameter.requires_grad_(False)
    A_bar, B_bar = ssm.discrete()
    A = torch.complex(-ssm.log_decay.exp(), ssm.frequency)
    for c in range(2):
        for m in range(3):
            joint = torch.zeros(2, 2, dtype=torch.complex128)
            joint[0, 0], joint[0, 1] = A[0, c, m], torch.view_as_complex(ssm.B)[0, c, m]
            exact = expm((joint * ssm.log_step[0, c].exp()).numpy())
            assert abs(exact[0, 0] - complex(A_bar[0, c, m])) < 1e-14
            assert abs(exact[0, 1] - complex(B_bar[0, c, m])) < 1e-14


def test_starts_are_those_of_s4d() -> None:
    torch.testing.assert_close(spectrum("lin", 3).imag, math.pi * torch.arange(3, dtype=torch.float64))
    inv = spectrum("inv", 2)
    torch.testing.assert_close(
        inv.imag, torch.tensor([4 / math.pi * 3, 4 / math.pi * (4 / 3 - 1)], dtype=torch.float64)
    )
    assert bool((inv.real == -0.5).all())


def test_powers() -> None:
    a = torch.polar(torch.tensor([0.9, 1.0]), torch.tensor([0.3, 2.0])).to(torch.complex128)
    torch.testing.assert_close(powers(a, 13), a[:, None] ** torch.arange(13))
    assert powers(a, 1).shape == (2, 1)


def test_runs_depend_on_their_seed_only() -> None:
    both, alone = layer(seeds=(4, 7)), layer(seeds=(7,))
    for name, value in both.named_parameters():
        assert torch.equal(value[1], dict(alone.named_parameters())[name][0])


def test_every_parameter_gets_the_gradient_of_the_recurrence() -> None:
    ssm, x = layer(), inputs(2, 2, 12, 3)
    ssm(x).square().sum().backward()
    through_kernel = {name: value.grad.clone() for name, value in ssm.named_parameters()}
    ssm.zero_grad()
    h, loss = ssm.start(2), torch.zeros((), dtype=torch.float64)
    for t in range(12):
        y, h = ssm.step(x[:, :, t], h)
        loss = loss + y.square().sum()
    loss.backward()
    for name, value in ssm.named_parameters():
        torch.testing.assert_close(through_kernel[name], value.grad)
        assert float(value.grad.abs().max()) > 0


def test_block_generates_as_it_trains() -> None:
    draws = generators((0, 1), "model")
    model = TokenModel(
        StackedEmbedding.draw(draws, 7, 6, sd=1.0),
        [DiagonalBlock.draw(draws, 6, 4), DiagonalBlock.draw(draws, 6, 4, "inv")],
        StackedLinear.draw(draws, 6, 7, bias=False),
    )
    tokens = torch.randint(7, (2, 3, 20), generator=torch.Generator().manual_seed(0))
    whole = model(tokens)
    start, states = model.prefill(tokens[:, :, :11])
    torch.testing.assert_close(start, whole[:, :, :11], atol=1e-5, rtol=1e-5)
    for t in range(11, 20):
        y, states = model.step(tokens[:, :, t], states)
        torch.testing.assert_close(y, whole[:, :, t], atol=1e-5, rtol=1e-5)
        assert sum(h.numel() * 2 for state in states for h in state.values()) == 2 * 3 * model.state_count(t + 1)


def test_complaints() -> None:
    with pytest.raises(ValueError, match="kind = 'log'"):
        spectrum("log", 3)
    with pytest.raises(ValueError, match="steps = "):
        DiagonalSSM.draw(generators((0,), "t"), 2, 2, steps=(0.1, 0.01))
    with pytest.raises(ValueError, match="x has shape"):
        layer()(inputs(2, 3, 5, 4))
    with pytest.raises(ValueError, match="draws is empty"):
        DiagonalSSM.draw([], 2, 2)
