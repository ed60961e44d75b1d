r"""How an attention head is told where its tokens stand: ALiBi, RoPE, hard-ALiBi, or not at all.

Attention by itself treats its context as a set. Three ways of giving it an order are used in the copying experiments:

* **ALiBi** subtracts from the score of a token in proportion to its age, $q_i\cdot k_j/\sqrt d - m_h (i - j)$, with a
  slope $m_h$ of its own for every head: a geometric sequence from $2^{-8/H}$ to $2^{-8}$.
* **RoPE** turns queries and keys by angles proportional to their position, so that scores depend on the difference of
  positions. As in GPT-NeoX only the first dimensions of each head are turned, dimension $r$ being paired with dimension
  $r + \tfrac{n}{2}$ of the $n$ that are, with the angle $i\,\cdot$ base$^{-2r/n}$ at position $i$.
* **Hard-ALiBi** makes some heads blind to everything but the last tokens: head $h = 0, 1, \dots$ of the masked ones sees
  its own token and the $h$ before it, and nothing else. The remaining heads see everything, without positions.

All of it is causal: token $i$ sees tokens $j \le i$.

Sources: Press et al. 2022, section 3 and the public code for numbers of heads that are no power of two; Su et al. 2021,
section 3; Jelassi et al. 2024, whose public code masks head h as above.
"""

from __future__ import annotations

import math
from typing import Final, Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from wavemem.checks import one_of, positive_int, require, shape_is

__all__ = ["Position", "alibi_slopes", "attend", "attention_bias", "rotary_dimensions", "turn_by_position"]

Position = Literal["alibi", "rope", "none", "hard-alibi"]
"""The ways a transformer is told where its tokens stand."""

_BASE: Final = 10_000.0


def alibi_slopes(heads: int) -> Float[Tensor, " heads"]:
    r"""The slopes of ALiBi, in float64.

    For a power of two $H$ they are $2^{-8/H}, 2^{-16/H}, \dots, 2^{-8}$. Otherwise the slopes of the next smaller power
    of two come first, followed by every other slope of twice that number, beginning with the first.

    Args:
        heads: number of heads H.

    Raises:
        ValueError: if the number of heads is not a positive whole number.
    """
    heads = positive_int("heads", heads)
    smaller = 2 ** (heads.bit_length() - 1)

    def sequence(count: int) -> Tensor:
        return 2.0 ** (-8.0 / count * torch.arange(1, count + 1, dtype=torch.float64))

    return torch.cat([sequence(smaller), sequence(2 * smaller)[0::2][: heads - smaller]])


