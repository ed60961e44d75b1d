"""The frame that all models of token sequences share: embedding, residual blocks, norm, read-out; training and generation.

Transformers, Mamba and its waves differ in their blocks alone, so that what a comparison finds is the blocks' doing.

| variable | shape | meaning |
|---|---|---|
| `tokens` | (K, B, L) or (B, L) | whole numbers below the vocabulary; without K every run reads the same |
| `x` | (K, B, L, D) | residual stream |
| logits | (K, B, L, V) | scores of the next token |
| state | per block, name → (K, B, …) | what is kept of the past while generating |
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from wavemem.checks import positive_int, require
from wavemem.models.stacked import RMSNorm, StackedEmbedding, StackedLinear

__all__ = ["Block", "State", "TokenModel"]

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


class TokenModel(nn.Module):
    """K independent models: tokens → embedding → blocks → norm → logits of the next token.

    Args:
        embedding: One table per run.
        blocks: The residual blocks, first to last.
        head: Read-out, (K, V, D); not tied to the embedding.
        dtype, device: In what and where the model computes.

    Raises:
        ValueError: If sizes do not fit together.
    """

    def __init__(
        self,
        embedding: StackedEmbedding,
        blocks: Sequence[Block],
        head: StackedLinear,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        super().__init__()
        K, V, D = embedding.weight.shape
        require(len(blocks) > 0, "blocks is empty", "at least one block", "Give the model a layer.")
        require(
            tuple(head.weight.shape) == (K, V, D),
            f"head has weights {tuple(head.weight.shape)} for an embedding {(K, V, D)}",
            f"{(K, V, D)}",
            "Read out as many tokens as are read in.",
        )
        self.embedding = embedding
        self.blocks = nn.ModuleList(blocks)
        self.norm = RMSNorm(K, D)
        self.head = head
        self.to(device=device, dtype=dtype)

    @property
    def K(self) -> int:
        """Number of runs."""
        return int(self.embedding.weight.shape[0])

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

    def parameters_dict(self) -> dict[str, Tensor]:
        """Name → weights (K, …), detached: what `wavemem.training.generic.fit` starts from."""
        return {name: value.detach() for name, value in self.named_parameters()}

    @torch.no_grad()
    def load(self, parameters: dict[str, Tensor]) -> TokenModel:
        """Take over weights that `parameters_dict` names; returns the model itself.

        Raises:
            ValueError: If names or shapes differ.
        """
        own = dict(self.named_parameters())
        require(
            set(own) == set(parameters),
            f"weights named {', '.join(sorted(set(own) ^ set(parameters)))} on one side only",
            "the names of parameters_dict()",
            "Build the model with the configuration that these weights were trained with.",
        )
        for name, value in parameters.items():
            require(
                own[name].shape == value.shape,
                f"{name} has shape {tuple(value.shape)}",
                f"{tuple(own[name].shape)}",
                "Build the model with the configuration that these weights were trained with.",
            )
        for name, value in parameters.items():
            own[name].copy_(value)
        return self

    def parameter_count(self) -> int:
        """Trained numbers of one run."""
        return sum(value[0].numel() for value in self.parameters())

    def state_count(self, length: int) -> int:
        """Numbers kept per sequence while generating, after `length` tokens."""
        return sum(block.state_count(length) for block in self.layers)

    def _tokens(self, tokens: Tensor, ndim: int) -> Tensor:
        """Check tokens and give them an axis of runs."""
        whole = not (tokens.dtype.is_floating_point or tokens.dtype.is_complex or tokens.dtype == torch.bool)
        require(whole, f"tokens have type {tokens.dtype}", "whole numbers", "Pass token numbers, not embeddings.")
        if tokens.ndim == ndim - 1:
            tokens = tokens.expand(self.K, *tokens.shape)
        require(
            tokens.ndim == ndim and tokens.shape[0] == self.K,
            f"tokens have shape {tuple(tokens.shape)}",
            f"{'(K, B, L) or (B, L)' if ndim == 3 else '(K, B) or (B,)'} with K = {self.K}",
            "Give every run its batch, or all runs the same.",
        )
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

    def extra_repr(self) -> str:
        """What printing the model shows."""
        described: dict[str, Any] = {"runs": self.K, "vocabulary": self.vocabulary, "width": self.width}
        return ", ".join(f"{name}={value}" for name, value in described.items())
