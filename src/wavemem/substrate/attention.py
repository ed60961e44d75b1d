r"""The self-attention boundary (SBC), Eq. 8: what is written into column s is one attention head's look at the substrate.

The newest column asks, every column answers with a key, and the answer is a weighted mean of the columns' values:

    f(h) = Σ_{i=1}^{s} a_i W_V h_i,     a_i = exp(σ_i) / Σ_{k=1}^{s} exp(σ_k),     σ_i = c ⟨W_K h_i, W_Q h_s⟩ + b_i.

Eq. 8 is printed with the sum over i = 1, ..., d (the substrate has s columns), with h_i^T W_K W_Q h_s (a transpose short
of ⟨W_K h_i, W_Q h_s⟩) and without the factor c = 1/√d_k of the usual head; ``scale=1.0`` gives the printed factor.

Two relative positions may be added; on the substrate both are functions of the column alone, because the age of a vector
is the number of columns it has travelled, s - i:

- a bias b_i per column: ALiBi's is -m (s - i) (:func:`alibi_bias`), a learned one is any vector;
- RoPE: the key of column i is turned by -θ (s - i) in each plane of two coordinates (:func:`rotate_by_age`).

| variable | shape | symbol |
|---|---|---|
| `W_K`, `W_Q` | (*K, d_k, d) | key and query maps |
| `W_V` | (*K, d, d) | value map |
| `bias` | (s,) or (*K, s) | b_i |
| `frequencies` | (d_k / 2,) | θ in radians per column |

Sources: Karuvally et al., ICML 2024, section 3.2, Eq. 8; Vaswani et al. 2017, section 3.2.1 (scaled dot-product
attention); Press et al. 2022, section 3 (ALiBi); Su et al. 2021, section 3.2 (RoPE).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from wavemem.checks import positive_int, require, shape_is

__all__ = [
    "SelfAttentionBoundary",
    "alibi_bias",
    "apply",
    "attend",
    "column_ages",
    "rope_frequencies",
    "rotate",
    "rotate_by_age",
]


def column_ages(s: int, dtype: torch.dtype = torch.float64, device: torch.device | str = "cpu") -> Float[Tensor, " s"]:
    """The age of what each column holds, in steps: s - i for column i, from s - 1 (oldest) to 0 (just written).

    Raises:
        ValueError: if s is not a positive whole number.
    """
    s = positive_int("s", s)
    return torch.arange(s - 1, -1, -1, dtype=dtype, device=device)


def alibi_bias(s: int, slope: float, dtype: torch.dtype = torch.float64) -> Float[Tensor, " s"]:
    """ALiBi's bias read off the substrate: b_i = -slope · (s - i), 0 at the newest column.

    A positive slope prefers what is young (ALiBi's own choice), a negative one what is old.

    Args:
        s: number of columns.
        slope: m, per column.
        dtype: type of the result.

    Raises:
        ValueError: if s is not a positive whole number or the slope is not finite.
    """
    require(math.isfinite(slope), f"slope = {slope!r}", "a finite number", "ALiBi's own slopes lie between 0 and 1.")
    return -slope * column_ages(s, dtype)


def rope_frequencies(d_k: int, base: float = 10000.0, dtype: torch.dtype = torch.float64) -> Float[Tensor, " half"]:
    """RoPE's usual angles per step, θ_n = base^(-2n / d_k) for n = 0, ..., d_k/2 - 1, in radians.

    Raises:
        ValueError: if d_k is odd or not positive, or the base is not larger than 1.
    """
    d_k = positive_int("d_k", d_k)
    require(d_k % 2 == 0, f"d_k = {d_k}", "an even number", "RoPE turns planes of two coordinates.")
    require(base > 1, f"base = {base!r}", "a number larger than 1", "The usual base is 10000.")
    return base ** (-torch.arange(0, d_k, 2, dtype=dtype) / d_k)


def rotate(x: Float[Tensor, "*batch d_k"], angle: Float[Tensor, "*angles half"]) -> Float[Tensor, "*batch d_k"]:
    """Turn the planes (x_0, x_1), (x_2, x_3), ... of x by the given angles, counter-clockwise.

    Args:
        x: vectors of even length d_k.
        angle: radians, one per plane; leading axes broadcast against those of x.

    Raises:
        ValueError: if the last axes do not fit, 2 · half = d_k.
    """
    require(
        x.shape[-1] == 2 * angle.shape[-1],
        f"{angle.shape[-1]} angles for vectors of length {x.shape[-1]}",
        f"{x.shape[-1] / 2:g} angles, one per plane of two coordinates",
        "Give half as many angles as the vectors have coordinates.",
    )
    even, odd = x[..., 0::2], x[..., 1::2]
    cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    return torch.stack([even * cos - odd * sin, even * sin + odd * cos], dim=-1).flatten(-2)


def rotate_by_age(
    keys: Float[Tensor, "*batch s d_k"], frequencies: Float[Tensor, " half"]
) -> Float[Tensor, "*batch s d_k"]:
    """RoPE read off the substrate: the key in column i is turned by -θ (s - i), the newest one not at all.

    With absolute positions p RoPE turns keys and query by θ p; the scores only contain the difference, because
    ⟨R(θ p_i) k, R(θ p_s) q⟩ = ⟨R(-θ (p_s - p_i)) k, q⟩ and p_s - p_i is the age s - i.

    Raises:
        ValueError: if the keys are not twice as long as there are frequencies.
    """
    shape_is("keys", keys, ("...", "s", "d_k"))
    ages = column_ages(keys.shape[-2], frequencies.dtype, frequencies.device)
    return rotate(keys, -ages[:, None] * frequencies)


def apply(W: Float[Tensor, "*K m d"], x: Float[Tensor, "*K_batch d"]) -> Float[Tensor, "*K_batch m"]:
    """W x for every vector of x; a stack of K matrices meets the leading axes of x.

    Args:
        W: one matrix, or one per run.
        x: vectors; the leading axes must begin with those of W.

    Raises:
        ValueError: if the axes do not fit.
    """
    stack = tuple(W.shape[:-2])
    fits = x.ndim > len(stack) and tuple(x.shape[: len(stack)]) == stack and x.shape[-1] == W.shape[-1]
    require(
        fits,
        f"vectors of shape {tuple(x.shape)} for matrices of shape {tuple(W.shape)}",
        f"({', '.join(map(str, (*stack, '...', W.shape[-1])))})",
        "The leading axes of the vectors must be the runs of the stack.",
    )
    # One product per run, however many vectors it has: much faster than a broadcast of small matrices.
    return (x.reshape(*stack, -1, x.shape[-1]) @ W.mT).reshape(*x.shape[:-1], W.shape[-2])


def attend(scores: Float[Tensor, "*batch s"], temperature: float = 1.0) -> Float[Tensor, "*batch s"]:
    """Attention weights from scores: softmax(scores / temperature) over the columns.

    Temperature 0 is the limit of hard attention: the weight is shared equally by the columns of largest score.

    Raises:
        ValueError: if the temperature is negative or not finite.
    """
    require(
        math.isfinite(temperature) and temperature >= 0,
        f"temperature = {temperature!r}",
        "a finite number, 0 or larger",
        "1 is the usual head, 0 hard attention.",
    )
    if temperature == 0:
        best = (scores == scores.amax(dim=-1, keepdim=True)).to(scores.dtype)
        return best / best.sum(dim=-1, keepdim=True)
    return torch.softmax(scores / temperature, dim=-1)


@dataclass(frozen=True, eq=False)
class SelfAttentionBoundary:
    """One attention head as a boundary f for :func:`wavemem.substrate.lattice.run`, Eq. 8.

    K heads may be stacked: their weights then have leading axes (*K), and the substrates (*K, ..., s, d).

    Args:
        W_K: key map, (*K, d_k, d).
        W_Q: query map, (*K, d_k, d).
        W_V: value map, (*K, d, d).
        scale: c; None is the usual 1/√d_k, 1.0 what Eq. 8 prints.
        temperature: divides the scores; 0 is hard attention.
        bias: b_i by column, (s,) or (*K, s), oldest column first; None for none.
        frequencies: RoPE's θ, (d_k / 2,), in radians per column; None for none.

    Raises:
        ValueError: if the shapes do not fit together, or the temperature is negative.
    """

    W_K: Float[Tensor, "*K d_k d"]
    W_Q: Float[Tensor, "*K d_k d"]
    W_V: Float[Tensor, "*K d d"]
    scale: float | None = None
    temperature: float = 1.0
    bias: Float[Tensor, "*K s"] | None = None
    frequencies: Float[Tensor, " half"] | None = None

    def __post_init__(self) -> None:
        shape_is("W_K", self.W_K, ("...", "d_k", "d"))
        stack, d = tuple(self.W_K.shape[:-2]), int(self.W_K.shape[-1])
        shape_is("W_Q", self.W_Q, tuple(self.W_K.shape))
        shape_is("W_V", self.W_V, (*stack, d, d))
        attend(torch.zeros(1), self.temperature)
        if self.bias is not None:
            require(
                self.bias.ndim == 1 or tuple(self.bias.shape[:-1]) == stack,
                f"bias of shape {tuple(self.bias.shape)}",
                f"(s,) or {(*stack, 's')}",
                "Give one bias per column, or one vector of them per run.",
            )
        if self.frequencies is not None:
            require(self.d_k % 2 == 0, f"d_k = {self.d_k} with frequencies", "an even d_k", "RoPE turns planes.")
            shape_is("frequencies", self.frequencies, (self.d_k // 2,))

    @property
    def d(self) -> int:
        """Dimensions of a column."""
        return int(self.W_K.shape[-1])

    @property
    def d_k(self) -> int:
        """Dimensions of a key."""
        return int(self.W_K.shape[-2])

    @property
    def factor(self) -> float:
        """c, by which the products of key and query are multiplied."""
        return 1.0 / math.sqrt(self.d_k) if self.scale is None else self.scale

    def bias_for(self, s: int, batch_axes: int) -> Tensor | None:
        """The bias, shaped to be added to scores (*K, ..., s) with ``batch_axes`` axes between K and s."""
        if self.bias is None:
            return None
        shape_is("bias", self.bias, ("...", s))
        if self.bias.ndim == 1:
            return self.bias
        return self.bias.reshape(*self.bias.shape[:-1], *(1,) * batch_axes, s)

    def scores(
        self, keys: Float[Tensor, "*batch s d_k"], query: Float[Tensor, "*batch d_k"]
    ) -> Float[Tensor, "*batch s"]:
        """σ_i from keys that lie on the substrate, column by column, and the query of the newest column."""
        if self.frequencies is not None:
            keys = rotate_by_age(keys, self.frequencies)
        scores = (keys * query.unsqueeze(-2)).sum(-1) * self.factor
        bias = self.bias_for(keys.shape[-2], keys.ndim - self.W_K.ndim)
        return scores if bias is None else scores + bias

    def weights(self, h: Float[Tensor, "*batch s d"]) -> Float[Tensor, "*batch s"]:
        """a_i: how much of each column the boundary takes; positive, sum 1.

        Raises:
            ValueError: if h does not end in (s, d) or its leading axes do not begin with the stack's.
        """
        shape_is("h", h, ("...", "s", self.d))
        return attend(self.scores(apply(self.W_K, h), apply(self.W_Q, h[..., -1, :])), self.temperature)

    def __call__(self, h: Float[Tensor, "*batch s d"]) -> Float[Tensor, "*batch d"]:
        """f(h), Eq. 8: what is written into column s.

        W_V is applied once to the mean Σ a_i h_i, which is the same as the mean of the values W_V h_i.

        Raises:
            ValueError: if h does not end in (s, d) or its leading axes do not begin with the stack's.
        """
        mean = (self.weights(h).unsqueeze(-1) * h).sum(-2)
        return apply(self.W_V, mean)