def attention_bias(
    position: Position,
    heads: int,
    queries: int,
    keys: int,
    masked: int = 0,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> Float[Tensor, "heads queries keys"]:
    r"""What is added to the scores of the newest queries: the bias of ALiBi, and $-\infty$ for what a head does not see.

    Args:
        position: how heads are told of positions. "rope" and "none" add nothing but the causal mask.
        heads: number of heads.
        queries: how many tokens ask; they are the newest of the context.
        keys: length of the context, queries included.
        masked: number of heads with a window, for "hard-alibi": head h < masked sees the newest h + 1 tokens.
        dtype: of the result.
        device: of the result.

    Returns:
        Biases, query i standing at place keys - queries + i of the context.

    Raises:
        ValueError: if a number is not positive, there are more queries than keys, or more masked heads than heads.
    """
    one_of("position", position, get_args(Position))
    heads, queries, keys = positive_int("heads", heads), positive_int("queries", queries), positive_int("keys", keys)
    require(
        queries <= keys,
        f"{queries} queries on {keys} keys",
        "at most as many queries as keys",
        "A token sees itself: count the queries among the keys.",
    )
    _check_masked(position, heads, masked)
    ages = torch.arange(keys - queries, keys, device=device)[:, None] - torch.arange(keys, device=device)
    bias = torch.zeros(heads, queries, keys, dtype=dtype, device=device)
    if position == "alibi":
        bias -= alibi_slopes(heads).to(dtype=dtype, device=device)[:, None, None] * ages
    hidden = (ages < 0).expand(heads, -1, -1)
    if position == "hard-alibi":
        # The other heads' window is the whole context.
        window = torch.tensor([h + 1 if h < masked else keys for h in range(heads)], device=device)
        hidden = hidden | (ages >= window[:, None, None])
    return bias.masked_fill(hidden, -math.inf)


def _check_masked(position: Position, heads: int, masked: int) -> None:
    if position == "hard-alibi":
        positive_int("masked", masked)
    require(
        0 <= masked <= (heads if position == "hard-alibi" else 0),
        f"{masked} masked heads of {heads} with position {position!r}",
        "0, or up to the number of heads with 'hard-alibi'",
        "Only hard-ALiBi has heads with a window.",
    )


def rotary_dimensions(size: int, fraction: float) -> int:
    """How many dimensions of a head RoPE turns: the given fraction, rounded down to an even number, at least four.

    Four are two planes. The first plane turns by one radian per token, so that on its own it repeats after six tokens;
    heads of the published size (64) have eight planes, and the lower bound only matters for very small ones.

    Args:
        size: dimensions of the head.
        fraction: share of them that is to be turned, in (0, 1]. GPT-NeoX and Jelassi et al. have a quarter.

    Raises:
        ValueError: if the head has fewer than four dimensions or the fraction lies outside (0, 1].
    """
    size = positive_int("size", size, minimum=4)
    require(
        0 < fraction <= 1,
        f"rotary fraction = {fraction!r}",
        "a number above 0 and up to 1",
        "Choose the share of each head's dimensions that is turned.",
    )
    return max(4, int(size * fraction) // 2 * 2)


def turn_by_position(
    x: Float[Tensor, "*batch length size"], first: int, dimensions: int
) -> Float[Tensor, "*batch length size"]:
    """RoPE as in GPT-NeoX: turn the first dimensions of vectors by angles proportional to their position.

    Args:
        x: queries or keys of consecutive tokens.
        first: position of the first of them.
        dimensions: how many dimensions are turned, an even number; the others stay as they are.

    Raises:
        ValueError: if the number of dimensions is odd, or larger than the vectors.
    """
    require(
        dimensions % 2 == 0 and 0 < dimensions <= x.shape[-1],
        f"{dimensions} dimensions to turn of {x.shape[-1]}",
        "an even number, at most all",
        "Planes of two dimensions are turned.",
    )
    half = dimensions // 2
    # Angles in float64: at position 10,000 single precision would be off by a thousandth of a radian.
    rates = _BASE ** (-torch.arange(half, dtype=torch.float64, device=x.device) / half)
    angles = torch.arange(first, first + x.shape[-2], dtype=torch.float64, device=x.device)[:, None] * rates
    cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    a, b, rest = x[..., :half], x[..., half:dimensions], x[..., dimensions:]
    return torch.cat([a * cos - b * sin, a * sin + b * cos, rest], dim=-1)


def attend(
    query: Float[Tensor, "runs batch heads queries size"],
    key: Float[Tensor, "runs batch heads keys size"],
    value: Float[Tensor, "runs batch heads keys size"],
    position: Position,
    masked: int = 0,
) -> Float[Tensor, "runs batch heads queries size"]:
    r"""Causal attention, $\mathrm{softmax}(q\cdot k/\sqrt d + \text{bias})\,v$, of the newest tokens of a context.

    Runs and batch are one axis to PyTorch's `scaled_dot_product_attention`, which chooses the kernel. No bias is built
    where none is needed: a single query without positions sees everything, and a whole pass without positions is causal.

    Args:
        query: queries of the newest tokens; with "rope" already turned.
        key: keys of the whole context, likewise.
        value: its values.
        position: how heads are told of positions.
        masked: number of heads with a window, for "hard-alibi".

    Returns:
        What each head reads.

    Raises:
        ValueError: if the shapes do not fit.
    """
    shape_is("query", query, ("runs", "batch", "heads", "queries", "size"))
    K, B, heads, queries, size = query.shape
    shape_is("key", key, (K, B, heads, "keys", size))
    shape_is("value", value, tuple(key.shape))
    keys, causal = key.shape[-2], False
    bias: Tensor | None = None
    if position in ("rope", "none") and (queries == keys or queries == 1):
        causal = queries > 1
    else:
        # Four axes: with three, PyTorch falls back to an attention that writes all weights to memory.
        bias = attention_bias(position, heads, queries, keys, masked, query.dtype, query.device).unsqueeze(0)
    read = scaled_dot_product_attention(
        query.flatten(0, 1), key.flatten(0, 1), value.flatten(0, 1), attn_mask=bias, is_causal=causal
    )
    return read.unflatten(0, (K, B))
