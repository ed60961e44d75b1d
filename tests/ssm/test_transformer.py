"""Transformers: causality, stacking, the cache against the whole pass, and what hard-ALiBi's heads can see."""

from __future__ import annotations

from collections.abc import Callable
from typing import get_args

import pytest
import torch
from torch import Tensor

from wavemem.ssm.token_model import StackedLinear, generators
from wavemem.ssm.transformer import Position, Transformer, TransformerBlock
from wavemem.streams import stream

POSITIONS: tuple[Position, ...] = get_args(Position)
V = 11


def build(position: Position, seeds: tuple[int, ...] = (0, 1), dtype: torch.dtype = torch.float64) -> Transformer:
    return Transformer.initialise(seeds, V, 12, 2, heads=3, position=position, dtype=dtype)


def draw(*shape: int) -> Tensor:
    return torch.randint(V, shape, generator=stream(0, "tokens"))


@pytest.mark.parametrize("position", POSITIONS)
def test_what_comes_later_changes_nothing(position: Position) -> None:
    model, tokens = build(position), draw(2, 3, 9)
    changed = tokens.clone()
    changed[..., 5] = (changed[..., 5] + 1) % V
    before, after = model(tokens), model(changed)
    assert torch.equal(before[:, :, :5], after[:, :, :5])
    assert not torch.isclose(before[:, :, 5:], after[:, :, 5:]).all(-1).any()


@pytest.mark.parametrize("position", POSITIONS)
def test_the_cache_gives_what_the_whole_pass_gives(position: Position) -> None:
    model, tokens = build(position, dtype=torch.float32), draw(2, 3, 9)
    whole = model(tokens)
    logits, states = model.prefill(tokens[..., :4])
    torch.testing.assert_close(logits, whole[:, :, :4], rtol=0, atol=1e-5)
    for t in range(4, 9):
        logits, states = model.step(tokens[..., t], states)
        torch.testing.assert_close(logits, whole[:, :, t], rtol=0, atol=1e-5)
    assert sum(value[0, 0].numel() for state in states for value in state.values()) == model.state_count(9)


@pytest.mark.parametrize("position", POSITIONS)
def test_a_block_goes_on_by_several_tokens_at_once(position: Position) -> None:
    model, x = build(position), torch.randn(2, 3, 9, 12, dtype=torch.float64, generator=stream(0, "x"))
    block = model.layers[0]
    first, state = block.prefill(x[:, :, :4], block.start(3))
    second, state = block.prefill(x[:, :, 4:], state)
    torch.testing.assert_close(torch.cat([first, second], 2), block(x))


def test_generation_is_the_largest_logit_of_the_whole_pass() -> None:
    model, text = build("rope"), draw(2, 3, 4)
    written = model.generate(text, 5)
    for _ in range(5):
        text = torch.cat([text, model(text)[:, :, -1:].argmax(-1)], -1)
    assert torch.equal(written, text[..., 4:])


@pytest.mark.parametrize("position", POSITIONS)
def test_a_run_depends_on_its_own_seed_and_weights_alone(position: Position) -> None:
    both, one, tokens = build(position, (3, 7)), build(position, (7,)), draw(3, 6)
    for name, value in one.parameters_dict().items():
        assert torch.equal(both.parameters_dict()[name][1], value[0])
    torch.testing.assert_close(both(tokens)[1], one(tokens)[0])
    both(tokens)[1].sum().backward()
    for value in both.parameters():
        assert value.grad is not None
        assert not value.grad[0].any()
        assert value.grad[1].any()


def test_a_seed_starts_alike_with_every_position_scheme() -> None:
    first = build("alibi").parameters_dict()
    for position in POSITIONS[1:]:
        assert all(torch.equal(first[name], value) for name, value in build(position).parameters_dict().items())


def test_positions_matter_where_there_are_any() -> None:
    """A block without positions treats what came before as a set; hard-ALiBi needs a window that tells two tokens apart."""
    x = torch.randn(1, 1, 5, 12, dtype=torch.float64, generator=stream(0, "x"))
    exchanged = x[:, :, [1, 0, 3, 2, 4]]
    for position in POSITIONS:
        masked = 2 if position == "hard-alibi" else 0
        block = Transformer.initialise([0], V, 12, 1, 3, position, masked, dtype=torch.float64).layers[0]
        same = torch.allclose(block(x)[:, :, -1], block(exchanged)[:, :, -1])
        assert same == (position == "none")


