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

A head that generates one vector after the other keeps the keys W_K h_i and values W_V h_i of the last s vectors: its
KV cache. The maps act on each column alone and the wave moves columns as wholes, so the two commute, and the cache *is*
the substrate in another basis: columns of keys and values that travel at one column per step, written at column s.
Implementations hold the cache still and move the place of writing instead (a ring buffer). That is the same wave seen
from a frame that moves with it: slot p mod s holds the vector of time p for all its s steps, and the age of a slot is
read from the place of writing (:func:`moving_frame` undoes the difference).

Sources: Karuvally et al., ICML 2024, section 3.2, Eq. 8; Vaswani et al. 2017, section 3.2.1 (scaled dot-product
attention); Press et al. 2022, section 3 (ALiBi); Su et al. 2021, sections 3.2 and 3.4.2 (RoPE; keys turned by their
absolute position, the form in which it is cached). The look-up system is the book's own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from wavemem.checks import number_in, one_of, positive_int, require, shape_is
from wavemem.theory.hds import HDS


def column_ages(s: int, dtype: torch.dtype = torch.float64, device: torch.device | str = "cpu") -> Float[Tensor, " s"]:
    """The age of what each column holds, in steps: s - i for column i, from s - 1 (oldest) to 0 (just written).

    Raises:
        ValueError: if s is not a positive whole number.
    """
    return torch.arange(positive_int("s", s) - 1, -1, -1, dtype=dtype, device=device)


def alibi_bias(s: int, slope: float) -> Float[Tensor, " s"]:
    """ALiBi's bias read off the substrate: b_i = -slope · (s - i), 0 at the newest column.

    A positive slope prefers what is young (ALiBi's own choice), a negative one what is old.

    Args:
        s: number of columns.
        slope: m, per column.

    Raises:
        ValueError: if s is not a positive whole number or the slope is not finite.
    """
    require(math.isfinite(slope), f"slope = {slope!r}", "a finite number", "ALiBi's own slopes lie between 0 and 1.")
    return -slope * column_ages(s)


def rope_frequencies(d_k: int, base: float = 10000.0) -> Float[Tensor, " half"]:
    """RoPE's usual angles per step, θ_n = base^(-2n / d_k) for n = 0, ..., d_k/2 - 1, in radians.

    Raises:
        ValueError: if d_k is odd or not positive, or the base is not larger than 1.
    """
    d_k = positive_int("d_k", d_k)
    require(d_k % 2 == 0, f"d_k = {d_k}", "an even number", "RoPE turns planes of two coordinates.")
    require(base > 1, f"base = {base!r}", "a number larger than 1", "The usual base is 10000.")
    return base ** (-torch.arange(0, d_k, 2, dtype=torch.float64) / d_k)


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
    stack = W.shape[:-2]
    shape_is("x", x, (*stack, "...", W.shape[-1]))
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
    """One attention head as a boundary f for :func:`wavemem.theory.boundary.run`, Eq. 8.

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
            shape_is("bias", self.bias, ("s",) if self.bias.ndim == 1 else (*stack, "s"))
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


LARGEST_D = 52
"""Sums of d different powers of two are exact in float64 up to here."""


def negacyclic_shift(d: int) -> Float[Tensor, "d d"]:
    """The signed permutation (x_1, ..., x_d) → (-x_d, x_1, ..., x_{d-1}), of order 2d; float64."""
    O = torch.eye(d, dtype=torch.float64).roll(1, 0)  # noqa: E741 - the symbol of the page
    O[0] *= -1
    return O


def query_shift(d: int) -> Float[Tensor, "d d"]:
    """The permutation that moves the second half of a vector to the front (the first half is the longer one); float64."""
    return torch.eye(d, dtype=torch.float64).roll(-((d + 1) // 2), 0)


class LookupHDS(HDS):
    """The look-up system, which no linear boundary can run: the next vector is found by its content.

    At every step the newest vector x_s asks a question, q = R x_s; the stored vector that agrees with it best is looked up,
    and the next vector is a signed permutation of what was found:

        i* = argmax_i Σ_j w_j (x_i)_j (R x_s)_j,     w_j = 2^(d-1-j),     f(x_s, ..., x_1) = O x_{i*}.

    The weights make the comparison lexicographic: the leading coordinates of x_i are its *key part* and decide, later ones
    only break ties. R (:func:`query_shift`) moves the second half of a vector to the front, so that the key part is the first
    half and the *query part* of the newest vector is its second half; O (:func:`negacyclic_shift`) shifts the coordinates by
    one and changes one sign (its order is 2d), so that what was value becomes key.

    On binary histories two vectors with equal scores are equal, so no tie is ambiguous. The rule also runs on real vectors,
    where ties have probability 0. It is odd, f(-h) = -f(h), so that networks without biases are not at a disadvantage.

    Args:
        s: length of the history.
        d: dimension of the vectors, at most 52.

    Raises:
        ValueError: if a size is out of range.
    """

    def __init__(self, s: int, d: int) -> None:
        super().__init__(s, d, self._apply, "look-up")
        require(
            d <= LARGEST_D, f"d = {d}", f"1 to {LARGEST_D}", "Scores are sums of d powers of two, exact to 53 bits."
        )
        self.R, self.O = query_shift(d), negacyclic_shift(d)
        self.significance: Tensor = 2.0 ** torch.arange(d - 1, -1, -1, dtype=torch.float64)

    def scores(self, h: Float[Tensor, "*batch s d"]) -> Float[Tensor, "*batch s"]:
        """How well each stored vector agrees with the newest one's question; float64, on the device of h.

        Raises:
            ValueError: if h does not end in (s, d).
        """
        shape_is("h", h, ("...", self.s, self.d))
        exact = h.to(torch.float64)
        question = exact[..., -1, :] @ self.R.to(h.device).T * self.significance.to(h.device)
        return (exact @ question.unsqueeze(-1)).squeeze(-1)

    def found(self, h: Float[Tensor, "*batch s d"]) -> Int[Tensor, "*batch"]:
        """Index i* (from 0, the oldest) of the vector found; of equal ones the youngest.

        Raises:
            ValueError: if h does not end in (s, d).
        """
        return self.s - 1 - self.scores(h).flip(-1).argmax(-1)

    def _apply(self, h: Tensor) -> Tensor:
        index = self.found(h)[..., None, None].expand(*h.shape[:-2], 1, self.d)
        return h.gather(-2, index).squeeze(-2) @ self.O.to(dtype=h.dtype, device=h.device).T

    def head(self, sharpness: float = 8.0) -> SelfAttentionBoundary:
        """The attention head that runs this system: W_K = 1, W_Q = β diag(w) R, W_V = O, scale 1.

        Two different binary vectors differ in score by at least 2β, so all weight but (s - 1) e^{-2β} lies on what is to be
        found, and |f(h) - O x_{i*}| ≤ 2 (s - 1) e^{-2β} in every coordinate; β → ∞ is exact.

        Args:
            sharpness: β > 0.

        Returns:
            The boundary, to be run by :func:`wavemem.theory.boundary.run`.

        Raises:
            ValueError: if the sharpness is not a positive finite number.
        """
        beta = number_in("sharpness", sharpness, 1e-12, 1e12)
        W_Q = beta * self.significance[:, None] * self.R
        return SelfAttentionBoundary(torch.eye(self.d, dtype=torch.float64), W_Q, self.O, scale=1.0)
