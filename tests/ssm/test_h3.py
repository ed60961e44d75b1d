"""H3: the shift SSM is a convolution that moves, and the layer can compare across time."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as nnf

from wavemem.ssm.diagonal_ssm import DiagonalSSM
from wavemem.ssm.h3 import H3
from wavemem.ssm.mamba import ShiftRegister
from wavemem.ssm.token_model import StackedLinear, generators


def inputs(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def test_shift_ssm_is_pytorch_s_depthwise_convolution() -> None:
    shift = H3.draw(generators((0, 1), "t"), 5, 4).shift
    x = inputs(2, 3, 17, 5)
    for k in range(2):
        weight = shift.C[k].flip(-1).unsqueeze(1)  # newest input last
        expected = nnf.conv1d(nnf.pad(x[k].mT, (3, 0)), weight, groups=5).mT
        torch.testing.assert_close(shift(x)[k], expected)
    h, out = shift.start(3), []
    for t in range(17):
        y, h = shift.step(x[:, :, t], h)
        out.append(y)
    torch.testing.assert_close(torch.stack(out, 2), shift(x))
    assert torch.equal(h, x[:, :, -4:].flip(2).movedim(2, -1))  # the register is the last four inputs


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
    with pytest.raises(ValueError, match="C has shape"):
        ShiftRegister(torch.zeros(3, 4))
    with pytest.raises(ValueError, match="neurons = 0"):
        H3.draw(generators((0,), "t"), 3, 0)
    h3 = H3.draw(generators((0,), "t"), 4)
    with pytest.raises(ValueError, match=r"memory\.skip"):
        H3(h3.key, h3.value, h3.query, h3.out, h3.shift, DiagonalSSM.draw(generators((0,), "t"), 5, 2))
