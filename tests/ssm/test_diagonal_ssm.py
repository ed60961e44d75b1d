"""The diagonal SSM: recurrence, convolution and continuous system are one. H3 compares across time."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.linalg import expm

from wavemem.ssm.diagonal_ssm import H3, DiagonalSSM, powers, spectrum
from wavemem.ssm.mamba import ShiftRegister
from wavemem.ssm.token_model import StackedLinear, generators


def layer(width: int = 3, modes: int = 5) -> DiagonalSSM:
    return DiagonalSSM.draw(generators((0, 1), "test"), width, modes)


def inputs(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-11), (torch.float32, 1e-5)])
def test_recurrence_is_convolution(dtype: torch.dtype, tolerance: float) -> None:
    ssm, x = layer(width=4, modes=8).to(dtype).requires_grad_(False), inputs(2, 3, 96, 4).to(dtype)
    h, out = ssm.start(3), []
    for t in range(96):
        y, h = ssm.step(x[:, :, t], h)
        out.append(y)
    whole = ssm(x)
    first, middle = ssm.prefill(x[:, :, :40], ssm.start(3))
    second, last = ssm.prefill(x[:, :, 40:], middle)
    for found, wanted in ((torch.stack(out, 2), whole), (torch.cat([first, second], 2), whole), (last, h)):
        assert float((found - wanted).abs().max()) < tolerance * float(wanted.abs().max())


def test_zero_order_hold_is_the_continuous_system() -> None:
    """The matrix exponential of the joint system of state and held input knows nothing of our formula."""
    ssm = layer(width=2, modes=3).requires_grad_(False)
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
    torch.testing.assert_close(inv.imag, torch.tensor([12 / math.pi, 4 / math.pi * (4 / 3 - 1)], dtype=torch.float64))
    assert bool((inv.real == -0.5).all())


def test_powers() -> None:
    a = torch.polar(torch.tensor([0.9, 1.0]), torch.tensor([0.3, 2.0])).to(torch.complex128)
    torch.testing.assert_close(powers(a, 13), a[:, None] ** torch.arange(13))
    assert powers(a, 1).shape == (2, 1)


def test_every_parameter_gets_the_gradient_of_the_recurrence() -> None:
    ssm, x = layer(), inputs(2, 2, 12, 3)
    h, said = ssm.start(2), []
    for t in range(12):
        y, h = ssm.step(x[:, :, t], h)
        said.append(y)
    named = dict(ssm.named_parameters())
    by_steps, by_kernel = (
        torch.autograd.grad(y.square().sum(), list(named.values())) for y in (torch.stack(said), ssm(x))
    )
    for name, slow, fast in zip(named, by_steps, by_kernel, strict=True):
        torch.testing.assert_close(fast, slow, msg=name)
        assert float(slow.abs().max()) > 0, name


def test_counts_what_followed_what() -> None:
    """Weights written by hand: the block knows which token followed the present one, and how often."""
    V, D = 5, 25  # one channel per pair of tokens
    one = torch.eye(V, dtype=torch.float64)
    before = one.repeat_interleave(V, 0)  # channel a·V + b listens to a …
    after = one.repeat(V, 1)  # … and to b
    shift = torch.tensor([0.0, 1.0], dtype=torch.float64).expand(1, D, 2).clone()  # the token of one step ago
    still = torch.zeros(1, D, 1, dtype=torch.float64)
    B = torch.zeros(1, D, 1, 2, dtype=torch.float64)
    B[..., 0] = 1
    half = B / 2
    memory = DiagonalSSM(still - 40, still, B, half, still[..., 0], still[..., 0])  # e^−40: keeps all
    h3 = H3(
        StackedLinear(before[None]),
        StackedLinear(after[None]),
        StackedLinear(before[None]),
        StackedLinear(after.mT[None].clone()),
        ShiftRegister(shift),
        memory,
    )
    tokens = torch.randint(V, (40,), generator=torch.Generator().manual_seed(2))
    counted = h3(one[tokens][None, None])[0, 0]
    expected = torch.zeros(40, V, dtype=torch.float64)
    for t in range(40):
        for earlier in range(1, t + 1):
            expected[t, tokens[earlier]] += float(tokens[earlier - 1] == tokens[t])
    torch.testing.assert_close(counted, expected, atol=1e-9, rtol=1e-9)


def test_complaints() -> None:
    with pytest.raises(ValueError, match="kind = 'log'"):
        spectrum("log", 3)
    with pytest.raises(ValueError, match="x has shape"):
        layer()(inputs(2, 3, 5, 4))
    with pytest.raises(ValueError, match="skip has shape"):
        DiagonalSSM(*(value.detach() for value in list(layer().parameters())[:-1]), torch.zeros(2))
    with pytest.raises(ValueError, match="C has shape"):
        ShiftRegister(torch.zeros(3, 4))
    with pytest.raises(ValueError, match="neurons = 0"):
        H3.draw(generators((0,), "t"), 3, 0)
    h3 = H3.draw(generators((0,), "t"), 4)
    with pytest.raises(ValueError, match=r"memory\.skip"):
        H3(h3.key, h3.value, h3.query, h3.out, h3.shift, DiagonalSSM.draw(generators((0,), "t"), 5, 2))
