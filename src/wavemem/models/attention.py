"""One attention head run as a substrate: the KV cache as a travelling wave, and the trainable head.

A head that generates one vector after the other keeps the keys W_K h_i and values W_V h_i of the last s vectors: its
KV cache. The maps act on each column alone and the wave moves columns as wholes, so the two commute, and the cache *is*
the substrate in another basis: columns of keys and values that travel at one column per step, written at column s.

Implementations hold the cache still and move the place of writing instead (a ring buffer). That is the same wave seen
from a frame that moves with it: slot p mod s holds the vector of time p for all its s steps, and the age of a slot is
read from the place of writing (:func:`moving_frame` undoes the difference).

| variable | shape | meaning |
|---|---|---|
| `W_K`, `W_Q` | (K, d_k, d) | key and query maps of K independent heads |
| `W_V` | (K, d, d) | value maps |
| `bias` | (K, s) | learned bias by column (a learned relative position), or none |

Sources: Karuvally et al., ICML 2024, section 3.2, Eq. 8; Su et al. 2021, section 3.4.2 (keys turned by their absolute
position, the form in which RoPE is cached).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from wavemem.checks import one_of, positive_int, require, shape_is
from wavemem.streams import stream
from wavemem.substrate.attention import SelfAttentionBoundary, apply, attend, rotate
from wavemem.substrate.lattice import step

__all__ = ["AttentionHeads", "Generation", "generate", "moving_frame"]


@dataclass(frozen=True)
class Generation:
    """What a head generated, and what its cache held meanwhile.

    Attributes:
        outputs: The vectors generated, (..., horizon, d).
        keys: The keys as they lie in the cache at times 0, ..., horizon: (time, ..., channel d_k, position s).
        values: The values, (time, ..., channel d, position s).
        weights: The attention weights of steps 1, ..., horizon by position, (horizon, ..., s).
        newest: The position of the newest column at times 0, ..., horizon: always s - 1 on the travelling cache, where
            the place of writing has come to in the ring buffer.
    """

    outputs: Float[Tensor, "*batch horizon d"]
    keys: Float[Tensor, "time *batch d_k s"]
    values: Float[Tensor, "time *batch d s"]
    weights: Float[Tensor, "horizon *batch s"]
    newest: Int[Tensor, " time"]


def moving_frame(
    activity: Float[Tensor, "time *batch position"], newest: Int[Tensor, " time"]
) -> Float[Tensor, "time *batch position"]:
    """A ring buffer's content as seen from its place of writing: position by age, the newest last.

    Args:
        activity: contents over time, positions on the last axis.
        newest: position of the newest entry at every time.

    Returns:
        The same contents, rolled so that what travels travels.

    Raises:
        ValueError: if there is not one place of writing per time.
    """
    shape_is("newest", newest, (activity.shape[0],))
    s = activity.shape[-1]
    order = (newest[:, None] + 1 + torch.arange(s, device=newest.device)) % s
    index = order.reshape(-1, *(1,) * (activity.ndim - 2), s).expand(activity.shape)
    return activity.gather(-1, index)


def generate(
    boundary: SelfAttentionBoundary,
    u: Float[Tensor, "*batch s d"],
    horizon: int,
    cache: Literal["travelling", "ring"] = "travelling",
) -> Generation:
    """Generate vectors with a KV cache: each key and value is computed once, when its vector is written.

    The travelling cache is the substrate itself: at every step keys and values move by one column, and where the head
    reads positions by RoPE, the keys turn by -θ as they move. The ring buffer writes over the oldest slot and moves
    nothing; its keys are turned by θ times the absolute time, and so is the query.

    Args:
        boundary: the head.
        u: the window the head starts from, oldest vector first.
        horizon: how many vectors to generate.
        cache: "travelling" or "ring".

    Returns:
        Outputs, equal to those of the substrate with this boundary, and the cache over time.

    Raises:
        ValueError: if shapes do not fit, the horizon is not positive, or the cache is unknown.
    """
    one_of("cache", cache, ("travelling", "ring"))
    horizon = positive_int("horizon", horizon)
    shape_is("u", u, ("...", "s", boundary.d))
    s, theta = int(u.shape[-2]), boundary.frequencies
    keys, values, x = apply(boundary.W_K, u), apply(boundary.W_V, u), u[..., -1, :]
    bias = boundary.bias_for(s, u.ndim - boundary.W_K.ndim)
    if bias is None:
        bias = u.new_zeros(s)
    slots = torch.arange(s, device=u.device)
    times = torch.arange(s, dtype=u.dtype, device=u.device)
    if theta is not None:
        # The window's vectors have absolute times 0, ..., s-1; on the travelling cache only the age is ever used.
        keys = rotate(keys, (times if cache == "ring" else times - (s - 1))[:, None] * theta)
    outputs, all_keys, all_values, all_weights, newest = [], [keys], [values], [], [s - 1]
    for t in range(horizon):
        query = apply(boundary.W_Q, x)
        now = s - 1 + t  # absolute time of the newest vector
        if cache == "ring":
            seen = bias[..., (slots - now - 1) % s]  # a slot's column: its age is (now - slot) mod s
            if theta is not None:
                query = rotate(query, now * theta)
        else:
            seen = bias
        scores = (keys * query.unsqueeze(-2)).sum(-1) * boundary.factor + seen
        weights = attend(scores, boundary.temperature)
        x = (weights.unsqueeze(-1) * values).sum(-2)
        k, v = apply(boundary.W_K, x), apply(boundary.W_V, x)
        if cache == "ring":
            if theta is not None:
                k = rotate(k, (now + 1) * theta)
            place = (slots == (now + 1) % s)[:, None]
            keys, values = torch.where(place, k.unsqueeze(-2), keys), torch.where(place, v.unsqueeze(-2), values)
            newest.append((now + 1) % s)
        else:
            moved = keys if theta is None else rotate(keys, -theta)
            keys = torch.cat([moved[..., 1:, :], k.unsqueeze(-2)], dim=-2)
            values = torch.cat([values[..., 1:, :], v.unsqueeze(-2)], dim=-2)
            newest.append(s - 1)
        outputs.append(x)
        all_keys.append(keys)
        all_values.append(values)
        all_weights.append(weights)
    return Generation(
        outputs=torch.stack(outputs, dim=-2),
        keys=torch.stack(all_keys).mT,
        values=torch.stack(all_values).mT,
        weights=torch.stack(all_weights),
        newest=torch.tensor(newest, device=u.device),
    )


class AttentionHeads(nn.Module):
    """K independent attention heads to be trained as boundaries of K substrates, stacked.

    Args:
        W_K: key maps, (K, d_k, d).
        W_Q: query maps, (K, d_k, d).
        W_V: value maps, (K, d, d).
        bias: learned bias by column, (K, s), or None for content alone.

    Raises:
        ValueError: if the shapes do not fit together.
    """

    def __init__(
        self,
        W_K: Float[Tensor, "K d_k d"],
        W_Q: Float[Tensor, "K d_k d"],
        W_V: Float[Tensor, "K d d"],
        bias: Float[Tensor, "K s"] | None = None,
    ) -> None:
        super().__init__()
        shape_is("W_K", W_K, ("K", "d_k", "d"))
        self.W_K = nn.Parameter(W_K.detach().clone())
        self.W_Q = nn.Parameter(W_Q.detach().clone())
        self.W_V = nn.Parameter(W_V.detach().clone())
        self.bias = None if bias is None else nn.Parameter(bias.detach().clone())
        self.boundary()  # checks the shapes

    @classmethod
    def initialise(
        cls,
        seeds: Sequence[int],
        d: int,
        s: int | None = None,
        key_size: int | None = None,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> AttentionHeads:
        """Draw one head per seed; every weight from U(-1/√d, 1/√d), PyTorch's default for a linear layer.

        Args:
            seeds: one seed per head; a head's weights depend on its own seed alone.
            d: dimension of the vectors.
            s: number of columns; where it is given, the heads also learn a bias by column, which starts at 0.
            key_size: d_k; by default d.
            dtype: type of the weights; they are drawn in float64 first.
            device: where the heads live.

        Returns:
            The heads, K = len(seeds).

        Raises:
            ValueError: if there is no seed or a size is not a positive whole number.
        """
        require(len(seeds) > 0, "seeds is empty", "at least one seed", "Give one seed per head.")
        d, d_k = positive_int("d", d), positive_int("key_size", d if key_size is None else key_size)
        bound = 1.0 / math.sqrt(d)
        drawn: tuple[list[Tensor], list[Tensor], list[Tensor]] = ([], [], [])
        for seed in seeds:
            generator = stream(seed, "weights")
            for weights, rows in zip(drawn, (d_k, d_k, d), strict=True):
                weights.append((2 * torch.rand(rows, d, generator=generator, dtype=torch.float64) - 1) * bound)
        W_K, W_Q, W_V = (torch.stack(weights).to(dtype=dtype, device=device) for weights in drawn)
        bias = None if s is None else torch.zeros(len(seeds), positive_int("s", s), dtype=dtype, device=device)
        return cls(W_K, W_Q, W_V, bias)

    @property
    def K(self) -> int:
        """Number of heads."""
        return self.W_K.shape[0]

    def boundary(self) -> SelfAttentionBoundary:
        """The heads as a boundary (Eq. 8 with 1/√d_k); gradients reach the parameters."""
        return SelfAttentionBoundary(self.W_K, self.W_Q, self.W_V, bias=self.bias)

    def forward(self, u: Float[Tensor, "K batch s d"], horizon: int) -> Float[Tensor, "K batch horizon d"]:
        """What column s holds after 1, ..., horizon steps of the substrates that start as u.

        Raises:
            ValueError: if u is not (K, batch, s, d) or the horizon is not positive.
        """
        horizon = positive_int("horizon", horizon)
        shape_is("u", u, (self.K, "batch", "s", self.W_K.shape[-1]))
        boundary, h, outputs = self.boundary(), u, []
        for _ in range(horizon):
            h = step(h, boundary)
            outputs.append(h[..., -1, :])
        return torch.stack(outputs, dim=-2)

    def run(self, k: int) -> SelfAttentionBoundary:
        """Head k alone, with copied weights.

        Raises:
            ValueError: if there is no head k.
        """
        require(-self.K <= k < self.K, f"k = {k}", f"0 to {self.K - 1}", "Choose one of the heads.")
        bias = None if self.bias is None else self.bias[k].detach().clone()
        W_K, W_Q, W_V = (W[k].detach().clone() for W in (self.W_K, self.W_Q, self.W_V))
        return SelfAttentionBoundary(W_K, W_Q, W_V, bias=bias)
