r"""Transformers with four ways of knowing positions: K independent decoders, stacked.

A block is $x \leftarrow x + W_o\,\mathrm{attention}(\mathrm{norm}(x))$, then
$x \leftarrow x + W_2\,\mathrm{GELU}(W_1\,\mathrm{norm}(x))$, with four times as many hidden units as the stream is wide.
While it generates, a block keeps the keys and values of all tokens: the cache. Seen from the newest token it is a
register of the age of entries, as long as the context: at every step each entry moves on by one place, and nothing
changes on the way, so a wave of velocity one that never reaches an end (`Transformer.activity`).

| variable | shape | meaning |
|---|---|---|
| `qkv` | (K, 3D, D) | queries, keys and values of all heads |
| `out` | (K, D, D) | what the heads read, back into the stream |
| `up`, `down` | (K, 4D, D), (K, D, 4D) | hidden layer |
| `keys`, `values` | (K, B, H, L, D/H) | state: the cache; with RoPE the keys are kept turned |

Against the models of Jelassi et al. (GPT-NeoX): attention and hidden layer follow one another instead of standing side
by side, and norms are root-mean-square norms as in the other models here. Their ALiBi, hard-ALiBi and position-free
variants also count three quarters of each head's dimensions twice in the scores; ours count all once.

Sources: Vaswani et al. 2017; Press et al. 2022; Su et al. 2021; Jelassi et al. 2024 and its public code.

How an attention head is told where its tokens stand: ALiBi, RoPE, hard-ALiBi, or not at all.

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
from collections.abc import Sequence
from typing import Final, Literal, Self, get_args

import torch
import torch.nn.functional as nnf
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from wavemem.checks import one_of, positive_int, require
from wavemem.ssm.token_model import Block, RMSNorm, StackedLinear, State, TokenModel

Position = Literal["alibi", "rope", "none", "hard-alibi"]
"""The ways a transformer is told where its tokens stand."""


class TransformerBlock(Block):
    """Attention and a hidden layer, each behind a norm and beside a residual connection, for K runs.

    Linear layers start from U(-1/√inputs, 1/√inputs); the two that write to the stream are scaled by 1/√(2 layers), so
    that the stream's size does not depend on depth.

    Args:
        draws: One generator per run.
        width: D.
        layers: Blocks of the whole model.
        heads: Number of heads H; divides D.
        position: "alibi", "rope", "none" or "hard-alibi".

    Raises:
        ValueError: If sizes do not fit together.
    """

    def __init__(
        self, draws: Sequence[torch.Generator], width: int, layers: int, heads: int, position: Position
    ) -> None:
        super().__init__()
        self.heads = positive_int("heads", heads)
        require(
            width % heads == 0,
            f"{heads} heads at a width of {width}",
            "a number of heads that divides the width",
            "Each head has width / heads dimensions.",
        )
        self.position: Position = one_of("position", position, get_args(Position))
        self.turned = rotary_dimensions(width // heads) if position == "rope" else 0
        self.before_attention, self.before_hidden = RMSNorm(len(draws), width), RMSNorm(len(draws), width)
        scale = (2 * layers) ** -0.5
        self.qkv = StackedLinear.draw(draws, width, 3 * width)
        self.out = StackedLinear.draw(draws, width, width, scale=scale)
        self.up = StackedLinear.draw(draws, width, 4 * width)
        self.down = StackedLinear.draw(draws, 4 * width, width, scale=scale)

    def start(self, B: int) -> State:
        """An empty cache."""
        weight = self.out.weight
        K, D, _ = weight.shape
        empty = weight.new_zeros(K, positive_int("B", B), self.heads, 0, D // self.heads)
        return {"keys": empty, "values": empty}

    def state_count(self, length: int) -> int:
        """Keys and values: 2D numbers per token."""
        return 2 * int(self.out.weight.shape[1]) * positive_int("length", length, minimum=0)

    def state_products(self, length: int) -> int:
        """2D per token of the context: D for the scores, D for the weighted sum of values."""
        return self.state_count(length)

    def _projected(self, x: Tensor, past: int) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values of tokens that come after `past` others, (K, B, H, L, D/H)."""
        q, k, v = self.qkv(self.before_attention(x)).unflatten(-1, (3, self.heads, -1)).movedim(-3, 0).transpose(-3, -2)
        if self.turned:
            q, k = (turn_by_position(each, past, self.turned) for each in (q, k))
        return q, k, v

    def weights(self, x: Float[Tensor, "K B L D"]) -> Float[Tensor, "K B H L L"]:
        """Attention weights: how much of its reading each token takes from each before it."""
        q, k, _ = self._projected(x, 0)
        length, size = q.shape[-2:]
        bias = attention_bias(self.position, self.heads, length, length, q.dtype, q.device)
        return (q @ k.mT / size**0.5 + bias).softmax(-1)

    def prefill(self, x: Float[Tensor, "K B L D"], state: State) -> tuple[Float[Tensor, "K B L D"], State]:
        """Go on from a cache by L tokens at once."""
        q, k, v = self._projected(x, state["keys"].shape[-2])
        if state["keys"].shape[-2]:
            k, v = torch.cat([state["keys"], k], -2), torch.cat([state["values"], v], -2)
        read = attend(q, k, v, self.position)
        x = x + self.out(read.transpose(-3, -2).flatten(-2))
        x = x + self.down(nnf.gelu(self.up(self.before_hidden(x))))
        return x, {"keys": k, "values": v}

    def step(self, x: Float[Tensor, "K B D"], state: State) -> tuple[Float[Tensor, "K B D"], State]:
        """Go on from a cache by one token, which reads the whole cache."""
        y, state = self.prefill(x.unsqueeze(-2), state)
        return y.squeeze(-2), state

    def forward(self, x: Float[Tensor, "K B L D"]) -> Float[Tensor, "K B L D"]:
        """Whole sequences from an empty cache."""
        return self.prefill(x, self.start(x.shape[1]))[0]


