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
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self, get_args

import torch
import torch.nn.functional as nnf
from jaxtyping import Float, Int
from torch import Tensor

from wavemem.checks import one_of, positive_int, require, shape_is
from wavemem.models.positions import Position, attend, attention_bias, rotary_dimensions, turn_by_position
from wavemem.models.stacked import RMSNorm, StackedEmbedding, StackedLinear, generators
from wavemem.models.token_model import Block, State, TokenModel

__all__ = ["Transformer", "TransformerBlock"]


class TransformerBlock(Block):
    """Attention and a hidden layer, each behind a norm and beside a residual connection, for K runs.

    Args:
        qkv: Map to queries, keys and values, (K, 3D, D).
        out: Map of what the heads read, (K, D, D).
        up: Map into the hidden layer, (K, M, D).
        down: Map out of it, (K, D, M).
        heads: Number of heads H; divides D.
        position: "alibi", "rope", "none" or "hard-alibi".
        masked: Heads that see only the newest tokens, for "hard-alibi": head h = 0, 1, … of them sees h + 1.
        rotary: Share of each head's dimensions that "rope" turns.

    Raises:
        ValueError: If sizes do not fit together.
    """

    def __init__(
        self,
        qkv: StackedLinear,
        out: StackedLinear,
        up: StackedLinear,
        down: StackedLinear,
        heads: int,
        position: Position = "alibi",
        masked: int = 0,
        rotary: float = 0.25,
    ) -> None:
        super().__init__()
        shape_is("out", out.weight, ("K", "D", "D"))
        K, D, _ = out.weight.shape
        shape_is("qkv", qkv.weight, (K, 3 * D, D))
        shape_is("up", up.weight, (K, "M", D))
        shape_is("down", down.weight, (K, D, up.weight.shape[1]))
        self.heads = positive_int("heads", heads)
        require(
            D % self.heads == 0,
            f"{heads} heads at a width of {D}",
            "a number of heads that divides the width",
            "Each head has width / heads dimensions.",
        )
        self.position: Position = one_of("position", position, get_args(Position))
        windows = position == "hard-alibi"
        require(
            (1 if windows else 0) <= masked <= (self.heads if windows else 0),
            f"{masked} masked heads of {heads} with position {position!r}",
            "1 to the number of heads with 'hard-alibi', 0 otherwise",
            "Only hard-ALiBi has heads that see a window.",
        )
        self.masked = masked
        self.turned = rotary_dimensions(D // self.heads, rotary) if position == "rope" else 0
        self.before_attention, self.before_hidden = RMSNorm(K, D), RMSNorm(K, D)
        self.qkv, self.out, self.up, self.down = qkv, out, up, down

    def start(self, B: int) -> State:
        """An empty cache."""
        weight = self.out.weight
        K, D, _ = weight.shape
        empty = weight.new_zeros(K, positive_int("B", B), self.heads, 0, D // self.heads)
        return {"keys": empty, "values": empty}

    def state_count(self, length: int) -> int:
        """Keys and values: 2D numbers per token."""
        return 2 * int(self.out.weight.shape[1]) * positive_int("length", length, minimum=0)

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
        bias = attention_bias(self.position, self.heads, length, length, self.masked, q.dtype, q.device)
        return (q @ k.mT / size**0.5 + bias).softmax(-1)

    def prefill(self, x: Float[Tensor, "K B L D"], state: State) -> tuple[Float[Tensor, "K B L D"], State]:
        """Go on from a cache by L tokens at once."""
        q, k, v = self._projected(x, state["keys"].shape[-2])
        if state["keys"].shape[-2]:
            k, v = torch.cat([state["keys"], k], -2), torch.cat([state["values"], v], -2)
        read = attend(q, k, v, self.position, self.masked)
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
        masked: int | None = None,
        rotary: float = 0.25,
        hidden: int | None = None,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> Self:
        """Draw one transformer per seed.

        Linear layers start from U(-1/√inputs, 1/√inputs); the two that write to the stream are scaled by 1/√(2 layers),
        so that the stream's size does not depend on depth. A seed's weights are the same for every position scheme.

        Args:
            seeds: One per run.
            vocabulary: Number of tokens V.
            width: Width of the stream D.
            layers: Number of blocks.
            heads: Heads of each block; divides the width.
            position: "alibi", "rope", "none" or "hard-alibi".
            masked: Heads with a window, for "hard-alibi"; by default half of them, as published.
            rotary: Share of each head's dimensions that "rope" turns; a quarter, as published, but at least four.
            hidden: Units of the hidden layer; by default 4D.
            dtype: In what the model computes.
            device: Where.

        Returns:
            The models.

        Raises:
            ValueError: If there is no seed, or sizes do not fit together.
        """
        draws = generators(seeds, "weights")
        positive_int("heads", heads)
        layers, width = positive_int("layers", layers), positive_int("width", width)
        hidden = 4 * width if hidden is None else positive_int("hidden", hidden)
        if masked is None:
            masked = max(1, heads // 2) if position == "hard-alibi" else 0
        embedding = StackedEmbedding.draw(draws, vocabulary, width)
        scale = (2 * layers) ** -0.5
        blocks = [
            TransformerBlock(
                StackedLinear.draw(draws, width, 3 * width),
                StackedLinear.draw(draws, width, width, scale=scale),
                StackedLinear.draw(draws, width, hidden),
                StackedLinear.draw(draws, hidden, width, scale=scale),
                heads,
                position,
                masked,
                rotary,
            )
            for _ in range(layers)
        ]
        return cls(embedding, blocks, StackedLinear.draw(draws, width, vocabulary, bias=False), dtype, device)

    @torch.no_grad()
    def attention(self, tokens: Int[Tensor, "*K B L"], layer: int = -1) -> Float[Tensor, "K B H L L"]:
        """Attention weights of a block's heads, by reading token and token read.

        Raises:
            ValueError: If there is no such layer.
        """
        x = self.block_input(tokens, layer)
        block = self.layers[layer]
        assert isinstance(block, TransformerBlock)
        return block.weights(x)

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
