"""The frame that all models of token sequences share: embedding, residual blocks, norm, read-out; training and generation.

Transformers, Mamba and its waves differ in their blocks alone, so that what a comparison finds is the blocks' doing.

| variable | shape | meaning |
|---|---|---|
| `tokens` | (K, B, L) or (B, L) | whole numbers below the vocabulary; without K every run reads the same |
| `x` | (K, B, L, D) | residual stream |
| logits | (K, B, L, V) | scores of the next token |
| state | per block, name → (K, B, …) | what is kept of the past while generating |

Layers of K independent models side by side: one weight tensor with a leading axis of runs per layer.

Inputs have shape (K, …, features); run k sees its own weights only. Weights are drawn from one generator per run, in
float64, so that they depend neither on K nor on the type in which the model then computes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import NamedTuple, Self

import torch
import torch.nn.functional as nnf
from jaxtyping import Float, Int
from torch import Tensor, nn

from wavemem.checks import positive_int, require, shape_is
from wavemem.streams import stream
from wavemem.training.ensemble import Ensemble

State = dict[str, Tensor]
"""What one block keeps of the past of its sequences."""


class Block(nn.Module, ABC):
    """One residual block of K models, norms and residual connections included."""

    @abstractmethod
    def forward(self, x: Float[Tensor, "K B L D"]) -> Float[Tensor, "K B L D"]:
        """Whole sequences at once, from an empty past: what training uses."""

    @abstractmethod
    def start(self, B: int) -> State:
        """The state of an empty past for B sequences per run."""

    @abstractmethod
    def prefill(self, x: Float[Tensor, "K B L D"], state: State) -> tuple[Float[Tensor, "K B L D"], State]:
        """Go on from a state by L tokens at once."""

    @abstractmethod
    def step(self, x: Float[Tensor, "K B D"], state: State) -> tuple[Float[Tensor, "K B D"], State]:
        """Go on from a state by one token."""

    @abstractmethod
    def state_count(self, length: int) -> int:
        """Numbers that the state of one sequence holds after `length` tokens."""

    @abstractmethod
    def state_products(self, length: int) -> int:
        """Multiplications with the state of one sequence for the last of `length` tokens."""


class Residual(Block):
    """x + layer(norm(x)) of a layer that is used as blocks are."""

    def __init__(self, norm: RMSNorm, layer: Block) -> None:
        super().__init__()
        self.norm, self.layer = norm, layer

    def forward(self, x: Float[Tensor, "K B L D"]) -> Float[Tensor, "K B L D"]:
        """Whole sequences at once."""
        y: Tensor = self.layer(self.norm(x))
        return x + y

    def start(self, B: int) -> State:
        """The layer's."""
        return self.layer.start(B)

    def prefill(self, x: Float[Tensor, "K B L D"], state: State) -> tuple[Float[Tensor, "K B L D"], State]:
        """Go on from a state by L tokens at once."""
        y, state = self.layer.prefill(self.norm(x), state)
        return x + y, state

    def step(self, x: Float[Tensor, "K B D"], state: State) -> tuple[Float[Tensor, "K B D"], State]:
        """Go on from a state by one token."""
        y, state = self.layer.step(self.norm(x), state)
        return x + y, state

    def state_count(self, length: int) -> int:
        """The layer's."""
        return self.layer.state_count(length)

    def state_products(self, length: int) -> int:
        """The layer's."""
        return self.layer.state_products(length)


class GenerationCost(NamedTuple):
    """Of one token and one sequence.

    Attributes:
        weights: multiplications with weights; the same for every context.
        memory: multiplications with what is kept of the past.
        kept: numbers kept of the past.
    """

    weights: int
    memory: int
    kept: int