class Transformer(TokenModel):
    """K independent decoders; see the module."""

    @classmethod
    def initialise(
        cls,
        seeds: Sequence[int],
        vocabulary: int,
        width: int,
        layers: int,
        heads: int = 4,
        position: Position = "alibi",
    ) -> Self:
        """Draw one transformer per seed. A seed's weights are the same for every position scheme.

        Args:
            seeds: One per run.
            vocabulary: Number of tokens V.
            width: Width of the stream D.
            layers: Number of blocks.
            heads: Heads of each block; divides the width.
            position: "alibi", "rope", "none" or "hard-alibi".

        Returns:
            The models.

        Raises:
            ValueError: If there is no seed, or sizes do not fit together.
        """

        def block(draws: Sequence[torch.Generator]) -> TransformerBlock:
            return TransformerBlock(draws, width, layers, heads, position)

        return cls.draw(seeds, "weights", vocabulary, width, layers, block)

    @property
    def layers(self) -> tuple[TransformerBlock, ...]:
        """The blocks."""
        return tuple(block for block in self.blocks if isinstance(block, TransformerBlock))

    @torch.no_grad()
    def attention(self, tokens: Int[Tensor, "*K B L"], layer: int = -1) -> Float[Tensor, "K B H L L"]:
        """Attention weights of a block's heads, by reading token and token read.

        Raises:
            ValueError: If there is no such layer.
        """
        x = self.block_input(tokens, layer)
        return self.layers[layer].weights(x)

    @torch.no_grad()
    def activity(
        self, tokens: Int[Tensor, "*K B L"], layer: int = 0, positions: int | None = None
    ) -> Float[Tensor, "time K B channel position"]:
        """The cache of a block as a substrate: what it holds after every token, by the age of its entries.

        Position 0 holds the newest key and value, position a those of a tokens ago, 0 where the context is not that old.
        The activity moves away from the input by one position per step, and is never damped or overwritten.

        Args:
            tokens: Sequences.
            layer: Which block.
            positions: How many ages are shown; by default as many as there are tokens.

        Returns:
            The keys of all heads, then the values, as 2D channels.

        Raises:
            ValueError: If there is no such layer, or positions is not a positive whole number.
        """
        x = self.block_input(tokens, layer)
        block, length = self.layers[layer], x.shape[2]
        positions = length if positions is None else positive_int("positions", positions)
        _, state = block.prefill(x, block.start(x.shape[1]))
        # (K, B, H, L, size) -> (L, K, B, channel), keys before values.
        kept = torch.cat([state[name].permute(3, 0, 1, 2, 4).flatten(3) for name in ("keys", "values")], -1)
        times = torch.arange(length, device=x.device)
        shown = times[:, None] - torch.arange(positions, device=x.device)
        by_age = kept[shown.clamp_min(0)] * (shown >= 0).to(kept.dtype)[:, :, None, None, None]
        return by_age.movedim(1, -1)


