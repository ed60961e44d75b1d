"""Transformers against slow oracles: loops, complex rotation, a softmax written out; hard-ALiBi's heads, and the cache."""

from __future__ import annotations

import cmath
import math
from typing import get_args

import pytest
import torch
from torch import Tensor

from wavemem.ssm import transformer
from wavemem.ssm.transformer import Position, Transformer, alibi_slopes
from wavemem.streams import stream

POSITIONS: tuple[Position, ...] = get_args(Position)
V = 11


def build(position: Position, seeds: tuple[int, ...] = (0, 1)) -> Transformer:
    return Transformer.initialise(seeds, V, 12, 2, heads=3, position=position).double()


def tokens(*shape: int) -> Tensor:
    return torch.randint(V, shape, generator=stream(0, "tokens"))


def visible(position: Position, head: int, heads: int, i: int, j: int) -> bool:
    """The masks in words: token i of a head sees token j."""
    if j > i:
        return False
    if position == "hard-alibi" and head < heads // 2:
        return i - j <= head
    return True


def slow_attention(q: Tensor, k: Tensor, v: Tensor, position: Position) -> Tensor:
    """One run, one sequence: loops over heads, queries and keys in Python floats."""
    heads, queries, size = q.shape
    keys, out = k.shape[1], torch.zeros_like(q)
    slopes = alibi_slopes(heads).tolist()
    for h in range(heads):
        for i in range(queries):
            place = keys - queries + i
            seen = [j for j in range(keys) if visible(position, h, heads, place, j)]
            scores = []
            for j in seen:
                score = sum(float(q[h, i, c]) * float(k[h, j, c]) for c in range(size)) / math.sqrt(size)
                scores.append(score - (slopes[h] * (place - j) if position == "alibi" else 0.0))
            weights = [math.exp(s - max(scores)) for s in scores]
            for weight, j in zip(weights, seen, strict=True):
                out[h, i] += weight / sum(weights) * v[h, j]
    return out


def draw(*shape: int) -> Tensor:
    return torch.randn(shape, generator=stream(1, "attention"), dtype=torch.float64)


@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize(("queries", "keys"), [(7, 7), (1, 7), (3, 7)])
def test_attention_is_the_softmax_written_out(position: Position, queries: int, keys: int) -> None:
    K, B, heads, size = 2, 2, 5, 4
    q, (k, v) = draw(K, B, heads, queries, size), draw(2, K, B, heads, keys, size)
    read = transformer.attend(q, k, v, position)
    for run in range(K):
        for b in range(B):
            expected = slow_attention(q[run, b], k[run, b], v[run, b], position)
            torch.testing.assert_close(read[run, b], expected, rtol=1e-12, atol=1e-12)


def test_slopes_are_those_that_the_paper_prints() -> None:
    eighth = [2.0**-h for h in range(1, 9)]
    assert alibi_slopes(8).tolist() == eighth
    torch.testing.assert_close(alibi_slopes(16)[:3].tolist(), [2**-0.5, 2**-1, 2**-1.5])
    torch.testing.assert_close(alibi_slopes(12).tolist(), [*eighth, 2**-0.5, 2**-1.5, 2**-2.5, 2**-3.5])
    assert alibi_slopes(1).tolist() == [2.0**-8]
    for heads in range(1, 20):
        assert alibi_slopes(heads).unique().numel() == heads


@pytest.mark.parametrize("heads", [3, 6, 12])
def test_slopes_of_other_numbers_of_heads_are_the_public_code_s_as_a_set(heads: int) -> None:
    larger = 2 ** math.ceil(math.log2(heads))
    every = 2.0 ** (-8.0 / larger * torch.arange(1, larger + 1, dtype=torch.float64))
    torch.testing.assert_close(alibi_slopes(heads), torch.cat([every[1::2], every[::2]])[:heads])


