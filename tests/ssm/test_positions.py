"""Positions in attention, against slow oracles: loops, complex rotation, a softmax written out."""

from __future__ import annotations

import cmath
import math
from typing import get_args

import pytest
import torch
from torch import Tensor

from wavemem.ssm.transformer import (
    Position,
    alibi_slopes,
    attend,
    attention_bias,
    rotary_dimensions,
    turn_by_position,
)
from wavemem.streams import stream

POSITIONS: tuple[Position, ...] = get_args(Position)


def visible(position: Position, head: int, masked: int, i: int, j: int) -> bool:
    """The masks in words: token i of a head sees token j."""
    if j > i:
        return False
    if position == "hard-alibi" and head < masked:
        return i - j <= head
    return True


def slow_attention(q: Tensor, k: Tensor, v: Tensor, position: Position, masked: int) -> Tensor:
    """One run, one sequence: loops over heads, queries and keys in Python floats."""
    heads, queries, size = q.shape
    keys, out = k.shape[1], torch.zeros_like(q)
    slopes = alibi_slopes(heads).tolist()
    for h in range(heads):
        for i in range(queries):
            place = keys - queries + i
            seen = [j for j in range(keys) if visible(position, h, masked, place, j)]
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
    K, B, heads, size, masked = 2, 2, 3, 4, 2 if position == "hard-alibi" else 0
    q, (k, v) = draw(K, B, heads, queries, size), draw(2, K, B, heads, keys, size)
    read = attend(q, k, v, position, masked)
    for run in range(K):
        for b in range(B):
            expected = slow_attention(q[run, b], k[run, b], v[run, b], position, masked)
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
    code = torch.cat([every[1::2], every[::2]])[:heads]
    torch.testing.assert_close(alibi_slopes(heads), code)


def test_alibi_by_the_key_s_place_alone_is_the_same_attention() -> None:
    """The public code adds slope times the key's place: a constant per query away from minus slope times age."""
    q, (k, v) = draw(1, 1, 4, 6, 4), draw(2, 1, 1, 4, 6, 4)
    scores = q @ k.mT / 2 + alibi_slopes(4)[:, None, None] * torch.arange(-5, 1)
    scores = scores.masked_fill(torch.ones(6, 6).triu(1).bool(), -math.inf)
    torch.testing.assert_close(attend(q, k, v, "alibi"), scores.softmax(-1) @ v)


def test_hard_alibi_masks_are_those_of_the_public_code() -> None:
    heads, masked, length = 4, 3, 6
    bias = attention_bias("hard-alibi", heads, length, length, masked)
    for i in range(heads):
        mask = torch.full((length, length), -math.inf)
        for j in range(i + 1 if i < masked else length):  # "for j in range(i+1)": the j-th diagonal is opened
            mask[range(j, length), range(length - j)] = 0
        assert torch.equal(bias[i], mask)


def test_rotation_is_a_product_with_complex_numbers_of_size_one() -> None:
    x, first, dimensions = draw(2, 5, 8), 11, 6
    turned = turn_by_position(x, first, dimensions)
    assert torch.equal(turned[..., dimensions:], x[..., dimensions:])
    for b in range(2):
        for t in range(5):
            for r in range(3):
                z = complex(x[b, t, r], x[b, t, r + 3]) * cmath.exp(1j * (first + t) * 10_000 ** (-2 * r / 6))
                assert abs(z - complex(turned[b, t, r], turned[b, t, r + 3])) < 1e-12


def test_scores_of_turned_vectors_depend_on_the_difference_of_positions() -> None:
    q, k = draw(2, 1, 8)
    scores = [
        float((turn_by_position(q, place, 4) * turn_by_position(k, place - 3, 4)).sum()) for place in (3, 10, 9_999)
    ]
    torch.testing.assert_close(scores, [scores[0]] * 3, rtol=1e-9, atol=1e-9)


def test_rotary_dimensions_are_even_and_at_least_two_planes() -> None:
    assert [rotary_dimensions(8, f) for f in (0.1, 0.25, 0.5, 0.8, 1.0)] == [4, 4, 4, 6, 8]
    assert rotary_dimensions(64, 0.25) == 16


@pytest.mark.parametrize(
    "call",
    [
        lambda: alibi_slopes(0),
        lambda: attention_bias("sinusoidal", 2, 3, 3),
        lambda: attention_bias("alibi", 2, 4, 3),
        lambda: attention_bias("alibi", 2, 3, 3, masked=1),
        lambda: attention_bias("hard-alibi", 2, 3, 3, masked=0),
        lambda: attention_bias("hard-alibi", 2, 3, 3, masked=3),
        lambda: rotary_dimensions(3, 0.5),
        lambda: rotary_dimensions(8, 0.0),
        lambda: turn_by_position(torch.zeros(2, 8), 0, 3),
        lambda: turn_by_position(torch.zeros(2, 8), 0, 10),
        lambda: attend(torch.zeros(1, 1, 2, 3, 4), torch.zeros(1, 1, 2, 3, 5), torch.zeros(1, 1, 2, 3, 5), "none"),
        lambda: attend(torch.zeros(1, 2, 3, 4), torch.zeros(1, 2, 3, 4), torch.zeros(1, 2, 3, 4), "none"),
    ],
)
def test_bad_input_is_refused(call: object) -> None:
    assert callable(call)
    with pytest.raises(ValueError, match="allowed"):
        call()