_BASE: Final = 10_000.0


def alibi_slopes(heads: int) -> Float[Tensor, " heads"]:
    r"""The slopes of ALiBi, in float64.

    For a power of two $H$ they are $2^{-8/H}, 2^{-16/H}, \dots, 2^{-8}$. Otherwise the slopes of the next smaller power
    of two come first, followed by every other slope of twice that number, beginning with the first.

    Args:
        heads: number of heads H.
    """
    smaller = 2 ** (heads.bit_length() - 1)

    def sequence(count: int) -> Tensor:
        return 2.0 ** (-8.0 / count * torch.arange(1, count + 1, dtype=torch.float64))

    return torch.cat([sequence(smaller), sequence(2 * smaller)[0::2][: heads - smaller]])


def attention_bias(
    position: Position,
    heads: int,
    queries: int,
    keys: int,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> Float[Tensor, "heads queries keys"]:
    r"""What is added to the scores of the newest queries: the bias of ALiBi, and $-\infty$ for what a head does not see.

    Args:
        position: how heads are told of positions. "rope" and "none" add nothing but the causal mask.
        heads: number of heads.
        queries: how many tokens ask; they are the newest of the context.
        keys: length of the context, queries included.
        dtype: of the result.
        device: of the result.

    Returns:
        Biases, query i standing at place keys - queries + i of the context.
    """
    ages = torch.arange(keys - queries, keys, device=device)[:, None] - torch.arange(keys, device=device)
    bias = torch.zeros(heads, queries, keys, dtype=dtype, device=device)
    if position == "alibi":
        bias -= alibi_slopes(heads).to(dtype=dtype, device=device)[:, None, None] * ages
    hidden = (ages < 0).expand(heads, -1, -1)
    if position == "hard-alibi":
        # Half of the heads have a window; that of the others is the whole context.
        window = torch.tensor([h + 1 if h < max(1, heads // 2) else keys for h in range(heads)], device=device)
        hidden = hidden | (ages >= window[:, None, None])
    return bias.masked_fill(hidden, -math.inf)


def rotary_dimensions(size: int) -> int:
    """How many dimensions of a head RoPE turns: a quarter as in GPT-NeoX, rounded down to an even number, at least four.

    Four are two planes. The first plane turns by one radian per token, so that on its own it repeats after six tokens;
    heads of the published size (64) have eight planes, and the lower bound only matters for very small ones.

    Args:
        size: dimensions of the head.

    Raises:
        ValueError: if the head has fewer than four dimensions.
    """
    return max(4, positive_int("size", size, minimum=4) // 4 // 2 * 2)


def turn_by_position(
    x: Float[Tensor, "*batch length size"], first: int, dimensions: int
) -> Float[Tensor, "*batch length size"]:
    """RoPE as in GPT-NeoX: turn the first dimensions of vectors by angles proportional to their position.

    Args:
        x: queries or keys of consecutive tokens.
        first: position of the first of them.
        dimensions: how many dimensions are turned, an even number; the others stay as they are.
    """
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
) -> Float[Tensor, "runs batch heads queries size"]:
    r"""Causal attention, $\mathrm{softmax}(q\cdot k/\sqrt d + \text{bias})\,v$, of the newest tokens of a context.

    Runs and batch are one axis to PyTorch's `scaled_dot_product_attention`, which chooses the kernel. No bias is built
    where none is needed: a single query without positions sees everything, and a whole pass without positions is causal.

    Args:
        query: queries of the newest tokens; with "rope" already turned.
        key: keys of the whole context, likewise.
        value: its values.
        position: how heads are told of positions.

    Returns:
        What each head reads.
    """
    K, B, heads, queries, _ = query.shape
    keys, causal = key.shape[-2], False
    bias: Tensor | None = None
    if position in ("rope", "none") and (queries == keys or queries == 1):
        causal = queries > 1
    else:
        # Four axes: with three, PyTorch falls back to an attention that writes all weights to memory.
        bias = attention_bias(position, heads, queries, keys, query.dtype, query.device).unsqueeze(0)
    read = scaled_dot_product_attention(
        query.flatten(0, 1), key.flatten(0, 1), value.flatten(0, 1), attn_mask=bias, is_causal=causal
    )
    return read.unflatten(0, (K, B))
