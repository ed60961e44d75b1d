"""Layers of K independent models side by side: one weight tensor with a leading axis of runs per layer.

Inputs have shape (K, …, features); run k sees its own weights only. Weights are drawn from one generator per run, in
float64, so that they depend neither on K nor on the type in which the model then computes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as nnf
from jaxtyping import Float, Int
from torch import Tensor, nn

from wavemem.checks import positive_int, require, shape_is
from wavemem.streams import stream

__all__ = ["RMSNorm", "StackedEmbedding", "StackedLinear", "draw_uniform", "generators"]


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