class TokenModel(Ensemble):
    """K independent models: tokens → embedding → blocks → norm → logits of the next token, in float32.

    Args:
        embedding: One table per run.
        blocks: The residual blocks, first to last.
        head: Read-out, (K, V, D); not tied to the embedding.

    Raises:
        ValueError: If sizes do not fit together.
    """

    def __init__(self, embedding: StackedEmbedding, blocks: Sequence[Block], head: StackedLinear) -> None:
        super().__init__()
        K, V, D = embedding.weight.shape
        require(len(blocks) > 0, "blocks is empty", "at least one block", "Give the model a layer.")
        shape_is("head.weight", head.weight, (K, V, D))
        self.embedding = embedding
        self.blocks = nn.ModuleList(blocks)
        self.norm = RMSNorm(K, D)
        self.head = head
        self.float()

    @classmethod
    def draw(
        cls,
        seeds: Sequence[int],
        purpose: str,
        vocabulary: int,
        width: int,
        layers: int,
        block: Callable[[Sequence[torch.Generator]], Block],
    ) -> Self:
        """One model per seed, whose weights depend on its own seed alone.

        Args:
            seeds: One per run.
            purpose: Of the generators, see `wavemem.streams.stream`.
            vocabulary: V.
            width: D.
            layers: Number of blocks.
            block: Draws one block for all runs.

        Raises:
            ValueError: If there is no seed, or a size is not positive.
        """
        draws = generators(seeds, purpose)
        embedding = StackedEmbedding.draw(draws, vocabulary, width)
        blocks = [block(draws) for _ in range(positive_int("layers", layers))]
        return cls(embedding, blocks, StackedLinear.draw(draws, width, vocabulary, bias=False))

    @property
    def vocabulary(self) -> int:
        """Number of tokens V."""
        return int(self.embedding.weight.shape[1])

    @property
    def width(self) -> int:
        """Width of the residual stream D."""
        return int(self.embedding.weight.shape[2])

    @property
    def layers(self) -> tuple[Block, ...]:
        """The blocks."""
        return tuple(block for block in self.blocks if isinstance(block, Block))

    def state_count(self, length: int) -> int:
        """Numbers kept per sequence while generating, after `length` tokens."""
        return sum(block.state_count(length) for block in self.layers)

    def generation_cost(self, context: int) -> GenerationCost:
        """Multiplications, each with the addition that goes with it, and numbers kept for the next token after a context.

        One multiplication per weight, and `Block.state_products`. Elementwise functions, norms and gates are left out: they
        are linear in the width, as weights are in its square.

        Args:
            context: tokens that have been read, the newest included.

        Raises:
            ValueError: If the context is not positive.
        """
        context = positive_int("context", context)
        weights = sum(part.weight[0].numel() for part in self.modules() if isinstance(part, StackedLinear))
        memory = sum(block.state_products(context) for block in self.layers)
        return GenerationCost(weights, memory, self.state_count(context))

    def _tokens(self, tokens: Tensor, ndim: int) -> Tensor:
        """Check tokens and give them an axis of runs."""
        whole = not (tokens.dtype.is_floating_point or tokens.dtype.is_complex or tokens.dtype == torch.bool)
        require(whole, f"tokens have type {tokens.dtype}", "whole numbers", "Pass token numbers, not embeddings.")
        if tokens.ndim == ndim - 1:
            tokens = tokens.expand(self.K, *tokens.shape)
        shape_is("tokens", tokens, (self.K, "B", "L")[:ndim])
        return tokens

    def forward(self, tokens: Int[Tensor, "*K B L"]) -> Float[Tensor, "K B L V"]:
        """Logits of the next token after every token."""
        x = self.embedding(self._tokens(tokens, 3))
        for block in self.blocks:
            x = block(x)
        logits: Tensor = self.head(self.norm(x))
        return logits

    def block_input(self, tokens: Int[Tensor, "*K B L"], layer: int) -> Float[Tensor, "K B L D"]:
        """What enters a block: layer 0 … number of blocks - 1; negative numbers count from the end.

        Raises:
            ValueError: If there is no such layer.
        """
        count = len(self.blocks)
        require(-count <= layer < count, f"layer = {layer}", f"{-count} to {count - 1}", "Name one of the blocks.")
        x = self.embedding(self._tokens(tokens, 3))
        for block in self.layers[: layer % count]:
            x = block(x)
        return x

    def prefill(self, tokens: Int[Tensor, "*K B L"]) -> tuple[Float[Tensor, "K B L V"], list[State]]:
        """Logits of a prompt, and the states after it."""
        tokens = self._tokens(tokens, 3)
        x, states = self.embedding(tokens), []
        for block in self.layers:
            x, state = block.prefill(x, block.start(tokens.shape[1]))
            states.append(state)
        return self.head(self.norm(x)), states

    def step(self, tokens: Int[Tensor, "*K B"], states: Sequence[State]) -> tuple[Float[Tensor, "K B V"], list[State]]:
        """Logits after one more token, and the states then."""
        x, following = self.embedding(self._tokens(tokens, 2)), []
        for block, state in zip(self.layers, states, strict=True):
            x, state = block.step(x, state)
            following.append(state)
        return self.head(self.norm(x)), following

    @torch.no_grad()
    def generate(self, tokens: Int[Tensor, "*K B P"], steps: int) -> Int[Tensor, "K B steps"]:
        """Continue prompts greedily: the most probable token each time, which is then read as the next input.

        Args:
            tokens: Prompts, all of one length P >= 1.
            steps: How many tokens to write.

        Returns:
            What was written.

        Raises:
            ValueError: If steps is not positive or the prompts are empty.
        """
        positive_int("steps", steps)
        require(tokens.shape[-1] > 0, "prompts are empty", "at least one token", "Begin with the start token.")
        logits, states = self.prefill(tokens)
        written = [logits[:, :, -1].argmax(-1)]
        while len(written) < steps:
            last, states = self.step(written[-1], states)
            written.append(last.argmax(-1))
        return torch.stack(written, -1)


