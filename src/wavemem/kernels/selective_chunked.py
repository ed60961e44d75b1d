r"""The selective scan in plain PyTorch, some hundred time steps at a time: any number format, any device.

The time is cut into segments whose states fit the memory that one pass may take. Only the states at the segments' starts
are kept for the backward pass, which computes those between anew. Within a segment the linear recurrence
$h_t = a_t h_{t-1} + x_t$ is scanned in two levels: all blocks of about $\sqrt{S}$ steps side by side from a state of
zero, then the blocks one after the other. Decays are multiplied, never divided by, so that nothing can overflow that
does not overflow in the plain loop.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as nnf
from jaxtyping import Float
from torch import Tensor


class Given(NamedTuple):
    """What a scan is given, as in `wavemem.kernels.selective.selective_scan`."""

    u: Float[Tensor, "K B L E"]
    delta: Float[Tensor, "K B L E"]
    A: Float[Tensor, "K E N"]
    B: Float[Tensor, "K B L N"]
    C: Float[Tensor, "K B L N"]
    D: Float[Tensor, "K E"] | None = None
    z: Float[Tensor, "K B L E"] | None = None
    delta_bias: Float[Tensor, "K E"] | None = None
    h0: Float[Tensor, "K B E N"] | None = None


_NUMBERS = {"cpu": 2**21, "cuda": 2**26}  # of the states of one segment: a few of these arrays are alive at a time


def _segments(batch: int, length: int, numbers: int, device: str) -> list[tuple[int, int]]:
    """First and last-but-one step of every segment."""
    size = max(math.isqrt(length), min(length, _NUMBERS.get(device, 2**24) // max(batch * numbers, 1)), 1)
    return [(start, min(start + size, length)) for start in range(0, length, size)]


def _linear_scan(a: Tensor, x: Tensor, h: Tensor) -> None:
    """Overwrite x by the states of h ← a h + x along axis 2, from the state h; a is used up."""
    length = x.shape[2]
    width = math.isqrt(length) if length >= 16 else 1
    blocks = length // width if width > 1 else 0
    whole = blocks * width
    if whole:
        shape = (*x.shape[:2], blocks, width, *x.shape[3:])
        a_blocks, x_blocks = a[:, :, :whole].view(shape), x[:, :, :whole].view(shape)
        for i in range(1, width):
            x_blocks[:, :, :, i].addcmul_(a_blocks[:, :, :, i], x_blocks[:, :, :, i - 1])
            a_blocks[:, :, :, i].mul_(a_blocks[:, :, :, i - 1])
        for j in range(blocks):
            x_blocks[:, :, j].addcmul_(a_blocks[:, :, j], h.unsqueeze(2))
            h = x_blocks[:, :, j, -1]
    for t in range(whole, length):
        x[:, :, t].addcmul_(a[:, :, t], h)
        h = x[:, :, t]


def step_sizes(delta: Tensor, delta_bias: Tensor | None, softplus: bool) -> Tensor:
    """Δ = softplus(delta + bias), or without the softplus; delta has one axis or two between runs and channels."""
    raw = delta if delta_bias is None else delta + delta_bias.view(len(delta), *[1] * (delta.ndim - 2), -1)
    return nnf.softplus(raw) if softplus else raw


def scan(given: Given, *, softplus: bool, keep: bool) -> tuple[Tensor, Tensor, Tensor | None]:
    """Outputs, last state, and (where `keep` asks for them) the states before every segment, (segments, K, B, E, N)."""
    u, delta, A, B, C, D, z, delta_bias, h0 = given
    K, batch, length, E = u.shape
    N = A.shape[2]
    h = u.new_zeros(K, batch, E, N) if h0 is None else h0
    kept, outputs = [], []
    for start, stop in _segments(K * batch, length, E * N, u.device.type):
        kept.append(h)
        at = slice(start, stop)
        d = step_sizes(delta[:, :, at], delta_bias, softplus)
        states = (d * u[:, :, at]).unsqueeze(-1) * B[:, :, at, None]
        _linear_scan(torch.exp(d.unsqueeze(-1) * A[:, None, None]), states, h)
        h = states[:, :, -1].clone()
        outputs.append((states @ C[:, :, at].unsqueeze(-1)).squeeze(-1))
    y = torch.cat(outputs, 2)
    if D is not None:
        y = y + D[:, None, None] * u
    if z is not None:
        y = y * nnf.silu(z)
    return y, h, torch.stack(kept) if keep else None


def _scan_gradients(
    d: Tensor, u: Tensor, A: Tensor, B: Tensor, C: Tensor, start: Tensor, go: Tensor, later: Tensor, *, gated: bool
) -> tuple[Tensor, ...]:
    """Gradients of one segment.

    `go` is the gradient with respect to Σ C h, `later` what the later segments send to the segment's last state. Returns
    Σ C h (where `gated`), the gradients of d, u, A, B, C, and what the segment sends to the state before it.
    """
    a = torch.exp(d.unsqueeze(-1) * A[:, None, None])
    states = (d * u).unsqueeze(-1) * B.unsqueeze(3)
    _linear_scan(a.clone(), states, start)
    outputs = (states @ C.unsqueeze(-1)).squeeze(-1) if gated else states.new_zeros(0)
    dC = (go.unsqueeze(3) @ states).squeeze(3)
    # The adjoint runs the other way: G_t = C_t go_t + a_{t+1} G_{t+1}.
    G = (go.unsqueeze(-1) * C.unsqueeze(3)).flip(2)
    _linear_scan(torch.cat([torch.ones_like(a[:, :, :1]), a[:, :, 1:].flip(2)], 2), G, later)
    G = G.flip(2)
    dB = ((d * u).unsqueeze(3) @ G).squeeze(3)
    GB = (G @ B.unsqueeze(-1)).squeeze(-1)
    G *= a
    before = G[:, :, 0].clone()
    G *= torch.cat([start.unsqueeze(2), states[:, :, :-1]], 2)
    dd = (G * A[:, None, None]).sum(-1) + u * GB
    return outputs, dd, d * GB, (G * d.unsqueeze(-1)).sum((1, 2)), dB, dC, before


def scan_backward(
    given: Given, kept: Tensor, gy: Tensor, gh: Tensor | None, *, softplus: bool
) -> tuple[Tensor | None, ...]:
    """Gradients of everything given, in its order; None for what was not given; gy, gh: those of y and the last state."""
    u, delta, A, B, C, D, z, delta_bias, h0 = given
    K, batch, length, E = u.shape
    later = torch.zeros_like(kept[0]) if gh is None else gh
    du, ddelta = torch.empty_like(u), torch.empty_like(delta)
    dA, dB, dC = torch.zeros_like(A), torch.empty_like(B), torch.empty_like(C)
    dz = None if z is None else torch.empty_like(z)
    dD = None if D is None else torch.zeros_like(D)
    segments = _segments(K * batch, length, E * A.shape[2], u.device.type)
    for start, (first, stop) in zip(reversed(kept.unbind()), reversed(segments), strict=True):
        at = slice(first, stop)
        d, u_at, go = step_sizes(delta[:, :, at], delta_bias, softplus), u[:, :, at], gy[:, :, at]
        if z is not None:
            go = go * nnf.silu(z[:, :, at])
        outputs, dd, du_at, dA_at, dB[:, :, at], dC[:, :, at], later = _scan_gradients(
            d, u_at, A, B[:, :, at], C[:, :, at], start, go, later, gated=z is not None
        )
        dA += dA_at
        if D is not None and dD is not None:
            dD += (go * u_at).sum((1, 2))
            du_at = du_at + D[:, None, None] * go
            outputs = outputs + D[:, None, None] * u_at if z is not None else outputs
        if z is not None and dz is not None:
            sigmoid = torch.sigmoid(z[:, :, at])
            dz[:, :, at] = gy[:, :, at] * outputs * sigmoid * (1 + z[:, :, at] * (1 - sigmoid))
        if softplus:
            dd = dd * -torch.expm1(-d)  # sigmoid(x) = 1 - exp(-softplus(x))
        du[:, :, at], ddelta[:, :, at] = du_at, dd
    dbias = None if delta_bias is None else ddelta.sum((1, 2))
    return du, ddelta, dA, dB, dC, dD, dz, dbias, None if h0 is None else later
