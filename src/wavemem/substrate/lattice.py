"""The substrate: d independent waves travelling over s columns, and the boundary that feeds them (Eqs. 3 and 24).

The state h has shape (..., s, d): column i = 1, ..., s of the papers is index i - 1. Activity travels from column s
(index -1), where the boundary writes, down to column 1 (index 0), whose end is open. At every step

    h_i(t+1) = h_{i+1}(t)              for 1 <= i < s,
    h_s(t+1) = f(h_s(t), ..., h_1(t)).

(Eq. 3 is printed with h_{i-1} on the right; Eq. 24 in the appendix has h_{i+1}, which is what "from column s down to
column 1" says. The errata page works this out.)

Theorem 3.1, every HDS is a substrate with the boundary f, is :func:`run` started from the history.

Source: Karuvally et al., ICML 2024, section 3 and appendix A.2.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from wavemem.checks import positive_int, shape_is

__all__ = ["fill", "flatten", "run", "shift", "step", "unflatten"]


def flatten(h: Float[Tensor, "*batch s d"]) -> Float[Tensor, "*batch sd"]:
    """The substrate as one vector, column after column: entry k = i·d + j is channel j of column i (from 0).

    Raises:
        ValueError: if h has fewer than two axes.
    """
    shape_is("h", h, ("...", "s", "d"))
    return h.flatten(-2)


def unflatten(h: Float[Tensor, "*batch sd"], s: int, d: int) -> Float[Tensor, "*batch s d"]:
    """The inverse of :func:`flatten`.

    Raises:
        ValueError: if the last axis does not have s·d entries.
    """
    s, d = positive_int("s", s), positive_int("d", d)
    shape_is("h", h, ("...", s * d))
    return h.unflatten(-1, (s, d))


def shift(h: Float[Tensor, "*batch s d"]) -> Float[Tensor, "*batch s d"]:
    """One step of free travel: every column takes what its upper neighbour held, column s is left empty.

    This is the first line of Eqs. 3 and 24 alone; what column 1 held leaves through the open end.

    Raises:
        ValueError: if h has fewer than two axes.
    """
    shape_is("h", h, ("...", "s", "d"))
    return torch.cat([h[..., 1:, :], torch.zeros_like(h[..., :1, :])], dim=-2)


def step(h: Float[Tensor, "*batch s d"], boundary: Callable[[Tensor], Tensor]) -> Float[Tensor, "*batch s d"]:
    """One step of the substrate with a boundary, Eqs. 3 and 24.

    Args:
        h: substrate states.
        boundary: f, from states (..., s, d) to the activity (..., d) that is written into column s.

    Returns:
        The states one step later.

    Raises:
        ValueError: if h has fewer than two axes or the boundary's result does not fit a column.
    """
    shape_is("h", h, ("...", "s", "d"))
    written = boundary(h)
    shape_is("boundary(h)", written, (*h.shape[:-2], h.shape[-1]))
    return torch.cat([h[..., 1:, :], written.unsqueeze(-2)], dim=-2)


def run(
    h0: Float[Tensor, "*batch s d"], boundary: Callable[[Tensor], Tensor], steps: int
) -> Float[Tensor, "time *batch s d"]:
    """The substrate's states over ``steps`` steps, started from h0 (Theorem 3.1 when h0 is an HDS's history).

    Args:
        h0: initial states.
        boundary: f as in :func:`step`.
        steps: how many steps to take; 0 returns the initial state alone.

    Returns:
        States at times 0, ..., steps, time first.

    Raises:
        ValueError: if steps is negative or shapes do not fit.
    """
    steps = positive_int("steps", steps, minimum=0)
    states = [h0]
    for _ in range(steps):
        states.append(step(states[-1], boundary))
    return torch.stack(states)


def fill(
    u: Float[Tensor, "*batch s d"], boundary: Callable[[Tensor], Tensor] | None = None
) -> Float[Tensor, "time *batch s d"]:
    """The input phase: an empty substrate receives the vectors of a history one after the other, oldest first.

    Without a boundary column s takes the input alone, and after s steps the substrate holds the history:
    ``fill(u)[-1] == u``. With a boundary the input is added to what the boundary computes, as in a recurrent network
    whose W_hh already holds Φ; the history is then stored unchanged only if f is silent on unfilled substrates, as
    in repeat copy (appendix A.6 calls the difference pollution).

    Args:
        u: histories.
        boundary: f as in :func:`step`, or None.

    Returns:
        States at times 0 (empty), ..., s, time first.

    Raises:
        ValueError: if u has fewer than two axes or the boundary's result does not fit a column.
    """
    shape_is("u", u, ("...", "s", "d"))
    states = [torch.zeros_like(u)]
    for t in range(u.shape[-2]):
        h = shift(states[-1]) if boundary is None else step(states[-1], boundary)
        states.append(torch.cat([h[..., :-1, :], h[..., -1:, :] + u[..., t : t + 1, :]], dim=-2))
    return torch.stack(states)
