"""h(t) = a(t) h(t-1) + u(t) for many independent sequences, in about log₂ L rounds in the place of L steps.

Two steps in a row are one step of the same kind, (a, u) then (a', u') being (a a', a' u + u'); joining every step with the
one 1, 2, 4, … before it gives all states (Hillis & Steele, 1986). With 0 ≤ a ≤ 1 nothing grows on the way.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from wavemem.checks import require, shape_is
from wavemem.kernels.arguments import alike, first_derivatives


def _joined(a: Tensor, u: Tensor) -> Tensor:
    """All states from zero, time on the third axis."""
    length, reach = u.shape[2], 1
    while reach < length:
        u = torch.cat([u[:, :, :reach], torch.addcmul(u[:, :, reach:], a[:, :, reach:], u[:, :, :-reach])], dim=2)
        if 2 * reach < length:
            a = torch.cat([a[:, :, :reach], a[:, :, reach:] * a[:, :, :-reach]], dim=2)
        reach *= 2
    return u


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, u: Tensor) -> Tensor:
        h = _joined(a, u)
        ctx.save_for_backward(a, h)
        return h

    @staticmethod
    @first_derivatives
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        a, h = ctx.saved_tensors
        later = torch.cat([a[:, :, 1:], torch.zeros_like(a[:, :, :1])], dim=2)
        sent = _joined(later.flip(2), gradient.flip(2)).flip(2)
        before = torch.cat([torch.zeros_like(h[:, :, :1]), h[:, :, :-1]], dim=2)
        return sent * before, sent


def first_order_scan(
    a: Float[Tensor, "K B L E"], u: Float[Tensor, "K B L E"], h0: Float[Tensor, "K B E"] | None = None
) -> Float[Tensor, "K B L E"]:
    """All states of h(t) = a(t) h(t-1) + u(t), differentiable once with respect to everything given.

    Args:
        a: Share that stays, in [0, 1]: larger ones are computed too, but may overflow where they multiply.
        u: What is added.
        h0: State before the first step; zero unless given.

    Returns:
        h(1) … h(L).

    Raises:
        ValueError: If the shapes, types or devices differ, or there is no step.
    """
    shape_is("u", u, ("K", "B", "L", "E"))
    shape_is("a", a, u.shape)
    require(u.shape[2] >= 1, "u has no step", "L >= 1", "Give at least one step.")
    alike(u=u, a=a, h0=h0)
    if h0 is not None:
        shape_is("h0", h0, (u.shape[0], u.shape[1], u.shape[3]))
        u = torch.cat([(u[:, :, 0] + a[:, :, 0] * h0)[:, :, None], u[:, :, 1:]], dim=2)
    h: Tensor = _Scan.apply(a, u)
    return h