def test_alibi_by_the_key_s_place_alone_is_the_same_attention() -> None:
    """The public code adds slope times the key's place: a constant per query away from minus slope times age."""
    q, (k, v) = draw(1, 1, 4, 6, 4), draw(2, 1, 1, 4, 6, 4)
    scores = q @ k.mT / 2 + alibi_slopes(4)[:, None, None] * torch.arange(-5, 1)
    scores = scores.masked_fill(torch.ones(6, 6).triu(1).bool(), -math.inf)
    torch.testing.assert_close(transformer.attend(q, k, v, "alibi"), scores.softmax(-1) @ v)


def test_hard_alibi_masks_are_those_of_the_public_code() -> None:
    heads, masked, length = 6, 3, 6
    bias = transformer.attention_bias("hard-alibi", heads, length, length)
    for i in range(heads):
        mask = torch.full((length, length), -math.inf)
        for j in range(i + 1 if i < masked else length):  # "for j in range(i+1)": the j-th diagonal is opened
            mask[range(j, length), range(length - j)] = 0
        assert torch.equal(bias[i], mask)


def test_rotation_is_a_product_with_complex_numbers_of_size_one() -> None:
    x, first, dimensions = draw(2, 5, 8), 11, 6
    turned = transformer.turn_by_position(x, first, dimensions)
    assert torch.equal(turned[..., dimensions:], x[..., dimensions:])
    for b in range(2):
        for t in range(5):
            for r in range(3):
                z = complex(x[b, t, r], x[b, t, r + 3]) * cmath.exp(1j * (first + t) * 10_000 ** (-2 * r / 6))
                assert abs(z - complex(turned[b, t, r], turned[b, t, r + 3])) < 1e-12


def test_rotary_dimensions_are_even_and_at_least_two_planes() -> None:
    assert [transformer.rotary_dimensions(size) for size in (4, 8, 20, 28, 64)] == [4, 4, 4, 6, 16]


def test_a_seed_starts_alike_with_every_position_scheme() -> None:
    first = build("alibi").state_dict()
    for position in POSITIONS[1:]:
        assert all(torch.equal(first[name], value) for name, value in build(position).state_dict().items())


@pytest.mark.parametrize("position", POSITIONS)
def test_attention_weights_are_those_that_the_block_reads_with(position: Position) -> None:
    model, text = build(position), tokens(2, 6)
    weights = model.attention(text, 1)
    torch.testing.assert_close(weights.sum(-1), torch.ones_like(weights[..., 0]))
    assert not weights.triu(1).any()
    x, block = model.block_input(text, 1), model.layers[1]
    read = weights @ block.prefill(x, block.start(2))[1]["values"]
    with torch.no_grad():
        block.down.weight.zero_()
        assert block.down.bias is not None
        block.down.bias.zero_()
    torch.testing.assert_close(block(x), x + block.out(read.transpose(-3, -2).flatten(-2)))


def test_the_cache_is_a_wave_of_velocity_one() -> None:
    model, text = build("rope"), tokens(2, 6)
    activity = model.activity(text, layer=1)
    assert activity.shape == (6, 2, 2, 24, 6)
    assert torch.equal(activity[1:, ..., 1:], activity[:-1, ..., :-1])
    assert not activity[2, ..., 3:].any()
    states = model.prefill(text[:, :4])[1][1]  # the cache after four tokens, oldest first
    values = states["values"].flip(-2).permute(0, 1, 2, 4, 3).flatten(2, 3)
    torch.testing.assert_close(activity[3, ..., 12:, :4], values)
    assert torch.equal(model.activity(text, layer=1, positions=2), activity[..., :2])
    assert model.activity(text, positions=8).shape[-1] == 8


def test_counts() -> None:
    model = Transformer.initialise([0], 30, 32, 2, 4)
    assert model.parameter_count() == 2 * 30 * 32 + 32 + 2 * (2 * 32 + (96 + 32 + 128 + 32) + 12 * 32 * 32)
    assert model.state_count(46) == 2 * 2 * 32 * 46