def generators(seeds: Sequence[int], purpose: str) -> list[torch.Generator]:
    """One generator per run for drawing its weights.

    Raises:
        ValueError: If there is no seed or one is negative.
    """
    require(len(seeds) > 0, "seeds is empty", "at least one seed", "Name one seed per run.")
    return [stream(seed, purpose) for seed in seeds]


def draw_uniform(draws: Sequence[torch.Generator], shape: tuple[int, ...], bound: float) -> Float[Tensor, "K ..."]:
    """U(-bound, bound) for every run, float64, stacked."""
    return torch.stack(
        [(2 * torch.rand(shape, generator=generator, dtype=torch.float64) - 1) * bound for generator in draws]
    )


class StackedLinear(nn.Module):
    """y = W x + b for every run, W of shape (K, outputs, inputs).

    Args:
        weight: W.
        bias: b, (K, outputs), or None.

    Raises:
        ValueError: If the shapes do not fit.
    """

    weight: nn.Parameter
    bias: nn.Parameter | None

    def __init__(self, weight: Float[Tensor, "K o i"], bias: Float[Tensor, "K o"] | None = None) -> None:
        super().__init__()
        shape_is("weight", weight, ("K", "o", "i"))
        self.weight = nn.Parameter(weight)
        if bias is not None:
            shape_is("bias", bias, tuple(weight.shape[:2]))
        self.register_parameter("bias", None if bias is None else nn.Parameter(bias))

    @classmethod
    def draw(
        cls, draws: Sequence[torch.Generator], inputs: int, outputs: int, bias: bool = True, scale: float = 1.0
    ) -> StackedLinear:
        """PyTorch's default start of `torch.nn.Linear`, U(-1/√inputs, 1/√inputs), times a scale (weights only)."""
        positive_int("inputs", inputs)
        positive_int("outputs", outputs)
        bound = inputs**-0.5
        weight = draw_uniform(draws, (outputs, inputs), bound * scale)
        return cls(weight, draw_uniform(draws, (outputs,), bound) if bias else None)

    def forward(self, x: Float[Tensor, "K ... i"]) -> Float[Tensor, "K ... o"]:
        """Apply every run's map to its inputs."""
        K, o, i = self.weight.shape
        shape_is("x", x, (K, *x.shape[1:-1], i))
        flat = x.reshape(K, -1, i)
        weight, bias = self.weight.mT, self.bias
        y = torch.bmm(flat, weight) if bias is None else torch.baddbmm(bias.unsqueeze(1), flat, weight)
        return y.view(*x.shape[:-1], o)


class StackedEmbedding(nn.Module):
    """One table of vectors per run, (K, vocabulary, width).

    Args:
        weight: The tables.
    """

    def __init__(self, weight: Float[Tensor, "K V D"]) -> None:
        super().__init__()
        shape_is("weight", weight, ("K", "V", "D"))
        self.weight = nn.Parameter(weight)

    @classmethod
    def draw(cls, draws: Sequence[torch.Generator], vocabulary: int, width: int, sd: float = 0.02) -> StackedEmbedding:
        """N(0, sd²)."""
        shape = (positive_int("vocabulary", vocabulary), positive_int("width", width))
        return cls(torch.stack([sd * torch.randn(shape, generator=g, dtype=torch.float64) for g in draws]))

    def forward(self, tokens: Int[Tensor, "K ..."]) -> Float[Tensor, "K ... D"]:
        """Look the tokens up, each run in its own table."""
        K, V, D = self.weight.shape
        shape_is("tokens", tokens, (K, *tokens.shape[1:]))
        offset = torch.arange(K, device=tokens.device).view(K, *[1] * (tokens.ndim - 1)) * V
        return nnf.embedding(tokens + offset, self.weight.reshape(K * V, D))


class RMSNorm(nn.Module):
    """Root-mean-square normalisation, x / √(mean x² + ε) · g, with one gain g of shape (K, width) per run.

    Args:
        K: Number of runs.
        width: Number of features.
        eps: ε.
    """

    def __init__(self, K: int, width: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(positive_int("K", K), positive_int("width", width), dtype=torch.float64))
        self.eps = eps

    def forward(self, x: Float[Tensor, "K ... D"]) -> Float[Tensor, "K ... D"]:
        """Normalise the last axis."""
        K, D = self.gain.shape
        shape_is("x", x, (K, *x.shape[1:-1], D))
        gain = self.gain.view(K, *[1] * (x.ndim - 2), D)
        return nnf.rms_norm(x, (D,), eps=self.eps) * gain
