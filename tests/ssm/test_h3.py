"""H3: the shift SSM is a convolution that moves, the block is the same in both forms, and it can compare across time."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as nnf

from wavemem.ssm.diagonal_ssm import DiagonalSSM
from wavemem.ssm.h3 import H3, H3Block, ShiftSSM
from wavemem.ssm.token_model import StackedEmbedding, StackedLinear, TokenModel, generators


def inputs(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def test_shift_ssm_is_pytorch_s_depthwise_convolution() -> None:
    shift = ShiftSSM.draw(generators((0, 1), "t"), 5, 4)
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


def test_parallel_and_recurrent_forms_agree() -> None:
    h3 = H3.draw(generators((0, 1), "t"), 6, 4, 5)
    x = inputs(2, 3, 30, 6)
    whole = h3(x)
    y, state = h3.prefill(x[:, :, :13], h3.start(3))
    out = [y]
    for t in range(13, 30):
        y, state = h3.step(x[:, :, t], state)
        out.append(y.unsqueeze(2))
    torch.testing.assert_close(torch.cat(out, 2), whole, atol=1e-11, rtol=1e-11)


def test_block_generates_as_it_trains_in_constant_memory() -> None:
    draws = generators((0, 1), "model")
    model = TokenModel(
        StackedEmbedding.draw(draws, 7, 6, sd=1.0),
        [H3Block.draw(draws, 6, 4, 3), H3Block.draw(draws, 6, 2, 3, "inv")],
        StackedLinear.draw(draws, 6, 7, bias=False),
    )
    tokens = torch.randint(7, (2, 3, 20), generator=torch.Generator().manual_seed(0))
    whole = model(tokens)
    start, states = model.prefill(tokens[:, :, :5])
    torch.testing.assert_close(start, whole[:, :, :5], atol=1e-5, rtol=1e-5)
    for t in range(5, 20):
        y, states = model.step(tokens[:, :, t], states)
        torch.testing.assert_close(y, whole[:, :, t], atol=1e-5, rtol=1e-5)
    held = sum(h.numel() * (1 + h.is_complex()) for state in states for h in state.values())
    assert held == 2 * 3 * model.state_count(20) == 2 * 3 * model.state_count(10_000)


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
        ShiftSSM(shift),
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
        ShiftSSM(torch.zeros(3, 4))
    with pytest.raises(ValueError, match="neurons = 0"):
        ShiftSSM.draw(generators((0,), "t"), 3, 0)
    h3 = H3.draw(generators((0,), "t"), 4)
    with pytest.raises(ValueError, match=r"memory\.skip"):
        H3(h3.key, h3.value, h3.query, h3.out, h3.shift, DiagonalSSM.draw(generators((0,), "t"), 5, 2))