def test_the_windows_of_hard_alibi() -> None:
    """Read one head alone: head h of the masked ones sees its own token and the h before it, the others everything."""
    heads, masked, length = 4, 3, 7
    for head in range(heads):
        draws = generators([5], "weights")
        model = Transformer.initialise([5], V, 8, 1, heads, "hard-alibi", masked, dtype=torch.float64)
        block = model.layers[0]
        assert isinstance(block, TransformerBlock)
        with torch.no_grad():
            kept = block.out.weight[..., 2 * head : 2 * head + 2].clone()
            block.out.weight.zero_()
            block.out.weight[..., 2 * head : 2 * head + 2] = kept
        x = torch.randn(1, 1, length, 8, dtype=torch.float64, generator=draws[0]).requires_grad_()
        block(x)[0, 0, -1].square().sum().backward()
        assert x.grad is not None
        seen = x.grad[0, 0].abs().sum(-1) > 0
        assert int(seen.sum()) == (head + 1 if head < masked else length)
        assert seen[length - int(seen.sum()) :].all()


@pytest.mark.parametrize("position", POSITIONS)
def test_attention_weights_are_those_that_the_block_reads_with(position: Position) -> None:
    model, tokens = build(position), draw(2, 6)
    weights = model.attention(tokens, 1)
    torch.testing.assert_close(weights.sum(-1), torch.ones_like(weights[..., 0]))
    assert not weights.triu(1).any()
    x, block = model.block_input(tokens, 1), model.layers[1]
    assert isinstance(block, TransformerBlock)
    read = weights @ block.prefill(x, block.start(2))[1]["values"]
    with torch.no_grad():
        block.down.weight.zero_()
        assert block.down.bias is not None
        block.down.bias.zero_()
    torch.testing.assert_close(block(x), x + block.out(read.transpose(-3, -2).flatten(-2)))


def test_the_cache_is_a_wave_of_velocity_one() -> None:
    model, tokens = build("rope"), draw(2, 6)
    activity = model.activity(tokens, layer=1)
    assert activity.shape == (6, 2, 2, 24, 6)
    assert torch.equal(activity[1:, ..., 1:], activity[:-1, ..., :-1])
    assert not activity[2, ..., 3:].any()
    states = model.prefill(tokens[:, :4])[1][1]  # the cache after four tokens, oldest first
    values = states["values"].flip(-2).permute(0, 1, 2, 4, 3).flatten(2, 3)
    torch.testing.assert_close(activity[3, ..., 12:, :4], values)
    assert torch.equal(model.activity(tokens, layer=1, positions=2), activity[..., :2])
    assert model.activity(tokens, positions=8).shape[-1] == 8


def test_counts() -> None:
    model = Transformer.initialise([0], 30, 32, 2, 4)
    assert model.parameter_count() == 2 * 30 * 32 + 32 + 2 * (2 * 32 + (96 + 32 + 128 + 32) + 12 * 32 * 32)
    assert model.state_count(46) == 2 * 2 * 32 * 46


@pytest.mark.parametrize(
    "call",
    [
        lambda: Transformer.initialise([], V, 8, 1),
        lambda: Transformer.initialise([0], V, 8, 1, heads=3),
        lambda: Transformer.initialise([0], V, 8, 1, heads=0),
        lambda: Transformer.initialise([0], V, 8, 0),
        lambda: Transformer.initialise([0], V, 8, 1, masked=2),
        lambda: Transformer.initialise([0], V, 8, 1, position="hard-alibi", masked=0),
        lambda: Transformer.initialise([0], V, 8, 1, position="hard-alibi", masked=5),
        lambda: Transformer.initialise([0], V, 8, 1, position="rope", rotary=1.5),
        lambda: Transformer.initialise([0], V, 8, 1).activity(draw(1, 4), layer=1),
        lambda: Transformer.initialise([0], V, 8, 1).activity(draw(1, 4), positions=0),
        lambda: Transformer.initialise([0], V, 8, 1).layers[0].start(0),
        lambda: Transformer.initialise([0], V, 8, 1).state_count(-1),
    ],
)
def test_bad_input_is_refused(call: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match="allowed"):
        call()


def test_an_unknown_position_scheme_is_refused() -> None:
    unknown: dict[str, str] = {"position": "sinusoidal"}
    with pytest.raises(ValueError, match="'alibi', 'rope', 'none', 'hard-alibi'"):
        Transformer.initialise([0], V, 8, 1, **unknown)


def test_a_block_checks_that_its_maps_fit() -> None:
    draws = generators([0], "weights")
    square = StackedLinear.draw(draws, 8, 8)
    with pytest.raises(ValueError, match="qkv"):
        TransformerBlock(square, square, square, square, 2)
